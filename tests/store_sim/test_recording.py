import itertools
import json
import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from store_sim.recording import FORMAT, RecordingSource, RecordingWriter
from vision.arrays import ImageArray, IntArray
from vision.frames import Frame, GateEvent, ScaleSamples, Tick, TrackedBodies

SECOND = 1_000_000_000


def picture(shade: int, size_wh: tuple[int, int] = (64, 48)) -> ImageArray:
    return np.full((size_wh[1], size_wh[0], 3), shade, np.uint8)


def samples(end_ns: int, plates: tuple[str, ...] = ("1/1/1", "1/1/2"), count: int = 12) -> ScaleSamples:
    times_ns = end_ns - np.arange(count)[::-1] * (SECOND // 60)
    grams = np.arange(count * len(plates), dtype=np.float32).reshape(count, len(plates)) + end_ns % 1000
    grams[0, 0] = np.nan
    return ScaleSamples(times_ns, plates, grams, 60.0)


def bodies(timestamp_ns: int, *names: str) -> TrackedBodies:
    joints = np.random.default_rng(len(names)).normal(size=(len(names), 8, 3))
    joints[:, 3] = np.nan
    return TrackedBodies(timestamp_ns, names, joints, np.full((len(names), 8), 0.5))


def visit(ticks: int = 12) -> list[Tick]:
    """Two cameras, one of them with holes, plates and joints now and then, and instants without anything."""
    found = []
    for i in range(ticks):
        now_ns = 7 * SECOND + i * SECOND // 10
        frames = [Frame("till", 3 * i, now_ns - 5, picture(20 + 10 * i))]
        if i % 3:
            frames.append(Frame("door/1", i, now_ns, picture(250 - 10 * i, (33, 17))))
        found.append(
            Tick(
                now_ns,
                tuple(frames) if i != 5 else (),
                (samples(now_ns),) * (i % 2) + (samples(now_ns, ("2/1/1",)),) * (i % 4 == 3),
                bodies(now_ns, *["a", "b"][: i % 3]) if i % 2 else None,
            )
        )
    return found


def write(folder: Path, ticks: list[Tick]) -> Path:
    with RecordingWriter(folder, store="corner", seed=4, versions={"tillfree": "0"}) as writer:
        for tick in ticks:
            writer.write(tick)
    return folder


def assert_same(got: Tick, expected: Tick) -> None:
    assert got.timestamp_ns == expected.timestamp_ns
    assert len(got.scales) == len(expected.scales)
    for mine, theirs in zip(got.scales, expected.scales, strict=True):
        assert (mine.plate_id, mine.rate_hz) == (theirs.plate_id, theirs.rate_hz)
        np.testing.assert_array_equal(mine.timestamp_ns, theirs.timestamp_ns)
        np.testing.assert_array_equal(mine.grams, theirs.grams)
    assert (got.bodies is None) == (expected.bodies is None)
    if got.bodies is not None and expected.bodies is not None:
        assert got.bodies.timestamp_ns == expected.bodies.timestamp_ns
        assert got.bodies.target_id == expected.bodies.target_id
        np.testing.assert_array_equal(got.bodies.joints_m, expected.bodies.joints_m)
        np.testing.assert_array_equal(got.bodies.score, expected.bodies.score)
    assert [(f.camera_id, f.frame_idx, f.timestamp_ns) for f in got.frames] == [
        (f.camera_id, f.frame_idx, f.timestamp_ns) for f in expected.frames
    ]
    for frame, true in zip(got.frames, expected.frames, strict=True):
        assert frame.image.shape == true.image.shape
        assert abs(frame.image.astype(int) - true.image.astype(int)).mean() < 4


def test_what_was_written_comes_back(tmp_path: Path) -> None:
    ticks = visit()
    source = RecordingSource(write(tmp_path / "r", ticks))
    assert source.camera_ids == ("till", "door/1")
    assert source.resolutions_wh == {"till": (64, 48), "door/1": (33, 17)}
    assert (source.store, source.seed) == ("corner", 4)
    assert source.start_ns == ticks[0].timestamp_ns
    assert source.duration_s == pytest.approx(1.1)
    got = list(source)
    assert len(got) == len(ticks)
    for mine, expected in zip(got, ticks, strict=True):
        assert_same(mine, expected)
    assert source.notices == ()
    assert list(source) == []


names = st.lists(st.text(min_size=1, max_size=5), max_size=3, unique=True).map(tuple)
finite = st.floats(-100, 100) | st.just(math.nan)


@st.composite
def tick_lists(draw: st.DrawFn) -> list[Tick]:
    now_ns, ticks = draw(st.integers(-(10**18), 10**18)), []
    for _ in range(draw(st.integers(1, 8))):
        now_ns += draw(st.integers(0, 10**10))
        scales = []
        for _ in range(draw(st.integers(0, 2))):
            plates = draw(st.sampled_from([("1/1/1",), ("1/1/1", "1/2/9"), ()]))
            count = draw(st.integers(0, 3))
            grams = draw(hnp.arrays(np.float32, (count, len(plates)), elements=st.floats(width=32)))
            scales.append(ScaleSamples(now_ns + np.arange(count), plates, grams, draw(st.floats(0.1, 1000))))
        tracked = None
        if draw(st.booleans()):
            ids = draw(names)
            tracked = TrackedBodies(
                now_ns,
                ids,
                draw(hnp.arrays(np.float64, (len(ids), 8, 3), elements=finite)),
                draw(hnp.arrays(np.float64, (len(ids), 8), elements=st.floats(0, 1))),
            )
        ticks.append(Tick(now_ns, (), tuple(scales), tracked))
    return ticks


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=50)
@given(tick_lists())
def test_any_ticks_come_back_exactly(tmp_path_factory: pytest.TempPathFactory, ticks: list[Tick]) -> None:
    got = list(RecordingSource(write(tmp_path_factory.mktemp("r") / "r", ticks)))
    assert len(got) == len(ticks)
    for mine, expected in zip(got, ticks, strict=True):
        assert_same(mine, expected)


