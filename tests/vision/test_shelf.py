from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import store_sim
from vision.arrays import FloatArray, ImageArray
from vision.detections import COCO_PERSON, Detections
from vision.detector import load_detector
from vision.frames import Frame
from vision.layout import Bin, Box, read_layout
from vision.shelf import (
    DARK_LEVEL,
    Handling,
    ShelfChange,
    ShelfSettings,
    ShelfWatcher,
    edge_balance,
    exposure_offset,
    log_picture,
    products_in_bin,
    standing_boxes,
    step_moment,
    without_shading,
)

SECOND = 1_000_000_000
LAYOUTS = Path(store_sim.__file__).parent / "layouts"
WIDTH, HEIGHT = 320, 180
BIN_X = {"A": 60, "B": 160, "C": 260}
ITEM_TOP, ITEM_BOTTOM, ITEM_HALF = 70, 140, 14
BOTTLE, CUP = 39, 41
Placement = tuple[str, float, float]
"""A bin, and from when to when an item stands in it, seconds."""
Reach = tuple[str, float, float]
"""A bin, and from when to when an arm is in it."""


@dataclass
class Shelf:
    """A drawn shelf with three bins, items that come and go, arms from above, and bad light."""

    items: list[Placement]
    arms: list[Reach] = field(default_factory=list)
    length_s: float = 8.0
    rate_hz: float = 10.0
    noise: float = 2.0
    light: Callable[[float], float] = lambda t: 1.0
    shadow: Reach | None = None
    shift_px: Callable[[float], float] = lambda t: 0.0
    seed: int = 0

    def frames(self) -> Iterable[tuple[Frame, Detections]]:
        rng = np.random.default_rng(self.seed)
        for i in range(int(self.length_s * self.rate_hz)):
            t = i / self.rate_hz
            image = self._background()
            boxes = []
            for bin_id, since, until in self.items:
                if since <= t < until:
                    x = BIN_X[bin_id] + self.shift_px(t)
                    self._item(image, x, bin_id)
                    boxes.append([x - ITEM_HALF, ITEM_TOP, x + ITEM_HALF, ITEM_BOTTOM])
            if self.shadow and self.shadow[1] <= t < self.shadow[2]:
                mask = np.zeros((HEIGHT, WIDTH), np.float32)
                cv2.circle(mask, (BIN_X[self.shadow[0]], 105), 30, 0.35, -1)
                image *= (1 - cv2.GaussianBlur(mask, (0, 0), 12))[..., None]
            for bin_id, since, until in self.arms:
                if since <= t < until:
                    # Comes down, stays, and goes up again, a third of the time each; the fingers tremble.
                    share = (t - since) / (until - since)
                    depth = 100 * min(1.0, 3 * share, 3 * (1 - share)) + 3 * np.sin(20 * t)
                    x = BIN_X[bin_id] + 8
                    cv2.line(image, (x + 20, -10), (x, int(depth)), (110, 140, 200), 22)
            image = image * self.light(t) + rng.normal(0, self.noise, image.shape)
            timestamp_ns = round(t * SECOND)
            frame = Frame("cam", i, timestamp_ns, np.clip(image, 0, 255).astype(np.uint8))
            yield frame, detections(timestamp_ns, boxes)

    def _background(self) -> FloatArray:
        image = np.full((HEIGHT, WIDTH, 3), (150, 155, 160), float)
        image[142:] = (205, 205, 210)
        return image

    def _item(self, image: FloatArray, x: float, bin_id: str) -> None:
        left, right = int(x - ITEM_HALF), int(x + ITEM_HALF)
        colour = {"A": (60, 60, 190), "B": (70, 150, 60), "C": (170, 90, 40)}[bin_id]
        cv2.rectangle(image, (left, ITEM_TOP), (right, ITEM_BOTTOM), colour, -1)
        cv2.rectangle(image, (left + 4, 95), (right - 4, 120), (230, 230, 230), -1)
        cv2.line(image, (left + 6, 107), (right - 6, 107), (40, 40, 40), 3)


def detections(timestamp_ns: int, boxes: list[list[float]], class_id: int = BOTTLE) -> Detections:
    n = len(boxes)
    return Detections(
        "cam",
        timestamp_ns,
        np.array(boxes, np.float32).reshape(-1, 4),
        np.full(n, 0.8, np.float32),
        np.full(n, class_id, np.int64),
        np.zeros((n, 0, 3), np.float32),
    )


def bins() -> list[Bin]:
    return [
        Bin(
            name,
            camera_id="cam",
            polygon_px=np.array([[x - 40, 50], [x + 40, 50], [x + 40, 155], [x - 40, 155]], float),
        )
        for name, x in BIN_X.items()
    ]


