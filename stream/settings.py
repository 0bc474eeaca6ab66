"""Every setting of the running system. Flags > environment (REELSORT_) > file (REELSORT_CONFIG, TOML) > defaults."""

from __future__ import annotations

import os
import tomllib
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from schemas.errors import UserError


class _Group(BaseModel):
    """A misspelt name is refused: taken silently, the default would stay in force."""

    model_config = ConfigDict(extra="forbid")


class KafkaSettings(_Group):
    """How brokers are reached. `options` are raw librdkafka properties (SASL, TLS) and win over everything."""

    bootstrap: str = "localhost:9092"
    group_prefix: str = "reelsort"
    group_protocol: Literal["consumer", "classic"] = "consumer"
    max_poll_interval_ms: Annotated[int, Field(ge=1000)] = 300_000
    session_timeout_ms: Annotated[int, Field(ge=1000)] = 45_000  # classic protocol alone; the broker's with KIP-848
    password: SecretStr | None = None  # sasl.password
    options: dict[str, str] = Field(default_factory=dict)
    topics: dict[str, str] = Field(default_factory=dict)  # standard name -> the name used here
    # for a group whose committed offset has expired; None: stop and ask (serve --from-beginning | --from-now)
    expired_offsets: Literal["from-beginning", "from-now"] | None = None
    partitions: Annotated[int, Field(ge=1)] = 6  # of topics we create
    replication: Annotated[int, Field(ge=1)] = 1


class DatabaseSettings(_Group):
    """Postgres. The DSN may hold a password, so it is a secret."""

    dsn: SecretStr = SecretStr("postgresql://localhost:5432/reelsort")
    statement_timeout_s: float = 60.0


class MediaSettings(_Group):
    """What may be fetched, and how decoding is confined."""

    allowed_hosts: tuple[str, ...] = ()  # exact names or '.suffix'; empty: no network fetch at all
    allow_http: bool = False
    file_root: Path | None = None  # file:// is refused without it
    proxy: SecretStr | None = None
    max_bytes: int = 512 * 1024 * 1024
    fetch_timeout_s: float = 60.0
    decode_timeout_s: float = 30.0
    decode_memory_bytes: int = 2 * 1024**3
    decode_processes: Annotated[int, Field(ge=1)] = max(1, (os.cpu_count() or 2) - 1)
    fetch_threads: Annotated[int, Field(ge=1)] = 8
    scratch: Path | None = None  # where fetched bytes lie while decoded; default: the system's temporary folder


class InferenceSettings(_Group):
    """Which bundle answers, and how. None means: choose by timing at load."""

    bundle: Path | None = None  # default: the bundle in the distribution
    runtime: Literal["onnxruntime", "openvino"] | None = None
    precision: Literal["fp32", "bf16"] | None = None
    vision_batch: Annotated[int, Field(ge=1)] | None = None
    threads: Annotated[int, Field(ge=1)] | None = None
    max_wait_ms: float = 20.0  # how long a half-full bucket waits


class ClassifySettings(_Group):
    max_in_flight: Annotated[int, Field(ge=1)] = 256
    commit_batch: Annotated[int, Field(ge=1)] = 256
    commit_linger_ms: float = 100.0
    max_retries: Annotated[int, Field(ge=0)] = 5  # of transient faults, each through the retry topic
    retry_base_s: float = 5.0
    retry_cap_s: float = 900.0
    breaker_window: Annotated[int, Field(ge=2)] = 64  # outcomes looked at
    breaker_share: Annotated[float, Field(gt=0.0, le=1.0)] = 0.95  # of them poison: halt and hold the offsets
    breaker_pause_s: float = 30.0
    drain_s: float = 20.0
    stub: bool = False  # the deterministic stub model: for fault tests and benchmarks alone
    stub_latency_ms: Annotated[float, Field(ge=0.0)] = 0.0  # how long the stub takes for one video
    start: Literal["from-beginning", "from-now"] = "from-beginning"  # a group with no offsets at all


class ReviewSettings(_Group):
    deadline_h: Annotated[float, Field(gt=0.0)] = 24.0  # a task is due this long after its decision
    budget_per_h: Annotated[int, Field(ge=1)] | None = None  # how many tasks people can decide; None: as many as come
    cooldown_h: Annotated[float, Field(ge=0.0)] = 72.0  # a human label is not questioned by evidence sooner than this


class RescoreSettings(_Group):
    max_in_flight: Annotated[int, Field(ge=1)] = 18_000
    commit_batch: Annotated[int, Field(ge=1)] = 2_000
    commit_linger_ms: float = 50.0
    sweep_s: Annotated[float, Field(gt=0.0)] = 30.0  # how often overdue tasks are looked for
    drain_s: float = 20.0


class RelaySettings(_Group):
    shards: Annotated[int, Field(ge=1, le=64)] = 4
    batch: Annotated[int, Field(ge=1)] = 1000
    poll_ms: float = 50.0
    transaction_timeout_s: float = 30.0
    backlog_alarm: Annotated[int, Field(ge=1)] = 100_000


