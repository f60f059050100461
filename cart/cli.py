"""The ``tillfree`` command."""

import logging
import shlex
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial, reduce
from importlib import metadata
from itertools import chain
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from cart.checkout import Checkout
from cart.cli_calibration import calibrate, check_cameras, evaluate_calibration, refine_cameras
from cart.cli_faces import evaluate_shelf_faces
from cart.cli_models import models_app
from cart.cli_products import gallery_app
from cart.cli_serve import serve
from cart.cli_simulator import dataset, evaluate_cases, simulate
from cart.cli_torture import torture_shop
from cart.cli_track_evaluation import evaluate_tracks
from cart.cli_tracking import track, track_bench
from cart.eyes import OURS, TimedDetector, named_detector, weight_files
from cart.film import Film
from cart.galleries import gallery_looker
from cart.money import format_amount
from cart.payments import FakeGateway
from cart.pipeline import (
    HandSeen,
    InteractionSeen,
    PipelineSettings,
    StoreEvent,
    StorePipeline,
    VisitClosed,
    VisitOpened,
    catalogue_of,
    place_name,
)
from cart.receipts import render_text
from cart.replay import Replay, product_names, public_status
from cart.report import write_report
from cart.repository import Database
from cart.terminal import (
    ERR,
    OUT,
    UsageError,
    check_outputs,
    counted,
    one_line_errors,
    progress_bar,
    settings_of_environment,
)
from store_sim.ahead import AheadSimulation
from store_sim.autocheckout import read_site
from store_sim.coverage import choose_cameras
from store_sim.demo_shop import demo_layout, demo_simulation
from store_sim.recording import RecordingSource
from store_sim.replay import find_site, open_recording
from store_sim.simulation import CAMERAS, JOINTS, SCALES
from store_sim.truth import Truth
from vision.detector import ObjectDetector
from vision.frames import Source
from vision.held import HeldLooker
from vision.layout import ANY_CAMERA, StoreLayout, read_layout
from vision.seeing import SeeingSettings
from vision.sources import CameraAddress, StreamSource
from vision.top_down import HELD_PRODUCT

app = typer.Typer(
    name="tillfree",
    help="A checkout-free store: who took what, and what they pay.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(models_app, name="models")
app.add_typer(gallery_app, name="gallery")
app.command()(calibrate)
app.command("refine-cameras")(refine_cameras)
app.command("check-cameras")(check_cameras)
app.command("evaluate-calibration")(evaluate_calibration)
app.command()(simulate)
app.command("evaluate")(evaluate_cases)
app.command("evaluate-tracking")(evaluate_tracks)
app.command("evaluate-faces")(evaluate_shelf_faces)
app.command()(dataset)
app.command()(track)
app.command()(serve)
app.command("track-bench")(track_bench)
app.command("torture")(torture_shop)

LIVE_WAIT_S = 15.0
DEMO_FILM_FPS = 5.0
DEMO_CAMERAS = 2  # enough to see every shelf of the demo, for the report's pictures where joints say who is where


def _say_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"tillfree {metadata.version('tillfree')}")
        raise typer.Exit


@app.callback()
def _log_level(
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Say more about what is done.")] = False,
    version: Annotated[
        bool, typer.Option("--version", help="Say which version this is.", is_eager=True, callback=_say_version)
    ] = False,
) -> None:
    logging.basicConfig(
        level=logging.INFO if verbose else logging.WARNING, format="%(levelname)s %(name)s: %(message)s"
    )


