import base64
import itertools
import json
import math
import random
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from store_sim.autocheckout import AutoCheckoutSource, is_site, read_site
from store_sim.recording import RecordingWriter
from vision.frames import Frame, ScaleSamples, Tick, TrackedBodies

T0_S = 1_600_000_000.0
NANO = 1_000_000_000
Entry = dict[str, Any]


def iso(time_s: float) -> str:
    return datetime.fromtimestamp(time_s, UTC).isoformat().replace("+00:00", "Z")


def plate_message(time_s: float, gondola: int = 1, level: float = 100.0, origin: bool = True, **changes: Any) -> Entry:
    """Four samples at 20 Hz of two shelves with two plates each; index 0 of both axes is empty."""
    grams = np.full((4, 3, 3), np.nan, np.float32)
    grams[:, 1:, 1:] = level + np.arange(4)[:, None, None] + np.array([[11, 12], [21, 22]]) / 100
    header = {"t_issue": iso(time_s), "uuid": {"uuid": f"{gondola}-{time_s}-{level}"}}
    if origin:
        header["t_origin"] = iso(time_s - 0.1)
    values = {"data": base64.b64encode(grams.tobytes()).decode(), "shape": [4, 3, 3], "type": "DATATYPE_FLOAT32"}
    return {
        "timestamp": time_s,
        "document": {"header": header, "plate_data": {"freq_samp": 20.0, "values": values | changes}},
        "gondola_id": gondola,
    }


def joint(x: float, y: float, z: float) -> Entry:
    return {"point": {"x": x, "y": y, "z": z}, "score": 0.75}


def target(name: str = "7", **joints: Entry) -> Entry:
    return {"target_id": {"id": name}, "head": joint(100, -20, 66), **joints}


def targets_message(time_s: float, *targets: Entry) -> Entry:
    inner = {"targets": list(targets)} if targets else {}
    return {"timestamp": time_s, "document": {"header": {"t_origin": iso(time_s)}, "targets": inner}}


def write(folder: Path, plates: list[Any] | None = None, targets: list[Any] | None = None) -> Path:
    folder.mkdir(exist_ok=True)
    for name, messages in (("plate_data.jsonl", plates), ("full_targets.jsonl", targets)):
        if messages is not None:
            lines = (m if isinstance(m, str) else json.dumps(m) for m in messages)
            (folder / name).write_text("\n".join(lines) + "\n")
    return folder


def codes(source: AutoCheckoutSource) -> set[str]:
    return {notice.code for notice in source.notices}


def scales_of(ticks: list[Tick]) -> list[ScaleSamples]:
    return [samples for tick in ticks for samples in tick.scales]


def bodies_of(ticks: list[Tick]) -> list[TrackedBodies]:
    return [tick.bodies for tick in ticks if tick.bodies is not None]


def seconds(ticks: list[Tick]) -> list[float]:
    return [round(tick.timestamp_ns / NANO - T0_S, 3) for tick in ticks]


# Messages


def test_messages_of_both_kinds_come_in_the_order_of_time(tmp_path: Path) -> None:
    folder = write(
        tmp_path,
        [plate_message(T0_S + 1), plate_message(T0_S + 1.1, 2), plate_message(T0_S + 1.2)],
        [targets_message(T0_S + 0.5, target()), targets_message(T0_S + 1.15)],
    )
    source = AutoCheckoutSource(folder)
    assert source.start_ns == round((T0_S + 0.5) * NANO)
    assert source.duration_s == pytest.approx(0.7)
    assert source.camera_ids == ()
    ticks = list(source)
    assert seconds(ticks) == [0.5, 1, 1.1, 1.15, 1.2]
    assert [len(bodies) for bodies in (b.target_id for b in bodies_of(ticks))] == [1, 0]
    assert source.notices == ()
    assert list(source) == []


def test_plates_are_named_by_their_one_based_place(tmp_path: Path) -> None:
    samples = scales_of(list(AutoCheckoutSource(write(tmp_path, [plate_message(T0_S, level=0)]))))[0]
    assert samples.plate_id == ("1/1/1", "1/1/2", "1/2/1", "1/2/2")
    np.testing.assert_allclose(samples.grams[0], [0.11, 0.12, 0.21, 0.22], atol=1e-6)
    np.testing.assert_allclose(samples.grams[3], [3.11, 3.12, 3.21, 3.22], atol=1e-6)
    assert samples.rate_hz == 20


