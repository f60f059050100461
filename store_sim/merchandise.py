"""All goods of a shop as meshes: what stands on shelves and the floor, by gondola, and what people hold."""

from collections import Counter
from dataclasses import dataclass

import cv2
import numpy as np

from store_sim.bodies import Skeletons, grips
from store_sim.figures import Figures, Goods, Whereabouts
from store_sim.goods import labels_of, look_of
from store_sim.meshes import Mesh, Textures, joined
from store_sim.scenery import BASKET_HEIGHT_M, Gondola, handle_m, pack_mesh
from vision.arrays import BoolArray, FloatArray, ImageArray, IntArray
from vision.layout import ProductRecord, StoreLayout

LABEL_PX = 64  # a pack a metre before a ceiling camera is some 60 px high
_STANDING = (Whereabouts.SHELF, Whereabouts.FLOOR)
_NOWHERE = -1
_BASKET_M = np.array([[x, y] for x in (0.7, 0.56, 0.42, 0.28) for y in (-0.13, 0.0, 0.13)])  # from the handle
_UNIT_CUBE = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)], float)


@dataclass(frozen=True, slots=True)
class _Standing:
    """Where goods stood when they were looked at last; what does not stand has zeros, and cell -1."""

    skus: tuple[str, ...]
    sku_index: IntArray
    stands: BoolArray
    position_m: FloatArray
    yaw_rad: FloatArray
    cell: IntArray


