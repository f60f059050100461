"""A whole training of a few steps: pictures, both networks, export, eight bits, measuring. Needs the extra train."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

import onnx
import torch

from models import train
from models.train_loop import Schedule, learn
from models.train_networks import JointsNetwork, expected_place, people_loss
from models.train_pictures import (
    HEAT_STRIDE,
    JOINTS_WH,
    PEOPLE_STRIDES,
    PictureStore,
    joints_batches,
    people_batches,
    people_targets,
)
from models.weights import MANIFEST, list_models, resolve_weights
from vision.detector import load_detector
from vision.frames import Frame
from vision.top_down import JointsOnCrops, TopDownDetector, is_joints

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with everything that the quick recipe makes."""
    folder = tmp_path_factory.mktemp("training")
    torch.set_num_threads(1)
    train.make_pictures(train.QUICK, folder, 1)
    train.train_people(train.QUICK, folder)
    train.train_joints(train.QUICK, folder)
    train.export(train.QUICK, folder)
    train.quantise_people(folder)
    return folder


def test_the_quick_recipe_makes_models_that_run(work: Path) -> None:
    picture = Frame("c", 0, 0, np.full((360, 640, 3), 90, np.uint8))
    joints = work / "shipped" / "joints.onnx"
    assert is_joints(joints)
    for name in ("people", "people-int8"):
        people = load_detector(work / "shipped" / f"{name}.onnx", providers="cpu", threads=1, min_confidence=0.0)
        (seen,) = TopDownDetector(people, JointsOnCrops(joints, threads=1), min_person=0.0).detect([picture])
        assert people.class_names[0] == "person"
        assert np.isfinite(seen.people().keypoints).all()


def test_files_say_what_their_readers_must_know(work: Path) -> None:
    notes = {note.key: note.value for note in onnx.load(str(work / "shipped" / "people-int8.onnx")).metadata_props}
    assert notes["names"] == "{0: 'person'}"
    assert notes["channel_order"] == "BGR"


def test_eight_bits_answer_nearly_as_float(work: Path) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (360, 640, 3), dtype=np.uint8)
    boxes = []
    for name in ("people", "people-int8"):
        people = load_detector(
            work / "shipped" / f"{name}.onnx", providers="cpu", threads=1, nms_iou=1.0, min_confidence=0
        )
        boxes.append(people.detect([Frame("c", 0, 0, picture)])[0].confidence.max())
    assert boxes[0] == pytest.approx(boxes[1], abs=0.02)


def test_the_quick_recipe_is_measured(work: Path) -> None:
    train.measure(work)
    scores = json.loads((work / "scores.json").read_text())
    assert set(scores) == {"people", "people-int8"}
    assert scores["people"]["pictures"] == train.QUICK.val_pictures