@pytest.mark.parametrize("stamp", [10**30, -(10**30), 7.5, True])
def test_bodies_with_an_impossible_time_are_left_out(tmp_path: Path, stamp: object) -> None:
    folder = write(tmp_path / "r", [Tick(i, bodies=bodies(i, "a")) for i in range(2)])
    first, second = (folder / "joints.jsonl").read_text().splitlines()
    (folder / "joints.jsonl").write_text(json.dumps({**json.loads(first), "timestamp_ns": stamp}) + "\n" + second)
    source = RecordingSource(folder)
    assert [tick.bodies is not None for tick in source] == [False, True]
    assert [notice.code for notice in source.notices] == ["malformed-line"]


def test_frames_find_their_ticks_whatever_their_clocks_did(tmp_path: Path) -> None:
    clock = [0, 100 * SECOND, 5, 5, 200 * SECOND]  # the camera's own clock leaps, and runs backwards
    ticks = [Tick(i * SECOND, (Frame("a", i, stamp, picture(20 + 50 * i)),)) for i, stamp in enumerate(clock)]
    for mine, expected in zip(RecordingSource(write(tmp_path / "r", ticks)), ticks, strict=True):
        assert_same(mine, expected)


def test_many_blocks_are_split_into_chunks(tmp_path: Path) -> None:
    ticks = [Tick(i, scales=(samples(i, ("1/1/1",), 2),)) for i in range(5000)]
    folder = write(tmp_path / "r", ticks)
    assert len(list((folder / "plates").iterdir())) == 2
    assert sum(len(tick.scales) for tick in RecordingSource(folder)) == 5000


def test_layout_truth_and_gate_events_are_kept(tmp_path: Path) -> None:
    events = (GateEvent(5, "in", "code-shown", "abc"), GateEvent(9, "in", "opened"))
    with RecordingWriter(tmp_path / "r", layout_yaml="format: tillfree-layout/1\n", truth_json="{}") as writer:
        writer.write(Tick(1))
        writer.write(Tick(10, gates=events))
    source = RecordingSource(tmp_path / "r")
    assert [tick.gates for tick in source] == [(), events]
    assert source.layout_path is not None
    assert source.layout_path.read_text() == "format: tillfree-layout/1\n"
    assert source.truth_path is not None


def test_a_recording_is_not_overwritten(tmp_path: Path) -> None:
    write(tmp_path / "r", visit(1))
    with pytest.raises(ValueError, match="already holds"):
        RecordingWriter(tmp_path / "r")


def test_ticks_and_pictures_are_checked_when_written(tmp_path: Path) -> None:
    with RecordingWriter(tmp_path / "r") as writer:
        writer.write(Tick(10, (Frame("a", 0, 10, picture(1)),)))
        with pytest.raises(ValueError, match="order of time"):
            writer.write(Tick(9))
        with pytest.raises(ValueError, match="expected pictures of 64x48, got 32x48"):
            writer.write(Tick(11, (Frame("a", 0, 10, picture(1, (32, 48))),)))


