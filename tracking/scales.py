"""Turns raw plate samples into weight changes: steady levels, the steps between them, and how sure each step is."""

from collections.abc import Sequence
from dataclasses import dataclass

from tracking.types import WeightChange
from vision.frames import ScaleSamples
from vision.layout import Plate


@dataclass(frozen=True, slots=True)
class ScaleSettings:
    """How weight changes are told from noise; filled in below."""


class WeightWatcher:
    """Finds lasting weight changes in the samples of a store's plates, as they stream in."""

    def __init__(self, plates: Sequence[Plate], settings: ScaleSettings | None = None) -> None:
        """Watch the given plates; samples of any other plate are ignored."""
        self._settings = settings or ScaleSettings()

    def update(self, samples: ScaleSamples) -> list[WeightChange]:
        """Take one block of one gondola in and return the changes that have settled by now, oldest first."""
        return []

    def finish(self) -> list[WeightChange]:
        """End the stream and return the changes that were still settling."""
        return []
