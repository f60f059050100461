"""Bodies of simulated people: how a skeleton stands, walks, crouches and reaches, posed for everybody at once.

The body frame has x forward, y to the left and z up, with its origin on the floor between the feet. A rest pose (arms
half raised, legs straight) belongs to each build, in units of body height; a pose is the rotation of every bone away
from it. Arms and legs are solved in closed form as two bones (law of cosines), the trunk by a rule of posture and then
by the smallest move of the pelvis that lets hands reach and feet stay on the floor.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from store_sim.figures import Figures
from vision.arrays import FloatArray, IntArray, check_shape
from vision.frames import JOINT_NAMES

# Joints, each named for itself; its row of rotations is the bone that begins there.
SKELETON = (
    "pelvis",
    "spine",
    "chest",
    "neck",
    "head",
    "left_clavicle",
    "right_clavicle",
    "left_shoulder",
    "right_shoulder",
    "left_hip",
    "right_hip",
    "left_elbow",
    "right_elbow",
    "left_knee",
    "right_knee",
    "left_wrist",
    "right_wrist",
    "left_ankle",
    "right_ankle",
)
# Bodies that people may have: ``Figures.build`` counts in this order.
BUILDS = (
    "man-middle",
    "man-slim",
    "man-stout",
    "man-strong",
    "man-tall",
    "man-old",
    "man-short",
    "woman-middle",
    "woman-slim",
    "woman-stout",
    "woman-strong",
    "woman-tall",
    "woman-old",
    "woman-short",
    "child",
)
CHILD = BUILDS.index("child")

# What the asset says of itself: which piece of clothing a point belongs to, and which colour it takes.
ASSET = Path(__file__).parent / "assets" / "bodies.npz"
POINT_SCALE = 25_000  # steps a body height, so that points fit 16 bits: 0.07 mm
PIECES = ("body", "hair", "long-hair", "jacket", "skirt", "shoulder-bag", "backpack")
PARTS = (
    *("skin", "jaw", "eyes", "hair", "torso", "front", "sleeve", "forearm", "hips", "fly", "trousers", "shin"),
    *("shoes", "jacket", "skirt", "bag"),
)

# Points that move with a bone without being a joint, and that bone.
LANDMARKS = (
    ("left_grip", "left_wrist"),
    ("right_grip", "right_wrist"),
    ("head_middle", "head"),
    ("nose", "head"),
    ("left_eye", "head"),
    ("right_eye", "head"),
    ("left_ear", "head"),
    ("right_ear", "head"),
    ("left_ball", "left_ankle"),
    ("right_ball", "right_ankle"),
    ("left_heel", "left_ankle"),
    ("right_heel", "right_ankle"),
)
_LANDMARK_NAMES = tuple(name for name, _ in LANDMARKS)
_LANDMARK_BONES = np.array([SKELETON.index(bone) for _, bone in LANDMARKS])
_PELVIS, _CHEST = SKELETON.index("pelvis"), SKELETON.index("chest")
_SHOULDERS, _HIPS, _WRISTS, _ANKLES = slice(7, 9), slice(9, 11), slice(15, 17), slice(17, 19)
_ROOTS, _BENDS, _ENDS = slice(7, 11), slice(11, 15), slice(15, 19)  # of the four limbs
_GRIPS, _BALLS, _HEELS = slice(0, 2), slice(8, 10), slice(10, 12)
_SIDE = np.array([1.0, -1.0])  # left, right along y
_KEYPOINT_LANDMARKS = [_LANDMARK_NAMES.index(n) for n in ("nose", "left_eye", "right_eye", "left_ear", "right_ear")]
_TRACKED = np.array([SKELETON.index(name) for name in JOINT_NAMES])

# Trunk joints hang on the bone whose rotation carries them: (joint, carried by), in the order of _TRUNK.
_TRUNK = np.array([1, 2, 3, 4, 5, 6, 7, 8, 9, 10])
_CARRIED_BY = np.array([0, 1, 2, 3, 2, 2, 5, 6, 0, 0])
_CHAIN = np.zeros((10, 10))
for _row, _joint in enumerate(_TRUNK):
    while _joint != _PELVIS:
        _CHAIN[_row, _joint - 1] = 1.0
        _joint = _CARRIED_BY[_joint - 1]

# Joint limits and habits. Angles in degrees are of healthy adults (Kapandji, The Physiology of the Joints).
_STRAIGHT = np.array([0.99, 0.99, 0.998, 0.998])  # share of their length that arms and legs are stretched to at most
_FOLDED = 0.3  # and folded to at least: 145 degrees of flexion
_LEAN_MAX = np.radians(62)
_TWIST_MAX = np.radians(40)
_SHRUG_MAX = np.radians(35)
_TIPTOE_MAX = np.radians(42)
_LOOK_ASIDE_MAX, _LOOK_UP_MAX, _LOOK_DOWN_MAX = np.radians(65), np.radians(45), np.radians(40)  # against the chest
_YAW_SHARES, _PITCH_SHARES, _ROLL_SHARES = np.array([[0.25, 0.6, 1.0], [0.55, 0.8, 1.0], [0.0, 0.5, 1.0]])
_HIPS_BACK = 0.5  # share of the shoulders' way forward that hips go back, which keeps the weight over the feet
_CROUCH_MAX = 0.33  # heights that the pelvis sinks in a squat
_KNEE_FLOOR_M = -0.03  # a knee may touch the floor, and what is low is soft
_SEAT = 0.18  # heights from the floor to the hips of who squats with the thighs on the calves
_STEP_MAX = 0.16  # heights that a foot steps forward in a long reach
_STANCE = 0.62  # share of the gait cycle that a foot is on the floor (Perry, Gait Analysis)
_STILL_MPS = 0.25  # below this speed the gait fades into standing
_PUSH_OFF, _STRIKE = np.radians(48), np.radians(-14)  # pitch of the foot when it leaves and meets the floor
_BELLY = np.array([[0.15, 0.05, -0.2], [0.15, -0.05, -0.2]])  # heights from between the shoulders, in the chest's frame
_BAR = np.array([[0.24, 0.115, 0.65], [0.24, -0.115, 0.65]])  # heights, body frame
_BAR_UP_M = 1.0  # how high the bar of a shopping trolley is
_FEET_APART = 0.85  # of the way between the hips, standing and walking
_CLOSE_ENOUGH_M = 1e-6
_ROUNDS = 24


@dataclass(frozen=True, slots=True)
class Skeletons:
    """Posed bodies, one row a person.

    Attributes:
        build: Index into ``BUILDS``, shape (n,).
        height_m: Shape (n,).
        joints_m: Where the joints of ``SKELETON`` are, shape (n, 19, 3), world metres.
        rotations: How far each joint's bone is turned from the rest pose, world from rest, shape (n, 19, 3, 3).
    """

    build: IntArray
    height_m: FloatArray
    joints_m: FloatArray
    rotations: FloatArray

    def __post_init__(self) -> None:
        n = len(self.build)
        check_shape("Skeletons.height_m", self.height_m, (n,))
        check_shape("Skeletons.joints_m", self.joints_m, (n, len(SKELETON), 3))
        check_shape("Skeletons.rotations", self.rotations, (n, len(SKELETON), 3, 3))

    def __len__(self) -> int:
        return len(self.build)

    def __getitem__(self, rows: NDArray[Any] | slice) -> "Skeletons":
        """Keep the given rows (indices, a mask or a slice)."""
        return Skeletons(self.build[rows], self.height_m[rows], self.joints_m[rows], self.rotations[rows])


def pose(figures: Figures) -> Skeletons:
    """Pose everybody's whole body.

    A hand with ``reach`` 1 has its grip (the middle of the hand, beyond the wrist) exactly at ``grip_m`` if the person
    can get it there by leaning, twisting, crouching, standing on toes or a small step; otherwise as near as they can.
    Between 0 and 1 it is on the straight way from where it would be at ease. Everything follows from the row itself:
    posing people together or one by one gives the same.

    Args:
        figures: Who stands where and does what.

    Returns:
        Their skeletons in the same order.
    """
    if len(figures) == 0:
        count = len(SKELETON)
        return Skeletons(figures.build, figures.height_m, np.zeros((0, count, 3)), np.zeros((0, count, 3, 3)))
    frames = _rest()
    build, height = figures.build, figures.height_m
    tall = height[:, None]
    rest = frames.standing[build] * tall[:, :, None]
    lengths = frames.lengths[build] * tall[:, :, None]  # (n, 2 segments, 4 limbs)
    arm, leg = lengths[:, :, :2].sum(1), lengths[:, :, 2:].sum(1)
    cos_h, sin_h = np.cos(figures.heading_rad), np.sin(figures.heading_rad)

    target = _into_body_frame(figures, cos_h, sin_h)
    reach = np.where(np.isfinite(target[:, :, 0]), figures.reach, 0.0)
    target = np.where(reach[:, :, None] > 0, target, 0.0)

    gait = _between(figures.speed_mps / _STILL_MPS, 0.0, 1.0)
    phase = (figures.stride[:, None] + np.array([0.0, 0.5])) % 1.0
    swing = np.cos(2 * np.pi * phase[:, ::-1])  # an arm swings with the other side's leg
    pace = _between(figures.speed_mps / 1.4, 0.0, 1.3)
    angles, drop, tiptoe, step, bow = _posture(target, reach, rest, arm, tall)
    gait = gait * np.maximum(1 - 2 * bow, 0)  # nobody strides in a squat
    turn = swing[:, 0] * np.radians(5) * gait
    angles[:, _PELVIS, 0] -= turn
    angles[:, _CHEST, 0] += turn
    foot_x, foot_pitch, foot_lift = _feet(figures, phase, gait, tall)
    angles[:, 7:, 1] = foot_pitch + tiptoe * (1 - gait[:, None])

    turned = _rotations(angles)
    carried = turned[:, _CARRIED_BY] @ (rest[:, _TRUNK] - rest[:, _CARRIED_BY])[..., None]
    from_pelvis = _CHAIN @ carried[..., 0]

    ankle = _ankles(rest, frames, build, tall, turned[:, 7:], angles[:, 7:, 1])
    ankle[:, :, 0] += foot_x + step
    ankle[:, :, 2] += foot_lift
    pelvis: FloatArray = rest[:, _PELVIS].copy()
    pelvis[:, 0] += drop[:, 0] + step.mean(1)
    pelvis[:, 2] += drop[:, 1]
    roots = from_pelvis[:, 6:10]
    at_ease = _hands_at_ease(figures, pelvis, roots, ankle, lengths, swing * pace[:, None], turned[:, _CHEST])
    grip = at_ease + (target - at_ease) * reach[:, :, None]
    ends = np.concatenate([grip, ankle], 1)
    settled = _moved_within_reach(pelvis, roots, ends, np.concatenate([arm, leg], 1), _SEAT * height)
    ends[:, :2] += (settled - pelvis)[:, None] * (1 - reach[:, :, None])  # hands at ease come along
    pelvis = settled

    n = len(build)
    joints = np.empty((n, len(SKELETON), 3))
    joints[:, 0] = pelvis
    joints[:, _TRUNK] = pelvis[:, None] + from_pelvis
    rotations = np.empty((n, len(SKELETON), 3, 3))
    rotations[:, :7] = turned[:, :7]
    rotations[:, _ANKLES] = turned[:, 7:]
    _bend_limbs(joints, rotations, ends, lengths, frames, build)
    return _into_world(figures, cos_h, sin_h, joints, rotations)


def cycle_m(height_m: FloatArray, speed_mps: FloatArray) -> FloatArray:
    """Way that people walk in one gait cycle of two steps, so that feet do not slide.

    ``Figures.stride`` should rise by the way walked over this length. The line through cadences and speeds of healthy
    adults (Perry, Gait Analysis): 1.34 m at 1.2 m/s for a height of 1.7 m, 0.88 m at 0.5 m/s.

    Args:
        height_m: Body heights.
        speed_mps: Walking speeds, the same shape.
    """
    return np.asarray(height_m * (0.33 + 0.38 * speed_mps))


def tracked_joints(skeletons: Skeletons) -> FloatArray:
    """Return what an outside body tracker follows, in the order of ``JOINT_NAMES``, shape (n, 8, 3), world metres.

    The head is its middle. The neck lies halfway from where the neck begins to between the shoulders: the tracker of
    the AutoCheckout competition (CPS-IoT Week 2020) put it 6 cm above the shoulders.
    """
    joints = skeletons.joints_m[:, _TRACKED]
    joints[:, 1] = 0.5 * joints[:, 1] + 0.25 * (joints[:, 2] + joints[:, 3])
    joints[:, 0] = _landmarks(skeletons, [_LANDMARK_NAMES.index("head_middle")])[:, 0]
    return joints


def coco_keypoints(skeletons: Skeletons) -> FloatArray:
    """Return COCO's 17 points (https://cocodataset.org/#keypoints-2020), shape (n, 17, 3), world metres."""
    limbs = [*range(7, 9), *range(11, 13), *range(15, 17), *range(9, 11), *range(13, 15), *range(17, 19)]
    return np.concatenate([_landmarks(skeletons, _KEYPOINT_LANDMARKS), skeletons.joints_m[:, limbs]], axis=1)


