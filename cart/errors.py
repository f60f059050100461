"""What can go wrong in the shop: one tree of errors, each with the HTTP status it answers with.

::

    StoreError                  500
    ├── SessionNotFound         404
    ├── SessionAlreadyClosed    409
    ├── EventConflict           409
    ├── LedgerConflict          409
    ├── PaymentDeclined         402
    ├── PaymentUnknown          503
    └── IdempotencyKeyReused    422

Wrong arguments are ``ValueError``, as everywhere in the project; a ``StoreError`` is a fact about the business.
"""

from typing import ClassVar


class StoreError(Exception):
    """A business rule said no; the message says what was expected and what came.

    Attributes:
        status: HTTP status an interface answers with.
        title: Short summary of the kind of problem, the ``title`` member of RFC 9457.
    """

    status: ClassVar[int] = 500
    title: ClassVar[str] = "The store failed"


class SessionNotFound(StoreError):
    """No visit has this id."""

    status = 404
    title = "Visit not found"


class SessionAlreadyClosed(StoreError):
    """The visit is over: its cart does not change any more."""

    status = 409
    title = "Visit already closed"


class EventConflict(StoreError):
    """A cart event came again under the same id with other content."""

    status = 409
    title = "Cart event conflicts with an earlier one"


class LedgerConflict(StoreError):
    """A transfer contradicts the ledger, such as one that resolves a pending transfer for the second time."""

    status = 409
    title = "Transfer conflicts with the ledger"


class PaymentDeclined(StoreError):
    """The gateway said no for good: no money moved, and it never will under this idempotency key."""

    status = 402
    title = "Payment declined"


class PaymentUnknown(StoreError):
    """The gateway did not answer, or not clearly: money may have moved. Look the payment up before trying again."""

    status = 503
    title = "Payment outcome unknown"


class IdempotencyKeyReused(StoreError):
    """An idempotency key came again with another payment."""

    status = 422
    title = "Idempotency key reused for another payment"
