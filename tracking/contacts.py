"""Hands in bins: when a hand came to a bin, how long it stayed, and in which of the neighbouring bins it was."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.special import ndtr

from tracking.shelves import BinBoxes
from tracking.types import HandContact, Identities
from vision.arrays import FloatArray
from vision.arrival import PictureMemory
from vision.layout import Bin, StoreLayout, polygon_margins

NANOSECONDS = 1_000_000_000
LOOKED_BACK_S = 60.0  # far beyond any memory of pictures
HAND_LENGTH_SHARE = 0.108  # of body height (Drillis & Contini, Body Segment Parameters, 1966)


@dataclass(frozen=True, slots=True)
class ContactSettings:
    """When a hand is in a bin.

    Attributes:
        near_m: A hand this near to a bin's box touches it: one standard deviation and a half of a hand's position,
            and fingers reach farther than the grip.
        away_m: It has gone when farther than this; more than ``near_m`` so that noise does not cut a contact in two.
        gap_s: A hand that was out of sight or away for less was there all the time.
        shortest_s: A contact shorter than this is a hand passing by.
        same_hand_m: A hand point this near to the last one is the same hand's.
        one_grip_m: Two hands of a person nearer to each other than this hold one thing and are one contact: what is
            taken with both hands is rarely wider.
        sideways_sigma_m: Standard deviation of a hand's position along the shelf.
        height_sigma_m: The same for its height, with what shelves hang lower or higher than the plan says.
        product_height_m: Most products are lower; one is gripped at about half its height above its shelf.
    """

    near_m: float = 0.15
    away_m: float = 0.25
    gap_s: float = 0.6
    shortest_s: float = 0.2
    same_hand_m: float = 0.4
    one_grip_m: float = 0.25
    sideways_sigma_m: float = 0.07
    height_sigma_m: float = 0.1
    product_height_m: float = 0.16

    def __post_init__(self) -> None:
        if not 0 < self.near_m <= self.away_m:
            raise ValueError(f"ContactSettings: expected 0 < near_m <= away_m, got {self.near_m} and {self.away_m}")


@dataclass(slots=True)
class _Open:
    identity_id: int
    bin_id: str | None  # None: a hand among boxes in the world, the bin is judged at the end
    start_ns: int
    last_ns: int  # when the hand was last in it
    around_ns: int  # when it was last no farther than away_m
    points: list[FloatArray] = field(default_factory=list)
    depths: list[float] = field(default_factory=list)  # the larger, the farther inside


class ContactWatcher:
    """Turns hands into contacts with bins, for boxes in the world and for bins drawn in a picture."""

    def __init__(self, layout: StoreLayout, settings: ContactSettings | None = None) -> None:
        self._settings = settings or ContactSettings()
        self._boxed = [a_bin for a_bin in layout.bins if a_bin.box is not None]
        self._drawn = [a_bin for a_bin in layout.bins if a_bin.polygon_px is not None]
        self._boxes = BinBoxes.of(self._boxed)
        self._open: list[_Open] = []
        self._last_end_ns: dict[tuple[int, str], int] = {}

    @property
    def open_contacts(self) -> tuple[tuple[int, str], ...]:
        """Who has a hand in which bin right now, as (identity_id, bin_id); for drawing."""
        return tuple((c.identity_id, c.bin_id or self._bin_at(c.points[-1])) for c in self._open)

    def update(self, people: Identities, pictures: PictureMemory | None = None) -> list[HandContact]:
        """Take everybody's hands at one instant; give the contacts that have ended.

        Args:
            people: Everybody and their hands.
            pictures: The last pictures of the cameras that bins are drawn in, to date a hand's coming by what is seen
                in its place, where the pose model recognised it late.
        """
        now_ns = people.timestamp_ns
        if self._boxed:
            self._touch_boxes(people)
        for view in people.sightings:
            for a_bin in self._drawn:
                if a_bin.camera_id == view.camera_id and a_bin.polygon_px is not None and len(view.identity_id):
                    margins = polygon_margins(a_bin.polygon_px, view.hands_px.reshape(-1, 2)).reshape(-1, 2)
                    for row, identity_id in enumerate(view.identity_id.tolist()):
                        deepest = np.nanmax(margins[row], initial=-np.inf)
                        if deepest >= 0:
                            hand_px = view.hands_px[row, int(np.nanargmax(margins[row]))]
                            came_ns = now_ns
                            if pictures is not None and not self._is_open(identity_id, a_bin.bin_id):
                                came_ns = _arrival_ns(pictures, view.camera_id, hand_px, view.xyxy[row], now_ns)
                            self._touch_drawn(identity_id, a_bin.bin_id, now_ns, float(deepest), came_ns)
        return self._close(now_ns)

    def ongoing(self) -> list[HandContact]:
        """Give the contacts that have not ended, as they are by now."""
        return [self._contact(contact) for contact in self._open if self._lasted(contact)]

    def finish(self) -> list[HandContact]:
        """Give the contacts that were going on when the recording ended."""
        return self._close(None)

    def _touch_boxes(self, people: Identities) -> None:
        settings = self._settings
        known = np.argwhere(np.isfinite(people.hands_m).all(axis=2))
        hands_m = people.hands_m[known[:, 0], known[:, 1]]
        nearest_m = self._boxes.nearest_m(hands_m, settings.away_m)
        around = nearest_m <= settings.away_m
        for row in dict.fromkeys(known[around, 0].tolist()):
            own = np.flatnonzero(around & (known[:, 0] == row))
            self._touch(int(people.identity_id[row]), hands_m[own], nearest_m[own], people.timestamp_ns)

    def _touch(self, identity_id: int, hands_m: FloatArray, nearest_m: FloatArray, now_ns: int) -> None:
        """Continue or begin the contacts of one person's hands, shape (h, 3), that are around boxes."""
        settings = self._settings
        own = [c for c in self._open if c.identity_id == identity_id and c.bin_id is None]
        places = [(hand_m, hand_m.tolist()) for hand_m in hands_m]
        moved = [
            (math.dist(contact.points[-1].tolist(), place), c, h)
            for c, contact in enumerate(own)
            for h, (_, place) in enumerate(places)
        ]
        held: dict[int, _Open] = {}
        continued: set[int] = set()
        for moved_m, c, h in sorted(moved):
            if moved_m <= settings.same_hand_m and h not in held and c not in continued:
                held[h] = own[c]
                continued.add(c)
        for h, (_, place) in enumerate(places):
            if h in held or nearest_m[h] > settings.near_m:
                continue
            if any(math.dist(places[other][1], place) < settings.one_grip_m for other in held):
                continue
            held[h] = _Open(identity_id, None, now_ns, now_ns, now_ns)
            self._open.append(held[h])
        for h, contact in held.items():
            if nearest_m[h] <= settings.near_m:
                contact.last_ns = now_ns
            contact.around_ns = now_ns
            contact.points.append(hands_m[h])
            contact.depths.append(-float(nearest_m[h]))

    def _is_open(self, identity_id: int, bin_id: str) -> bool:
        return any(c.identity_id == identity_id and c.bin_id == bin_id for c in self._open)

    def _touch_drawn(self, identity_id: int, bin_id: str, now_ns: int, margin_px: float, came_ns: int) -> None:
        contact = next((c for c in self._open if c.identity_id == identity_id and c.bin_id == bin_id), None)
        if contact is None:
            start_ns = max(came_ns, self._last_end_ns.get((identity_id, bin_id), came_ns))
            contact = _Open(identity_id, bin_id, start_ns, now_ns, now_ns)
            self._open.append(contact)
        contact.last_ns = contact.around_ns = now_ns
        contact.depths.append(margin_px)

    def _close(self, now_ns: int | None) -> list[HandContact]:
        ended: list[_Open] = []
        going: list[_Open] = []
        for contact in self._open:
            away_s = float("inf") if now_ns is None else (now_ns - contact.around_ns) / NANOSECONDS
            (ended if away_s > self._settings.gap_s else going).append(contact)
        self._open = going
        oldest_ns = 0 if now_ns is None else now_ns - int(LOOKED_BACK_S * NANOSECONDS)
        if self._last_end_ns:
            self._last_end_ns = {key: end_ns for key, end_ns in self._last_end_ns.items() if end_ns > oldest_ns}
        self._last_end_ns |= {(c.identity_id, c.bin_id): c.last_ns for c in ended if c.bin_id}
        return [self._contact(contact) for contact in ended if self._lasted(contact)]

    def _lasted(self, contact: _Open) -> bool:
        return (contact.last_ns - contact.start_ns) / NANOSECONDS >= self._settings.shortest_s

    def _contact(self, contact: _Open) -> HandContact:
        shares = ((contact.bin_id, 1.0),) if contact.bin_id else self._shares(contact)
        return HandContact(
            identity_id=contact.identity_id,
            bin_id=shares[0][0],
            start_ns=contact.start_ns,
            end_ns=contact.last_ns,
            distance_m=float("nan") if contact.bin_id else -max(contact.depths),
            bin_shares=shares,
        )

    def _bin_at(self, hand_m: FloatArray) -> str:
        return self._boxed[int(_chances(self._boxes, hand_m, self._settings).argmax())].bin_id

    def _shares(self, contact: _Open) -> tuple[tuple[str, float], ...]:
        """Judge in which bin the hand was, from its deepest half."""
        depths = np.array(contact.depths)
        deep = np.stack(contact.points)[depths >= np.median(depths)]
        return _ranked(self._boxed, _chances(self._boxes, np.median(deep, axis=0), self._settings))


