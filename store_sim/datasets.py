"""Annotated pictures in the formats that other tools read and write: COCO, YOLO and MOTChallenge, out and back in.

The unit is an ``AnnotatedFrame``: which picture, and in rows what is to be seen in it. Paths of pictures are relative
to the folder of the data set, with forward slashes; the pictures themselves are written by whoever has them.

What survives a format and comes back:

========================  =========  ==========  =========  ============
of each row               COCO       YOLO pose   YOLO boxes MOTChallenge
========================  =========  ==========  =========  ============
box                       yes        6 decimals  6 decimals 1/100 px
class                     yes        people only yes        people only
track                     yes        no          no         yes
17 key points             yes        6 decimals  no         no
hidden share              yes        no          no         1/1000
========================  =========  ==========  =========  ============

COCO: https://cocodataset.org/#format-data, with ``track_id`` and ``occlusion`` beside the usual keys. YOLO:
https://docs.ultralytics.com/datasets. MOTChallenge: Milan et al., MOT16: A Benchmark for Multi-Object Tracking, 2016,
whose boxes count pixels from 1.
"""

import configparser
import json
import math
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Self

import cv2
import numpy as np
import yaml
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from store_sim.bodies import Skeletons, coco_keypoints
from store_sim.figures import Figures
from store_sim.render import Picture, Thing, keypoints_seen, visible_boxes
from vision.arrays import FloatArray, IntArray, check_shape
from vision.cameras import Camera
from vision.detections import COCO_PERSON, KEYPOINT_COUNT, Detections

CLASS_NAMES = ("person", "product")
"""What is annotated: people, and products in their hands; ``class_id`` is the index."""
PERSON, PRODUCT = 0, 1

KEYPOINT_NAMES = (
    "nose",
    "left_eye",
    "right_eye",
    "left_ear",
    "right_ear",
    "left_shoulder",
    "right_shoulder",
    "left_elbow",
    "right_elbow",
    "left_wrist",
    "right_wrist",
    "left_hip",
    "right_hip",
    "left_knee",
    "right_knee",
    "left_ankle",
    "right_ankle",
)
MIRRORED_KEYPOINTS = (0, 2, 1, 4, 3, 6, 5, 8, 7, 10, 9, 12, 11, 14, 13, 16, 15)
"""Which key point each becomes when the picture is turned left to right."""
_BONES = (
    *((16, 14), (14, 12), (17, 15), (15, 13), (12, 13), (6, 12), (7, 13), (6, 7), (6, 8), (7, 9)),
    *((8, 10), (9, 11), (2, 3), (1, 2), (1, 3), (2, 4), (3, 5), (4, 6), (5, 7)),
)

IMAGES, LABELS = "images", "labels"
_MOT_PEDESTRIAN = 1
_YOLO_TASKS = ("detect", "pose")


