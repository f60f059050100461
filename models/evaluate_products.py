"""Fit and measure the recognition of products on shops that it was never trained on.

``python -m models.evaluate_products`` enrols whole invented shops as a shop would, shows crops of their products and of
products left out of the gallery, and prints a report. ``--fit MODEL.onnx`` fits a calibration first, on shops of their
own, and writes it into the model file.
"""

import argparse
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
from scipy.optimize import minimize

from models.weights import resolve_weights
from store_sim.product_pictures import ProductStudio, Setting, invented_shop
from vision.arrays import BoolArray, FloatArray, ImageArray, IntArray
from vision.model_graph import with_metadata
from vision.products import (
    CALIBRATION_KEY,
    INPUT_PX,
    PADDING,
    Calibration,
    Recognition,
    letterboxed,
    recognition,
    together,
)

FITTING_SHOPS = ((2000, 50), (2001, 100), (2002, 200), (2003, 150), (2004, 200))
TEST_SHOPS = ((3000, 50), (3001, 100), (3002, 200), (3003, 300))
"""Seeds and numbers of products. The network is trained on seeds from 1000; no shop is in two of the three."""
LEFT_OUT = 0.2  # share of a shop's products that are not in the gallery: what customers bring along, new goods
FRAMES = 6  # in which something held is seen
CROPS_A_SKU = 4  # half on shelves, half in hands
SIZES_PX = (18, 25, 35, 50, 70, 128)
ANGLES_DEG = (0, 30, 60, 120, 180)
COVERED = (0, 0.001, 0.2, 0.4, 1)

Embed = Callable[[ImageArray], FloatArray]
"""Unit vectors, shape (n, d), of crops that are letterboxed already."""


@dataclass(frozen=True, slots=True)
class ShopCrops:
    """Crops of one shop, letterboxed, and what they are.

    Attributes:
        enrolled: Pictures in the gallery, shape (p, 64, 64, 3), uint8.
        enrolled_sku: Which product each shows, shape (p,), rising; products that are left out have none.
        crops: What is asked, shape (n, 64, 64, 3), uint8.
        sku: Which product each shows, shape (n,).
        size_px: Longer side of each, shape (n,).
        azimuth_deg: Angle between camera and front, 0 to 180, shape (n,).
        covered: Share of the product that is hidden, shape (n,).
        in_hand: Whether it is in a hand, shape (n,).
        design: Number of each product's design, equal for variants that differ in words and contents, shape (k,).
        twin: Whether each product looks like another but for its bar code, shape (k,).
    """

    enrolled: ImageArray
    enrolled_sku: IntArray
    crops: ImageArray
    sku: IntArray
    size_px: FloatArray
    azimuth_deg: FloatArray
    covered: FloatArray
    in_hand: BoolArray
    design: IntArray
    twin: BoolArray

    @property
    def known(self) -> BoolArray:
        """Whether each crop's product is in the gallery, shape (n,)."""
        return np.isin(self.sku, self.enrolled_sku)


def shop_crops(seed: int, count: int, views: int = 6) -> ShopCrops:
    """Enrol an invented shop and take crops of all its products; equal seeds give equal crops.

    Args:
        seed: Of the shop.
        count: How many products it has.
        views: How many pictures of each product are enrolled.
    """
    printed = invented_shop(seed, count)
    studio = ProductStudio(printed)
    rng = np.random.default_rng([seed, 11])
    left_out = set(rng.permutation(count)[: round(LEFT_OUT * count)].tolist())
    enrolled, enrolled_sku, crops, facts = [], [], [], []
    for row in range(count):
        pictures = studio.enrolment(row, np.random.default_rng([seed, row, 1]))[:views]
        if row not in left_out:
            enrolled += [letterboxed(picture) for picture in pictures]
            enrolled_sku += [row] * len(pictures)
        for place in range(CROPS_A_SKU):
            setting = Setting.SHELF if place % 2 == 0 else Setting.HAND
            picture = studio.picture(row, setting, np.random.default_rng([seed, row, 2, place]))
            crops.append(letterboxed(picture.image))
            turned = abs((picture.azimuth_deg + 180) % 360 - 180)
            facts.append((row, picture.size_px, turned, picture.covered, place % 2))
    table = np.array(facts)
    names = [product.record.name.removesuffix(" (import)") for product in printed]
    designs = [product.design.removesuffix(" (import)") for product in printed]
    return ShopCrops(
        np.stack(enrolled),
        np.array(enrolled_sku),
        np.stack(crops),
        table[:, 0].astype(int),
        table[:, 1],
        table[:, 2],
        table[:, 3],
        table[:, 4] > 0,
        np.array([designs.index(design) for design in designs]),
        np.array([names.count(name) > 1 for name in names]),
    )


