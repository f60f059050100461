from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from store_sim.lens import PERFECT, CameraEffects, LensSettings, blurred, contrasted, fogged, noisy, vignette
from vision.arrays import ImageArray

FRAME_NS = 100_000_000


def a_picture(width: int = 96, height: int = 64) -> ImageArray:
    rng = np.random.default_rng(0)
    image = np.full((height, width, 3), 120, np.uint8)
    image[height // 4 : height // 2, width // 4 : width // 2] = 230
    image[:, : width // 8] = rng.integers(0, 255, (height, width // 8, 3))
    return image


CHEAP = LensSettings()


def effects(settings: LensSettings = CHEAP, seed: int = 1) -> CameraEffects:
    return CameraEffects(settings, np.random.default_rng(seed))


@given(st.integers(16, 80), st.integers(16, 80), st.floats(0, 1), st.integers(0, 5))
def test_effects_keep_size_and_type_and_leave_the_picture_alone(width: int, height: int, fog: float, seed: int) -> None:
    image = a_picture(width, height)
    before = image.copy()
    spoiled = effects(replace(LensSettings(), drops_per_s=0), seed).apply(image, 0, fog=fog)
    assert spoiled is not None
    assert spoiled.shape == image.shape
    assert spoiled.dtype == np.uint8
    assert np.array_equal(image, before)


def test_a_perfect_camera_gives_the_picture_itself() -> None:
    image = a_picture()
    camera = effects(PERFECT)
    for frame in range(3):
        spoiled = camera.apply(image, frame * FRAME_NS)
        assert spoiled is not None
        assert np.array_equal(spoiled, image)


def test_equal_seeds_spoil_equally_and_others_differently() -> None:
    image = a_picture()
    one, same, other = effects(seed=4), effects(seed=4), effects(seed=5)
    for frame in range(5):
        first, again, another = (np.array(camera.apply(image, frame * FRAME_NS)) for camera in (one, same, other))
        assert np.array_equal(first, again)
        assert not np.array_equal(first, another)


def test_a_camera_loses_about_as_many_pictures_as_said() -> None:
    camera = effects(replace(PERFECT, drops_per_s=1.0, drop_s=0.5))
    image = a_picture(16, 16)
    lost = sum(camera.apply(image, frame * FRAME_NS) is None for frame in range(4000))
    # Losses begin once a second of sending and last half a second and what is left of a frame.
    assert 0.25 < lost / 4000 < 0.45


def test_fog_takes_contrast_away() -> None:
    image = a_picture()
    contrast = [float(fogged(image, fog).std()) for fog in (0.0, 0.3, 0.6, 1.0)]
    assert contrast == sorted(contrast, reverse=True)
    assert contrast[-1] < 0.15 * contrast[0]


def test_corners_are_darker_than_the_middle() -> None:
    light = vignette(640, 360, 0.3)
    assert light[180, 320] == pytest.approx(1.0, abs=1e-3)
    assert light[0, 0] == pytest.approx(0.7, abs=1e-3)


def test_noise_grows_with_the_root_of_the_light() -> None:
    noise = np.random.default_rng(0).standard_normal((200, 200, 3), np.float32)
    dark, bright = (noisy(np.full((200, 200, 3), level, np.float32), noise, 4.0, 1.0) for level in (0, 240))
    assert dark.std() == pytest.approx(1.0, rel=0.05)
    assert bright.std() == pytest.approx(np.sqrt(16 * 240 / 255 + 1), rel=0.05)


def test_exposure_wanders_slowly_and_comes_back() -> None:
    camera = effects(replace(PERFECT, exposure_wander=0.1, wander_s=2.0))
    image = np.full((16, 16, 3), 100, np.uint8)
    means = []
    for frame in range(2000):
        spoiled = camera.apply(image, frame * FRAME_NS)
        assert spoiled is not None
        means.append(float(spoiled.mean()))
    assert np.mean(means) == pytest.approx(100, abs=3)
    assert np.std(means) == pytest.approx(10, rel=0.3)
    assert np.abs(np.diff(means)).mean() < 4


def test_blur_softens_edges_but_keeps_the_mean() -> None:
    image = a_picture()
    soft = blurred(image, 1.5)
    assert soft.mean() == pytest.approx(image.mean(), rel=0.02)
    assert np.abs(np.diff(soft.astype(int), axis=1)).max() < np.abs(np.diff(image.astype(int), axis=1)).max()


def test_contrast_spreads_grey_levels_but_keeps_black_grey_and_white() -> None:
    levels = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, axis=2)
    curve = contrasted(levels, 0.8)[0, :, 0].astype(int)
    assert np.array_equal(contrasted(levels, 0.0), levels)
    assert (curve[0], curve[255]) == (0, 255)
    assert curve[128] == pytest.approx(128, abs=1)
    assert (np.diff(curve) >= 0).all()
    assert curve[64] < 64 < 192 < curve[192]


def test_impossible_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="blur_px"):
        LensSettings(blur_px=-1.0)
    with pytest.raises(ValueError, match="vignette"):
        LensSettings(vignette=1.0)
    with pytest.raises(ValueError, match="contrast"):
        LensSettings(contrast=1.5)
    with pytest.raises(ValueError, match="jpeg_quality"):
        LensSettings(jpeg_quality=101)
    with pytest.raises(ValueError, match="shot_noise"):
        LensSettings(shot_noise=float("nan"))


def test_a_picture_of_another_shape_and_fog_beyond_one_are_refused() -> None:
    with pytest.raises(ValueError, match="image"):
        effects().apply(np.zeros((4, 4), np.uint8), 0)
    with pytest.raises(ValueError, match="fog"):
        effects().apply(a_picture(), 0, fog=1.5)
