"""Measures how fast cameras are seen: against ``ultralytics``' ``model.track()``, and how many one core carries.

Both programs see the same frames of the same clip with the same weights in one process. Ours runs twice: with the
detector on every frame, and on every n-th frame with people followed in between. What the boxes of tracked people have
in common is F1 at IoU 0.5, theirs taken as the reference.
"""

import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import av
import cv2
import numpy as np
import onnxruntime
from scipy.optimize import linear_sum_assignment

from models.yolo_export import stub_torchvision
from tracking.between import tracks_between
from tracking.tracker import Tracker, TrackerSettings
from vision.arrays import FloatArray, ImageArray
from vision.boxes import iou_matrix
from vision.detections import KEYPOINT_COUNT, Detections
from vision.detector import Detector, Head, ObjectDetector, load_detector
from vision.frames import Frame
from vision.model_graph import with_metadata
from vision.seeing import Action, Seeing, SeeingSettings
from vision.sources import BgrConverter, VideoFilesSource

EVERY_NTH = 5
"""Frames from one look to the next in the runs that follow people in between: half a second at 10 frames a second."""
CAMERA_FPS = 10
CAMERA_WH = (640, 360)
CAMERAS = 12
"""Cameras that are played at once to see how many a core carries, and for how long each."""
CAMERA_S = 8.0
FULL_HD = (1920, 1080)
WARM_FRAMES = 3
NANOSECONDS = 1_000_000_000

_PEERS = {
    "tracktrack": TrackerSettings(low_confidence=0.1, high_confidence=0.7, confirm_s=0.0, confirm_hits=2),
    "bytetrack": TrackerSettings(low_confidence=0.1, high_confidence=0.25, confirm_s=0.0, confirm_hits=2),
}
"""Trackers of ``ultralytics`` that are run, its default first. Ours shows a box when theirs shows one:
from the confidence at which they begin a track (``new_track_thresh``), down to which detections they keep, and after as
many frames; with its own settings ours would wait for surer people, and the comparison be one of thresholds."""


@dataclass(frozen=True, slots=True)
class SpeedPoint:
    """One way to follow people through one clip.

    Attributes:
        clip: What was looked at, for people.
        model: With which weights.
        name: The program and how it was set, for people.
        is_peer: Whether it is another program.
        frames_per_s: Wall-clock speed with all cores this process may use.
        cpu_ms: CPU time of the process for a frame.
        detected_share: Frames that the detector ran on.
        f1: Agreement of its boxes with those of ``reference``, IoU 0.5; nan without one.
        reference: Whose boxes those are; empty without one.
        boxes: Boxes of people that it gave in all.
        frames: How many frames were looked at.
    """

    clip: str
    model: str
    name: str
    is_peer: bool
    frames_per_s: float
    cpu_ms: float
    detected_share: float
    f1: float
    reference: str
    boxes: int
    frames: int


@dataclass(frozen=True, slots=True)
class CameraLoad:
    """What cameras cost on one core, mean CPU milliseconds a frame.

    Attributes:
        model: With which weights.
        cameras: How many cameras of ``CAMERA_FPS`` one core carries.
        decode_ms: H.264 to BGR.
        gate_ms: Shrinking, comparing and following in between.
        detect_ms: The detector, spread over all frames.
        track_ms: The tracker.
        detected_share: Frames that the detector ran on.
    """

    model: str
    cameras: float
    decode_ms: float
    gate_ms: float
    detect_ms: float
    track_ms: float
    detected_share: float


@dataclass(slots=True)
class _Run:
    boxes: list[FloatArray]
    wall_s: float
    cpu_s: float
    detected: int


class _Clock:
    """Wall and CPU time of stretches of work, added up."""

    def __init__(self) -> None:
        self.wall_s = self.cpu_s = 0.0

    def __enter__(self) -> None:
        self._began = time.perf_counter(), time.process_time()

    def __exit__(self, *_: object) -> None:
        self.wall_s += time.perf_counter() - self._began[0]
        self.cpu_s += time.process_time() - self._began[1]