def test_a_recording_cut_off_by_a_power_cut_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    writer = RecordingWriter(tmp_path / "r")
    rng = np.random.default_rng(0)
    for i in range(200):
        noise = rng.integers(0, 255, (120, 160, 3), dtype=np.uint8)
        writer.write(Tick(i * SECOND // 10, (Frame("a", i, i * SECOND // 10, noise),)))
    cut = tmp_path / "cut"
    for path in (tmp_path / "r").rglob("*"):
        if path.is_file():  # what the disk held at that moment
            copy = cut / path.relative_to(tmp_path / "r")
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())
    writer.close()
    manifest = cut / "recording.json"
    assert json.loads(manifest.read_text())["complete"] is False
    (cut / "ticks.i64").write_bytes((tmp_path / "r" / "ticks.i64").read_bytes()[:-3])
    (cut / "cameras" / "a.i64").write_bytes((tmp_path / "r" / "cameras" / "a.i64").read_bytes())
    source = RecordingSource(cut)
    ticks = list(source)
    assert len(ticks) == 199
    assert sum(len(tick.frames) for tick in ticks) > 100
    assert {"incomplete-recording", "truncated-stream"} <= {notice.code for notice in source.notices}


@pytest.mark.parametrize(
    "manifest",
    [
        "",
        "[]",
        "not json",
        '{"format": "other/1"}',
        '{"format": 7}',
        json.dumps({"format": FORMAT, "cameras": [{"camera_id": "a", "file": "../x", "resolution_wh": [2, 2]}]}),
        json.dumps({"format": FORMAT, "cameras": [{"camera_id": "a", "file": "a", "resolution_wh": [99999, 2]}]}),
        json.dumps({"format": FORMAT, "cameras": [{"camera_id": "a", "file": "a", "resolution_wh": [2, 2]}] * 2}),
    ],
)
def test_bad_manifests_are_refused(tmp_path: Path, manifest: str) -> None:
    folder = write(tmp_path / "r", visit(2))
    (folder / "recording.json").write_text(manifest)
    with pytest.raises(ValueError, match=r"recording\.json") as caught:
        RecordingSource(folder)
    assert "\n" not in str(caught.value)


def test_missing_recordings_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"recording\.json"):
        RecordingSource(tmp_path)
    folder = write(tmp_path / "r", [])
    with pytest.raises(ValueError, match="no tick"):
        RecordingSource(folder)


def test_a_missing_video_costs_only_that_camera(tmp_path: Path) -> None:
    folder = write(tmp_path / "r", visit())
    (folder / "cameras" / "till.mp4").unlink()
    source = RecordingSource(folder)
    ticks = list(source)
    assert len(ticks) == 12
    assert {frame.camera_id for tick in ticks for frame in tick.frames} == {"door/1"}
    assert "missing-video" in {notice.code for notice in source.notices}


@pytest.mark.parametrize("change", [lambda ticks: ticks.astype(str), lambda ticks: ticks * np.nan])
def test_a_chunk_whose_ticks_are_no_whole_numbers_is_left_out(
    tmp_path: Path, change: Callable[[IntArray], NDArray[Any]]
) -> None:
    folder = write(tmp_path / "r", visit())
    file = folder / "plates" / "000000.npz"
    with np.load(file) as chunk:
        content = dict(chunk)
    np.savez(file, **content | {"tick": change(content["tick"])})
    source = RecordingSource(folder)
    assert [tick.scales for tick in source] == [()] * 12
    assert [notice.code for notice in source.notices] == ["damaged-chunk"]


@pytest.mark.parametrize("seed", range(30))
def test_damaged_recordings_never_do_worse_than_an_error_in_one_line(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    folder = write(tmp_path / "r", visit())
    with (folder / "gates.jsonl").open("w") as gates:
        gates.write('{"tick": 0, "timestamp_ns": 5, "gate": "in", "event": "opened"}\n')
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    complaint = ""
    for _ in range(3):
        path = rng.choice(files)
        content = bytearray(path.read_bytes())
        for _ in range(rng.choice([1, 10])):
            if content:
                content[rng.randrange(len(content))] = rng.randrange(256)
        if rng.random() < 0.5:
            del content[rng.randrange(len(content) + 1) :]
        path.write_bytes(content)
    try:
        source = RecordingSource(folder)
        ticks = list(source)
    except (OSError, ValueError) as error:
        complaint = str(error)
    else:
        assert len(ticks) <= 12
        assert all(a.timestamp_ns <= b.timestamp_ns for a, b in itertools.pairwise(ticks))
    assert "\n" not in complaint
