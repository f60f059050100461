"""The store's layout, version by version: who drew what, which one counts, and calibration by pairs of points.

Version 0 is what the files say that the store was started with. Which version was applied last, and over which files it
was drawn, stands in the audit log; after a restart it counts again if the files are still the same.
"""

import hashlib
import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

import cv2
import numpy as np
import yaml
from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError

from cart import audit
from cart.catalog import Catalogue
from cart.errors import LayoutChanged, LayoutNotFound, LayoutRefused
from cart.layout_versions import Fit, KnownLens, LayoutVersion, Objection
from cart.pictures import jpeg_of
from cart.pipeline import catalogue_of
from cart.pricing import load_catalogue
from cart.repository import Database, Repository
from cart.tables import AuditRow, LayoutVersionRow, ProductRow
from vision.arrays import FloatArray
from vision.calibration import calibrate_camera
from vision.fit_drawing import layout_drawn
from vision.layout import LayoutError, StoreLayout, layout_from_entry, layout_to_yaml

_log = logging.getLogger(__name__)
APPLIED = "layout.applied"
_SUBJECT = "layout"


class ChangesOver(Protocol):
    """A floor that takes a new layout; see ``cart.live_store.Floor.change_layout``."""

    def change_layout(self, layout: StoreLayout, *, at_once: bool, done: Callable[[], None]) -> None:
        """Take it between two ticks; ValueError if it cannot work with it."""
        ...


