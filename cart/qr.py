"""QR codes (ISO/IEC 18004): made with segno for screens and paper, read with zxing-cpp from a gate's pictures.

A picture comes from outside, so its kind and its size are read from its header first; only what is small enough is
decoded at all.
"""

import io

import segno
import zxingcpp
from PIL import Image

MAX_PICTURE_BYTES = 8 << 20
MAX_PICTURE_PIXELS = 16_000_000
MAX_TEXT = 1000
_KINDS = ("JPEG", "PNG")


def read_codes(picture: bytes) -> tuple[str, ...]:
    """The texts of the QR codes in a picture, each once, from top to bottom and left to right.

    Args:
        picture: Content of a JPEG or PNG file, at most 8 MiB and 16 million pixels.

    Raises:
        ValueError: It is not such a picture, or too large.
    """
    if len(picture) > MAX_PICTURE_BYTES:
        raise ValueError(f"picture: expected at most {MAX_PICTURE_BYTES} bytes, got {len(picture)}")
    try:
        with Image.open(io.BytesIO(picture), formats=_KINDS) as opened:
            width, height = opened.size
            if not 0 < width * height <= MAX_PICTURE_PIXELS:
                raise ValueError(f"picture: expected at most {MAX_PICTURE_PIXELS} pixels, got {width} x {height}")
            grey = opened.convert("L")
    except ValueError:
        raise
    except Exception as error:
        # Decoders of damaged pictures fail with many kinds of exceptions, SyntaxError among them.
        raise ValueError(
            f"picture: expected a JPEG or PNG that can be read, got none: {type(error).__name__}"
        ) from None
    found = zxingcpp.read_barcodes(grey, formats=zxingcpp.BarcodeFormats(zxingcpp.BarcodeFormat.QRCode))
    places = sorted((code.position.top_left.y, code.position.top_left.x, code.text) for code in found if code.valid)
    return tuple(dict.fromkeys(text for _, _, text in places))


def svg(text: str, module_px: int = 4) -> str:
    """A QR code as an SVG drawing that can stand in a page.

    Args:
        text: 1 to 1,000 characters.
        module_px: Side of the smallest square, pixels.
    """
    stream = io.BytesIO()
    _make(text).save(stream, kind="svg", scale=module_px, xmldecl=False, svgns=True, nl=False)
    return stream.getvalue().decode("utf-8")


def png(text: str, module_px: int = 8) -> bytes:
    """A QR code as a PNG picture, black on white with the quiet zone that the standard asks for.

    Args:
        text: 1 to 1,000 characters.
        module_px: Side of the smallest square, pixels.
    """
    stream = io.BytesIO()
    _make(text).save(stream, kind="png", scale=module_px)
    return stream.getvalue()


def version_of(text: str) -> int:
    """Which version, that is size, of QR code a text takes at error correction level M, 1 to 40."""
    return int(_make(text).version)


def _make(text: str) -> segno.QRCode:
    if not 0 < len(text) <= MAX_TEXT:
        raise ValueError(f"text: expected 1 to {MAX_TEXT} characters, got {len(text)}")
    return segno.make_qr(text, error="m", boost_error=False)
