"""What may be seen of a floor while it works, as plain values: what the API tells of, whoever looks on at the floor."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol
from uuid import UUID

from cart.api.shop import CameraHealth

PointM = tuple[float, float]
PointPx = tuple[float, float]


@dataclass(frozen=True, slots=True)
class PlanBin:
    """A bin of the plan.

    Attributes:
        bin_id: The bin.
        sku: What stands there; None if unplanned.
        name: What that is called; None if not known.
        gondola_id: Its gondola; None for a bin that is drawn in a picture.
        shelf_id: Its shelf; None likewise.
        outline_m: Its corners from above, in order; empty for a bin that is drawn in a picture.
        height_m: Its lower and upper end; None likewise.
        plate_ids: The plates under it.
    """

    bin_id: str
    sku: str | None
    name: str | None
    gondola_id: int | None
    shelf_id: int | None
    outline_m: tuple[PointM, ...]
    height_m: tuple[float, float] | None
    plate_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PlanWall:
    """Glass, a mirror, an inner wall or a door from above; ``outline_m`` are its two ends."""

    kind: str
    outline_m: tuple[PointM, ...]


@dataclass(frozen=True, slots=True)
class PlanCamera:
    """Where a camera hangs, and the way it looks, a vector of length 1 or less from above."""

    camera_id: str
    position_m: tuple[float, float, float]
    looks_m: PointM


@dataclass(frozen=True, slots=True)
class Plan:
    """The store from above.

    Attributes:
        name: The store.
        walkable_m: The floor that people may stand on; None if not known.
        entrance_m: The line that people come in over; None if not known.
        exit_m: The line that people leave over; None if not known.
        walls: Panes and walls.
        bins: Every bin.
        cameras: Calibrated cameras.
        version: Changes when the layout does.
    """

    name: str
    walkable_m: tuple[PointM, ...] | None
    entrance_m: tuple[PointM, ...] | None
    exit_m: tuple[PointM, ...] | None
    walls: tuple[PlanWall, ...]
    bins: tuple[PlanBin, ...]
    cameras: tuple[PlanCamera, ...]
    version: str


@dataclass(frozen=True, slots=True)
class PersonSeen:
    """Somebody on the floor.

    Attributes:
        identity_id: A number that means nothing outside this visit.
        session_id: Their visit; None for somebody who is in none.
        name: What people who work on the floor may call them.
        position_m: Where they stand; None if that is not known.
        hands_m: The hands that are seen.
    """

    identity_id: int
    session_id: UUID | None
    name: str
    position_m: PointM | None
    hands_m: tuple[tuple[float, float, float], ...]


@dataclass(frozen=True, slots=True)
class FloorState:
    """Everybody on the floor at one instant.

    Attributes:
        at: When, timezone-aware.
        latency_s: How long after that it was known.
        people: Who.
    """

    at: datetime
    latency_s: float
    people: tuple[PersonSeen, ...]


@dataclass(frozen=True, slots=True)
class Happened:
    """Something was taken or put back.

    Attributes:
        number: Rises from one to the next.
        interaction_id: What happened.
        at: When, timezone-aware.
        kind: Taken or put back.
        bin_id: Where.
        sku: What; None if not known.
        name: What, for people.
        quantity: How many.
        probability: How sure the store is, 0 to 1.
        session_id: In whose cart it is; None if it is in nobody's.
    """

    number: int
    interaction_id: UUID
    at: datetime
    kind: Literal["pick", "put_back"]
    bin_id: str
    sku: str | None
    name: str
    quantity: int
    probability: float
    session_id: UUID | None


@dataclass(frozen=True, slots=True)
class ExpectedChange:
    """What will probably go into a cart, or come out of it, once the floor is sure. Nobody is charged by it.

    Attributes:
        sku: What.
        quantity: How many units; below 0 for what comes back.
        probability: How sure the store is by now, 0 to 1.
        at: When it was taken or put back, timezone-aware.
    """

    sku: str
    quantity: int
    probability: float
    at: datetime


@dataclass(frozen=True, slots=True)
class PersonMarked:
    """Somebody in a picture, pixels.

    Attributes:
        identity_id: The same as on the floor.
        session_id: Their visit; None for somebody who is in none.
        name: What people who work on the floor may call them.
        box_px: Left, top, right, bottom; None if that is not known.
        feet_px: Where they stand; None if that is not known.
        hands_px: The hands that are seen.
        is_hidden: Whether shelves stand between them and the camera, so that the picture does not show them.
    """

    identity_id: int
    session_id: UUID | None
    name: str
    box_px: tuple[float, float, float, float] | None
    feet_px: PointPx | None
    hands_px: tuple[PointPx, ...]
    is_hidden: bool = False


@dataclass(frozen=True, slots=True)
class BinMarked:
    """A bin in a picture, because a hand is in it, or something was just taken or put back."""

    bin_id: str
    outline_px: tuple[PointPx, ...]
    kind: Literal["touched", "pick", "put_back"]


@dataclass(frozen=True, slots=True)
class MarkedPicture:
    """A picture and what the store knew of that very instant.

    Attributes:
        camera_id: The camera.
        captured_at: When it was taken, timezone-aware.
        marked_at: When people and bins were where they are marked; None if nothing is known of any instant.
        jpeg: The picture.
        resolution_wh: Its size, pixels.
        people: Who is in it.
        bins: What is handled in it.
    """

    camera_id: str
    captured_at: datetime
    marked_at: datetime | None
    jpeg: bytes
    resolution_wh: tuple[int, int]
    people: tuple[PersonMarked, ...]
    bins: tuple[BinMarked, ...]


class LiveFloor(Protocol):
    """A floor that may be looked at while it works. Safe to ask from any thread."""

    @property
    def is_closed(self) -> bool:
        """Whether the store is closing, so that whoever listens is to go."""
        ...

    @property
    def camera_ids(self) -> tuple[str, ...]:
        """Cameras that pictures may be asked of."""
        ...

    def plan(self) -> Plan:
        """The store from above."""
        ...

    def state(self) -> FloorState | None:
        """The floor as of now; None before the first sensor has spoken."""
        ...

    def happened_since(self, number: int) -> Sequence[Happened]:
        """What has happened after that number, in order, as far as it is remembered."""
        ...

    def expected(self, session_id: UUID) -> tuple[ExpectedChange, ...]:
        """What will probably change in a visit's cart soon, in the order of its time."""
        ...

    def has_ended(self, session_id: UUID) -> bool:
        """Whether a visit is known to have ended a short while ago."""
        ...

    def cameras(self) -> tuple[CameraHealth, ...]:
        """How the cameras are doing."""
        ...

    def picture(self, camera_id: str, known: datetime | None = None) -> MarkedPicture | None:
        """The newest picture of a camera; None if there is none. May take some tens of milliseconds.

        Args:
            camera_id: The camera.
            known: When the one was taken that whoever asks has already: None if it is the newest.
        """
        ...
