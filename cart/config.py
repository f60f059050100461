"""Settings of a store, read once at the program's rim from the environment (``TILLFREE_...``)."""

from datetime import UTC, tzinfo
from typing import Annotated, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, DirectoryPath, Field, FilePath, SecretStr, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from cart.dispute_rules import DisputeRules
from cart.money import minor_digits
from cart.review_costs import ReviewCosts
from cart.taxes import TaxRule


def _known_currency(currency: str) -> str:
    minor_digits(currency)
    return currency


def zone_of(name: str) -> tzinfo:
    """A time zone by its name in the IANA database.

    Raises:
        ZoneInfoNotFoundError: It is not known, or this machine has no such database.
    """
    return UTC if name == "UTC" else ZoneInfo(name)  # a bare machine has no database, but it has this


def _known_zone(name: str) -> str:
    try:
        zone_of(name)
    except (ZoneInfoNotFoundError, OSError, ValueError) as error:
        raise ValueError(f"expected a time zone such as Europe/Ljubljana, got {name!r}") from error
    return name


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

    requests_per_minute: int = Field(
        default=600,
        ge=1,
        description="Requests a minute that one account, or address without one, may make of the API.",
    )
    sign_ins_per_minute: int = Field(
        default=20, ge=1, description="The same for what invites guessing: signing in, opening accounts, passwords."
    )
    device_requests_per_minute: int = Field(
        default=60_000, ge=1, description="The same for a gate or a scale, which sends samples all the time."
    )
    max_request_bytes: int = Field(
        default=64 * 1024, ge=1024, description="Largest body of a request, bytes; a picture at a gate may have more."
    )
    keep_used_codes_hours: float = Field(
        default=24.0,
        ge=1.0,
        le=8760.0,
        description="How long digests of entry codes that were shown are kept; codes are too old in a minute.",
    )
    keep_tokens_days: float = Field(
        default=30.0,
        ge=0.0,
        le=366.0,
        description="How long tokens are kept that expired or were revoked, for their owner to see.",
    )
    keep_replies_hours: float = Field(
        default=24.0,
        ge=1.0,
        le=168.0,
        description="How long answers under an Idempotency-Key are kept, for their repeats.",
    )
    keep_received_webhooks_days: float = Field(
        default=30.0,
        ge=1.0,
        le=366.0,
        description="How long names of the payment provider's messages are kept; it repeats one for days.",
    )

    hold_minor: int = Field(
        default=5000,
        ge=0,
        le=10**9,
        description="What is held on an account when its shopper comes in, minor unit of the currency; 0 for nothing.",
    )

    tax_rule: TaxRule = Field(
        default=TaxRule.INCLUDED_PER_RATE,
        description="Whether prices include tax, whether it is rounded once a rate or once a line, and how a half is.",
    )
    usual_tax_rate_bp: int = Field(
        default=0,
        ge=0,
        le=10_000,
        description="Tax rate of products whose site or layout names none, basis points; 700 is 7 %.",
    )
    time_zone: Annotated[str, AfterValidator(_known_zone)] = Field(
        default="UTC", description="The store's time zone, such as Europe/Ljubljana; receipts are dated in it."
    )
    receipt_font: FilePath | None = Field(
        default=None,
        description="TrueType file for receipts as PDF, tried before those of the machine; it needs the letters of the"
        " shop's languages.",
    )

    mqtt_host: str | None = Field(default=None, description="Broker of gates and scales; without one they use HTTP.")
    mqtt_port: int = Field(default=1883, ge=1, le=65535, description="The broker's port; 8883 with TLS, as a rule.")
    mqtt_username: str | None = Field(default=None, description="Who the store is to the broker.")
    mqtt_password: SecretStr | None = Field(default=None, description="The store's password at the broker.")
    mqtt_tls: bool = Field(
        default=False, description="Whether the way to the broker is encrypted and its certificate checked."
    )
    mqtt_ca_file: FilePath | None = Field(
        default=None, description="Certificates to check the broker's against; those of the system if it is not set."
    )
    gate_command_life_s: float = Field(
        default=10.0, ge=1, le=60, description="How long a gate may carry out an order to open, seconds."
    )
    no_show_after_s: float = Field(
        default=120.0,
        ge=0,
        le=86_400,
        description="A grant that no gate has answered so long after its end counts as never used, seconds.",
    )

    store_id: str = Field(
        default="main-street",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$",
        description="This store, as entry codes and MQTT topics name it.",
    )
    store_name: str = Field(default="Tillfree", min_length=1, max_length=100, description="Printed on receipts.")
    camera_private_networks: bool = Field(
        default=False,
        description="Whether addresses of cameras may lead into private networks and to this machine. Cameras are"
        " usually there; say so only if whoever names them may reach everything else that is there too.",
    )
    webhook_private_networks: bool = Field(
        default=False, description="The same for webhooks, which may then be plain HTTP too: for trying things out."
    )
    recordings_folder: DirectoryPath | None = Field(
        default=None, description="Where recordings lie that are named without a path; else the working folder."
    )
    decoder_memory_mb: int = Field(
        default=1024, ge=64, description="Memory that the process which decodes one camera or video may use, MiB."
    )
    gateway_url: str | None = Field(
        default=None, description="Where the fake gateway listens if it is a process of its own."
    )
    stripe_secret_key: SecretStr | None = Field(
        default=None, description="Secret or restricted key of Stripe; without one no real money moves."
    )
    stripe_webhook_secret: SecretStr | None = Field(
        default=None, description="What Stripe signs its messages with, whsec_..."
    )
    smtp_host: str | None = Field(default=None, description="Mail server; without one mails are files in a folder.")
    smtp_port: int = Field(default=587, ge=1, le=65535, description="The mail server's port.")
    smtp_security: Literal["starttls", "tls", "none"] = Field(
        default="starttls", description="How the connection to the mail server is kept secret."
    )
    smtp_user: str | None = Field(default=None, description="Who the store is to the mail server.")
    smtp_password: SecretStr | None = Field(default=None, description="The store's password there.")
    mail_sender: str = Field(default="store@tillfree.invalid", description="From which address mails come.")
    keep_evidence_days: float = Field(
        default=30.0, gt=0, le=3650, description="How long pictures, clips and weight curves of a visit are kept."
    )
    dispute_sure_from: float = Field(
        default=DisputeRules().sure_from,
        ge=0,
        le=1,
        description="A line that was billed with a smaller probability goes back at once if its shopper says so.",
    )
    dispute_unsure_limit_minor: int = Field(
        default=DisputeRules().unsure_limit_minor, ge=0, description="The most that goes back so, minor units."
    )
    dispute_small_minor: int = Field(
        default=DisputeRules().small_minor,
        ge=0,
        description="Up to this much goes back at once however sure the store was, minor units.",
    )
    dispute_refunds_at_once: int = Field(
        default=DisputeRules().refunds_at_once,
        ge=0,
        description="So often for one account within 90 days; a person looks at what comes after.",
    )
    passkey_origins: tuple[str, ...] = Field(
        default=(), description="Origins of the store's pages, for passkeys; the first one's host is their domain."
    )

    @property
    def zone(self) -> tzinfo:
        """The store's time zone."""
        return zone_of(self.time_zone)

    @property
    def costs(self) -> ReviewCosts:
        """The three costs together."""
        return ReviewCosts(self.wrong_charge_cost, self.missed_item_cost, self.review_cost)

    @property
    def dispute_rules(self) -> DisputeRules:
        """When a shopper's question about a line is settled at once."""
        return DisputeRules(
            sure_from=self.dispute_sure_from,
            unsure_limit_minor=self.dispute_unsure_limit_minor,
            small_minor=self.dispute_small_minor,
            refunds_at_once=self.dispute_refunds_at_once,
        )

    @field_validator("review_cost")
    @classmethod
    def _is_worth_it(cls, review: float, info: ValidationInfo) -> float:
        mistakes = info.data.get("wrong_charge_cost"), info.data.get("missed_item_cost")
        if mistakes[0] is not None and mistakes[1] is not None:
            ReviewCosts(mistakes[0], mistakes[1], review)
        return review