def box_agreement(ours: Sequence[FloatArray], theirs: Sequence[FloatArray]) -> float:
    """F1 of two lists of boxes, one entry a frame, matched one to one at IoU 0.5; 1 where both are empty.

    >>> one = [np.array([[0.0, 0.0, 10.0, 10.0]]), np.zeros((0, 4))]
    >>> two = [np.array([[1.0, 0.0, 11.0, 10.0], [50.0, 50.0, 60.0, 60.0]]), np.zeros((0, 4))]
    >>> round(box_agreement(one, two), 3)
    0.667
    """
    matched = total = 0
    for a, b in zip(ours, theirs, strict=True):
        total += len(a) + len(b)
        if len(a) and len(b):
            overlap = iou_matrix(np.asarray(a, float), np.asarray(b, float))
            rows, columns = linear_sum_assignment(np.minimum(overlap, 0.5) + 1e-3 * overlap, maximize=True)
            matched += int((overlap[rows, columns] >= 0.5).sum())
    return 2 * matched / total if total else 1.0


def missing_peer() -> str | None:
    """What to say when ``ultralytics`` is not here; None when it is."""
    absent = [name for name in ("ultralytics", "torch") if find_spec(name) is None]
    return f"{' and '.join(absent)} not installed: pip install 'tillfree[train]'" if absent else None


def compare_speeds(clip: Path, weights: Path, most_frames: int, *, label: str = "") -> Iterator[SpeedPoint]:
    """Follow people through a clip with ``model.track()`` and with ours; the frames, weights and process are the same.

    Args:
        clip: A video file.
        weights: An ONNX model with a head that both read (YOLO, with or without key-points).
        most_frames: How many frames from its beginning, 0 for all.
        label: What to call the clip.

    Yields:
        Each peer that is installed, and each of ours compared with it; ours alone where none is.

    Raises:
        ValueError: The clip or the model cannot be read.
        OSError: Likewise.
    """
    name = label or clip.stem
    detector = load_detector(weights)
    count = _frame_count(clip, most_frames)
    peers: dict[str, TrackerSettings | None] = {"": None}
    if missing_peer() is None and detector.head in (Head.YOLO, Head.YOLO_POSE) and _takes_floats(weights):
        peers = dict(_PEERS)
    theirs: dict[str, _Run] = {}
    for peer in peers:
        if peer:
            run = theirs[peer] = _run_ultralytics(clip, weights, detector, peer, count)
            yield _point(name, weights, f"ultralytics, {peer}", run, "", peer=True)
    for peer, settings in peers.items():
        for words, run in (
            ("every frame", _run_every_frame(clip, detector, settings, count)),
            (f"every {EVERY_NTH}th frame", _run_in_between(clip, detector, settings, count)),
        ):
            f1 = box_agreement(run.boxes, theirs[peer].boxes) if peer else np.nan
            yield _point(name, weights, f"tillfree, {words}", run, f"ultralytics, {peer}" if peer else "", f1=f1)


def _takes_floats(weights: Path) -> bool:
    """Whether a file reads pictures as ultralytics feeds them; ours read pixels, which it cannot do."""
    session = onnxruntime.InferenceSession(weights, providers=["CPUExecutionProvider"])
    return bool(session.get_inputs()[0].type == "tensor(float)")


def _point(
    clip: str, weights: Path, name: str, run: _Run, reference: str, *, f1: float = np.nan, peer: bool = False
) -> SpeedPoint:
    frames = len(run.boxes)
    return SpeedPoint(
        clip=clip,
        model=weights.stem,
        name=name,
        is_peer=peer,
        frames_per_s=frames / run.wall_s,
        cpu_ms=1000 * run.cpu_s / frames,
        detected_share=run.detected / frames,
        f1=1.0 if peer else f1,
        reference=name if peer else reference,
        boxes=sum(map(len, run.boxes)),
        frames=frames,
    )


