"""A receipt as JSON, as a web page, as PDF and as e-mail, in the shopper's language.

The web page stands alone: no script, no font, no picture from elsewhere. A PDF has to carry the letters it shows, and
none of the fonts that every PDF reader knows has Hebrew, Arabic or Cyrillic ones; so one is taken from the machine.
DejaVu Sans (Debian's ``fonts-dejavu-core``) has all five languages. A shop without any such font still gets PDFs of
receipts whose letters are those of Western Europe; for others ``ReceiptFontMissing`` is raised, and mail goes without a
PDF.
"""

import io
import logging
import os
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, tzinfo
from email.message import EmailMessage
from functools import lru_cache
from pathlib import Path
from typing import TypedDict, cast

from fontTools.ttLib import TTFont, TTLibError
from fpdf import FPDF
from fpdf.enums import Align, MethodReturnValue, XPos, YPos
from jinja2 import Environment, PackageLoader, StrictUndefined

from cart.errors import ReceiptFontMissing
from cart.receipt_words import Language, Words, format_money, format_tax_rate, format_time, language_of
from cart.receipts import Receipt
from cart.sessions import SessionStatus

_log = logging.getLogger(__name__)

# Controls have no place in a document, and marks of direction in a product's name could turn the text around it.
_UNPRINTABLE = dict.fromkeys((*range(32), *range(127, 160), *range(0x202A, 0x202F), *range(0x2066, 0x206A)), " ")
_ISOLATE, _END_ISOLATE, _RLM = "\u2068", "\u2069", "\u200f"
_SETTLED = frozenset({SessionStatus.CHARGED, SessionStatus.EMPTY, SessionStatus.NO_ACCOUNT, SessionStatus.ABANDONED})


class LineJson(TypedDict):
    """A line of ``ReceiptJson``; amounts are in the minor unit, None where a price is not known."""

    sku: str
    name: str
    quantity: int
    unit_price_minor: int | None
    amount_minor: int | None
    tax_rate_bp: int
    probability: float


class DiscountJson(TypedDict):
    """What an offer or a coupon takes off, at one tax rate."""

    name: str
    source: str
    tax_rate_bp: int
    amount_minor: int


class TaxJson(TypedDict):
    """The tax of one rate."""

    tax_rate_bp: int
    net_minor: int
    tax_minor: int
    gross_minor: int


class ReceiptJson(TypedDict):
    """A receipt as JSON, version 1: members may be added, but none is changed or left out.

    ``total_minor`` is what is to pay: the lines less the discounts, and, unless ``prices_include_tax``, the tax on top.
    It is ``subtotal_minor`` and ``tax_minor`` together. ``taxes``, ``subtotal_minor``, ``tax_minor`` and
    ``total_minor`` are null where a price is not known. ``issued_at`` is RFC 3339 in UTC.
    """

    version: int
    store: str
    session_id: str
    sequence: int
    receipt_number: int | None
    shopper_id: str
    status: str
    issued_at: str
    currency: str
    tax_rule: str
    prices_include_tax: bool
    lines: list[LineJson]
    discounts: list[DiscountJson]
    taxes: list[TaxJson] | None
    discount_minor: int
    subtotal_minor: int | None
    tax_minor: int | None
    total_minor: int | None