def grips(skeletons: Skeletons) -> FloatArray:
    """Return the middle of the left and right hand, where things are held, shape (n, 2, 3), world metres."""
    return _landmarks(skeletons, [0, 1])


def _landmarks(skeletons: Skeletons, which: list[int]) -> FloatArray:
    frames = _rest()
    bones = _LANDMARK_BONES[which]
    offset = (frames.landmarks[:, which] - frames.joints[:, bones])[skeletons.build]
    offset = offset * skeletons.height_m[:, None, None]
    return np.asarray(skeletons.joints_m[:, bones] + (skeletons.rotations[:, bones] @ offset[..., None])[..., 0])


class BodyMeshes:
    """The skins of all builds in all their clothes, which follow skeletons.

    Every build has the same triangles on the same points in other places, so one topology serves all figures for good
    and a renderer need only send new points each frame. ``store_sim.outfits`` says which triangles somebody wears and
    paints the texture for them.

    Attributes:
        faces: Rows of the corners, shape (f, 3), int32, anticlockwise seen from outside.
        part: What each point is, shape (v,), an index into ``PARTS``.
        piece: Which thing worn each point belongs to, shape (v,), an index into ``PIECES``.
        points: Rest pose of each build in body heights, body frame, shape (builds, v, 3), float32.
        normals: Outward unit vectors there, shape (builds, v, 3), float32.
        weights: How much each point moves with each bone of ``SKELETON``, shape (v, 19), rows sum to 1; at most four
            are above 0.
    """

    def __init__(self, baked: dict[str, NDArray[Any]]) -> None:
        self.faces: IntArray = baked["faces"].astype(np.int32)
        self.part: IntArray = baked["part"].astype(np.int64)
        self.piece: IntArray = baked["piece"].astype(np.int64)
        self.points: FloatArray = (baked["points"] / POINT_SCALE).astype(np.float32)
        self.weights: FloatArray = np.zeros((len(self.part), len(SKELETON)), np.float32)
        rows = np.arange(len(self.part))[:, None]
        np.add.at(self.weights, (rows, baked["bone"]), (baked["share"] / 255).astype(np.float32))
        self.normals: FloatArray = _point_normals(self.points, self.faces, baked["weld"]).astype(np.float32)
        # A posed point is the weighted sum over bones of (turned rest point + shift): one product of matrices.
        v = len(self.part)
        ones = np.ones((*self.points.shape[:2], 1), np.float32)
        rest = np.concatenate([self.points, ones], axis=2)[:, :, None]
        self._points_by_bone = (self.weights[None, :, :, None] * rest).reshape(len(BUILDS), v, -1)
        self._normals_by_bone = (self.weights[None, :, :, None] * self.normals[:, :, None]).reshape(len(BUILDS), v, -1)
        for array in (self.faces, self.part, self.piece, self.points, self.normals, self.weights):
            array.flags.writeable = False

    @classmethod
    def load(cls) -> "BodyMeshes":
        """Read the baked file.

        Raises:
            OSError: The file is missing.
            ValueError: It was baked for other builds.
        """
        return cls(_asset())

    def vertices(self, skeletons: Skeletons) -> FloatArray:
        """Skin bodies by linear blending.

        Args:
            skeletons: Whose.

        Returns:
            The points of each person, shape (n, v, 3), float32, world metres.
        """
        rest = _rest().joints[skeletons.build] * skeletons.height_m[:, None, None]
        turned = np.swapaxes(skeletons.rotations, 2, 3) * skeletons.height_m[:, None, None, None]
        shift = skeletons.joints_m - (skeletons.rotations @ rest[..., None])[..., 0]
        moves = np.concatenate([turned, shift[:, :, None]], axis=2).astype(np.float32)
        posed = np.empty((len(skeletons), len(self.part), 3), np.float32)
        for row, build in enumerate(skeletons.build):
            np.matmul(self._points_by_bone[build], moves[row].reshape(-1, 3), out=posed[row])
        return posed

    def vertex_normals(self, skeletons: Skeletons) -> FloatArray:
        """Turn the normals of the same points, shape (n, v, 3), float32, unit vectors out of the body."""
        turned = np.swapaxes(skeletons.rotations, 2, 3).astype(np.float32)
        posed = np.empty((len(skeletons), len(self.part), 3), np.float32)
        for row, build in enumerate(skeletons.build):
            np.matmul(self._normals_by_bone[build], turned[row].reshape(-1, 3), out=posed[row])
        posed /= np.sqrt(np.maximum(np.einsum("nvi,nvi->nv", posed, posed), 1e-12))[..., None]
        return posed


