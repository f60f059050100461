"""Train the network that turns a crop of a product into an embedding; needs the ``train`` extra.

``python -m models.train_products --work FOLDER`` renders crops of thousands of invented products shop by shop, trains
on them by supervised contrast (Khosla et al., NeurIPS 2020) and writes ``products.onnx`` beside its checkpoint. A run
that was stopped goes on where it was. No product of these shops is used to fit the calibration or to measure.
"""

import argparse
import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from store_sim.product_pictures import ProductStudio, Setting, invented_shop
from vision.arrays import ImageArray, IntArray
from vision.products import INPUT_PX, letterboxed

_log = logging.getLogger(__name__)

TRAINING_SHOPS = range(1000, 1040)
"""Seeds of the shops that the network is trained on; those from 2000 fit its calibration, those from 3000 measure."""
SKUS_A_SHOP = 100
CROPS = {Setting.SHELF: 8, Setting.HAND: 10, Setting.ENROLMENT: 6}
EMBEDDING = 96
CHANNELS = (16, 32, 64, 96)  # some 5 million multiplications a crop: well under a millisecond on one core
TEMPERATURE = 0.08
SKUS_A_BATCH, CROPS_A_SKU = 36, 4
WARM_UP = 0.12  # of all steps
CHECKPOINT_EVERY, REPORT_EVERY = 100, 50


def _convolution(into: int, out: int, stride: int, size: int = 3) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(into, out, size, stride, size // 2, bias=False), nn.BatchNorm2d(out), nn.ReLU(inplace=True)
    )


