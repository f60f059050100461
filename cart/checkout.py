"""A visit from check-in to its charge: the one service through which the shop's state changes.

>>> from datetime import UTC, datetime
>>> from uuid import UUID, uuid5
>>> from cart.catalog import Catalogue, Product
>>> from cart.events import CartEvent
>>> from cart.payments import FakeGateway
>>> from cart.receipts import render_text
>>> from cart.repository import Database
>>> noon = datetime(2026, 1, 1, 12, tzinfo=UTC)
>>> catalogue = Catalogue("EUR", [Product("042", "Oat bar", 199, "EUR", tax_rate_bp=700)])
>>> checkout = Checkout(Database.in_memory(), catalogue, FakeGateway())  # or Database.open("sqlite:///shop.db")
>>> session = checkout.check_in("ada", noon)
>>> pick = UUID(int=7)                                                   # an interaction's id
>>> event_id = uuid5(pick, str(session.session_id))
>>> checkout.record(CartEvent(event_id, session.session_id, noon, "042", 2, cause_id=pick, probability=0.98))
Cart(lines=(CartLine(sku='042', quantity=2, probability=0.98),))
>>> outcome = checkout.close(session.session_id, noon)
>>> outcome.status, outcome.receipt.total_minor, checkout.close(session.session_id, noon) == outcome
(<SessionStatus.CHARGED: 'charged'>, 398, True)
>>> unsure = checkout.check_in("grace", noon)
>>> checkout.flag(unsure.session_id, "the camera was blind for 4 s", None, noon)
>>> checkout.close(unsure.session_id, noon).status
<SessionStatus.NEEDS_REVIEW: 'needs_review'>
>>> checkout.close(checkout.check_in("visitor-3", noon, has_account=False).session_id, noon).status
<SessionStatus.NO_ACCOUNT: 'no_account'>
>>> print(render_text(outcome.receipt, "Corner shop", width=34))
           Corner shop
Receipt 1     2026-01-01 12:00 UTC
Shopper ada
----------------------------------
2 x Oat bar                   3.98
----------------------------------
Total EUR                     3.98
  incl. 7 % tax               0.26
Paid

How a charge stays exactly one. The first transaction of ``close`` freezes the receipt's lines and prices, writes the
sale into the ledger, a *pending* charge with its idempotency key, and its place in the outbox; only then is the gateway
called. The second transaction writes what came of it. Whoever finds a pending charge, a second caller, the sweeper or a
restarted process, looks the payment up at the gateway before trying again, and always under the same key.

A shop may hold an amount when a shopper comes in (``hold``); the exit captures what the visit cost of it, and lets the
rest go. What a declined payment leaves is a debt (``debt_of``), to be paid later. What a reviewer or a settled question
says the cart was becomes cart events and a new receipt (``correct``), and the difference is charged or given back.

>>> checkout = Checkout(Database.in_memory(), catalogue, gateway := FakeGateway(), hold_minor=5000)
>>> session = checkout.check_in("ada", noon)
>>> checkout.hold(session.session_id, noon).status
<HoldStatus.HELD: 'held'>
>>> cart = checkout.record(CartEvent(event_id, session.session_id, noon, "042", 2, cause_id=pick))
>>> checkout.close(session.session_id, noon).charge.amount_minor, gateway.captured_minor("EUR")
(398, 398)
>>> outcome = checkout.correct(session.session_id, {"042": 1}, UUID(int=8), noon, "one went back")
>>> outcome.receipt.total_minor, outcome.refunds[0].amount_minor, gateway.refunded_minor("EUR")
(199, 199, 199)
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TypeVar
from uuid import UUID, uuid4, uuid5

from cart.cart import Cart
from cart.catalog import Catalogue
from cart.errors import (
    CouponUsed,
    EventConflict,
    PaymentDeclined,
    PaymentUnknown,
    PriceUnknown,
    RefundExceedsPayment,
    SessionAlreadyClosed,
    SessionNotFound,
    VisitUnderWay,
)
from cart.events import MAX_QUANTITY, CartEvent, ReviewFlag, check_aware
from cart.ledger import shopper_account
from cart.outbox import Effect, Handler
from cart.payments import (
    Charge,
    ChargeKind,
    ChargeStatus,
    Hold,
    HoldStatus,
    PaymentGateway,
    Refund,
    RefundKind,
)
from cart.pricing import FixedPrices, PricedCart, Pricing
from cart.questions import Question
from cart.receipts import Receipt, ReceiptLine
from cart.repository import Database, Repository
from cart.sessions import Session, SessionStatus
from cart.settlement import (
    BOOKED,
    RECEIPTS,
    Dues,
    Money,
    Settlement,
    book,
    dues_of,
    end_unused,
    release_hold,
    send_receipt,
    tell,
    write_charge,
    write_hold,
    write_refunds,
)

_OWED = frozenset({SessionStatus.PAYMENT_FAILED})
_Written = TypeVar("_Written")
# A coupon that another visit of the shopper takes at the same moment is left out at the next try.
_COUPON_TRIES = 3


def _utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a visit ended.

    Attributes:
        session: The visit.
        receipt: The newest; always there; numbered only if charged.
        charge: The newest charge; None if there was nothing to charge or nobody may be charged.
        flags: Why a person should look at the visit, oldest first.
        charges: Every charge, oldest first, declined ones too.
        refunds: Every refund, oldest first.
        hold: What was held when the shopper came in; None if nothing was.
    """

    session: Session
    receipt: Receipt
    charge: Charge | None
    flags: tuple[ReviewFlag, ...] = ()
    charges: tuple[Charge, ...] = ()
    refunds: tuple[Refund, ...] = ()
    hold: Hold | None = None

    @property
    def questions(self) -> tuple[Question, ...]:
        """What a person has to decide, oldest first, each once."""
        return tuple(dict.fromkeys(flag.question for flag in self.flags if flag.question is not None))

    @property
    def status(self) -> SessionStatus:
        """Charged, empty, needs review, no account, payment failed, abandoned; closed while a payment is not known."""
        return self.session.status

    @property
    def paid_minor(self) -> int:
        """What was taken and not given back, minor unit."""
        return Money(self.charges, self.refunds).kept_minor


