from collections.abc import Callable, Sequence
from dataclasses import replace
from uuid import UUID

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tracking.builders import (
    RATE_HZ,
    Place,
    a_shelf,
    a_sighting,
    a_weight_change,
    at_instant,
    grip_in,
    nanoseconds,
)
from tracking.interactions import InteractionSettings, InteractionWatcher
from tracking.types import Interaction, WeightChange
from vision.arrays import FloatArray
from vision.layout import Bin, StoreLayout
from vision.shelf import Handling, ShelfChange

STORE = UUID(int=7)
SCALES = a_shelf(plates=True)
BARE = a_shelf()
REST_M = np.array([0.6, -1.2, 0.9])
Hand = Callable[[float], FloatArray | None]


def reaches(layout: StoreLayout, bin_id: str, from_s: float, to_s: float, rest_m: FloatArray = REST_M) -> Hand:
    """A hand that is in a bin for a while and else away from all."""
    inside = grip_in(layout, bin_id)
    return lambda time_s: inside if from_s <= time_s < to_s else rest_m


def play(
    layout: StoreLayout,
    hands: dict[int, Hand],
    seconds: float,
    *,
    weight: Sequence[WeightChange] = (),
    shelf: Sequence[ShelfChange] = (),
    speaks: bool = True,
    in_view: Callable[[float], dict[int, Sequence[Place | None]]] | None = None,
    watched: frozenset[str] = frozenset(),
    hidden: Callable[[float], frozenset[str]] = lambda time_s: frozenset(),
    watcher: InteractionWatcher | None = None,
) -> list[Interaction]:
    """What an interaction watcher makes of hands and changes over a time."""
    watcher = watcher or InteractionWatcher(layout, STORE)
    if speaks:
        watcher.plates_speak([plate.plate_id for plate in layout.plates])
    found: list[Interaction] = []
    for k in range(round(seconds * RATE_HZ)):
        time_s = k / RATE_HZ
        now_ns, before_ns = nanoseconds(time_s), nanoseconds((k - 1) / RATE_HZ)
        sightings = () if in_view is None else (a_sighting("cam", time_s, in_view(time_s)),)
        watcher.faces_watched(watched, hidden(time_s))
        watcher.see(at_instant(time_s, {i: [hand(time_s)] for i, hand in hands.items()}, sightings))
        watcher.add(
            [change for change in weight if before_ns < change.end_ns <= now_ns],
            [change for change in shelf if before_ns < change.end_ns <= now_ns],
        )
        found += watcher.judge(now_ns)
    return found + watcher.finish()[1]


def mass_g(layout: StoreLayout, sku: str) -> float:
    return next(product.mass_g for product in layout.products if product.sku == sku)


def person_shares(interaction: Interaction) -> dict[int, float]:
    shares: dict[int, float] = {}
    for candidate in interaction.candidates:
        shares[candidate.identity_id] = shares.get(candidate.identity_id, 0.0) + candidate.probability
    return shares


def test_the_weight_says_what_and_the_hand_says_who() -> None:
    hands = {1: reaches(SCALES, "1/1", 2.0, 3.0), 2: reaches(SCALES, "2/3", 2.0, 3.0)}
    change = a_weight_change("1/1/1", 2.6, -mass_g(SCALES, "sku-1-1"))
    found = play(SCALES, hands, 6.0, weight=[change])
    assert [(i.kind, i.bin_id, i.sku, i.quantity, i.plate_ids) for i in found] == [
        (Handling.PICK, "1/1", "sku-1-1", 1, ("1/1/1",))
    ]
    best = found[0].candidates[0]
    assert (best.identity_id, best.sku) == (1, "sku-1-1")
    assert best.probability > 0.9
    assert found[0].evidence.weight is change
    assert [(c.identity_id, c.bin_id) for c in found[0].evidence.contacts] == [(1, "1/1")]


def test_weight_that_comes_is_a_put_back() -> None:
    change = a_weight_change("1/2/0", 2.5, 2 * mass_g(SCALES, "sku-2-0"))
    found = play(SCALES, {1: reaches(SCALES, "2/0", 2.0, 3.0)}, 6.0, weight=[change])
    assert [(i.kind, i.sku, i.quantity) for i in found] == [(Handling.PUT_BACK, "sku-2-0", 2)]


def test_where_scales_speak_a_hand_alone_is_no_interaction() -> None:
    assert play(SCALES, {1: reaches(SCALES, "1/1", 1.0, 4.0)}, 6.0) == []