@pytest.mark.parametrize(("origin", "first_s"), [(True, -0.1 - 0.075), (False, -0.15)])
def test_samples_are_dated_around_their_origin_and_never_after_they_were_sent(
    tmp_path: Path, origin: bool, first_s: float
) -> None:
    tick = next(iter(AutoCheckoutSource(write(tmp_path, [plate_message(T0_S, origin=origin)]))))
    offsets_s = (tick.scales[0].timestamp_ns - tick.timestamp_ns) / NANO
    np.testing.assert_allclose(offsets_s, first_s + np.arange(4) / 20, atol=1e-5)
    assert offsets_s[-1] <= 0


def test_samples_of_a_gondola_always_rise_although_the_sender_jitters(tmp_path: Path) -> None:
    jitter = itertools.cycle([0, 0.03, -0.04, 0.02])
    messages = [plate_message(T0_S + 0.2 * i + next(jitter), origin=False) for i in range(40)]
    source = AutoCheckoutSource(write(tmp_path, messages))
    ticks = list(source)
    times_ns = np.concatenate([samples.timestamp_ns for samples in scales_of(ticks)])
    assert len(times_ns) == 160
    assert (np.diff(times_ns) > 0).all()
    assert all(tick.scales[0].timestamp_ns[-1] <= tick.timestamp_ns for tick in ticks)
    assert source.notices == ()


def test_columns_the_site_does_not_list_are_left_out(tmp_path: Path) -> None:
    site = write_site(tmp_path / "site")
    plates = [plate for plate in read_site(site).plates if plate.plate_id != "1/1/2"]
    source = AutoCheckoutSource(write(tmp_path / "r", [plate_message(T0_S), plate_message(T0_S, 9)]), plates)
    samples = scales_of(list(source))
    assert [s.plate_id for s in samples] == [("1/1/1", "1/2/1", "1/2/2")]
    notices = {notice.stream: notice.code for notice in source.notices}
    assert notices == {"gondola 1": "missing-plates", "gondola 9": "unknown-gondola"}  # the site has 1/2/3 too


def test_joints_become_metres_and_unseen_ones_nan(tmp_path: Path) -> None:
    body = target(l_wrist={"point": {}}, r_wrist={"point": {"y": 100.0}, "score": 0.5}, neck={})
    (bodies,) = bodies_of(list(AutoCheckoutSource(write(tmp_path, targets=[targets_message(T0_S, body)]))))
    assert bodies.target_id == ("7",)
    np.testing.assert_allclose(bodies.joints_m[0, 0], [2.54, -0.508, 1.6764])
    np.testing.assert_allclose(bodies.joints_m[0, 7], [0, 2.54, 0])  # zero coordinates are left out in the files
    assert np.isnan(bodies.joints_m[0, 1:7]).all()
    np.testing.assert_allclose(bodies.score[0], [0.75, 0, 0, 0, 0, 0, 0, 0.5])


def test_a_target_twice_in_one_frame_counts_once(tmp_path: Path) -> None:
    source = AutoCheckoutSource(write(tmp_path, targets=[targets_message(T0_S, target("a"), target("b"), target("a"))]))
    assert bodies_of(list(source))[0].target_id == ("a", "b")
    assert codes(source) == {"duplicate-target"}


def test_duplicates_are_left_out(tmp_path: Path) -> None:
    first, second = plate_message(T0_S), plate_message(T0_S + 0.2)
    same_time = plate_message(T0_S + 0.2, level=500.0)
    source = AutoCheckoutSource(
        write(tmp_path, [first, first, second, same_time, first], [targets_message(T0_S), targets_message(T0_S)])
    )
    assert seconds(list(source)) == [0, 0, 0.2]
    assert {notice.message for notice in source.notices if notice.stream == "plate_data.jsonl"} == {
        "a message came twice, the second was left out (3 times)"
    }


def test_messages_out_of_order_are_put_in_order_and_very_late_ones_left_out(tmp_path: Path) -> None:
    times_s = [0, 0.2, 0.6, 0.4, 0.8, 3.0, 5.0, 0.7, 5.2]
    source = AutoCheckoutSource(write(tmp_path, [plate_message(T0_S + t) for t in times_s]))
    assert seconds(list(source)) == [0, 0.2, 0.4, 0.6, 0.8, 3.0, 5.0, 5.2]
    assert codes(source) == {"late-message", "reordered-message"}


