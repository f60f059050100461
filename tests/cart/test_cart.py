from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cart.cart import Cart
from cart.errors import EventConflict
from cart.events import CartEvent

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
VISIT = UUID(int=1)


def event(number: int, sku: str = "042", quantity: int = 1, probability: float = 1.0) -> CartEvent:
    return CartEvent(UUID(int=number), VISIT, NOON + timedelta(seconds=number), sku, quantity, probability=probability)


EVENTS = st.lists(
    st.builds(
        event,
        st.integers(1, 10**6),
        st.sampled_from(["a", "b", "c"]),
        st.integers(-3, 3).filter(bool),
        st.floats(0, 1),
    ),
    unique_by=lambda e: e.event_id,
    max_size=12,
)


@given(EVENTS, st.data())
def test_a_cart_does_not_depend_on_order_and_repeats(events: list[CartEvent], data: st.DataObject) -> None:
    repeats = data.draw(st.lists(st.sampled_from(events), max_size=8)) if events else []
    assert Cart.of(data.draw(st.permutations(events + repeats))) == Cart.of(events)


@given(EVENTS)
def test_a_cart_holds_what_its_events_add_up_to(events: list[CartEvent]) -> None:
    expected: Counter[str] = Counter()
    for e in events:
        expected[e.sku] += e.quantity
    cart = Cart.of(events)
    assert {line.sku: line.quantity for line in cart.lines} == {sku: n for sku, n in expected.items() if n}
    for line in cart.lines:
        assert line.probability == min(e.probability for e in events if e.sku == line.sku)
    assert cart.is_empty == (not cart.lines)


def test_a_put_back_seen_before_its_pick_is_not_lost() -> None:
    put_back = event(1, quantity=-1)
    assert [line.quantity for line in Cart.of([put_back]).lines] == [-1]
    assert Cart.of([put_back, event(2)]).is_empty


def test_one_id_with_two_contents_is_refused() -> None:
    with pytest.raises(EventConflict, match="two contents"):
        Cart.of([event(1), event(1, quantity=2)])


def test_events_of_two_visits_are_no_cart() -> None:
    with pytest.raises(ValueError, match="one visit"):
        Cart.of([event(1), replace(event(2), session_id=UUID(int=9))])