def _point_normals(points: FloatArray, faces: IntArray, weld: IntArray) -> FloatArray:
    """Normals of points, shape (builds, v, 3): one for all points that lie on one place of one surface."""
    corner = points[:, faces]
    across = np.cross(corner[:, :, 1] - corner[:, :, 0], corner[:, :, 2] - corner[:, :, 0])
    total = np.zeros((len(points), int(weld.max()) + 1, 3))
    for build, way in zip(total, across, strict=True):
        np.add.at(build, weld[faces], way[:, None])
    total[np.einsum("bvi,bvi->bv", total, total) < 1e-20] = (
        0.0,
        0.0,
        1.0,
    )  # between triangles folded flat: any will do
    return _unit(total)[:, weld]


@dataclass(frozen=True, slots=True)
class _Rest:
    """The rest pose of every build, in body heights.

    Attributes:
        joints: Shape (builds, 19, 3).
        landmarks: Shape (builds, landmarks, 3).
        standing: The same joints standing upright with the feet under the hips, arms still as they were.
        soles: Balls and heels of the feet then, shape (2, builds, 2, 3).
        lengths: Upper and lower part of left arm, right arm, left leg, right leg, shape (builds, 2, 4); the lower part
            of an arm ends at the grip.
        to_end: Share of the lower part up to the wrist or ankle, shape (builds, 4).
        bone_frames: Inverse frames of the ten limb bones (upper four, lower four, two hands), (builds, 10, 3, 3).
    """

    joints: FloatArray
    landmarks: FloatArray
    standing: FloatArray
    soles: FloatArray
    lengths: FloatArray
    to_end: FloatArray
    bone_frames: FloatArray


