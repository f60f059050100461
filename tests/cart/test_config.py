import pytest
from pydantic import ValidationError

from cart.config import Settings


def test_the_environment_sets_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TILLFREE_CURRENCY", "EUR")
    monkeypatch.setenv("TILLFREE_REVIEW_COST", "10")
    monkeypatch.setenv("TILLFREE_TIME_ZONE", "Europe/Ljubljana")
    settings = Settings()
    assert (settings.currency, settings.costs.charge_probability) == ("EUR", 0.95)
    assert str(settings.zone) == "Europe/Ljubljana"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CURRENCY", "euro"),
        ("REVIEW_COST", "150"),
        ("WRONG_CHARGE_COST", "-1"),
        ("PAYMENT_ATTEMPTS", "0"),
        ("TIME_ZONE", "Mars/Hellas"),
    ],
)
def test_a_setting_out_of_bounds_is_refused(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(f"TILLFREE_{name}", value)
    with pytest.raises(ValidationError):
        Settings()


def test_every_setting_is_described() -> None:
    assert all(field.description for field in Settings.model_fields.values())