def _arrival_ns(pictures: PictureMemory, camera_id: str, hand_px: FloatArray, xyxy: FloatArray, now_ns: int) -> int:
    """When a hand came to its place: the hand, or the wrist a hand's length back towards the body, whichever shows."""
    hand_length_px = HAND_LENGTH_SHARE * float(xyxy[3] - xyxy[1])
    towards_body = (xyxy[:2] + xyxy[2:]) / 2 - hand_px
    wrist_px = hand_px + towards_body / max(1.0, float(np.linalg.norm(towards_body))) * hand_length_px
    arrivals = [pictures.arrival_ns(camera_id, point, hand_length_px / 2) for point in (hand_px, wrist_px)]
    return min((arrival for arrival in arrivals if arrival is not None), default=now_ns)


def bin_shares(
    bins: Sequence[Bin], hand_m: FloatArray, settings: ContactSettings | None = None
) -> tuple[tuple[str, float], ...]:
    """Say in which bins a hand at a point may have been.

    Along the shelf a bin gets the probability that the hand's true position lies between its ends. Upwards the grip is
    expected at about half the height of a product that stands on the shelf, rather than anywhere up to the next one.

    Args:
        bins: Bins with a box in the world whose own axes run along the shelf, into it and up.
        hand_m: Where the hand was, shape (3,), metres.
        settings: Errors and sizes.

    Returns:
        Pairs of bin and probability, most probable first, those above one percent; they sum to 1.
    """
    boxed = [a_bin for a_bin in bins if a_bin.box is not None]
    return _ranked(boxed, _chances(BinBoxes.of(boxed), hand_m, settings or ContactSettings()))