@pytest.mark.parametrize("at", [0, 3, 9])
@pytest.mark.parametrize("hours", [-24, 5])
def test_a_message_with_a_wrong_clock_is_left_out(tmp_path: Path, at: int, hours: int) -> None:
    messages = [plate_message(T0_S + 0.2 * i) for i in range(9)]
    messages.insert(at, plate_message(T0_S + 3600 * hours, level=7.0))
    source = AutoCheckoutSource(write(tmp_path, messages))
    assert source.duration_s == pytest.approx(1.6)
    assert seconds(list(source)) == pytest.approx([0.2 * i for i in range(9)])
    assert codes(source) == {"misdated-message"}


def test_a_night_without_messages_is_a_gap(tmp_path: Path) -> None:
    times_s = [0.2 * i for i in range(10)] + [8 * 3600 + 0.2 * i for i in range(10)]
    source = AutoCheckoutSource(write(tmp_path, [plate_message(T0_S + t) for t in times_s]))
    assert len(list(source)) == 20
    assert codes(source) == {"gap"}


@pytest.mark.parametrize(
    "bad",
    [
        "not json",
        "[]",
        "7",
        "[" * 100_000,
        '{"timestamp": 1e400}',
        '{"timestamp": 1' + 400 * "0" + "}",
        json.dumps({**plate_message(T0_S + 0.1), "timestamp": "soon"}),
        json.dumps({**plate_message(T0_S + 0.1), "timestamp": 1e300}),
        json.dumps({**plate_message(T0_S + 0.1), "gondola_id": "one"}),
        json.dumps({**plate_message(T0_S + 0.1), "document": None}),
        json.dumps(plate_message(T0_S + 0.1, shape=[4, 3])),
        json.dumps(plate_message(T0_S + 0.1, shape=[4, 3, 4])),
        json.dumps(plate_message(T0_S + 0.1, shape=[4, -3, -3])),
        json.dumps(plate_message(T0_S + 0.1, shape=[10**12, 3, 3])),
        json.dumps(plate_message(T0_S + 0.1, type="DATATYPE_UINT16")),
        json.dumps(plate_message(T0_S + 0.1)).replace('"freq_samp": 20.0', '"freq_samp": 1e-12'),
        json.dumps(plate_message(T0_S + 0.1, data="@@@@")),
        json.dumps(plate_message(T0_S + 0.1, data=None)),
        json.dumps(plate_message(T0_S + 0.1))[:200],
    ],
)
def test_malformed_plate_messages_are_left_out_with_a_notice(tmp_path: Path, bad: str) -> None:
    source = AutoCheckoutSource(write(tmp_path, [plate_message(T0_S), bad, plate_message(T0_S + 0.2)]))
    assert seconds(list(source)) == [0, 0.2]
    assert codes(source) == {"malformed-message"}
    assert all("\n" not in notice.message and len(notice.message) < 400 for notice in source.notices)


@pytest.mark.parametrize(
    "bad",
    [
        {"timestamp": T0_S + 0.1},
        {"timestamp": T0_S + 0.1, "document": {"targets": {"targets": [{}]}}},
        {"timestamp": T0_S + 0.1, "document": {"targets": {"targets": 7}}},
        targets_message(T0_S + 0.1, target(l_wrist={"point": {"x": "far"}})),
        targets_message(T0_S + 0.1, target(l_wrist={"point": [1, 2, 3]})),
    ],
)
def test_malformed_joints_are_left_out_with_a_notice(tmp_path: Path, bad: Entry) -> None:
    source = AutoCheckoutSource(write(tmp_path, targets=[targets_message(T0_S), bad, targets_message(T0_S + 0.2)]))
    assert seconds(list(source)) == [0, 0.2]
    assert codes(source) == {"malformed-message"}


def test_joints_beyond_reason_are_unseen(tmp_path: Path) -> None:
    body = target(l_wrist=joint(1e30, 0, 0))
    (bodies,) = bodies_of(list(AutoCheckoutSource(write(tmp_path, targets=[targets_message(T0_S, body)]))))
    assert np.isnan(bodies.joints_m[0, 6]).all()