class Layouts:
    """The layout's versions.

    Args:
        database: The shop's.
        base: What the files say.
        now: The time, timezone-aware.
        currency: What the store trades in; ISO 4217 code.
        fit: Fits a layout to the cameras that are there.
    """

    def __init__(
        self,
        database: Database,
        base: StoreLayout,
        now: Callable[[], datetime],
        currency: str,
        fit: Callable[[StoreLayout], StoreLayout] = lambda layout: layout,
    ) -> None:
        self._database, self._now, self._currency, self._fit = database, now, currency, fit
        text = layout_to_yaml(base)
        self._base: dict[str, Any] = yaml.safe_load(text)
        self._base_sha256 = hashlib.sha256(text.encode()).hexdigest()
        self._floor: ChangesOver | None = None
        self.active_version = 0

    def starting(self, base: StoreLayout) -> StoreLayout:
        """The layout to start with: the version applied last if it was drawn over these files, else the files."""
        with self._database.reading() as repository:
            query = select(AuditRow).where(AuditRow.action == APPLIED).order_by(AuditRow.position.desc()).limit(1)
            row = repository.sql.scalars(query).first()
            detail = {} if row is None else dict(row.detail)
        if not detail.get("version"):
            return base
        if detail.get("base_sha256") != self._base_sha256:
            _log.warning("the layout's files have changed: they count, and not version %s", detail["version"])
            return base
        try:
            layout = self._fit(_read(self.version(int(detail["version"])).document))
        except (LayoutNotFound, LayoutRefused, ValueError):
            _log.exception("version %s of the layout cannot be used; the files count", detail["version"])
            return base
        self.active_version = int(detail["version"])
        return layout

    def serve(self, floor: ChangesOver) -> None:
        """Say whose layout it is."""
        self._floor = floor

    def newest(self) -> LayoutVersion:
        """The version drawn last."""
        with self._database.reading() as repository:
            number = _newest(repository)
        return self.version(number)

    def version(self, number: int) -> LayoutVersion:
        """One version.

        Raises:
            LayoutNotFound: There is none.
        """
        if number == 0:
            return LayoutVersion(0, self._base, "The store's files", None, None)
        with self._database.reading() as repository:
            row = repository.sql.get(LayoutVersionRow, number) if number < 2**31 else None
            if row is None:
                raise LayoutNotFound(f"the layout has no version {number}")
            return _version(row)

    def versions(self, older_than: int | None, limit: int) -> tuple[LayoutVersion, ...]:
        """Versions, newest first."""
        query = select(LayoutVersionRow).order_by(LayoutVersionRow.version.desc()).limit(limit)
        if older_than is not None:
            query = query.where(LayoutVersionRow.version < older_than)
        with self._database.reading() as repository:
            found = [_version(row) for row in repository.sql.scalars(query)]
        if len(found) < limit and older_than != 0:
            found.append(self.version(0))
        return tuple(found)

    def check(self, document: Mapping[str, Any]) -> tuple[Objection, ...]:
        """What speaks against a layout, as far as it can be told before the floor tries it; nothing is kept."""
        try:
            self._trading(self._fit(layout_from_entry(document)))
        except LayoutError as error:
            return tuple(Objection(flaw.place, flaw.message) for flaw in error.flaws)
        except ValueError as error:
            return (Objection((), str(error)),)
        return ()

    def save(self, document: Mapping[str, Any], note: str, author_id: UUID | None, *, after: int) -> LayoutVersion:
        """Keep a new version; the store goes on with the one that is active.

        Args:
            document: The layout, as in a file of one.
            note: What was changed, in a person's words.
            author_id: Who drew it.
            after: The version that it was drawn over.

        Raises:
            LayoutRefused: It is wrong; the message names the place.
            LayoutChanged: ``after`` is no longer the newest.
        """
        _read(document)
        try:
            with self._database.transaction() as repository:
                if _newest(repository) != after:
                    raise LayoutChanged(f"somebody has saved a version since version {after}, read it again")
                row = LayoutVersionRow(
                    version=after + 1, document=dict(document), note=note, author_id=author_id, created_at=self._now()
                )
                repository.sql.add(row)
                repository.sql.flush()
                audit.record(repository, author_id, "layout.saved", _SUBJECT, {"version": row.version}, self._now())
                return _version(row)
        except IntegrityError:  # PostgreSQL lets two look before either writes
            raise LayoutChanged(f"somebody has saved a version since version {after}, read it again") from None

    def apply(self, number: int, actor_id: UUID | None, *, at_once: bool) -> None:
        """Have the floor change over to a version, when nobody is inside or at once.

        Raises:
            LayoutNotFound: There is no such version.
            LayoutRefused: The floor cannot work with it; the one before stays.
        """
        try:
            layout = self._fit(_read(self.version(number).document))
            if self._floor is None:
                raise ValueError("the store has no floor")
            known = self._trading(layout)

            def done() -> None:
                at = self._now()
                with self._database.transaction() as repository:
                    there = set(repository.sql.scalars(select(ProductRow.sku)))
                    # Prices that staff have set since stay; only what is new on the shelf becomes known.
                    fresh = Catalogue(known.currency, [product for product in known if product.sku not in there])
                    load_catalogue(repository, fresh, at)
                    detail = {"version": number, "base_sha256": self._base_sha256}
                    audit.record(repository, actor_id, APPLIED, _SUBJECT, detail, at)
                self.active_version = number

            self._floor.change_layout(layout, at_once=at_once, done=done)
        except ValueError as error:
            raise LayoutRefused(str(error)) from error

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
        """Find a camera from pairs of points; changes nothing.

        Args:
            camera_id: The camera.
            pixels: Points of its picture, pixels.
            places_m: Where each of them is in the store, metres.
            wh: Size of the picture, pixels.
            lens: What is known of its lens; None to find its focal length too.
            bends: Whether to find how much the lens bends straight lines, where it is not known.

        Raises:
            LayoutRefused: The pairs do not say where it is.
        """
        try:
            found = calibrate_camera(
                np.array(pixels, float),
                np.array(places_m, float),
                wh,
                camera_id=camera_id,
                intrinsics=None if lens is None else _intrinsics(lens),
                distortion=None if lens is None else np.array(lens.distortion, float),
                estimate_distortion=bends,
            )
            entry = yaml.safe_load(layout_to_yaml(StoreLayout("calibration", (found.camera,))))["cameras"][camera_id]
        except (ValueError, cv2.error, np.linalg.LinAlgError) as error:
            raise LayoutRefused(str(error)) from error
        left_out = tuple(np.flatnonzero(found.is_outlier).tolist())
        return Fit(entry, found.rms_px, tuple(found.errors_px.tolist()), int(np.argmax(found.errors_px)), left_out)

    def drawn(self, document: Mapping[str, Any], camera_id: str, jpeg: bytes) -> bytes:
        """Draw a layout into what one of its cameras sees, so that a person sees whether it fits.

        Raises:
            LayoutRefused: The layout is wrong, or the camera is not calibrated in it.
        """
        layout = _read(document)
        camera = layout.camera(camera_id)
        image = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
        if camera is None or image is None:
            raise LayoutRefused(f"camera {camera_id} is not calibrated in this layout, or its picture cannot be read")
        return jpeg_of(layout_drawn(np.asarray(image, np.uint8), camera, layout))

    def _trading(self, layout: StoreLayout) -> Catalogue:
        """What a layout sells; ValueError if it is priced in another currency than the store's."""
        known = catalogue_of(layout.products, self._currency)
        if known.currency != self._currency:
            raise ValueError(f"its products are priced in {known.currency}, the store trades in {self._currency}")
        return known


def _intrinsics(lens: KnownLens) -> FloatArray:
    (fx, fy), (cx, cy) = lens.focal_px, lens.centre_px
    return np.array([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]])


def _read(document: Mapping[str, Any]) -> StoreLayout:
    try:
        return layout_from_entry(document)
    except ValueError as error:
        raise LayoutRefused(str(error)) from error


def _newest(repository: Repository) -> int:
    return repository.sql.scalar(select(func.max(LayoutVersionRow.version))) or 0


def _version(row: LayoutVersionRow) -> LayoutVersion:
    return LayoutVersion(row.version, row.document, row.note, row.author_id, row.created_at)
