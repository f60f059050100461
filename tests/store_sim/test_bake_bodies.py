import numpy as np
import pytest

from store_sim.bake_bodies import JOINT_BONES, SHAPES, decimated
from store_sim.bodies import BUILDS, PARTS, PIECES, SKELETON
from vision.arrays import FloatArray, IntArray


def ball(rows: int = 24, columns: int = 36) -> tuple[FloatArray, IntArray]:
    """A closed sphere of radius 1, its faces anticlockwise from outside."""
    polar, around = np.linspace(0, np.pi, rows)[1:-1], np.linspace(0, 2 * np.pi, columns, endpoint=False)
    ring = np.stack(
        [
            np.outer(np.sin(polar), np.cos(around)),
            np.outer(np.sin(polar), np.sin(around)),
            np.repeat(np.cos(polar)[:, None], columns, 1),
        ],
        axis=2,
    )
    points = np.concatenate([ring.reshape(-1, 3), [[0, 0, 1.0], [0, 0, -1.0]]])
    faces = []
    for row in range(rows - 3):
        for k in range(columns):
            a, b = row * columns + k, row * columns + (k + 1) % columns
            faces += [(a, a + columns, b), (b, a + columns, b + columns)]
    top, bottom, last = len(points) - 2, len(points) - 1, (rows - 3) * columns
    for k in range(columns):
        faces += [(top, k, (k + 1) % columns), (bottom, last + (k + 1) % columns, last + k)]
    return points, np.array(faces)


def test_decimation_keeps_points_a_closed_surface_and_its_shape() -> None:
    points, faces = ball()
    keep, left, part = decimated(points, faces, np.zeros(len(faces), int), np.zeros((len(points), len(SKELETON))), 200)
    assert len(keep) == 200
    assert len(left) == len(part) == 2 * 200 - 4  # Euler: a closed surface without holes
    edges = np.sort(np.concatenate([left[:, [0, 1]], left[:, [1, 2]], left[:, [2, 0]]]), axis=1)
    assert set(np.unique(edges, axis=0, return_counts=True)[1]) == {2}
    corner = points[keep][left]
    volume = (corner[:, 0] * np.cross(corner[:, 1], corner[:, 2])).sum() / 6
    assert volume == pytest.approx(4 / 3 * np.pi, rel=0.06)


def test_decimation_keeps_the_border_between_parts() -> None:
    points, faces = ball()
    upper = (points[faces][:, :, 2].mean(1) > 0.3).astype(int)
    keep, left, part = decimated(points, faces, upper, np.zeros((len(points), len(SKELETON))), 150)
    border = np.intersect1d(left[part == 0], left[part == 1])
    due = np.intersect1d(faces[upper == 0], faces[upper == 1])
    assert np.ptp(points[keep][border, 2]) <= np.ptp(points[due, 2]) + 1e-9
    assert points[keep][border, 2].mean() == pytest.approx(points[due, 2].mean(), abs=0.03)


def test_faces_and_hands_keep_more_points() -> None:
    points, faces = ball()
    weights = np.zeros((len(points), len(SKELETON)))
    weights[:, SKELETON.index("pelvis")] = points[:, 2] <= 0
    weights[:, SKELETON.index("left_wrist")] = points[:, 2] > 0
    keep, _, _ = decimated(points, faces, np.zeros(len(faces), int), weights, 200)
    assert (points[keep, 2] > 0.1).sum() > 1.3 * (points[keep, 2] < -0.1).sum()


def test_every_build_has_a_shape_and_every_joint_a_bone() -> None:
    assert set(SHAPES) == set(BUILDS)
    assert {name.removeprefix("left_").removeprefix("right_") for name in SKELETON} == set(JOINT_BONES)


def test_parts_and_pieces_have_names_of_their_own() -> None:
    assert len(set(PARTS)) == len(PARTS) <= 16  # a texture has 16 tiles
    assert len(set(PIECES)) == len(PIECES)
