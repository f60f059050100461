import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from cart import qr

CODE = "TF1:" + "A" * 56


def picture(*texts: str, kind: str = "PNG", module_px: int = 6, noise: float = 0.0) -> bytes:
    """A picture of these QR codes, side by side."""
    codes = [Image.open(io.BytesIO(qr.png(text, module_px))).convert("L") for text in texts]
    whole = Image.new("L", (sum(c.width + 40 for c in codes) or 300, max((c.height for c in codes), default=300)), 255)
    left = 0
    for code in codes:
        whole.paste(code, (left, 0))
        left += code.width + 40
    pixels = np.asarray(whole, np.float64) * 0.8 + 25
    pixels += np.random.default_rng(1).normal(0, noise, pixels.shape)
    stream = io.BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(stream, kind)
    return stream.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_code_is_read_from_a_noisy_picture(kind: str) -> None:
    assert qr.read_codes(picture(CODE, kind=kind, noise=12)) == (CODE,)


@given(st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567:", min_size=1, max_size=60))
@settings(max_examples=20, deadline=None)
def test_what_is_written_is_read(text: str) -> None:
    assert qr.read_codes(qr.png(text)) == (text,)


def test_every_code_in_a_picture_is_read_once_from_left_to_right() -> None:
    assert qr.read_codes(picture("FIRST", "SECOND", "FIRST")) == ("FIRST", "SECOND")
    assert qr.read_codes(picture()) == ()


def png_header(width: int, height: int) -> bytes:
    """A PNG that says it is so large, with next to no content."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"GIF89a" + bytes(100),
        bytes(1000),
        picture(CODE)[:-100],
        picture(CODE, kind="JPEG")[:200],
        b"\x89PNG\r\n\x1a\n",
        png_header(100, 100),
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    ],
)
def test_what_is_no_picture_is_refused(content: bytes) -> None:
    with pytest.raises(ValueError, match="expected a JPEG or PNG"):
        qr.read_codes(content)


@pytest.mark.parametrize("size", [(60_000, 60_000), (16_001, 1000), (2_000_000_000, 1), (1, 2_000_000_000)])
def test_a_picture_is_not_decoded_if_its_header_says_it_is_huge(size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=r"expected at most 16000000 pixels|expected a JPEG or PNG"):
        qr.read_codes(png_header(*size))


def test_a_file_that_is_too_long_is_not_even_looked_at() -> None:
    with pytest.raises(ValueError, match="expected at most 8388608 bytes"):
        qr.read_codes(picture(CODE) + bytes(8 << 20))


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_a_damaged_picture_is_read_or_refused(data: st.DataObject) -> None:
    content = bytearray(picture(CODE, kind=data.draw(st.sampled_from(["PNG", "JPEG"])), module_px=3))
    for _ in range(data.draw(st.integers(1, 20))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        texts = qr.read_codes(bytes(content))
    except ValueError:
        return
    assert set(texts) <= {CODE}


def test_a_drawing_for_pages_is_svg() -> None:
    drawing = qr.svg(CODE)

    assert drawing.startswith("<svg ")
    assert 'width="148"' in drawing  # 29 modules and a quiet zone of 4 on either side, 4 pixels each


def test_a_text_has_to_have_a_sensible_length() -> None:
    with pytest.raises(ValueError, match="expected 1 to 1000 characters, got 0"):
        qr.png("")
    with pytest.raises(ValueError, match="expected 1 to 1000 characters, got 1001"):
        qr.svg("A" * 1001)