@cache
def _asset() -> dict[str, NDArray[Any]]:
    """The baked file, see ``store_sim/bake_bodies.py``."""
    with np.load(ASSET) as file:
        baked = {name: file[name] for name in file.files}
    if tuple(baked["builds"]) != BUILDS:
        raise ValueError(f"{ASSET.name}: expected builds {', '.join(BUILDS)}, got {', '.join(baked['builds'])}")
    return baked


@cache
def _rest() -> _Rest:
    joints = _asset()["joints"].astype(float)
    landmarks = _asset()["landmarks"].astype(float)
    upper = joints[:, _BENDS] - joints[:, _ROOTS]
    lower = joints[:, _ENDS] - joints[:, _BENDS]
    hand = landmarks[:, _GRIPS] - joints[:, _WRISTS]
    to_end = np.linalg.norm(lower, axis=2)
    lower_length = to_end.copy()
    lower_length[:, :2] += np.linalg.norm(hand, axis=2)
    lengths = np.stack([np.linalg.norm(upper, axis=2), lower_length], axis=1)
    bones = _unit(np.concatenate([upper, lower, hand], axis=1))
    # Elbows are bent at rest: they point away from the line between shoulder and wrist. Knees point forward.
    line = _unit(upper[:, :2] + lower[:, :2])
    elbow = upper[:, :2] - np.einsum("bki,bki->bk", upper[:, :2], line)[..., None] * line
    knee = np.broadcast_to(np.array([1.0, 0.0, 0.0]), elbow.shape)
    frame = _bone_frames(bones, np.concatenate([elbow, knee, elbow, knee, elbow], axis=1))

    leg = lengths[:, :, 2:].sum(1)
    hips, ankles = joints[:, _HIPS], joints[:, _ANKLES]
    apart = _FEET_APART * hips[:, :, 1]
    beside = np.stack([np.zeros_like(apart), apart - ankles[:, :, 1], np.zeros_like(apart)], axis=2)
    down = _STRAIGHT[2:] * leg
    lift = (ankles[:, :, 2] + np.sqrt(down**2 - (hips[:, :, 1] - apart) ** 2) - hips[:, :, 2]).min(1)
    standing = joints + lift[:, None, None] * np.array([0.0, 0.0, 1.0])
    standing[:, _ANKLES] = ankles + beside
    soles = np.stack([landmarks[:, _BALLS] + beside, landmarks[:, _HEELS] + beside])
    return _Rest(joints, landmarks, standing, soles, lengths, to_end / lower_length, np.swapaxes(frame, -1, -2))