def receipt_json(receipt: Receipt, store_name: str) -> ReceiptJson:
    """Write a receipt as what ``json.dumps`` takes."""
    taxes = receipt.taxes
    return {
        "version": 1,
        "store": store_name,
        "session_id": str(receipt.session_id),
        "sequence": receipt.sequence,
        "receipt_number": receipt.receipt_number,
        "shopper_id": receipt.shopper_id,
        "status": receipt.status.value,
        "issued_at": receipt.issued_at.astimezone(UTC).isoformat().replace("+00:00", "Z"),
        "currency": receipt.currency,
        "tax_rule": receipt.tax_rule.value,
        "prices_include_tax": receipt.tax_rule.is_included,
        "lines": [
            {
                "sku": line.sku,
                "name": line.name,
                "quantity": line.quantity,
                "unit_price_minor": line.unit_price_minor,
                "amount_minor": line.amount_minor,
                "tax_rate_bp": line.tax_rate_bp,
                "probability": line.probability,
            }
            for line in receipt.lines
        ],
        "discounts": [
            {
                "name": discount.name,
                "source": discount.source,
                "tax_rate_bp": discount.tax_rate_bp,
                "amount_minor": discount.amount_minor,
            }
            for discount in receipt.discounts
        ],
        "taxes": None
        if taxes is None
        else [
            {
                "tax_rate_bp": tax.tax_rate_bp,
                "net_minor": tax.net_minor,
                "tax_minor": tax.tax_minor,
                "gross_minor": tax.gross_minor,
            }
            for tax in taxes
        ],
        "discount_minor": receipt.discount_minor,
        "subtotal_minor": receipt.subtotal_minor,
        "tax_minor": receipt.tax_minor,
        "total_minor": receipt.total_minor,
    }


@dataclass(frozen=True, slots=True)
class _SlipLine:
    name: str
    quantity: str
    unit_price: str
    amount: str


@dataclass(frozen=True, slots=True)
class _SlipTax:
    rate: str
    net: str
    tax: str
    gross: str


@dataclass(frozen=True, slots=True)
class _Slip:
    """Everything a receipt shows, in words; the page, the PDF and the text differ in how they set it alone."""

    store: str
    title: str
    status: str
    is_settled: bool
    correction: str
    facts: tuple[tuple[str, str], ...]
    lines: tuple[_SlipLine, ...]
    discounts: tuple[tuple[str, str], ...]
    added: tuple[tuple[str, str], ...]
    total: str
    taxes: tuple[_SlipTax, ...]
    tax_note: str

    @classmethod
    def of(cls, receipt: Receipt, store_name: str, language: Language, zone: tzinfo) -> "_Slip":
        words = language.words

        def money(amount_minor: int | None) -> str:
            if amount_minor is None:
                return words.unknown_price
            return format_money(amount_minor, receipt.currency, language.code)

        facts = []
        if receipt.receipt_number is not None:
            facts.append((words.number, str(receipt.receipt_number)))
        # A recording without a clock counts from the start of 1970, which is no date to print.
        if receipt.issued_at.year > 1970:
            facts.append((words.date, format_time(receipt.issued_at, zone)))
        facts.append((words.visit, str(receipt.session_id)))
        taxed = [tax for tax in receipt.taxes or () if tax.tax_rate_bp or tax.gross_minor]
        added = []
        if not receipt.tax_rule.is_included and taxed:
            added.append((words.net, money(receipt.subtotal_minor)))
            added += [
                (f"{words.tax} {format_tax_rate(tax.tax_rate_bp, language.code)}", money(tax.tax_minor))
                for tax in taxed
                if tax.tax_rate_bp
            ]
        off: dict[tuple[str, str], int] = {}
        for discount in receipt.discounts:
            key = (discount.source, discount.name)
            off[key] = off.get(key, 0) + discount.amount_minor
        return cls(
            store=_printable(store_name),
            title=words.receipt,
            status=words.status[receipt.status],
            is_settled=receipt.status in _SETTLED,
            correction=words.correction.format(number=receipt.sequence - 1) if receipt.sequence > 1 else "",
            facts=tuple(facts),
            lines=tuple(
                _SlipLine(
                    _printable(line.name),
                    f"{language.minus if line.quantity < 0 else ''}{abs(line.quantity)}",
                    money(line.unit_price_minor),
                    money(line.amount_minor),
                )
                for line in receipt.lines
            ),
            discounts=tuple((_printable(name), money(-amount_minor)) for (_, name), amount_minor in off.items()),
            added=tuple(added),
            total=money(receipt.total_minor),
            taxes=tuple(
                _SlipTax(
                    format_tax_rate(tax.tax_rate_bp, language.code),
                    money(tax.net_minor),
                    money(tax.tax_minor),
                    money(tax.gross_minor),
                )
                for tax in taxed
            ),
            tax_note=words.prices_with_tax if receipt.tax_rule.is_included else words.prices_without_tax,
        )


