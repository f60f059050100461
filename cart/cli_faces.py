"""The command that measures how well changes on shelf faces are seen: ``evaluate-faces``."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.box import HORIZONTALS
from rich.table import Column, Table

from cart.face_evaluation import (
    MATCH_S,
    REPORT_SEEDS,
    VISIBLE_GREY,
    VISIBLE_PX,
    FaceJob,
    FaceScore,
    evaluate_faces,
    summarise,
    write_document,
    write_report,
)
from cart.terminal import OUT, UsageError, check_outputs, one_line_errors, progress_bar
from store_sim.shelf_pictures import Disturbance

NAMES = ", ".join(Disturbance)


def evaluate_shelf_faces(
    shops: Annotated[int, typer.Option(min=1, max=1000, metavar="N", help="How many random shops.")] = 10,
    first_seed: Annotated[
        int,
        typer.Option(
            "--seeds",
            min=0,
            metavar="FIRST",
            help=f"Seed of the first shop; thresholds were chosen on seeds below {REPORT_SEEDS}.",
        ),
    ] = REPORT_SEEDS,
    changes: Annotated[int, typer.Option(min=1, max=50, metavar="N", help="Units taken or put back a shelf.")] = 4,
    disturbance: Annotated[
        str, typer.Option(metavar="NAMES", help=f"Any of {NAMES}, with commas between; else each of them.")
    ] = ",".join(Disturbance),
    json_file: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write the scores as JSON.")] = None,
    report: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write a page with pictures of what was missed or imagined.")
    ] = None,
    processes: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Shops at a time; usually one a core.")
    ] = None,
) -> None:
    """Measure what cameras see change on shelf faces, despite hands, shadows, exposure and shake."""
    with one_line_errors():
        check_outputs([json_file], report)
        chosen = _disturbances(disturbance)
        jobs = [FaceJob(first_seed + number, chosen, changes) for number in range(shops)]
        with progress_bar() as progress:
            task = progress.add_task("watching shelves", total=len(jobs))

            def told(done: int, _: tuple[FaceScore, ...]) -> None:
                progress.update(task, completed=done)

            scores = evaluate_faces(jobs, processes, told)
        OUT.print(faces_table(scores))
        if json_file is not None:
            write_document(scores, json_file)
        if report is not None:
            OUT.print(f"report: {write_report(scores, report)}", markup=False)


def _disturbances(text: str) -> tuple[Disturbance, ...]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    try:
        chosen = tuple(dict.fromkeys(Disturbance(name) for name in names))
    except ValueError:
        raise UsageError(f"--disturbance: expected any of {NAMES}, got {text}") from None
    if not chosen:
        raise UsageError(f"--disturbance: expected any of {NAMES}, got none")
    return chosen


def faces_table(scores: Sequence[FaceScore]) -> Table:
    """Show what was measured, one row for each disturbance."""
    names = ("true", "told", "precision", "recall", "visible", "recall of\nvisible", "right\nway", "error\ns")
    table = Table(
        Column("with", no_wrap=True),  # ten columns fit into 80 characters
        *(Column(name, justify="right", no_wrap=True) for name in (*names, "ms a\nframe")),
        box=HORIZONTALS,
        padding=0,
        caption=f"Found: the bin and within {MATCH_S:.0f} s. Visible: changes {VISIBLE_PX} pixels "
        f"by {VISIBLE_GREY} grey levels",
    )
    for row in summarise(scores):
        table.add_row(
            row.disturbance,
            str(row.true),
            str(row.told),
            *(_number(share, 2) for share in (row.precision, row.recall, row.visible_share, row.visible_recall)),
            _number(row.handling, 2),
            _number(row.time_median_s, 2),
            _number(row.ms_a_frame, 1),
        )
    return table


def _number(value: float, digits: int) -> str:
    return "" if math.isnan(value) else f"{value:.{digits}f}"
