"""Which product a crop shows: a learnt embedding compared with a gallery that a shop fills from a few pictures.

A network of our own (``tillfree-products``) turns a crop into a unit vector so that crops of one product lie together,
also of products it was never trained on. A new product is therefore enrolled by embedding a few pictures of it; nothing
is trained. How near is near enough was fitted once, on shops kept apart from training, and travels in the model file:
that gives probabilities, and a "don't know" for what is not in the gallery.
"""

import hashlib
import io
import json
import math
import os
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import cv2
import numpy as np
import onnxruntime

from vision.arrays import FloatArray, ImageArray, IntArray, check_shape

INPUT_PX = 64  # crops of ceiling cameras are seldom larger
PADDING = 114  # the grey that letterboxes are filled with since YOLOv5
CALIBRATION_KEY = "tillfree.calibration"  # of the model file's metadata
USUAL_SKUS = 100.0  # calibration counts products in multiples of so many, and pixels in multiples of INPUT_PX
SMALLEST_PX, LARGEST_PX = 16.0, 128.0  # what calibration was fitted between; beyond, the nearer end counts
MAGIC = b"tillfree-gallery/1"
PLAIN_SPREAD = 18.0  # grey levels by which a plain ground differs from itself: shadow and noise


def letterboxed(crop: ImageArray, size_px: int = INPUT_PX) -> ImageArray:
    """Fit a crop into a square; what is left over is grey.

    The longer side fills the square. The shorter one is widened to the root of its proportion, so that of a bottle,
    four times as high as wide, half the square shows something, and not a quarter: print keeps more columns, and slim
    things still look slim.

    Args:
        crop: Shape (h, w, 3), uint8.
        size_px: Side of the square.

    Returns:
        Shape (size, size, 3), uint8, the crop in its middle.

    Raises:
        ValueError: The crop has another shape or no pixel.

    >>> letterboxed(np.zeros((10, 40, 3), np.uint8))[:, 0, 0].tolist() == [114] * 16 + [0] * 32 + [114] * 16
    True
    """
    check_shape("crop", crop, ("h", "w", 3))
    if not crop.size or crop.dtype != np.uint8:
        raise ValueError(f"crop: expected uint8 with at least one pixel, got {crop.dtype} of shape {crop.shape}")
    height, width = crop.shape[:2]
    longer = max(height, width)
    size_wh = (max(1, round(size_px * math.sqrt(width / longer))), max(1, round(size_px * math.sqrt(height / longer))))
    # One side may shrink while the other grows; OpenCV averages over areas only where both shrink.
    shrunk = cv2.resize(crop, (min(width, size_wh[0]), min(height, size_wh[1])), interpolation=cv2.INTER_AREA)
    square = np.full((size_px, size_px, 3), PADDING, np.uint8)
    left, top = (size_px - size_wh[0]) // 2, (size_px - size_wh[1]) // 2
    square[top : top + size_wh[1], left : left + size_wh[0]] = cv2.resize(shrunk, size_wh)
    return square


