"""The commands around the simulated store: ``simulate``, ``evaluate`` and ``dataset``."""

import os
import shlex
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import cv2
import typer
from rich.box import HORIZONTALS
from rich.table import Column, Table

from cart.evaluate import (
    Case,
    CaseResult,
    Evaluation,
    EvaluationJob,
    EvaluationSettings,
    FailedCase,
    RandomCase,
    evaluate,
    jobs_for,
    parse_sensors,
    read_cases,
)
from cart.evaluation_report import ReportContext, installed_versions, write_evaluation_report
from cart.eyes import OURS, weight_files
from cart.terminal import (
    ERR,
    OUT,
    UsageError,
    check_new_folder,
    check_outputs,
    counted,
    one_line_errors,
    progress_bar,
    settings_of_environment,
)
from store_sim.autocheckout import PLATES_FILE, read_site
from store_sim.coverage import choose_cameras, named_cameras
from store_sim.dataset_making import annotated_frames, make_dataset
from store_sim.datasets import AnnotatedFrame, write_mot
from store_sim.day import day_layout
from store_sim.random_days import USUAL_VISITS, RandomDay
from store_sim.random_visits import CONFUSING_SHARE
from store_sim.replay import open_recording
from store_sim.rules import check_scenario, receipt_differences
from store_sim.scale_comparison import PlateComparison, compare
from store_sim.scale_fit import recorded_layout, simulated_visit
from store_sim.scale_statistics import pick_of, record_plates, statistics_of
from store_sim.scenarios import Scenario, library, read_scenario, site_of
from store_sim.simulation import CAMERAS, JOINTS, Simulation, record
from tracking.attribution_settings import ABLATIONS
from vision.layout import StoreLayout

USUAL_CAMERAS = 4
SEQUENCE_HZ = 10.0  # of the store's cameras
USUAL_PICTURES, USUAL_VALIDATION = 1000, 0.2


ScenarioArgument = Annotated[
    Path | None, typer.Argument(metavar="[SCENARIO]", help="A scenario file (tillfree-scenario/1).")
]
RandomOption = Annotated[bool, typer.Option("--random", help="Make up a shop and its day instead.")]
SiteOption = Annotated[
    Path | None, typer.Option(metavar="DIR", help="The store that scenarios name without saying where it lies.")
]
CamerasOption = Annotated[
    str | None,
    typer.Option(metavar="N|NAMES", help="How many cameras (those that see most), or which: cam1,cam3. Usually 4."),
]
GondolasOption = Annotated[
    int | None, typer.Option(min=3, max=60, help="Gondolas of a random shop; else drawn.", show_default=False)
]
ProductsOption = Annotated[
    int | None, typer.Option(min=20, max=2000, help="Products of a random shop; else drawn.", show_default=False)
]
VisitsOption = Annotated[
    int | None,
    typer.Option(min=1, help=f"People who come to a random shop; else {USUAL_VISITS}.", show_default=False),
]
ShoppersOption = Annotated[
    float | None,
    typer.Option(min=1, max=30, help="Of them inside at once, on average; else 1 to 6.", show_default=False),
]
ConfusingOption = Annotated[
    float | None,
    typer.Option(
        min=0,
        max=0.8,
        help=f"Share of actions in a random shop that are confusing; else {CONFUSING_SHARE:g}.",
        show_default=False,
    ),
]


