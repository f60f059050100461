import re
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

import store_sim
from vision.layout import (
    Bin,
    Box,
    LayoutError,
    ProductRecord,
    StoreLayout,
    View,
    check_polygon,
    layout_from_entry,
    nearest_on_outline,
    polygon_area,
    polygon_margins,
    read_layout,
)

LAYOUTS = Path(store_sim.__file__).parent / "layouts"
SQUARE = [[0, 0], [10, 0], [10, 10], [0, 10]]


def written(folder: Path, text: str) -> Path:
    path = folder / "layout.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def layout_text(**changes: object) -> str:
    content: dict[str, object] = {
        "format": "tillfree-layout/1",
        "name": "shop",
        "cameras": {"cam": {"resolution_wh": [640, 360]}},
        "bins": [{"bin": "A", "camera": "cam", "polygon_px": SQUARE}],
    }
    content |= changes
    return yaml.safe_dump({key: value for key, value in content.items() if value is not None})


def drawn_bin(bin_id: str = "A", camera_id: str = "cam", size: float = 10.0) -> Bin:
    return Bin(bin_id, camera_id=camera_id, polygon_px=np.array(SQUARE, float) * size / 10)


def test_the_smallest_layout_is_read(tmp_path: Path) -> None:
    layout = read_layout(written(tmp_path, layout_text()))
    assert layout.name == "shop"
    assert layout.bin("A").camera_id == "cam"
    assert layout.views == (View("cam", (640, 360)),)
    assert layout.cameras == ()


