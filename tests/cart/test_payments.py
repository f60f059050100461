from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

import pytest

from cart.errors import IdempotencyKeyReused, PaymentDeclined, PaymentUnknown
from cart.payments import (
    Charge,
    ChargeKind,
    ChargeStatus,
    FakeGateway,
    Fault,
    GatewayCall,
    Hold,
    HoldStatus,
    Payment,
    PaymentRequest,
    PaymentState,
    Refund,
    RefundKind,
    RefundStatus,
    hold_of_key,
)

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
REQUEST = PaymentRequest("charge:1", "ada", 199, "USD")


def failing(call: GatewayCall, fault: Fault) -> Callable[[GatewayCall, str], Fault | None]:
    """The first such call goes wrong, all others succeed."""
    left = [fault]
    return lambda made, key: left.pop() if made is call and left else None


def test_a_hold_is_taken_once_however_often_it_is_asked_for() -> None:
    gateway = FakeGateway()
    first = gateway.authorise(REQUEST)
    assert gateway.authorise(REQUEST) == first
    assert gateway.capture(first) == gateway.capture(first)
    assert gateway.authorise(REQUEST).state is PaymentState.CAPTURED
    assert gateway.captured_minor("USD") == 199
    assert gateway.captured_minor("EUR") == 0


def test_a_key_is_good_for_one_payment() -> None:
    gateway = FakeGateway()
    gateway.authorise(REQUEST)
    with pytest.raises(IdempotencyKeyReused):
        gateway.authorise(PaymentRequest("charge:1", "ada", 200, "USD"))


def test_a_declined_account_stays_declined_under_its_key() -> None:
    gateway = FakeGateway(failing(GatewayCall.AUTHORISE, Fault.DECLINE), declined_shoppers=["bob"])
    for request in (REQUEST, REQUEST, PaymentRequest("charge:2", "bob", 1, "USD")):
        with pytest.raises(PaymentDeclined):
            gateway.authorise(request)
    found = gateway.look_up("charge:1")
    assert found is not None
    assert found.state is PaymentState.DECLINED


def test_a_lost_request_did_nothing_and_a_lost_reply_did_everything() -> None:
    never_arrived = FakeGateway(failing(GatewayCall.AUTHORISE, Fault.LOST_REQUEST))
    with pytest.raises(PaymentUnknown):
        never_arrived.authorise(REQUEST)
    assert never_arrived.look_up("charge:1") is None
    carried_out = FakeGateway(failing(GatewayCall.AUTHORISE, Fault.LOST_REPLY))
    with pytest.raises(PaymentUnknown):
        carried_out.authorise(REQUEST)
    found = carried_out.look_up("charge:1")
    assert found is not None
    assert found.state is PaymentState.AUTHORISED


def test_a_lost_reply_hides_a_decline_too() -> None:
    gateway = FakeGateway(failing(GatewayCall.AUTHORISE, Fault.LOST_REPLY), declined_shoppers=["ada"])
    with pytest.raises(PaymentUnknown):
        gateway.authorise(REQUEST)
    with pytest.raises(PaymentDeclined):
        gateway.authorise(REQUEST)


def test_a_declined_capture_lets_the_hold_go() -> None:
    gateway = FakeGateway(failing(GatewayCall.CAPTURE, Fault.DECLINE))
    payment = gateway.authorise(REQUEST)
    for _ in range(2):
        with pytest.raises(PaymentDeclined, match="no hold"):
            gateway.capture(payment)
    assert gateway.captured_minor("USD") == 0


def test_a_hold_can_be_let_go_until_it_is_captured() -> None:
    gateway = FakeGateway()
    payment = gateway.authorise(REQUEST)
    assert gateway.void(payment) == gateway.void(payment)
    with pytest.raises(PaymentDeclined):
        gateway.capture(payment)
    other = gateway.capture(gateway.authorise(PaymentRequest("charge:2", "ada", 1, "USD")))
    with pytest.raises(PaymentDeclined, match="cannot be voided"):
        gateway.void(other)


def test_a_gateway_that_forgot_a_key_takes_a_second_hold_but_can_still_look_the_first_up() -> None:
    gateway = FakeGateway()
    first = gateway.authorise(REQUEST)
    gateway.forget_keys()
    assert gateway.look_up("charge:1") == first
    assert gateway.authorise(REQUEST) != first
    assert len(gateway.payments) == 2


def test_a_look_up_can_be_lost_and_unknown_payments_are_declined() -> None:
    gateway = FakeGateway(failing(GatewayCall.LOOK_UP, Fault.LOST_REQUEST))
    with pytest.raises(PaymentUnknown):
        gateway.look_up("charge:1")
    assert gateway.look_up("charge:1") is None
    with pytest.raises(PaymentDeclined, match="no such payment"):
        gateway.capture(Payment("fake-9", REQUEST, PaymentState.AUTHORISED))


def test_nothing_can_be_asked_for_but_a_positive_amount() -> None:
    with pytest.raises(ValueError, match="positive"):
        PaymentRequest("charge:1", "ada", 0, "USD")