def test_where_scales_are_silent_a_hands_stay_counts() -> None:
    found = play(SCALES, {1: reaches(SCALES, "1/1", 1.0, 3.0)}, 6.0, speaks=False)
    assert [(i.kind, i.bin_id, i.candidates[0].identity_id) for i in found] == [(Handling.PICK, "1/1", 1)]


def test_a_weight_change_without_anybody_near_has_nobody_as_its_first_candidate() -> None:
    change = a_weight_change("1/1/1", 2.5, -mass_g(SCALES, "sku-1-1"))
    found = play(SCALES, {1: lambda time_s: np.array([5.0, 5.0, 1.0])}, 5.0, weight=[change])
    assert len(found) == 1
    assert sum(person_shares(found[0]).values()) < 0.1
    found = play(SCALES, {}, 5.0, weight=[change])
    assert [i.candidates for i in found] == [()]


def test_two_people_at_one_shelf_each_get_their_own() -> None:
    hands = {1: reaches(SCALES, "1/0", 2.0, 3.0), 2: reaches(SCALES, "1/3", 2.1, 3.1)}
    weight = [
        a_weight_change("1/1/0", 2.5, -mass_g(SCALES, "sku-1-0")),
        a_weight_change("1/1/3", 2.6, -mass_g(SCALES, "sku-1-3")),
    ]
    found = play(SCALES, hands, 6.0, weight=weight)
    assert [(i.bin_id, i.candidates[0].identity_id) for i in found] == [("1/0", 1), ("1/3", 2)]
    assert all(i.candidates[0].probability > 0.9 for i in found)


def test_two_hands_in_one_bin_share_the_doubt() -> None:
    hands = {1: reaches(SCALES, "1/1", 2.0, 3.0), 2: reaches(SCALES, "1/1", 2.0, 3.0)}
    found = play(SCALES, hands, 6.0, weight=[a_weight_change("1/1/1", 2.5, -mass_g(SCALES, "sku-1-1"))])
    shares = person_shares(found[0])
    assert shares[1] == pytest.approx(shares[2])
    assert shares[1] < 0.6


def test_a_change_is_judged_only_when_hands_around_it_are_known() -> None:
    watcher = InteractionWatcher(SCALES, STORE)
    change = a_weight_change("1/1/1", 1.0, -mass_g(SCALES, "sku-1-1"))
    watcher.add([change], [])
    assert watcher.judge(change.end_ns + nanoseconds(0.5)) == []
    assert len(watcher.judge(change.end_ns + nanoseconds(0.8))) == 1
    assert watcher.judge(change.end_ns + nanoseconds(9.0)) == []


def test_what_is_left_at_the_end_is_judged_then() -> None:
    watcher = InteractionWatcher(SCALES, STORE)
    watcher.add([a_weight_change("1/1/1", 1.0, -mass_g(SCALES, "sku-1-1"))], [])
    contacts, interactions = watcher.finish()
    assert contacts == []
    assert [i.bin_id for i in interactions] == ["1/1"]


def taking_alone(stay_s: float) -> float:
    found = play(BARE, {1: reaches(BARE, "1/1", 1.0, 1.0 + stay_s)}, stay_s + 3.0)
    return sum(person_shares(found[0]).values()) if found else 0.0


def test_the_longer_a_hand_stays_the_surer_a_taking_but_never_very_sure() -> None:
    limits = InteractionSettings()
    chances = [taking_alone(stay_s) for stay_s in (0.2, 0.6, 1.0, 2.0, 4.0, 8.0)]
    assert chances[0] == 0
    assert chances == sorted(chances)
    assert chances[1] > 0
    assert chances[-1] <= limits.hands_alone + 1e-9
    assert chances[-1] > 0.9 * limits.hands_alone


def test_a_stay_between_two_bins_leaves_both_products_open() -> None:
    between = (grip_in(BARE, "1/1") + grip_in(BARE, "1/2")) / 2
    found = play(BARE, {1: lambda time_s: between if 1.0 <= time_s < 3.0 else REST_M}, 5.0)
    assert {c.sku for c in found[0].candidates} == {"sku-1-1", "sku-1-2"}
    assert found[0].candidates[0].probability == pytest.approx(found[0].candidates[1].probability)


def test_a_stay_at_a_bin_without_a_product_is_nothing() -> None:
    empty = replace(BARE, bins=tuple(replace(b, sku=None) for b in BARE.bins))
    assert play(empty, {1: reaches(empty, "1/1", 1.0, 3.0)}, 5.0) == []


