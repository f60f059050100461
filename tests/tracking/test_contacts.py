from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tracking.builders import BIN_M, RATE_HZ, Place, a_shelf, a_sighting, at_instant, grip_in, nanoseconds
from tracking.contacts import ContactSettings, ContactWatcher, bin_shares
from tracking.types import HandContact
from vision.arrays import FloatArray
from vision.layout import Bin, StoreLayout

SHELF = a_shelf()
AWAY_M = np.array([0.6, -0.8, 0.9])
Hands = Mapping[int, Sequence[FloatArray | None]]


def watch(instants: Sequence[Hands], layout: StoreLayout = SHELF) -> list[HandContact]:
    watcher = ContactWatcher(layout)
    ended = [contact for k, hands in enumerate(instants) for contact in watcher.update(at_instant(k / RATE_HZ, hands))]
    return ended + watcher.finish()


def before_bin(bin_id: str, away_m: float) -> FloatArray:
    """A point so far in front of a bin."""
    return grip_in(SHELF, bin_id, into_m=-away_m)


def spans_s(contacts: Sequence[HandContact]) -> list[tuple[float, float]]:
    return [(round(c.start_ns / 1e9, 2), round(c.end_ns / 1e9, 2)) for c in contacts]


def test_a_hand_in_a_bin_is_one_contact_from_its_coming_to_its_going() -> None:
    away: list[Hands] = [{7: [AWAY_M]}] * 15
    contacts = watch([*away, *[{7: [grip_in(SHELF, "1/2")]}] * 15, *away])
    assert [(c.identity_id, c.bin_id) for c in contacts] == [(7, "1/2")]
    assert spans_s(contacts) == [(1.0, 1.93)]
    assert contacts[0].distance_m == 0


def test_a_contact_is_given_once_when_it_has_ended() -> None:
    watcher = ContactWatcher(SHELF)
    given_at = []
    for k in range(60):
        hand = grip_in(SHELF, "1/2") if 15 <= k < 30 else AWAY_M
        given_at += [k for _ in watcher.update(at_instant(k / RATE_HZ, {7: [hand]}))]
    assert len(given_at) == 1
    assert 30 < given_at[0] < 45
    assert watcher.finish() == []


def test_a_hand_still_there_at_the_end_is_given_at_the_end() -> None:
    watcher = ContactWatcher(SHELF)
    for k in range(15):
        assert watcher.update(at_instant(k / RATE_HZ, {1: [grip_in(SHELF, "1/0")]})) == []
    assert watcher.open_contacts == ((1, "1/0"),)
    assert [c.bin_id for c in watcher.finish()] == ["1/0"]
    assert not watcher.open_contacts


def test_a_contact_that_goes_on_is_known_once_it_is_no_passing_by() -> None:
    watcher = ContactWatcher(SHELF)
    known = []
    for k in range(30):
        watcher.update(at_instant(k / RATE_HZ, {1: [grip_in(SHELF, "1/0")]}))
        known.append([(c.bin_id, c.start_ns, c.end_ns) for c in watcher.ongoing()])
    assert known[1] == []
    assert known[-1] == [("1/0", 0, nanoseconds(29 / RATE_HZ))]


def test_a_hand_that_passes_by_gives_nothing() -> None:
    passing: list[Hands] = [{1: [np.array([x, -0.1, 0.7])]} for x in np.linspace(-0.6, 1.8, 4)]
    assert watch(passing) == []
    assert watch([{1: [before_bin("1/1", 0.4)]}] * 30) == []


def test_a_hand_before_the_shelf_touches_only_when_it_is_near() -> None:
    limits = ContactSettings()
    assert len(watch([{1: [before_bin("1/1", limits.near_m - 0.01)]}] * 15)) == 1
    assert watch([{1: [before_bin("1/1", (limits.near_m + limits.away_m) / 2)]}] * 15) == []


def test_a_hand_that_wavers_between_near_and_away_is_not_cut_in_two() -> None:
    near, between = before_bin("1/1", 0.1), before_bin("1/1", 0.2)
    contacts = watch([*[{1: [near]}] * 15, *[{1: [between]}] * 15, *[{1: [near]}] * 15])
    assert spans_s(contacts) == [(0.0, 2.93)]
    contacts = watch([*[{1: [near]}] * 15, *[{1: [between]}] * 15, *[{1: [AWAY_M]}] * 15])
    assert spans_s(contacts) == [(0.0, 0.93)], "the end is the last touch, not the hovering after it"


