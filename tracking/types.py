"""What tracking hands on: tracks, identities, touches and interactions."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from tracking.held_pictures import HeldPictures
from vision.arrays import BoolArray, FloatArray, IntArray, check_shape
from vision.shelf import Handling, ShelfChange

LONGEST_SPAN_S = 4.0
"""No interaction claims a longer span between first and last contact."""


@dataclass(frozen=True, slots=True)
class Tracks:
    """Tracked people in one frame of one camera.

    Attributes:
        camera_id: The camera.
        timestamp_ns: Store clock of the frame, nanoseconds.
        track_id: Number of each track, shape (n,), unique within its tracker.
        xyxy: Boxes, shape (n, 4), float32, pixels; filtered, so also where a detection is missing in this frame.
        confidence: Score of the matched detection, shape (n,).
        class_id: COCO class, shape (n,).
        keypoints: COCO's 17 points (x, y, visibility), shape (n, k, 3).
        floor_m: Foot point on the floor, shape (n, 2), metres; nan where unknown (no calibration, box cut by the
            picture's lower edge).
        first_seen_ns: When each track was first seen, before it was confirmed, shape (n,).
    """

    camera_id: str
    timestamp_ns: int
    track_id: IntArray
    xyxy: FloatArray
    confidence: FloatArray
    class_id: IntArray
    keypoints: FloatArray
    floor_m: FloatArray
    first_seen_ns: IntArray

    def __post_init__(self) -> None:
        n = len(self.track_id)
        check_shape("Tracks.track_id", self.track_id, (n,))
        check_shape("Tracks.xyxy", self.xyxy, (n, 4))
        check_shape("Tracks.confidence", self.confidence, (n,))
        check_shape("Tracks.class_id", self.class_id, (n,))
        check_shape("Tracks.keypoints", self.keypoints, (n, "k", 3))
        check_shape("Tracks.floor_m", self.floor_m, (n, 2))
        check_shape("Tracks.first_seen_ns", self.first_seen_ns, (n,))

    def __len__(self) -> int:
        return len(self.track_id)

    def __getitem__(self, rows: NDArray[Any] | slice) -> Self:
        """Keep the given rows (indices, a mask or a slice)."""
        return type(self)(
            self.camera_id,
            self.timestamp_ns,
            self.track_id[rows],
            self.xyxy[rows],
            self.confidence[rows],
            self.class_id[rows],
            self.keypoints[rows],
            self.floor_m[rows],
            self.first_seen_ns[rows],
        )


@dataclass(frozen=True, slots=True)
class Sightings:
    """Where one camera sees the store's identities.

    Attributes:
        camera_id: The camera.
        timestamp_ns: Store clock of the frame, nanoseconds.
        identity_id: Whom each row shows, shape (n,).
        xyxy: Boxes, shape (n, 4), pixels.
        hands_px: Left and right hand, shape (n, 2, 2), pixels, nan when unseen. The hand is beyond the wrist, along the
            forearm.
        hand_score: Key-point visibility of each wrist, shape (n, 2), 0 to 1.
    """

    camera_id: str
    timestamp_ns: int
    identity_id: IntArray
    xyxy: FloatArray
    hands_px: FloatArray
    hand_score: FloatArray

    def __post_init__(self) -> None:
        n = len(self.identity_id)
        check_shape("Sightings.xyxy", self.xyxy, (n, 4))
        check_shape("Sightings.hands_px", self.hands_px, (n, 2, 2))
        check_shape("Sightings.hand_score", self.hand_score, (n, 2))


@dataclass(frozen=True, slots=True)
class Identities:
    """Everybody in the store at one instant.

    Attributes:
        timestamp_ns: Store clock, nanoseconds.
        identity_id: Anonymous number of each person, shape (n,), the same in all cameras for the whole visit.
        position_m: Where they stand, shape (n, 2), metres; nan without a calibrated camera.
        velocity_mps: Shape (n, 2).
        position_cov_m2: Covariance of the position, shape (n, 2, 2).
        hands_m: Left and right hand in the world, shape (n, 2, 3), metres, nan when unseen.
        hand_miss_m: How far the rays behind a triangulated hand miss each other, shape (n, 2), metres; nan when the
            hand is unseen.
        first_seen_ns: When each was first seen, shape (n,).
        last_seen_ns: When each was last seen, shape (n,); before ``timestamp_ns`` for somebody hidden just now.
        sightings: One entry for each camera with a frame in this tick.
    """

    timestamp_ns: int
    identity_id: IntArray
    position_m: FloatArray
    velocity_mps: FloatArray
    position_cov_m2: FloatArray
    hands_m: FloatArray
    hand_miss_m: FloatArray
    first_seen_ns: IntArray
    last_seen_ns: IntArray
    sightings: tuple[Sightings, ...] = ()

    def __post_init__(self) -> None:
        n = len(self.identity_id)
        check_shape("Identities.position_m", self.position_m, (n, 2))
        check_shape("Identities.velocity_mps", self.velocity_mps, (n, 2))
        check_shape("Identities.position_cov_m2", self.position_cov_m2, (n, 2, 2))
        check_shape("Identities.hands_m", self.hands_m, (n, 2, 3))
        check_shape("Identities.hand_miss_m", self.hand_miss_m, (n, 2))
        check_shape("Identities.first_seen_ns", self.first_seen_ns, (n,))
        check_shape("Identities.last_seen_ns", self.last_seen_ns, (n,))

    def __len__(self) -> int:
        return len(self.identity_id)

    @classmethod
    def nobody(cls, timestamp_ns: int, sightings: tuple[Sightings, ...] = ()) -> Self:
        """An empty store."""
        return cls(
            timestamp_ns,
            np.zeros(0, np.int64),
            np.zeros((0, 2)),
            np.zeros((0, 2)),
            np.zeros((0, 2, 2)),
            np.zeros((0, 2, 3)),
            np.zeros((0, 2)),
            np.zeros(0, np.int64),
            np.zeros(0, np.int64),
            sightings,
        )


@dataclass(frozen=True, slots=True)
class MixUp:
    """Two identities that may have gone on with each other's bodies, for a while or for good.

    Attributes:
        identity_ids: The two.
        since_ns: When they came together, store clock.
        until_ns: When each was known to be itself again; None for never.
    """

    identity_ids: tuple[int, int]
    since_ns: int
    until_ns: int | None = None


@dataclass(frozen=True, slots=True)
class WeightChange:
    """The weight on a few neighbouring plates went from one steady level to another.

    Attributes:
        plate_ids: Plates that changed for good, as ``gondola/shelf/plate``, most changed first.
        delta_g: Change of their sum in grams; negative when something left.
        sigma_g: Standard deviation of ``delta_g`` in grams.
        start_ns: When the first plate left its old level.
        time_ns: When the step itself happened.
        end_ns: When the last plate had settled.
        curve_ns: Store clock of the curve around the change, shape (s,).
        curve_g: Sum of the plates' readings there, shape (s,), grams, the level before being 0.
        parts: The changes it is made of if what lay between them was more than a hand's pressure, in the order of
            their time; empty if nothing lay between. With parts, ``delta_g`` may be as little as nothing.
        by_plate: The change of each plate alone, in their order on the shelf, for it may be that of several things;
            empty for a single plate.
    """

    plate_ids: tuple[str, ...]
    delta_g: float
    sigma_g: float
    start_ns: int
    time_ns: int
    end_ns: int
    curve_ns: IntArray
    curve_g: FloatArray
    parts: tuple["WeightChange", ...] = ()
    by_plate: tuple["WeightChange", ...] = ()

    def __post_init__(self) -> None:
        check_shape("WeightChange.curve_g", self.curve_g, self.curve_ns.shape)


@dataclass(frozen=True, slots=True)
class Unsettled:
    """Something that may still turn out to be an interaction.

    Attributes:
        since_ns: When it began, store clock.
        place_m: Where, shape (3,), metres; None where that is not known in the world.
        identity_id: Whose it would be; None where that is open.
    """

    since_ns: int
    place_m: FloatArray | None = None
    identity_id: int | None = None


@dataclass(frozen=True, slots=True)
class HandContact:
    """One hand in one bin, from when it came to when it left.

    Attributes:
        identity_id: Whose hand.
        bin_id: The bin it was most probably in.
        start_ns: When the hand came.
        end_ns: When it was last there.
        distance_m: Least distance from the bin's box, metres, 0 inside; nan for a bin drawn in a picture.
        bin_shares: The bins it may have been in with their probabilities, most probable first; they sum to 1.
    """

    identity_id: int
    bin_id: str
    start_ns: int
    end_ns: int
    distance_m: float
    bin_shares: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True)
class UnseenHands:
    """People of whom not both hands were seen, over a stretch of time, one row for each person and instant.

    Attributes:
        timestamp_ns: Store clock, shape (r,), rising.
        identity_id: Who, shape (r,).
        body_m: Where they stood on the floor, shape (r, 2), metres, finite.
        share: Share of their hands that no camera surely saw, shape (r,), above 0 to 1.
    """

    timestamp_ns: IntArray
    identity_id: IntArray
    body_m: FloatArray
    share: FloatArray

    def __post_init__(self) -> None:
        rows = len(self.timestamp_ns)
        check_shape("UnseenHands.identity_id", self.identity_id, (rows,))
        check_shape("UnseenHands.body_m", self.body_m, (rows, 2))
        check_shape("UnseenHands.share", self.share, (rows,))


@dataclass(frozen=True, slots=True)
class HandLines:
    """Hands that a single camera saw, so that only a line of sight is known, one row for each hand and instant.

    Attributes:
        timestamp_ns: Store clock, shape (r,), rising.
        identity_id: Whose hand, shape (r,).
        origin_m: Where the camera is, shape (r, 3), metres.
        direction: Unit vector from it through the hand, shape (r, 3).
        score: Visibility of the wrist, shape (r,), above 0 to 1.
        body_m: Where its owner stood on the floor, shape (r, 2), metres, finite.
    """

    timestamp_ns: IntArray
    identity_id: IntArray
    origin_m: FloatArray
    direction: FloatArray
    score: FloatArray
    body_m: FloatArray

    def __post_init__(self) -> None:
        rows = len(self.timestamp_ns)
        check_shape("HandLines.identity_id", self.identity_id, (rows,))
        check_shape("HandLines.origin_m", self.origin_m, (rows, 3))
        check_shape("HandLines.direction", self.direction, (rows, 3))
        check_shape("HandLines.score", self.score, (rows,))
        check_shape("HandLines.body_m", self.body_m, (rows, 2))

    def __getitem__(self, rows: NDArray[Any] | slice) -> Self:
        """Keep some rows, by index, mask or slice."""
        return type(self)(
            self.timestamp_ns[rows],
            self.identity_id[rows],
            self.origin_m[rows],
            self.direction[rows],
            self.score[rows],
            self.body_m[rows],
        )

    def nearest_m(self, place_m: FloatArray) -> FloatArray:
        """Points of the lines nearest to a place, shape (3,), metres: shape (r, 3); nan behind the camera."""
        along = np.einsum("ri,ri->r", np.asarray(place_m) - self.origin_m, self.direction)
        return np.asarray(self.origin_m + np.where(along > 0, along, np.nan)[:, None] * self.direction)


@dataclass(frozen=True, slots=True)
class HandPoints:
    """Hands seen in the world over a stretch of time, one row for each hand and instant.

    Attributes:
        timestamp_ns: Store clock, shape (r,), rising.
        identity_id: Whose hand, shape (r,).
        hand_m: Where it was, shape (r, 3), metres, finite.
        by_cameras: Whether the store's cameras placed it, shape (r,); an outside tracker of bodies is not fooled by
            hands that bodies hide.
        lines: Hands that one camera alone saw meanwhile; None where that is not known.
        unseen: Whose hands were not seen meanwhile; None where that is not known.
        pictures: What hands held meanwhile; None where no camera looked, or there is no gallery to compare with.
        worth: Weight of people who are less likely than others to be there at all, against 1.
    """

    timestamp_ns: IntArray
    identity_id: IntArray
    hand_m: FloatArray
    by_cameras: BoolArray
    lines: HandLines | None = None
    unseen: UnseenHands | None = None
    pictures: HeldPictures | None = None
    worth: Mapping[int, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        rows = len(self.timestamp_ns)
        check_shape("HandPoints.identity_id", self.identity_id, (rows,))
        check_shape("HandPoints.hand_m", self.hand_m, (rows, 3))
        check_shape("HandPoints.by_cameras", self.by_cameras, (rows,))


@dataclass(frozen=True, slots=True)
class Candidate:
    """One explanation of an interaction.

    Attributes:
        identity_id: Who.
        sku: What; None when the product is not known.
        quantity: How many units, at least 1.
        probability: Calibrated, 0 to 1. Over an interaction's candidates the sum is at most 1; the rest is "nobody, or
            not known".
    """

    identity_id: int
    sku: str | None
    quantity: int
    probability: float

    def __post_init__(self) -> None:
        if not 0 <= self.probability <= 1:
            raise ValueError(f"Candidate.probability: expected 0 to 1, got {self.probability}")
        if self.quantity < 1:
            raise ValueError(f"Candidate.quantity: expected at least 1, got {self.quantity}")


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a person should look at to judge an interaction.

    Attributes:
        weight: The weight change behind it, if a scale spoke.
        shelf: The change of the shelf's picture behind it, if a camera saw the bin.
        contacts: The hands that were there.
    """

    weight: WeightChange | None = None
    shelf: ShelfChange | None = None
    contacts: tuple[HandContact, ...] = ()


@dataclass(frozen=True, slots=True)
class Interaction:
    """An item left a shelf or came back to one.

    Attributes:
        interaction_id: uuid5 of store, bin and start, so that a replay gives the same ids.
        kind: Pick or put-back.
        bin_id: The bin where it most probably happened.
        plate_ids: Plates that changed, empty without scales.
        sku: The most probable product; None when not known.
        quantity: Units of it.
        start_ns: First contact.
        time_ns: Best guess of the moment the item left or reached its place.
        end_ns: Last contact.
        candidates: Who took what, most probable first; empty when nobody is in view.
        evidence: What the judgement rests on.
        again: The put-back whose very thing this pick most probably takes away again, and how probable that is; None
            where nothing like it lies there.
    """

    interaction_id: UUID
    kind: Handling
    bin_id: str
    plate_ids: tuple[str, ...]
    sku: str | None
    quantity: int
    start_ns: int
    time_ns: int
    end_ns: int
    candidates: tuple[Candidate, ...]
    evidence: Evidence = field(default_factory=Evidence)
    again: tuple[UUID, float] | None = None

    def __post_init__(self) -> None:
        total = sum(candidate.probability for candidate in self.candidates)
        if total > 1 + 1e-6:
            raise ValueError(f"Interaction.candidates: probabilities sum to {total:.3f}, more than 1")
        if not self.start_ns <= self.time_ns <= self.end_ns:
            raise ValueError("Interaction: expected start_ns <= time_ns <= end_ns")
