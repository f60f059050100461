from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from cart.errors import IdempotencyKeyReused, PaymentDeclined, PaymentUnknown
from cart.gateways.stripe import StripeGateway, StripePayer, payer_of_account
from cart.payments import Payment, PaymentRequest, PaymentState
from cart.repository import Database
from cart.tables import AccountRow
from tests.cart.gateways.fake_stripe import (
    API_KEY,
    CUSTOMER,
    DECLINED,
    GOOD,
    NEEDS_AUTHENTICATION,
    UNCLEAR,
    FakeStripe,
)
from tests.cart.gateways.serving import served

METHODS = {"ada": GOOD, "bob": DECLINED, "eve": NEEDS_AUTHENTICATION, "zoe": UNCLEAR, "gone": "pm_gone"}


def payer(shopper_id: str) -> StripePayer | None:
    method = METHODS.get(shopper_id)
    return None if method is None else StripePayer(CUSTOMER, method)


@pytest.fixture
def theirs() -> FakeStripe:
    return FakeStripe()


@pytest.fixture
def gateway(theirs: FakeStripe) -> Iterator[StripeGateway]:
    def now() -> datetime:
        return datetime.fromtimestamp(theirs.time_s, UTC)

    with served(theirs.app) as url, StripeGateway(API_KEY, payer, now, timeout_s=10.0, api_base=url) as ours:
        yield ours


def request(shopper_id: str = "ada", amount_minor: int = 500, key: str = "charge:1") -> PaymentRequest:
    return PaymentRequest(key, shopper_id, amount_minor, "EUR")


def test_a_hold_is_captured_in_part_and_given_back_in_part(theirs: FakeStripe, gateway: StripeGateway) -> None:
    held = gateway.authorise(request())
    assert (held.reference, held.state, held.captured_minor) == ("pi_1", PaymentState.AUTHORISED, 0)
    taken = gateway.capture(held, 199)
    assert (taken.state, taken.captured_minor, taken.request) == (PaymentState.CAPTURED, 199, request())
    assert gateway.refund(taken, 50, "refund:1").refunded_minor == 50
    assert gateway.refund(taken, 50, "refund:1").refunded_minor == 50
    assert gateway.look_up_refund("refund:1") == 50
    assert len(theirs.refunds) == 1


def test_nothing_of_a_card_is_sent(theirs: FakeStripe, gateway: StripeGateway) -> None:
    gateway.authorise(request())
    ((asked, _, _),) = theirs.keys.values()
    assert "card" not in asked
    assert f"customer={CUSTOMER}" in asked


def test_every_call_may_be_repeated(theirs: FakeStripe, gateway: StripeGateway) -> None:
    held = gateway.authorise(request())
    assert gateway.authorise(request()) == held
    assert gateway.capture(held) == gateway.capture(held)
    assert gateway.authorise(request()).state is PaymentState.CAPTURED  # as it is now, not as it was then
    other = gateway.authorise(request(key="charge:2"))
    assert gateway.void(other) == gateway.void(other)
    assert len(theirs.intents) == 2


@pytest.mark.parametrize("shopper_id", ["bob", "eve", "gone", "nobody"])
def test_who_does_not_pay_is_declined_each_time(gateway: StripeGateway, shopper_id: str) -> None:
    for _ in range(2):
        with pytest.raises(PaymentDeclined):
            gateway.authorise(request(shopper_id))


def test_a_declined_payment_is_found_as_such(gateway: StripeGateway) -> None:
    with pytest.raises(PaymentDeclined, match="card_declined"):
        gateway.authorise(request("bob"))
    found = gateway.look_up("charge:1")
    assert found is not None
    assert found.state is PaymentState.DECLINED


def test_less_than_stripe_takes_is_declined(gateway: StripeGateway) -> None:
    with pytest.raises(PaymentDeclined, match="amount_too_small"):
        gateway.authorise(request(amount_minor=49))