def _chances(boxes: BinBoxes, hand_m: FloatArray, settings: ContactSettings) -> FloatArray:
    """Probability that a hand at a point, shape (3,), was in each box, shape (b,); those below a percent are 0."""
    local, sizes = boxes.local(hand_m[None])[:, 0], boxes.sizes_m
    across = settings.sideways_sigma_m
    along = ndtr((sizes[:, 0] - local[:, 0]) / across) - ndtr(-local[:, 0] / across)
    into = local[:, 1] - np.clip(local[:, 1], 0, sizes[:, 1])
    grip_m = np.minimum(sizes[:, 2], settings.product_height_m) / 2
    chances = (
        along
        * np.exp(-0.5 * (into / settings.near_m) ** 2)
        * np.exp(-0.5 * ((local[:, 2] - grip_m) / settings.height_sigma_m) ** 2)
    )
    if chances.sum() < 1e-12:
        outside = boxes.distances_m(hand_m[None])[0]
        chances = np.exp(-0.5 * ((outside - outside.min()) / settings.near_m) ** 2)
    chances = chances / chances.sum()
    chances = np.where(chances >= min(0.01, chances.max()), chances, 0)
    return np.asarray(chances / chances.sum())


def _ranked(bins: Sequence[Bin], chances: FloatArray) -> tuple[tuple[str, float], ...]:
    order = np.argsort(-chances, kind="stable")
    return tuple((bins[i].bin_id, float(chances[i])) for i in order.tolist() if chances[i] > 0)