@dataclass(frozen=True, slots=True)
class AnnotatedFrame:
    """One picture and what is to be seen in it.

    Attributes:
        image_path: The picture's file, relative to the data set, with forward slashes.
        resolution_wh: Its size, pixels.
        xyxy: Boxes around what is visible (left, top, right, bottom), shape (n, 4), float32, pixels from the top-left
            corner of the top-left pixel. Ours lie within the picture; other people's may reach beyond its edge.
        class_id: Shape (n,), int64, indices into ``CLASS_NAMES``.
        track_id: Who or what it is over a sequence, shape (n,), int64, from 1.
        keypoints: COCO's 17 points (x, y, visibility), shape (n, 17, 3), float32; visibility 2 seen, 1 hidden, 0 not in
            the picture, and then x and y are 0. All 0 for products.
        occlusion: Share of each that something else hides, shape (n,), float32, 0 to 1.
    """

    image_path: str
    resolution_wh: tuple[int, int]
    xyxy: FloatArray
    class_id: IntArray
    track_id: IntArray
    keypoints: FloatArray
    occlusion: FloatArray

    def __post_init__(self) -> None:
        path = PurePosixPath(self.image_path)
        if not path.name or path.is_absolute() or ".." in path.parts or "\\" in self.image_path:
            raise ValueError(f"AnnotatedFrame.image_path: expected a path within the data set, got {self.image_path!r}")
        n = len(self.xyxy)
        check_shape("AnnotatedFrame.xyxy", self.xyxy, (n, 4))
        check_shape("AnnotatedFrame.class_id", self.class_id, (n,))
        check_shape("AnnotatedFrame.track_id", self.track_id, (n,))
        check_shape("AnnotatedFrame.keypoints", self.keypoints, (n, KEYPOINT_COUNT, 3))
        check_shape("AnnotatedFrame.occlusion", self.occlusion, (n,))
        where = f"picture {self.image_path}"
        if not all(side > 0 for side in self.resolution_wh):
            raise ValueError(f"{where}: expected a size above 0, got {self.resolution_wh}")
        if not n:
            return
        if not np.isfinite(self.xyxy).all() or (self.xyxy[:, 2:] <= self.xyxy[:, :2]).any():
            raise ValueError(f"{where}: expected finite boxes wider and higher than 0")
        if not np.isin(self.class_id, np.arange(len(CLASS_NAMES))).all():
            raise ValueError(f"{where}: expected classes 0 to {len(CLASS_NAMES) - 1}, got {self.class_id.max()}")
        if (self.track_id < 1).any():
            raise ValueError(f"{where}: expected track ids from 1, got {self.track_id.min()}")
        if not np.isin(self.keypoints[..., 2], (0, 1, 2)).all():
            raise ValueError(f"{where}: expected visibilities 0, 1 or 2")
        if not ((self.occlusion >= 0) & (self.occlusion <= 1)).all():
            raise ValueError(f"{where}: expected hidden shares from 0 to 1")

    def __len__(self) -> int:
        return len(self.xyxy)

    def __getitem__(self, rows: NDArray[Any] | slice) -> Self:
        """Keep the given rows (indices, a mask or a slice)."""
        return type(self)(
            self.image_path,
            self.resolution_wh,
            self.xyxy[rows],
            self.class_id[rows],
            self.track_id[rows],
            self.keypoints[rows],
            self.occlusion[rows],
        )

    @classmethod
    def empty(cls, image_path: str, resolution_wh: tuple[int, int]) -> Self:
        """A picture with nothing in it."""
        return cls(
            image_path,
            resolution_wh,
            np.zeros((0, 4), np.float32),
            np.zeros(0, np.int64),
            np.zeros(0, np.int64),
            np.zeros((0, KEYPOINT_COUNT, 3), np.float32),
            np.zeros(0, np.float32),
        )


class TrackNumbers:
    """Gives everybody and every unit of goods a number of its own, from 1, in the order they are first seen."""

    def __init__(self) -> None:
        self._numbers: dict[tuple[int, str], int] = {}

    def of(self, class_id: int, name: str) -> int:
        """Return the number of somebody or something."""
        return self._numbers.setdefault((class_id, name), len(self._numbers) + 1)


