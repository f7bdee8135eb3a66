"""What a login to Snowflake is given, by the pipeline and by dbt, and which errors are retried."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import snowflake.connector
import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from dbt.adapters.contracts.connection import ConnectionState
from dbt.adapters.exceptions.connection import FailedToConnectError
from dbt.adapters.snowflake.connections import SnowflakeConnectionManager, SnowflakeCredentials
from dbt.config.renderer import ProfileRenderer
from dbt_common.context import set_invocation_context
from pydantic import SecretStr
from snowflake.connector import errors
from snowflake.connector.network import get_http_retryable_error

from app.settings import Settings
from app.warehouse.interface import WarehouseError
from app.warehouse.snowflake_connection import (
    LOGIN_TIMEOUT_S,
    NETWORK_TIMEOUT_S,
    SnowflakeUnavailable,
    connect,
    explained,
    is_retryable,
    set_session_defaults,
)
from app.warehouse.snowflake_setup import SETUP
from app.warehouse.transform import PROJECT, environment

PASSPHRASE = "correct horse"
SECRET = "s3cr3t"


@pytest.fixture(autouse=True)
def logins(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The arguments of each call of the connector, which connects to nothing."""
    found: list[dict[str, Any]] = []

    def record(**arguments: Any) -> object:
        found.append(arguments)
        return object()

    monkeypatch.setattr(snowflake.connector, "connect", record)
    return found


def on_snowflake(**given: Any) -> Settings:
    account = {"snowflake_account": "org-account", "snowflake_user": "TICKHOUSE"}
    return Settings(_env_file=None, warehouse="snowflake", **(account | given))


@pytest.fixture(scope="module")
def private_keys(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A private key in two files, one of them encrypted."""
    key = rsa.generate_private_key(public_exponent=65_537, key_size=2_048)
    ways: dict[str, serialization.KeySerializationEncryption] = {
        "encrypted": serialization.BestAvailableEncryption(PASSPHRASE.encode()),
        "plain": serialization.NoEncryption(),
    }
    folder = tmp_path_factory.mktemp("keys")
    for name, encryption in ways.items():
        (folder / name).write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption
            )
        )
    return {name: folder / name for name in ways}


def profile_of_dbt(settings: Settings) -> dict[str, Any]:
    """The target `snowflake` of profiles.yml with the variables of a build."""
    set_invocation_context(environment(settings, {}))
    profiles = yaml.safe_load((PROJECT / "profiles.yml").read_text())
    rendered: dict[str, Any] = ProfileRenderer({}).render_data(
        profiles["stocks"]["outputs"]["snowflake"]
    )
    return {name: rendered[name] for name in rendered if name not in ("type", "threads")}


def login_of_dbt(settings: Settings, logins: list[dict[str, Any]]) -> dict[str, Any]:
    """What dbt-snowflake gives the connector."""
    credentials = SnowflakeCredentials.from_dict(profile_of_dbt(settings))
    connection: Any = SimpleNamespace(state=ConnectionState.INIT, credentials=credentials)
    SnowflakeConnectionManager.open(connection)
    return logins[-1]


def test_every_session_is_in_utc_and_ends_in_time(logins: list[dict[str, Any]]) -> None:
    connect(
        on_snowflake(tickhouse_namespace="mine", snowflake_password=SecretStr(SECRET)),
        "TICKHOUSE_LOADER",
    )

    assert logins[0]["login_timeout"] == LOGIN_TIMEOUT_S
    assert logins[0]["network_timeout"] == NETWORK_TIMEOUT_S
    assert logins[0]["session_parameters"] == {
        "QUERY_TAG": "tickhouse:mine",
        "TIMEZONE": "UTC",
        "TIMESTAMP_TYPE_MAPPING": "TIMESTAMP_NTZ",
        "ABORT_DETACHED_QUERY": True,
        "AUTOCOMMIT": True,
    }


def test_dbt_knows_every_key_of_its_profile() -> None:
    """It ignores others, such as session_parameters."""
    assert profile_of_dbt(on_snowflake()).keys() <= SnowflakeCredentials.__dataclass_fields__.keys()


def test_sessions_of_dbt_are_as_those_of_a_load(logins: list[dict[str, Any]]) -> None:
    settings = on_snowflake(snowflake_password=SecretStr(SECRET))
    connect(settings, "TICKHOUSE_LOADER")
    set_session_defaults()
    of_load, of_dbt = logins[0], login_of_dbt(settings, logins)

    tag = {"QUERY_TAG": "tickhouse-dbt"}
    assert of_dbt["session_parameters"] == of_load["session_parameters"] | tag
    assert [of_dbt[name] for name in ("login_timeout", "network_timeout")] == [
        LOGIN_TIMEOUT_S,
        NETWORK_TIMEOUT_S,
    ]


def test_dbt_repeats_no_rejected_login(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = []

    def reject(**arguments: Any) -> None:
        tried.append(arguments)
        raise errors.DatabaseError(msg="Incorrect username or password", errno=390100)

    monkeypatch.setattr(snowflake.connector, "connect", reject)
    with pytest.raises(FailedToConnectError, match="Incorrect username"):
        login_of_dbt(on_snowflake(snowflake_password=SecretStr(SECRET)), [])

    assert len(tried) == 1


def test_the_process_of_dbt_sets_session_defaults_for_snowflake_alone() -> None:
    """And imports no connector for DuckDB."""
    script = """
import json, sys
from app.warehouse.dbt_process import prepare
found = []
for arguments in (["build"], ["build", "--target", "duckdb"], ["build", "--target", "snowflake"]):
    prepare([*arguments, "--threads", "2"])
    connector = sys.modules.get("snowflake.connector")
    found.append(connector and connector.connect.__module__)
print(json.dumps(found))
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script], capture_output=True, text=True, check=True
    )

    assert json.loads(done.stdout) == [None, None, "app.warehouse.snowflake_connection"]


