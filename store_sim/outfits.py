"""What simulated people wear: which pieces, in which colours and patterns, drawn from the outfit's seed."""

from dataclasses import dataclass

import numpy as np

from store_sim.bodies import BUILDS, PARTS, PIECES, BodyMeshes
from vision.arrays import FloatArray, ImageArray, IntArray, check_shape

TILE_TEXELS = 32
TILES_A_ROW = 4  # parts lie in a square of 4 x 4 tiles
TEXTURE_TEXELS = TILE_TEXELS * TILES_A_ROW
CONTINUED = {"front": "torso", "hips": "trousers", "fly": "trousers"}  # parts that go on in the tile of their neighbour
_MARGIN = 1.5 / TILE_TEXELS  # a point at a part's edge still reads its own tile

# Colours as (red, green, blue) for reading; textures hold them the other way round.
SKIN = ((226, 188, 164), (216, 174, 146), (204, 156, 124), (184, 132, 98), (152, 102, 72), (118, 78, 55), (84, 57, 44))
HAIR = ((24, 20, 18), (42, 30, 22), (74, 50, 32), (110, 76, 44), (170, 132, 80), (120, 56, 30))
GREY = ((160, 160, 160), (205, 204, 200))
CLOTH = (
    *((28, 28, 32), (60, 62, 68), (128, 130, 134), (198, 198, 196), (236, 234, 228), (30, 40, 78), (48, 84, 140)),
    *((122, 160, 200), (150, 34, 40), (206, 70, 56), (228, 132, 52), (232, 200, 84), (60, 104, 66), (110, 150, 96)),
    *((44, 130, 132), (98, 66, 120), (190, 120, 150), (120, 84, 60), (178, 150, 116)),
)
LEGWEAR = ((34, 44, 74), (58, 78, 116), (26, 26, 30), (70, 70, 74), (176, 158, 126), (92, 80, 62), (58, 66, 50))
FOOTWEAR = ((24, 24, 26), (236, 236, 236), (92, 62, 42), (60, 64, 80), (150, 40, 44))
BAGS = ((30, 30, 34), (110, 72, 44), (62, 76, 60), (150, 44, 50), (46, 66, 110), (190, 170, 130))
EYES = (60, 46, 38)


@dataclass(frozen=True, slots=True)
class Dress:
    """How one person looks.

    Attributes:
        faces: The triangles of ``BodyMeshes.faces`` that are worn, shape (f, 3), int32; points they leave out are not
            seen.
        texture: Shape (128, 128, 3), uint8, BGR, for the places of ``texture_uv``.
    """

    faces: IntArray
    texture: ImageArray

    def __post_init__(self) -> None:
        check_shape("Dress.faces", self.faces, ("f", 3))
        check_shape("Dress.texture", self.texture, (TEXTURE_TEXELS, TEXTURE_TEXELS, 3))


