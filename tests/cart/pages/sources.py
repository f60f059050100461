"""Reads the pages' own sources: which texts a script asks for, what a stylesheet says."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from cart.pages.serving import STATIC

LANGUAGES = ("en", "he", "ar", "ru", "sl")
PARTS = ("shopper", "gate", "staff", "office", "engineer")

Text = str | dict[str, str]
_STRING = re.compile(r'"((?:[^"\\\n]|\\.)*)"|\'((?:[^\'\\\n]|\\.)*)\'')


class Asked(NamedTuple):
    """A text that a script asks for.

    Attributes:
        key: Its name; a regular expression if it is put together while the script runs.
        is_pattern: Whether it is one.
    """

    key: str
    is_pattern: bool


def scripts(part: str) -> list[Path]:
    """The scripts of a page."""
    return sorted((STATIC / part).rglob("*.js"))


def catalogue(language: str, part: str) -> dict[str, Text]:
    """The texts of a page in one language; a name that stands there twice is an error."""

    def once(pairs: list[tuple[str, Text]]) -> dict[str, Text]:
        names = [name for name, _ in pairs]
        assert len(names) == len(set(names)), f"{language}/{part}: twice: {[n for n in names if names.count(n) > 1]}"
        return dict(pairs)

    text = (STATIC / "locales" / language / f"{part}.json").read_text("utf-8")
    found: dict[str, Text] = json.loads(text, object_pairs_hook=once)
    return found


def placeholders(text: Text) -> set[str]:
    """What has to be filled in."""
    forms = [text] if isinstance(text, str) else text.values()
    return {name for form in forms for name in re.findall(r"\{(\w+)\}", form)}


def asked_for(script: str) -> Iterator[Asked]:
    """The texts that a script asks for as ``t("…")``, also by a choice between several and by templates."""
    for call in re.finditer(r"(?<![\w.$])t\(", script):
        argument = _first_argument(script, call.end())
        # What a name is compared with is no text.
        argument = re.sub(r"[!=]==?\s*(?:\"[^\"]*\"|'[^']*')", "", argument)
        argument = re.sub(r"\[(?:\"[^\"]*\"|'[^']*')\]", "", argument)
        for template in re.findall(r"`([^`]*)`", argument):
            yield _of_template(template)
        for string in _STRING.finditer(re.sub(r"`[^`]*`", "", argument)):
            yield Asked(string[1] or string[2] or "", False)


def spoken_of(script: str) -> Iterator[Asked]:
    """Whatever in a script may be the name of a text: strings, and templates that begin with a name and a point."""
    for string in _STRING.finditer(script):
        yield Asked(string[1] or string[2] or "", False)
    for template in re.findall(r"`([\w.-]*[._]\$\{[^`]*)`", script):
        yield _of_template(template)
    for template in re.findall(r"`([\w.-]+)`", script):
        yield Asked(template, False)


def rules_of(stylesheet: str) -> Iterator[tuple[int, str]]:
    """The lines of a stylesheet without comments and conditions of media, with their numbers."""
    bare = re.sub(r"/\*.*?\*/", lambda match: re.sub(r"[^\n]", " ", match[0]), stylesheet, flags=re.DOTALL)
    bare = re.sub(r"@(?:media|container|supports)[^{]*\{", "{", bare)
    yield from enumerate(bare.splitlines(), 1)


def _first_argument(script: str, start: int) -> str:
    depth, quote, i = 0, "", start
    while i < len(script):
        char = script[i]
        if quote:
            if char == "\\":
                i += 1
            elif char == quote:
                quote = ""
        elif char in "\"'`":
            quote = char
        elif char in "([{":
            depth += 1
        elif char in ")]}" or (char == "," and depth == 0):
            if depth == 0:
                break
            depth -= 1
        i += 1
    return script[start:i]


def _of_template(template: str) -> Asked:
    pieces = re.split(r"\$\{[^}]*\}", template)
    return Asked(r"[\w.-]+".join(map(re.escape, pieces)), len(pieces) > 1)
