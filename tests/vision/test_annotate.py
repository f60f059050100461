"""Tests of vision.annotate."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vision.annotate import (
    BIN_COLOUR,
    NOTICE_COLOUR,
    BinMark,
    CartPanel,
    FloorPlan,
    Overlay,
    Panel,
    PersonMark,
    PlanPerson,
    ThingMark,
    VideoWriter,
    bin_mark,
    cell_size,
    compose,
    draw,
    draw_panel,
    floor_plan,
    identity_colour,
    mosaic,
    zone_marks,
)
from vision.arrays import FloatArray, ImageArray
from vision.cameras import Camera
from vision.layout import Bin, Box, StoreLayout, View


def a_picture(width: int = 480, height: int = 270, level: int = 90) -> ImageArray:
    return np.full((height, width, 3), level, np.uint8)


def a_person(xyxy: FloatArray, label: str = "shopper 1") -> PersonMark:
    return PersonMark(label, identity_colour(0), xyxy)


def a_camera(looks_along_y: bool = True) -> Camera:
    """At 1.2 m above the origin, level, looking along +y (or -y)."""
    side = 1.0 if looks_along_y else -1.0
    rotation = np.array([[side, 0, 0], [0, 0, -1], [0, side, 0]], float)
    pose = np.eye(4)
    pose[:3, :3] = rotation
    pose[:3, 3] = -rotation @ [0, 0, 1.2]
    return Camera("cam", np.array([[300.0, 0, 240], [0, 300, 135], [0, 0, 1]]), np.zeros(5), pose, (480, 270))


def a_layout(camera: Camera) -> StoreLayout:
    """One gondola of two shelves, 3 m in front of the camera, and one drawn bin."""
    boxes = []
    for height_m in (0.8, 1.3):
        for place in range(2):
            world_from_box = np.eye(4)
            world_from_box[:3, 3] = (-0.5 + 0.5 * place, 3.0, height_m)
            boxes.append(Box(world_from_box, np.array([0.5, 0.4, 0.4])))
    bins = [Bin(f"1/{i // 2 + 1}/{i % 2 + 1}", gondola_id=1, shelf_id=i // 2 + 1, box=b) for i, b in enumerate(boxes)]
    drawn = Bin("L", camera_id="cam", polygon_px=np.array([[10, 10], [60, 10], [60, 60], [10, 60]], float))
    return StoreLayout(
        "test shop",
        cameras=(camera,),
        views=(View("cam", (480, 270), np.array([[0, 200], [480, 200], [240, 260]], float)),),
        bins=(*bins, drawn),
        walkable_m=np.array([[-2.0, 0.5], [2.0, 0.5], [2.0, 2.9], [-2.0, 2.9]]),
        exit_m=np.array([[-1.0, 2.8], [1.0, 2.8]]),
    )


def test_drawing_leaves_the_picture_itself_as_it_was() -> None:
    picture = a_picture()
    drawn = draw(picture, Overlay("cam  1.0 s", people=(a_person(np.array([50.0, 60, 150, 250])),)))
    assert (picture == 90).all()
    assert drawn.shape == picture.shape
    assert drawn.dtype == np.uint8
    assert (drawn != 90).any()


def test_a_box_is_drawn_in_the_colour_of_its_person() -> None:
    drawn = draw(a_picture(), Overlay(people=(a_person(np.array([100.0, 60, 200, 250])),)))
    assert np.abs(drawn[200, 100].astype(int) - identity_colour(0)).max() < 30  # its edge is smoothed


def test_lines_and_letters_grow_with_the_picture() -> None:
    def inked(width: int, height: int) -> int:
        person = a_person(np.array([0.2, 0.3, 0.5, 0.9]) * np.array([width, height] * 2))
        return int((draw(a_picture(width, height), Overlay(people=(person,))) != 90).any(axis=2).sum())

    assert inked(1920, 1080) > 4 * inked(480, 270)


def test_an_overlay_is_scaled_with_its_picture() -> None:
    overlay = Overlay(people=(a_person(np.array([100.0, 60, 200, 250])),))
    drawn = draw(a_picture(), overlay, (960, 540))
    assert drawn.shape == (540, 960, 3)
    assert np.abs(drawn[400, 200].astype(int) - identity_colour(0)).max() < 30


def test_labels_of_people_at_one_place_do_not_cover_each_other() -> None:
    box = np.array([200.0, 100, 300, 260])
    one = Overlay(people=(PersonMark("AAAA", (0, 255, 0), box),))
    two = Overlay(people=(*one.people, PersonMark("BBBB", (0, 0, 255), box)))

    def backing(overlay: Overlay, colour: tuple[int, int, int]) -> int:
        return int((draw(a_picture(), overlay) == colour).all(axis=2).sum())

    # The box's own lines are the same in both; only a covered label would lose many pixels.
    lines = 2 * (100 + 160) * 2
    assert backing(two, (0, 255, 0)) > backing(one, (0, 255, 0)) - lines
    assert backing(two, (0, 0, 255)) > 100


def test_text_that_the_picture_cannot_hold_is_cut_short() -> None:
    drawn = draw(a_picture(120, 90), Overlay(caption="a caption far too long for so small a picture " * 4))
    assert drawn.shape == (90, 120, 3)


@settings(deadline=None, max_examples=40)
@given(
    numbers=st.lists(st.floats(allow_nan=True, allow_infinity=True, width=32), min_size=8, max_size=8),
    text=st.text(max_size=30),
)
def test_no_numbers_and_no_text_break_drawing(numbers: list[float], text: str) -> None:
    corners = np.array(numbers).reshape(4, 2)
    keypoints = np.column_stack([np.resize(corners, (17, 2)), np.linspace(0, 1, 17)])
    person = PersonMark(text, identity_colour(3), np.array(numbers[:4]), keypoints, corners[:2])
    overlay = Overlay(text, (person,), (BinMark(text, (corners,), is_touched=True),), (corners,), (corners,))
    assert draw(a_picture(160, 90), overlay).shape == (90, 160, 3)


def test_marks_check_their_shapes() -> None:
    with pytest.raises(ValueError, match=r"PersonMark.xyxy: expected shape \(4\), got \(3,\)"):
        a_person(np.zeros(3))
    with pytest.raises(ValueError, match=r"BinMark\.outlines_px"):
        BinMark("L", (np.zeros((4, 3)),))
    with pytest.raises(ValueError, match=r"Overlay\.floor_px"):
        Overlay(floor_px=(np.zeros(4),))
    with pytest.raises(ValueError, match="draw: image"):
        draw(np.zeros((4, 4), np.uint8), Overlay())


def test_zone_marks_show_drawn_bins_shelf_rails_floor_and_exit() -> None:
    camera = a_camera()
    marks = zone_marks(a_layout(camera), "cam", (480, 270))
    drawn, gondola = marks.bins
    assert drawn.name == "L"
    assert len(drawn.outlines_px[0]) == 5
    assert gondola.name == "gondola 1"
    assert gondola.is_thin
    assert len(gondola.outlines_px) == 2
    ends = camera.image_points(np.array([[-0.5, 3.0, 0.8], [0.5, 3.0, 0.8]]))
    np.testing.assert_allclose(gondola.outlines_px[0][[0, -1]], ends, atol=1e-6)
    assert len(marks.floor_px) == 2
    assert len(marks.exit_px) == 1


def test_a_camera_behind_the_gondola_shows_none_of_its_rails() -> None:
    camera = a_camera(looks_along_y=False)
    behind = replace(camera, cam_from_world=camera.cam_from_world @ np.linalg.inv(_moved(0, 6, 0)))
    marks = zone_marks(a_layout(behind), "cam", (480, 270))
    assert [mark.name for mark in marks.bins] == ["L"]


def test_what_lies_behind_the_camera_is_left_out() -> None:
    camera = a_camera(looks_along_y=False)
    marks = zone_marks(a_layout(camera), "cam", (480, 270))
    assert marks.exit_px == ()
    assert bin_mark(a_layout(camera), "1/1/1", "cam", (480, 270)) is None


def test_marks_fit_pictures_of_another_size() -> None:
    layout = a_layout(a_camera())
    small = zone_marks(layout, "cam", (480, 270)).bins[1].outlines_px[0]
    large = zone_marks(layout, "cam", (960, 540)).bins[1].outlines_px[0]
    np.testing.assert_allclose(large, 2 * small)


def test_a_touched_bin_is_marked_only_in_a_camera_that_shows_it() -> None:
    layout = a_layout(a_camera())
    world, drawn = bin_mark(layout, "1/1/1", "cam", (480, 270)), bin_mark(layout, "L", "cam", (480, 270))
    assert world is not None
    assert world.is_touched
    assert drawn is not None
    assert drawn.is_touched
    assert bin_mark(layout, "L", "other", (480, 270)) is None
    assert bin_mark(layout, "1/1/1", "other", (480, 270)) is None
    with pytest.raises(ValueError, match="no bin X"):
        bin_mark(layout, "X", "cam", (480, 270))


def test_a_touched_bin_stands_out_from_an_untouched_one() -> None:
    outline = np.array([[20.0, 80], [100, 80], [100, 160], [20, 160], [20, 80]])
    calm = draw(a_picture(), Overlay(bins=(BinMark("", (outline,)),)))
    touched = draw(a_picture(), Overlay(bins=(BinMark("", (outline,), is_touched=True),)))
    assert np.abs(calm[120, 20].astype(int) - BIN_COLOUR).max() < 30
    assert (touched != 90).sum() > (calm != 90).sum()


def test_neighbouring_people_get_different_colours() -> None:
    colours = [identity_colour(number) for number in range(8)]
    assert len(set(colours)) == 8
    assert identity_colour(8) == identity_colour(0)
    assert isinstance(identity_colour(3_325_379_692_103_139_202), tuple)


def test_a_panel_tells_how_many_carts_it_has_no_room_for() -> None:
    few = tuple(CartPanel(f"shopper {i}", identity_colour(i), ("1 x tea",)) for i in range(2))
    many = tuple(CartPanel(f"shopper {i}", identity_colour(i), ("1 x tea",)) for i in range(60))
    latest = tuple(f"{i}.0 s  pick  L  0.93" for i in range(60))
    for panel in (Panel(), Panel("12.1 s", few, latest), Panel("12.1 s", many, latest)):
        drawn = draw_panel(panel, 270)
        assert drawn.shape[0] == 270
    with pytest.raises(ValueError, match="at least 120"):
        draw_panel(Panel(), 60)


def test_a_mosaic_keeps_shapes_and_fills_its_grid_row_by_row() -> None:
    wide, tall = a_picture(200, 100, 10), a_picture(100, 200, 250)
    grid = mosaic([wide, tall, wide], (200, 100))
    assert grid.shape == (200, 400, 3)
    assert (grid[:100, :200] == 10).all()
    assert (grid[:100, 275:325] == 250).all()
    assert not (grid[:100, 205:270] == 250).any()
    assert mosaic([a_picture()]).shape == a_picture().shape


def test_a_mosaic_of_many_large_cameras_stays_within_the_limit() -> None:
    width, height = cell_size([(1920, 1080)] * 12)
    assert (4 * width <= 1920, 3 * height <= 1080) == (True, True)
    assert (width % 2, height % 2) == (0, 0)
    assert cell_size([(640, 360)] * 4) == (640, 360)
    assert cell_size([(100, 60)]) == (200, 120)
    with pytest.raises(ValueError, match="at least one camera"):
        cell_size([])
    with pytest.raises(ValueError, match="at least one camera"):
        mosaic([])


def test_a_composed_picture_has_the_same_even_size_with_and_without_a_camera() -> None:
    cell = cell_size([(481, 271), (320, 240)])
    both = compose([a_picture(481, 271), a_picture(320, 240)], [Overlay("a"), Overlay("b")], Panel(), cell)
    one = compose([a_picture(481, 271), None], [Overlay("a"), Overlay("b")], Panel(), cell)
    assert both.shape == one.shape
    assert both.shape[0] % 2 == 0
    assert both.shape[1] % 2 == 0
    with pytest.raises(ValueError, match="one overlay for each picture, got 1 for 2"):
        compose([a_picture(), a_picture()], [Overlay()], Panel(), cell)


def test_a_video_keeps_the_times_of_its_pictures(tmp_path: Path) -> None:
    times_ms = [0, 100, 150, 900, 1000]
    path = tmp_path / "out.mp4"
    with VideoWriter(path, 10) as video:
        for k, time_ms in enumerate(times_ms):
            video.write(a_picture(161, 91, 40 * k), 5_000_000_000 + time_ms * 1_000_000)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        frames = list(container.decode(stream))
        assert (stream.width, stream.height, stream.pix_fmt) == (160, 90, "yuv420p")
        begin = frames[0].pts
        assert begin is not None
        assert stream.time_base is not None
        read = [Fraction((frame.pts or 0) - begin) * stream.time_base for frame in frames]
        levels = [frame.to_ndarray(format="bgr24").mean() for frame in frames]
    assert read == [Fraction(time_ms, 1000) for time_ms in times_ms]
    np.testing.assert_allclose(levels, [0, 40, 80, 120, 160], atol=4)


def test_a_video_refuses_pictures_that_do_not_fit(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "out.mp4", 30) as video:
        video.write(a_picture(160, 90), 1_000)
        with pytest.raises(ValueError, match=r"expected pictures of shape \(90, 160, 3\), got \(90, 162, 3\)"):
            video.write(a_picture(162, 90), 2_000_000_000)
        with pytest.raises(ValueError, match="later than the one before"):
            video.write(a_picture(160, 90), 1_000)
    with pytest.raises(ValueError, match="positive frame rate"):
        VideoWriter(tmp_path / "out.mp4", float("nan"))


def test_a_video_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "nowhere" / "out.mp4", 30) as video, pytest.raises(OSError, match="cannot write"):
        video.write(a_picture(160, 90), 0)


def test_a_video_without_pictures_leaves_no_file(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "out.mp4", 30):
        pass
    assert not list(tmp_path.iterdir())


def test_a_video_cut_off_by_an_error_is_still_complete(tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"

    def fail() -> None:
        with VideoWriter(path, 30) as video:
            video.write(a_picture(160, 90), 0)
            raise RuntimeError("the source broke")

    with pytest.raises(RuntimeError, match="the source broke"):
        fail()
    with av.open(str(path)) as container:
        assert len(list(container.decode(video=0))) == 1


def _moved(x: float, y: float, z: float) -> FloatArray:
    transform = np.eye(4)
    transform[:3, 3] = (x, y, z)
    return transform


def test_a_product_is_boxed_and_named() -> None:
    image = np.full((360, 640, 3), 60, np.uint8)
    plain = draw(image, Overlay())
    marked = draw(image, Overlay(things=(ThingMark("bottle 0.62", np.array([300.0, 100.0, 360.0, 300.0])),)))
    changed = (marked != plain).any(axis=2)
    assert changed[95:305, 295:470].any()
    assert not changed[:, :290].any()


def test_how_a_picture_was_looked_at_stands_in_its_upper_right_corner() -> None:
    drawn = draw(a_picture(), Overlay(state="followed"))
    changed = (drawn != 90).any(axis=2)
    assert changed[:30, 380:].any()
    assert not changed[:, :300].any()


def test_what_is_wrong_with_a_camera_stands_at_the_foot_of_its_picture() -> None:
    def backed(overlay: Overlay) -> int:
        return int((draw(a_picture(), overlay) == NOTICE_COLOUR).all(axis=2)[200:].sum())

    assert backed(Overlay()) == 0
    one = backed(Overlay(notices=("moved by 5 cm",)))
    assert backed(Overlay(notices=("moved by 5 cm", "its clock is 200 ms late"))) > 1.5 * one > 0


def test_a_dead_camera_says_what_is_wrong_too() -> None:
    composed = compose([None], [Overlay("cam1", notices=("no picture for 3 s",))], Panel(), (480, 270))
    assert (composed[:270, :480] == NOTICE_COLOUR).all(axis=2).any()


def test_what_somebody_holds_has_their_colour() -> None:
    box = np.array([100.0, 100, 140, 140])
    drawn = draw(a_picture(), Overlay(things=(ThingMark("held 0.90", box, identity_colour(1)),)))
    assert np.abs(drawn[120, 100].astype(int) - identity_colour(1)).max() < 30


def test_a_floor_plan_holds_floor_shelves_doors_and_cameras() -> None:
    layout = a_layout(a_camera())
    plan = floor_plan(layout, ["cam"])
    assert plan is not None
    assert (len(plan.floor_m), len(plan.shelves_m), len(plan.doors_m)) == (1, 1, 1)
    assert plan.cameras_m.tolist() == [[0.0, 0.0]]
    low, high = plan.shelves_m[0].min(axis=0), plan.shelves_m[0].max(axis=0)
    assert low == pytest.approx([-0.5, 3.0])
    assert high == pytest.approx([0.5, 3.4])
    without = floor_plan(layout)
    assert without is not None
    assert len(without.cameras_m) == 0


def test_a_store_that_is_only_drawn_in_pictures_has_no_floor_plan() -> None:
    drawn = Bin("L", camera_id="cam", polygon_px=np.array([[10, 10], [60, 10], [60, 60]], float))
    assert floor_plan(StoreLayout("counter", bins=(drawn,)), ["cam"]) is None


def test_a_panel_shows_everybody_on_its_floor_plan() -> None:
    plan = floor_plan(a_layout(a_camera()), ["cam"])
    assert plan is not None
    here = PlanPerson(
        "Ada",
        identity_colour(0),
        np.array([0.5, 1.5]),
        np.eye(2) * 0.01,
        np.array([[0.0, 1.0], [0.5, 1.5]]),
        np.array([[0.5, 2.0], [np.nan, np.nan]]),
    )
    nowhere = PlanPerson("Ben", identity_colour(1), np.full(2, np.nan))

    def coloured(*people: PlanPerson) -> list[int]:
        panel = draw_panel(Panel(plan=replace(plan, people=people)), 720)
        return [int((np.abs(panel.astype(int) - identity_colour(k)).max(axis=2) < 30).sum()) for k in (0, 1)]

    assert coloured() == [0, 0]
    seen, unseen = coloured(here, nowhere)
    assert seen > 100
    assert unseen == 0


def test_a_small_panel_leaves_its_floor_plan_out() -> None:
    plan = floor_plan(a_layout(a_camera()))
    assert (draw_panel(Panel("1.0 s", plan=plan), 200) == draw_panel(Panel("1.0 s"), 200)).all()


def test_a_floor_plan_of_nothing_is_no_error() -> None:
    assert draw_panel(Panel(plan=FloorPlan()), 720).shape[0] == 720
