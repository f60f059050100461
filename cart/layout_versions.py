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
class Fit:
    """A calibrated camera.

    Attributes:
        camera: Its entry in a layout's document.
        rms_px: Root mean square of the errors of the pairs that agree, pixels.
        residuals_px: Error of each pair, pixels.
        worst: Which pair has the largest, from 0.
    """

    camera: dict[str, Any]
    rms_px: float
    residuals_px: tuple[float, ...]
    worst: int


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
    ) -> Fit:
        """Find a camera from pairs of points."""
        ...