def watched(shelf: Shelf, detector: bool = False, settings: ShelfSettings | None = None) -> list[ShelfChange]:
    watcher = ShelfWatcher(bins(), settings)
    changes: list[ShelfChange] = []
    for frame, seen in shelf.frames():
        changes += watcher.update(frame, seen if detector else Detections.empty("cam", frame.timestamp_ns))
    return changes + watcher.finish()


def told(changes: list[ShelfChange]) -> list[tuple[str, str]]:
    return [(change.bin_id, change.handling.value) for change in changes]


ALL_DAY = [("A", 0.0, 99.0), ("B", 0.0, 99.0), ("C", 0.0, 99.0)]
with_and_without_detector = pytest.mark.parametrize("detector", [True, False], ids=["detector", "picture alone"])


@with_and_without_detector
def test_an_item_taken_is_a_pick_when_it_left(detector: bool) -> None:
    shelf = Shelf([("A", 0, 3.0), *ALL_DAY[1:]], [("A", 2.0, 4.5)])
    (change,) = watched(shelf, detector)
    assert (change.bin_id, change.handling, change.quantity) == ("A", Handling.PICK, 1)
    assert abs(change.time_ns / SECOND - 3.0) < 0.5
    assert change.start_ns <= change.time_ns <= change.end_ns <= change.start_ns + 4 * SECOND
    assert abs(change.start_ns / SECOND - 2.0) < 0.5


@with_and_without_detector
def test_an_item_put_is_a_put_back_when_it_came_not_when_the_hand_left(detector: bool) -> None:
    shelf = Shelf([("B", 3.0, 99), ALL_DAY[0]], [("B", 2.4, 5.5)])
    (change,) = watched(shelf, detector)
    assert (change.bin_id, change.handling) == ("B", Handling.PUT_BACK)
    assert abs(change.time_ns / SECOND - 3.0) < 0.8


def test_the_detector_makes_it_more_probable() -> None:
    shelf = Shelf([("A", 0, 3.0)], [("A", 2.0, 4.5)])
    (seen,), (guessed,) = watched(shelf, True), watched(shelf, False)
    assert guessed.probability < seen.probability <= 1


@with_and_without_detector
def test_a_hand_that_leaves_all_as_it_was_gives_nothing(detector: bool) -> None:
    assert watched(Shelf(ALL_DAY, [("A", 1.5, 4.0), ("B", 5.0, 6.5)]), detector) == []


@with_and_without_detector
def test_a_hand_over_an_empty_bin_gives_nothing(detector: bool) -> None:
    assert watched(Shelf([], [("A", 1.5, 4.0)]), detector) == []


@with_and_without_detector
def test_an_item_that_only_moved_a_little_gives_nothing(detector: bool) -> None:
    shelf = Shelf([("A", 0, 99)], [("A", 2.0, 4.5)], shift_px=lambda t: 9.0 if t > 3 else 0.0)
    assert watched(shelf, detector) == []


@with_and_without_detector
def test_two_hands_take_from_two_bins_at_once(detector: bool) -> None:
    shelf = Shelf([("A", 0, 3.0), ("B", 0, 3.1), ALL_DAY[2]], [("A", 2.0, 4.5), ("B", 2.0, 4.5)])
    assert sorted(told(watched(shelf, detector))) == [("A", "pick"), ("B", "pick")]


@with_and_without_detector
def test_a_pick_and_a_put_back_follow_each_other(detector: bool) -> None:
    shelf = Shelf([("A", 0, 2.5), ("A", 6.0, 99)], [("A", 2.0, 3.5), ("A", 5.5, 7.0)], length_s=9)
    assert told(watched(shelf, detector)) == [("A", "pick"), ("A", "put_back")]


def test_an_arm_that_rests_in_a_bin_on_its_way_to_another_gives_nothing() -> None:
    class Resting(Shelf):
        def frames(self) -> Iterable[tuple[Frame, Detections]]:
            for frame, seen in super().frames():
                if 2 * SECOND <= frame.timestamp_ns < 5 * SECOND:
                    cv2.line(frame.image, (50, -5), (75, 190), (110, 140, 200), 24)
                yield frame, seen

    assert watched(Resting(ALL_DAY)) == []


@settings(max_examples=8, deadline=None)
@given(st.floats(0.5, 1.4), st.floats(0.5, 1.4), st.floats(0.5, 6), st.integers(0, 99))
def test_light_that_changes_is_no_change_of_the_shelf(first: float, last: float, noise: float, seed: int) -> None:
    shelf = Shelf(ALL_DAY, length_s=4, light=lambda t: first + (last - first) * min(1.0, t / 3), noise=noise, seed=seed)
    assert watched(shelf) == []