def from_picture(
    picture: Picture,
    camera: Camera,
    figures: Figures,
    skeletons: Skeletons,
    image_path: str,
    tracks: TrackNumbers,
    *,
    smallest_px: float = 4.0,
    most_hidden: float = 0.95,
) -> AnnotatedFrame:
    """Annotate a rendered picture with the exact boxes and key points of what it shows.

    People outside and reflections are not annotated: only who stands in the store is known to it. A box is left out if
    too little of it is to be seen to be learned from.

    Args:
        picture: Drawn with ids.
        camera: The camera it was drawn with.
        figures: The people it was drawn with.
        skeletons: Their bodies.
        image_path: Where the picture is, or will be, in the data set.
        tracks: Numbers of who was seen before in this sequence.
        smallest_px: Boxes narrower or lower than this are left out.
        most_hidden: So are those of which more than this share is hidden.

    Raises:
        ValueError: The picture was drawn without ids.
    """
    boxes = visible_boxes(picture)
    width, height = camera.resolution_wh
    sides = boxes.xyxy[:, 2:] - boxes.xyxy[:, :2]
    known = np.isin(boxes.kind, (int(Thing.PERSON), int(Thing.UNIT)))
    rows = np.flatnonzero(known & (sides >= smallest_px).all(axis=1) & (1 - boxes.share <= most_hidden))
    if not len(rows):
        return AnnotatedFrame.empty(image_path, (width, height))
    points_m = coco_keypoints(skeletons)
    seen = keypoints_seen(picture, camera, points_m)
    flat = camera.image_points(points_m.reshape(-1, 3)).reshape(*points_m.shape[:2], 2)
    points = np.concatenate([np.where(seen[..., None] > 0, flat, 0), seen[..., None]], axis=2).astype(np.float32)
    is_person = boxes.kind[rows] == int(Thing.PERSON)
    class_id = np.where(is_person, PERSON, PRODUCT).astype(np.int64)
    keypoints = np.zeros((len(rows), KEYPOINT_COUNT, 3), np.float32)
    keypoints[is_person] = points[boxes.row[rows][is_person]]
    names = [
        figures.person_id[row] if person else str(row)
        for row, person in zip(boxes.row[rows].tolist(), is_person.tolist(), strict=True)
    ]
    track_id = [tracks.of(kind, name) for kind, name in zip(class_id.tolist(), names, strict=True)]
    return AnnotatedFrame(
        image_path,
        (width, height),
        boxes.xyxy[rows].astype(np.float32),
        class_id,
        np.array(track_id, np.int64),
        keypoints,
        np.clip(1 - boxes.share[rows], 0, 1).astype(np.float32),
    )


def write_coco(file: Path, frames: Sequence[AnnotatedFrame]) -> None:
    """Write frames as one COCO file of boxes and key points.

    Raises:
        OSError: The file cannot be written.
        ValueError: Two frames are of one picture.
    """
    _check_different(frames)
    images: list[dict[str, object]] = []
    annotations: list[dict[str, object]] = []
    for image_id, frame in enumerate(frames, 1):
        width, height = frame.resolution_wh
        images.append({"id": image_id, "file_name": frame.image_path, "width": width, "height": height})
        for row in range(len(frame)):
            left, top, right, bottom = frame.xyxy[row].astype(float).tolist()
            entry: dict[str, object] = {
                "id": len(annotations) + 1,
                "image_id": image_id,
                "category_id": int(frame.class_id[row]) + 1,
                "bbox": [left, top, right - left, bottom - top],
                "area": (right - left) * (bottom - top),
                "iscrowd": 0,
                "track_id": int(frame.track_id[row]),
                "occlusion": float(frame.occlusion[row]),
            }
            if frame.class_id[row] == PERSON:
                entry["keypoints"] = frame.keypoints[row].astype(float).ravel().tolist()
                entry["num_keypoints"] = int((frame.keypoints[row, :, 2] > 0).sum())
            annotations.append(entry)
    categories: list[dict[str, object]] = [{"id": k, "name": name} for k, name in enumerate(CLASS_NAMES, 1)]
    categories[PERSON] |= {"keypoints": list(KEYPOINT_NAMES), "skeleton": [list(bone) for bone in _BONES]}
    document = {"images": images, "annotations": annotations, "categories": categories}
    _write_text(file, json.dumps(document) + "\n")


