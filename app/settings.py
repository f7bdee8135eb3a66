"""Settings of all processes, read from the environment and `.env`, and validated at start."""

from __future__ import annotations

import difflib
import os
import re
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
    "ALERT_",
    "ARCHIVE_",
    "CANDLE_",
    "DASHBOARD_",
    "DUCKDB_",
    "FINNHUB_",
    "KAFKA_",
    "LAKE_",
    "RETENTION_",
    "SNOWFLAKE_",
    "STOCKS_",
    "TICKHOUSE_",
    "WAREHOUSE_",
)
IDENTIFIER = r"^[A-Z_][A-Z0-9_$]*$"
"""Snowflake identifiers in upper case that need no quotes."""
ROLE_ARN = r"^arn:aws[a-z-]*:iam::\d{12}:role/\S+$"
"""The Amazon resource name (ARN) of an AWS role."""
TEST_PREFIX = "TICKHOUSE_TEST_"
"""Prefix of variables that are only read by the project's tests."""
AIRFLOW_PREFIX = "AIRFLOW__"
"""Prefix of Airflow's own settings."""
_FINALS_S = 5.0
"""Time between the end of the grace and the final candle in Kafka: the next watermark and the next
commit."""
DEFAULT_SYMBOLS = "AAPL,MSFT,NVDA,AMZN,GOOGL,META,TSLA,AMD,SPY,QQQ,BINANCE:BTCUSDT"


class SettingsError(TickhouseError):
    """A setting is invalid; the message names it and how to correct it."""

    exit_code = 2