def test_shipped_models_are_known_to_the_manifest(work: Path, tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_bytes(MANIFEST.read_bytes())
    train.ship(work, tmp_path)
    before, after = list_models(), list_models(tmp_path / "manifest.json")
    assert [entry.name for entry in before] == [entry.name for entry in after]
    for name in train.SHIPPED:
        file = resolve_weights(name, tmp_path, manifest=tmp_path / "manifest.json")
        assert file.parent == tmp_path / "shipped"


def test_a_training_that_is_over_is_not_done_again(work: Path) -> None:
    before = (work / "joints" / "checkpoint.pt").stat().st_mtime_ns
    train.train_joints(train.QUICK, work)
    assert (work / "joints" / "checkpoint.pt").stat().st_mtime_ns == before


class _BrokenOffError(Exception):
    pass


def test_a_training_goes_on_where_it_was_broken_off(tmp_path: Path) -> None:
    def batches(step: int) -> Iterator[torch.Tensor]:
        while True:
            yield torch.full((2, 3), float(step % 5))
            step += 1

    def weights(folder: Path, breaks_at: int | None) -> torch.Tensor:
        torch.manual_seed(0)
        network = torch.nn.Linear(3, 1)

        def tell(done: int, total: int, line: str) -> None:
            if done == breaks_at:
                raise _BrokenOffError

        schedule = Schedule(6, warm_up=2, note_every=1, keep_every=2)
        learn(network, batches, lambda net, batch: {"loss": net(batch).square().mean()}, schedule, folder, tell)
        return torch.cat([p.detach().flatten() for p in network.parameters()])

    straight = weights(tmp_path / "a", None)
    with pytest.raises(_BrokenOffError):
        weights(tmp_path / "b", 5)
    assert torch.equal(straight, weights(tmp_path / "b", None))


def test_rates_warm_up_and_fall() -> None:
    schedule = Schedule(1000, rate=1.0, warm_up=10, last_rate=0.0)
    assert (schedule.rate_at(0), schedule.rate_at(9)) == (0.1, 1.0)
    assert schedule.rate_at(505) == pytest.approx(0.5)
    assert schedule.rate_at(999) < 1e-4


def test_cells_near_the_middle_answer_for_a_person() -> None:
    box = np.array([[40.0, 30, 72, 90]])
    kind, sides = people_targets(box, np.zeros(1), (160, 96))
    cells = np.flatnonzero(kind == 1)
    assert len(cells) >= 4
    first = 0
    for stride in PEOPLE_STRIDES:
        columns, count = 160 // stride, (160 // stride) * (96 // stride)
        for cell in cells[(cells >= first) & (cells < first + count)] - first:
            x, y = (cell % columns + 0.5) * stride, (cell // columns + 0.5) * stride
            left, top, right, bottom = sides[first + cell]
            assert [x - left, y - top, x + right, y + bottom] == box[0].tolist()
        first += count


def test_hidden_people_are_not_judged() -> None:
    kind, _ = people_targets(np.array([[40.0, 30, 72, 90]]), np.ones(1), (160, 96))
    assert (kind == -1).any()
    assert not (kind == 1).any()


def test_true_boxes_and_scores_cost_nothing() -> None:
    kind, sides = people_targets(np.array([[40.0, 30, 72, 90]]), np.zeros(1), (160, 96))
    sure = torch.from_numpy(np.where(kind == 1, 30.0, -30.0).astype(np.float32))[None]
    score, box = people_loss(
        sure, torch.from_numpy(sides)[None], torch.from_numpy(kind)[None], torch.from_numpy(sides)[None]
    )
    assert float(score) == pytest.approx(0, abs=1e-6)
    assert float(box) == pytest.approx(0, abs=1e-6)


def test_batches_are_equal_for_equal_seeds(work: Path) -> None:
    store = PictureStore(work / "train")
    first, again = (next(people_batches(store, 3, (96, 64), (0.2, 0.4), np.random.default_rng(4))) for _ in range(2))
    assert np.array_equal(first.images, again.images)
    assert np.array_equal(first.sides_px, again.sides_px)
    people = next(joints_batches(store, 3, np.random.default_rng(4)))
    assert people.images.shape == (3, JOINTS_WH[1], JOINTS_WH[0], 3)
    inside = people.keypoints[people.keypoints[..., 2] > 0][:, :2]
    assert ((inside >= 0) & (inside < JOINTS_WH)).all()


def test_a_sure_joint_is_in_the_middle_of_its_cell() -> None:
    heat = torch.full((1, 2, 40 * 32), 0.0)
    heat[0, :, 5 * 32 + 7] = 1.0
    place = expected_place(heat)
    assert place[0, 0].tolist() == [7.5 * HEAT_STRIDE, 5.5 * HEAT_STRIDE]


def test_joints_are_found_in_any_number_of_people() -> None:
    network = JointsNetwork().eval()
    with torch.no_grad():
        heat, seen, holding, box = network(torch.zeros(2, JOINTS_WH[1], JOINTS_WH[0], 3, dtype=torch.uint8))
    assert heat.shape == (2, 17, 40, 32)
    assert seen.shape == (2, 17)
    assert holding.shape == (2, 2)
    assert box.shape == (2, 2, 4)
