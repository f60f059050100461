"""Tests of cart.replay."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from uuid import UUID

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cart.pipeline import HandSeen, InteractionSeen, StorePipeline, VisitClosed, VisitOpened
from cart.replay import Replay, ReplayDocument
from store_sim.demo_shop import demo_simulation
from tests.cart.shopfloor import LAYOUT, SECOND, START_NS, Oracle, Touch, make_pipeline, play, units_g
from tests.json_document import Entry, check_document, read_document
from tracking.types import Candidate, Interaction
from vision.arrays import ImageArray
from vision.cameras import Camera
from vision.frames import Frame, SourceNotice, Tick
from vision.layout import Bin, StoreLayout
from vision.shelf import Handling

BIN = LAYOUT.bins[4].bin_id
SKU = LAYOUT.bins[4].sku or ""


class Ticks:
    """A source that plays given ticks."""

    def __init__(
        self, ticks: Sequence[Tick], duration_s: float = float("nan"), notices: tuple[SourceNotice, ...] = ()
    ) -> None:
        self._ticks = ticks
        self.start_ns = ticks[0].timestamp_ns if ticks else 0
        self.duration_s = duration_s
        self.notices = notices
        self.has_gates = any(tick.gates for tick in ticks)
        cameras = {frame.camera_id: frame.image.shape for tick in ticks for frame in tick.frames}
        self.camera_ids = tuple(cameras)
        self.resolutions_wh = {camera: (shape[1], shape[0]) for camera, shape in cameras.items()}

    def __iter__(self) -> Iterator[Tick]:
        return iter(self._ticks)


def replayed(ticks: Sequence[Tick], pipeline: StorePipeline | None = None, **options: bool) -> Replay:
    running = Replay(Ticks(ticks), pipeline or make_pipeline(), **options)
    for _ in running.steps():
        pass
    return running


def as_json(document: ReplayDocument) -> Entry:
    found = json.loads(json.dumps(asdict(document), allow_nan=False))
    assert isinstance(found, dict)
    return found


def pictures(count: int, shade: int = 0) -> list[Tick]:
    """One camera at 10 Hz whose pictures get brighter."""
    ticks = []
    for i in range(count):
        now_ns = START_NS + i * SECOND // 10
        image: ImageArray = np.full((48, 64, 3), shade + i, np.uint8)
        ticks.append(Tick(now_ns, (Frame("door", i, now_ns, image),)))
    return ticks


def test_a_document_says_everything_that_happened(tmp_path: Path) -> None:
    touches = [
        Touch("ada", BIN, 6.0, units_g(BIN, -2)),
        Touch("ben", LAYOUT.bins[16].bin_id, 8.0, units_g(LAYOUT.bins[16].bin_id, -1)),
        Touch("ada", BIN, 11.0, units_g(BIN, 1)),
    ]
    replayed(list(play(touches, 15.0))).document().write(tmp_path / "d.json")
    document = read_document(tmp_path / "d.json")
    assert [(r["kind"], r["bin"], r["quantity"]) for r in document["interactions"]] == [
        ("pick", BIN, 2),
        ("pick", LAYOUT.bins[16].bin_id, 1),
        ("put_back", BIN, 1),
    ]
    assert [row["t_s"] for row in document["interactions"]] == pytest.approx([6.0, 8.0, 11.0], abs=0.3)
    assert {r["shopper"]: r["status"] for r in document["receipts"]} == {"ada": "charged", "ben": "needs_review"}
    assert next(r for r in document["receipts"] if r["shopper"] == "ben")["total_minor"] is None  # it has no price
    assert {v["shopper"]: v["left_s"] for v in document["visits"]} == pytest.approx({"ada": 14.933, "ben": 14.933})
    assert len(document["hands"]) == 3
    assert (document["frames"], document["notices"]) == (0, [])
    assert document["media_s"] == pytest.approx(14.933)


def test_times_count_from_the_earliest_timestamp_of_any_stream() -> None:
    ticks = list(demo_simulation(1))
    running = Replay(Ticks(ticks), make_pipeline(has_gates=True))
    for _ in running.steps():
        pass
    first_ns = min([ticks[0].timestamp_ns, *(int(s.timestamp_ns[0]) for s in ticks[0].scales)])
    assert running.seconds(first_ns) == 0
    assert min(visit.entered_s for visit in running.document().visits) > 0


def test_two_replays_of_one_recording_are_equal() -> None:
    documents = []
    for _ in range(2):
        simulation = demo_simulation(4)
        running = Replay(simulation, make_pipeline(simulation.layout, has_gates=True))
        for _ in running.steps():
            pass
        documents.append(running.document())
        check_document(as_json(documents[-1]))
    assert replace(documents[0], wall_s=0.0) == replace(documents[1], wall_s=0.0)
    assert documents[0].wall_s > 0


def test_steps_tell_what_happened_when() -> None:
    running = Replay(Ticks(list(play([Touch("ada", BIN, 6.0, units_g(BIN, -1))], 10.0))), make_pipeline())
    steps = list(running.steps())
    assert [step.media_s for step in steps] == sorted(step.media_s for step in steps)
    assert steps[-1].tick is None
    assert all(step.tick is not None for step in steps[:-1])
    kinds = [type(event) for step in steps for event in step.events]
    assert kinds == [VisitOpened, HandSeen, InteractionSeen, VisitClosed]
    assert [type(event) for event in steps[-1].events] == [VisitClosed]


def test_an_interrupted_replay_closes_everybodys_visit() -> None:
    running = Replay(Ticks(list(play([Touch("ada", BIN, 6.0, units_g(BIN, -1))], 20.0))), make_pipeline())
    for step in running.steps():
        if step.media_s > 8.5:
            break
    (closed,) = [event for event in running.interrupt() if isinstance(event, VisitClosed)]
    assert closed.shopper == "ada"
    (receipt,) = running.document().receipts
    # Somebody who is still inside is not charged for half a visit.
    assert (receipt.status, [line.barcode for line in receipt.lines]) == ("needs_review", [SKU])
    assert closed.outcome.flags[0].reason == "The store was stopped while this shopper was inside"


def test_a_recording_of_nothing_gives_an_empty_document() -> None:
    document = replayed([Tick(START_NS)]).document()
    check_document(as_json(document))
    assert (document.receipts, document.visits, document.media_s) == ((), (), 0.0)


def test_the_stated_length_counts_where_it_is_longer() -> None:
    running = Replay(Ticks(pictures(5), duration_s=7.5), make_pipeline(StoreLayout("corner")))
    assert [step.media_s for step in running.steps()][-1] == pytest.approx(0.4)
    assert running.document().media_s == 7.5
    assert running.document().frames == 5


def test_notices_of_source_and_site_are_passed_on() -> None:
    layout = replace(LAYOUT, notices=("line 7 was left out",))
    notice = SourceNotice("door.mp4", "truncated-video", "it ends early")
    running = Replay(Ticks([Tick(START_NS)], notices=(notice,)), make_pipeline(layout))
    list(running.steps())
    assert [(n.stream, n.code) for n in running.document().notices] == [
        ("door.mp4", "truncated-video"),
        ("site", "layout"),
    ]
    assert len(running.report("r").notices) == 2


def test_a_drawn_bin_has_a_name_and_no_numbers() -> None:
    outline = np.array([[0.0, 0], [30, 0], [30, 30]])
    layout = StoreLayout("corner", bins=(Bin("L", camera_id="door", polygon_px=outline),))
    running = replayed(pictures(3), make_pipeline(layout, Oracle({})))
    told = running.pipeline.record(interaction(START_NS, START_NS, START_NS, "L"))
    running.interactions.append(told)
    (row,) = running.document().interactions
    assert (row.bin, row.gondola, row.shelf, row.plates, row.barcode) == ("L", None, None, None, None)
    assert row.candidates == ()
    check_document(as_json(running.document()))


def interaction(start_ns: int, time_ns: int, end_ns: int, bin_id: str = BIN, *candidates: Candidate) -> Interaction:
    return Interaction(
        UUID(int=start_ns), Handling.PICK, bin_id, (), None, 1, start_ns, time_ns, end_ns, tuple(candidates)
    )


spans = st.tuples(
    st.integers(0, 3 * 3600 * SECOND), st.integers(0, 6 * SECOND), st.one_of(st.integers(0, 6 * SECOND), st.just(0))
)


@given(spans, st.booleans())
def test_a_span_holds_its_moment_and_lasts_four_seconds_at_most(span: tuple[int, int, int], whole: bool) -> None:
    start_ns, before_ns, after_ns = span
    if whole:
        after_ns = max(0, 4 * SECOND - before_ns)  # four seconds to the nanosecond
    running = Replay(Ticks([Tick(START_NS)]), make_pipeline_once())
    moment_ns = START_NS + start_ns + before_ns
    running.interactions = [
        InteractionSeen(interaction(START_NS + start_ns, moment_ns, moment_ns + after_ns), (), None, False)
    ]
    (row,) = running.document().interactions
    assert row.start_s <= row.t_s <= row.end_s
    assert row.end_s - row.start_s <= 4.0
    assert row.t_s == pytest.approx((moment_ns - START_NS) / SECOND, abs=0.0006)


_PIPELINES: list[StorePipeline] = []


def make_pipeline_once() -> StorePipeline:
    """A pipeline for examples that do not change it; making one takes longer than an example."""
    if not _PIPELINES:
        _PIPELINES.append(make_pipeline())
    return _PIPELINES[0]


def test_the_report_has_the_evidence_behind_every_interaction() -> None:
    running = replayed(list(play([Touch("ada", BIN, 6.0, units_g(BIN, -1))], 10.0)), keep_pictures=True)
    report = running.report("Morning", remarks=("all right",))
    assert (report.title, report.remarks, len(report.receipts)) == ("Morning", ("all right",), 1)
    (row,) = report.interactions
    assert row.charged_to == "ada"
    assert row.weight is not None
    assert row.picture is None  # there is no camera
    assert row.product == next(p.name for p in LAYOUT.products if p.sku == SKU)
    assert [visit.shopper for visit in report.visits] == ["ada"]
    assert [hand.shopper for hand in report.hands] == ["ada"]


def test_the_picture_of_the_moment_is_kept_where_a_camera_saw_it() -> None:
    drawn = Bin("L", camera_id="door", polygon_px=np.array([[2.0, 2], [30, 2], [30, 30]]))
    layout = StoreLayout("corner", bins=(drawn,))
    pipeline = make_pipeline(layout, Oracle({}))
    running = Replay(Ticks(pictures(60, 60)), pipeline, keep_pictures=True)
    for step in running.steps():
        if step.tick is not None and step.media_s == pytest.approx(5.0):
            at_ns = START_NS + 2 * SECOND
            running._keep(pipeline.record(interaction(at_ns, at_ns, at_ns, "L")))
    (row,) = running.report("r").interactions
    assert row.picture is not None
    assert row.picture.shape == (48, 64, 3)
    assert row.picture[40, 50].mean() == pytest.approx(60 + 20, abs=4)


def test_the_picture_of_the_moment_is_no_unrecorded_cameras() -> None:
    # The site knows another camera, right before the bin, that this recording does not have.
    boxed = next(a_bin for a_bin in LAYOUT.bins if a_bin.box is not None)
    assert boxed.box is not None
    x, y, z = boxed.box.centre_m.tolist()
    looks_down = np.array([[1, 0, 0, -x], [0, -1, 0, y], [0, 0, -1, z + 2.0], [0, 0, 0, 1.0]])
    lens = np.array([[60.0, 0, 32], [0, 60, 24], [0, 0, 1]])
    unrecorded = Camera("elsewhere", lens, np.zeros(5), looks_down, (64, 48))
    pipeline = make_pipeline(replace(LAYOUT, cameras=(unrecorded,)), Oracle({}))
    running = Replay(Ticks(pictures(60, 60)), pipeline, keep_pictures=True)
    for step in running.steps():
        if step.tick is not None and step.media_s == pytest.approx(5.0):
            at_ns = START_NS + 2 * SECOND
            running._keep(pipeline.record(interaction(at_ns, at_ns, at_ns, boxed.bin_id)))
    (row,) = running.report("r").interactions
    assert row.picture is not None
    assert row.picture.std() < 3  # neither its name nor the bin is drawn into another camera's even picture


def test_a_document_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="nowhere"):
        replayed([Tick(START_NS)]).document().write(tmp_path / "nowhere" / "d.json")
