import pytest
from hypothesis import given
from hypothesis import strategies as st

from cart.review_costs import ReviewCosts

costs = st.floats(0.01, 1e6)


@given(costs, costs, st.floats(0.001, 0.5), st.floats(0, 1))
def test_a_look_is_taken_exactly_where_it_is_the_cheapest(
    wrong_charge: float, missed_item: float, share: float, probability: float
) -> None:
    prices = ReviewCosts(wrong_charge, missed_item, share * min(wrong_charge, missed_item))
    charging, letting_go = (1 - probability) * wrong_charge, probability * missed_item
    if probability > prices.charge_probability + 1e-9:
        assert charging < prices.review
    elif probability < prices.suspect_probability - 1e-9:
        assert letting_go < prices.review
    elif prices.suspect_probability + 1e-9 < probability < prices.charge_probability - 1e-9:
        assert prices.review < min(charging, letting_go)


@pytest.mark.parametrize("name", ["wrong_charge", "missed_item", "review"])
@pytest.mark.parametrize("cost", [0.0, -1.0, float("nan"), float("inf")])
def test_costs_are_positive(name: str, cost: float) -> None:
    with pytest.raises(ValueError, match=f"ReviewCosts.{name}: expected a positive number"):
        ReviewCosts(**{name: cost})


def test_a_look_that_costs_more_than_half_a_mistake_is_refused() -> None:
    with pytest.raises(ValueError, match="at most half of what a mistake costs"):
        ReviewCosts(wrong_charge=10, missed_item=100, review=6)