def test_a_short_gap_joins_and_a_long_one_does_not() -> None:
    inside: list[Hands] = [{1: [grip_in(SHELF, "1/1")]}] * 8
    assert len(watch([*inside, *[{1: [None]}] * 8, *inside])) == 1
    assert len(watch([*inside, *[{1: [None]}] * 15, *inside])) == 2
    hidden: list[Hands] = [{}] * 8
    assert len(watch([*inside, *hidden, *inside])) == 1


def test_hands_of_two_people_in_one_bin_are_two_contacts() -> None:
    hands: Hands = {1: [grip_in(SHELF, "1/1")], 2: [grip_in(SHELF, "1/1") + 0.05]}
    assert sorted((c.identity_id, c.bin_id) for c in watch([hands] * 10)) == [(1, "1/1"), (2, "1/1")]


@pytest.mark.parametrize(("one", "other"), [("1/0", "1/2"), ("1/0", "1/3"), ("1/1", "2/1"), ("1/0", "1/1")])
def test_two_hands_of_one_person_in_two_bins_are_two_contacts(one: str, other: str) -> None:
    hands: Hands = {1: [grip_in(SHELF, one), grip_in(SHELF, other)]}
    swapped: Hands = {1: [grip_in(SHELF, other), grip_in(SHELF, one)]}
    contacts = watch([hands, swapped, hands, hands, swapped] * 3)
    assert sorted((c.identity_id, c.bin_id) for c in contacts) == [(1, one), (1, other)]
    assert all(c.bin_shares[0][1] > 0.6 for c in contacts)


def test_both_hands_around_one_thing_are_one_contact() -> None:
    middle = grip_in(SHELF, "1/1")
    hands: Hands = {1: [middle - np.array([0.1, 0, 0]), middle + np.array([0.1, 0, 0])]}
    assert [c.bin_id for c in watch([hands] * 15)] == ["1/1"]


def test_a_hand_that_goes_from_bin_to_bin_and_away_between_touches_both() -> None:
    contacts = watch(
        [
            *[{1: [grip_in(SHELF, "1/0")]}] * 10,
            *[{1: [AWAY_M]}] * 15,
            *[{1: [grip_in(SHELF, "1/3")]}] * 10,
        ]
    )
    assert [c.bin_id for c in contacts] == ["1/0", "1/3"]


