"""Settings of all processes, read from environment variables and `.env` and validated at start."""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

from dotenv import dotenv_values
from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from app.errors import TickhouseError
from app.market.symbols import SYMBOL_RULE, is_symbol

Feed = Literal["live", "simulated", "replay"]

PREFIXES = (
    "ARCHIVE_",
    "CANDLE_",
    "DUCKDB_",
    "FINNHUB_",
    "KAFKA_",
    "LAKE_",
    "SNOWFLAKE_",
    "STOCKS_",
    "TICKHOUSE_",
)
TEST_PREFIX = "TICKHOUSE_TEST_"
"""Prefix of variables that only the project's tests read."""
DEFAULT_SYMBOLS = "AAPL,MSFT,NVDA,AMZN,GOOGL,META,TSLA,AMD,SPY,QQQ,BINANCE:BTCUSDT"


class SettingsError(TickhouseError):
    """A setting is invalid; the message names it and how to correct it."""

    exit_code = 2


class Settings(BaseSettings):
    """All settings; precedence: environment, then `.env`, then defaults."""

    model_config = SettingsConfigDict(
        env_file=".env",
        env_file_encoding="utf-8",
        extra="ignore",
        frozen=True,
        env_ignore_empty=True,
    )

    tickhouse_namespace: str = Field("", pattern=r"^$|^[a-z0-9][a-z0-9-]{0,30}$")
    tickhouse_feed: Feed = "live"
    tickhouse_data_dir: Path = Path(".tickhouse")
    tickhouse_instance: int | None = Field(None, ge=0, le=99)

    kafka_brokers: str = Field("127.0.0.1:9092", min_length=1)
    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    kafka_sasl_mechanism: str | None = None
    kafka_sasl_username: str | None = None
    kafka_sasl_password: SecretStr | None = None
    kafka_ssl_ca_location: Path | None = None
    kafka_ssl_certificate_location: Path | None = None
    kafka_ssl_key_location: Path | None = None
    kafka_ssl_key_password: SecretStr | None = None
    kafka_partitions: int = Field(4, ge=1, le=1000)
    kafka_replication_factor: int = Field(1, ge=1, le=9)
    kafka_retention_hours: int = Field(168, ge=1)
    kafka_buffer_mib: int = Field(128, ge=1, le=65_536)

    finnhub_api_key: SecretStr | None = None
    finnhub_websocket_url: str = Field("wss://ws.finnhub.io", pattern=r"^wss?://")
    finnhub_rest_url: str = Field("https://finnhub.io/api/v1", pattern=r"^https?://")
    finnhub_drop_repeated_frames: bool = True
    finnhub_symbols_per_connection: int = Field(50, ge=1, le=10_000)
    finnhub_silence_s: float = Field(90.0, ge=1.0, le=3_600.0)
    stocks_symbols: Annotated[tuple[str, ...], NoDecode] = tuple(DEFAULT_SYMBOLS.split(","))
    stocks_symbols_file: Path | None = None

    lake_endpoint_url: str | None = Field(None, pattern=r"^https?://")
    lake_bucket: str = Field("tickhouse", pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")
    aws_access_key_id: str | None = None
    aws_secret_access_key: SecretStr | None = None
    aws_region: str = "us-east-1"

    warehouse: Literal["duckdb", "snowflake"] = "duckdb"
    duckdb_path: Path | None = None
    snowflake_account: str | None = None
    snowflake_user: str | None = None
    snowflake_role: str | None = None
    snowflake_warehouse: str | None = None
    snowflake_private_key_path: Path | None = None

    candle_grace_ms: int = Field(5_000, ge=0, le=60_000)
    candle_horizon_ms: int = Field(900_000, ge=60_000, le=86_400_000)
    candle_price_rule: Literal["sip", "all"] = "sip"
    candle_live: bool = True
    candle_commit_interval_s: float = Field(1.0, ge=0.1, le=5.0)

    archive_flush_interval_s: float = Field(15.0, ge=1.0, le=300.0)

    @field_validator("stocks_symbols", mode="before")
    @classmethod
    def _split_symbols(cls, value: Any) -> Any:
        parts = value.split(",") if isinstance(value, str) else value
        return parse_symbols(parts)

    @field_validator("finnhub_api_key")
    @classmethod
    def _holds_a_key(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not _parts(value):
            raise ValueError("give one key, or several separated by commas")
        return value

    @model_validator(mode="after")
    def _horizon_exceeds_grace(self) -> Settings:
        if self.candle_horizon_ms <= self.candle_grace_ms:
            raise ValueError("CANDLE_HORIZON_MS must be larger than CANDLE_GRACE_MS")
        return self

    @classmethod
    def secret_names(cls) -> frozenset[str]:
        """Fields whose values must not appear in logs, errors or tracebacks."""
        fields = cls.model_fields.items()
        return frozenset(name for name, field in fields if "SecretStr" in str(field.annotation))

    @property
    def finnhub_keys(self) -> tuple[str, ...]:
        """The API keys in plain text: never log them."""
        return _parts(self.finnhub_api_key) if self.finnhub_api_key else ()

    def named(self, name: str) -> str:
        """Prefix `name` with the namespace: for topics, groups and transactional ids."""
        return f"{self.tickhouse_namespace}-{name}" if self.tickhouse_namespace else name

    @property
    def home(self) -> Path:
        """This namespace's data folder: state, warehouse, checkpoints of the feed."""
        folder = self.tickhouse_data_dir / (self.tickhouse_namespace or "default")
        return folder.resolve()

    @property
    def state_dir(self) -> Path:
        return self.home / "state"

    @property
    def warehouse_path(self) -> Path:
        """The DuckDB file; its stem is the database's name, STOCKS."""
        return (self.duckdb_path or self.home / "warehouse" / "STOCKS.duckdb").resolve()

    @property
    def protected_files(self) -> tuple[Path, ...]:
        """Files named by settings, with `.env` and the warehouse: no command may overwrite them."""
        named = (
            self.stocks_symbols_file,
            self.kafka_ssl_ca_location,
            self.kafka_ssl_certificate_location,
            self.kafka_ssl_key_location,
            self.snowflake_private_key_path,
        )
        return (Path(".env"), self.warehouse_path, *filter(None, named))

    @property
    def lake_prefix(self) -> str:
        """Key prefix of this namespace's objects in the bucket: empty or `NAMESPACE/`."""
        return f"{self.tickhouse_namespace}/" if self.tickhouse_namespace else ""

    def kafka_client(self) -> dict[str, Any]:
        """librdkafka's connection settings, with secrets in plain text: never log them."""
        secret = SecretStr.get_secret_value
        values: dict[str, Any] = {
            "bootstrap.servers": self.kafka_brokers,
            "security.protocol": self.kafka_security_protocol.lower(),
            "sasl.mechanism": self.kafka_sasl_mechanism,
            "sasl.username": self.kafka_sasl_username,
            "sasl.password": self.kafka_sasl_password and secret(self.kafka_sasl_password),
            "ssl.ca.location": self.kafka_ssl_ca_location and str(self.kafka_ssl_ca_location),
            "ssl.certificate.location": self.kafka_ssl_certificate_location
            and str(self.kafka_ssl_certificate_location),
            "ssl.key.location": self.kafka_ssl_key_location and str(self.kafka_ssl_key_location),
            "ssl.key.password": self.kafka_ssl_key_password and secret(self.kafka_ssl_key_password),
        }
        return {key: value for key, value in values.items() if value}


def parse_symbols(parts: Iterable[str]) -> tuple[str, ...]:
    """Parse symbols: strip, convert to upper case, remove duplicates.

    :raises ValueError: a part is not a valid symbol, or the list is empty.
    """
    named = [part.strip() for part in parts if part.strip()]
    if not named:
        raise ValueError("name at least one symbol, for example AAPL,MSFT,BINANCE:BTCUSDT")
    for name in named:
        if not (name.isascii() and is_symbol(name.upper())):
            raise ValueError(
                f"{name[:64]!r} is not a valid symbol, which has {SYMBOL_RULE}; write them like "
                "AAPL,BINANCE:BTCUSDT"
            )
    return tuple(dict.fromkeys(map(str.upper, named)))


def _parts(keys: SecretStr) -> tuple[str, ...]:
    parts = (part.strip() for part in keys.get_secret_value().split(","))
    return tuple(dict.fromkeys(filter(None, parts)))


def load_settings(**overrides: Any) -> Settings:
    """Load the settings of this process; warn about unknown variables on stderr.

    :param overrides: values by field name that take precedence over the environment.
    :raises SettingsError: a value is invalid; the message never shows a secret's value.
    """
    for warning in unknown_names():
        print(f"warning: {warning}", file=sys.stderr)
    try:
        return Settings(**overrides)
    except ValidationError as error:
        raise SettingsError(_sentence(error)) from None


def unknown_names() -> list[str]:
    """A warning for each variable with a prefix of ours that is not a setting."""
    known = {name.upper() for name in Settings.model_fields}
    in_file = dict.fromkeys(dotenv_values(".env", interpolate=False), ".env")
    ours = {
        name: "the environment"
        for name in os.environ
        if name.startswith(PREFIXES) and not name.startswith(TEST_PREFIX)
    }
    sentences = []
    for name, source in sorted({**in_file, **ours}.items()):
        if name.upper() not in known:
            near = difflib.get_close_matches(name.upper(), known, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            sentences.append(f"{name} in {source} is not a setting of Tickhouse{hint}")
    return sentences


def _sentence(error: ValidationError) -> str:
    sentences = []
    for problem in error.errors(include_url=False, include_context=False):
        name = str(problem["loc"][0]).upper() if problem["loc"] else ""
        secret = name.lower() in Settings.secret_names()
        shown = "" if secret or not name else f" is {problem['input']!r}, which"
        message = problem["msg"].removeprefix("Value error, ")
        what = f"{name}{shown} is invalid" if name else "The settings contradict each other"
        sentences.append(f"{what}: {message}. Set it in the environment or in .env.")
    return " ".join(sentences)
