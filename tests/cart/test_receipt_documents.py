import json
import re
from dataclasses import fields, replace
from datetime import UTC, datetime
from email import message_from_bytes, policy
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from fontTools.ttLib import TTFont
from hypothesis import given, settings
from hypothesis import strategies as st

from cart.errors import ReceiptFontMissing
from cart.money import format_amount
from cart.receipt_documents import (
    DiscountJson,
    LineJson,
    ReceiptJson,
    TaxJson,
    installed_fonts,
    receipt_html,
    receipt_json,
    receipt_mail,
    receipt_pdf,
    receipt_text,
)
from cart.receipt_words import LANGUAGES, Words, format_money, format_tax_rate, language_of
from cart.receipts import Receipt, ReceiptLine
from cart.sessions import Session, SessionStatus
from cart.taxes import Discount, TaxRule

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
VISIT = UUID("6f1b2c3d-0000-4000-8000-1234567890ab")
CLOSED = [status for status in SessionStatus if status is not SessionStatus.OPEN]
LINES = (ReceiptLine("042", "Oat bar", 2, 64950, 700, 0.98), ReceiptLine("7", "Soap", 1, 249, 1900))
DISCOUNTS = (
    Discount("Two for less", "offer:1", 700, 100),
    Discount("Two for less", "offer:1", 1900, 23),
    Discount("Welcome", "coupon:HELLO", 700, 500),
)

needs_font = pytest.mark.skipif(not installed_fonts(), reason="needs a font with Hebrew and Arabic letters")


def receipt(status: SessionStatus = SessionStatus.CHARGED, **changes: Any) -> Receipt:
    session = Session(VISIT, "ada", True, 1, status, NOON, NOON)
    made = {"lines": LINES, "currency": "EUR", "issued_at": NOON, "receipt_number": 12, "discounts": DISCOUNTS}
    return Receipt.of(session, **{**made, **changes})


