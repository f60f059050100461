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
sale into the ledger and a *pending* charge with its idempotency key; only then is the gateway called. The second
transaction writes what came of it. Whoever finds a pending charge, a second caller or a restarted process, looks the
payment up at the gateway before trying again, and always under the same key.
"""

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID, uuid4, uuid5

from cart.cart import Cart
from cart.catalog import Catalogue
from cart.errors import (
    EventConflict,
    LedgerConflict,
    PaymentDeclined,
    PaymentUnknown,
    SessionAlreadyClosed,
    SessionNotFound,
)
from cart.events import CartEvent, ReviewFlag, check_aware
from cart.ledger import (
    GATEWAY,
    SALES,
    TAX,
    Transfer,
    TransferCode,
    TransferPhase,
    shopper_account,
)
from cart.payments import (
    Charge,
    ChargeKind,
    ChargeStatus,
    PaymentGateway,
    PaymentRequest,
    PaymentState,
)
from cart.questions import Question
from cart.receipts import Receipt, ReceiptLine, price_cart, total_of
from cart.repository import Database, Repository
from cart.sessions import Session, SessionStatus

_log = logging.getLogger(__name__)

# Further kinds and later sequences (corrections, debts) come with their own approval; the exit's capture is the first.
_EXIT_SEQUENCE = 1
_RECEIPTS = "receipts"
_PAYMENT = "payment"
_CHARGE_STATUS = {
    PaymentState.CAPTURED: ChargeStatus.POSTED,
    PaymentState.VOIDED: ChargeStatus.VOIDED,
    PaymentState.DECLINED: ChargeStatus.FAILED,
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a visit ended.

    Attributes:
        session: The visit.
        receipt: Always there; numbered only if charged.
        charge: The charge; None if there was nothing to charge or nobody may be charged.
        flags: Why a person should look at the visit, oldest first.
    """

    session: Session
    receipt: Receipt
    charge: Charge | None
    flags: tuple[ReviewFlag, ...] = ()

    @property
    def questions(self) -> tuple[Question, ...]:
        """What a person has to decide, oldest first, each once."""
        return tuple(dict.fromkeys(flag.question for flag in self.flags if flag.question is not None))

    @property
    def status(self) -> SessionStatus:
        """Charged, empty, needs review, no account, payment failed; closed while the payment is not known."""
        return self.session.status


