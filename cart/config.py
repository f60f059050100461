"""Settings of a store, read once at the program's rim from the environment (``TILLFREE_...``)."""

from typing import Annotated

from pydantic import AfterValidator, Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from cart.money import minor_digits


def _known_currency(currency: str) -> str:
    minor_digits(currency)
    return currency


class Settings(BaseSettings):
    """Every setting of a store; ``TILLFREE_CURRENCY=EUR`` in the environment sets ``currency``."""

    model_config = SettingsConfigDict(env_prefix="TILLFREE_", frozen=True)

    currency: Annotated[str, AfterValidator(_known_currency)] = Field(
        default="USD", description="ISO 4217 code of a shop whose site prices nothing."
    )
    charge_probability: float = Field(
        default=0.9,
        ge=0.5,
        le=1.0,
        description=(
            "An interaction less sure than this sends its visit to review. A wrong charge (complaint, refund, a shopper"
            " lost) is taken to cost ten times what a look at a visit costs, so a look pays below 1 - 1/10."
        ),
    )
    payment_attempts: int = Field(
        default=3,
        ge=1,
        le=10,
        description="How often a payment without a clear answer is tried at the exit before it is left to the sweeper.",
    )
