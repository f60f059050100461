import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from store_sim.bodies import coco_keypoints, pose
from store_sim.datasets import (
    CLASS_NAMES,
    KEYPOINT_NAMES,
    MIRRORED_KEYPOINTS,
    PERSON,
    PRODUCT,
    AnnotatedFrame,
    TrackNumbers,
    from_picture,
    read_coco,
    read_mot,
    read_yolo,
    write_coco,
    write_mot,
    write_yolo,
)
from store_sim.figures import Figures, Goods, Whereabouts
from store_sim.render import Renderer
from vision.cameras import Camera
from vision.detections import Detections
from vision.layout import ProductRecord, StoreLayout

SIZE_WH = (64, 48)
AGAIN = settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])


def frame_of(seed: int, rows: int, path: str, classes: tuple[int, ...] = (PERSON, PRODUCT)) -> AnnotatedFrame:
    rng = np.random.default_rng(seed)
    start = rng.uniform(0, 40, (rows, 2))
    xyxy = np.concatenate([start, start + rng.uniform(1, 8, (rows, 2))], axis=1)
    class_id = rng.choice(classes, rows)
    keypoints = np.concatenate(
        [rng.uniform(0, 48, (rows, 17, 2)), rng.integers(0, 3, (rows, 17, 1)).astype(float)], axis=2
    )
    keypoints[keypoints[..., 2] == 0] = 0
    keypoints[class_id == PRODUCT] = 0
    return AnnotatedFrame(
        path,
        SIZE_WH,
        xyxy.astype(np.float32),
        class_id.astype(np.int64),
        rng.permutation(rows).astype(np.int64) + 1,
        keypoints.astype(np.float32),
        rng.uniform(0, 1, rows).astype(np.float32),
    )


def frames_of(
    named: Callable[[int], str], classes: tuple[int, ...] = (PERSON, PRODUCT)
) -> st.SearchStrategy[list[AnnotatedFrame]]:
    shapes = st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 5)), min_size=1, max_size=5)
    return shapes.map(
        lambda drawn: [frame_of(seed, rows, named(k), classes) for k, (seed, rows) in enumerate(drawn, 1)]
    )


def draw_pictures(folder: Path, frames: list[AnnotatedFrame]) -> None:
    for frame in frames:
        file = folder / frame.image_path
        file.parent.mkdir(parents=True, exist_ok=True)
        width, height = frame.resolution_wh
        cv2.imwrite(str(file), np.full((height, width, 3), 90, np.uint8))


def assert_equal(one: AnnotatedFrame, other: AnnotatedFrame) -> None:
    assert (one.image_path, one.resolution_wh) == (other.image_path, other.resolution_wh)
    np.testing.assert_allclose(one.xyxy, other.xyxy, rtol=1e-6)
    np.testing.assert_array_equal(one.class_id, other.class_id)
    np.testing.assert_array_equal(one.track_id, other.track_id)
    np.testing.assert_array_equal(one.keypoints, other.keypoints)
    np.testing.assert_array_equal(one.occlusion, other.occlusion)


@AGAIN
@given(frames=frames_of(lambda k: f"images/train/{k}.jpg"))
def test_coco_gives_back_all_that_was_written(tmp_path: Path, frames: list[AnnotatedFrame]) -> None:
    write_coco(tmp_path / "coco.json", frames)
    again = read_coco(tmp_path / "coco.json")
    assert len(again) == len(frames)
    for frame, same in zip(frames, again, strict=True):
        assert_equal(frame, same)


@AGAIN
@given(frames=frames_of(lambda k: f"images/train/{k:03d}.png"))
def test_yolo_boxes_come_back_to_a_thousandth_of_a_pixel(tmp_path: Path, frames: list[AnnotatedFrame]) -> None:
    draw_pictures(tmp_path, frames)
    write_yolo(tmp_path, {"train": frames})
    again = [frame for frame in read_yolo(tmp_path, "train") if frame.image_path in {f.image_path for f in frames}]
    assert len(again) == len(frames)
    for frame, same in zip(frames, again, strict=True):
        assert same.resolution_wh == SIZE_WH
        np.testing.assert_allclose(frame.xyxy, same.xyxy, atol=1e-3)
        np.testing.assert_array_equal(frame.class_id, same.class_id)