class SignalsSettings(_Group):
    """Engagement added up. `generation` names group and changelog: a higher one counts every video anew."""

    generation: Annotated[int, Field(ge=0, lt=2**22)] = 0
    batch: Annotated[int, Field(ge=1)] = 2000  # actions of one round at most: one write for each video in it
    linger_s: Annotated[float, Field(ge=0.0)] = 0.5  # how long a round that is not full waits for more actions
    debounce_s: Annotated[float, Field(ge=0.0)] = 10.0  # at most one snapshot of a video in this time
    late_s: Annotated[float, Field(ge=0.0)] = 300.0  # what changed without crossing a threshold is told by then
    expire_after_h: Annotated[float, Field(gt=0.0)] = 720.0  # a video without actions for this long is forgotten
    sweep_s: Annotated[float, Field(gt=0.0)] = 600.0  # how often such videos are looked for
    recovery_alarm_s: Annotated[float, Field(gt=0.0)] = 300.0  # a recovery that takes longer; after twice it we end


class AdminSettings(_Group):
    """/livez, /readyz, /metrics. Loopback unless configured; port 0 picks a free one and logs it."""

    host: str = "127.0.0.1"
    port: int = 0
    stall_s: float = 60.0  # no progress of a loop for this long: not live


class Settings(BaseSettings):
    """All settings. REELSORT_KAFKA__BOOTSTRAP sets kafka.bootstrap; <NAME>_FILE reads the value from a file."""

    model_config = SettingsConfigDict(
        env_prefix="REELSORT_",
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
        nested_model_default_partial_update=True,
    )

    kafka: KafkaSettings = KafkaSettings()
    database: DatabaseSettings = DatabaseSettings()
    media: MediaSettings = MediaSettings()
    inference: InferenceSettings = InferenceSettings()
    classify: ClassifySettings = ClassifySettings()
    rescore: RescoreSettings = RescoreSettings()
    review: ReviewSettings = ReviewSettings()
    relay: RelaySettings = RelaySettings()
    signals: SignalsSettings = SignalsSettings()
    admin: AdminSettings = AdminSettings()
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["json", "console"] = "json"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        assert isinstance(env_settings, EnvSettingsSource)
        # names of files are read by _secrets_from_files; here they would count as misspelt settings
        env_settings.env_vars = {
            name: value for name, value in env_settings.env_vars.items() if not name.endswith("_file")
        }
        sources: list[PydanticBaseSettingsSource] = [
            init_settings,
            InitSettingsSource(settings_cls, _secrets_from_files()),
            env_settings,
        ]
        if config := os.environ.get("REELSORT_CONFIG"):
            sources.append(TomlConfigSettingsSource(settings_cls, toml_file=Path(config)))
        return tuple(sources)


def load_settings(**overrides: Any) -> Settings:
    """Settings from all sources; `overrides` are flags.

    Raises UserError naming the setting, where the file or a value is not what it should be.
    """
    config = os.environ.get("REELSORT_CONFIG")
    if config and not Path(config).is_file():
        raise UserError(f"the settings file {config} does not exist", "unset REELSORT_CONFIG or name a TOML file")
    _refuse_unknown_groups()
    try:
        return Settings(**overrides)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            raise UserError(
                f"there is no setting {where}", "mind the spelling: `reelsort config show` lists them all"
            ) from error
        raise UserError(
            f"the setting {where} is wrong: {first['msg']}",
            f"set REELSORT_{where.upper().replace('.', '__')}, the flag, or {where} in the settings file",
        ) from error
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"the settings file {config} is not TOML: {error}", "mend the line it names") from error


def redacted(settings: Settings) -> dict[str, Any]:
    """Settings as plain data with every secret, and every raw Kafka option that may be one, starred out."""
    plain: dict[str, Any] = settings.model_dump(mode="json")
    hidden = ("password", "secret", "token", "sasl.username", "key", "pem", "oauthbearer.config")
    plain["kafka"]["options"] = {
        name: "**********" if any(word in name for word in hidden) else value
        for name, value in plain["kafka"]["options"].items()
    }
    return plain


def _refuse_unknown_groups() -> None:
    """A variable of no group would be passed over in silence. One without `__` may be anybody's, Kubernetes' say."""
    for variable in sorted(os.environ):
        group, nested, _ = variable.removeprefix("REELSORT_").lower().partition("__")
        if variable.startswith("REELSORT_") and nested and group not in Settings.model_fields:
            near = get_close_matches(group, Settings.model_fields, 1)
            raise UserError(
                f"{variable} sets nothing: there is no group of settings named {group}",
                f"did you mean {near[0].upper()}?" if near else "`reelsort config show` lists all settings",
            )


def _secrets_from_files() -> dict[str, Any]:
    """REELSORT_DATABASE__DSN_FILE=/run/secrets/dsn sets database.dsn: how orchestrators mount secrets."""
    found: dict[str, Any] = {}
    for name, file in os.environ.items():
        if not (name.startswith("REELSORT_") and name.endswith("_FILE")):
            continue
        try:
            value = Path(file).read_text(encoding="utf-8").strip()
        except OSError as error:
            raise UserError(f"{name} names {file}, which cannot be read: {error.strerror}") from error
        *groups, leaf = name.removeprefix("REELSORT_").removesuffix("_FILE").lower().split("__")
        place = found
        for group in groups:
            place = place.setdefault(group, {})
        place[leaf] = value
    return found
