"""One set of ids over overlapping cameras that only homographies of the floor tie together, from whole recordings.

Each camera's tracks are cut where they were interrupted or crossed others, and the pieces are put together again over
all cameras at once: two pieces of different cameras that are seen at one time speak for or against being one person at
every instant of it, two that follow each other do so by how well one leads to the other. The most convincing pair is
joined first, and whoever is seen twice in one picture at one time is two people (constrained agglomerative clustering,
as in Ristani & Tomasi, "Features for Multi-Target Multi-Camera Tracking and Re-Identification", CVPR 2018, on places
instead of looks).

There are no metres here. A foot point errs by a share of its box's height in its own picture; the homography carries
that error into the common plane, where distances are held against it.
"""

import heapq
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tracking.mot import MotBoxes
from vision.arrays import BoolArray, FloatArray, IntArray, check_shape
from vision.boxes import iou_matrix

STEP_S = 0.2
"""Pieces are compared this often: errors of foot points stay about the same for as long."""

FOOT_SHARE = 0.06
"""Standard deviation of a box's lower middle as a foot point, as a share of the box's height."""

PLANE_SHARE = 0.09
"""What a homography that was fitted to people's feet errs by: a tenth of a person's height is a usual residual."""

CORRELATED_S = 0.5
"""Two instants nearer than this hardly tell more than one: feet are hidden and shown again step by step."""

ROOM = 100.0
"""Different people are anywhere on a floor of so many squared body heights, a hall of ten by ten."""

MOST_AGAINST = 4.0
"""No instant speaks against by more, for a foot point may be hidden."""

MOST_FOR = 4.0
"""Nor for, for the other may be hidden behind the one."""

LONGEST_GAP_S = 6.0
"""Nobody's way is guessed farther ahead."""

FASTEST = 2.0
"""Heights a second that nobody indoors exceeds: 3.5 m/s is a run."""

FILLED_S = 1.0
"""Who is missed for no longer is taken to have gone straight on."""

MOST_ROUNDS = 20
"""Moving pieces between groups ends by itself long before."""

WANDER_SHARE = 0.38
"""Standard deviation of where somebody unseen has got to, in heights a second: half an ordinary walk of 1.3 m/s."""

SAME_TRACK = 3.0
"""A tracker that went on through an interruption is right more often than not: e^3 to one."""

CUT_S = 0.4
"""A track that was interrupted for so long may have gone over to somebody else."""

CROSSING_IOU = 0.4
"""So may one whose box lay over another's by so much, when they part."""

TOUCHING_S = 0.15
"""Pieces of one picture that overlap for no longer may still follow each other: one begins before the other ends."""

SHORTEST_S = 0.3
"""A piece that is shorter says nothing of where its person was going."""


@dataclass(frozen=True, slots=True)
class PlaneCamera:
    """One camera of several that look at one floor.

    Attributes:
        name: For files and messages.
        boxes: Its tracks.
        common_from_image: Homography from its pixels to the common plane, shape (3, 3).
    """

    name: str
    boxes: MotBoxes
    common_from_image: FloatArray

    def __post_init__(self) -> None:
        check_shape("PlaneCamera.common_from_image", self.common_from_image, (3, 3))


@dataclass(frozen=True, slots=True)
class _Piece:
    """Part of a track without an interruption, sampled.

    Attributes:
        camera: Which camera.
        rows: Its boxes, rows of that camera's.
        track_id: The camera's number.
        first: First frame.
        last: Last frame.
        frame: Sampled frames, shape (s,).
        place: In the common plane, shape (s, 2).
        cov: Of that, shape (s, 2, 2).
        unit: What one body height is there in each direction, squared, shape (s, 2, 2).
    """

    camera: int
    rows: IntArray
    track_id: int
    first: int
    last: int
    frame: IntArray
    place: FloatArray
    cov: FloatArray
    unit: FloatArray


