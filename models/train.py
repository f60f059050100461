"""The whole recipe of our own networks: data set, training, export, eight bits, measuring; ``python -m models.train``.

Everything follows from the seeds here. Stages are files: what is there already is not made again, and a training that
was broken off goes on from its last checkpoint.
"""

import argparse
import hashlib
import json
import logging
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from models.evaluation import evaluate
from models.train_export import PEOPLE_WH, export_joints, export_people, quantise
from models.train_loop import Schedule, learn
from models.train_networks import JointsNetwork, PeopleNetwork, joints_loss, people_loss
from models.train_pictures import JointsBatch, PeopleBatch, PictureStore, joints_batches, people_batches
from store_sim.posed_pictures import make_posed_dataset, read_posed_shelf
from vision.arrays import ImageArray
from vision.detector import Letterbox, load_detector
from vision.top_down import JointsOnCrops, TopDownDetector

_log = logging.getLogger(__name__)

TRAIN_SEED, VAL_SEED = 1, 2
"""Seeds of the shops that are learnt from, and of those that are only measured on."""


CALIBRATION_SHOPS, CALIBRATION_PICTURES = 16, 6
"""Pictures from which the eight-bit ranges are learnt: so many shops, so many of each."""


SHIPPED = {
    "tillfree-people": (
        "people.onnx",
        "people; our own, trained on rendered shops",
        "1x384x640x3 BGR uint8",
        "yolo",
    ),
    "tillfree-people-int8": (
        "people-int8.onnx",
        "tillfree-people in eight bits, faster in OpenVINO",
        "1x384x640x3 BGR uint8",
        "yolo",
    ),
    "tillfree-joints": (
        "joints.onnx",
        "17 key-points of a person that a detector found, and what the hands hold; our own",
        "nx160x128x3 BGR uint8, person crops",
        "joints",
    ),
}
"""What is shipped: file, what the manifest says of it, its input, its kind."""


@dataclass(frozen=True, slots=True)
class Stage:
    """A part of the detector's training at one size.

    Attributes:
        size_wh: Size of the cut-outs, pixels.
        scales: Least and most that pictures are grown.
        batch: Cut-outs a step.
        schedule: Its length and rates.
    """

    size_wh: tuple[int, int]
    scales: tuple[float, float]
    batch: int
    schedule: Schedule


@dataclass(frozen=True, slots=True)
class Recipe:
    """All numbers of the training.

    Attributes:
        train_shops: Random shops to learn from.
        val_shops: Random shops to measure on.
        pictures: Pictures of each shop to learn from.
        val_pictures: Pictures of each shop to measure on.
        people: The detector's stages: small cut-outs first, whole pictures last.
        joints: The schedule of the network on single people.
        joints_batch: People a step.
        seed: Of weights and order.
    """

    train_shops: int
    val_shops: int
    pictures: int
    val_pictures: int
    people: tuple[Stage, ...]
    joints: Schedule
    joints_batch: int
    seed: int = 0


FULL = Recipe(
    train_shops=80,
    val_shops=12,
    pictures=64,
    val_pictures=40,
    people=(
        Stage((320, 192), (0.45, 1.15), 24, Schedule(4200)),
        Stage((640, 384), (0.75, 1.25), 8, Schedule(2800, rate=6e-4, warm_up=100)),
    ),
    joints=Schedule(9200),
    joints_batch=32,
)
QUICK = Recipe(
    train_shops=1,
    val_shops=1,
    pictures=4,
    val_pictures=3,
    people=(
        Stage((128, 96), (0.25, 0.5), 2, Schedule(2, note_every=1, keep_every=1)),
        Stage((160, 96), (0.25, 0.5), 1, Schedule(1, note_every=1, keep_every=1)),
    ),
    joints=Schedule(2, note_every=1, keep_every=1),
    joints_batch=2,
)


def make_pictures(recipe: Recipe, work: Path, processes: int) -> None:
    """Render the shops to learn from and to measure on into ``work/train`` and ``work/val``."""
    make_posed_dataset(work / "train", recipe.train_shops, TRAIN_SEED, count=recipe.pictures, processes=processes)
    make_posed_dataset(work / "val", recipe.val_shops, VAL_SEED, count=recipe.val_pictures, processes=processes)


def train_people(recipe: Recipe, work: Path) -> PeopleNetwork:
    """Train the detector on ``work/train``; checkpoints and curves go to ``work/people-0`` and so on."""
    torch.manual_seed(recipe.seed)
    network = PeopleNetwork()
    store = PictureStore(work / "train", work / "train.npy")
    for number, stage in enumerate(recipe.people):

        def batches(step: int, stage: Stage = stage, number: int = number) -> Iterator[PeopleBatch]:
            rng = np.random.default_rng([recipe.seed, 3, number, step])
            return people_batches(store, stage.batch, stage.size_wh, stage.scales, rng)

        averaged = learn(network, batches, _people_losses, stage.schedule, work / f"people-{number}", _tell)
        assert isinstance(averaged, PeopleNetwork)
        network = averaged
    return network


def _people_losses(network: nn.Module, batch: PeopleBatch) -> dict[str, Tensor]:
    score, sides = network(torch.from_numpy(batch.images))
    with torch.autocast("cpu", enabled=False):
        scores, boxes = people_loss(score, sides, torch.from_numpy(batch.kind), torch.from_numpy(batch.sides_px))
    return {"score": scores, "box": 2 * boxes}


