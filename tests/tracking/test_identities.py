from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tracking.builders import (
    RATE_HZ,
    Place,
    Seen,
    Way,
    a_camera,
    a_store,
    bodies_at,
    body_m,
    everybody,
    film,
    follow,
    nanoseconds,
    ring_of_cameras,
    seen_by,
    square,
    stands,
    tracks_of,
    walks,
    who_stands_at,
)
from tracking.body_identities import BodyIdentities
from tracking.identities import IdentitySettings, IdentityTracker
from tracking.types import Identities
from tracking.wardrobe import Exchange
from vision.frames import TrackedBodies
from vision.layout import StoreLayout, View

EXIT_M = np.array([[3.0, -1.0], [3.0, 1.0]])
NO_JOINTS: dict[str, Sequence[float]] = {}


def shop_with(
    cameras: int, ways: Sequence[Way], seconds: float, *, seed: int = 0, exit_m: np.ndarray | None = None
) -> list[Identities]:
    """What identities make of people under a ring of cameras."""
    ring = ring_of_cameras(cameras)
    return follow(a_store(ring, exit_m=exit_m), film(ring, ways, seconds, rng=np.random.default_rng(seed)))


def at(people: Sequence[Identities], time_s: float) -> Identities:
    return people[round(time_s * RATE_HZ)]


@settings(max_examples=15, deadline=None)
@given(
    st.integers(2, 4),
    st.tuples(st.floats(-2, 2), st.floats(-2, 2)),
    st.tuples(st.floats(-2, 2), st.floats(-2, 2)),
    st.integers(0, 2**31),
)
def test_one_person_in_several_cameras_is_one_identity(count: int, start: Place, end: Place, seed: int) -> None:
    people = shop_with(count, [walks(start, end, 0.5, 3.0)], 3.5, seed=seed)
    assert everybody(people) == [1]
    assert np.linalg.norm(people[-1].position_m[0] - end) < 0.25


@settings(max_examples=15, deadline=None)
@given(st.sampled_from([2, 3, 4]), st.floats(0, 6.28), st.floats(0.95, 1.3), st.integers(0, 2**31))
def test_two_people_a_metre_apart_stay_two(count: int, angle: float, apart_m: float, seed: int) -> None:
    half = np.array([np.cos(angle), np.sin(angle)]) * apart_m / 2
    one, two = (float(half[0]), float(half[1])), (-float(half[0]), -float(half[1]))
    people = shop_with(count, [stands(one), stands(two)], 3.0, seed=seed)
    assert everybody(people) == [1, 2]
    names = [(who_stands_at(instant, one), who_stands_at(instant, two)) for instant in people[10:]]
    assert len(set(names)) == 1
    assert len(set(names[0])) == 2


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("angle", [0.3, 1.2, 2.6])
def test_two_shoppers_half_a_metre_apart_stay_two(angle: float, seed: int) -> None:
    half = np.array([np.cos(angle), np.sin(angle)]) * 0.25
    one, two = (float(half[0]), float(half[1])), (-float(half[0]), -float(half[1]))
    people = shop_with(4, [stands(one), stands(two)], 4.0, seed=seed)
    assert everybody(people) == [1, 2]
    assert who_stands_at(people[-1], one, 0.2) != who_stands_at(people[-1], two, 0.2)


@pytest.mark.parametrize("count", [2, 3, 4])
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("one", "two"),
    [
        (walks((-2.0, 0.0), (2.0, 0.0)), walks((2.0, 0.6), (-2.0, 0.6))),
        (walks((-2.0, 0.0), (2.0, 0.0)), walks((0.0, 2.0), (0.0, -2.0), 0.7, 4.7)),
        (walks((-2.0, -1.0), (2.0, 1.0)), walks((-2.0, 1.0), (2.0, -1.0), 0.8, 4.8)),
    ],
    ids=["pass by", "cross", "meet"],
)
def test_two_who_cross_keep_their_ids(count: int, seed: int, one: Way, two: Way) -> None:
    people = shop_with(count, [one, two], 5.5, seed=seed)
    ids = []
    for time_s in (0.6, 5.4):
        places = one(time_s), two(time_s)
        assert all(place is not None for place in places)
        ids.append([who_stands_at(at(people, time_s), place) for place in places if place is not None])
    assert everybody(people) == [1, 2]
    assert ids[0] == ids[1]
    assert sorted(i for i in ids[0] if i is not None) == [1, 2]