def test_no_statement_is_cancelled_before_the_warehouse_would() -> None:
    """The connector cancels a statement after network_timeout."""
    found = re.search(r"statement_timeout_in_seconds = (\d+)", SETUP.read_text())

    assert found is not None
    assert int(found[1]) == NETWORK_TIMEOUT_S


Login = Callable[[dict[str, Path]], dict[str, Any]]
WAYS: dict[str, tuple[Login, Login]] = {
    "encrypted key": (
        lambda keys: {
            "snowflake_private_key_path": keys["encrypted"],
            "snowflake_private_key_passphrase": SecretStr(PASSPHRASE),
        },
        lambda keys: {
            "authenticator": "SNOWFLAKE_JWT",
            "private_key_file": str(keys["encrypted"]),
            "private_key_file_pwd": PASSPHRASE,
        },
    ),
    "plain key": (
        lambda keys: {"snowflake_private_key_path": keys["plain"]},
        lambda keys: {"authenticator": "SNOWFLAKE_JWT", "private_key_file": str(keys["plain"])},
    ),
    "access token": (
        lambda _: {"snowflake_access_token": SecretStr(SECRET)},
        lambda _: {"authenticator": "PROGRAMMATIC_ACCESS_TOKEN", "token": SECRET},
    ),
    "OAuth token": (
        lambda _: {"snowflake_oauth_token": SecretStr(SECRET)},
        lambda _: {"authenticator": "oauth", "token": SECRET},
    ),
    "password": (
        lambda _: {"snowflake_password": SecretStr(SECRET)},
        lambda _: {"password": SECRET},
    ),
}
"""For each way to log in, its settings and what identifies the user to the connector."""
IDENTIFYING = ("authenticator", "token", "password", "private_key_file", "private_key_file_pwd")


