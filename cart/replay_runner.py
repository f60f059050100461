"""Replays a recording in a process of its own and writes down what the pipeline believed: see ``cart.replays``.

Started as ``python -m cart.replay_runner FOLDER RECORDING``; the folder's ``state.json`` says what to leave out.
"""

import gzip
import json
import math
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from functools import partial, reduce
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from cart.checkout import Checkout
from cart.config import Settings
from cart.errors import StoreError
from cart.eyes import named_detector
from cart.payments import FakeGateway
from cart.pipeline import (
    InteractionSeen,
    PipelineSettings,
    StoreEvent,
    StorePipeline,
    VisitClosed,
    VisitOpened,
    catalogue_of,
)
from cart.replay import Replay, ReplayStep, product_names, public_status
from cart.replays import (
    CHUNK_S,
    DEMO_RECORDING,
    MOMENTS_FOLDER,
    RESULT_FILE,
    STATE_FILE,
    ReplayState,
    picture_folder,
    read_state,
    write_json,
)
from cart.repository import Database
from store_sim.autocheckout import read_site
from store_sim.demo_shop import demo_simulation
from store_sim.recording import RecordingSource
from store_sim.replay import find_site, open_recording
from store_sim.simulation import record
from vision.arrays import FloatArray
from vision.child_source import MEBIBYTE, ChildLimits, ChildReader
from vision.frames import Source, SourceNotice, Tick
from vision.layout import StoreLayout, read_layout
from vision.seeing import SeeingSettings

NANOSECONDS = 1_000_000_000
MOMENT_NS = NANOSECONDS // 5
PICTURE_NS = 2 * NANOSECONDS // 5
PICTURE_WIDTH = 640
MOST_PICTURE_BYTES = 2 << 30
TELLS_EVERY_S = 0.5
DEMO_SEED = 2
NICENESS = 10


class Without:
    """A recording with some of its sensors left out.

    Args:
        source: The recording.
        sensors: What is left out, of ``cart.replays.SENSORS``.
    """

    def __init__(self, source: Source, sensors: tuple[str, ...]) -> None:
        self._source, self._sensors = source, frozenset(sensors)

    @property
    def start_ns(self) -> int:
        """When the recording began."""
        return self._source.start_ns

    @property
    def duration_s(self) -> float:
        """Its length."""
        return self._source.duration_s

    @property
    def camera_ids(self) -> tuple[str, ...]:
        """Its cameras, if they are not left out."""
        return () if "cameras" in self._sensors else self._source.camera_ids

    @property
    def resolutions_wh(self) -> dict[str, tuple[int, int]]:
        """Their picture sizes."""
        return {} if "cameras" in self._sensors else self._source.resolutions_wh

    @property
    def has_gates(self) -> bool:
        """Whether gates tell who comes in."""
        return self._source.has_gates and "gates" not in self._sensors

    @property
    def notices(self) -> tuple[SourceNotice, ...]:
        """What had to be left out or repaired so far."""
        return self._source.notices

    def __iter__(self) -> Iterator[Tick]:
        for tick in self._source:
            yield Tick(
                tick.timestamp_ns,
                () if "cameras" in self._sensors else tick.frames,
                () if "scales" in self._sensors else tick.scales,
                None if "bodies" in self._sensors else tick.bodies,
                () if "gates" in self._sensors else tick.gates,
            )


def floor_of(layout: StoreLayout) -> dict[str, Any]:
    """A layout as a floor plan, in metres."""
    return {
        "name": layout.name,
        "walkable_m": None if layout.walkable_m is None else _rounded(layout.walkable_m),
        "entrance_m": None if layout.entrance_m is None else _rounded(layout.entrance_m),
        "exit_m": None if layout.exit_m is None else _rounded(layout.exit_m),
        "bins": [
            {
                "bin_id": each.bin_id,
                "sku": each.sku,
                "gondola_id": each.gondola_id,
                "outline_m": _rounded(
                    cv2.convexHull(each.box.corners_m[:, :2].astype(np.float32)).reshape(-1, 2).astype(float)
                ),
            }
            for each in layout.bins
            if each.box is not None
        ],
    }