def _into_body_frame(figures: Figures, cos_h: FloatArray, sin_h: FloatArray) -> FloatArray:
    away = figures.grip_m[:, :, :2] - figures.position_m[:, None]
    x, y = away[:, :, 0], away[:, :, 1]
    c, s = cos_h[:, None], sin_h[:, None]
    return np.stack([c * x + s * y, c * y - s * x, figures.grip_m[:, :, 2]], axis=2)


def _hands_at_ease(
    figures: Figures,
    pelvis: FloatArray,
    roots: FloatArray,
    ankle: FloatArray,
    lengths: FloatArray,
    swing: FloatArray,
    chest: FloatArray,
) -> FloatArray:
    """Grips at ease, body frame: hanging and swinging, before the belly, or on the bar of the trolley."""
    tall = figures.height_m[:, None, None]
    shoulder = pelvis[:, None] + roots[:, :2]
    angle = np.where(swing > 0, 0.42, 0.32) * swing + 0.06
    hanging = np.stack([np.sin(angle), 0.06 * _SIDE + 0 * angle, -np.cos(angle)], axis=2)
    arm = lengths[:, :, :2].sum(1)
    ease = shoulder + hanging * (arm * (0.965 - 0.05 * _between(swing, 0, 1)))[..., None]
    # In a crouch an idle hand rests on the knee.
    hip = pelvis[:, None] + roots[:, 2:]
    half = 0.5 * np.linalg.norm(hip - ankle, axis=2)
    knee = 0.5 * (hip + ankle)
    thigh = lengths[:, 0, 2:]
    knee[..., 0] += np.sqrt(np.maximum(thigh**2 - half**2, 0)) * 0.9
    knee[..., 1] += 0.03 * tall[:, 0] * _SIDE
    knee[..., 2] += 0.06 * tall[:, 0]
    squat = _between(2.6 - 2.6 * half / thigh, 0, 1)[..., None]
    ease += (knee - ease) * squat
    carries, pushes = figures.carries[:, :, None], figures.trolley[:, None, None]
    bar = _BAR * tall
    bar[:, :, 2] = np.minimum(bar[:, :, 2], _BAR_UP_M)
    belly = shoulder.mean(1)[:, None] + (_BELLY * tall) @ np.swapaxes(chest, 1, 2)
    return np.asarray(np.where(carries, belly, np.where(pushes, bar, ease)))


