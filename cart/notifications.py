"""What shoppers are told after a visit: receipts and letters, and the handlers for everything that comes after it."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from uuid import UUID

from cart.checkout import Checkout
from cart.decisions import Decisions, Dispute, dispute_from
from cart.errors import SessionNotFound
from cart.mail import Attachment, Letter, Mailer
from cart.money import format_amount
from cart.outbox import Effect, GivenUpError, Handler, Message
from cart.receipt_documents import installed_fonts, receipt_mail
from cart.receipt_words import language_of
from cart.receipts import Receipt
from cart.repository import Database, Repository
from cart.reviews import account_of
from cart.sessions import Session, SessionStatus
from cart.tables import AccountRow, DisputeRow
from cart.webhooks import Webhooks


@dataclass(frozen=True, slots=True)
class _Reader:
    """Who gets a letter."""

    email: str
    name: str
    locale: str


class Notifications:
    """Writes and sends what shoppers are told.

    Args:
        database: The shop's.
        mailer: Sends letters.
        store_name: In whose name.
        zone: The store's time zone, for receipts.
        font: Tried before those of the machine for receipts as PDF.
    """

    def __init__(
        self, database: Database, mailer: Mailer, store_name: str, zone: tzinfo = UTC, font: Path | None = None
    ) -> None:
        self._database = database
        self._mailer = mailer
        self._store_name = store_name
        self._zone, self._font = zone, font

    def handlers(self) -> dict[Effect, Handler]:
        """What the sweeper calls for receipts and letters."""
        return {Effect.RECEIPT: self.send_receipt, Effect.MAIL: self.send_letter}

    def send_receipt(self, message: Message) -> None:
        """Send the receipt of a visit to its shopper; nobody is written to who has no address.

        Args:
            message: Its payload has ``session_id``, and ``sequence`` for another receipt than the newest.
        """
        session_id = UUID(message.payload["session_id"])
        with self._database.reading() as repository:
            session = _session(repository, session_id)
            reader = _reader(repository, account_of(session))
            receipt = repository.receipt(session, message.payload.get("sequence"))
        if receipt is None:
            raise GivenUpError("the visit has no receipt")
        if reader is None:
            return
        self._mailer.send(self._receipt_letter(message, reader, receipt))

    def send_letter(self, message: Message) -> None:
        """Send a letter.

        Args:
            message: Its payload has ``letter``, which one, and the ids that it is about; or ``account_id``, ``subject``
                and ``text`` of a letter that is written already.
        """
        with self._database.reading() as repository:
            written = self._written(repository, message)
        if written is not None:
            self._mailer.send(written)

    def _receipt_letter(self, message: Message, reader: _Reader, receipt: Receipt) -> Letter:
        # Who it is from and to is for the mailer to say.
        nobody = "nobody@tillfree.invalid"
        fonts = installed_fonts(self._font)
        made = receipt_mail(receipt, self._store_name, nobody, nobody, reader.locale, self._zone, fonts)
        text, html = made.get_body(("plain",)), made.get_body(("html",))
        return Letter(
            message.key,
            reader.email,
            str(made["Subject"]),
            "" if text is None else text.get_content(),
            message.created_at,
            None if html is None else html.get_content(),
            tuple(
                Attachment(part.get_filename() or "receipt", part.get_content_type(), part.get_content())
                for part in made.iter_attachments()
            ),
            language_of(reader.locale).code,
        )

    def _written(self, repository: Repository, message: Message) -> Letter | None:
        """The letter that a message asks for; None if there is nobody to send it to."""
        payload = message.payload
        kind = payload.get("letter")
        if kind in ("dispute_received", "dispute_settled"):
            row = repository.sql.get(DisputeRow, UUID(payload["dispute_id"]))
            if row is None:
                raise GivenUpError("the dispute is gone")
            account_id: UUID | None = row.account_id
            subject, body = self._about_dispute(repository, dispute_from(row))
        elif kind == "review_decided":
            session = _session(repository, UUID(payload["session_id"]))
            account_id = account_of(session)
            subject, body = self._about_review(repository, session)
        elif kind == "webhook_disabled":
            account_id = UUID(payload["account_id"])
            subject = "A webhook endpoint was disabled"
            body = (
                f"The webhook endpoint {payload['endpoint_id']} has failed for too long, or says that it is gone."
                " Nothing is sent to it any more until you enable it."
            )
        elif kind is None and {"account_id", "subject", "text"} <= payload.keys():
            account_id, subject, body = UUID(payload["account_id"]), payload["subject"], payload["text"]
        else:
            raise GivenUpError(f"no letter is called {kind!r}")
        reader = _reader(repository, account_id)
        if reader is None:
            return None
        text = f"Hello {reader.name},\n\n{body}\n\n{self._store_name}\n" if reader.name else f"{body}\n"
        return Letter(message.key, reader.email, subject, text, message.created_at)

    def _about_dispute(self, repository: Repository, dispute: Dispute) -> tuple[str, str]:
        session = _session(repository, dispute.session_id)
        names = {line.sku: line.name for receipt in repository.receipts(session) for line in receipt.lines}
        name = names.get(dispute.sku, dispute.sku)
        asked = f"You asked about {name} on the receipt of your visit on {session.opened_at:%Y-%m-%d}"
        if dispute.outcome is None:
            return (
                f"Your question about {name}",
                f"{asked}. A person will look at what the store saw, and we will write to you again.",
            )
        return f"Your question about {name} is settled", f"{asked}. {dispute.outcome}"

    def _about_review(self, repository: Repository, session: Session) -> tuple[str, str]:
        receipt = repository.receipt(session)
        body = f"A person has looked at your visit on {session.opened_at:%Y-%m-%d}."
        if session.status is SessionStatus.EMPTY:
            body += " You took nothing, and nothing is charged."
        elif receipt is not None and receipt.total_minor is not None:
            body += f" It comes to {format_amount(receipt.total_minor, receipt.currency)} {receipt.currency}."
            if session.status is SessionStatus.PAYMENT_FAILED:
                body += " The payment was declined, so you still owe it."
        return "Your visit was looked at", body


def handlers(
    database: Database,
    checkout: Checkout,
    webhooks: Webhooks,
    mailer: Mailer,
    store_name: str,
    now: Callable[[], datetime],
    zone: tzinfo = UTC,
    font: Path | None = None,
) -> dict[Effect, Handler]:
    """What the sweeper calls for everything that comes after a visit: receipts, letters, webhooks, decisions."""
    return {
        **Notifications(database, mailer, store_name, zone, font).handlers(),
        **webhooks.handlers(),
        **Decisions(database, checkout, now).handlers(),
    }


def _reader(repository: Repository, account_id: UUID | None) -> _Reader | None:
    """Who an account's letters go to; None without an address, as once it is erased."""
    row = None if account_id is None else repository.sql.get(AccountRow, account_id)
    return None if row is None or row.email is None else _Reader(row.email, row.name, row.locale)


def _session(repository: Repository, session_id: UUID) -> Session:
    try:
        return repository.session(session_id)
    except SessionNotFound as error:
        raise GivenUpError("the visit is gone") from error
