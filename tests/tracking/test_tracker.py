from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tracking.tracker import Tracker, TrackerSettings
from tracking.types import Tracks
from vision.cameras import Camera
from vision.detections import Detections
from vision.detector import load_detector
from vision.sources import VideoFilesSource

NS_PER_S = 1_000_000_000
Row = tuple[float, float, float, float, float]  # left, top, right, bottom, confidence


def detections(time_s: float, rows: Iterable[Row], camera_id: str = "cam", class_id: int = 0) -> Detections:
    table = np.array(list(rows), float).reshape(-1, 5)
    return Detections(
        camera_id,
        round(time_s * NS_PER_S),
        table[:, :4].astype(np.float32),
        table[:, 4].astype(np.float32),
        np.full(len(table), class_id, np.int64),
        np.zeros((len(table), 0, 3), np.float32),
    )


def person(x: float, confidence: float = 0.9, *, y: float = 100.0, height: float = 200.0, width: float = 80.0) -> Row:
    """A person whose box has its centre at x and its top at y."""
    return (x - width / 2, y, x + width / 2, y + height, confidence)


def follow(frames: Sequence[Sequence[Row]], rate_hz: float = 10.0, tracker: Tracker | None = None) -> list[Tracks]:
    tracker = tracker or Tracker("cam")
    return [tracker.update(detections(i / rate_hz, rows)) for i, rows in enumerate(frames)]


def ids(tracks: Sequence[Tracks]) -> list[int]:
    """All ids in the order in which they came."""
    return list(dict.fromkeys(int(i) for frame in tracks for i in frame.track_id))


def overhead_camera() -> Camera:
    """Looks straight down from 3 m: 100 px are 1 m on the floor, and pixel (200, 200) is the origin."""
    cam_from_world = np.array([[1.0, 0, 0, 0], [0, -1, 0, 0], [0, 0, -1, 3], [0, 0, 0, 1]])
    return Camera("cam", np.array([[300.0, 0, 200], [0, 300, 200], [0, 0, 1]]), np.zeros(5), cam_from_world, (400, 400))


def test_a_person_standing_still_keeps_one_id() -> None:
    tracks = follow([[person(300)]] * 50)
    assert ids(tracks) == [1]
    assert [len(frame) for frame in tracks] == [0, 0] + [1] * 48


def test_a_person_is_confirmed_after_the_same_time_at_any_frame_rate_that_gives_enough_frames() -> None:
    for rate_hz in (10, 30, 60):
        tracks = follow([[person(300)]] * rate_hz, rate_hz)
        first = next(i for i, frame in enumerate(tracks) if len(frame))
        assert first == max(2, round(0.1 * rate_hz))


def test_what_counts_as_sure_follows_what_people_get_in_this_video() -> None:
    def starts(usual: float, newcomer: float) -> bool:
        frames = [[person(300, usual)] for _ in range(200)]
        return len(ids(follow(frames + [[person(300, usual), person(600, newcomer)]] * 10))) == 2

    assert starts(0.55, 0.45)
    assert not starts(0.95, 0.55)
    assert starts(0.95, 0.75)


def test_of_two_who_overlap_the_height_tells_who_is_who() -> None:
    near, far = person(300, y=100, height=300, width=100), person(330, y=100, height=180, width=100)
    frames = [[near, far] if i % 2 else [far, near] for i in range(10)]
    # The far one is hidden for a moment in which the near one's box comes to lie where both were expected.
    frames += [[person(316, y=100, height=300, width=100)]] * 3 + [[near, far]] * 5
    last = follow(frames)[-1]
    heights = dict(zip(last.track_id.tolist(), (last.xyxy[:, 3] - last.xyxy[:, 1]).tolist(), strict=True))
    assert sorted(heights) == [1, 2]
    assert abs(heights[1] - heights[2]) > 100