def _posture(
    target: FloatArray, reach: FloatArray, rest: FloatArray, arm: FloatArray, tall: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray, FloatArray]:
    """How people hold themselves to bring their hands somewhere.

    Args:
        target: Where the grips go, body frame, shape (n, 2, 3).
        reach: How far they are on their way, shape (n, 2).
        rest: Joints of the rest pose, shape (n, 19, 3), metres.
        arm: Length from shoulder to grip, shape (n, 2).
        tall: Body heights, shape (n, 1).

    Returns:
        Angles (yaw, pitch, roll) of pelvis, spine, chest, neck, head, clavicles and feet, shape (n, 9, 3); the
        pelvis's way forward and up (n, 2); pitch of the feet (n, 2); steps forward (n, 2), metres; how far they bow
        (n,), 0 to 1.
    """
    trunk = (rest[:, 7, 2] - rest[:, _PELVIS, 2])[:, None]
    away = target - rest[:, _SHOULDERS]
    # A shoulder swings some way around the spine: what is beside the body is nearer than it looks.
    flat = np.hypot(away[:, :, 0], 0.6 * away[:, :, 1])
    bow, short_x, short_z = _bow(flat, away[:, :, 2], 0.96 * arm, trunk, tall)
    bow = (bow * reach).max(1)
    lean = bow * _LEAN_MAX
    up = (_between(short_z, 0, 0.085 * tall * np.sin(_TIPTOE_MAX)) * reach).max(1)
    step = _between(1.5 * short_x, 0, _STEP_MAX * tall) * reach

    weight = reach / np.maximum(reach.sum(1), 1)[:, None]
    ahead = np.maximum(target[:, :, 0], 0.1 * tall)
    bearing = np.arctan2(target[:, :, 1] - 0.5 * rest[:, _SHOULDERS, 1], ahead)
    stretch = _between((flat / arm - 0.6) / 0.4, 0, 1)
    twist = _between((weight * (0.45 * bearing - 0.3 * stretch * _SIDE)).sum(1), -_TWIST_MAX, _TWIST_MAX)
    raised = _between((away[:, :, 2] + 0.25 * arm) / arm, 0, 1) * reach

    angles = np.zeros((len(target), 9, 3))
    angles[:, :3, 0] = twist[:, None] * _YAW_SHARES
    angles[:, :3, 1] = lean[:, None] * _PITCH_SHARES
    angles[:, :3, 2] = 0.16 * (raised * -_SIDE).sum(1)[:, None] * _ROLL_SHARES  # away from the raised arm
    look = (weight[:, :, None] * np.stack([np.arctan2(target[:, :, 1], ahead), _downward(target, ahead, tall)], 2)).sum(
        1
    )
    angles[:, 4, 0] = twist + _between(look[:, 0] - twist, -_LOOK_ASIDE_MAX, _LOOK_ASIDE_MAX)
    angles[:, 4, 1] = lean + _between(look[:, 1] - lean, -_LOOK_UP_MAX, _LOOK_DOWN_MAX)
    angles[:, 3] = 0.5 * (angles[:, 2] + angles[:, 4])
    angles[:, 5:7] = angles[:, 2:3]
    angles[:, 5:7, 2] += raised * _SHRUG_MAX * _SIDE
    angles[:, 5:7, 0] -= stretch * reach * 0.25 * _SIDE

    drop = np.stack([-_HIPS_BACK * trunk[:, 0] * np.sin(lean), up - _CROUCH_MAX * tall[:, 0] * bow**3], axis=1)
    tiptoe = np.arcsin(up / (0.085 * tall[:, 0]))[:, None] * np.ones(2)
    return angles, drop, tiptoe, step, bow


def _downward(target: FloatArray, ahead: FloatArray, tall: FloatArray) -> FloatArray:
    return np.asarray(np.arctan2(0.85 * tall - target[:, :, 2], ahead + 0.1 * tall))


