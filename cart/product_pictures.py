"""Pictures of products for people: read safely, made small, kept beside the product.

A picture comes from outside, so its kind and its size are read from its header first, only what is small enough is
decoded at all, and what is kept is always written anew: nothing but pixels is left of it, no place and no comments.
"""

import io
import threading
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from PIL import Image, ImageOps
from sqlalchemy import delete, select

from cart.repository import Repository
from cart.tables import ProductPictureRow

MOST_BYTES = 512 * 1024
MOST_PIXELS = 16_000_000
LONGEST_SIDE_PX = 512
TAKEN_TYPES = ("image/jpeg", "image/png", "image/webp")
KEPT_TYPE = "image/webp"
_KINDS = ("JPEG", "PNG", "WEBP")
_QUALITY = 82
# A picture of the most pixels takes some 64 MB while it is decoded; no more of them at once.
_DECODERS = threading.BoundedSemaphore(2)


@dataclass(frozen=True, slots=True)
class ProductPicture:
    """A product's picture as it is kept.

    Attributes:
        media_type: What it is.
        media: Its content.
        changed_at: Since when it is the product's, timezone-aware.
    """

    media_type: str
    media: bytes
    changed_at: datetime


def made_small(picture: bytes) -> bytes:
    """A picture as it is kept: WebP, its longer side at most ``LONGEST_SIDE_PX``, upright, transparent where it was.

    Args:
        picture: Content of a JPEG, PNG or WebP file, at most ``MOST_BYTES`` and ``MOST_PIXELS``; of a moving one the
            first picture is taken.

    Raises:
        ValueError: It is not such a picture, or too large.
    """
    if len(picture) > MOST_BYTES:
        raise ValueError(f"picture: expected at most {MOST_BYTES} bytes, got {len(picture)}")
    try:
        with _DECODERS, Image.open(io.BytesIO(picture), formats=_KINDS) as opened:
            width, height = opened.size
            if not 0 < width * height <= MOST_PIXELS:
                raise ValueError(f"picture: expected at most {MOST_PIXELS} pixels, got {width} x {height}")
            # A JPEG is decoded at a fraction of its size where that is enough.
            opened.draft("RGB", (2 * LONGEST_SIDE_PX, 2 * LONGEST_SIDE_PX))
            upright = ImageOps.exif_transpose(opened)
            clear = upright.convert("RGBA" if upright.has_transparency_data else "RGB")
            clear.thumbnail((LONGEST_SIDE_PX, LONGEST_SIDE_PX), Image.Resampling.LANCZOS)
            return encoded(clear)
    except ValueError as error:
        if str(error).startswith("picture: "):
            raise
        raise _unreadable(error) from None
    except Exception as error:
        # Decoders of damaged pictures fail with many kinds of exceptions, SyntaxError among them.
        raise _unreadable(error) from None


def encoded(image: Image.Image) -> bytes:
    """A picture, RGB or RGBA, as a file of ``KEPT_TYPE`` with nothing in it but its pixels."""
    kept = io.BytesIO()
    # A copy without what came with it, such as where it was taken.
    bare = Image.new(image.mode, image.size)
    bare.paste(image)
    bare.save(kept, "WEBP", quality=_QUALITY, method=4)
    return kept.getvalue()


def put_picture(repository: Repository, sku: str, media: bytes, at: datetime) -> None:
    """Give a product a picture, in place of the one it had.

    Args:
        repository: The transaction.
        sku: A product that there is.
        media: A file of ``KEPT_TYPE``, see ``made_small``.
        at: Now, timezone-aware.
    """
    row = repository.sql.get(ProductPictureRow, sku, with_for_update=True, populate_existing=True)
    if row is None:
        row = ProductPictureRow(sku=sku)
        repository.sql.add(row)
    row.media_type, row.media, row.changed_at = KEPT_TYPE, media, at
    repository.sql.flush()


def remove_picture(repository: Repository, sku: str) -> bool:
    """Take a product's picture away; tells whether it had one."""
    gone = repository.sql.execute(
        delete(ProductPictureRow).where(ProductPictureRow.sku == sku).returning(ProductPictureRow.sku)
    )
    return gone.first() is not None


def picture_of(repository: Repository, sku: str) -> ProductPicture | None:
    """A product's picture; None if it has none."""
    row = repository.sql.get(ProductPictureRow, sku)
    return None if row is None else ProductPicture(row.media_type, row.media, row.changed_at)


def pictured(repository: Repository, skus: Collection[str]) -> dict[str, datetime]:
    """Which of some products have a picture, and since when."""
    rows = repository.sql.execute(
        select(ProductPictureRow.sku, ProductPictureRow.changed_at).where(ProductPictureRow.sku.in_(skus))
    )
    return {row.sku: row.changed_at for row in rows}


def _unreadable(error: Exception) -> ValueError:
    return ValueError(f"picture: expected a JPEG, PNG or WebP that can be read, got none: {type(error).__name__}")