def test_at_a_low_frame_rate_people_are_still_followed() -> None:
    tracks = follow([[person(300 + 3 * i, 0.9 if i % 4 else 0.3)] for i in range(20)], rate_hz=2)
    assert ids(tracks) == [1]
    assert len(tracks[-1]) == 1


def test_the_first_sighting_is_remembered_from_before_the_confirmation() -> None:
    tracker = Tracker("cam")
    tracks = follow([[]] * 5 + [[person(300)]] * 10, tracker=tracker)
    assert ids(tracks) == [1]
    assert tracker.first_seen_ns(1) == NS_PER_S // 2
    with pytest.raises(ValueError, match="camera cam: track 7 is not being followed"):
        tracker.first_seen_ns(7)


def test_a_flicker_is_nobody() -> None:
    assert ids(follow([[person(300)] if i % 20 < 2 else [] for i in range(100)])) == []


def test_a_thing_that_is_hardly_ever_taken_for_a_person_is_nobody() -> None:
    assert ids(follow([[person(300, 0.55 if i % 3 == 0 else 0.35)] for i in range(100)])) == []


def test_a_weak_detection_begins_no_track_but_continues_one() -> None:
    assert ids(follow([[person(300, 0.4)]] * 20)) == []
    tracks = follow([[person(300, 0.9 if i < 10 else 0.2)] for i in range(40)])
    assert ids(tracks) == [1]
    assert len(tracks[-1]) == 1
    assert tracks[-1].confidence[0] == pytest.approx(0.2)


def test_detections_below_the_floor_are_ignored() -> None:
    tracks = follow([[person(300, 0.9 if i < 10 else 0.05)] for i in range(20)])
    assert [len(frame) for frame in tracks[10:]] == [0] * 10


def test_a_gap_keeps_the_id_and_a_long_one_ends_it() -> None:
    def with_gap(gap: int) -> list[int]:
        return ids(follow([[person(100 + 4 * i)] if not 20 <= i < 20 + gap else [] for i in range(100)]))

    assert with_gap(15) == [1]
    assert len(with_gap(40)) == 2


def test_missing_frames_are_bridged_like_frames_without_detections() -> None:
    tracker = Tracker("cam")
    tracks = [tracker.update(detections(i / 10, [person(100 + 8 * i)])) for i in range(60) if not 20 <= i < 32]
    assert ids(tracks) == [1]


def test_two_who_cross_keep_their_ids() -> None:
    frames = [[person(100 + 10 * i), person(700 - 10 * i, y=130, height=230, width=95)] for i in range(60)]
    tracks = follow(frames)
    assert ids(tracks) == [1, 2]
    for frame in (tracks[5], tracks[-1]):
        heights = frame.xyxy[:, 3] - frame.xyxy[:, 1]
        assert dict(zip(frame.track_id.tolist(), (heights > 215).tolist(), strict=True)) == {1: False, 2: True}


def test_one_who_is_hidden_while_crossing_comes_back_as_themselves() -> None:
    frames = []
    for i in range(70):
        walker, other = person(100 + 9 * i), person(730 - 9 * i)
        frames.append([walker] if abs(walker[0] - other[0]) < 70 else [walker, other])
    tracks = follow(frames)
    assert ids(tracks) == [1, 2]
    by_id = dict(zip(tracks[-1].track_id.tolist(), tracks[-1].xyxy[:, 0].tolist(), strict=True))
    assert by_id[1] > by_id[2]


def test_somebody_half_covered_is_held_by_weak_detections() -> None:
    frames = [[person(300 - i)] for i in range(20)]
    for i in range(30):
        frames.append([person(280, 0.3, height=200 - 4 * i if i < 15 else 140), person(340 + i, y=170, height=250)])
    tracks = follow(frames)
    assert ids(tracks) == [1, 2]
    assert tracks[-1].track_id.tolist() == [1, 2]


def test_a_second_box_of_one_person_begins_no_track() -> None:
    frames = [[person(300), person(303, 0.7, y=120)] for _ in range(30)]
    assert ids(follow(frames)) == [1]


