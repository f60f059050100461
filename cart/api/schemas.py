"""What requests and answers consist of: the types all of the API's bodies are made from."""

from datetime import datetime
from typing import Annotated, Any

from fastapi import Path
from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, Strict, StringConstraints

from cart.api.problems import Problem
from cart.catalog import MAX_UNIT_PRICE_MINOR
from cart.errors import StoreError
from cart.events import MAX_QUANTITY
from cart.money import minor_digits

# No control characters: they are no text, and a database may refuse them. Half a surrogate pair pydantic refuses.
_ONE_LINE = r"^[^\x00-\x1f\x7f-\x9f]*$"
_LINES = r"^[^\x00-\x08\x0b-\x1f\x7f-\x9f]*$"
_NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]*$"
_LAST_YEAR = 2200


class Body(BaseModel):
    """Something that is sent to the API; what it does not know it refuses."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Shown(BaseModel):
    """Something that the API tells."""

    model_config = ConfigDict(frozen=True, json_schema_serialization_defaults_required=True)


def _known_currency(currency: str) -> str:
    minor_digits(currency)
    return currency


def _near(moment: datetime) -> datetime:
    # Databases know no year 10000, and adding to a time near it fails.
    if not 1970 <= moment.year <= _LAST_YEAR:
        raise ValueError(f"expected a time in the years 1970 to {_LAST_YEAR}")
    return moment


Name = Annotated[str, StringConstraints(min_length=1, max_length=100, pattern=_ONE_LINE)]
Secret = Annotated[
    str,
    StringConstraints(min_length=1, max_length=128, pattern=r"^[^\x00]*$"),
    Field(json_schema_extra={"format": "password"}),
]
Note = Annotated[str, StringConstraints(max_length=2000, pattern=_LINES)]
Email = Annotated[
    str, StringConstraints(min_length=3, max_length=254, pattern=_ONE_LINE), Field(examples=["ada@example.com"])
]
Locale = Annotated[
    str, StringConstraints(pattern=r"^(en|he|ar|ru|sl)$"), Field(description="Language to be written to in.")
]
Sku = Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=_NAME)]
Currency = Annotated[
    str, StringConstraints(pattern=r"^[A-Z]{3}$"), AfterValidator(_known_currency), Field(description="ISO 4217 code.")
]
Quantity = Annotated[int, Strict(), Field(ge=0, le=MAX_QUANTITY, description="Units.")]
Units = Annotated[int, Strict(), Field(ge=1, le=MAX_QUANTITY, description="Units.")]
Amount = Annotated[int, Strict(), Field(ge=1, le=MAX_UNIT_PRICE_MINOR, description="In the currency's minor unit.")]
Price = Annotated[int, Strict(), Field(ge=0, le=MAX_UNIT_PRICE_MINOR, description="In the currency's minor unit.")]
BasisPoints = Annotated[int, Strict(), Field(ge=0, le=10_000, description="1900 is 19 %.")]
Moment = Annotated[AwareDatetime, AfterValidator(_near)]

DeviceName = Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=_NAME)]
DeviceScope = Annotated[str, StringConstraints(pattern=r"^(gate|scale):(\*|[A-Za-z0-9][A-Za-z0-9_.-]{0,63})$")]
PaymentReference = Annotated[str, StringConstraints(min_length=1, max_length=255, pattern=r"^[A-Za-z0-9_.:-]+$")]

GateName = Annotated[str, Path(min_length=1, max_length=64, pattern=_NAME, examples=["front"])]
PlateName = GateName
SkuPath = Annotated[str, Path(min_length=1, max_length=64, pattern=_NAME)]


def problems(*errors: type[StoreError] | int, **more: str) -> dict[int | str, dict[str, Any]]:
    """Document the errors that a route answers with.

    Args:
        errors: Facts about the business, or plain statuses.
        more: Further descriptions by status, such as ``s412="..."``.

    Returns:
        The ``responses`` argument of a route.
    """
    described: dict[int, list[str]] = {}
    for error in errors:
        if isinstance(error, int):
            described.setdefault(error, [])
        else:
            described.setdefault(error.status, []).append(error.title)
    for status, text in more.items():
        described.setdefault(int(status[1:]), []).append(text)
    return {status: problem_content(". ".join(texts) or None) for status, texts in described.items()}


def problem_content(description: str | None = None) -> dict[str, Any]:
    """The OpenAPI response object of a problem."""
    return {
        "description": description or "A problem, see its title.",
        "content": {"application/problem+json": {"schema": {"$ref": f"#/components/schemas/{Problem.__name__}"}}},
    }
