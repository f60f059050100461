"""Scenarios: visits written down as what shoppers do (``tillfree-scenario/1``), read, checked and written.

A file is read by :func:`read_scenario`, which refuses what is not in the format, and played once on paper by
:func:`check_scenario`, which refuses what cannot happen in a given store. :func:`due_receipts` applies the rule of who
pays, :func:`day_layout` gives the store as it was planned that day.

Which of several like units goes first, when somebody holds some that different people took off the shelves, is not in
the format. Here the unit that came into their hands last goes first, and what is in the hands before what is hidden
in a pocket.
"""

import json
import math
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

import numpy as np

from store_sim.autocheckout import is_site, read_site
from store_sim.navigation import with_doors
from vision.arrays import FloatArray
from vision.layout import Bin, Box, Plate, ProductRecord, StoreLayout, read_layout

FORMAT = "tillfree-scenario/1"
USUAL_COUNT = 8
"""Units that every product starts with unless a count says otherwise."""
MOST_UNITS = 1000
"""In one event or on one override: more do not stand on a shelf, and a slip of the pen should not fill the memory."""
MOST_S = 86_400.0
"""A scenario is of a day at most."""
MOST_G = 1e6
"""Nothing on a shelf weighs more than a tonne."""
MOST_AMOUNT = 1e6
"""Of a fault: a tonne, or eleven days; what swings or lags by more is a slip of the pen."""
HIGHEST_NUMBER = 10**9
"""Of a gondola, a shelf or a plate, and of units on a receipt."""
HEIGHTS_M = (0.6, 2.4)
"""Of people: from a toddler to the tallest there are."""
_HALF_LETTER = re.compile("[\ud800-\udfff]")  # JSON can spell half of a surrogate pair, which UTF-8 cannot
_UNPRINTABLE = re.compile(f"[\x00-\x1f\x7f-\x9f\u2028\u2029]|{_HALF_LETTER.pattern}")  # breaks a line into two

T = TypeVar("T")
EnumT = TypeVar("EnumT", bound=StrEnum)


class Action(StrEnum):
    """What a shopper does in one event."""

    PICK = "pick"
    PUT_BACK = "put_back"
    TOUCH = "touch"
    HOLD = "hold"
    HAND_OVER = "hand_over"
    DROP = "drop"
    CONSUME = "consume"
    CONCEAL = "conceal"
    PLACE_FOREIGN = "place_foreign"
    TAKE_FOREIGN = "take_foreign"
    RESTOCK = "restock"
    SWAP_PLACE = "swap_place"
    REACH_ACROSS = "reach_across"


class Role(StrEnum):
    """Who somebody is to the store."""

    SHOPPER = "shopper"
    STAFF = "staff"
    CHILD = "child"


class Carried(StrEnum):
    """What somebody brings along."""

    BAG = "bag"
    TROLLEY = "trolley"


class FaultKind(StrEnum):
    """What fails or disturbs; a fault without an amount has the one that its players think usual.

    camera_dead: no pictures. camera_fogged: amount is the share of the contrast that is lost, 0 to 1. camera_moved:
    amount is the angle that it was turned by, degrees, for good. clock_skew: amount is by how many seconds its stamps
    run ahead. plate_stuck: the reading stays what it was. bump: amount is the first swing of each plate, grams. drift:
    amount is what the reading gains over the fault's seconds, grams. messages_late: amount is the delay, seconds.
    messages_doubled: amount is the share of messages that come twice, 0 to 1. power_cut: no sensor gives anything.
    """

    CAMERA_DEAD = "camera_dead"
    CAMERA_FOGGED = "camera_fogged"
    CAMERA_MOVED = "camera_moved"
    CLOCK_SKEW = "clock_skew"
    PLATE_STUCK = "plate_stuck"
    BUMP = "bump"
    DRIFT = "drift"
    MESSAGES_LATE = "messages_late"
    MESSAGES_DOUBLED = "messages_doubled"
    POWER_CUT = "power_cut"


@dataclass(frozen=True, slots=True)
class Place:
    """Where on the shelves, as the site numbers it. ``plates`` is empty on a fixture without scales."""

    gondola: int
    shelf: int
    plates: tuple[int, ...]

    @property
    def plate_ids(self) -> tuple[str, ...]:
        """The plates as ``gondola/shelf/plate``."""
        return tuple(f"{self.gondola}/{self.shelf}/{plate}" for plate in self.plates)


@dataclass(frozen=True, slots=True)
class ScenarioShopper:
    """Somebody who comes; seconds are on the scenario's clock.

    Attributes:
        shopper_id: Unique in the scenario.
        enters_at_s: When they come in.
        group: Who has the same text shares one payer: the first listed who has a code.
        leaves_at_s: Not before then they go; None: after their last event.
        checks_in: False for somebody who walks in without a code.
        role: Shopper, staff or child.
        returns_at_s: When they come back for a new visit after having left; None: they do not.
        outfit: Who has the same text looks alike (body and clothes); None: like nobody else. This and what follows are
            additions to the format that other players may ignore.
        height_m: Body height; None: as the player likes.
        carries: A bag or a trolley, or None.
        jacket_off_at_s: When they take off their jacket and look different from then on; None: never.
    """

    shopper_id: str
    enters_at_s: float
    group: str | None = None
    leaves_at_s: float | None = None
    checks_in: bool = True
    role: Role = Role.SHOPPER
    returns_at_s: float | None = None
    outfit: str | None = None
    height_m: float | None = None
    carries: Carried | None = None
    jacket_off_at_s: float | None = None


@dataclass(frozen=True, slots=True)
class ScenarioProduct:
    """A product the scenario names.

    Attributes:
        barcode: Its barcode, text.
        name: For people.
        mass_g: What one unit weighs that day, grams. The catalogue is the store's layout: where it lists the product
            with another mass, the pack's mass is wrong in the catalogue. None: not known to the catalogue, whatever the
            layout says.
    """

    barcode: str
    name: str
    mass_g: float | None


