"""Settings of a store, read once at the program's rim from the environment (``TILLFREE_...``)."""

from typing import Annotated

from pydantic import AfterValidator, Field, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from cart.money import minor_digits
from cart.review_costs import ReviewCosts


def _known_currency(currency: str) -> str:
    minor_digits(currency)
    return currency


class Settings(BaseSettings):
    """Every setting of a store; ``TILLFREE_CURRENCY=EUR`` in the environment sets ``currency``."""

    model_config = SettingsConfigDict(env_prefix="TILLFREE_", frozen=True)

    currency: Annotated[str, AfterValidator(_known_currency)] = Field(
        default="USD", description="ISO 4217 code of a shop whose site prices nothing."
    )
    wrong_charge_cost: float = Field(
        default=ReviewCosts().wrong_charge,
        gt=0,
        description="What it costs to charge somebody for a unit they do not have; only ratios of the costs count.",
    )
    missed_item_cost: float = Field(
        default=ReviewCosts().missed_item, gt=0, description="What a unit costs that nobody pays."
    )
    review_cost: float = Field(
        default=ReviewCosts().review,
        gt=0,
        description="What a person's look at one open question costs. A look pays where a mistake would cost more.",
    )
    payment_attempts: int = Field(
        default=3,
        ge=1,
        le=10,
        description="How often a payment without a clear answer is tried at the exit before it is left to the sweeper.",
    )

    @property
    def costs(self) -> ReviewCosts:
        """The three costs together."""
        return ReviewCosts(self.wrong_charge_cost, self.missed_item_cost, self.review_cost)

    @field_validator("review_cost")
    @classmethod
    def _is_worth_it(cls, review: float, info: ValidationInfo) -> float:
        mistakes = info.data.get("wrong_charge_cost"), info.data.get("missed_item_cost")
        if mistakes[0] is not None and mistakes[1] is not None:
            ReviewCosts(mistakes[0], mistakes[1], review)
        return review
