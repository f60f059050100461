"""Versions of a layout, as those see them who know nothing of cameras."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID


@dataclass(frozen=True, slots=True)
class LayoutVersion:
    """A layout as somebody drew it; ``author_id`` and ``created_at`` are None for the files."""

    version: int
    document: Mapping[str, Any]
    note: str
    author_id: UUID | None
    created_at: datetime | None


@dataclass(frozen=True, slots=True)
class Objection:
    """What speaks against a layout.

    Attributes:
        place: Keys and positions in its document, such as ``("bins", 3, "size_m")``; empty for no one place.
        message: What is wrong there.
    """

    place: tuple[str | int, ...]
    message: str


@dataclass(frozen=True, slots=True)
class KnownLens:
    """What is known of a lens before a camera is calibrated.

    Attributes:
        focal_px: Focal length along x and y, pixels.
        centre_px: Where its axis meets the picture, pixels.
        distortion: k1, k2, p1, p2, k3 as in OpenCV.
    """

    focal_px: tuple[float, float]
    centre_px: tuple[float, float]
    distortion: tuple[float, float, float, float, float]


@dataclass(frozen=True, slots=True)
class Fit:
    """A calibrated camera.

    Attributes:
        camera: Its entry in a layout's document.
        rms_px: Root mean square of the errors of the pairs that agree, pixels.
        residuals_px: Error of each pair, pixels.
        worst: Which pair has the largest, from 0.
        left_out: Pairs that do not agree with the others, from 0.
    """

    camera: dict[str, Any]
    rms_px: float
    residuals_px: tuple[float, ...]
    worst: int
    left_out: tuple[int, ...]


class LayoutVersions(Protocol):
    """The layout, version by version; see ``cart.layouts.Layouts``."""

    @property
    def active_version(self) -> int:
        """The version that counts on the floor now."""
        ...

    def newest(self) -> LayoutVersion:
        """The version drawn last."""
        ...

    def version(self, number: int) -> LayoutVersion:
        """One version."""
        ...

    def versions(self, older_than: int | None, limit: int) -> tuple[LayoutVersion, ...]:
        """Versions, newest first."""
        ...

    def check(self, document: Mapping[str, Any]) -> tuple[Objection, ...]:
        """What speaks against a layout; nothing is kept."""
        ...

    def save(self, document: Mapping[str, Any], note: str, author_id: UUID | None, *, after: int) -> LayoutVersion:
        """Keep a new version, drawn over the newest one."""
        ...

    def apply(self, number: int, actor_id: UUID | None, *, at_once: bool) -> None:
        """Have the floor change over to a version."""
        ...

    def calibrate(
        self,
        camera_id: str,
        pixels: Sequence[Sequence[float]],
        places_m: Sequence[Sequence[float]],
        wh: tuple[int, int],
        lens: KnownLens | None = None,
        *,
        bends: bool = False,
    ) -> Fit:
        """Find a camera from pairs of points."""
        ...

    def drawn(self, document: Mapping[str, Any], camera_id: str, jpeg: bytes) -> bytes:
        """Draw a layout into what one of its cameras sees."""
        ...
