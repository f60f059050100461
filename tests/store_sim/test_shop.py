"""Tests of store_sim.shop."""

import itertools
from collections import Counter, defaultdict

import numpy as np
import pytest

from store_sim.shop import ShopSource, ShopTruth, TrueInteraction, demo_shop, gtin_check_digit
from vision.arrays import FloatArray
from vision.frames import JOINT_NAMES, Tick
from vision.layout import StoreLayout
from vision.shelf import Handling

LEFT_WRIST, RIGHT_WRIST = JOINT_NAMES.index("left_wrist"), JOINT_NAMES.index("right_wrist")
LEFT_ELBOW, RIGHT_ELBOW = JOINT_NAMES.index("left_elbow"), JOINT_NAMES.index("right_elbow")
SECOND = 1_000_000_000


@pytest.fixture(scope="module")
def shop() -> tuple[StoreLayout, tuple[Tick, ...], ShopTruth]:
    layout, source, truth = demo_shop(11)
    return layout, tuple(source), truth


def plate_samples(ticks: tuple[Tick, ...]) -> dict[str, tuple[FloatArray, FloatArray]]:
    """Times and grams of every plate over the whole recording."""
    pieces = defaultdict(list)
    for block in itertools.chain.from_iterable(tick.scales for tick in ticks):
        for column, plate_id in enumerate(block.plate_id):
            pieces[plate_id].append((block.timestamp_ns, block.grams[:, column]))
    return {
        plate_id: (np.concatenate([t for t, _ in parts]), np.concatenate([g for _, g in parts]).astype(float))
        for plate_id, parts in pieces.items()
    }


def lasting_change_g(samples: tuple[FloatArray, FloatArray], time_ns: int) -> float:
    times, grams = samples
    before = grams[(times > time_ns - 2 * SECOND) & (times < time_ns - SECOND)].mean()
    after = grams[(times > time_ns + SECOND) & (times < time_ns + 2 * SECOND)].mean()
    return float(after - before)


def grip_distances_m(layout: StoreLayout, ticks: tuple[Tick, ...], interaction: TrueInteraction) -> list[float]:
    """How far the shopper's nearer grip is from the bin around the moment."""
    box = layout.bin(interaction.bin_id).box
    assert box is not None
    distances = []
    for tick in ticks:
        if tick.bodies is None or abs(tick.timestamp_ns - interaction.time_ns) > SECOND // 5:
            continue
        if interaction.shopper in tick.bodies.target_id:
            joints = tick.bodies.joints_m[tick.bodies.target_id.index(interaction.shopper)]
            wrists, elbows = joints[[LEFT_WRIST, RIGHT_WRIST]], joints[[LEFT_ELBOW, RIGHT_ELBOW]]
            away = box.distances_m(wrists + 0.37 * (wrists - elbows))
            if np.isfinite(away).any():
                distances.append(float(np.nanmin(away)))
    return distances


def test_one_seed_gives_one_shop() -> None:
    _, first, first_truth = demo_shop(5)
    _, second, second_truth = demo_shop(np.random.default_rng(5))
    assert first_truth == second_truth
    for one, other in zip(first, second, strict=True):
        assert one.timestamp_ns == other.timestamp_ns
        assert one.bodies is not None
        assert other.bodies is not None
        assert one.bodies.target_id == other.bodies.target_id
        np.testing.assert_array_equal(one.bodies.joints_m, other.bodies.joints_m)
        np.testing.assert_array_equal(one.bodies.score, other.bodies.score)
        for block, twin in zip(one.scales, other.scales, strict=True):
            assert block.plate_id == twin.plate_id
            np.testing.assert_array_equal(block.timestamp_ns, twin.timestamp_ns)
            np.testing.assert_array_equal(block.grams, twin.grams)


def test_another_seed_gives_other_noise_but_the_same_receipts() -> None:
    _, first, first_truth = demo_shop(1)
    _, second, second_truth = demo_shop(2)
    assert {r.shopper: r for r in first_truth.receipts} == {r.shopper: r for r in second_truth.receipts}
    first_grams, second_grams = (
        next(tick.scales[0].grams for tick in source if tick.scales) for source in (first, second)
    )
    assert not np.array_equal(first_grams, second_grams)