@AGAIN
@given(frames=frames_of(lambda k: f"images/val/{k:03d}.png"))
def test_yolo_poses_come_back_with_their_key_points(tmp_path: Path, frames: list[AnnotatedFrame]) -> None:
    draw_pictures(tmp_path, frames)
    write_yolo(tmp_path / "pose", {"val": frames}, "pose", pictures=tmp_path)
    again = {frame.image_path: frame for frame in read_yolo(tmp_path / "pose", "val")}
    for frame in frames:
        same, people = again[frame.image_path], frame[frame.class_id == PERSON]
        np.testing.assert_allclose(people.xyxy, same.xyxy, atol=1e-3)
        np.testing.assert_allclose(people.keypoints, same.keypoints, atol=1e-3)
        assert (same.class_id == PERSON).all()


@AGAIN
@given(frames=frames_of(lambda k: f"img1/{k:06d}.jpg"))
def test_mot_gives_people_back_to_a_hundredth_of_a_pixel(tmp_path: Path, frames: list[AnnotatedFrame]) -> None:
    write_mot(tmp_path / "shop", frames, 10.0)
    again = read_mot(tmp_path / "shop")
    assert (again.name, again.rate_hz, len(again.frames)) == ("shop", 10.0, len(frames))
    for frame, same in zip(frames, again.frames, strict=True):
        people = frame[frame.class_id == PERSON]
        assert (same.image_path, same.resolution_wh) == (frame.image_path, frame.resolution_wh)
        np.testing.assert_allclose(people.xyxy, same.xyxy, atol=0.011)
        np.testing.assert_array_equal(people.track_id, same.track_id)
        np.testing.assert_allclose(people.occlusion, same.occlusion, atol=6e-4)
    for frame, found in zip(frames, again.detections, strict=False):
        people = frame[frame.class_id == PERSON]
        np.testing.assert_allclose(people.xyxy, found.xyxy, atol=0.011)
        np.testing.assert_allclose(1 - people.occlusion, found.confidence, atol=1e-4)


def test_detections_of_a_detector_are_written_and_read(tmp_path: Path) -> None:
    found = Detections(
        "cam1",
        0,
        np.array([[1, 2, 11, 22], [3, 3, 9, 9]], np.float32),
        np.array([0.75, 0.5], np.float32),
        np.array([0, 39]),
        np.zeros((2, 0, 3), np.float32),
    )
    write_mot(tmp_path / "shop", [frame_of(1, 2, "img1/000001.jpg")], 25.0, [found])
    (again,) = read_mot(tmp_path / "shop").detections
    np.testing.assert_allclose(again.xyxy, [[1, 2, 11, 22]])
    np.testing.assert_allclose(again.confidence, [0.75])
    assert (tmp_path / "shop/det/det.txt").read_text() == "1,-1,2.00,3.00,10.00,20.00,0.7500,-1,-1,-1\n"


def test_mot_counts_pixels_from_1(tmp_path: Path) -> None:
    frame = AnnotatedFrame(
        "img1/000001.jpg",
        SIZE_WH,
        np.array([[0, 0, 10, 20]], np.float32),
        np.zeros(1, np.int64),
        np.array([7]),
        np.zeros((1, 17, 3), np.float32),
        np.array([0.25], np.float32),
    )
    write_mot(tmp_path / "shop", [frame], 30.0)
    assert (tmp_path / "shop/gt/gt.txt").read_text() == "1,7,1.00,1.00,10.00,20.00,1,1,0.750\n"


def test_published_mot_sequences_are_read(shared: Path) -> None:
    new = read_mot(shared / "mot" / "MOT17-09")
    old = read_mot(shared / "mot" / "TUD-Stadtmitte")
    for sequence in (new, old):
        assert sum(len(frame) for frame in sequence.frames) > 1000
        assert len(sequence.detections) == len(sequence.frames)
        assert sequence.rate_hz in (25.0, 30.0)
    assert max(float(frame.occlusion.max(initial=0)) for frame in new.frames) == 1.0


def test_coco_names_what_is_annotated(tmp_path: Path) -> None:
    write_coco(tmp_path / "coco.json", [frame_of(1, 4, "a.jpg")])
    document = json.loads((tmp_path / "coco.json").read_text())
    assert [category["name"] for category in document["categories"]] == list(CLASS_NAMES)
    assert document["categories"][0]["keypoints"] == list(KEYPOINT_NAMES)
    for entry in document["annotations"]:
        assert ("keypoints" in entry) == (entry["category_id"] == 1)
        assert entry["area"] == pytest.approx(entry["bbox"][2] * entry["bbox"][3])