@dataclass(frozen=True, slots=True)
class StockOverride:
    """What stood on plates that day instead of the planned product."""

    barcode: str
    place: Place
    count: int | None = None


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that fails.

    Attributes:
        t_s: When it begins, seconds on the scenario's clock.
        kind: What.
        target: What it hits, in one spelling whatever the file's: a camera's id, ``gondola`` or ``gondola/shelf`` or
            ``gondola/shelf/plate`` in numbers, ``cameras``, ``scales`` or ``joints``, or several of them with commas
            between; None for everything. :func:`reach_of` says what that is in a given store.
        seconds: How long; None: to the end (a bump is over by itself).
        amount: How much, see ``FaultKind``.
    """

    t_s: float
    kind: FaultKind
    target: str | None = None
    seconds: float | None = None
    amount: float | None = None


@dataclass(frozen=True, slots=True)
class ScenarioEvent:
    """One thing a shopper does; which fields are set depends on the action.

    Attributes:
        t_s: The moment the item leaves or reaches its place, or the deed begins, seconds on the scenario's clock.
        shopper: Who.
        action: What.
        barcode: Of what.
        quantity: Units in one grip.
        place: Where on the shelves.
        seconds: How long (touch, hold).
        other: The other shopper (hand_over, swap_place, reach_across).
        mass_g: Mass of a foreign object, grams.
    """

    t_s: float
    shopper: str
    action: Action
    barcode: str | None = None
    quantity: int = 1
    place: Place | None = None
    seconds: float | None = None
    other: str | None = None
    mass_g: float | None = None


@dataclass(frozen=True, slots=True)
class Scenario:
    """One visit, or several at once.

    Attributes:
        name: Of the case.
        class_name: The class it is reported under; empty if none.
        site: The store it plays in: ``nanostore``, or a path to a layout, as written in the file.
        shoppers: Who comes, in the order listed.
        products: What the scenario says of products.
        stock_overrides: What stood elsewhere that day.
        faults: What fails, in time order.
        events: What happens, in time order.
        receipts: What each payer should be charged, as payer -> barcode -> quantity; None if the file has none.
        source: Where it comes from.
        notes: Free text.
        path: The file, None for a scenario made in memory.
    """

    name: str
    shoppers: tuple[ScenarioShopper, ...]
    events: tuple[ScenarioEvent, ...]
    class_name: str = ""
    site: str = ""
    products: tuple[ScenarioProduct, ...] = ()
    stock_overrides: tuple[StockOverride, ...] = ()
    faults: tuple[Fault, ...] = ()
    receipts: dict[str, dict[str, int]] | None = None
    source: str = ""
    notes: tuple[str, ...] = field(default=())
    path: Path | None = None

    def __post_init__(self) -> None:
        seen: set[str] = set()
        for number, shopper in enumerate(self.shoppers, start=1):
            if shopper.shopper_id in seen:
                raise ValueError(f"{self.origin}: shopper {number}: {shopper.shopper_id} is listed twice")
            seen.add(shopper.shopper_id)
        before_s = 0.0
        for number, event in enumerate(self.events, start=1):
            if event.t_s < before_s:
                raise ValueError(
                    f"{self.origin}: event {number}: time runs backwards: {event.t_s:g} s after {before_s:g} s"
                )
            before_s = event.t_s
            for shopper_id in (event.shopper, event.other):
                if shopper_id is not None and shopper_id not in seen:
                    raise ValueError(f"{self.origin}: event {number}: there is no shopper {shopper_id}")

    @property
    def origin(self) -> str:
        """What to call the scenario in messages: its file, else its name."""
        return str(self.path) if self.path is not None else self.name

    def shopper(self, shopper_id: str) -> ScenarioShopper:
        """Return a shopper by id.

        Raises:
            ValueError: The scenario has no such shopper.
        """
        for shopper in self.shoppers:
            if shopper.shopper_id == shopper_id:
                return shopper
        raise ValueError(f"{self.origin}: there is no shopper {shopper_id}")


def read_scenario(path: Path) -> Scenario:
    """Read a scenario file.

    Keys that the format does not have are ignored, so that files with additions play; anything else that is not as the
    format says is refused. What a fault hits may be given as ``target``, ``camera``, ``plate``, ``gondola``, ``shelf``
    or ``bin``. Whether the store has the plates, and whether what happens can happen, is for :func:`check_scenario`.

    Raises:
        OSError: The file cannot be read.
        ValueError: It is not a scenario: the message names the file, the number of the event, shopper, fault or
            override (from 1), and what is wrong.
    """
    try:
        entry = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:  # not text, not JSON, or a number of thousands of digits
        raise ValueError(f"{path}: not a JSON file: {' '.join(str(error).split())}") from error
    try:
        if not isinstance(entry, dict) or entry.get("format") != FORMAT:
            got = entry.get("format") if isinstance(entry, dict) else entry
            raise ValueError(f'expected format "{FORMAT}", got {got!r:.60}')
        shoppers = _each("shopper", _listed(entry, "shoppers", required=True), _read_shopper)
        if not shoppers:
            raise ValueError("shoppers: expected at least one")
        events: list[ScenarioEvent] = []
        for number, row in enumerate(_listed(entry, "events", required=True), start=1):
            with _at(f"event {number}"):
                events.append(_read_event(row, events))
        faults = _each("fault", _listed(entry, "faults"), _read_fault)
        return Scenario(
            name=_text(entry, "name", default=path.stem),
            shoppers=shoppers,
            events=tuple(events),
            class_name=_text(entry, "class", default=""),
            site=_text(entry, "site", default=""),
            products=_read_products(entry),
            stock_overrides=_each("stock override", _listed(entry, "stock_overrides"), _read_override),
            faults=tuple(sorted(faults, key=lambda fault: fault.t_s)),
            receipts=_read_receipts(entry),
            source=_free_text(entry.get("source"), "source"),
            notes=_read_notes(entry),
            path=path,
        )
    except ValueError as error:
        reason = str(error)
        raise ValueError(reason if reason.startswith(f"{path}: ") else f"{path}: {reason}") from error


def _each(what: str, rows: Sequence[object], read: Callable[[dict[str, object]], T]) -> tuple[T, ...]:
    found = []
    for number, row in enumerate(rows, start=1):
        with _at(f"{what} {number}"):
            found.append(read(_object(row)))
    return tuple(found)


@contextmanager
def _at(place: str) -> Iterator[None]:
    """Say in every ValueError from inside where it was."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{place}: {error}") from error


def _object(value: object) -> dict[str, object]:
    if not isinstance(value, dict):
        raise ValueError(f"expected an object, got {value!r:.60}")
    return value


def _listed(entry: Mapping[str, object], key: str, *, required: bool = False) -> list[object]:
    value = entry.get(key)
    if value is None and not required:
        return []
    if not isinstance(value, list):
        raise ValueError(f"{key}: expected a list, got {value!r:.60}")
    return value


def _text(entry: Mapping[str, object], key: str, *, default: str | None = None) -> str:
    value = entry.get(key)
    if value is None and default is not None:
        return default
    if not isinstance(value, str) or (not value and default is None):
        raise ValueError(f"{key}: expected text, got {value!r:.60}")
    return _one_line(value, key)


def _one_line(value: str, key: str) -> str:
    if _UNPRINTABLE.search(value):
        raise ValueError(f"{key}: expected text on one line, got {value!r:.60}")
    return value


def _free_text(value: object, key: str) -> str:
    if value is not None and not isinstance(value, str):
        raise ValueError(f"{key}: expected text, got {value!r:.60}")
    if _HALF_LETTER.search(value or ""):
        raise ValueError(f"{key}: expected text that can be written as UTF-8, got {value!r:.60}")
    return value or ""


def _optional_text(entry: Mapping[str, object], key: str) -> str | None:
    return None if entry.get(key) in (None, "") else _text(entry, key)


