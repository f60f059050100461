"""Store-wide identities: the tracks of all cameras joined on the floor, one anonymous number for each person.

Everybody is a constant-velocity Kalman filter on the floor whose fifth number is body height. That makes feet and heads
alike: feet say where somebody stands, a head says where they would stand if they were so and so tall, and both are
linear in the state (``tracking.floor``). Somebody whose feet are behind a gondola goes on by head and shoulders, at the
height that was learnt while the feet were seen.

Nobody appears or vanishes in the middle of a shop. Whoever is not seen stays, less and less surely placed; somebody who
turns up away from the doors is one of those not seen now, if one of them can have got there.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from itertools import combinations

import numpy as np
from scipy.optimize import linear_sum_assignment

from tracking.camera_faults import CameraNotice, CameraWatch
from tracking.encounters import Encounters
from tracking.floor import FloorPoints, floor_points_of, inverse_2x2
from tracking.hands import HandView, place_everybodys_hands
from tracking.looks import LOOK_LENGTH, RecentLooks, look_distances, looks_in
from tracking.types import Identities, MixUp, Sightings, Tracks
from tracking.visits import NEAR_EXIT_M, line_distances, near_line
from tracking.wardrobe import Wardrobe
from vision.arrays import BoolArray, FloatArray, ImageArray, IntArray
from vision.boxes import box_areas, intersections
from vision.cameras import Camera
from vision.frames import Frame
from vision.layout import StoreLayout, nearest_on_outline, polygon_margins
from vision.pose import body_feet, hand_points

logger = logging.getLogger(__name__)

NANOSECONDS = 1_000_000_000
COAST_S = 0.7  # who is hidden for longer has probably stopped or turned
OUTSIDE_KEPT_S = 10.0  # no tracker keeps a track that long without seeing it
START_S = 2.0  # whoever is found when the cameras are switched on was there before
NO_MATCH = 1e6
HEIGHT_M, HEIGHT_SIGMA_M = 1.68, 0.13
"""Adults of both sexes (NCD-RisC, eLife 2016: means of 1.62 to 1.75 m, spread 0.07), shoes and a few children."""
HEIGHT_DRIFT = 1e-4  # square metres a second: people bend and straighten up, and learning must not end
WALKING_SIGMA_MPS = 0.8  # of the speed of somebody first seen, either way
ACCELERATION_PSD = 0.6  # square metres a cubed second: a walker stops or turns within half a second
STROLL_PSD = 0.12  # square metres a second: how those who are hidden wander off
WIDEST_M = 3.0  # nobody is placed worse than this; the shop has walls
HEAD_PENALTY = 3.0  # a head contradicts feet that are seen only where feet are behind something
FASTEST_MPS = 2.0  # hurrying through a shop
_CORNERS = ((0, 0), (0, 1), (1, 1))  # of a symmetric matrix, all that differ
CLOSE_M = 0.6  # within this of each other, places alone do not say for sure who is who


@dataclass(frozen=True, slots=True)
class IdentitySettings:
    """How tracks become people in the store.

    Costs are twice a negative log-likelihood, as squared Mahalanobis distances are.

    Attributes:
        gate_m: A track farther than this from an identity is not its track, however unsure both are: two strides.
        gate_chi2: Squared Mahalanobis distance up to which a track may join an identity (99.9 % of 2 degrees of
            freedom).
        continuity: What it costs a camera's track to be somebody else than it was before.
        continuity_apart: The same for two tracks that have just come apart ...
        apart_s: ... less than so long ago, one of them unseen for as long before ...
        apart_share: ... whose boxes share more than this of the smaller one.
        strain_share: So much of what speaks against continuity at one instant adds up; the rest it shares with the
            next instants ...
        strain_most: ... at most so much of it ...
        strain_kept: ... and so much is left of it after an instant that speaks for continuity.
        reappearing: What it costs that somebody hidden shows again just now.
        birth_at_door: Cost of somebody new near the entrance: one in ten seconds on two square metres ...
        birth_inside: ... and elsewhere, a hundred times rarer ...
        birth_anywhere: ... and in a shop whose doors are not known: one in ten seconds on thirty square metres.
        astray_s: A followed track whose place fails the gate for this long has gone over to somebody else.
        confirm_s: Somebody seen for less is nobody yet ...
        stranger_s: ... and away from the doors, where nobody can be new.
        vanish_s: Who is not seen by any camera for this long has left ...
        hidden_s: ... unless last seen away from a known exit: nobody leaves through a wall, so they are hidden.
        tentative_s: Who is nobody yet and is not seen for this long is forgotten.
        stride_mps: How fast somebody hidden may have moved on.
        door_m: So near to a door people come in and go out.
        outside_m: Beyond the walkable floor by more than this is outside, twice the usual floor error: gone, if at a
            door, else misplaced.
        outside_s: For this long, so that one bad foot point does not end a visit.
        one_place_m: Two people who are known to be two cannot both be within this; only one of them is seen there ...
        one_place_s: ... if no camera shows both for this long.
        clear_m: Whoever has nobody within this is surely themselves.
        merge_m: Two identities nearer than this that no camera shows side by side are one person ...
        merge_s: ... after this long ...
        beside_s: ... unless one has shown them so for this long before: then one of them is only hidden now.
        nested_share: Of two boxes of one camera, the smaller may be the same person if more than this of it lies in the
            larger; nobody new is welcomed on it.
        look_weight: How much clothes of other colours count.
        same_look: Clothes that differ by more, in Hellinger distance from 0 to 1, are not the same ones.
    """

    gate_m: float = 1.2
    gate_chi2: float = 13.8
    continuity: float = 6.0
    continuity_apart: float = 3.0
    apart_s: float = 0.25
    apart_share: float = 0.1
    strain_share: float = 0.5
    strain_most: float = 6.0
    strain_kept: float = 0.7
    reappearing: float = 4.6
    birth_at_door: float = 7.0
    birth_inside: float = 16.0
    birth_anywhere: float = 12.4
    astray_s: float = 0.5
    confirm_s: float = 0.3
    stranger_s: float = 1.5
    vanish_s: float = 3.0
    hidden_s: float = 60.0
    tentative_s: float = 0.6
    stride_mps: float = 0.7
    door_m: float = 1.5
    outside_m: float = 0.15
    outside_s: float = 0.25
    one_place_m: float = 0.2
    one_place_s: float = 0.15
    clear_m: float = 0.6
    merge_m: float = 0.5
    merge_s: float = 0.8
    beside_s: float = 0.5
    nested_share: float = 0.8
    look_weight: float = 18.0
    same_look: float = 0.7

    def __post_init__(self) -> None:
        for name in self.__slots__:
            if not getattr(self, name) > 0:
                raise ValueError(f"IdentitySettings.{name}: expected a positive number, got {getattr(self, name)}")


@dataclass(slots=True)
class _People:
    """Everybody followed on the floor, one row each; ``c`` calibrated cameras.

    Attributes:
        key: Never used twice, shape (n,).
        number: Identity, shape (n,); 0 for somebody who is nobody yet.
        state: (x, y, vx, vy, height), shape (n, 5).
        cov: Shape (n, 5, 5).
        first_ns: When each was first seen, shape (n,).
        last_ns: When last, shape (n,).
        track: The track that each camera follows them by, shape (n, c), -1 without.
        row: The row of this tick's tracks, shape (n, c), -1 where not seen.
        astray_ns: Since when each camera's track is somewhere else, shape (n, c), 0 where it is not.
        strain: How much has been speaking of late against each camera's track, shape (n, c), as a cost.
        outside_ns: Since when they are beyond the walkable floor, shape (n,), 0 inside.
        by_door: Whether they came in by a door, shape (n,).
        clear: (x, y, vx, vy, height) when they last stood clear of others, shape (n, 5).
        clear_cov: Covariance of that, shape (n, 5, 5).
        clear_ns: When that was, shape (n,).
        look: Colours of their clothes, shape (n, k).
        looked: How often these were seen, shape (n,).
    """

    key: IntArray
    number: IntArray
    state: FloatArray
    cov: FloatArray
    first_ns: IntArray
    last_ns: IntArray
    track: IntArray
    row: IntArray
    astray_ns: IntArray
    strain: FloatArray
    outside_ns: IntArray
    by_door: BoolArray
    clear: FloatArray
    clear_cov: FloatArray
    clear_ns: IntArray
    look: FloatArray
    looked: FloatArray

    @classmethod
    def nobody(cls, cameras: int) -> "_People":
        whole = np.zeros(0, np.int64)
        table = np.zeros((0, cameras), np.int64)
        return cls(
            whole,
            whole.copy(),
            np.zeros((0, 5)),
            np.zeros((0, 5, 5)),
            whole.copy(),
            whole.copy(),
            table,
            table.copy(),
            table.copy(),
            np.zeros((0, cameras)),
            whole.copy(),
            np.zeros(0, bool),
            np.zeros((0, 5)),
            np.zeros((0, 5, 5)),
            whole.copy(),
            np.zeros((0, LOOK_LENGTH)),
            np.zeros(0),
        )

    def __len__(self) -> int:
        return len(self.key)

    def keep(self, rows: BoolArray) -> None:
        for column in fields(self):
            setattr(self, column.name, getattr(self, column.name)[rows])

    def add(
        self,
        key: int,
        place_m: FloatArray,
        cov_m2: FloatArray,
        slope: FloatArray,
        first_ns: int,
        now_ns: int,
        by_door: bool,
    ) -> None:
        """Take up somebody of usual height at a place that each metre of height more moves by ``slope``, shape (2,)."""
        cameras = self.track.shape[1]
        state = np.array([*place_m, 0.0, 0.0, HEIGHT_M])
        cov = np.diag([0.0, 0.0, WALKING_SIGMA_MPS**2, WALKING_SIGMA_MPS**2, HEIGHT_SIGMA_M**2])
        cov[:2, :2] = cov_m2 + HEIGHT_SIGMA_M**2 * np.outer(slope, slope)
        cov[:2, 4] = cov[4, :2] = HEIGHT_SIGMA_M**2 * slope
        none = np.full((1, cameras), -1, np.int64)
        values = (
            np.array([key]),
            np.zeros(1, np.int64),
            state[None],
            cov[None],
            np.array([first_ns]),
            np.array([now_ns]),
            none,
            none.copy(),
            np.zeros((1, cameras), np.int64),
            np.zeros((1, cameras)),
            np.zeros(1, np.int64),
            np.array([by_door]),
            state[None].copy(),
            cov[None].copy(),
            np.array([now_ns]),
            np.zeros((1, LOOK_LENGTH)),
            np.zeros(1),
        )
        for column, value in zip(fields(self), values, strict=True):
            setattr(self, column.name, np.concatenate([getattr(self, column.name), value]))


@dataclass(slots=True)
class _Seen:
    """One camera's tracks of this tick, with what they say.

    Attributes:
        column: The camera's.
        view: The tracks.
        camera: Its calibration.
        points: Where each track stands.
        looks: Colours of clothes; None without a picture.
        worn: The same over the last second or so, which is steadier.
        lag_s: How far its frame lies after now, as far as is known.
        raw_lag_s: The same by its own clock.
        habits: What it costs that tracks show people, shape (m, n), by whom these were before and what these wear ...
        own: ... of which so much is by whom these were before, shape (m, n).
        places: What it costs by where tracks are, shape (m, n), ``NO_MATCH`` beyond the gate.
        births: What it costs that each track shows somebody new, shape (m,).
        rows: Tracks that show somebody known, shape (k,) ...
        who: ... whom each shows, shape (k,) ...
        information: ... what it says of their state, shape (k, 5, 5), an inverse covariance ...
        vector: ... times the state, shape (k, 5).
    """

    column: int
    view: Tracks
    camera: Camera
    points: FloorPoints
    looks: FloatArray | None
    worn: FloatArray | None
    lag_s: float
    raw_lag_s: float
    habits: FloatArray = field(default_factory=lambda: np.zeros((0, 0)))
    own: FloatArray = field(default_factory=lambda: np.zeros((0, 0)))
    places: FloatArray = field(default_factory=lambda: np.zeros((0, 0)))
    births: FloatArray = field(default_factory=lambda: np.zeros(0))
    rows: IntArray = field(default_factory=lambda: np.zeros(0, np.int64))
    who: IntArray = field(default_factory=lambda: np.zeros(0, np.int64))
    information: FloatArray = field(default_factory=lambda: np.zeros((0, 5, 5)))
    vector: FloatArray = field(default_factory=lambda: np.zeros((0, 5)))


@dataclass(slots=True)
class _PicturePerson:
    """Somebody followed in the picture of a camera that is not calibrated."""

    number: int
    camera_id: str
    track_id: int
    first_ns: int
    last_ns: int
    row: int = -1


class IdentityTracker:
    """Keeps one number for each person over all cameras of a store.

    With calibrated cameras people are joined on the floor (see the module). Without calibration each camera's tracks
    are people of their own. Only people on the walkable floor count: reflections stand behind the mirror and passers-by
    behind the glass.

    Appearance, if pictures are given, is a coarse histogram of the colours of clothes. It only decides between people
    who may both be where a track is, lives in memory, and is gone with the identity.
    """

    def __init__(self, layout: StoreLayout, settings: IdentitySettings | None = None) -> None:
        self._layout = layout
        self._settings = settings or IdentitySettings()
        self._columns = {name: i for i, name in enumerate(sorted(camera.camera_id for camera in layout.cameras))}
        self._people = _People.nobody(len(self._columns))
        self._in_pictures: list[_PicturePerson] = []
        # Tracks in pictures that were beyond the walkable floor, and when last.
        self._outside: dict[tuple[str, int], int] = {}
        self._recent_looks = RecentLooks()
        # By camera and track: since when it is seen without a gap, and when last.
        self._shown: dict[tuple[int, int], tuple[int, int]] = {}
        self._close_since_ns: dict[tuple[int, int], int] = {}
        self._beside_s: dict[tuple[int, int], float] = {}
        self._encounters = Encounters()
        self._wardrobe = Wardrobe()
        self._numbers: dict[int, int] = {}  # of those followed at the last instant, by key
        self._mix_ups: list[MixUp] = []
        self._one_place_s: dict[tuple[int, int], float] = {}
        self._next_number = 1
        self._next_key = 1
        self._now_ns: int | None = None
        self._started_ns = 0
        cameras = sorted(layout.cameras, key=lambda camera: self._columns[camera.camera_id])
        positions_m = np.array([camera.position_m[:2] for camera in cameras]).reshape(-1, 2)
        self._watch = CameraWatch(tuple(self._columns), positions_m)

    @property
    def notices(self) -> tuple[CameraNotice, ...]:
        """What is wrong with cameras, as found so far."""
        return self._watch.notices

    def update(self, timestamp_ns: int, tracks: Sequence[Tracks], frames: Sequence[Frame] = ()) -> Identities:
        """Take the tracks of one instant.

        Args:
            timestamp_ns: Store clock, nanoseconds; must not run backwards.
            tracks: One entry for each camera that gave a frame.
            frames: The pictures that they are of, if clothes may help to tell people apart.

        Returns:
            Everybody in the store, also those hidden just now.

        Raises:
            ValueError: Time ran backwards.
        """
        if self._now_ns is not None and timestamp_ns < self._now_ns:
            raise ValueError(f"time ran backwards from {self._now_ns} to {timestamp_ns} ns")
        if self._now_ns is None:
            self._started_ns = timestamp_ns
        dt_s = 0.0 if self._now_ns is None else (timestamp_ns - self._now_ns) / NANOSECONDS
        self._now_ns = timestamp_ns
        people = self._people
        people.row[:] = -1
        for person in self._in_pictures:
            person.row = -1
        self._predict(dt_s)
        seen = self._seen(timestamp_ns, tracks, {frame.camera_id: frame.image for frame in frames})
        self._watch.hear(timestamp_ns, [each.column for each in seen])
        self._associate(seen)
        for each in seen:
            self._welcome(each)
        told = [(each.column, each.points, each.raw_lag_s) for each in seen]
        self._watch.compare(timestamp_ns, told, people.key, people.row, people.state)
        oldest_ns = timestamp_ns - int(OUTSIDE_KEPT_S * NANOSECONDS)
        self._outside = {track: last_ns for track, last_ns in self._outside.items() if last_ns > oldest_ns}
        self._shown = {track: seen_ns for track, seen_ns in self._shown.items() if seen_ns[1] > oldest_ns}
        self._recent_looks.forget(oldest_ns)
        side_by_side = self._side_by_side(seen)
        self._part(dt_s, side_by_side)
        self._merge(dt_s, side_by_side)
        self._settle()
        self._drop()
        self._part_ways(seen)
        return self._identities(tracks)

    def _seen(self, timestamp_ns: int, tracks: Sequence[Tracks], pictures: dict[str, ImageArray]) -> list[_Seen]:
        """What calibrated cameras say, in the order of their names; who is seen by others is followed there."""
        views: list[tuple[Tracks, Camera]] = []
        for view in sorted(tracks, key=lambda each: each.camera_id):
            camera = self._layout.camera(view.camera_id)
            if camera is None:
                self._follow_in_picture(view)
            else:
                views.append((view, camera))
        pictured = [view for view, _ in views if view.camera_id in pictures]
        looks_by = dict(
            zip(
                [view.camera_id for view in pictured],
                looks_in([(pictures[view.camera_id], view.xyxy, view.keypoints) for view in pictured]),
                strict=True,
            )
        )
        seen = []
        for (view, camera), points in zip(views, floor_points_of(views, HEIGHT_M), strict=True):
            column = self._columns[view.camera_id]
            looks = looks_by.get(view.camera_id)
            worn = None if looks is None else self._recent_looks.update(timestamp_ns, column, view.track_id, looks)
            raw_lag_s = min(max((view.timestamp_ns - timestamp_ns) / NANOSECONDS, -0.5), 0.5)
            lag_s = raw_lag_s - self._watch.skew_s(column)
            seen.append(_Seen(column, view, camera, points, looks, worn, lag_s, raw_lag_s))
        return seen

    def take_mix_ups(self) -> list[MixUp]:
        """Give the pairs of identities that, as has turned out since the last call, may have been mixed up."""
        mix_ups, self._mix_ups = self._mix_ups, []
        return mix_ups

    def finish(self) -> list[MixUp]:
        """Give, when the stream has ended, also those pairs who met and of whom nothing more will be seen."""
        for parting in self._encounters.finish():
            numbers = self._numbers[parting.keys[0]], self._numbers[parting.keys[1]]
            self._mix_ups.append(MixUp(numbers, parting.since_ns))
        return self.take_mix_ups()

    def _part_ways(self, seen: Sequence[_Seen]) -> None:
        """Give people who went on with each other's bodies after an encounter their own identities back."""
        people, now = self._people, self._worn_now(seen)
        named = np.flatnonzero(people.number > 0)
        named = named[np.argsort(people.key[named], kind="stable")]
        row = {int(people.key[j]): int(j) for j in range(len(people))}
        for parting in self._encounters.update(
            self._now_ns or 0,
            people.key[named].tolist(),
            people.first_ns[named],
            people.state[named, :2],
            people.look[named],
            people.looked[named],
            now[named],
            {pair for pair, beside_s in self._beside_s.items() if beside_s >= self._settings.beside_s},
        ):
            numbers = self._numbers[parting.keys[0]], self._numbers[parting.keys[1]]
            until_ns = None
            if parting.exchanged and all(key in row for key in parting.keys):
                pair = [row[key] for key in parting.keys]
                self._pass_on(pair)
                people.look[pair] = parting.looks[::-1]
                until_ns = self._now_ns
                logger.info("identities %s and %s had been exchanged; clothes tell", *numbers)
            self._mix_ups.append(MixUp(numbers, parting.since_ns, until_ns))
        self._hold_against_wardrobe(named, now)
        self._numbers = {int(people.key[j]): int(people.number[j]) for j in range(len(people)) if people.number[j] > 0}

    def _hold_against_wardrobe(self, named: IntArray, now: FloatArray) -> None:
        """Give identities that have gone round in a crowd back to those who wear what they wore at first."""
        people, now_ns = self._people, self._now_ns or 0
        row = {int(people.key[j]): int(j) for j in named}
        for exchange in self._wardrobe.update(
            now_ns, people.key[named].tolist(), people.number[named].tolist(), people.state[named, :2], now[named]
        ):
            ring = [row[key] for key in exchange.keys]
            numbers = people.number[ring].tolist()
            self._pass_on(ring)
            self._encounters.forget(exchange.keys)
            logger.info("identities %s had gone round; clothes tell", ", ".join(map(str, numbers)))
            self._mix_ups += [MixUp(pair, exchange.since_ns, now_ns) for pair in combinations(sorted(numbers), 2)]

    def _pass_on(self, ring: Sequence[int]) -> None:
        """Give each of these the identity of the next, and the last that of the first."""
        for column in (self._people.number, self._people.first_ns, self._people.by_door):
            column[ring] = np.roll(column[ring], -1)

    def _worn_now(self, seen: Sequence[_Seen]) -> FloatArray:
        """What people wear in the pictures of this instant, the mean over cameras, shape (n, LOOK_LENGTH); or nan."""
        people = self._people
        total, count = np.zeros((len(people), LOOK_LENGTH)), np.zeros((len(people), 1))
        for each in seen:
            if each.looks is not None:
                who = np.flatnonzero(people.row[:, each.column] >= 0)
                looks = each.looks[people.row[who, each.column]]
                known = np.isfinite(looks).all(axis=1)
                total[who[known]] += looks[known]
                count[who[known]] += 1
        return np.where(count > 0, total / np.maximum(count, 1), np.nan)

    # In the picture of a camera that is not calibrated.

    def _follow_in_picture(self, view: Tracks) -> None:
        now_ns = self._now_ns or 0
        zone = self._layout.view(view.camera_id)
        inside = np.ones(len(view), bool)
        if zone is not None and zone.walkable_px is not None and len(view):
            feet = body_feet(view.xyxy, view.keypoints, zone.resolution_wh)
            bottoms = np.column_stack([(view.xyxy[:, 0] + view.xyxy[:, 2]) / 2, view.xyxy[:, 3]])
            inside = polygon_margins(zone.walkable_px, np.where(np.isnan(feet), bottoms, feet)) >= 0
        for row, track_id in enumerate(view.track_id.tolist()):
            if not inside[row]:
                self._outside[view.camera_id, track_id] = now_ns
                continue
            key = view.camera_id, track_id
            person = next((p for p in self._in_pictures if (p.camera_id, p.track_id) == key), None)
            if person is None:
                first_ns = now_ns if key in self._outside else int(view.first_seen_ns[row])
                person = _PicturePerson(self._next_number, view.camera_id, track_id, first_ns, now_ns)
                self._next_number += 1
                self._in_pictures.append(person)
            person.row = row
            person.last_ns = now_ns

    # On the floor.

    def _predict(self, dt_s: float) -> None:
        """Constant velocity with white acceleration (Bar-Shalom et al., 2001, section 6.2.2)."""
        people = self._people
        if not len(people) or dt_s <= 0:
            return
        hidden = self._unseen_s() > COAST_S
        people.state[hidden, 2:4] = 0.0
        transition = np.eye(5)
        transition[0, 2] = transition[1, 3] = dt_s
        people.state = people.state @ transition.T
        cov = people.cov
        cov[hidden, 2:4] = 0.0
        cov[hidden, :, 2:4] = 0.0
        cov[hidden, 2, 2] = cov[hidden, 3, 3] = WALKING_SIGMA_MPS**2
        moving = transition @ cov @ transition.T
        still = cov.copy()
        noise = np.zeros((5, 5))
        for axis in (0, 1):
            noise[axis, axis] = ACCELERATION_PSD * dt_s**3 / 3
            noise[axis, axis + 2] = noise[axis + 2, axis] = ACCELERATION_PSD * dt_s**2 / 2
            noise[axis + 2, axis + 2] = ACCELERATION_PSD * dt_s
        stroll = np.diag([STROLL_PSD * dt_s, STROLL_PSD * dt_s, 0.0, 0.0, 0.0])
        cov = np.where(hidden[:, None, None], still + stroll, moving + noise)
        cov[:, 4, 4] += HEIGHT_DRIFT * dt_s
        for axis in (0, 1):
            cov[hidden, axis, axis] = np.minimum(cov[hidden, axis, axis], WIDEST_M**2)
        people.cov = cov

    def _unseen_s(self) -> FloatArray:
        return np.asarray(((self._now_ns or 0) - self._people.last_ns) / NANOSECONDS)

    def _costs(
        self, each: _Seen, rows: IntArray, state: FloatArray, cov: FloatArray, unseen_s: FloatArray
    ) -> tuple[FloatArray, BoolArray]:
        """What it costs that tracks show n people, shape (m, n) each.

        Returns:
            The cost, ``NO_MATCH`` beyond the gate, and whether the feet are believed.
        """
        # Covariances as (xx, xy, yy): tables of small matrices are slow.
        settings, points, lag_s = self._settings, each.points, each.lag_s
        places_x, places_y = (state[:, :2] + lag_s * state[:, 2:4]).T
        height, height_var = state[:, 4], cov[:, 4, 4]
        spread = [cov[:, i, j] + lag_s**2 * cov[:, i + 2, j + 2] for i, j in _CORNERS]
        reach_m = settings.gate_m + settings.stride_mps * unseen_s
        feet_x, feet_y = points.feet_m[rows].T[..., None]
        aside_x, aside_y = feet_x - places_x, feet_y - places_y
        feet_cov = points.feet_cov_m2[rows]
        feet_d2, feet_spread = _mahalanobis(
            aside_x, aside_y, *(feet_cov[:, i, j, None] + own for (i, j), own in zip(_CORNERS, spread, strict=True))
        )
        with np.errstate(invalid="ignore"):
            feet_fit = (feet_d2 <= settings.gate_chi2) & (aside_x**2 + aside_y**2 <= reach_m**2)
        slope = points.slope[rows].T[..., None]  # (2, m, 1)
        upper_x, upper_y = points.upper_m[rows].T[..., None]
        aside_x = upper_x + slope[0] * height - places_x
        aside_y = upper_y + slope[1] * height - places_y
        upper_cov, tilt = points.upper_cov_m2[rows], cov[:, :2, 4].T
        upper_d2, upper_spread = _mahalanobis(
            aside_x,
            aside_y,
            *(
                upper_cov[:, i, j, None] + own + slope[i] * (slope[j] * height_var - tilt[j]) - slope[j] * tilt[i]
                for (i, j), own in zip(_CORNERS, spread, strict=True)
            ),
        )
        with np.errstate(invalid="ignore"):
            upper_fit = (upper_d2 <= settings.gate_chi2) & (aside_x**2 + aside_y**2 <= (reach_m + 0.3) ** 2)
        has_feet = np.isfinite(feet_x + feet_y)
        by_feet = np.where(feet_fit, feet_d2 + feet_spread, NO_MATCH)
        by_head = np.where(upper_fit, upper_d2 + upper_spread + HEAD_PENALTY * has_feet, NO_MATCH)
        return np.minimum(by_feet, by_head), np.asarray(by_feet <= by_head)

    def _associate(self, seen: Sequence[_Seen]) -> None:
        """Find out who of those known is who in all pictures.

        Each camera's tracks are held against where people are by what was known before and by what the other cameras
        show. Where people stand close together every camera is asked again when all have spoken, so that it does not
        matter which was asked first.
        """
        people = self._people
        n = len(people)
        if not n:
            return
        information = np.linalg.inv(people.cov)
        vector = _times(information, people.state)
        state, cov = people.state.copy(), people.cov.copy()
        away = np.linalg.norm(people.state[:, None, :2] - people.state[None, :, :2], axis=2)
        np.fill_diagonal(away, np.inf)
        close = np.asarray((away < CLOSE_M).any(axis=1))
        unseen_s = self._unseen_s()
        seen = [each for each in seen if len(each.view)]
        self._weigh_habits(seen)
        shown = np.zeros(n, np.int64)
        for again in (False, True) if len(seen) > 1 else (False,):
            for each in seen:
                if again:
                    if not close[each.who].any():
                        continue
                    information[each.who] -= each.information
                    vector[each.who] -= each.vector
                    shown[each.who] -= 1
                    state[each.who], cov[each.who] = _estimate(information[each.who], vector[each.who])
                self._explain(each, state, cov, np.where(shown > 0, 0.0, unseen_s))
                information[each.who] += each.information
                vector[each.who] += each.vector
                shown[each.who] += 1
                state[each.who], cov[each.who] = _estimate(information[each.who], vector[each.who])
        people.state, people.cov = state, cov
        for each in seen:
            self._strain(each)
            self._note(each, each.rows, each.who)
        self._note_seen(np.flatnonzero(shown))
        for each in seen:
            self._keep_astray(each)

    def _weigh_habits(self, seen: Sequence[_Seen]) -> None:
        """Find what places do not decide: what it costs that tracks show somebody else than before, or somebody new."""
        if not seen:
            return
        settings, people = self._settings, self._people
        count = np.array([len(each.view) for each in seen])
        begins = np.cumsum(count) - count
        tracks = np.concatenate([each.view.track_id for each in seen])
        # Whoever turned up in the middle of the shop is probably one of those known, and takes no track from them.
        proven = (people.number > 0) | people.by_door
        same = (tracks[:, None] == people.track.T[np.repeat([each.column for each in seen], count)]) & proven
        taken = same.any(axis=1)
        strain = people.strain.T[np.repeat([each.column for each in seen], count)]
        apart = np.concatenate([self._come_apart(each) for each in seen])[:, None]
        continuity = np.where(apart, settings.continuity_apart, settings.continuity)
        own = continuity * (0.5 * (taken[:, None] & ~same) - same) + np.where(same, strain, 0.0)
        habits = own.copy()
        if any(each.worn is not None for each in seen):
            unknown = np.full((int(count.max()), LOOK_LENGTH), np.nan)
            worn = [unknown[: len(each.view)] if each.worn is None else each.worn for each in seen]
            habits += self._look_costs(np.concatenate(worn), begins, count)
        births = self._birth_costs(
            np.concatenate([each.points.feet_m for each in seen]),
            np.concatenate([each.points.upper_m + each.points.slope * HEIGHT_M for each in seen]),
        )
        for each, begin in zip(seen, begins.tolist(), strict=True):
            rows = slice(begin, begin + len(each.view))
            each.habits, each.own, each.births = habits[rows], own[rows], births[rows]

    def _come_apart(self, each: _Seen) -> BoolArray:
        """Which tracks of a camera, shape (m,), are one of two that have just come apart: which is which is open.

        Two who overlap are often one box, and a tracker gives the older number to whichever is seen first again.
        """
        now_ns, settings, view = self._now_ns or 0, self._settings, each.view
        is_new = np.zeros(len(view), bool)
        for row, track_id in enumerate(view.track_id.tolist()):
            since_ns, last_ns = self._shown.get((each.column, track_id), (now_ns, now_ns))
            if now_ns - last_ns > settings.apart_s * NANOSECONDS:
                since_ns = now_ns
            self._shown[each.column, track_id] = since_ns, now_ns
            is_new[row] = now_ns - since_ns < settings.apart_s * NANOSECONDS
        if len(view) < 2 or not is_new.any():
            return np.zeros(len(view), bool)
        boxes = view.xyxy.astype(float)
        areas = box_areas(boxes)
        meets = intersections(boxes, boxes) > settings.apart_share * np.minimum(areas[:, None], areas[None])
        np.fill_diagonal(meets, False)
        return np.asarray((meets & (is_new[:, None] | is_new[None])).any(axis=1))

    def _explain(self, each: _Seen, state: FloatArray, cov: FloatArray, unseen_s: FloatArray) -> None:
        """Find out who of those known is who in one picture, given where everybody is without it."""
        people, m, n = self._people, len(each.view), len(self._people)
        rows = np.arange(m)
        cost, by_feet = self._costs(each, rows, state, cov, unseen_s)
        late = (unseen_s > 1.0) | ~((people.number > 0) | people.by_door)
        each.places = cost
        table = np.full((m, n + m), NO_MATCH)
        table[:, :n] = np.where(cost < NO_MATCH, cost + each.habits + self._settings.reappearing * late, NO_MATCH)
        table[rows, n + rows] = each.births
        chosen_rows, chosen = linear_sum_assignment(table)
        mine = (chosen < n) & (table[chosen_rows, chosen] < NO_MATCH)
        each.rows, each.who = rows, who = chosen_rows[mine], chosen[mine]
        each.information, each.vector = self._tell(each, rows, by_feet[rows, who], state[who], cov[who])

    def _strain(self, each: _Seen) -> None:
        """Sum up over time how much better tracks fit others than those whom they are kept for by habit.

        A camera's track goes over to a passer-by who hides whom it followed. At no instant may places speak against
        that as loudly as habit speaks for it, and whom the track is kept for is drawn along with it; but they go on
        speaking (a cumulative sum test: Page, Biometrika 1954).
        """
        people, settings, m, n = self._people, self._settings, len(each.view), len(self._people)
        table = np.full((m, n + m), NO_MATCH)
        table[:, :n] = np.where(each.places < NO_MATCH, each.places + each.habits - each.own, NO_MATCH)
        table[np.arange(m), n + np.arange(m)] = each.births
        fits = linear_sum_assignment(table)[1]
        named = people.number > 0
        strain = people.strain[:, each.column]
        for row, track_id in enumerate(each.view.track_id.tolist()):
            other = int(fits[row])
            for j in np.flatnonzero(named & (people.track[:, each.column] == track_id)).tolist():
                if other == j or other >= n or not named[other] or table[row, other] >= NO_MATCH:
                    strain[j] *= settings.strain_kept
                    continue
                gain = min(max(float(table[row, j] - table[row, other]), 0.0), settings.strain_most)
                strain[j] = min(strain[j] + settings.strain_share * gain, 2 * settings.continuity)

    def _tell(
        self, each: _Seen, rows: IntArray, by_feet: BoolArray, state: FloatArray, cov: FloatArray
    ) -> tuple[FloatArray, FloatArray]:
        """What tracks say of where k people are who are about there; what is beyond the gate says nothing.

        Returns:
            An inverse covariance of the state, shape (k, 5, 5), and that times the state, shape (k, 5).
        """
        points = each.points
        model = np.zeros((2, len(rows), 2, 5))  # of the feet, then of the upper body
        model[..., 0, 0] = model[..., 1, 1] = 1.0
        model[..., 0, 2] = model[..., 1, 3] = each.lag_s
        model[1, :, :, 4] = -points.slope[rows]
        place = np.stack([points.feet_m[rows], points.upper_m[rows]])
        noise = np.stack([points.feet_cov_m2[rows], points.upper_cov_m2[rows]])
        offset = place - _times(model, state)
        spread = model @ cov @ model.swapaxes(2, 3) + noise
        squared, _ = _mahalanobis(offset[..., 0], offset[..., 1], *(spread[..., i, j] for i, j in _CORNERS))
        fits = squared <= self._settings.gate_chi2
        fits[0] &= by_feet
        weighted = model.swapaxes(2, 3) @ np.where(fits[..., None, None], inverse_2x2(noise), 0.0)
        vector = _times(weighted, np.where(fits[..., None], place, 0.0))
        return (weighted @ model).sum(axis=0), vector.sum(axis=0)

    def _keep_astray(self, each: _Seen) -> None:
        """A followed track that is somewhere else for a moment is still theirs, but moves nobody."""
        people, settings, view, column = self._people, self._settings, each.view, each.column
        now_ns = self._now_ns or 0
        for row in np.flatnonzero(_free(len(view), each.rows)).tolist():
            for j in np.flatnonzero(people.track[:, column] == view.track_id[row]).tolist():
                if people.row[j, column] >= 0:
                    continue
                if not people.astray_ns[j, column]:
                    people.astray_ns[j, column] = now_ns
                if (now_ns - people.astray_ns[j, column]) / NANOSECONDS < settings.astray_s:
                    people.row[j, column] = row
                    self._note_seen(np.array([j]))
                else:
                    people.track[j, column] = -1
                    people.astray_ns[j, column] = 0

    def _look_costs(self, worn: FloatArray, begins: IntArray, count: IntArray) -> FloatArray:
        """What clothes say, shape (m, n): less than nothing for the most alike, 0 where they are not known.

        Args:
            worn: What the tracks of several cameras have worn of late, shape (m, LOOK_LENGTH).
            begins: Where the tracks of each camera begin, shape (c,), rising from 0 ...
            count: ... and how many these are, at least one, shape (c,).
        """
        people = self._people
        away = look_distances(worn, people.look)
        known = np.isfinite(away) & (people.looked >= 5)
        away = np.where(known, away, 0.0)
        usual = np.add.reduceat(away, begins, axis=0) / np.maximum(np.add.reduceat(known, begins, axis=0, dtype=int), 1)
        return np.where(known, self._settings.look_weight * (away - np.repeat(usual, count, axis=0)), 0.0)

    def _birth_costs(self, feet_m: FloatArray, upper_m: FloatArray) -> FloatArray:
        """What it costs that tracks show somebody new, shape (m,), by where their feet and upper bodies are."""
        if self._layout.entrance_m is None:
            return np.full(len(feet_m), self._settings.birth_anywhere)
        doors = np.full(len(feet_m), ((self._now_ns or 0) - self._started_ns) / NANOSECONDS < START_S)
        doors |= self._at_entrance(np.where(np.isfinite(feet_m), feet_m, upper_m))
        return np.where(doors, self._settings.birth_at_door, self._settings.birth_inside)

    def _at_door(self, place_m: FloatArray) -> bool:
        """Whether somebody may come in here: at the entrance; anywhere in a shop whose entrance is not known."""
        if ((self._now_ns or 0) - self._started_ns) / NANOSECONDS < START_S or self._layout.entrance_m is None:
            return True
        return bool(self._at_entrance(place_m[None])[0])

    def _at_entrance(self, places_m: FloatArray) -> BoolArray:
        """Which places, shape (n, 2), are where people come in, and not rather where they only leave; nan is not."""
        entrance_m, exit_m = self._layout.entrance_m, self._layout.exit_m
        if entrance_m is None:
            return np.zeros(len(places_m), bool)
        away_m = line_distances(entrance_m, places_m)
        to_exit_m = np.full(len(places_m), np.inf) if exit_m is None else line_distances(exit_m, places_m)
        with np.errstate(invalid="ignore"):
            return np.asarray((away_m <= self._settings.door_m) & (away_m <= to_exit_m))

    def _near_door(self, place_m: FloatArray) -> bool:
        """Whether a place is near a known door."""
        doors = [line for line in (self._layout.entrance_m, self._layout.exit_m) if line is not None]
        return any(near_line(line, place_m, self._settings.door_m) for line in doors)

    def _note(self, each: _Seen, rows: IntArray, who: IntArray) -> None:
        """Remember which tracks show whom, and what these wear."""
        people = self._people
        if not len(rows):
            return
        people.row[who, each.column] = rows
        people.strain[who[people.track[who, each.column] != each.view.track_id[rows]], each.column] = 0.0
        people.track[who, each.column] = each.view.track_id[rows]
        people.astray_ns[who, each.column] = 0
        if each.looks is not None:
            looks = each.looks[rows]
            known = np.isfinite(looks).all(axis=1)
            share = np.maximum(1 / (people.looked[who] + 1), 0.02)[:, None]
            mixed = (1 - share) * people.look[who] + share * np.nan_to_num(looks)
            people.look[who[known]] = mixed[known]
            people.looked[who[known]] += 1

    def _note_seen(self, who: IntArray) -> None:
        people = self._people
        inside: BoolArray = np.asarray((people.outside_ns[who] == 0) | self._walkable(people.state[who, :2]), bool)
        people.last_ns[who[inside]] = self._now_ns or 0

    def _walkable(self, places_m: FloatArray, slack_m: float = 0.0) -> BoolArray:
        if self._layout.walkable_m is None or not len(places_m):
            return np.ones(len(places_m), bool)
        return np.asarray(polygon_margins(self._layout.walkable_m, places_m) >= -slack_m)

    def _welcome(self, each: _Seen) -> None:
        """Take up those whom nobody known explains."""
        people, view, column, points = self._people, each.view, each.column, each.points
        bound = people.row[:, column]
        free = np.flatnonzero(_free(len(view), bound[bound >= 0]))
        if not len(free):
            return
        # Somebody new in an earlier camera's picture may be the one in this picture.
        open_people = np.flatnonzero((bound < 0) & (people.last_ns == self._now_ns))
        if len(open_people):
            state, cov = people.state[open_people], people.cov[open_people]
            cost, by_feet = self._costs(each, free, state, cov, np.zeros(len(open_people)))
            chosen_rows, chosen = linear_sum_assignment(cost)
            mine = cost[chosen_rows, chosen] < NO_MATCH
            chosen_rows, chosen = chosen_rows[mine], chosen[mine]
            rows, who = free[chosen_rows], open_people[chosen]
            told, vector = self._tell(each, rows, by_feet[chosen_rows, chosen], state[chosen], cov[chosen])
            known = np.linalg.inv(cov[chosen])
            people.state[who], people.cov[who] = _estimate(known + told, vector + _times(known, state[chosen]))
            self._note(each, rows, who)
            self._note_seen(who)
            free = np.delete(free, chosen_rows)
        bound = people.row[:, column]
        known_rows = bound[bound >= 0].tolist()
        for row in free.tolist():
            place, cov, slope = points.feet_m[row], points.feet_cov_m2[row], np.zeros(2)
            if np.isnan(place).any():
                # Who comes in is first seen without feet by a camera that looks steeply down on the door.
                cov, slope = points.upper_cov_m2[row], points.slope[row]
                place = points.upper_m[row] + HEIGHT_M * slope
                if np.isnan(place).any() or not self._near_door(place):
                    continue
            if not self._walkable(place[None])[0]:
                continue
            if any(self._nested(view, row, other) for other in known_rows):
                continue
            by_door = self._at_door(place)
            first_ns = now_ns = self._now_ns or 0
            if by_door and not (people.track[:, column] == view.track_id[row]).any():
                # They were followed in the picture already; but not as long as they may have stood before the door.
                followed_ns = max(int(view.first_seen_ns[row]), now_ns - int(self._settings.confirm_s * NANOSECONDS))
                first_ns = min(followed_ns, now_ns)
            people.add(self._next_key, place, cov, slope, first_ns, now_ns, by_door)
            self._next_key += 1
            people.row[-1, column] = row
            people.track[-1, column] = view.track_id[row]
            known_rows.append(row)

    def _nested(self, view: Tracks, row: int, other: int) -> bool:
        """Whether most of one box lies in another: a detector's second box of one person, or somebody hidden."""
        shared = intersections(view.xyxy[[row]], view.xyxy[[other]])[0, 0]
        return bool(shared > self._settings.nested_share * box_areas(view.xyxy[[row, other]]).min())

    def _side_by_side(self, seen: Sequence[_Seen]) -> BoolArray:
        """Whom some camera shows beside each other, shape (n, n)."""
        people = self._people
        side_by_side = np.zeros((len(people), len(people)), bool)
        for each in seen:
            there = np.flatnonzero(people.row[:, each.column] >= 0)
            if len(there) < 2:
                continue
            boxes = each.view.xyxy[people.row[there, each.column]].astype(float)
            areas = box_areas(boxes)
            nested = intersections(boxes, boxes) > self._settings.nested_share * np.minimum(areas[:, None], areas[None])
            side_by_side[np.ix_(there, there)] |= ~nested
        return side_by_side

    def _part(self, dt_s: float, side_by_side: BoolArray) -> None:
        """Take tracks that went over to somebody else back from whom they followed.

        A camera's track of somebody hidden behind a passer-by goes along with the passer-by: then two people known to
        be two are in one place, which cannot be. The one whom more cameras show there is there; the other one is still
        about where they were last clear of others, and hidden.
        """
        people, settings, now_ns = self._people, self._settings, self._now_ns or 0
        seen = np.asarray((people.row >= 0).any(axis=1))
        away = np.linalg.norm(people.state[:, None, :2] - people.state[None, :, :2], axis=2)
        np.fill_diagonal(away, np.inf)
        crowded = np.asarray(((away < settings.clear_m) & ~side_by_side & seen[None]).any(axis=1))
        calm = seen & ~crowded
        people.clear[calm], people.clear_cov[calm] = people.state[calm], people.cov[calm]
        people.clear_ns[calm] = now_ns
        keys = people.key.tolist()
        still: dict[tuple[int, int], float] = {}
        both = seen[:, None] & seen[None] & ~side_by_side & (away < settings.one_place_m)
        shown = (people.row[:, None] >= 0) & (people.row[None] >= 0)
        both &= ~shown.any(axis=2)
        for i, j in zip(*np.nonzero(np.triu(both, 1)), strict=True):
            pair = keys[i], keys[j]
            if self._beside_s.get(pair, 0.0) < settings.beside_s:
                continue
            still[pair] = self._one_place_s.get(pair, 0.0) + dt_s
            votes = (people.row[[i, j]] >= 0).sum(axis=1)
            if still[pair] < settings.one_place_s or votes[0] == votes[1]:
                continue
            winner, loser = (i, j) if votes[0] > votes[1] else (j, i)
            own = people.row[loser] >= 0
            people.row[winner, own] = people.row[loser, own]
            people.track[winner, own] = people.track[loser, own]
            people.row[loser], people.track[loser, own] = -1, -1
            since_s = (now_ns - people.clear_ns[loser]) / NANOSECONDS
            people.state[loser], people.cov[loser] = people.clear[loser], people.clear_cov[loser]
            people.state[loser, 2:4] = 0.0
            people.cov[loser, [0, 1], [0, 1]] += STROLL_PSD * since_s
            people.last_ns[loser] = people.clear_ns[loser]
        self._one_place_s = still

    def _merge(self, dt_s: float, side_by_side: BoolArray) -> None:
        """Join identities that stand in one place while no camera shows, or has shown, two people there."""
        people, settings, now_ns = self._people, self._settings, self._now_ns or 0
        n = len(people)
        if n < 2:
            return
        distance = np.linalg.norm(people.state[:, None, :2] - people.state[None, :, :2], axis=2)
        keys = people.key.tolist()
        for i, j in zip(*np.nonzero(np.triu(side_by_side, 1)), strict=True):
            pair = keys[i], keys[j]
            self._beside_s[pair] = self._beside_s.get(pair, 0.0) + dt_s
        gone = np.zeros(n, bool)
        still_close: dict[tuple[int, int], int] = {}
        for i, j in zip(*np.nonzero(np.triu(distance <= settings.merge_m, 1)), strict=True):
            pair = keys[i], keys[j]
            if gone[i] or gone[j] or side_by_side[i, j]:
                continue
            if self._beside_s.get(pair, 0.0) >= settings.beside_s:
                continue
            since_ns = still_close[pair] = self._close_since_ns.get(pair, now_ns)
            if (now_ns - since_ns) / NANOSECONDS >= settings.merge_s:
                self._join(int(i), int(j))
                gone[j] = True
        self._close_since_ns = still_close
        self._forget(gone)

    def _join(self, older: int, younger: int) -> None:
        people = self._people
        if people.number[older] == 0 and people.number[younger] != 0:
            people.number[older] = people.number[younger]
            people.first_ns[older] = min(people.first_ns[older], people.first_ns[younger])
        if people.last_ns[younger] > people.last_ns[older]:
            people.state[older], people.cov[older] = people.state[younger], people.cov[younger]
            people.clear[older], people.clear_cov[older] = people.clear[younger], people.clear_cov[younger]
            people.clear_ns[older], people.last_ns[older] = people.clear_ns[younger], people.last_ns[younger]
        free = people.row[older] < 0
        people.row[older, free] = people.row[younger, free]
        free = (people.track[older] < 0) | (people.row[younger] >= 0) & free
        people.track[older, free] = people.track[younger, free]
        people.by_door[older] |= people.by_door[younger]

    def _settle(self) -> None:
        """Say of those followed for long enough who they are."""
        people, settings = self._people, self._settings
        gone = np.zeros(len(people), bool)
        seen_s = (people.last_ns - people.first_ns) / NANOSECONDS
        for j in np.flatnonzero((people.number == 0) & (seen_s >= settings.confirm_s)).tolist():
            older = self._lost(j, gone)
            if older is not None:
                height, sure = people.state[older, 4], people.cov[older, 4, 4]
                self._join(older, j)
                people.state[older, 4], people.cov[older, 4, :], people.cov[older, :, 4] = height, 0.0, 0.0
                people.cov[older, 4, 4] = sure
                gone[j] = True
            elif people.by_door[j] or (seen_s[j] >= settings.stranger_s and not self._is_double(j)):
                people.number[j] = self._next_number
                self._next_number += 1
        self._forget(gone)

    def _is_double(self, j: int) -> bool:
        """Whether somebody who turned up inside is rather a second look at one who is seen beside them."""
        people, settings = self._people, self._settings
        near_m = np.linalg.norm(people.state[:, :2] - people.state[j, :2], axis=1)
        seen = (people.number > 0) & (people.last_ns == self._now_ns) & (near_m < settings.merge_m)
        key = int(people.key[j])
        pairs = [(min(key, other), max(key, other)) for other in people.key[seen].tolist()]
        return any(self._beside_s.get(pair, 0.0) < settings.beside_s for pair in pairs)

    def _lost(self, j: int, gone: BoolArray) -> int | None:
        """Find out which of those not seen now somebody is who has turned up; None for somebody new.

        Whoever turns up at a door is new, unless two who met are not told apart yet and this is dressed as one of them.
        """
        people, settings = self._people, self._settings
        unseen_s = self._unseen_s()
        lost = np.flatnonzero((people.number > 0) & (unseen_s >= 0.3) & ~gone)
        if not len(lost):
            return None
        away_m = np.linalg.norm(people.state[lost, :2] - people.state[j, :2], axis=1)
        gone_s, looks_away = unseen_s[lost], self._dressed_otherwise(j, lost)
        has_met = np.zeros(len(lost), bool)
        for i, key in enumerate(people.key[lost].tolist()):
            for met in self._encounters.of(key):
                # Where two have met neither is where the filter thinks, and each may turn up in the other's stead.
                from_there_m = float(np.linalg.norm(met.near_place_m - people.state[j, :2]))
                since_s = ((self._now_ns or 0) - met.near_ns) / NANOSECONDS
                if met.dressed and people.looked[j] >= 3 and from_there_m <= settings.gate_m + FASTEST_MPS * since_s:
                    otherwise = float(look_distances(people.look[[j]], met.looks).min())
                    if otherwise <= settings.same_look and (not has_met[i] or otherwise < looks_away[i]):
                        away_m[i], gone_s[i], looks_away[i] = from_there_m, since_s, otherwise
                        has_met[i] = True
        can_be = has_met if people.by_door[j] else away_m <= settings.gate_m + FASTEST_MPS * gone_s
        if not can_be.any():
            return None
        # Of those who can have got here the nearest for their time, then who is as tall and dressed alike.
        cost = away_m**2 / (0.3 + 0.5 * gone_s)
        spread = people.cov[lost, 4, 4] + people.cov[j, 4, 4]
        cost += (people.state[lost, 4] - people.state[j, 4]) ** 2 / spread
        cost += 2 * settings.look_weight * looks_away
        cost[~can_be] = np.inf
        return int(lost[int(cost.argmin())])

    def _dressed_otherwise(self, j: int, others: IntArray) -> FloatArray:
        """How unlike somebody's clothes are to those of others, shape (n,), 0 where they were too seldom seen."""
        people = self._people
        if people.looked[j] < 3:
            return np.zeros(len(others))
        away = look_distances(people.look[[j]], people.look[others])[0]
        return np.asarray(np.where(people.looked[others] >= 5, away, 0.0))

    def _forget(self, gone: BoolArray) -> None:
        if gone.any():
            self._people.keep(~gone)
            here = set(self._people.key.tolist())
            self._beside_s = {p: s for p, s in self._beside_s.items() if p[0] in here and p[1] in here}

    def _drop(self) -> None:
        settings, people, now_ns = self._settings, self._people, self._now_ns or 0
        if len(people):
            self._keep_inside()
            outside = ~self._walkable(people.state[:, :2], settings.outside_m)
            people.outside_ns = np.where(outside, np.where(people.outside_ns == 0, now_ns, people.outside_ns), 0)
            outside_s = np.where(outside, now_ns - people.outside_ns, 0) / NANOSECONDS
            unseen_s = self._unseen_s()
            self._forget(np.asarray((outside_s >= settings.outside_s) | (unseen_s >= self._patience_s())))
        vanish_ns = settings.vanish_s * NANOSECONDS
        self._in_pictures = [p for p in self._in_pictures if now_ns - p.last_ns < vanish_ns]

    def _keep_inside(self) -> None:
        """Set those back on the walkable floor who are placed beyond it where there is no door.

        Nobody leaves through a wall: who is placed there leans over a shelf, with hidden feet.
        """
        people, floor_m = self._people, self._layout.walkable_m
        doors = [line for line in (self._layout.entrance_m, self._layout.exit_m) if line is not None]
        if floor_m is None or not doors:
            return
        beyond = np.flatnonzero((people.number > 0) & ~self._walkable(people.state[:, :2], self._settings.outside_m))
        if len(beyond):
            back_m = nearest_on_outline(floor_m, people.state[beyond, :2])
            by_wall = np.all([line_distances(line, back_m) > self._settings.door_m for line in doors], axis=0)
            people.state[beyond[by_wall], :2] = back_m[by_wall]
            people.state[beyond[by_wall], 2:4] = 0.0

    def _patience_s(self) -> FloatArray:
        """For how long each is still expected who is not seen, shape (n,)."""
        people, settings, exit_m = self._people, self._settings, self._layout.exit_m
        leaves = np.ones(len(people), bool)
        if exit_m is not None:
            leaves = line_distances(exit_m, people.state[:, :2]) <= NEAR_EXIT_M
        patience_s = np.where(leaves, settings.vanish_s, settings.hidden_s)
        return np.where(people.number == 0, settings.tentative_s, patience_s)

    def _identities(self, tracks: Sequence[Tracks]) -> Identities:
        now_ns, people = self._now_ns or 0, self._people
        confirm_ns = int(self._settings.confirm_s * NANOSECONDS)
        pictured = [p for p in self._in_pictures if p.last_ns - p.first_ns >= confirm_ns]
        named = np.flatnonzero(people.number > 0)
        named = named[np.argsort(people.number[named], kind="stable")]
        shown: dict[str, tuple[list[int], list[int]]] = {view.camera_id: ([], []) for view in tracks}
        for person in pictured:
            if person.row >= 0:
                shown[person.camera_id][0].append(person.number)
                shown[person.camera_id][1].append(person.row)
        for camera_id, column in self._columns.items():
            if camera_id in shown:
                rows = people.row[named, column]
                shown[camera_id][0].extend(people.number[named[rows >= 0]].tolist())
                shown[camera_id][1].extend(rows[rows >= 0].tolist())
        hands = [hand_points(view.keypoints) for view in tracks]
        sightings = tuple(
            _sightings(view, own, *shown[view.camera_id]) for view, own in zip(tracks, hands, strict=True)
        )
        n = len(named) + len(pictured)
        if not n:
            return Identities.nobody(now_ns, sightings)
        hands_m, miss_m = self._hands(named, tracks, hands)
        extra = len(pictured)
        nowhere = np.full((extra, 2), np.nan)
        everybody = np.concatenate([people.number[named], [p.number for p in pictured]]).astype(np.int64)
        order = np.argsort(everybody, kind="stable")
        return Identities(
            now_ns,
            everybody[order],
            np.concatenate([people.state[named, :2], nowhere])[order],
            np.concatenate([people.state[named, 2:4], nowhere])[order],
            np.concatenate([people.cov[named, :2, :2], np.full((extra, 2, 2), np.nan)])[order],
            np.concatenate([hands_m, np.full((extra, 2, 3), np.nan)])[order],
            np.concatenate([miss_m, nowhere])[order],
            np.concatenate([people.first_ns[named], [p.first_ns for p in pictured]]).astype(np.int64)[order],
            np.concatenate([people.last_ns[named], [p.last_ns for p in pictured]]).astype(np.int64)[order],
            sightings,
        )

    def _hands(
        self, named: IntArray, tracks: Sequence[Tracks], hands: Sequence[tuple[FloatArray, FloatArray]]
    ) -> tuple[FloatArray, FloatArray]:
        """The hands in the world of some people, by hands and their scores in each view."""
        seen: list[list[HandView]] = [[] for _ in named]
        for view, (hands_px, score) in zip(tracks, hands, strict=True):
            camera = self._layout.camera(view.camera_id)
            if camera is None:
                continue
            directions = camera.ray_directions(hands_px.reshape(-1, 2)).reshape(-1, 2, 3)
            has_hand = np.asarray((score > 0).any(axis=1)).tolist()
            for i, row in enumerate(self._people.row[named, self._columns[view.camera_id]].tolist()):
                if row >= 0 and has_hand[row]:
                    seen[i].append(HandView(camera, hands_px[row], score[row], directions[row]))
        return place_everybodys_hands(seen, self._people.state[named, :2])


