"""What the documentation names exists: commands, options, targets, links, examples; no file names a machine."""

import ast
import doctest
import importlib
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
import typer.main

PROJECT = Path(__file__).resolve().parent.parent
PACKAGES = ("vision", "tracking", "cart", "store_sim", "models")
TEXT_SUFFIXES = {
    *(
        ".py",
        ".md",
        ".toml",
        ".lock",
        ".yaml",
        ".json",
        ".html",
        ".j2",
        ".css",
        ".js",
        ".svg",
        ".webmanifest",
        ".mako",
        ".ini",
        ".txt",
    ),
    "",
}

SHELL_LANGUAGES = {"sh", "bash", "console"}
FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)

# A path that only one machine has, and addresses that a user behind a mirror cannot reach. The brackets keep
# the patterns from finding themselves.
OF_A_MACHINE = re.compile(
    r"(?<![\w.$}>])/(?:work|home|root|farm|Users)[/]"
    r"|(?:pypi[.]org|pythonhosted[.]org|deb[.]debian[.]org|registry[.]npmjs[.]org|registry[.]yarnpkg[.]com)"
)


def project_files() -> list[Path]:
    """The text files of the project, without what tools left behind."""
    tops = [path for path in PROJECT.iterdir() if path.is_file() and path.suffix != ".db"]
    below = [path for folder in (*PACKAGES, "tests", ".ci") for path in (PROJECT / folder).rglob("*") if path.is_file()]
    return sorted(
        path
        for path in (*tops, *below)
        if path.suffix in TEXT_SUFFIXES
        and not {"__pycache__", "node_modules"} & set(path.parts)
        and path.name != ".git"
    )


def pages() -> list[Path]:
    """The pages of the documentation."""
    return [path for path in project_files() if path.suffix == ".md"]


def fences(page: str, languages: set[str]) -> Iterator[str]:
    """The fenced blocks of a page in some languages."""
    for language, block in FENCE.findall(page):
        if language in languages:
            yield block


def shell_commands(page: str, program: str) -> Iterator[list[str]]:
    """Calls of a program in a page: whole lines in shell blocks, and what stands between single backticks.

    Each call is its arguments, without the program.
    """
    spans = re.findall(r"(?<!`)`([^`\n]+)`(?!`)", FENCE.sub("", page))
    lines = [line for block in fences(page, SHELL_LANGUAGES) for line in block.replace("\\\n", " ").splitlines()]
    for line in (*lines, *spans):
        call = re.fullmatch(rf"(?:\$ )?(?:\.venv/bin/)?{re.escape(program)}(?: (.*))?", line.strip())
        if call:
            yield shlex.split(call[1] or "", comments=True)


def misuse(command: Any, words: list[str]) -> str | None:
    """Say what is wrong with a call of a command-line program, or nothing.

    Only names are looked at, no values: an example may name a file that the reader has.

    Args:
        command: The program's command or group, as Typer builds it.
        words: The arguments of the call.
    """
    subcommands = getattr(command, "commands", None)
    if subcommands is not None and words and not words[0].startswith("-"):
        if words[0] not in subcommands:
            return f"no command {words[0]!r}"
        return misuse(subcommands[words[0]], words[1:])
    takes_value = {option: not param.is_flag for param in command.params for option in param.opts if option[0] == "-"}
    takes_value |= {option: False for param in command.params for option in param.secondary_opts}
    takes_value["--help"] = False
    places = [param for param in command.params if param.param_type_name == "argument"]
    given, rest = 0, list(words)
    while rest:
        word = rest.pop(0)
        if not word.startswith("-"):
            given += 1
            continue
        name, equals, _ = word.partition("=")
        if name not in takes_value:
            return f"no option {name!r}"
        if takes_value[name] and not equals:
            if not rest:
                return f"{name} without a value"
            rest.pop(0)
    if given > len(places) and not any(place.nargs == -1 for place in places):
        return f"{given} arguments, takes {len(places)}"
    return None


def make_targets(makefile: str) -> set[str]:
    """The targets that a Makefile declares as commands."""
    return set(" ".join(re.findall(r"^\.PHONY:(.*)$", makefile, re.MULTILINE)).split())


def anchors(page: str) -> set[str]:
    """The places within a page that a link can point to: its headings, as forges write them."""
    headings = re.findall(r"^#+ +(.+?)\s*$", FENCE.sub("", page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def dead_links(page: Path) -> list[str]:
    """Links and pictures of a page that lead nowhere in the project; addresses elsewhere are not looked at."""
    text = page.read_text("utf-8")
    targets = re.findall(r"\]\(([^)\s]+)[^)]*\)", FENCE.sub("", text)) + re.findall(r"(?:src|href)=\"([^\"]+)\"", text)
    dead = []
    for target in targets:
        if re.match(r"[a-z][a-z+.-]*:", target):
            continue
        path, _, anchor = target.partition("#")
        there = page.parent / path if path else page
        if not there.exists() or (anchor and there.suffix == ".md" and anchor not in anchors(there.read_text("utf-8"))):
            dead.append(target)
    return dead


def one_sentence(docstring: str | None) -> bool:
    """Whether a docstring opens with one sentence on one line."""
    if not docstring:
        return False
    opening = docstring.strip().split("\n\n")[0]
    return "\n" not in opening and opening.endswith(".") and not re.search(r"[.!?] +[A-Z]", opening)


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(PROJECT)))
def test_every_command_on_a_page_exists_with_its_options(page: Path) -> None:
    command = typer.main.get_command(importlib.import_module("cart.cli").app)
    found = [
        f"tillfree {shlex.join(words)}: {wrong}"
        for words in shell_commands(page.read_text("utf-8"), "tillfree")
        if (wrong := misuse(command, words))
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(PROJECT)))
def test_every_make_target_on_a_page_exists(page: Path) -> None:
    targets = make_targets((PROJECT / "Makefile").read_text("utf-8"))
    named = {word for words in shell_commands(page.read_text("utf-8"), "make") for word in words if "=" not in word}
    assert named <= targets