class Notebook:
    """Writes down what a pipeline believes, moment by moment.

    Args:
        folder: The replay's folder.
        replay: The replay whose steps are written down.
    """

    def __init__(self, folder: Path, replay: Replay) -> None:
        self._folder, self._replay = folder, replay
        self._names = product_names(replay.pipeline.layout)
        self._chunk: tuple[int, list[str]] = (0, [])
        self._happened: list[dict[str, Any]] = []
        self._interactions: list[dict[str, Any]] = []
        self._next_ns: int | None = None
        self._pictured_ns: dict[str, int] = {}
        self._resolutions_wh: dict[str, tuple[int, int]] = {}
        self._picture_bytes = 0
        (folder / MOMENTS_FOLDER).mkdir(exist_ok=True)

    def add(self, step: ReplayStep) -> None:
        """Write down one step, if it is time to; what happened is never left out."""
        for event in step.events:
            self._happened += self._said(event, step.media_s)
        if step.tick is None:
            self._write(self._moment(step.media_s))
            return
        self._keep_pictures(step.tick)
        now_ns = step.tick.timestamp_ns
        if self._next_ns is None or now_ns >= self._next_ns:
            self._next_ns = now_ns + MOMENT_NS
            self._write(self._moment(round(self._replay.seconds(now_ns), 3)))

    def finish(self) -> None:
        """Write the last piece, and everything that came of it."""
        self._flush()
        floor = floor_of(self._replay.pipeline.layout)
        cameras = sorted(self._pictured_ns)
        document = asdict(self._replay.document())
        result = {
            "floor": floor,
            "cameras": cameras,
            "resolutions_wh": self._resolutions_wh,
            "interactions": self._interactions,
            "document": document,
        }
        write_json(self._folder / RESULT_FILE, result)

    def _moment(self, t_s: float) -> dict[str, Any]:
        pipeline = self._replay.pipeline
        people = pipeline.people
        moment = {
            "t_s": t_s,
            "people": [
                {
                    "identity_id": identity_id,
                    "label": self._called(identity_id),
                    "position_m": _point(people.position_m[row]),
                    "hands_m": [point for hand in people.hands_m[row] if (point := _point(hand)) is not None],
                }
                for row, identity_id in enumerate(people.identity_id.tolist())
            ],
            "contacts": [
                {"identity_id": identity_id, "label": self._called(identity_id), "bin_id": bin_id}
                for identity_id, bin_id in pipeline.open_contacts
            ],
            "unsettled": [
                {
                    "since_s": self._seconds(each.since_ns),
                    "place_m": None if each.place_m is None else _point(each.place_m),
                    "label": None if each.identity_id is None else self._called(each.identity_id),
                }
                for each in pipeline.unsettled
            ],
            "carts": [
                {
                    "label": cart.shopper,
                    "lines": [
                        {"sku": sku, "name": self._names.get(sku, sku), "quantity": units} for sku, units in cart.lines
                    ],
                }
                for cart in pipeline.carts()
            ],
            "boxes": {
                seen.camera_id: [
                    {
                        "identity_id": identity_id,
                        "label": self._called(identity_id),
                        "box_px": _point(seen.xyxy[row]),
                        "hands_px": [point for hand in seen.hands_px[row] if (point := _point(hand)) is not None],
                    }
                    for row, identity_id in enumerate(seen.identity_id.tolist())
                ]
                for seen in people.sightings
            },
            "happened": self._happened,
        }
        self._happened = []
        return moment

    def _said(self, event: StoreEvent, media_s: float) -> list[dict[str, Any]]:
        if isinstance(event, VisitOpened):
            return [{"kind": "came", "label": event.shopper}]
        if isinstance(event, VisitClosed):
            return [{"kind": "left", "label": event.shopper, "status": public_status(event)}]
        if isinstance(event, InteractionSeen):
            self._interactions.append(self._interaction(event, media_s))
            return [{"kind": event.interaction.kind.value, "interaction": len(self._interactions) - 1}]
        return []

    def _interaction(self, seen: InteractionSeen, known_s: float) -> dict[str, Any]:
        interaction = seen.interaction
        weight = interaction.evidence.weight
        return {
            "kind": interaction.kind.value,
            "t_s": self._seconds(interaction.time_ns),
            "start_s": self._seconds(interaction.start_ns),
            "end_s": self._seconds(interaction.end_ns),
            "known_s": round(known_s, 3),
            "bin_id": interaction.bin_id,
            "sku": interaction.sku,
            "name": self._names.get(interaction.sku or "", interaction.sku or ""),
            "quantity": interaction.quantity,
            "recorded_for": seen.recorded_for,
            "sure": seen.sure,
            "candidates": [
                {
                    "label": shopper,
                    "sku": each.sku,
                    "name": self._names.get(each.sku or "", each.sku or ""),
                    "quantity": each.quantity,
                    "probability": round(each.probability, 4),
                }
                for shopper, each in zip(seen.shoppers, interaction.candidates, strict=True)
            ],
            "contacts": [
                {
                    "label": self._called(contact.identity_id),
                    "bin_id": contact.bin_id,
                    "start_s": self._seconds(contact.start_ns),
                    "end_s": self._seconds(contact.end_ns),
                    "distance_m": round(contact.distance_m, 3) if math.isfinite(contact.distance_m) else None,
                    "bins": [[bin_id, round(share, 3)] for bin_id, share in contact.bin_shares],
                }
                for contact in interaction.evidence.contacts
            ],
            "weight": None
            if weight is None
            else {
                "delta_g": round(weight.delta_g, 2),
                "sigma_g": round(weight.sigma_g, 2),
                "plate_ids": list(weight.plate_ids),
                "times_s": [self._seconds(int(at_ns)) for at_ns in weight.curve_ns],
                "grams": [round(float(grams), 1) if np.isfinite(grams) else None for grams in weight.curve_g],
            },
            "saw_shelf": interaction.evidence.shelf is not None,
        }

    def _keep_pictures(self, tick: Tick) -> None:
        for frame in tick.frames:
            last_ns = self._pictured_ns.get(frame.camera_id)
            if last_ns is not None and frame.timestamp_ns - last_ns < PICTURE_NS:
                continue
            if self._picture_bytes > MOST_PICTURE_BYTES:
                return
            self._pictured_ns[frame.camera_id] = frame.timestamp_ns
            height, width = frame.image.shape[:2]
            self._resolutions_wh[frame.camera_id] = width, height
            size = (PICTURE_WIDTH, max(1, round(height * PICTURE_WIDTH / width)))
            image = (
                cv2.resize(frame.image, size, interpolation=cv2.INTER_AREA) if width > PICTURE_WIDTH else frame.image
            )
            done, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 80])
            if done:
                folder = picture_folder(self._folder, frame.camera_id)
                folder.mkdir(parents=True, exist_ok=True)
                at_ms = max(0, round(self._replay.seconds(frame.timestamp_ns) * 1000))
                (folder / f"{at_ms:010d}.jpg").write_bytes(data.tobytes())
                self._picture_bytes += len(data)

    def _write(self, moment: dict[str, Any]) -> None:
        number = int(moment["t_s"] // CHUNK_S)
        if number != self._chunk[0]:
            self._flush()
            self._chunk = number, []
        self._chunk[1].append(json.dumps(moment, allow_nan=False, ensure_ascii=False, separators=(",", ":")))

    def _flush(self) -> None:
        number, lines = self._chunk
        if lines:
            path = self._folder / MOMENTS_FOLDER / f"{number:06d}.jsonl.gz"
            with gzip.open(path, "at", encoding="utf-8", compresslevel=5) as file:
                file.write("\n".join(lines) + "\n")

    def _called(self, identity_id: int) -> str:
        return self._replay.pipeline.shopper(identity_id) or f"person-{identity_id}"

    def _seconds(self, timestamp_ns: int) -> float:
        return round(self._replay.seconds(timestamp_ns), 3)


def run(folder: Path, recording: Path) -> None:
    """Replay a recording into a folder, telling in its ``state.json`` how far it is.

    Args:
        folder: The replay's, as ``cart.replays.Replays`` has made it.
        recording: What is replayed; for the demo's own day, where it is kept once it was made.

    Raises:
        OSError: Something cannot be read or written.
        ValueError: It is no recording.
        StoreError: A setting or a product is not as it should be.
    """
    state = read_state(folder)
    if state.recording == DEMO_RECORDING and not recording.exists():
        fresh = recording.with_name(f"{recording.name}-{state.replay_id}")
        record(demo_simulation(DEMO_SEED), fresh)
        fresh.rename(recording)
    settings = Settings()
    whole, layout = _opened(recording, settings)
    source = Without(whole, state.without)
    has_bodies = isinstance(whole, RecordingSource) and whole.has_bodies and "bodies" not in state.without
    detector = named_detector(()) if source.camera_ids and not has_bodies else None
    catalogue = catalogue_of(layout.products, settings.currency)
    pipeline = StorePipeline(
        layout.for_pictures(source.resolutions_wh),
        Checkout(Database.in_memory(), catalogue, FakeGateway(), payment_attempts=settings.payment_attempts),
        detector,
        PipelineSettings(costs=settings.costs),
        has_gates=source.has_gates,
        seeing=SeeingSettings(detect_every=2, sleeps=True),
    )
    replay = Replay(source, pipeline)
    notebook = Notebook(folder, replay)
    told_s = 0.0
    for step in replay.steps():
        notebook.add(step)
        if time.monotonic() - told_s >= TELLS_EVERY_S:
            told_s = time.monotonic()
            _tell(folder, state, step.media_s, source.duration_s)
    notebook.finish()
    _tell(folder, state, replay.media_s, replay.media_s)


def _tell(folder: Path, state: ReplayState, media_s: float, duration_s: float) -> None:
    share = media_s / duration_s if math.isfinite(duration_s) and duration_s > 0 else 0.0
    told = replace(state, progress=round(min(share, 1.0), 4), duration_s=round(media_s, 3))
    write_json(folder / STATE_FILE, asdict(told))


def _opened(path: Path, settings: Settings) -> tuple[Source, StoreLayout]:
    """Open a recording that somebody else may have made, with the store that lies in it or beside it."""
    limits = ChildLimits(memory_bytes=settings.decoder_memory_mb * MEBIBYTE)
    site = find_site([path])
    layers = [] if site is None else [read_site(site)]
    source = open_recording([path], (layers[0].plates or None) if layers else None, partial(ChildReader, limits=limits))
    if isinstance(source, RecordingSource) and source.layout_path is not None:
        own = read_layout(source.layout_path)
        layers = [own] if own.plates else [*layers, own]
    return source, reduce(StoreLayout.overlaid, layers or [StoreLayout(name=path.stem)])


def _point(values: FloatArray) -> list[float] | None:
    return _rounded(values) if np.isfinite(values).all() else None


def _rounded(values: FloatArray) -> Any:
    return np.round(np.asarray(values, float), 3).tolist()


if __name__ == "__main__":
    os.nice(NICENESS)
    try:
        run(Path(sys.argv[1]), Path(sys.argv[2]))
    except (OSError, ValueError, StoreError) as error:
        sys.exit(str(error))