def test_infinite_readings_are_no_readings(tmp_path: Path) -> None:
    grams = np.full((4, 3, 3), np.inf, np.float32)
    grams[:, 1, 1] = 5
    message = plate_message(T0_S, data=base64.b64encode(grams.tobytes()).decode())
    (samples,) = scales_of(list(AutoCheckoutSource(write(tmp_path, [message]))))
    assert samples.plate_id == ("1/1/1",)


def test_a_folder_without_a_readable_message_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"plate_data\.jsonl"):
        AutoCheckoutSource(tmp_path)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        AutoCheckoutSource(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="no message"):
        AutoCheckoutSource(write(tmp_path, ["", "nothing"], []))


def test_video_beside_the_messages_is_read_along(tmp_path: Path) -> None:
    with RecordingWriter(tmp_path / "made") as writer:
        for i in range(5):
            writer.write(Tick(i * NANO, (Frame("cam3", i, i * NANO, np.full((48, 64, 3), 99, np.uint8)),)))
    folder = write(tmp_path / "r", [plate_message(T0_S + 0.5), plate_message(T0_S + 1.0)])
    (tmp_path / "made" / "cameras" / "cam3.mp4").rename(folder / "cam3.mp4")
    source = AutoCheckoutSource(folder)
    assert source.camera_ids == ("cam3",)
    assert source.resolutions_wh == {"cam3": (64, 48)}
    ticks = list(source)
    assert [(round(t.timestamp_ns / NANO - T0_S, 2), len(t.frames), len(t.scales)) for t in ticks[:3]] == [
        (0.5, 0, 1),
        (0.5, 1, 0),
        (1.0, 0, 1),
    ]
    assert len(ticks) == 7
    assert codes(source) == {"unsynchronised-video"}


