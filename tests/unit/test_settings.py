"""Settings: errors for invalid values and warnings for unknown names, without secrets."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import pytest
from pydantic import SecretStr

from app.log import RedactingFormatter, secrets_of
from app.settings import Settings, SettingsError, load_settings, unknown_names

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CANDLE_GRACE_MS", "soon"),
        ("CANDLE_PRICE_RULE", "best"),
        ("TICKHOUSE_FEED", "dead"),
        ("TICKHOUSE_NAMESPACE", "Not OK"),
        ("FINNHUB_WEBSOCKET_URL", "ftp://x"),
        ("STOCKS_SYMBOLS", " , "),
        ("STOCKS_SYMBOLS", "AAPL,<b>"),
        ("STOCKS_SYMBOLS", "AAPL,O'NEIL"),
        ("STOCKS_SYMBOLS", "AAPL," + "A" * 49),
        ("STOCKS_SYMBOLS", "\ufb01"),
        ("LAKE_BUCKET", "No_Bucket"),
        ("WAREHOUSE", "excel"),
        ("KAFKA_PARTITIONS", "0"),
    ],
)
def test_a_wrong_value_is_a_sentence_that_names_the_variable(monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as error:
        load_settings()
    assert name in str(error.value)
    assert error.value.exit_code == 2


def test_an_invalid_symbol_is_an_error_with_the_rule(monkeypatch):
    monkeypatch.setenv("STOCKS_SYMBOLS", "AAPL,o'neil")
    expected = '"o\'neil" is not a valid symbol, which has 1 to 48 capital'
    with pytest.raises(SettingsError, match=expected):
        load_settings()


def test_a_allowed_lateness_below_the_grace_is_a_sentence(monkeypatch):
    monkeypatch.setenv("CANDLE_GRACE_MS", "60000")
    monkeypatch.setenv("CANDLE_ALLOWED_LATENESS_MS", "60000")
    with pytest.raises(SettingsError, match="CANDLE_ALLOWED_LATENESS_MS must be larger"):
        load_settings()


def test_unknown_names_are_reported_with_the_nearest_known_name(monkeypatch, tmp_path):
    monkeypatch.setenv("KAFKA_BROKRS", "x")
    Path(".env").write_text("STOCK_SYMBOLS=AAPL\nCANDLE_GRACE_MS=4000\n")
    first, second = unknown_names()
    assert "KAFKA_BROKRS" in first
    assert "did you mean KAFKA_BROKERS?" in first
    assert "STOCK_SYMBOLS in .env" in second
    assert "STOCKS_SYMBOLS" in second
    assert load_settings().candle_grace_ms == 4000


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("FINHUB_API_KEY", "FINNHUB_API_KEY"),
        ("finhub_api_key", "FINNHUB_API_KEY"),
        ("FINNHUBAPIKEY", "FINNHUB_API_KEY"),
        ("FINNHUB_TOKEN", "FINNHUB_API_KEY"),
        ("CANDLES_GRACE_MS", "CANDLE_GRACE_MS"),
        ("KAFKA_GRACE_MS", "CANDLE_GRACE_MS"),
        ("STOCK_SYMBOLS", "STOCKS_SYMBOLS"),
        ("TICK_HOUSE_FEED", "TICKHOUSE_FEED"),
        ("LAKE_ACCESS_KEY_ID", "AWS_ACCESS_KEY_ID"),
        ("AWS_SECRET_KEY", "AWS_SECRET_ACCESS_KEY"),
        ("AWS_ENDPOINT_URL", "LAKE_ENDPOINT_URL"),
        ("DASHBORD_TOKEN", "DASHBOARD_TOKEN"),
    ],
)
def test_a_near_miss_of_a_setting_is_named_under_any_prefix(monkeypatch, name, meant):
    monkeypatch.setenv(name, "x")
    [warning] = [sentence for sentence in unknown_names() if sentence.startswith(f"{name} in ")]
    assert f"did you mean {meant}?" in warning


@pytest.mark.parametrize("name", [name.upper() for name in Settings.model_fields])
def test_a_letter_that_is_missing_from_a_setting_is_noticed(monkeypatch, name):
    monkeypatch.setenv(name[0] + name[2:], "x")
    assert f"did you mean {name}?" in "\n".join(unknown_names())


def test_variables_of_other_programs_are_not_reported(monkeypatch):
    others = (
        *("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_DEFAULT_REGION", "AWS_S3_BUCKET"),
        *("DATABASE_URL", "REDIS_URL", "POSTGRES_PASSWORD", "AIRFLOW_HOME", "DBT_PROFILES_DIR"),
        *("AIRFLOW__CORE__DAGS_FOLDER", "POLYGON_API_KEY", "GITHUB_TOKEN", "XDG_CACHE_HOME"),
        *("VIRTUAL_ENV", "LANG", "HTTPS_PROXY", "SSH_AUTH_SOCK", "JAVA_HOME", "DATA_DIR"),
    )
    for name in others:
        monkeypatch.setenv(name, "x")
    assert [warning for warning in unknown_names() if warning.startswith(others)] == []


def test_a_namespace_prefixes_names_and_folders():
    settings = Settings(_env_file=None, tickhouse_namespace="x")
    assert settings.named("stocks-topic") == "x-stocks-topic"
    assert settings.lake_prefix == "x/"
    assert settings.home.name == "x"
    assert settings.warehouse_path.stem == "STOCKS"


def test_each_warehouse_has_a_folder_of_its_own():
    duckdb = Settings(_env_file=None)
    snowflake = Settings(_env_file=None, warehouse="snowflake", snowflake_account="org-one")
    other = snowflake.model_copy(update={"snowflake_account": "org-two"})
    folders = [each.warehouse_path.parent for each in (duckdb, snowflake, other)]

    assert len(set(folders)) == 3
    assert {folder.parent for folder in folders[1:]} == {folders[0]}


def test_each_namespace_has_a_database_of_its_own_on_snowflake():
    def database(namespace: str, **given: str) -> str:
        settings = Settings(_env_file=None, tickhouse_namespace=namespace, **given)
        return settings.warehouse_database

    assert database("") == "STOCKS"
    assert database("demo-live") == "STOCKS_DEMO_LIVE"
    assert database("live", snowflake_database="TRADES") == "TRADES"


def test_secrets_are_in_no_representation_and_no_log_line():
    settings = Settings(
        _env_file=None,
        finnhub_api_key=SecretStr("marker-1"),
        kafka_sasl_password=SecretStr("marker-2"),
    )
    assert "marker" not in repr(settings)
    formatter = RedactingFormatter(secrets_of(settings))
    try:
        raise ValueError("wss://x?token=marker-1")
    except ValueError:
        record = logging.LogRecord("a", 20, "f", 1, "pw marker-2", None, None)
        import sys

        record.exc_info = sys.exc_info()
    assert "marker" not in formatter.format(record)


def test_the_names_of_keys_and_accounts_are_no_secrets_in_log_lines():
    settings = Settings(
        _env_file=None,
        aws_access_key_id="tickhouse",
        aws_secret_access_key=SecretStr("marker"),
    )
    record = logging.LogRecord("tickhouse", 20, "f", 1, "tickhouse signs with marker", None, None)
    line = RedactingFormatter(secrets_of(settings)).format(record)
    assert line.endswith("tickhouse: tickhouse signs with **********")


def test_what_is_secret():
    assert Settings.secret_names() == {
        "airflow_database_url",
        "alert_webhook_url",
        "finnhub_api_key",
        "aws_secret_access_key",
        "dashboard_token",
        "kafka_sasl_password",
        "kafka_ssl_key_password",
        "lake_reader_secret_access_key",
        "lake_root_password",
        "snowflake_access_token",
        "snowflake_oauth_token",
        "snowflake_password",
        "snowflake_private_key_passphrase",
    }


def test_every_setting_is_read_by_a_process_or_by_dbt():
    code = [path for part in ("app", "topologies", "sinks") for path in (ROOT / part).rglob("*.py")]
    read = set(re.findall(r"\.([a-z_0-9]+)", "".join(path.read_text() for path in code)))
    profiles = (ROOT / "dbt_stocks" / "profiles.yml").read_text()
    by_dbt = {name.lower() for name in re.findall(r"env_var\('([A-Z_]+)'", profiles)}
    assert Settings.model_fields.keys() - read - by_dbt == set()