@settings(max_examples=40, deadline=None)
@given(st.sampled_from([b.bin_id for b in SHELF.bins]), st.integers(0, 2**31))
def test_a_noisy_hand_touches_the_bin_it_is_in(bin_id: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    reach: list[Hands] = [{1: [grip_in(SHELF, bin_id) + rng.normal(0, 0.03, 3)]} for _ in range(15)]
    contacts = watch([{1: [AWAY_M]}, *reach, *[{1: [AWAY_M]}] * 15])
    assert [c.bin_id for c in contacts] == [bin_id]


def test_unseen_hands_and_a_store_without_bins_give_nothing() -> None:
    assert watch([{1: [None, None], 2: []}] * 10) == []
    assert watch([{}] * 10) == []
    assert watch([{1: [grip_in(SHELF, "1/1")]}] * 10, StoreLayout("empty")) == []


@settings(max_examples=100, deadline=None)
@given(st.tuples(st.floats(-3, 3), st.floats(-3, 3), st.floats(-1, 3)))
def test_shares_of_bins_sum_to_one_most_probable_first(hand: tuple[float, float, float]) -> None:
    shares = bin_shares(SHELF.bins, np.array(hand))
    chances = [chance for _, chance in shares]
    assert sum(chances) == pytest.approx(1)
    assert chances == sorted(chances, reverse=True)
    assert min(chances) >= 0.01
    assert len({bin_id for bin_id, _ in shares}) == len(shares)


def test_shares_move_with_the_hand() -> None:
    left, right = grip_in(SHELF, "1/1"), grip_in(SHELF, "1/2")
    chances = [dict(bin_shares(SHELF.bins, left + s * (right - left))).get("1/2", 0.0) for s in np.linspace(0, 1, 11)]
    assert chances == sorted(chances)
    assert chances[0] < 0.1
    assert chances[-1] > 0.9


@settings(max_examples=50, deadline=None)
@given(st.floats(-0.3, 0.9), st.floats(-0.2, 0.5), st.floats(0.5, 1.4))
def test_shares_are_the_same_in_a_mirror(along: float, into: float, up: float) -> None:
    middle_m = 2 * BIN_M[0]
    here = dict(bin_shares(SHELF.bins, np.array([middle_m + along, into, up])))
    there = dict(bin_shares(SHELF.bins, np.array([middle_m - along, into, up])))
    mirrored = {f"{bin_id[:2]}{3 - int(bin_id[2:])}": chance for bin_id, chance in there.items()}
    assert here == pytest.approx(mirrored)


def test_a_hand_between_two_bins_is_as_probably_in_either() -> None:
    between = (grip_in(SHELF, "1/1") + grip_in(SHELF, "1/2")) / 2
    shares = dict(bin_shares(SHELF.bins, between))
    assert shares["1/1"] == pytest.approx(shares["1/2"])


def test_shares_in_turned_shelves_are_those_of_straight_ones() -> None:
    turn = np.array([[0.0, -1, 0, 2], [1, 0, 0, -1], [0, 0, 1, 0], [0, 0, 0, 1]])
    turned = [
        replace(b, box=replace(b.box, world_from_box=turn @ b.box.world_from_box))
        for b in SHELF.bins
        if b.box is not None
    ]
    hand = np.array([0.35, 0.1, 0.75, 1.0])
    assert dict(bin_shares(turned, (turn @ hand)[:3])) == pytest.approx(dict(bin_shares(SHELF.bins, hand[:3])))


def test_bins_drawn_in_a_picture_have_no_share_of_a_hand_in_the_world() -> None:
    drawn = a_drawn_bin("drawn", 0.0)
    hand = grip_in(SHELF, "1/1")
    assert bin_shares([drawn, *SHELF.bins], hand) == bin_shares(SHELF.bins, hand)


def a_drawn_bin(name: str, left_px: float) -> Bin:
    corners = np.array([(0, 0), (100, 0), (100, 100), (0, 100)], float) + np.array([left_px, 0])
    return Bin(name, "sku", camera_id="cam", polygon_px=corners)


def watch_drawn(sights: Sequence[Mapping[int, Sequence[Place | None]]], camera_id: str = "cam") -> list[HandContact]:
    watcher = ContactWatcher(StoreLayout("drawn", bins=(a_drawn_bin("L", 0), a_drawn_bin("R", 200))))
    ended = []
    for k, hands_px in enumerate(sights):
        time_s = k / RATE_HZ
        people = at_instant(time_s, {i: [] for i in hands_px}, (a_sighting(camera_id, time_s, hands_px),))
        ended += watcher.update(people)
    return ended + watcher.finish()


def test_a_hand_over_a_drawn_bin_is_a_contact() -> None:
    contacts = watch_drawn([*[{3: [(150.0, 50.0)]}] * 8, *[{3: [(40.0, 50.0)]}] * 8, *[{3: [None]}] * 15])
    assert [(c.identity_id, c.bin_id, c.bin_shares) for c in contacts] == [(3, "L", (("L", 1.0),))]
    assert spans_s(contacts) == [(0.53, 1.0)]
    assert np.isnan(contacts[0].distance_m)


def test_two_hands_over_two_drawn_bins_are_two_contacts() -> None:
    contacts = watch_drawn([{3: [(40.0, 50.0), (250.0, 50.0)]}] * 10)
    assert sorted(c.bin_id for c in contacts) == ["L", "R"]


def test_a_drawn_bin_is_only_in_its_own_camera() -> None:
    assert watch_drawn([{3: [(40.0, 50.0)]}] * 10, camera_id="other") == []


def test_a_gap_over_a_drawn_bin_joins() -> None:
    over: list[Mapping[int, Sequence[Place | None]]] = [{3: [(40.0, 50.0)]}] * 6
    assert len(watch_drawn([*over, *[{3: [(150.0, 50.0)]}] * 6, *over])) == 1
    assert len(watch_drawn([*over, *[{3: [(150.0, 50.0)]}] * 15, *over])) == 2


def test_limits_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(ValueError, match=r"expected 0 < near_m <= away_m, got 0.3 and 0.25"):
        ContactSettings(near_m=0.3)


def test_two_runs_give_the_same_contacts() -> None:
    rng = np.random.default_rng(5)
    moves: list[Hands] = [{i: [rng.uniform(-0.2, 1.2, 3) for _ in range(2)] for i in (1, 2, 3)} for _ in range(90)]
    assert watch(moves) == watch(moves)
    assert all(c.start_ns <= c.end_ns <= nanoseconds(6) for c in watch(moves))