def pooled(points: Sequence[SpeedPoint], clip: str) -> list[SpeedPoint]:
    """Take several clips together, one after the other: one point for each model, program and setting.

    Args:
        points: What was measured, each clip's with the same programs.
        clip: What to call the clips together.
    """
    ways: dict[tuple[str, str, str], list[SpeedPoint]] = {}
    for point in points:
        ways.setdefault((point.model, point.name, point.reference), []).append(point)
    together = []
    for (model, name, reference), parts in ways.items():
        frames = sum(part.frames for part in parts)
        boxes = sum(part.boxes for part in parts)
        # F1 is twice what matches over all boxes of both.
        theirs = [each for each in points if each.is_peer and each.model == model and each.name == reference]
        both = [part.boxes + next(t.boxes for t in theirs if t.clip == part.clip) for part in parts if theirs]
        f1 = sum(part.f1 * count for part, count in zip(parts, both, strict=True)) / sum(both) if sum(both) else np.nan
        together.append(
            SpeedPoint(
                clip=clip,
                model=model,
                name=name,
                is_peer=parts[0].is_peer,
                frames_per_s=frames / sum(part.frames / part.frames_per_s for part in parts),
                cpu_ms=sum(part.cpu_ms * part.frames for part in parts) / frames,
                detected_share=sum(part.detected_share * part.frames for part in parts) / frames,
                f1=float(f1),
                reference=reference,
                boxes=boxes,
                frames=frames,
            )
        )
    return together


def _frame_count(clip: Path, most: int) -> int:
    with av.open(str(clip)) as container:
        count = 0
        for _ in container.decode(video=0):
            count += 1
            if count == most:
                break
    if not count:
        raise ValueError(f"{clip}: expected a video with pictures, it has none")
    return count


def _frames(clip: Path, count: int) -> Iterator[Frame]:
    with closing(VideoFilesSource([clip])) as source:
        for number, tick in enumerate(source):
            if number == count:
                return
            yield from tick.frames


def _run_every_frame(clip: Path, detector: Detector, settings: TrackerSettings | None, count: int) -> _Run:
    """Decode, detect on every frame and follow; as many frames side by side as there are cores."""
    cores = len(os.sched_getaffinity(0))
    detector.detect(list(_frames(clip, cores)))  # warm
    detector.detect(list(_frames(clip, 1)))
    tracker = Tracker(clip.stem, None, settings)
    boxes: list[FloatArray] = []
    clock = _Clock()
    with clock:
        waiting: list[Frame] = []
        for frame in _frames(clip, count):
            waiting.append(frame)
            if len(waiting) == cores:
                boxes += [tracker.update(seen).xyxy for seen in detector.detect(waiting)]
                waiting = []
        boxes += [tracker.update(seen).xyxy for seen in detector.detect(waiting)] if waiting else []
    return _Run(boxes, clock.wall_s, clock.cpu_s, len(boxes))


def _run_in_between(clip: Path, detector: Detector, settings: TrackerSettings | None, count: int) -> _Run:
    """Decode, detect where it pays, and follow people in between."""
    detector.detect(list(_frames(clip, 1)))  # warm
    seeing, tracker = Seeing(detector, SeeingSettings(detect_every=EVERY_NTH)), Tracker(clip.stem, None, settings)
    clock = _Clock()
    with clock:
        boxes = [_followed(frame, seeing, tracker) for frame in _frames(clip, count)]
    return _Run(boxes, clock.wall_s, clock.cpu_s, seeing.counts[Action.DETECTED])


def _followed(frame: Frame, seeing: Seeing, tracker: Tracker) -> FloatArray:
    """Boxes of the people followed in one frame of one camera."""
    (look,) = seeing.look([frame])
    if look.action is not Action.DETECTED:
        return tracks_between(tracker.coast(frame.timestamp_ns), look).xyxy
    tracks = tracker.update(look.detections)
    seeing.follow(frame.camera_id, tracks.xyxy, tracks.keypoints)
    return tracks.xyxy


