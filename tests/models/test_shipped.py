"""What the shipped models are worth on a shop that they never learnt from: a floor under what the model card says."""

from functools import cache
from pathlib import Path

import pytest

from cart.eyes import weight_files
from models.evaluation import Scores, evaluate
from models.weights import MANIFEST
from store_sim.posed_pictures import PosedShelf, make_posed_shelf, read_posed_shelf
from vision.detector import load_detector
from vision.top_down import JointsOnCrops, TopDownDetector

MOST_BYTES = 25_000_000

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> PosedShelf:
    """Pictures of one shop."""
    file = tmp_path_factory.mktemp("shop") / "shop.npz"
    make_posed_shelf(file, 424_242, 30)
    return read_posed_shelf(file)


@cache
def ours(name: str) -> TopDownDetector:
    """The shipped models."""
    people, joints = weight_files([name])
    detector = load_detector(people, providers="cpu", threads=1, min_confidence=0.02)
    return TopDownDetector(detector, JointsOnCrops(joints, threads=1))


@pytest.fixture(scope="module", params=["tillfree", "tillfree-int8"])
def scores(request: pytest.FixtureRequest, shelf: PosedShelf) -> Scores:
    """What they are worth."""
    return evaluate(ours(str(request.param)), [shelf])


def test_people_of_a_shop_never_seen_are_found(scores: Scores) -> None:
    assert scores.people >= 60
    assert scores.ap50 > 0.8
    assert scores.precision > 0.75
    assert scores.recall > 0.7


def test_their_joints_are_where_they_are(scores: Scores) -> None:
    assert scores.joints.near > 0.7
    assert scores.wrists.median_share < 0.05
    assert scores.seen_f1 > 0.8
    assert scores.hidden_said_seen < 0.4


def test_hands_that_hold_something_are_told_from_empty_ones(scores: Scores) -> None:
    assert scores.held_f1 > 0.45


def test_shipped_files_are_small() -> None:
    assert sum(file.stat().st_size for file in Path(MANIFEST.parent / "shipped").iterdir()) < MOST_BYTES