def test_a_payment_under_way_is_not_known_yet(gateway: StripeGateway) -> None:
    with pytest.raises(PaymentUnknown, match="processing"):
        gateway.authorise(request("zoe"))


def test_a_key_is_good_for_one_payment(gateway: StripeGateway) -> None:
    gateway.authorise(request())
    with pytest.raises(IdempotencyKeyReused):
        gateway.authorise(request(amount_minor=501))


def test_a_hold_that_is_gone_is_declined_and_a_capture_cannot_be_voided(gateway: StripeGateway) -> None:
    voided = gateway.void(gateway.authorise(request()))
    with pytest.raises(PaymentDeclined, match="no hold"):
        gateway.capture(voided)
    taken = gateway.capture(gateway.authorise(request(key="charge:2")))
    with pytest.raises(PaymentDeclined, match="cannot be voided"):
        gateway.void(taken)
    with pytest.raises(PaymentDeclined):
        gateway.capture(Payment("pi_99", request(), PaymentState.AUTHORISED))


def test_another_amount_than_was_captured_is_not_taken_for_done(gateway: StripeGateway) -> None:
    held = gateway.authorise(request())
    gateway.capture(held, 100)
    with pytest.raises(PaymentUnknown, match="100 was captured"):
        gateway.capture(held, 101)


def test_no_more_is_given_back_than_was_taken(gateway: StripeGateway) -> None:
    taken = gateway.capture(gateway.authorise(request()), 100)
    with pytest.raises(PaymentDeclined):
        gateway.refund(taken, 101, "refund:1")
    gateway.refund(taken, 100, "refund:2")
    with pytest.raises(PaymentDeclined, match="nothing left"):
        gateway.refund(taken, 1, "refund:3")
    assert gateway.look_up_refund("refund:1") is None


CALLS: dict[str, Callable[[StripeGateway, Payment], object]] = {
    "capture": lambda gateway, payment: gateway.capture(payment),
    "void": lambda gateway, payment: gateway.void(payment),
    "look_up": lambda gateway, payment: gateway.look_up("charge:1"),
    "look_up_refund": lambda gateway, payment: gateway.look_up_refund("refund:1"),
    "authorise": lambda gateway, payment: gateway.authorise(request(key="charge:2")),
}


@pytest.mark.parametrize("trouble", ["lost_request", "lost_reply", "error_before", "error_after", "busy"])
@pytest.mark.parametrize("call", CALLS)
def test_whatever_is_no_clear_answer_leaves_the_outcome_unknown_and_can_be_repeated(
    theirs: FakeStripe, gateway: StripeGateway, call: str, trouble: str
) -> None:
    payment = gateway.authorise(request())
    theirs.trouble.append(trouble)
    asked = len(theirs.asked)
    with pytest.raises(PaymentUnknown):
        CALLS[call](gateway, payment)
    assert len(theirs.asked) == asked + 1  # the library does not try again behind our back
    if call == "authorise" and trouble.startswith("error"):
        found = gateway.look_up("charge:2")
        assert (found is not None) is (trouble == "error_after")
    else:
        CALLS[call](gateway, payment)
    assert len(theirs.intents) <= 2


def test_a_wrong_api_key_is_not_taken_for_a_decline(theirs: FakeStripe) -> None:
    with (
        served(theirs.app) as url,
        StripeGateway("sk_test_wrong", payer, lambda: datetime.now(UTC), api_base=url) as gateway,
        pytest.raises(PaymentUnknown, match="AuthenticationError"),
    ):
        gateway.authorise(request())


def test_while_the_search_lags_a_payment_is_found_all_the_same(theirs: FakeStripe, gateway: StripeGateway) -> None:
    theirs.search_is_fresh = False
    for number in range(1, 6):
        theirs.trouble.append("lost_reply")
        with pytest.raises(PaymentUnknown):
            gateway.authorise(request(key=f"charge:{number}"))
    found = gateway.look_up("charge:2")
    assert found is not None
    assert found.reference == "pi_2"
    assert gateway.look_up("charge:9") is None
    theirs.time_s += int(timedelta(hours=3).total_seconds())
    assert gateway.look_up("charge:2") is None  # by now the search is meant to know it
    assert gateway.authorise(request(key="charge:2")) == found
    assert len(theirs.intents) == 5