@settings(max_examples=6, deadline=None)
@given(st.floats(0.6, 1.3), st.floats(0.5, 8), st.sampled_from("ABC"), st.booleans(), st.integers(0, 99))
def test_a_pick_is_found_in_any_light_and_noise(
    gain: float, noise: float, bin_id: str, detector: bool, seed: int
) -> None:
    items = [(name, 0.0, 2.5 if name == bin_id else 99.0) for name in BIN_X]
    shelf = Shelf(
        items, [(bin_id, 1.8, 3.6)], 5.5, noise=noise, light=lambda t: 1 + (gain - 1) * min(1.0, t / 4), seed=seed
    )
    assert told(watched(shelf, detector)) == [(bin_id, "pick")]


def test_a_soft_shadow_that_stays_gives_nothing() -> None:
    assert watched(Shelf(ALL_DAY, shadow=("C", 2.0, 99.0))) == []
    assert watched(Shelf([], shadow=("C", 2.0, 99.0))) == []


def test_a_single_broken_frame_gives_nothing() -> None:
    class Broken(Shelf):
        def frames(self) -> Iterable[tuple[Frame, Detections]]:
            for frame, seen in super().frames():
                if frame.frame_idx == 30:
                    frame.image[:] = np.random.default_rng(1).integers(0, 255, frame.image.shape)
                yield frame, seen

    assert watched(Broken(ALL_DAY), True) == []


@with_and_without_detector
def test_a_stream_that_begins_with_an_absent_item_knows_when_it_comes(detector: bool) -> None:
    shelf = Shelf([("C", 2.5, 99)], [("C", 2.0, 4.0)])
    assert told(watched(shelf, detector)) == [("C", "put_back")]


def test_a_stream_that_begins_with_a_hand_on_an_item_knows_that_it_was_taken() -> None:
    shelf = Shelf([("A", 0, 0.8)], [("A", -0.8, 1.6)], length_s=4)
    (change,) = watched(shelf, True)
    assert (change.bin_id, change.handling) == ("A", Handling.PICK)


def test_a_stream_that_ends_soon_after_a_pick_still_tells_it() -> None:
    shelf = Shelf([("A", 0, 2.5)], [("A", 2.0, 3.4)], length_s=3.8)
    assert told(watched(shelf, True)) == [("A", "pick")]


def test_two_taken_at_once_are_two() -> None:
    class Pair(Shelf):
        def frames(self) -> Iterable[tuple[Frame, Detections]]:
            for frame, _ in super().frames():
                boxes = []
                if frame.timestamp_ns < 3 * SECOND:
                    for x in (45, 78):
                        self._item(frame.image.astype(float), x, "A")
                        cv2.rectangle(frame.image, (x - 12, ITEM_TOP), (x + 12, ITEM_BOTTOM), (60, 60, 190), -1)
                        boxes.append([float(x - 12), ITEM_TOP, x + 12, ITEM_BOTTOM])
                if 2.2 * SECOND < frame.timestamp_ns < 4 * SECOND:
                    cv2.line(frame.image, (60, -9), (60, 60 + frame.frame_idx % 4), (110, 140, 200), 24)
                yield frame, detections(frame.timestamp_ns, boxes, CUP)

    (change,) = watched(Pair([]), True)
    assert (change.handling, change.quantity) == (Handling.PICK, 2)


def test_people_and_furniture_are_no_products() -> None:
    box = [[46.0, 70, 74, 140]]
    for class_id in (COCO_PERSON, 56, 60, 72):
        assert len(products_in_bin(detections(0, box, class_id), bins()[0], 0.25)) == 0
    assert len(products_in_bin(detections(0, box, CUP), bins()[0], 0.25)) == 1


def test_one_thing_with_two_names_counts_once() -> None:
    seen = detections(0, [[46.0, 70, 74, 140], [47.0, 70, 75, 141]])
    assert len(products_in_bin(seen, bins()[0], 0.25)) == 1


def test_a_box_larger_than_the_bin_is_not_in_it() -> None:
    assert len(products_in_bin(detections(0, [[0.0, 0, 200, 180]]), bins()[0], 0.25)) == 0