def _number(entry: Mapping[str, object], key: str, *, least: float = 0.0, most: float = math.inf) -> float:
    value = entry.get(key)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    try:
        number = float(value) if is_number and isinstance(value, int | float) else math.nan
    except OverflowError:
        number = math.inf
    if not (math.isfinite(number) and least <= number <= most):
        span = (
            f" from {least:g} to {most:g}" if most < math.inf else "" if least == -math.inf else f" from {least:g} up"
        )
        raise ValueError(f"{key}: expected a number{span}, got {value!r:.60}")
    return number


def _seconds(entry: Mapping[str, object], key: str) -> float:
    return _number(entry, key, most=MOST_S)


def _positive(entry: Mapping[str, object], key: str, *, most: float) -> float:
    number = _number(entry, key, most=most)
    if number == 0:
        raise ValueError(f"{key}: expected a number above 0, got 0")
    return number


def _unless_absent(entry: Mapping[str, object], key: str, read: Callable[[Mapping[str, object], str], T]) -> T | None:
    return None if entry.get(key) is None else read(entry, key)


def _mass(entry: Mapping[str, object], key: str) -> float:
    return _positive(entry, key, most=MOST_G)


def _count(entry: Mapping[str, object], key: str, *, least: int, most: int = HIGHEST_NUMBER) -> int:
    value = entry.get(key)
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise ValueError(f"{key}: expected a whole number from {least} to {most}, got {value!r:.60}")
    return value


def _flag(entry: Mapping[str, object], key: str, *, default: bool) -> bool:
    value = default if entry.get(key) is None else entry[key]
    if not isinstance(value, bool):
        raise ValueError(f"{key}: expected true or false, got {value!r:.60}")
    return value


def _word(entry: Mapping[str, object], key: str, words: type[EnumT]) -> EnumT:
    value = entry.get(key)
    if not isinstance(value, str) or value not in tuple(words):
        raise ValueError(f"unknown {key} {value!r:.60}, expected one of {', '.join(words)}")
    return words(value)


def _amount(entry: Mapping[str, object], key: str) -> float:
    return _number(entry, key, least=-MOST_AMOUNT, most=MOST_AMOUNT)


def _height(entry: Mapping[str, object], key: str) -> float:
    return _number(entry, key, least=HEIGHTS_M[0], most=HEIGHTS_M[1])


def _read_shopper(entry: dict[str, object]) -> ScenarioShopper:
    shopper = ScenarioShopper(
        shopper_id=_text(entry, "id"),
        enters_at_s=_seconds(entry, "enters_at_s"),
        group=_optional_text(entry, "group"),
        leaves_at_s=_unless_absent(entry, "leaves_at_s", _seconds),
        checks_in=_flag(entry, "checks_in", default=True),
        role=Role.SHOPPER if entry.get("role") is None else _word(entry, "role", Role),
        returns_at_s=_unless_absent(entry, "returns_at_s", _seconds),
        outfit=_optional_text(entry, "outfit"),
        height_m=_unless_absent(entry, "height_m", _height),
        carries=None if entry.get("carries") is None else _word(entry, "carries", Carried),
        jacket_off_at_s=_unless_absent(entry, "jacket_off_at_s", _seconds),
    )
    if shopper.leaves_at_s is not None and shopper.leaves_at_s < shopper.enters_at_s:
        raise ValueError(
            f"time runs backwards: leaves at {shopper.leaves_at_s:g} s, enters at {shopper.enters_at_s:g} s"
        )
    after_s = shopper.enters_at_s if shopper.leaves_at_s is None else shopper.leaves_at_s
    if shopper.returns_at_s is not None and shopper.returns_at_s <= after_s:
        raise ValueError(f"time runs backwards: returns at {shopper.returns_at_s:g} s, was there until {after_s:g} s")
    return shopper


def _read_products(entry: Mapping[str, object]) -> tuple[ScenarioProduct, ...]:
    rows = entry.get("products")
    if rows is None:
        return ()
    if not isinstance(rows, dict):
        raise ValueError(f"products: expected an object of barcodes, got {rows!r:.60}")

    products = []
    for barcode, value in rows.items():
        with _at(f"product {_one_line(barcode, 'barcode')}"):
            row = _object(value)
            mass_g = _unless_absent(row, "mass_g", _mass)
            products.append(ScenarioProduct(barcode, _text(row, "name", default=barcode), mass_g))
    return tuple(products)


def _read_place(value: object) -> Place:
    entry = _object(value)
    plates = _listed(entry, "plates")
    if not plates and entry.get("plate") is not None:
        plates = [entry["plate"]]
    numbers = [_count({"plates": plate}, "plates", least=0) for plate in plates]
    if len(set(numbers)) < len(numbers):
        raise ValueError(f"plates: expected each once, got {numbers}")
    return Place(_count(entry, "gondola", least=0), _count(entry, "shelf", least=0), tuple(numbers))


def _read_bin(entry: Mapping[str, object]) -> Place:
    if entry.get("bin") is None:
        raise ValueError("bin: missing")
    with _at("bin"):
        return _read_place(entry["bin"])


def _read_override(entry: dict[str, object]) -> StockOverride:
    count = None if entry.get("count") is None else _count(entry, "count", least=0, most=MOST_UNITS)
    return StockOverride(_text(entry, "barcode"), _read_place(entry), count)


_TAKES_BARCODE = frozenset(
    {Action.PICK, Action.PUT_BACK, Action.HAND_OVER, Action.DROP, Action.CONSUME, Action.CONCEAL, Action.RESTOCK}
)
_TAKES_BIN = frozenset({Action.PICK, Action.PUT_BACK, Action.TOUCH, Action.HOLD, Action.PLACE_FOREIGN, Action.RESTOCK})
_PARTNER_KEY = {Action.HAND_OVER: "to", Action.SWAP_PLACE: "with", Action.REACH_ACROSS: "across"}


def _read_event(value: object, before: Sequence[ScenarioEvent]) -> ScenarioEvent:
    entry = _object(value)
    action = _word(entry, "action", Action)
    shopper = _text(entry, "shopper")
    place = _read_bin(entry) if action in _TAKES_BIN else None
    mass_g = _mass(entry, "mass_g") if action is Action.PLACE_FOREIGN else None
    if action is Action.TAKE_FOREIGN:
        # The format says only that it is taken back: where it stood may be left to the event that put it there.
        placed = [e for e in before if e.shopper == shopper and e.action is Action.PLACE_FOREIGN]
        if entry.get("bin") is None and not placed:
            raise ValueError(f"bin: missing, and {shopper} has placed nothing")
        place = _read_bin(entry) if entry.get("bin") is not None else placed[-1].place
        mass_g = _unless_absent(entry, "mass_g", _mass)
    partner_key = _PARTNER_KEY.get(action)
    return ScenarioEvent(
        t_s=_seconds(entry, "t_s"),
        shopper=shopper,
        action=action,
        barcode=_text(entry, "barcode") if action in _TAKES_BARCODE or action is Action.HOLD else None,
        quantity=_count(entry, "quantity", least=1, most=MOST_UNITS) if action in _TAKES_BARCODE else 1,
        place=place,
        seconds=_positive(entry, "seconds", most=MOST_S) if action in (Action.TOUCH, Action.HOLD) else None,
        other=None if partner_key is None else _text(entry, partner_key),
        mass_g=mass_g,
    )


