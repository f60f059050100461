from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vision.cameras import Camera
from vision.layout import (
    Bin,
    Box,
    FixtureShift,
    Plate,
    ProductRecord,
    StoreLayout,
    Surface,
    View,
    layout_to_yaml,
    read_layout,
    upright_box,
)

numbers = st.floats(-100, 100)


def box(low: tuple[float, float, float] = (0, 0, 0), turned_rad: float = 0.0) -> Box:
    world_from_box = np.eye(4)
    world_from_box[:2, :2] = [
        [np.cos(turned_rad), -np.sin(turned_rad)],
        [np.sin(turned_rad), np.cos(turned_rad)],
    ]
    world_from_box[:3, 3] = low
    return Box(world_from_box, np.array([0.5, 0.25, 2.0]))


@settings(deadline=None)
@given(
    st.tuples(numbers, numbers, numbers),
    st.text("abcñø: #-'\"{}[]ß0123", min_size=1, max_size=12),
    st.one_of(st.none(), st.integers(0, 10**9)),
    st.one_of(st.just(float("nan")), st.floats(0.01, 1e5)),
    st.one_of(st.none(), st.integers(0, 10_000)),
)
def test_a_layout_that_is_written_is_read_back_the_same(
    tmp_path_factory: pytest.TempPathFactory,
    low: tuple[float, float, float],
    name: str,
    price: int | None,
    mass_g: float,
    tax_rate_bp: int | None,
) -> None:
    pose = np.eye(4)
    pose[:3, 3] = low
    layout = StoreLayout(
        name=name,
        cameras=(Camera("1", np.diag([300.0, 300.0, 1.0]), np.array([0.1, 0, 0, 0, 0]), pose, (640, 360)),),
        views=(
            View("1", (640, 360), walkable_px=np.array([[0.0, 0], [9, 0], [0, 9]])),
            View("*", (100, 100), exit_px=np.array([[0.0, 0], [9, 0], [0, 9]]), follows_people=False),
        ),
        bins=(
            Bin("a", sku="7", gondola_id=1, shelf_id=2, box=box(low), capacity=3),
            Bin("b", camera_id="*", polygon_px=np.array([[1.5, 2], [30, 4], [5, 60]])),
        ),
        products=(ProductRecord("007", name, mass_g, price, "EUR", tax_rate_bp),),
        walkable_m=np.array([[0.0, 0], [4, 0], [0, 4.25]]),
        exit_m=np.array([[0.0, 0], [0, 1]]),
        fixture_shifts=(FixtureShift(None, np.array(low)), FixtureShift(3, np.array([0.5, 0, -1]))),
    )
    path = tmp_path_factory.mktemp("layouts") / "layout.yaml"
    path.write_text(layout_to_yaml(layout, about="x: y"), encoding="utf-8")
    again = read_layout(path)
    assert again.name == name
    np.testing.assert_allclose(again.cameras[0].cam_from_world, pose, atol=1e-12)
    assert again.cameras[0].distortion.tolist() == layout.cameras[0].distortion.tolist()
    for one, other in zip(layout.views, again.views, strict=True):
        assert (one.camera_id, one.follows_people) == (other.camera_id, other.follows_people)
        for a, b in ((one.walkable_px, other.walkable_px), (one.exit_px, other.exit_px)):
            assert (a is None and b is None) or np.array_equal(a, b)  # type: ignore[arg-type]
    assert [(b.bin_id, b.sku, b.gondola_id, b.shelf_id, b.camera_id, b.capacity) for b in again.bins] == [
        (b.bin_id, b.sku, b.gondola_id, b.shelf_id, b.camera_id, b.capacity) for b in layout.bins
    ]
    assert again.bins[0].box is not None
    np.testing.assert_allclose(again.bins[0].box.corners_m, box(low).corners_m, atol=1e-9)
    assert (again.products[0].unit_price_minor, again.products[0].tax_rate_bp) == (price, tax_rate_bp)
    np.testing.assert_equal(again.products[0].mass_g, mass_g)
    assert again.walkable_m is not None
    assert again.exit_m is not None
    assert again.entrance_m is None
    assert [(s.gondola_id, s.shift_m.tolist()) for s in again.fixture_shifts] == [(None, list(low)), (3, [0.5, 0, -1])]
    assert again.walkable_m.tolist() == layout.walkable_m.tolist()  # type: ignore[union-attr]


def test_what_the_format_cannot_say_is_refused() -> None:
    with pytest.raises(ValueError, match="plate left: expected gondola/shelf/plate as its name, 1/2/3"):
        layout_to_yaml(StoreLayout("s", plates=(Plate("left", 1, 2, 3, box()),)))
    leaning = box()
    leaning.world_from_box[1:3, 1:3] = np.array([[0.96, -0.28], [0.28, 0.96]])
    with pytest.raises(ValueError, match="bin a: the layout format has no boxes that lean"):
        layout_to_yaml(StoreLayout("s", bins=(Bin("a", box=leaning),)))
    camera = Camera("1", np.diag([300.0, 300.0, 1.0]), np.zeros(5), np.eye(4), (640, 360))
    with pytest.raises(ValueError, match=r"camera 1 is calibrated for \[640, 360\] pixels but its zones"):
        layout_to_yaml(StoreLayout("s", cameras=(camera,), views=(View("1", (320, 180)),)))