def test_two_people_who_overlap_by_half_are_two() -> None:
    assert ids(follow([[person(300), person(325)]] * 10)) == [1, 2]


def test_only_people_are_followed() -> None:
    tracker = Tracker("cam")
    assert not any(len(tracker.update(detections(i / 10, [person(300)], class_id=39))) for i in range(20))


def test_boxes_without_area_or_number_are_left_out() -> None:
    tracker = Tracker("cam")
    odd = [(300.0, 100.0, 300.0, 200.0, 0.9), (np.nan, 0.0, 10.0, 10.0, 0.9), (50.0, 50.0, 20.0, 90.0, 0.9)]
    tracks = [tracker.update(detections(i / 10, [*odd, person(300)])) for i in range(10)]
    assert ids(tracks) == [1]


def test_rows_carry_what_was_detected_with_them() -> None:
    tracker = Tracker("cam")
    for i in range(5):
        seen = detections(i / 10, [person(300, 0.8), person(600, 0.9)])
        keypoints = np.zeros((2, 17, 3), np.float32)
        keypoints[:, 0, 0] = [300, 600]
        tracks = tracker.update(
            Detections("cam", seen.timestamp_ns, seen.xyxy, seen.confidence, seen.class_id, keypoints)
        )
    assert tracks.keypoints[:, 0, 0].tolist() == [300, 600]
    assert tracks.confidence.tolist() == pytest.approx([0.8, 0.9])
    np.testing.assert_allclose(tracks.xyxy, seen.xyxy, atol=0.01)
    assert tracks.timestamp_ns == seen.timestamp_ns
    assert tracks.xyxy.dtype == np.float32


def test_feet_are_put_on_the_floor_of_a_calibrated_camera() -> None:
    tracker = Tracker("cam", overhead_camera())
    for i in range(5):
        tracks = tracker.update(detections(i / 10, [person(250, y=50, height=50, width=20), person(50, y=200)]))
    np.testing.assert_allclose(tracks.floor_m[0], [0.5, 1.0], atol=1e-6)
    assert np.isnan(tracks.floor_m[1]).all()  # cut by the picture's lower edge
    assert np.isnan(follow([[person(250)]] * 5)[-1].floor_m).all()


def test_two_trackers_share_no_ids() -> None:
    one, two = Tracker("a"), Tracker("b")
    for i in range(5):
        first = one.update(detections(i / 10, [person(300)], "a"))
        second = two.update(detections(i / 10, [person(300)], "b"))
    assert first.track_id.tolist() == second.track_id.tolist() == [1]
    assert (first.camera_id, second.camera_id) == ("a", "b")


def test_reset_forgets_people_and_time_but_never_uses_an_id_twice() -> None:
    tracker = Tracker("cam")
    assert ids(follow([[person(300)]] * 5, tracker=tracker)) == [1]
    tracker.reset()
    assert ids(follow([[person(300)]] * 5, tracker=tracker)) == [2]


def test_a_second_look_at_the_same_instant_moves_nothing() -> None:
    tracker = Tracker("cam")
    tracks = follow([[person(100 + 5 * i)] for i in range(10)], tracker=tracker)
    again = tracker.update(detections(0.9, [person(145)]))
    assert again.track_id.tolist() == tracks[-1].track_id.tolist()
    np.testing.assert_allclose(again.xyxy, tracks[-1].xyxy, atol=1)


def test_time_that_runs_backwards_is_refused() -> None:
    tracker = Tracker("cam")
    tracker.update(detections(1.0, []))
    with pytest.raises(ValueError, match="camera cam: time ran backwards, from 1000000000 ns to 900000000 ns"):
        tracker.update(detections(0.9, []))


def test_detections_of_another_camera_are_refused() -> None:
    with pytest.raises(ValueError, match="tracker of camera cam: got detections of camera other"):
        Tracker("cam").update(detections(0, [], "other"))