def held_crops(shop: ShopCrops, seed: int, frames: int = FRAMES) -> ShopCrops:
    """See each product of a shop, enrolled as ``shop_crops`` did, held by a hand in several frames.

    From frame to frame the pack turns a little, the fingers move, and light and noise are new: such crops have more to
    say than the frames of one second would, about as much as frames some seconds apart.

    Returns:
        The ``frames`` crops of a product lie one after the other.
    """
    count = len(shop.design)
    studio = ProductStudio(invented_shop(seed, count))
    crops, facts = [], []
    for row in range(count):
        rng = np.random.default_rng([seed, row, 3])
        picture = studio.picture(row, Setting.HAND, rng)
        view, size_px = np.array([picture.azimuth_deg, picture.elevation_deg]), picture.size_px
        for frame in range(frames):
            if frame:
                view = view + rng.normal(0, (18, 6))
                size = float(np.clip(size_px * np.exp(rng.normal(0, 0.06)), SIZES_PX[0], SIZES_PX[-1]))
                picture = studio.picture(row, Setting.HAND, rng, size_px=size, view_deg=(view[0], view[1]))
            crops.append(letterboxed(picture.image))
            turned = abs((picture.azimuth_deg + 180) % 360 - 180)
            facts.append((row, picture.size_px, turned, picture.covered))
    table = np.array(facts)
    return replace(
        shop,
        crops=np.stack(crops),
        sku=table[:, 0].astype(int),
        size_px=table[:, 1],
        azimuth_deg=table[:, 2],
        covered=table[:, 3],
        in_hand=np.ones(len(table), bool),
    )


def similarity_of(shop: ShopCrops, embed: Embed) -> FloatArray:
    """Cosine of each crop with the most similar picture of each enrolled product, shape (n, k)."""
    every = np.asarray(embed(shop.crops), float) @ np.asarray(embed(shop.enrolled), float).T
    firsts = np.flatnonzero(np.diff(shop.enrolled_sku, prepend=-1))
    return np.asarray(np.maximum.reduceat(every, firsts, axis=1))


def _answers(shop: ShopCrops) -> IntArray:
    """Column of ``similarity_of`` that is right for each crop; the one beyond the last for what is not enrolled."""
    enrolled = np.unique(shop.enrolled_sku)
    column = np.searchsorted(enrolled, shop.sku)
    return np.where(shop.known, column, len(enrolled))