def fuse(cameras: Sequence[PlaneCamera], fps: float) -> list[MotBoxes]:
    """Give the people of several cameras one set of ids.

    Args:
        cameras: The cameras, each with its own tracks.
        fps: Frames a second; frame numbers count on one clock.

    Returns:
        The boxes with new ids, counted from 1 in the order in which people appear, in the order of ``cameras``. Where
        one track begins before another of the same person ends, the surer box of each frame stays; who is missed for
        a moment is put in between.

    Raises:
        ValueError: There is no camera, or the frame rate is not positive.
    """
    if not cameras:
        raise ValueError("fuse: expected at least one camera, got none")
    if not fps > 0:
        raise ValueError(f"fuse: expected a positive number of frames a second, got {fps}")
    step = max(1, round(STEP_S * fps))
    pieces = [piece for index, camera in enumerate(cameras) for piece in _pieces(index, camera, fps, step)]
    group = _grouped(pieces, fps, step)
    first: dict[int, int] = {}
    for piece, root in zip(pieces, group, strict=True):
        first[root] = min(first.get(root, piece.first), piece.first)
    number = {root: k for k, root in enumerate(sorted(first, key=lambda root: (first[root], root)), start=1)}
    fused = []
    for index, camera in enumerate(cameras):
        ids = np.zeros(len(camera.boxes), np.int64)
        for piece, root in zip(pieces, group, strict=True):
            if piece.camera == index:
                ids[piece.rows] = number[root]
        boxes = MotBoxes(camera.boxes.frame, ids, camera.boxes.xyxy, camera.boxes.confidence, camera.boxes.class_id)
        fused.append(_filled(boxes[_once_a_frame(boxes)], fps))
    return fused


def _filled(boxes: MotBoxes, fps: float) -> MotBoxes:
    """Put boxes where somebody was missed for a moment, half way between those before and after."""
    frames, ids, corners, scores = [boxes.frame], [boxes.track_id], [boxes.xyxy], [boxes.confidence]
    for track_id in sorted(set(boxes.track_id.tolist())):
        rows = np.flatnonzero(boxes.track_id == track_id)
        present = boxes.frame[rows]
        wanted = np.arange(present[0], present[-1] + 1)
        after = np.searchsorted(present, wanted)
        gap = np.where(present[after] == wanted, 0, present[after] - present[np.maximum(after - 1, 0)])
        missing = wanted[(gap > 1) & (gap <= FILLED_S * fps)]
        if len(missing):
            frames.append(missing)
            ids.append(np.full(len(missing), track_id, np.int64))
            xyxy = boxes.xyxy[rows]
            corners.append(np.column_stack([np.interp(missing, present, xyxy[:, k]) for k in range(4)]))
            scores.append(np.interp(missing, present, boxes.confidence[rows]))
    return MotBoxes.of(np.concatenate(frames), np.concatenate(ids), np.concatenate(corners), np.concatenate(scores))


def _once_a_frame(boxes: MotBoxes) -> IntArray:
    """Rows without a second, less sure box of one id in one frame: where one track began before another ended."""
    order = np.lexsort((-boxes.confidence, boxes.track_id, boxes.frame))
    frame, track_id = boxes.frame[order], boxes.track_id[order]
    again = (
        np.concatenate([[False], (np.diff(frame) == 0) & (np.diff(track_id) == 0)]) if len(order) else np.zeros(0, bool)
    )
    return np.sort(order[~again])


