"""MOTChallenge's text files: boxes frame by frame, as detections come and as tracks and ground truth are compared.

One row a box: frame (from 1), id (-1 for a detection), left, top, width, height in pixels, confidence, and up to three
more columns (https://motchallenge.net/instructions). Left and top are taken as they are, without the shift by one pixel
that the first release of the benchmark had, as TrackEval does.
"""

import configparser
import io
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from tracking.types import Tracks
from vision.arrays import FloatArray, IntArray, check_shape
from vision.detections import COCO_PERSON, Detections

logger = logging.getLogger(__name__)

NS_PER_S = 1_000_000_000
PEDESTRIAN = 1
"""Class of a person in ground truth from MOT16 on."""

_FEWEST_COLUMNS, _MOST_COLUMNS = 7, 10
_CLASSED_COLUMNS = 9  # ground truth from MOT16 on: ..., flag, class, visibility; MOT15 and results have ten columns


@dataclass(frozen=True, slots=True)
class MotBoxes:
    """Boxes of one sequence, ordered by frame.

    Attributes:
        frame: Frame of each box, counted from 1, shape (n,), rising.
        track_id: Whose box it is, shape (n,); -1 in detections.
        xyxy: (left, top, right, bottom), shape (n, 4), pixels.
        confidence: Score of a detection, flag of ground truth (0: not to be scored), shape (n,).
        class_id: MOT16's class, 1 a pedestrian, shape (n,); ``PEDESTRIAN`` where a file says nothing of it.
    """

    frame: IntArray
    track_id: IntArray
    xyxy: FloatArray
    confidence: FloatArray
    class_id: IntArray

    def __post_init__(self) -> None:
        n = len(self.frame)
        check_shape("MotBoxes.track_id", self.track_id, (n,))
        check_shape("MotBoxes.xyxy", self.xyxy, (n, 4))
        check_shape("MotBoxes.confidence", self.confidence, (n,))
        check_shape("MotBoxes.class_id", self.class_id, (n,))
        if n and (self.frame[0] < 1 or (np.diff(self.frame) < 0).any()):
            raise ValueError("MotBoxes.frame: expected frames from 1 on, in rising order")

    def __len__(self) -> int:
        return len(self.frame)

    def __getitem__(self, rows: NDArray[Any] | slice) -> Self:
        """Keep the given rows (rising indices, a mask or a slice)."""
        return type(self)(
            self.frame[rows], self.track_id[rows], self.xyxy[rows], self.confidence[rows], self.class_id[rows]
        )

    @classmethod
    def of(cls, frame: IntArray, track_id: IntArray, xyxy: FloatArray, confidence: FloatArray | None = None) -> Self:
        """Make boxes of pedestrians from rows in any order.

        Args:
            frame: From 1, shape (n,).
            track_id: Shape (n,).
            xyxy: Shape (n, 4), pixels.
            confidence: Shape (n,); 1 for all if it is left out.
        """
        order = np.argsort(frame, kind="stable")
        confidence = np.ones(len(frame)) if confidence is None else confidence
        return cls(frame[order], track_id[order], xyxy[order], confidence[order], np.full(len(frame), PEDESTRIAN))

    def bounds(self, frames: int) -> IntArray:
        """Where the rows of each frame begin and end: those of frame ``f`` are ``bounds[f - 1]:bounds[f]``.

        Args:
            frames: How many frames there are; later ones are left out.

        Returns:
            Shape (frames + 1,).
        """
        return np.searchsorted(self.frame, np.arange(1, frames + 2))


@dataclass(frozen=True, slots=True)
class MotSequence:
    """A folder of MOTChallenge: what was detected, what is true, and how fast it was filmed.

    Attributes:
        name: The folder's.
        frame_rate_hz: Frames a second.
        frame_count: How many frames there are, empty ones too.
        detections: What a detector saw.
        truth: Who was where; None in a sequence whose truth is not given away.
    """

    name: str
    frame_rate_hz: float
    frame_count: int
    detections: MotBoxes
    truth: MotBoxes | None


