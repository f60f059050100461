import numpy as np

from vision.camera_check import CameraMove
from vision.cameras import Camera, looking_at
from vision.fit_drawing import beside, draw_move, layout_drawn
from vision.layout import Bin, StoreLayout, Surface, upright_box

CAMERA = Camera(
    "c",
    np.array([[180.0, 0, 160], [0, 180, 90], [0, 0, 1]]),
    np.zeros(5),
    looking_at(np.array([2.0, -0.5, 2.6]), np.array([2.0, 2.0, 0.5])),
    (320, 180),
)
BOX = upright_box(np.array([1.0, 2.5, 0.2]), 0, np.array([2.0, 0.4, 1.2]))
PANE = Surface("glass", np.array([[0.0, 0, 0], [0, 3, 0], [0, 3, 2], [0, 0, 2]]))
LAYOUT = StoreLayout(
    name="room",
    bins=(Bin("s", "sku", box=BOX, gondola_id=1),),
    walkable_m=np.array([[0.0, 0], [4, 0], [4, 2.5], [0, 2.5]]),
    surfaces=(PANE,),
)
BLANK = np.zeros((180, 320, 3), np.uint8)


def test_shelves_are_drawn_where_the_camera_sees_them() -> None:
    drawn = layout_drawn(BLANK, CAMERA, LAYOUT)
    assert not BLANK.any()
    for corner in BOX.corners_m[[0, 1, 4, 5]]:
        x, y = CAMERA.image_points(corner[None])[0].astype(int)
        assert drawn[y - 2 : y + 3, x - 2 : x + 3].any()
    middle = CAMERA.image_points(np.array([[2.0, 2.5, 0.8]]))[0].astype(int)
    assert not drawn[middle[1] - 3 : middle[1] + 4, middle[0] - 3 : middle[0] + 4].any()


def test_a_picture_twice_as_large_is_drawn_twice_as_large() -> None:
    large = layout_drawn(np.zeros((360, 640, 3), np.uint8), CAMERA, LAYOUT)
    x, y = (2 * CAMERA.image_points(BOX.corners_m[:1])[0]).astype(int)
    assert large[y - 3 : y + 4, x - 3 : x + 4].any()


def test_a_move_is_drawn_as_arrows_and_pictures_stand_beside_each_other() -> None:
    pose = CAMERA.cam_from_world.copy()
    pose[0, 3] += 0.1
    move = CameraMove(np.zeros(3), np.eye(3), 0.0, 0.1, 6.0, 99, pose)
    drawn = draw_move(BLANK, CAMERA, LAYOUT, move)
    assert (drawn[..., 2] > 0).sum() > 100
    assert beside([BLANK, drawn], ("before", "today")).shape == (180, 640, 3)