def simulate(
    scenario: ScenarioArgument = None,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where the recording goes.")] = Path("recording"),
    random: RandomOption = False,
    site: SiteOption = None,
    sensors: Annotated[
        str, typer.Option(metavar="NAMES", help="What there is beside the gates: some of scales, joints, cameras.")
    ] = "scales,joints",
    render: Annotated[bool, typer.Option("--render", help="Film it with the store's cameras too.")] = False,
    cameras: CamerasOption = None,
    seed: Annotated[int, typer.Option(min=0, help="Another seed: other people, paces, noise.")] = 0,
    gondolas: GondolasOption = None,
    products: ProductsOption = None,
    visits: VisitsOption = None,
    shoppers: ShoppersOption = None,
    confusing: ConfusingOption = None,
) -> None:
    """Play a scenario in the simulated store and keep what its sensors say, as a recording that replay reads."""
    with one_line_errors():
        if (scenario is None) != random:
            raise UsageError("expected a scenario file, or --random, and not both")
        seen_with = parse_sensors(sensors) | ({CAMERAS} if render else frozenset())
        if CAMERAS not in seen_with:
            _refuse_in_vain("--render", cameras=cameras)
        check_new_folder(out)
        if scenario is not None:
            _refuse_in_vain(
                "--random", gondolas=gondolas, products=products, visits=visits, shoppers=shoppers, confusing=confusing
            )
            played, store = _read_played(scenario, site)
        else:
            _refuse_in_vain("a scenario", site=site)
            store, played = _random_day(seed, gondolas, products, visits, shoppers, confusing).made()
        simulation = Simulation(
            store,
            played,
            seed,
            sensors=seen_with,
            cameras=cameras_of(store, cameras) if CAMERAS in seen_with else (),
            keeps_order=not random,
        )
        began_s = time.perf_counter()
        with progress_bar() as progress:
            task = progress.add_task(f"simulating {played.name}", total=simulation.duration_s)

            def told(seconds: float) -> None:
                progress.update(task, completed=seconds, total=simulation.duration_s)

            try:
                record(simulation, out, progress=told)
            except KeyboardInterrupt:
                ERR.print(f"note: {out} breaks off where you stopped it, and has no truth", markup=False)
                raise
        wall_s = time.perf_counter() - began_s
        truth = simulation.truth
        OUT.print(
            f"{counted(len(truth.visits), 'visit')}, {counted(len(truth.interactions), 'interaction')}, "
            f"{counted(len(simulation.camera_ids), 'camera')}; {simulation.duration_s:.1f} s in {wall_s:.1f} s, "
            f"{simulation.duration_s / wall_s:.1f} times real time",
            markup=False,
        )
        OUT.print(f"Recording: {out} (tillfree replay {out})", markup=False)


def dataset(
    out: Annotated[Path, typer.Option(metavar="DIR", help="A new or empty folder.")],
    scenario: ScenarioArgument = None,
    images: Annotated[
        int | None,
        typer.Option(min=2, metavar="N", help=f"Pictures, of random shops; else {USUAL_PICTURES}.", show_default=False),
    ] = None,
    site: SiteOption = None,
    cameras: CamerasOption = None,
    seed: Annotated[int, typer.Option(min=0, help="Another seed, other shops and people.")] = 0,
    validation: Annotated[
        float | None,
        typer.Option(
            min=0.01,
            max=0.99,
            help=f"Share of the shops whose pictures are for validation only; else {USUAL_VALIDATION:g}.",
            show_default=False,
        ),
    ] = None,
    processes: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Shops at a time; usually one a core.")
    ] = None,
) -> None:
    """Make training pictures of random shops (COCO, YOLO), or one MOTChallenge sequence a camera of a scenario."""
    with one_line_errors():
        check_new_folder(out)
        if scenario is not None:
            _refuse_in_vain("random shops", images=images, validation=validation, processes=processes)
            _write_sequences(scenario, site, cameras, seed, out)
            return
        _refuse_in_vain("a scenario", cameras=cameras, site=site)
        with progress_bar() as progress:
            task = progress.add_task("rendering", total=images or USUAL_PICTURES)

            def told(done: int, total: int) -> None:
                progress.update(task, completed=done, total=total)

            made = make_dataset(
                out,
                images or USUAL_PICTURES,
                seed,
                val_share=validation or USUAL_VALIDATION,
                processes=processes or len(os.sched_getaffinity(0)),
                progress=told,
            )
        for split, pictures in made.pictures.items():
            OUT.print(f"{split}: {counted(pictures, 'picture')} of {counted(made.shops[split], 'shop')}", markup=False)
        held = counted(made.products, "product")
        OUT.print(f"{made.people} people in view, {held} in hands: {out}", markup=False)


