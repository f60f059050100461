import email
import ssl
from asyncio import Server
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from email.message import EmailMessage
from email.policy import default
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from hypothesis import given, settings
from hypothesis import strategies as st

from cart.mail import (
    Attachment,
    FolderMailer,
    Letter,
    Mailer,
    SmtpMailer,
    SmtpSecurity,
    checked_address,
    compose,
    one_line,
)
from cart.outbox import Effect, GivenUpError, NotYetError, put
from cart.tables import AccountRow
from tests.cart.aftercare import NOON, Shop, shop
from tests.cart.test_webhooks import certificate

LETTER = Letter(
    "mail:1",
    "ada@example.org",
    "Your receipt",
    "2 x Oat bar: 3.98 €, Müsli\n" + "long " * 400 + "\n",
    NOON,
    "<p>2 x Müsli</p>",
    (Attachment("receipt-1.pdf", "application/pdf", b"%PDF-1.7 \x00\xff\r\n.\r\n"),),
    "en",
)
SENDER = "store@shop.example"


def read(raw: bytes) -> EmailMessage:
    message = email.message_from_bytes(raw, policy=default)
    assert isinstance(message, EmailMessage)
    assert message.defects == []
    return message


def check_arrived(message: EmailMessage, letter: Letter = LETTER) -> None:
    """The letter came as it was written."""
    assert (message["From"], message["To"]) == (f"Corner shop <{SENDER}>", letter.to)
    assert (message["Subject"], message["Auto-Submitted"]) == (letter.subject, "auto-generated")
    assert message["Date"].datetime == letter.written_at
    text, html = message.get_body(("plain",)), message.get_body(("html",))
    assert text is not None
    assert html is not None
    assert text.get_content().replace("\r\n", "\n") == letter.text
    assert html.get_content().strip() == letter.html
    assert [
        (part.get_filename(), part.get_content_type(), part.get_content()) for part in message.iter_attachments()
    ] == [(attachment.name, attachment.media_type, attachment.content) for attachment in letter.attachments]


