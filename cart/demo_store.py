"""The demo: a simulated store that trades for ever, and sends a body in for whoever was let in at its gate.

Nobody is charged by a script. Regulars, who are simulated, have accounts, show real entry codes to the doorman, walk
in, take things and leave; a visitor of the API does the same with a code of their own and asks for a body
(``DemoStore.shop``). What ends up on receipts is what the pipeline makes of scales and tracked joints alone.

Who is let in and never asks for a body has not come: the doorman lets such a visit go after two minutes, and its hold.
"""

import logging
import math
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from uuid import UUID

import numpy as np

from cart import entry_codes
from cart.accounts import Account, Accounts
from cart.catalog import Catalogue, Product
from cart.doors import Admitted, Decision, Doorman
from cart.entry_codes import EntryKey
from cart.errors import DemoRefused, NotTheDemoVisit, StoreError
from cart.live_store import Came, FloorEvent, Left, Pace, moment, shifted
from cart.pictures import RenderedPictures
from cart.sessions import SessionStatus
from store_sim.demo_shop import DEMO_LAYOUT
from store_sim.joints import JointSettings
from store_sim.live import MOST_UNITS, REMEMBERED_GRIPS, Grip, LiveStore, Wish, random_wishes
from store_sim.live_pictures import LivePictures
from store_sim.scenarios import Action
from vision.frames import Tick
from vision.layout import StoreLayout, read_layout

_log = logging.getLogger(__name__)

GATE = "entrance"
PAYMENT_METHOD = "fake:demo"
MAIL_DOMAIN = "regulars.invalid"
"""Where the regulars' mail would go; nobody reads it."""
REGULARS = (
    *("Ada", "Ben", "Cleo", "Dan", "Eve", "Fay", "Gus", "Hana", "Ivo", "Joy", "Kai", "Lea"),
    *("Max", "Nia", "Ole", "Pia", "Quin", "Rosa", "Sam", "Tia", "Uma", "Vic", "Wes", "Yui"),
)
BETWEEN_S = 18.0
"""A regular comes every so many seconds on average, while there are not too many."""
MOST_REGULARS = 4
REMEMBERS_S = 30.0
"""The demo's body tracker knows people again whom it has not seen for so long, as it sees every corner of a small shop;
one that gives them a new name is somebody without a code to the store."""
GROUP_SHARE, NO_CODE_SHARE = 0.06, 0.02
ROOM_FOR_GUESTS_S = 45.0  # after somebody real was let in, regulars wait a while, so that nobody stands in their way
UNPRICED_SHARE = 0.1  # of the wishes for something that has no price
FORGET_S, STAYS_S, MOST_TRUTHS = 900.0, 600.0, 100
NANOSECONDS = 1_000_000_000


@dataclass(slots=True)
class _Grant:
    """Somebody may come in, and nobody has yet."""

    grant_ids: list[UUID]
    granted_s: float
    is_regular: bool


@dataclass(frozen=True, slots=True)
class _Inside:
    """A visit whose bodies are on their way, or in."""

    sent_s: float
    is_regular: bool


@dataclass(slots=True)
class Tally:
    """How the demo has done, held against what the simulated bodies really carried out.

    Attributes:
        right: Visits that ended by themselves with exactly what was carried out.
        wrong: Visits that ended by themselves with something else.
        reviewed: Visits that wait for a person.
        others: Visits without an account.
    """

    right: int = 0
    wrong: int = 0
    reviewed: int = 0
    others: int = 0


def demo_store_layout() -> StoreLayout:
    """The small shop of the demo."""
    return read_layout(DEMO_LAYOUT)