def _write_sequences(path: Path, site: Path | None, wanted: str | None, seed: int, out: Path) -> None:
    """Write what each camera sees of a scenario as a MOTChallenge sequence."""
    scenario, store = _read_played(path, site)
    camera_ids = cameras_of(store, wanted)
    frames: dict[str, list[AnnotatedFrame]] = {camera_id: [] for camera_id in camera_ids}
    for camera_id in camera_ids:
        (out / camera_id / "img1").mkdir(parents=True)
    with progress_bar() as progress:
        task = progress.add_task(f"rendering {scenario.name}", total=None)
        for camera_id, frame, image in annotated_frames(store, scenario, seed, camera_ids):
            file = out / camera_id / frame.image_path
            if not cv2.imwrite(str(file), image):
                raise OSError(f"{file}: cannot be written")
            frames[camera_id].append(frame)
            progress.update(task, advance=1)
    for camera_id, own in frames.items():
        write_mot(out / camera_id, own, SEQUENCE_HZ)
        OUT.print(f"{camera_id}: {counted(len(own), 'picture')}: {out / camera_id}", markup=False)


def cameras_of(layout: StoreLayout, wanted: str | None) -> tuple[str, ...]:
    """Say which cameras are meant: a number of those that see most, or names; ``USUAL_CAMERAS`` without a wish.

    Raises:
        UsageError: The wish names nothing.
        ValueError: The store has no such camera, or the number is below 1.
    """
    if wanted is None:
        return choose_cameras(layout, USUAL_CAMERAS)
    if wanted.strip().isdecimal():
        return choose_cameras(layout, int(wanted))
    names = [name.strip() for name in wanted.split(",") if name.strip()]
    if not names:
        raise UsageError(f"--cameras: expected a number or names, got {wanted!r}")
    return named_cameras(layout, names)


def _refuse_in_vain(needed: str, **options: object) -> None:
    """Refuse options that nothing would come of: somebody means something by them."""
    for name, value in options.items():
        if value not in (None, []):
            raise UsageError(f"--{name}: only with {needed}")


def _random_day(
    number: int,
    gondolas: int | None,
    products: int | None,
    visits: int | None,
    shoppers: float | None,
    confusing: float | None,
) -> RandomDay:
    return RandomDay(
        number,
        gondolas,
        products,
        USUAL_VISITS if visits is None else visits,
        shoppers,
        CONFUSING_SHARE if confusing is None else confusing,
    )


def _read_played(path: Path, site: Path | None) -> tuple[Scenario, StoreLayout]:
    """Read a scenario and its store on that day; say what is doubtful about them."""
    scenario = read_scenario(path)
    store = day_layout(site_of(scenario, site), scenario)
    check_scenario(scenario, store)
    _print_doubts([(scenario, store)])
    return scenario, store


def _print_doubts(played: Iterable[tuple[Scenario, StoreLayout]]) -> None:
    """Say once each what is doubtful about scenarios and their stores."""
    doubts: dict[str, None] = {}
    for scenario, store in played:
        doubts |= dict.fromkeys(store.notices)
        doubts |= dict.fromkeys(f"{scenario.name}: {difference}" for difference in receipt_differences(scenario))
    for doubt in doubts:
        ERR.print(f"note: {doubt}", markup=False)


