from pathlib import Path

import cv2
import numpy as np

from tests.cart.running import Tillfree, refusal
from vision.annotate import VideoWriter
from vision.cameras import Camera, looking_at
from vision.layout import Bin, StoreLayout, layout_to_yaml, upright_box

CAMERA = Camera(
    "door",
    np.array([[180.0, 0, 160], [0, 180, 90], [0, 0, 1]]),
    np.zeros(5),
    looking_at(np.array([2.0, -0.5, 2.6]), np.array([2.0, 2.0, 0.0])),
    (320, 180),
)
LAYOUT = StoreLayout(
    name="room",
    cameras=(CAMERA,),
    bins=(Bin("s", "sku", box=upright_box(np.array([1.0, 3.5, 0.2]), 0, np.array([2.0, 0.4, 1.0])), gondola_id=1),),
    walkable_m=np.array([[0.0, 0], [4, 0], [4, 3.5], [0, 3.5]]),
)
WALL = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, (240, 400, 3)).astype(np.uint8), (0, 0), 2)
WALL = np.clip((WALL.astype(float) - 127) * 4 + 127, 0, 255).astype(np.uint8)


def clip(folder: Path, right_px: int = 0) -> Path:
    """Two seconds of a still scene, seen so many pixels farther to the right."""
    folder.mkdir()
    path = folder / "door.mp4"
    rng = np.random.default_rng(right_px)
    with VideoWriter(path, 10) as writer:
        for number in range(20):
            view = WALL[20:200, 20 + right_px : 340 + right_px]
            writer.write(np.clip(view + rng.normal(0, 4, view.shape), 0, 255).astype(np.uint8), number * 100_000_000)
    return path


def test_cameras_are_checked_against_the_day_of_calibration(tillfree: Tillfree, tmp_path: Path) -> None:
    layout = tmp_path / "store.yaml"
    layout.write_text(layout_to_yaml(LAYOUT), encoding="utf-8")
    options = ("--layout", layout, "--reference", tmp_path / "reference")
    first = clip(tmp_path / "first")
    assert "door.png" in refusal(tillfree("check-cameras", first, *options))
    assert tillfree("check-cameras", first, *options, "--save").status == 0
    same = tillfree("check-cameras", clip(tmp_path / "same"), *options)
    assert (same.status, same.out.startswith("door has not moved")) == (0, True)
    turned = tillfree("check-cameras", clip(tmp_path / "turned", 8), *options, "--pictures", tmp_path / "drawn")
    assert turned.status == 1
    assert turned.out.startswith("door has moved by")
    assert (tmp_path / "drawn" / "door.png").is_file()


def test_refinement_wants_two_calibrated_cameras(tillfree: Tillfree, tmp_path: Path) -> None:
    layout = tmp_path / "store.yaml"
    layout.write_text(layout_to_yaml(LAYOUT), encoding="utf-8")
    said = refusal(tillfree("refine-cameras", clip(tmp_path / "one"), "--layout", layout))
    assert "expected two or more calibrated cameras" in said
