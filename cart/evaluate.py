"""Plays cases in the simulated store, replays them through the product's own pipeline and scores what came of it."""

import json
import logging
import math
import multiprocessing
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import lru_cache
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import cv2
import numpy as np

from cart.checkout import Checkout
from cart.eyes import load_models
from cart.galleries import studio_looker
from cart.payments import FakeGateway
from cart.pipeline import PipelineSettings, StorePipeline, VisitClosed, catalogue_of
from cart.replay import Replay
from cart.repository import Database
from cart.review_costs import ReviewCosts
from cart.scoring import (
    NANOSECONDS,
    CalibrationBin,
    CaseScore,
    ClosedVisit,
    Playback,
    believed_interaction,
    calibration,
    calibration_error,
    closed_visit,
    f1_score,
    ratio,
    score_case,
    upper_bound,
)
from store_sim.day import day_layout
from store_sim.oracle import OracleDetector
from store_sim.processes import deaf_to_ctrl_c, single_threaded
from store_sim.random_days import RandomDay
from store_sim.rules import check_scenario
from store_sim.scenarios import Scenario, read_scenario, site_of
from store_sim.simulation import Simulation
from store_sim.truth import TrueLine, TrueReceipt, Truth
from tracking.attribution_settings import AttributionSettings, ablated
from vision.detector import ObjectDetector
from vision.frames import Source
from vision.held import HeldLooker
from vision.layout import StoreLayout
from vision.top_down import HELD_PRODUCT

logger = logging.getLogger(__name__)

SENSORS = frozenset({"scales", "joints", "cameras"})
LONGEST_WAIT_S, LONGEST_STRETCH = 600.0, 3.0
"""A case that lasts this many seconds longer than so many times what its script says will never end: walking and
waiting for a place stretch a script, but nobody waits ten minutes for a shelf."""
JOBS_A_WORKER = 24
"""A worker is replaced after so many jobs, so that nothing that a library keeps adds up; starting one costs about the
time of a short job."""
UNNAMED_CLASS = "no class"
SHOP_SIZES = (8, "small"), (24, "medium"), (60, "large")
"""Most gondolas of a random shop, and what reports call it: kiosk, convenience store, supermarket."""
_ORACLE_STREAM = 7  # keeps the oracle's mistakes apart from the simulation's own random streams


@dataclass(frozen=True, slots=True)
class EvaluationSettings:
    """What the store is given to see with, and how sure it has to be.

    Attributes:
        sensors: Any of ``scales``, ``joints`` and ``cameras``; somebody has to see people, so not the scales alone.
        cameras: Which cameras of the site are used; empty for all of them.
        weights: Models that see people and products in the pictures. Without any, and without joints, an oracle that
            knows the truth and errs on purpose sees people in their stead, and no picture is drawn.
        costs: What mistakes and looks cost, which decides how sure the store has to be.
        without: Parts of the account (``tracking.attribution.ABLATIONS``) that are left out.
        currency: ISO 4217 code of a site that prices nothing.
        payment_attempts: How often a payment without a clear answer is tried.

    Raises:
        ValueError: A sensor is not known, or nothing sees people.
    """

    sensors: frozenset[str] = frozenset({"scales", "joints"})
    cameras: tuple[str, ...] = ()
    weights: tuple[Path, ...] = ()
    costs: ReviewCosts = field(default_factory=ReviewCosts)
    without: frozenset[str] = frozenset()
    currency: str = "USD"
    payment_attempts: int = 3

    def __post_init__(self) -> None:
        strange = sorted(self.sensors - SENSORS)
        if strange:
            raise ValueError(f"sensors: expected some of {', '.join(sorted(SENSORS))}, got {', '.join(strange)}")
        if not self.sensors & {"joints", "cameras"}:
            raise ValueError("sensors: expected joints or cameras among them, for scales do not see people")
        ablated(AttributionSettings(), self.without)

    @property
    def has_oracle(self) -> bool:
        """Whether people are seen by an oracle instead of a model."""
        return "joints" not in self.sensors and not self.weights

    @property
    def sensor_words(self) -> str:
        """What the store sees with, for people."""
        names = [name for name in ("scales", "joints", "cameras") if name in self.sensors]
        return ", ".join(names) + (" with an oracle in place of a model" if self.has_oracle else "")