def cropped_to_product(picture: ImageArray) -> ImageArray:
    """Cut a picture of one product on a plain ground down to the product.

    The ground is what the picture's rim is like. A picture whose rim is not of one colour, as one that is cut to the
    product already, is given back as it is.

    Args:
        picture: Shape (h, w, 3), uint8 BGR.
    """
    check_shape("picture", picture, ("h", "w", 3))
    height, width = picture.shape[:2]
    if min(height, width) < 16:
        return picture
    rim = max(1, min(height, width) // 40)
    edge = np.concatenate([picture[part].reshape(-1, 3) for part in (np.s_[:rim], np.s_[-rim:])])
    edge = np.concatenate([edge, picture[:, :rim].reshape(-1, 3), picture[:, -rim:].reshape(-1, 3)]).astype(float)
    ground = np.median(edge, axis=0)
    spread = float(np.median(np.abs(edge - ground).max(axis=1)))
    if spread > PLAIN_SPREAD:
        return picture
    soft = cv2.GaussianBlur(picture, (0, 0), max(0.5, min(height, width) / 200)).astype(np.float32)
    differs = (np.abs(soft - ground.astype(np.float32)).max(axis=2) > max(3 * spread, PLAIN_SPREAD)).astype(np.uint8)
    count, _, stats, _ = cv2.connectedComponentsWithStats(differs)
    # Specks of dirt and print on the ground are small.
    large = [stats[i] for i in range(1, count) if stats[i][cv2.CC_STAT_AREA] > 0.01 * height * width]
    if not large:
        return picture
    left, top = (min(int(part[place]) for part in large) for place in (cv2.CC_STAT_LEFT, cv2.CC_STAT_TOP))
    right = max(int(part[cv2.CC_STAT_LEFT] + part[cv2.CC_STAT_WIDTH]) for part in large)
    low = max(int(part[cv2.CC_STAT_TOP] + part[cv2.CC_STAT_HEIGHT]) for part in large)
    return np.ascontiguousarray(picture[top:low, left:right])


@dataclass(frozen=True, slots=True)
class Calibration:
    """How similarity turns into probability.

    A crop of s pixels compared with n products is product k with a probability in proportion to
    ``exp(sharpness * similarity_k)``, and none of them in proportion to ``exp(sharpness * threshold)``, where

    - ``sharpness = exp(sharpness_base + sharpness_by_size * ln(s / 64))``,
    - ``threshold = threshold_base + threshold_by_size * ln(s / 64) + threshold_by_count * ln(n / 100)``.

    The temperature is that of Guo et al. (ICML 2017); the class of nothing is that of open-set recognition. Small crops
    say less; the more products there are, the nearer one of them is by chance.
    """

    sharpness_base: float
    sharpness_by_size: float
    threshold_base: float
    threshold_by_size: float
    threshold_by_count: float

    def __post_init__(self) -> None:
        for name in self.__slots__:
            if not math.isfinite(getattr(self, name)):
                raise ValueError(f"Calibration.{name}: expected a number, got {getattr(self, name)}")

    def logits(self, similarity: FloatArray, size_px: FloatArray, skus: int) -> FloatArray:
        """Unnormalised log-probabilities, shape (n, k + 1), the last of none.

        Args:
            similarity: Of each crop with each product, -1 to 1, shape (n, k).
            size_px: Longer side of each crop, shape (n,).
            skus: How many products the crop might show.
        """
        size = np.log(np.clip(size_px, SMALLEST_PX, LARGEST_PX) / INPUT_PX)
        sharpness = np.exp(self.sharpness_base + self.sharpness_by_size * size)
        count = math.log(max(skus, 1) / USUAL_SKUS)
        threshold = self.threshold_base + self.threshold_by_size * size + self.threshold_by_count * count
        return np.asarray(sharpness[:, None] * np.column_stack([similarity, threshold]), np.float64)

    def as_json(self) -> str:
        """Write it as it stands in the metadata of a model file."""
        return json.dumps({name: getattr(self, name) for name in self.__slots__})

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read it again.

        Raises:
            ValueError: The text is something else.
        """
        try:
            values = json.loads(text)
            return cls(**{name: float(values[name]) for name in cls.__slots__})
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"calibration: expected numbers {', '.join(cls.__slots__)}, got {text[:80]!r}") from error


@dataclass(frozen=True, slots=True)
class Recognition:
    """What crops show.

    Attributes:
        skus: The products that were thought of.
        probability: Of each crop and product, shape (n, k).
        unknown: That a crop shows none of them, shape (n,); a row of ``probability`` and this add up to 1.
        similarity: Cosine of each crop with the most similar picture of each product, shape (n, k).
    """

    skus: tuple[str, ...]
    probability: FloatArray
    unknown: FloatArray
    similarity: FloatArray

    def __post_init__(self) -> None:
        n = len(self.unknown)
        check_shape("Recognition.probability", self.probability, (n, len(self.skus)))
        check_shape("Recognition.unknown", self.unknown, (n,))
        check_shape("Recognition.similarity", self.similarity, (n, len(self.skus)))

    def __len__(self) -> int:
        return len(self.unknown)

    def best(self) -> list[str | None]:
        """The likeliest product of each crop; None where "none of them" is likelier."""
        if not self.skus:
            return [None] * len(self)
        best = self.probability.argmax(axis=1)
        return [
            self.skus[place] if self.probability[row, place] > self.unknown[row] else None
            for row, place in enumerate(best.tolist())
        ]

    def top(self, row: int, count: int = 3) -> tuple[tuple[str, float], ...]:
        """The likeliest products of one crop with their probabilities, likeliest first."""
        order = np.argsort(-self.probability[row], kind="stable")[:count]
        return tuple((self.skus[place], float(self.probability[row, place])) for place in order.tolist())


class ProductRecogniser:
    """Embeds crops and compares them with a gallery.

    Attributes:
        model_sha256: Checksum of the model file; a gallery belongs to one model.
        dimensions: Length of an embedding.
        calibration: How similarity turns into probability.
    """

    def __init__(self, session: Any, model_sha256: str, calibration: Calibration) -> None:
        """Take a loaded model; use ``load``.

        Args:
            session: Input uint8 (n, 64, 64, 3) BGR, output float32 (n, d).
            model_sha256: Checksum of its file.
            calibration: Fitted for it.
        """
        self._session = session
        self._input = session.get_inputs()[0].name
        self.model_sha256, self.calibration = model_sha256, calibration
        self.dimensions = int(session.get_outputs()[0].shape[1])

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, threads: int = 1) -> Self:
        """Load a model file.

        Args:
            path: An ONNX file with a calibration in its metadata (``models.weights.resolve_weights`` finds the one
                that is shipped by its name, ``tillfree-products``).
            threads: How many the network may use.

        Raises:
            OSError: The file cannot be read.
            ValueError: It is no such model.
        """
        content = Path(path).read_bytes()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's own exceptions have no common ancestor but this
            raise ValueError(f"{path}: expected an ONNX model, got: {str(error).splitlines()[0]}") from error
        inputs, outputs = session.get_inputs(), session.get_outputs()
        text = session.get_modelmeta().custom_metadata_map.get(CALIBRATION_KEY)
        fits = len(inputs) == 1 and inputs[0].type == "tensor(uint8)" and inputs[0].shape[1:] == [INPUT_PX, INPUT_PX, 3]
        if not fits or text is None or len(outputs[0].shape) != 2:
            raise ValueError(
                f"{path}: expected a model that embeds uint8 crops of {INPUT_PX}x{INPUT_PX} and carries a calibration, "
                f"got input {inputs[0].type} {inputs[0].shape}, {'a' if text else 'no'} calibration"
            )
        return cls(session, hashlib.sha256(content).hexdigest(), Calibration.from_json(text))

    def embed(self, crops: Sequence[ImageArray] | ImageArray) -> FloatArray:
        """Embed crops of any sizes, each shape (h, w, 3), uint8 BGR.

        Returns:
            Unit vectors, shape (n, d), float32.

        Raises:
            ValueError: A crop has another shape or no pixel.
        """
        if not len(crops):
            return np.zeros((0, self.dimensions), np.float32)
        batch = np.stack([letterboxed(crop) for crop in crops])
        return np.asarray(self._session.run(None, {self._input: batch})[0], np.float32)

    def recognise(
        self, crops: Sequence[ImageArray], gallery: "Gallery", among: Sequence[str] | None = None
    ) -> Recognition:
        """Say what crops show.

        Args:
            crops: Tight around one thing each, shape (h, w, 3), uint8 BGR, of any sizes.
            gallery: The shop's products, enrolled with this model.
            among: Only these products come into question (what is sold there, what somebody may hold); all of the
                gallery if left out. Products that are not enrolled are left out.

        Raises:
            ValueError: The gallery was made with another model, or a crop has another shape.
        """
        if gallery.model_sha256 != self.model_sha256:
            raise ValueError(
                f"gallery: expected one of model {self.model_sha256[:12]}, got one of model "
                f"{gallery.model_sha256[:12]}; enrol its pictures again (Gallery.embedded_again)"
            )
        size_px = np.array([max(crop.shape[:2]) for crop in crops], float)
        return recognition(gallery.similarity(self.embed(crops)), size_px, gallery.skus, self.calibration, among)


def recognition(
    similarity: FloatArray,
    size_px: FloatArray,
    skus: tuple[str, ...],
    calibration: Calibration,
    among: Sequence[str] | None = None,
) -> Recognition:
    """Turn similarities into probabilities.

    Args:
        similarity: Of each crop with each product, shape (n, k).
        size_px: Longer side of each crop, shape (n,).
        skus: The products.
        calibration: Fitted for the model.
        among: Only these come into question; all if left out.
    """
    if among is not None:
        wanted = set(among)
        rows = [row for row, sku in enumerate(skus) if sku in wanted]
        similarity, skus = similarity[:, rows], tuple(skus[row] for row in rows)
    logits = calibration.logits(similarity, size_px, len(skus))
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares = weights / weights.sum(axis=1, keepdims=True)
    return Recognition(skus, shares[:, :-1], shares[:, -1], similarity)


def together(said: Recognition) -> Recognition:
    """Say what several crops of one thing show, as of a pack that somebody carries through many frames.

    Log-probabilities are averaged. They do not add up, as those of independent crops would: a product that is not
    enrolled looks like the same wrong one in every frame. More frames make a better choice, not a surer one.

    Args:
        said: Of each crop; at least one.

    Returns:
        One row.

    Raises:
        ValueError: There is no crop.
    """
    if not len(said):
        raise ValueError("together: expected at least one crop, got none")
    every = np.log(np.maximum(np.column_stack([said.probability, said.unknown]), 1e-12))
    joint = every.mean(axis=0)
    weights = np.exp(joint - joint.max())
    shares = weights / weights.sum()
    return Recognition(said.skus, shares[None, :-1], shares[-1:], said.similarity.mean(axis=0, keepdims=True))


@dataclass(frozen=True, slots=True)
class Gallery:
    """What the products of a shop look like: some pictures of each, embedded by one model.

    Attributes:
        model_sha256: Checksum of the model file that embedded them.
        skus: Products in the order in which they were enrolled.
        sku_row: Which product each picture shows, shape (p,), rising.
        embeddings: Unit vectors, shape (p, d), float32.
        pictures: The pictures themselves, letterboxed, shape (p, 64, 64, 3), uint8 BGR: for people, and to embed them
            again with another model.
    """

    model_sha256: str
    skus: tuple[str, ...]
    sku_row: IntArray
    embeddings: FloatArray
    pictures: ImageArray

    def __post_init__(self) -> None:
        p = len(self.sku_row)
        check_shape("Gallery.sku_row", self.sku_row, (p,))
        check_shape("Gallery.embeddings", self.embeddings, (p, "d"))
        check_shape("Gallery.pictures", self.pictures, (p, INPUT_PX, INPUT_PX, 3))
        if len(set(self.skus)) != len(self.skus):
            raise ValueError("Gallery.skus: expected each product once")
        if not np.array_equal(np.unique(self.sku_row), np.arange(len(self.skus))) or (np.diff(self.sku_row) < 0).any():
            raise ValueError("Gallery.sku_row: expected pictures of every product, in the order of the products")

    def __len__(self) -> int:
        return len(self.skus)

    @classmethod
    def empty(cls, recogniser: ProductRecogniser) -> Self:
        """A gallery without products."""
        return cls(
            recogniser.model_sha256,
            (),
            np.zeros(0, np.int64),
            np.zeros((0, recogniser.dimensions), np.float32),
            np.zeros((0, INPUT_PX, INPUT_PX, 3), np.uint8),
        )

    def enrol(self, sku: str, pictures: Sequence[ImageArray], recogniser: ProductRecogniser) -> Self:
        """Return a gallery with one product more.

        Args:
            sku: Its name.
            pictures: From a few sides, each cut to the product, shape (h, w, 3), uint8 BGR, of any sizes.
            recogniser: The model that embedded the others.

        Raises:
            ValueError: The product is there already (``replace`` it), there is no picture, or it is another model.
        """
        if sku in self.skus:
            raise ValueError(f"gallery: product {sku} is enrolled already; replace it or remove it first")
        if not len(pictures):
            raise ValueError(f"gallery: expected at least one picture of product {sku}, got none")
        if recogniser.model_sha256 != self.model_sha256:
            raise ValueError(
                f"gallery: expected model {self.model_sha256[:12]}, got model {recogniser.model_sha256[:12]}"
            )
        squares = np.stack([letterboxed(picture) for picture in pictures])
        return replace(
            self,
            skus=(*self.skus, sku),
            sku_row=np.concatenate([self.sku_row, np.full(len(squares), len(self.skus), np.int64)]),
            embeddings=np.concatenate([self.embeddings, recogniser.embed(squares)]),
            pictures=np.concatenate([self.pictures, squares]),
        )

    def remove(self, sku: str) -> Self:
        """Return a gallery without a product.

        Raises:
            ValueError: It is not enrolled.
        """
        row = self._row(sku)
        kept = self.sku_row != row
        rows = self.sku_row[kept]
        return replace(
            self,
            skus=self.skus[:row] + self.skus[row + 1 :],
            sku_row=rows - (rows > row),
            embeddings=self.embeddings[kept],
            pictures=self.pictures[kept],
        )

    def replace(self, sku: str, pictures: Sequence[ImageArray], recogniser: ProductRecogniser) -> Self:
        """Return a gallery with other pictures of a product, as when its maker prints a new label.

        Raises:
            ValueError: It is not enrolled, there is no picture, or it is another model.
        """
        return self.remove(sku).enrol(sku, pictures, recogniser)

    def embedded_again(self, recogniser: ProductRecogniser) -> Self:
        """Return the same products and pictures embedded by another model."""
        embeddings = [recogniser.embed(self.pictures[start : start + 64]) for start in range(0, len(self.pictures), 64)]
        return replace(
            self,
            model_sha256=recogniser.model_sha256,
            embeddings=np.concatenate([np.zeros((0, recogniser.dimensions), np.float32), *embeddings]),
        )

    def pictures_of(self, sku: str) -> ImageArray:
        """The pictures of a product, shape (p, 64, 64, 3), uint8 BGR.

        Raises:
            ValueError: It is not enrolled.
        """
        return np.asarray(self.pictures[self.sku_row == self._row(sku)])

    def similarity(self, embeddings: FloatArray) -> FloatArray:
        """Cosine of crops with the most similar picture of every product.

        Args:
            embeddings: Of crops, unit vectors, shape (n, d).

        Returns:
            Shape (n, k), -1 to 1.
        """
        if not len(self.skus):
            return np.zeros((len(embeddings), 0), np.float32)
        every = embeddings @ self.embeddings.T
        firsts = np.flatnonzero(np.diff(self.sku_row, prepend=-1))
        return np.asarray(np.maximum.reduceat(every, firsts, axis=1))

    def save(self, file: Path) -> None:
        """Write it to one file that carries its own checksum; another file there is replaced only when all is written.

        Raises:
            OSError: It cannot be written.
        """
        names = json.dumps({"model_sha256": self.model_sha256, "skus": self.skus}).encode()
        content = io.BytesIO()
        np.savez_compressed(
            content,
            names=np.frombuffer(names, np.uint8),
            sku_row=self.sku_row,
            embeddings=self.embeddings,
            pictures=self.pictures,
        )
        digest = hashlib.sha256(content.getvalue()).hexdigest().encode()
        part = file.with_name(f"{file.name}.part")
        part.write_bytes(b"\n".join([MAGIC, digest, content.getvalue()]))
        part.replace(file)

    @classmethod
    def load(cls, file: Path) -> Self:
        """Read a gallery that was saved.

        Raises:
            OSError: The file cannot be read.
            ValueError: It is no gallery, or was damaged.
        """
        magic, _, rest = file.read_bytes().partition(b"\n")
        digest, _, content = rest.partition(b"\n")
        if magic != MAGIC:
            raise ValueError(f"{file}: expected a gallery, which begins with {MAGIC.decode()}, got another file")
        if hashlib.sha256(content).hexdigest().encode() != digest:
            raise ValueError(f"{file}: the gallery is damaged: its checksum is not that of its content")
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
                names = json.loads(arrays["names"].tobytes())
                return cls(
                    str(names["model_sha256"]),
                    tuple(str(sku) for sku in names["skus"]),
                    arrays["sku_row"],
                    arrays["embeddings"],
                    arrays["pictures"],
                )
        except (KeyError, TypeError, zipfile.BadZipFile) as error:
            raise ValueError(f"{file}: the gallery lacks a part: {error}") from error

    def _row(self, sku: str) -> int:
        if sku not in self.skus:
            raise ValueError(f"gallery: expected one of its {len(self.skus)} products, got {sku}")
        return self.skus.index(sku)


def contact_sheet(gallery: Gallery, columns: int = 12) -> ImageArray:
    """Draw every product's pictures side by side with its name, for people to look through.

    Args:
        gallery: What to draw.
        columns: Pictures in a row.

    Returns:
        Shape (h, w, 3), uint8 BGR.
    """
    caption, cell = 14, INPUT_PX + 2
    rows: list[ImageArray] = []
    line = np.full((cell + caption, columns * cell, 3), 32, np.uint8)
    used = columns
    for sku in gallery.skus:
        pictures = gallery.pictures_of(sku)[:columns]
        if used + len(pictures) > columns:
            line = np.full((cell + caption, columns * cell, 3), 32, np.uint8)
            rows.append(line)
            used = 0
        name = "".join(c if 32 <= ord(c) < 127 else "?" for c in sku)[: len(pictures) * 9]
        cv2.putText(line, name, (used * cell + 2, 10), cv2.FONT_HERSHEY_SIMPLEX, 0.35, (230,) * 3, 1, cv2.LINE_AA)
        for picture in pictures:
            line[caption : caption + INPUT_PX, used * cell : used * cell + INPUT_PX] = picture
            used += 1
    return np.concatenate(rows) if rows else line
