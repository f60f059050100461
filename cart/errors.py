"""What can go wrong in the shop: one tree of errors, each with the HTTP status it answers with.

::

    StoreError                  500
    ├── SessionNotFound         404
    ├── SessionAlreadyClosed    409
    ├── EventConflict           409
    ├── VisitUnderWay           409
    ├── PriceUnknown            409
    ├── LedgerConflict          409
    ├── RefundExceedsPayment    409
    ├── PaymentDeclined         402
    ├── PaymentUnknown          503
    ├── IdempotencyKeyReused    422
    ├── OffersOverlap           409
    ├── CouponNotFound          404
    ├── CouponUsed              409
    ├── ReceiptFontMissing      503
    ├── RecordingNotFound       404
    ├── RecordingRefused        422
    ├── ReplayNotFound          404
    ├── ReplaysBusy             409
    ├── LayoutNotFound          404
    ├── LayoutRefused           422
    ├── LayoutChanged           409
    ├── DemoRefused             422
    ├── NotTheDemoVisit         409
    ├── AddressRefused          422
    ├── AccountNotFound         404
    ├── AccountDetailsRefused   422
    ├── EmailTaken              409
    ├── SignInFailed            401
    ├── TokenRefused            401
    ├── AccountBlocked          403
    ├── NotAllowed              403
    ├── TokenNotFound           404
    ├── TooManyAttempts         429
    ├── PasskeyRefused          422
    ├── PasskeyNotFound         404
    ├── ErasureRefused          409
    ├── NotUnderReview          409
    ├── DecisionRefused         422
    ├── DisputeNotFound         404
    ├── DisputeRefused          409
    ├── LineNotFound            404
    ├── EvidenceNotFound        404
    ├── EndpointNotFound        404
    ├── GrantNotFound           404
    └── GuestsRefused           409

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


class VisitUnderWay(StoreError):
    """The shopper is in the store: what makes sense before they come in or after they left has to wait."""

    status = 409
    title = "Visit under way"


class PriceUnknown(StoreError):
    """A cart holds something that has no price, so nobody can be charged for it."""

    status = 409
    title = "Price not known"


class RefundExceedsPayment(StoreError):
    """More was to be given back than was taken and not yet given back."""

    status = 409
    title = "Refund exceeds what was paid"


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


class AddressRefused(StoreError):
    """An address given from outside is not one that the shop connects to."""

    status = 422
    title = "Address refused"


class AccountNotFound(StoreError):
    """No account has this id, or it was erased."""

    status = 404
    title = "Account not found"


class AccountDetailsRefused(StoreError):
    """Something a person gave of themselves is not accepted: e-mail address, name, password, payment reference."""

    status = 422
    title = "Account details not accepted"


class EmailTaken(StoreError):
    """There is an account with this e-mail address."""

    status = 409
    title = "E-mail address already in use"


class SignInFailed(StoreError):
    """Who signs in was not recognised; it is not said whether the account is unknown or the proof is wrong."""

    status = 401
    title = "Sign-in failed"


class TokenRefused(StoreError):
    """A bearer token is unknown, expired or revoked, or its account may not be used."""

    status = 401
    title = "Token not accepted"


class AccountBlocked(StoreError):
    """Who signs in was recognised, but the account is blocked."""

    status = 403
    title = "Account blocked"


class NotAllowed(StoreError):
    """Whoever asks has no right to this."""

    status = 403
    title = "Not allowed"


class TokenNotFound(StoreError):
    """No token of that account has this id."""

    status = 404
    title = "Token not found"


class TooManyAttempts(StoreError):
    """Too many failures in a short time; see ``retry_after_s``.

    Args:
        message: What was tried too often.
        retry_after_s: Seconds until another try makes sense, at least 1.
    """

    status = 429
    title = "Too many attempts"

    def __init__(self, message: str, retry_after_s: int = 1) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class PasskeyRefused(StoreError):
    """A new passkey could not be verified."""

    status = 422
    title = "Passkey not accepted"


class PasskeyNotFound(StoreError):
    """No passkey of that account has this id."""

    status = 404
    title = "Passkey not found"


class ErasureRefused(StoreError):
    """An account cannot be erased as long as a visit is open, money is pending or something is owed."""

    status = 409
    title = "Erasure not possible yet"


class NotUnderReview(StoreError):
    """The visit does not wait for a decision: it was decided already, or is not over yet."""

    status = 409
    title = "Visit not open to a decision"


class DecisionRefused(StoreError):
    """What was decided is no cart: answers are missing, or name no product, or leave less than nothing."""

    status = 422
    title = "Decision cannot be carried out"


class DisputeNotFound(StoreError):
    """No dispute has this id."""

    status = 404
    title = "Dispute not found"


class DisputeRefused(StoreError):
    """A line cannot be questioned: too late, too often, asked already, or a person is looking at the visit anyhow."""

    status = 409
    title = "Line cannot be disputed"


class LineNotFound(StoreError):
    """The receipt has no line of this product."""

    status = 404
    title = "Line not found"


class EvidenceNotFound(StoreError):
    """There is no such evidence, or its time is over."""

    status = 404
    title = "Evidence not found"


class EndpointNotFound(StoreError):
    """No webhook endpoint has this id."""

    status = 404
    title = "Webhook endpoint not found"


class OffersOverlap(StoreError):
    """An offer cannot be put up beside those that there are."""

    status = 409
    title = "Offer conflicts with others"


class CouponNotFound(StoreError):
    """No coupon of this code can be claimed."""

    status = 404
    title = "Coupon not found"


class CouponUsed(StoreError):
    """The coupon was used before; that happens once."""

    status = 409
    title = "Coupon already used"


class ReceiptFontMissing(StoreError):
    """No font on this machine has the letters of a receipt, so it cannot be set as a PDF."""

    status = 503
    title = "No font for this receipt"


class GrantNotFound(StoreError):
    """No order to a gate has this id."""

    status = 404
    title = "Grant not found"


class GuestsRefused(StoreError):
    """Nobody can come in as a guest of this visit."""

    status = 409
    title = "Guests refused"


class RecordingNotFound(StoreError):
    """There is no such recording in the folder of recordings."""

    status = 404
    title = "Recording not found"


class RecordingRefused(StoreError):
    """What a recording is called, or what lies in it, leads out of the folder of recordings."""

    status = 422
    title = "Recording refused"


class ReplayNotFound(StoreError):
    """There is no such replay."""

    status = 404
    title = "Replay not found"


class ReplaysBusy(StoreError):
    """As many replays wait, or are kept, as may be."""

    status = 409
    title = "Too many replays"


class LayoutNotFound(StoreError):
    """The layout has no such version."""

    status = 404
    title = "Layout version not found"


class LayoutRefused(StoreError):
    """A layout or a calibration contradicts itself, or the floor cannot work with it."""

    status = 422
    title = "Layout refused"


class LayoutChanged(StoreError):
    """Somebody else has saved a version since the one that was drawn over."""

    status = 409
    title = "Layout changed meanwhile"


class DemoRefused(StoreError):
    """The simulated store cannot do what was asked of it."""

    status = 422
    title = "Not in the demo store"


class NotTheDemoVisit(StoreError):
    """Nobody can shop on this visit: it is over, or somebody does already."""

    status = 409
    title = "Nobody can shop on this visit"