def fitted(shops: Sequence[ShopCrops], similarity: Sequence[FloatArray]) -> Calibration:
    """Fit sharpness and threshold by likelihood.

    Galleries are also cut down to random halves and quarters, so that their size is told from other things; crops of
    what is cut away become unknown.
    """
    rng = np.random.default_rng(3)
    cases = []
    for shop, every in zip(shops, similarity, strict=True):
        right = _answers(shop)
        for share in (1.0, 0.5, 0.25):
            kept = np.sort(rng.permutation(every.shape[1])[: max(5, round(share * every.shape[1]))])
            place = np.full(every.shape[1] + 1, len(kept))
            place[kept] = np.arange(len(kept))
            answer = place[right]
            # As many unknown as four known, as with the whole gallery: halves would else be mostly unknown.
            unknown = np.flatnonzero(answer == len(kept))
            known = np.flatnonzero(answer < len(kept))
            rows = np.concatenate([known, rng.permutation(unknown)[: max(1, len(known) // 4)]])
            cases.append((every[rows][:, kept], shop.size_px[rows], answer[rows]))

    def loss(values: FloatArray) -> float:
        calibration = Calibration(*(float(value) for value in values))
        total, count = 0.0, 0
        for every, size_px, answer in cases:
            logits = calibration.logits(every, size_px, every.shape[1])
            top = logits.max(axis=1, keepdims=True)
            chosen = logits[np.arange(len(answer)), answer] - top[:, 0]
            total += float((np.log(np.exp(logits - top).sum(axis=1)) - chosen).sum())
            count += len(answer)
        return total / count

    start = np.array([np.log(20.0), 0.3, 0.6, 0.05, 0.01])
    best = minimize(loss, start, method="Nelder-Mead", options={"maxiter": 600, "xatol": 1e-3, "fatol": 1e-5})
    return Calibration(*(round(float(value), 5) for value in best.x))


def area_under_curve(scores: FloatArray, positive: BoolArray) -> float:
    """Chance that a positive scores above a negative, ties counting half (Mann and Whitney, 1947).

    >>> area_under_curve(np.array([0.9, 0.8, 0.1, 0.8]), np.array([True, True, False, False]))
    0.875
    """
    order = np.argsort(scores, kind="stable")
    _, inverse, counts = np.unique(scores[order], return_inverse=True, return_counts=True)
    ranks = np.empty(len(scores))
    ranks[order] = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    wins = ranks[positive].sum() - positive.sum() * (positive.sum() + 1) / 2
    return float(wins / max(positive.sum() * (~positive).sum(), 1))


def calibration_error(confidence: FloatArray, right: BoolArray, bins: int = 15) -> float:
    """Expected calibration error with bins of equal width (Guo et al., ICML 2017)."""
    place = np.minimum((confidence * bins).astype(int), bins - 1)
    error = 0.0
    for number in range(bins):
        rows = place == number
        if rows.any():
            error += rows.mean() * abs(float(confidence[rows].mean()) - float(right[rows].mean()))
    return error


def numbers_together(
    shops: Sequence[ShopCrops], similarity: Sequence[FloatArray], calibration: Calibration
) -> dict[str, float]:
    """What several frames of one held thing say together, and what each says alone.

    Args:
        shops: From ``held_crops``.
        similarity: Of their crops.
        calibration: Fitted for the model.
    """
    alone, right, confidence, known, large, accept, loss = [], [], [], [], [], [], []
    for shop, every in zip(shops, similarity, strict=True):
        answers, skus = _answers(shop), tuple(map(str, range(every.shape[1])))
        said = recognition(every, shop.size_px, skus, calibration)
        alone.append(every.argmax(axis=1)[::FRAMES] == answers[::FRAMES])
        for start in range(0, len(answers), FRAMES):
            rows = slice(start, start + FRAMES)
            seen = Recognition(skus, said.probability[rows], said.unknown[rows], said.similarity[rows])
            joint = together(seen)
            shares = np.append(joint.probability[0], joint.unknown)
            known.append(answers[start] < len(skus))
            large.append(shop.size_px[start] >= 40)
            right.append((shares[:-1].argmax() == answers[start], shares.argmax() == answers[start]))
            confidence.append(shares.max())
            accept.append(1 - shares[-1])
            loss.append(-np.log(max(shares[answers[start]], 1e-12)))
    rows = np.array(known) & np.array(large)
    first = np.array(right)[:, 0]
    return {
        "held, 40 px or larger: top-1 of one frame": float(np.concatenate(alone)[rows].mean()),
        f"held, 40 px or larger: top-1 of {FRAMES} frames together": float(first[rows].mean()),
        f"held, AUROC known against unknown, {FRAMES} frames": area_under_curve(np.array(accept), np.array(known)),
        f"held, expected calibration error, {FRAMES} frames": calibration_error(
            np.array(confidence), np.array(right)[:, 1]
        ),
        f"held, mean log loss, {FRAMES} frames": float(np.mean(loss)),
    }


@dataclass(frozen=True, slots=True)
class Judged:
    """All crops of all shops with what was said of them; arrays of shape (n,).

    Attributes:
        known: Whether the product was enrolled.
        first: Whether the most similar product is the right one; False for what is not enrolled.
        right: Whether the likeliest answer, "none of them" among them, is right.
        confidence: Probability of that answer.
        accept: One minus the probability of "none of them".
        size_px: Longer side.
        shorter_px: Shorter side.
        azimuth_deg: Angle to the front.
        covered: Share hidden.
        in_hand: Whether in a hand.
        variant: Whether another enrolled product differs in words and contents only.
        twin: Whether another differs in its bar code only.
    """

    known: BoolArray
    first: BoolArray
    right: BoolArray
    confidence: FloatArray
    accept: FloatArray
    size_px: FloatArray
    shorter_px: FloatArray
    azimuth_deg: FloatArray
    covered: FloatArray
    in_hand: BoolArray
    variant: BoolArray
    twin: BoolArray


def judged(shops: Sequence[ShopCrops], similarity: Sequence[FloatArray], calibration: Calibration) -> Judged:
    """Compare what was said of crops with what they show."""
    parts = []
    for shop, every in zip(shops, similarity, strict=True):
        right = _answers(shop)
        said = recognition(every, shop.size_px, tuple(map(str, range(every.shape[1]))), calibration)
        all_of = np.column_stack([said.probability, said.unknown])
        answer = all_of.argmax(axis=1)
        enrolled = np.unique(shop.enrolled_sku)
        count = np.bincount(shop.design[enrolled], minlength=len(shop.design))
        inside = (shop.crops != PADDING).any(axis=3)
        sides = np.stack([inside.any(axis=1).sum(axis=1), inside.any(axis=2).sum(axis=1)])
        parts.append(
            (
                shop.known,
                every.argmax(axis=1) == right,
                answer == right,
                all_of.max(axis=1),
                1 - said.unknown,
                shop.size_px,
                shop.size_px * (sides.min(axis=0) / sides.max(axis=0)) ** 2,  # letterboxes show the root of it
                shop.azimuth_deg,
                shop.covered,
                shop.in_hand,
                (count[shop.design[shop.sku]] > 1) & ~shop.twin[shop.sku],
                shop.twin[shop.sku],
            )
        )
    return Judged(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def summary(seen: Judged) -> dict[str, float]:
    """The numbers of a report by their names; shares are 0 to 1."""
    known, large, single = seen.known, seen.size_px >= 40, ~seen.variant & ~seen.twin

    def share(rows: BoolArray) -> float:
        return float(seen.first[rows].mean()) if rows.any() else float("nan")

    threshold = float(np.quantile(seen.accept[known], 0.05))
    large_threshold = float(np.quantile(seen.accept[known & large], 0.05))
    numbers = {
        "crops": float(len(known)),
        "top-1, 40 px or larger": share(known & large),
        "top-1, 40 px or larger, shelf": share(known & large & ~seen.in_hand),
        "top-1, 40 px or larger, hand": share(known & large & seen.in_hand),
        "top-1, 40 px or larger, shorter side too": share(known & (seen.shorter_px >= 40)),
        "top-1, 40 px or larger, single designs": share(known & large & single),
        "top-1, 40 px or larger, single designs, shelf": share(known & large & single & ~seen.in_hand),
        "top-1, 40 px or larger, single designs, at most a fifth covered": share(
            known & large & single & (seen.covered < 0.2)
        ),
        "top-1, 40 px or larger, variants": share(known & large & seen.variant),
        "top-1, 40 px or larger, twins": share(known & large & seen.twin),
        "top-1, all sizes": share(known),
        "AUROC known against unknown": area_under_curve(seen.accept, known),
        "AUROC, 40 px or larger": area_under_curve(seen.accept[large], known[large]),
        "false accepts at 95 % true accepts": float((seen.accept[~known] >= threshold).mean()),
        "false accepts at 95 %, 40 px or larger": float((seen.accept[~known & large] >= large_threshold).mean()),
        "right answer, don't know among them": float(seen.right.mean()),
        "expected calibration error": calibration_error(seen.confidence, seen.right),
        "wrong product said with 0.9 or more": float(
            ((seen.confidence >= 0.9) & ~seen.right & (seen.accept > 0.5)).mean()
        ),
    }
    for low, high in pairwise(SIZES_PX):
        rows = known & (seen.size_px >= low) & (seen.size_px < high)
        numbers[f"top-1, {low} to {high} px"] = share(rows)
    for low, high in pairwise(ANGLES_DEG):
        numbers[f"top-1, 40 px or larger, seen {low} to {high} degrees from the front"] = share(
            known & large & (seen.azimuth_deg >= low) & (seen.azimuth_deg < high)
        )
    for start, end in pairwise(COVERED):
        numbers[f"top-1, 40 px or larger, {100 * start:.0f} to {100 * end:.0f} % covered"] = share(
            known & large & (seen.covered >= start) & (seen.covered < end)
        )
    return numbers


def classical(crops: ImageArray) -> FloatArray:
    """Describe letterboxed crops without learning: colours on a 4 x 4 grid, their histogram, and edge directions.

    The yardstick for the network: mean L*a*b* of 16 cells, a histogram of 8 x 8 chroma, and histograms of 8 gradient
    directions in 8 x 8 cells (Dalal and Triggs, CVPR 2005), each of unit length.

    Returns:
        Unit vectors, shape (n, 624), float32.
    """
    rows = []
    for crop in crops:
        lab = cv2.cvtColor(crop, cv2.COLOR_BGR2LAB).astype(np.float32) - 128
        cells = cv2.resize(lab, (4, 4), interpolation=cv2.INTER_AREA).ravel()
        chroma, _, _ = np.histogram2d(lab[..., 1].ravel(), lab[..., 2].ravel(), bins=8, range=[[-64, 64], [-64, 64]])
        grey = crop.mean(axis=2).astype(np.float32)
        dx, dy = cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1)
        strength, direction = cv2.cartToPolar(dx, dy)
        bins = (direction / (2 * np.pi) * 8).astype(int) % 8
        edges = np.stack([cv2.resize(strength * (bins == k), (8, 8), interpolation=cv2.INTER_AREA) for k in range(8)])
        parts = [cells, np.sqrt(chroma).ravel(), np.sqrt(edges).ravel()]
        rows.append(np.concatenate([part / (np.linalg.norm(part) + 1e-6) for part in parts]) / np.sqrt(3))
    return np.array(rows, np.float32).reshape(len(crops), -1)


def network(model: bytes) -> Embed:
    """Embed letterboxed crops by a model on one thread."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    def embed(crops: ImageArray) -> FloatArray:
        batches = [np.asarray(crops[start : start + 64]) for start in range(0, len(crops), 64)]
        return np.concatenate([np.asarray(session.run(None, {name: batch})[0]) for batch in batches])

    return embed


def milliseconds_a_crop(embed: Embed, batch: int, times: int = 30) -> float:
    """Processor time of embedding one crop among so many, median."""
    crops = np.random.default_rng(0).integers(0, 256, (batch, INPUT_PX, INPUT_PX, 3), np.uint8)
    embed(crops)
    spent = []
    for _ in range(times):
        started_s = time.process_time()
        embed(crops)
        spent.append((time.process_time() - started_s) / batch * 1e3)
    return float(np.median(spent))


def reliability_plot(seen: Judged, size_px: int = 360) -> ImageArray:
    """Draw how often answers are right against how sure they were: shape (size, size, 3), uint8 BGR.

    Perfect calibration lies on the diagonal; the grey bars say how many answers there were.
    """
    image = np.full((size_px, size_px, 3), 255, np.uint8)
    left, low, span = 44, size_px - 36, size_px - 60
    place = np.minimum((seen.confidence * 10).astype(int), 9)
    points = []
    for number in range(10):
        rows = place == number
        x = left + int(number * span / 10)
        high = int(span * rows.mean())
        cv2.rectangle(image, (x + 3, low - high), (x + span // 10 - 3, low), (222, 222, 222), -1)
        if rows.sum() >= 5:
            points.append(
                (
                    left + int(span * float(seen.confidence[rows].mean())),
                    low - int(span * float(seen.right[rows].mean())),
                )
            )
    cv2.line(image, (left, low), (left + span, low - span), (170, 170, 170), 1, cv2.LINE_AA)
    cv2.rectangle(image, (left, low - span), (left + span, low), (60, 60, 60), 1)
    if points:
        cv2.polylines(image, [np.array(points)], False, (180, 90, 20), 2, cv2.LINE_AA)
    for point in points:
        cv2.circle(image, point, 4, (180, 90, 20), -1, cv2.LINE_AA)
    font, ink = cv2.FONT_HERSHEY_SIMPLEX, (60, 60, 60)
    cv2.putText(image, "probability given", (left + span // 4, size_px - 8), font, 0.45, ink, 1, cv2.LINE_AA)
    cv2.putText(image, "share right", (6, 16), font, 0.45, ink, 1, cv2.LINE_AA)
    for tick in (0.0, 0.5, 1.0):
        cv2.putText(image, f"{tick:.1f}", (left + int(tick * span) - 10, low + 14), font, 0.38, ink, 1, cv2.LINE_AA)
        cv2.putText(image, f"{tick:.1f}", (14, low - int(tick * span) + 4), font, 0.38, ink, 1, cv2.LINE_AA)
    return image


def failure_sheet(shops: Sequence[ShopCrops], similarity: Sequence[FloatArray], least_px: float = 40.0) -> ImageArray:
    """Draw crops that were taken for another product: crop, what it was taken for, what it is; uint8 BGR."""
    rows: list[ImageArray] = []
    for shop, every in zip(shops, similarity, strict=True):
        right, said = _answers(shop), every.argmax(axis=1)
        enrolled = np.unique(shop.enrolled_sku)
        for row in np.flatnonzero(shop.known & (said != right) & (shop.size_px >= least_px)).tolist():
            wrong = shop.enrolled[np.searchsorted(shop.enrolled_sku, enrolled[said[row]])]
            true = shop.enrolled[np.searchsorted(shop.enrolled_sku, shop.sku[row])]
            rows.append(np.hstack([shop.crops[row], wrong, true, np.full((INPUT_PX, 8, 3), 255, np.uint8)]))
    if not rows:
        return np.full((INPUT_PX, 3 * INPUT_PX + 8, 3), 255, np.uint8)
    columns = 6
    rows += [np.full_like(rows[0], 255)] * (-len(rows) % columns)
    return np.vstack([np.hstack(rows[start : start + columns]) for start in range(0, len(rows), columns)])


def _cached(folder: Path | None, name: str, make: Callable[[], ShopCrops]) -> ShopCrops:
    if folder is None:
        return make()
    file = folder / f"{name}.npz"
    if not file.is_file():
        shop = make()
        folder.mkdir(parents=True, exist_ok=True)
        np.savez(file, **{name: getattr(shop, name) for name in ShopCrops.__slots__})
    with np.load(file) as arrays:
        return ShopCrops(**{name: arrays[name] for name in ShopCrops.__slots__})


def _shops(seeds: Sequence[tuple[int, int]], folder: Path | None) -> list[ShopCrops]:
    return [_cached(folder, f"shop-{seed}-{count}", partial(shop_crops, seed, count)) for seed, count in seeds]


def _held(seeds: Sequence[tuple[int, int]], shops: Sequence[ShopCrops], folder: Path | None) -> list[ShopCrops]:
    return [
        _cached(folder, f"held-{seed}-{count}", partial(held_crops, shop, seed))
        for (seed, count), shop in zip(seeds, shops, strict=True)
    ]


def main() -> None:
    """Fit and measure as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", default="tillfree-products", help="a model file or its name")
    parser.add_argument("--fit", type=Path, help="fit a calibration for this model file and write it into it")
    parser.add_argument("--classical", action="store_true", help="measure hand-made descriptors instead")
    parser.add_argument("--out", type=Path, help="folder for numbers.json, reliability.png and failures.png")
    parser.add_argument("--cache", type=Path, help="folder where rendered shops are kept between runs")
    words = parser.parse_args()
    content = b"" if words.classical else Path(words.fit or resolve_weights(words.weights)).read_bytes()
    embed: Embed = classical if words.classical else network(content)
    calibration = None
    if words.classical or words.fit:
        fitting = _shops(FITTING_SHOPS, words.cache)
        calibration = fitted(fitting, [similarity_of(shop, embed) for shop in fitting])
        if words.fit:
            content = with_metadata(content, {CALIBRATION_KEY: calibration.as_json()})
            words.fit.write_bytes(content)
    if calibration is None:
        from vision.products import ProductRecogniser

        calibration = ProductRecogniser.load(resolve_weights(words.weights)).calibration
    shops = _shops(TEST_SHOPS, words.cache)
    similarity = [similarity_of(shop, embed) for shop in shops]
    seen = judged(shops, similarity, calibration)
    held = _held(TEST_SHOPS, shops, words.cache)
    together_in = [similarity_of(shop, embed) for shop in held]
    numbers = summary(seen) | numbers_together(held, together_in, calibration)
    numbers["ms a crop, one at a time"] = milliseconds_a_crop(embed, 1)
    numbers["ms a crop, sixteen at once"] = milliseconds_a_crop(embed, 16)
    lines = [f"{name:<68}{value:>10.4g}" for name, value in numbers.items()]
    print("\n".join([f"calibration {calibration.as_json()}", *lines]))  # noqa: T201
    if words.out:
        words.out.mkdir(parents=True, exist_ok=True)
        (words.out / "numbers.json").write_text(json.dumps(numbers, indent=1) + "\n")
        cv2.imwrite(str(words.out / "reliability.png"), reliability_plot(seen))
        cv2.imwrite(str(words.out / "failures.png"), failure_sheet(shops, similarity))


if __name__ == "__main__":
    main()
