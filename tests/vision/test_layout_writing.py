from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vision.cameras import Camera
from vision.layout import Bin, Box, FixtureShift, Plate, ProductRecord, StoreLayout, View, layout_to_yaml, read_layout

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
)
def test_a_layout_that_is_written_is_read_back_the_same(
    tmp_path_factory: pytest.TempPathFactory,
    low: tuple[float, float, float],
    name: str,
    price: int | None,
    mass_g: float,
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
        products=(ProductRecord("007", name, mass_g, price, "EUR"),),
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
    assert again.products[0].unit_price_minor == price
    np.testing.assert_equal(again.products[0].mass_g, mass_g)
    assert again.walkable_m is not None
    assert again.exit_m is not None
    assert again.entrance_m is None
    assert [(s.gondola_id, s.shift_m.tolist()) for s in again.fixture_shifts] == [(None, list(low)), (3, [0.5, 0, -1])]
    assert again.walkable_m.tolist() == layout.walkable_m.tolist()  # type: ignore[union-attr]


def test_what_the_format_cannot_say_is_refused() -> None:
    with pytest.raises(ValueError, match="no load-cell plates"):
        layout_to_yaml(StoreLayout("s", plates=(Plate("1/1/1", 1, 1, 1, box()),)))
    with pytest.raises(ValueError, match="bin a: the layout format has no turned boxes"):
        layout_to_yaml(StoreLayout("s", bins=(Bin("a", box=box(turned_rad=0.1)),)))
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