def read_coco(file: Path) -> tuple[AnnotatedFrame, ...]:
    """Read a COCO file of boxes and key points.

    Categories are known by their names; what is neither a person nor a product is left out, and so are crowds. A track
    that the file does not give is numbered by the annotation's id.

    Raises:
        OSError: The file cannot be read.
        ValueError: It is not a COCO file, or says what cannot be; the message names the file.
    """
    try:
        document = _Coco.model_validate_json(file.read_bytes())
    except ValidationError as error:
        raise ValueError(f"{file}: expected a COCO file: {_first_fault(error)}") from error
    for what, ids in (("images", document.images), ("categories", document.categories)):
        if len({entry.id for entry in ids}) < len(ids):
            raise ValueError(f"{file}: expected a COCO file: {what}: an id is given twice")
    classes = {entry.id: CLASS_NAMES.index(entry.name) for entry in document.categories if entry.name in CLASS_NAMES}
    images = {image.id: image for image in document.images}
    rows: dict[int, list[_CocoAnnotation]] = {image_id: [] for image_id in images}
    for entry in document.annotations:
        if entry.image_id not in images:
            raise ValueError(f"{file}: annotation {entry.id} is of image {entry.image_id}, which is not listed")
        if entry.category_id in classes and not entry.iscrowd:
            rows[entry.image_id].append(entry)
    frames = []
    for image_id, image in images.items():
        own = rows[image_id]
        xywh = np.array([entry.bbox for entry in own], float).reshape(-1, 4)
        try:
            frame = AnnotatedFrame(
                image.file_name,
                (image.width, image.height),
                np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], axis=1).astype(np.float32),
                np.array([classes[entry.category_id] for entry in own], np.int64),
                np.array([entry.id if entry.track_id is None else entry.track_id for entry in own], np.int64),
                np.array([_coco_keypoints(entry) for entry in own], np.float32).reshape(-1, KEYPOINT_COUNT, 3),
                np.array([entry.occlusion for entry in own], np.float32),
            )
        except ValueError as error:
            raise ValueError(f"{file}: {error}") from error
        frames.append(frame)
    return tuple(frames)


def write_yolo(
    folder: Path, splits: Mapping[str, Sequence[AnnotatedFrame]], task: str = "detect", pictures: Path | None = None
) -> None:
    """Write label files and ``data.yaml`` for training with YOLO.

    Pictures must lie in ``images/SPLIT/``, where ``data.yaml`` sends the trainer, which then looks for the labels in
    ``labels/SPLIT/``. As it looks beside the real file, a link to a picture would lead it astray: pictures that lie
    elsewhere become files of their own, sharing the disk's blocks where that can be done.

    Args:
        folder: The data set.
        splits: Name of each part, such as ``train`` and ``val``, to its frames.
        task: ``detect`` for boxes of all classes, ``pose`` for people with key points.
        pictures: Folder from which the frames' pictures are taken; None: they are, or will be, in ``folder``.

    Raises:
        OSError: A file cannot be written, or a picture is missing in ``pictures``.
        ValueError: There is no such task, a picture lies in another folder than its split's, or is listed twice.
    """
    if task not in _YOLO_TASKS:
        raise ValueError(f"YOLO data set: expected a task out of {', '.join(_YOLO_TASKS)}, got {task!r:.20}")
    _check_different([frame for frames in splits.values() for frame in frames])
    for split, frames in splits.items():
        (folder / IMAGES / split).mkdir(parents=True, exist_ok=True)
        (folder / LABELS / split).mkdir(parents=True, exist_ok=True)
        for frame in frames:
            path = PurePosixPath(frame.image_path)
            if path.parent != PurePosixPath(IMAGES, split):
                raise ValueError(f"YOLO data set: expected pictures in {IMAGES}/{split}, got {frame.image_path}")
            if pictures is not None:
                _take_over(pictures / path, folder / path)
            _write_text(folder / LABELS / split / f"{path.stem}.txt", _yolo_lines(frame, task))
    settings: dict[str, object] = {split: f"{IMAGES}/{split}" for split in splits}
    if task == "pose":
        settings |= {"names": {PERSON: CLASS_NAMES[PERSON]}, "kpt_shape": [KEYPOINT_COUNT, 3]}
        settings["flip_idx"] = list(MIRRORED_KEYPOINTS)
    else:
        settings["names"] = dict(enumerate(CLASS_NAMES))
    _write_text(folder / "data.yaml", yaml.safe_dump(settings, sort_keys=False))