def read_mot(path: Path) -> MotBoxes:
    """Read detections, results or ground truth.

    Args:
        path: A text file of 7 to 10 columns, rows in any order, empty lines allowed. In a file of nine columns the
            eighth is the class; elsewhere everybody is a pedestrian.

    Returns:
        All its boxes. Rows of one frame stay in the file's order.

    Raises:
        ValueError: A row has too few or too many columns, something that is no finite number, another number of columns
            than the first row, a frame that is no whole number from 1 on, an id that is no whole number, or a negative
            width or height; the message gives the file and the line.
        OSError: The file cannot be read.
    """
    try:
        text = path.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: expected a text file of MOTChallenge, it is not text") from error
    table = _table(text)
    if table is None:
        table = _table_line_by_line(text, path)
    columns = table.shape[1]
    table = table[np.argsort(table[:, 0], kind="stable")]
    corner, size = table[:, 2:4], table[:, 4:6]
    classes = table[:, 7].astype(np.int64) if columns == _CLASSED_COLUMNS else np.full(len(table), PEDESTRIAN)
    return MotBoxes(
        table[:, 0].astype(np.int64),
        table[:, 1].astype(np.int64),
        np.concatenate([corner, corner + size], axis=1),
        table[:, 6],
        classes,
    )


def _table(text: str) -> FloatArray | None:
    """All rows at once; None if anything is wrong with them, or if there are none."""
    if not text.strip():
        return None
    try:
        table = np.loadtxt(io.StringIO(text), np.float64, comments=None, delimiter=",", ndmin=2)
    except ValueError:
        return None
    right = _FEWEST_COLUMNS <= table.shape[1] <= _MOST_COLUMNS and np.isfinite(table).all()
    if not right or (table[:, :2] != np.floor(table[:, :2])).any() or (table[:, 0] < 1).any():
        return None
    return None if (table[:, 4:6] < 0).any() else table


def _table_line_by_line(text: str, path: Path) -> FloatArray:
    """All rows, ten times as slowly, but with the line of what is wrong."""
    rows: list[list[float]] = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        row = _parsed(line, f"{path}, line {number}")
        if rows and len(row) != len(rows[0]):
            raise ValueError(f"{path}, line {number}: expected {len(rows[0])} columns as before, got {len(row)}")
        rows.append(row)
    return np.array(rows, np.float64).reshape(len(rows), len(rows[0]) if rows else _FEWEST_COLUMNS)


def _parsed(line: str, where: str) -> list[float]:
    """The numbers of one row."""
    fields = [field.strip() for field in line.strip().rstrip(",").split(",")]
    if not _FEWEST_COLUMNS <= len(fields) <= _MOST_COLUMNS:
        raise ValueError(f"{where}: expected {_FEWEST_COLUMNS} to {_MOST_COLUMNS} columns, got {len(fields)}")
    row = []
    for field in fields:
        try:
            row.append(float(field))
        except ValueError:
            raise ValueError(f"{where}: expected a number, got {field!r}") from None
    if not np.isfinite(row).all():
        raise ValueError(f"{where}: expected finite numbers, got {line.strip()!r}")
    if row[0] < 1 or row[0] != int(row[0]):
        raise ValueError(f"{where}: expected a frame from 1 on, got {fields[0]}")
    if row[1] != int(row[1]):
        raise ValueError(f"{where}: expected a whole number as id, got {fields[1]}")
    if row[4] < 0 or row[5] < 0:
        raise ValueError(f"{where}: expected a width and height of 0 or more, got {fields[4]} and {fields[5]}")
    return row


def write_mot(path: Path, boxes: MotBoxes) -> None:
    """Write results: ten columns, the last three -1, hundredths of a pixel, ordered by frame.

    Args:
        path: The file to write; one that is there is replaced.
        boxes: What to write; their classes are not kept.

    Raises:
        OSError: It cannot be written.
    """
    size = boxes.xyxy[:, 2:] - boxes.xyxy[:, :2]
    rows = zip(boxes.frame, boxes.track_id, boxes.xyxy[:, :2], size, boxes.confidence, strict=True)
    lines = [
        f"{frame},{track_id},{corner[0]:.2f},{corner[1]:.2f},{extent[0]:.2f},{extent[1]:.2f},{confidence:.4g},-1,-1,-1"
        for frame, track_id, corner, extent, confidence in rows
    ]
    path.write_text("".join(f"{line}\n" for line in lines), "utf-8")


