"""Store-wide identities: the tracks of all cameras joined on the floor, one anonymous number for each person."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from filterpy.kalman import KalmanFilter
from scipy.optimize import linear_sum_assignment

from tracking.hands import HandView, place_hands
from tracking.types import Identities, Sightings, Tracks
from tracking.visits import near_line
from vision.arrays import BoolArray, FloatArray
from vision.boxes import box_areas, intersections, iou_matrix
from vision.cameras import Camera
from vision.frames import JOINT_NAMES, TrackedBodies
from vision.layout import StoreLayout, polygon_margins
from vision.pose import GRIP_PER_FOREARM, body_feet, hand_points

logger = logging.getLogger(__name__)

NANOSECONDS = 1_000_000_000
NO_MATCH = 1e6
COAST_S = 0.7  # who is hidden for longer has probably stopped or turned
OUTSIDE_KEPT_S = 10.0  # no tracker keeps a track that long without seeing it
EXCHANGE_CHI2 = 4.0  # another track of the camera is theirs rather than the one followed: e^2 times as likely
BODY_M = (0.3, 1.75)  # half the width and the height of an adult standing with arms a little off the body


@dataclass(frozen=True, slots=True)
class IdentitySettings:
    """How tracks become people in the store.

    Attributes:
        foot_sigma_per_height: Standard deviation of a foot point in the picture, as a share of the box's height.
        calibration_sigma_m: Floor error that is the same in every frame of a camera.
        acceleration_mps2: How hard people start, stop and turn (standard deviation).
        gate_m: A track farther than this from an identity is not its track, however unsure both are: two strides.
        gate_chi2: Squared Mahalanobis distance up to which a track may join an identity (99 % of 2 degrees of freedom).
        astray_s: A followed track whose feet fail the gate for this long has gone over to somebody else.
        same_place_iou: A box that overlaps this much with where a person is expected in the picture may be theirs
            although its feet say otherwise: feet are hidden or mistaken more often than bodies.
        confirm_s: Somebody seen for less is nobody yet.
        vanish_s: Who is not seen by any camera for this long has left ...
        hidden_s: ... unless last seen away from a known exit: nobody leaves through a wall, so they are hidden.
        followed_s: The same for people whom an outside tracker follows and knows again.
        stride_mps: How fast somebody hidden may have moved on.
        outside_m: Beyond the walkable floor by more than this is outside: twice the usual floor error.
        outside_s: For this long, so that one bad foot point does not end a visit.
        merge_m: Two identities nearer than this that no camera shows side by side are one person ...
        merge_s: ... after this long ...
        beside_s: ... unless one has shown them so for this long before: then one of them is only hidden now.
        nested_share: Of two boxes of one camera, the smaller may be the same person if more than this of it lies in the
            larger; nobody new is welcomed on it.
    """

    foot_sigma_per_height: float = 0.03
    calibration_sigma_m: float = 0.1
    acceleration_mps2: float = 2.0
    gate_m: float = 1.2
    gate_chi2: float = 9.21
    astray_s: float = 0.5
    same_place_iou: float = 0.3
    confirm_s: float = 0.3
    vanish_s: float = 3.0
    hidden_s: float = 8.0
    followed_s: float = 30.0
    stride_mps: float = 0.7
    outside_m: float = 0.15
    outside_s: float = 0.25
    merge_m: float = 0.5
    merge_s: float = 0.8
    beside_s: float = 0.5
    nested_share: float = 0.8

    def __post_init__(self) -> None:
        for name in self.__slots__:
            if not getattr(self, name) > 0:
                raise ValueError(f"IdentitySettings.{name}: expected a positive number, got {getattr(self, name)}")


@dataclass(slots=True)
class _Person:
    """One identity while it lives."""

    identity_id: int
    first_seen_ns: int
    last_seen_ns: int
    motion: KalmanFilter | None
    rows: dict[str, int] = field(default_factory=dict)  # camera -> row of this tick's tracks
    tracks: dict[str, int] = field(default_factory=dict)  # camera -> track followed
    outside_since_ns: int | None = None
    close_since_ns: dict[int, int] = field(default_factory=dict)
    beside_s: dict[int, float] = field(default_factory=dict)  # how long cameras showed this person beside an older one
    astray_since_ns: dict[str, int] = field(default_factory=dict)

    @property
    def position_m(self) -> FloatArray:
        return np.full(2, np.nan) if self.motion is None else np.asarray(self.motion.x[:2, 0])


class IdentityTracker:
    """Keeps one number for each person over all cameras of a store.

    With calibrated cameras people are joined on the floor: each has a constant-velocity Kalman filter (filterpy) of
    position and velocity in metres, and foot points of all cameras are its measurements, each with the error that its
    camera has there. Without calibration each camera's tracks are people of their own.

    Only people on the walkable floor count: reflections stand behind the mirror and passers-by behind the glass.
    """

    def __init__(self, layout: StoreLayout, settings: IdentitySettings | None = None) -> None:
        self._layout = layout
        self._settings = settings or IdentitySettings()
        self._people: list[_Person] = []
        # Tracks in pictures that were beyond the walkable floor, and when last.
        self._outside: dict[tuple[str, int], int] = {}
        self._next_id = 1
        self._now_ns: int | None = None

    def update(self, timestamp_ns: int, tracks: Sequence[Tracks]) -> Identities:
        """Take the tracks of one instant.

        Args:
            timestamp_ns: Store clock, nanoseconds; must not run backwards.
            tracks: One entry for each camera that gave a frame.

        Returns:
            Everybody in the store, also those hidden just now.

        Raises:
            ValueError: Time ran backwards.
        """
        if self._now_ns is not None and timestamp_ns < self._now_ns:
            raise ValueError(f"time ran backwards from {self._now_ns} to {timestamp_ns} ns")
        dt_s = 0.0 if self._now_ns is None else (timestamp_ns - self._now_ns) / NANOSECONDS
        self._now_ns = timestamp_ns
        for person in self._people:
            person.rows.clear()
            if person.motion is not None and dt_s > 0:
                if (timestamp_ns - person.last_seen_ns) / NANOSECONDS > COAST_S:
                    person.motion.x[2:] = 0.0
                _predict(person.motion, dt_s, self._settings.acceleration_mps2)
        for view in tracks:
            camera = self._layout.camera(view.camera_id)
            if camera is None:
                self._follow_in_picture(view, timestamp_ns)
            else:
                self._follow_on_floor(view, camera, timestamp_ns)
        oldest_ns = timestamp_ns - int(OUTSIDE_KEPT_S * NANOSECONDS)
        self._outside = {track: last_ns for track, last_ns in self._outside.items() if last_ns > oldest_ns}
        self._merge(timestamp_ns, dt_s, tracks)
        self._drop(timestamp_ns)
        return self._identities(timestamp_ns, tracks)

    def _follow_in_picture(self, view: Tracks, timestamp_ns: int) -> None:
        zone = self._layout.view(view.camera_id)
        inside = np.ones(len(view), bool)
        if zone is not None and zone.walkable_px is not None and len(view):
            feet = body_feet(view.xyxy, view.keypoints, zone.resolution_wh)
            bottoms = np.column_stack([(view.xyxy[:, 0] + view.xyxy[:, 2]) / 2, view.xyxy[:, 3]])
            inside = polygon_margins(zone.walkable_px, np.where(np.isnan(feet), bottoms, feet)) >= 0
        for row, track_id in enumerate(view.track_id.tolist()):
            if not inside[row]:
                self._outside[view.camera_id, track_id] = timestamp_ns
                continue
            person = self._holder(view.camera_id, track_id)
            if person is None:
                came_in = (view.camera_id, track_id) in self._outside
                person = self._welcome(timestamp_ns if came_in else int(view.first_seen_ns[row]), None)
                person.tracks[view.camera_id] = track_id
            person.rows[view.camera_id] = row
            person.last_seen_ns = timestamp_ns

    def _follow_on_floor(self, view: Tracks, camera: Camera, timestamp_ns: int) -> None:
        settings = self._settings
        errors = _floor_errors(view, camera, settings)
        free = []
        for row in range(len(view)):
            person = self._holder(view.camera_id, int(view.track_id[row]))
            if person is None:
                free.append(row)
                continue
            if self._fits(person, view.camera_id, view.floor_m[row], errors[row], timestamp_ns):
                self._see(person, view, row, errors[row], timestamp_ns)
            else:
                del person.tracks[view.camera_id]
                free.append(row)
        if not free:
            return
        open_people = [
            person for person in self._people if view.camera_id not in person.rows and person.motion is not None
        ]
        cost = np.full((len(free), len(open_people)), NO_MATCH)
        for j, person in enumerate(open_people):
            expected = _expected_box(person.position_m, camera)
            for i, row in enumerate(free):
                floor_cost = self._cost(person, view.floor_m[row], errors[row])
                if floor_cost <= settings.gate_chi2:
                    cost[i, j] = floor_cost
                elif iou_matrix(view.xyxy[[row]], expected)[0, 0] >= settings.same_place_iou:
                    cost[i, j] = settings.gate_chi2
        rows, columns = linear_sum_assignment(cost)
        for i, j in zip(rows.tolist(), columns.tolist(), strict=True):
            if cost[i, j] < NO_MATCH:
                open_people[j].tracks[view.camera_id] = int(view.track_id[free[i]])
                self._see(open_people[j], view, free[i], errors[free[i]], timestamp_ns)
        taken = {person.rows.get(view.camera_id) for person in open_people}
        known_rows = [person.rows[view.camera_id] for person in self._people if view.camera_id in person.rows]
        for row in free:
            if row in taken or np.isnan(view.floor_m[row]).any() or not self._walkable(view.floor_m[row]):
                continue
            if any(self._nested(view, row, other) for other in known_rows):
                continue
            if self._exchange(view, row, errors, timestamp_ns):
                known_rows.append(row)
                continue
            person = self._welcome(timestamp_ns, _motion(view.floor_m[row], errors[row]))
            person.tracks[view.camera_id] = int(view.track_id[row])
            person.rows[view.camera_id] = row
            known_rows.append(row)

    def _exchange(self, view: Tracks, row: int, errors: FloatArray, timestamp_ns: int) -> bool:
        """Give a row to somebody who stands there while the track that this camera follows them by is somebody else's.

        Tracks that were exchanged when people crossed are found out one after the other; without this, the first would
        be taken for somebody new.
        """
        gate = self._settings.gate_chi2
        unseen = [person for person in self._people if view.camera_id not in person.rows]
        best: tuple[_Person, _Person | None] | None = None
        best_cost = gate
        for person in self._people:
            held = person.rows.get(view.camera_id)
            cost = self._cost(person, view.floor_m[row], errors[row])
            if held is None or np.isnan(view.floor_m[held]).any() or cost > best_cost:
                continue
            heir_cost, heir = min(
                ((self._cost(other, view.floor_m[held], errors[held]), i) for i, other in enumerate(unseen)),
                default=(NO_MATCH, 0),
            )
            if heir_cost <= gate:
                best, best_cost = (person, unseen[heir]), cost
            elif self._cost(person, view.floor_m[held], errors[held]) > cost + EXCHANGE_CHI2:
                best, best_cost = (person, None), cost
        if best is None:
            return False
        person, other_person = best
        held = person.rows[view.camera_id]
        for someone, theirs in ((person, row), (other_person, held)):
            if someone is not None:
                someone.tracks[view.camera_id] = int(view.track_id[theirs])
                someone.astray_since_ns.pop(view.camera_id, None)
                self._see(someone, view, theirs, errors[theirs], timestamp_ns)
        return True

    def _nested(self, view: Tracks, row: int, other: int) -> bool:
        """Whether most of one box lies in another: a detector's second box of one person, or somebody hidden."""
        shared = intersections(view.xyxy[[row]], view.xyxy[[other]])[0, 0]
        return bool(shared > self._settings.nested_share * box_areas(view.xyxy[[row, other]]).min())

    def _fits(
        self, person: _Person, camera_id: str, floor_m: FloatArray, error_m2: FloatArray, timestamp_ns: int
    ) -> bool:
        """Whether a followed track may still be this person: its feet have not been somewhere else for long."""
        if np.isnan(floor_m).any() or self._cost(person, floor_m, error_m2) <= self._settings.gate_chi2:
            person.astray_since_ns.pop(camera_id, None)
            return True
        since_ns = person.astray_since_ns.setdefault(camera_id, timestamp_ns)
        if (timestamp_ns - since_ns) / NANOSECONDS < self._settings.astray_s:
            return True
        del person.astray_since_ns[camera_id]
        return False

    def _see(self, person: _Person, view: Tracks, row: int, error_m2: FloatArray, timestamp_ns: int) -> None:
        person.rows[view.camera_id] = row
        cost = self._cost(person, view.floor_m[row], error_m2)
        if person.motion is not None and cost <= self._settings.gate_chi2:
            person.motion.update(view.floor_m[row][:, None], R=error_m2)
        if person.outside_since_ns is None or self._walkable(person.position_m):
            person.last_seen_ns = timestamp_ns

    def _cost(self, person: _Person, floor_m: FloatArray, error_m2: FloatArray) -> float:
        offset = floor_m - person.position_m
        unseen_s = ((self._now_ns or 0) - person.last_seen_ns) / NANOSECONDS
        gate_m = self._settings.gate_m + self._settings.stride_mps * unseen_s
        if person.motion is None or not np.linalg.norm(offset) <= gate_m:
            return NO_MATCH
        covariance = person.motion.P[:2, :2] + error_m2
        return float(offset @ np.linalg.solve(covariance, offset))

    def _walkable(self, floor_m: FloatArray, slack_m: float = 0.0) -> bool:
        if self._layout.walkable_m is None:
            return True
        return bool(polygon_margins(self._layout.walkable_m, floor_m[None])[0] >= -slack_m)

    def _holder(self, camera_id: str, track_id: int) -> _Person | None:
        return next((person for person in self._people if person.tracks.get(camera_id) == track_id), None)

    def _welcome(self, first_seen_ns: int, motion: KalmanFilter | None) -> _Person:
        person = _Person(self._next_id, first_seen_ns, self._now_ns or first_seen_ns, motion)
        self._next_id += 1
        self._people.append(person)
        return person

    def _merge(self, timestamp_ns: int, dt_s: float, tracks: Sequence[Tracks]) -> None:
        """Join identities that stand in one place while no camera shows, or has shown, two people there."""
        views = {view.camera_id: view for view in tracks}
        gone: set[int] = set()
        for younger in reversed(self._people):
            for older in self._people:
                if older.identity_id >= younger.identity_id or younger.identity_id in gone:
                    continue
                distance = np.linalg.norm(older.position_m - younger.position_m)
                side_by_side = any(
                    not self._nested(views[c], older.rows[c], younger.rows[c])
                    for c in older.rows.keys() & younger.rows.keys()
                )
                number = older.identity_id
                if side_by_side:
                    younger.beside_s[number] = younger.beside_s.get(number, 0.0) + dt_s
                two = side_by_side or younger.beside_s.get(number, 0.0) >= self._settings.beside_s
                if not distance <= self._settings.merge_m or two:
                    younger.close_since_ns.pop(older.identity_id, None)
                    continue
                since_ns = younger.close_since_ns.setdefault(older.identity_id, timestamp_ns)
                if (timestamp_ns - since_ns) / NANOSECONDS >= self._settings.merge_s:
                    older.tracks = younger.tracks | older.tracks
                    older.rows = younger.rows | older.rows
                    older.last_seen_ns = max(older.last_seen_ns, younger.last_seen_ns)
                    gone.add(younger.identity_id)
        self._people = [person for person in self._people if person.identity_id not in gone]

    def _drop(self, timestamp_ns: int) -> None:
        settings = self._settings
        staying = []
        for person in self._people:
            if person.motion is not None and not self._walkable(person.position_m, settings.outside_m):
                if person.outside_since_ns is None:
                    person.outside_since_ns = timestamp_ns
            else:
                person.outside_since_ns = None
            outside_s = (timestamp_ns - (person.outside_since_ns or timestamp_ns)) / NANOSECONDS
            unseen_s = (timestamp_ns - person.last_seen_ns) / NANOSECONDS
            away = self._layout.exit_m is not None and not near_line(self._layout.exit_m, person.position_m)
            patience_s = settings.hidden_s if away else settings.vanish_s
            if outside_s < settings.outside_s and unseen_s < patience_s:
                staying.append(person)
        self._people = staying

    def _identities(self, timestamp_ns: int, tracks: Sequence[Tracks]) -> Identities:
        confirm_ns = int(self._settings.confirm_s * NANOSECONDS)
        people = [p for p in self._people if p.last_seen_ns - p.first_seen_ns >= confirm_ns]
        views = {view.camera_id: view for view in tracks}
        n = len(people)
        if not n:
            return Identities.nobody(timestamp_ns, tuple(_sightings(view, []) for view in tracks))
        hands, scores = {}, {}
        for camera_id, view in views.items():
            hands[camera_id], scores[camera_id] = hand_points(view.keypoints)
        hands_m, miss_m = np.full((n, 2, 3), np.nan), np.full((n, 2), np.nan)
        for i, person in enumerate(people):
            seen_by = []
            for camera_id, row in person.rows.items():
                camera = self._layout.camera(camera_id)
                if camera is not None:
                    seen_by.append(HandView(camera, hands[camera_id][row], scores[camera_id][row]))
            if len(seen_by) >= 2:
                hands_m[i], miss_m[i] = place_hands(seen_by, person.position_m)
        motions = [person.motion for person in people]
        return Identities(
            timestamp_ns,
            np.array([person.identity_id for person in people], np.int64),
            np.stack([person.position_m for person in people]),
            np.stack([np.full(2, np.nan) if m is None else m.x[2:, 0] for m in motions]),
            np.stack([np.full((2, 2), np.nan) if m is None else m.P[:2, :2] for m in motions]),
            hands_m,
            miss_m,
            np.array([person.first_seen_ns for person in people], np.int64),
            np.array([person.last_seen_ns for person in people], np.int64),
            tuple(_sightings(view, people) for view in tracks),
        )


