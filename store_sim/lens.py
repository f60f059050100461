"""What a cheap camera does to a picture: haze, blur, uneven and wandering light, noise, sharpening, compression, loss.

Distortion is not here: ``store_sim.render`` draws it. The order is that of light through a camera: what lies on the
lens, the lens, the sensor, the camera's own picture processing, the encoder.
"""

from dataclasses import dataclass, fields

import cv2
import numpy as np

from vision.arrays import FloatArray, ImageArray, check_shape

FOG_BGR = (206, 204, 200)  # breath and grease on a lens scatter the room's light, a little bluish
FOG_BLUR_PX = 6.0  # of a lens with so much on it that nothing but haze is left, for a picture 640 wide
NOISE_BANK = 1.25  # noise is drawn once, so much larger than the picture, and read from another place for every frame
CLIPPED = 250.0  # values above are full wells: their noise is cut off
LONG_GAP_S = 60.0  # after this the wandering light has forgotten where it was


@dataclass(frozen=True, slots=True)
class LensSettings:
    """How bad a camera is. The values are of a cheap indoor dome of 640x360 by lamplight; 0 switches a fault off.

    ``blur_px``, ``contrast`` and ``sharpening`` give pictures of simulated shops the spread of grey levels (57) and the
    sharpness (variance of the Laplacian, 4,800) of the eight cameras of the real NanoStore, the noise what is left
    between two of their frames (0.2 to 1.0 grey levels).

    Attributes:
        blur_px: Defocus, standard deviation in pixels.
        vignette: Share of light lost in the corners.
        exposure_wander: Slow wandering of the exposure, standard deviation in share of the light.
        tint_wander: The same of red and blue against green: white balance.
        wander_s: How long these take to forget where they were, seconds.
        shot_noise: Standard deviation of the noise at full light, grey levels; it grows with the square root of light.
        read_noise: Standard deviation in the dark, grey levels.
        contrast: How far the camera bends its tone curve into an S: dark things black, bright ones white.
        sharpening: How much of the fine detail the camera adds again; leaves bright rims at dark edges.
        ghosting: Share of the last picture left in this one by the camera's own noise filter.
        jpeg_quality: Of the encoder, 1 to 100, colours at half resolution; 0 for no compression.
        drops_per_s: How often the camera loses pictures for a moment.
        drop_s: How long it then sends none, mean seconds.
    """

    blur_px: float = 0.5
    vignette: float = 0.22
    exposure_wander: float = 0.05
    tint_wander: float = 0.02
    wander_s: float = 12.0
    shot_noise: float = 1.2
    read_noise: float = 0.6
    contrast: float = 0.25
    sharpening: float = 1.5
    ghosting: float = 0.08
    jpeg_quality: int = 62
    drops_per_s: float = 0.02
    drop_s: float = 0.25

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not (np.isfinite(value) and value >= 0):
                raise ValueError(f"LensSettings.{field.name}: expected a number of 0 or more, got {value}")
        for name in ("vignette", "ghosting"):
            if getattr(self, name) >= 1:
                raise ValueError(f"LensSettings.{name}: expected a share below 1, got {getattr(self, name)}")
        if self.contrast > 1:
            raise ValueError(f"LensSettings.contrast: expected at most 1, got {self.contrast}")
        if self.jpeg_quality > 100:
            raise ValueError(f"LensSettings.jpeg_quality: expected at most 100, got {self.jpeg_quality}")


PERFECT = LensSettings(
    blur_px=0.0,
    vignette=0.0,
    exposure_wander=0.0,
    tint_wander=0.0,
    shot_noise=0.0,
    read_noise=0.0,
    contrast=0.0,
    sharpening=0.0,
    ghosting=0.0,
    jpeg_quality=0,
    drops_per_s=0.0,
)
"""A camera without faults."""