def test_coasting_moves_people_on_as_they_walked() -> None:
    tracker = Tracker("cam", overhead_camera())
    follow([[person(100 + 10 * i, y=50, height=150), person(300, y=100)] for i in range(20)], tracker=tracker)
    now = tracker.coast(1_900_000_000)
    later = tracker.coast(2_200_000_000)
    assert later.timestamp_ns == 2_200_000_000
    assert later.track_id.tolist() == [1, 2]
    assert later.confidence.tolist() == now.confidence.tolist()
    assert later.first_seen_ns.tolist() == [0, 0]
    np.testing.assert_allclose(later.xyxy[0] - now.xyxy[0], [30, 0, 30, 0], atol=1)
    np.testing.assert_allclose(later.xyxy[1], now.xyxy[1], atol=0.5)
    np.testing.assert_allclose(later.floor_m[0] - now.floor_m[0], [0.3, 0], atol=0.01)


def test_coasting_to_the_last_frame_gives_what_it_gave() -> None:
    frames = crowd(3)
    tracker = Tracker("cam")
    last = follow(frames, tracker=tracker)[-1]
    again = tracker.coast(last.timestamp_ns)
    assert len(last) > 0
    assert again.track_id.tolist() == last.track_id.tolist()
    np.testing.assert_array_equal(again.xyxy, last.xyxy)


def test_keypoints_coast_with_their_box() -> None:
    tracker = Tracker("cam")
    for i in range(20):
        seen = detections(i / 10, [person(100 + 10 * i)])
        keypoints = np.full((1, 17, 3), 0.9, np.float32)
        keypoints[0, :, :2] = [100 + 10 * i, 150]
        tracker.update(Detections("cam", seen.timestamp_ns, seen.xyxy, seen.confidence, seen.class_id, keypoints))
    tracks = tracker.coast(2_100_000_000)
    np.testing.assert_allclose(tracks.keypoints[0], [[310, 150, 0.9]] * 17, atol=1)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10_000), looks=st.integers(1, 4))
def test_coasting_between_frames_changes_nothing(seed: int, looks: int) -> None:
    frames = crowd(seed)
    plain, coasted = Tracker("cam"), Tracker("cam")
    for i, rows in enumerate(frames):
        before, after = plain.update(detections(i / 10, rows)), coasted.update(detections(i / 10, rows))
        assert before.track_id.tolist() == after.track_id.tolist()
        np.testing.assert_array_equal(before.xyxy, after.xyxy)
        for look in range(looks):
            assert set(coasted.coast(i * 100_000_000 + look * 20_000_000).track_id.tolist()) == set(
                after.track_id.tolist()
            )