@pytest.mark.parametrize("way", WAYS)
def test_a_session_logs_in_by_its_settings(
    way: str, private_keys: dict[str, Path], logins: list[dict[str, Any]]
) -> None:
    given, expected = WAYS[way]
    connect(on_snowflake(**given(private_keys)), "TICKHOUSE_LOADER")

    assert {n: v for n, v in logins[0].items() if n in IDENTIFYING} == expected(private_keys)
    assert (logins[0]["account"], logins[0]["user"]) == ("org-account", "TICKHOUSE")


@pytest.mark.parametrize("way", WAYS)
def test_dbt_logs_in_in_the_same_way(
    way: str, private_keys: dict[str, Path], logins: list[dict[str, Any]]
) -> None:
    given, expected = WAYS[way]
    of_dbt = login_of_dbt(on_snowflake(**given(private_keys)), logins)

    authenticator = expected(private_keys).get("authenticator", "snowflake")
    assert of_dbt["authenticator"].lower() == authenticator.lower()
    for secret in ("token", "password"):
        assert (of_dbt.get(secret) or None) == expected(private_keys).get(secret)
    has_key = of_dbt["private_key"] is not None
    assert has_key == ("private_key_file" in expected(private_keys))
    assert (of_dbt["account"], of_dbt["user"]) == ("org-account", "TICKHOUSE")


def test_a_private_key_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(WarehouseError, match=r"The private key .*/none\.p8 .* does not exist"):
        connect(on_snowflake(snowflake_private_key_path=tmp_path / "none.p8"), "ANY")


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({}, "none is set"),
        (
            {
                "snowflake_password": SecretStr(SECRET),
                "snowflake_oauth_token": SecretStr(SECRET),
            },
            "SNOWFLAKE_OAUTH_TOKEN and SNOWFLAKE_PASSWORD is set",
        ),
    ],
)
def test_there_must_be_one_way_to_log_in(
    given: dict[str, Any], named: str, logins: list[dict[str, Any]]
) -> None:
    with pytest.raises(WarehouseError, match=f"Set one of .*{named}"):
        connect(on_snowflake(**given), "ANY")

    assert logins == []


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504, 520])
def test_a_request_that_was_repeated_in_vain_is_retried(status: int) -> None:
    """The connector raises these, which are no OperationalError, when network_timeout is over."""
    with pytest.raises(errors.Error) as raised:
        errors.Error.errorhandler_wrapper_from_cause(None, get_http_retryable_error(status))

    assert is_retryable(raised.value)
    assert isinstance(
        explained(on_snowflake(), raised.value, "Load 7 failed"), SnowflakeUnavailable
    )


def test_a_quota_that_is_used_up_is_a_sentence() -> None:
    message = "Warehouse 'W' cannot be resumed because resource monitor 'M' has exceeded its quota."
    error = errors.ProgrammingError(msg=message, errno=90073)
    sentence = str(explained(on_snowflake(), error, "Load 7 failed"))

    assert message in sentence
    assert "raise SNOWFLAKE_MONTHLY_CREDITS and run `tickhouse warehouse init`" in sentence


@pytest.mark.parametrize(
    ("error", "is_retried"),
    [
        (errors.RequestTimeoutError(), True),
        (errors.RequestExceedMaxRetryError(), True),
        (errors.OperationalError(msg="connection reset", errno=250_001), True),
        (errors.ProgrammingError(msg="session no longer exists", errno=390_111), True),
        (errors.ProgrammingError(msg="SQL execution canceled", errno=604), False),
        (errors.OperationalError(msg="SQL execution canceled", errno=604), False),
        (errors.ProgrammingError(msg="reached its statement timeout", errno=630), False),
        (errors.ForbiddenError(errno=403), False),
        (errors.BadRequest(errno=400), False),
        (errors.ProgrammingError(msg="syntax error", errno=1003), False),
    ],
)
def test_what_is_retried(error: Exception, is_retried: bool) -> None:
    assert is_retryable(error) == is_retried