class Settings(BaseSettings):
    """All settings. The environment takes precedence over `.env`, and `.env` over the defaults."""

    model_config = SettingsConfigDict(
        env_file=".env",
        env_file_encoding="utf-8-sig",  # Windows editors write a byte order mark
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
    lake_root_user: str | None = None
    lake_root_password: SecretStr | None = Field(None, min_length=8)
    lake_reader_access_key_id: str | None = None
    lake_reader_secret_access_key: SecretStr | None = None

    warehouse: Literal["duckdb", "snowflake"] = "duckdb"
    warehouse_load_minutes: int = Field(1, ge=1, le=60)
    warehouse_build_minutes: int = Field(1, ge=1, le=60)
    alert_webhook_url: SecretStr | None = None
    airflow_database_url: SecretStr | None = None
    duckdb_path: Path | None = None
    snowflake_account: str | None = None
    snowflake_user: str | None = None
    snowflake_private_key_path: Path | None = None
    snowflake_private_key_passphrase: SecretStr | None = None
    snowflake_access_token: SecretStr | None = None
    snowflake_oauth_token: SecretStr | None = None
    snowflake_password: SecretStr | None = None
    snowflake_database: str | None = Field(None, pattern=IDENTIFIER)
    snowflake_warehouse: str = Field("TICKHOUSE", pattern=IDENTIFIER)
    snowflake_monthly_credits: int = Field(820, ge=1, le=1_000_000)
    snowflake_loader_role: str = Field("TICKHOUSE_LOADER", pattern=IDENTIFIER)
    snowflake_transformer_role: str = Field("TICKHOUSE_TRANSFORMER", pattern=IDENTIFIER)
    snowflake_reporter_role: str = Field("TICKHOUSE_REPORTER", pattern=IDENTIFIER)
    snowflake_stage: Literal["internal", "external"] = "internal"
    snowflake_storage_integration: str = Field("TICKHOUSE_LAKE", pattern=IDENTIFIER)
    snowflake_storage_role_arn: str | None = Field(None, pattern=ROLE_ARN)
    snowflake_host: str | None = None
    snowflake_port: int | None = Field(None, ge=1, le=65_535)
    snowflake_protocol: Literal["https", "http"] | None = None

    candle_grace_ms: int = Field(5_000, ge=0, le=60_000)
    candle_allowed_lateness_ms: int = Field(900_000, ge=60_000, le=86_400_000)
    candle_price_rule: Literal["sip", "all"] = "sip"
    candle_live: bool = True
    candle_commit_interval_s: float = Field(1.0, ge=0.1, le=5.0)

    dashboard_token: SecretStr | None = Field(None, min_length=16)

    archive_flush_interval_s: float = Field(60.0, ge=1.0, le=900.0)
    archive_buffer_mib: int = Field(16, ge=1, le=1024)

    retention_raw_days: int = Field(7, ge=0)
    retention_trades_days: int = Field(90, ge=0)
    retention_bronze_days: int = Field(0, ge=0)
    retention_airflow_days: int = Field(3, ge=1)

    @field_validator("stocks_symbols", mode="before")
    @classmethod
    def _split_symbols(cls, value: Any) -> Any:
        parts = value.split(",") if isinstance(value, str) else value
        return parse_symbols(parts)

    @field_validator("warehouse_load_minutes", "warehouse_build_minutes")
    @classmethod
    def _divides_an_hour(cls, value: int) -> int:
        if 60 % value:
            raise ValueError("it must divide an hour: 1, 2, 3, 4, 5, 6, 10, 12, 15, 20, 30 or 60")
        return value

    @field_validator("finnhub_api_key")
    @classmethod
    def _holds_a_key(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not _parts(value):
            raise ValueError("give one key, or several separated by commas")
        return value

    @model_validator(mode="after")
    def _allowed_lateness_exceeds_grace(self) -> Settings:
        if self.candle_allowed_lateness_ms <= self.candle_grace_ms:
            raise ValueError("CANDLE_ALLOWED_LATENESS_MS must be larger than CANDLE_GRACE_MS")
        return self

    @classmethod
    def secret_names(cls) -> frozenset[str]:
        """Return the fields whose values must not appear in logs, errors or tracebacks."""
        fields = cls.model_fields.items()
        return frozenset(name for name, field in fields if "SecretStr" in str(field.annotation))

    @property
    def finnhub_keys(self) -> tuple[str, ...]:
        """The API keys in plain text. Never log them."""
        return _parts(self.finnhub_api_key) if self.finnhub_api_key else ()

    def named(self, name: str) -> str:
        """Prefix `name` with the namespace, for topics, groups and transactional ids."""
        return f"{self.tickhouse_namespace}-{name}" if self.tickhouse_namespace else name

    @property
    def home(self) -> Path:
        """The data folder of this namespace: state, warehouse and the feed's checkpoints."""
        folder = self.tickhouse_data_dir / (self.tickhouse_namespace or "default")
        return folder.resolve()

    @property
    def state_dir(self) -> Path:
        return self.home / "state"

    @property
    def warehouse_path(self) -> Path:
        """The DuckDB file, whose stem is the name of the database, STOCKS.

        The lock, listing, progress and published gold are stored beside it. With Snowflake there is
        no DuckDB file, only these, in a folder per account and database, because each warehouse's
        ledger knows different objects.
        """
        file = (self.duckdb_path or self.home / "warehouse" / "STOCKS.duckdb").resolve()
        if self.warehouse == "duckdb":
            return file
        database = self.warehouse_database
        return file.parent / f"snowflake-{self.snowflake_account}-{database}" / database

    @property
    def warehouse_database(self) -> str:
        """Snowflake's database of this namespace: STOCKS, or STOCKS_NAMESPACE, by default."""
        suffix = self.tickhouse_namespace.upper().replace("-", "_")
        return self.snowflake_database or (f"STOCKS_{suffix}" if suffix else "STOCKS")

    @property
    def protected_files(self) -> tuple[Path, ...]:
        """Files named by settings, `.env` and the warehouse. No command may overwrite them."""
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

    @property
    def lake_url(self) -> str:
        """The S3 URL of the bucket, which all namespaces share."""
        return f"s3://{self.lake_bucket}/"

    @property
    def finals_delay_s(self) -> float:
        """Seconds after the end of a minute at which its final candles are in Kafka: grace + 5 s.

        The archive flushes at this time, and the load follows.
        """
        return self.candle_grace_ms / 1000 + _FINALS_S

    def kafka_client(self) -> dict[str, Any]:
        """Return librdkafka's connection settings, with secrets in plain text. Never log them."""
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
    """Parse symbols: strip blanks, convert to upper case, remove duplicates.

    :raises ValueError: a part is not a valid symbol, or there are no symbols.
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
    :raises SettingsError: a value is invalid. The message never contains a secret's value.
    """
    for warning in unknown_names():
        print(f"warning: {warning}", file=sys.stderr)
    try:
        return Settings(**overrides)
    except ValidationError as error:
        raise SettingsError(_sentence(error)) from None


def unknown_names() -> list[str]:
    """Return a warning for each unknown variable that is probably meant as a setting.

    These are all unknown names in `.env`. In the environment they are the unknown names with a
    prefix of Tickhouse, and misspelled settings with any prefix, such as FINHUB_API_KEY.
    """
    in_file = dict.fromkeys(dotenv_values(".env", interpolate=False), ".env")
    in_environment = dict.fromkeys(os.environ, "the environment")
    sentences = []
    for name, source in sorted({**in_file, **in_environment}.items()):
        if name.upper() in _KNOWN or name.startswith((TEST_PREFIX, AIRFLOW_PREFIX)):
            continue
        near = _nearest(name)
        if near or name in in_file or name.upper().startswith(PREFIXES):
            hint = f"; did you mean {near}?" if near else ""
            sentences.append(f"{name} in {source} is not a setting of Tickhouse{hint}")
    return sentences


_KNOWN = frozenset(name.upper() for name in Settings.model_fields)
_NEAR, _NEAR_AND_OURS = 0.8, 0.65
"""Minimum similarity of a misspelled setting: for any name, and for one with a prefix of Tickhouse.
Other programs' variables, such as AWS_SESSION_TOKEN and DATABASE_URL, are below the first."""


def _nearest(name: str) -> str | None:
    """Return the setting most similar to `name`, ignoring case and separators.

    A setting under another prefix also counts: CANDLE_GRACE_MS for KAFKA_GRACE_MS.
    """
    is_ours = name.upper().startswith(PREFIXES)
    end = name.upper().partition("_")[2]
    same_end = [known for known in _KNOWN if "_" in end and known.partition("_")[2] == end]
    if is_ours and len(same_end) == 1:
        return same_end[0]
    plain = {_letters(known): known for known in sorted(_KNOWN)}
    cutoff = _NEAR_AND_OURS if is_ours else _NEAR
    found = difflib.get_close_matches(_letters(name), plain, n=1, cutoff=cutoff)
    return plain[found[0]] if found else None


def _letters(name: str) -> str:
    return re.sub("[^A-Z0-9]", "", name.upper())


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