def _read_fault(entry: dict[str, object]) -> Fault:
    return Fault(
        t_s=_seconds(entry, "t_s"),
        kind=_word(entry, "fault", FaultKind),
        target=_read_target(entry),
        seconds=None if entry.get("seconds") is None else _number(entry, "seconds", most=HIGHEST_NUMBER),
        amount=_unless_absent(entry, "amount", _amount),
    )


def _read_target(entry: Mapping[str, object]) -> str | None:
    for key in ("target", "camera", "plate", "bin", "shelf", "gondola"):
        value = entry.get(key)
        if value is None:
            continue
        if key in ("plate", "shelf", "gondola") and isinstance(value, int) and not isinstance(value, bool):
            break  # a number beside those of what it is part of, read below
        with _at(key):
            values = value if isinstance(value, list) else [value]
            return ",".join(name for item in values for name in _target_names(item)) or None
    numbered = any(entry.get(key) is not None for key in ("gondola", "shelf", "plate", "plates"))
    return ",".join(_target_names(dict(entry))) if numbered else None


def _target_names(value: object) -> list[str]:
    if isinstance(value, str):
        if value.strip().lower() in ("", "all", "*", "everything"):
            return []
        numbered = re.fullmatch(r"\s*gondola[\s:_-]*(\d+)\s*", value, re.IGNORECASE)
        return [numbered[1]] if numbered else [_one_line(name.strip(), "name") for name in value.split(",")]
    if isinstance(value, int) and not isinstance(value, bool):
        return [str(_count({"number": value}, "number", least=0))]
    if not isinstance(value, dict):
        raise ValueError(f"expected a camera, a gondola, a shelf or a plate, got {value!r:.60}")
    for key in ("camera", "target"):
        if value.get(key) is not None:
            return _target_names(value[key])
    gondola = value.get("gondola")
    if isinstance(gondola, dict):
        return _target_names(gondola)
    name = str(_count(value, "gondola", least=0))
    shelf = value.get("shelf")
    if isinstance(shelf, dict):
        return _target_names({"gondola": gondola} | shelf)
    if shelf is None:
        return [name]
    place = _read_place({key: item for key, item in value.items() if key not in ("target", "camera")})
    return list(place.plate_ids) or [f"{name}/{place.shelf}"]


def _read_receipts(entry: Mapping[str, object]) -> dict[str, dict[str, int]] | None:
    rows = entry.get("receipts")
    if rows is None:
        return None
    if not isinstance(rows, dict):
        raise ValueError(f"receipts: expected an object of payers, got {rows!r:.60}")
    receipts = {}
    for payer, value in rows.items():
        with _at(f"receipt of {_one_line(payer, 'payer')}"):
            row = _object(value)
            receipts[payer] = {_one_line(barcode, "barcode"): _count(row, barcode, least=0) for barcode in row}
    return receipts


def _read_notes(entry: Mapping[str, object]) -> tuple[str, ...]:
    if isinstance(entry.get("notes"), str):
        return (_free_text(entry["notes"], "notes"),)
    notes = _listed(entry, "notes")
    return tuple(_free_text(note, "notes") if isinstance(note, str) else json.dumps(note) for note in notes)


def scenario_to_json(scenario: Scenario) -> str:
    """Write a scenario as a ``tillfree-scenario/1`` file, a line an event; :func:`read_scenario` reads it back.

    >>> shopper = ScenarioShopper("A", 1.0)
    >>> print(scenario_to_json(Scenario("empty", (shopper,), (), receipts={"A": {}})).splitlines()[2])
     "name": "empty",
    """
    entry: dict[str, object] = {
        "format": FORMAT,
        "name": scenario.name,
        **({"class": scenario.class_name} if scenario.class_name else {}),
        "site": scenario.site,
        **({"source": scenario.source} if scenario.source else {}),
        "notes": list(scenario.notes),
        "shoppers": [_shopper_entry(shopper) for shopper in scenario.shoppers],
        "products": {p.barcode: {"name": p.name, "mass_g": p.mass_g} for p in scenario.products},
        "stock_overrides": [
            {"barcode": o.barcode, **_place_entry(o.place), **({} if o.count is None else {"count": o.count})}
            for o in scenario.stock_overrides
        ],
        **({"faults": [_fault_entry(fault) for fault in scenario.faults]} if scenario.faults else {}),
        "events": [_event_entry(event) for event in scenario.events],
        **({} if scenario.receipts is None else {"receipts": scenario.receipts}),
    }
    return "{\n" + ",\n".join(f" {_json(key)}: {_lines(value)}" for key, value in entry.items()) + "\n}\n"


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def _lines(value: object) -> str:
    """Write a list or an object with one entry a line."""
    if isinstance(value, dict) and value:
        return "{\n" + ",\n".join(f"  {_json(key)}: {_json(item)}" for key, item in value.items()) + "\n }"
    if isinstance(value, list) and value:
        return "[\n" + ",\n".join(f"  {_json(item)}" for item in value) + "\n ]"
    return _json(value)


def _shopper_entry(shopper: ScenarioShopper) -> dict[str, object]:
    entry: dict[str, object] = {"id": shopper.shopper_id, "enters_at_s": shopper.enters_at_s}
    for key in ("group", "leaves_at_s", "returns_at_s", "outfit", "height_m", "carries", "jacket_off_at_s"):
        if getattr(shopper, key) is not None:
            entry[key] = getattr(shopper, key)
    if not shopper.checks_in:
        entry["checks_in"] = False
    if shopper.role is not Role.SHOPPER:
        entry["role"] = shopper.role
    return entry


def _place_entry(place: Place) -> dict[str, object]:
    entry: dict[str, object] = {"gondola": place.gondola, "shelf": place.shelf}
    return entry | ({"plates": list(place.plates)} if place.plates else {})


def _fault_entry(fault: Fault) -> dict[str, object]:
    entry: dict[str, object] = {"t_s": fault.t_s, "fault": fault.kind}
    for key in ("target", "seconds", "amount"):
        if getattr(fault, key) is not None:
            entry[key] = getattr(fault, key)
    return entry


def _event_entry(event: ScenarioEvent) -> dict[str, object]:
    entry: dict[str, object] = {"t_s": event.t_s, "shopper": event.shopper, "action": event.action}
    if event.barcode is not None:
        entry["barcode"] = event.barcode
    if event.action in _TAKES_BARCODE:
        entry["quantity"] = event.quantity
    if event.place is not None:
        entry["bin"] = _place_entry(event.place)
    if event.seconds is not None:
        entry["seconds"] = event.seconds
    if event.other is not None:
        entry[_PARTNER_KEY[event.action]] = event.other
    if event.mass_g is not None:
        entry["mass_g"] = event.mass_g
    return entry


