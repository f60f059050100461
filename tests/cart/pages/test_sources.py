"""What can be said of the pages without a browser: their types, their texts in five languages, their styles."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from cart.pages.serving import HERE, LIBRARIES, STATIC
from tests.cart.pages.sources import (
    LANGUAGES,
    PARTS,
    asked_for,
    catalogue,
    placeholders,
    rules_of,
    scripts,
    spoken_of,
)

NODE = Path(sys.executable).parent / "node"
OWN_LETTERS = {"he": r"[\u0590-\u05ff]", "ar": r"[\u0600-\u06ff]", "ru": r"[\u0400-\u04ff]"}
SAME_EVERYWHERE = re.compile(r"\{\w+\}|Tillfree|Wi-Fi|HTTP|RMS|FPS|fps|SKU|PDF|JSON|YAML|GTIN|\bID\b|\b\w{1,2}\b")
"""Placeholders, names, and signs that every language writes the same."""


def test_types_hold() -> None:
    run = subprocess.run(
        [NODE, LIBRARIES / "typescript" / "bin" / "tsc", "-p", HERE / "tsconfig.json"],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.parametrize("part", PARTS)
def test_no_text_is_missing(part: str) -> None:
    known = catalogue("en", "common") | catalogue("en", part)
    missing = []
    for path in (*scripts(part), *scripts("common")):
        here = catalogue("en", "common") if path.parent.name == "common" else known
        for key, is_pattern in asked_for(path.read_text("utf-8")):
            if not (any(re.fullmatch(key, name) for name in here) if is_pattern else key in here):
                missing.append(f"{path.relative_to(STATIC)}: {key}")
    assert missing == []


@pytest.mark.parametrize("part", ["common", *PARTS])
def test_no_text_is_left_over(part: str) -> None:
    paths = [path for each in (PARTS if part == "common" else (part,)) for path in scripts(each)] + scripts("common")
    spoken = {asked for path in paths for asked in spoken_of(path.read_text("utf-8"))}
    names = {asked.key for asked in spoken if not asked.is_pattern}
    patterns = [re.compile(asked.key) for asked in spoken if asked.is_pattern]
    found = [key for key in catalogue("en", part) if key not in names and not any(p.fullmatch(key) for p in patterns)]
    assert found == []


@pytest.mark.parametrize("part", PARTS)
def test_a_page_gives_no_name_to_two_texts(part: str) -> None:
    assert catalogue("en", "common").keys() & catalogue("en", part).keys() == set()


@pytest.mark.parametrize("part", ["common", *PARTS])
@pytest.mark.parametrize("language", LANGUAGES[1:])
def test_every_language_says_everything(language: str, part: str) -> None:
    english, other = catalogue("en", part), catalogue(language, part)
    assert list(other.keys() ^ english.keys()) == []
    wrong = [
        f"{key}: {english[key]!r}: {other[key]!r}"
        for key in english
        if isinstance(english[key], str) != isinstance(other[key], str)
        or placeholders(english[key]) != placeholders(other[key])
    ]
    assert wrong == []


@pytest.fixture(scope="module")
def plural_categories() -> dict[str, list[str]]:
    """The plural categories of each language, as CLDR has them."""
    code = "console.log(JSON.stringify(Object.fromEntries(process.argv.slice(1).map(each => "
    code += "[each, new Intl.PluralRules(each).resolvedOptions().pluralCategories]))))"
    run = subprocess.run([NODE, "-e", code, *LANGUAGES], capture_output=True, text=True, check=True, timeout=60)
    found: dict[str, list[str]] = json.loads(run.stdout)
    return found


@pytest.mark.parametrize("part", ["common", *PARTS])
@pytest.mark.parametrize("language", LANGUAGES)
def test_every_number_has_its_form(language: str, part: str, plural_categories: dict[str, list[str]]) -> None:
    wanted = set(plural_categories[language])
    wrong = {
        key: sorted(text.keys() ^ wanted)
        for key, text in catalogue(language, part).items()
        if isinstance(text, dict) and text.keys() != wanted
    }
    assert wrong == {}


@pytest.mark.parametrize("part", ["common", *PARTS])
@pytest.mark.parametrize("language", LANGUAGES)
def test_every_text_says_something_in_its_language(language: str, part: str) -> None:
    wrong = []
    for key, text in catalogue(language, part).items():
        for form in [text] if isinstance(text, str) else text.values():
            says = form.strip() != ""
            if language in OWN_LETTERS and re.search(r"[^\W\d_]{3}", SAME_EVERYWHERE.sub("", form)):
                says = re.search(OWN_LETTERS[language], form) is not None
            if not says:
                wrong.append(f"{key}: {form!r}")
    assert wrong == []


ON_ONE_SIDE = re.compile(
    r"(?<![\w-])(?:(?:margin|padding|border|scroll-margin|scroll-padding)-(?:left|right|top|bottom)[\w-]*"
    r"|border-(?:top|bottom)-(?:left|right)-radius"
    r"|left|right|top|bottom|(?:min-|max-)?(?:width|height)|overflow-[xy])\s*:"
    r"|(?:text-align|float|clear)\s*:\s*(?:left|right)"
)


@pytest.mark.parametrize("path", sorted(STATIC.rglob("*.css")), ids=lambda path: path.stem)
def test_styles_read_from_either_side(path: Path) -> None:
    found = [
        f"{path.name}:{number}: {line.strip()}"
        for number, line in rules_of(path.read_text("utf-8"))
        if ON_ONE_SIDE.search(line.replace("overflow-x", "").replace("overflow-y", ""))
    ]
    assert found == []


@pytest.mark.parametrize("line", ["margin-left: 1px", "left: 0", "text-align: right", "{ width: 3rem }", "x; top:0"])
def test_a_style_of_one_side_is_found(line: str) -> None:
    assert ON_ONE_SIDE.search(line)


@pytest.mark.parametrize("line", ["inset-inline-start: 0", "inline-size: 3px", "border-block: 0", "--bar-width: 1px"])
def test_a_style_of_either_side_is_let_be(line: str) -> None:
    assert not ON_ONE_SIDE.search(line)


@pytest.mark.parametrize(
    "path", sorted([*STATIC.rglob("*.js"), *STATIC.glob("*.html")]), ids=lambda path: str(path.relative_to(STATIC))
)
def test_nothing_inline_that_the_policy_would_refuse(path: Path) -> None:
    # Lit's styleMap writes the attribute when it draws first, so it is no way around.
    script = path.read_text("utf-8")
    assert re.findall(r"\sstyle=|\son[a-z]+=\"|styleMap|javascript:|unsafeHTML|\.innerHTML\s*=|\beval\(", script) == []


@pytest.mark.parametrize(
    ("script", "asked"),
    [
        ('t("a.b")', [("a.b", False)]),
        ('t(this.isNew ? "a" : "b", { n: "no" })', [("a", False), ("b", False)]),
        ('t(kind === "x" ? "a" : "b")', [("a", False), ("b", False)]),
        ("t(`role.${who.role}`)", [(r"role\.[\w.-]+", True)]),
        ('html`<p>${t("c", {x: t("d")})}</p>` + at("e") + x.t("f")', [("c", False), ("d", False)]),
    ],
)
def test_what_a_script_asks_for_is_found(script: str, asked: list[tuple[str, bool]]) -> None:
    assert list(map(tuple, asked_for(script))) == asked