def texture_uv(meshes: BodyMeshes) -> FloatArray:
    """Place of every point in the texture, shape (v, 2), float32: (0, 0) top left, (1, 1) bottom right.

    Each part is laid into its tile as seen from the front.
    """
    middle = meshes.points[:-1].mean(0)
    place = np.empty((len(middle), 2), np.float32)
    for name in sorted(set(PARTS) - set(CONTINUED)):
        part = PARTS.index(name)
        rows = np.flatnonzero(
            np.isin(meshes.part, [part, *(PARTS.index(n) for n, on in CONTINUED.items() if on == name)])
        )
        seen = np.stack([-middle[rows, 1], -middle[rows, 2]], axis=1)
        low, high = seen.min(0), seen.max(0)
        within = _MARGIN + (1 - 2 * _MARGIN) * (seen - low) / np.maximum(high - low, 1e-9)
        place[rows] = (within + np.array([part % TILES_A_ROW, part // TILES_A_ROW])) / TILES_A_ROW
    return place


def dress(meshes: BodyMeshes, build: int, outfit: int, *, bag: bool = False) -> Dress:
    """Dress a body.

    Clothes follow the seed alone, so equal seeds look alike; how long the hair is and whether a skirt is worn follow
    the build too. An odd seed wears a jacket over what the even seed just below it wears: ``outfit & ~1`` is the same
    person with the jacket off.

    Args:
        meshes: The skins.
        build: Index into ``BUILDS``.
        outfit: Seed, 0 or more.
        bag: Whether a bag or a backpack is carried.

    Raises:
        ValueError: No such build, or a seed below 0.
    """
    if not 0 <= build < len(BUILDS):
        raise ValueError(f"build: expected 0 to {len(BUILDS) - 1}, got {build}")
    if outfit < 0:
        raise ValueError(f"outfit: expected a seed of 0 or more, got {outfit}")
    kind = BUILDS[build]
    woman, old, child = kind.startswith("woman"), kind.endswith("old"), kind == "child"
    rng = np.random.default_rng(outfit // 2)
    chance = dict(zip(("hair", "beard", "skirt", "short", "shorts", "cap", "pack", "grey"), rng.random(8), strict=True))
    skin = _one_of(SKIN, rng)
    hair = _one_of(GREY if old or (chance["grey"] < 0.06 and not child) else HAIR, rng)
    shirt, second, legs, coat = (_one_of(c, rng) for c in (CLOTH, CLOTH, LEGWEAR, CLOTH))
    shoes, bag_colour, cap, skirt = (_one_of(c, rng) for c in (FOOTWEAR, BAGS, CLOTH, CLOTH))
    pattern = int(rng.integers(6))

    wears_skirt = woman and chance["skirt"] < 0.25
    bald = kind.startswith("man") and chance["hair"] < (0.3 if old else 0.08)
    long_hair = (woman or (child and outfit % 4 > 1)) and chance["hair"] < 0.7
    capped = chance["cap"] < 0.1
    worn = {"body", "long-hair" if long_hair else "hair"}
    if bald and not capped:
        worn.discard("hair")
    if outfit % 2:
        worn.add("jacket")
    if wears_skirt:
        worn.add("skirt")
    if bag:
        worn.add("backpack" if chance["pack"] < 0.4 else "shoulder-bag")
    first = meshes.faces[:, 0]
    chosen = np.isin(meshes.piece[first], [PIECES.index(name) for name in sorted(worn)])
    if wears_skirt:
        chosen &= ~np.isin(meshes.part[first], [PARTS.index(name) for name in ("hips", "fly", "trousers")])

    bearded = kind.startswith("man") and chance["beard"] < 0.3
    colour = dict.fromkeys(PARTS, skin)
    colour["eyes"] = np.array(EYES, float)
    colour["hair"] = cap if capped else skin if bald else hair
    colour["jaw"] = 0.35 * skin + 0.65 * hair if bearded else skin
    colour["torso"] = colour["front"] = colour["sleeve"] = shirt
    colour["forearm"] = skin if chance["short"] < 0.45 else shirt
    colour["hips"] = colour["fly"] = colour["trousers"] = legs
    colour["shin"] = skin if wears_skirt or chance["shorts"] < 0.12 else legs
    colour["shoes"], colour["jacket"], colour["skirt"], colour["bag"] = shoes, coat, skirt, bag_colour
    return Dress(meshes.faces[chosen], _painted(colour, second, pattern, rng))


def _one_of(colours: tuple[tuple[int, int, int], ...], rng: np.random.Generator) -> FloatArray:
    """Pick a colour and let it fade or darken a little."""
    return np.clip(np.array(colours[rng.integers(len(colours))]) * rng.uniform(0.88, 1.08), 4, 250)


def _painted(colour: dict[str, FloatArray], second: FloatArray, pattern: int, rng: np.random.Generator) -> ImageArray:
    size = TILE_TEXELS
    texture = np.full((TEXTURE_TEXELS, TEXTURE_TEXELS, 3), 128.0)
    down, across = np.mgrid[:size, :size] / size
    weave = rng.normal(1, 0.025, (size, size))  # no cloth and no skin is quite even
    for part, name in enumerate(PARTS):
        tile = np.broadcast_to(colour[name], (size, size, 3)).copy()
        if name in ("torso", "sleeve") or (name == "forearm" and colour[name] is colour["sleeve"]):
            tile[_pattern(pattern, down, across, name)] = second
        if name in ("shoes",):
            tile[down > 0.72] *= 0.55  # soles
        if name in ("torso", "trousers", "shin", "jacket", "skirt"):
            tile *= (1.04 - 0.1 * down)[..., None]
        row, column = divmod(part, TILES_A_ROW)
        texture[row * size : (row + 1) * size, column * size : (column + 1) * size] = tile * weave[..., None]
    return np.asarray(np.clip(texture[:, :, ::-1], 0, 255), np.uint8)


def _pattern(pattern: int, down: FloatArray, across: FloatArray, part: str) -> FloatArray:
    """Where the second colour of a shirt goes: nowhere, stripes across, checks, a broad band, or a print."""
    if pattern == 1:
        return np.asarray((down * 8) % 1 < 0.5)
    if pattern == 2:
        return np.asarray(((down * 8) % 1 < 0.3) ^ ((across * 8) % 1 < 0.3))
    if pattern == 3 and part == "torso":
        return np.asarray(np.abs(down - 0.45) < 0.12)
    if pattern == 4 and part == "torso":
        return np.asarray(np.hypot(down - 0.45, across - 0.5) < 0.13)
    return np.zeros_like(down, bool)