class Checkout:
    """Visits, their carts, and what they are charged. Safe to call from several threads.

    Args:
        database: Where everything is kept.
        pricing: What is sold, at what price: a catalogue, or prices over time. A visit is priced when it is closed.
        gateway: Who takes the money.
        new_id: Makes ids of visits, holds, charges and refunds.
        payment_attempts: How often a payment with an unclear outcome is tried within one call, at least 1. What is
            still unclear then is tried again by the sweeper, or by the next ``close`` or ``resume``.
        hold_minor: What ``hold`` sets aside when a shopper comes in, positive, minor unit; None if nothing is.
        now: The time, for what the sweeper carries out.
    """

    def __init__(
        self,
        database: Database,
        pricing: Catalogue | Pricing,
        gateway: PaymentGateway,
        new_id: Callable[[], UUID] = uuid4,
        payment_attempts: int = 3,
        *,
        hold_minor: int | None = None,
        now: Callable[[], datetime] = _utc_now,
    ) -> None:
        if payment_attempts < 1:
            raise ValueError(f"payment_attempts: expected at least 1, got {payment_attempts}")
        if hold_minor is not None and hold_minor < 1:
            raise ValueError(f"hold_minor: expected a positive number or None, got {hold_minor}")
        self._database = database
        self._pricing: Pricing = FixedPrices(pricing) if isinstance(pricing, Catalogue) else pricing
        self._new_id = new_id
        self._hold_minor = hold_minor
        self._settlement = Settlement(database, gateway, new_id, now, payment_attempts)

    @property
    def currency(self) -> str:
        """ISO 4217 code of everything that is charged."""
        return self._pricing.currency

    @property
    def hold_minor(self) -> int | None:
        """What ``hold`` sets aside, minor unit; None if this shop holds nothing."""
        return self._hold_minor

    def handlers(self) -> dict[Effect, Handler]:
        """What the sweeper does with holds, charges and refunds that were left behind."""
        return self._settlement.handlers()

    def check_in(self, shopper_id: str, at: datetime, party_size: int = 1, *, has_account: bool = True) -> Session:
        """Open a visit.

        Args:
            shopper_id: The account's id; for somebody without one, any name for them.
            at: When, timezone-aware.
            party_size: How many people shop on this account, at least 1.
            has_account: Whether there is an account to charge.
        """
        session = Session(self._new_id(), shopper_id, has_account, party_size, SessionStatus.OPEN, at)
        with self._database.transaction() as repository:
            repository.add_session(session)
        return session

    def hold(self, session_id: UUID, at: datetime) -> Hold:
        """Set the shop's amount aside on the shopper's account, before they are let in; again gives the same hold.

        If that fails the visit is over: it is ``abandoned``, and what may have been held all the same is let go.

        Args:
            session_id: An open visit.
            at: Now, timezone-aware.

        Raises:
            SessionNotFound: There is no such visit.
            SessionAlreadyClosed: The visit is over.
            PaymentDeclined: The gateway said no for good, or there is no account.
            PaymentUnknown: It gave no clear answer.
            ValueError: This shop holds nothing.
        """
        check_aware("at", at)
        if self._hold_minor is None:
            raise ValueError("hold: expected a shop with hold_minor, this one holds nothing")
        with self._database.transaction() as repository:
            session = _open_visit(repository, session_id)
            if not session.has_account:
                raise PaymentDeclined(f"visit {session_id} has no account to hold money on")
            hold = repository.hold(session_id)
            known = self._settlement.pending(repository, session_id) if hold is None else None
            if hold is None:
                hold = Hold(
                    self._new_id(), session_id, self._hold_minor, self._pricing.currency, HoldStatus.PENDING, at
                )
                write_hold(repository, hold, at)
        if hold.status is HoldStatus.PENDING:
            self._settlement.settle(session_id, at, Repository.hold, known=known)
            with self._database.transaction() as repository:
                session = repository.session(session_id)
                hold = repository.hold(session_id) or hold
                gave_up = hold.status is HoldStatus.PENDING
                if gave_up and session.status is SessionStatus.OPEN:
                    release_hold(repository, hold, at)
                    end_unused(repository, session, hold.currency, at)
        if hold.status is HoldStatus.HELD:
            return hold
        if hold.status is HoldStatus.PENDING:
            raise PaymentUnknown(f"visit {session_id}: the gateway did not say whether it holds the money")
        raise PaymentDeclined(f"visit {session_id}: the gateway does not hold the money, the hold is {hold.status}")

    def join(self, session_id: UUID, at: datetime) -> Session:
        """Let one more person shop on a visit's account.

        Args:
            session_id: An open visit.
            at: Now, timezone-aware.

        Raises:
            SessionNotFound: There is no such visit.
            SessionAlreadyClosed: The visit is over.
        """
        check_aware("at", at)
        with self._database.transaction() as repository:
            session = _open_visit(repository, session_id)
            session = replace(session, party_size=session.party_size + 1)
            repository.change_session(session)
        return session

    def abandon(self, session_id: UUID, at: datetime) -> None:
        """End a visit whose shopper was let in and never came; its hold is let go. Again changes nothing.

        Args:
            session_id: The visit.
            at: Now, timezone-aware.

        Raises:
            SessionNotFound: There is no such visit.
            SessionAlreadyClosed: The visit ended otherwise.
            VisitUnderWay: Something was taken, so somebody did come.
        """
        check_aware("at", at)
        with self._database.transaction() as repository:
            if repository.session(session_id).status is SessionStatus.ABANDONED:
                return
            session = _open_visit(repository, session_id)
            if repository.cart_events(session_id):
                raise VisitUnderWay(f"visit {session_id}: expected that nobody came, but things were taken")
            end_unused(repository, session, self._pricing.currency, at)
            hold = repository.hold(session_id)
            if hold is not None:
                release_hold(repository, hold, at)
        self._settlement.settle(session_id, at, Repository.hold)

    def record(self, event: CartEvent) -> Cart:
        """Put an event into its visit's cart, once however often it comes.

        Returns:
            The cart with it.

        Raises:
            SessionNotFound: There is no such visit.
            SessionAlreadyClosed: The visit is over and did not have this event.
            EventConflict: An event of this id, with other content, came before.
        """
        with self._database.transaction() as repository:
            session = repository.session(event.session_id)
            known = repository.cart_event(event.event_id)
            if known is not None and known != event:
                raise EventConflict(f"cart event {event.event_id} came with two contents")
            if known is None:
                if session.status is not SessionStatus.OPEN:
                    raise SessionAlreadyClosed(f"visit {session.session_id} is {session.status}, expected an open one")
                repository.add_cart_event(event)
            return Cart.of(repository.cart_events(event.session_id))

    def flag(
        self, session_id: UUID, reason: str, cause_id: UUID | None, at: datetime, question: Question | None = None
    ) -> None:
        """Say that a person must look at this visit; a flag that is there already changes nothing.

        An open visit will then not be charged when it is closed. On a closed one the flag is kept for whoever looks at
        it later, and changes nothing else.

        Args:
            session_id: The visit.
            reason: One sentence for the reviewer.
            cause_id: The interaction behind it; None if it is about the visit as a whole.
            at: When, timezone-aware.
            question: What the reviewer is asked, if there is something to choose between.

        Raises:
            SessionNotFound: There is no such visit.
        """
        self.flag_all([ReviewFlag(session_id, reason, cause_id, at, question)])

    def flag_all(self, flags: Collection[ReviewFlag]) -> None:
        """Say several things that a person must look at, each as :meth:`flag` does; all of them, or none.

        Raises:
            SessionNotFound: There is no such visit as one of them is about.
        """
        if flags:
            with self._database.transaction() as repository:
                repository.lock_sessions({flag.session_id for flag in flags})
                repository.add_flags(flags)

    def close(self, session_id: UUID, at: datetime) -> Outcome:
        """End a visit and charge it, if it may be charged; closing again gives the same outcome and charges nothing.

        ``no_account`` if there is nobody to charge; else ``needs_review`` if it was flagged, a price is not known, or
        more came back than was taken; else ``empty`` if nothing was taken; else ``charged``, or ``payment_failed``
        after a definite decline, or ``closed`` while the payment's outcome is not known. In that last case closing
        again, ``resume``, or the sweeper goes on where it stopped. A hold is captured for what the visit cost; it is
        kept while the visit is under review, and let go if there is nothing to charge.

        Args:
            session_id: The visit.
            at: When the shopper left, timezone-aware.

        Raises:
            SessionNotFound: There is no such visit.
        """
        check_aware("at", at)
        known = self._repricing(lambda: self._end_visit(session_id, at))
        return self._settle(session_id, at, known)

    def resume(self, at: datetime) -> list[Outcome]:
        """Go on with every payment, refund and hold whose outcome is not known, as after a crash, oldest first.

        Args:
            at: When, timezone-aware.

        Returns:
            How visits with such a payment or refund stand now; ``closed`` where the gateway gives no clear answer yet.
        """
        check_aware("at", at)
        with self._database.reading() as repository:
            money: list[Charge | Refund] = [*repository.pending_charges(), *repository.pending_refunds()]
            money.sort(key=lambda one: one.created_at)
            holds = repository.unsettled_holds()
        session_ids = list(dict.fromkeys(one.session_id for one in money))
        for hold in holds:
            if hold.session_id not in session_ids:
                self._settlement.settle(hold.session_id, at, Repository.hold)
        return [self._settle(session_id, at) for session_id in session_ids]

    def correct(self, session_id: UUID, lines: Mapping[str, int], cause_id: UUID, at: datetime, reason: str) -> Outcome:
        """Make the cart of a visit that is over what a person, or a settled question, says it was.

        The difference becomes cart events and a new receipt, priced as of the exit. A visit under review is then
        charged; one that was charged gets a refund, or a second charge of the difference; one that owes money owes
        more, or less. The same cause again changes nothing.

        Args:
            session_id: The visit.
            lines: Units of each sku, 0 or more; what is not named was not in the cart.
            cause_id: The decision.
            at: Now, timezone-aware.
            reason: One sentence, kept with a refund.

        Raises:
            SessionNotFound: There is no such visit.
            VisitUnderWay: The shopper is in the store.
            SessionAlreadyClosed: The visit was abandoned: nobody came in.
            PaymentUnknown: A payment of the visit is under way, and the gateway does not say what became of it.
            PriceUnknown: A product has no price.
            ValueError: A quantity is negative or too large, or there is no reason.
        """
        check_aware("at", at)
        for sku, quantity in lines.items():
            if not sku or not 0 <= quantity <= MAX_QUANTITY:
                raise ValueError(f"lines: expected 0 to {MAX_QUANTITY} of each product, got {quantity} of {sku!r}")
        if not reason:
            raise ValueError("reason: expected a sentence, got nothing")
        if self.session(session_id).status is SessionStatus.CLOSED:
            self._settlement.settle(session_id, at, Repository.session)
        known = self._repricing(lambda: self._write_correction(session_id, lines, cause_id, at, reason))
        return self._settle(session_id, at, known)

    def refund(self, session_id: UUID, amount_minor: int, reason: str, cause_id: UUID | None, at: datetime) -> Refund:
        """Give money back out of goodwill: the receipt stays as it is, the visit costs so much less.

        It is taken from the newest charge, and from older ones, as further refunds, if that is not enough.

        Args:
            session_id: A visit that was charged.
            amount_minor: Positive, minor unit; at most what was taken and not given back.
            reason: One sentence.
            cause_id: The decision; the same one again gives the same refund. None if there is no such thing.
            at: Now, timezone-aware.

        Returns:
            The refund, of the newest charge; pending while the gateway gives no clear answer.

        Raises:
            SessionNotFound: There is no such visit.
            RefundExceedsPayment: It is more than was taken and not given back.
            EventConflict: The cause came before with another amount.
            PaymentUnknown: A payment of the visit is under way.
            ValueError: The amount is not positive, or there is no reason.
        """
        check_aware("at", at)
        if amount_minor < 1 or not reason:
            raise ValueError(f"refund: expected a positive amount and a reason, got {amount_minor} and {reason!r}")
        with self._database.transaction() as repository:
            session = repository.session(session_id)
            money = Money.of(repository, session_id)
            refunds = tuple(
                refund
                for refund in money.refunds
                if cause_id is not None and refund.cause_id == cause_id and refund.kind is RefundKind.GOODWILL
            )
            if refunds and sum(refund.amount_minor for refund in refunds) != amount_minor:
                raise EventConflict(f"refund for {cause_id} came with two amounts")
            known = None if refunds else self._settlement.pending(repository, session_id)
            refunds = refunds or self._write_goodwill(repository, session, money, amount_minor, reason, cause_id, at)
        now = self._settlement.settle(session_id, at, Repository.refunds, known=known)
        return next((refund for refund in now if refund.refund_id == refunds[0].refund_id), refunds[0])

    def debt_of(self, shopper_id: str) -> int:
        """What a shopper owes after declined payments, minor unit; a payment under way is not owed."""
        with self._database.reading() as repository:
            return max(0, repository.expected_minor(shopper_account(shopper_id), self._pricing.currency))

    def pay_debt(self, shopper_id: str, at: datetime) -> tuple[Outcome, ...]:
        """Try to take what a shopper owes, visit by visit, oldest first: each is a new charge with a key of its own.

        Args:
            shopper_id: Whose debt.
            at: Now, timezone-aware.

        Returns:
            How those visits stand now: charged; ``payment_failed`` after another decline; ``closed`` while the gateway
            gives no clear answer.
        """
        check_aware("at", at)
        with self._database.reading() as repository:
            session_ids = repository.sessions_of(shopper_id, SessionStatus.PAYMENT_FAILED)
        outcomes = []
        for session_id in session_ids:
            with self._database.transaction() as repository:
                session = repository.session(session_id)
                # Somebody else may be paying it, or have paid it, by now.
                known = None
                if session.status is SessionStatus.PAYMENT_FAILED:
                    known = self._settlement.pending(repository, session_id)
                    self._write_debt(repository, session, at)
            outcomes.append(self._settle(session_id, at, known))
        return tuple(outcomes)

    def outcome(self, session_id: UUID) -> Outcome | None:
        """How a visit ended as it stands now; None while it is open.

        Raises:
            SessionNotFound: There is no such visit.
        """
        with self._database.reading() as repository:
            if repository.session(session_id).status is SessionStatus.OPEN:
                return None
            return _read_outcome(repository, session_id)

    def session(self, session_id: UUID) -> Session:
        """One visit.

        Raises:
            SessionNotFound: There is no such visit.
        """
        with self._database.reading() as repository:
            return repository.session(session_id)

    def cart(self, session_id: UUID) -> Cart:
        """What a visit's cart holds.

        Raises:
            SessionNotFound: There is no such visit.
        """
        with self._database.reading() as repository:
            repository.session(session_id)
            return Cart.of(repository.cart_events(session_id))

    def carts(self, session_ids: Collection[UUID]) -> dict[UUID, Cart]:
        """What the carts of several visits hold, by visit; that of a visit which is not known is empty."""
        with self._database.reading() as repository:
            events = repository.cart_events_of(session_ids)
        return {session_id: Cart.of(events.get(session_id, ())) for session_id in session_ids}

    def receipts(self, session_id: UUID) -> tuple[Receipt, ...]:
        """Every receipt of a visit, that of the exit first, then its corrections.

        Raises:
            SessionNotFound: There is no such visit.
        """
        with self._database.reading() as repository:
            return repository.receipts(repository.session(session_id))

    def _settle(self, session_id: UUID, at: datetime, known: Collection[UUID] | None = None) -> Outcome:
        return self._settlement.settle(session_id, at, _read_outcome, known=known)

    def _repricing(self, write: Callable[[], _Written]) -> _Written:
        for _ in range(_COUPON_TRIES - 1):
            try:
                return write()
            except CouponUsed:
                continue
        return write()

    def _end_visit(self, session_id: UUID, at: datetime) -> frozenset[UUID] | None:
        """Freeze the receipt and decide what the visit comes to; the gateway is not called yet.

        Returns:
            What was pending before; None if the visit was not open.
        """
        with self._database.transaction() as repository:
            session = repository.session(session_id)
            if session.status is not SessionStatus.OPEN:
                return None
            known = self._settlement.pending(repository, session_id)
            cart = Cart.of(repository.cart_events(session_id))
            priced = self._pricing.price(repository, cart, at, session.shopper_id, session_id)
            for reason in doubts_about(priced.lines):
                repository.add_flag(ReviewFlag(session_id, reason, None, at))
            total_minor = priced.total_minor
            if not session.has_account:
                status = SessionStatus.NO_ACCOUNT
            elif repository.flags(session_id) or total_minor is None:
                status = SessionStatus.NEEDS_REVIEW
            elif not priced.lines:
                status = SessionStatus.EMPTY
            elif total_minor == 0:
                # Everything was free: it is settled, and no gateway takes a payment of nothing.
                status = SessionStatus.CHARGED
            else:
                status = SessionStatus.CLOSED
            ended = replace(session, status=status, closed_at=at)
            hold = repository.hold(session_id)
            if hold is not None and status not in (SessionStatus.CLOSED, SessionStatus.NEEDS_REVIEW):
                release_hold(repository, hold, at)
            receipt = self._write_receipt(repository, ended, priced, 1, None, at)
            tell(repository, "visit.closed", session_id, ended, at)
            if status is SessionStatus.NEEDS_REVIEW:
                tell(repository, "visit.needs_review", session_id, ended, at)
            if status is SessionStatus.CLOSED:
                charges = self._write_charges(repository, ended, receipt.total_minor or 0, 1, hold, at)
                dues = dues_of(receipt, ())
                book(repository, charges[0].charge_id, ended, receipt.currency, Dues(), dues, at)
            return known

    def _write_receipt(
        self,
        repository: Repository,
        session: Session,
        priced: PricedCart,
        sequence: int,
        cause_id: UUID | None,
        at: datetime,
    ) -> Receipt:
        """Write a visit's end and its receipt, which gets its number, and is sent, if nothing is left to pay."""
        repository.change_session(session)
        is_paid = session.status is SessionStatus.CHARGED
        receipt = Receipt.of(
            session,
            priced.lines,
            self._pricing.currency,
            at,
            repository.next_number(RECEIPTS) if is_paid else None,
            discounts=priced.discounts,
            tax_rule=priced.tax_rule,
            sequence=sequence,
        )
        repository.add_receipt(receipt, cause_id)
        if session.status in BOOKED:
            self._pricing.use(repository, priced, session.session_id, at)
        if is_paid:
            tell(repository, "receipt.issued", f"{session.session_id}:{sequence}", session, at)
        if is_paid or session.status in _OWED or (session.status is SessionStatus.EMPTY and sequence > 1):
            send_receipt(repository, session, sequence, at)
        return receipt

    def _write_charges(
        self,
        repository: Repository,
        session: Session,
        amount_minor: int,
        sequence: int,
        hold: Hold | None,
        at: datetime,
    ) -> list[Charge]:
        """Write what is to be taken: of the hold as far as it goes, and the rest by a payment of its own."""
        parts: list[tuple[int, UUID | None]] = [(amount_minor, None)]
        if hold is not None and hold.status is HoldStatus.HELD:
            of_hold_minor = min(amount_minor, hold.amount_minor)
            parts = [(of_hold_minor, hold.hold_id), (amount_minor - of_hold_minor, None)]
        elif hold is not None:
            # The gateway never said whether it holds anything, so nothing is taken of it.
            release_hold(repository, hold, at)
        charges = [
            Charge(
                self._new_id(),
                session.session_id,
                ChargeKind.CAPTURE,
                sequence + place,
                part_minor,
                self._pricing.currency,
                ChargeStatus.PENDING,
                at,
                hold_id=hold_id,
            )
            for place, (part_minor, hold_id) in enumerate(parts)
            if part_minor
        ]
        for charge in charges:
            write_charge(repository, charge, session, at)
        return charges

    def _write_correction(
        self, session_id: UUID, lines: Mapping[str, int], cause_id: UUID, at: datetime, reason: str
    ) -> frozenset[UUID] | None:
        """Write everything that a correction changes; the gateway is not called yet.

        Returns:
            What was pending before; None if the cause is not new.
        """
        with self._database.transaction() as repository:
            session = repository.session(session_id)
            if repository.corrected_by(session_id, cause_id):
                return None
            known = self._settlement.pending(repository, session_id)
            before = _ended(repository, session)
            self._write_events(repository, session_id, lines, cause_id, at)
            cart = Cart.of(repository.cart_events(session_id))
            left_at = session.closed_at or at
            priced = self._pricing.price(repository, cart, left_at, session.shopper_id, session_id)
            priced = _priced_as_before(priced, before)
            if priced.total_minor is None:
                unknown = ", ".join(line.sku for line in priced.lines if line.unit_price_minor is None)
                raise PriceUnknown(f"visit {session_id}: the price of {unknown} is not known")
            money = Money.of(repository, session_id)
            old = dues_of(before, money.refunds) if session.status in BOOKED else Dues()
            # The receipt's status is that of the visit, which is known only once the receipt's total is.
            draft = Receipt.of(
                session,
                priced.lines,
                self._pricing.currency,
                at,
                discounts=priced.discounts,
                tax_rule=priced.tax_rule,
            )
            new = dues_of(draft, money.refunds)
            owed_minor = new.total_minor - money.kept_minor
            if not session.has_account:
                status = SessionStatus.NO_ACCOUNT
            elif owed_minor > 0:
                is_debt = session.status is SessionStatus.PAYMENT_FAILED
                status = SessionStatus.PAYMENT_FAILED if is_debt else SessionStatus.CLOSED
            elif not priced.lines and not money.taken_minor:
                status = SessionStatus.EMPTY
            else:
                status = SessionStatus.CHARGED
            session = replace(session, status=status)
            self._write_receipt(repository, session, priced, before.sequence + 1, cause_id, at)
            if not session.has_account:
                return known
            book(repository, uuid5(cause_id, str(session_id)), session, before.currency, old, new, at)
            hold = repository.hold(session_id)
            if status is SessionStatus.CLOSED:
                sequence = money.next_sequence(ChargeKind.CAPTURE)
                self._write_charges(repository, session, owed_minor, sequence, _unused(hold), at)
            elif hold is not None:
                release_hold(repository, hold, at)
            if owed_minor < 0:
                write_refunds(
                    repository,
                    session,
                    money,
                    -owed_minor,
                    RefundKind.CORRECTION,
                    reason,
                    cause_id,
                    self._new_id,
                    at,
                )
            return known

    def _write_events(
        self, repository: Repository, session_id: UUID, lines: Mapping[str, int], cause_id: UUID, at: datetime
    ) -> None:
        """Write the cart events that turn the cart into what was decided."""
        now = {line.sku: line.quantity for line in Cart.of(repository.cart_events(session_id)).lines}
        for sku in sorted(now.keys() | lines.keys()):
            left, part = lines.get(sku, 0) - now.get(sku, 0), 0
            while left:
                quantity = max(-MAX_QUANTITY, min(MAX_QUANTITY, left))
                event_id = uuid5(cause_id, f"{session_id}:{sku}:{part}")
                repository.add_cart_event(CartEvent(event_id, session_id, at, sku, quantity, cause_id))
                left, part = left - quantity, part + 1

    def _write_goodwill(
        self,
        repository: Repository,
        session: Session,
        money: Money,
        amount_minor: int,
        reason: str,
        cause_id: UUID | None,
        at: datetime,
    ) -> tuple[Refund, ...]:
        if not money.is_settled:
            raise PaymentUnknown(f"visit {session.session_id}: expected a settled payment, one is under way")
        if amount_minor > money.kept_minor:
            raise RefundExceedsPayment(
                f"visit {session.session_id}: expected at most {money.kept_minor}, got {amount_minor}"
            )
        receipt = _ended(repository, session)
        refunds = write_refunds(
            repository, session, money, amount_minor, RefundKind.GOODWILL, reason, cause_id, self._new_id, at
        )
        before, after = dues_of(receipt, money.refunds), dues_of(receipt, (*money.refunds, *refunds))
        book(repository, refunds[0].refund_id, session, receipt.currency, before, after, at)
        return refunds

    def _write_debt(self, repository: Repository, session: Session, at: datetime) -> None:
        receipt = _ended(repository, session)
        money = Money.of(repository, session.session_id)
        charge = Charge(
            self._new_id(),
            session.session_id,
            ChargeKind.DEBT,
            money.next_sequence(ChargeKind.DEBT),
            dues_of(receipt, money.refunds).total_minor - money.kept_minor,
            receipt.currency,
            ChargeStatus.PENDING,
            at,
        )
        repository.change_session(replace(session, status=SessionStatus.CLOSED))
        write_charge(repository, charge, session, at)