class Letterbox:
    """A real mail server that keeps what it gets, and refuses as it is told to."""

    def __init__(self) -> None:
        self.got: list[Envelope] = []
        self.recipient_answer = self.letter_answer = "250 OK"

    async def handle_RCPT(  # noqa: N802
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if self.recipient_answer.startswith("250"):
            envelope.rcpt_tos.append(address)
        return self.recipient_answer

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        if self.letter_answer.startswith("250"):
            self.got.append(envelope)
        return self.letter_answer

    def messages(self) -> list[EmailMessage]:
        return [read(envelope.original_content or b"") for envelope in self.got]


def is_known(server: SMTP, session: Session, envelope: Envelope, mechanism: str, login: LoginPassword) -> AuthResult:
    return AuthResult(success=(login.login, login.password) == (b"shop", b"secret"))


class AnyPort(Controller):
    """A server on a port that the system chooses."""

    def _trigger_server(self) -> None:
        assert isinstance(self.server, Server)
        self.port = self.server.sockets[0].getsockname()[1]
        super()._trigger_server()  # type: ignore[no-untyped-call]


@contextmanager
def serving(box: Letterbox, tls: ssl.SSLContext | None = None) -> Iterator[int]:
    options: dict[str, Any] = {}
    if tls is not None:
        options |= {"tls_context": tls, "require_starttls": True, "authenticator": is_known, "auth_required": True}
    controller = AnyPort(box, hostname="127.0.0.1", port=0, ready_timeout=60.0, **options)
    controller.start()
    try:
        yield controller.port
    finally:
        controller.stop()


@pytest.fixture
def box() -> Letterbox:
    return Letterbox()


def plain(port: int) -> SmtpMailer:
    return SmtpMailer("127.0.0.1", port, SENDER, "Corner shop", SmtpSecurity.NONE)


def test_a_letter_arrives_by_smtp_as_it_was_written(box: Letterbox) -> None:
    with serving(box) as port:
        plain(port).send(LETTER)
    (message,) = box.messages()
    check_arrived(message)
    assert (box.got[0].mail_from, box.got[0].rcpt_tos) == (SENDER, [LETTER.to])


def test_a_letter_goes_encrypted_and_with_a_password(box: Letterbox, tmp_path: Path) -> None:
    server_tls, client_tls = certificate(tmp_path, "localhost")
    with serving(box, server_tls) as port:

        def mailer(user: str | None, password: str | None, trusted: ssl.SSLContext | None) -> SmtpMailer:
            security = SmtpSecurity.STARTTLS
            # This server answers a wrong password with silence.
            return SmtpMailer("localhost", port, SENDER, "Corner shop", security, user, password, 2.0, trusted)

        for wrong in (
            mailer("shop", "guess", client_tls),
            mailer(None, None, client_tls),
            # Nobody trusts that certificate.
            mailer("shop", "secret", None),
            SmtpMailer("localhost", port, SENDER, "Corner shop", SmtpSecurity.NONE),
        ):
            with pytest.raises(NotYetError):
                wrong.send(LETTER)
        assert box.got == []
        mailer("shop", "secret", client_tls).send(LETTER)
    (message,) = box.messages()
    check_arrived(message)


def test_a_server_without_encryption_gets_nothing_where_it_is_asked_for(box: Letterbox) -> None:
    with serving(box) as port, pytest.raises(NotYetError):
        SmtpMailer("127.0.0.1", port, SENDER, "Corner shop", SmtpSecurity.STARTTLS).send(LETTER)
    assert box.got == []


def test_a_password_is_never_sent_in_clear() -> None:
    with pytest.raises(ValueError, match="not encrypted"):
        SmtpMailer("127.0.0.1", 25, SENDER, "Corner shop", SmtpSecurity.NONE, "shop", "secret")
    with pytest.raises(ValueError, match="or neither"):
        SmtpMailer("127.0.0.1", 25, SENDER, "Corner shop", user="shop")
    with pytest.raises(ValueError, match="timeout"):
        SmtpMailer("127.0.0.1", 25, SENDER, "Corner shop", timeout_s=0)


@pytest.mark.parametrize(
    ("recipient", "letter", "error"),
    [
        ("550 no such user", "250 OK", GivenUpError),
        ("450 try later", "250 OK", NotYetError),
        ("250 OK", "554 spam", GivenUpError),
        ("250 OK", "451 try later", NotYetError),
    ],
)
def test_a_refusal_for_good_is_given_up_and_any_other_tried_again(
    box: Letterbox, recipient: str, letter: str, error: type[Exception]
) -> None:
    box.recipient_answer, box.letter_answer = recipient, letter
    with serving(box) as port, pytest.raises(error) as caught:
        plain(port).send(LETTER)
    # What is logged does not name the shopper.
    assert "ada" not in str(caught.value)


def test_without_a_server_a_letter_waits(box: Letterbox) -> None:
    with serving(box) as port:
        pass
    with pytest.raises(NotYetError):
        plain(port).send(LETTER)


def test_a_letter_sent_twice_is_the_same_letter(box: Letterbox) -> None:
    with serving(box) as port:
        plain(port).send(LETTER)
        plain(port).send(LETTER)
        plain(port).send(replace(LETTER, key="mail:2"))
    ids = [message["Message-ID"] for message in box.messages()]
    assert ids[0] == ids[1] != ids[2]
    assert ids[0].endswith("@shop.example>")


def test_a_folder_has_each_letter_once_and_no_half_ones(tmp_path: Path) -> None:
    mailer: Mailer = FolderMailer(tmp_path / "mail" / "out", SENDER, "Corner shop")
    for letter in (LETTER, LETTER, replace(LETTER, key="mail:2")):
        mailer.send(letter)
    files = sorted((tmp_path / "mail" / "out").iterdir())
    assert [file.suffix for file in files] == [".eml", ".eml"]
    for file in files:
        check_arrived(read(file.read_bytes()))


def test_a_folder_that_cannot_be_written_to_is_tried_again(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(NotYetError):
        FolderMailer(tmp_path / "file", SENDER).send(LETTER)


@pytest.mark.parametrize(
    "to",
    [
        "ada@example.org\r\nBcc: eve@example.org",
        "ada@example.org\nX: y",
        "ada@example.org, eve@example.org",
        "Ada <ada@example.org>",
        "ada@@example.org",
        "ada@",
        "@example.org",
        "ada",
        "",
        "a\x00@example.org",
        "a" * 250 + "@example.org",
    ],
)
def test_an_address_that_is_none_or_more_than_one_is_given_up(to: str) -> None:
    with pytest.raises(GivenUpError) as caught:
        compose(replace(LETTER, to=to), SENDER, "Corner shop")
    assert "ada" not in str(caught.value)


@settings(deadline=None)
@given(st.text(), st.text(), st.text(), st.text())
def test_no_text_begins_another_header(subject: str, store: str, file: str, language: str) -> None:
    letter = replace(LETTER, subject=subject, language=language, attachments=(Attachment(file, "text/plain", b"x"),))
    raw = compose(letter, SENDER, store).as_bytes()
    names = [line.split(b":")[0] for line in raw.split(b"\r\n\r\n")[0].split(b"\r\n") if line[:1] not in b" \t"]
    assert sorted(names) == sorted(
        [
            *(b"From", b"To", b"Subject", b"Date", b"Message-ID", b"Auto-Submitted", b"Content-Language"),
            *(b"MIME-Version", b"Content-Type"),
        ]
    )
    assert read(raw)["To"] == LETTER.to


@given(st.text())
def test_whatever_is_accepted_as_an_address_is_one(text: str) -> None:
    try:
        address = checked_address(text)
    except ValueError:
        return
    assert address.addr_spec == text
    assert one_line(text) == text


def test_a_letter_knows_its_time_zone() -> None:
    with pytest.raises(ValueError, match="timezone"):
        replace(LETTER, written_at=datetime(2026, 1, 1))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Shop]:
    with shop("sqlite", tmp_path) as opened:
        yield opened


def test_a_receipt_is_sent_as_text_page_and_pdf_once(store: Shop, tmp_path: Path) -> None:
    store.visit(store.account(), ("bar", 2))
    store.sweeper.sweep(store.at)
    store.sweeper.sweep(store.at + timedelta(days=9))
    (letter,) = store.post.letters
    FolderMailer(tmp_path / "mail", SENDER, "Corner shop").send(letter)
    (file,) = (tmp_path / "mail").iterdir()
    message = read(file.read_bytes())
    text, html = message.get_body(("plain",)), message.get_body(("html",))
    assert text is not None
    assert html is not None
    assert "Oat bar" in text.get_content()
    assert "Oat bar" in html.get_content()
    (pdf,) = message.iter_attachments()
    assert pdf.get_content().startswith(b"%PDF-")
    assert "Corner shop" in str(message["Subject"])


def test_a_corrected_receipt_is_sent_again_as_it_stands_then(store: Shop) -> None:
    session_id = store.visit(store.account(), ("bar", 2))
    store.reviews.decide(session_id, store.account("Grace", "reviewer"), {"bar": 1}, reopen=True)
    store.sweeper.sweep(store.at)
    receipts = [letter for letter in store.post.letters if letter.attachments]
    assert len(receipts) == 2
    assert sorted("3.98" in letter.text for letter in receipts) == [False, True]


def test_an_erased_account_gets_no_letter(store: Shop) -> None:
    ada = store.account()
    store.visit(ada, ("bar", 2))
    with store.database.transaction() as repository:
        row = repository.sql.get(AccountRow, ada)
        assert row is not None
        row.email, row.status, row.erased_at = None, "erased", NOON
    store.sweeper.sweep(store.at)
    assert store.post.letters == []


def test_a_written_letter_is_sent_and_an_unknown_one_is_given_up(store: Shop) -> None:
    ada = store.account()
    with store.database.transaction() as repository:
        written = {"account_id": str(ada), "subject": "Hello", "text": "Your password was changed."}
        put(repository, Effect.MAIL, "mail:written", written, NOON)
        put(repository, Effect.MAIL, "mail:unknown", {"letter": "love"}, NOON)
    store.sweeper.sweep(store.at)
    (letter,) = store.post.letters
    assert (letter.subject, "password was changed" in letter.text) == ("Hello", True)
    assert sorted(message["status"] for message in store.told(Effect.MAIL)) == ["done", "failed"]


def test_tls_from_the_beginning_is_not_spoken_to_a_server_in_clear(box: Letterbox) -> None:
    with serving(box) as port, pytest.raises(NotYetError):
        SmtpMailer("127.0.0.1", port, SENDER, "Corner shop", SmtpSecurity.TLS, timeout_s=5).send(LETTER)
    assert box.got == []