class _Residual(nn.Module):
    """Two convolutions beside a short cut (He et al., CVPR 2016)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = _convolution(channels, channels, 1)
        self.second = nn.Sequential(nn.Conv2d(channels, channels, 3, 1, 1, bias=False), nn.BatchNorm2d(channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(x + self.second(self.first(x)))


class EmbeddingNetwork(nn.Module):
    """Crops in, unit vectors out.

    The last layer sees where in the crop a feature is: labels have an upper and a lower end.
    """

    def __init__(self) -> None:
        """Start with random weights."""
        super().__init__()
        first, second, third, fourth = CHANNELS
        self.features = nn.Sequential(
            _convolution(3, first, 2, 5),
            _convolution(first, second, 2),
            _Residual(second),
            _convolution(second, third, 2),
            _Residual(third),
            _convolution(third, fourth, 2),
            _convolution(fourth, 64, 1, 1),
        )
        self.embedding = nn.Linear(64 * (INPUT_PX // 16) ** 2, EMBEDDING)

    def forward(self, crops: torch.Tensor) -> torch.Tensor:
        """Embed crops, shape (n, 64, 64, 3), uint8 BGR: shape (n, 96), unit length."""
        x = crops.permute(0, 3, 1, 2).to(torch.float32) * (1 / 127.5) - 1.0
        x = self.embedding(torch.flatten(self.features(x), 1))
        return x / torch.sqrt(torch.sum(x * x, dim=1, keepdim=True) + 1e-9)


def rendered_crops(shop: int, folder: Path) -> Path:
    """Render the crops of a training shop, unless they are there already.

    Returns:
        An ``.npy`` file of shape (skus, crops, 64, 64, 3), uint8.
    """
    file = folder / f"shop-{shop}.npy"
    if file.is_file():
        return file
    studio = ProductStudio(invented_shop(shop, SKUS_A_SHOP))
    rng = np.random.default_rng([shop, 7])
    images = np.empty((SKUS_A_SHOP, sum(CROPS.values()), INPUT_PX, INPUT_PX, 3), np.uint8)
    for row in range(SKUS_A_SHOP):
        settings = [setting for setting, count in CROPS.items() for _ in range(count)]
        for place, setting in enumerate(settings):
            size_px = float(rng.uniform(70, 120)) if setting is Setting.ENROLMENT else None
            images[row, place] = letterboxed(studio.picture(row, setting, rng, size_px=size_px).image)
    part = file.with_suffix(".part.npy")
    np.save(part, images)
    part.replace(file)
    return file


def _batches(files: list[Path], step: int, seed: int) -> Iterator[tuple[ImageArray, IntArray]]:
    """Batches for ever: products of two shops, in runs of neighbours, so that a line's flavours meet."""
    shops = [np.load(file, mmap_mode="r") for file in files]
    while True:
        rng = np.random.default_rng([seed, step])
        step += 1
        rows = []
        for shop in rng.choice(len(shops), 2, replace=False).tolist():
            starts = rng.permutation(SKUS_A_SHOP // 6)[: SKUS_A_BATCH // 12] * 6
            rows += [(shop, int(start) + offset) for start in starts for offset in range(6)]
        images, labels = [], []
        for label, (shop, row) in enumerate(rows):
            # At least one as enrolled: that is what crops will be compared with.
            chosen = [int(rng.integers(18, 24)), *rng.choice(18, CROPS_A_SKU - 1, replace=False).tolist()]
            images.append(np.asarray(shops[shop][row][chosen]))
            labels += [label] * CROPS_A_SKU
        yield np.concatenate(images), np.array(labels)


def contrast_loss(embeddings: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Supervised contrastive loss, all positives outside of the logarithm (Khosla et al., equation 2)."""
    similar = embeddings @ embeddings.T / TEMPERATURE
    own = torch.eye(len(labels), dtype=torch.bool)
    similar = similar.masked_fill(own, -1e9)
    positive = (labels[:, None] == labels[None]) & ~own
    logarithm = similar - torch.logsumexp(similar, dim=1, keepdim=True)
    return -(logarithm * positive).sum(1).div(positive.sum(1)).mean()


def _perturbed(images: ImageArray, rng: np.random.Generator) -> ImageArray:
    """Cover a part of some crops, and make others brighter or darker, each colour for itself."""
    images = images.copy()
    size = images.shape[1]
    for image in images:
        draw = rng.random()
        if draw < 0.25:
            high, wide = rng.integers(size // 8, size // 2, 2)
            top, left = int(rng.integers(0, size - high)), int(rng.integers(0, size - wide))
            image[top : top + high, left : left + wide] = rng.integers(0, 256, 3)
        elif draw < 0.6:
            image[:] = np.clip(image * np.exp(rng.normal(0, 0.1) + rng.normal(0, 0.05, 3)), 0, 255)
    return images


def _rate(share: float) -> float:
    """Learning rate after a share of all steps, as a share of the highest."""
    if share < WARM_UP:
        return 0.05 + 0.95 * share / WARM_UP
    return 0.005 + 0.995 * (0.5 + 0.5 * float(np.cos(np.pi * (share - WARM_UP) / (1 - WARM_UP))))


def train(work: Path, steps: int, seed: int, learning_rate: float = 3e-3) -> EmbeddingNetwork:
    """Train on the crops in ``work/crops``; go on from ``work/checkpoint.pt`` if there is one.

    Args:
        work: Folder for all that the run writes; ``work/curve.csv`` gets step, seconds, loss and share of crops
            whose nearest other crop in the batch is of the same product.
        steps: Batches in all; a run may go on with another number than it began with.
        seed: Decides weights and batches.
        learning_rate: The highest; it rises, then falls as a cosine.
    """
    torch.manual_seed(seed)
    network = EmbeddingNetwork().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimiser = torch.optim.AdamW(network.parameters(), lr=learning_rate, weight_decay=0.02)
    checkpoint, step, spent_s = work / "checkpoint.pt", 0, 0.0
    if checkpoint.is_file():
        saved = torch.load(checkpoint, weights_only=True)
        network.load_state_dict(saved["network"])
        optimiser.load_state_dict(saved["optimiser"])
        step, spent_s = saved["step"], saved["spent_s"]
    network.train()
    started_s, losses, hits = time.monotonic() - spent_s, [], []
    files = sorted((work / "crops").glob("shop-????.npy"))
    batches = _batches(files, step, seed)
    while step < steps:
        images, labels = next(batches)
        for group in optimiser.param_groups:
            group["lr"] = learning_rate * _rate(step / steps)
        rng = np.random.default_rng([seed, step, 1])
        embeddings = network(torch.from_numpy(_perturbed(images, rng)))
        loss = contrast_loss(embeddings, torch.from_numpy(labels))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        step += 1
        with torch.no_grad():
            near = (embeddings @ embeddings.T).fill_diagonal_(-2).argmax(1)
            hits.append(float((labels[near.numpy()] == labels).mean()))
        losses.append(float(loss.detach()))
        if step % REPORT_EVERY == 0:
            line = f"{step},{time.monotonic() - started_s:.0f},{np.mean(losses):.4f},{np.mean(hits):.4f}"
            _log.info("step,seconds,loss,top-1 %s", line)
            with (work / "curve.csv").open("a") as curve:
                curve.write(line + "\n")
            losses, hits = [], []
        if step % CHECKPOINT_EVERY == 0 or step == steps:
            state: dict[str, Any] = {
                "network": network.state_dict(),
                "optimiser": optimiser.state_dict(),
                "step": step,
                "spent_s": time.monotonic() - started_s,
            }
            part = checkpoint.with_suffix(".part")
            torch.save(state, part)
            part.replace(checkpoint)
            # The renderer may still be at work beside: take in what it has finished.
            now = sorted((work / "crops").glob("shop-????.npy"))
            if len(now) > len(files):
                files, batches = now, _batches(now, step, seed)
    return network.eval()


def export(network: EmbeddingNetwork, file: Path) -> None:
    """Write a network as ONNX, input ``crops`` uint8 (n, 64, 64, 3) BGR, output ``embeddings`` (n, 96)."""
    torch.onnx.export(
        network.eval(),
        (torch.zeros((2, INPUT_PX, INPUT_PX, 3), dtype=torch.uint8),),
        str(file),
        input_names=["crops"],
        output_names=["embeddings"],
        dynamic_axes={"crops": {0: "n"}, "embeddings": {0: "n"}},
        opset_version=17,
        dynamo=False,
    )


def main() -> None:
    """Render, train and export as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="folder for crops, checkpoint, curve and model")
    parser.add_argument("--steps", type=int, default=3000, help="batches in all")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only-render", action="store_true", help="render the crops and stop")
    parser.add_argument("--least-shops", type=int, default=len(TRAINING_SHOPS), help="begin with so many rendered")
    words = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    crops = words.work / "crops"
    crops.mkdir(parents=True, exist_ok=True)
    for shop in TRAINING_SHOPS[: None if words.only_render else words.least_shops]:
        _log.info("%s", rendered_crops(shop, crops))
    if words.only_render:
        return
    torch.set_num_threads(words.threads)
    export(train(words.work, words.steps, words.seed), words.work / "products.onnx")


if __name__ == "__main__":
    main()
