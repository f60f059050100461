"""The shop's database tables.

Some rows are only ever added (``APPEND_ONLY``): the database itself refuses to change or delete them, by triggers. A
change here needs a migration in ``cart/migrations/versions``; a test compares the two.
"""

from cart.tables.aftercare import DecisionRow, DisputeRow, EvidenceRow
from cart.tables.base import APPEND_ONLY, Base, UtcDateTime, append_only_ddl
from cart.tables.doors import AdmissionRow, EntryKeyRow, GateCommandRow, ScanRow, UsedCodeRow
from cart.tables.money import ChargeRow, CounterRow, HoldRow, RefundRow, TransferRow
from cart.tables.outbox import IdempotentReplyRow, OutboxRow, ReceivedWebhookRow, WebhookEndpointRow
from cart.tables.pages import LayoutVersionRow, ProductPictureRow
from cart.tables.people import AccountRow, AuditRow, PasskeyChallengeRow, PasskeyRow, PasswordRow, TokenRow
from cart.tables.prices import CouponRow, CouponUseRow, OfferRow, PriceRow, ProductRow, ReceiptDiscountRow
from cart.tables.visits import CartEventRow, ReceiptLineRow, ReceiptRow, ReviewFlagRow, SessionRow

__all__ = [
    "APPEND_ONLY",
    "AccountRow",
    "AdmissionRow",
    "AuditRow",
    "Base",
    "CartEventRow",
    "ChargeRow",
    "CounterRow",
    "CouponRow",
    "CouponUseRow",
    "DecisionRow",
    "DisputeRow",
    "EntryKeyRow",
    "EvidenceRow",
    "GateCommandRow",
    "HoldRow",
    "IdempotentReplyRow",
    "LayoutVersionRow",
    "OfferRow",
    "OutboxRow",
    "PasskeyChallengeRow",
    "PasskeyRow",
    "PasswordRow",
    "PriceRow",
    "ProductPictureRow",
    "ProductRow",
    "ReceiptDiscountRow",
    "ReceiptLineRow",
    "ReceiptRow",
    "ReceivedWebhookRow",
    "RefundRow",
    "ReviewFlagRow",
    "ScanRow",
    "SessionRow",
    "TokenRow",
    "TransferRow",
    "UsedCodeRow",
    "UtcDateTime",
    "WebhookEndpointRow",
    "append_only_ddl",
]