def test_the_layouts_of_the_project_are_written_and_read_back(tmp_path: Path) -> None:
    folder = Path(__file__).parents[2] / "store_sim" / "layouts"
    for path in sorted(folder.glob("*.yaml")):
        layout = read_layout(path)
        (tmp_path / path.name).write_text(layout_to_yaml(layout), encoding="utf-8")
        again = read_layout(tmp_path / path.name)
        assert [a_bin.bin_id for a_bin in again.bins] == [a_bin.bin_id for a_bin in layout.bins]
        assert [view.camera_id for view in again.views] == [view.camera_id for view in layout.views]
        for one, other in zip(layout.cameras, again.cameras, strict=True):
            np.testing.assert_allclose(one.cam_from_world, other.cam_from_world, atol=1e-9)


lengths = st.floats(1e-3, 10)
turns_deg = st.one_of(
    st.sampled_from([0.0, 90.0, 180.0, -90.0]), st.integers(-(180 * 10**6), 180 * 10**6).map(lambda d: d / 1e6)
)
boxes = st.builds(
    lambda corner, yaw_deg, size: upright_box(np.array(corner), yaw_deg, np.array(size)),
    st.tuples(numbers, numbers, numbers),
    turns_deg,
    st.tuples(lengths, lengths, lengths),
)


def same_boxes(one: Box | None, other: Box | None) -> bool:
    assert one is not None
    assert other is not None
    return np.array_equal(one.world_from_box, other.world_from_box) and np.array_equal(one.size_m, other.size_m)


@settings(deadline=None, max_examples=50)
@given(st.lists(boxes, max_size=4), st.lists(boxes, max_size=3))
def test_plates_turned_bins_and_surfaces_are_read_back_exactly(
    tmp_path_factory: pytest.TempPathFactory, plate_boxes: list[Box], bin_boxes: list[Box]
) -> None:
    plates = tuple(Plate(f"2/1/{k}", 2, 1, k, a_box) for k, a_box in enumerate(plate_boxes))
    layout = StoreLayout(
        "s",
        plates=plates,
        bins=tuple(
            Bin(f"b{k}", gondola_id=2, shelf_id=1, plate_ids=tuple(plate.plate_id for plate in plates), box=a_box)
            for k, a_box in enumerate(bin_boxes)
        ),
        surfaces=tuple(Surface("glass", a_box.corners_m[[0, 1, 3, 2]]) for a_box in bin_boxes),
    )
    path = tmp_path_factory.mktemp("layouts") / "layout.yaml"
    path.write_text(layout_to_yaml(layout), encoding="utf-8")
    again = read_layout(path)
    assert [(p.plate_id, p.gondola_id, p.shelf_id, p.number) for p in again.plates] == [
        (p.plate_id, p.gondola_id, p.shelf_id, p.number) for p in plates
    ]
    assert [b.plate_ids for b in again.bins] == [b.plate_ids for b in layout.bins]
    assert all(same_boxes(one.box, other.box) for one, other in zip(plates, again.plates, strict=True))
    assert all(same_boxes(one.box, other.box) for one, other in zip(layout.bins, again.bins, strict=True))
    assert [pane.kind for pane in again.surfaces] == ["glass"] * len(bin_boxes)
    for one, other in zip(layout.surfaces, again.surfaces, strict=True):
        assert np.array_equal(one.corners_m, other.corners_m)
    assert layout_to_yaml(again) == layout_to_yaml(layout)


def test_every_plate_and_bin_is_one_line_of_the_file() -> None:
    a_box = upright_box(np.array([1.25, 2.5, 0.85]), 90.0, np.array([0.15, 0.45, 0.3]))
    plates = tuple(Plate(f"12/3/{k}", 12, 3, k, a_box) for k in range(3))
    a_bin = Bin("12/3/1", "7", 12, 3, tuple(plate.plate_id for plate in plates), a_box, capacity=8)
    text = layout_to_yaml(StoreLayout("s", plates=plates, bins=(a_bin,)))
    assert "\n- {plate: 12/3/1, corner_m: [1.25, 2.5, 0.85], yaw_deg: 90.0, size_m: [0.15, 0.45, 0.3]}\n" in text
    assert len(text.splitlines()) == 2 + 1 + 3 + 1 + 1


def test_bins_side_by_side_may_share_a_plate_that_is_there() -> None:
    plate = Plate("1/1/1", 1, 1, 1, box())
    left, right = (Bin(name, plate_ids=("1/1/1",), box=box()) for name in ("left", "right"))
    assert StoreLayout("s", plates=(plate,), bins=(left, right)).bin("right").plate_ids == ("1/1/1",)
    with pytest.raises(ValueError, match="bin left names plate 1/1/1, which the layout does not have"):
        StoreLayout("s", bins=(left,))


def test_surfaces_of_a_layout_laid_over_are_added_once() -> None:
    door = Surface("door", np.array([[0.0, 0, 0], [1, 0, 0], [1, 0, 2], [0, 0, 2]]))
    mirror = Surface("mirror", door.corners_m + 1)
    below = StoreLayout("s", surfaces=(door,))
    above = StoreLayout("t", surfaces=(Surface("door", door.corners_m.copy()), mirror))
    assert [pane.kind for pane in below.overlaid(above).surfaces] == ["door", "mirror"]


def test_a_surface_that_is_no_pane_is_refused() -> None:
    square = np.array([[0.0, 0, 0], [1, 0, 0], [1, 0, 2], [0, 0, 2]])
    with pytest.raises(ValueError, match="expected one of glass, mirror, wall, door, got water"):
        Surface("water", square)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"expected shape \(4, 3\), got \(3, 3\)"):
        Surface("wall", square[:3])
    with pytest.raises(ValueError, match="has no area"):
        Surface("wall", np.zeros((4, 3)))
    with pytest.raises(ValueError, match="wall is not flat, a corner lies"):
        Surface("wall", square + np.array([[0, 0, 0], [0, 0, 0], [0, 0, 0], [0, 0.5, 0]]))