def train_joints(recipe: Recipe, work: Path) -> JointsNetwork:
    """Train the network on single people of ``work/train``; checkpoints and the curve go to ``work/joints``."""
    torch.manual_seed(recipe.seed)
    network = JointsNetwork()
    store = PictureStore(work / "train", work / "train.npy")

    def batches(step: int) -> Iterator[JointsBatch]:
        return joints_batches(store, recipe.joints_batch, np.random.default_rng([recipe.seed, 4, step]))

    averaged = learn(network, batches, _joints_losses, recipe.joints, work / "joints", _tell)
    assert isinstance(averaged, JointsNetwork)
    return averaged


def _joints_losses(network: nn.Module, batch: JointsBatch) -> dict[str, Tensor]:
    found = network(torch.from_numpy(batch.images))
    with torch.autocast("cpu", enabled=False):
        place, seen, holding, box = joints_loss(
            found,
            torch.from_numpy(batch.keypoints),
            torch.from_numpy(batch.holds),
            torch.from_numpy(np.nan_to_num(batch.held_xyxy)),
        )
    return {"place": place, "seen": seen, "holding": 0.5 * holding, "held": 0.5 * box}


def export(recipe: Recipe, work: Path) -> None:
    """Write the averaged weights of the last checkpoints as ONNX files into ``work/shipped``.

    Raises:
        OSError: There is no checkpoint yet.
    """
    shipped = work / "shipped"
    shipped.mkdir(parents=True, exist_ok=True)
    people, joints = PeopleNetwork(), JointsNetwork()
    stages = [work / f"people-{number}" / "averaged.pt" for number in range(len(recipe.people))]
    last = [file for file in stages if file.exists()] or stages[:1]
    people.load_state_dict(torch.load(last[-1], weights_only=True))
    joints.load_state_dict(torch.load(work / "joints" / "averaged.pt", weights_only=True))
    export_people(people, shipped / "people.onnx")
    export_joints(joints, shipped / "joints.onnx")


def quantise_people(work: Path) -> None:
    """Write the detector in eight bits, its ranges learnt from pictures of ``work/train``."""
    files = sorted((work / "train").glob("shop*.npz"))
    pictures: list[ImageArray] = []
    for file in files[:: max(1, len(files) // CALIBRATION_SHOPS)]:
        shelf = read_posed_shelf(file)
        for row in range(0, len(shelf), max(1, len(shelf) // CALIBRATION_PICTURES)):
            image = shelf.image(row)
            box = Letterbox.fit((image.shape[1], image.shape[0]), PEOPLE_WH, centred=True)
            pictures.append(box.applied(image))
    shipped = work / "shipped"
    quantise(shipped / "people.onnx", shipped / "people-int8.onnx", pictures)


def measure(work: Path) -> None:
    """Measure the files in ``work/shipped`` on the shops of ``work/val``, which nothing was learnt from."""
    shelves = [read_posed_shelf(file) for file in sorted((work / "val").glob("shop*.npz"))]
    joints = JointsOnCrops(work / "shipped" / "joints.onnx", threads=1)
    scores = {}
    for name in ("people", "people-int8"):
        people = load_detector(work / "shipped" / f"{name}.onnx", providers="cpu", threads=1, min_confidence=0.02)
        scores[name] = asdict(evaluate(TopDownDetector(people, joints), shelves))
        _log.info("%s: %s", name, json.dumps(scores[name]))
    (work / "scores.json").write_text(json.dumps(scores, indent=1) + "\n")


def ship(work: Path, models: Path = Path(__file__).parent) -> None:
    """Take the files in ``work/shipped`` into the project, and their checksums into the manifest.

    Raises:
        OSError: A file is missing or cannot be written.
    """
    manifest = models / "manifest.json"
    document = json.loads(manifest.read_text())
    rows = {row["name"]: row for row in document["models"]}
    (models / "shipped").mkdir(exist_ok=True)
    for name, (file_name, about, input_text, head) in SHIPPED.items():
        content = (work / "shipped" / file_name).read_bytes()
        (models / "shipped" / file_name).write_bytes(content)
        rows[name] = {
            "name": name,
            "about": about,
            "shipped": file_name,
            "sha256": hashlib.sha256(content).hexdigest(),
            "size_bytes": len(content),
            "licence": "AGPL-3.0-or-later",
            "input": input_text,
            "head": head,
            "made_by": "make train",
        }
    document["models"] = list(rows.values())
    manifest.write_text(json.dumps(document, indent=2) + "\n")


def _tell(done: int, total: int, line: str) -> None:
    _log.info("%d of %d: %s", done, total, line)


STAGES = ("pictures", "people", "joints", "export", "quantise", "measure", "ship")


def main() -> None:
    """Run stages of the recipe."""
    parser = argparse.ArgumentParser(prog="python -m models.train", description=__doc__)
    parser.add_argument("stages", nargs="+", choices=STAGES)
    parser.add_argument("--work", type=Path, default=Path("training"), help="folder for everything in between")
    parser.add_argument("--quick", action="store_true", help="a few steps of everything, to see that it works")
    parser.add_argument("--processes", type=int, default=2, help="shops that are rendered at a time")
    parser.add_argument("--threads", type=int, default=1, help="threads of the training")
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(given.threads)
    recipe = QUICK if given.quick else FULL
    if "pictures" in given.stages:
        make_pictures(recipe, given.work, given.processes)
    if "people" in given.stages:
        train_people(recipe, given.work)
    if "joints" in given.stages:
        train_joints(recipe, given.work)
    if "export" in given.stages:
        export(recipe, given.work)
    if "quantise" in given.stages:
        quantise_people(given.work)
    if "measure" in given.stages:
        measure(given.work)
    if "ship" in given.stages and not given.quick:  # nobody wants models that have learnt for a few steps
        ship(given.work)


if __name__ == "__main__":
    main()
