"""A simulated store as a source of ticks: the world walks on, its sensors look at it, faults spoil what they say."""

import zlib
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from store_sim.bodies import Skeletons, pose, tracked_joints
from store_sim.day import FaultReach, reach_of
from store_sim.figures import Figures, Goods
from store_sim.happenings import ActiveFault, Happenings
from store_sim.joints import JointSettings, JointTracker
from store_sim.recording import LAYOUT_FILE, RecordingWriter
from store_sim.scales import PlateSensors, PlateSettings
from store_sim.scenarios import Action, FaultKind, Scenario, ScenarioShopper, scenario_to_json
from store_sim.truth import TrueVisit, Truth
from store_sim.world import STEPS_PER_S, World
from vision.arrays import FloatArray, ImageArray
from vision.cameras import Camera
from vision.frames import Frame, GateEvent, ScaleSamples, SourceNotice, Tick, TrackedBodies
from vision.layout import StoreLayout, layout_to_yaml
from vision.shelf import Handling

if TYPE_CHECKING:  # the renderer is optional and slow to import
    from store_sim.lens import LensSettings

NANOSECONDS = 1_000_000_000
SCALES, JOINTS, CAMERAS = "scales", "joints", "cameras"
SENSORS = frozenset({SCALES, JOINTS, CAMERAS})
STEP_NS = round(NANOSECONDS / STEPS_PER_S)
STEPS_A_BODY = 2  # 15 Hz of a world that steps at 30 Hz
STEPS_A_FRAME = 3  # 10 Hz, as the competition's cameras
SCENES_KEPT = 300  # half a minute: longer than any message is late
STEPS_AHEAD = 12  # the world is so many steps before its sensors, where no picture has to be drawn of it as it is now
USUAL_VISIT_S = 25.0  # from the door to the first shelf and back; only a progress bar looks at it
USUAL_SKEW_S, USUAL_DELAY_S, USUAL_FOG, USUAL_TURN_DEG = 1.0, 1.0, 0.7, 8.0  # of faults that say no amount

_SCALES_STREAM, _JOINTS_STREAM, _CAMERA_STREAM, _DOUBLING_STREAM = 1, 2, 3, 4
_HANDLING = {
    Action.PICK: Handling.PICK,
    Action.TAKE_FOREIGN: Handling.PICK,
    Action.PUT_BACK: Handling.PUT_BACK,
    Action.RESTOCK: Handling.PUT_BACK,
    Action.PLACE_FOREIGN: Handling.PUT_BACK,
}
_Message: TypeAlias = ScaleSamples | TrackedBodies | Frame


@dataclass(frozen=True, slots=True)
class SensorSettings:
    """How good the sensors are; None is each sensor's own default.

    Attributes:
        plates: Load cells.
        joints: The outside body tracker.
        lens: Cameras.
        camera_clock_s: Standard deviation of the constant error of each camera's clock, seconds; 0.02 is what cameras
            that set their clocks over a network keep.
    """

    plates: PlateSettings | None = None
    joints: JointSettings | None = None
    lens: "LensSettings | None" = None
    camera_clock_s: float = 0.02


@dataclass(frozen=True, slots=True)
class Scene:
    """The truth behind one frame.

    Attributes:
        figures: Everybody.
        skeletons: Their posed bodies, row by row.
        camera: The camera as it really hung, which a knock may have turned.
    """

    figures: Figures
    skeletons: Skeletons
    camera: Camera