def test_once_the_key_is_forgotten_the_search_finds_the_payment_as_it_stands(
    theirs: FakeStripe, gateway: StripeGateway
) -> None:
    held = gateway.authorise(request())
    theirs.index()
    theirs.search_is_fresh = False
    taken = gateway.capture(held, 120)
    theirs.keys.clear()
    theirs.time_s += int(timedelta(days=2).total_seconds())
    assert gateway.look_up("charge:1") == taken
    assert gateway.look_up("charge:9") is None


def test_of_two_payments_under_one_key_the_captured_one_counts(theirs: FakeStripe, gateway: StripeGateway) -> None:
    gateway.void(gateway.authorise(request()))
    theirs.keys.clear()
    taken = gateway.capture(gateway.authorise(request()))
    theirs.keys.clear()
    gateway.authorise(request())
    assert gateway.look_up("charge:1") == taken


def test_a_key_with_a_quote_is_looked_up_as_it_is(gateway: StripeGateway) -> None:
    held = gateway.authorise(request(key="it's \\ odd"))
    assert gateway.look_up("it's \\ odd") == held


def test_refunds_are_found_on_any_page_but_not_for_ever(theirs: FakeStripe, gateway: StripeGateway) -> None:
    taken = gateway.capture(gateway.authorise(request()))
    for number in range(5):
        gateway.refund(taken, 10 + number, f"refund:{number}")
    assert [gateway.look_up_refund(f"refund:{number}") for number in range(6)] == [10, 11, 12, 13, 14, None]
    theirs.refunds[0]["status"] = "failed"
    assert gateway.look_up_refund("refund:0") is None
    theirs.time_s += int(timedelta(days=41).total_seconds())
    assert gateway.look_up_refund("refund:3") is None


def test_a_payment_that_is_not_the_shops_is_not_believed(theirs: FakeStripe, gateway: StripeGateway) -> None:
    held = gateway.authorise(request())
    theirs.intents["pi_1"]["metadata"] = {}
    with pytest.raises(PaymentUnknown, match="not the shop's"):
        gateway.capture(held)


@pytest.mark.parametrize("reference", ["4242424242424242", "cus_a", "cus_a/pm_b/x", "cus_/pm_", "", "pm_b/cus_a"])
def test_a_payment_reference_must_be_stripes_and_is_not_repeated_when_it_is_not(reference: str) -> None:
    with pytest.raises(ValueError, match="expected") as refused:
        StripePayer.parse(reference)
    assert not reference or reference not in str(refused.value)


def test_the_payer_is_read_from_the_account() -> None:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    with Database.in_memory() as database:
        with database.transaction() as repository:
            for number, reference in enumerate(("cus_a/pm_b", "4242424242424242", None)):
                repository.sql.add(
                    AccountRow(
                        account_id=UUID(int=number),
                        name="Ada",
                        role="shopper",
                        status="active",
                        locale="en",
                        payment_method=reference,
                        created_at=at,
                    )
                )
        find = payer_of_account(database)
        assert find(str(UUID(int=0))) == StripePayer("cus_a", "pm_b")
        assert [find(name) for name in (str(UUID(int=1)), str(UUID(int=2)), str(UUID(int=3)), "visitor-1")] == [
            None
        ] * 4


def test_a_gateway_needs_a_key_and_a_time_out() -> None:
    with pytest.raises(ValueError, match="api_key"):
        StripeGateway(" ", payer, lambda: datetime.now(UTC))
    with pytest.raises(ValueError, match="timeout_s"):
        StripeGateway("sk", payer, lambda: datetime.now(UTC), timeout_s=0)