@app.command()
def replay(
    paths: Annotated[
        list[str],
        typer.Argument(
            metavar="PATH",
            help="A recording folder, an AutoCheckout folder, video files, or live cameras (NAME=rtsp://…).",
        ),
    ],
    site: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Gondolas, plates, planogram and products; else site/ inside or beside PATH."),
    ] = None,
    layout: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A layout that adds or replaces cameras, drawn bins, zones, exit."),
    ] = None,
    weights: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME|FILE",
            help="A model that sees people or products; may be given several times. Else the project's own.",
        ),
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write everything that came of it as JSON.")
    ] = None,
    video: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the footage with all that was seen.")
    ] = None,
    report: Annotated[Path | None, typer.Option(metavar="DIR", help="Write a page with the evidence.")] = None,
    detect_every: Annotated[
        int,
        typer.Option(
            min=1, max=30, metavar="N", help="Run the models on every N-th frame; from 2 on, still scenes are let be."
        ),
    ] = 1,
    gallery: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The shop's gallery: what hands hold is named by its picture."),
    ] = None,
) -> None:
    """Replay a recording through the store: visits, carts and receipts, as they happen."""
    with one_line_errors():
        check_outputs((json_file, video), report)
        source, store = _opened(paths, site, layout)
        detector = _eyes(source, weights or [])
        fitted = store.for_pictures(source.resolutions_wh)
        seeing = SeeingSettings(detect_every=detect_every, sleeps=detect_every > 1)
        held = None if gallery is None else gallery_looker(gallery)
        if held is not None and (detector is None or HELD_PRODUCT not in detector.class_names):
            raise UsageError(f"--gallery: nothing here sees what hands hold; the project's own models ({OURS}) do")
        pipeline = _pipeline(fitted, detector, has_gates=source.has_gates, seeing=seeing, held=held)
        # An address may hold a password.
        title = ", ".join(source.camera_ids) if "://" in paths[0] else Path(paths[0]).resolve().name
        running = Replay(source, pipeline, keep_pictures=report is not None)
        if report is not None:
            report.mkdir(parents=True, exist_ok=True)  # rather now than after an hour of video
        _play(running, source, fitted, video)
        _finish(running, fitted, title, json_file, report)
        if video is not None:
            OUT.print(f"Video: {video}", markup=False)


@app.command()
def demo(
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where film, report and receipts go.")] = Path("demo-out"),
    seed: Annotated[int, typer.Option(help="Another seed, another morning.")] = 2,
    weights: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME|FILE", help="A model to see with; may be given several times. Else our own."),
    ] = None,
    cameras: Annotated[int, typer.Option(min=1, max=4, help="How many cameras: those that see most.")] = 4,
    joints: Annotated[
        bool, typer.Option("--joints", help="Let an outside body tracker say who is where: no model, no film, fast.")
    ] = False,
) -> None:
    """Play a small simulated shop from pictures to paid receipts, with a put-back and a visit sent to review.

    Cameras are rendered, and the project's own models see people and hands in their pictures; scales weigh.
    """
    with one_line_errors():
        out.mkdir(parents=True, exist_ok=True)  # rather now than after the visits
        if joints and weights:
            raise UsageError("--weights: not with --joints, for then no model looks")
        began_s = time.perf_counter()
        eyes = None if joints else TimedDetector(named_detector(weights or []))
        sensors = frozenset({SCALES, CAMERAS, JOINTS} if joints else {SCALES, CAMERAS})
        chosen = choose_cameras(demo_layout(), DEMO_CAMERAS if joints else cameras)
        if eyes is not None:
            seen_with = ", ".join(weights or [OURS])
            OUT.print(f"{counted(cameras, 'camera')}, seen with {seen_with}; scales under every product", markup=False)
        # Pictures are drawn by one core while the other looks at them.
        with AheadSimulation(partial(demo_simulation, seed, sensors, chosen)) as simulation:
            layout = simulation.layout.for_pictures(simulation.resolutions_wh)
            store = _pipeline(layout, eyes, has_gates=simulation.has_gates, seeing=SeeingSettings())
            running = Replay(simulation, store, keep_pictures=True)
            video = None if joints else out / "demo.mp4"
            doing = "simulating" if joints else "rendering and seeing"
            filming_s = _play(running, simulation, layout, video, doing, most_fps=DEMO_FILM_FPS)
            remarks = _against_truth(running, simulation.truth) if simulation.has_ended else ()
            rendering_s = simulation.cpu_s if simulation.has_ended else 0.0
        OUT.print()
        for closed in running.closed:
            OUT.print(render_text(closed.outcome.receipt, layout.name), markup=False)
            _print_doubts(closed)
            OUT.print()
        for remark in remarks:
            OUT.print(remark, markup=False)
        running.document().write(out / "demo.json")
        reporting_s = time.perf_counter()
        page = write_report(running.report("Demo shop", remarks), out / "report")
        ended_s = time.perf_counter()
        seeing_s = 0.0 if eyes is None else eyes.wall_s
        spent = [
            ("rendering and simulating, beside the rest", rendering_s),
            ("seeing", seeing_s),
            ("following, weighing, judging", running.wall_s - running.waiting_s - seeing_s),
            ("waiting for pictures", running.waiting_s),
            ("filming", filming_s),
            ("the report", ended_s - reporting_s),
        ]
        split = "; ".join(f"{what} {seconds:.1f} s" for what, seconds in spent if seconds >= 0.05)
        OUT.print(
            f"{counted(running.frames, 'picture')}, {running.media_s:.1f} s of the shop in {ended_s - began_s:.1f} s: "
            f"{split}",
            markup=False,
        )
        if video is not None:
            OUT.print(f"Video: {video}", markup=False)
        OUT.print(f"Report: {page}", markup=False)