def _open_visit(repository: Repository, session_id: UUID) -> Session:
    session = repository.session(session_id)
    if session.status is not SessionStatus.OPEN:
        raise SessionAlreadyClosed(f"visit {session_id} is {session.status}, expected an open one")
    return session


def _ended(repository: Repository, session: Session) -> Receipt:
    """The newest receipt of a visit that is over, with no payment under way."""
    if session.status is SessionStatus.OPEN:
        raise VisitUnderWay(f"visit {session.session_id} is open, expected one that is over")
    if session.status is SessionStatus.ABANDONED:
        raise SessionAlreadyClosed(f"visit {session.session_id} was abandoned, nobody came in")
    if session.status is SessionStatus.CLOSED:
        raise PaymentUnknown(f"visit {session.session_id}: a payment is under way, its outcome is not known yet")
    receipt = repository.receipt(session)
    if receipt is None:
        raise SessionNotFound(f"visit {session.session_id} has no receipt, it is {session.status}")
    return receipt


def _priced_as_before(priced: PricedCart, before: Receipt) -> PricedCart:
    """A corrected cart with the prices of the receipt it corrects, for prices that know no past.

    Offers and coupons are reckoned from prices, so where there are some they are left as they were reckoned.
    """
    if priced.discounts or before.discounts:
        return priced
    known = {line.sku: line for line in before.lines if line.unit_price_minor is not None}
    lines = [
        replace(known[line.sku], quantity=line.quantity, probability=line.probability) if line.sku in known else line
        for line in priced.lines
    ]
    return replace(priced, lines=tuple(lines))


def _unused(hold: Hold | None) -> Hold | None:
    """A hold that can still be captured, or has to be let go."""
    return hold if hold is not None and hold.status in (HoldStatus.HELD, HoldStatus.PENDING) else None


def doubts_about(lines: Iterable[ReceiptLine]) -> list[str]:
    """Reasons why a priced cart cannot be charged as it is, one sentence each."""
    doubts = []
    for line in lines:
        product = line.sku if line.name == line.sku else f"{line.name} ({line.sku})"
        if line.quantity < 0:
            doubts.append(f"{-line.quantity} x {product} came back that nobody was seen taking")
        if line.unit_price_minor is None:
            doubts.append(f"the price of {product} is not known")
    return doubts


def _read_outcome(repository: Repository, session_id: UUID) -> Outcome:
    session = repository.session(session_id)
    receipt = repository.receipt(session)
    if receipt is None:
        raise SessionNotFound(f"visit {session_id} has no receipt, it is {session.status}")
    charges = repository.charges(session_id)
    return Outcome(
        session,
        receipt,
        charges[-1] if charges else None,
        repository.flags(session_id),
        charges,
        repository.refunds(session_id),
        repository.hold(session_id),
    )
