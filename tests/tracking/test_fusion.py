"""Tests of tracking.fusion."""

import json
from pathlib import Path

import numpy as np
import pytest

from tracking.fusion import PlaneCamera, fuse, read_homographies, to_common
from tracking.metrics import score
from tracking.mot import MotBoxes
from vision.arrays import FloatArray

FPS = 10.0
TALL_PX = 100.0
# The floor of a hall in centimetres, seen upright, from the side, and from farther away.
VIEWS = (
    np.eye(3),
    np.array([[0.0, 1.0, 100.0], [-1.0, 0.0, 900.0], [0.0, 0.0, 1.0]]),
    np.array([[0.9, 0.1, 20.0], [0.0, 1.1, -30.0], [0.0001, 0.0, 1.0]]),
)


def filmed(
    ways: list[FloatArray],
    views: tuple[FloatArray, ...],
    rng: np.random.Generator,
    hidden: dict[int, range] | None = None,
) -> tuple[list[PlaneCamera], list[MotBoxes]]:
    """People who walk over the plane, shape (frames, 2) each, in pictures that lie so on it; and the truth."""
    cameras, truths = [], []
    for index, view in enumerate(views):
        image_from_common = np.linalg.inv(view)
        rows: list[tuple[int, int, int, float, float]] = []
        for person, way in enumerate(ways, start=1):
            feet, _ = to_common(way, image_from_common)
            feet = feet + rng.normal(0, 3.0, feet.shape)
            track = person + 10 * index
            for frame, (x, y) in enumerate(feet.tolist(), start=1):
                if hidden is not None and frame in hidden.get(person, ()):
                    track = person + 10 * index + 100
                    continue
                rows.append((frame, person, track, x, y))
        table = np.array(rows)
        xyxy = np.column_stack([table[:, 3] - 20, table[:, 4] - TALL_PX, table[:, 3] + 20, table[:, 4]])
        numbers = table[:, 0].astype(np.int64)
        cameras.append(PlaneCamera(f"c{index}", MotBoxes.of(numbers, table[:, 2].astype(np.int64), xyxy), view))
        truths.append(MotBoxes.of(numbers, table[:, 1].astype(np.int64), xyxy))
    return cameras, truths


def walk(start: tuple[float, float], end: tuple[float, float], frames: int = 80) -> FloatArray:
    return np.linspace(start, end, frames)


def ids_of(boxes: list[MotBoxes]) -> set[int]:
    return {track_id for each in boxes for track_id in each.track_id.tolist()}


@pytest.mark.parametrize("count", [2, 3])
def test_people_seen_by_several_cameras_have_one_id_each(count: int) -> None:
    ways = [walk((100, 100), (500, 400)), walk((100, 500), (500, 100)), walk((700, 100), (700, 600))]
    cameras, truths = filmed(ways, VIEWS[:count], np.random.default_rng(1))
    fused = fuse(cameras, FPS)
    assert ids_of(fused) == {1, 2, 3}
    offset = 1000
    for boxes, truth in zip(fused, truths, strict=True):
        assert score(truth, boxes).idf1 > 0.99
    whole = [MotBoxes.of(b.frame + k * offset, b.track_id, b.xyxy) for k, b in enumerate(fused)]
    assert len(whole) == count


def test_who_was_hidden_for_a_second_keeps_the_id() -> None:
    ways = [walk((100, 100), (500, 400)), walk((700, 600), (300, 600))]
    cameras, _ = filmed(ways, VIEWS[:2], np.random.default_rng(2), {1: range(30, 42)})
    assert ids_of(fuse(cameras, FPS)) == {1, 2}


def test_a_gap_of_a_moment_is_filled() -> None:
    cameras, _ = filmed([walk((100, 100), (500, 400))], VIEWS[:1], np.random.default_rng(3), {1: range(30, 35)})
    (boxes,) = fuse(cameras, FPS)
    assert boxes.frame.tolist() == list(range(1, 81))


def test_two_in_one_picture_are_never_one() -> None:
    ways = [walk((100, 100), (500, 100)), walk((100, 108), (500, 108))]
    cameras, _ = filmed(ways, VIEWS[:2], np.random.default_rng(4))
    for boxes in fuse(cameras, FPS):
        pairs = list(zip(boxes.frame.tolist(), boxes.track_id.tolist(), strict=True))
        assert len(set(pairs)) == len(pairs)


def test_two_runs_and_an_empty_camera() -> None:
    cameras, _ = filmed([walk((100, 100), (500, 400))], VIEWS[:2], np.random.default_rng(5))
    none = MotBoxes.of(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros((0, 4)))
    cameras.append(PlaneCamera("empty", none, np.eye(3)))
    one, other = fuse(cameras, FPS), fuse(cameras, FPS)
    assert len(one[2]) == 0
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a.track_id, b.track_id)


def test_points_go_to_the_common_plane_with_their_derivatives() -> None:
    points = np.array([[100.0, 200.0], [640.0, 30.0]])
    there, slopes = to_common(points, VIEWS[2])
    for axis in (0, 1):
        step = np.zeros(2)
        step[axis] = 1e-4
        further, _ = to_common(points + step, VIEWS[2])
        np.testing.assert_allclose((further - there) / 1e-4, slopes[:, :, axis], atol=1e-3)


def test_homographies_are_read_for_two_and_for_several(tmp_path: Path) -> None:
    file = tmp_path / "h.json"
    file.write_text(json.dumps({"H": VIEWS[1].tolist()}))
    np.testing.assert_array_equal(read_homographies(file, ["a", "b"])[1], VIEWS[1])
    file.write_text(json.dumps({"cameras": {"b": VIEWS[1].tolist(), "c": VIEWS[2].tolist()}}))
    read = read_homographies(file, ["c", "a", "b"])
    for matrix, expected in zip(read, (VIEWS[2], np.eye(3), VIEWS[1]), strict=True):
        np.testing.assert_array_equal(matrix, expected)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[", "expected JSON"),
        ("[]", "expected an object with cameras or H, got list"),
        ("{}", 'expected "cameras" or "H", got nothing'),
        ('{"H": [[1, 2], [3, 4]]}', "expected a 3x3 homography"),
        ('{"H": [[0, 0, 0], [0, 0, 0], [0, 0, 0]]}', "expected a 3x3 homography"),
        ('{"cameras": {}}', "there is none for a, b"),
    ],
)
def test_a_wrong_file_of_homographies_is_refused(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "h.json"
    file.write_text(text)
    with pytest.raises(ValueError, match=message):
        read_homographies(file, ["a", "b"])


def test_h_alone_is_for_two_cameras(tmp_path: Path) -> None:
    file = tmp_path / "h.json"
    file.write_text(json.dumps({"H": np.eye(3).tolist()}))
    with pytest.raises(ValueError, match="is for two cameras, got 3"):
        read_homographies(file, ["a", "b", "c"])


def test_no_camera_and_no_speed_are_refused() -> None:
    with pytest.raises(ValueError, match="expected at least one camera"):
        fuse([], FPS)
    cameras, _ = filmed([walk((0, 0), (100, 100))], VIEWS[:1], np.random.default_rng(6))
    with pytest.raises(ValueError, match="positive number of frames"):
        fuse(cameras, 0.0)
