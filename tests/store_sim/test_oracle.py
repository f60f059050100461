"""The detector that reads the truth: exact when asked, wrong on purpose otherwise."""

from dataclasses import dataclass, replace

import numpy as np
import pytest

from store_sim.bodies import coco_keypoints, pose
from store_sim.figures import Figures
from store_sim.oracle import EXACT, OracleDetector, OracleSettings
from store_sim.simulation import Scene
from vision.arrays import FloatArray
from vision.cameras import Camera
from vision.detections import COCO_PERSON, LEFT_ANKLE, RIGHT_ANKLE, Detections
from vision.detector import ObjectDetector
from vision.frames import Frame
from vision.layout import Bin, Box, StoreLayout

WIDTH, HEIGHT = 640, 360
BLANK = np.zeros((HEIGHT, WIDTH, 3), np.uint8)


def looking(
    from_m: tuple[float, float, float], at_m: tuple[float, float, float], camera_id: str = "a", k1: float = 0.0
) -> Camera:
    """A camera with a level horizon."""
    ahead = np.subtract(at_m, from_m) / np.linalg.norm(np.subtract(at_m, from_m))
    right = np.cross(ahead, [0, 0, 1.0])
    right /= np.linalg.norm(right)
    cam_from_world = np.eye(4)
    cam_from_world[:3, :3] = [right, np.cross(ahead, right), ahead]
    cam_from_world[:3, 3] = -cam_from_world[:3, :3] @ np.array(from_m, float)
    intrinsics = np.array([[400.0, 0, WIDTH / 2], [0, 400.0, HEIGHT / 2], [0, 0, 1]])
    return Camera(camera_id, intrinsics, np.array([k1, 0, 0, 0, 0]), cam_from_world, (WIDTH, HEIGHT))


CAMERA = looking((0, -4, 2.4), (0, 1, 0.8))


@dataclass
class Stage:
    """A store in which nothing moves."""

    layout: StoreLayout
    figures: Figures
    cameras: dict[str, Camera]

    def scene(self, frame: Frame) -> Scene | None:
        camera = self.cameras.get(frame.camera_id)
        return None if camera is None else Scene(self.figures, pose(self.figures), camera)


def people(*places: tuple[float, float]) -> Figures:
    n = len(places)
    zero, no = np.zeros(n), np.zeros(n, bool)
    return Figures(
        person_id=tuple(f"p{row}" for row in range(n)),
        build=np.zeros(n, int),
        outfit=np.arange(n),
        height_m=zero + 1.75,
        position_m=np.array(places, float).reshape(n, 2),
        heading_rad=zero - np.pi / 2,
        speed_mps=zero,
        stride=zero,
        grip_m=np.full((n, 2, 3), np.nan),
        reach=np.zeros((n, 2)),
        carries=np.zeros((n, 2), bool),
        bag=no,
        trolley=no,
    )


def seen(
    figures: Figures,
    settings: OracleSettings = EXACT,
    frames: int = 1,
    camera: Camera = CAMERA,
    bins: tuple[Bin, ...] = (),
    seed: int = 0,
) -> list[Detections]:
    stage = Stage(StoreLayout("stage", bins=bins), figures, {camera.camera_id: camera})
    oracle = OracleDetector(stage, np.random.default_rng(seed), settings)
    return [oracle.detect([Frame(camera.camera_id, k, k * 100_000_000, BLANK)])[0] for k in range(frames)]


def wall(x_m: float, y_m: float, top_m: float) -> Bin:
    """A gondola half a metre deep and two metres long whose goods reach up to a height."""
    world_from_box = np.eye(4)
    world_from_box[:3, 3] = x_m - 1, y_m, 0.2
    return Bin("wall", gondola_id=1, shelf_id=1, box=Box(world_from_box, np.array([2.0, 0.5, top_m - 0.2])))


def test_it_is_a_detector_with_cocos_classes() -> None:
    oracle: ObjectDetector = OracleDetector(Stage(StoreLayout("x"), people(), {}), np.random.default_rng(0))
    assert oracle.class_names[COCO_PERSON] == "person"
    assert oracle.has_keypoints


def test_an_exact_oracle_gives_projected_key_points_and_a_box_around_them() -> None:
    figures = people((-1, 0), (1, 1))
    (found,) = seen(figures)
    assert len(found) == 2
    for row, points_m in enumerate(coco_keypoints(pose(figures))):
        expected = CAMERA.image_points(points_m)
        np.testing.assert_allclose(found.keypoints[row, :, :2], expected, atol=1e-3)
        left, top, right, bottom = found.xyxy[row]
        assert left < expected[:, 0].min()
        assert right > expected[:, 0].max()
        assert 0 < expected[:, 1].min() - top < 25
        assert 0 < bottom - expected[:, 1].max() < 15
    assert (found.class_id == COCO_PERSON).all()
    assert (found.keypoints[:, :, 2] > 0.5).all()


def test_the_lens_distorts_what_it_sees() -> None:
    bent = looking((0, -4, 2.4), (0, 1, 0.8), k1=-0.25)
    figures = people((-2, 1))
    straight, curved = seen(figures)[0], seen(figures, camera=bent)[0]
    np.testing.assert_allclose(
        curved.keypoints[0, :, :2], bent.image_points(coco_keypoints(pose(figures))[0]), atol=1e-3
    )
    assert np.abs(curved.xyxy - straight.xyxy).max() > 5


