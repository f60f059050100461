"""Train the network that turns a crop of a product into an embedding; needs the ``train`` extra.

``python -m models.train_products --work FOLDER`` renders crops of thousands of invented products shop by shop, trains
on them and writes ``products.onnx`` beside its checkpoint. A run that was stopped goes on where it was. No product of
these shops is used to fit the calibration or to measure.

Crops of shelves and hands are to find the enrolled pictures of their product among those of the batch, most of which
show other goods of the same line. To have more designs than were rendered, whole lines are shown in a mirror or with
their colour channels exchanged, as products of their own.
"""

import argparse
import logging
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from store_sim.goods import LOOKALIKE
from store_sim.product_pictures import ENROL_VIEWS, ProductStudio, Setting, invented_shop
from vision.arrays import ImageArray, IntArray
from vision.products import INPUT_PX, PADDING, letterboxed

_log = logging.getLogger(__name__)

TRAINING_SHOPS = range(1000, 1040)
"""Seeds of the shops that the network is trained on; those from 2000 fit its calibration, those from 3000 measure."""
SKUS_A_SHOP = 100
QUERIES = (Setting.SHELF,) * 3 + (Setting.HAND,) * 7
"""Crops of each product beside those that are enrolled, which come first: one from each of ``ENROL_VIEWS``."""
QUERY_PX, ENROLLED_PX = (24.0, 104.0), (66.0, 96.0)  # larger ones look alike once they are letterboxed
FACES, OTHERS = (0, 1, 2, 4), (3, 5)  # of ENROL_VIEWS, those that see a front and the rest
EMBEDDING = 96
CHANNELS = (16, 32, 64, 96)  # some 17 million multiplications a crop: half a millisecond on one core
TEMPERATURE = 0.06
LINE, LINES_A_BATCH, QUERIES_A_SKU = 6, 6, 4
LEARNING_RATE = 1.2e-3
DISGUISES = 6  # as it is or in a mirror, with its colour channels in one of three orders
UNDISGUISED = 0.6  # of all lines
WARM_UP = 0.06  # of all steps
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
        nn.init.zeros_(self.second[1].weight)  # begins as nothing but the short cut (Goyal et al., 2017)

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
            _Residual(fourth),
            _convolution(fourth, third, 1, 1),
        )
        self.embedding = nn.Linear(third * (INPUT_PX // 16) ** 2, EMBEDDING)

    def forward(self, crops: torch.Tensor) -> torch.Tensor:
        """Embed crops, shape (n, 64, 64, 3), uint8 BGR: shape (n, 96), unit length."""
        return self.embedded(crops.permute(0, 3, 1, 2).to(torch.float32))

    def embedded(self, x: torch.Tensor) -> torch.Tensor:
        """Embed crops that are floats of 0 to 255 already, shape (n, 3, 64, 64)."""
        x = self.embedding(torch.flatten(self.features(x * (1 / 127.5) - 1.0), 1))
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
    count = len(ENROL_VIEWS) + len(QUERIES)
    images = np.empty((SKUS_A_SHOP, count, INPUT_PX, INPUT_PX, 3), np.uint8)
    for row in range(SKUS_A_SHOP):
        for place in range(count):
            if place < len(ENROL_VIEWS):
                jitter = rng.normal(0, (6, 4))
                view = (ENROL_VIEWS[place][0] + float(jitter[0]), ENROL_VIEWS[place][1] + float(jitter[1]))
                size_px = float(rng.uniform(*ENROLLED_PX))
                picture = studio.picture(row, Setting.ENROLMENT, rng, size_px=size_px, view_deg=view)
            else:
                size_px = float(np.exp(rng.uniform(*np.log(QUERY_PX))))
                picture = studio.picture(row, QUERIES[place - len(ENROL_VIEWS)], rng, size_px=size_px)
            images[row, place] = letterboxed(picture.image)
    part = file.with_suffix(".part.npy")
    np.save(part, images)
    part.replace(file)
    return file


@dataclass(frozen=True, slots=True)
class _Shelves:
    """All training crops.

    Attributes:
        images: Of each shop, shape (skus, crops, 64, 64, 3), uint8, read when they are needed.
        product: Number of each product, shape (shops, skus); products that differ in their bar code only share one.
    """

    images: list[ImageArray]
    product: IntArray

    @classmethod
    def read(cls, folder: Path) -> "_Shelves":
        files = sorted(folder.glob("shop-????.npy"))
        number: dict[tuple[str, str], int] = {}
        product = np.zeros((len(files), SKUS_A_SHOP), int)
        for row, file in enumerate(files):
            for column, printed in enumerate(invented_shop(int(file.stem[-4:]), SKUS_A_SHOP)):
                name = file.stem, printed.record.name.removesuffix(LOOKALIKE)
                product[row, column] = number.setdefault(name, len(number))
        return cls([np.load(file, mmap_mode="r") for file in files], product)

    def batches(self, step: int, seed: int) -> Iterator[tuple[ImageArray, IntArray]]:
        """Batches for ever: products of several shops, in runs of neighbours, so that a line's flavours meet.

        Yields:
            Images, first two enrolled ones of each product, then its queries; the numbers of their products, which
            are others for each disguise.
        """
        enrolled = len(ENROL_VIEWS)
        chances = [UNDISGUISED, *[(1 - UNDISGUISED) / (DISGUISES - 1)] * (DISGUISES - 1)]
        while True:
            rng = np.random.default_rng([seed, step])
            step += 1
            first: list[tuple[int, int, int, int]] = []
            queries: list[tuple[int, int, int, int]] = []
            for shop in rng.integers(0, len(self.images), LINES_A_BATCH).tolist():
                start, disguise = int(rng.integers(0, SKUS_A_SHOP - LINE + 1)), int(rng.choice(DISGUISES, p=chances))
                for sku in range(start, start + LINE):
                    first += [(shop, sku, int(rng.choice(views)), disguise) for views in (FACES, OTHERS)]
                    picked = enrolled + rng.choice(len(QUERIES), QUERIES_A_SKU, replace=False)
                    queries += [(shop, sku, int(crop), disguise) for crop in picked]
            crops = first + queries
            images = np.stack([disguised(self.images[shop][sku, crop], how) for shop, sku, crop, how in crops])
            yield images, np.array([self.product[shop, sku] * DISGUISES + how for shop, sku, _, how in crops])


def disguised(image: ImageArray, disguise: int) -> ImageArray:
    """Mirror a picture, shape (h, w, 3), exchange its colours, or both; 0 leaves it as it is."""
    image = np.roll(image, disguise // 2, axis=2)
    return image[:, ::-1] if disguise % 2 else image


def match_loss(embeddings: torch.Tensor, product: torch.Tensor, enrolled: int) -> torch.Tensor:
    """How unlikely it is that crops find an enrolled picture of their product, whichever, among all.

    Args:
        embeddings: Shape (n, d), unit length.
        product: Number of each crop's product, shape (n,).
        enrolled: So many at the beginning are enrolled pictures, the others are queries.
    """
    similar = embeddings[enrolled:] @ embeddings[:enrolled].T / TEMPERATURE
    own = similar.masked_fill(product[enrolled:, None] != product[None, :enrolled], -1e9)
    return (torch.logsumexp(similar, 1) - torch.logsumexp(own, 1)).mean()


def perturbed(images: ImageArray, enrolled: int, rng: np.random.Generator) -> torch.Tensor:
    """Turn, move, light, blur and cover crops anew, so that each can be shown many times.

    Args:
        images: Shape (n, 64, 64, 3), uint8.
        enrolled: So many at the beginning were taken with care, and are changed little.
        rng: Decides all.

    Returns:
        Shape (n, 3, 64, 64), float32, 0 to 255.
    """
    count, size = len(images), images.shape[1]
    hard = (np.arange(count) >= enrolled).astype(float)
    x = torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2))).to(torch.float32) - PADDING
    turn = np.radians(rng.normal(0, 1 + 7 * hard))
    zoom = np.exp(rng.normal(0, 0.02 + 0.05 * hard))
    matrix = np.stack(
        [
            np.stack([zoom * np.cos(turn), -zoom * np.sin(turn), rng.normal(0, 0.02 + 0.05 * hard)], 1),
            np.stack([zoom * np.sin(turn), zoom * np.cos(turn), rng.normal(0, 0.02 + 0.05 * hard)], 1),
        ],
        1,
    )
    grid = nn.functional.affine_grid(torch.from_numpy(matrix).to(torch.float32), list(x.shape), align_corners=False)
    x = nn.functional.grid_sample(x, grid, align_corners=False) + PADDING
    coarse = enrolled + np.flatnonzero(rng.random(count - enrolled) < 0.1)
    if len(coarse):
        shrunk = nn.functional.interpolate(x[coarse], size=int(rng.integers(20, 48)), mode="area")
        x[coarse] = nn.functional.interpolate(shrunk, size=size, mode="bilinear", align_corners=False)
    for row in enrolled + np.flatnonzero(rng.random(count - enrolled) < 0.15):
        high, wide = (int(length) for length in rng.integers(size // 8, size // 2, 2))
        top, left = int(rng.integers(0, size - high)), int(rng.integers(0, size - wide))
        colour: IntArray = rng.integers(0, 256, 3) if rng.random() < 0.5 else np.sort(rng.integers(50, 220, 3))
        x[row, :, top : top + high, left : left + wide] = torch.from_numpy(colour).to(torch.float32)[:, None, None]
    tint = rng.normal(0, 1, (count, 3)) * (0.01 + 0.03 * hard)[:, None]
    gain = np.exp(rng.normal(0, 0.04 + 0.1 * hard)[:, None] + tint)
    x = x * torch.from_numpy(gain).to(torch.float32)[..., None, None]
    return torch.clamp(x, 0, 255).contiguous(memory_format=torch.channels_last)


def _rate(share: float) -> float:
    """Learning rate after a share of all steps, as a share of the highest."""
    if share < WARM_UP:
        return 0.05 + 0.95 * share / WARM_UP
    return 0.005 + 0.995 * (0.5 + 0.5 * float(np.cos(np.pi * (share - WARM_UP) / (1 - WARM_UP))))


def begin_like(network: EmbeddingNetwork, file: Path, crops: ImageArray) -> None:
    """Give a network the weights of an exported one, in place, so that both say the same.

    Args:
        network: Fresh. Blocks that the file lacks stay as they are, and so begin as nothing but their short cut.
        file: An ONNX file that ``export`` wrote, of this network or of one with fewer blocks.
        crops: Some to take statistics of, which exporting took out: shape (n, 64, 64, 3), uint8.
    """
    import onnx
    from onnx import numpy_helper

    graph = onnx.load(str(file)).graph
    stored = {tensor.name: torch.from_numpy(numpy_helper.to_array(tensor).copy()) for tensor in graph.initializer}
    layers = [[stored[name] for name in node.input[1:]] for node in graph.node if node.op_type in ("Conv", "Gemm")]
    head_weight, head_bias = layers.pop()
    network.embedding.load_state_dict({"weight": head_weight, "bias": head_bias})
    hooks, following = [], iter(layers)
    waiting = next(following)
    for part in network.features:
        pairs = [part.first, part.second] if isinstance(part, _Residual) else [part]
        if waiting[0].shape != pairs[0][0].weight.shape:
            continue
        for pair in pairs:
            pair[0].weight.data.copy_(waiting[0])
            hooks.append(pair[1].register_forward_pre_hook(_normalising_to(waiting[1])))
            waiting = next(following, waiting)
    with torch.no_grad():
        network.eval()(torch.from_numpy(crops))
    for hook in hooks:
        hook.remove()


def _normalising_to(bias: torch.Tensor) -> Callable[[nn.Module, tuple[torch.Tensor]], None]:
    """A hook that sets a batch normalisation to add ``bias`` and change nothing else, whatever it is given."""

    def hook(norm: nn.Module, inputs: tuple[torch.Tensor]) -> None:
        variance, mean = torch.var_mean(inputs[0], dim=(0, 2, 3), correction=0)
        values = {
            "running_mean": mean,
            "running_var": variance,
            "weight": torch.sqrt(variance + norm.eps),
            "bias": mean + bias,
        }
        norm.load_state_dict(norm.state_dict() | values)

    return hook


def train(
    work: Path, steps: int, seed: int, minutes: float = float("inf"), start: Path | None = None
) -> EmbeddingNetwork:
    """Train on the crops in ``work/crops``; go on from ``work/checkpoint.pt`` if there is one.

    Args:
        work: Folder for all that the run writes; ``work/curve.csv`` gets step, seconds, loss and the share of crops
            whose nearest enrolled picture in the batch is of the same product.
        steps: Batches in all; a run may go on with another number than it began with.
        seed: Decides weights and batches.
        minutes: The learning rate falls so that training ends after this time, if the steps are not done before.
        start: An exported network to begin with, in place of random weights.
    """
    torch.manual_seed(seed)
    shelves = _Shelves.read(work / "crops")
    network = EmbeddingNetwork()
    if start is not None:
        begin_like(network, start, np.concatenate([images[::9, 0] for images in shelves.images]))
    network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimiser = torch.optim.AdamW(network.parameters(), lr=LEARNING_RATE, weight_decay=0.02)
    checkpoint, step, spent_s = work / "checkpoint.pt", 0, 0.0
    if checkpoint.is_file():
        saved = torch.load(checkpoint, weights_only=True)
        network.load_state_dict(saved["network"])
        optimiser.load_state_dict(saved["optimiser"])
        step, spent_s = saved["step"], saved["spent_s"]
    network.train()
    started_s, seen = time.monotonic() - spent_s, []
    batches, enrolled = shelves.batches(step, seed), 2 * LINE * LINES_A_BATCH
    share = max(step / steps, spent_s / (60 * minutes))
    while share < 1:
        images, numbers = next(batches)
        for group in optimiser.param_groups:
            group["lr"] = LEARNING_RATE * _rate(share)
        embeddings = network.embedded(perturbed(images, enrolled, np.random.default_rng([seed, step, 1])))
        product = torch.from_numpy(numbers)
        loss = match_loss(embeddings, product, enrolled)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        step += 1
        with torch.no_grad():
            near = (embeddings[enrolled:] @ embeddings[:enrolled].T).argmax(1)
        seen.append((loss.item(), float((product[near] == product[enrolled:]).float().mean())))
        spent_s = time.monotonic() - started_s
        share = max(step / steps, spent_s / (60 * minutes))
        if step % REPORT_EVERY == 0:
            line = f"{step},{spent_s:.0f}," + ",".join(f"{value:.4f}" for value in np.mean(seen, axis=0))
            _log.info("step,seconds,loss,top-1 %s", line)
            with (work / "curve.csv").open("a") as curve:
                curve.write(line + "\n")
            seen = []
        if step % CHECKPOINT_EVERY == 0 or share >= 1:
            state: dict[str, Any] = {
                "network": network.state_dict(),
                "optimiser": optimiser.state_dict(),
                "step": step,
                "spent_s": spent_s,
            }
            part = checkpoint.with_suffix(".part")
            torch.save(state, part)
            part.replace(checkpoint)
    return network.eval()


def export(network: EmbeddingNetwork, file: Path) -> None:
    """Write a network as ONNX, input ``crops`` uint8 (n, 64, 64, 3) BGR, output ``embeddings`` (n, 96)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
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
    parser.add_argument("--steps", type=int, default=6000, help="batches in all")
    parser.add_argument(
        "--minutes", type=float, default=float("inf"), help="training ends after this time at the latest"
    )
    parser.add_argument("--start", type=Path, help="an exported network to begin with")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only-render", action="store_true", help="render the crops and stop")
    parser.add_argument("--shops", type=int, default=len(TRAINING_SHOPS), help="train on so many")
    parser.add_argument("--quick", action="store_true", help="a few steps, to see that it works")
    words = parser.parse_args()
    if words.quick:
        words.work, words.shops, words.steps = words.work / "quick", 1, 3
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    crops = words.work / "crops"
    crops.mkdir(parents=True, exist_ok=True)
    for shop in TRAINING_SHOPS[: words.shops]:
        _log.info("%s", rendered_crops(shop, crops))
    if words.only_render:
        return
    torch.set_num_threads(words.threads)
    network = train(words.work, words.steps, words.seed, words.minutes, words.start)
    export(network, words.work / "products.onnx")


if __name__ == "__main__":
    main()
