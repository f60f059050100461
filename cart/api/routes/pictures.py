"""Pictures of products."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Header, Request
from fastapi.responses import Response
from starlette.concurrency import run_in_threadpool

from cart import audit
from cart.api.conditions import NOT_MODIFIED, tag_of, tagged_bytes
from cart.api.problems import ProblemError
from cart.api.routes.prices import check_product, picture_urls
from cart.api.routing import Caller, ShopRoute, TheShop, read_body
from cart.api.schemas import Shown, SkuPath, problems
from cart.api.shop import Shop
from cart.product_pictures import (
    KEPT_TYPE,
    MOST_BYTES,
    TAKEN_TYPES,
    made_small,
    picture_of,
    put_picture,
    remove_picture,
)

router = APIRouter(route_class=ShopRoute, tags=["prices"])

_NO_PICTURE = "There is no such product, or it has no picture"
_BINARY = {"schema": {"type": "string", "format": "binary"}}


class PictureShown(Shown):
    """Where a product's picture is."""

    picture_url: str


@router.get(
    "/v1/products/{sku}/picture",
    response_model=None,
    responses={
        200: {"description": "The picture.", "content": {KEPT_TYPE: _BINARY}},
        304: NOT_MODIFIED,
        **problems(s404=_NO_PICTURE),
    },
)
def read_picture(sku: SkuPath, request: Request, shop: TheShop) -> Response:
    """Get the picture of a product."""
    with shop.database.reading() as repository:
        found = picture_of(repository, sku)
    if found is None:
        raise ProblemError(404, f"product {sku} has no picture", "no-picture")
    response = tagged_bytes(request, found.media, found.media_type, tag_of(found.media))
    response.headers["Cache-Control"] = "public, max-age=300"
    return response


@router.put(
    "/v1/products/{sku}/picture",
    responses=problems(s404="There is no such product", s415="Another kind of content than a picture"),
    max_body_size=MOST_BYTES,
    openapi_extra={"requestBody": {"required": True, "content": dict.fromkeys(TAKEN_TYPES, _BINARY)}},
)
async def put_product_picture(
    sku: SkuPath,
    request: Request,
    shop: TheShop,
    caller: Caller,
    content_type: Annotated[str, Header(include_in_schema=False)] = "",
) -> PictureShown:
    """Give a product a picture; it is made smaller and written anew, and loses all that is in it but pixels."""
    if content_type.partition(";")[0].strip().lower() not in TAKEN_TYPES:
        raise ProblemError(415, f"expected one of {', '.join(TAKEN_TYPES)}", "media-type")
    body = await read_body(request)
    return PictureShown(picture_url=await run_in_threadpool(_put, shop, caller.account_id, sku, body))


@router.delete("/v1/products/{sku}/picture", status_code=204, responses=problems(s404=_NO_PICTURE))
def remove_product_picture(sku: SkuPath, shop: TheShop, caller: Caller) -> None:
    """Take a product's picture away."""
    with shop.database.transaction() as repository:
        if not remove_picture(repository, sku):
            raise ProblemError(404, f"product {sku} has no picture", "no-picture")
        audit.record(repository, caller.account_id, "product.picture_removed", f"product:{sku}", {}, shop.now())


def _put(shop: Shop, actor_id: UUID, sku: str, body: bytes) -> str:
    with shop.database.reading() as repository:
        check_product(repository, sku)
    try:
        media = made_small(body)
    except ValueError as error:
        raise ProblemError(422, str(error), "validation") from error
    at = shop.now()
    with shop.database.transaction() as repository:
        put_picture(repository, sku, media, at)
        audit.record(repository, actor_id, "product.picture_changed", f"product:{sku}", {"bytes": len(media)}, at)
        return picture_urls(repository, [sku])[sku]
