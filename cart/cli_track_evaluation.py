"""The command that measures store-wide tracking: ``evaluate-tracking``."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.box import HORIZONTALS
from rich.table import Column, Table

from cart.eyes import OURS
from cart.terminal import OUT, UsageError, check_outputs, one_line_errors, progress_bar
from cart.track_evaluation import (
    FAULTS,
    FILM_S,
    MATCH_M,
    TrackingJob,
    TrackingScore,
    evaluate_tracking,
    summarise,
    write_document,
    write_report,
)

USUAL_CAMERAS = {1: 4, 5: 6, 10: 8}
"""Cameras of a shop for at most so many people; more people have a larger shop."""
MOST_CAMERAS = 12


def evaluate_tracks(
    shoppers: Annotated[str, typer.Option(metavar="N,...", help="How many people are inside at once.")] = "1,5,10,20",
    cameras: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=MOST_CAMERAS,
            metavar="N",
            help="How many cameras look; else 4, 6, 8 and 12 for up to 1, 5, 10 and more people.",
            show_default=False,
        ),
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, metavar="K", help="How many shops and days.")] = 2,
    first_seed: Annotated[int, typer.Option(min=0, metavar="N", help="Seed of the first.")] = 0,
    seconds: Annotated[float, typer.Option(min=5, max=600, help="How long each is filmed.")] = FILM_S,
    faults: Annotated[
        str, typer.Option(metavar="NAMES", help=f"Any of {', '.join(FAULTS)}: what is wrong with one camera.")
    ] = "none",
    weights: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME|FILE", help="A model that sees people in the pictures; else the project's own."),
    ] = None,
    oracle: Annotated[
        bool,
        typer.Option("--oracle", help="Let the truth, made as wrong as a model, see in a model's stead: fast."),
    ] = False,
    json_file: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write the scores as JSON.")] = None,
    report: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write a page with floor plans of where identities break.")
    ] = None,
    processes: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Takes at a time; usually one a core.")
    ] = None,
) -> None:
    """Measure store-wide tracking on random shops: ids, places, hands, and cameras with faults."""
    with one_line_errors():
        check_outputs([path for path in (json_file,) if path is not None], report)
        if oracle and weights:
            raise UsageError("expected either --oracle or --weights")
        seen_by = () if oracle else tuple(weights or (OURS,))
        jobs = [
            TrackingJob(count, seed, cameras or usual_cameras(count), fault, seconds, seen_by)
            for count in _numbers(shoppers)
            for fault in [name.strip() for name in faults.split(",") if name.strip()]
            for seed in range(first_seed, first_seed + seeds)
        ]
        with progress_bar() as progress:
            task = progress.add_task("following people", total=len(jobs))

            def told(done: int, _: int, score: TrackingScore) -> None:
                progress.update(task, completed=done)

            scores = evaluate_tracking(jobs, processes, told)
        OUT.print(tracking_table(scores))
        if json_file is not None:
            write_document(scores, json_file)
        if report is not None:
            OUT.print(f"report: {write_report(scores, report)}", markup=False)


def usual_cameras(shoppers: int) -> int:
    """How many cameras a shop for so many people has, if nothing is said.

    >>> [usual_cameras(count) for count in (1, 2, 10, 20)]
    [4, 6, 8, 12]
    """
    return next((cameras for most, cameras in USUAL_CAMERAS.items() if shoppers <= most), MOST_CAMERAS)


def _numbers(text: str) -> list[int]:
    try:
        numbers = [int(word) for word in text.split(",")]
    except ValueError:
        raise UsageError(f"--shoppers: expected numbers such as 1,5,10, got {text}") from None
    if min(numbers) < 1 or max(numbers) > 30:
        raise UsageError(f"--shoppers: expected 1 to 30, got {text}")
    return numbers


def tracking_table(scores: Sequence[TrackingScore]) -> Table:
    """Show what was measured, one row for each number of people and each fault."""
    table = Table(
        *(Column(name, justify="right") for name in ("people", "fault", "takes", "IDF1", "target", "best")),
        *(Column(name, justify="right") for name in ("floor\ncm", "hand\ncm", "told", "amount", "x real\ntime")),
        box=HORIZONTALS,
        padding=(0, 1, 0, 0),  # eleven columns fit into 80 characters
        caption=f"IDF1 on the floor, matches within {MATCH_M} m; best: with ids from the truth; errors are medians",
    )
    for row in summarise(scores):
        table.add_row(
            str(row.shoppers),
            row.fault,
            str(row.takes),
            f"{row.idf1:.3f}",
            "" if row.target is None else f"{row.target:.2f}",
            f"{row.best_idf1:.3f}",
            _centimetres(row.floor_median_m),
            _centimetres(row.hand_median_m),
            f"{row.told}/{row.takes}",
            "" if math.isnan(row.amount) else f"{row.amount:.2f}",
            f"{row.speed:.0f}",
        )
    return table


def _centimetres(metres: float) -> str:
    return "" if math.isnan(metres) else f"{100 * metres:.1f}"