@app.command()
def bench(
    seconds: Annotated[float, typer.Option(min=0.2, max=60, help="Time for each measurement.")] = 2.0,
    weights: Annotated[
        list[str] | None, typer.Option(metavar="NAME|FILE", help="Measure this model too; may be given several times.")
    ] = None,
    clip: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE",
            help="Follow people through this video with every --weights, and with ultralytics beside; what a camera "
            "sees for --only-pages. May be given several times.",
        ),
    ] = None,
    frames: Annotated[int, typer.Option(min=0, help="Frames of each clip; 0 takes all.")] = 300,
    only_seeing: Annotated[bool, typer.Option("--only-seeing", help="Measure cameras and clips alone.")] = False,
    only_shop: Annotated[
        bool, typer.Option("--only-shop", help="Measure check-ins, live carts and exits alone, through the API.")
    ] = False,
    only_pages: Annotated[
        bool,
        typer.Option("--only-pages", help="Measure the console's live pictures and the phones' live carts alone."),
    ] = False,
    database: Annotated[
        str | None,
        typer.Option(
            metavar="URL", help="Empty database for --only-shop and --only-pages; a SQLite file of its own if left out."
        ),
    ] = None,
    shoppers: Annotated[
        int, typer.Option(min=1, max=500, help="Shoppers at once for --only-shop and --only-pages.")
    ] = 50,
    report: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write a page that plots speed against accuracy.")
    ] = None,
    json_file: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write the numbers as JSON.")] = None,
) -> None:
    """Measure speed on this machine, with peers in the same run."""
    # Its peers take a second to import.
    from cart.bench import SeeingResults, measure, measure_pages, measure_seeing, measure_till, write_measurements
    from cart.bench_report import write_bench_report
    from cart.pages_bench import PagesLoad

    with one_line_errors():
        parts_alone = {"--only-seeing": only_seeing, "--only-shop": only_shop, "--only-pages": only_pages}
        alone = [name for name, wanted in parts_alone.items() if wanted]
        if len(alone) > 1:
            raise UsageError(f"{' and '.join(alone)} leave nothing to measure")
        if database is not None and not (only_shop or only_pages):
            raise UsageError("--database is for --only-shop and --only-pages")
        models = {Path(name).stem: weight_files([name]) for name in weights or []}
        table = Table("what", "measured", "peer", "ratio")
        rows = []
        with progress_bar() as progress:
            task = progress.add_task("measuring", total=None)
            seeing = SeeingResults()
            if only_shop:
                parts = measure_till(shoppers, database)
            elif only_pages:
                parts = measure_pages(PagesLoad(shoppers=shoppers), clip or [], database)
            else:
                cameras = measure_seeing(clip or [], models, frames, seeing)
                parts = cameras if only_seeing else chain(measure(seconds, models), cameras)
            for row in parts:
                progress.update(task, description=row.what)
                rows.append(row)
                table.add_row(row.what, row.measured, row.peer, row.ratio)
        OUT.print(table)
        for note in seeing.notes:
            ERR.print(f"note: {note}", markup=False)
        if json_file is not None:
            write_measurements(rows, json_file)
        if report is not None:
            command = shlex.join(["tillfree", *sys.argv[1:]])
            page = write_bench_report(rows, seeing.speeds, seeing.loads, report, notes=seeing.notes, command=command)
            OUT.print(f"Report: {page}", markup=False)


def main() -> None:
    """Run the command; a wrong option is told in one line too."""
    try:
        status = app(standalone_mode=False)
    except typer.TyperException as error:
        message = " ".join(error.format_message().split())
        if message:  # a command without arguments has printed its help already
            print(f"tillfree: {message}", file=sys.stderr)
        status = error.exit_code
    sys.exit(status)