class CameraEffects:
    """The faults of one camera over time."""

    def __init__(self, settings: LensSettings, rng: np.random.Generator) -> None:
        """Take a camera with its own random stream; equal streams and pictures give equal results.

        Args:
            settings: How bad it is.
            rng: Used for every picture from now on.
        """
        self._settings, self._rng = settings, rng
        self._mood = rng.standard_normal(3)  # exposure, blue, red, in standard deviations
        self._last_ns: int | None = None
        self._lost_until_ns: int | None = None
        self._gain: FloatArray | None = None
        self._noise: FloatArray | None = None
        self._before: ImageArray | None = None

    def apply(self, image: ImageArray, time_ns: int, *, fog: float = 0.0) -> ImageArray | None:
        """Spoil a picture.

        Args:
            image: Shape (h, w, 3), uint8 BGR, as rendered; it is left as it is.
            time_ns: When it was taken, store clock.
            fog: What is on the lens: 0 nothing, 1 so much that only haze is left.

        Returns:
            A picture of the same shape and type; None when the camera lost it.

        Raises:
            ValueError: The picture has another shape, or fog lies outside 0 to 1.
        """
        check_shape("image", image, ("h", "w", 3))
        if not 0 <= fog <= 1:
            raise ValueError(f"fog: expected 0 to 1, got {fog}")
        passed_s = 0.0 if self._last_ns is None else max(0.0, (time_ns - self._last_ns) / 1e9)
        self._last_ns = time_ns
        self._wander(passed_s)
        if self._loses(time_ns, passed_s):
            return None
        settings = self._settings
        spoiled = fogged(image, fog) if fog else image
        if settings.blur_px:
            spoiled = blurred(spoiled, settings.blur_px)
        light = self._exposed(spoiled)
        if settings.shot_noise or settings.read_noise:
            light = self._with_noise(light)
        spoiled = np.asarray(cv2.convertScaleAbs(np.maximum(light, 0)), np.uint8)
        spoiled = contrasted(spoiled, settings.contrast)
        if settings.sharpening:
            spoiled = sharpened(spoiled, settings.sharpening)
        if settings.ghosting and self._before is not None and self._before.shape == spoiled.shape:
            ghost = cv2.addWeighted(spoiled, 1 - settings.ghosting, self._before, settings.ghosting, 0)
            spoiled = np.asarray(ghost, np.uint8)
        self._before = spoiled
        return compressed(spoiled, settings.jpeg_quality) if settings.jpeg_quality else np.array(spoiled)

    def _wander(self, passed_s: float) -> None:
        """An Ornstein-Uhlenbeck process, exact for any step (Gillespie, Phys. Rev. E 54, 1996)."""
        kept = float(np.exp(-min(passed_s, LONG_GAP_S * 10) / max(self._settings.wander_s, 1e-3)))
        self._mood = kept * self._mood + np.sqrt(1 - kept**2) * self._rng.standard_normal(3)

    def _loses(self, time_ns: int, passed_s: float) -> bool:
        chance, length = self._rng.random(), self._rng.exponential()
        if self._lost_until_ns is not None and time_ns < self._lost_until_ns:
            return True
        if chance < 1 - np.exp(-self._settings.drops_per_s * passed_s):
            self._lost_until_ns = time_ns + round(length * self._settings.drop_s * 1e9)
            return True
        return False

    def _exposed(self, image: ImageArray) -> FloatArray:
        """Light by place, time and colour, shape (h, w, 3), float32."""
        height, width = image.shape[:2]
        if self._gain is None or self._gain.shape[:2] != (height, width):
            self._gain = np.repeat(vignette(width, height, self._settings.vignette)[..., None], 3, axis=2)
        exposure = 1 + self._settings.exposure_wander * float(np.clip(self._mood[0], -3, 3))
        blue, red = (1 + self._settings.tint_wander * float(np.clip(mood, -3, 3)) for mood in self._mood[1:])
        light = np.asarray(cv2.multiply(image, self._gain, dtype=cv2.CV_32F), np.float32)
        light *= np.array([exposure * blue, exposure, exposure * red], np.float32)
        return light

    def _with_noise(self, light: FloatArray) -> FloatArray:
        height, width = light.shape[:2]
        if self._noise is None or self._noise.shape[0] < height or self._noise.shape[1] < width:
            self._noise = noise_bank(width, height, self._rng)
        down, right = (int(self._rng.integers(0, self._noise.shape[axis] - light.shape[axis] + 1)) for axis in range(2))
        return noisy(
            light,
            self._noise[down : down + height, right : right + width],
            self._settings.shot_noise,
            self._settings.read_noise,
        )