def test_nobody_is_seen_behind_the_camera_or_beside_the_picture() -> None:
    assert len(seen(people((0, -6)))[0]) == 0
    strong = looking((0, -4, 2.4), (0, 1, 0.8), k1=-0.4)  # its polynomial folds back what is far to the side
    assert len(seen(people((15, -3), (-9, -4)), camera=strong)[0]) == 0


def test_a_box_ends_where_the_picture_ends() -> None:
    near = looking((0, -1.2, 1.6), (0, 1, 1.5))
    (found,) = seen(people((0, 0)), camera=near)
    assert found.xyxy[0, 3] == HEIGHT
    assert (found.keypoints[0, [LEFT_ANKLE, RIGHT_ANKLE], 2] < 0.2).all()


def test_a_gondola_hides_legs() -> None:
    free, (found,) = seen(people((0, 1)))[0], seen(people((0, 1)), bins=(wall(0, 0, 1.0),))
    assert (found.keypoints[0, [LEFT_ANKLE, RIGHT_ANKLE], 2] < 0.5).all()
    assert found.keypoints[0, 0, 2] > 0.5
    assert found.xyxy[0, 3] < free.xyxy[0, 3] - 20
    assert found.xyxy[0, 1] == pytest.approx(free.xyxy[0, 1])


def test_a_high_gondola_hides_everything() -> None:
    assert len(seen(people((0, 0.8)), bins=(wall(0, 0, 2.4),))[0]) == 0


def test_whoever_stands_before_a_gondola_is_seen() -> None:
    (found,) = seen(people((0, -0.5)), bins=(wall(0, 0, 2.0),))
    assert (found.keypoints[0, :, 2] > 0.5).all()


def test_somebody_in_front_hides_somebody_behind() -> None:
    level = looking((0, -4, 1.2), (0, 1, 1.2))
    (found,) = seen(people((0, 0), (0, 1.5)), replace(EXACT, least_share=0.2, sure_share=0.5), camera=level)
    assert len(found) == 1
    assert found.keypoints[0, LEFT_ANKLE, 1] == pytest.approx(
        level.image_points(coco_keypoints(pose(people((0, 0))))[0])[LEFT_ANKLE, 1], abs=1e-3
    )


def test_usual_mistakes_are_small_and_differ_from_frame_to_frame() -> None:
    figures = people((-1, 0), (1, 1))
    true, found = seen(figures)[0], seen(figures, OracleSettings(misses_per_s=0, ghosts_per_s=0), 50)
    errors = np.array([one.xyxy - true.xyxy for one in found])
    height = true.xyxy[:, 3] - true.xyxy[:, 1]
    assert 0.005 < np.std(errors[..., 3]) / height.mean() < 0.03
    assert np.abs(errors.mean(axis=0)).max() < 2
    confidence = np.concatenate([one.confidence for one in found])
    assert 0.8 < confidence.mean() < 0.95
    assert confidence.std() > 0.01


def test_people_are_missed_for_a_while() -> None:
    counts = [len(one) for one in seen(people((0, 0)), OracleSettings(misses_per_s=0.5, ghosts_per_s=0), 600)]
    assert 0.02 < np.mean(np.array(counts) == 0) < 0.35


def test_now_and_then_somebody_is_seen_who_is_not_there() -> None:
    found = seen(people(), OracleSettings(ghosts_per_s=0.5), 300)
    ghosts = [one for one in found if len(one)]
    assert 3 < len(ghosts) < 40
    assert all(one.confidence[0] < 0.5 for one in ghosts)


def test_a_frame_that_is_forgotten_shows_nobody() -> None:
    stage = Stage(StoreLayout("x"), people((0, 0)), {})
    (found,) = OracleDetector(stage, np.random.default_rng(0)).detect([Frame("gone", 0, 5, BLANK)])
    assert (found.camera_id, found.timestamp_ns, len(found)) == ("gone", 5, 0)


def test_another_camera_does_not_change_the_mistakes_of_the_first() -> None:
    def boxes(*names: str) -> list[FloatArray]:
        cameras = {name: replace(CAMERA, camera_id=name) for name in names}
        stage = Stage(StoreLayout("x"), people((0, 0), (1, 1)), cameras)
        oracle = OracleDetector(stage, np.random.default_rng(3))
        frames = [[Frame(name, k, k * 10**8, BLANK) for name in names] for k in range(30)]
        return [one.xyxy for each in frames for one in oracle.detect(each) if one.camera_id == "a"]

    for alone, together in zip(boxes("a"), boxes("b", "a"), strict=True):
        np.testing.assert_array_equal(alone, together)


def test_settings_are_checked() -> None:
    with pytest.raises(ValueError, match="box_jitter"):
        OracleSettings(box_jitter=-1)
    with pytest.raises(ValueError, match="miss_s"):
        OracleSettings(miss_s=0)
    with pytest.raises(ValueError, match="least_share < sure_share"):
        OracleSettings(least_share=0.6)