def _opened(paths: Sequence[str], site: Path | None, layout: Path | None) -> tuple[Source, StoreLayout]:
    """Open what is to be replayed, and the store it was recorded in."""
    live = [path for path in paths if "://" in path or path.startswith("/dev/video")]
    files = [Path(path) for path in paths]
    if live and len(live) != len(paths):
        raise UsageError("live cameras and recorded files cannot be replayed together")
    if site is not None and not site.is_dir():
        raise UsageError(f"{site}: expected the folder of a site, there is none")
    where = site or (None if live else find_site(files))
    drawn = None if layout is None else read_layout(layout)
    layers = [] if where is None else [read_site(where)]
    source: Source
    if live:
        addresses = [CameraAddress.parse(path) for path in paths]
        source = stream = StreamSource(addresses)
        stream.open(LIVE_WAIT_S)  # the layout is fitted to the size of the pictures, which a camera must tell first
        if not stream.resolutions_wh:
            stream.close()
            reasons = "".join(f"; {notice.message}" for notice in stream.notices)
            raise UsageError(f"{', '.join(stream.camera_ids)}: no picture within {LIVE_WAIT_S:g} s{reasons}")
    else:
        source = open_recording(files, (layers[0].plates or None) if layers else None)
    if isinstance(source, RecordingSource) and source.layout_path is not None:
        own = read_layout(source.layout_path)
        # A recording that brings its plates along brings the whole store: a site that lies beside it is another one.
        layers = [own] if own.plates and site is None else [*layers, own]
    if drawn is not None:
        meant = {view.camera_id for view in drawn.views}
        absent = sorted(meant - {*source.camera_ids, ANY_CAMERA})
        if absent and source.camera_ids and len(absent) == len(meant):
            has = ", ".join(source.camera_ids)
            raise UsageError(f"{layout} is for the cameras {', '.join(absent)}, this recording has {has}")
        said = f"{layout}: cameras that this recording does not have: {', '.join(absent)}"
        layers.append(replace(drawn, notices=(*drawn.notices, said)) if absent else drawn)
    if not layers:
        layers.append(StoreLayout(name="store" if live else files[0].stem))
    return source, reduce(StoreLayout.overlaid, layers)


def _pipeline(
    layout: StoreLayout,
    detector: ObjectDetector | None,
    *,
    has_gates: bool,
    seeing: SeeingSettings | None = None,
    held: HeldLooker | None = None,
) -> StorePipeline:
    """Wire a store as the environment's settings say."""
    settings = settings_of_environment()
    checkout = Checkout(
        Database.in_memory(),  # a replay charges nobody, and may be run again
        catalogue_of(layout.products, settings.currency),
        FakeGateway(),
        payment_attempts=settings.payment_attempts,
    )
    return StorePipeline(
        layout,
        checkout,
        detector,
        PipelineSettings(costs=settings.costs),
        has_gates=has_gates,
        seeing=seeing,
        held=held,
    )


def _eyes(source: Source, weights: Sequence[str]) -> ObjectDetector | None:
    """Load what sees a source's pictures, and say so if nobody has named it; None where there are none to be seen."""
    if not source.camera_ids:
        if weights:
            raise UsageError("--weights: this recording has no cameras for a model to look through")
        return None
    if not weights and isinstance(source, RecordingSource) and source.has_bodies:
        ERR.print("note: the recording's joints say who is where; --weights lets a model look too", markup=False)
        return None
    eyes = named_detector(weights)
    if not weights:
        ERR.print(
            f"note: seen with the project's own models ({OURS}), trained on rendered shops; --weights names others",
            markup=False,
        )
    return eyes


def _play(
    running: Replay,
    source: Source,
    layout: StoreLayout,
    video: Path | None,
    doing: str = "replaying",
    *,
    most_fps: float | None = None,
) -> float:
    """Run a replay to its end with a progress bar, printing what happens; give the seconds that filming took."""
    names = product_names(layout)
    stopped = False
    filming_s = 0.0
    with ExitStack() as stack:
        film = None if video is None else stack.enter_context(Film(video, source, running, most_fps=most_fps))
        progress = stack.enter_context(progress_bar())
        total = source.duration_s if source.duration_s == source.duration_s else None
        task = progress.add_task(doing, total=total)
        try:
            for step in running.steps():
                for event in step.events:
                    line = _line(event, running, layout, names)
                    if line:
                        OUT.print(line, markup=False)
                if film is not None:
                    began_s = time.perf_counter()
                    film.add(step)
                    filming_s += time.perf_counter() - began_s
                inside = ", ".join(cart.shopper for cart in running.pipeline.carts()) or "nobody inside"
                progress.update(task, completed=step.media_s, description=f"{doing}: {inside}")
        except KeyboardInterrupt:
            # The way a live camera's replay ends: nobody's cart is lost.
            stopped = True
            for event in running.interrupt():
                line = _line(event, running, layout, names)
                if line:
                    OUT.print(line, markup=False)
    if stopped:
        ERR.print(f"note: stopped by hand after {running.media_s:.1f} s of the recording", markup=False)
    return filming_s