def test_a_carried_box_does_not_stand() -> None:
    path = [np.array([[10.0 + 4 * i, 10, 50 + 4 * i, 90]]) for i in range(8)]
    assert len(standing_boxes(path, settled=0.85)[0]) == 0
    places, presence = standing_boxes([path[0]] * 8, settled=0.85)
    assert places.tolist() == path[0].tolist()
    assert presence.tolist() == [1.0]


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=40), st.lists(st.floats(-1, 1), min_size=1, max_size=40))
def test_the_step_is_where_both_sides_agree_best(before: list[float], after: list[float]) -> None:
    series = np.array(before + after)
    step = step_moment(series)

    def agreement(k: int) -> float:
        return float(series[k:].sum() - series[:k].sum())

    assert agreement(step) >= max(agreement(k) for k in range(len(series))) - 1e-9


def test_a_hand_in_front_does_not_shift_the_step() -> None:
    assert step_moment(np.array([-1, -1, 0, 0, 1, 1, 0, 0, 1, 1])) in (2, 3, 4)


@settings(deadline=None)
@given(st.floats(0.5, 1.6), st.integers(0, 99))
def test_a_change_of_exposure_is_measured_past_what_changed(gain: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    image = rng.integers(60, 150, (40, 60, 3)).astype(np.uint8)
    brighter = np.clip(np.round(image * gain), 0, 255).astype(np.uint8)
    brighter[:, :20] = rng.integers(0, 255, (40, 20, 3))
    offset = exposure_offset(log_picture(brighter), log_picture(image))
    # The levels are a little lifted before the logarithm, which lessens all offsets in the dark.
    np.testing.assert_allclose(offset, np.log((105 * gain + DARK_LEVEL) / (105 + DARK_LEVEL)), atol=0.04)


def test_light_from_one_side_is_removed() -> None:
    image = np.random.default_rng(0).integers(60, 180, (40, 60, 3)).astype(np.uint8)
    side_lit = (image * np.linspace(0.9, 1.1, 60)[None, :, None]).astype(np.uint8)
    level = without_shading(log_picture(side_lit), log_picture(image))
    assert np.abs(level - log_picture(image)).mean() < 0.02


def test_the_picture_with_the_item_has_the_edges() -> None:
    bare = np.full((40, 40, 3), 150, np.uint8)
    full = bare.copy()
    full[10:30, 15:25] = (40, 40, 160)
    region = (full != bare).any(axis=2)
    assert edge_balance(log_picture(full), log_picture(bare), region) < -0.9
    assert edge_balance(log_picture(bare), log_picture(full), region) > 0.9


def test_a_bin_without_an_outline_is_refused() -> None:
    with pytest.raises(ValueError, match="bin Q: expected an outline drawn in a picture"):
        ShelfWatcher([Bin("Q", box=Box(np.eye(4), np.ones(3)))])


def test_bins_of_two_cameras_are_refused() -> None:
    polygon = np.array([[0, 0], [50, 0], [50, 50]], float)
    with pytest.raises(ValueError, match="expected bins of one camera, got a, b"):
        ShelfWatcher([Bin("A", camera_id="a", polygon_px=polygon), Bin("B", camera_id="b", polygon_px=polygon)])


def test_a_bin_outside_the_picture_is_refused() -> None:
    far = Bin("F", camera_id="cam", polygon_px=np.array([[900, 900], [990, 900], [990, 990]], float))
    frame, seen = next(iter(Shelf([]).frames()))
    with pytest.raises(ValueError, match="bin F: expected an outline that"):
        ShelfWatcher([far]).update(frame, seen)


def test_time_and_picture_size_must_not_jump_back() -> None:
    watcher = ShelfWatcher(bins())
    frame, seen = next(iter(Shelf([]).frames()))
    watcher.update(frame, seen)
    with pytest.raises(ValueError, match="expected a frame after 0 ns"):
        watcher.update(frame, seen)
    small: ImageArray = np.zeros((90, 160, 3), np.uint8)
    with pytest.raises(ValueError, match="expected pictures of 320x180, got 160x90"):
        watcher.update(Frame("cam", 1, 5, small), Detections.empty("cam", 5))
    with pytest.raises(ValueError, match="expected detections of camera cam, got other"):
        watcher.update(Frame("cam", 1, 5, frame.image), Detections.empty("other", 5))


@pytest.mark.parametrize("change", [{"settle_s": 0}, {"item_share": 1.5}, {"patch_px": 4}, {"contrast": -1}])
def test_settings_out_of_range_are_refused(change: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=f"ShelfSettings.{next(iter(change))}"):
        ShelfSettings(**change)  # type: ignore[arg-type]


def test_no_frames_give_nothing() -> None:
    assert ShelfWatcher(bins()).finish() == []


# What happens in the real clip, from the notes beside it: bin, what, seconds.
BOTTLES = [
    ("L", "pick", 6.8),
    ("L", "put_back", 12.1),
    ("L", "pick", 17.4),
    ("M", "pick", 17.5),
    ("M", "put_back", 22.9),
    ("L", "put_back", 27.9),
    ("R", "pick", 31.7),
    ("R", "put_back", 36.4),
]
Pictures = list[tuple[float, ImageArray]]


def bottle_pictures(shared: Path, every: int = 1) -> Pictures:
    pictures: Pictures = []
    with av.open(str(shared / "footage" / "bottle-detection.mp4")) as container:
        for i, picture in enumerate(container.decode(video=0)):
            if i % every == 0:
                assert picture.time is not None
                pictures.append((picture.time, np.asarray(picture.to_ndarray(format="bgr24"), np.uint8)))
    return pictures


def reencoded(pictures: Pictures, path: Path, crf: int) -> Pictures:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30, options={"crf": str(crf), "preset": "veryfast"})
        stream.height, stream.width = pictures[0][1].shape[:2]
        stream.pix_fmt = "yuv420p"
        for i, (_, image) in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(image, format="bgr24")
            frame.pts, frame.time_base = i, Fraction(1, 30)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with av.open(str(path)) as container:
        images = [np.asarray(p.to_ndarray(format="bgr24"), np.uint8) for p in container.decode(video=0)]
    return [(t, image) for (t, _), image in zip(pictures, images, strict=True)]


