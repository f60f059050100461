"""Films a replay: the footage with boxes, identities, hands and bins, and the live carts beside it."""

from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from cart.pipeline import InteractionSeen, VisitClosed, place_name
from cart.replay import Replay, ReplayStep, product_names, public_status
from tracking.types import Sightings
from vision.annotate import (
    CartPanel,
    Overlay,
    Panel,
    PersonMark,
    ThingMark,
    VideoWriter,
    bin_mark,
    cell_size,
    compose,
    identity_colour,
    zone_marks,
)
from vision.arrays import ImageArray
from vision.frames import Frame, Source
from vision.shelf import PRODUCT_CLASSES

NANOSECONDS = 1_000_000_000
LATEST_SHOWN = 8
PICTURE_KEPT_S = 1.0
SURE_ENOUGH_TO_SHOW = 0.25  # what the shelf watcher counts
LEAST_STEP_NS = 1_000_000  # cameras a hair apart may share an instant of the store clock, pictures of a film may not


class Film:
    """Writes one annotated picture for each tick that has frames. Use it as a context manager.

    Args:
        path: The mp4 file to write.
        source: The recording, for its cameras and their picture sizes.
        replay: The replay whose steps are filmed.
        fps: Nominal rate; the pictures keep their own times.

    Raises:
        ValueError: The recording has no cameras.
    """

    def __init__(self, path: Path, source: Source, replay: Replay, fps: float = 30.0) -> None:
        if not source.camera_ids:
            raise ValueError(f"{path}: this recording has no cameras, so there is nothing to film")
        self._writer = VideoWriter(path, fps)
        self._replay = replay
        self._camera_ids = source.camera_ids
        self._cell_wh = cell_size(list(source.resolutions_wh.values()))
        self._names = product_names(replay.pipeline.layout)
        self._zones: dict[str, Overlay] = {}
        self._last: dict[str, Frame] = {}
        self._latest: list[str] = []
        self._shown_ns: int | None = None

    def add(self, step: ReplayStep) -> None:
        """Draw one step."""
        for event in step.events:
            if isinstance(event, InteractionSeen):
                self._latest.insert(0, self._said(event))
            elif isinstance(event, VisitClosed):
                self._latest.insert(
                    0, f"{step.media_s:.1f} s  {event.shopper}: {public_status(event).replace('_', ' ')}"
                )
        del self._latest[LATEST_SHOWN:]
        if step.tick is None or not step.tick.frames:
            return
        for frame in step.tick.frames:
            self._last[frame.camera_id] = frame
        oldest_ns = step.tick.timestamp_ns - int(PICTURE_KEPT_S * NANOSECONDS)
        images: list[ImageArray | None] = []
        overlays = []
        for camera_id in self._camera_ids:
            kept = self._last.get(camera_id)
            shown = kept if kept is not None and kept.timestamp_ns >= oldest_ns else None
            images.append(None if shown is None else shown.image)
            overlays.append(self._overlay(camera_id, shown))
        panel = Panel(f"{step.media_s:.1f} s", self._carts(), tuple(self._latest))
        shown_ns = step.tick.timestamp_ns
        if self._shown_ns is not None:
            shown_ns = max(shown_ns, self._shown_ns + LEAST_STEP_NS)
        self._shown_ns = shown_ns
        self._writer.write(compose(images, overlays, panel, self._cell_wh), shown_ns)

    def _overlay(self, camera_id: str, frame: Frame | None) -> Overlay:
        pipeline = self._replay.pipeline
        if frame is None:
            return Overlay(caption=camera_id)
        height, width = frame.image.shape[:2]
        if camera_id not in self._zones:
            self._zones[camera_id] = zone_marks(pipeline.layout, camera_id, (width, height))
        zones = self._zones[camera_id]
        touched_ids = {bin_id for _, bin_id in pipeline.open_contacts}
        touched = [
            mark
            for bin_id in sorted(touched_ids)
            if (mark := bin_mark(pipeline.layout, bin_id, camera_id, (width, height))) is not None
        ]
        sightings = next((s for s in pipeline.people.sightings if s.camera_id == camera_id), None)
        return replace(
            zones,
            caption=f"{camera_id}  {self._replay.seconds(frame.timestamp_ns):.1f} s",
            people=() if sightings is None else self._people(sightings),
            bins=(*(mark for mark in zones.bins if mark.name not in touched_ids), *touched),
            things=self._things(camera_id),
        )

    def _things(self, camera_id: str) -> tuple[ThingMark, ...]:
        detections = next((d for d in self._replay.pipeline.detections if d.camera_id == camera_id), None)
        if detections is None:
            return ()
        names = self._replay.pipeline.class_names
        shown = np.isin(detections.class_id, PRODUCT_CLASSES) & (detections.confidence >= SURE_ENOUGH_TO_SHOW)
        return tuple(
            ThingMark(f"{names[class_id]} {confidence:.2f}", xyxy)
            for class_id, confidence, xyxy in zip(
                detections.class_id[shown].tolist(),
                detections.confidence[shown].tolist(),
                detections.xyxy[shown],
                strict=True,
            )
        )

    def _people(self, sightings: Sightings) -> tuple[PersonMark, ...]:
        pipeline = self._replay.pipeline
        detections = next((d for d in pipeline.detections if d.camera_id == sightings.camera_id), None)
        marks = []
        for row, identity_id in enumerate(sightings.identity_id.tolist()):
            keypoints = np.zeros((0, 3))
            if detections is not None and len(detections) and detections.keypoints.shape[1]:
                # The tracker smooths boxes, so the nearest detection is this person's.
                nearest = int(np.abs(detections.xyxy - sightings.xyxy[row]).sum(axis=1).argmin())
                keypoints = detections.keypoints[nearest]
            marks.append(
                PersonMark(
                    pipeline.shopper(identity_id) or f"person-{identity_id}",
                    identity_colour(identity_id),
                    sightings.xyxy[row],
                    keypoints,
                    sightings.hands_px[row],
                )
            )
        return tuple(marks)

    def _carts(self) -> tuple[CartPanel, ...]:
        return tuple(
            CartPanel(
                cart.shopper,
                identity_colour(cart.identity_id),
                tuple(f"{quantity} x {self._names.get(sku, sku)}" for sku, quantity in cart.lines),
            )
            for cart in self._replay.pipeline.carts()
        )

    def _said(self, seen: InteractionSeen) -> str:
        interaction = seen.interaction
        best = interaction.candidates[0] if interaction.candidates else None
        who = f"  {seen.shoppers[0]} {best.probability:.2f}" if best is not None else ""
        what = self._names.get(interaction.sku or "", "")
        verb = interaction.kind.value.replace("_", " ")
        place = place_name(self._replay.pipeline.layout.bin(interaction.bin_id))
        return f"{self._replay.seconds(interaction.time_ns):.1f} s  {verb} {what or place}{who}"

    def __enter__(self) -> Self:
        self._writer.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.__exit__(kind, error, trace)