def read_yolo(folder: Path, split: str) -> tuple[AnnotatedFrame, ...]:
    """Read a part of a YOLO data set of boxes, or of people with key points, in order of the pictures' names.

    Classes are known by the names in ``data.yaml``; what is neither a person nor a product is left out. Every box is a
    track of its own, and nothing is hidden.

    Raises:
        OSError: A file or folder is missing or cannot be read.
        ValueError: A file says what cannot be; the message names it.
    """
    file = folder / "data.yaml"
    try:
        settings = _YoloSettings.model_validate(yaml.safe_load(file.read_bytes()))
    except ValidationError as error:
        raise ValueError(f"{file}: expected a YOLO data set: {_first_fault(error)}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # a number of thousands of digits is a ValueError
        raise ValueError(f"{file}: expected YAML: {' '.join(str(error).split())}") from error
    names = dict(enumerate(settings.names)) if isinstance(settings.names, list) else settings.names
    if settings.kpt_shape not in (None, [KEYPOINT_COUNT, 3]):
        raise ValueError(f"{file}: expected kpt_shape [{KEYPOINT_COUNT}, 3], got {settings.kpt_shape}")
    points = 0 if settings.kpt_shape is None else KEYPOINT_COUNT
    images = folder / IMAGES / split
    if not images.is_dir():
        raise FileNotFoundError(f"{images}: expected a folder of pictures, there is none")
    frames = []
    first_track = 1
    for image in sorted(images.iterdir()):
        if image.suffix.lower() not in _PICTURE_SUFFIXES:
            continue
        label = folder / LABELS / split / f"{image.stem}.txt"
        rows = _numbers(label, 5 + 3 * points) if label.is_file() else np.zeros((0, 5 + 3 * points))
        size_wh = _picture_size(image)
        class_names = [names.get(int(number), "") for number in rows[:, 0]]
        known = np.array([name in CLASS_NAMES for name in class_names], bool)
        rows = rows[known]
        scale = np.array(size_wh * 2, float)
        middle, sides = rows[:, 1:3], rows[:, 3:5]
        keypoints = np.zeros((len(rows), KEYPOINT_COUNT, 3), np.float32)
        if points:
            keypoints[:] = rows[:, 5:].reshape(-1, points, 3) * np.array([*size_wh, 1.0])
        try:
            frame = AnnotatedFrame(
                f"{IMAGES}/{split}/{image.name}",
                size_wh,
                (np.concatenate([middle - sides / 2, middle + sides / 2], axis=1) * scale).astype(np.float32),
                np.array([CLASS_NAMES.index(name) for name in class_names if name in CLASS_NAMES], np.int64),
                np.arange(first_track, first_track + len(rows), dtype=np.int64),
                keypoints,
                np.zeros(len(rows), np.float32),
            )
        except ValueError as error:
            raise ValueError(f"{label}: {error}") from error
        first_track += len(rows)
        frames.append(frame)
    return tuple(frames)


def write_mot(
    folder: Path, frames: Sequence[AnnotatedFrame], rate_hz: float, detections: Sequence[Detections] | None = None
) -> None:
    """Write a sequence's ground truth, detections and description as MOTChallenge does; its name is the folder's.

    Only people are written. Pictures must be named ``img1/000001.jpg`` and so on, in order.

    Args:
        folder: Of this sequence.
        frames: All of one size, one each picture.
        rate_hz: Pictures a second.
        detections: What a detector found in each frame; None for the true boxes, as sure as they can be seen.

    Raises:
        OSError: A file cannot be written.
        ValueError: There is no frame, sizes or names do not fit, or there is not one ``Detections`` a frame.
    """
    if not frames or not rate_hz > 0:
        raise ValueError(f"{folder.name}: expected frames and a rate above 0, got {len(frames)} at {rate_hz} Hz")
    if detections is not None and len(detections) != len(frames):
        raise ValueError(f"{folder.name}: expected detections of {len(frames)} frames, got {len(detections)}")
    suffix = PurePosixPath(frames[0].image_path).suffix
    truth: list[str] = []
    found: list[str] = []
    for number, frame in enumerate(frames, 1):
        if frame.image_path != f"{_MOT_IMAGES}/{number:06d}{suffix}" or frame.resolution_wh != frames[0].resolution_wh:
            raise ValueError(
                f"{folder.name}: expected picture {_MOT_IMAGES}/{number:06d}{suffix} of size "
                f"{frames[0].resolution_wh}, got {frame.image_path} of {frame.resolution_wh}"
            )
        people = frame[frame.class_id == PERSON]
        if len(np.unique(people.track_id)) != len(people):
            raise ValueError(f"{folder.name}: frame {number} has a track twice")
        for box, track, hidden in zip(_mot_boxes(people.xyxy), people.track_id, people.occlusion, strict=True):
            truth.append(f"{number},{track},{box},1,{_MOT_PEDESTRIAN},{1 - hidden:.3f}")
        if detections is None:
            boxes, sure = people.xyxy, 1 - people.occlusion
        else:
            some = detections[number - 1].people()
            boxes, sure = some.xyxy, some.confidence
        found += [
            f"{number},-1,{box},{confidence:.4f},-1,-1,-1"
            for box, confidence in zip(_mot_boxes(boxes), sure, strict=True)
        ]
    description = configparser.ConfigParser(interpolation=None)
    description.optionxform = str  # type: ignore[assignment,method-assign]
    width, height = frames[0].resolution_wh
    description["Sequence"] = {
        "name": folder.name,
        "imDir": _MOT_IMAGES,
        "frameRate": f"{rate_hz:g}",
        "seqLength": str(len(frames)),
        "imWidth": str(width),
        "imHeight": str(height),
        "imExt": suffix,
    }
    _write_text(folder / "gt" / "gt.txt", "".join(f"{line}\n" for line in truth))
    _write_text(folder / "det" / "det.txt", "".join(f"{line}\n" for line in found))
    with (folder / "seqinfo.ini").open("w", encoding="utf-8") as stream:
        description.write(stream, space_around_delimiters=False)


@dataclass(frozen=True, slots=True)
class MotSequence:
    """A sequence in MOTChallenge's format.

    Attributes:
        name: Of the sequence.
        rate_hz: Pictures a second.
        frames: One each picture, with the people that its ground truth counts; none in them if it has no ground truth.
        detections: What its detector found in each; empty if it has no detections.
    """

    name: str
    rate_hz: float
    frames: tuple[AnnotatedFrame, ...]
    detections: tuple[Detections, ...]


def read_mot(folder: Path) -> MotSequence:
    """Read a MOTChallenge sequence, of 2015 or later.

    Rows that the ground truth tells not to count, and other classes than pedestrians, are left out.

    Raises:
        OSError: ``seqinfo.ini`` is missing, or a file cannot be read.
        ValueError: A file says what cannot be; the message names it.
    """
    file = folder / "seqinfo.ini"
    description = configparser.ConfigParser(interpolation=None)
    try:
        description.read_string(file.read_text(encoding="utf-8"))
        section = description["Sequence"]
        name, length = section.get("name", folder.name), section.getint("seqLength")
        size_wh = section.getint("imWidth"), section.getint("imHeight")
        rate_hz = section.getfloat("frameRate")
        images, suffix = section.get("imDir", _MOT_IMAGES), section.get("imExt", ".jpg")
    except (configparser.Error, KeyError, ValueError) as error:
        raise ValueError(f"{file}: expected a sequence's description: {' '.join(str(error).split())}") from error
    if length is None or rate_hz is None or not 0 < length <= _MOST_FRAMES or not 1 / _MOST_HZ <= rate_hz <= _MOST_HZ:
        raise ValueError(
            f"{file}: expected seqLength above 0 and up to {_MOST_FRAMES}, frameRate above 0 and up to {_MOST_HZ:g}"
        )
    if not all(side is not None and 0 < side <= _MOST_PX for side in size_wh):
        raise ValueError(f"{file}: expected imWidth and imHeight above 0 and up to {_MOST_PX:.0f}")
    truth, found = folder / "gt" / "gt.txt", folder / "det" / "det.txt"
    rows = _mot_rows(truth, length)
    if len(rows):
        # In 2015 three world coordinates follow the flag; since 2016 the class and the visible share.
        since_2016 = rows.shape[1] == 9
        counted = (rows[:, 6] != 0) & ((rows[:, 7] == _MOT_PEDESTRIAN) | (not since_2016))
        visible = rows[:, 8] if since_2016 else np.ones(len(rows))
        rows, visible = rows[counted], visible[counted]
    else:
        visible = np.zeros(0)
    frames = []
    for number, own in enumerate(_by_frame(rows, length), 1):
        try:
            frame = AnnotatedFrame(
                f"{images}/{number:06d}{suffix}",
                (int(size_wh[0] or 0), int(size_wh[1] or 0)),
                _from_mot_boxes(rows[own]),
                np.full(len(own), PERSON, np.int64),
                rows[own, 1].astype(np.int64),
                np.zeros((len(own), KEYPOINT_COUNT, 3), np.float32),
                np.clip(1 - visible[own], 0, 1).astype(np.float32),
            )
        except ValueError as error:
            raise ValueError(f"{truth}: {error}") from error
        frames.append(frame)
    seen = _mot_rows(found, length)
    detections = []
    for number, own in enumerate(_by_frame(seen, length) if len(seen) else (), 1):
        detections.append(
            Detections(
                name,
                round((number - 1) / rate_hz * 1e9),
                _from_mot_boxes(seen[own]),
                seen[own, 6].astype(np.float32),
                np.full(len(own), COCO_PERSON, np.int64),
                np.zeros((len(own), 0, 3), np.float32),
            )
        )
    return MotSequence(name, rate_hz, tuple(frames), tuple(detections))


_MOT_IMAGES = "img1"
_MOST_FRAMES = 1_000_000  # nine hours at 30 Hz; every frame takes memory, whether or not anything is in it
_MOST_HZ = 1e6
_MOST_NUMBER = 2**53  # whole numbers up to here are whole in every format
_MOST_PX = 1e6  # no picture is larger, and no other number in these files has a reason to be
_PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp")


class _Lenient(BaseModel):
    model_config = ConfigDict(extra="ignore", allow_inf_nan=False)


_Id = Annotated[int, Field(ge=-_MOST_NUMBER, le=_MOST_NUMBER)]
_Side = Annotated[int, Field(gt=0, le=_MOST_PX)]
_Px = Annotated[float, Field(ge=-_MOST_PX, le=_MOST_PX)]


class _CocoImage(_Lenient):
    id: _Id
    file_name: str
    width: _Side
    height: _Side


class _CocoAnnotation(_Lenient):
    id: _Id
    image_id: _Id
    category_id: _Id
    bbox: tuple[_Px, _Px, _Px, _Px]
    iscrowd: int = 0
    keypoints: list[_Px] | None = None
    track_id: _Id | None = None
    occlusion: Annotated[float, Field(ge=0, le=1)] = 0.0


class _CocoCategory(_Lenient):
    id: _Id
    name: str


class _Coco(_Lenient):
    images: list[_CocoImage]
    annotations: list[_CocoAnnotation]
    categories: list[_CocoCategory]


class _YoloSettings(_Lenient):
    names: dict[int, str] | list[str]
    kpt_shape: list[int] | None = None


def _first_fault(error: ValidationError) -> str:
    fault = error.errors(include_url=False)[0]
    return " ".join(f"{'.'.join(str(part) for part in fault['loc']) or 'the whole'}: {fault['msg']}".split())


def _coco_keypoints(entry: _CocoAnnotation) -> FloatArray:
    if entry.keypoints is None:
        return np.zeros((KEYPOINT_COUNT, 3), np.float32)
    if len(entry.keypoints) != 3 * KEYPOINT_COUNT:
        raise ValueError(
            f"annotation {entry.id}: expected {KEYPOINT_COUNT} key points, got {len(entry.keypoints)} numbers"
        )
    return np.array(entry.keypoints, np.float32).reshape(KEYPOINT_COUNT, 3)


def _check_different(frames: Sequence[AnnotatedFrame]) -> None:
    seen: set[str] = set()
    for frame in frames:
        if frame.image_path in seen:
            raise ValueError(f"data set: picture {frame.image_path} is listed twice")
        seen.add(frame.image_path)


def _write_text(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8", newline="\n")


def _take_over(picture: Path, target: Path) -> None:
    """Let a file lie in a second place too: a hard link, or a copy where the disk cannot."""
    target.unlink(missing_ok=True)
    try:
        os.link(picture, target)
    except FileNotFoundError:
        raise
    except OSError:
        shutil.copyfile(picture, target)


def _yolo_lines(frame: AnnotatedFrame, task: str) -> str:
    rows = frame[frame.class_id == PERSON] if task == "pose" else frame
    size = np.array(frame.resolution_wh, float)
    lines = []
    for row in range(len(rows)):
        box = rows.xyxy[row].astype(float).reshape(2, 2) / size
        box = np.clip(box, 0, 1)
        numbers = [*(box.mean(axis=0)), *(box[1] - box[0])]
        words = [str(int(rows.class_id[row])), *(f"{number:.6f}" for number in numbers)]
        if task == "pose":
            for x, y, visibility in rows.keypoints[row].astype(float).tolist():
                words += [f"{x / size[0]:.6f}", f"{y / size[1]:.6f}", f"{visibility:.0f}"]
        lines.append(" ".join(words) + "\n")
    return "".join(lines)


def _numbers(file: Path, columns: int | tuple[int, ...], separator: str | None = None) -> FloatArray:
    """Read rows of as many numbers, shape (n, columns); of several numbers of columns all rows have the same."""
    allowed = (columns,) if isinstance(columns, int) else columns
    rows: list[list[float]] = []
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{file}: expected text: {error}") from error
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = [float(word) for word in line.split(separator)]
        except ValueError as error:
            raise ValueError(f"{file}: line {number}: expected numbers, got {line[:60]!r}") from error
        if len(row) not in allowed or (rows and len(row) != len(rows[0])) or not all(map(math.isfinite, row)):
            wanted = " or ".join(map(str, allowed))
            raise ValueError(f"{file}: line {number}: expected {wanted} finite numbers, got {len(row)}: {line[:60]!r}")
        if max(map(abs, row)) > _MOST_PX:
            raise ValueError(f"{file}: line {number}: expected numbers up to {_MOST_PX:.0f}, got {line[:60]!r}")
        rows.append(row)
    return np.array(rows, float).reshape(len(rows), len(rows[0]) if rows else allowed[0])


def _picture_size(file: Path) -> tuple[int, int]:
    image = cv2.imread(str(file), cv2.IMREAD_GRAYSCALE)
    if image is None:
        raise OSError(f"{file}: expected a picture, it cannot be read as one")
    return int(image.shape[1]), int(image.shape[0])


def _mot_boxes(xyxy: FloatArray) -> list[str]:
    """Left, top, width and height as MOTChallenge counts, pixels from 1."""
    return [
        f"{left + 1:.2f},{top + 1:.2f},{right - left:.2f},{bottom - top:.2f}"
        for left, top, right, bottom in xyxy.astype(float).tolist()
    ]


def _from_mot_boxes(rows: FloatArray) -> FloatArray:
    start = rows[:, 2:4] - 1
    return np.concatenate([start, start + rows[:, 4:6]], axis=1).astype(np.float32)


def _by_frame(rows: FloatArray, length: int) -> list[IntArray]:
    """Which rows are of each frame from 1 to the last, in the order of the file."""
    order = np.argsort(rows[:, 0], kind="stable")
    return np.split(order, np.searchsorted(rows[order, 0], np.arange(2, length + 1)))


def _mot_rows(file: Path, length: int) -> FloatArray:
    if not file.is_file():
        return np.zeros((0, 9))
    rows = _numbers(file, (7, 8, 9, 10), ",")
    if len(rows) and (rows.shape[1] < 9 and file.name == "gt.txt"):
        raise ValueError(f"{file}: expected 9 or 10 numbers a line, got {rows.shape[1]}")
    outside = (rows[:, 0] < 1) | (rows[:, 0] > length) | (rows[:, 0] % 1 != 0)
    if outside.any():
        raise ValueError(f"{file}: expected frames 1 to {length}, got {rows[outside][0, 0]:g}")
    return rows
