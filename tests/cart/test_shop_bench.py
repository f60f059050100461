import pytest

from cart.shop_bench import ShopLoad, measure_shop, quantiles_ms, rows_of


@pytest.mark.slow
def test_everything_that_is_taken_reaches_the_screens_of_those_who_took_it() -> None:
    load = ShopLoad(shoppers=3, picks=2, seconds=1.5, exits=4, leaving=2)
    speed = measure_shop(load)
    assert (len(speed.check_in_s), len(speed.update_s), speed.unseen) == (3, 6, 0)
    assert min(*speed.check_in_s, *speed.update_s, speed.exits_per_s) > 0
    assert speed.database == "SQLite"
    assert [what for what, *_ in rows_of(speed, load)] == [
        "check-in, 3 shoppers, SQLite, median",
        "check-in, 3 shoppers, SQLite, 99th percentile",
        "live cart's update, 3 shoppers, SQLite, median",
        "live cart's update, 3 shoppers, SQLite, 99th percentile",
        "exits paid, 2 at once, SQLite",
    ]


def test_a_shop_that_does_not_start_is_told() -> None:
    with pytest.raises(OSError, match="broke down"):
        measure_shop(ShopLoad(shoppers=1), "sqlite:////no/such/folder/shop.db")


def test_quantiles_are_of_all_times() -> None:
    assert quantiles_ms(tuple(number / 1000 for number in range(101))) == pytest.approx((50, 99))


@pytest.mark.parametrize("wrong", [{"shoppers": 0}, {"picks": 0}, {"exits": 0}, {"leaving": 0}, {"seconds": 0}])
def test_a_load_of_nothing_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="positive"):
        ShopLoad(**wrong)
