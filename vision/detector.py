"""Detectors that run an ONNX model: what is in a frame, and where.

Three kinds of output ("heads") are read, told apart by the shape that comes out:

- ``yolo``: a column for every anchor, ``(b, 4 + classes, anchors)``, box as centre and size in input pixels
  (Ultralytics YOLOv8 and YOLO11); with key-points ``(b, 4 + classes + 51, anchors)``, so 56 rows for one class.
- ``end-to-end``: finished rows ``(b, rows, 6)``: corners, score, class (YOLOv10, YOLO26); with key-points
  ``(b, rows, 57)``.
- ``yolox``: the raw grid ``(b, cells, 5 + classes)`` of Ge et al., *YOLOX: Exceeding YOLO Series in 2021*:
  ``xy = (p + cell) * stride``, ``wh = exp(p) * stride``, score = objectness * class.

The first two take RGB pictures scaled to 0..1 and padded on both sides; YOLOX takes BGR, 0..255, padded right and
below. A model with a uint8 input does the scaling itself. Metadata, where the file carries it, names the classes
(``names``), the task (``task``), the key-points (``kpt_shape``) and the size (``imgsz``), as Ultralytics writes them;
``channel_order``, our own, says ``BGR`` where a YOLO model of uint8 pictures takes them as they are, ``nms_iou`` from
which overlap on two of its boxes are one thing.

Three things make this fast on a plain CPU. A model of float channels is given an input of uint8 pixels, so that scaling
happens inside it; a fixed input is shrunk to the shape of the pictures, which saves 40 % of the work at 16:9 (both in
``vision/model_graph.py``, both only where the changed model answers as before); and several frames are looked at side
by side, one thread each, because two runs of one thread each get more done than one run of two.
"""

import ast
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from enum import Enum
from importlib.util import find_spec
from pathlib import Path
from queue import LifoQueue
from typing import Any, Literal, Protocol, TypeAlias

import cv2
import numpy as np
import onnxruntime
from numpy.typing import NDArray

from vision.arrays import FloatArray, ImageArray, IntArray
from vision.boxes import clipped, non_maximum_suppression, xyxy_from_cxcywh
from vision.detections import COCO_PERSON, KEYPOINT_COUNT, Detections
from vision.frames import Frame
from vision.model_graph import with_input_size, with_picture_input

_log = logging.getLogger(__name__)

Providers: TypeAlias = Literal["auto", "cpu", "cuda", "openvino"]

_COCO = (
    "person,bicycle,car,motorcycle,airplane,bus,train,truck,boat,traffic light,fire hydrant,stop sign,parking meter,"
    "bench,bird,cat,dog,horse,sheep,cow,elephant,bear,zebra,giraffe,backpack,umbrella,handbag,tie,suitcase,frisbee,skis,"
    "snowboard,sports ball,kite,baseball bat,baseball glove,skateboard,surfboard,tennis racket,bottle,wine glass,cup,"
    "fork,knife,spoon,bowl,banana,apple,sandwich,orange,broccoli,carrot,hot dog,pizza,donut,cake,chair,couch,"
    "potted plant,bed,dining table,toilet,tv,laptop,mouse,remote,keyboard,cell phone,microwave,oven,toaster,sink,"
    "refrigerator,book,clock,vase,scissors,teddy bear,hair drier,toothbrush"
)
COCO_CLASS_NAMES = tuple(_COCO.split(","))
"""The 80 classes of COCO (https://cocodataset.org/#explore) in the order that models number them."""

HEADS_READ = "1x(4+classes)xN or 1x56xN (YOLOv8/11), 1xNx6 or 1xNx57 (end to end), 1xNx(5+classes) (YOLOX)"
DEFAULT_SIDE_PX = 640  # what YOLO models are trained at, for a file that leaves its input size open
STRIDE_PX = 32  # coarsest common grid of the YOLO families; an open input size is a multiple of it
PAD_GREY = 114  # what both families were trained with around the picture
MAX_CANDIDATES = 1000  # before duplicates go; bounds the time and memory a hopeless picture can cost
MAX_DETECTIONS = 300
MAX_SHAPES = 4
"""Most shapes of pictures that a model is shrunk to; each holds a copy of it in memory, and a shop has one or two."""
_SAME_PX = 2.0  # what grey stripes next to a picture change about the boxes in it, median over all cells: 0.3 measured
GRIDS = ((8, 16, 32), (8, 16, 32, 64), (4, 8, 16, 32))
"""Strides of the grids that a head looks at, in pixels: as usual, or with a coarser or a finer one more."""


class Head(Enum):
    """How a model writes down what it saw; see the module's text."""

    YOLO = "yolo"
    YOLO_POSE = "yolo-pose"
    END_TO_END = "end-to-end"
    END_TO_END_POSE = "end-to-end-pose"
    YOLOX = "yolox"

    @property
    def has_keypoints(self) -> bool:
        """Whether it gives COCO's 17 key-points with each person."""
        return self in (Head.YOLO_POSE, Head.END_TO_END_POSE)