def _bow(
    flat: FloatArray, rise: FloatArray, use: FloatArray, trunk: FloatArray, tall: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """How far to bow, 0 upright to 1 squatting, so that the shoulder comes within an arm's length of the target.

    Bowing leans the trunk first and bends the knees more and more; the least bow that is enough is taken.

    Args:
        flat: Way from the upright shoulder to the target in the floor plane, shape (n, 2).
        rise: And upwards, shape (n, 2).
        use: Length of arm that people like to use, shape (n, 2).
        trunk: From hips to shoulders, shape (n, 1).
        tall: Body heights, shape (n, 1).

    Returns:
        The bow, and what the arm then falls short by forward and upward, each of shape (n, 2).
    """
    bows = np.linspace(0, 1, 13)
    lean = bows * _LEAN_MAX
    forward = (1 - _HIPS_BACK) * trunk * np.sin(lean)
    down = trunk * (1 - np.cos(lean)) + _CROUCH_MAX * tall * bows**3
    far = np.hypot(flat[:, :, None] - forward[:, None], rise[:, :, None] + down[:, None])
    near = far <= use[:, :, None]
    first = np.where(near.any(2), near.argmax(2), far.argmin(2))
    rows, hands = np.arange(len(flat))[:, None], np.arange(2)
    before = far[rows, hands, np.maximum(first - 1, 0)]
    after = far[rows, hands, first]
    # Where the arm suffices between two bows; none of it where it never does.
    share = _between((before - use) / np.maximum(before - after, 1e-9), 0, 1)
    bow = np.where(first > 0, (first - 1 + share) / (len(bows) - 1), 0.0)
    short = np.maximum(after - use, 0) / np.maximum(after, 1e-9)
    fine = np.interp(bow, bows, np.arange(len(bows)))
    whole = np.minimum(fine.astype(int), len(bows) - 1)
    short_x = short * (flat - forward[rows, whole])
    return bow, np.maximum(short_x, 0), np.maximum(short * (rise + down[rows, whole]), 0)


def _feet(
    figures: Figures, phase: FloatArray, gait: FloatArray, tall: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Way forward, pitch and lift of both feet while walking, each of shape (n, 2)."""
    cycle = cycle_m(figures.height_m, figures.speed_mps)[:, None] * gait[:, None]
    on_floor = phase < _STANCE
    stance, flight = phase / _STANCE, (phase - _STANCE) / (1 - _STANCE)
    half = 0.5 * _STANCE * cycle
    glide = np.where(on_floor, 1 - 2 * stance, 2 * flight - np.sin(2 * np.pi * flight) / np.pi - 1)
    x = half * glide - 0.055 * cycle
    heel_off = _between((stance - 0.55) / 0.45, 0, 1)
    rolling = np.where(stance < 0.12, _STRIKE * (1 - stance / 0.12), _PUSH_OFF * heel_off**1.5)
    flying = _STRIKE + (_PUSH_OFF - _STRIKE) * 0.5 * (1 + np.cos(np.pi * flight))
    pitch = np.where(on_floor, rolling, flying) * _between(cycle / (0.5 * tall), 0, 1)
    lift = np.where(on_floor, 0.0, 0.03 * tall * np.sin(np.pi * flight)) * gait[:, None]
    return x, pitch, lift


def _ankles(
    rest: FloatArray, frames: _Rest, build: IntArray, tall: FloatArray, turned: FloatArray, pitch: FloatArray
) -> FloatArray:
    """Ankles of feet that roll over the ball when the heel rises and over the heel when the toes do, (n, 2, 3)."""
    ankle = rest[:, _ANKLES]
    pivot = np.where((pitch > 0)[..., None], *frames.soles[:, build])
    pivot = pivot * tall[..., None]
    return np.asarray(pivot + (turned @ (ankle - pivot)[..., None])[..., 0])


def _moved_within_reach(
    pelvis: FloatArray, roots: FloatArray, ends: FloatArray, limbs: FloatArray, lowest: FloatArray
) -> FloatArray:
    """Move the pelvis until every limb can span from its root to its end: alternate projections onto hollow balls.

    Args:
        pelvis: Where the posture puts it, shape (n, 3).
        roots: Shoulders and hips from the pelvis, shape (n, 4, 3).
        ends: Where grips and ankles should be, shape (n, 4, 3).
        limbs: Lengths of the limbs, shape (n, 4).
        lowest: Height of the pelvis in the deepest squat, shape (n,).
    """
    centres = ends - roots
    longest, shortest = _STRAIGHT * limbs, _FOLDED * limbs
    rows = np.arange(len(pelvis))
    for _ in range(_ROUNDS):
        away = pelvis[:, None] - centres
        distance = np.sqrt(np.einsum("nki,nki->nk", away, away))
        excess = distance - np.minimum(np.maximum(distance, shortest), longest)
        size = np.abs(excess)
        worst = size.argmax(1)
        # Who is there already stays, whatever the others still need: posing does not depend on company.
        due = size[rows, worst] > _CLOSE_ENOUGH_M
        if not due.any():
            break
        share = np.where(due, excess[rows, worst] / np.maximum(distance[rows, worst], 1e-9), 0.0)
        pelvis = pelvis - share[:, None] * away[rows, worst]
        pelvis[:, 2] = np.maximum(pelvis[:, 2], lowest)
    return pelvis


def _bend_limbs(
    joints: FloatArray, rotations: FloatArray, ends: FloatArray, lengths: FloatArray, frames: _Rest, build: IntArray
) -> None:
    """Place elbows, knees, wrists and ankles between roots and ends by the law of cosines, and turn their bones."""
    root = joints[:, _ROOTS]
    upper, lower = lengths[:, 0], lengths[:, 1]
    along = ends - root
    far = np.sqrt(np.einsum("nki,nki->nk", along, along))
    # Rather an elbow bends no further and the hand stays off than a foot goes through the floor.
    least = np.abs(upper - lower) + 1e-6
    least[:, :2] = _FOLDED * (upper + lower)[:, :2]
    distance = _between(far, least, upper + lower - 1e-9)
    direction = along / np.maximum(far, 1e-9)[..., None]
    aside = _bending_side(direction, rotations[:, _CHEST])
    cosine = (upper**2 + distance**2 - lower**2) / (2 * upper * distance)
    sine = np.sqrt(np.maximum(1 - cosine**2, 0))
    _keep_knees_up(
        aside, direction, root[:, 2:, 2] + (upper * cosine * direction[..., 2])[:, 2:], (upper * sine)[:, 2:]
    )
    upper_way = cosine[..., None] * direction + sine[..., None] * aside
    bend = root + upper[..., None] * upper_way
    lower_way = (root + distance[..., None] * direction - bend) / lower[..., None]
    joints[:, _BENDS] = bend
    joints[:, _ENDS] = bend + (lower * frames.to_end[build])[..., None] * lower_way
    ways = np.concatenate([upper_way, lower_way, lower_way[:, :2]], axis=1)
    sides = np.concatenate([aside, aside, aside[:, :2]], axis=1)
    turned = _bone_frames(ways, sides) @ frames.bone_frames[build]
    rotations[:, 7:15] = turned[:, :8]
    rotations[:, _WRISTS] = turned[:, 8:]
    # Bones are kept at the joint they start from: thighs at hips, upper arms at shoulders, forearms at elbows.


def _bending_side(direction: FloatArray, chest: FloatArray) -> FloatArray:
    """Unit vectors across limbs towards elbows and knees, shape (n, 4, 3).

    An elbow points back when the arm hangs, down when it is stretched forward and forward when it is raised, always
    a little outward; a knee points forward and a little outward.
    """
    seen = direction[:, :2] @ chest  # into the chest's frame
    arms = np.stack([seen[..., 2], 0.3 * _SIDE + 0 * seen[..., 2], -seen[..., 0] - 0.3], axis=2)
    pole = np.empty_like(direction)
    pole[:, :2] = arms @ np.swapaxes(chest, 1, 2)
    pole[:, 2:, 0] = 1.0
    # The flatter the way from hip to ankle, the further knees go apart, else they would go down.
    pole[:, 2:, 1] = (0.2 + _between(2 + 2.5 * direction[:, 2:, 2], 0, 1)) * _SIDE
    pole[:, 2:, 2] = 0.0
    pole -= np.einsum("nki,nki->nk", pole, direction)[..., None] * direction
    return _unit(pole)


def _keep_knees_up(aside: FloatArray, direction: FloatArray, along_m: FloatArray, out_m: FloatArray) -> None:
    """Turn the legs of who crouches low about the way from hip to ankle until their knees are not below the floor.

    Args:
        aside: Unit vectors across limbs, shape (n, 4, 3); those of legs are changed in place.
        direction: Unit vectors from roots to ends, shape (n, 4, 3).
        along_m: Height of the point on that way which the knee is beside, shape (n, 2).
        out_m: How far beside it the knee is, shape (n, 2).
    """
    way, across = direction[:, 2:], aside[:, 2:]
    rows, sides = np.nonzero(along_m + out_m * across[..., 2] < _KNEE_FLOOR_M)
    if not len(rows):
        return
    way, across = way[rows, sides], across[rows, sides]
    up = _unit(np.array([0.0, 0.0, 1.0]) - way[:, 2:] * way)
    level = _unit(across - np.einsum("ni,ni->n", across, up)[:, None] * up)
    due = (_KNEE_FLOOR_M - along_m[rows, sides]) / np.maximum(out_m[rows, sides] * up[:, 2], 1e-9)
    share = _between(due, -1.0, 1.0)[:, None]
    aside[rows, sides + 2] = share * up + np.sqrt(1 - share**2) * level


def _bone_frames(ways: FloatArray, sides: FloatArray) -> FloatArray:
    """Right-handed frames whose x runs along the bone and whose y points to the bending side, shape (..., 3, 3)."""
    z = _unit(_cross(ways, sides))
    return np.stack([ways, _cross(z, ways), z], axis=-1)


def _cross(a: FloatArray, b: FloatArray) -> FloatArray:
    """Cross product along the last axis; np.cross takes five times as long for a few dozen vectors."""
    out = np.empty(np.broadcast_shapes(a.shape, b.shape))
    out[..., 0] = a[..., 1] * b[..., 2] - a[..., 2] * b[..., 1]
    out[..., 1] = a[..., 2] * b[..., 0] - a[..., 0] * b[..., 2]
    out[..., 2] = a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]
    return out


def _rotations(angles: FloatArray) -> FloatArray:
    """Rotation matrices Rz(yaw) Ry(pitch) Rx(roll), angles (..., 3) in radians; pitch above 0 leans forward."""
    cosine, sine = np.cos(angles), np.sin(angles)
    cz, cy, cx = cosine[..., 0], cosine[..., 1], cosine[..., 2]
    sz, sy, sx = sine[..., 0], sine[..., 1], sine[..., 2]
    turned = np.empty((*angles.shape, 3))
    turned[..., 0, 0], turned[..., 0, 1], turned[..., 0, 2] = cz * cy, cz * sy * sx - sz * cx, cz * sy * cx + sz * sx
    turned[..., 1, 0], turned[..., 1, 1], turned[..., 1, 2] = sz * cy, sz * sy * sx + cz * cx, sz * sy * cx - cz * sx
    turned[..., 2, 0], turned[..., 2, 1], turned[..., 2, 2] = -sy, cy * sx, cy * cx
    return turned


def _into_world(
    figures: Figures, cos_h: FloatArray, sin_h: FloatArray, joints: FloatArray, rotations: FloatArray
) -> Skeletons:
    heading = np.zeros((len(cos_h), 1, 3, 3))
    heading[:, 0, 0, 0] = heading[:, 0, 1, 1] = cos_h
    heading[:, 0, 1, 0], heading[:, 0, 0, 1] = sin_h, -sin_h
    heading[:, 0, 2, 2] = 1.0
    placed = joints @ np.swapaxes(heading[:, 0], 1, 2)
    placed[:, :, :2] += figures.position_m[:, None]
    return Skeletons(figures.build, figures.height_m, placed, heading @ rotations)


def _between(values: FloatArray, low: FloatArray | float, high: FloatArray | float) -> FloatArray:
    """Clip; np.clip takes twice as long for a few dozen numbers."""
    return np.minimum(np.maximum(values, low), high)


def _unit(vectors: FloatArray) -> FloatArray:
    return np.asarray(vectors / np.maximum(np.sqrt(np.einsum("...i,...i->...", vectors, vectors)), 1e-9)[..., None])
