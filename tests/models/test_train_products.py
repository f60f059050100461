"""Parts of the training of ``tillfree-products``. Needs the extra train."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from models import train_products
from models.evaluate_products import network as exported
from models.train_products import (
    DISGUISES,
    EmbeddingNetwork,
    begin_like,
    disguised,
    export,
    match_loss,
    perturbed,
    train,
)
from vision.arrays import ImageArray
from vision.products import INPUT_PX

pytestmark = pytest.mark.slow


def crops(count: int, seed: int = 0) -> ImageArray:
    """Soft patches of colour, shape (n, 64, 64, 3), uint8."""
    coarse = np.random.default_rng(seed).integers(0, 256, (count, 8, 8, 3), np.uint8)
    return np.asarray(coarse.repeat(INPUT_PX // 8, axis=1).repeat(INPUT_PX // 8, axis=2))


def a_network(seed: int = 0) -> EmbeddingNetwork:
    """One whose blocks do something, and whose statistics are those of some crops."""
    torch.manual_seed(seed)
    torch.set_num_threads(1)
    network = EmbeddingNetwork()
    for part in network.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(part.weight, 0.5, 1.5)
            torch.nn.init.uniform_(part.bias, -0.5, 0.5)
    network(torch.from_numpy(crops(32)))
    network.eval()
    return network


def test_a_network_that_begins_like_an_exported_one_says_the_same(tmp_path: Path) -> None:
    file, images = tmp_path / "first.onnx", crops(20, 1)
    export(a_network(), file)
    network = EmbeddingNetwork()
    begin_like(network, file, images)
    with torch.no_grad():
        before = network.eval()(torch.from_numpy(images)).numpy()
        while_learning = network.train()(torch.from_numpy(images)).numpy()
    assert np.allclose(before, exported(file.read_bytes())(images), atol=1e-4)
    assert np.allclose(while_learning, before, atol=1e-3)


def test_lines_are_disguised_in_as_many_ways() -> None:
    image = np.random.default_rng(0).integers(0, 256, (4, 4, 3), np.uint8)
    ways = [disguised(image, way) for way in range(DISGUISES)]
    assert np.array_equal(ways[0], image)
    assert len({way.tobytes() for way in ways}) == DISGUISES
    assert np.array_equal(disguised(ways[1], 1), image)


def test_crops_are_drawn_to_enrolled_pictures_of_their_product_whichever() -> None:
    axes = torch.eye(4)
    enrolled, product = axes[:4], torch.tensor([0, 0, 1, 1, 0])

    def loss(query: int) -> float:
        return float(match_loss(torch.cat([enrolled, axes[query : query + 1]]), product, 4))

    assert loss(0) == pytest.approx(loss(1))
    assert loss(0) < 0.01
    assert loss(2) > 10


def test_enrolled_pictures_are_changed_less_than_queries() -> None:
    images = crops(40)
    change = (perturbed(images, 20, np.random.default_rng(3)).permute(0, 2, 3, 1).numpy() - images).std(axis=(1, 2, 3))
    assert change[:20].mean() < 0.6 * change[20:].mean()
    again = perturbed(images, 20, np.random.default_rng(3))
    assert torch.equal(again, perturbed(images, 20, np.random.default_rng(3)))


def test_a_training_that_was_stopped_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train_products, "SKUS_A_SHOP", 12)
    monkeypatch.setattr(train_products, "REPORT_EVERY", 1)
    torch.set_num_threads(1)
    (tmp_path / "crops").mkdir()
    np.save(tmp_path / "crops" / "shop-1000.npy", crops(12 * 16).reshape(12, 16, INPUT_PX, INPUT_PX, 3))
    train(tmp_path, 1, seed=1)
    train(tmp_path, 2, seed=1)
    lines = (tmp_path / "curve.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in lines] == ["1", "2"]
    assert torch.load(tmp_path / "checkpoint.pt", weights_only=True)["step"] == 2
