"""Imports follow the data: which package may know which."""

import ast
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import pytest

PROJECT = Path(__file__).resolve().parent.parent

MAY_IMPORT: dict[str, frozenset[str]] = {
    "vision": frozenset(),
    "tracking": frozenset({"vision"}),
    "cart": frozenset(),
    "store_sim": frozenset({"vision", "tracking"}),
    "models": frozenset({"vision", "store_sim"}),
}
SEES_EVERY_STAGE = frozenset(
    f"cart.{name}"
    for name in (
        *("pipeline", "replay", "replay_runner", "report", "film", "bench", "cli", "eyes", "galleries"),
        *("cli_simulator", "drawing", "scoring", "evaluate", "evaluation_report"),
        *("cli_models", "cli_products", "cli_calibration", "calibration_evaluation"),
        *("cli_tracking", "tracking_bench", "tracking_peers"),
        *("seeing_bench", "pages_bench", "bench_report"),
        *("track_evaluation", "cli_track_evaluation"),
        *("face_evaluation", "cli_faces"),
        *("serve", "live_store", "demo_store", "cli_serve", "live_view", "layouts"),
        *("clips", "demo_pictures", "pictures"),
    )
)


def imported_modules(source: str, module: str, is_package: bool) -> Iterator[tuple[int, str]]:
    """Every module that a source text imports, anywhere in it, as (line, dotted name).

    For ``from a import b`` both ``a`` and ``a.b`` are given, because ``b`` may be a module.
    """
    own_package = module.split(".") if is_package else module.split(".")[:-1]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            above = own_package[: len(own_package) - node.level + 1] if node.level else []
            origin = ".".join([*above, *([node.module] if node.module else [])])
            yield node.lineno, origin
            for alias in node.names:
                yield node.lineno, f"{origin}.{alias.name}"
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = ast.unparse(node.func).rpartition(".")[2]
            if called in {"import_module", "__import__"} and isinstance(node.args[0].value, str):
                yield node.lineno, node.args[0].value


def violations(path: PurePosixPath, source: str) -> list[str]:
    """What a file imports against the rule, one line each.

    Args:
        path: Where the file lies, from the project's root.
        source: Its text.
    """
    is_package = path.name == "__init__.py"
    parts = path.parent.parts if is_package else path.with_suffix("").parts
    module, package = ".".join(parts), parts[0]
    if module in SEES_EVERY_STAGE:
        return []
    found = {}
    for line, name in imported_modules(source, module, is_package):
        other = name.split(".")[0]
        if other in MAY_IMPORT and other != package and other not in MAY_IMPORT[package]:
            found[line, other] = f"{path}:{line}: {package} may not import {other}"
        elif name in SEES_EVERY_STAGE:
            found[line, other] = f"{path}:{line}: only {', '.join(sorted(SEES_EVERY_STAGE))} may import {name}"
    return list(found.values())


def test_every_file_follows_the_import_table() -> None:
    files = [path for package in MAY_IMPORT for path in sorted((PROJECT / package).rglob("*.py"))]
    found = [
        violation
        for path in files
        for violation in violations(PurePosixPath(path.relative_to(PROJECT).as_posix()), path.read_text("utf-8"))
    ]
    assert not found, "\n".join(found)
    assert {path.relative_to(PROJECT).parts[0] for path in files} == set(MAY_IMPORT)


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("vision/a.py", "import tracking"),
        ("vision/a.py", "import numpy, cart.money"),
        ("vision/deep/a.py", "def f():\n    from store_sim import world"),
        ("vision/a.py", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from models.weights import W"),
        ("vision/a.py", "import importlib\nimportlib.import_module('tracking.types')"),
        ("vision/a.py", "__import__('cart')"),
        ("tracking/a.py", "from cart import money"),
        ("tracking/a.py", "import store_sim.replay"),
        ("cart/cart.py", "from vision.arrays import FloatArray"),
        ("cart/cart.py", "from tracking.types import Interaction"),
        ("cart/cart.py", "from cart.pipeline import Pipeline"),
        ("cart/cart.py", "from . import pipeline"),
        ("cart/cart.py", "from .report import write_report"),
        ("cart/api/app.py", "from ..pipeline import Pipeline"),
        ("cart/api/app.py", "from .. import cli"),
        ("cart/__init__.py", "from .pipeline import Pipeline"),
        ("cart/api/pipeline.py", "import vision"),
        ("store_sim/a.py", "import cart"),
        ("store_sim/a.py", "import models"),
        ("models/a.py", "import tracking"),
    ],
)
def test_an_import_against_the_table_is_found(path: str, source: str) -> None:
    assert len(violations(PurePosixPath(path), source)) == 1


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("vision/a.py", "import vision.b\nfrom . import c\nimport numpy"),
        ("vision/a.py", "from cartography import tracking_of_people"),
        ("tracking/a.py", "from vision.boxes import iou"),
        ("cart/cart.py", "from cart.money import Money\nfrom .events import CartEvent"),
        ("cart/pipeline.py", "import vision, tracking, store_sim, models, cart.report"),
        ("cart/report.py", "from tracking.types import Interaction"),
        ("cart/cli.py", "from cart.pipeline import Pipeline"),
        ("store_sim/a.py", "import vision, tracking.types"),
        ("models/a.py", "import vision, store_sim.render"),
    ],
)
def test_an_import_within_the_table_is_allowed(path: str, source: str) -> None:
    assert violations(PurePosixPath(path), source) == []
