r"""The fixed words of a receipt in five languages, and how each of them writes amounts, rates and times.

Amounts follow the currency patterns of Unicode's CLDR (``standard``) for these languages, Arabic with European digits;
decimals are those of ISO 4217. Marks of direction keep a minus and a currency's symbol on their sides of a number where
text runs from right to left.

>>> format_money(-123456, "EUR", "en"), format_money(123456, "JPY", "en"), format_money(5, "KWD", "en")
('-€1,234.56', '¥123,456', 'KWD\xa00.005')
>>> format_money(123456, "EUR", "sl"), format_money(123456, "JPY", "ru")
('1.234,56\xa0€', '123\xa0456\xa0JP¥')
"""

from dataclasses import dataclass
from datetime import datetime, tzinfo

from cart.money import minor_digits
from cart.sessions import SessionStatus

_LRM, _RLM, _NBSP = "\u200e", "\u200f", "\u00a0"


@dataclass(frozen=True, slots=True)
class Words:
    """What is printed on every receipt; ``{store}`` and ``{number}`` are filled in."""

    receipt: str
    number: str
    date: str
    visit: str
    product: str
    quantity: str
    unit_price: str
    amount: str
    total: str
    tax_rate: str
    net: str
    tax: str
    gross: str
    prices_with_tax: str
    prices_without_tax: str
    unknown_price: str
    correction: str
    status: dict[SessionStatus, str]
    mail_subject: str
    mail_introduction: str
    mail_question: str


@dataclass(frozen=True, slots=True)
class Language:
    """A language of receipts.

    Attributes:
        code: BCP 47 tag.
        words: Its words.
        is_rtl: Whether it runs from right to left.
        group: Between thousands.
        decimal: Between units and decimals.
        minus: Before a negative number.
        money: Pattern of an amount, with ``{sign}``, ``{number}`` and ``{symbol}``.
        rate: Pattern of a rate in per cent, with ``{number}``.
    """

    code: str
    words: Words
    is_rtl: bool
    group: str
    decimal: str
    minus: str
    money: str
    rate: str


_SYMBOLS = {"USD": "$", "EUR": "€", "GBP": "£", "ILS": "₪"}
# Symbols that not every language uses: elsewhere the yen is told from the yuan, and the rouble has its code.
_OWN_SYMBOLS = {
    "en": {"JPY": "¥"},
    "he": {"JPY": "JP¥"},
    "ar": {"USD": "US$", "GBP": "UK£", "JPY": "JP¥"},
    "ru": {"RUB": "₽", "JPY": "JP¥"},
    "sl": {"JPY": "JP¥"},
}

_ENGLISH = Language(
    "en",
    Words(
        receipt="Receipt",
        number="Receipt no.",
        date="Date",
        visit="Visit",
        product="Product",
        quantity="Qty",
        unit_price="Unit price",
        amount="Amount",
        total="Total",
        tax_rate="Tax rate",
        net="Without tax",
        tax="Tax",
        gross="With tax",
        prices_with_tax="Prices include tax.",
        prices_without_tax="Prices do not include tax.",
        unknown_price="not known",
        correction="Correction {number}: it replaces the earlier receipt of this visit",
        status={
            SessionStatus.CLOSED: "Payment not confirmed yet",
            SessionStatus.CHARGED: "Paid",
            SessionStatus.NEEDS_REVIEW: "Not charged yet: a person will look at this visit",
            SessionStatus.EMPTY: "Nothing taken, nothing charged",
            SessionStatus.NO_ACCOUNT: "Not charged: no account",
            SessionStatus.PAYMENT_FAILED: "Payment declined: the total is owed",
            SessionStatus.ABANDONED: "Nobody came in, nothing charged",
        },
        mail_subject="Your receipt from {store}",
        mail_introduction="Here is your receipt from {store}.",
        mail_question="Is a line wrong? Ask about it in the app.",
    ),
    is_rtl=False,
    group=",",
    decimal=".",
    minus="-",
    money="{sign}{symbol}{number}",
    rate="{number}%",
)