PICTURED = StoreLayout(
    "pictured",
    bins=(
        Bin("L", "left", camera_id="cam", polygon_px=np.array([(0, 0), (100, 0), (100, 100), (0, 100)], float)),
        Bin("R", "right", camera_id="cam", polygon_px=np.array([(200, 0), (300, 0), (300, 100), (200, 100)], float)),
    ),
)


def a_shelf_change(bin_id: str, start_s: float, end_s: float, handling: Handling = Handling.PICK) -> ShelfChange:
    picture = np.zeros((4, 4, 3), np.uint8)
    middle_ns = nanoseconds((start_s + end_s) / 2)
    return ShelfChange(bin_id, handling, 1, 0.95, nanoseconds(start_s), middle_ns, nanoseconds(end_s), picture, picture)


def over(bin_id: str, from_s: float, to_s: float) -> Callable[[float], Place]:
    middle = {"L": (50.0, 50.0), "R": (250.0, 50.0)}[bin_id]
    return lambda time_s: middle if from_s <= time_s < to_s else (150.0, 150.0)


def test_a_change_of_the_picture_is_of_the_one_whose_hand_was_there() -> None:
    one, two = over("L", 2.0, 3.0), over("R", 2.0, 3.0)
    found = play(
        PICTURED,
        {1: lambda t: None, 2: lambda t: None},
        6.0,
        shelf=[a_shelf_change("L", 2.1, 2.9, Handling.PUT_BACK)],
        in_view=lambda t: {1: [one(t)], 2: [two(t)]},
    )
    assert [(i.kind, i.bin_id, i.sku) for i in found] == [(Handling.PUT_BACK, "L", "left")]
    assert [c.identity_id for c in found[0].candidates] == [1]
    assert found[0].candidates[0].probability == pytest.approx(0.95)
    assert [c.bin_id for c in found[0].evidence.contacts] == ["L"]


def test_a_change_of_the_picture_with_a_hand_still_over_the_bin_is_of_that_hand() -> None:
    stays = over("L", 1.0, 99.0)
    found = play(
        PICTURED, {1: lambda t: None}, 9.0, shelf=[a_shelf_change("L", 2.1, 2.9)], in_view=lambda t: {1: [stays(t)]}
    )
    assert [c.identity_id for c in found[0].candidates] == [1]
    assert found[0].candidates[0].probability == pytest.approx(0.95)


def test_a_change_of_the_picture_with_nobody_in_view_has_no_candidates() -> None:
    found = play(PICTURED, {}, 6.0, shelf=[a_shelf_change("L", 2.1, 2.9)], in_view=lambda t: {})
    assert [(i.bin_id, i.candidates) for i in found] == [("L", ())]


def test_a_change_of_the_picture_whose_hand_was_not_seen_may_be_of_anybody_in_view() -> None:
    found = play(
        PICTURED,
        {1: lambda t: None, 2: lambda t: None},
        6.0,
        shelf=[a_shelf_change("L", 2.1, 2.9)],
        in_view=lambda t: {1: [None], 2: [None]},
    )
    shares = person_shares(found[0])
    assert shares[1] == shares[2]
    assert sum(shares.values()) == pytest.approx(0.95 * InteractionSettings().unseen_hand)


def test_a_hand_over_a_drawn_bin_whose_picture_stays_the_same_takes_nothing() -> None:
    hand = over("L", 1.0, 4.0)
    assert play(PICTURED, {1: lambda t: None}, 6.0, in_view=lambda t: {1: [hand(t)]}) == []


FACES = frozenset(a_bin.bin_id for a_bin in BARE.bins)


def test_a_face_that_changed_says_what_a_hand_at_it_did() -> None:
    taken = a_shelf_change("1/2", 1.8, 3.2)
    found = play(BARE, {1: reaches(BARE, "1/2", 2.0, 3.0)}, 9.0, shelf=[taken], watched=FACES)
    assert [(i.kind, i.bin_id, i.sku) for i in found] == [(Handling.PICK, "1/2", "sku-1-2")]
    best = found[0].candidates[0]
    assert best.identity_id == 1
    assert best.probability == pytest.approx(InteractionSettings().face_alone)
    assert found[0].evidence.shelf is taken
    assert found[0].time_ns == pytest.approx(nanoseconds(3.0), abs=nanoseconds(0.2))


def test_a_hand_between_two_faces_was_at_the_one_that_changed() -> None:
    between = (grip_in(BARE, "1/1") + grip_in(BARE, "1/2")) / 2 + [0.02, 0, 0]
    found = play(
        BARE,
        {1: lambda time_s: between if 2.0 <= time_s < 3.0 else REST_M},
        9.0,
        shelf=[a_shelf_change("1/1", 1.8, 3.2)],
        watched=FACES,
    )
    assert [(i.bin_id, {c.sku for c in i.candidates}) for i in found] == [("1/1", {"sku-1-1"})]