def told_about_bottles(pictures: Pictures, weights: Path | None) -> list[tuple[str, str, float]]:
    height, width = pictures[0][1].shape[:2]
    layout = read_layout(LAYOUTS / "bottles.yaml").for_pictures({"clip": (width, height)})
    watcher = ShelfWatcher(layout.bins)
    detector = load_detector(weights) if weights else None
    changes: list[ShelfChange] = []
    for i, (t, image) in enumerate(pictures):
        frame = Frame("clip", i, round(t * SECOND), image)
        seen = detector.detect([frame])[0] if detector else Detections.empty("clip", frame.timestamp_ns)
        changes += watcher.update(frame, seen)
    changes += watcher.finish()
    return [(c.bin_id, c.handling.value, c.time_ns / SECOND) for c in sorted(changes, key=lambda c: c.time_ns)]


def assert_same_events(got: list[tuple[str, str, float]], expected: list[tuple[str, str, float]]) -> None:
    by_bin = sorted(got, key=lambda event: (event[0], event[2]))
    wanted = sorted(expected, key=lambda event: (event[0], event[2]))
    assert [event[:2] for event in by_bin] == [event[:2] for event in wanted]
    for (_, _, time_s), (_, _, true_s) in zip(by_bin, wanted, strict=True):
        assert abs(time_s - true_s) <= 0.8


@pytest.mark.long
def test_all_that_happens_to_three_real_bottles_is_told(shared: Path) -> None:
    weights = shared / "weights" / "yolox_nano_416.onnx"
    assert_same_events(told_about_bottles(bottle_pictures(shared), weights), BOTTLES)


@pytest.mark.slow
def test_real_bottles_are_told_by_the_picture_alone(shared: Path) -> None:
    assert_same_events(told_about_bottles(bottle_pictures(shared), None), BOTTLES)


@pytest.mark.slow
def test_real_bottles_are_told_in_a_small_dark_mirrored_picture_at_ten_a_second(shared: Path) -> None:
    pictures = [
        (t, np.asarray(cv2.resize(image[:, ::-1], (320, 180), interpolation=cv2.INTER_AREA) // 2, np.uint8))
        for t, image in bottle_pictures(shared, every=3)
    ]
    mirrored = {"L": "R", "M": "M", "R": "L"}
    assert_same_events(told_about_bottles(pictures, None), [(mirrored[b], kind, t) for b, kind, t in BOTTLES])


@pytest.mark.slow
def test_real_bottles_are_told_from_a_badly_compressed_clip_that_begins_late(shared: Path, tmp_path: Path) -> None:
    late = [(t, image) for t, image in bottle_pictures(shared, every=2) if t >= 9]
    pictures = reencoded(late, tmp_path / "late.mp4", crf=38)
    assert_same_events(told_about_bottles(pictures, None), [event for event in BOTTLES if event[2] >= 9])


@pytest.mark.slow
def test_real_bottles_are_told_backwards(shared: Path) -> None:
    pictures = bottle_pictures(shared, every=2)
    end = pictures[-1][0]
    backwards = [(end - t, image) for t, image in reversed(pictures)]
    other = {"pick": "put_back", "put_back": "pick"}
    assert_same_events(told_about_bottles(backwards, None), [(b, other[kind], end - t) for b, kind, t in BOTTLES])