_TRUNK = [JOINT_NAMES.index(name) for name in ("head", "neck", "left_shoulder", "right_shoulder")]
_WRISTS = [JOINT_NAMES.index("left_wrist"), JOINT_NAMES.index("right_wrist")]
_ELBOWS = [JOINT_NAMES.index("left_elbow"), JOINT_NAMES.index("right_elbow")]


class BodyIdentities:
    """Identities of bodies that an outside tracker has already followed and placed in the store.

    Attributes:
        names: The outside tracker's name of each identity.
    """

    def __init__(self, layout: StoreLayout, settings: IdentitySettings | None = None) -> None:
        self._layout = layout
        self._settings = settings or IdentitySettings()
        self._numbers: dict[str, int] = {}
        self._people: dict[int, _Person] = {}
        self._places: dict[int, FloatArray] = {}

    def name(self, identity_id: int) -> str:
        """The outside tracker's name of an identity.

        Raises:
            ValueError: There is no such identity.
        """
        for name, number in self._numbers.items():
            if number == identity_id:
                return name
        raise ValueError(f"identity {identity_id} is not known")

    def update(self, bodies: TrackedBodies) -> Identities:
        """Take the bodies of one instant; who is missing is kept for ``followed_s``, near the exit for ``vanish_s``."""
        now_ns = bodies.timestamp_ns
        wrists, elbows = bodies.joints_m[:, _WRISTS], bodies.joints_m[:, _ELBOWS]
        forearms = np.where(np.isfinite(elbows), wrists - elbows, 0.0)
        hands_m = wrists + GRIP_PER_FOREARM * forearms
        trunks_m = bodies.joints_m[:, _TRUNK, :2]
        known: BoolArray = np.asarray(np.isfinite(trunks_m).all(axis=2))
        counts = known.sum(axis=1).tolist()
        # Nobody's trunk hides for long: all at once, and one by one where a part is missing.
        places_m = trunks_m.sum(axis=1) / len(_TRUNK)
        rows: dict[int, int] = {}
        for row, name in enumerate(bodies.target_id):
            number = self._numbers.setdefault(name, len(self._numbers) + 1)
            if counts[row]:
                is_whole = counts[row] == len(_TRUNK)
                self._places[number] = places_m[row] if is_whole else trunks_m[row][known[row]].mean(axis=0)
            person = self._people.get(number)
            if person is None:
                person = self._people[number] = _Person(number, now_ns, now_ns, None)
            person.last_seen_ns = now_ns
            rows[number] = row
        # Who is here needs no patience.
        self._people = {
            k: p for k, p in self._people.items() if k in rows or now_ns - p.last_seen_ns < self._patience_ns(k)
        }
        people = list(self._people.values())
        if not people:
            return Identities.nobody(now_ns)
        nowhere = np.full(2, np.nan)
        placed = np.full((len(people), 2, 3), np.nan)
        seen = [i for i, p in enumerate(people) if p.identity_id in rows]
        placed[seen] = hands_m[[rows[people[i].identity_id] for i in seen]]
        return Identities(
            now_ns,
            np.array([p.identity_id for p in people], np.int64),
            np.array([self._places.get(p.identity_id, nowhere) for p in people]),
            np.full((len(people), 2), np.nan),
            np.full((len(people), 2, 2), np.nan),
            placed,
            np.where(np.isfinite(placed).all(axis=2), 0.0, np.nan),
            np.array([p.first_seen_ns for p in people], np.int64),
            np.array([p.last_seen_ns for p in people], np.int64),
        )

    def _patience_ns(self, number: int) -> int:
        """How long somebody may be out of sight: briefly after going to the exit, long elsewhere."""
        place_m = self._places.get(number)
        at_exit = self._layout.exit_m is not None and place_m is not None and near_line(self._layout.exit_m, place_m)
        return int((self._settings.vanish_s if at_exit else self._settings.followed_s) * NANOSECONDS)