def read_sequence(folder: Path) -> MotSequence:
    """Read a folder with ``seqinfo.ini``, ``det/det.txt`` and, where it is given, ``gt/gt.txt``.

    Args:
        folder: One sequence of MOTChallenge.

    Returns:
        The sequence.

    Raises:
        ValueError: A file is not as it should be; the message names it.
        OSError: A file is missing or cannot be read.
    """
    path = folder / "seqinfo.ini"
    parser = configparser.ConfigParser()
    try:
        parser.read_string(path.read_text("utf-8"))
        rate_hz, count = parser.getfloat("Sequence", "frameRate"), parser.getint("Sequence", "seqLength")
    except (configparser.Error, ValueError) as error:
        raise ValueError(f"{path}: expected frameRate and seqLength under [Sequence]: {error}") from error
    if not (np.isfinite(rate_hz) and rate_hz > 0 and count >= 1):
        raise ValueError(f"{path}: expected a frameRate above 0 and a seqLength from 1, got {rate_hz:g} and {count}")
    truth = folder / "gt" / "gt.txt"
    return MotSequence(
        folder.name,
        rate_hz,
        count,
        read_mot(folder / "det" / "det.txt"),
        read_mot(truth) if truth.exists() else None,
    )


def one_after_another(cameras: Sequence[MotBoxes], frames: int) -> MotBoxes:
    """Put the boxes of several cameras into one sequence, each camera's frames behind those of the one before.

    Scored against the truth put together likewise, ids count over all cameras: somebody with another id in another
    picture is somebody else there.

    Args:
        cameras: Boxes of each, with ids that hold in all of them.
        frames: How many frames a camera has; no camera has more.

    Raises:
        ValueError: A camera has more frames.
    """
    last = max((int(boxes.frame.max(initial=0)) for boxes in cameras), default=0)
    if last > frames:
        raise ValueError(f"expected at most {frames} frames a camera, got {last}")
    return MotBoxes(
        np.concatenate([np.zeros(0, np.int64), *(boxes.frame + k * frames for k, boxes in enumerate(cameras))]),
        np.concatenate([np.zeros(0, np.int64), *(boxes.track_id for boxes in cameras)]),
        np.concatenate([np.zeros((0, 4)), *(boxes.xyxy for boxes in cameras)]),
        np.concatenate([np.zeros(0), *(boxes.confidence for boxes in cameras)]),
        np.concatenate([np.zeros(0, np.int64), *(boxes.class_id for boxes in cameras)]),
    )


def frames_of(
    boxes: MotBoxes, frame_rate_hz: float, *, frames: int | None = None, camera_id: str = "camera"
) -> Iterator[Detections]:
    """Give boxes frame by frame, as a detector would.

    Args:
        boxes: Detections of people.
        frame_rate_hz: Frames a second; frame 1 is at the time 0.
        frames: How many frames there are; those without a box give nobody. Up to the last box if left out.
        camera_id: The camera they are said to be of.

    Yields:
        One frame after the other. Scores that are no probabilities are brought into 0 to 1: files that give none (-1
        everywhere) count as sure, others are cut.

    Raises:
        ValueError: The frame rate is not positive.
    """
    if not (np.isfinite(frame_rate_hz) and frame_rate_hz > 0):
        raise ValueError(f"frames_of: expected a positive frame rate, got {frame_rate_hz}")
    count = frames if frames is not None else int(boxes.frame.max(initial=0))
    confidence = boxes.confidence
    if len(boxes) and (confidence < 0).all():
        confidence = np.ones(len(boxes))
    elif ((confidence < 0) | (confidence > 1)).any():
        logger.warning("scores from %g to %g are cut to 0 to 1", confidence.min(), confidence.max())
        confidence = np.clip(confidence, 0, 1)
    xyxy, confidence = boxes.xyxy.astype(np.float32), confidence.astype(np.float32)
    classes = np.full(len(boxes), COCO_PERSON, np.int64)
    keypoints = np.zeros((len(boxes), 0, 3), np.float32)
    bounds = boxes.bounds(count).tolist()
    for index in range(count):
        rows = slice(bounds[index], bounds[index + 1])
        time_ns = round(index * NS_PER_S / frame_rate_hz)
        yield Detections(camera_id, time_ns, xyxy[rows], confidence[rows], classes[rows], keypoints[rows])


def boxes_of(tracks: Iterable[Tracks]) -> MotBoxes:
    """Gather what a tracker gave, the first tracks being those of frame 1.

    Args:
        tracks: One entry a frame, empty ones too.

    Returns:
        All boxes with their ids.
    """
    kept = list(tracks)
    if not kept:
        return MotBoxes.of(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros((0, 4)))
    return MotBoxes.of(
        np.repeat(np.arange(1, len(kept) + 1), [len(frame) for frame in kept]),
        np.concatenate([frame.track_id for frame in kept]),
        np.concatenate([frame.xyxy for frame in kept]).astype(np.float64),
        np.concatenate([frame.confidence for frame in kept]).astype(np.float64),
    )