def _printable(text: str) -> str:
    return text.translate(_UNPRINTABLE)


@lru_cache(maxsize=1)
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("cart", "web"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def receipt_html(receipt: Receipt, store_name: str, locale: str = "en", zone: tzinfo = UTC) -> str:
    """Write a receipt as a web page that needs nothing else, on a screen or on paper.

    Args:
        receipt: The receipt.
        store_name: Printed at the top.
        locale: The account's, such as ``he`` or ``ar-EG``; see ``cart.receipt_words``.
        zone: The shop's time zone.
    """
    language = language_of(locale)
    return (
        _environment()
        .get_template("receipt.html.j2")
        .render(slip=_Slip.of(receipt, store_name, language, zone), words=language.words, language=language)
    )


def receipt_text(receipt: Receipt, store_name: str, locale: str = "en", zone: tzinfo = UTC) -> str:
    """Write a receipt as the plain text of a mail, one fact a line; for a terminal see ``receipts.render_text``."""
    language = language_of(locale)
    words, slip = language.words, _Slip.of(receipt, store_name, language, zone)

    def isolated(text: str) -> str:
        # A name in another script must not move the amount beside it (UAX 9).
        return f"{_ISOLATE}{text}{_END_ISOLATE}" if language.is_rtl else text

    rows = [words.mail_introduction.format(store=isolated(slip.store)), "", slip.status]
    if slip.correction:
        rows.append(slip.correction)
    rows += [f"{name}: {isolated(value)}" for name, value in slip.facts]
    rows.append("")
    rows += [f"{line.quantity} x {isolated(line.name)}: {line.amount}" for line in slip.lines]
    rows += [f"{isolated(name)}: {amount}" for name, amount in slip.discounts]
    rows += [f"{name}: {amount}" for name, amount in slip.added]
    rows.append(f"{words.total}: {slip.total}")
    if receipt.tax_rule.is_included:
        rows += [f"  {words.tax} {tax.rate}: {tax.tax}" for tax in slip.taxes]
    if slip.taxes:
        rows.append(slip.tax_note)
    rows += ["", words.mail_question]
    return "\n".join(f"{_RLM}{row}" if language.is_rtl and row else row for row in rows) + "\n"


def receipt_mail(
    receipt: Receipt,
    store_name: str,
    sender: str,
    recipient: str,
    locale: str = "en",
    zone: tzinfo = UTC,
    fonts: Sequence[Path] | None = None,
) -> EmailMessage:
    """Make the mail with a receipt: text, the page for readers that show it, and the PDF.

    Without a font for it the PDF is left out, and the log says so.

    Args:
        receipt: The receipt.
        store_name: The shop's name.
        sender: Address it comes from.
        recipient: The shopper's address.
        locale: The account's.
        zone: The shop's time zone.
        fonts: As of ``receipt_pdf``.
    """
    language = language_of(locale)
    message = EmailMessage()
    message["Subject"] = language.words.mail_subject.format(store=_printable(store_name))
    message["From"] = sender
    message["To"] = recipient
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834: no automatic answers, please
    message.set_content(receipt_text(receipt, store_name, locale, zone))
    message.add_alternative(receipt_html(receipt, store_name, locale, zone), subtype="html")
    try:
        pdf = receipt_pdf(receipt, store_name, locale, zone, fonts)
    except ReceiptFontMissing as error:
        _log.warning("a receipt was mailed without its PDF: %s", error)
    else:
        name = receipt.session_id if receipt.receipt_number is None else receipt.receipt_number
        message.add_attachment(pdf, maintype="application", subtype="pdf", filename=f"receipt-{name}.pdf")
    # Last, for what is said of the content moves into the first part when another one is added.
    message["Content-Language"] = language.code
    return message


_FONT_DIRECTORIES = (
    "~/.local/share/fonts",
    "~/.fonts",
    "/usr/local/share/fonts",
    "/usr/share/fonts",
    "/Library/Fonts",
    "/System/Library/Fonts/Supplemental",
    "C:/Windows/Fonts",
)
# Those that are known to have several scripts, best first.
_FONT_NAMES = (
    "DejaVuSans.ttf",
    "DejaVuSansCondensed.ttf",
    "FreeSans.ttf",
    "Arial Unicode.ttf",
    "arial.ttf",
    "Arial.ttf",
)
_FAMILY, _CORE_FAMILY = "receipt", "helvetica"
# What the fonts that every PDF reader has can show: their WinAnsiEncoding, which has the euro sign.
_CORE_ENCODING = "windows-1252"
_CORE_LETTERS = frozenset(
    ord(letter) for letter in bytes(range(32, 256)).decode(_CORE_ENCODING, "ignore") if letter.isprintable()
)
# What needs no glyph of its own: spaces and marks of direction.
_INVISIBLE = re.compile(r"[\s\u200e\u200f\u00a0]")


def installed_fonts(first: Path | None = None) -> tuple[Path, ...]:
    """Fonts of this machine that are known to have several scripts, best first.

    Args:
        first: A font to try before them, as a shop's settings may name.
    """
    return _found_fonts() if first is None else (first, *_found_fonts())


@lru_cache(maxsize=1)
def _found_fonts() -> tuple[Path, ...]:
    found: dict[str, Path] = {}
    for directory in _FONT_DIRECTORIES:
        for folder, _, files in os.walk(Path(directory).expanduser()):
            for name in sorted(set(files).intersection(_FONT_NAMES)):
                found.setdefault(name, Path(folder) / name)
    return tuple(found[name] for name in _FONT_NAMES if name in found)


@lru_cache(maxsize=16)
def _letters_of(font: Path) -> frozenset[int]:
    try:
        # Read as a whole: fontTools leaves a file open that turns out to be no font.
        with TTFont(io.BytesIO(font.read_bytes()), lazy=True) as opened:
            return frozenset(opened.getBestCmap() or ())
    except (OSError, TTLibError) as error:
        raise ValueError(f"{font}: expected a TrueType or OpenType font: {error}") from error


def _font_for(required: str, fonts: Iterable[Path]) -> Path | None:
    """The first font that has all of these letters; None if there is none but they are those of every PDF reader."""
    letters = {ord(letter) for letter in _INVISIBLE.sub("", required)}
    for font in fonts:
        if letters <= _letters_of(font):
            return font
    missing = sorted(letters - _CORE_LETTERS)
    if not missing:
        return None
    raise ReceiptFontMissing(
        f"expected a font with letters such as U+{missing[0]:04X}: install one, such as DejaVu Sans (Debian:"
        f" fonts-dejavu-core), or name one in TILLFREE_RECEIPT_FONT"
    )


def receipt_pdf(
    receipt: Receipt,
    store_name: str,
    locale: str = "en",
    zone: tzinfo = UTC,
    fonts: Sequence[Path] | None = None,
) -> bytes:
    """Set a receipt as PDF, on A5, in as many pages as it needs; the same receipt gives the same bytes.

    Args:
        receipt: The receipt.
        store_name: Printed at the top.
        locale: The account's.
        zone: The shop's time zone.
        fonts: TrueType or OpenType files to choose from, the first that has the language's letters; those of the
            machine if None (``installed_fonts``). A bold one is looked for beside it, as ``...-Bold.ttf``.

    Raises:
        ReceiptFontMissing: No font has the letters of the language. Letters that only a name has are shown as "?"
            where the font lacks them.
        ValueError: A file is no font.
    """
    language = language_of(locale)
    slip = _Slip.of(receipt, store_name, language, zone)
    font = _font_for("".join(_fixed_words(slip, language.words)), installed_fonts() if fonts is None else fonts)
    setter = _Setter(language, font)
    setter.pdf.set_creation_date(receipt.issued_at.astimezone(UTC))
    setter.pdf.set_title(f"{slip.title} - {slip.store}")
    setter.pdf.set_lang(language.code)
    setter.set_slip(slip)
    out = io.BytesIO()
    setter.pdf.output(out)
    return out.getvalue()


def _fixed_words(slip: _Slip, words: Words) -> Iterator[str]:
    """Everything on a receipt but the names that people gave to things."""
    yield from (slip.title, slip.status, slip.correction, slip.total, slip.tax_note, words.mail_question)
    yield from (words.product, words.quantity, words.unit_price, words.amount, words.total)
    yield from (words.tax_rate, words.net, words.tax, words.gross)
    for name, value in (*slip.facts, *slip.added):
        yield name + value
    for line in slip.lines:
        yield line.unit_price + line.amount + line.quantity
    for tax in slip.taxes:
        yield tax.rate + tax.net


_A5_MM = (148.0, 210.0)
_Colour = tuple[int, int, int]
_INK, _SOFT, _GREEN, _RULE = (22, 25, 29), (77, 86, 97), (12, 84, 38), (200, 205, 211)


@dataclass(frozen=True, slots=True)
class _Look:
    size_pt: float = 9.5
    bold: bool = False
    colour: _Colour = _INK


_PLAIN, _SMALL, _SAVED = _Look(), _Look(8.0, colour=_SOFT), _Look(colour=_GREEN)


class _Setter:
    """Sets a slip on pages, its columns mirrored where the language runs from right to left."""

    _MARGIN_MM = 13.0

    def __init__(self, language: Language, font: Path | None) -> None:
        self._language = language
        self._letters = _CORE_LETTERS if font is None else _letters_of(font)
        self.pdf = FPDF(format=_A5_MM)
        self.pdf.c_margin = 0
        self.pdf.core_fonts_encoding = _CORE_ENCODING
        self.pdf.set_margin(self._MARGIN_MM)
        self.pdf.set_auto_page_break(False)
        self._family = _CORE_FAMILY if font is None else _FAMILY
        if font is not None:
            bold = font.with_name(f"{font.stem}-Bold{font.suffix}")
            self.pdf.add_font(_FAMILY, "", font)
            self.pdf.add_font(_FAMILY, "B", bold if bold.is_file() else font)
        self.pdf.add_page()

    def set_slip(self, slip: _Slip) -> None:
        """Set everything, from the shop's name down."""
        words = self._language.words
        width = self.pdf.epw
        self._line(slip.store, _Look(16, bold=True))
        self._line(slip.title, _Look(11, colour=_SOFT))
        self._space(2)
        self._line(slip.status, _Look(bold=True, colour=_GREEN if slip.is_settled else _INK))
        if slip.correction:
            self._line(slip.correction, _PLAIN)
        for name, value in slip.facts:
            self._row([(name, 28, True), (value, width - 28, True)], _SMALL)
        self._space(3)
        if slip.lines:
            columns = (width - 68, 12.0, 28.0, 28.0)
            heads = (words.product, words.quantity, words.unit_price, words.amount)
            self._table_row(heads, columns, _SMALL, _INK)
            for line in slip.lines:
                self._table_row((line.name, line.quantity, line.unit_price, line.amount), columns, _PLAIN)
            wide = (width - 32, 32.0)
            for name, amount in slip.discounts:
                self._table_row((name, amount), wide, _SAVED)
            for name, amount in slip.added:
                self._table_row((name, amount), wide, _PLAIN)
            self._space(1)
            self._table_row((words.total, slip.total), (width - 50, 50.0), _Look(13, bold=True), None)
            self._space(4)
        if slip.taxes:
            quarters = (width - 87, 29.0, 29.0, 29.0)
            self._table_row((words.tax_rate, words.net, words.tax, words.gross), quarters, _SMALL)
            for tax in slip.taxes:
                self._table_row((tax.rate, tax.net, tax.tax, tax.gross), quarters, _SMALL)
            self._space(1)
            self._line(slip.tax_note, _SMALL)
        self._line(words.mail_question, _SMALL)

    def _line(self, text: str, look: _Look) -> None:
        self._row([(text, self.pdf.epw, True)], look)

    def _space(self, height_mm: float) -> None:
        self.pdf.set_y(self.pdf.get_y() + height_mm)

    def _table_row(
        self, texts: Sequence[str], widths_mm: Sequence[float], look: _Look, rule: _Colour | None = _RULE
    ) -> None:
        """Set a row: its first text at the start of its column, the others, which are amounts, at the end of theirs."""
        cells = [(text, width, place == 0) for place, (text, width) in enumerate(zip(texts, widths_mm, strict=True))]
        self._row(cells, look)
        if rule is not None:
            y = self.pdf.get_y() + 0.6
            self.pdf.set_draw_color(*rule)
            self.pdf.set_line_width(0.2)
            self.pdf.line(self.pdf.l_margin, y, self.pdf.w - self.pdf.r_margin, y)
            self.pdf.set_y(y + 0.8)

    def _row(self, cells: Sequence[tuple[str, float, bool]], look: _Look) -> None:
        """Set texts side by side, each in its width and at the start or the end of it, on a new page if need be."""
        pdf, is_rtl = self.pdf, self._language.is_rtl
        pdf.set_font(self._family, "B" if look.bold else "", look.size_pt)
        pdf.set_text_color(*look.colour)
        line_mm = look.size_pt * 0.48
        shown = [(self._shown(text), width_mm, is_start) for text, width_mm, is_start in cells]
        rows = max(self._lines_of(text, width_mm, line_mm) for text, width_mm, _ in shown)
        if pdf.get_y() + rows * line_mm > pdf.h - self._MARGIN_MM:
            pdf.add_page()
        top, edge = pdf.get_y(), (pdf.w - pdf.r_margin if is_rtl else pdf.l_margin)
        for text, width_mm, is_start in shown:
            pdf.set_xy(edge - width_mm if is_rtl else edge, top)
            # The start of a line is on the right where the language runs from there.
            align = Align.L if is_start != is_rtl else Align.R
            self._turn_for(text)
            pdf.multi_cell(width_mm, line_mm, text, align=align, new_x=XPos.LEFT, new_y=YPos.TOP)
            edge += -width_mm if is_rtl else width_mm
        pdf.set_xy(pdf.l_margin, top + rows * line_mm)

    def _lines_of(self, text: str, width_mm: float, line_mm: float) -> int:
        self._turn_for(text)
        lines = self.pdf.multi_cell(width_mm, line_mm, text, dry_run=True, output=MethodReturnValue.LINES)
        return len(cast(list[str], lines))

    def _turn_for(self, text: str) -> None:
        """Have the next text run as its letters do: each cell stands for itself, as an isolate of UAX 9."""
        if self._family != _CORE_FAMILY:
            is_rtl = any(unicodedata.bidirectional(letter) in ("R", "AL") for letter in text)
            self.pdf.set_text_shaping(True, direction="rtl" if is_rtl else "ltr")

    def _shown(self, text: str) -> str:
        """The text with "?" for letters that the font lacks."""
        return "".join(letter if ord(letter) in self._letters or _INVISIBLE.match(letter) else "?" for letter in text)
