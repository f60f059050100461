"""Tables of what staff keep up by the pages: pictures of products, and the store's layout, version by version."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import JSON, ForeignKey, LargeBinary
from sqlalchemy.orm import Mapped, mapped_column

from cart.tables.base import Base, keep_history


class ProductPictureRow(Base):
    """What a product looks like, for people."""

    __tablename__ = "product_pictures"

    sku: Mapped[str] = mapped_column(ForeignKey("products.sku"), primary_key=True)
    media_type: Mapped[str]
    media: Mapped[bytes] = mapped_column(LargeBinary)
    changed_at: Mapped[datetime]


class LayoutVersionRow(Base):
    """The store as somebody drew it. Append-only: going back is a new version."""

    __tablename__ = "layout_versions"

    version: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    document: Mapped[dict[str, Any]] = mapped_column(JSON)
    note: Mapped[str]
    author_id: Mapped[UUID | None]
    created_at: Mapped[datetime]


keep_history(LayoutVersionRow)