def payers(scenario: Scenario) -> dict[str, str | None]:
    """Say who pays for each shopper: themselves, another of their group, or nobody (None: no code, or staff)."""
    by_group: dict[str, str] = {}
    for shopper in scenario.shoppers:
        if shopper.group is not None and shopper.checks_in and shopper.role is not Role.STAFF:
            by_group.setdefault(shopper.group, shopper.shopper_id)
    found: dict[str, str | None] = {}
    for shopper in scenario.shoppers:
        if shopper.role is Role.STAFF:
            found[shopper.shopper_id] = None
        elif shopper.group is not None:
            found[shopper.shopper_id] = by_group.get(shopper.group)
        else:
            found[shopper.shopper_id] = shopper.shopper_id if shopper.checks_in else None
    return found


@dataclass(slots=True)
class _Held:
    """A unit away from the shelves."""

    barcode: str
    taker: str
    is_hidden: bool = False


class _Hands:
    """What everybody holds while a scenario is played on paper, newest last."""

    def __init__(self, scenario: Scenario) -> None:
        self._held: dict[str, list[_Held]] = {shopper.shopper_id: [] for shopper in scenario.shoppers}

    def take(self, shopper: str, units: Iterable[_Held]) -> None:
        """Add units to somebody's hands."""
        self._held[shopper].extend(units)

    def release(self, shopper: str, barcode: str, quantity: int) -> list[_Held]:
        """Take units out of somebody's hands, the newest first and what they hide last.

        Raises:
            ValueError: They do not hold so many.
        """
        own = [unit for unit in self._held[shopper] if unit.barcode == barcode]
        if len(own) < quantity:
            raise ValueError(f"{shopper} holds {len(own)} of {barcode}, not {quantity}")
        own.sort(key=lambda unit: not unit.is_hidden)
        released = own[len(own) - quantity :][::-1]
        self._held[shopper] = [unit for unit in self._held[shopper] if all(unit is not gone for gone in released)]
        for unit in released:
            unit.is_hidden = False
        return released

    def conceal(self, shopper: str, barcode: str, quantity: int) -> None:
        """Hide units that somebody shows in their hands.

        Raises:
            ValueError: They do not show so many.
        """
        shown = [unit for unit in self._held[shopper] if unit.barcode == barcode and not unit.is_hidden]
        if len(shown) < quantity:
            raise ValueError(f"{shopper} holds {len(shown)} of {barcode}, not {quantity}")
        for unit in shown[len(shown) - quantity :]:
            unit.is_hidden = True

    def carry_out(self, shopper: str) -> list[_Held]:
        """Let somebody leave with all they have."""
        units, self._held[shopper] = self._held[shopper], []
        return units


def _used_up(scenario: Scenario) -> list[_Held]:
    """Play the events on paper and give every unit that left the store or was used up in it, in that order."""
    hands = _Hands(scenario)
    gone: list[_Held] = []
    returning = sorted((s.returns_at_s, s.shopper_id) for s in scenario.shoppers if s.returns_at_s is not None)
    for number, event in enumerate(scenario.events, start=1):
        while returning and returning[0][0] <= event.t_s:
            gone += hands.carry_out(returning.pop(0)[1])
        with _at(f"{scenario.origin}: event {number}"):
            gone += _move(hands, event)
    for shopper in scenario.shoppers:
        gone += hands.carry_out(shopper.shopper_id)
    return gone


def _move(hands: _Hands, event: ScenarioEvent) -> list[_Held]:
    """Change who holds what as one event does; returns the units it used up."""
    if event.barcode is None:
        return []
    if event.action is Action.PICK:
        hands.take(event.shopper, [_Held(event.barcode, event.shopper) for _ in range(event.quantity)])
    elif event.action is Action.CONCEAL:
        hands.conceal(event.shopper, event.barcode, event.quantity)
    elif event.action in (Action.PUT_BACK, Action.DROP):
        hands.release(event.shopper, event.barcode, event.quantity)
    elif event.action is Action.HAND_OVER and event.other is not None:
        hands.take(event.other, hands.release(event.shopper, event.barcode, event.quantity)[::-1])
    elif event.action is Action.CONSUME:
        return hands.release(event.shopper, event.barcode, event.quantity)
    return []


def due_receipts(scenario: Scenario) -> dict[str, dict[str, int]]:
    """Say what each payer owes, by the format's rule and from the events alone.

    The payer of whoever took a unit off a shelf last pays for it if it leaves the store or is used up in it.

    Returns:
        Payer -> barcode -> quantity, payers as listed, barcodes sorted; who pays and owes nothing has an empty one.

    Raises:
        ValueError: Somebody puts back, passes on, drops, hides or uses what they do not hold.
    """
    paying = payers(scenario)
    due: dict[str, dict[str, int]] = {shopper: {} for shopper, payer in paying.items() if payer == shopper}
    for unit in _used_up(scenario):
        payer = paying[unit.taker]
        if payer is not None:
            due[payer][unit.barcode] = due[payer].get(unit.barcode, 0) + 1
    return {payer: dict(sorted(lines.items())) for payer, lines in due.items()}


def due_unpaid(scenario: Scenario) -> tuple[tuple[str, str, int], ...]:
    """Say what people without a payer took for good, staff aside: (shopper, barcode, quantity), as listed, sorted.

    Raises:
        ValueError: As :func:`due_receipts`.
    """
    paying = payers(scenario)
    shoppers = {shopper.shopper_id: shopper for shopper in scenario.shoppers}
    lost: dict[tuple[str, str], int] = {}
    for unit in _used_up(scenario):
        if paying[unit.taker] is None and shoppers[unit.taker].role is not Role.STAFF:
            lost[unit.taker, unit.barcode] = lost.get((unit.taker, unit.barcode), 0) + 1
    place = {shopper.shopper_id: row for row, shopper in enumerate(scenario.shoppers)}
    return tuple(
        (shopper, barcode, lost[shopper, barcode])
        for shopper, barcode in sorted(lost, key=lambda key: (place[key[0]], key[1]))
    )


def receipt_differences(scenario: Scenario) -> tuple[str, ...]:
    """Say where a scenario's own receipts differ from the rule, one sentence each; empty if it has none or they agree.

    Raises:
        ValueError: As :func:`due_receipts`.
    """
    if scenario.receipts is None:
        return ()
    due = due_receipts(scenario)
    found = []
    for payer in dict.fromkeys([*due, *scenario.receipts]):
        if payer not in due:
            found.append(f"{payer} has a receipt but pays for nobody")
        elif payer not in scenario.receipts:
            found.append(f"{payer} pays but has no receipt")
        own, ruled = scenario.receipts.get(payer, {}), due.get(payer, {})
        for barcode in sorted({*own, *ruled}):
            if own.get(barcode, 0) != ruled.get(barcode, 0):
                found.append(
                    f"{payer}: {barcode}: the file says {own.get(barcode, 0)}, the rule says {ruled.get(barcode, 0)}"
                )
    return tuple(found)