class Simulation:
    """A scenario played in a store, as its sensors tell it (``vision.frames.Source``).

    There is a tick for every step of the world (1/30 s) in which something arrived: tracked joints every second step,
    frames every third, plate samples as their messages come, gate events as they happen. Every sensor draws from a
    random stream of its own, so that what one says does not depend on which others there are. Iterating it once plays
    the scenario to its end; memory does not grow with time, but for the truth.

    Faults of the scenario spoil what arrives: dead, fogged and turned cameras, clocks that run off, messages that come
    late or twice, a power cut in which everything is silent. A clock that runs ahead breaks the promise of
    ``vision.frames.Tick`` that nothing in it lies ahead of its time.
    """

    def __init__(
        self,
        layout: StoreLayout,
        scenario: Scenario,
        seed: int,
        *,
        sensors: frozenset[str] = SENSORS,
        cameras: Sequence[str] = (),
        keeps_order: bool = True,
        pixels: bool = True,
        settings: SensorSettings | None = None,
    ) -> None:
        """Open the store; nothing is played yet.

        Args:
            layout: The store on that day (``store_sim.day.day_layout``).
            scenario: What happens.
            seed: Decides everything that the scenario leaves open.
            sensors: Which sensors there are, of ``SENSORS``; those that the layout has nothing of say nothing.
            cameras: Which cameras there are; empty for all calibrated ones.
            keeps_order: Whether the events of different shoppers wait for each other (``store_sim.world.World``).
            pixels: False for frames of the right size without content, for ``store_sim.oracle``; needs no renderer.
            settings: How good the sensors are.

        Raises:
            ValueError: There is no such sensor or calibrated camera, or the scenario cannot be played in this store.
        """
        unknown = sorted(sensors - SENSORS)
        if unknown:
            raise ValueError(f"expected sensors out of {', '.join(sorted(SENSORS))}, got {unknown[0]}")
        self._settings = settings or SensorSettings()
        self._scenario, self._seed = scenario, seed
        self.world = World(layout, scenario, keeps_order=keeps_order)
        self.world.reset(seed)
        self._layout = self.world.layout
        self._start_ns = self.world.now_ns
        self._now_ns = self._start_ns
        self._estimate_s = _estimated_s(scenario)
        self._steps, self._ended = 0, False
        self._plates: PlateSensors | None = None
        if SCALES in sensors and self._layout.plates:
            self._plates = PlateSensors(self._layout, self._rng(_SCALES_STREAM), self._settings.plates)
        self._tracker: JointTracker | None = None
        if JOINTS in sensors:
            self._tracker = JointTracker(self._layout, self._rng(_JOINTS_STREAM), self._settings.joints)
        self._cameras = self._chosen(cameras) if CAMERAS in sensors else {}
        self._pixels: _Pixels | None = None
        if self._cameras and pixels:
            effects = {name: self._rng(_CAMERA_STREAM, name, 0) for name in self._cameras}
            self._pixels = _Pixels(self._layout, effects, seed, self._settings.lens)
        spread_s = self._settings.camera_clock_s
        self._clock_error_ns = {
            name: round(self._rng(_CAMERA_STREAM, name, 1).normal(0, spread_s) * NANOSECONDS) for name in self._cameras
        }
        self._faults: list[_Hit] = []
        self._moved: dict[str, Camera] = {}
        self._doubling = self._rng(_DOUBLING_STREAM)
        self._post = _Post()
        self._scenes: deque[tuple[int, Figures, Skeletons, dict[str, Camera]]] = deque(maxlen=SCENES_KEPT)
        self._ticks = self._play()

    @property
    def layout(self) -> StoreLayout:
        """The store as it is played in."""
        return self._layout

    @property
    def seed(self) -> int:
        """What it started from."""
        return self._seed

    @property
    def scenario(self) -> Scenario:
        """The scenario with the moments at which things really happened, as far as they have (:func:`as_played`)."""
        return as_played(self._scenario, self.world.truth, self._start_ns)

    @property
    def truth(self) -> Truth:
        """What really happened up to now, or a few steps of the world further."""
        return self.world.truth

    @property
    def true_receipts(self) -> dict[str, dict[str, int]]:
        """What each payer should be charged for what happened up to now, as payer -> sku -> quantity."""
        return {
            receipt.payer: {line.sku: line.quantity for line in receipt.lines} for receipt in self.world.truth.receipts
        }

    @property
    def start_ns(self) -> int:
        """Second 0 of the scenario, store clock."""
        return self._start_ns

    @property
    def duration_s(self) -> float:
        """Length in seconds: an estimate until the end has been reached."""
        played_s = (self._now_ns - self._start_ns) / NANOSECONDS
        return played_s if self._ended else max(played_s, self._estimate_s)

    @property
    def camera_ids(self) -> tuple[str, ...]:
        """The cameras, in the order of the layout."""
        return tuple(self._cameras)

    @property
    def resolutions_wh(self) -> dict[str, tuple[int, int]]:
        """Picture size of each camera, pixels."""
        return {name: camera.resolution_wh for name, camera in self._cameras.items()}

    @property
    def has_gates(self) -> bool:
        """There are: whoever comes in shows a code, or is let in by somebody who did."""
        return True

    @property
    def notices(self) -> tuple[SourceNotice, ...]:
        """Nothing is ever repaired: what faults do to messages arrives as it is."""
        return ()

    def __iter__(self) -> Iterator[Tick]:
        """Play from where it stands to the end."""
        return self._ticks

    def scene(self, frame: Frame) -> Scene | None:
        """Give the truth behind one of the last frames; None for older ones, and those of no camera of this store."""
        for frame_idx, figures, skeletons, cameras in reversed(self._scenes):
            if frame_idx == frame.frame_idx and frame.camera_id in cameras:
                return Scene(figures, skeletons, cameras[frame.camera_id])
        return None

    def _rng(self, stream: int, name: str = "", use: int = 0) -> np.random.Generator:
        """A random stream that no other sensor's presence changes."""
        key = (stream, zlib.crc32(name.encode()), use)
        return np.random.default_rng(np.random.SeedSequence(self._seed, spawn_key=key))

    def _chosen(self, cameras: Sequence[str]) -> dict[str, Camera]:
        known = {camera.camera_id: camera for camera in self._layout.cameras}
        missing = [name for name in cameras if name not in known]
        if missing:
            has = ", ".join(known) or "none"
            raise ValueError(f"expected calibrated cameras of the layout ({has}), got {missing[0]}")
        return {name: camera for name, camera in known.items() if not cameras or name in cameras}

    def _play(self) -> Iterator[Tick]:
        ahead = 1 if self._pixels is not None else STEPS_AHEAD
        while not self.world.done:
            moments = [self._stepped()]
            while len(moments) < ahead and not self.world.done:
                moments.append(self._stepped())
            # Posing many bodies at once takes hardly longer than posing one.
            figures = [moment.figures for moment in moments if moment.figures is not None]
            bodies = iter(posed(figures))
            for moment in moments:
                tick = self._told(moment, None if moment.figures is None else next(bodies))
                if tick is not None:
                    yield tick
        while self._post.waiting:  # what is late at the end arrives all the same
            self._now_ns = max(self._now_ns + STEP_NS, self._post.next_due_ns)
            tick = self._post.tick(self._now_ns, ())
            if tick is not None:
                yield tick
        self._ended = True

    def _stepped(self) -> "_Moment":
        """Let the world go on, and load cells feel it."""
        happenings, figures = self.world.step(), self.world.figures
        self._steps += 1
        now_ns = self.world.now_ns
        blocks: tuple[ScaleSamples, ...] = ()
        if self._plates is not None:
            self._plates.feel(happenings, figures, now_ns)
            blocks = tuple(self._plates.messages(now_ns))
        looks = self._tracker is not None and self._steps % STEPS_A_BODY == 0
        films = bool(self._cameras) and self._steps % STEPS_A_FRAME == 0
        return _Moment(self._steps, now_ns, happenings, blocks, figures if looks or films else None)

    def _told(self, moment: "_Moment", posed: "Posed | None") -> Tick | None:
        """Send what the sensors say of a moment, and give what has arrived by then."""
        now_ns = self._now_ns = moment.now_ns
        if moment.happenings.faults or self._faults:
            self._suffer(moment.happenings.faults, now_ns)
        if any(hit.kind is FaultKind.POWER_CUT for hit in self._faults):
            self._post.tick(now_ns, ())  # what arrives now is lost
            return None
        for block in moment.blocks:
            self._send(block, _gondola_stream(block.plate_id[0]), now_ns)
        if moment.figures is not None and posed is not None:
            if self._tracker is not None and moment.step % STEPS_A_BODY == 0:
                bodies = self._tracker.see(moment.figures, posed.tracked_m, now_ns)
                self._send(bodies, JOINTS, now_ns)
            if self._cameras and moment.step % STEPS_A_FRAME == 0:
                self._film(moment.step // STEPS_A_FRAME - 1, moment.figures, posed.skeletons, now_ns)
        return self._post.tick(now_ns, moment.happenings.gates)

    def _suffer(self, begun: Sequence[ActiveFault], now_ns: int) -> None:
        """Let faults begin and end."""
        self._faults = [hit for hit in self._faults if hit.end_ns > now_ns]
        for active in begun:
            hit = _Hit.of(active, reach_of(active.fault, self._layout))
            if hit.kind is FaultKind.CAMERA_MOVED:  # for good: nobody climbs a ladder before the evening
                angle_rad = np.deg2rad(hit.amount(USUAL_TURN_DEG))
                for name in self._cameras:
                    if name in hit.streams:
                        self._moved[name] = turned(self._moved.get(name, self._cameras[name]), angle_rad)
            self._faults.append(hit)

    def _film(self, frame_idx: int, figures: Figures, skeletons: Skeletons, now_ns: int) -> None:
        """Let every camera take a picture."""
        aimed = self._cameras | self._moved
        self._scenes.append((frame_idx, figures, skeletons, aimed))
        for name, camera in aimed.items():
            if self._fault(FaultKind.CAMERA_DEAD, name) is not None:
                continue
            if self._pixels is None:
                image: ImageArray | None = _blank(camera.resolution_wh)
            else:
                fogged = self._fault(FaultKind.CAMERA_FOGGED, name)
                fog = 0.0 if fogged is None else min(max(fogged.amount(USUAL_FOG), 0.0), 1.0)
                image = self._pixels.taken(camera, figures, skeletons, self.world.goods, now_ns, fog)
            if image is not None:
                self._send(Frame(name, frame_idx, now_ns + self._clock_error_ns[name], image), name, now_ns)

    def _send(self, message: _Message, stream: str, now_ns: int) -> None:
        """Put a message on its way, with what faults do to it."""
        if not self._faults:
            self._post.put(stream, now_ns, message)
            return
        skewed = self._fault(FaultKind.CLOCK_SKEW, stream)
        if skewed is not None:
            message = _shifted(message, round(skewed.amount(USUAL_SKEW_S) * NANOSECONDS))
        late = self._fault(FaultKind.MESSAGES_LATE, stream)
        due_ns = now_ns + (0 if late is None else round(late.amount(USUAL_DELAY_S) * NANOSECONDS))
        self._post.put(stream, due_ns, message)
        doubled = self._fault(FaultKind.MESSAGES_DOUBLED, stream)
        if doubled is not None and self._doubling.random() < doubled.amount(1.0):
            self._post.put(stream, due_ns, message)

    def _fault(self, kind: FaultKind, stream: str) -> "_Hit | None":
        """The fault of a kind that hits a stream now, or None."""
        return next((hit for hit in self._faults if hit.kind is kind and stream in hit.streams), None)


@dataclass(frozen=True, slots=True)
class _Moment:
    """A step of the world, before its bodies are posed; figures only where a sensor looks at them."""

    step: int
    now_ns: int
    happenings: Happenings
    blocks: tuple[ScaleSamples, ...]
    figures: Figures | None


@dataclass(frozen=True, slots=True)
class Posed:
    """The bodies of one instant, and the joints of them that the outside tracker follows."""

    skeletons: Skeletons
    tracked_m: FloatArray


@dataclass(frozen=True, slots=True)
class _Hit:
    """A fault that goes on, and the streams it hits: cameras by their ids, gondolas, ``joints``."""

    kind: FaultKind
    end_ns: int
    given: float | None
    streams: frozenset[str]

    @classmethod
    def of(cls, active: ActiveFault, reach: FaultReach) -> "_Hit":
        gondolas = {_gondola_stream(plate_id) for plate_id in reach.plates}
        streams = frozenset({*reach.cameras, *gondolas, *([JOINTS] if reach.joints else [])})
        return cls(active.fault.kind, active.end_ns, active.fault.amount, streams)

    def amount(self, usual: float) -> float:
        return usual if self.given is None else self.given


class _Pixels:
    """The renderer and the faults of every camera's lens."""

    def __init__(
        self,
        layout: StoreLayout,
        streams: dict[str, np.random.Generator],
        seed: int,
        lens: "LensSettings | None",
    ) -> None:
        from store_sim.lens import CameraEffects, LensSettings
        from store_sim.render import Renderer

        self._renderer: Renderer = Renderer(layout, tuple(streams), seed)
        self._effects: dict[str, CameraEffects] = {
            name: CameraEffects(lens or LensSettings(), rng) for name, rng in streams.items()
        }
        self._aim = {camera.camera_id: camera for camera in layout.cameras}

    def taken(
        self, camera: Camera, figures: Figures, skeletons: Skeletons, goods: Goods, now_ns: int, fog: float
    ) -> ImageArray | None:
        name = camera.camera_id
        if not np.array_equal(camera.cam_from_world, self._aim[name].cam_from_world):
            self._renderer.aim(camera)
            self._aim[name] = camera
        picture = self._renderer.render(name, figures, skeletons, goods)
        return self._effects[name].apply(picture.image, now_ns, fog=fog)


@dataclass(slots=True)
class _Post:
    """Messages on their way. Those of one stream arrive in the order they were sent, as on any wire."""

    waiting: deque[tuple[int, str, _Message]] = field(default_factory=deque)
    last_due_ns: dict[str, int] = field(default_factory=dict)

    @property
    def next_due_ns(self) -> int:
        """When the next one of those waiting is due."""
        return min(due_ns for due_ns, _, _ in self.waiting)

    def put(self, stream: str, due_ns: int, message: _Message) -> None:
        due_ns = max(due_ns, self.last_due_ns.get(stream, due_ns))
        self.last_due_ns[stream] = due_ns
        self.waiting.append((due_ns, stream, message))

    def tick(self, now_ns: int, gates: tuple[GateEvent, ...]) -> Tick | None:
        """What arrives now; a tick holds one set of bodies and one frame of each camera, more wait for the next one."""
        if not self.waiting:
            return Tick(now_ns, gates=gates) if gates else None
        scales: list[ScaleSamples] = []
        bodies: TrackedBodies | None = None
        frames: dict[str, Frame] = {}
        kept: deque[tuple[int, str, _Message]] = deque()
        for due_ns, stream, message in self.waiting:
            if due_ns > now_ns:
                kept.append((due_ns, stream, message))
            elif isinstance(message, ScaleSamples):
                scales.append(message)
            elif isinstance(message, Frame) and message.camera_id not in frames:
                frames[message.camera_id] = message
            elif isinstance(message, TrackedBodies) and bodies is None:
                bodies = message
            else:
                kept.append((due_ns, stream, message))
        self.waiting = kept
        if not (scales or frames or gates) and bodies is None:
            return None
        return Tick(now_ns, tuple(frames.values()), tuple(scales), bodies, gates)


def record(
    simulation: Simulation,
    folder: Path,
    *,
    progress: Callable[[float], None] = lambda seconds: None,
    crf: int = 20,
) -> None:
    """Play a simulation to its end and keep it as a recording folder that ``tillfree replay`` reads.

    The folder holds the layout as played in, the truth as it really happened (a scenario that plays in that layout),
    the seed and the versions of what made it. Replaying it gives the simulation's own ticks, pictures up to what H.264
    loses.

    Args:
        simulation: One that has not been played yet.
        folder: Where to write; it must not hold a recording yet.
        progress: Told the seconds played so far after every tick.
        crf: Constant rate factor of the videos (``store_sim.recording.RecordingWriter``).

    Raises:
        ValueError: The folder already holds a recording.
        OSError: It cannot be written.
    """
    with RecordingWriter(
        folder,
        store=simulation.layout.name,
        layout_yaml=layout_to_yaml(simulation.layout),
        seed=simulation.seed,
        versions={"tillfree": version("tillfree"), "numpy": version("numpy")},
        crf=crf,
        has_gates=simulation.has_gates,
        start_ns=simulation.start_ns,
    ) as writer:
        for tick in simulation:
            writer.write(tick)
            progress((tick.timestamp_ns - simulation.start_ns) / NANOSECONDS)
        # The store that the scenario names lies where the scenario lay; the one it was played in lies here.
        writer.write_truth(scenario_to_json(replace(simulation.scenario, site=LAYOUT_FILE)))


def as_played(scenario: Scenario, truth: Truth, start_ns: int) -> Scenario:
    """Set the moments of a scenario to when things really happened, and its receipts to what is really due.

    What left or reached a shelf, who came and who went is in the truth; everything else is put off by as much as the
    last such thing of the same shopper before it, faults by as much as the last of anybody.

    Args:
        scenario: As written.
        truth: What came of it; events that it does not know keep their distance to those before.
        start_ns: Second 0 of the scenario, store clock.
    """

    def seconds(time_ns: int) -> float:
        return round((time_ns - start_ns) / NANOSECONDS, 3)

    handled: dict[tuple[str, Handling, str | None], deque[int]] = {}
    for interaction in truth.interactions:
        key = (interaction.shopper, interaction.kind, interaction.sku)
        handled.setdefault(key, deque()).append(interaction.time_ns)
    visits: dict[str, list[TrueVisit]] = {}
    for visit in truth.visits:
        visits.setdefault(visit.shopper, []).append(visit)
    late_s: dict[str, float] = {}
    known = [(0.0, 0.0)]
    for shopper in scenario.shoppers:
        if shopper.shopper_id in visits:
            late_s[shopper.shopper_id] = seconds(visits[shopper.shopper_id][0].entered_ns) - shopper.enters_at_s
            known.append((shopper.enters_at_s, late_s[shopper.shopper_id]))
    events = []
    for event in scenario.events:
        kind = _HANDLING.get(event.action)
        times_ns = None if kind is None else handled.get((event.shopper, kind, event.barcode))
        if times_ns:
            late_s[event.shopper] = seconds(times_ns.popleft()) - event.t_s
            known.append((event.t_s, late_s[event.shopper]))
        events.append(replace(event, t_s=max(0.0, round(event.t_s + late_s.get(event.shopper, 0.0), 3))))
    known.sort()
    moments_s = [t_s for t_s, _ in known]
    faults = []
    for fault in scenario.faults:
        put_off_s = known[bisect_right(moments_s, fault.t_s) - 1][1]
        faults.append(replace(fault, t_s=max(0.0, round(fault.t_s + put_off_s, 3))))
    return replace(
        scenario,
        shoppers=tuple(_as_came(shopper, visits.get(shopper.shopper_id, []), seconds) for shopper in scenario.shoppers),
        events=tuple(sorted(events, key=lambda event: event.t_s)),
        faults=tuple(sorted(faults, key=lambda fault: fault.t_s)),
        receipts={due.payer: {line.sku: line.quantity for line in due.lines} for due in truth.receipts},
    )


def _as_came(shopper: ScenarioShopper, visits: Sequence[TrueVisit], seconds: Callable[[int], float]) -> ScenarioShopper:
    """A shopper with the moments at which they really came, left and came back."""
    if not visits:
        return shopper
    first, left_ns = visits[0], visits[0].left_ns
    return replace(
        shopper,
        enters_at_s=max(0.0, seconds(first.entered_ns)),
        leaves_at_s=shopper.leaves_at_s if left_ns is None else seconds(left_ns),
        returns_at_s=shopper.returns_at_s if len(visits) < 2 else seconds(visits[1].entered_ns),
    )


def turned(camera: Camera, angle_rad: float) -> Camera:
    """Turn a camera to its right about its own vertical axis, as after somebody knocked it."""
    turn = np.eye(4)
    cosine, sine = np.cos(angle_rad), np.sin(angle_rad)
    turn[0, 0], turn[0, 2], turn[2, 0], turn[2, 2] = cosine, -sine, sine, cosine
    return replace(camera, cam_from_world=np.asarray(turn @ camera.cam_from_world))


def posed(instants: Sequence[Figures]) -> list[Posed]:
    """Pose everybody of several instants together."""
    if not instants:
        return []
    everybody = instants[0]
    if len(instants) > 1:
        arrays = [np.concatenate([getattr(part, column.name) for part in instants]) for column in fields(Figures)[1:]]
        everybody = Figures(tuple(name for part in instants for name in part.person_id), *arrays)
    skeletons = pose(everybody)
    tracked_m = tracked_joints(skeletons)
    ends = np.cumsum([len(part) for part in instants]).tolist()
    return [
        Posed(skeletons[end - len(part) : end], tracked_m[end - len(part) : end])
        for part, end in zip(instants, ends, strict=True)
    ]


def _shifted(message: _Message, shift_ns: int) -> _Message:
    if isinstance(message, ScaleSamples):
        return replace(message, timestamp_ns=message.timestamp_ns + shift_ns)
    return replace(message, timestamp_ns=message.timestamp_ns + shift_ns)


def _gondola_stream(plate_id: str) -> str:
    """The stream that a plate's samples come in: every gondola sends its own, which no camera's id looks like."""
    return f"{plate_id.partition('/')[0]}/"


def _blank(resolution_wh: tuple[int, int]) -> ImageArray:
    """A picture without content; all of its pixels are one, so that it costs nothing."""
    return np.broadcast_to(np.zeros((1, 1, 3), np.uint8), (resolution_wh[1], resolution_wh[0], 3))


def _estimated_s(scenario: Scenario) -> float:
    moments = [0.0]
    for shopper in scenario.shoppers:
        moments += [shopper.enters_at_s + USUAL_VISIT_S, shopper.leaves_at_s or 0.0]
        if shopper.returns_at_s is not None:
            moments.append(shopper.returns_at_s + USUAL_VISIT_S)
    moments += [event.t_s + (event.seconds or 0.0) + USUAL_VISIT_S / 2 for event in scenario.events]
    return max(moments)