def evaluate_cases(
    scenarios: Annotated[list[Path] | None, typer.Argument(metavar="[SCENARIO]...", help="Scenario files.")] = None,
    whole_library: Annotated[bool, typer.Option("--library", help="Play the project's library of hard cases.")] = False,
    random: Annotated[int, typer.Option("--random", min=0, metavar="N", help="Make up N shops and their days.")] = 0,
    site: SiteOption = None,
    sensors: Annotated[
        str, typer.Option(metavar="NAMES", help="scales,joints or cameras or scales,cameras.")
    ] = "scales,joints",
    cameras: CamerasOption = None,
    weights: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME|FILE", help="A model that sees people in the pictures; else the project's own."),
    ] = None,
    oracle: Annotated[
        bool,
        typer.Option("--oracle", help="Let the truth, made as wrong as a model, see in a model's stead: fast."),
    ] = False,
    without: Annotated[
        str,
        typer.Option(metavar="PARTS", help=f"Leave out parts of the account: any of {', '.join(ABLATIONS)}."),
    ] = "",
    seeds: Annotated[int, typer.Option(min=1, metavar="K", help="Play every case with seeds 0 to K-1.")] = 1,
    json_file: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write the scores as JSON.")] = None,
    report: Annotated[Path | None, typer.Option(metavar="DIR", help="Write a page with plots and failures.")] = None,
    real_scales: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="A real recording whose plates stand in the report beside simulated ones; else one beside the site.",
        ),
    ] = None,
    processes: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Cases at a time; usually one a core.")
    ] = None,
    gondolas: GondolasOption = None,
    products: ProductsOption = None,
    visits: VisitsOption = None,
    shoppers: ShoppersOption = None,
    confusing: ConfusingOption = None,
) -> None:
    """Play cases, replay them through the store, and score the receipts against what really happened."""
    with one_line_errors():
        if not (scenarios or whole_library or random):
            raise UsageError("expected scenario files, --library or --random N")
        check_outputs([json_file], report)
        if not random:
            _refuse_in_vain(
                "--random", gondolas=gondolas, products=products, visits=visits, shoppers=shoppers, confusing=confusing
            )
        if real_scales is not None and (report is None or site is None):
            raise UsageError(
                "--real-scales: needs --report to show the plates in, and --site for the store they are of"
            )
        if real_scales is not None and site is not None and site.is_file():
            raise UsageError(f"--real-scales: {site}: expected the folder of a site, it is a file")
        if oracle and weights:
            raise UsageError("--oracle: not with --weights, for it looks in a model's stead")
        chosen = parse_sensors(sensors)
        if CAMERAS not in chosen:
            _refuse_in_vain("cameras among --sensors", cameras=cameras, weights=weights, oracle=oracle or None)
        looks = CAMERAS in chosen and (JOINTS not in chosen or weights) and not oracle
        seen_with = EvaluationSettings(
            sensors=chosen,
            weights=weight_files(weights or ()) if looks else (),
            costs=settings_of_environment().costs,
            without=frozenset(part.strip() for part in without.split(",") if part.strip()),
        )
        paths = [*(scenarios or []), *(library() if whole_library else [])]
        written = read_cases(paths, site)
        _print_doubts((case.scenario, case.site) for case in written)
        cases: list[Case] = [
            *written,
            *(
                RandomCase(_random_day(number, gondolas, products, visits, shoppers, confusing))
                for number in range(random)
            ),
        ]
        jobs = [job for case in cases for job in jobs_for([case], seeds, _with_cameras(seen_with, case, cameras))]
        plates = None
        if report is not None and site is not None:
            plates = _plates_beside(site) if real_scales is None else _compared_plates(real_scales, site)
        if report is not None:
            report.mkdir(parents=True, exist_ok=True)  # rather now than after all cases
        if looks and not weights:
            ERR.print(f"note: seen with the project's own models ({OURS}), rendered; --oracle is faster", markup=False)
        evaluation = _evaluated(jobs, processes)
        _print_evaluation(evaluation)
        if json_file is not None:
            evaluation.write(json_file)
            OUT.print(f"JSON: {json_file}", markup=False)
        if report is not None:
            context = ReportContext(
                title=_title(paths, whole_library, random),
                command=shlex.join(["tillfree", *sys.argv[1:]]),
                made_on=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
                versions=installed_versions(),
                sensors=seen_with.sensor_words,
            )
            page = write_evaluation_report(evaluation, report, context, plates)
            OUT.print(f"Report: {page}", markup=False)
        if evaluation.failed:
            raise typer.Exit(1)