def to_common(points_px: FloatArray, homography: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Carry image points into the common plane.

    Args:
        points_px: Shape (n, 2).
        homography: Common plane from image, shape (3, 3).

    Returns:
        The points, shape (n, 2), and the derivatives of the map there, shape (n, 2, 2).
    """
    lifted = np.column_stack([points_px, np.ones(len(points_px))]) @ homography.T
    scale = lifted[:, 2:]
    scale = np.where(np.abs(scale) < 1e-9, 1e-9, scale)
    points = lifted[:, :2] / scale
    slopes = (homography[None, :2, :2] - points[:, :, None] * homography[None, 2:, :2]) / scale[:, :, None]
    return points, np.asarray(slopes)


def _pieces(index: int, camera: PlaneCamera, fps: float, step: int) -> list[_Piece]:
    boxes = camera.boxes
    pieces: list[_Piece] = []
    covered = _covered(boxes)
    for track_id in sorted(set(boxes.track_id.tolist())):
        rows = np.flatnonzero(boxes.track_id == track_id)
        frames = boxes.frame[rows]
        interrupted = np.flatnonzero(np.diff(frames) > CUT_S * fps) + 1
        parted = np.flatnonzero(np.diff(covered[rows].astype(int)) < 0) + 1
        for part in np.split(rows, np.union1d(interrupted, parted)):
            pieces.append(_piece(index, camera, part, int(track_id), step))
    return pieces


def _covered(boxes: MotBoxes) -> BoolArray:
    """Which boxes lie over another of their frame so much that a tracker may take one person for the other."""
    covered = np.zeros(len(boxes), bool)
    ends = [*(np.flatnonzero(np.diff(boxes.frame)) + 1).tolist(), len(boxes)]
    for start, end in zip([0, *ends], ends, strict=False):
        if end - start > 1:
            overlap = iou_matrix(boxes.xyxy[start:end], boxes.xyxy[start:end])
            np.fill_diagonal(overlap, 0.0)
            covered[start:end] = overlap.max(axis=1) > CROSSING_IOU
    return covered


def _piece(index: int, camera: PlaneCamera, rows: IntArray, track_id: int, step: int) -> _Piece:
    boxes = camera.boxes
    frames = boxes.frame[rows]
    # Samples lie on one grid for all cameras; a piece between two grid points is sampled at its first frame's.
    grid: IntArray = np.arange(-(-int(frames[0]) // step) * step, int(frames[-1]) + 1, step)
    if not len(grid):
        grid = frames[:1]
    xyxy = boxes.xyxy[rows].astype(float)
    feet = np.column_stack([(xyxy[:, 0] + xyxy[:, 2]) / 2, xyxy[:, 3]])
    tall = np.maximum(xyxy[:, 3] - xyxy[:, 1], 1.0)
    window = np.ones(min(len(rows), 2 * (step // 2) + 1))
    smooth = np.column_stack([np.interp(grid, frames, _averaged(feet[:, k], window)) for k in (0, 1)])
    tall = np.interp(grid, frames, _averaged(tall, window))
    place, slopes = to_common(smooth, camera.common_from_image)
    unit = slopes @ slopes.swapaxes(1, 2) * (tall**2)[:, None, None]
    unit = unit + np.eye(2) * 1e-9
    return _Piece(
        index,
        rows,
        track_id,
        int(frames[0]),
        int(frames[-1]),
        grid,
        place,
        unit * (FOOT_SHARE**2 + PLANE_SHARE**2 / 2),
        unit,
    )


def _averaged(values: FloatArray, window: FloatArray) -> FloatArray:
    """Running means, narrower at the ends."""
    return np.asarray(np.convolve(values, window, "same") / np.convolve(np.ones(len(values)), window, "same"))


def _together(one: _Piece, other: _Piece, fps: float, step: int) -> float | None:
    """What being seen at one time says for two pieces of different cameras being one person; None for nothing."""
    _, at, there = np.intersect1d(one.frame, other.frame, assume_unique=True, return_indices=True)
    if not len(at):
        return None
    offset = one.place[at] - other.place[there]
    spread = one.cov[at] + other.cov[there]
    unit = (one.unit[at] + other.unit[there]) / 2
    speaks = np.clip(_speaks(offset, spread, unit), -MOST_AGAINST, MOST_FOR)
    return float(speaks.mean() * max(1.0, len(at) * step / fps / CORRELATED_S))


def _leads(one: _Piece, other: _Piece, fps: float) -> float | None:
    """What the way from the end of one piece to the beginning of a later one says; None for nothing."""
    gap_s = (other.first - one.last) / fps
    if not -TOUCHING_S <= gap_s <= LONGEST_GAP_S:
        return None
    gap_s = max(gap_s, 1 / fps)
    # People keep their way for about a second.
    ahead_s = min(gap_s, 1.0) / 2
    end = one.place[-1] + _velocity(one, -1, fps) * ahead_s
    start = other.place[0] - _velocity(other, 0, fps) * ahead_s
    offset = start - end
    wander = (one.unit[-1] + other.unit[0]) / 2 * (WANDER_SHARE * gap_s) ** 2
    spread = one.cov[-1] + other.cov[0] + wander
    unit = (one.unit[-1] + other.unit[0]) / 2
    return min(float(_speaks(offset[None], spread[None], unit[None])[0]), MOST_FOR)


def _speaks(offset: FloatArray, spread: FloatArray, unit: FloatArray) -> FloatArray:
    """Log-likelihood ratio of places, shape (n, 2) apart, being one person's rather than anybody's in the room."""
    squared = np.einsum("ni,ni->n", offset, np.linalg.solve(spread, offset[..., None])[..., 0])
    room = 0.5 * np.log(np.linalg.det(unit) / np.linalg.det(spread))
    return np.asarray(np.log(ROOM / (2 * np.pi)) + room - 0.5 * squared)


def _speed(one: _Piece, other: _Piece, fps: float) -> float:
    """How fast, in heights a second, somebody would have to be to follow from one piece to another, at least."""
    offset = other.place[0] - one.place[-1]
    unit = (one.unit[-1] + other.unit[0]) / 2
    heights = float(np.sqrt(offset @ np.linalg.solve(unit, offset)))
    slack = 3 * float(np.sqrt(2 * (FOOT_SHARE**2 + PLANE_SHARE**2 / 2)))
    return (heights - slack) / max((other.first - one.last) / fps, 1 / fps)


def _velocity(piece: _Piece, end: int, fps: float) -> FloatArray:
    """How fast somebody walked at one end of a piece, in the common plane a second, shape (2,)."""
    if (piece.last - piece.first) / fps < SHORTEST_S or len(piece.frame) < 2:
        return np.zeros(2)
    near = slice(-4, None) if end else slice(0, 4)
    frames, places = piece.frame[near] / fps, piece.place[near]
    return np.asarray((places[-1] - places[0]) / (frames[-1] - frames[0]))


def _grouped(pieces: Sequence[_Piece], fps: float, step: int) -> list[int]:
    """Put pieces together, best pair first; give each piece the number of its group."""
    n = len(pieces)
    support: list[dict[int, float]] = [{} for _ in range(n)]
    apart: list[set[int]] = [set() for _ in range(n)]
    order = sorted(range(n), key=lambda i: (pieces[i].first, i))
    for position, i in enumerate(order):
        one = pieces[i]
        for j in order[position + 1 :]:
            other = pieces[j]
            if other.first > one.last + LONGEST_GAP_S * fps:
                break
            overlap_s = (min(one.last, other.last) - other.first) / fps
            same = one.camera == other.camera
            speaks: float | None
            if same and overlap_s > TOUCHING_S:
                apart[i].add(j)
                apart[j].add(i)
                continue
            if same or overlap_s <= 0:
                speaks = _leads(one, other, fps)
                if speaks is not None and same and one.track_id == other.track_id:
                    speaks += SAME_TRACK
                # Not to follow is no evidence against, for somebody else may lie in between; unless nobody can.
                if speaks is not None and speaks < 0:
                    speaks = -MOST_AGAINST * (_speed(one, other, fps) > FASTEST)
            else:
                speaks = _together(one, other, fps, step)
            if speaks:
                support[i][j] = support[j][i] = speaks
    root = _agglomerated([dict(row) for row in support], [set(row) for row in apart])
    return _refined(root, support, apart)


def _refined(root: list[int], support: list[dict[int, float]], apart: list[set[int]]) -> list[int]:
    """Move pieces one by one to the group that most speaks for, until none would gain (Kernighan & Lin, 1970)."""
    root = list(root)
    members: dict[int, set[int]] = {}
    for i, group in enumerate(root):
        members.setdefault(group, set()).add(i)
    fresh = len(root)
    for _ in range(MOST_ROUNDS):
        moved = False
        for i in range(len(root)):
            gains: dict[int, float] = {}
            for k, speaks in sorted(support[i].items()):
                gains[root[k]] = gains.get(root[k], 0.0) + speaks
            stays = gains.pop(root[i], 0.0)
            best, gain = fresh, 0.0
            for group, speaks in gains.items():
                if speaks > gain and not members[group] & apart[i]:
                    best, gain = group, speaks
            if gain > stays + 1e-9 and len(members[root[i]]) + (best != fresh) > 1:
                members[root[i]].discard(i)
                members.setdefault(best, set()).add(i)
                root[i] = best
                fresh += best == fresh
                moved = True
        if not moved:
            break
    return root


def _agglomerated(support: list[dict[int, float]], apart: list[set[int]]) -> list[int]:
    """Join the best supported groups while there are any, never those that have to stay apart."""
    n = len(support)
    root = list(range(n))
    version = [0] * n
    members = [[i] for i in range(n)]
    queue = [(-speaks, i, j, 0, 0) for i in range(n) for j, speaks in support[i].items() if i < j and speaks > 0]
    heapq.heapify(queue)
    while queue:
        _, i, j, version_i, version_j = heapq.heappop(queue)
        if version[i] != version_i or version[j] != version_j or j in apart[i]:
            continue
        version[i] += 1
        version[j] = -1
        for k in members[j]:
            root[k] = i
        members[i] += members[j]
        for k, speaks in support[j].items():
            del support[k][j]
            if k != i:
                support[i][k] = support[k][i] = support[i].get(k, 0.0) + speaks
        support[j] = {}
        for k in apart[j]:
            apart[k].discard(j)
            apart[k].add(i)
            apart[i].add(k)
        apart[j] = set()
        for k, speaks in support[i].items():
            if speaks > 0 and k not in apart[i]:
                heapq.heappush(queue, (-speaks, i, k, version[i], version[k]))
    return root


def read_homographies(path: Path, names: Sequence[str]) -> list[FloatArray]:
    """Read how cameras' pictures lie on one common plane.

    Two forms: ``{"cameras": {NAME: 3x3, ...}}`` says for each camera the homography from its foot points to the common
    plane, which may be one camera's picture (then the identity stands there, or nothing); ``{"H": 3x3}`` does for two
    cameras, from the second's picture to the first's.

    Args:
        path: The JSON file.
        names: The cameras.

    Returns:
        One 3x3 array for each camera.

    Raises:
        OSError: The file cannot be read.
        ValueError: It says something else.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: expected JSON: {error}") from None
    if not isinstance(document, dict):
        raise ValueError(f"{path}: expected an object with cameras or H, got {type(document).__name__}")
    if isinstance(document.get("cameras"), dict):
        given = document["cameras"]
        missing = [name for name in names if name not in given]
        if len(missing) > 1:
            raise ValueError(
                f"{path}: expected a homography for each camera but one, there is none for {', '.join(missing)}"
            )
        return [np.eye(3) if name in missing else _homography(given[name], f"{path}: {name}") for name in names]
    if "H" not in document:
        raise ValueError(f'{path}: expected "cameras" or "H", got {", ".join(map(str, document)) or "nothing"}')
    if len(names) != 2:
        raise ValueError(f'{path}: "H" is for two cameras, got {len(names)}; expected "cameras" with one for each')
    return [np.eye(3), _homography(document["H"], f"{path}: H")]


def _homography(rows: object, what: str) -> FloatArray:
    try:
        matrix = np.array(rows, float)
    except (TypeError, ValueError):
        matrix = np.zeros(0)
    if matrix.shape != (3, 3) or not np.isfinite(matrix).all() or abs(np.linalg.det(matrix)) < 1e-12:
        raise ValueError(f"{what}: expected a 3x3 homography, got {json.dumps(rows)[:80]}")
    return matrix