def test_part_of_a_hold_can_be_taken_and_the_rest_is_let_go() -> None:
    gateway = FakeGateway()
    payment = gateway.authorise(REQUEST)
    taken = gateway.capture(payment, 50)
    assert (taken.state, taken.captured_minor) == (PaymentState.CAPTURED, 50)
    assert gateway.capture(payment, 199) == taken
    assert gateway.captured_minor("USD") == 50
    for amount in (0, 200):
        with pytest.raises(ValueError, match="expected 1 to 199"):
            gateway.capture(payment, amount)


def test_a_refund_is_made_once_under_its_key_and_never_exceeds_what_was_taken() -> None:
    gateway = FakeGateway()
    payment = gateway.capture(gateway.authorise(REQUEST))
    for _ in range(2):
        assert gateway.refund(payment, 100, "refund:1").refunded_minor == 100
    with pytest.raises(IdempotencyKeyReused):
        gateway.refund(payment, 99, "refund:1")
    with pytest.raises(PaymentDeclined, match="99 are left"):
        gateway.refund(payment, 100, "refund:2")
    assert gateway.refund(payment, 99, "refund:3").refunded_minor == 199
    assert gateway.refunded_minor("USD") == 199
    assert [gateway.look_up_refund(f"refund:{n}") for n in (1, 2, 3)] == [100, None, 99]
    with pytest.raises(ValueError, match="positive"):
        gateway.refund(payment, 0, "refund:4")


def test_nothing_is_given_back_of_what_was_not_taken() -> None:
    gateway = FakeGateway()
    with pytest.raises(PaymentDeclined):
        gateway.refund(gateway.authorise(REQUEST), 1, "refund:1")


def test_a_gateway_that_forgot_a_refunds_key_gives_back_again_but_can_still_look_it_up() -> None:
    gateway = FakeGateway()
    payment = gateway.capture(gateway.authorise(REQUEST))
    gateway.refund(payment, 50, "refund:1")
    gateway.forget_keys()
    assert gateway.look_up_refund("refund:1") == 50
    assert gateway.refund(payment, 50, "refund:1").refunded_minor == 100


def test_a_stored_error_is_replayed_though_the_call_was_carried_out() -> None:
    gateway = FakeGateway(failing(GatewayCall.AUTHORISE, Fault.STORED_ERROR))
    for _ in range(3):
        with pytest.raises(PaymentUnknown):
            gateway.authorise(REQUEST)
    found = gateway.look_up("charge:1")
    assert found is not None
    assert found.state is PaymentState.AUTHORISED
    assert gateway.capture(found).state is PaymentState.CAPTURED
    assert len(gateway.payments) == 1


def test_looking_a_refund_up_can_be_lost() -> None:
    gateway = FakeGateway(failing(GatewayCall.LOOK_UP_REFUND, Fault.LOST_REPLY))
    with pytest.raises(PaymentUnknown):
        gateway.look_up_refund("refund:1")
    assert gateway.look_up_refund("refund:1") is None


def test_charges_holds_and_refunds_have_keys_of_their_own() -> None:
    charge = Charge(UUID(int=1), UUID(int=9), ChargeKind.CAPTURE, 1, 5, "USD", ChargeStatus.PENDING, NOON)
    hold = Hold(UUID(int=2), UUID(int=9), 5, "USD", HoldStatus.PENDING, NOON)
    refund = Refund(
        UUID(int=3), UUID(int=9), UUID(int=1), 5, "USD", RefundStatus.PENDING, RefundKind.GOODWILL, "sorry", NOON
    )
    assert charge.idempotency_key == f"charge:{UUID(int=1)}"
    assert refund.idempotency_key == f"refund:{UUID(int=3)}"
    assert replace(charge, hold_id=UUID(int=2)).idempotency_key == hold.idempotency_key == f"hold:{UUID(int=2)}"
    assert [hold_of_key(one.idempotency_key) for one in (charge, hold, refund)] == [None, UUID(int=2), None]


@pytest.mark.parametrize(
    "make",
    [
        lambda: Hold(UUID(int=2), UUID(int=9), 0, "USD", HoldStatus.PENDING, NOON),
        lambda: Hold(UUID(int=2), UUID(int=9), 5, "USD", HoldStatus.PENDING, datetime(2026, 1, 1)),
        lambda: Refund(
            UUID(int=3), UUID(int=9), UUID(int=1), -1, "USD", RefundStatus.PENDING, RefundKind.GOODWILL, "sorry", NOON
        ),
        lambda: Refund(
            UUID(int=3), UUID(int=9), UUID(int=1), 5, "USD", RefundStatus.PENDING, RefundKind.GOODWILL, "", NOON
        ),
        lambda: Charge(UUID(int=1), UUID(int=9), ChargeKind.DEBT, 0, 5, "USD", ChargeStatus.PENDING, NOON),
    ],
)
def test_money_that_contradicts_itself_is_refused(make: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match="expected"):
        make()
