"""A small scripted shop with scales and an oracle for bodies: what `tillfree demo` plays, with the truth beside it."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from vision.frames import SourceNotice, Tick
from vision.layout import StoreLayout
from vision.shelf import Handling


@dataclass(frozen=True, slots=True)
class TrueInteraction:
    """What really happened at a shelf.

    Attributes:
        shopper: Who, as the bodies' ``target_id`` names them.
        kind: Pick or put-back.
        time_ns: When the item left or reached its place, store clock.
        bin_id: Where.
        sku: What.
        quantity: Units in one grip.
    """

    shopper: str
    kind: Handling
    time_ns: int
    bin_id: str
    sku: str
    quantity: int


@dataclass(frozen=True, slots=True)
class TrueLine:
    """Units of one product that a shopper carried out."""

    sku: str
    quantity: int


@dataclass(frozen=True, slots=True)
class TrueReceipt:
    """What a shopper should be charged.

    Attributes:
        shopper: Who.
        lines: What they carried out, by sku.
        total_minor: Its price in the currency's minor unit; None where a price is unknown.
        needs_review: Whether an honest till must ask a person, because a price is unknown.
    """

    shopper: str
    lines: tuple[TrueLine, ...]
    total_minor: int | None
    needs_review: bool


@dataclass(frozen=True, slots=True)
class ShopTruth:
    """What happened, in time order, and the receipts that are right, in the order people left."""

    interactions: tuple[TrueInteraction, ...]
    receipts: tuple[TrueReceipt, ...]


class ShopSource:
    """The simulated sensors as a source of ticks (``vision.frames.Source``): scales and bodies, no cameras."""

    def __init__(self, ticks: tuple[Tick, ...]) -> None:
        """Play the given ticks, oldest first."""
        self._remaining = iter(ticks)
        self._ticks = ticks

    @property
    def start_ns(self) -> int:
        """Earliest timestamp of any stream, store clock."""
        raise NotImplementedError

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        raise NotImplementedError

    @property
    def camera_ids(self) -> tuple[str, ...]:
        """No cameras."""
        return ()

    @property
    def resolutions_wh(self) -> dict[str, tuple[int, int]]:
        """No cameras, so no sizes."""
        return {}

    @property
    def notices(self) -> tuple[SourceNotice, ...]:
        """Nothing is ever left out."""
        return ()

    def __iter__(self) -> Iterator[Tick]:
        """Read from where it stands to the end."""
        return self._remaining


def demo_shop(rng: np.random.Generator) -> tuple[StoreLayout, ShopSource, ShopTruth]:
    """Build the shop and play its visits.

    Args:
        rng: Noise of scales and joints, where people stand and how they move. Equal generators give equal shops.

    Returns:
        The layout, the source, and what really happened.
    """
    raise NotImplementedError
