"""Small scripted shops for the tests: people and scales as ticks, without pixels."""

import base64
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cart.checkout import Checkout
from cart.payments import FakeGateway
from cart.pipeline import PipelineSettings, StorePipeline, catalogue_of
from cart.repository import Database
from store_sim.demo_shop import demo_layout
from tests.vision.test_detector import write_model, yolo_answer
from vision.arrays import FloatArray
from vision.detections import Detections
from vision.detector import COCO_CLASS_NAMES
from vision.frames import JOINT_NAMES, Frame, ScaleSamples, Tick, TrackedBodies
from vision.layout import StoreLayout

START_NS = 1_700_000_000_000_000_000
SECOND = 1_000_000_000
SCALE_HZ, BODY_HZ, BLOCK = 60, 15, 12
LAYOUT: StoreLayout = demo_layout()
SKUS = tuple(a_bin.sku or "" for a_bin in LAYOUT.bins)
MASSES_G = {product.sku: product.mass_g for product in LAYOUT.products}
PRICES = {product.sku: product.unit_price_minor for product in LAYOUT.products}


@dataclass(frozen=True)
class Touch:
    """A hand in a bin for two seconds around ``at_s``; ``delta_g`` leaves (below 0) or arrives at that moment."""

    shopper: str
    bin_id: str
    at_s: float
    delta_g: float = 0.0
    above_m: float = 0.0  # how far over the middle of the bin the hand is


def units_g(bin_id: str, units: int, layout: StoreLayout = LAYOUT) -> float:
    """What so many units of a bin's product weigh."""
    return units * MASSES_G[layout.bin(bin_id).sku or ""]


def play(
    touches: Sequence[Touch],
    end_s: float,
    absent: Sequence[tuple[str, float, float]] = (),
    shoppers: Sequence[str] | None = None,
    scales: bool = True,
    layout: StoreLayout = LAYOUT,
    seed: int = 3,
) -> list[Tick]:
    """Everybody stands in the middle of the shop from the start to the end, but for their touches and absences."""
    rng = np.random.default_rng(seed)
    names = list(dict.fromkeys([t.shopper for t in touches])) if shoppers is None else list(shoppers)
    blocks = _blocks(layout, touches, end_s, rng) if scales else []
    ticks = []
    for i in range(int(end_s * BODY_HZ)):
        now_s = i / BODY_HZ
        now_ns = START_NS + round(now_s * SECOND)
        here = [n for n in names if not any(n == who and a <= now_s < b for who, a, b in absent)]
        joints = [_joints(layout, name, names.index(name), now_s, touches, rng) for name in here]
        bodies = TrackedBodies(
            now_ns,
            tuple(here),
            np.stack(joints) if joints else np.zeros((0, len(JOINT_NAMES), 3)),
            np.full((len(here), len(JOINT_NAMES)), 0.9),
        )
        due = tuple(b for b in blocks if b.timestamp_ns[-1] <= now_ns)
        blocks = blocks[len(due) :]
        ticks.append(Tick(now_ns, scales=due, bodies=bodies))
    return ticks


def make_pipeline(
    layout: StoreLayout = LAYOUT,
    detector: "Oracle | None" = None,
    settings: PipelineSettings | None = None,
    without_account: Sequence[str] = (),
    gateway: FakeGateway | None = None,
    has_gates: bool = False,
) -> StorePipeline:
    """A store on a database in memory."""
    checkout = make_checkout(layout, gateway)
    return StorePipeline(
        layout,
        checkout,
        detector,
        settings,
        has_gates=has_gates,
        has_account=lambda name: name not in without_account,
    )


def make_checkout(layout: StoreLayout = LAYOUT, gateway: FakeGateway | None = None) -> Checkout:
    """A till for the layout's products, on a database in memory."""
    return Checkout(Database.in_memory(), catalogue_of(layout.products, "EUR"), gateway or FakeGateway())


class Oracle:
    """A detector that is told where people are: ``boxes`` gives (left, top, right, bottom) rows for a time in ns."""

    has_keypoints = False
    class_names = COCO_CLASS_NAMES

    def __init__(self, boxes: dict[int, FloatArray]) -> None:
        self._boxes = boxes

    def detect(self, frames: Sequence[Frame]) -> list[Detections]:
        """Say who is in each frame."""
        found = []
        for frame in frames:
            boxes = np.asarray(self._boxes.get(frame.timestamp_ns, np.zeros((0, 4))), np.float32).reshape(-1, 4)
            n = len(boxes)
            found.append(
                Detections(
                    frame.camera_id,
                    frame.timestamp_ns,
                    boxes,
                    np.full(n, 0.9, np.float32),
                    np.zeros(n, np.int64),
                    np.zeros((n, 0, 3), np.float32),
                )
            )
        return found


def _joints(
    layout: StoreLayout, name: str, place: int, now_s: float, touches: Sequence[Touch], rng: np.random.Generator
) -> FloatArray:
    stands = np.array([2.0 + place, 2.0])
    joints = np.full((len(JOINT_NAMES), 3), np.nan)
    joints[:4] = [[*stands, z] for z in (1.7, 1.6, 1.5, 1.5)]
    joints[6:8] = [*stands, 0.8]
    for touch in touches:
        box = layout.bin(touch.bin_id).box
        if touch.shopper == name and abs(now_s - touch.at_s) <= 1.0 and box is not None:
            joints[7] = box.centre_m + np.array([0, 0, touch.above_m])
    return joints + rng.normal(0, 0.005, joints.shape)