def test_nobody_coasts_before_the_first_frame_and_not_into_the_past() -> None:
    tracker = Tracker("cam")
    assert len(tracker.coast(5)) == 0
    tracker.update(detections(1.0, []))
    with pytest.raises(ValueError, match="camera cam: time ran backwards, from 1000000000 ns to 999999999 ns"):
        tracker.coast(999_999_999)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("high_confidence", 1.5, "high_confidence: expected 0 to 1"),
        ("lost_timeout_s", -1.0, "lost_timeout_s: expected 0 or more seconds"),
        ("confirm_s", float("nan"), "confirm_s: expected 0 or more seconds"),
        ("low_confidence", 0.6, "low_confidence 0.6 exceeds high_confidence 0.53"),
        ("confirm_hits", 0, "confirm_hits: expected at least 1"),
        ("usual_weight", 0.0, "expected 1 <= usual_weight <= usual_memory, got 0.0 and 1000.0"),
        ("usual_confidence", 0.0, "usual_confidence: expected above 0 to 1, got 0.0"),
    ],
)
def test_settings_out_of_bounds_are_refused(field: str, value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TrackerSettings(**{field: value})


def crowd(seed: int) -> list[list[Row]]:
    """Eight people on straight paths, with jitter, drops, weak boxes and false detections."""
    rng = np.random.default_rng(seed)
    start, speed = rng.uniform(0, 800, (8, 2)), rng.normal(0, 8, (8, 2))
    frames = []
    for i in range(40):
        x, y = (start + i * speed + rng.normal(0, 2, (8, 2))).T
        rows = [person(x[k], rng.uniform(0.3, 1.0), y=y[k]) for k in range(8) if rng.random() < 0.85]
        rows += [person(rng.uniform(0, 800), rng.uniform(0.1, 0.7)) for _ in range(rng.integers(0, 3))]
        frames.append(rows)
    return frames


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_rows_are_unique_people_detected_in_this_very_frame(seed: int) -> None:
    frames = crowd(seed)
    for rows, tracks in zip(frames, follow(frames), strict=True):
        assert len(np.unique(tracks.track_id)) == len(tracks) <= len(rows)
        assert set(tracks.confidence.tolist()) <= {float(np.float32(row[4])) for row in rows}


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_the_same_detections_give_the_same_tracks_in_any_order(seed: int) -> None:
    frames = crowd(seed)
    once, twice = follow(frames), follow(frames)
    for a, b in zip(once, twice, strict=True):
        assert a.track_id.tolist() == b.track_id.tolist()
        np.testing.assert_array_equal(a.xyxy, b.xyxy)
    turned = follow([rows[::-1] for rows in frames])
    boxes = [{tuple(box) for box in frame.xyxy.round(2).tolist()} for frame in once]
    assert boxes == [{tuple(box) for box in frame.xyxy.round(2).tolist()} for frame in turned]


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10_000), scale=st.sampled_from([0.5, 2.0]))
def test_a_resized_video_gives_the_same_ids(seed: int, scale: float) -> None:
    frames = crowd(seed)
    resized = [[(a * scale, b * scale, c * scale, d * scale, s) for a, b, c, d, s in rows] for rows in frames]
    for a, b in zip(follow(frames), follow(resized), strict=True):
        assert a.track_id.tolist() == b.track_id.tolist()


def spans_s(video: Path, weights: Path) -> dict[int, tuple[float, float]]:
    """First and last second of each track of a clip, from real pixels."""
    detector = load_detector(weights, providers="cpu", threads=1)
    source = VideoFilesSource([video])
    tracker = Tracker(video.stem)
    spans: dict[int, tuple[float, float]] = {}
    for tick in source:
        for seen in detector.detect(tick.frames):
            for track_id in tracker.update(seen).track_id.tolist():
                now_s = (tick.timestamp_ns - source.start_ns) / NS_PER_S
                first_s = (tracker.first_seen_ns(track_id) - source.start_ns) / NS_PER_S
                spans[track_id] = (first_s, now_s)
    return spans


@pytest.mark.slow
def test_six_people_one_after_another_are_six_tracks(shared: Path) -> None:
    spans = spans_s(shared / "footage" / "one-by-one-person-detection.mp4", shared / "weights" / "yolox_nano_416.onnx")
    truth = [(7, 19), (23, 45), (50, 69), (74, 87), (92, 120), (124, 136)]
    assert len(spans) == len(truth)
    for (first_s, last_s), (came_s, left_s) in zip(spans.values(), truth, strict=True):
        assert first_s == pytest.approx(came_s, abs=1.5)
        assert last_s == pytest.approx(left_s, abs=1.5)
    ordered = sorted(spans.values())
    assert all(one[1] < two[0] for one, two in pairwise(ordered))


@pytest.mark.slow
def test_three_people_who_cover_each_other_are_three_tracks(shared: Path) -> None:
    spans = spans_s(shared / "footage" / "store-aisle.mp4", shared / "weights" / "yolov8n-pose_fp32_from_int8.onnx")
    assert len(spans) == 3
    first_s = sorted(first for first, _ in spans.values())
    assert first_s == pytest.approx([0.0, 0.0, 1.4], abs=0.3)
    assert all(last > 3.5 for _, last in spans.values())