def site_of(scenario: Scenario, site: Path | None = None) -> StoreLayout:
    """Read the store that a scenario plays in.

    A path in the scenario is relative to its file: a layout file, or a folder with a site in the AutoCheckout format. A
    plain name, such as ``nanostore``, says nothing of where the store lies: for that, ``site`` does.

    Args:
        scenario: The scenario.
        site: A site's folder or a layout file for scenarios that only name their store. Those whose own path leads
            nowhere play there too, and the layout's ``notices`` say so.

    Raises:
        OSError: It cannot be read, or the scenario alone does not lead to a store and ``site`` is missing.
        ValueError: It is not a layout.
    """
    beside = (scenario.path.parent if scenario.path is not None else Path()) / scenario.site
    if scenario.site and (beside.is_file() or is_site(beside)):
        return _read_store(beside)
    is_plain = "/" not in scenario.site and not Path(scenario.site).suffix
    if site is not None:
        store = _read_store(site)
        if is_plain:
            return store
        said = f"{beside} is no layout file and no site's folder; what plays there is played in {site}"
        return replace(store, notices=(*store.notices, said))
    if not scenario.site:
        where = "does not say in which store it plays"
    elif is_plain:
        where = f"plays in the store {scenario.site!r}"
    else:
        where = f"plays in {beside}, which is no layout file and no site's folder"
    raise FileNotFoundError(f"{scenario.origin}: {where}; --site must give its layout file or its site's folder")


def _read_store(path: Path) -> StoreLayout:
    return read_layout(path) if path.is_file() else read_site(path)


def bins_at(layout: StoreLayout, place: Place) -> tuple[Bin, ...]:
    """Return the bins of a place: those on any of its plates, or, where it names none, all on its shelf.

    Raises:
        ValueError: The layout has no such gondola, shelf or plate.
    """
    on_gondola = [b for b in layout.bins if b.gondola_id == place.gondola]
    plates = [p for p in layout.plates if p.gondola_id == place.gondola]
    if not on_gondola and not plates:
        raise ValueError(f"there is no gondola {place.gondola}")
    on_shelf = tuple(b for b in on_gondola if b.shelf_id == place.shelf)
    if not on_shelf and all(p.shelf_id != place.shelf for p in plates):
        raise ValueError(f"there is no shelf {place.gondola}/{place.shelf}")
    if not place.plates:
        return on_shelf
    known = {p.plate_id for p in plates}
    for plate_id in place.plate_ids:
        if plate_id not in known:
            raise ValueError(f"there is no plate {plate_id}")
    return tuple(b for b in on_shelf if not set(place.plate_ids).isdisjoint(b.plate_ids))


@dataclass(frozen=True, slots=True)
class BinStock:
    """Units that stand in a bin when the day begins."""

    bin_id: str
    sku: str
    quantity: int


def starting_stock(day: StoreLayout, scenario: Scenario) -> tuple[BinStock, ...]:
    """Say what stands in each bin of :func:`day_layout` with a product when the day begins, bins as listed.

    A bin has ``USUAL_COUNT`` units unless its override says otherwise; an override over plates that are no neighbours
    gives several bins, which share its count.
    """
    counts: dict[str, int] = {}
    for override in scenario.stock_overrides:
        own = [
            b
            for b in day.bins
            if b.sku == override.barcode
            and (b.gondola_id, b.shelf_id) == (override.place.gondola, override.place.shelf)
            and bool(b.plate_ids) == bool(override.place.plates)
            and set(b.plate_ids) <= set(override.place.plate_ids)
            and b.bin_id not in counts
        ]
        total = USUAL_COUNT if override.count is None else override.count
        for row, a_bin in enumerate(own):
            counts[a_bin.bin_id] = total * (row + 1) // len(own) - total * row // len(own)
    return tuple(BinStock(b.bin_id, b.sku, counts.get(b.bin_id, USUAL_COUNT)) for b in day.bins if b.sku is not None)


def true_masses(day: StoreLayout, scenario: Scenario) -> dict[str, float]:
    """Say what one unit of each product really weighs, grams: sku -> mass, products as ``day`` lists them.

    What the scenario says, else what the catalogue says. A product that neither knows weighs something all the same:
    between 50 and 800 g, as packs in small shops do, always the same for one barcode.
    """
    said = {product.barcode: product.mass_g for product in scenario.products}
    masses = {}
    for product in day.products:
        mass_g = said.get(product.sku)
        if mass_g is None:
            mass_g = product.mass_g
        if math.isnan(mass_g):
            share = zlib.crc32(product.sku.encode()) / 2**32
            mass_g = round(50.0 * 16.0**share, 1)
        masses[product.sku] = mass_g
    return masses


def day_layout(layout: StoreLayout, scenario: Scenario) -> StoreLayout:
    """Return the store as it is planned on the scenario's day, with a floor plan.

    Overridden plates carry what the overrides say, as bins of their own; several overrides on one plate stand side by
    side, as several bins that name the same plate. What is left of a planned bin keeps its product. Products that only
    the scenario knows are added; those whose mass it says the catalogue does not know lose it. Where people can walk,
    come in and go out is added if the layout does not say.

    Raises:
        ValueError: An override names a plate or shelf that the layout does not have; the message names the file and the
            number of the override.
    """
    bins = _overridden_bins(layout, scenario)
    return with_doors(replace(layout, bins=bins, products=_day_products(layout, bins, scenario)))


def _day_products(layout: StoreLayout, bins: Sequence[Bin], scenario: Scenario) -> tuple[ProductRecord, ...]:
    records = {product.sku: product for product in layout.products}
    currency = layout.products[0].currency if layout.products else "USD"
    for product in scenario.products:
        known = records.get(product.barcode)
        if known is None:
            mass_g = math.nan if product.mass_g is None else product.mass_g
            records[product.barcode] = ProductRecord(product.barcode, product.name, mass_g, None, currency)
        elif product.mass_g is None:
            records[product.barcode] = replace(known, mass_g=math.nan)
    named = [b.sku for b in bins] + [event.barcode for event in scenario.events]
    for sku in named:
        if sku is not None and sku not in records:
            records[sku] = ProductRecord(sku, sku, math.nan, None, currency)
    return tuple(records.values())


_Shelf = tuple[int | None, int | None]


def _overridden_bins(layout: StoreLayout, scenario: Scenario) -> tuple[Bin, ...]:
    if not scenario.stock_overrides:
        return layout.bins
    by_shelf: dict[_Shelf, list[StockOverride]] = {}
    for number, override in enumerate(scenario.stock_overrides, start=1):
        with _at(f"{scenario.origin}: stock override {number}"):
            bins_at(layout, override.place)
        by_shelf.setdefault((override.place.gondola, override.place.shelf), []).append(override)
    taken: set[str] = set()
    bins: list[Bin] = []
    done: set[_Shelf] = set()
    names = {b.bin_id for b in layout.bins if (b.gondola_id, b.shelf_id) not in by_shelf}
    for a_bin in layout.bins:
        shelf = (a_bin.gondola_id, a_bin.shelf_id)
        if shelf not in by_shelf:
            bins.append(a_bin)
        elif shelf not in done:
            done.add(shelf)
            own = [b for b in layout.bins if (b.gondola_id, b.shelf_id) == shelf]
            plates = {p.plate_id: p for p in layout.plates if (p.gondola_id, p.shelf_id) == shelf}
            for new in _shelf_of_the_day(own, plates, by_shelf[shelf]):
                bins.append(replace(new, bin_id=_free_name(new.bin_id, names | taken)))
                taken.add(bins[-1].bin_id)
    return tuple(bins)


