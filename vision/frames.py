"""What the sensors of a store gave in one instant: frames, plate samples and tracked bodies."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from vision.arrays import FloatArray, ImageArray, IntArray, check_shape

JOINT_NAMES = (
    "head",
    "neck",
    "left_shoulder",
    "right_shoulder",
    "left_elbow",
    "right_elbow",
    "left_wrist",
    "right_wrist",
)


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture of one camera.

    Attributes:
        camera_id: The camera that took it.
        frame_idx: Number of the frame in its stream, from 0; a dropped frame leaves a gap.
        timestamp_ns: Store clock, nanoseconds.
        image: Pixels, shape (h, w, 3), uint8, BGR.
    """

    camera_id: str
    frame_idx: int
    timestamp_ns: int
    image: ImageArray

    def __post_init__(self) -> None:
        check_shape("Frame.image", self.image, ("h", "w", 3))


@dataclass(frozen=True, slots=True)
class ScaleSamples:
    """A block of weight samples of the plates of one gondola.

    Attributes:
        timestamp_ns: Store clock of each sample, shape (s,), int64, rising.
        plate_id: Name of each column as ``gondola/shelf/plate``, length p.
        grams: Readings, shape (s, p), float32; nan where a plate did not answer. Only changes mean anything: the
            zero of a plate is arbitrary and drifts.
        rate_hz: Nominal sampling rate.
    """

    timestamp_ns: IntArray
    plate_id: tuple[str, ...]
    grams: FloatArray
    rate_hz: float

    def __post_init__(self) -> None:
        check_shape("ScaleSamples.timestamp_ns", self.timestamp_ns, ("s",))
        shape = (len(self.timestamp_ns), len(self.plate_id))
        check_shape("ScaleSamples.grams", self.grams, shape)
        if not self.rate_hz > 0:
            raise ValueError(f"ScaleSamples.rate_hz: expected a positive rate, got {self.rate_hz}")


@dataclass(frozen=True, slots=True)
class TrackedBodies:
    """Bodies that an outside tracker has already followed and placed in the store.

    Attributes:
        timestamp_ns: Store clock, nanoseconds.
        target_id: The outside tracker's name of each person, length n.
        joints_m: World positions of ``JOINT_NAMES``, shape (n, 8, 3), metres; nan where unseen.
        score: Confidence of each joint, shape (n, 8), 0 to 1.
    """

    timestamp_ns: int
    target_id: tuple[str, ...]
    joints_m: FloatArray
    score: FloatArray

    def __post_init__(self) -> None:
        n = len(self.target_id)
        check_shape("TrackedBodies.joints_m", self.joints_m, (n, len(JOINT_NAMES), 3))
        check_shape("TrackedBodies.score", self.score, (n, len(JOINT_NAMES)))


@dataclass(frozen=True, slots=True)
class SourceNotice:
    """Something a source had to leave out or repair, said once for each kind and stream.

    Attributes:
        stream: The file, camera or gondola it concerns.
        code: Short stable word, such as ``duplicate-message`` or ``truncated-video``.
        message: What was expected, what came, and what was done about it.
    """

    stream: str
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class GateEvent:
    """Something that happened at a gate or a door.

    Attributes:
        timestamp_ns: Store clock, nanoseconds.
        gate_id: Which gate.
        event: Short stable word, such as ``code-shown``, ``opened``, ``passed-in``, ``passed-out``, ``closed``.
        code: What was shown to the reader; None for events without one.
    """

    timestamp_ns: int
    gate_id: str
    event: str
    code: str | None = None


@dataclass(frozen=True, slots=True)
class Tick:
    """Everything that arrived for one instant of the store clock.

    A camera that gave nothing has no frame here: a missing camera is data.

    Attributes:
        timestamp_ns: Store clock, nanoseconds; ticks never run backwards.
        frames: At most one frame a camera.
        scales: Blocks of plate samples whose last sample lies at or before this instant.
        bodies: Bodies from an outside tracker; None when this tick carries none (not the same as "nobody there").
        gates: What happened at gates and doors since the last tick, in order.
    """

    timestamp_ns: int
    frames: tuple[Frame, ...] = ()
    scales: tuple[ScaleSamples, ...] = ()
    bodies: TrackedBodies | None = None
    gates: tuple[GateEvent, ...] = ()


class Source(Protocol):
    """A stream of ticks: a recording, or a live store. Iterating it once reads it to its end."""

    @property
    def start_ns(self) -> int:
        """Earliest timestamp of any stream, store clock."""
        ...

    @property
    def duration_s(self) -> float:
        """Length in seconds; nan for a live source."""
        ...

    @property
    def camera_ids(self) -> tuple[str, ...]:
        """Cameras that this source may give frames of."""
        ...

    @property
    def resolutions_wh(self) -> dict[str, tuple[int, int]]:
        """Picture size of each camera, pixels, as announced by its stream."""
        ...

    @property
    def has_gates(self) -> bool:
        """Whether gates tell who comes in (``Tick.gates``)."""
        ...

    @property
    def notices(self) -> tuple[SourceNotice, ...]:
        """What had to be left out or repaired so far; grows while iterating."""
        ...

    def __iter__(self) -> Iterator[Tick]:
        """Read the stream from where it stands to its end."""
        ...