def _run_ultralytics(clip: Path, weights: Path, detector: Detector, tracker: str, count: int) -> _Run:
    """Run ``model.track()`` as its users do: the file's name, a generator of results, its own settings."""
    os.environ.setdefault("YOLO_OFFLINE", "true")  # it would else ask the network for news
    os.environ.setdefault("YOLO_AUTOINSTALL", "false")
    stub_torchvision()
    yolo = import_module("ultralytics").YOLO

    logging.getLogger("ultralytics").setLevel(logging.ERROR)
    boxes: list[FloatArray] = []
    with TemporaryDirectory() as folder:
        model = yolo(
            str(_with_notes(weights, detector, Path(folder))), task="pose" if detector.has_keypoints else "detect"
        )

        def results() -> Any:
            options = {} if len(detector.class_names) == 1 else {"classes": [0]}
            return model.track(source=str(clip), stream=True, tracker=f"{tracker}.yaml", verbose=False, **options)

        for number, _ in enumerate(results()):
            if number + 1 == min(WARM_FRAMES, count):
                break
        clock = _Clock()
        with clock:
            for result in results():
                seen = result.boxes
                # Frames without a track come with plain detections, which have no ids.
                boxes.append(np.zeros((0, 4)) if seen.id is None else np.asarray(seen.xyxy.cpu().numpy(), float))
                if len(boxes) == count:
                    break
    return _Run(boxes, clock.wall_s, clock.cpu_s, len(boxes))


def _with_notes(weights: Path, detector: Detector, folder: Path) -> Path:
    """A copy with the notes that ``ultralytics`` needs, where the file has none."""
    width, height = detector.input_wh or (640, 640)
    names = dict(enumerate(detector.model_classes))
    notes = {"names": repr(names), "stride": "32", "imgsz": f"[{height}, {width}]", "batch": "1"}
    notes["task"] = "pose" if detector.has_keypoints else "detect"
    if detector.has_keypoints:
        notes["kpt_shape"] = f"[{KEYPOINT_COUNT}, 3]"
    copy = folder / weights.name
    copy.write_bytes(with_metadata(weights.read_bytes(), {**notes, **detector.metadata}))
    return copy


def enlarged(clip: Path, target: Path, size_wh: tuple[int, int], most_frames: int, *, fps: float | None = None) -> Path:
    """Write a clip again in another size as H.264, for the cost of large pictures; its content gains nothing.

    Args:
        clip: A video file.
        target: Where the copy goes.
        size_wh: Its size, pixels.
        most_frames: Frames to take from its beginning, 0 for all.
        fps: Play it as if it had been filmed so; None keeps its frame rate.

    Raises:
        OSError: It cannot be written.
    """
    with av.open(str(clip)) as source, av.open(str(target), "w") as container:
        rate = Fraction(fps).limit_denominator(1000) if fps else source.streams.video[0].average_rate or Fraction(25)
        stream = container.add_stream("libx264", rate=rate, options={"preset": "veryfast", "crf": "23"})
        stream.width, stream.height = size_wh
        stream.pix_fmt = "yuv420p"
        for number, frame in enumerate(source.decode(video=0)):
            if number == (most_frames or -1):
                break
            image: ImageArray = np.asarray(frame.to_ndarray(format="bgr24"), np.uint8)
            resized = cv2.resize(image, size_wh, interpolation=cv2.INTER_LINEAR)
            for packet in stream.encode(av.VideoFrame.from_ndarray(np.asarray(resized, np.uint8), format="bgr24")):
                container.mux(packet)
        for packet in stream.encode(None):
            container.mux(packet)
    return target


class _Timed:
    """A detector whose CPU time is measured."""

    def __init__(self, detector: ObjectDetector) -> None:
        self._detector = detector
        self.class_names, self.has_keypoints = detector.class_names, detector.has_keypoints
        self.cpu_s = 0.0

    def detect(self, frames: Sequence[Frame]) -> list[Detections]:
        began_s = time.process_time()
        try:
            return self._detector.detect(frames)
        finally:
            self.cpu_s += time.process_time() - began_s