@pytest.mark.parametrize("seed", range(40))
def test_damaged_recordings_never_do_worse_than_notices(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    write(
        tmp_path,
        [plate_message(T0_S + 0.2 * i, 1 + i % 2) for i in range(20)],
        [targets_message(T0_S + 0.1 * i, target(l_wrist=joint(1, 2, 3))) for i in range(30)],
    )
    for name in ("plate_data.jsonl", "full_targets.jsonl"):
        content = bytearray((tmp_path / name).read_bytes())
        for _ in range(rng.choice([1, 20, 200])):
            content[rng.randrange(len(content))] = rng.choice(b'0123456789{}[]",.:-eE\n\x00\xff')
        if rng.random() < 0.3:
            del content[rng.randrange(len(content)) :]
        (tmp_path / name).write_bytes(content)
    complaint = ""
    try:
        source = AutoCheckoutSource(tmp_path)
        ticks = list(source)
    except (OSError, ValueError) as error:
        complaint = str(error)
    else:
        assert all(a.timestamp_ns <= b.timestamp_ns for a, b in itertools.pairwise(ticks))
        assert math.isfinite(source.duration_s)
    assert "\n" not in complaint


@settings(deadline=None)
@given(st.lists(st.integers(0, 100), max_size=40), st.randoms())
def test_shuffling_and_doubling_messages_within_two_seconds_changes_nothing(
    tmp_path_factory: pytest.TempPathFactory, steps: list[int], rng: random.Random
) -> None:
    times_s = [T0_S + t / 10 for t in sorted(set(steps))] or [T0_S]
    messages = [plate_message(t) for t in times_s]
    delayed = sorted(messages * 2, key=lambda m: m["timestamp"] + rng.random() * 1.9)
    plain = list(AutoCheckoutSource(write(tmp_path_factory.mktemp("plain"), messages)))
    mixed = list(AutoCheckoutSource(write(tmp_path_factory.mktemp("mixed"), delayed)))
    assert [tick.timestamp_ns for tick in mixed] == [tick.timestamp_ns for tick in plain]


# Sites


def transform(x: float = 0, y: float = 0, z: float = 0, turn: float = 0) -> Entry:
    # As published: zero coordinates may be left out.
    translation = {key: value for key, value in (("x", x), ("y", y), ("z", z)) if value}
    return {"translation": translation, "rotation": {"z": turn} if turn else {}}


def plate_id(gondola: int, shelf: int, plate: int) -> Entry:
    return {"shelf_id": {"gondola_id": {"id": gondola}, "shelf_index": shelf}, "plate_index": plate}


def plate(gondola: int, shelf: int, number: int) -> Entry:
    size = {"dim_x": 0.1, "dim_y": 0.4, "dim_z": 0}
    return {
        "id": plate_id(gondola, shelf, number),
        "coordinates": {"transform": transform(x=0.1 * (number - 1))} | size,
    }


def shelf(gondola: int, number: int) -> Entry:
    size = {"dim_x": 0.3, "dim_y": 0.4, "dim_z": 0.25 if number == 1 else 0.0}
    return {
        "id": {"gondola_id": {"id": gondola}, "shelf_index": number},
        "coordinates": {"transform": transform(y=-0.4, z=0.3 * number)} | size,
    }


def gondola(number: int, **where: float) -> Entry:
    return {"id": {"id": number}, "coordinates": {"transform": transform(**where), "dim_x": 0.3, "dim_z": 2.0}}


def planned(barcode: str | None, *plates: Entry) -> Entry:
    return {"plate_ids": list(plates), "planogram_product_id": {"id": barcode} if barcode else {}}


def product(barcode: str, **metadata: Any) -> Entry:
    return {"product_id": {"id": barcode}, "metadata": {"name": f"Product {barcode}"} | metadata}


class Site:
    """Two gondolas of two shelves with three plates each, the second turned by a quarter."""

    def __init__(self) -> None:
        self.gondolas = [gondola(1, x=1), gondola(2, x=3, turn=-math.pi / 2)]
        self.shelves = [shelf(g, s) for g in (1, 2) for s in (1, 2)]
        self.plates = [plate(g, s, p) for g in (1, 2) for s in (1, 2) for p in (1, 2, 3)]
        self.planogram: list[Any] | None = [planned("111", plate_id(1, 1, 2), plate_id(1, 1, 1))]
        self.products: list[Any] | None = [product("111", price=1, weight=500)]
        pose = [[1, 0, 0, 100], [0, -1, 0, 0], [0, 0, -1, 100], [0, 0, 0, 1]]
        camera = {"K": [[0.8, 0, 0.5], [0, 1.4, 0.5], [0, 0, 1]], "Tw": pose, "dist_coeffs": [-0.4, 0.2, 0, 0, 0]}
        self.cameras: dict[str, Any] | None = {"3": camera, "21-depth": camera, "till": camera}

    def write(self, folder: Path) -> Path:
        folder.mkdir()
        (folder / "Gondolas.json").write_text(json.dumps({"gondolas": self.gondolas}))
        (folder / "Shelves.json").write_text(json.dumps({"shelves": self.shelves}))
        (folder / "Plates.json").write_text(json.dumps({"plates": self.plates}))
        for name, rows in (("planogram.jsonl", self.planogram), ("products.jsonl", self.products)):
            if rows is not None:
                (folder / name).write_text("".join((r if isinstance(r, str) else json.dumps(r)) + "\n" for r in rows))
        if self.cameras is not None:
            (folder / "calibration.json").write_text(json.dumps({"cameras": self.cameras}))
        return folder


def write_site(folder: Path) -> Path:
    return Site().write(folder)


def test_a_site_is_read_with_its_places_in_the_world(tmp_path: Path) -> None:
    layout = read_site(write_site(tmp_path / "site"))
    assert layout.notices == ()
    assert layout.name == tmp_path.name
    boxes = {p.plate_id: p.box for p in layout.plates}
    assert len(boxes) == 12
    np.testing.assert_allclose(boxes["1/1/2"].corners_m.min(axis=0), [1.1, -0.4, 0.3], atol=1e-9)
    np.testing.assert_allclose(boxes["1/1/2"].size_m, [0.1, 0.4, 0.25])
    # Turned clockwise by a quarter: x runs towards -y, and y towards x.
    np.testing.assert_allclose(boxes["2/1/2"].corners_m.min(axis=0), [2.6, -0.2, 0.3], atol=1e-9)
    np.testing.assert_allclose(boxes["2/1/2"].corners_m.max(axis=0), [3.0, -0.1, 0.55], atol=1e-9)
    assert boxes["1/2/1"].size_m[2] == pytest.approx(0.3)  # a top shelf that does not state its height


def test_bins_are_runs_of_planned_plates_and_single_unplanned_ones(tmp_path: Path) -> None:
    site = Site()
    assert site.planogram is not None
    site.planogram.append(planned("222", plate_id(1, 2, 1), plate_id(1, 2, 3)))
    layout = read_site(site.write(tmp_path / "site"))
    bins = {b.bin_id: b.sku for b in layout.bins if b.gondola_id == 1}
    assert bins == {"1/1/1-2": "111", "1/1/3": None, "1/2/1": "222", "1/2/2": None, "1/2/3": "222"}
    run = layout.bin("1/1/1-2")
    assert run.plate_ids == ("1/1/1", "1/1/2")
    assert run.box is not None
    np.testing.assert_allclose(run.box.corners_m.max(axis=0), [1.2, 0, 0.55], atol=1e-9)
    assert any("barcode 222 is not in" in notice for notice in layout.notices)
    assert {p.sku: p.unit_price_minor for p in layout.products} == {"111": 100, "222": None}


@pytest.mark.parametrize(
    ("price", "minor"),
    [(1, 100), (2.5, 250), (9999, 999900), (10000, None), (None, None), (0, None), (-1, None), (0.001, None)],
)
def test_prices_are_dollars_or_unknown(tmp_path: Path, price: float | None, minor: int | None) -> None:
    site = Site()
    site.products = [product("111", price=price, weight=0)]
    (record,) = read_site(site.write(tmp_path / "site")).products
    assert record.unit_price_minor == minor
    assert record.currency == "USD"
    assert math.isnan(record.mass_g)


def test_repeated_products_count_once_and_contradicting_ones_are_told(tmp_path: Path) -> None:
    site = Site()
    site.products = [product("0111", weight=5), product("0111", weight=5), product("0111", weight=9)]
    site.planogram = []
    layout = read_site(site.write(tmp_path / "site"))
    assert [(p.sku, p.mass_g) for p in layout.products] == [("0111", 5)]
    assert len(layout.notices) == 1
    assert "line 3" in layout.notices[0]


def test_doubtful_planogram_rows_degrade_with_notices(tmp_path: Path) -> None:
    site = Site()
    site.planogram = [
        planned(None, plate_id(1, 1, 1)),
        planned("111", plate_id(1, 1, 2), plate_id(9, 9, 9)),
        planned("333", plate_id(1, 1, 2)),
        "not json",
        {"plate_ids": 7},
    ]
    layout = read_site(site.write(tmp_path / "site"))
    assert {b.sku for b in layout.bins} == {"111", None}
    assert len(layout.bins) == 12
    text = "\n".join(layout.notices)
    for part in ("line 1 has no product", "9/9/9", "already taken", "no plate to 333", "line 4", "line 5"):
        assert part in text


def test_optional_files_may_be_missing(tmp_path: Path) -> None:
    site = Site()
    site.planogram = site.products = site.cameras = None
    layout = read_site(site.write(tmp_path / "site"))
    assert len(layout.bins) == 12
    assert [notice.split(":")[0] for notice in layout.notices] == [
        "planogram.jsonl",
        "products.jsonl",
        "calibration.json",
    ]


def test_cameras_are_denormalised_and_in_metres(tmp_path: Path) -> None:
    layout = read_site(write_site(tmp_path / "site"))
    assert [camera.camera_id for camera in layout.cameras] == ["cam3", "till"]
    camera = layout.cameras[0]
    np.testing.assert_allclose(camera.intrinsics, [[512, 0, 320], [0, 504, 180], [0, 0, 1]])
    np.testing.assert_allclose(camera.position_m, [2.54, 0, 2.54])
    np.testing.assert_allclose(camera.floor_points(np.array([[320.0, 180.0]])), [[2.54, 0]], atol=1e-9)


def contradictory(change: str) -> tuple[Site, str]:
    site = Site()
    if change == "plate outside":
        site.plates[2]["coordinates"]["transform"]["translation"]["x"] = 0.25
        return site, r"Plates\.json: plate 1/1/3 lies outside"
    if change == "plate twice":
        site.plates.append(plate(1, 1, 1))
        return site, r"Plates\.json: plate 1/1/1 is listed twice"
    if change == "plate without shelf":
        site.plates.append(plate(1, 7, 1))
        return site, r"Plates\.json: plate 1/7/1 is on shelf 1/7"
    if change == "plate without size":
        site.plates[0]["coordinates"]["dim_x"] = 0
        return site, r"Plates\.json: plate 1/1/1: expected a positive"
    if change == "plate before the first":
        site.plates[0]["id"]["plate_index"] = -1
        return site, r"Plates\.json: at plates\.0\.id\.plate_index"
    if change == "shelf without gondola":
        site.shelves.append(shelf(8, 1))
        return site, r"Shelves\.json: shelf 8/1 is on gondola 8"
    if change == "shelf twice":
        site.shelves.append(shelf(1, 1))
        return site, r"Shelves\.json: shelf 1/1 is listed twice"
    if change == "gondola twice":
        site.gondolas.append(gondola(1))
        return site, r"Gondolas\.json: gondola 1 is listed twice"
    if change == "text for a number":
        site.plates[0]["coordinates"]["dim_x"] = "wide"
        return site, r"Plates\.json: at plates\.0\.coordinates\.dim_x"
    assert site.cameras is not None
    site.cameras["3"] = {**site.cameras["3"], "Tw": [[0, 0, 0, 0]] * 4}
    return site, r"calibration\.json: camera 3"


@pytest.mark.parametrize(
    "change",
    [
        "plate outside",
        "plate twice",
        "plate without shelf",
        "plate without size",
        "plate before the first",
        "shelf without gondola",
        "shelf twice",
        "gondola twice",
        "text for a number",
        "camera",
    ],
)
def test_a_site_that_contradicts_itself_is_refused(tmp_path: Path, change: str) -> None:
    site, complaint = contradictory(change)
    with pytest.raises(ValueError, match=complaint) as caught:
        read_site(site.write(tmp_path / "site"))
    assert "\n" not in str(caught.value)


def test_missing_sites_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        read_site(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"Gondolas\.json"):
        read_site(tmp_path)
    assert not is_site(tmp_path)
    assert is_site(write_site(tmp_path / "site"))


@pytest.mark.parametrize("seed", range(40))
def test_damaged_sites_never_do_worse_than_an_error_in_one_line(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    folder = write_site(tmp_path / "site")
    path = rng.choice(sorted(folder.iterdir()))
    content = bytearray(path.read_bytes())
    for _ in range(rng.choice([1, 3, 30])):
        content[rng.randrange(len(content))] = rng.choice(b'0123456789{}[]",.:-eE\n\x00\xff')
    if rng.random() < 0.3:
        del content[rng.randrange(len(content)) :]
    path.write_bytes(content)
    complaint = ""
    try:
        read_site(folder)
    except (OSError, ValueError) as error:
        complaint = str(error)
    assert "\n" not in complaint


# The published store


def test_the_published_site_is_read(shared: Path) -> None:
    layout = read_site(shared / "nanostore" / "site")
    assert layout.name == "nanostore"
    assert (len(layout.plates), len(layout.products)) == (306, 361)
    assert sum(len(b.plate_ids) for b in layout.bins) == 306
    unplanned = [b for b in layout.bins if b.sku is None]
    # 22 plates are in no row, those of the row without a product come on top.
    assert len(unplanned) >= 22
    assert all(len(b.plate_ids) == 1 for b in unplanned)
    assert {f"cam{i}" for i in range(1, 13)} <= {camera.camera_id for camera in layout.cameras}
    assert len(layout.notices) == 1
    for own in layout.bins:
        assert own.box is not None
        assert (own.box.corners_m[:, 2] > 0.2).all()


def test_the_published_recording_is_read(shared: Path) -> None:
    plates = read_site(shared / "nanostore" / "site").plates
    source = AutoCheckoutSource(shared / "nanostore" / "BENCHMARK-1", plates)
    assert source.duration_s == pytest.approx(19.49, abs=0.01)
    ticks = list(source)
    scales, bodies = scales_of(ticks), bodies_of(ticks)
    assert (len(scales), len(bodies)) == (344, 291)
    assert {samples.plate_id[0][0]: len(samples.plate_id) for samples in scales} == {"1": 72, "2": 54, "3": 60, "4": 54}
    assert {name for body in bodies for name in body.target_id} == {"3325379692103139202"}
    assert all(tick.scales[0].timestamp_ns[-1] <= tick.timestamp_ns for tick in ticks if tick.scales)
    assert {notice.code for notice in source.notices} == {"missing-plates"}
    # The wrists are in the store: two metres high at most.
    wrists_m = np.concatenate([body.joints_m[:, 6:] for body in bodies]).reshape(-1, 3)
    assert np.nanmin(wrists_m[:, 2]) > 0
    assert np.nanmax(wrists_m[:, 2]) < 2.2