@pytest.mark.parametrize("seed", range(6))
def test_every_seed_gives_a_shop_that_can_be_played(seed: int) -> None:
    _, source, truth = demo_shop(seed)
    assert len(truth.receipts) == 6
    assert 30 < source.duration_s < 90


def test_the_shop_is_visited_as_the_demo_needs(shop: tuple[StoreLayout, tuple[Tick, ...], ShopTruth]) -> None:
    _, _, truth = shop
    assert any(interaction.kind is Handling.PUT_BACK for interaction in truth.interactions)
    assert any(interaction.quantity > 1 for interaction in truth.interactions)
    shared = [
        (one, other)
        for one, other in itertools.pairwise(truth.interactions)
        if one.shopper != other.shopper
        and one.bin_id.rsplit("/", 1)[0] == other.bin_id.rsplit("/", 1)[0]
        and other.time_ns - one.time_ns < SECOND // 2
    ]
    assert shared
    assert [receipt.needs_review for receipt in truth.receipts].count(True) == 1
    assert any(not receipt.lines for receipt in truth.receipts)


def test_receipts_are_picks_less_put_backs(shop: tuple[StoreLayout, tuple[Tick, ...], ShopTruth]) -> None:
    layout, _, truth = shop
    prices = {product.sku: product.unit_price_minor for product in layout.products}
    carried: dict[str, Counter[str]] = defaultdict(Counter)
    for interaction in truth.interactions:
        sign = 1 if interaction.kind is Handling.PICK else -1
        carried[interaction.shopper][interaction.sku] += sign * interaction.quantity
    for receipt in truth.receipts:
        assert {line.sku: line.quantity for line in receipt.lines} == {
            sku: n for sku, n in carried[receipt.shopper].items() if n
        }
        asked = [prices[line.sku] for line in receipt.lines]
        assert receipt.needs_review == (None in asked)
        if not receipt.needs_review:
            assert receipt.total_minor == sum((prices[line.sku] or 0) * line.quantity for line in receipt.lines)


def test_products_are_believable(shop: tuple[StoreLayout, tuple[Tick, ...], ShopTruth]) -> None:
    layout, _, _ = shop
    for product in layout.products:
        assert len(product.sku) == 13
        assert product.sku[0] == "2"
        assert gtin_check_digit(product.sku[:-1]) == product.sku[-1]
        assert 50 < product.mass_g < 2000
        assert product.currency == "EUR"
    assert len({product.name for product in layout.products}) == len(layout.products)
    assert {a_bin.sku for a_bin in layout.bins} == {product.sku for product in layout.products}


def test_what_is_taken_changes_the_weight_for_good(shop: tuple[StoreLayout, tuple[Tick, ...], ShopTruth]) -> None:
    layout, ticks, truth = shop
    samples = plate_samples(ticks)
    masses = {product.sku: product.mass_g for product in layout.products}
    for interaction in truth.interactions:
        plates = layout.bin(interaction.bin_id).plate_ids
        change_g = sum(lasting_change_g(samples[plate_id], interaction.time_ns) for plate_id in plates)
        sign = -1 if interaction.kind is Handling.PICK else 1
        assert change_g == pytest.approx(sign * interaction.quantity * masses[interaction.sku], abs=5)


def test_nothing_else_changes_for_good(shop: tuple[StoreLayout, tuple[Tick, ...], ShopTruth]) -> None:
    layout, ticks, truth = shop
    used = {plate for interaction in truth.interactions for plate in layout.bin(interaction.bin_id).plate_ids}
    for plate_id, (_, grams) in plate_samples(ticks).items():
        if plate_id not in used:
            assert abs(grams[-120:].mean() - grams[:120].mean()) < 15


