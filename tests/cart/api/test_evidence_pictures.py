"""Pictures of products: what comes from outside is bounded, and nothing but pixels is kept of it."""

import io
import struct
import zlib

import httpx
import pytest
from PIL import Image

from cart.accounts import Role
from cart.product_pictures import LONGEST_SIDE_PX, MOST_BYTES, made_small
from tests.cart.api.shops import ApiStore, picture_file


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_a_manager_gives_a_product_a_picture_and_everybody_sees_it(kind: str) -> None:
    store = ApiStore()
    _, manager = store.signed_in("mona", Role.MANAGER)
    nobody = store.client()
    assert nobody.get("/v1/products").json()["items"][0]["picture_url"] is None
    assert nobody.get("/v1/products/042/picture").status_code == 404
    headers = {"Content-Type": f"image/{kind.lower()}"}
    file = picture_file(kind, (900, 300))
    put = manager.put("/v1/products/042/picture", content=file, headers=headers)
    assert put.status_code == 200
    (told, other) = nobody.get("/v1/products").json()["items"]
    assert (told["picture_url"], other["picture_url"]) == (put.json()["picture_url"], None)
    got = nobody.get(told["picture_url"])
    assert got.headers["content-type"] == "image/webp"
    assert got.headers["cache-control"] == "public, max-age=300"
    image = Image.open(io.BytesIO(got.content))
    assert image.size == (LONGEST_SIDE_PX, round(LONGEST_SIDE_PX / 3))
    red = image.convert("RGB").getpixel((100, 50))
    assert isinstance(red, tuple)
    assert red[0] > 200
    assert max(red[1:]) < 40
    again = nobody.get(told["picture_url"], headers={"If-None-Match": got.headers["etag"]})
    assert (again.status_code, again.headers["cache-control"]) == (304, "public, max-age=300")


def test_another_picture_has_another_address_and_one_that_is_gone_is_gone() -> None:
    store = ApiStore(demo=True)
    _, owner = store.signed_in("olga", Role.OWNER)
    png = {"Content-Type": "image/png"}
    first = owner.put("/v1/products/042/picture", content=picture_file(), headers=png).json()["picture_url"]
    store.pass_time(seconds=1)
    second = owner.put("/v1/products/042/picture", content=picture_file(colour="blue"), headers=png).json()
    assert second["picture_url"] != first
    assert owner.get("/v1/demo/products").json()["items"][0]["picture_url"] == second["picture_url"]
    assert owner.put("/v1/products/042", json={"name": "Oats"}).json()["picture_url"] == second["picture_url"]
    assert owner.delete("/v1/products/042/picture").status_code == 204
    assert owner.delete("/v1/products/042/picture").status_code == 404
    assert owner.get(first).status_code == 404
    said = [entry["action"] for entry in owner.get("/v1/audit", params={"subject": "product:042"}).json()["items"]]
    assert said == [
        "product.picture_removed",
        "product.changed",
        "product.picture_changed",
        "product.picture_changed",
    ]


def test_what_is_no_picture_or_too_large_or_of_no_product_is_refused() -> None:
    store = ApiStore()
    _, owner = store.signed_in("olga", Role.OWNER)
    png = {"Content-Type": "image/png"}

    def put(content: bytes, headers: dict[str, str] = png, sku: str = "042") -> int:
        answer: httpx.Response = owner.put(f"/v1/products/{sku}/picture", content=content, headers=headers)
        return answer.status_code

    assert put(b"GIF89a") == 422
    assert put(b"") == 422
    assert put(b"x" * (MOST_BYTES + 1)) == 413
    assert put(picture_file(), {"Content-Type": "image/svg+xml"}) == 415
    assert put(picture_file(), {}) == 415
    assert put(picture_file(), sku="none") == 404
    assert owner.get("/v1/products/042/picture").status_code == 404


def test_a_bomb_is_not_even_decoded() -> None:
    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    bomb = (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" * 90_001))
        + chunk(b"IEND", b"")
    )
    with pytest.raises(ValueError, match=r"^picture: "):
        made_small(bomb)
    with pytest.raises(ValueError, match="at most 16000000 pixels, got 5000 x 4000"):
        made_small(picture_file("PNG", (5000, 4000)))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_a_damaged_file_is_refused_and_nothing_else_happens(kind: str) -> None:
    whole = picture_file(kind, (300, 200))
    for cut in range(0, len(whole), max(1, len(whole) // 40)):
        for damaged in (whole[:cut], whole[:cut] + b"\xff\x00\xff" + whole[cut + 3 :]):
            try:
                made_small(damaged)
            except ValueError as error:
                assert str(error).startswith("picture: ")  # noqa: PT017


def test_where_a_picture_was_taken_is_not_kept_and_it_stands_upright() -> None:
    file = io.BytesIO()
    image = Image.new("RGB", (80, 40), "green")
    exif = image.getexif()
    exif[0x0112] = 6  # turned by a quarter
    exif[0x010E] = "at home in Example Street"
    image.save(file, "JPEG", exif=exif)
    kept = made_small(file.getvalue())
    assert b"Example Street" not in kept
    opened = Image.open(io.BytesIO(kept))
    assert opened.size == (40, 80)
    assert not opened.getexif()


def test_what_is_transparent_stays_so() -> None:
    file = io.BytesIO()
    Image.new("RGBA", (20, 20), (255, 0, 0, 0)).save(file, "PNG")
    opened = Image.open(io.BytesIO(made_small(file.getvalue())))
    assert opened.mode == "RGBA"
    assert opened.getchannel("A").getextrema() == (0, 0)