def parse_sensors(text: str) -> frozenset[str]:
    """Read ``scales,joints``.

    Raises:
        ValueError: A sensor is not known.

    >>> sorted(parse_sensors("scales, joints"))
    ['joints', 'scales']
    """
    names = {name.strip() for name in text.split(",") if name.strip()}
    strange = sorted(names - SENSORS)
    if strange or not names:
        raise ValueError(f"sensors: expected some of {', '.join(sorted(SENSORS))}, got {', '.join(strange) or 'none'}")
    return frozenset(names)


@dataclass(frozen=True, slots=True)
class StagedCase:
    """A case ready to be played.

    Attributes:
        scenario: What happens.
        layout: The store that day.
        keeps_order: False if every shopper has a clock of their own, as in random shops.
        class_name: The class it is reported under, if only making it has shown which one that is.
    """

    scenario: Scenario
    layout: StoreLayout
    keeps_order: bool = True
    class_name: str = ""


class Case(Protocol):
    """Something to play; it has to survive pickling, for it is played in another process."""

    @property
    def name(self) -> str:
        """Name for reports."""
        ...

    @property
    def class_name(self) -> str:
        """Class for reports."""
        ...

    def staged(self) -> StagedCase:
        """Make ready to play.

        Raises:
            ValueError: It cannot be played.
        """
        ...


@dataclass(frozen=True, slots=True)
class ScenarioCase:
    """A written scenario in the store it plays in (without what the scenario says of that day)."""

    scenario: Scenario
    site: StoreLayout

    @property
    def name(self) -> str:
        """Name for reports."""
        return self.scenario.name

    @property
    def class_name(self) -> str:
        """Class for reports."""
        return self.scenario.class_name or UNNAMED_CLASS

    def staged(self) -> StagedCase:
        """Make ready to play."""
        return StagedCase(self.scenario, day_layout(self.site, self.scenario))


@dataclass(frozen=True, slots=True)
class RandomCase:
    """A random day of a random shop, made where it is played."""

    day: RandomDay

    @property
    def name(self) -> str:
        """Name for reports."""
        return self.day.name

    @property
    def class_name(self) -> str:
        """Class for reports; how big the shop is shows only when it is made."""
        return f"random day, {100 * self.day.confusing_share:.0f} % confusing"

    def staged(self) -> StagedCase:
        """Make ready to play."""
        layout, scenario = self.day.made()
        gondolas = len({a_bin.gondola_id for a_bin in layout.bins})
        size = next(word for most, word in SHOP_SIZES if gondolas <= most)
        return StagedCase(
            scenario, day_layout(layout, scenario), keeps_order=False, class_name=f"{self.class_name}, {size} shop"
        )


def read_cases(paths: Sequence[Path], site: Path | None = None) -> tuple[ScenarioCase, ...]:
    """Read scenarios and the stores they play in.

    Args:
        paths: Scenario files.
        site: The store of scenarios that name one outside the project, such as ``nanostore``.

    Raises:
        OSError: A file cannot be read.
        ValueError: A scenario cannot happen; the message names file, event and reason.
    """
    sites: dict[tuple[str, Path], StoreLayout] = {}
    cases = []
    for path in paths:
        scenario = read_scenario(path)
        key = scenario.site, path.parent
        if key not in sites:
            sites[key] = site_of(scenario, site)
        check_scenario(scenario, sites[key])
        cases.append(ScenarioCase(scenario, sites[key]))
    return tuple(cases)