def _blocks(
    layout: StoreLayout, touches: Sequence[Touch], end_s: float, rng: np.random.Generator
) -> list[ScaleSamples]:
    times_ns = START_NS + (np.arange(int(end_s * SCALE_HZ)) * SECOND) // SCALE_HZ
    blocks = []
    for gondola in sorted({plate.gondola_id for plate in layout.plates}):
        names = tuple(plate.plate_id for plate in layout.plates if plate.gondola_id == gondola)
        grams = 3000 + rng.normal(0, 1.0, (len(times_ns), len(names)))
        for touch in touches:
            plate = layout.bin(touch.bin_id).plate_ids[0]
            if plate in names:
                grams[times_ns >= START_NS + round(touch.at_s * SECOND), names.index(plate)] += touch.delta_g
        for i in range(0, len(times_ns) - BLOCK + 1, BLOCK):
            rows = slice(i, i + BLOCK)
            blocks.append(ScaleSamples(times_ns[rows], names, grams[rows].astype(np.float32), float(SCALE_HZ)))
    return sorted(blocks, key=lambda block: int(block.timestamp_ns[-1]))


SITE_PRODUCTS = (("0012", "Tea", 300.0, 2.5), ("0029", "Jam", 520.0, 1.0), ("0036", "Oil", 950.0, 10000.0))
INCH_M = 0.0254


def write_site(folder: Path, products: Sequence[tuple[str, str, float, float | None]] = SITE_PRODUCTS) -> Path:
    """A site with one gondola of one shelf; two plates for each of three products, the first two for ``0012``."""
    folder.mkdir(parents=True)
    shelf_id = {"gondola_id": {"id": 1}, "shelf_index": 1}
    ids = [{"shelf_id": shelf_id, "plate_index": number} for number in range(1, 7)]
    gondola = {"id": {"id": 1}, "coordinates": _place(1.0, 3.0, 0.0)}
    shelf = {"id": shelf_id, "coordinates": _place(0.0, 0.0, 0.9) | {"dim_x": 1.2, "dim_y": 0.4, "dim_z": 0.3}}
    plates = [
        {"id": plate, "coordinates": _place(0.2 * i, 0.0, 0.0) | {"dim_x": 0.2, "dim_y": 0.4}}
        for i, plate in enumerate(ids)
    ]
    (folder / "Gondolas.json").write_text(json.dumps({"gondolas": [gondola]}))
    (folder / "Shelves.json").write_text(json.dumps({"shelves": [shelf]}))
    (folder / "Plates.json").write_text(json.dumps({"plates": plates}))
    (folder / "calibration.json").write_text(json.dumps({"cameras": {}}))
    rows = [
        {"plate_ids": ids[2 * i : 2 * i + 2], "planogram_product_id": {"id": sku}}
        for i, sku in enumerate(("0012", "0029", "0036"))
    ]
    _write_lines(folder / "planogram.jsonl", rows)
    sold = [
        {
            "product_id": {"id": sku},
            "metadata": {"name": name, "weight": mass_g} | ({} if price is None else {"price": price}),
        }
        for sku, name, mass_g, price in products
    ]
    _write_lines(folder / "products.jsonl", sold)
    return folder


def write_autocheckout(folder: Path, ticks: Iterable[Tick]) -> Path:
    """A recording in the AutoCheckout format of what these ticks hold."""
    folder.mkdir(parents=True)
    plates, targets = [], []
    for tick in ticks:
        for block in tick.scales:
            numbers = np.array([[int(part) for part in name.split("/")] for name in block.plate_id])
            grams = np.full((len(block.grams), *(numbers[:, 1:].max(axis=0) + 1)), np.nan, np.float32)
            grams[:, numbers[:, 1], numbers[:, 2]] = block.grams
            values = {"data": base64.b64encode(grams.tobytes()).decode(), "shape": list(grams.shape)}
            document = {"header": {}, "plate_data": {"freq_samp": block.rate_hz, "values": values}}
            time_s = int(block.timestamp_ns[-1]) / SECOND
            plates.append({"timestamp": time_s, "document": document, "gondola_id": int(numbers[0, 0])})
        if tick.bodies is not None:
            people = [
                {"target_id": {"id": name}} | {key: _joint(at) for key, at in zip(JOINT_KEYS, joints, strict=True)}
                for name, joints in zip(tick.bodies.target_id, tick.bodies.joints_m, strict=True)
            ]
            document = {"targets": {"targets": people}}
            targets.append({"timestamp": tick.timestamp_ns / SECOND, "document": document})
    _write_lines(folder / "plate_data.jsonl", plates)
    _write_lines(folder / "full_targets.jsonl", targets)
    return folder


def write_people_model(path: Path) -> Path:
    """Weights that see one person, in the middle of every picture."""
    return write_model(path, yolo_answer(80, [(5, (48, 32, 20, 50), 0, 0.9)]))


JOINT_KEYS = ("head", "neck", "l_shoulder", "r_shoulder", "l_elbow", "r_elbow", "l_wrist", "r_wrist")


def _joint(at_m: FloatArray) -> dict[str, object]:
    if np.isnan(at_m).any():
        return {}
    return {"point": dict(zip("xyz", (at_m / INCH_M).tolist(), strict=True)), "score": 0.9}


def _place(x: float, y: float, z: float) -> dict[str, object]:
    return {"transform": {"translation": {"x": x, "y": y, "z": z}, "rotation": {}}}


def _write_lines(path: Path, rows: Iterable[object]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
