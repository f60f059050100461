"""The commands of ``tillfree models``: what models there are, bringing them here, checking and exporting them."""

import math
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import DownloadColumn
from rich.table import Column, Table

from cart.eyes import OURS, weight_files
from cart.terminal import OUT, UsageError, counted, one_line_errors, progress_bar
from models import weights as model_files
from models.evaluation import NEAR_SHARE, Scores, evaluate
from store_sim.posed_pictures import make_posed_dataset, read_posed_shelf
from vision.detector import ObjectDetector, load_detector
from vision.top_down import JointsOnCrops, is_joints, with_joints

models_app = typer.Typer(help="Neural-network weights that tillfree knows by name.", no_args_is_help=True)


@models_app.command("list")
def list_models() -> None:
    """Show the models of the manifest and which are here."""
    with one_line_errors():
        # A name is to be copied: it is broken rather than cut.
        table = Table(Column("name", overflow="fold", min_width=22), "here", "size", "licence", "what it sees")
        for entry in model_files.list_models():
            state = model_files.model_state(entry)
            size = "" if entry.size_bytes is None else f"{entry.size_bytes / 1e6:.1f} MB"
            table.add_row(entry.name, state.value, size, entry.licence, entry.about)
        OUT.print(table)
        OUT.print(f"Folder: {model_files.models_folder()}", markup=False)


@models_app.command("pull")
def pull_model(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A name that `tillfree models list` shows.")],
) -> None:
    """Fetch a model, check it against the manifest, and keep it."""
    with one_line_errors(), progress_bar(DownloadColumn()) as progress:
        task = progress.add_task(name, total=None)

        def tell(have: int, total: int) -> None:
            progress.update(task, completed=have, total=total or None)

        path = model_files.pull(name, progress=tell)
        OUT.print(f"{path}", markup=False)
        if path.suffix == ".pt":
            OUT.print(f"PyTorch weights; to use them: tillfree models export {name}", markup=False)


@models_app.command("verify")
def verify_models() -> None:
    """Check the files that are here against the manifest; exit status 2 if one is damaged."""
    with one_line_errors():
        damaged = []
        for entry, state in model_files.verify():
            OUT.print(f"{entry.name}: {state.value}", markup=False)
            if state is model_files.ModelState.DAMAGED:
                damaged.append(entry.name)
        if damaged:
            raise UsageError(f"damaged: {', '.join(damaged)}; fetch again with tillfree models pull NAME")


@models_app.command("export")
def export_model(
    weights: Annotated[str, typer.Argument(metavar="NAME|FILE.pt", help="PyTorch weights of a YOLO model.")],
    size: Annotated[str, typer.Option(metavar="WxH", help="Input size; 640x384 suits 16:9 cameras.")] = "640x384",
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="The ONNX file; else beside the weights.")] = None,
) -> None:
    """Turn PyTorch weights of a YOLO model into ONNX; needs the extra `train`."""
    with one_line_errors():
        width, x, height = size.lower().partition("x")
        if not (x and width.isdigit() and height.isdigit()):
            raise UsageError(f"--size: expected WIDTHxHEIGHT such as 640x384, got {size}")
        from models.yolo_export import export_yolo  # brings torch in, which takes seconds and is an extra

        source = model_files.resolve_weights(weights)
        target = out or source.with_suffix(".onnx")
        export_yolo(source, target, (int(width), int(height)))
        OUT.print(f"{target}", markup=False)


@models_app.command("evaluate")
def evaluate_models(
    weights: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME|FILE", help="What to measure; again for another. The project's own if left out."),
    ] = None,
    shops: Annotated[int, typer.Option(min=1, help="Random shops to measure on.")] = 12,
    pictures: Annotated[int, typer.Option(min=1, help="Pictures of each.")] = 40,
    seed: Annotated[int, typer.Option(help="Other shops. The project's own models learnt from those of 1.")] = 2,
    folder: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where rendered shops are kept, and found again.")
    ] = None,
) -> None:
    """Measure models on rendered shops: people, joints, and what hands hold."""
    with one_line_errors(), tempfile.TemporaryDirectory() as scratch, progress_bar() as progress:
        named = {name: _measurable(name) for name in weights or [OURS, f"{OURS}-int8"]}
        work = (folder or Path(scratch)) / f"seed{seed}-{shops}x{pictures}"
        task = progress.add_task("rendering shops", total=shops)
        processes = min(os.cpu_count() or 1, shops)
        make_posed_dataset(
            work,
            shops,
            seed,
            count=pictures,
            processes=processes,
            progress=lambda done: progress.update(task, completed=done),
        )
        shelves = [read_posed_shelf(file) for file in sorted(work.glob("shop*.npz"))]
        task = progress.add_task("measuring", total=len(named))
        found: list[tuple[Scores, float]] = []
        for detector in named.values():
            began_s = time.process_time()
            scores = evaluate(detector, shelves)
            found.append((scores, 1000 * (time.process_time() - began_s) / scores.pictures))
            progress.advance(task)
        table = Table("", *(Path(name).name for name in named))
        for label, value in _MEASURES.items():
            numbers = [value(each) for each, _ in found]
            table.add_row(label, *("-" if math.isnan(number) else f"{number:.3f}" for number in numbers))
        table.add_row("CPU ms a picture, all told", *(f"{spent_ms:.1f}" for _, spent_ms in found))
        OUT.print(table)
        first = found[0][0]
        OUT.print(
            f"{first.people} people in {counted(first.pictures, 'picture')} of {counted(shops, 'shop')}; confidence "
            f"{first.threshold} where one is needed; near: within {NEAR_SHARE:.0%} of the person's longer side.",
            markup=False,
        )


_MEASURES: dict[str, Callable[[Scores], float]] = {
    "people: AP50": lambda scores: scores.ap50,
    "AP50-95": lambda scores: scores.ap50_95,
    "precision": lambda scores: scores.precision,
    "recall": lambda scores: scores.recall,
    "joints seen: median px": lambda scores: scores.joints.median_px,
    "near": lambda scores: scores.joints.near,
    "wrists seen: median px": lambda scores: scores.wrists.median_px,
    "near (wrists)": lambda scores: scores.wrists.near,
    "which joints are seen: F1": lambda scores: scores.seen_f1,
    "hidden joints called seen": lambda scores: scores.hidden_said_seen,
    "which hands hold: F1": lambda scores: scores.held_f1,
    "what is held: median overlap": lambda scores: scores.held_overlap,
}


def _measurable(name: str) -> ObjectDetector:
    """Models with so low a least confidence that the whole curve of precision can be drawn."""
    files = weight_files([name])
    joints = [JointsOnCrops(file, threads=1) for file in files if is_joints(file)]
    people = [load_detector(file, threads=1, min_confidence=0.02) for file in files if not is_joints(file)]
    if len(people) != 1:
        raise UsageError(f"{name}: expected a detector of people, got {counted(len(people), 'detector')}")
    return with_joints(people, joints[0])[0] if joints else people[0]