def _sightings(
    view: Tracks, hands: tuple[FloatArray, FloatArray], numbers: Sequence[int], seen_rows: Sequence[int]
) -> Sightings:
    rows = np.array(seen_rows, np.int64)
    hands_px, score = hands
    return Sightings(
        view.camera_id,
        view.timestamp_ns,
        np.array(numbers, np.int64),
        view.xyxy[rows],
        hands_px[rows],
        score[rows],
    )


def _free(count: int, taken: IntArray) -> BoolArray:
    """Which of so many rows are not taken, shape (count,)."""
    free = np.ones(count, bool)
    free[taken] = False
    return free


def _mahalanobis(
    x: FloatArray, y: FloatArray, xx: FloatArray, xy: FloatArray, yy: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Squared Mahalanobis distances, and log-determinants, of many pairs of numbers with covariances; inf for nan."""
    with np.errstate(invalid="ignore", divide="ignore"):
        determinant = xx * yy - xy * xy
        squared = (yy * x * x - 2 * xy * x * y + xx * y * y) / determinant
        return np.where(np.isfinite(squared), squared, np.inf), np.where(determinant > 0, np.log(determinant), np.inf)


def _times(matrices: FloatArray, vectors: FloatArray) -> FloatArray:
    """Products of matrices, shape (..., i, j), and vectors, shape (..., j): shape (..., i)."""
    return np.asarray((matrices @ vectors[..., None])[..., 0])


def _estimate(information: FloatArray, vector: FloatArray) -> tuple[FloatArray, FloatArray]:
    """States, shape (n, 5), and covariances, shape (n, 5, 5), from inverse covariances and these times the states."""
    cov = np.linalg.inv(information)
    cov = (cov + cov.swapaxes(1, 2)) / 2
    return _times(cov, vector), cov