def test_a_change_of_one_face_leaves_open_what_a_hand_did_at_the_next() -> None:
    at, beside = grip_in(BARE, "1/1"), grip_in(BARE, "1/2") - [0.02, 0, 0]

    def hand(time_s: float) -> FloatArray:
        return at if 2.0 <= time_s < 3.0 else beside if 5.0 <= time_s < 6.0 else REST_M

    found = play(BARE, {1: hand}, 14.0, shelf=[a_shelf_change("1/1", 1.8, 6.2)], watched=FACES)
    assert [(i.bin_id, i.evidence.shelf is not None) for i in found] == [("1/1", True), ("1/2", False)]


def test_a_hand_at_a_face_that_stays_as_it_was_has_less_likely_taken_something() -> None:
    hand = {1: reaches(BARE, "1/1", 1.0, 3.0)}
    (unwatched,), (watched,) = play(BARE, hand, 9.0), play(BARE, hand, 9.0, watched=FACES)
    less = InteractionSettings().unchanged * sum(person_shares(unwatched).values())
    assert sum(person_shares(watched).values()) == pytest.approx(less)


def test_a_hand_at_a_face_waits_for_whoever_stands_before_it() -> None:
    late = a_shelf_change("1/1", 1.0, 9.0)
    found = play(
        BARE,
        {1: reaches(BARE, "1/1", 2.0, 3.0)},
        14.0,
        shelf=[late],
        watched=FACES,
        hidden=lambda time_s: frozenset({"1/1"}) if 1.0 <= time_s < 9.0 else frozenset(),
    )
    assert [(i.kind, i.evidence.shelf) for i in found] == [(Handling.PICK, late)]
    assert found[0].end_ns - found[0].start_ns <= nanoseconds(4.0)


def test_visits_wait_for_a_hand_whose_face_is_not_judged() -> None:
    watcher = InteractionWatcher(BARE, STORE)
    hand = reaches(BARE, "1/1", 1.0, 2.0)
    for k in range(round(4.0 * RATE_HZ)):
        watcher.faces_watched(FACES, frozenset())
        watcher.see(at_instant(k / RATE_HZ, {1: [hand(k / RATE_HZ)]}))
        assert watcher.judge(nanoseconds(k / RATE_HZ)) == []
    (waiting,) = watcher.waiting()
    assert waiting.since_ns == pytest.approx(nanoseconds(1.0), abs=nanoseconds(0.1))
    assert waiting.identity_id == 1
    assert len(watcher.judge(nanoseconds(7.0))) == 1
    assert watcher.waiting() == []


def test_a_face_that_changed_with_nobody_near_is_no_interaction() -> None:
    watcher = InteractionWatcher(BARE, STORE)
    change = a_shelf_change("1/1", 2.0, 3.0)
    assert play(BARE, {1: lambda time_s: REST_M}, 9.0, shelf=[change], watched=FACES, watcher=watcher) == []
    assert watcher.by_nobody == (change,)


def test_a_face_that_changed_may_be_of_anybody_near_whose_hand_was_not_seen() -> None:
    near, far = np.array([0.45, -0.3, 1.6]), REST_M  # a hand before the shelf, but in no bin
    found = play(
        BARE,
        {1: lambda time_s: near, 2: lambda time_s: far},
        9.0,
        shelf=[a_shelf_change("1/1", 2.0, 3.0)],
        watched=FACES,
    )
    assert [list(person_shares(i)) for i in found] == [[1]]
    unseen = InteractionSettings()
    assert sum(person_shares(found[0]).values()) == pytest.approx(unseen.face_alone * unseen.face_by_reach)


