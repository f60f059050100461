"""Pictures of the simulated store as its ceiling cameras see it, with an exact id of what every pixel shows."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np

from store_sim.figures import Figures, Goods
from vision.arrays import FloatArray, ImageArray, IntArray, check_shape
from vision.cameras import Camera
from vision.layout import StoreLayout


class Thing(IntEnum):
    """What a pixel may show."""

    SCENERY = 0  # floor, walls, doors, reflections
    GONDOLA = 1
    UNIT = 2  # one unit of a product
    PERSON = 3  # with clothes, bag and trolley


@dataclass(frozen=True, slots=True)
class Things:
    """What the ids of a picture stand for; the id is the row.

    Attributes:
        kind: Values of ``Thing``, shape (t,); row 0 is the scenery.
        row: Shape (t,): the gondola's number, the row in ``Goods``, or the row in ``Figures``; 0 for scenery.
    """

    kind: IntArray
    row: IntArray

    def __post_init__(self) -> None:
        check_shape("Things.kind", self.kind, ("t",))
        check_shape("Things.row", self.row, (len(self.kind),))


@dataclass(frozen=True, slots=True)
class Picture:
    """What one camera sees at one instant, without the faults of its lens (``store_sim.lens``) but with its distortion.

    Attributes:
        camera_id: Which camera.
        image: Shape (h, w, 3), uint8 BGR.
        ids: Row of ``things`` that each pixel shows, shape (h, w), int32; None where no ids were asked for.
        depth_m: Distance of what each pixel shows along the camera's axis, shape (h, w), float32; infinite for nothing.
        things: What the ids stand for; None where no ids were asked for.
        whole_px: Pixels each person and held unit would fill if nothing stood before it, shape (t,); 0 for the rest.
    """

    camera_id: str
    image: ImageArray
    ids: IntArray | None = None
    depth_m: FloatArray | None = None
    things: Things | None = None
    whole_px: IntArray | None = None


@dataclass(frozen=True, slots=True)
class VisibleBoxes:
    """The smallest boxes around what can be seen of people and of products in hands.

    Attributes:
        kind: ``Thing.PERSON`` or ``Thing.UNIT``, shape (n,).
        row: Row in ``Figures`` or ``Goods``, shape (n,).
        xyxy: Shape (n, 4), float32 pixels, from the top-left corner of the top-left pixel.
        share: Part of its silhouette within the picture that nothing hides, shape (n,), above 0, at most 1.
    """

    kind: IntArray
    row: IntArray
    xyxy: FloatArray
    share: FloatArray

    def __len__(self) -> int:
        return len(self.kind)


class Renderer:
    """Draws one store for some of its cameras; keeps what stands still, so that a frame costs only what moves."""

    def __init__(self, layout: StoreLayout, camera_ids: Sequence[str], seed: int, *, antialias: bool = False) -> None:
        """Build the shop.

        Args:
            layout: The store (the day's layout).
            camera_ids: Cameras that pictures will be asked of; they must be calibrated.
            seed: Decides floor, wall and paint; equal seeds give equal pictures.
            antialias: Whether people's edges are smoothed too (the shop's always are).

        Raises:
            ValueError: The layout has no such calibrated camera.
        """

    def aim(self, camera: Camera) -> None:
        """See through this camera from now on instead of the layout's of the same id, as after somebody knocked it."""

    def render(
        self, camera_id: str, figures: Figures, skeletons: Any, goods: Goods, *, with_ids: bool = False
    ) -> Picture:
        """Draw what a camera sees.

        Args:
            camera_id: One of the cameras it was built for.
            figures: People.
            skeletons: Their posed bodies, ``store_sim.bodies.pose(figures)``.
            goods: Every unit of every product.
            with_ids: Whether to tell what each pixel shows as well.
        """
        raise NotImplementedError


def visible_boxes(picture: Picture) -> VisibleBoxes:
    """Find the exact boxes of the people and held units that can be seen, by their ids.

    Raises:
        ValueError: The picture was drawn without ids.
    """
    raise NotImplementedError


def keypoints_seen(picture: Picture, camera: Camera, points_m: FloatArray) -> IntArray:
    """Tell which points of people can be seen, in COCO's words.

    Args:
        picture: Drawn with ids.
        camera: The camera it was drawn with.
        points_m: Key points of the people in ``Figures`` order, shape (n, k, 3), world metres.

    Returns:
        Shape (n, k): 2 visible, 1 in the picture but hidden, 0 outside the picture.
    """
    raise NotImplementedError