def fogged(image: ImageArray, fog: float) -> ImageArray:
    """Look through haze on the lens: blurred, and part of the light replaced by the room's.

    Args:
        image: Shape (h, w, 3), uint8.
        fog: 0 nothing to 1 only haze.
    """
    blur = blurred(image, FOG_BLUR_PX * fog * image.shape[1] / 640)
    haze = np.empty_like(image)
    haze[:] = FOG_BGR
    share = 0.9 * fog
    return np.asarray(cv2.addWeighted(blur, 1 - share, haze, share, 0))


def blurred(image: ImageArray, sigma_px: float) -> ImageArray:
    """Blur a picture as a lens out of focus does, by a Gaussian of that standard deviation; 0 leaves it as it is."""
    if sigma_px <= 0:
        return image.copy()
    return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma_px, borderType=cv2.BORDER_REPLICATE))


def vignette(width: int, height: int, loss: float) -> FloatArray:
    """Light left at each pixel, shape (h, w), float32: 1 in the middle, ``1 - loss`` in the corners, as the square."""
    x = np.linspace(-1, 1, width, dtype=np.float32)
    y = np.linspace(-1, 1, height, dtype=np.float32)
    square = (x[None] * width) ** 2 + (y[:, None] * height) ** 2
    return np.asarray(1 - np.float32(loss / (width**2 + height**2)) * square, np.float32)


def noise_bank(width: int, height: int, rng: np.random.Generator) -> FloatArray:
    """A field of noise larger than the picture, shape (h', w', 3), float32, standard deviation 1.

    Half of it is grey, and it is a little blurred: a sensor has one colour a pixel and takes the others from its
    neighbours.
    """
    shape = int(height * NOISE_BANK), int(width * NOISE_BANK)
    colour = rng.standard_normal((*shape, 3), np.float32)
    grey = rng.standard_normal((*shape, 1), np.float32)
    field = cv2.GaussianBlur(0.7 * colour + 0.7 * grey, (0, 0), 0.6)
    return np.asarray(field / field.std(), np.float32)


def noisy(light: FloatArray, noise: FloatArray, shot: float, read: float) -> FloatArray:
    """Add a sensor's noise: its variance is that of reading plus a part that grows with the light (Poisson's).

    Args:
        light: Shape (h, w, 3), float32 grey levels.
        noise: Standard deviation 1, same shape.
        shot: Standard deviation at grey level 255.
        read: Standard deviation in the dark.

    Returns:
        Shape (h, w, 3), float32; may lie outside 0 to 255.
    """
    within = np.clip(light, 0, CLIPPED)
    strength = cv2.sqrt(within * np.float32(shot**2 / 255) + np.float32(read**2))
    return np.asarray(light + cv2.multiply(strength, noise))


def contrasted(image: ImageArray, contrast: float) -> ImageArray:
    """Bend the grey levels of a picture into an S, so that it looks lively.

    Args:
        image: Shape (h, w, 3), uint8.
        contrast: 0 leaves it as it is, 1 bends it all the way to smoothstep, ``3 x^2 - 2 x^3``.
    """
    if contrast <= 0:
        return image
    level = np.arange(256) / 255
    curve = 255 * ((1 - contrast) * level + contrast * (3 - 2 * level) * level**2)
    return np.asarray(cv2.LUT(image, np.rint(curve).astype(np.uint8)))


def sharpened(image: ImageArray, amount: float) -> ImageArray:
    """Add fine detail again, as cheap cameras do too much of (unsharp masking)."""
    soft = cv2.GaussianBlur(image, (0, 0), 1.0, borderType=cv2.BORDER_REPLICATE)
    return np.asarray(cv2.addWeighted(image, 1 + amount, soft, -amount, 0))


def compressed(image: ImageArray, quality: int) -> ImageArray:
    """Encode as JPEG with colours at half resolution, and decode again."""
    options = [
        *(cv2.IMWRITE_JPEG_QUALITY, quality),
        *(cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420),
    ]
    _, encoded = cv2.imencode(".jpg", image, options)
    decoded = cv2.imdecode(encoded, cv2.IMREAD_COLOR)
    if decoded is None:
        raise ValueError(f"compressed: a picture of shape {image.shape} could not be read again")
    return np.asarray(decoded, np.uint8)
