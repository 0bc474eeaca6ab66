"""Settings: where they come from, and what is refused."""

from pathlib import Path

import pytest

from schemas.errors import UserError
from stream.settings import load_settings


@pytest.fixture(autouse=True)
def no_settings_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REELSORT_CONFIG", raising=False)


def test_a_misspelt_setting_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("REELSORT_MEDIA__ALLOW_HOSTS", '["cdn.example"]')
    with pytest.raises(UserError, match=r"no setting media\.allow_hosts"):
        load_settings()


def test_a_misspelt_group_of_settings_is_refused_with_the_nearest_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REELSORT_KAKFA__BOOTSTRAP", "broker:9092")
    with pytest.raises(UserError, match="no group of settings named kakfa") as caught:
        load_settings()
    assert "KAFKA" in caught.value.remedy


def test_variables_that_are_no_settings_are_somebody_elses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REELSORT_SERVICE_HOST", "10.0.0.7")
    load_settings()


def test_a_secret_is_read_from_the_file_that_a_variable_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable, secret in (("KAFKA__PASSWORD", "p4ss"), ("DATABASE__DSN", "postgresql://db.example/x")):
        (tmp_path / variable).write_text(f"{secret}\n", encoding="utf-8")
        monkeypatch.setenv(f"REELSORT_{variable}_FILE", str(tmp_path / variable))
    settings = load_settings()
    assert settings.kafka.password is not None
    assert settings.kafka.password.get_secret_value() == "p4ss"
    assert settings.database.dsn.get_secret_value() == "postgresql://db.example/x"