def test_the_readme_names_every_make_target() -> None:
    named = {word for words in shell_commands((PROJECT / "README.md").read_text("utf-8"), "make") for word in words}
    assert named >= make_targets((PROJECT / "Makefile").read_text("utf-8")) - {"python", "chromium"}


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(PROJECT)))
def test_every_link_on_a_page_leads_somewhere(page: Path) -> None:
    assert dead_links(page) == []


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(PROJECT)))
def test_every_file_of_ours_that_a_page_names_exists(page: Path) -> None:
    named = re.findall(rf"(?<![\w/.-])(?:{'|'.join(PACKAGES)})/[\w/.-]*\w", page.read_text("utf-8"))
    pulled = "models/weights/"  # a folder that is made when weights are pulled
    assert [path for path in named if not (PROJECT / path).exists() and not path.startswith(pulled)] == []


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(PROJECT)))
def test_every_python_example_on_a_page_runs(page: Path) -> None:
    for number, block in enumerate(fences(page.read_text("utf-8"), {"python", "py", "pycon"})):
        example = doctest.DocTestParser().get_doctest(block, {}, f"{page.name} block {number}", str(page), None)
        assert example.examples, f"{page.name} block {number}: expected an example with >>>"
        report: list[str] = []
        doctest.DocTestRunner().run(example, out=report.append)
        assert not report, "".join(report)


@pytest.mark.parametrize(
    "path",
    [path for package in PACKAGES for path in sorted((PROJECT / package).rglob("*.py"))],
    ids=lambda path: str(path.relative_to(PROJECT)),
)
def test_every_module_opens_with_one_sentence(path: Path) -> None:
    assert one_sentence(ast.get_docstring(ast.parse(path.read_text("utf-8"))))


def test_no_file_names_a_machine() -> None:
    found = [
        f"{path.relative_to(PROJECT)}:{number}: {line.strip()[:120]}"
        for path in project_files()
        for number, line in enumerate(path.read_text("utf-8", errors="replace").splitlines(), 1)
        if OF_A_MACHINE.search(line)
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("line", ["--index-url https://pypi[.]org/simple", '"/home[/]me/x"', "see /work[/]main"])
def test_the_name_of_a_machine_is_found(line: str) -> None:
    assert OF_A_MACHINE.search(line.replace("[", "").replace("]", ""))


@pytest.mark.parametrize("line", ["../work/a", "https://example.com/home/", "$ROOT/root/x", "a /rooted path"])
def test_other_paths_are_not_taken_for_a_machine(line: str) -> None:
    assert not OF_A_MACHINE.search(line)


PAGE = """
# Of a page

```sh
make demo  # comment
$ tool walk --far \\
    out.txt
tool --version && true
```

Then `tool rest` and ``tool no``, `isn't`, [a link](#of-a-page), [another](missing.md), [out](https://example.com).

```python
tool.walk()
```
"""


def test_commands_are_found_in_blocks_and_spans() -> None:
    assert list(shell_commands(PAGE, "tool")) == [
        ["walk", "--far", "out.txt"],
        ["--version", "&&", "true"],
        ["rest"],
    ]
    assert list(shell_commands(PAGE, "make")) == [["demo"]]


def test_a_dead_link_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(PAGE + "[gone](#gone)", "utf-8")
    assert dead_links(page) == ["missing.md", "#gone"]


@pytest.mark.parametrize(
    ("call", "wrong"),
    [
        ("walk road --far 3 --fast", None),
        ("walk road --far=3 --no-fast", None),
        ("walk", None),
        ("walk --help", None),
        ("run road", "no command 'run'"),
        ("walk road --near 3", "no option '--near'"),
        ("walk road --far", "--far without a value"),
        ("walk road field", "2 arguments, takes 1"),
    ],
)
def test_a_call_that_the_program_would_refuse_is_found(call: str, wrong: str | None) -> None:
    app = typer.Typer()

    @app.callback()
    def main() -> None: ...

    @app.command()
    def walk(road: str, far: float = 1.0, fast: bool = False) -> None: ...

    assert misuse(typer.main.get_command(app), call.split()) == wrong


@pytest.mark.parametrize(
    ("docstring", "good"),
    [
        ("What it is.", True),
        ("What it is, e.g. this.\n\nMore. And more.", True),
        ("What it is", False),
        ("What it is. What else.", False),
        ("What\nit is.", False),
        (None, False),
    ],
)
def test_a_module_without_one_opening_sentence_is_found(docstring: str | None, good: bool) -> None:
    assert one_sentence(docstring) == good