def _free_name(name: str, taken: set[str]) -> str:
    letters = "bcdefghijklmnopqrstuvwxyz"
    choices = (name, *(name + letter for letter in letters), *(f"{name}-{k}" for k in range(27, len(taken) + 29)))
    return next(choice for choice in choices if choice not in taken)


def _shelf_of_the_day(
    planned: Sequence[Bin], plates: Mapping[str, Plate], overrides: Sequence[StockOverride]
) -> list[Bin]:
    """Return the bins of one shelf: what is left of the planned ones, and the overrides' own; from plate to plate."""
    overridden = {plate_id for override in overrides for plate_id in override.place.plate_ids}
    replaces_all = any(not override.place.plates for override in overrides)
    bins: list[tuple[tuple[int, ...], Bin]] = []
    for a_bin in planned:
        if not overridden.intersection(a_bin.plate_ids):
            if not (replaces_all and not a_bin.plate_ids):
                bins.append((_numbers(a_bin.plate_ids), a_bin))
            continue
        left = [plates[plate_id] for plate_id in a_bin.plate_ids if plate_id not in overridden]
        for run in _runs(left):
            box = _hull([plate.box for plate in run])
            name = _run_name(run)
            own = replace(a_bin, bin_id=name, plate_ids=tuple(p.plate_id for p in run), box=box, capacity=None)
            bins.append((_numbers(own.plate_ids), own))
    for override, own_plates, box in _placed(planned, plates, overrides):
        name = _run_name(own_plates) if own_plates else f"{override.place.gondola}/{override.place.shelf}"
        own = Bin(
            bin_id=name,
            sku=override.barcode,
            gondola_id=override.place.gondola,
            shelf_id=override.place.shelf,
            plate_ids=tuple(plate.plate_id for plate in own_plates),
            box=box,
        )
        bins.append((_numbers(own.plate_ids), own))
    return [a_bin for _, a_bin in sorted(bins, key=lambda entry: entry[0])]


def _numbers(plate_ids: Iterable[str]) -> tuple[int, ...]:
    return tuple(int(plate_id.rsplit("/", 1)[-1]) for plate_id in plate_ids)


def _runs(plates: Iterable[Plate]) -> list[list[Plate]]:
    """Split plates of one shelf into runs of neighbours by number."""
    runs: list[list[Plate]] = []
    for plate in sorted(plates, key=lambda plate: plate.number):
        if runs and plate.number == runs[-1][-1].number + 1:
            runs[-1].append(plate)
        else:
            runs.append([plate])
    return runs


def _run_name(run: Sequence[Plate]) -> str:
    return run[0].plate_id if len(run) == 1 else f"{run[0].plate_id}-{run[-1].number}"


def _hull(boxes: Sequence[Box]) -> Box:
    """Return the smallest box on the first one's axes around boxes."""
    corners = boxes[0].local_points(np.concatenate([box.corners_m for box in boxes]))
    return _part(boxes[0], corners.min(axis=0), corners.max(axis=0))


def _part(box: Box, low: FloatArray, high: FloatArray) -> Box:
    """Return the box between two corners given on another box's own axes, metres."""
    world_from_box = box.world_from_box.copy()
    world_from_box[:3, 3] += box.world_from_box[:3, :3] @ low
    return Box(world_from_box, high - low)


def _placed(
    planned: Sequence[Bin], plates: Mapping[str, Plate], overrides: Sequence[StockOverride]
) -> Iterable[tuple[StockOverride, list[Plate], Box]]:
    """Give each override of a shelf its space, one entry for each run of neighbouring plates.

    Overrides on the same plates divide their whole width; of those that overlap otherwise each has its share of every
    plate, in the order in which they stand.
    """
    blocks: dict[tuple[int, ...], list[StockOverride]] = {}
    for override in overrides:
        for run in _runs(plates[plate_id] for plate_id in override.place.plate_ids):
            blocks.setdefault(tuple(plate.number for plate in run), []).append(override)
        if not override.place.plates:
            blocks.setdefault((), []).append(override)
    by_number = {plate.number: plate for plate in plates.values()}
    for numbers, members in blocks.items():
        if numbers:
            space = _hull([_share(by_number, number, numbers, list(blocks)) for number in numbers])
        else:
            unsensed = [b.box for b in planned if not b.plate_ids and b.box is not None]
            space = _hull(unsensed or [b.box for b in planned if b.box is not None])
        width_m = space.size_m[0] / len(members)
        for place, override in enumerate(members):
            low, high = np.zeros(3), space.size_m.copy()
            low[0], high[0] = place * width_m, (place + 1) * width_m
            yield override, [by_number[n] for n in numbers], _part(space, low, high)


def _share(
    by_number: Mapping[int, Plate], number: int, numbers: tuple[int, ...], blocks: Sequence[tuple[int, ...]]
) -> Box:
    """Return the part of a plate's box that one block of overrides has among all that stand on it."""
    box = by_number[number].box

    def middle_m(block: tuple[int, ...]) -> float:
        return float(np.mean([box.local_points(by_number[n].box.centre_m[None])[0, 0] for n in block]))

    here = sorted((block for block in blocks if number in block), key=middle_m)
    width_m = box.size_m[0] / len(here)
    low, high = np.zeros(3), box.size_m.copy()
    low[0], high[0] = here.index(numbers) * width_m, (here.index(numbers) + 1) * width_m
    return _part(box, low, high)


@dataclass(frozen=True, slots=True)
class FaultReach:
    """What a fault hits in a store.

    Attributes:
        cameras: Ids of the cameras.
        plates: Ids of the plates.
        joints: Whether the tracked joints are hit.
    """

    cameras: tuple[str, ...]
    plates: tuple[str, ...]
    joints: bool


_CAMERA_FAULTS = (FaultKind.CAMERA_DEAD, FaultKind.CAMERA_FOGGED, FaultKind.CAMERA_MOVED)
_PLATE_FAULTS = (FaultKind.PLATE_STUCK, FaultKind.BUMP, FaultKind.DRIFT)
_STREAM_NAMES = {
    "cameras": "cameras",
    "scales": "scales",
    "plates": "scales",
    "joints": "joints",
    "targets": "joints",
    "bodies": "joints",
}