@dataclass(frozen=True, slots=True)
class EvaluationJob:
    """One case with one seed."""

    case: Case
    seed: int
    settings: EvaluationSettings


def jobs_for(cases: Iterable[Case], seeds: int, settings: EvaluationSettings) -> tuple[EvaluationJob, ...]:
    """Every case with the seeds 0 to ``seeds - 1``, case by case.

    Raises:
        ValueError: ``seeds`` is below 1.
    """
    if seeds < 1:
        raise ValueError(f"seeds: expected at least 1, got {seeds}")
    return tuple(EvaluationJob(case, seed, settings) for case in cases for seed in range(seeds))


@dataclass(frozen=True, slots=True)
class FailedCase:
    """A case that could not be played to its end, and why."""

    name: str
    class_name: str
    seed: int
    error: str


CaseResult: TypeAlias = CaseScore | FailedCase
ProgressCallback: TypeAlias = Callable[[int, int, CaseResult], None]
"""Told after every job: how many are done, how many there are, and what came of this one."""


def evaluate(
    jobs: Sequence[EvaluationJob], processes: int | None = None, progress: ProgressCallback | None = None
) -> "Evaluation":
    """Play every job, on several cores, and score it.

    Args:
        jobs: What to play.
        processes: How many jobs at a time; None for one for each core that this process may use. With 1 everything
            runs in this process.
        progress: Told after every job, in the order they end.

    Returns:
        The results, in the order of ``jobs``. A job that fails is a ``FailedCase``; the others go on.

    Raises:
        ValueError: ``processes`` is below 1.
        KeyboardInterrupt: Somebody stopped it; the workers are gone then.
    """
    processes = len(os.sched_getaffinity(0)) if processes is None else processes
    if processes < 1:
        raise ValueError(f"processes: expected at least 1, got {processes}")
    results: dict[int, CaseResult] = {}
    for index, result in _results(jobs, min(processes, max(1, len(jobs)))):
        results[index] = result
        if progress is not None:
            progress(len(results), len(jobs), result)
    return Evaluation(tuple(results[index] for index in range(len(jobs))))


def play_job(job: EvaluationJob) -> CaseScore:
    """Play, replay and score one job in this process."""
    began = time.process_time()
    staged = job.case.staged()
    settings = job.settings
    simulation = Simulation(
        staged.layout,
        staged.scenario,
        job.seed,
        sensors=settings.sensors,
        cameras=settings.cameras,
        keeps_order=staged.keeps_order,
        pixels=bool(settings.weights),
    )
    detector: ObjectDetector | None = None
    held: HeldLooker | None = None
    if "cameras" in settings.sensors and settings.weights:
        detector = _model(settings.weights)
        if "pictures" not in settings.without and HELD_PRODUCT in detector.class_names:
            held = studio_looker(staged.layout.products)
    elif settings.has_oracle:
        detector = OracleDetector(simulation, np.random.default_rng([job.seed, _ORACLE_STREAM]))
    longest_s = LONGEST_WAIT_S + LONGEST_STRETCH * simulation.duration_s
    playback = play(simulation, staged.layout, settings, detector, longest_s, held)
    truth = simulation.truth
    score = score_case(
        job.case.name,
        staged.class_name or job.case.class_name,
        job.seed,
        due_of(staged.scenario, truth),
        truth,
        playback,
        staged.layout,
        staged.scenario.events,
    )
    remarks = (
        ()
        if _same_receipts(due_of(staged.scenario, truth), truth.receipts)
        else ("what the simulated people carried out is not what the scenario says is due",)
    )
    return replace(score, cpu_s=time.process_time() - began, remarks=remarks)


def due_of(scenario: Scenario, truth: Truth) -> tuple[TrueReceipt, ...]:
    """What every payer should be charged: what the scenario says, or what happened if it says nothing."""
    if scenario.receipts is None:
        return truth.receipts
    return tuple(
        TrueReceipt(payer, tuple(TrueLine(sku, quantity) for sku, quantity in sorted(lines.items()) if quantity))
        for payer, lines in scenario.receipts.items()
    )