def test_the_example_in_the_readme_is_a_layout(tmp_path: Path) -> None:
    found = re.search(r"```yaml\n(.*?)```", (LAYOUTS / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None
    layout = read_layout(written(tmp_path, found[1]))
    camera = layout.camera("ceiling")
    assert camera is not None
    assert camera.position_m == pytest.approx([2.0, 1.5, 2.6])
    assert [a_bin.bin_id for a_bin in layout.bins] == ["till_left", "fridge_2", "gum"]
    box = layout.bin("fridge_2").box
    assert box is not None
    assert box.centre_m == pytest.approx([3.7, 0.8, 1.0])
    gum = layout.bin("gum")
    assert gum.box is not None
    assert gum.box.corners_m[3] == pytest.approx([0.0, 2.7, 0.9])
    assert gum.plate_ids == (layout.plates[0].plate_id,) == ("2/1/1",)
    assert [pane.kind for pane in layout.surfaces] == ["glass"]
    assert layout.products[0].unit_price_minor == 149


@pytest.mark.parametrize("path", sorted(LAYOUTS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_layout_here_is_read(path: Path) -> None:
    assert read_layout(path).name


def test_every_key_of_a_layout_is_documented() -> None:
    text = (LAYOUTS / "README.md").read_text(encoding="utf-8")
    for path in LAYOUTS.glob("*.yaml"):
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        entries = [content, *content.get("cameras", {}).values(), *content.get("bins", [])]
        for key in {key for entry in entries for key in entry}:
            assert f"`{key}`" in text


CONTRADICTIONS = {
    "wrong format": (layout_text(format="tillfree-layout/9"), "at format"),
    "no name": (layout_text(name=None), "at name"),
    "unknown key": (layout_text(shelves=[]), "at shelves"),
    "unknown key in a bin": (
        layout_text(bins=[{"bin": "A", "camera": "cam", "polygon_px": SQUARE, "colour": "red"}]),
        "at bins.0.colour",
    ),
    "bin twice": (layout_text(bins=[{"bin": "A", "camera": "cam", "polygon_px": SQUARE}] * 2), "bin A is listed twice"),
    "crossing sides": (
        layout_text(bins=[{"bin": "A", "camera": "cam", "polygon_px": [[0, 0], [10, 10], [10, 2], [0, 10]]}]),
        "cross",
    ),
    "no area": (
        layout_text(bins=[{"bin": "A", "camera": "cam", "polygon_px": [[0, 0], [5, 5], [10, 10]]}]),
        "no area",
    ),
    "two corners": (layout_text(bins=[{"bin": "A", "camera": "cam", "polygon_px": [[0, 0], [5, 5]]}]), "polygon_px"),
    "unknown camera": (
        layout_text(bins=[{"bin": "A", "camera": "other", "polygon_px": SQUARE}]),
        "camera other, which the layout does not have",
    ),
    "neither outline nor box": (layout_text(bins=[{"bin": "A"}]), "either a box in the world or a polygon"),
    "outline and box": (
        layout_text(bins=[{"bin": "A", "camera": "cam", "polygon_px": SQUARE, "min_m": [0, 0, 0], "max_m": [1, 1, 1]}]),
        "either a box in the world or a polygon",
    ),
    "max below min": (
        layout_text(bins=[{"bin": "A", "min_m": [0, 0, 0], "max_m": [1, 1, -1]}]),
        "max_m must lie beyond min_m",
    ),
    "min alone": (layout_text(bins=[{"bin": "A", "min_m": [0, 0, 0]}]), "only make sense together"),
    "size alone": (layout_text(bins=[{"bin": "A", "size_m": [1, 1, 1]}]), "bin A: corner_m and size_m only make sense"),
    "two boxes": (
        layout_text(
            bins=[{"bin": "A", "min_m": [0, 0, 0], "max_m": [1, 1, 1], "corner_m": [0, 0, 0], "size_m": [1, 1, 1]}]
        ),
        "bin A: expected either min_m and max_m or corner_m and size_m",
    ),
    "a flat bin": (
        layout_text(bins=[{"bin": "A", "corner_m": [0, 0, 0], "size_m": [1, 1, 0]}]),
        "bin A: size_m must be",
    ),
    "a flat plate": (
        layout_text(plates=[{"plate": "1/1/1", "corner_m": [0, 0, 0], "size_m": [1, 0, 1]}]),
        "plate 1/1/1: size_m must be positive",
    ),
    "a plate without numbers": (
        layout_text(plates=[{"plate": "left", "corner_m": [0, 0, 0], "size_m": [1, 1, 1]}]),
        "at plates.0.plate",
    ),
    "a plate that is not there": (
        layout_text(bins=[{"bin": "A", "min_m": [0, 0, 0], "max_m": [1, 1, 1], "plates": ["1/1/1"]}]),
        "bin A names plate 1/1/1, which the layout does not have",
    ),
    "a bent pane": (
        layout_text(surfaces=[{"kind": "wall", "corners_m": [[0, 0, 0], [1, 0, 0], [1, 0, 1], [0, 1, 1]]}]),
        "the wall is not flat",
    ),
    "an unknown pane": (layout_text(surfaces=[{"kind": "air", "corners_m": []}]), "at surfaces.0.kind"),
    "not finite": (
        layout_text(bins=[{"bin": "A", "min_m": [0, 0, 0], "max_m": [1, 1, float("nan")]}]),
        "at bins.0.max_m.2",
    ),
    "infinite": (layout_text(walkable_m=[[0, 0], [1, 0], [float("inf"), 1]]), "at walkable_m"),
    "half a calibration": (
        layout_text(cameras={"cam": {"resolution_wh": [640, 360], "intrinsics": np.eye(3).tolist()}}),
        "only make sense together",
    ),
    "a pose that is not rigid": (
        layout_text(
            cameras={
                "cam": {
                    "resolution_wh": [640, 360],
                    "intrinsics": np.eye(3).tolist(),
                    "world_from_cam": np.diag([2.0, 1, 1, 1]).tolist(),
                }
            }
        ),
        "not a rigid transform",
    ),
    "no picture": (layout_text(cameras={"cam": {"resolution_wh": [0, 360]}}), "resolution_wh"),
    "too far": (layout_text(walkable_m=[[0, 0], [1, 0], [1, 1e308]]), "at walkable_m.2.1"),
    "too heavy": (layout_text(products=[{"sku": "1", "name": "x", "mass_g": 1e308}]), "at products.0.mass_g"),
    "a plate of two lines": (
        layout_text(bins=[{"bin": "A", "min_m": [0, 0, 0], "max_m": [1, 1, 1], "plates": ["1/\n1"]}]),
        "bin A names plate 1/ 1, which",
    ),
    "short exit": (layout_text(exit_m=[[0, 0], [0, 0.01]]), "shorter than 5 cm"),
    "no price": (layout_text(products=[{"sku": "1", "name": "x", "unit_price_minor": -1}]), "unit_price_minor"),
    "not a mapping": ("- just\n- a list\n", "at the top"),
    "empty": ("", "at the top"),
    "not YAML": ("format: [", "not a YAML file"),
    "too deep": ("[" * 20_000, "not a YAML file"),
    "deeper than a stack": ("[" * 300_000, "not a YAML file"),
    "deep without brackets": ("- " * 50_000 + "a", "not a YAML file"),
}


@pytest.mark.parametrize(("text", "message"), CONTRADICTIONS.values(), ids=CONTRADICTIONS.keys())
def test_a_layout_that_contradicts_itself_is_refused_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        read_layout(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_all_that_is_wrong_is_told_with_its_place() -> None:
    boxes: list[dict[str, object]] = [{"bin": name, "min_m": [0, 0, 0], "max_m": [1, 1, 1]} for name in "AAB"]
    entry = {"format": "tillfree-layout/1", "name": "x", "bins": boxes, "exit_m": [[0, 0], [0, 0.01]]}
    boxes[2]["plates"] = ["1/1/1"]
    with pytest.raises(LayoutError, match=r"A is listed twice; .* plate 1/1/1, which .* shorter than 5 cm") as caught:
        layout_from_entry(entry)
    assert [flaw.place for flaw in caught.value.flaws] == [("bins", 1), ("bins", 2, "plates"), ("exit_m",)]


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "layout.yaml"
    path.write_bytes(bytes(range(128, 256)))
    with pytest.raises(ValueError, match="not a YAML file"):
        read_layout(path)


def test_a_missing_file_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="layout"):
        read_layout(tmp_path / "layout.yaml")


def test_overlaying_replaces_by_name_and_keeps_the_rest() -> None:
    below = StoreLayout(
        "site",
        views=(View("a", (640, 360)),),
        bins=(drawn_bin("A", "a"), drawn_bin("B", "a")),
        products=(ProductRecord("1", "old", 10.0, 100, "USD"),),
        walkable_m=np.array(SQUARE, float),
    )
    above = StoreLayout(
        "drawn",
        views=(View("a", (320, 180)), View("b", (640, 360))),
        bins=(drawn_bin("B", "b"),),
        products=(ProductRecord("1", "new", 10.0, 120, "USD"),),
        exit_m=np.array([[0.0, 0.0], [0.0, 1.0]]),
        notices=("drawn by eye",),
    )
    both = below.overlaid(above)
    assert both.name == "site"
    assert [(a_bin.bin_id, a_bin.camera_id) for a_bin in both.bins] == [("A", "a"), ("B", "b")]
    assert [view.resolution_wh for view in both.views] == [(320, 180), (640, 360)]
    assert both.products[0].name == "new"
    assert both.walkable_m is below.walkable_m
    assert both.exit_m is above.exit_m
    assert both.notices == ("drawn by eye",)


@given(st.integers(16, 4000), st.integers(16, 4000))
def test_outlines_are_scaled_to_the_pictures_each_axis_by_itself(width: int, height: int) -> None:
    layout = StoreLayout("shop", views=(View("*", (640, 360)),), bins=(drawn_bin("A", "*"),))
    fitted = layout.for_pictures({"clip": (width, height)})
    polygon = fitted.bin("A").polygon_px
    assert polygon is not None
    assert fitted.bin("A").camera_id == "clip"
    assert fitted.views[0].resolution_wh == (width, height)
    np.testing.assert_allclose(polygon, np.array(SQUARE) * (width / 640, height / 360))


def test_fitting_twice_changes_nothing_more() -> None:
    layout = StoreLayout("shop", views=(View("*", (640, 360)),), bins=(drawn_bin("A", "*"),))
    once = layout.for_pictures({"clip": (1280, 720)})
    twice = once.for_pictures({"clip": (1280, 720)})
    np.testing.assert_allclose(np.asarray(twice.bin("A").polygon_px), np.asarray(once.bin("A").polygon_px))


def test_any_camera_does_not_stand_for_several() -> None:
    layout = StoreLayout("shop", views=(View("*", (640, 360)),), bins=(drawn_bin("A", "*"),))
    with pytest.raises(ValueError, match="stands for the only camera, but there are 2"):
        layout.for_pictures({"a": (640, 360), "b": (640, 360)})


def test_a_camera_that_is_not_there_keeps_its_outlines() -> None:
    layout = StoreLayout("shop", views=(View("cam", (640, 360)),), bins=(drawn_bin(),))
    polygon = layout.for_pictures({"other": (64, 36)}).bin("A").polygon_px
    assert polygon is not None
    assert polygon.max() == 10


def test_an_unknown_bin_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="there is no bin Q"):
        StoreLayout("shop").bin("Q")


def test_a_bin_cannot_name_a_plate_that_is_not_there() -> None:
    with pytest.raises(ValueError, match="plate 1/1/1, which the layout does not have"):
        StoreLayout("shop", bins=(Bin("A", plate_ids=("1/1/1",), box=Box(np.eye(4), np.ones(3))),))


@given(st.permutations(range(6)))
def test_a_polygon_is_refused_exactly_when_its_sides_cross(order: list[int]) -> None:
    turns = np.linspace(0, 2 * np.pi, 7)[:-1]
    hexagon = np.column_stack([np.cos(turns), np.sin(turns)])
    start = order.index(0)
    rotated = order[start:] + order[:start]
    simple = rotated in ([0, 1, 2, 3, 4, 5], [0, 5, 4, 3, 2, 1])
    try:
        check_polygon("outline", hexagon[order])
    except ValueError:
        assert not simple
    else:
        assert simple


@given(st.lists(st.tuples(st.floats(-20, 20), st.floats(-20, 20)), min_size=1, max_size=5))
def test_the_nearest_point_of_an_outline_lies_on_it_and_no_corner_is_nearer(places: list[tuple[float, float]]) -> None:
    outline, points = np.array(SQUARE, float), np.array(places)
    nearest = nearest_on_outline(outline, points)
    np.testing.assert_allclose(polygon_margins(outline, nearest), 0, atol=1e-3)
    away = np.linalg.norm(nearest - points, axis=1)
    np.testing.assert_allclose(away, np.abs(polygon_margins(outline, points)), atol=1e-3)
    assert (away <= np.linalg.norm(outline[None] - points[:, None], axis=2).min(axis=1) + 1e-9).all()


def test_margins_are_positive_inside_and_nan_for_nan() -> None:
    margins = polygon_margins(np.array(SQUARE, float), np.array([[5, 5], [12, 5], [np.nan, 1]]))
    assert margins[:2] == pytest.approx([5, -2])
    assert np.isnan(margins[2])
    assert abs(polygon_area(np.array(SQUARE, float))) == 100


@given(st.tuples(*[st.integers(-500, 500).map(lambda cm: cm / 100)] * 3))
def test_distance_from_a_box_is_zero_exactly_inside(point: tuple[float, float, float]) -> None:
    box = Box(np.eye(4), np.array([1.0, 2.0, 3.0]))
    distance = box.distances_m(np.array([point]))[0]
    inside = all(0 <= p <= s for p, s in zip(point, (1, 2, 3), strict=True))
    assert (distance == 0) == inside