class Page(HTMLParser):
    """What an HTML page says, and in what."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self._in_style = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._in_style = tag == "style"

    def handle_endtag(self, tag: str) -> None:
        self._in_style = False

    def handle_data(self, data: str) -> None:
        if data.strip() and not self._in_style:
            self.words.append(data.strip())


def font_with(folder: Path, name: str, letters: str) -> Path:
    """A copy of an installed font that has only these letters."""
    from fontTools.subset import Options, Subsetter

    font = TTFont(installed_fonts()[0])
    subsetter = Subsetter(Options())
    subsetter.populate(text=letters)
    subsetter.subset(font)
    font.save(folder / name)
    return folder / name


def test_the_json_of_a_receipt_has_this_shape() -> None:
    made = receipt_json(receipt(tax_rule=TaxRule.EXCLUDED_PER_RATE), "Corner shop")
    assert json.loads(json.dumps(made)) == {
        "version": 1,
        "store": "Corner shop",
        "session_id": str(VISIT),
        "sequence": 1,
        "receipt_number": 12,
        "shopper_id": "ada",
        "status": "charged",
        "issued_at": "2026-01-01T12:00:00Z",
        "currency": "EUR",
        "tax_rule": "excluded_per_rate",
        "prices_include_tax": False,
        "lines": [
            {
                "sku": "042",
                "name": "Oat bar",
                "quantity": 2,
                "unit_price_minor": 64950,
                "amount_minor": 129900,
                "tax_rate_bp": 700,
                "probability": 0.98,
            },
            {
                "sku": "7",
                "name": "Soap",
                "quantity": 1,
                "unit_price_minor": 249,
                "amount_minor": 249,
                "tax_rate_bp": 1900,
                "probability": 1.0,
            },
        ],
        "discounts": [
            {"name": "Two for less", "source": "offer:1", "tax_rate_bp": 700, "amount_minor": 100},
            {"name": "Two for less", "source": "offer:1", "tax_rate_bp": 1900, "amount_minor": 23},
            {"name": "Welcome", "source": "coupon:HELLO", "tax_rate_bp": 700, "amount_minor": 500},
        ],
        "taxes": [
            {"tax_rate_bp": 700, "net_minor": 129300, "tax_minor": 9051, "gross_minor": 138351},
            {"tax_rate_bp": 1900, "net_minor": 226, "tax_minor": 43, "gross_minor": 269},
        ],
        "discount_minor": 623,
        "subtotal_minor": 129526,
        "tax_minor": 9094,
        "total_minor": 138620,
    }
    assert set(made) == set(ReceiptJson.__annotations__)
    assert set(made["lines"][0]) == set(LineJson.__annotations__)
    assert set(made["discounts"][0]) == set(DiscountJson.__annotations__)
    assert made["taxes"]
    assert set(made["taxes"][0]) == set(TaxJson.__annotations__)


def test_an_unknown_price_is_null_in_json_and_said_in_words() -> None:
    made = receipt(SessionStatus.NEEDS_REVIEW, lines=(ReceiptLine("9", "9", 1, None, 0),), discounts=())
    as_json = receipt_json(made, "Corner shop")
    assert (as_json["taxes"], as_json["total_minor"], as_json["lines"][0]["amount_minor"]) == (None, None, None)
    for locale, language in LANGUAGES.items():
        assert receipt_text(made, "Corner shop", locale).count(language.words.unknown_price) == 2
        assert receipt_html(made, "Corner shop", locale).count(language.words.unknown_price) == 3


@pytest.mark.parametrize("locale", LANGUAGES)
def test_no_word_is_missing_in_any_language(locale: str) -> None:
    words, english = LANGUAGES[locale].words, LANGUAGES["en"].words
    assert set(words.status) == set(CLOSED)
    assert all(words.status.values())
    script = {"he": r"[֐-׿]", "ar": r"[؀-ۿ]", "ru": r"[Ѐ-ӿ]"}.get(locale, r"[A-Za-z]")
    for field in fields(Words):
        if field.name == "status":
            continue
        text, original = getattr(words, field.name), getattr(english, field.name)
        assert re.search(script, text), field.name
        assert sorted(re.findall(r"\{\w+\}", text)) == sorted(re.findall(r"\{\w+\}", original))
        assert locale == "en" or text != original
    for status in CLOSED:
        assert re.search(script, words.status[status])
        assert locale == "en" or words.status[status] != english.status[status]


@pytest.mark.parametrize(
    ("locale", "amount_minor", "currency", "written"),
    [
        ("en", 123456789, "USD", "$1,234,567.89"),
        ("en", -5, "GBP", "-£0.05"),
        ("en", 1000, "CHF", "CHF\xa010.00"),
        ("sl", -123456, "EUR", "\u22121.234,56\xa0€"),
        ("ru", 123456, "RUB", "1\xa0234,56\xa0₽"),
        ("he", 123456, "ILS", "\u200f1,234.56\xa0\u200f₪"),
        ("he", -5, "ILS", "\u200f\u200e-0.05\xa0\u200f₪"),
        ("ar", 1234567, "KWD", "\u200f1,234.567\xa0\u200fKWD"),
        ("ar", 100, "USD", "\u200f1.00\xa0\u200fUS$\u200e"),
        ("en", 1234, "JPY", "¥1,234"),
        ("sl", 1234, "JPY", "1.234\xa0JP¥"),
    ],
)
def test_amounts_are_written_as_each_language_does(locale: str, amount_minor: int, currency: str, written: str) -> None:
    assert format_money(amount_minor, currency, locale) == written


@given(
    st.integers(-(10**12), 10**12),
    st.sampled_from(["USD", "EUR", "JPY", "KWD", "ILS"]),
    st.sampled_from(list(LANGUAGES)),
)
def test_an_amount_in_words_has_the_digits_of_the_amount(amount_minor: int, currency: str, locale: str) -> None:
    written = format_money(amount_minor, currency, locale)
    language = language_of(locale)
    plain = written.replace(language.group, "").replace(language.decimal, ".")
    assert re.findall(r"[0-9.]+", plain) == [format_amount(abs(amount_minor), currency)]
    assert (language.minus in written) == (amount_minor < 0)


def test_a_rate_is_written_without_needless_zeros() -> None:
    assert [format_tax_rate(bp, "en") for bp in (0, 700, 825, 850)] == ["0%", "7%", "8.25%", "8.5%"]
    assert format_tax_rate(850, "sl") == "8,5\xa0%"


@pytest.mark.parametrize("locale", LANGUAGES)
def test_the_page_says_everything_in_its_language_and_direction(locale: str) -> None:
    page = Page(receipt_html(receipt(sequence=2), "Corner shop", locale, ZoneInfo("Asia/Jerusalem")))
    language = LANGUAGES[locale]
    assert page.tags[0] == ("html", {"lang": locale, "dir": "rtl" if language.is_rtl else "ltr"})
    said = page.words
    assert {"Corner shop", "Oat bar", "Soap", "12", str(VISIT), "2026-01-01 14:00 IST"} <= set(said)
    for amount_minor in (129900, 249, -123, -500, 129526):
        assert format_money(amount_minor, "EUR", locale) in said
    assert language.words.status[SessionStatus.CHARGED] in said
    assert language.words.correction.format(number=1) in said
    assert language.words.prices_with_tax in said
    # A discount over two tax rates is one line for the shopper.
    assert said.count("Two for less") == 1


def test_a_page_needs_nothing_from_elsewhere() -> None:
    html = receipt_html(receipt(), "Corner shop")
    assert not re.search(r"https?:|//|url\(|@import|<script|<img|<link|src=|href=", html)
    assert "default-src 'none'" in html


@pytest.mark.parametrize("status", CLOSED)
def test_every_end_of_a_visit_has_its_documents(status: SessionStatus) -> None:
    made = receipt(status, lines=(), discounts=(), receipt_number=None)
    words = LANGUAGES["en"].words
    assert words.status[status] in receipt_html(made, "Corner shop")
    assert words.status[status] in receipt_text(made, "Corner shop")
    assert receipt_pdf(made, "Corner shop", fonts=()).startswith(b"%PDF-")


def test_names_cannot_break_out_of_a_document() -> None:
    name = "</title><script>alert(1)</script>\u202e\u2066\n\x00&"
    made = receipt(
        lines=(ReceiptLine("1", name, 1, 100, 0),), discounts=(Discount(name, "offer:1", 0, 10),), receipt_number=None
    )
    html = receipt_html(made, name)
    assert "<script" not in html
    for document in (html, receipt_text(made, name, "he")):
        assert not set("\u202e\u2066\x00") & set(document)
    message = receipt_mail(made, name, "shop@example.org", "ada@example.org", fonts=())
    assert "\n" not in message["Subject"]
    assert len([part for part in message.walk() if not part.is_multipart()]) == 3


def test_prices_without_tax_show_the_tax_before_the_total() -> None:
    text = receipt_text(receipt(tax_rule=TaxRule.EXCLUDED_PER_RATE), "Corner shop")
    rows = text.split("\n")
    place = rows.index("Total: €1,386.20")
    assert rows[place - 3 : place] == ["Without tax: €1,295.26", "Tax 7%: €90.51", "Tax 19%: €0.43"]
    assert rows[place + 1] == "Prices do not include tax."


def test_text_from_right_to_left_keeps_names_and_amounts_apart() -> None:
    text = receipt_text(receipt(), "Corner shop", "ar")
    assert all(row.startswith("\u200f") for row in text.split("\n") if row)
    assert "\u2068Oat bar\u2069: \u200f1,299.00" in text


def test_a_receipt_of_a_recording_without_a_clock_has_no_date() -> None:
    made = receipt(issued_at=datetime(1970, 1, 1, 0, 1, tzinfo=UTC))
    assert "1970" not in receipt_text(made, "Corner shop") + receipt_html(made, "Corner shop")


@needs_font
@pytest.mark.parametrize("locale", LANGUAGES)
def test_the_same_receipt_gives_the_same_pdf_which_carries_its_font(locale: str) -> None:
    made = receipt()
    pdf = receipt_pdf(made, "Corner shop", locale)
    assert pdf == receipt_pdf(made, "Corner shop", locale)
    assert pdf.startswith(b"%PDF-")
    assert b"/FontFile2" in pdf
    assert f"/Lang ({locale})".encode() in pdf


@needs_font
def test_a_long_receipt_takes_more_pages_and_shows_a_letter_that_the_font_lacks_as_a_question_mark() -> None:
    lines = tuple(ReceiptLine(f"{n:03d}", f"Product {n} \U0001f34f", 1, n, 700) for n in range(60))
    pdf = receipt_pdf(receipt(lines=lines, discounts=()), "Corner shop")
    assert len(re.findall(rb"/Type /Page\b", pdf)) >= 2


@needs_font
def test_the_first_font_that_has_the_letters_of_the_language_is_taken(tmp_path: Path) -> None:
    latin = font_with(tmp_path, "Latin.ttf", "".join(map(chr, range(32, 400))))
    hebrew = receipt_pdf(receipt(), "Corner shop", "he", fonts=[latin, installed_fonts()[0]])
    assert hebrew == receipt_pdf(receipt(), "Corner shop", "he", fonts=installed_fonts()[:1])
    with pytest.raises(ReceiptFontMissing, match="U\\+05"):
        receipt_pdf(receipt(), "Corner shop", "he", fonts=[latin])


def test_without_a_font_western_receipts_are_set_and_others_say_what_is_missing() -> None:
    made = receipt(lines=(ReceiptLine("1", "Käse 漢", 1, 100, 700),), discounts=())
    assert receipt_pdf(made, "Corner shop", "en", fonts=()).startswith(b"%PDF-")
    for locale in ("he", "ar", "ru", "sl"):
        with pytest.raises(ReceiptFontMissing, match="fonts-dejavu-core"):
            receipt_pdf(made, "Corner shop", locale, fonts=())


def test_a_file_that_is_no_font_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.ttf").write_bytes(b"not a font")
    with pytest.raises(ValueError, match="expected a TrueType"):
        receipt_pdf(receipt(), "Corner shop", fonts=[tmp_path / "x.ttf"])
    with pytest.raises(ValueError, match="expected a TrueType"):
        receipt_pdf(receipt(), "Corner shop", fonts=[tmp_path / "missing.ttf"])


@needs_font
@pytest.mark.parametrize("locale", LANGUAGES)
def test_the_mail_has_text_page_and_pdf_in_the_language_of_the_account(locale: str) -> None:
    sent = receipt_mail(receipt(), "המכולת", "shop@example.org", "ada@example.org", locale)
    message = message_from_bytes(sent.as_bytes(), policy=policy.default)
    words = LANGUAGES[locale].words
    assert message["Subject"] == words.mail_subject.format(store="המכולת")
    assert (message["From"], message["To"], message["Content-Language"]) == (
        "shop@example.org",
        "ada@example.org",
        locale,
    )
    bodies = {part.get_content_type(): part.get_content() for part in message.walk() if not part.is_multipart()}
    assert list(bodies) == ["text/plain", "text/html", "application/pdf"]
    assert bodies["text/plain"] == receipt_text(receipt(), "המכולת", locale)
    assert bodies["text/html"].strip() == receipt_html(receipt(), "המכולת", locale).strip()
    assert bodies["application/pdf"] == receipt_pdf(receipt(), "המכולת", locale)


def test_mail_without_a_font_goes_without_a_pdf_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    message = receipt_mail(receipt(), "Corner shop", "shop@example.org", "ada@example.org", "he", fonts=())
    assert [part.get_content_type() for part in message.walk()] == ["multipart/alternative", "text/plain", "text/html"]
    assert "without its PDF" in caplog.text
    assert "ada" not in caplog.text


@settings(deadline=None, max_examples=25)
@given(st.lists(st.text(min_size=1, max_size=40), min_size=1, max_size=4), st.sampled_from(list(LANGUAGES)))
def test_any_name_can_be_printed(names: list[str], locale: str) -> None:
    lines = tuple(ReceiptLine(str(n), name, 1, 100, 700) for n, name in enumerate(names))
    made = replace(receipt(discounts=()), lines=lines)
    assert receipt_text(made, names[0], locale).count("\n") == receipt_text(made, "x", locale).count("\n")
    assert Page(receipt_html(made, names[0], locale)).tags == Page(receipt_html(made, "x", locale)).tags
    fonts = installed_fonts() if locale != "en" else ()
    if fonts or locale == "en":
        assert BytesIO(receipt_pdf(made, names[0], locale, fonts=fonts)).read(5) == b"%PDF-"