def play(
    source: Source,
    layout: StoreLayout,
    settings: EvaluationSettings,
    detector: ObjectDetector | None = None,
    longest_s: float = math.inf,
    held: HeldLooker | None = None,
) -> Playback:
    """Run a source through a store of its own, from the first tick to the last.

    Raises:
        ValueError: It has not ended after ``longest_s`` seconds of store time.
    """
    pipeline = open_store(layout.for_pictures(source.resolutions_wh), settings, detector, held)
    running = Replay(source, pipeline)
    now_ns = source.start_ns
    visits: list[ClosedVisit] = []
    for step in running.steps():
        if step.tick is not None:
            now_ns = max(now_ns, step.tick.timestamp_ns)
            if now_ns - source.start_ns > longest_s * NANOSECONDS:
                raise ValueError(f"expected it to end within {longest_s:.0f} s of store time, it did not")
        visits += [closed_visit(event, now_ns) for event in step.events if isinstance(event, VisitClosed)]
    interactions = tuple(believed_interaction(seen, pipeline.layout) for seen in running.interactions)
    return Playback(source.start_ns, now_ns, tuple(visits), interactions)


def open_store(
    layout: StoreLayout,
    settings: EvaluationSettings,
    detector: ObjectDetector | None = None,
    held: HeldLooker | None = None,
) -> StorePipeline:
    """Wire a store with gates, an empty database and a payment gateway that takes every payment."""
    checkout = Checkout(
        Database.in_memory(),
        catalogue_of(layout.products, settings.currency),
        FakeGateway(),
        payment_attempts=settings.payment_attempts,
    )
    sure = PipelineSettings(settings.costs, ablated(AttributionSettings(), settings.without))
    return StorePipeline(layout, checkout, detector, sure, has_gates=True, held=held)


@lru_cache(maxsize=1)
def _model(weights: tuple[Path, ...]) -> ObjectDetector:
    return load_models(weights, threads=1)


def _same_receipts(left: Iterable[TrueReceipt], right: Iterable[TrueReceipt]) -> bool:
    def as_sets(receipts: Iterable[TrueReceipt]) -> set[tuple[str, frozenset[TrueLine]]]:
        return {(receipt.payer, frozenset(receipt.lines)) for receipt in receipts}

    return as_sets(left) == as_sets(right)


@dataclass(frozen=True, slots=True)
class MoneyWrong:
    """Money that a person would have to give back or was never asked for, minor units for 1,000 visits."""

    currency: str
    overcharged_minor_per_1000_visits: float
    undercharged_minor_per_1000_visits: float


@dataclass(frozen=True, slots=True)
class Summary:
    """Some cases taken together.

    Attributes:
        cases: How many results.
        mean_f1: Mean F1 of the cases; nan without any.
        precision: Pooled, 1 when nothing was charged.
        recall: Pooled, 1 when nothing was due.
        f1: Pooled.
        interaction_f1: Pooled over picks and put-backs.
        due_units: Units that should be charged.
        charged_units: Units on receipts.
        missed_units: Units due but on no receipt.
        wrong_units: Units charged but not due, reviewed or not.
        visits: Visits the store closed.
        reviewed: Of them, sent to a person.
        review_rate: Their share; 0 without visits.
        wrong_charges: Wrong units on visits charged without review.
        unreviewed_units: All units charged without review.
        wrong_charges_per_1000_units: 1,000 times their ratio; 0 without units.
        wrong_charges_per_1000_units_upper: Its 95 % upper bound; None without units.
        receipt_median_s: Median seconds from exit to receipt; None without receipts.
        receipt_p95_s: 95th percentile.
        receipt_max_s: Longest.
        calibration_error: Expected calibration error of the units' probabilities; None without units.
        money_wrong: For each currency.
        store_s: Seconds of store time played.
        cpu_s: Seconds of computing time.
    """

    cases: int
    mean_f1: float
    precision: float
    recall: float
    f1: float
    interaction_f1: float
    due_units: int
    charged_units: int
    missed_units: int
    wrong_units: int
    visits: int
    reviewed: int
    review_rate: float
    wrong_charges: int
    unreviewed_units: int
    wrong_charges_per_1000_units: float
    wrong_charges_per_1000_units_upper: float | None
    receipt_median_s: float | None
    receipt_p95_s: float | None
    receipt_max_s: float | None
    calibration_error: float | None
    money_wrong: tuple[MoneyWrong, ...]
    store_s: float
    cpu_s: float