def _sightings(view: Tracks, people: Sequence[_Person]) -> Sightings:
    seen = [(person.identity_id, person.rows[view.camera_id]) for person in people if view.camera_id in person.rows]
    rows = np.array([row for _, row in seen], np.int64)
    hands_px, score = hand_points(view.keypoints[rows])
    return Sightings(
        view.camera_id,
        view.timestamp_ns,
        np.array([identity_id for identity_id, _ in seen], np.int64),
        view.xyxy[rows],
        hands_px,
        score,
    )


def _expected_box(stands_m: FloatArray, camera: Camera) -> FloatArray:
    """Box that somebody standing on the floor would fill in a picture, shape (1, 4), pixels; empty if not in it."""
    half_m, height_m = BODY_M
    offsets = [(dx, dy, z) for dx in (-half_m, half_m) for dy in (-half_m, half_m) for z in (0.0, height_m)]
    corners = camera.image_points(np.array([[stands_m[0] + dx, stands_m[1] + dy, z] for dx, dy, z in offsets]))
    if np.isnan(corners).any():
        return np.zeros((1, 4))
    limits = np.array(camera.resolution_wh, float)
    return np.concatenate([np.clip(corners.min(axis=0), 0, limits), np.clip(corners.max(axis=0), 0, limits)])[None]