class StoreClock:
    """The demo's time: the real one at ordinary speed, else that of what is played, which runs faster.

    Args:
        speed: How many times real time the store runs.
        real: The real time.
    """

    def __init__(self, speed: float = 1.0, real: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._real = real
        self._is_real = speed == 1.0
        self._now = real()

    def __call__(self) -> datetime:
        """The time, timezone-aware."""
        return self._real() if self._is_real else self._now

    def at_least(self, at: datetime) -> None:
        """The store has come so far."""
        self._now = max(self._now, at)


class DemoStore:
    """The simulated store: what its sensors say (``cart.live_store.Feed``), and what API visitors can ask of it.

    Args:
        catalogue: What it sells.
        clock: Its time.
        seed: Decides who comes and what they want.
        speed: How many times real time; infinite for as fast as it goes.
        regulars: Whether simulated shoppers come by themselves.
        layout: The shop; None for the usual one.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        clock: StoreClock,
        seed: int,
        *,
        speed: float = 1.0,
        regulars: bool = True,
        layout: StoreLayout | None = None,
    ) -> None:
        if not speed > 0:
            raise ValueError(f"speed: expected more than 0, got {speed}")
        self._catalogue, self._clock, self._speed = catalogue, clock, speed
        self._has_regulars = regulars
        start_ns = round(clock().timestamp() * 1e6) * 1000
        joints = JointSettings(renamed_after_s=REMEMBERS_S)
        self._live = LiveStore(layout or demo_store_layout(), seed, start_ns=start_ns, joints=joints)
        self._start_ns, self._shift_ns, self._seed = start_ns, 0, seed
        self._rng, self._guests_rng = map(np.random.default_rng, np.random.SeedSequence(seed, spawn_key=(7,)).spawn(2))
        self._closed = threading.Event()
        self._lock = threading.Lock()
        self._grants: dict[UUID, _Grant] = {}
        self._inside: dict[UUID, _Inside] = {}
        self._really: dict[UUID, dict[str, int]] = {}
        self._accounts: Accounts | None = None
        self._doorman: Doorman | None = None
        self._keys: dict[UUID, EntryKey] = {}
        self._known: list[Account] = []
        self._busy: dict[UUID, UUID] = {}
        self._grips: deque[Grip] = deque(maxlen=REMEMBERED_GRIPS)
        self._next_s = 2.0
        self._guests_until_s = -math.inf
        self._feeding_thread: int | None = None
        self.tally = Tally()

    @property
    def layout(self) -> StoreLayout:
        """The store."""
        return self._live.layout

    def pictures(self) -> RenderedPictures:
        """What cameras see of it, drawn when somebody asks."""
        drawn = LivePictures(self._live.layout, self._live.moments, self._seed)
        return RenderedPictures(drawn, lambda: round(self._clock().timestamp() * 1e6) * 1000, lambda: self._shift_ns)

    def open(self, accounts: Accounts, doorman: Doorman) -> None:
        """Say where the regulars have accounts, and who lets them in; before the first tick is taken."""
        self._accounts, self._doorman = accounts, doorman

    def admitted(self, admitted: Admitted) -> None:
        """The doorman's word that somebody may come in (``Doorman.on_admitted``)."""
        with self._lock:
            # Regulars are let in by the thread that plays the store.
            is_regular = threading.get_ident() == self._feeding_thread
            grant = self._grants.setdefault(admitted.session_id, _Grant([], self._played_s, is_regular))
            grant.grant_ids.append(admitted.grant_id)
            grant.granted_s = self._played_s
            if not grant.is_regular:
                self._guests_until_s = self._played_s + ROOM_FOR_GUESTS_S

    @property
    def grips(self) -> tuple[Grip, ...]:
        """What bodies have really done lately, in time order, as the store's sensors date it."""
        return tuple(self._grips)

    # What the API asks

    @property
    def gate_ids(self) -> frozenset[str]:
        """The one gate."""
        return frozenset({GATE})

    def products(self) -> tuple[Product, ...]:
        """What the shelves hold."""
        return tuple(product for product in self._catalogue if product.sku in set(self._live.products))

    def shop(self, session_id: UUID, lines: Mapping[str, int]) -> None:
        """Send a body in on a visit that the doorman has opened: it takes something and walks out.

        Args:
            session_id: The visit.
            lines: What it takes, units by sku; empty for something of its own choice.

        Raises:
            NotTheDemoVisit: Nobody was let in on this visit, or a body shops on it already.
            DemoRefused: The store has no such product, or not so many.
        """
        wishes: list[Wish] = []
        try:
            for sku, quantity in lines.items():
                if quantity < 1:
                    raise ValueError(f"expected at least one unit of {sku}, got {quantity}")
                whole, rest = divmod(quantity, MOST_UNITS)
                if whole > MOST_UNITS:
                    raise ValueError(f"expected fewer than {quantity} units of {sku}")
                wishes += [Wish(sku, MOST_UNITS)] * whole + ([Wish(sku, rest)] if rest else [])
            if not lines:
                with self._lock:
                    wishes = self._own_choice(self._guests_rng)
            self._send(session_id, wishes)
        except ValueError as error:
            raise DemoRefused(str(error)) from error

    def heard(self, event: FloorEvent) -> None:
        """What the pipeline has made of it."""
        if isinstance(event, Came):
            return
        if isinstance(event, Left):
            session_id = event.session.session_id
            with self._lock:
                self._inside.pop(session_id, None)
                self._grants.pop(session_id, None)
                for account_id in [who for who, which in self._busy.items() if which == session_id]:
                    del self._busy[account_id]
            self._hold_against(event)

    # The feed

    def close(self) -> None:
        """Stop."""
        self._closed.set()

    def __iter__(self) -> Iterator[Tick]:
        """Let the store trade, in its time, until it is closed."""
        self._feeding_thread = threading.get_ident()
        pace = Pace(self._speed)
        # The clock went on while the store was put together.
        late_ns = round(self._clock().timestamp() * 1e6) * 1000 - self._start_ns
        while not self._closed.is_set():
            if not self._is_due(pace, self._played_s):
                return
            # So it does after the machine slept.
            skipped_ns = round(pace.skipped_s * NANOSECONDS)
            self._shift_ns = shift_ns = late_ns + skipped_ns if self._speed == 1.0 else 0
            self._send_regulars()
            ticks = self._live.ticks()
            self._grips.extend(replace(grip, time_ns=grip.time_ns + shift_ns) for grip in self._live.grips())
            self._clock.at_least(moment(self._live.now_ns))
            for departure in self._live.departures():
                if departure.code is not None and not departure.inside:
                    self._really[UUID(departure.code)] = dict(departure.lines)
            for tick in ticks:
                # No sensor speaks ahead of its time.
                if not self._is_due(pace, (tick.timestamp_ns - self._start_ns) / NANOSECONDS):
                    return
                yield shifted(tick, shift_ns)

    def _is_due(self, pace: Pace, played_s: float) -> bool:
        """Wait until a moment is due; False if the store is closed meanwhile."""
        wait_s = pace.wait_s(played_s)
        return not (wait_s > 0 and self._closed.wait(wait_s))

    @property
    def _played_s(self) -> float:
        return (self._live.now_ns - self._start_ns) / NANOSECONDS

    def _send(self, session_id: UUID, wishes: list[Wish], after_s: float | None = None) -> None:
        assert self._doorman is not None
        with self._lock:
            grant = self._grants.get(session_id)
            if grant is None or not grant.grant_ids:
                raise NotTheDemoVisit(f"visit {session_id}: nobody waits at the gate for a body, or one shops already")
            grant_id = grant.grant_ids.pop()
        try:
            if after_s is None:
                self._live.come_in(str(session_id), wishes)
            else:
                self._live.come_in(str(session_id), wishes, after_s=after_s)
        except ValueError:
            with self._lock:
                grant.grant_ids.append(grant_id)
            raise
        with self._lock:
            self._inside[session_id] = _Inside(self._played_s, grant.is_regular)
        self._doorman.answer(grant_id, True)

    def _own_choice(self, rng: np.random.Generator) -> list[Wish]:
        """Something that has a price, so that the receipt is there at once."""
        priced = [product.sku for product in self.products() if product.unit_price_minor is not None]
        chosen = rng.choice(priced, min(len(priced), 1 + int(rng.integers(3))), replace=False)
        return [Wish(str(sku)) for sku in chosen]

    # Regulars

    def _send_regulars(self) -> None:
        if not self._has_regulars or self._played_s < self._next_s:
            return
        with self._lock:
            self._forget()
            guests = self._played_s < self._guests_until_s or not all(
                inside.is_regular for inside in self._inside.values()
            )
            crowded = len(self._inside) >= MOST_REGULARS
            self._next_s = self._played_s + float(self._rng.exponential(BETWEEN_S))
        if guests or crowded or self._live.people_coming > 0:
            self._next_s = self._played_s + 2.0
            return
        try:
            if self._rng.random() < NO_CODE_SHARE:
                self._live.come_in(None, self._wishes()[:1])
            else:
                self._let_one_in()
        except StoreError as error:
            _log.warning("a regular was not let in: %s", error)
        except Exception:
            _log.exception("a regular could not come")

    def _let_one_in(self) -> None:
        assert self._doorman is not None
        account = self._somebody()
        if account is None:
            return
        decided = self._scan(account, 0)
        if decided is None:
            return
        self._send(decided, self._wishes())
        with self._lock:
            self._busy[account.account_id] = decided
        if self._rng.random() < GROUP_SHARE:
            self._doorman.set_guests(decided, 1)
            if self._scan(account, 1) == decided:
                self._send(decided, self._wishes()[:2], after_s=2.5)

    def _scan(self, account: Account, counter: int) -> UUID | None:
        """Show a code that this regular's phone has made; the visit that it opens."""
        assert self._doorman is not None
        key = self._keys.get(account.account_id)
        if key is None:
            key = self._keys[account.account_id] = self._doorman.issue_key(account.account_id)
        code = entry_codes.make_code(key, self._doorman.store_id, self._clock(), counter)
        decision = self._doorman.scan(GATE, code)
        if decision.decision is not Decision.OPEN:
            _log.warning("a regular was refused: %s", decision.reason)
            return None
        return decision.session_id

    def _somebody(self) -> Account | None:
        """A regular who is not here; new ones open an account until there are enough."""
        assert self._accounts is not None
        with self._lock:
            away = [account for account in self._known if account.account_id not in self._busy]
        if len(self._known) < len(REGULARS) and (len(away) < 3 or self._rng.random() < 0.5):
            name = REGULARS[len(self._known)]
            email = f"{name.lower()}@{MAIL_DOMAIN}"
            account = self._accounts.by_email(email)
            if account is None:
                account = self._accounts.create(email, secrets.token_urlsafe(24), name)
            account = self._accounts.set_payment_method(account.account_id, PAYMENT_METHOD)
            self._known.append(account)
            return account
        return away[int(self._rng.integers(len(away)))] if away else None

    def _wishes(self) -> list[Wish]:
        unpriced = {product.sku for product in self.products() if product.unit_price_minor is None}
        wishes = list(random_wishes(self._live.layout, self._rng))
        kept = [wish for wish in wishes if wish.sku not in unpriced or self._rng.random() < UNPRICED_SHARE]
        return kept if any(wish.action is Action.PICK for wish in kept) else self._own_choice(self._rng)

    # What is remembered

    def _forget(self) -> None:
        """Forget who was let in and never came; nothing grows for ever."""
        old_s = self._played_s - FORGET_S
        self._grants = {which: grant for which, grant in self._grants.items() if grant.granted_s > old_s}
        # Nobody stays for so long; the pipeline has lost sight of them.
        self._inside = {which: inside for which, inside in self._inside.items() if inside.sent_s > old_s + STAYS_S}
        self._busy = {who: which for who, which in self._busy.items() if which in self._inside}
        while len(self._really) > MOST_TRUTHS:
            self._really.pop(next(iter(self._really)))

    def _hold_against(self, event: Left) -> None:
        session = event.session
        if session.status is SessionStatus.NEEDS_REVIEW:
            self.tally.reviewed += 1
        elif session.status in (SessionStatus.CHARGED, SessionStatus.EMPTY):
            really = self._really.pop(session.session_id, None)
            if really is not None:
                right = really == dict(event.lines)
                self.tally.right += right
                self.tally.wrong += not right
        else:
            self.tally.others += 1


def seed_of_now() -> int:
    """Another seed each time."""
    return time.time_ns() % 2**31