def summarise(cases: Sequence[CaseScore]) -> Summary:
    """Take cases together."""
    tp, fp, fn = (sum(getattr(case, name) for case in cases) for name in ("tp", "fp", "fn"))
    happened = sum(case.true_interactions for case in cases)
    seen = sum(case.believed_interactions for case in cases)
    matched = sum(case.matched_interactions for case in cases)
    visits, reviewed = sum(case.visits for case in cases), sum(case.reviewed for case in cases)
    wrong, unreviewed = sum(case.wrong_charges for case in cases), sum(case.unreviewed_units for case in cases)
    bound = upper_bound(wrong, unreviewed)
    waits = np.array([wait_s for case in cases for wait_s in case.receipts_s], float)
    return Summary(
        cases=len(cases),
        mean_f1=ratio(sum(case.f1 for case in cases), len(cases), math.nan),
        precision=ratio(tp, tp + fp, 1.0),
        recall=ratio(tp, tp + fn, 1.0),
        f1=f1_score(tp, fp, fn),
        interaction_f1=f1_score(matched, seen - matched, happened - matched),
        due_units=tp + fn,
        charged_units=tp + fp,
        missed_units=fn,
        wrong_units=fp,
        visits=visits,
        reviewed=reviewed,
        review_rate=ratio(reviewed, visits, 0.0),
        wrong_charges=wrong,
        unreviewed_units=unreviewed,
        wrong_charges_per_1000_units=1000 * ratio(wrong, unreviewed, 0.0),
        wrong_charges_per_1000_units_upper=None if bound is None else 1000 * bound,
        receipt_median_s=float(np.median(waits)) if len(waits) else None,
        receipt_p95_s=float(np.percentile(waits, 95)) if len(waits) else None,
        receipt_max_s=float(waits.max()) if len(waits) else None,
        calibration_error=calibration_error(calibration(entry for case in cases for entry in case.sureness)),
        money_wrong=_money_wrong(cases),
        store_s=sum(case.store_s for case in cases),
        cpu_s=sum(case.cpu_s for case in cases),
    )


