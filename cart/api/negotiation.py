"""Which of several forms of a thing an asker wants: the ``Accept`` header of RFC 9110, section 12.5.1."""

from collections.abc import Sequence

from cart.api.problems import ProblemError

_MOST_RANGES = 50


def choose(accept: str | None, offered: Sequence[str]) -> str:
    """Choose a media type.

    Args:
        accept: The header; None if there is none, which takes anything.
        offered: Media types, the one that is preferred where the asker does not care first.

    Raises:
        ProblemError: 406, nothing of it is wanted.

    >>> choose("text/html;q=0.9, application/pdf", ["application/json", "text/html", "application/pdf"])
    'application/pdf'
    >>> choose("text/*, */*;q=0.1", ["application/json", "text/html"])
    'text/html'
    """
    if accept is None or not accept.strip():
        return offered[0]
    ranges = [_parse(each) for each in accept.split(",")[:_MOST_RANGES]]
    best, best_quality = "", 0.0
    for media_type in offered:
        quality = _quality(media_type, ranges)
        if quality > best_quality:
            best, best_quality = media_type, quality
    if not best:
        raise ProblemError(406, f"expected one of {', '.join(offered)} to be accepted", "not-acceptable")
    return best


def _parse(text: str) -> tuple[str, float]:
    media_range, *parameters = (part.strip().lower() for part in text.split(";"))
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                quality = float(value)
            except ValueError:
                return media_range, 0.0
            return media_range, quality if 0.0 <= quality <= 1.0 else 0.0
    return media_range, 1.0


def _quality(media_type: str, ranges: Sequence[tuple[str, float]]) -> float:
    """How much a media type is wanted: the most exact range that it lies in says so."""
    kind = media_type.partition("/")[0]
    for wanted in (media_type, f"{kind}/*", "*/*"):
        found = [quality for media_range, quality in ranges if media_range == wanted]
        if found:
            return max(found)
    return 0.0
