"""A small shop with goods and people, for tests of pictures."""

from dataclasses import replace

import numpy as np

from store_sim.bodies import Skeletons, pose
from store_sim.figures import Figures, Goods, Whereabouts
from vision.arrays import FloatArray
from vision.cameras import Camera
from vision.layout import Bin, Box, ProductRecord, StoreLayout, Surface

WATER = ProductRecord("2000000000015", "Grey Heron Spring Water 0.5 l", 523, 89, "EUR")
CRISPS = ProductRecord("2000000000022", "Salted Crisps 150 g", 158, 199, "EUR")
BARREL = np.array([-0.47, 0.2, 0.001, -0.001, 0.0])  # as bent as the NanoStore's cameras


def a_camera(
    position_m: tuple[float, float, float] = (2.0, 3.4, 2.5),
    aim_m: tuple[float, float, float] = (2.0, 0.8, 0.8),
    *,
    camera_id: str = "cam1",
    distortion: FloatArray = BARREL,
    resolution_wh: tuple[int, int] = (320, 180),
) -> Camera:
    origin = np.array(position_m)
    forward = np.array(aim_m) - origin
    forward /= np.linalg.norm(forward)
    right = np.cross(forward, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    cam_from_world = np.eye(4)
    cam_from_world[:3, :3] = [right, np.cross(forward, right), forward]
    cam_from_world[:3, 3] = -cam_from_world[:3, :3] @ origin
    width, height = resolution_wh
    intrinsics = np.array([[0.8 * width, 0, 0.49 * width], [0, 0.79 * width, 0.53 * height], [0, 0, 1.0]])
    return Camera(camera_id, intrinsics, distortion, cam_from_world, resolution_wh)


def a_shop(*cameras: Camera, surfaces: tuple[Surface, ...] = ()) -> StoreLayout:
    """A gondola of two shelves along y = 0.5 in the middle of a room, seen from the north."""
    bins = []
    for shelf, height in enumerate((0.3, 0.9), start=1):
        for number, product in enumerate((WATER, CRISPS), start=1):
            # Facing north: along the shelf is west.
            world_from_box = np.diag([-1.0, -1.0, 1.0, 1.0])
            world_from_box[:3, 3] = [3.0 - (number - 1), 0.5, height]
            box = Box(world_from_box, np.array([1.0, 0.4, 0.5]))
            bins.append(Bin(f"1/{shelf}/{number}", sku=product.sku, gondola_id=1, shelf_id=shelf, box=box))
    return StoreLayout(
        "a shop",
        cameras=cameras or (a_camera(),),
        bins=tuple(bins),
        products=(WATER, CRISPS),
        walkable_m=np.array([[0.0, -0.9], [4.0, -0.9], [4.0, 3.5], [0.0, 3.5]]),
        surfaces=surfaces,
    )


def some_goods() -> Goods:
    places = [(x, y, z) for z in (0.3, 0.9) for x in np.arange(1.1, 2.95, 0.15) for y in (0.45, 0.3)]
    n = len(places)
    return Goods(
        version=1,
        skus=(WATER.sku, CRISPS.sku),
        sku_index=np.array([int(x < 2.0) for x, _, _ in places]),
        mass_g=np.full(n, 300.0),
        whereabouts=np.full(n, int(Whereabouts.SHELF)),
        position_m=np.array(places),
        yaw_rad=np.full(n, np.pi / 2),
        holder=np.full(n, -1),
        hand=np.zeros(n, np.int64),
        holders=("ada", "ben"),
    )


def with_units(goods: Goods, rows: list[int], whereabouts: Whereabouts, *, holder: int = -1, hand: int = 1) -> Goods:
    where, holders, hands = goods.whereabouts.copy(), goods.holder.copy(), goods.hand.copy()
    where[rows], holders[rows], hands[rows] = int(whereabouts), holder, hand
    return replace(goods, version=goods.version + 1, whereabouts=where, holder=holders, hand=hands)


def people(*places: tuple[float, float], grip_m: tuple[float, float, float] | None = None) -> tuple[Figures, Skeletons]:
    n = len(places)
    grips_m = np.full((n, 2, 3), np.nan)
    reach = np.zeros((n, 2))
    if grip_m is not None:
        grips_m[0, 1], reach[0, 1] = grip_m, 1.0
    figures = Figures(
        ("ada", "ben", "cleo")[:n],
        build=np.arange(n),
        outfit=np.arange(n) * 3 + 1,
        height_m=np.full(n, 1.75),
        position_m=np.array(places, float).reshape(n, 2),
        heading_rad=np.full(n, -np.pi / 2),
        speed_mps=np.zeros(n),
        stride=np.zeros(n),
        grip_m=grips_m,
        reach=reach,
        carries=np.zeros((n, 2), bool),
        bag=np.zeros(n, bool),
        trolley=np.zeros(n, bool),
    )
    return figures, pose(figures)