def _money_wrong(cases: Sequence[CaseScore]) -> tuple[MoneyWrong, ...]:
    found = []
    for currency in dict.fromkeys(case.currency for case in cases if case.currency):
        own = [case for case in cases if case.currency == currency]
        thousands = sum(case.visits for case in own) / 1000
        over = sum(case.overcharged_minor for case in own)
        under = sum(case.undercharged_minor for case in own)
        found.append(MoneyWrong(currency, ratio(over, thousands, 0.0), ratio(under, thousands, 0.0)))
    return tuple(found)


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What came of all jobs, in their order."""

    results: tuple[CaseResult, ...]

    @property
    def cases(self) -> tuple[CaseScore, ...]:
        """The cases that were played to their end."""
        return tuple(result for result in self.results if isinstance(result, CaseScore))

    @property
    def failed(self) -> tuple[FailedCase, ...]:
        """The cases that were not; they are in no mean."""
        return tuple(result for result in self.results if isinstance(result, FailedCase))

    def summary(self) -> Summary:
        """All cases taken together."""
        return summarise(self.cases)

    def by_class(self) -> tuple[tuple[str, Summary], ...]:
        """Each class of cases taken together, by name."""
        names = sorted({case.class_name for case in self.cases})
        return tuple((name, summarise([case for case in self.cases if case.class_name == name])) for name in names)

    def calibration(self) -> tuple[CalibrationBin, ...]:
        """How often units were right, by how sure the store was."""
        return calibration(entry for case in self.cases for entry in case.sureness)

    def document(self) -> dict[str, Any]:
        """Everything as JSON has it; a number that there is not is None."""
        summary = self.summary()
        return {
            "cases": [_case_entry(case) for case in self.cases],
            **_summary_entry(summary),
            "classes": [{"class": name, **_summary_entry(each)} for name, each in self.by_class()],
            "calibration": [
                {"probability": _rounded(b.probability), "right": _rounded(b.right), "units": _rounded(b.units)}
                for b in self.calibration()
            ],
            "failed": [{"name": f.name, "class": f.class_name, "seed": f.seed, "error": f.error} for f in self.failed],
        }

    def write(self, path: Path) -> None:
        """Write the document as JSON.

        Raises:
            OSError: The file cannot be written.
        """
        path.write_text(json.dumps(self.document(), indent=1, allow_nan=False) + "\n", encoding="utf-8")


def _rounded(number: float | None) -> float | None:
    return None if number is None or not math.isfinite(number) else round(number, 6)


def _case_entry(case: CaseScore) -> dict[str, Any]:
    return {
        "name": case.name,
        "class": case.class_name,
        "seed": case.seed,
        "f1": _rounded(case.f1),
        "tp": case.tp,
        "fp": case.fp,
        "fn": case.fn,
        "visits": case.visits,
        "reviewed": case.reviewed,
        "wrong_charges": case.wrong_charges,
        "receipt_s": _rounded(case.receipt_s),
        "no_account": case.no_account,
        "units_without_review": case.unreviewed_units,
        "interaction_f1": _rounded(case.interaction_f1),
        "overcharged_minor": case.overcharged_minor,
        "undercharged_minor": case.undercharged_minor,
        "store_s": _rounded(case.store_s),
        "cpu_s": _rounded(case.cpu_s),
        "wrong_lines": [
            {"payer": w.payer, "barcode": w.sku, "charged": w.charged, "due": w.due, "visits": list(w.statuses)}
            for w in case.wrong_lines
        ],
        "remarks": list(case.remarks),
    }


def _summary_entry(summary: Summary) -> dict[str, Any]:
    return {
        "mean_f1": _rounded(summary.mean_f1),
        "precision": _rounded(summary.precision),
        "recall": _rounded(summary.recall),
        "f1": _rounded(summary.f1),
        "review_rate": _rounded(summary.review_rate),
        "wrong_charges_per_1000_units": _rounded(summary.wrong_charges_per_1000_units),
        "wrong_charges_per_1000_units_upper_95": _rounded(summary.wrong_charges_per_1000_units_upper),
        "interaction_f1": _rounded(summary.interaction_f1),
        "units_due": summary.due_units,
        "units_charged": summary.charged_units,
        "units_missed": summary.missed_units,
        "units_wrong": summary.wrong_units,
        "units_without_review": summary.unreviewed_units,
        "wrong_charges": summary.wrong_charges,
        "visits": summary.visits,
        "reviewed": summary.reviewed,
        "receipt_median_s": _rounded(summary.receipt_median_s),
        "receipt_p95_s": _rounded(summary.receipt_p95_s),
        "receipt_max_s": _rounded(summary.receipt_max_s),
        "calibration_error": _rounded(summary.calibration_error),
        "money_wrong": [
            {
                "currency": money.currency,
                "overcharged_minor_per_1000_visits": _rounded(money.overcharged_minor_per_1000_visits),
                "undercharged_minor_per_1000_visits": _rounded(money.undercharged_minor_per_1000_visits),
            }
            for money in summary.money_wrong
        ],
        "store_s": _rounded(summary.store_s),
        "cpu_s": _rounded(summary.cpu_s),
    }


def _attempt(job: EvaluationJob) -> CaseResult:
    """Play a job; whatever goes wrong is its result."""
    try:
        return play_job(job)
    except Exception as error:  # one broken case must not take the others with it
        logger.info("%s, seed %d failed", job.case.name, job.seed, exc_info=True)
        return _failure(job, f"{type(error).__name__}: {error}")


def _failure(job: EvaluationJob, error: str) -> FailedCase:
    return FailedCase(job.case.name, job.case.class_name, job.seed, " ".join(error.split()))


def _results(jobs: Sequence[EvaluationJob], processes: int) -> Iterator[tuple[int, CaseResult]]:
    """Each job's result as it ends, with the job's number."""
    if processes == 1:
        for index, job in enumerate(jobs):
            yield index, _attempt(job)
        return
    waiting = iter(enumerate(jobs))
    workers: dict[Connection, _Worker] = {}
    try:
        while True:
            while len(workers) < processes and (following := next(waiting, None)) is not None:
                worker = _Worker.start()
                worker.give(*following)
                workers[worker.connection] = worker
            if not workers:
                return
            for connection in wait(list(workers)):
                assert isinstance(connection, Connection)
                worker = workers[connection]
                index, result = worker.result()
                following = next(waiting, None) if worker.is_fresh else None
                if following is None:
                    del workers[connection]
                    worker.stop()
                else:
                    worker.give(*following)
                yield index, result
    finally:
        for worker in workers.values():
            worker.kill()


class _Worker:
    """A process that plays jobs one after the other, with a pipe to it.

    Not an executor: that one gives up on all jobs when one process dies, can hang when it replaces processes
    (https://github.com/python/cpython/issues/115634) and cannot stop a running job.
    """

    def __init__(self, process: Any, connection: "Connection[Any, Any]") -> None:
        self.connection = connection
        self._process = process
        self._given = 0
        self._alive = True
        self._index = 0
        self._job: EvaluationJob | None = None

    @classmethod
    def start(cls) -> "_Worker":
        context = multiprocessing.get_context("spawn")
        connection, far = context.Pipe()
        process = context.Process(target=_work, args=(far,), daemon=True)
        with single_threaded(), deaf_to_ctrl_c():
            process.start()
        far.close()
        return cls(process, connection)

    @property
    def is_fresh(self) -> bool:
        """Whether it may be given another job."""
        return self._alive and self._given < JOBS_A_WORKER

    def give(self, index: int, job: EvaluationJob) -> None:
        self._index, self._job = index, job
        self._given += 1
        with suppress(BrokenPipeError, ConnectionResetError):  # if it has died, ``result`` says so
            self.connection.send(job)

    def result(self) -> tuple[int, CaseResult]:
        """What came of the job; call when the connection is ready."""
        assert self._job is not None
        try:
            result = self.connection.recv()
        except (EOFError, ConnectionResetError):
            self._alive = False
            self._process.join()
            return self._index, _failure(self._job, f"the process that played it ended with {self._process.exitcode}")
        return self._index, result

    def stop(self) -> None:
        self.connection.close()  # the worker's next ``recv`` ends it
        self._process.join()

    def kill(self) -> None:
        self._process.terminate()
        self._process.join()
        self.connection.close()


def _work(connection: "Connection[Any, Any]") -> None:
    """The life of a worker: play what comes until the pipe is closed."""
    cv2.setNumThreads(1)
    logging.disable(logging.WARNING)  # what simulated sensors complain of is meant, and counts in the score
    while True:
        try:
            job = connection.recv()
        except EOFError:
            return
        connection.send(_attempt(job))