def _motion(floor_m: FloatArray, error_m2: FloatArray) -> KalmanFilter:
    """A filter of (x, y, vx, vy) for somebody first seen standing or walking: speed unknown, 1 m/s either way."""
    motion = KalmanFilter(dim_x=4, dim_z=2)
    motion.x = np.array([[floor_m[0]], [floor_m[1]], [0.0], [0.0]])
    motion.H = np.eye(2, 4)
    motion.P = np.zeros((4, 4))
    motion.P[:2, :2] = error_m2
    motion.P[2:, 2:] = np.eye(2)
    return motion


def _predict(motion: KalmanFilter, dt_s: float, acceleration_mps2: float) -> None:
    """One step of constant velocity with white acceleration (Bar-Shalom et al., 2001, section 6.3.2)."""
    transition = np.eye(4)
    transition[0, 2] = transition[1, 3] = dt_s
    gain = np.array([[dt_s**2 / 2, 0], [0, dt_s**2 / 2], [dt_s, 0], [0, dt_s]])
    motion.predict(F=transition, Q=gain @ gain.T * acceleration_mps2**2)


def _floor_errors(view: Tracks, camera: Camera, settings: IdentitySettings) -> FloatArray:
    """Covariance of each foot point on the floor, shape (n, 2, 2), square metres; nan without a foot point."""
    n = len(view)
    if not n:
        return np.zeros((0, 2, 2))
    feet_px = camera.image_points(np.column_stack([view.floor_m, np.zeros(n)]))
    step_px = 1.0
    right = camera.floor_points(feet_px + np.array([step_px, 0.0])) - view.floor_m
    below = camera.floor_points(feet_px + np.array([0.0, step_px])) - view.floor_m
    jacobian = np.stack([right, below], axis=2) / step_px
    sigma_px = settings.foot_sigma_per_height * (view.xyxy[:, 3] - view.xyxy[:, 1])
    spread = jacobian @ jacobian.transpose(0, 2, 1) * (sigma_px**2)[:, None, None]
    return np.asarray(spread + np.eye(2) * settings.calibration_sigma_m**2)