def _with_cameras(settings: EvaluationSettings, case: Case, wanted: str | None) -> EvaluationSettings:
    """Choose a case's cameras in its own store."""
    if CAMERAS not in settings.sensors:
        return settings
    return replace(settings, cameras=cameras_of(case.staged().layout, wanted))


def _plates_beside(site: Path) -> PlateComparison | None:
    """Compare with a real recording that lies beside its site, as AutoCheckout's do; None if there is none of use."""
    if not site.is_dir():
        return None
    found = sorted(folder for folder in site.resolve().parent.glob("*/") if (folder / PLATES_FILE).is_file())
    try:
        return _compared_plates(found[0], site) if found else None
    except (UsageError, ValueError, OSError) as error:  # nobody has asked for it
        ERR.print(f"note: no comparison with real plates: {error}", markup=False)
        return None


def _compared_plates(folder: Path, site: Path) -> PlateComparison:
    """Play a visit like a real recording's to simulated plates, and put the two side by side."""
    layout = read_site(site)
    real = record_plates(open_recording([folder], layout.plates))
    layout = recorded_layout(real, layout)
    pick = pick_of(real)
    if pick is None:
        raise UsageError(f"{folder}: expected a plate whose load changes for good, there is none")
    plate_id, _ = pick
    simulated = simulated_visit(layout, plate_id, abs(statistics_of(real, layout).step_g), seed=0)
    return compare(real, simulated, layout, folder.resolve().name, "simulated")


def _evaluated(jobs: Sequence[EvaluationJob], processes: int | None) -> Evaluation:
    """Play every job with a progress bar; say at once which case could not be played."""
    with progress_bar() as progress:
        task = progress.add_task("playing cases", total=len(jobs))

        def told(done: int, _: int, result: CaseResult) -> None:
            progress.update(task, completed=done)
            if isinstance(result, FailedCase):
                ERR.print(f"tillfree: {result.name}, seed {result.seed}: {result.error}", markup=False)

        return evaluate(jobs, processes, told)


def _print_evaluation(evaluation: Evaluation) -> None:
    # Narrow enough for 80 columns with the longest names of classes whole.
    headings = "cases", "mean\nF1", "preci-\nsion", "recall", "inter-\nactions\nF1", "reviewed\nvisits", "wrong\nunits"
    table = Table(
        Column("class", min_width=15), *headings, box=HORIZONTALS, padding=(0, 1, 0, 0), collapse_padding=True
    )
    summary = evaluation.summary()
    for name, row in [*evaluation.by_class(), ("all", summary)]:
        table.add_row(
            name,
            str(row.cases),
            f"{row.mean_f1:.3f}",
            f"{row.precision:.3f}",
            f"{row.recall:.3f}",
            f"{row.interaction_f1:.3f}",
            f"{row.reviewed} of {row.visits}",
            f"{row.wrong_charges} of {row.unreviewed_units}",
            end_section=name != "all" and name == evaluation.by_class()[-1][0],
        )
    OUT.print(table)
    if summary.receipt_median_s is not None:
        OUT.print(
            f"receipt {summary.receipt_median_s:.1f} s after the exit (median), "
            f"{summary.receipt_p95_s:.1f} s (95th percentile); "
            f"{summary.store_s:.0f} s of store time in {summary.cpu_s:.0f} s of computing",
            markup=False,
        )
    if summary.wrong_charges_per_1000_units_upper is not None:
        OUT.print(
            f"{summary.wrong_charges_per_1000_units:.2f} of 1,000 units charged wrongly without review, with 95 % "
            f"confidence at most {summary.wrong_charges_per_1000_units_upper:.2f}",
            markup=False,
        )
    if evaluation.failed:
        OUT.print(f"{counted(len(evaluation.failed), 'case')} could not be played", markup=False)


def _title(paths: Sequence[Path], whole_library: bool, random: int) -> str:
    """What was evaluated, for a heading."""
    files = len(paths) - (len(library()) if whole_library else 0)
    parts = [counted(files, "scenario") if files else "", "the library" if whole_library else ""]
    parts.append(counted(random, "random day") if random else "")
    return ", ".join(part for part in parts if part)