def cameras_on_one_core(
    clip: Path, detector: ObjectDetector, model: str, *, cameras: int = CAMERAS, seconds: float = CAMERA_S
) -> CameraLoad:
    """Play a clip as that of many cameras, each from another place in it, and see them with one thread.

    Args:
        clip: A video file of ``CAMERA_WH`` pixels.
        detector: What sees, with one thread.
        model: Its name.
        cameras: How many.
        seconds: How long each is played.

    Returns:
        What it cost.
    """
    timed = _Timed(detector)
    seeing = Seeing(timed, SeeingSettings(detect_every=EVERY_NTH))
    length = round(seconds * CAMERA_FPS)
    total = _frame_count(clip, 0)
    readers = [_from(clip, number * max(total - length, 0) // max(cameras - 1, 1)) for number in range(cameras)]
    trackers = [Tracker(f"camera-{number}") for number in range(cameras)]
    for number, reader in enumerate(readers):
        detector.detect([Frame(f"camera-{number}", 0, 0, next(reader))])
    decode, see, track, frames = _Clock(), _Clock(), _Clock(), 0
    for instant in range(length):
        with decode:
            images = [next(reader, None) for reader in readers]
        tick = [
            Frame(f"camera-{number}", instant, instant * NANOSECONDS // CAMERA_FPS, image)
            for number, image in enumerate(images)
            if image is not None
        ]
        frames += len(tick)
        with see:
            looks = seeing.look(tick)
        with track:
            for frame, look in zip(tick, looks, strict=True):
                tracker = trackers[int(frame.camera_id.removeprefix("camera-"))]
                if look.action is Action.DETECTED:
                    tracks = tracker.update(look.detections)
                    seeing.follow(frame.camera_id, tracks.xyxy, tracks.keypoints)
                else:
                    tracks_between(tracker.coast(frame.timestamp_ns), look)
    ms = 1000 / max(frames, 1)
    whole_ms = (decode.cpu_s + see.cpu_s + track.cpu_s) * ms
    return CameraLoad(
        model=model,
        cameras=1000 / CAMERA_FPS / whole_ms,
        decode_ms=decode.cpu_s * ms,
        gate_ms=(see.cpu_s - timed.cpu_s) * ms,
        detect_ms=timed.cpu_s * ms,
        track_ms=track.cpu_s * ms,
        detected_share=seeing.counts[Action.DETECTED] / max(frames, 1),
    )


def _from(clip: Path, first: int) -> Iterator[ImageArray]:
    """The pictures of a clip from the first one that can be begun with at or before a number; over and over."""
    converter = BgrConverter()
    while True:
        with av.open(str(clip)) as container:
            stream = container.streams.video[0]
            stream.thread_type = "NONE"
            if first and stream.average_rate and stream.time_base:
                container.seek(round(first / float(stream.average_rate) / float(stream.time_base)), stream=stream)
            for frame in container.decode(stream):
                yield converter.picture(frame)
        first = 0


def shop_film(target: Path, frames: Callable[[], Iterator[ImageArray]], most_frames: int) -> Path:
    """Write pictures of a shop as H.264 with ``CAMERA_FPS``, for machines that have no clip of their own.

    Args:
        target: Where it goes.
        frames: Gives the pictures, shape (h, w, 3), BGR.
        most_frames: How many to take.
    """
    with av.open(str(target), "w") as container:
        stream = container.add_stream("libx264", rate=CAMERA_FPS, options={"preset": "veryfast", "crf": "23"})
        stream.width, stream.height = CAMERA_WH
        stream.pix_fmt = "yuv420p"
        for number, image in enumerate(frames()):
            if number == most_frames:
                break
            resized = cv2.resize(image, CAMERA_WH, interpolation=cv2.INTER_AREA)
            for packet in stream.encode(av.VideoFrame.from_ndarray(np.asarray(resized, np.uint8), format="bgr24")):
                container.mux(packet)
        for packet in stream.encode(None):
            container.mux(packet)
    return target