def reach_of(fault: Fault, layout: StoreLayout) -> FaultReach:
    """Say what a fault hits.

    A fault without a target hits all that its kind can hit: cameras, plates, or every stream of messages. Only a clock
    that runs wrong everywhere would be no fault: without a target it is the cameras' and the joints', which come from
    them.

    Raises:
        ValueError: The layout has no such camera, gondola, shelf or plate, or the kind does not hit such a thing.
    """
    cameras = tuple(camera.camera_id for camera in layout.cameras)
    plates = tuple(plate.plate_id for plate in layout.plates)
    hits_cameras, hits_plates = fault.kind not in _PLATE_FAULTS, fault.kind not in _CAMERA_FAULTS
    if fault.target is None:
        if fault.kind is FaultKind.CLOCK_SKEW:
            return FaultReach(cameras, (), True)
        return FaultReach(cameras if hits_cameras else (), plates if hits_plates else (), hits_cameras and hits_plates)
    hit_cameras: list[str] = []
    hit_plates: list[str] = []
    joints = False
    for name in fault.target.split(","):
        stream = _STREAM_NAMES.get(name.lower())
        as_camera = next((c for c in (name, f"cam{name}") if c in cameras), None)
        on = [p for p in plates if p == name or p.startswith(f"{name}/")]
        if stream is not None:
            hit_cameras += cameras if stream == "cameras" else ()
            hit_plates += plates if stream == "scales" else ()
            joints |= stream == "joints"
        elif as_camera is not None and hits_cameras and not (on and hits_plates and as_camera != name):
            hit_cameras.append(as_camera)
        elif on and hits_plates:
            hit_plates += on
        else:
            what = "camera" if not hits_plates else "plate" if not hits_cameras else "camera or plate"
            raise ValueError(f"{fault.kind}: there is no {what} {name}")
    return FaultReach(
        tuple(c for c in cameras if c in hit_cameras), tuple(p for p in plates if p in set(hit_plates)), joints
    )


@dataclass(slots=True)
class _Pile:
    """Like units on one place of a shelf, while a scenario is played on paper."""

    spots: frozenset[str]
    quantity: int


class _Stage:
    """A store and its people while a scenario is played on paper."""

    def __init__(self, day: StoreLayout, scenario: Scenario) -> None:
        self._day = day
        self._hands = _Hands(scenario)
        bins = {b.bin_id: b for b in day.bins}
        self._piles: dict[str, list[_Pile]] = {}
        for stock in starting_stock(day, scenario):
            self._stand(stock.sku, _spots((bins[stock.bin_id],)), stock.quantity)
        self._foreign: list[tuple[str, frozenset[str]]] = []
        self._away: set[str] = set()
        self._shoppers = {shopper.shopper_id: shopper for shopper in scenario.shoppers}

    def play(self, event: ScenarioEvent) -> None:
        """Play one event.

        Raises:
            ValueError: It cannot happen.
        """
        self._check_inside(event.shopper, event.t_s)
        if event.other is not None:
            if event.other == event.shopper:
                raise ValueError(f"{event.action}: {event.shopper} cannot do this with themselves")
            self._check_inside(event.other, event.t_s)
        spots: frozenset[str] = frozenset()
        if event.place is not None:
            bins = bins_at(self._day, event.place)
            spots = frozenset(event.place.plate_ids) or _spots(bins)
            around = spots | _spots(bins)
            if event.action is Action.PICK and event.barcode is not None:
                self._take(event.barcode, spots, around, event.quantity)
            elif event.action is Action.HOLD and event.barcode is not None:
                self._find(event.barcode, spots, around, event.quantity)
        if event.action is Action.RESTOCK and self._shoppers[event.shopper].role is not Role.STAFF:
            raise ValueError(f"restock: {event.shopper} is not staff")
        elif event.action is Action.PLACE_FOREIGN:
            self._foreign.append((event.shopper, spots))
        elif event.action is Action.TAKE_FOREIGN:
            standing = [row for row, (_, on) in enumerate(self._foreign) if on & spots]
            if not standing:
                raise ValueError("take_foreign: nothing foreign stands there")
            own = [row for row in standing if self._foreign[row][0] == event.shopper]
            del self._foreign[(own or standing)[-1]]
        _move(self._hands, event)
        if event.action in (Action.PUT_BACK, Action.RESTOCK) and event.barcode is not None:
            self._stand(event.barcode, spots, event.quantity)

    def _stand(self, sku: str, spots: frozenset[str], quantity: int) -> None:
        self._piles.setdefault(sku, []).append(_Pile(spots, quantity))

    def _check_inside(self, shopper_id: str, t_s: float) -> None:
        shopper = self._shoppers[shopper_id]
        if t_s < shopper.enters_at_s:
            raise ValueError(f"{shopper_id} enters only at {shopper.enters_at_s:g} s")
        has_returned = shopper.returns_at_s is not None and t_s >= shopper.returns_at_s
        if has_returned and shopper_id not in self._away:
            self._away.add(shopper_id)
            self._hands.carry_out(shopper_id)
        if shopper.leaves_at_s is not None and t_s > shopper.leaves_at_s and not has_returned:
            raise ValueError(f"{shopper_id} leaves at {shopper.leaves_at_s:g} s")

    def _find(self, sku: str, spots: frozenset[str], around: frozenset[str], quantity: int) -> list[_Pile]:
        """Give the piles of a product in the bins around: what stands on the very spots first, the newest of that."""
        newest_first = self._piles.get(sku, [])[::-1]
        piles = [pile for pile in newest_first if pile.quantity and pile.spots & around]
        standing = sum(pile.quantity for pile in piles)
        if standing < quantity:
            raise ValueError(f"{standing} of {sku} stand there, not {quantity}")
        return sorted(piles, key=lambda pile: -len(pile.spots & spots) / len(pile.spots))

    def _take(self, sku: str, spots: frozenset[str], around: frozenset[str], quantity: int) -> None:
        for pile in self._find(sku, spots, around, quantity):
            taken = min(quantity, pile.quantity)
            pile.quantity -= taken
            quantity -= taken


def _spots(bins: Iterable[Bin]) -> frozenset[str]:
    """Name what bins stand on: their plates; a bin without scales is a spot of its own."""
    return frozenset(spot for b in bins for spot in (b.plate_ids or (f"bin {b.bin_id}",)))


def check_scenario(scenario: Scenario, layout: StoreLayout) -> None:
    """Play a scenario on paper and refuse it at the first thing that cannot happen in a store.

    A pick may come from any bin that stands on one of its plates, as labels made by people are only so exact.

    Args:
        scenario: The scenario.
        layout: The store's layout, before or after :func:`day_layout`.

    Raises:
        ValueError: ``FILE: event N: reason``, or the number of the fault or override that names what the store does not
            have.
    """
    day = day_layout(layout, scenario)
    for number, fault in enumerate(scenario.faults, start=1):
        with _at(f"{scenario.origin}: fault {number}"):
            reach_of(fault, day)
    stage = _Stage(day, scenario)
    for number, event in enumerate(scenario.events, start=1):
        with _at(f"{scenario.origin}: event {number}"):
            stage.play(event)


def library() -> tuple[Path, ...]:
    """Return the files of the library of hard cases, sorted by group and name."""
    return tuple(sorted((Path(__file__).parent / "library").glob("*/*.json")))