class Merchandise:
    """Meshes of goods, made anew only where goods have moved.

    Attributes:
        cells: What stands in each gondola, by its place in the given order, and on the floor, one number beyond them.
    """

    def __init__(self, layout: StoreLayout, gondolas: tuple[Gondola, ...], textures: Textures) -> None:
        """Start without goods.

        Args:
            layout: Says what products are.
            gondolas: Where goods may stand.
            textures: Where labels are added.
        """
        self._products = {product.sku: product for product in layout.products}
        self._gondolas, self._textures = gondolas, textures
        self._packs: dict[str, Mesh] = {}
        self._seen: tuple[int, IntArray] | None = None
        self._last: _Standing | None = None
        self.cells: dict[int, Mesh] = {}

    def look(self, goods: Goods, first_thing: int) -> FloatArray | None:
        """Take note of what has moved since the last look.

        Args:
            goods: All goods.
            first_thing: What the first row of goods is as a ``Mesh.thing``.

        Returns:
            Corners around where goods were and are that have moved, shape (n, 3), world metres; no rows when all may
            have; None when nothing has.
        """
        if self._seen is not None and self._seen[0] == goods.version and self._seen[1] is goods.whereabouts:
            return None
        self._seen = goods.version, goods.whereabouts
        last = self._last
        if last is not None and (last.skus != goods.skus or not np.array_equal(last.sku_index, goods.sku_index)):
            last = None
        stands = np.isin(goods.whereabouts, _STANDING)
        position = np.where(stands[:, None], goods.position_m, 0.0)
        yaw = np.where(stands, goods.yaw_rad, 0.0)
        if last is None:
            self.cells.clear()
            changed = np.arange(len(stands))
            cell = np.full(len(stands), _NOWHERE)
        else:
            differs = (position != last.position_m).any(axis=1) | (yaw != last.yaw_rad) | (stands != last.stands)
            changed = np.flatnonzero(differs)
            cell = last.cell.copy()
            if not len(changed):
                return None
        cells_before = np.unique(cell[changed])
        cell[changed] = _NOWHERE
        now = changed[stands[changed]]
        cell[now] = self._cells_of(position[now], goods.whereabouts[now] == Whereabouts.FLOOR)
        for number in np.union1d(cells_before, cell[now]):
            if number != _NOWHERE:
                self.cells[int(number)] = self._cell_mesh(
                    goods, np.flatnonzero(cell == number), int(number), first_thing
                )
        self._last = _Standing(goods.skus, goods.sku_index.copy(), stands, position, yaw, cell)
        if last is None:
            return np.zeros((0, 3))
        around = [self._around(goods, row, last.position_m[row]) for row in changed[last.stands[changed]]]
        around += [self._around(goods, row, position[row]) for row in now]
        return np.concatenate(around)

    def _cells_of(self, points_m: FloatArray, on_floor: BoolArray) -> IntArray:
        """The gondola nearest to each of the points, shape (n, 3), or the floor."""
        floor = len(self._gondolas)
        if not floor or not len(points_m):
            return np.full(len(points_m), floor)
        away = np.stack([gondola.footprint_distances_m(points_m) for gondola in self._gondolas])
        return np.where(on_floor, floor, away.argmin(axis=0))

    def _cell_mesh(self, goods: Goods, rows: IntArray, number: int, first_thing: int) -> Mesh:
        packs = []
        for index in np.unique(goods.sku_index[rows]):
            units = rows[goods.sku_index[rows] == index]
            pack = self.pack(goods.skus[index])
            position = goods.position_m[units]
            middle = position + np.array([0, 0, float(pack.points_m[:, 2].max()) / 2])
            on_floor = number == len(self._gondolas)
            light = np.ones(len(units)) if on_floor else self._gondolas[number].shade(middle)
            packs.append(pack.repeated(position, goods.yaw_rad[units], light, first_thing + units))
        return joined(packs)

    def _around(self, goods: Goods, row: int, position_m: FloatArray) -> FloatArray:
        """Corners of a box around a unit however it is turned, shape (8, 3)."""
        points = self.pack(goods.skus[goods.sku_index[row]]).points_m
        reach = float(np.hypot(points[:, 0], points[:, 1]).max()) + 0.005
        low = position_m - np.array([reach, reach, 0.01])
        high = position_m + np.array([reach, reach, float(points[:, 2].max()) + 0.01])
        return np.asarray(low + _UNIT_CUBE * (high - low))

    def pack(self, sku: str) -> Mesh:
        """One unit of a product, standing at the origin; made when first asked for."""
        if sku not in self._packs:
            # What shoppers bring along is in no catalogue.
            product = self._products.get(sku) or ProductRecord(sku, sku, float("nan"), None, "EUR")
            look, labels = look_of(product), labels_of(product)
            body, lid = self._textures.plain(look.body_rgb[::-1]), self._textures.plain(look.lid_rgb[::-1])
            faces = (labels.wrap,) if look.is_round else (labels.front, labels.side, labels.top)
            prints = [self._textures.add(_for_ceiling_cameras(face)) for face in faces]
            self._packs[sku] = pack_mesh(look, body, lid, prints[0], prints[-2 % len(prints)], prints[-1])
        return self._packs[sku]

    def held(self, figures: Figures, skeletons: Skeletons, goods: Goods, first_thing: int) -> Mesh:
        """Units in hands, side by side where one hand holds several; ``thing`` is as in ``look``."""
        rows = {person: row for row, person in enumerate(figures.person_id)}
        together: dict[tuple[int, int], list[int]] = {}
        for unit in np.flatnonzero(goods.whereabouts == Whereabouts.HAND).tolist():
            row = rows.get(goods.holders[goods.holder[unit]])
            if row is not None:
                together.setdefault((row, int(goods.hand[unit])), []).append(unit)
        if not together:
            return joined([])
        hands = grips(skeletons)
        meshes = []
        for (row, hand), units in together.items():
            heading = figures.heading_rad[row]
            ahead = np.array([np.cos(heading), np.sin(heading), 0.0])
            aside = np.array([-ahead[1], ahead[0], 0.0])
            packs = [self.pack(goods.skus[goods.sku_index[unit]]) for unit in units]
            widths = [float(np.ptp(pack.points_m[:, 1])) for pack in packs]
            at_m = -sum(widths) / 2
            for unit, pack, width in zip(units, packs, widths, strict=True):
                # A hand closes around the upper half, its palm behind the unit.
                high = float(pack.points_m[:, 2].max())
                place = hands[row, hand] + aside * (at_m + width / 2) + ahead * 0.02 - [0, 0, 0.55 * high]
                at_m += width
                meshes.append(
                    pack.repeated(place[None], np.array([heading]), np.ones(1), np.array([first_thing + unit]))
                )
        return joined(meshes)

    def carted(self, figures: Figures, goods: Goods, first_thing: int) -> Mesh:
        """Units that people with a trolley have put away, in rows in it; what others have is in bags, unseen."""
        rows = {person: row for row, person in enumerate(figures.person_id) if figures.trolley[row]}
        laid: Counter[int] = Counter()
        meshes = []
        for unit in np.flatnonzero(goods.whereabouts == Whereabouts.BAG).tolist() if rows else ():
            row = rows.get(goods.holders[goods.holder[unit]])
            if row is None:
                continue
            layer, place = divmod(laid[row], len(_BASKET_M))
            laid[row] += 1
            heading = figures.heading_rad[row]
            turn = np.array([[np.cos(heading), -np.sin(heading)], [np.sin(heading), np.cos(heading)]])
            level = handle_m(figures.position_m[row], heading, figures.height_m[row]) + turn @ _BASKET_M[place]
            position = np.array([[*level, BASKET_HEIGHT_M + 0.12 * layer]])
            pack = self.pack(goods.skus[goods.sku_index[unit]])
            meshes.append(pack.repeated(position, np.array([heading]), np.ones(1), np.array([first_thing + unit])))
        return joined(meshes)


def _for_ceiling_cameras(rgb: ImageArray) -> ImageArray:
    """A label no finer than ceiling cameras can tell, uint8 BGR."""
    times = max(1, len(rgb) // LABEL_PX)
    size = max(1, rgb.shape[1] // times), max(1, rgb.shape[0] // times)
    return np.asarray(cv2.resize(rgb[..., ::-1], size, interpolation=cv2.INTER_AREA), np.uint8)
