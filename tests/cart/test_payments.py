from collections.abc import Callable

import pytest

from cart.errors import IdempotencyKeyReused, PaymentDeclined, PaymentUnknown
from cart.payments import FakeGateway, Fault, GatewayCall, Payment, PaymentRequest, PaymentState

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