@dataclass(frozen=True, slots=True)
class Letterbox:
    """How a picture was shrunk or grown, and padded, to a model's input size.

    Pixel edges map to pixel edges (as ``cv2.resize`` does it), and each axis has its own scale, because the resized
    picture has whole pixels; so ``restored`` undoes it exactly.

    Attributes:
        source_wh: Size of the picture, pixels.
        input_wh: Size of the model's input, pixels.
        resized_wh: Size of the picture inside the input, pixels.
        offset_xy: Where its top-left corner lies in the input, pixels.
    """

    source_wh: tuple[int, int]
    input_wh: tuple[int, int]
    resized_wh: tuple[int, int]
    offset_xy: tuple[int, int]

    @classmethod
    def fit(cls, source_wh: tuple[int, int], input_wh: tuple[int, int], *, centred: bool) -> "Letterbox":
        """Make a picture as large as it fits, in the middle of the input or at its top left.

        Raises:
            ValueError: The picture has no pixels.
        """
        width, height = source_wh
        if width < 1 or height < 1:
            raise ValueError(f"expected a picture with pixels, got one of {width}x{height}")
        ratio = min(input_wh[0] / width, input_wh[1] / height)
        resized = (
            min(max(round(width * ratio), 1), input_wh[0]),
            min(max(round(height * ratio), 1), input_wh[1]),
        )
        slack = (input_wh[0] - resized[0], input_wh[1] - resized[1])
        return cls(source_wh, input_wh, resized, (slack[0] // 2, slack[1] // 2) if centred else (0, 0))

    def applied(self, image: ImageArray) -> ImageArray:
        """Resize and pad a picture, shape (h, w, 3), to the input's size, shape (input h, input w, 3).

        A picture that has this size already is given back itself, not a copy.
        """
        if self.resized_wh == self.source_wh == self.input_wh:
            return image
        canvas = np.full((self.input_wh[1], self.input_wh[0], 3), PAD_GREY, np.uint8)
        (left, top), (width, height) = self.offset_xy, self.resized_wh
        inside = canvas[top : top + height, left : left + width]
        if self.resized_wh == self.source_wh:
            inside[:] = image
        else:
            inside[:] = cv2.resize(image, self.resized_wh, interpolation=cv2.INTER_LINEAR)
        return canvas

    def fitted(self, points: FloatArray) -> FloatArray:
        """Where points (x, y) of the picture lie in the input, shape (..., 2), pixels."""
        return np.asarray(points * (np.array(self.resized_wh) / np.array(self.source_wh)) + np.array(self.offset_xy))

    def restored(self, points: FloatArray) -> FloatArray:
        """Where points (x, y) of the input lie in the picture, shape (..., 2), pixels."""
        return np.asarray((points - np.array(self.offset_xy)) * (np.array(self.source_wh) / np.array(self.resized_wh)))


class ObjectDetector(Protocol):
    """What turns frames into detections: one model, or several together."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """Name of each ``class_id``."""
        ...

    @property
    def has_keypoints(self) -> bool:
        """Whether people come with COCO's 17 key-points."""
        ...

    def detect(self, frames: Sequence[Frame]) -> list[Detections]:
        """See what is in each frame; one entry a frame, in the same order."""
        ...


@dataclass(frozen=True, slots=True)
class _Raw:
    """What one head says of one picture, input pixels: boxes (n, 4), scores and classes (n,), points (n, k, 3)."""

    xyxy: FloatArray
    confidence: FloatArray
    class_idx: IntArray
    keypoints: FloatArray


class Detector:
    """One ONNX model. Make it with :func:`load_detector`."""

    def __init__(
        self,
        opener: "_Opener",
        *,
        class_names: Sequence[str] | None = None,
        min_confidence: float = 0.1,
        nms_iou: float | None = None,
        max_batch: int = 16,
        rectangular: bool = True,
    ) -> None:
        """Work out what a model reads and writes, by its shapes, its metadata and one run on a grey picture.

        See :func:`load_detector` for the arguments.

        Raises:
            ValueError: The model's input or output is none of those read.
        """
        if not 0 <= min_confidence < 1:
            raise ValueError(f"min_confidence: expected 0 up to 1, got {min_confidence}")
        if nms_iou is not None and not 0 < nms_iou <= 1:
            raise ValueError(f"nms_iou: expected more than 0 and up to 1, got {nms_iou}")
        if max_batch < 1:
            raise ValueError(f"max_batch: expected at least 1, got {max_batch}")
        weights = opener.weights
        session = opener.open(None)
        self._opener = opener
        self._provider = session.provider
        self.metadata = dict(session.metadata)
        self._min_confidence = min_confidence
        notes = _Notes.read(session.metadata)
        channels_last, self._batch_size, open_wh = _input_layout(weights, session)
        side = notes.side_px or DEFAULT_SIDE_PX
        self._fixed_wh = None if 0 in open_wh else open_wh
        self._side_px = side
        trial_wh = self._fixed_wh or (side, side)
        # The head is not known yet, but any head takes a grey picture.
        trial = np.full((self._batch_size or 1, trial_wh[1], trial_wh[0], 3), PAD_GREY, np.uint8)
        layout = _InputLayout(session.input_dtype, channels_last, swap=False, scaled=False)
        output = session.run(layout.laid_out(list(trial)))
        self.head, class_count = _head_of(weights, output.shape, trial_wh, notes)
        self.nms_iou = nms_iou or notes.nms_iou or (0.65 if self.head is Head.YOLOX else 0.7)
        names = tuple(class_names) if class_names is not None else notes.names
        self.class_names, self._class_ids = _coco_numbered(weights, names, class_count)
        swap = self.head is not Head.YOLOX and not (notes.takes_bgr and session.input_dtype == np.uint8)
        layout = replace(layout, swap=swap, scaled=self.head is not Head.YOLOX)
        self._file = _Runner(self._fixed_wh, layout, session, None, opener)
        self._shaped: dict[tuple[int, int], _Runner] = {}
        # Several pictures in one run help a GPU; a CPU gets more done with one run for each, side by side.
        self._batches_up = self._batch_size is None and session.provider == "cuda"
        self._max_batch = self._batch_size or (max_batch if self._batches_up else 1)
        self._rectangular = (
            rectangular
            and self._fixed_wh is not None
            and self.head in (Head.YOLO, Head.YOLO_POSE, Head.YOLOX)
            and self._batch_size in (None, 1)
        )
        self._threads: ThreadPoolExecutor | None = None
        _log.info(
            "%s: %s head, %d classes, input %dx%d, runs on %s",
            weights.name,
            self.head.value,
            len(self._class_ids),
            *trial_wh,
            session.provider,
        )

    @property
    def weights(self) -> Path:
        """The file the model came from."""
        return self._opener.weights

    @property
    def provider(self) -> str:
        """What runs it: ``cpu``, ``cuda`` or ``openvino``."""
        return self._provider

    @property
    def has_keypoints(self) -> bool:
        """Whether people come with COCO's 17 key-points."""
        return self.head.has_keypoints

    @property
    def input_wh(self) -> tuple[int, int] | None:
        """Size of the file's input, pixels; None if it takes any (then each picture's shape decides)."""
        return self._fixed_wh

    @property
    def model_classes(self) -> tuple[str, ...]:
        """The classes that the model itself has, in its own order; for a head that names none, COCO's."""
        return tuple(self.class_names[number] for number in self._class_ids)

    def input_for(self, source_wh: tuple[int, int]) -> tuple[int, int]:
        """Size of the input that pictures of a size are looked at in, pixels.

        A file with a fixed input is made ready for a smaller one when the first picture of that shape comes, or here.

        Raises:
            ValueError: The picture has no pixels.
        """
        return self._runner(source_wh).fixed_wh or self._open_wh(source_wh)

    def detect(self, frames: Sequence[Frame]) -> list[Detections]:
        """See what is in each frame.

        Frames of any sizes and cameras can be given together: on a CPU they are looked at side by side, on a GPU in
        batches, where the model takes any; the result is the same as one by one.

        Args:
            frames: Frames to look at.

        Returns:
            One entry a frame, in the same order: boxes cut at the picture's edges, most confident first, down to
            ``min_confidence``, duplicates removed; key-points may lie beyond the edges.

        Raises:
            ValueError: A frame has no pixels.
        """
        runners = [self._runner((frame.image.shape[1], frame.image.shape[0])) for frame in frames]
        letterboxes = [self._letterbox(frame, runner) for frame, runner in zip(frames, runners, strict=True)]
        batches = list(_batches([box.input_wh for box in letterboxes], self._max_batch))
        alone = len(batches) == 1

        def looked(rows: list[int]) -> list[Detections]:
            pictures = [letterboxes[row].applied(frames[row].image) for row in rows]
            blanks = (self._batch_size or len(rows)) - len(rows)
            pictures += [np.full_like(pictures[0], PAD_GREY)] * blanks
            output = runners[rows[0]].run(pictures, alone=alone)
            return [
                self._detections(frames[row], letterboxes[row], np.asarray(one, np.float32))
                for row, one in zip(rows, output, strict=False)
            ]

        if not alone and self._provider != "cuda" and self._opener.thread_count > 1:
            if self._threads is None:
                self._threads = ThreadPoolExecutor(self._opener.thread_count, f"see-{self.weights.stem}")
            for runner in {id(runner): runner for runner in runners}.values():
                runner.prepare_for_many()  # here, not in all threads at once
            results = list(self._threads.map(looked, batches))
        else:
            results = [looked(rows) for rows in batches]
        found = {
            row: one for rows, seen in zip(batches, results, strict=True) for row, one in zip(rows, seen, strict=True)
        }
        return [found[row] for row in range(len(frames))]

    def _open_wh(self, source_wh: tuple[int, int]) -> tuple[int, int]:
        """The smallest input in which a picture's longer side is as long as the model likes it."""
        width, height = source_wh
        ratio = self._side_px / max(width, height, 1)
        return (
            max(-(-round(width * ratio) // STRIDE_PX), 1) * STRIDE_PX,
            max(-(-round(height * ratio) // STRIDE_PX), 1) * STRIDE_PX,
        )

    def _runner(self, source_wh: tuple[int, int]) -> "_Runner":
        """What looks at pictures of a size: the file as it is, or shrunk to their shape."""
        known = self._shaped.get(source_wh)
        if known is not None:
            return known
        width, height = source_wh
        if width < 1 or height < 1:
            return self._file  # refused with the frame's name in a moment
        wish = self._fixed_wh
        if self._fixed_wh is not None and self._rectangular:
            ratio = min(self._fixed_wh[0] / width, self._fixed_wh[1] / height)
            wish = (
                min(-(-max(round(width * ratio), 1) // STRIDE_PX) * STRIDE_PX, self._fixed_wh[0]),
                min(-(-max(round(height * ratio), 1) // STRIDE_PX) * STRIDE_PX, self._fixed_wh[1]),
            )
        same = next((runner for runner in self._shaped.values() if runner.fixed_wh == wish), None)
        if same is None and len({id(runner) for runner in self._shaped.values()}) >= MAX_SHAPES:
            same = self._file
        made = same or self._made_runner(wish)
        if len(self._shaped) < 1000:  # sizes of pictures can be anything; shapes are few
            self._shaped[source_wh] = made
        return made

    def _made_runner(self, input_wh: tuple[int, int] | None) -> "_Runner":
        """The file's model for an input size, fed with pixels where that can be; the file itself where it cannot."""
        if self._provider == "cuda":
            return self._file  # a GPU is not short of what is saved here
        runner = self._file
        layout = runner.layout
        try:
            model = self.weights.read_bytes()
        except OSError as error:
            _log.warning("%s: cannot be read again, so it runs as it is: %s", self.weights.name, _one_line(error))
            return runner
        if input_wh is not None and input_wh != self._fixed_wh:
            try:
                shrunk = self._shrunk(model, input_wh)
            except ValueError as error:
                _log.info("%s: cannot be made %dx%d: %s", self.weights.name, *input_wh, _one_line(error))
            else:
                model = shrunk
                runner = _Runner(input_wh, layout, self._opener.open(model), model, self._opener)
        if layout.dtype == np.float32 and not layout.channels_last:
            fed = replace(layout, dtype=np.uint8, channels_last=True, swap=False, scaled=False)
            try:
                model = with_picture_input(model, rgb=layout.swap, scaled=layout.scaled)
                runner = _Runner(runner.fixed_wh, fed, self._opener.open(model), model, self._opener)
            except ValueError as error:
                _log.info("%s: cannot be fed with pixels: %s", self.weights.name, _one_line(error))
        return runner

    def _shrunk(self, model: bytes, input_wh: tuple[int, int]) -> bytes:
        """The model for a smaller input.

        Raises:
            ValueError: It cannot be changed so, or does not see the same any more.
        """
        assert self._fixed_wh is not None
        old_wh = self._fixed_wh
        # The same noise, once alone and once lower down or further right in the file's own input: whoever sees it
        # gives the same boxes at the same place in it, nearly, because what is around it differs.
        noise = np.random.default_rng(0).integers(0, 256, (input_wh[1], input_wh[0], 3), dtype=np.uint8)
        shift = [STRIDE_PX if new < old else 0 for new, old in zip(input_wh, old_wh, strict=True)]
        canvas = np.full((old_wh[1], old_wh[0], 3), PAD_GREY, np.uint8)
        canvas[shift[1] : shift[1] + input_wh[1], shift[0] : shift[0] + input_wh[0]] = noise
        answer = self._file.run([canvas], alone=True)[0]
        count = answer.shape[0 if self.head is Head.YOLOX else 1]
        strides = next(strides for strides in GRIDS if _cell_count(strides, old_wh) == count)
        shrunk = with_input_size(model, input_wh, strides)
        new = self._opener.open(shrunk).run(self._file.layout.laid_out([noise]))[0]
        if self.head is Head.YOLOX:
            answer, new = answer.T, new.T
        rows = _cells_inside(old_wh, input_wh, (shift[0], shift[1]), strides)
        if new.shape != (len(answer), len(rows)):
            raise ValueError(f"expected {len(answer)}x{len(rows)} numbers, got {'x'.join(map(str, new.shape))}")
        if self.head is Head.YOLOX:
            sizes = np.repeat(strides, [_cell_count((stride,), input_wh) for stride in strides])
            gap = np.abs(answer[:2, rows] - new[:2]) * sizes
        else:
            gap = np.abs(answer[:2, rows] - np.array(shift)[:, None] - new[:2])
        if not np.median(gap) <= _SAME_PX:
            raise ValueError(f"its boxes move by {np.median(gap):.1f} px")
        return shrunk

    def _letterbox(self, frame: Frame, runner: "_Runner") -> Letterbox:
        height, width = frame.image.shape[:2]
        input_wh = runner.fixed_wh or self._open_wh((width, height))
        try:
            return Letterbox.fit((width, height), input_wh, centred=self.head is not Head.YOLOX)
        except ValueError as error:
            raise ValueError(f"camera {frame.camera_id}, frame {frame.frame_idx}: {error}") from error

    def _detections(self, frame: Frame, letterbox: Letterbox, output: FloatArray) -> Detections:
        raw = _decoded(self.head, output, letterbox.input_wh, self._min_confidence)
        xyxy = letterbox.restored(raw.xyxy.reshape(-1, 2, 2)).reshape(-1, 4)
        xyxy = clipped(xyxy.astype(np.float32), letterbox.source_wh)
        sound = np.isfinite(raw.xyxy).all(axis=1) & (xyxy[:, 2:] > xyxy[:, :2]).all(axis=1)
        sound &= (raw.class_idx >= 0) & (raw.class_idx < len(self._class_ids))
        rows = np.flatnonzero(sound)
        if len(rows) > MAX_CANDIDATES:
            rows = rows[np.argsort(-raw.confidence[rows], kind="stable")[:MAX_CANDIDATES]]
        # An end-to-end head has already removed its duplicates; a second pass takes out the few that it left.
        rows = rows[
            non_maximum_suppression(
                xyxy[rows],
                raw.confidence[rows],
                raw.class_idx[rows],
                iou_threshold=self.nms_iou,
                max_count=MAX_DETECTIONS,
            )
        ]
        keypoints = raw.keypoints[rows].astype(np.float32)
        keypoints[..., :2] = letterbox.restored(keypoints[..., :2])
        return Detections(
            frame.camera_id,
            frame.timestamp_ns,
            xyxy[rows],
            raw.confidence[rows].astype(np.float32),
            self._class_ids[raw.class_idx[rows]],
            keypoints,
        )


class DetectorBank:
    """Several models that look at the same frames.

    Where one of them is a pose model, people come from pose models alone: one model then decides who is there, its
    confidences mean one thing to the tracker, and everybody has key-points. People whom only a plain detector saw are
    dropped; at the low confidences that detections go down to they are mostly doubles or shadows of those the pose
    model has. All other things come from every model that names them. What two models both saw (same class, overlap
    above 0.65) is counted once, with the higher confidence.
    """

    def __init__(self, detectors: Sequence[ObjectDetector]) -> None:
        """Put models together.

        Args:
            detectors: One or more.

        Raises:
            ValueError: There is none.
        """
        if not detectors:
            raise ValueError("expected at least one detector, got none")
        self._detectors = tuple(detectors)
        extra = {name: None for each in detectors for name in each.class_names[len(COCO_CLASS_NAMES) :]}
        self.class_names = (*COCO_CLASS_NAMES, *extra)
        self._class_ids = [
            np.array([self.class_names.index(name) for name in each.class_names], np.int64) for each in detectors
        ]

    @property
    def has_keypoints(self) -> bool:
        """Whether people come with COCO's 17 key-points."""
        return any(each.has_keypoints for each in self._detectors)

    def detect(self, frames: Sequence[Frame]) -> list[Detections]:
        """See what is in each frame with every model.

        Args:
            frames: Frames to look at.

        Returns:
            One entry a frame, in the same order, most confident first. If there is a pose model all rows have 17
            key-points, nan for what has none.
        """
        each_model = [detector.detect(frames) for detector in self._detectors]
        return [self._merged(list(views)) for views in zip(*each_model, strict=True)]

    def _merged(self, views: list[Detections]) -> Detections:
        if len(views) == 1:
            return views[0]
        posed = self.has_keypoints
        kept = []
        for detector, class_ids, view in zip(self._detectors, self._class_ids, views, strict=True):
            mine = view if detector.has_keypoints or not posed else view[view.class_id != COCO_PERSON]
            keypoints = mine.keypoints
            if posed and keypoints.shape[1] == 0:
                keypoints = np.full((len(mine), KEYPOINT_COUNT, 3), np.nan, np.float32)
            kept.append(
                Detections(
                    mine.camera_id,
                    mine.timestamp_ns,
                    mine.xyxy,
                    mine.confidence,
                    class_ids[mine.class_id],
                    keypoints,
                )
            )
        together = Detections(
            views[0].camera_id,
            views[0].timestamp_ns,
            np.concatenate([view.xyxy for view in kept]),
            np.concatenate([view.confidence for view in kept]),
            np.concatenate([view.class_id for view in kept]),
            np.concatenate([view.keypoints for view in kept]),
        )
        return together[
            non_maximum_suppression(together.xyxy, together.confidence, together.class_id, iou_threshold=0.65)
        ]


def load_detector(
    weights: Path,
    *,
    providers: Providers = "auto",
    threads: int | None = None,
    min_confidence: float = 0.1,
    nms_iou: float | None = None,
    class_names: Sequence[str] | None = None,
    max_batch: int = 16,
    rectangular: bool = True,
) -> Detector:
    """Read a model file and make it ready.

    Args:
        weights: An ONNX file with one of the heads of this module's text.
        providers: What to run it on. ``auto`` takes CUDA where ONNX Runtime has it and it works, else OpenVINO, else
            the CPU; the others insist.
        threads: CPU threads, None for as many as there are cores. One frame is looked at with all of them; several
            frames are looked at side by side, with one thread each.
        min_confidence: Lowest score that is reported. Keep it low: the tracker matches weak detections to known tracks.
        nms_iou: Overlap above which two boxes of one class are one thing; None takes what the file's metadata says
            (``nms_iou``, our own), else what the family is evaluated with (0.7 for Ultralytics, 0.65 for YOLOX).
        class_names: Names of the model's classes, for a file whose metadata does not give them. A name of COCO gets
            COCO's number, any other a number from 80. Without any names the classes are taken as COCO's first ones.
        max_batch: Most pictures in one run on a GPU, of a model that takes any number.
        rectangular: Shrink a fixed input to the shape of the pictures. Boxes then differ a little from those of the
            file as it is, as they do between a picture and its copy with a grey stripe.

    Returns:
        The detector, already run once.

    Raises:
        ValueError: The file is not a model, has a head that is not read, or an insisted provider is missing.
        OSError: The file cannot be read.
    """
    return Detector(
        _Opener(weights, providers, threads),
        class_names=class_names,
        min_confidence=min_confidence,
        nms_iou=nms_iou,
        max_batch=max_batch,
        rectangular=rectangular,
    )


@dataclass(frozen=True, slots=True)
class _InputLayout:
    """How a model reads pictures: type of its numbers, channels last or first, RGB (``swap``), 0 to 1 (``scaled``)."""

    dtype: type[np.generic]
    channels_last: bool
    swap: bool
    scaled: bool

    def laid_out(self, pictures: Sequence[ImageArray]) -> NDArray[Any]:
        """Lay BGR pictures of one size out; a model of uint8 does the scaling itself."""
        if self.dtype == np.uint8:
            if len(pictures) == 1 and self.channels_last and not self.swap:
                return np.ascontiguousarray(pictures[0][None])
            stacked = np.stack(pictures)
            if self.swap:
                stacked = stacked[..., ::-1]
            return np.ascontiguousarray(stacked if self.channels_last else stacked.transpose(0, 3, 1, 2))
        blob = np.asarray(cv2.dnn.blobFromImages(list(pictures), 1 / 255 if self.scaled else 1.0, swapRB=self.swap))
        if self.channels_last:
            blob = blob.transpose(0, 2, 3, 1)
        return np.ascontiguousarray(blob, self.dtype)


class _Runner:
    """A model for one input size: run with all threads for a picture alone, with one thread for each of several."""

    def __init__(
        self,
        fixed_wh: tuple[int, int] | None,
        layout: _InputLayout,
        session: "_Session",
        model: bytes | None,
        opener: "_Opener",
    ) -> None:
        self.fixed_wh = fixed_wh
        self.layout = layout
        self._model = model
        self._opener = opener
        self._alone = session
        self._one_of_many = session if opener.thread_count == 1 or session.provider == "cuda" else None

    def prepare_for_many(self) -> None:
        """Make ready what looks at several pictures side by side."""
        if self._one_of_many is None:
            self._one_of_many = self._opener.open(self._model, side_by_side=True)

    def run(self, pictures: Sequence[ImageArray], *, alone: bool) -> NDArray[Any]:
        """Run on pictures of its size; ``alone`` when no other run is under way."""
        session = self._alone if alone or self._one_of_many is None else self._one_of_many
        return session.run(self.layout.laid_out(pictures))


def _cells_inside(
    old_wh: tuple[int, int], new_wh: tuple[int, int], shift_xy: tuple[int, int], strides: Sequence[int]
) -> IntArray:
    """Which cells of an input lie in a part of it, in the order in which a model for that part alone has them."""
    kept, total = [], 0
    for stride in strides:
        columns, rows = old_wh[0] // stride, old_wh[1] // stride
        left, top = shift_xy[0] // stride, shift_xy[1] // stride
        grid = np.arange(total, total + rows * columns).reshape(rows, columns)
        kept.append(grid[top : top + new_wh[1] // stride, left : left + new_wh[0] // stride].ravel())
        total += rows * columns
    return np.concatenate(kept).astype(np.int64)


@dataclass(frozen=True, slots=True)
class _Session:
    """A loaded model and what runs it: ``run`` takes a batch laid out as the model wants and gives its first output.

    One that was opened to run side by side may be run from several threads at once.
    """

    run: Callable[[NDArray[Any]], NDArray[Any]]
    provider: str
    input_shape: tuple[int | None, ...]
    input_dtype: type[np.generic]
    metadata: dict[str, str]


_DTYPES: dict[str, type[np.generic]] = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(uint8)": np.uint8,
}
_CUDA, _CPU = "CUDAExecutionProvider", "CPUExecutionProvider"


class _Opener:
    """Opens one file, or changed copies of it, on what the caller wished for.

    Raises:
        ValueError: An argument makes no sense, or the file is empty.
        OSError: The file cannot be read.
    """

    def __init__(self, weights: Path, providers: Providers, threads: int | None) -> None:
        if threads is not None and threads < 1:
            raise ValueError(f"threads: expected at least 1, got {threads}")
        if providers not in ("auto", "cpu", "cuda", "openvino"):
            raise ValueError(f"providers: expected auto, cpu, cuda or openvino, got {providers}")
        with weights.open("rb") as file:
            if not file.read(1):
                raise ValueError(f"{weights}: expected an ONNX model, got an empty file")
        self.weights = weights
        self.thread_count = threads if threads is not None else len(os.sched_getaffinity(0))
        self._providers = providers

    def open(self, model: bytes | None, *, side_by_side: bool = False) -> _Session:
        """Open the file, or ``model`` in its place, for one run with all threads, or for a run a thread.

        Raises:
            ValueError: It is no model that can be run, or an insisted provider is missing.
        """
        weights, providers = self.weights, self._providers
        threads = 1 if side_by_side else self.thread_count
        available = onnxruntime.get_available_providers()
        has_cuda, has_openvino = _CUDA in available, find_spec("openvino") is not None
        if providers == "cuda" and not has_cuda:
            raise ValueError(
                f"cuda: this ONNX Runtime has no {_CUDA}, only {', '.join(available)}; see onnxruntime-gpu"
            )
        if providers == "openvino" and not has_openvino:
            raise ValueError("openvino: the package is not installed; pip install 'tillfree[openvino]'")
        if providers == "cuda" or (providers == "auto" and has_cuda):
            session = _onnxruntime_session(weights, model, [_CUDA, _CPU], threads)
            if session.provider == "cuda":
                return session
            if providers == "cuda":
                raise ValueError(
                    f"cuda: {_CUDA} is installed but did not start; its libraries or the device are missing"
                )
            _log.warning("CUDA is installed but did not start")
        session = _onnxruntime_session(weights, model, [_CPU], threads)
        if providers == "openvino" or (providers == "auto" and has_openvino):
            streams = self.thread_count if side_by_side else 1
            try:
                return replace(session, provider="openvino", run=_openvino_run(weights, model, threads, streams))
            except RuntimeError as error:  # OpenVINO raises nothing narrower
                if providers == "openvino":
                    raise ValueError(f"{weights}: OpenVINO cannot run it: {_one_line(error)}") from error
                _log.warning("%s: OpenVINO cannot run it, ONNX Runtime does: %s", weights.name, _one_line(error))
        return session


def _onnxruntime_session(weights: Path, model: bytes | None, providers: list[str], threads: int) -> _Session:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.inter_op_num_threads = 1
    options.intra_op_num_threads = threads
    try:
        session = onnxruntime.InferenceSession(model or str(weights), options, providers=providers)
    except Exception as error:  # ONNX Runtime's errors share no narrower base, and differ between its versions
        raise ValueError(f"{weights}: not an ONNX model that can be run: {_one_line(error)}") from error
    inputs = session.get_inputs()
    if len(inputs) != 1 or inputs[0].type not in _DTYPES:
        got = ", ".join(f"{each.type} {each.shape}" for each in inputs) or "none"
        raise ValueError(f"{weights}: expected one input of float, float16 or uint8 pictures, got {got}")
    name = inputs[0].name

    def run(pictures: NDArray[Any]) -> NDArray[Any]:
        return np.asarray(session.run(None, {name: pictures})[0])

    return _Session(
        run,
        "cuda" if session.get_providers()[0] == _CUDA else "cpu",
        tuple(axis if isinstance(axis, int) and axis > 0 else None for axis in inputs[0].shape),
        _DTYPES[inputs[0].type],
        dict(session.get_modelmeta().custom_metadata_map),
    )


def _openvino_run(
    weights: Path, model: bytes | None, threads: int, streams: int
) -> Callable[[NDArray[Any]], NDArray[Any]]:
    """Compile a model with OpenVINO for the CPU; the import is here because the package is an extra.

    Args:
        weights: The file.
        model: What to run in its place.
        threads: CPU threads of each run.
        streams: How many runs there may be at once.
    """
    import openvino

    core = openvino.Core()
    settings: dict[str, Any] = {
        "PERFORMANCE_HINT": "LATENCY" if streams == 1 else "THROUGHPUT",
        "INFERENCE_PRECISION_HINT": "f32",  # the default on some machines, bf16, is slower and blunter
        "NUM_STREAMS": streams,
        "INFERENCE_NUM_THREADS": threads * streams,
    }
    compiled = core.compile_model(core.read_model(model or str(weights)), "CPU", settings)
    idle: LifoQueue[Any] = LifoQueue()  # a request serves one run at a time
    for _ in range(streams):
        idle.put(compiled.create_infer_request())

    def run(pictures: NDArray[Any]) -> NDArray[Any]:
        request = idle.get()
        try:
            request.infer([pictures], share_inputs=True)
            return np.array(request.get_output_tensor(0).data)  # a copy: the next result is written over it
        finally:
            idle.put(request)

    return run


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= 200 else f"{text[:200]}…"


@dataclass(frozen=True, slots=True)
class _Notes:
    """What the metadata of an exported model says.

    Class names, task, key-points (count, numbers each), longest side of the input, whether it takes BGR pictures, and
    the overlap above which two of its boxes are one thing.
    """

    names: tuple[str, ...] | None = None
    task: str | None = None
    kpt_shape: tuple[int, int] | None = None
    side_px: int | None = None
    takes_bgr: bool = False
    nms_iou: float | None = None

    @classmethod
    def read(cls, metadata: dict[str, str]) -> "_Notes":
        """Take what can be understood; the rest of a file's metadata is for others."""
        names = _literal(metadata.get("names"))
        if isinstance(names, dict) and sorted(names) == list(range(len(names))):
            names = [names[number] for number in range(len(names))]
        kpt_shape = _literal(metadata.get("kpt_shape"))
        imgsz = _literal(metadata.get("imgsz"))
        if isinstance(imgsz, list | tuple) and imgsz:
            imgsz = max(imgsz, key=lambda side: side if isinstance(side, int) else 0)
        nms_iou = _literal(metadata.get("nms_iou"))
        return cls(
            tuple(str(name) for name in names) if isinstance(names, list | tuple) else None,
            metadata.get("task"),
            (int(kpt_shape[0]), int(kpt_shape[1]))
            if isinstance(kpt_shape, list | tuple) and [type(each) for each in kpt_shape] == [int, int]
            else None,
            imgsz if isinstance(imgsz, int) and STRIDE_PX <= imgsz <= 8192 else None,
            metadata.get("channel_order", "").upper() == "BGR",
            nms_iou if isinstance(nms_iou, float) and 0 < nms_iou <= 1 else None,
        )


def _literal(text: str | None) -> Any:
    try:
        return ast.literal_eval(text) if text else None
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None


def _input_layout(weights: Path, session: _Session) -> tuple[bool, int | None, tuple[int, int]]:
    """Say whether channels come last, the fixed batch size or None, and the size (w, h), 0 where it is open."""
    shape = session.input_shape
    if len(shape) == 4 and shape[1] == 3:
        return False, shape[0], (shape[3] or 0, shape[2] or 0)
    if len(shape) == 4 and shape[3] == 3:
        return True, shape[0], (shape[2] or 0, shape[1] or 0)
    axes = "x".join("?" if axis is None else str(axis) for axis in shape)
    raise ValueError(f"{weights}: expected an input of pictures, Nx3xHxW or NxHxWx3, got {axes}")


def _head_of(
    weights: Path, shape: tuple[int, ...], input_wh: tuple[int, int], notes: _Notes
) -> tuple[Head, int | None]:
    """Tell the head from the output of a trial run; also the number of classes, None if the head does not say."""
    unknown = ValueError(
        f"{weights}: expected an output of {HEADS_READ} for input {input_wh[0]}x{input_wh[1]}, "
        f"got {'x'.join(map(str, shape))}"
    )
    if len(shape) != 3:
        raise unknown
    cells = {_cell_count(strides, input_wh) for strides in GRIDS}
    _, rows, columns = shape
    if notes.kpt_shape is not None and notes.kpt_shape != (KEYPOINT_COUNT, 3):
        raise ValueError(f"{weights}: expected key-points of shape (17, 3) as in COCO, got {notes.kpt_shape}")
    keypoint_numbers = 3 * KEYPOINT_COUNT
    if columns in cells and rows > 4:
        posed = notes.task == "pose" or notes.kpt_shape is not None
        if posed or (notes.task is None and notes.names is None and rows == 5 + keypoint_numbers):
            if rows <= 4 + keypoint_numbers:
                raise unknown
            return Head.YOLO_POSE, rows - 4 - keypoint_numbers
        return Head.YOLO, rows - 4
    if rows in cells and columns > 5:
        return Head.YOLOX, columns - 5
    if columns == 6:
        return Head.END_TO_END, None
    if columns == 6 + keypoint_numbers:
        return Head.END_TO_END_POSE, None
    raise unknown


def _cell_count(strides: tuple[int, ...], input_wh: tuple[int, int]) -> int:
    return sum((input_wh[0] // stride) * (input_wh[1] // stride) for stride in strides)


def _coco_numbered(
    weights: Path, names: tuple[str, ...] | None, class_count: int | None
) -> tuple[tuple[str, ...], IntArray]:
    """Give each class of a model COCO's number by its name, or one from 80 on; also the names by number."""
    if names is None:
        count = len(COCO_CLASS_NAMES) if class_count is None else class_count
        unnamed = tuple(f"class {number}" for number in range(len(COCO_CLASS_NAMES), count))
        names = COCO_CLASS_NAMES[:count] + unnamed
    if class_count is not None and len(names) != class_count:
        raise ValueError(f"{weights}: expected {class_count} class names, as many as the head has, got {len(names)}")
    extra = tuple(dict.fromkeys(name for name in names if name not in COCO_CLASS_NAMES))
    known = COCO_CLASS_NAMES + extra
    return known, np.array([known.index(name) for name in names], np.int64)


def _batches(sizes: Sequence[tuple[int, int]], max_count: int) -> Iterator[list[int]]:
    """Split picture numbers into runs of one input size and at most ``max_count``."""
    for size in dict.fromkeys(sizes):
        rows = [row for row, each in enumerate(sizes) if each == size]
        for start in range(0, len(rows), max_count):
            yield rows[start : start + max_count]


def _decoded(head: Head, output: FloatArray, input_wh: tuple[int, int], min_confidence: float) -> _Raw:
    """Read one picture's output, shape as the head has it without the batch axis, in input pixels."""
    if head is Head.YOLOX:
        return _decoded_yolox(output, input_wh, min_confidence)
    if head in (Head.END_TO_END, Head.END_TO_END_POSE):
        rows = output[output[:, 4] >= min_confidence]
        class_idx = np.nan_to_num(rows[:, 5], nan=-1, posinf=-1, neginf=-1).clip(-1, 1e6).astype(np.int64)
        return _Raw(rows[:, :4], rows[:, 4], class_idx, rows[:, 6:].reshape(len(rows), (output.shape[1] - 6) // 3, 3))
    keypoint_numbers = 3 * KEYPOINT_COUNT if head.has_keypoints else 0
    scores = output[4 : len(output) - keypoint_numbers]
    anchors = np.flatnonzero(scores.max(axis=0) >= min_confidence)
    columns = output[:, anchors]
    scores = columns[4 : len(output) - keypoint_numbers]
    keypoints = columns[len(output) - keypoint_numbers :].T
    return _Raw(
        xyxy_from_cxcywh(columns[:4].T),
        scores.max(axis=0),
        scores.argmax(axis=0),
        keypoints.reshape(len(anchors), keypoint_numbers // 3, 3),
    )


def _decoded_yolox(output: FloatArray, input_wh: tuple[int, int], min_confidence: float) -> _Raw:
    strides = next(strides for strides in GRIDS if _cell_count(strides, input_wh) == len(output))
    cells, cell_strides = _grid(strides, input_wh)
    anchors = np.flatnonzero(output[:, 4] >= min_confidence)  # a class score is at most 1, so no other can pass
    rows = output[anchors]
    confidence = rows[:, 4] * rows[:, 5:].max(axis=1)
    passed = confidence >= min_confidence
    anchors, rows = anchors[passed], rows[passed]
    stride = cell_strides[anchors, None]
    centre = (rows[:, :2] + cells[anchors]) * stride
    size = np.exp(np.minimum(rows[:, 2:4], 20)) * stride  # e^20 is beyond any picture, and still finite
    return _Raw(
        xyxy_from_cxcywh(np.concatenate([centre, size], axis=1)),
        confidence[passed],
        rows[:, 5:].argmax(axis=1),
        np.zeros((len(rows), 0, 3), np.float32),
    )


def _grid(strides: tuple[int, ...], input_wh: tuple[int, int]) -> tuple[FloatArray, FloatArray]:
    """Cell (column, row) of each output row of YOLOX, shape (n, 2), and its stride in pixels, shape (n,)."""
    cells, cell_strides = [], []
    for stride in strides:
        columns, rows = np.meshgrid(np.arange(input_wh[0] // stride), np.arange(input_wh[1] // stride))
        cells.append(np.stack([columns.ravel(), rows.ravel()], axis=1))
        cell_strides.append(np.full(columns.size, stride))
    return np.concatenate(cells).astype(np.float32), np.concatenate(cell_strides).astype(np.float32)