_HEBREW = Language(
    "he",
    Words(
        receipt="קבלה",
        number="מס׳ קבלה",
        date="תאריך",
        visit="ביקור",
        product="מוצר",
        quantity="כמות",
        unit_price="מחיר ליחידה",
        amount="סכום",
        total="סה״כ",
        tax_rate="שיעור המס",
        net="ללא מס",
        tax="מס",
        gross="כולל מס",
        prices_with_tax="המחירים כוללים מס.",
        prices_without_tax="המחירים אינם כוללים מס.",
        unknown_price="לא ידוע",
        correction="תיקון {number}: מחליף את הקבלה הקודמת של ביקור זה",
        status={
            SessionStatus.CLOSED: "התשלום טרם אושר",
            SessionStatus.CHARGED: "שולם",
            SessionStatus.NEEDS_REVIEW: "טרם חויב: הביקור ייבדק על ידי אדם",
            SessionStatus.EMPTY: "לא נלקח דבר ולא חויב דבר",
            SessionStatus.NO_ACCOUNT: "לא חויב: אין חשבון",
            SessionStatus.PAYMENT_FAILED: "התשלום נדחה: הסכום עדיין לתשלום",
            SessionStatus.ABANDONED: "איש לא נכנס ולא חויב דבר",
        },
        mail_subject="הקבלה שלך מאת {store}",
        mail_introduction="להלן הקבלה שלך מאת {store}.",
        mail_question="יש שורה שגויה? אפשר לשאול עליה באפליקציה.",
    ),
    is_rtl=True,
    group=",",
    decimal=".",
    minus=f"{_LRM}-",
    money=f"{_RLM}{{sign}}{{number}}{_NBSP}{_RLM}{{symbol}}",
    rate="{number}%",
)

_ARABIC = Language(
    "ar",
    Words(
        receipt="إيصال",
        number="رقم الإيصال",
        date="التاريخ",
        visit="الزيارة",
        product="المنتج",
        quantity="الكمية",
        unit_price="سعر الوحدة",
        amount="المبلغ",
        total="الإجمالي",
        tax_rate="نسبة الضريبة",
        net="دون الضريبة",
        tax="الضريبة",
        gross="مع الضريبة",
        prices_with_tax="الأسعار تشمل الضريبة.",
        prices_without_tax="الأسعار لا تشمل الضريبة.",
        unknown_price="غير معروف",
        correction="تصحيح {number}: يحل محل الإيصال السابق لهذه الزيارة",
        status={
            SessionStatus.CLOSED: "لم يتأكد الدفع بعد",
            SessionStatus.CHARGED: "مدفوع",
            SessionStatus.NEEDS_REVIEW: "لم يتم الخصم بعد: سيراجع أحد الموظفين هذه الزيارة",
            SessionStatus.EMPTY: "لم يؤخذ شيء ولم يتم خصم شيء",
            SessionStatus.NO_ACCOUNT: "لم يتم الخصم: لا يوجد حساب",
            SessionStatus.PAYMENT_FAILED: "تم رفض الدفع: المبلغ مستحق",
            SessionStatus.ABANDONED: "لم يدخل أحد ولم يتم خصم شيء",
        },
        mail_subject="إيصالك من {store}",
        mail_introduction="هذا إيصالك من {store}.",
        mail_question="هل هناك بند خاطئ؟ اسأل عنه في التطبيق.",
    ),
    is_rtl=True,
    group=",",
    decimal=".",
    minus=f"{_LRM}-",
    money=f"{_RLM}{{sign}}{{number}}{_NBSP}{_RLM}{{symbol}}",
    rate=f"{{number}}%{_LRM}",
)

_RUSSIAN = Language(
    "ru",
    Words(
        receipt="Чек",
        number="Чек №",
        date="Дата",
        visit="Посещение",
        product="Товар",
        quantity="Кол-во",
        unit_price="Цена за единицу",
        amount="Сумма",
        total="Итого",
        tax_rate="Ставка налога",
        net="Без налога",
        tax="Налог",
        gross="С налогом",
        prices_with_tax="Цены включают налог.",
        prices_without_tax="Цены не включают налог.",
        unknown_price="неизвестно",
        correction="Исправление {number}: заменяет предыдущий чек этого посещения",
        status={
            SessionStatus.CLOSED: "Платёж ещё не подтверждён",
            SessionStatus.CHARGED: "Оплачено",
            SessionStatus.NEEDS_REVIEW: "Пока не списано: это посещение проверит сотрудник",
            SessionStatus.EMPTY: "Ничего не взято, ничего не списано",
            SessionStatus.NO_ACCOUNT: "Не списано: нет учётной записи",
            SessionStatus.PAYMENT_FAILED: "Платёж отклонён: сумма подлежит оплате",
            SessionStatus.ABANDONED: "Никто не вошёл, ничего не списано",
        },
        mail_subject="Ваш чек: {store}",
        mail_introduction="Это ваш чек магазина {store}.",
        mail_question="Ошибка в строке? Спросите о ней в приложении.",
    ),
    is_rtl=False,
    group=_NBSP,
    decimal=",",
    minus="-",
    money=f"{{sign}}{{number}}{_NBSP}{{symbol}}",
    rate=f"{{number}}{_NBSP}%",
)