def test_identities_that_went_round_go_back_and_what_was_taken_meanwhile_is_in_doubt(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: list[Exchange] = []

    class TellsOnce:
        def update(self, timestamp_ns: int, keys: Sequence[int], *_: object) -> list[Exchange]:
            if told or timestamp_ns < nanoseconds(1.5):
                return []
            told.append(Exchange((keys[0], keys[2], keys[1]), nanoseconds(1.0)))
            return told

    monkeypatch.setattr("tracking.identities.Wardrobe", TellsOnce)
    places = (-1.5, 0.0), (0.0, 0.0), (1.5, 0.0)
    ring = ring_of_cameras(3)
    tracker = IdentityTracker(a_store(ring))
    ticks = film(ring, [stands(place) for place in places], 3.0, rng=np.random.default_rng(0))
    people = [tracker.update(time_ns, views) for time_ns, views in ticks]
    before = [who_stands_at(at(people, 1.2), place) for place in places]
    after = [who_stands_at(people[-1], place) for place in places]
    # By key: the first is who the third is taken for, the third who the second is, the second who the first is.
    by_key = [before.index(number) for number in (1, 2, 3)]
    assert [after[place] for place in by_key] == [3, 1, 2]
    mix_ups = tracker.take_mix_ups()
    assert [each.identity_ids for each in mix_ups] == [(1, 2), (1, 3), (2, 3)]
    assert all(each.since_ns == nanoseconds(1.0) for each in mix_ups)
    assert all(each.until_ns is not None and each.until_ns >= nanoseconds(1.5) for each in mix_ups)


@pytest.mark.parametrize("place", [(0.0, 3.6), (4.5, 0.0), (-3.4, -3.4)], ids=["mirror", "glass", "corner"])
def test_whoever_stands_beyond_the_walkable_floor_is_nobody(place: Place) -> None:
    people = shop_with(3, [stands(place), stands((0.0, 0.0))], 3.0)
    assert everybody(people) == [1]
    assert who_stands_at(people[-1], (0.0, 0.0)) == 1


def test_a_mirror_image_that_moves_with_somebody_is_nobody() -> None:
    people = shop_with(3, [walks((-1.0, 2.5), (1.0, 2.0)), walks((-1.0, 3.5), (1.0, 4.0))], 5.0)
    assert everybody(people) == [1]


def test_a_passer_by_is_nobody() -> None:
    assert everybody(shop_with(3, [walks((-4.0, 3.8), (4.0, 3.8))], 4.5)) == []


@pytest.mark.parametrize("count", [2, 4])
def test_a_dead_camera_in_between_changes_nothing(count: int) -> None:
    ring = ring_of_cameras(count)
    ticks = film(
        ring,
        [walks((-1.5, -1.0), (1.5, 1.0)), stands((1.5, -1.0))],
        6.0,
        rng=np.random.default_rng(1),
        dead=lambda camera_id, time_s: camera_id == "c0" and 2.0 <= time_s < 4.0,
    )
    people = follow(a_store(ring), ticks)
    assert everybody(people) == [1, 2]
    assert who_stands_at(people[-1], (1.5, 1.0)) == who_stands_at(at(people, 0.6), (-1.2, -0.8), 0.5)
    assert [len(view.identity_id) for view in at(people, 3.0).sightings] == [2] * (count - 1)


def test_all_cameras_dead_for_a_second_change_nothing() -> None:
    ring = ring_of_cameras(2)
    ticks = film(
        ring,
        [walks((-1.5, -1.0), (1.5, 1.0), 0.0, 5.0)],
        5.0,
        rng=np.random.default_rng(1),
        dead=lambda camera_id, time_s: 2.0 <= time_s < 3.0,
    )
    assert everybody(follow(a_store(ring), ticks)) == [1]


def without_feet(camera_id: str, seen: Seen, time_s: float) -> Seen:
    return replace(seen, floor_m=np.full(2, np.nan))


def test_a_box_cut_by_the_pictures_edge_creates_nobody() -> None:
    ring = ring_of_cameras(2)
    ticks = film(ring, [stands((0.0, 0.0))], 3.0, rng=np.random.default_rng(2), spoil=without_feet)
    assert everybody(follow(a_store(ring), ticks)) == []


def test_a_box_cut_by_the_pictures_edge_moves_nobody() -> None:
    ring = ring_of_cameras(2)

    def cut_later(camera_id: str, seen: Seen, time_s: float) -> Seen:
        return without_feet(camera_id, seen, time_s) if time_s >= 1.5 else seen

    ticks = film(ring, [stands((0.5, 0.2))], 4.0, rng=np.random.default_rng(2), spoil=cut_later)
    people = follow(a_store(ring), ticks)
    assert everybody(people) == [1]
    assert people[-1].last_seen_ns[0] == people[-1].timestamp_ns, "whose feet are cut off is still seen"
    assert np.linalg.norm(people[-1].position_m[0] - [0.5, 0.2]) < 0.3


@pytest.mark.parametrize("off_m", [0.6, 1.0, 2.0])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_wrong_feet_for_a_moment_make_no_second_person(count: int, off_m: float) -> None:
    ring = ring_of_cameras(count)

    def slip(camera_id: str, seen: Seen, time_s: float) -> Seen:
        wrong = camera_id == "c0" and 1.5 <= time_s < 1.8
        return replace(seen, floor_m=seen.floor_m + np.array([0.0, off_m])) if wrong else seen

    ticks = film(ring, [stands((0.5, -0.5))], 3.5, rng=np.random.default_rng(3), spoil=slip)
    people = follow(a_store(ring), ticks)
    assert everybody(people) == [1]
    assert np.linalg.norm(people[-1].position_m[0] - [0.5, -0.5]) < 0.2


def test_a_track_that_has_gone_over_to_somebody_else_is_theirs() -> None:
    ring = ring_of_cameras(3)
    one, two = (-1.0, 0.5), (1.0, 0.5)

    def swapped(camera_id: str, seen: Seen, time_s: float) -> Seen:
        swap = camera_id == "c1" and time_s >= 2.0
        return replace(seen, track_id=3 - seen.track_id) if swap else seen

    ticks = film(ring, [stands(one), stands(two)], 5.0, rng=np.random.default_rng(4), spoil=swapped)
    people = follow(a_store(ring), ticks)
    assert everybody(people) == [1, 2]
    before, after = at(people, 1.5), people[-1]
    assert [who_stands_at(before, p) for p in (one, two)] == [who_stands_at(after, p) for p in (one, two)]
    boxes = {s.camera_id: dict(zip(s.identity_id.tolist(), s.xyxy, strict=True)) for s in after.sightings}
    earlier = {s.camera_id: dict(zip(s.identity_id.tolist(), s.xyxy, strict=True)) for s in before.sightings}
    assert boxes["c1"][1] == pytest.approx(earlier["c1"][1], abs=30)


@pytest.mark.parametrize("count", [3, 4])  # of two cameras that contradict each other either may be right
@pytest.mark.parametrize("hidden_s", [0.2, 0.4, 0.7, 1.0])
def test_tracks_exchanged_while_people_cross_make_no_third_person(count: int, hidden_s: float) -> None:
    ring = ring_of_cameras(count)
    one, two = walks((-2.0, -0.7), (2.0, 0.7), 0.5, 4.5), walks((-2.0, 0.7), (2.0, -0.7), 0.5, 4.5)

    def exchanged(camera_id: str, seen: Seen, time_s: float) -> Seen:
        return replace(seen, track_id=3 - seen.track_id) if camera_id == "c0" and time_s >= 2.5 else seen

    def renumbered(camera_id: str, seen: Seen, time_s: float) -> Seen:
        return exchanged(camera_id, replace(seen, track_id=min(seen.track_id, 2)), time_s)

    ticks = film(
        ring,
        [one, two],
        5.0,
        rng=np.random.default_rng(15),
        blind=lambda camera_id, person, time_s: camera_id == "c0" and person == 1 and 2.4 <= time_s < 2.5 + hidden_s,
        spoil=renumbered,
    )
    people = follow(a_store(ring), ticks)
    assert everybody(people) == [1, 2]
    assert who_stands_at(people[-1], (2.0, 0.7)) == who_stands_at(at(people, 0.6), (-2.0, -0.7))


@pytest.mark.parametrize(("hidden_s", "seed"), [(0.5, 7), (3.0, 1), (1.0, 0)])
def test_a_track_that_went_along_with_a_passer_by_takes_nobodys_place(hidden_s: float, seed: int) -> None:
    ring = ring_of_cameras(2)
    passer_by, stander = walks((-1.5, 0.2), (1.5, 0.2), 0.8, 8.3), stands((0.0, 0.0))
    hides_s = 4.25

    def goes_along(camera_id: str, seen: Seen, time_s: float) -> Seen:
        return replace(seen, track_id=3 - seen.track_id) if camera_id == "c0" and time_s >= hides_s else seen

    ticks = film(
        ring,
        [passer_by, stander],
        9.0,
        rng=np.random.default_rng(seed),
        blind=lambda camera_id, person, time_s: (
            camera_id == "c0" and person == 1 and hides_s <= time_s < hides_s + hidden_s
        ),
        spoil=goes_along,
    )
    people = follow(a_store(ring), ticks)
    assert everybody(people) == [1, 2]
    before = [who_stands_at(at(people, 0.7), place) for place in ((-1.5, 0.2), (0.0, 0.0))]
    assert before == [who_stands_at(people[-1], place) for place in ((1.5, 0.2), (0.0, 0.0))]


def leans_over(start: Place, edge: Place) -> Way:
    """Somebody who walks somewhere, is placed there for more than a second, and walks back."""

    def place(time_s: float) -> Place:
        share = min(max(min(time_s - 1.0, 5.0 - time_s), 0.0), 1.0)
        return start[0] + share * (edge[0] - start[0]), start[1] + share * (edge[1] - start[1])

    return place


def test_who_leans_over_a_shelf_by_a_wall_is_not_gone() -> None:
    people = shop_with(3, [leans_over((1.5, 2.0), (3.3, 2.0))], 6.0, exit_m=np.array([[-3.0, -1.0], [-3.0, 1.0]]))
    assert everybody(people) == [1]
    assert {len(instant) for instant in people[15:]} == {1}
    assert who_stands_at(people[-1], (1.5, 2.0)) == 1
    beyond = [instant.position_m[0, 0] for instant in people if len(instant)]
    assert max(beyond) <= 3.0 + IdentitySettings().outside_m


def test_who_goes_out_by_the_exit_is_gone_at_once() -> None:
    people = shop_with(3, [walks((1.5, 0.0), (4.5, 0.0), 0.5, 3.0)], 4.5, exit_m=EXIT_M)
    assert everybody(people) == [1]
    assert len(people[-1]) == 0


def test_somebody_hidden_in_the_middle_for_five_seconds_keeps_the_id() -> None:
    ring = ring_of_cameras(3)
    ticks = film(
        ring,
        [walks((-1.0, 0.0), (0.0, 0.0), 0.0, 1.5)],
        9.0,
        rng=np.random.default_rng(5),
        blind=lambda camera_id, person, time_s: 2.0 <= time_s < 7.0,
    )
    people = follow(a_store(ring, exit_m=EXIT_M), ticks)
    assert everybody(people) == [1]
    hidden = at(people, 6.5)
    assert hidden.last_seen_ns[0] == pytest.approx(nanoseconds(2.0), abs=nanoseconds(0.1))
    assert np.linalg.norm(hidden.position_m[0]) < 0.4


@pytest.mark.parametrize("with_entrance", [True, False])
def test_who_was_hidden_on_the_way_to_the_exit_leaves_as_who_they_are(with_entrance: bool) -> None:
    """Nobody is new where people only leave; where one door serves for both, somebody there may be."""
    ring = ring_of_cameras(3)
    ticks = film(
        ring,
        [walks((-2.5, 0.0), (0.0, 0.0), 0.0, 2.5), walks((0.0, 0.0), (2.8, 0.0), 3.0, 6.0)],
        9.0,
        rng=np.random.default_rng(6),
        blind=lambda camera_id, person, time_s: time_s >= 2.8 if person == 0 else time_s < 5.0,
    )
    entrance_m = np.array([[-3.0, -1.0], [-3.0, 1.0]]) if with_entrance else EXIT_M
    people = follow(replace(a_store(ring, exit_m=EXIT_M), entrance_m=entrance_m), ticks)
    assert everybody(people) == ([1] if with_entrance else [1, 2])


def test_who_is_hidden_close_to_somebody_else_is_not_taken_for_them() -> None:
    ring = ring_of_cameras(3)
    ticks = film(
        ring,
        [walks((-1.0, 0.0), (-0.15, 0.0), 0.0, 2.0), walks((1.0, 0.0), (0.15, 0.0), 0.0, 2.0)],
        8.0,
        rng=np.random.default_rng(8),
        blind=lambda camera_id, person, time_s: person == 1 and 3.0 <= time_s < 5.5,
    )
    people = follow(a_store(ring, exit_m=EXIT_M), ticks)
    assert everybody(people) == [1, 2]
    assert people[-1].identity_id.tolist() == [1, 2]


def test_who_moves_a_little_while_hidden_keeps_the_id() -> None:
    ring = ring_of_cameras(3)
    ticks = film(
        ring,
        [walks((-1.0, 0.0), (0.0, 1.0), 2.5, 5.0)],
        8.0,
        rng=np.random.default_rng(6),
        blind=lambda camera_id, person, time_s: 2.0 <= time_s < 5.5,
    )
    assert everybody(follow(a_store(ring, exit_m=EXIT_M), ticks)) == [1]


def test_who_is_never_seen_again_is_gone_after_a_while() -> None:
    def leaves(time_s: float) -> Place | None:
        return (0.0, 0.0) if time_s < 2.0 else None

    ring = ring_of_cameras(2)
    ticks = film(ring, [leaves], 11.0, rng=np.random.default_rng(7))
    settings_ = IdentitySettings(hidden_s=8.0)
    with_exit, without = follow(a_store(ring, exit_m=EXIT_M), ticks, settings_), follow(a_store(ring), ticks)
    assert len(at(without, 2.0 + settings_.vanish_s - 0.2)) == 1
    assert len(at(without, 2.0 + settings_.vanish_s + 0.2)) == 0
    assert len(at(with_exit, 2.0 + settings_.hidden_s - 0.2)) == 1
    assert len(with_exit[-1]) == 0


def test_a_flicker_is_nobody() -> None:
    def flickers(time_s: float) -> Place | None:
        return (0.0, 0.0) if time_s < 0.2 else None

    assert everybody(shop_with(2, [flickers], 4.0)) == []


def test_time_may_not_run_backwards() -> None:
    tracker = IdentityTracker(a_store(ring_of_cameras(1)))
    tracker.update(100, [])
    assert len(tracker.update(100, [])) == 0
    with pytest.raises(ValueError, match="time ran backwards from 100 to 99 ns"):
        tracker.update(99, [])


@pytest.mark.parametrize("count", [2, 4])
def test_ids_do_not_depend_on_the_order_of_the_cameras(count: int) -> None:
    ring = ring_of_cameras(count)
    ways = [walks((-1.5, -1.0), (1.5, 1.0)), walks((1.5, -1.0), (-1.5, 1.0), 1.0, 5.0)]
    ticks = film(ring, ways, 5.0, rng=np.random.default_rng(8))
    turned = [(time_ns, views[::-1]) for time_ns, views in ticks]
    here, there = follow(a_store(ring), ticks), follow(a_store(ring[::-1]), turned)
    assert everybody(here) == everybody(there) == [1, 2]
    for one, other in zip(here, there, strict=True):
        assert one.identity_id.tolist() == other.identity_id.tolist()
        assert one.position_m == pytest.approx(other.position_m, abs=0.15)


def test_two_runs_are_the_same() -> None:
    ring = ring_of_cameras(3)
    ways = [walks((-1.5, -1.0), (1.5, 1.0)), walks((1.5, -1.0), (-1.5, 1.0))]
    ticks = film(ring, ways, 4.0, rng=np.random.default_rng(9))
    for one, other in zip(follow(a_store(ring), ticks), follow(a_store(ring), ticks), strict=True):
        assert one.identity_id.tolist() == other.identity_id.tolist()
        np.testing.assert_array_equal(one.position_m, other.position_m)
        np.testing.assert_array_equal(one.hands_m, other.hands_m)


def test_twelve_cameras_see_two_people_and_their_hands() -> None:
    people = shop_with(12, [walks((-1.5, -1.0), (1.5, -1.0)), stands((0.0, 1.0))], 2.5)
    assert everybody(people) == [1, 2]
    last = people[-1]
    assert len(last.sightings) == 12
    row = last.identity_id.tolist().index(who_stands_at(last, (0.0, 1.0)))
    grips = body_m((0.0, 1.0))
    for wrist, elbow in ((9, 7), (10, 8)):
        grip = grips[wrist] + 0.375 * (grips[wrist] - grips[elbow])
        assert np.linalg.norm(last.hands_m[row] - grip, axis=1).min() < 0.08
    assert (last.hand_miss_m[row] < 0.15).all()


def test_sightings_say_who_is_in_which_picture() -> None:
    people = shop_with(3, [stands((-1.0, 0.0)), stands((1.0, 0.5))], 2.0)[-1]
    for view in people.sightings:
        assert sorted(view.identity_id.tolist()) == [1, 2]
        assert view.xyxy.shape == (2, 4)
        assert (view.hand_score > 0.5).all()


def test_two_boxes_of_one_person_are_one_person() -> None:
    ring = ring_of_cameras(2)
    rng = np.random.default_rng(10)
    tracker = IdentityTracker(a_store(ring))
    found = set()
    for k in range(45):
        time_s = k / RATE_HZ
        views = []
        for camera in ring:
            whole = seen_by(camera, 1, body_m((0.2, 0.3)), rng)
            assert whole is not None
            left, top, right, bottom = whole.xyxy
            half = replace(
                whole,
                track_id=2,
                xyxy=np.array([left, top, right, (top + bottom) / 2]),
                floor_m=camera.floor_points(np.array([[(left + right) / 2, (top + bottom) / 2]]))[0],
            )
            views.append(tracks_of(camera.camera_id, time_s, [whole, half]))
        found |= set(tracker.update(nanoseconds(time_s), views).identity_id.tolist())
    assert found == {1}


def test_without_a_known_floor_everybody_counts() -> None:
    ring = ring_of_cameras(2)
    ticks = film(ring, [stands((0.0, 3.5))], 2.0, rng=np.random.default_rng(11))
    assert everybody(follow(StoreLayout("floor", cameras=ring), ticks)) == [1]


def uncalibrated(walkable_px: np.ndarray | None = None) -> StoreLayout:
    return StoreLayout("pictures", views=(View("c0", (1280, 720), walkable_px=walkable_px),))


def test_without_calibration_each_track_is_an_identity() -> None:
    ring = ring_of_cameras(1)
    ticks = film(ring, [stands((0.0, -1.0)), stands((0.0, 1.0))], 2.0, rng=np.random.default_rng(12))
    people = follow(uncalibrated(), ticks)
    assert everybody(people) == [1, 2]
    assert np.isnan(people[-1].position_m).all()
    assert np.isnan(people[-1].hands_m).all()
    assert people[-1].sightings[0].identity_id.tolist() == [1, 2]


def test_two_cameras_without_calibration_have_people_of_their_own() -> None:
    ring = ring_of_cameras(2)
    ticks = film(ring, [stands((0.0, 0.0))], 2.0, rng=np.random.default_rng(12))
    assert everybody(follow(StoreLayout("pictures"), ticks)) == [1, 2]


def test_feet_beyond_the_walkable_part_of_the_picture_are_nobodys() -> None:
    ring = ring_of_cameras(1)
    left = np.array([(0, 0), (640, 0), (640, 720), (0, 720)], float)
    ticks = film(ring, [stands((0.0, -1.0)), stands((0.0, 1.0))], 2.0, rng=np.random.default_rng(12))
    people = follow(uncalibrated(left), ticks)
    assert everybody(people) == [1]
    assert people[-1].sightings[0].xyxy[0, 0] < 640


def test_who_comes_into_the_walkable_part_came_then() -> None:
    ring = ring_of_cameras(1)
    left = np.array([(0, 0), (640, 0), (640, 720), (0, 720)], float)
    across = ring[0].image_points(np.array([[0.0, -1.0, 0.0], [0.0, 1.0, 0.0]]))
    ends = ((0.0, 1.0), (0.0, -1.0)) if across[0, 0] < across[1, 0] else ((0.0, -1.0), (0.0, 1.0))
    ticks = film(ring, [walks(*ends, 0.0, 4.0)], 4.0, rng=np.random.default_rng(13))
    people = follow(uncalibrated(left), ticks)
    assert everybody(people) == [1]
    assert people[-1].first_seen_ns[0] == pytest.approx(nanoseconds(2.0), abs=nanoseconds(0.3))


def test_tracks_outside_that_are_long_gone_are_forgotten() -> None:
    tracker = IdentityTracker(uncalibrated(np.array([(0, 0), (10, 0), (10, 10), (0, 10)], float)))
    for second in range(300):
        seen = Seen(second, np.array([300.0, 200, 340, 300]), np.zeros((17, 3)), np.full(2, np.nan))
        tracker.update(nanoseconds(second), [tracks_of("c0", second, [seen])])
    assert len(tracker._outside) < 100


def test_a_camera_without_calibration_beside_calibrated_ones_does_not_disturb_them() -> None:
    ring = ring_of_cameras(2)
    layout = replace(a_store(ring), views=(View("extra", (1280, 720), walkable_px=square(1.0) - 100),))
    extra = a_camera("extra", (0.0, 5.0, 3.0), (0.0, 0.0, 0.8))
    ticks = film((*ring, extra), [stands((0.0, 0.0))], 2.0, rng=np.random.default_rng(14))
    assert everybody(follow(layout, ticks)) == [1]


@pytest.mark.parametrize("name", ["gate_m", "confirm_s", "outside_s", "hidden_s"])
def test_settings_must_be_positive(name: str) -> None:
    with pytest.raises(ValueError, match=f"IdentitySettings.{name}: expected a positive number, got 0"):
        IdentitySettings(**{name: 0.0})


def head_of(place: Place) -> dict[str, Sequence[float]]:
    return {"head": (*place, 1.6), "neck": (*place, 1.5), "right_elbow": (*place, 1.1), "right_wrist": (*place, 0.9)}


def follow_bodies(instants: Sequence[TrackedBodies]) -> tuple[BodyIdentities, list[Identities]]:
    bodies = BodyIdentities(StoreLayout("floor"))
    return bodies, [bodies.update(instant) for instant in instants]


def test_bodies_of_an_outside_tracker_keep_their_names() -> None:
    bodies, people = follow_bodies(
        [bodies_at(k / 10, {"eve": head_of((1.0, 2.0)), "bob": head_of((0, 0))}) for k in range(9)]
    )
    assert people[-1].identity_id.tolist() == [1, 2]
    assert [bodies.name(i) for i in (1, 2)] == ["eve", "bob"]
    assert people[-1].position_m.tolist() == [[1.0, 2.0], [0.0, 0.0]]
    with pytest.raises(ValueError, match="identity 3 is not known"):
        bodies.name(3)


def test_the_hand_of_a_body_lies_beyond_the_wrist() -> None:
    _, people = follow_bodies([bodies_at(0.0, {"eve": head_of((1.0, 2.0))})])
    assert np.isnan(people[0].hands_m[0, 0]).all()
    assert people[0].hands_m[0, 1] == pytest.approx([1.0, 2.0, 0.9 - 0.375 * 0.2])


def test_a_wrist_without_its_elbow_stands_for_the_hand() -> None:
    _, people = follow_bodies([bodies_at(0.0, {"eve": {"left_wrist": (1.0, 2.0, 0.9)}})])
    assert people[0].hands_m[0, 0] == pytest.approx([1.0, 2.0, 0.9])


def test_a_body_that_is_missing_for_a_while_keeps_its_number_and_place() -> None:
    here = {"eve": head_of((1.0, 2.0))}
    bodies, people = follow_bodies(
        [bodies_at(0, here), bodies_at(20, {}), bodies_at(25, {"eve": NO_JOINTS}), bodies_at(40, here)]
    )
    assert [instant.identity_id.tolist() for instant in people] == [[1]] * 4
    assert people[1].last_seen_ns[0] == 0
    assert np.isnan(people[1].hands_m).all()
    assert people[2].position_m.tolist() == [[1.0, 2.0]]
    assert bodies.name(1) == "eve"


def test_a_body_that_stays_away_is_gone_and_is_the_same_when_it_returns() -> None:
    here = {"eve": head_of((1.0, 2.0))}
    _, people = follow_bodies([bodies_at(0, here), bodies_at(31, {}), bodies_at(60, here)])
    assert [instant.identity_id.tolist() for instant in people] == [[1], [], [1]]
    assert people[2].first_seen_ns[0] == nanoseconds(60)
