"""Whose hands held what things looked like, and what that says of the product somebody took or put back."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from vision.arrays import FloatArray, IntArray, check_shape
from vision.boxes import iou_matrix
from vision.held import HeldLooks
from vision.products import Calibration, recognition, together

LEAST_OVERLAP = 0.3  # of the box that a detector gave somebody and that of their track


@dataclass(frozen=True, slots=True)
class HeldPictures:
    """Pictures of things in the hands of known people, one row each.

    Attributes:
        timestamp_ns: Store clock, shape (r,), rising.
        identity_id: Whose hand, shape (r,).
        size_px: Longer side of the picture, shape (r,).
        similarity: Cosine with the most similar picture of each product, shape (r, k).
        skus: The products, k of them.
        calibration: How similarity turns into probability.
    """

    timestamp_ns: IntArray
    identity_id: IntArray
    size_px: FloatArray
    similarity: FloatArray
    skus: tuple[str, ...]
    calibration: Calibration

    def __post_init__(self) -> None:
        rows = len(self.timestamp_ns)
        check_shape("HeldPictures.identity_id", self.identity_id, (rows,))
        check_shape("HeldPictures.size_px", self.size_px, (rows,))
        check_shape("HeldPictures.similarity", self.similarity, (rows, len(self.skus)))

    @classmethod
    def of(
        cls,
        looks: HeldLooks,
        identity_id: IntArray,
        xyxy: FloatArray,
        skus: tuple[str, ...],
        calibration: Calibration,
    ) -> Self:
        """Say whose hands they were: things of somebody whom no identity is known of are left out.

        Args:
            looks: What hands held in one frame.
            identity_id: Who is seen in that frame, shape (n,).
            xyxy: Their boxes, shape (n, 4), pixels.
            skus: The products of the gallery.
            calibration: How similarity turns into probability.
        """
        overlap = iou_matrix(looks.owner_xyxy, xyxy)
        best = overlap.argmax(axis=1) if len(identity_id) else np.zeros(len(looks), np.int64)
        rows = np.flatnonzero(overlap.max(axis=1, initial=0.0) >= LEAST_OVERLAP)
        return cls(
            np.full(len(rows), looks.timestamp_ns, np.int64),
            identity_id[best[rows]],
            looks.size_px[rows],
            looks.similarity[rows],
            skus,
            calibration,
        )

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self | None:
        """Put the pictures of one gallery together, in the order of their times; None without any."""
        if not parts:
            return None
        times_ns = np.concatenate([part.timestamp_ns for part in parts])
        order = np.argsort(times_ns, kind="stable")
        return cls(
            times_ns[order],
            np.concatenate([part.identity_id for part in parts])[order],
            np.concatenate([part.size_px for part in parts])[order],
            np.concatenate([part.similarity for part in parts])[order],
            parts[0].skus,
            parts[0].calibration,
        )

    def likelihood(
        self, identity_id: int, since_ns: int, until_ns: int, among: Sequence[str], stray: float
    ) -> dict[str, float]:
        """How well each of some products explains what somebody was seen to hold, 1 being no better than any other.

        Args:
            identity_id: Whose hands.
            since_ns: Beginning of the stretch of time, store clock.
            until_ns: Its end.
            among: The products that come into question.
            stray: Share of pictures that show something else: the other hand, or no product at all.

        Returns:
            For those that are enrolled; empty where nothing was seen, or fewer than two are.
        """
        rows = slice(*np.searchsorted(self.timestamp_ns, [since_ns, until_ns]).tolist())
        own = np.flatnonzero(self.identity_id[rows] == identity_id) + rows.start
        wanted = set(among).intersection(self.skus)
        if len(wanted) < 2 or not len(own):
            return {}
        said = recognition(self.similarity[own], self.size_px[own], self.skus, self.calibration, sorted(wanted))
        whole = together(said)
        # What looks like none of them says nothing of them.
        share = whole.probability[0] + whole.unknown[0] / len(wanted)
        return {
            sku: float(len(wanted) * ((1 - stray) * p + stray / len(wanted)))
            for sku, p in zip(whole.skus, share.tolist(), strict=True)
        }
