"""The fake gateway in the store's own process: its books are a file, so that a shop on trial keeps its money."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cart.errors import IdempotencyKeyReused, PaymentDeclined, PaymentUnknown
from cart.gateways.journal import Journal, JournalPayment, RefusedError, StoredFailureError
from cart.payments import Payment, PaymentRequest, PaymentState


class LocalGateway:
    """A ``PaymentGateway`` that moves no real money and forgets nothing. Safe to call from several threads.

    Args:
        books: The file it keeps; ``:memory:`` keeps nothing.

    >>> gateway = LocalGateway(":memory:")
    >>> payment = gateway.authorise(PaymentRequest("hold:1", "ada", 500, "EUR"))
    >>> gateway.capture(payment, 199).captured_minor, gateway.look_up("hold:1").state
    (199, <PaymentState.CAPTURED: 'captured'>)
    """

    def __init__(self, books: Path | str) -> None:
        self._journal = Journal(books)

    def close(self) -> None:
        """Close the books."""
        self._journal.close()

    def authorise(self, request: PaymentRequest) -> Payment:
        """Hold an amount; see ``PaymentGateway``."""
        key = request.idempotency_key
        with _refusals(reused=True):
            return _payment(self._journal.authorise(key, request.shopper_id, request.amount_minor, request.currency))

    def capture(self, payment: Payment, amount_minor: int | None = None) -> Payment:
        """Take a held amount or a part of it; see ``PaymentGateway``."""
        with _refusals():
            return _payment(self._journal.capture(payment.reference, amount_minor))

    def void(self, payment: Payment) -> Payment:
        """Let a hold go; see ``PaymentGateway``."""
        with _refusals():
            return _payment(self._journal.void(payment.reference))

    def refund(self, payment: Payment, amount_minor: int, idempotency_key: str) -> Payment:
        """Give something back; see ``PaymentGateway``."""
        with _refusals(reused=True):
            return _payment(self._journal.refund(payment.reference, amount_minor, idempotency_key))

    def look_up(self, idempotency_key: str) -> Payment | None:
        """Find the payment made under a key; None if there is none."""
        found = self._journal.look_up(idempotency_key)
        return _payment(found[0]) if found else None

    def look_up_refund(self, idempotency_key: str) -> int | None:
        """What was given back under a key, minor unit; None if nothing was."""
        return self._journal.look_up_refund(idempotency_key)


@contextmanager
def _refusals(*, reused: bool = False) -> Iterator[None]:
    try:
        yield
    except RefusedError as error:
        if reused and error.status == 422:
            raise IdempotencyKeyReused(str(error)) from error
        raise PaymentDeclined(str(error)) from error
    except StoredFailureError as error:
        raise PaymentUnknown(str(error)) from error


def _payment(entry: JournalPayment) -> Payment:
    request = PaymentRequest(entry.idempotency_key, entry.shopper_id, entry.amount_minor, entry.currency)
    return Payment(entry.reference, request, PaymentState(entry.state), entry.captured_minor, entry.refunded_minor)
