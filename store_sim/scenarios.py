"""Scenarios: visits written down as what shoppers do (``tillfree-scenario/1``), read and written.

A file is read by :func:`read_scenario`, which refuses what is not in the format. Whether what it says can happen in a
store, and who pays for what, is for ``store_sim.rules``; what the store is like on that day is for ``store_sim.day``.
"""

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

from store_sim.autocheckout import is_site, read_site
from vision.layout import StoreLayout, read_layout

FORMAT = "tillfree-scenario/1"
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
            between; None for everything. ``store_sim.day.reach_of`` says what that is in a given store.
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
    or ``bin``. Whether the store has the plates, and whether what happens can happen, is for ``store_sim.rules``.

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
            with errors_at(f"event {number}"):
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
        with errors_at(f"{what} {number}"):
            found.append(read(_object(row)))
    return tuple(found)


@contextmanager
def errors_at(place: str) -> Iterator[None]:
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
        with errors_at(f"product {_one_line(barcode, 'barcode')}"):
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
    with errors_at("bin"):
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
        with errors_at(key):
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
        with errors_at(f"receipt of {_one_line(payer, 'payer')}"):
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


def library() -> tuple[Path, ...]:
    """Return the files of the library of hard cases, sorted by group and name."""
    return tuple(sorted((Path(__file__).parent / "library").glob("*/*.json")))