def test_where_a_scale_speaks_a_changed_face_says_nothing() -> None:
    change = a_shelf_change("1/1", 2.0, 3.0)
    hand = {1: reaches(SCALES, "1/1", 2.0, 3.0)}
    assert play(SCALES, hand, 9.0, shelf=[change], watched=FACES) == []


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 2**31),
    st.lists(st.tuples(st.sampled_from(range(8)), st.floats(1, 9), st.integers(-3, 3)), max_size=4),
    st.booleans(),
)
def test_whatever_happens_spans_are_short_times_lie_within_and_a_replay_gives_the_same(
    seed: int, moved: list[tuple[int, float, int]], speaks: bool
) -> None:
    def hand(person: int) -> Hand:
        places = np.random.default_rng(seed + person).uniform((-0.2, -0.5, 0.4), (1.4, 0.4, 1.4), (4, 3))
        return lambda time_s: np.asarray(places[int(time_s / 3)])

    weight = sorted(
        (
            a_weight_change(f"1/{1 + k // 4}/{k % 4}", at_s, 437.0 * units, lasts_s=0.4 + abs(units))
            for k, at_s, units in moved
            if units
        ),
        key=lambda change: change.end_ns,
    )
    found, again = (play(SCALES, {1: hand(1), 2: hand(2)}, 12.0, weight=weight, speaks=speaks) for _ in range(2))
    for interaction in found:
        assert interaction.start_ns <= interaction.time_ns <= interaction.end_ns
        assert interaction.end_ns - interaction.start_ns <= nanoseconds(4.0)
        chances = [c.probability for c in interaction.candidates]
        assert chances == sorted(chances, reverse=True)
        assert sum(chances) <= 1 + 1e-6
    assert [(i.interaction_id, i.time_ns, i.candidates) for i in found] == [
        (i.interaction_id, i.time_ns, i.candidates) for i in again
    ]


def test_interactions_have_ids_of_their_own() -> None:
    hands = {1: reaches(BARE, "1/1", 1.0, 2.5), 2: reaches(BARE, "1/1", 1.0, 2.5)}
    found = play(BARE, hands, 5.0)
    assert len(found) == 2
    assert len({i.interaction_id for i in found}) == 2


def test_what_two_hands_do_at_one_instant_are_two_interactions_in_every_replay() -> None:
    change = a_weight_change("1/1/1", 2.0, -mass_g(SCALES, "sku-1-1"))
    both = [change, replace(change, time_ns=change.time_ns + 1)]
    once, again = (play(SCALES, {1: reaches(SCALES, "1/1", 1.0, 3.0)}, 6.0, weight=both) for _ in range(2))
    assert len({i.interaction_id for i in once}) == 2
    assert [i.interaction_id for i in once] == [i.interaction_id for i in again]


def test_a_long_stay_without_scales_spans_its_last_seconds() -> None:
    found = play(BARE, {1: reaches(BARE, "1/1", 1.0, 9.0)}, 12.0)
    assert len(found) == 1
    assert found[0].end_ns == pytest.approx(nanoseconds(9.0), abs=nanoseconds(0.1))
    assert found[0].end_ns - found[0].start_ns == nanoseconds(4.0)


def test_a_hand_in_a_bin_is_an_open_contact() -> None:
    watcher = InteractionWatcher(BARE, STORE)
    watcher.see(at_instant(0, {4: [grip_in(BARE, "2/2")]}))
    assert watcher.open_contacts == ((4, "2/2"),)


def test_who_never_came_in_is_less_likely_to_have_changed_a_face() -> None:
    near = np.array([0.45, -0.3, 1.6])
    hands: dict[int, Hand] = {1: lambda time_s: near, 2: lambda time_s: near}
    change = a_shelf_change("1/1", 2.0, 3.0)
    (both,) = play(BARE, hands, 9.0, shelf=[change], watched=FACES)
    assert person_shares(both)[1] == pytest.approx(person_shares(both)[2])
    watcher = InteractionWatcher(BARE, STORE)
    watcher.never_came_in(2)
    (found,) = play(BARE, hands, 9.0, shelf=[change], watched=FACES, watcher=watcher)
    assert person_shares(found)[1] > 5 * person_shares(found)[2] > 0


def test_what_comes_back_to_a_face_is_what_its_owner_took() -> None:
    back = a_shelf_change("1/2", 5.8, 7.2, Handling.PUT_BACK)

    def hand(time_s: float) -> FloatArray | None:
        taking, returning = reaches(BARE, "1/1", 2.0, 3.0), reaches(BARE, "1/2", 6.0, 7.0)
        return taking(time_s) if time_s < 4 else returning(time_s)

    for taken_from, sku in (("1/1", "sku-1-1"), ("1/2", "sku-1-2")):
        taken = a_shelf_change(taken_from, 1.8, 3.2)
        found = play(BARE, {1: hand}, 12.0, shelf=[taken, back], watched=FACES)
        (told,) = [each for each in found if each.kind is Handling.PUT_BACK]
        assert told.candidates[0].sku == sku, "also one that is planned elsewhere"
    (unheard_of,) = [
        each for each in play(BARE, {1: hand}, 12.0, shelf=[back], watched=FACES) if each.kind is Handling.PUT_BACK
    ]
    assert sum(person_shares(unheard_of).values()) < 0.5, "nobody was seen taking anything"
