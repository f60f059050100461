"""Mail: letters to shoppers, by SMTP or, where there is no mail server, into a folder.

A letter's Message-ID comes from its key in the outbox, and its Date from when it was decided on. A letter that is sent
twice is thus the same letter, and mail servers and programs can tell.
"""

import os
import smtplib
import ssl
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from email.errors import HeaderParseError, MessageDefect
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from cart.events import check_aware
from cart.outbox import GivenUpError, NotYetError, message_id

LONGEST_SUBJECT = 200
LONGEST_ADDRESS = 254
_POLICY = SMTP.clone(raise_on_defect=False)


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file that goes with a letter.

    Attributes:
        name: Its name, such as ``receipt-12.pdf``.
        media_type: Such as ``application/pdf``.
        content: What is in it.
    """

    name: str
    media_type: str
    content: bytes


@dataclass(frozen=True, slots=True)
class Letter:
    """Something to be sent to one person.

    Attributes:
        key: Its key in the outbox, from which its Message-ID is made.
        to: The address, ``name@example.org``.
        subject: One line.
        text: The text.
        written_at: When it was decided on, timezone-aware.
        html: The same as HTML; None for text alone.
        attachments: Files that go with it.
        language: In which it is written, such as ``en``; None if that is not known.
    """

    key: str
    to: str
    subject: str
    text: str
    written_at: datetime
    html: str | None = None
    attachments: tuple[Attachment, ...] = ()
    language: str | None = None

    def __post_init__(self) -> None:
        check_aware("Letter.written_at", self.written_at)


class Mailer(Protocol):
    """Whoever sends letters."""

    def send(self, letter: Letter) -> None:
        """Send a letter.

        Raises:
            NotYetError: It did not work, or nobody knows whether it has.
            GivenUpError: It never will: there is no such address.
        """
        ...


def compose(letter: Letter, sender: str, sender_name: str) -> EmailMessage:
    """Make the message of a letter; the same letter gives the same headers.

    Args:
        letter: The letter.
        sender: From which address; its domain is that of the Message-ID.
        sender_name: From whom, such as the store's name.

    Raises:
        GivenUpError: The recipient's address is none that a message can be sent to.
        ValueError: The sender's address is none.
    """
    try:
        recipient = checked_address(letter.to)
    except ValueError as error:
        # Not repeated in the message: it is a shopper's, and errors are logged.
        raise GivenUpError("the recipient's address is none") from error
    origin = checked_address(sender, one_line(sender_name))
    message = EmailMessage(policy=_POLICY)
    message["From"] = origin
    message["To"] = recipient
    message["Subject"] = one_line(letter.subject)[:LONGEST_SUBJECT]
    message["Date"] = format_datetime(letter.written_at.astimezone(UTC))
    message["Message-ID"] = f"<{message_id(letter.key).hex}@{origin.domain}>"
    # RFC 3834: so that nobody's "out of office" answers it.
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(letter.text, cte="quoted-printable")
    if letter.html is not None:
        message.add_alternative(letter.html, subtype="html", cte="quoted-printable")
    for attachment in letter.attachments:
        main, _, sub = attachment.media_type.partition("/")
        message.add_attachment(
            attachment.content, maintype=main, subtype=sub, filename=one_line(attachment.name) or "attachment"
        )
    if letter.language is not None:
        # Last, or it would have become a header of the first part alone.
        message["Content-Language"] = one_line(letter.language)
    return message


def checked_address(text: str, name: str = "") -> Address:
    """Read one e-mail address.

    Raises:
        ValueError: It is none, or more than one, or holds anything that could begin another header.
    """
    if (
        not 3 <= len(text) <= LONGEST_ADDRESS
        or not text.isprintable()
        or any(letter in ' ,;:<>()"\\' for letter in text)
    ):
        raise ValueError("address: expected one, such as name@example.org")
    user, _, domain = text.rpartition("@")
    try:
        address = Address(display_name=name, username=user, domain=domain)
    except (HeaderParseError, MessageDefect, IndexError, ValueError) as error:
        raise ValueError("address: expected one, such as name@example.org") from error
    if not user or not domain or "@" in user:
        raise ValueError("address: expected one, such as name@example.org")
    return address


def one_line(text: str) -> str:
    r"""A text without line ends and control characters, so that it cannot begin another header.

    >>> one_line("Your receipt\r\nBcc: everybody@example.org")
    'Your receipt Bcc: everybody@example.org'
    """
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())


class FolderMailer:
    """Writes letters into a folder as ``.eml`` files, each once, named by its Message-ID.

    Args:
        folder: Where; it is made if it is not there.
        sender: From which address.
        sender_name: From whom.
    """

    def __init__(self, folder: Path, sender: str = "store@tillfree.invalid", sender_name: str = "Tillfree") -> None:
        checked_address(sender)
        self._folder = folder
        self._sender = sender
        self._sender_name = sender_name

    def send(self, letter: Letter) -> None:
        """Write a letter; the same one again replaces its file.

        Raises:
            NotYetError: The folder cannot be written to.
            GivenUpError: The recipient's address is none.
        """
        message = compose(letter, self._sender, self._sender_name)
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            # Whoever reads the folder never sees half a letter.
            handle, unfinished = tempfile.mkstemp(dir=self._folder, suffix=".part")
            with os.fdopen(handle, "wb") as file:
                file.write(message.as_bytes())
            Path(unfinished).replace(self._folder / f"{message_id(letter.key).hex}.eml")
        except OSError as error:
            raise NotYetError(f"the mail folder cannot be written to: {type(error).__name__}") from error


class SmtpSecurity(StrEnum):
    """How a connection to a mail server is kept secret."""

    STARTTLS = "starttls"
    """It begins in clear and is then encrypted, or nothing is sent; usually port 587."""
    TLS = "tls"
    """It is encrypted from the beginning; usually port 465."""
    NONE = "none"
    """It is not; for a server on this machine, and never with a password."""


class SmtpMailer:
    """Sends letters to a mail server.

    Args:
        host: The server.
        port: Its port.
        sender: From which address.
        sender_name: From whom.
        security: How the connection is kept secret.
        user: Who to be there; None without a password.
        password: With which password.
        timeout_s: How long to wait for the server at each step, seconds.
        tls: What its certificate is checked against; None for those that everybody trusts.
    """

    def __init__(
        self,
        host: str,
        port: int,
        sender: str,
        sender_name: str,
        security: SmtpSecurity = SmtpSecurity.STARTTLS,
        user: str | None = None,
        password: str | None = None,
        timeout_s: float = 20.0,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        checked_address(sender)
        if (user is None) != (password is None):
            raise ValueError("SmtpMailer: expected a user and a password, or neither")
        if user is not None and security is SmtpSecurity.NONE:
            raise ValueError("SmtpMailer: a password is not sent over a connection that is not encrypted")
        if timeout_s <= 0:
            raise ValueError(f"timeout_s: expected more than 0 seconds, got {timeout_s}")
        self._host, self._port = host, port
        self._sender, self._sender_name = sender, sender_name
        self._security = security
        self._user, self._password = user, password
        self._timeout_s = timeout_s
        self._tls = tls

    def send(self, letter: Letter) -> None:
        """Send a letter.

        Raises:
            NotYetError: The server did not take it, or nobody knows whether it has.
            GivenUpError: The server says that there is no such recipient, or that it takes no such letter.
        """
        message = compose(letter, self._sender, self._sender_name)
        try:
            with self._connect() as server:
                if self._security is SmtpSecurity.STARTTLS:
                    self._encrypt(server)
                if self._user is not None and self._password is not None:
                    server.login(self._user, self._password)
                server.send_message(message)
        except smtplib.SMTPRecipientsRefused as error:
            codes = [code for code, _ in error.recipients.values()]
            if all(code >= 500 for code in codes):
                raise GivenUpError(f"the mail server knows no such recipient ({codes[0]})") from error
            raise NotYetError(f"the mail server does not take the recipient now ({codes[0]})") from error
        except smtplib.SMTPDataError as error:
            if error.smtp_code >= 500:
                raise GivenUpError(f"the mail server refused the letter ({error.smtp_code})") from error
            raise NotYetError(f"the mail server did not take the letter ({error.smtp_code})") from error
        except smtplib.SMTPNotSupportedError as error:
            raise NotYetError("the mail server lacks what is needed: encryption, or addresses beyond ASCII") from error
        except (smtplib.SMTPException, OSError) as error:
            # The server's own words may repeat the address, so they are left out.
            raise NotYetError(f"the mail server: {type(error).__name__}") from error

    def _connect(self) -> smtplib.SMTP:
        if self._security is SmtpSecurity.TLS:
            return smtplib.SMTP_SSL(self._host, self._port, timeout=self._timeout_s, context=self._context())
        return smtplib.SMTP(self._host, self._port, timeout=self._timeout_s)

    def _encrypt(self, server: smtplib.SMTP) -> None:
        try:
            server.starttls(context=self._context())
        except ssl.SSLError:
            # A polite end would wait for an answer that cannot come.
            server.close()
            raise

    def _context(self) -> ssl.SSLContext:
        return self._tls or ssl.create_default_context()
