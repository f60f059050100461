import hashlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from store_sim.dataset_making import _jobs, annotated_frames, make_dataset
from store_sim.datasets import PERSON, read_coco, read_mot, read_yolo, write_mot
from store_sim.random_days import RandomDay


def digests(folder: Path) -> dict[str, str]:
    return {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


@pytest.mark.slow
def test_a_data_set_is_split_by_shop_and_reads_back(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    made = make_dataset(tmp_path / "set", 6, seed=1, val_share=0.5, progress=lambda done, of: told.append((done, of)))
    assert made.pictures == {"train": 3, "val": 3}
    assert made.shops == {"train": 1, "val": 1}
    assert told[-1] == (6, 6)
    assert made.people > 0
    shops: dict[str, set[str]] = {}
    for split in ("train", "val"):
        frames = read_coco(tmp_path / "set/coco" / f"{split}.json")
        boxes, poses = read_yolo(tmp_path / "set", split), read_yolo(tmp_path / "set/pose", split)
        assert [f.image_path for f in frames] == [f.image_path for f in boxes] == [f.image_path for f in poses]
        shops[split] = {Path(frame.image_path).name.split("_")[0] for frame in frames}
        for frame, box, posed in zip(frames, boxes, poses, strict=True):
            np.testing.assert_allclose(frame.xyxy, box.xyxy, atol=1e-2)
            assert len(posed) == (frame.class_id == PERSON).sum()
            image = cv2.imread(str(tmp_path / "set" / frame.image_path))
            assert image is not None
            assert (image.shape[1], image.shape[0]) == frame.resolution_wh
            assert image.std() > 5
    assert not shops["train"] & shops["val"]


@pytest.mark.slow
def test_equal_seeds_make_equal_files_in_one_process_or_two(tmp_path: Path) -> None:
    make_dataset(tmp_path / "one", 4, seed=5, val_share=0.5)
    make_dataset(tmp_path / "two", 4, seed=5, val_share=0.5, processes=2)
    make_dataset(tmp_path / "other", 4, seed=6, val_share=0.5)
    assert digests(tmp_path / "one") == digests(tmp_path / "two")
    assert digests(tmp_path / "one") != digests(tmp_path / "other")


@pytest.mark.slow
def test_a_played_day_becomes_a_tracking_sequence(tmp_path: Path) -> None:
    layout, scenario = RandomDay(4, gondolas=3, products=20, visits=2).made()
    camera_id = layout.cameras[0].camera_id
    frames = []
    for camera, frame, image in annotated_frames(layout, scenario, 4, [camera_id], every_steps=30, keeps_order=False):
        assert camera == camera_id
        assert (image.shape[1], image.shape[0]) == frame.resolution_wh
        frames.append(frame)
        if len(frames) == 40:
            break
    write_mot(tmp_path / "day", frames, 1.0)
    again = read_mot(tmp_path / "day")
    assert sum(len(frame) for frame in again.frames) > 0
    tracks = [set(frame.track_id.tolist()) for frame in again.frames if len(frame)]
    assert len(set.union(*tracks)) < sum(map(len, tracks))


@pytest.mark.parametrize(
    ("images", "val_share", "shops", "in_val"),
    [(2, 0.2, 2, 1), (10, 0.2, 5, 1), (1000, 0.2, 25, 5), (400, 0.01, 100, 1), (10, 0.9, 10, 9), (3, 0.99, 3, 2)],
)
def test_shops_are_split_as_asked(tmp_path: Path, images: int, val_share: float, shops: int, in_val: int) -> None:
    jobs = _jobs(tmp_path, images, 0, val_share)
    assert len(jobs) == shops
    assert sum(job.split == "val" for job in jobs) == in_val
    assert sum(job.images for job in jobs) == images
    assert min(job.images for job in jobs) >= 1
    assert len({job.seed for job in jobs}) == shops


def test_a_folder_that_holds_something_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("")
    with pytest.raises(FileExistsError, match="new or an empty folder"):
        make_dataset(tmp_path, 10)


@pytest.mark.parametrize(
    ("images", "val_share", "processes", "message"),
    [(1, 0.2, 1, "at least 2 pictures"), (9, 0.0, 1, "between 0 and 1"), (9, 0.2, 0, "at least 1 process")],
)
def test_numbers_out_of_range_are_refused(
    tmp_path: Path, images: int, val_share: float, processes: int, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        make_dataset(tmp_path / "set", images, val_share=val_share, processes=processes)
    assert not (tmp_path / "set").exists()