_SLOVENIAN = Language(
    "sl",
    Words(
        receipt="Račun",
        number="Račun št.",
        date="Datum",
        visit="Obisk",
        product="Izdelek",
        quantity="Kol.",
        unit_price="Cena na enoto",
        amount="Znesek",
        total="Skupaj",
        tax_rate="Davčna stopnja",
        net="Brez davka",
        tax="Davek",
        gross="Z davkom",
        prices_with_tax="Cene vključujejo davek.",
        prices_without_tax="Cene ne vključujejo davka.",
        unknown_price="ni znano",
        correction="Popravek {number}: nadomešča prejšnji račun tega obiska",
        status={
            SessionStatus.CLOSED: "Plačilo še ni potrjeno",
            SessionStatus.CHARGED: "Plačano",
            SessionStatus.NEEDS_REVIEW: "Še ni zaračunano: obisk bo pregledal človek",
            SessionStatus.EMPTY: "Nič vzeto, nič zaračunano",
            SessionStatus.NO_ACCOUNT: "Ni zaračunano: ni uporabniškega računa",
            SessionStatus.PAYMENT_FAILED: "Plačilo zavrnjeno: znesek je še treba poravnati",
            SessionStatus.ABANDONED: "Nihče ni vstopil, nič zaračunano",
        },
        mail_subject="Vaš račun: {store}",
        mail_introduction="To je vaš račun trgovine {store}.",
        mail_question="Je kakšna vrstica napačna? Vprašajte o njej v aplikaciji.",
    ),
    is_rtl=False,
    group=".",
    decimal=",",
    minus="\u2212",
    money=f"{{sign}}{{number}}{_NBSP}{{symbol}}",
    rate=f"{{number}}{_NBSP}%",
)

LANGUAGES = {language.code: language for language in (_ENGLISH, _HEBREW, _ARABIC, _RUSSIAN, _SLOVENIAN)}
"""The languages of receipts by their BCP 47 tag."""


def language_of(locale: str) -> Language:
    """The language for an account's locale; English where there is no better one.

    >>> [language_of(locale).code for locale in ("he-IL", "iw", "ar_EG", "sl", "pt-BR", "")]
    ['he', 'he', 'ar', 'sl', 'en', 'en']
    """
    tag = locale.replace("_", "-").split("-")[0].lower()
    return LANGUAGES.get({"iw": "he"}.get(tag, tag), _ENGLISH)


def format_money(amount_minor: int, currency: str, locale: str) -> str:
    """Write an amount with its currency as people of a language do.

    Raises:
        ValueError: ``currency`` is not an active ISO 4217 code.
    """
    language = language_of(locale)
    digits = minor_digits(currency)
    whole, rest = divmod(abs(amount_minor), 10**digits)
    number = f"{whole:,}".replace(",", language.group)
    if digits:
        number += f"{language.decimal}{rest:0{digits}d}"
    symbol = _OWN_SYMBOLS[language.code].get(currency) or _SYMBOLS.get(currency, currency)
    if symbol[-1].isalpha() and language.money.startswith("{sign}{symbol}"):
        symbol += _NBSP
    if language.is_rtl and symbol[0].isalpha() and not symbol[-1].isalpha():
        symbol += _LRM  # keeps the last sign of US$ on its side of the letters
    sign = language.minus if amount_minor < 0 else ""
    return language.money.format(sign=sign, number=number, symbol=symbol)


def format_tax_rate(tax_rate_bp: int, locale: str) -> str:
    r"""Write a rate in basis points as per cent.

    >>> format_tax_rate(825, "en"), format_tax_rate(1950, "sl"), format_tax_rate(1900, "ru")
    ('8.25%', '19,5\xa0%', '19\xa0%')
    """
    language = language_of(locale)
    whole, rest = divmod(tax_rate_bp, 100)
    fraction = f"{language.decimal}{rest:02d}".rstrip("0") if rest else ""
    return language.rate.format(number=f"{whole}{fraction}")


def format_time(at: datetime, zone: tzinfo) -> str:
    """Write a moment to the minute as ISO 8601 does, which no language misreads, with its zone's name.

    >>> from datetime import UTC
    >>> format_time(datetime(2026, 1, 1, 12, tzinfo=UTC), UTC)
    '2026-01-01 12:00 UTC'
    """
    local = at.astimezone(zone)
    return f"{local:%Y-%m-%d %H:%M} {local.tzname()}"