def test_coco_of_others_is_read_without_our_own_keys(tmp_path: Path) -> None:
    document = {
        "info": {"year": 2017},
        "images": [{"id": 9, "file_name": "x.jpg", "width": 64, "height": 48, "license": 1}],
        "categories": [{"id": 1, "name": "person"}, {"id": 44, "name": "bottle"}],
        "annotations": [
            {"id": 5, "image_id": 9, "category_id": 1, "bbox": [1, 2, 3, 4], "iscrowd": 0},
            {"id": 6, "image_id": 9, "category_id": 44, "bbox": [1, 2, 3, 4], "iscrowd": 0},
            {"id": 7, "image_id": 9, "category_id": 1, "bbox": [1, 2, 3, 4], "iscrowd": 1},
        ],
    }
    (tmp_path / "coco.json").write_text(json.dumps(document))
    (frame,) = read_coco(tmp_path / "coco.json")
    np.testing.assert_allclose(frame.xyxy, [[1, 2, 4, 6]])
    assert frame.track_id.tolist() == [5]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": 3}, "images"),
        ({"annotations": [{"id": 1, "image_id": 4, "category_id": 1, "bbox": [0, 0, 1, 1]}]}, "image 4"),
        ({"annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, 0, 1]}]}, "wider"),
        (
            {"annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, 1, 1], "keypoints": [1.0]}]},
            "17 key points",
        ),
        ({"images": [{"id": 1, "file_name": "../x.jpg", "width": 4, "height": 4}]}, "within the data set"),
        ({"images": [{"id": 1, "file_name": f"{k}.jpg", "width": 4, "height": 4} for k in "ab"]}, "images: an id"),
        ({"annotations": [{"id": 10**30, "image_id": 1, "category_id": 1, "bbox": [0, 0, 1, 1]}]}, "annotations.0.id"),
        ({"annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, 1e300, 1]}]}, "0.bbox.2"),
    ],
)
def test_a_broken_coco_file_is_refused_by_name(tmp_path: Path, change: dict[str, object], message: str) -> None:
    document: dict[str, object] = {
        "images": [{"id": 1, "file_name": "x.jpg", "width": 4, "height": 4}],
        "categories": [{"id": 1, "name": "person"}],
        "annotations": [],
    }
    (tmp_path / "coco.json").write_text(json.dumps(document | change))
    with pytest.raises(ValueError, match=message) as caught:
        read_coco(tmp_path / "coco.json")
    assert "coco.json" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_yolo_settings_hold_no_path_of_this_machine(tmp_path: Path) -> None:
    frames = [frame_of(1, 2, "images/train/a.png")]
    draw_pictures(tmp_path, frames)
    write_yolo(tmp_path / "pose", {"train": frames, "val": []}, "pose", pictures=tmp_path)
    settings_ = yaml.safe_load((tmp_path / "pose/data.yaml").read_text())
    assert settings_ == {
        "train": "images/train",
        "val": "images/val",
        "names": {0: "person"},
        "kpt_shape": [17, 3],
        "flip_idx": list(MIRRORED_KEYPOINTS),
    }
    assert str(tmp_path) not in (tmp_path / "pose/data.yaml").read_text()


def test_yolo_pictures_are_files_and_no_links(tmp_path: Path) -> None:
    frames = [frame_of(1, 2, "images/train/a.png")]
    draw_pictures(tmp_path, frames)
    for _ in range(2):  # a second time over the first
        write_yolo(tmp_path / "pose", {"train": frames}, "pose", pictures=tmp_path)
    picture = tmp_path / "pose/images/train/a.png"
    assert picture.is_file()
    assert not picture.is_symlink()
    assert picture.read_bytes() == (tmp_path / "images/train/a.png").read_bytes()


def test_mirroring_key_points_swaps_left_and_right() -> None:
    for name, mirrored in zip(KEYPOINT_NAMES, MIRRORED_KEYPOINTS, strict=True):
        swapped = name.replace("left", "?").replace("right", "left").replace("?", "right")
        assert KEYPOINT_NAMES[mirrored] == swapped


def test_a_missing_picture_is_told(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_yolo(tmp_path / "pose", {"train": [frame_of(1, 1, "images/train/a.png")]}, "pose", pictures=tmp_path)


@pytest.mark.parametrize(
    ("frames", "task", "message"),
    [
        ([frame_of(1, 1, "images/val/a.png")], "detect", "expected pictures in images/train"),
        ([frame_of(1, 1, "images/train/a.png")] * 2, "detect", "listed twice"),
        ([], "segment", "task out of detect, pose"),
    ],
)
def test_frames_that_do_not_fit_yolo_are_refused(
    tmp_path: Path, frames: list[AnnotatedFrame], task: str, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        write_yolo(tmp_path, {"train": frames}, task)


@pytest.mark.parametrize("line", ["0 0.5 0.5 0.1", "0 0.5 0.5 0.1 x", "0 0.5 0.5 0.1 nan", "0 0.5 0.5 0 0.1"])
def test_a_broken_label_is_refused_by_name(tmp_path: Path, line: str) -> None:
    frames = [frame_of(1, 1, "images/train/a.png")]
    draw_pictures(tmp_path, frames)
    write_yolo(tmp_path, {"train": frames})
    (tmp_path / "labels/train/a.txt").write_text(line + "\n")
    with pytest.raises(ValueError, match=r"a\.txt"):
        read_yolo(tmp_path, "train")


def test_a_yolo_folder_without_settings_or_pictures_is_told(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_yolo(tmp_path, "train")
    (tmp_path / "data.yaml").write_text("names: [person]\n")
    with pytest.raises(FileNotFoundError, match="folder of pictures"):
        read_yolo(tmp_path, "train")
    (tmp_path / "data.yaml").write_text("names: 5\n")
    with pytest.raises(ValueError, match=r"data\.yaml: expected a YOLO data set"):
        read_yolo(tmp_path, "train")


@pytest.mark.parametrize("text", ["[" * 100_000, f"names: {'9' * 5000}\n", "names: [a\n"])
def test_yolo_settings_that_are_no_yaml_are_refused_by_name(tmp_path: Path, text: str) -> None:
    (tmp_path / "data.yaml").write_text(text)
    with pytest.raises(ValueError, match=r"data\.yaml: expected YAML: [^\n]*$"):
        read_yolo(tmp_path, "train")


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("seqinfo.ini", "nothing", "sequence's description"),
        ("seqinfo.ini", "[Sequence]\nseqLength=0\nimWidth=4\nimHeight=4\nframeRate=25\n", "above 0"),
        ("gt/gt.txt", "1,1,1,1,5,5\n", "line 1: expected"),
        ("gt/gt.txt", "2,1,1,1,5,5,1,1,1\n", "frames 1 to 1"),
        ("gt/gt.txt", "1,0,1,1,5,5,1,1,1\n", "track ids from 1"),
        ("gt/gt.txt", "1,1,1,1,5,-5,1,1,1\n", "wider and higher"),
        ("det/det.txt", "1,-1,a,1,5,5,1\n", "expected numbers"),
        ("det/det.txt", "1,-1,1,1,5,5,1e300\n", "line 1: expected numbers up to 1000000"),
        ("gt/gt.txt", "1,1e300,1,1,5,5,1,1,1\n", "line 1: expected numbers up to 1000000"),
        ("gt/gt.txt", "\xff", "expected text"),
        ("seqinfo.ini", "[Sequence]\nseqLength=1\nimWidth=4\nimHeight=4\nframeRate=1e-320\n", "frameRate above 0"),
        ("seqinfo.ini", "[Sequence]\nseqLength=99999999\nimWidth=4\nimHeight=4\nframeRate=1\n", "up to 1000000"),
    ],
)
def test_a_broken_sequence_is_refused_by_name(tmp_path: Path, file: str, text: str, message: str) -> None:
    write_mot(tmp_path / "shop", [frame_of(1, 2, "img1/000001.jpg")], 10.0)
    (tmp_path / "shop" / file).write_text(text, encoding="latin-1")
    with pytest.raises(ValueError, match=message) as caught:
        read_mot(tmp_path / "shop")
    assert Path(file).name in str(caught.value)


def test_a_sequence_may_have_any_name(tmp_path: Path) -> None:
    write_mot(tmp_path / "50%(off)", [frame_of(1, 2, "img1/000001.jpg")], 10.0)
    assert read_mot(tmp_path / "50%(off)").name == "50%(off)"


def test_a_sequence_needs_its_pictures_in_order(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"expected picture img1/000001\.jpg"):
        write_mot(tmp_path / "shop", [frame_of(1, 2, "img1/000002.jpg")], 10.0)
    with pytest.raises(ValueError, match="expected frames and a rate"):
        write_mot(tmp_path / "shop", [], 10.0)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("image_path", "/a.jpg", "within the data set"),
        ("image_path", "a/../../b.jpg", "within the data set"),
        ("resolution_wh", (0, 4), "size above 0"),
        ("xyxy", np.array([[5, 5, 5, 9]], np.float32), "wider and higher"),
        ("xyxy", np.array([[0, 0, np.nan, 9]], np.float32), "finite"),
        ("class_id", np.array([2]), "classes 0 to 1"),
        ("track_id", np.array([0]), "from 1"),
        ("keypoints", np.full((1, 17, 3), 0.5, np.float32), "visibilities"),
        ("occlusion", np.array([1.5], np.float32), "from 0 to 1"),
        ("occlusion", np.array([0.5, 0.5], np.float32), "expected shape"),
    ],
)
def test_annotations_that_cannot_be_are_refused(field: str, value: object, message: str) -> None:
    fields = {
        "image_path": "a.jpg",
        "resolution_wh": SIZE_WH,
        "xyxy": np.array([[0, 0, 4, 4]], np.float32),
        "class_id": np.array([0]),
        "track_id": np.array([1]),
        "keypoints": np.zeros((1, 17, 3), np.float32),
        "occlusion": np.zeros(1, np.float32),
    }
    with pytest.raises(ValueError, match=message):
        AnnotatedFrame(**(fields | {field: value}))  # type: ignore[arg-type]


def test_tracks_are_numbered_in_the_order_they_are_seen() -> None:
    tracks = TrackNumbers()
    assert [tracks.of(*who) for who in ((0, "Ada"), (1, "Ada"), (0, "Ben"), (0, "Ada"))] == [1, 2, 3, 1]


def scene() -> tuple[StoreLayout, Camera, Figures, Goods]:
    """Somebody with a can in the right hand before a camera."""
    forward = np.array([0.0, 1.0, -0.35])
    forward /= np.linalg.norm(forward)
    right = np.array([1.0, 0.0, 0.0])
    rotation = np.stack([right, np.cross(forward, right), forward])
    cam_from_world = np.eye(4)
    cam_from_world[:3, :3] = rotation
    cam_from_world[:3, 3] = -rotation @ np.array([0.0, -3.0, 2.2])
    intrinsics = np.array([[300.0, 0, 160], [0, 300.0, 120], [0, 0, 1]])
    camera = Camera("cam1", intrinsics, np.zeros(5), cam_from_world, (320, 240))
    walkable = np.array([[-3, -3], [3, -3], [3, 3], [-3, 3]], float)
    can = ProductRecord("can", "Beans can 400 g", 400.0, 100, "EUR")
    layout = StoreLayout("room", cameras=(camera,), walkable_m=walkable, products=(can,))
    figures = Figures(
        ("Ada", "Ben"),
        np.zeros(2, int),
        np.arange(2),
        np.full(2, 1.75),
        np.array([[0.3, 0.3], [40.0, 0.0]]),
        np.full(2, -np.pi / 2),
        np.zeros(2),
        np.zeros(2),
        np.full((2, 2, 3), np.nan),
        np.zeros((2, 2)),
        np.array([[False, True], [False, False]]),
        np.zeros(2, bool),
        np.zeros(2, bool),
    )
    goods = Goods(
        0,
        ("can",),
        np.zeros(1, int),
        np.full(1, 400.0),
        np.full(1, int(Whereabouts.HAND)),
        np.zeros((1, 3)),
        np.zeros(1),
        np.zeros(1, int),
        np.ones(1, int),
        ("Ada",),
    )
    return layout, camera, figures, goods


def test_a_rendered_picture_is_annotated_where_people_and_their_goods_are() -> None:
    layout, camera, figures, goods = scene()
    skeletons = pose(figures)
    picture = Renderer(layout, ["cam1"], 0).render("cam1", figures, skeletons, goods, with_ids=True)
    frame = from_picture(picture, camera, figures, skeletons, "a.jpg", TrackNumbers())
    assert sorted(frame.class_id.tolist()) == [PERSON, PRODUCT]
    person = frame[frame.class_id == PERSON]
    visible = person.keypoints[0, :, 2] == 2
    assert visible.sum() >= 8
    true_px = camera.image_points(coco_keypoints(skeletons)[0])
    np.testing.assert_allclose(person.keypoints[0, visible, :2], true_px[visible], atol=1e-3)
    left, top, right, bottom = person.xyxy[0]
    inside = person.keypoints[0, visible, :2]
    assert (inside > [left - 2, top - 2]).all()
    assert (inside < [right + 2, bottom + 2]).all()
    held = frame[frame.class_id == PRODUCT]
    assert not held.keypoints.any()
    wrist = true_px[10]
    assert np.abs(held.xyxy[0].reshape(2, 2).mean(axis=0) - wrist).max() < 30


def test_a_picture_of_nobody_has_no_rows() -> None:
    layout, camera, figures, goods = scene()
    nobody = figures[np.array([1])]
    picture = Renderer(layout, ["cam1"], 0).render("cam1", nobody, pose(nobody), goods, with_ids=True)
    frame = from_picture(picture, camera, nobody, pose(nobody), "a.jpg", TrackNumbers())
    assert len(frame) == 0
    assert frame.resolution_wh == (320, 240)
