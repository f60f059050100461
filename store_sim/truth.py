"""What really happened in a simulated store: the answer that no sensor sees and every receipt is held against."""

from dataclasses import dataclass

from vision.shelf import Handling


@dataclass(frozen=True, slots=True)
class TrueInteraction:
    """Units left a shelf or came to stand on one.

    Attributes:
        shopper: Who did it, by the scenario's id.
        kind: Pick or put-back; restocking is a put-back by staff.
        time_ns: When the item left or reached its place, store clock.
        gondola_id: Gondola.
        shelf_id: Shelf on the gondola.
        plate_ids: Plates that lost or gained weight, as ``gondola/shelf/plate``; empty without scales.
        sku: What; None for something that is not the store's.
        quantity: Units in one grip.
    """

    shopper: str
    kind: Handling
    time_ns: int
    gondola_id: int
    shelf_id: int
    plate_ids: tuple[str, ...]
    sku: str | None
    quantity: int


@dataclass(frozen=True, slots=True)
class TrueVisit:
    """One person's stay.

    Attributes:
        shopper: Who, by the scenario's id.
        payer: Whose account pays for what they take; None when nobody checked them in.
        entered_ns: When they crossed the entrance line inwards, store clock.
        left_ns: When they crossed the exit line outwards; None while they are inside.
    """

    shopper: str
    payer: str | None
    entered_ns: int
    left_ns: int | None


@dataclass(frozen=True, slots=True)
class TrueLine:
    """Units of one product that a payer owes for."""

    sku: str
    quantity: int


@dataclass(frozen=True, slots=True)
class TrueReceipt:
    """What a payer should be charged over the whole scenario, lines sorted by sku, none with quantity 0."""

    payer: str
    lines: tuple[TrueLine, ...]


@dataclass(frozen=True, slots=True)
class Truth:
    """Everything that happened up to now, in time order; receipts are in the order payers are listed.

    Attributes:
        interactions: What left and reached shelves.
        visits: Who was there, in the order they came.
        receipts: What each payer should be charged, also empty ones.
        unpaid: Units taken by people nobody pays for, as (shopper, sku, quantity).
    """

    interactions: tuple[TrueInteraction, ...]
    visits: tuple[TrueVisit, ...]
    receipts: tuple[TrueReceipt, ...]
    unpaid: tuple[tuple[str, str, int], ...] = ()
