"""Films a replay: the footage with boxes, identities, hands and bins, and the live carts beside it."""

from collections import deque
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
    FloorPlan,
    Overlay,
    Panel,
    PersonMark,
    PlanPerson,
    ThingMark,
    VideoWriter,
    bin_mark,
    cell_size,
    compose,
    floor_plan,
    identity_colour,
    zone_marks,
)
from vision.arrays import FloatArray, ImageArray
from vision.frames import Frame, Source
from vision.shelf import PRODUCT_CLASSES, Handling
from vision.top_down import held_products

NANOSECONDS = 1_000_000_000
LATEST_SHOWN = 8
PICTURE_KEPT_S = 1.0
TRAIL_S = 4.0  # long enough to see where somebody came from, short enough that trails of five people do not tangle
SURE_ENOUGH_TO_SHOW = 0.25  # what the shelf watcher counts
LEAST_STEP_NS = 1_000_000  # cameras a hair apart may share an instant of the store clock, pictures of a film may not


class Film:
    """Writes one annotated picture for each tick that has frames. Use it as a context manager.

    Args:
        path: The mp4 file to write.
        source: The recording, for its cameras and their picture sizes.
        replay: The replay whose steps are filmed.
        fps: Nominal rate; the pictures keep their own times.
        most_fps: Draw no more pictures a second than this; None draws all.

    Raises:
        ValueError: The recording has no cameras.
    """

    def __init__(
        self, path: Path, source: Source, replay: Replay, fps: float = 30.0, most_fps: float | None = None
    ) -> None:
        if not source.camera_ids:
            raise ValueError(f"{path}: this recording has no cameras, so there is nothing to film")
        self._writer = VideoWriter(path, fps)
        self._replay = replay
        self._camera_ids = source.camera_ids
        self._cell_wh = cell_size(list(source.resolutions_wh.values()))
        self._names = product_names(replay.pipeline.layout)
        layout = replay.pipeline.layout
        self._plan = floor_plan(layout, self._camera_ids)
        self._trails: dict[int, deque[tuple[int, FloatArray]]] = {}
        self._zones: dict[str, Overlay] = {}
        self._last: dict[str, Frame] = {}
        self._latest: list[str] = []
        self._shown_ns: int | None = None
        self._least_gap_ns = 0 if most_fps is None else round(NANOSECONDS / most_fps) - LEAST_STEP_NS

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
        if self._shown_ns is not None and step.tick.timestamp_ns - self._shown_ns < self._least_gap_ns:
            return
        oldest_ns = step.tick.timestamp_ns - int(PICTURE_KEPT_S * NANOSECONDS)
        images: list[ImageArray | None] = []
        overlays = []
        for camera_id in self._camera_ids:
            kept = self._last.get(camera_id)
            shown = kept if kept is not None and kept.timestamp_ns >= oldest_ns else None
            images.append(None if shown is None else shown.image)
            overlays.append(self._overlay(camera_id, shown))
        panel = Panel(f"{step.media_s:.1f} s", self._carts(), tuple(self._latest), self._people_from_above())
        shown_ns = step.tick.timestamp_ns
        if self._shown_ns is not None:
            shown_ns = max(shown_ns, self._shown_ns + LEAST_STEP_NS)
        self._shown_ns = shown_ns
        self._writer.write(compose(images, overlays, panel, self._cell_wh), shown_ns)

    def _overlay(self, camera_id: str, frame: Frame | None) -> Overlay:
        pipeline = self._replay.pipeline
        if frame is None:
            return Overlay(caption=camera_id, notices=self._notices(camera_id))
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
            state=pipeline.looked.get(camera_id, ""),
            notices=self._notices(camera_id),
        )

    def _notices(self, camera_id: str) -> tuple[str, ...]:
        """What is wrong with a camera as far as is known by now: the last word of each kind."""
        said = {
            notice.code: notice.message
            for notice in self._replay.pipeline.camera_notices
            if notice.camera_id == camera_id
        }
        return tuple(said.values())

    def _shelf_label(self, bin_id: str) -> str:
        """What stands where a hand is; the place itself where that is not known."""
        sku = self._replay.pipeline.layout.bin(bin_id).sku
        return bin_id if sku is None else self._names.get(sku, bin_id)

    def _people_from_above(self) -> FloorPlan | None:
        """The floor plan with everybody on it who has a place in the store."""
        people = self._replay.pipeline.people
        if self._plan is None:
            return None
        oldest_ns = people.timestamp_ns - int(TRAIL_S * NANOSECONDS)
        here = people.identity_id.tolist()
        self._trails = {identity_id: trail for identity_id, trail in self._trails.items() if identity_id in here}
        marks = []
        for row, identity_id in enumerate(here):
            trail = self._trails.setdefault(identity_id, deque())
            if np.isfinite(people.position_m[row]).all():
                trail.append((people.timestamp_ns, people.position_m[row]))
            while trail and trail[0][0] < oldest_ns:
                trail.popleft()
            marks.append(
                PlanPerson(
                    self._called(identity_id),
                    identity_colour(identity_id),
                    people.position_m[row],
                    people.position_cov_m2[row],
                    np.array([place for _, place in trail]).reshape(-1, 2),
                    people.hands_m[row, :, :2],
                )
            )
        return replace(self._plan, people=tuple(marks))

    def _called(self, identity_id: int) -> str:
        """Who somebody is; a number for somebody who is in no visit."""
        return self._replay.pipeline.shopper(identity_id) or f"person-{identity_id}"

    def _things(self, camera_id: str) -> tuple[ThingMark, ...]:
        """What hands hold, in the colour of whose hand it is, and other products."""
        pipeline = self._replay.pipeline
        detections = next((d for d in pipeline.detections if d.camera_id == camera_id), None)
        if detections is None:
            return ()
        names = pipeline.class_names
        shown = np.isin(detections.class_id, PRODUCT_CLASSES) & (detections.confidence >= SURE_ENOUGH_TO_SHOW)
        things = [
            ThingMark(f"{names[class_id]} {confidence:.2f}", xyxy)
            for class_id, confidence, xyxy in zip(
                detections.class_id[shown].tolist(),
                detections.confidence[shown].tolist(),
                detections.xyxy[shown],
                strict=True,
            )
        ]
        held = held_products(detections, names)
        sightings = next((s for s in pipeline.people.sightings if s.camera_id == camera_id), None)
        for row in range(len(held)):
            colour = None
            if sightings is not None and len(sightings.xyxy):
                own = detections.xyxy[held.person_row[row]]
                nearest = int(np.abs(sightings.xyxy - own).sum(axis=1).argmin())
                colour = identity_colour(int(sightings.identity_id[nearest]))
            things.append(ThingMark(f"held {held.confidence[row]:.2f}", held.xyxy[row], colour))
        return tuple(things)

    def _people(self, sightings: Sightings) -> tuple[PersonMark, ...]:
        pipeline = self._replay.pipeline
        detections = next((d.people() for d in pipeline.detections if d.camera_id == sightings.camera_id), None)
        marks = []
        for row, identity_id in enumerate(sightings.identity_id.tolist()):
            keypoints = np.zeros((0, 3))
            if detections is not None and len(detections) and detections.keypoints.shape[1]:
                # The tracker smooths boxes, so the nearest detection is this person's.
                nearest = int(np.abs(detections.xyxy - sightings.xyxy[row]).sum(axis=1).argmin())
                keypoints = detections.keypoints[nearest]
            marks.append(
                PersonMark(
                    self._called(identity_id),
                    identity_colour(identity_id),
                    sightings.xyxy[row],
                    keypoints,
                    sightings.hands_px[row],
                )
            )
        return tuple(marks)

    def _carts(self) -> tuple[CartPanel, ...]:
        touching = dict(self._replay.pipeline.open_contacts)
        return tuple(
            CartPanel(
                cart.shopper,
                identity_colour(cart.identity_id),
                tuple(f"{quantity} x {self._names.get(sku, sku)}" for sku, quantity in cart.lines),
                f"at {self._shelf_label(touching[cart.identity_id])}" if cart.identity_id in touching else "",
            )
            for cart in self._replay.pipeline.carts()
        )

    def _said(self, seen: InteractionSeen) -> str:
        interaction = seen.interaction
        best = interaction.candidates[0] if interaction.candidates else None
        what = self._names.get(interaction.sku or "", "") or place_name(
            self._replay.pipeline.layout.bin(interaction.bin_id)
        )
        verb = "took" if interaction.kind is Handling.PICK else "put back"
        who = "somebody unseen" if best is None else seen.shoppers[0]
        sure = "" if best is None else f", {min(best.probability, 0.99):.0%}"  # never "100 %"
        doubt = "" if seen.sure else "?"
        moment_s = self._replay.seconds(interaction.time_ns)
        return f"{moment_s:.1f} s  {who} {verb} {interaction.quantity} x {what}{sure}{doubt}"

    def __enter__(self) -> Self:
        self._writer.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.__exit__(kind, error, trace)