def _finish(running: Replay, layout: StoreLayout, title: str, json_file: Path | None, report: Path | None) -> None:
    document = running.document()
    for closed in running.closed:
        OUT.print()
        OUT.print(render_text(closed.outcome.receipt, layout.name), markup=False)
        _print_doubts(closed)
    # Before the notes: if this fails, the reason is the one line on standard error.
    if json_file is not None:
        document.write(json_file)
    page = None if report is None else write_report(running.report(title), report)
    for notice in document.notices:
        ERR.print(f"note: {notice.stream}: {notice.message}", markup=False)
    speed = f", {document.media_s / document.wall_s:.1f} times real time" if document.wall_s > 0 else ""
    OUT.print(
        f"\n{counted(len(document.visits), 'visit')}, {counted(len(document.interactions), 'interaction')}, "
        f"{counted(document.frames, 'picture')}; "
        f"{document.media_s:.1f} s in {document.wall_s:.1f} s{speed}",
        markup=False,
    )
    if json_file is not None:
        OUT.print(f"JSON: {json_file}", markup=False)
    if page is not None:
        OUT.print(f"Report: {page}", markup=False)


def _line(event: StoreEvent, running: Replay, layout: StoreLayout, names: dict[str, str]) -> str:
    """One line for people; empty for what is not worth one."""
    if isinstance(event, VisitOpened):
        return f"{running.seconds(event.entered_ns):7.1f} s  {event.shopper} came in"
    if isinstance(event, HandSeen):
        return ""
    if isinstance(event, InteractionSeen):
        return _interaction_line(event, running, layout, names)
    outcome = event.outcome
    total = outcome.receipt.total_minor
    amount = "" if total is None else f" {format_amount(total, outcome.receipt.currency)} {outcome.receipt.currency}"
    status = public_status(event).replace("_", " ")
    return f"{running.seconds(event.left_ns):7.1f} s  {event.shopper} left: {status}{amount}"


def _interaction_line(seen: InteractionSeen, running: Replay, layout: StoreLayout, names: dict[str, str]) -> str:
    interaction = seen.interaction
    what = "something" if interaction.sku is None else names.get(interaction.sku, interaction.sku)
    verb = interaction.kind.value.replace("_", " ")
    who = "nobody in view"
    if interaction.candidates:
        best = interaction.candidates[0]
        who = f"{seen.shoppers[0]}, {min(best.probability, 0.99):.0%} sure"  # never "100 %"
    place = place_name(layout.bin(interaction.bin_id))
    return f"{running.seconds(interaction.time_ns):7.1f} s  {verb} {interaction.quantity} x {what} at {place}: {who}"


def _against_truth(running: Replay, truth: Truth) -> tuple[str, ...]:
    """How a simulated shop's receipts compare with what people carried out."""
    right, wrong, reviewed = 0, 0, 0
    by_shopper = {closed.shopper: closed for closed in running.closed}
    for receipt in truth.receipts:
        closed = by_shopper.get(receipt.payer)
        if closed is None:
            wrong += 1
            continue
        status = public_status(closed)
        lines = {line.sku: line.quantity for line in closed.outcome.receipt.lines}
        agrees = lines == {line.sku: line.quantity for line in receipt.lines}
        if status == "needs_review":
            reviewed += 1
        elif agrees:
            right += 1
        else:
            wrong += 1
    return (
        f"{right} of {len(truth.receipts)} visits ended with exactly what was carried out, "
        f"{reviewed} went to review, {wrong} were charged wrongly.",
    )


def _print_doubts(closed: VisitClosed) -> None:
    """Say why a person has to look at a visit, and what they are asked."""
    for flag in closed.outcome.flags:
        OUT.print(f"  {flag.reason}", markup=False)
    for question in closed.outcome.questions:
        OUT.print(f"  ? {question.text}", markup=False)
        answers = ", ".join(f"{answer.text} ({answer.probability:.0%})" for answer in question.answers)
        OUT.print(f"    {answers}", markup=False)
