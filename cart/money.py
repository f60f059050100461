"""Money as whole numbers of a currency's minor unit (cents of a dollar), with its ISO 4217 code.

Amounts are ``int`` and never pass through a float. Where a division is unavoidable, the result is rounded half away
from zero, the commercial rule of DIN 1333, unless a shop's tax rule says otherwise (``cart.taxes``). An amount that is
dealt out, such as a discount to several tax rates, is dealt out by largest remainder, so that nothing is lost or made.
"""

import re
from collections.abc import Sequence

# ISO 4217 list one, active codes by the decimals of their minor unit; funds codes and precious metals are left out.
_CODES_BY_DIGITS = {
    0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX VND VUV XAF XOF XPF",
    2: (
        "AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF CNY COP CRC"
        " CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF IDR ILS INR IRR"
        " JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD"
        " NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN"
        " SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD UYU UZS VED VES WST XCD XCG YER ZAR ZMW ZWG"
    ),
    3: "BHD IQD JOD KWD LYD OMR TND",
}
_DIGITS = {code: digits for digits, codes in _CODES_BY_DIGITS.items() for code in codes.split()}


def minor_digits(currency: str) -> int:
    """Decimals of a currency's minor unit, by ISO 4217.

    Raises:
        ValueError: ``currency`` is not an active ISO 4217 code.

    >>> minor_digits("USD"), minor_digits("JPY"), minor_digits("KWD")
    (2, 0, 3)
    """
    try:
        return _DIGITS[currency]
    except KeyError:
        raise ValueError(f"currency: expected an ISO 4217 code such as USD, got {currency!r}") from None


def format_amount(amount_minor: int, currency: str) -> str:
    """Write an amount in the major unit, with all decimals, without the code.

    Raises:
        ValueError: ``currency`` is not an active ISO 4217 code.

    >>> format_amount(-105, "USD"), format_amount(105, "JPY"), format_amount(5, "KWD")
    ('-1.05', '105', '0.005')
    """
    digits = minor_digits(currency)
    sign = "-" if amount_minor < 0 else ""
    text = str(abs(amount_minor)).rjust(digits + 1, "0")
    return f"{sign}{text}" if digits == 0 else f"{sign}{text[:-digits]}.{text[-digits:]}"


def parse_amount(text: str, currency: str) -> int:
    """Read an amount in the major unit, such as ``12.5``, and return it in the minor unit.

    Raises:
        ValueError: The text is not a plain decimal number, has more decimals than the currency, or the currency is
            not an active ISO 4217 code.

    >>> parse_amount("12.5", "USD")
    1250
    """
    digits = minor_digits(currency)
    match = re.fullmatch(r"(-?)([0-9]+)(?:\.([0-9]+))?", text)
    fraction = (match[3] or "") if match else ""
    if match is None or len(fraction) > digits:
        raise ValueError(f"amount: expected a number with at most {digits} decimals for {currency}, got {text!r}")
    return int(f"{match[1]}{match[2]}{fraction.ljust(digits, '0')}")


def tax_included(gross_minor: int, tax_rate_bp: int) -> int:
    """Tax contained in a price that includes it.

    Args:
        gross_minor: Amount with tax, minor unit.
        tax_rate_bp: Tax rate in basis points of the amount without tax; 1900 is 19 %.

    Returns:
        gross * rate / (1 + rate), rounded half away from zero, minor unit.

    Raises:
        ValueError: The rate is negative.

    >>> tax_included(1190, 1900)
    190
    """
    if tax_rate_bp < 0:
        raise ValueError(f"tax_rate_bp: expected 0 or more, got {tax_rate_bp}")
    return divide_half_away(gross_minor * tax_rate_bp, 10_000 + tax_rate_bp)


def divide_half_away(numerator: int, denominator: int) -> int:
    """Divide whole numbers and round half away from zero; ``denominator`` must be positive.

    >>> [divide_half_away(n, 2) for n in (-3, -1, 0, 1, 3)]
    [-2, -1, 0, 1, 2]
    """
    if denominator <= 0:
        raise ValueError(f"denominator: expected a positive number, got {denominator}")
    magnitude = (2 * abs(numerator) + denominator) // (2 * denominator)
    return magnitude if numerator >= 0 else -magnitude


def divide_half_even(numerator: int, denominator: int) -> int:
    """Divide whole numbers and round half to even (IEEE 754 4.3.1, bankers' rounding); ``denominator`` is positive.

    >>> [divide_half_even(n, 2) for n in (-3, -1, 0, 1, 3)]
    [-2, 0, 0, 0, 2]
    """
    if denominator <= 0:
        raise ValueError(f"denominator: expected a positive number, got {denominator}")
    quotient, rest = divmod(numerator, denominator)
    return quotient + (2 * rest > denominator or (2 * rest == denominator and quotient % 2 == 1))


def share_out(amount_minor: int, weights: Sequence[int]) -> tuple[int, ...]:
    """Deal an amount out in proportion to weights, by largest remainder (Hamilton's method).

    Every share is its exact value rounded down or up, and together they are the amount. Where remainders are equal the
    earlier share is rounded up.

    Args:
        amount_minor: What is dealt out, at least 0.
        weights: None below 0, one at least above it unless the amount is 0.

    Raises:
        ValueError: The amount or a weight is negative, or there is nobody to give the amount to.

    >>> share_out(100, [1, 1, 1]), share_out(5, [0, 7])
    ((34, 33, 33), (0, 5))
    """
    whole = sum(weights)
    if amount_minor < 0 or min(weights, default=0) < 0 or (amount_minor and not whole):
        raise ValueError(
            f"share_out: expected an amount and weights of 0 or more, and a weight above 0 if there is an amount,"
            f" got {amount_minor} and {list(weights)}"
        )
    if not amount_minor:
        return (0,) * len(weights)
    shares = [amount_minor * weight // whole for weight in weights]
    remainders = [amount_minor * weight % whole for weight in weights]
    neediest = sorted(range(len(weights)), key=lambda place: (-remainders[place], place))
    for place in neediest[: amount_minor - sum(shares)]:
        shares[place] += 1
    return tuple(shares)