def test_a_hand_presses_and_a_load_rings_before_it_is_steady(
    shop: tuple[StoreLayout, tuple[Tick, ...], ShopTruth],
) -> None:
    layout, ticks, truth = shop
    samples = plate_samples(ticks)
    pick = truth.interactions[0]
    swing_g = []
    for plate_id in layout.bin(pick.bin_id).plate_ids:
        times, grams = samples[plate_id]
        before = grams[(times > pick.time_ns - 2 * SECOND) & (times < pick.time_ns - SECOND)]
        near = grams[(times > pick.time_ns - SECOND) & (times < pick.time_ns - SECOND // 10)]
        swing_g.append(float(near.max() - before.mean()) / float(before.std()))
    assert max(swing_g) > 8


def test_the_right_hand_is_in_the_right_bin_at_the_moment(
    shop: tuple[StoreLayout, tuple[Tick, ...], ShopTruth],
) -> None:
    layout, ticks, truth = shop
    for interaction in truth.interactions:
        distances = grip_distances_m(layout, ticks, interaction)
        assert distances
        assert min(distances) < 0.05


def test_bodies_are_built_like_people(shop: tuple[StoreLayout, tuple[Tick, ...], ShopTruth]) -> None:
    _, ticks, _ = shop
    joints = np.concatenate([tick.bodies.joints_m for tick in ticks if tick.bodies is not None])
    heads, necks, shoulders = joints[:, 0], joints[:, 1], joints[:, 2:4]
    assert 1.3 < np.nanmin(heads[:, 2]) < np.nanmax(heads[:, 2]) < 1.85
    assert np.nanmedian(heads[:, 2] - necks[:, 2]) == pytest.approx(0.1, abs=0.05)
    assert np.nanmedian(np.linalg.norm(shoulders[:, 0] - shoulders[:, 1], axis=1)) == pytest.approx(0.44, abs=0.06)
    forearms = np.linalg.norm(joints[:, 4:6] - joints[:, 6:8], axis=2)
    assert np.nanpercentile(forearms, [2, 98]) == pytest.approx([0.25, 0.25], abs=0.08)
    missing = np.isnan(joints).any(axis=2).mean()
    assert 0.001 < missing < 0.15


def test_nobody_walks_faster_than_people_do(shop: tuple[StoreLayout, tuple[Tick, ...], ShopTruth]) -> None:
    _, ticks, _ = shop
    necks = defaultdict(list)
    for tick in ticks:
        assert tick.bodies is not None
        for shopper, joints in zip(tick.bodies.target_id, tick.bodies.joints_m, strict=True):
            necks[shopper].append((tick.timestamp_ns / SECOND, *joints[1, :2]))
    for rows in necks.values():
        t, x, y = np.array(rows).T[:, ::15]
        speed = np.hypot(np.diff(x), np.diff(y)) / np.diff(t)
        assert np.nanmax(speed) < 2.2


def test_ticks_and_samples_keep_time(shop: tuple[StoreLayout, tuple[Tick, ...], ShopTruth]) -> None:
    layout, ticks, _ = shop
    assert (np.diff([tick.timestamp_ns for tick in ticks]) > 0).all()
    last: dict[str, int] = {}
    for tick in ticks:
        for block in tick.scales:
            assert block.grams.shape == (12, len(block.plate_id))
            assert block.rate_hz == 60
            assert block.timestamp_ns[-1] <= tick.timestamp_ns
            assert block.timestamp_ns[0] > last.get(block.plate_id[0], 0)
            last[block.plate_id[0]] = int(block.timestamp_ns[-1])
    assert len(last) == len({plate.gondola_id for plate in layout.plates})


def test_a_source_is_read_once_and_knows_its_length() -> None:
    _, source, _ = demo_shop(3)
    count = sum(1 for _ in source)
    assert count > 500
    assert list(source) == []
    assert source.duration_s == pytest.approx(count / 15, abs=0.2)
    assert (source.camera_ids, source.resolutions_wh, source.notices) == ((), {}, ())
    with pytest.raises(ValueError, match="at least one tick"):
        ShopSource(())