class Checkout:
    """Visits, their carts, and what they are charged. Safe to call from several threads.

    Args:
        database: Where everything is kept.
        catalogue: What is sold, at what price. A visit is priced when it is closed.
        gateway: Who takes the money.
        new_id: Makes ids of visits and charges.
        payment_attempts: How often a payment with an unclear outcome is tried within one call, at least 1. What is
            still unclear then is tried again by the next ``close`` or ``resume``.
    """

    def __init__(
        self,
        database: Database,
        catalogue: Catalogue,
        gateway: PaymentGateway,
        new_id: Callable[[], UUID] = uuid4,
        payment_attempts: int = 3,
    ) -> None:
        if payment_attempts < 1:
            raise ValueError(f"payment_attempts: expected at least 1, got {payment_attempts}")
        self._database = database
        self._catalogue = catalogue
        self._gateway = gateway
        self._new_id = new_id
        self._payment_attempts = payment_attempts

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
        with self._database.transaction() as repository:
            repository.session(session_id)
            repository.add_flag(ReviewFlag(session_id, reason, cause_id, at, question))

    def close(self, session_id: UUID, at: datetime) -> Outcome:
        """End a visit and charge it, if it may be charged; closing again gives the same outcome and charges nothing.

        ``no_account`` if there is nobody to charge; else ``needs_review`` if it was flagged, a price is not known, or
        more came back than was taken; else ``empty`` if nothing was taken; else ``charged``, or ``payment_failed``
        after a definite decline, or ``closed`` while the payment's outcome is not known. In that last case closing
        again, or ``resume``, goes on where it stopped.

        Args:
            session_id: The visit.
            at: When the shopper left, timezone-aware.

        Raises:
            SessionNotFound: There is no such visit.
        """
        check_aware("at", at)
        with self._database.transaction() as repository:
            session = repository.session(session_id)
            newly_closed = session.status is SessionStatus.OPEN
            if newly_closed:
                self._end_visit(repository, session, at)
        return self._settle(session_id, at, heard_of=not newly_closed)

    def resume(self, at: datetime) -> list[Outcome]:
        """Go on with every payment whose outcome is not known, as after a crash, oldest first.

        Args:
            at: When, timezone-aware.

        Returns:
            How those visits stand now; ``closed`` where the gateway still gives no clear answer.
        """
        check_aware("at", at)
        with self._database.reading() as repository:
            charges = repository.pending_charges()
        return [self._settle(charge.session_id, at, heard_of=True) for charge in charges]

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

    def _end_visit(self, repository: Repository, session: Session, at: datetime) -> None:
        """Freeze the receipt and decide what the visit comes to; the gateway is not called yet."""
        lines = price_cart(Cart.of(repository.cart_events(session.session_id)), self._catalogue)
        for reason in doubts_about(lines):
            repository.add_flag(ReviewFlag(session.session_id, reason, None, at))
        total_minor = total_of(lines)
        if not session.has_account:
            status = SessionStatus.NO_ACCOUNT
        elif repository.flags(session.session_id) or total_minor is None:
            status = SessionStatus.NEEDS_REVIEW
        elif not lines:
            status = SessionStatus.EMPTY
        elif total_minor == 0:
            # Everything was free: it is settled, and no gateway takes a payment of nothing.
            status = SessionStatus.CHARGED
        else:
            status = SessionStatus.CLOSED
        ended = replace(session, status=status, closed_at=at)
        repository.change_session(ended)
        number = repository.next_number(_RECEIPTS) if status is SessionStatus.CHARGED else None
        receipt = Receipt.of(ended, lines, self._catalogue.currency, at, number)
        repository.add_receipt(receipt)
        if status is SessionStatus.CLOSED:
            self._write_charge(repository, receipt, at)

    def _write_charge(self, repository: Repository, receipt: Receipt, at: datetime) -> None:
        """Write the sale, and a pending charge with its key; what happens after this can always be picked up again."""
        total_minor, tax_minor, subtotal_minor = receipt.total_minor, receipt.tax_minor, receipt.subtotal_minor
        if total_minor is None or tax_minor is None or subtotal_minor is None:
            raise ValueError(f"visit {receipt.session_id}: expected a known price for everything")
        charge = Charge(
            self._new_id(),
            receipt.session_id,
            ChargeKind.CAPTURE,
            _EXIT_SEQUENCE,
            total_minor,
            receipt.currency,
            ChargeStatus.PENDING,
            at,
        )
        repository.add_charge(charge)
        # The goods have left the store, so the sale stands whatever the payment does: until it is paid it is owed.
        shopper = shopper_account(receipt.shopper_id)
        for name, account, amount_minor, code in (
            ("sale", SALES, subtotal_minor, TransferCode.SALE),
            ("tax", TAX, tax_minor, TransferCode.TAX),
        ):
            if amount_minor:
                repository.add_transfer(
                    Transfer(
                        uuid5(charge.charge_id, name),
                        shopper,
                        account,
                        amount_minor,
                        charge.currency,
                        code,
                        TransferPhase.IMMEDIATE,
                        at,
                    )
                )
        repository.add_transfer(
            Transfer(
                uuid5(charge.charge_id, _PAYMENT),
                GATEWAY,
                shopper,
                charge.amount_minor,
                charge.currency,
                TransferCode.PAYMENT,
                TransferPhase.PENDING,
                at,
            )
        )

    def _settle(self, session_id: UUID, at: datetime, *, heard_of: bool) -> Outcome:
        """Bring a pending charge to its end, if the gateway says what became of it.

        Args:
            session_id: A closed visit.
            at: Now.
            heard_of: Whether the gateway may have heard of the charge before.
        """
        with self._database.reading() as repository:
            outcome = _read_outcome(repository, session_id)
        charge = outcome.charge
        if charge is None or charge.status is not ChargeStatus.PENDING:
            return outcome
        request = PaymentRequest(
            charge.idempotency_key, outcome.session.shopper_id, charge.amount_minor, charge.currency
        )
        for attempt in range(self._payment_attempts):
            try:
                result = self._take_payment(charge, request, heard_of=heard_of or attempt > 0)
            except PaymentUnknown as error:
                _log.warning("charge %s: attempt %d: %s", charge.charge_id, attempt + 1, error)
            else:
                return self._write_result(result, at)
        return outcome

    def _take_payment(self, charge: Charge, request: PaymentRequest, *, heard_of: bool) -> Charge:
        """Ask the gateway for the money and return the charge as it stands then, posted, voided or failed.

        Raises:
            PaymentUnknown: The gateway gave no clear answer.
        """
        # A gateway may have forgotten the key of an old payment and would then take the money again.
        payment = self._gateway.look_up(request.idempotency_key) if heard_of else None
        if payment is None:
            try:
                payment = self._gateway.authorise(request)
            except PaymentDeclined as error:
                _log.info("charge %s: %s", charge.charge_id, error)
                return replace(charge, status=ChargeStatus.FAILED)
        if payment.request != request:
            raise PaymentUnknown(f"{request.idempotency_key}: the gateway knows another payment under this key")
        if payment.state is PaymentState.AUTHORISED:
            try:
                payment = self._gateway.capture(payment)
            except PaymentDeclined as error:
                _log.info("charge %s: %s", charge.charge_id, error)
                payment = replace(payment, state=PaymentState.VOIDED)
        return replace(charge, status=_CHARGE_STATUS[payment.state], gateway_reference=payment.reference)

    def _write_result(self, result: Charge, at: datetime) -> Outcome:
        """Write what became of a charge, unless somebody else did so meanwhile."""
        with self._database.transaction() as repository:
            session = repository.session(result.session_id)
            current = repository.charge(result.session_id)
            if current is None or current.charge_id != result.charge_id or current.status is not ChargeStatus.PENDING:
                return _read_outcome(repository, result.session_id)
            pending = repository.transfer(uuid5(result.charge_id, _PAYMENT))
            if pending is None:
                raise LedgerConflict(f"charge {result.charge_id} has no pending transfer")
            repository.change_charge(result)
            if result.status is ChargeStatus.POSTED:
                repository.add_transfer(pending.post(uuid5(result.charge_id, f"{_PAYMENT}:post"), at))
                repository.change_session(replace(session, status=SessionStatus.CHARGED))
                repository.issue_receipt(session.session_id, repository.next_number(_RECEIPTS), at)
            else:
                repository.add_transfer(pending.void(uuid5(result.charge_id, f"{_PAYMENT}:void"), at))
                repository.change_session(replace(session, status=SessionStatus.PAYMENT_FAILED))
            return _read_outcome(repository, result.session_id)


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
    return Outcome(session, receipt, repository.charge(session_id), repository.flags(session_id))
