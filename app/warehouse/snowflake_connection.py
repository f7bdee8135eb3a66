"""Log in to Snowflake with the settings, and explain errors in sentences.

Written to the interface that versions 4.8 and 5 of the connector share.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import snowflake.connector
from pydantic import SecretStr
from snowflake.connector import errors

from app.errors import TickhouseError
from app.settings import Settings
from app.warehouse.interface import WarehouseError

LOGIN_TIMEOUT_S = 30
"""How long the connector repeats a login that gets no answer."""
NETWORK_TIMEOUT_S = 1_800
"""How long the connector repeats a request that fails on the way, and after which it cancels a
statement (`SnowflakeCursor.execute`; version 5 calls these two request_timeout and query_timeout).
It is the warehouse's own limit, `statement_timeout_in_seconds` in setup.sql."""
QUERY_TAG = "tickhouse"
SESSION_PARAMETERS: Mapping[str, str | bool] = {
    "TIMEZONE": "UTC",
    "TIMESTAMP_TYPE_MAPPING": "TIMESTAMP_NTZ",
    "ABORT_DETACHED_QUERY": True,
    "AUTOCOMMIT": True,
}
"""Parameters of every session, of loads and of dbt: times are in UTC and without a time zone
whatever the account's defaults are, and Snowflake aborts the statements of a process that was
killed, after five minutes."""

RETRYABLE = frozenset({390111, 390112, 390114, 625, 603})
"""Session gone or expired, waiters for a lock, an internal error: the same statements can succeed
in a new session."""
CANCELLED = 604
"""Someone has cancelled the statement, or it ran longer than NETWORK_TIMEOUT_S."""
HTTP_ERRORS = frozenset(
    {
        "InternalServerError",
        "BadGatewayError",
        "ServiceUnavailableError",
        "GatewayTimeoutError",
        "RequestTimeoutError",
        "TooManyRequests",
        "OtherHTTPRetryableError",
        "RequestExceedMaxRetryError",
    }
)
"""Classes of what version 4 raises when it has repeated a request, or a file of PUT, in vain. They
derive from `Error` alone. By name, because importing them from version 5, which raises
OperationalError instead, warns that they are deprecated."""

QUOTA_USED_UP = 90073
"""A resource monitor has suspended the warehouse."""
LOGIN_REJECTED = frozenset({250002, 251005, 251006, 390100, 390144, 394300, 394400})


class SnowflakeUnavailable(TickhouseError):
    """Snowflake did not answer, or not in time; the same command can be tried again."""


def login_arguments(settings: Settings) -> dict[str, Any]:
    """Arguments of `snowflake.connector.connect` that identify account and user.

    Contains secrets: never log them.

    :raises WarehouseError: the account or the user is missing, or there is not one way to log in.
    """
    missing = [
        name.upper()
        for name in ("snowflake_account", "snowflake_user")
        if not getattr(settings, name)
    ]
    if missing:
        raise WarehouseError(
            f"WAREHOUSE=snowflake needs {' and '.join(missing)}. Set them in the environment or in "
            ".env; docs/snowflake.md shows how to set up an account."
        )
    login: dict[str, Any] = {
        "account": settings.snowflake_account,
        "user": settings.snowflake_user,
        **_authentication(settings),
    }
    address = {
        "host": settings.snowflake_host,
        "port": settings.snowflake_port,
        "protocol": settings.snowflake_protocol,
    }
    return login | {name: value for name, value in address.items() if value is not None}


def _authentication(settings: Settings) -> Mapping[str, Any]:
    ways = {
        "SNOWFLAKE_PRIVATE_KEY_PATH": settings.snowflake_private_key_path,
        "SNOWFLAKE_ACCESS_TOKEN": settings.snowflake_access_token,
        "SNOWFLAKE_OAUTH_TOKEN": settings.snowflake_oauth_token,
        "SNOWFLAKE_PASSWORD": settings.snowflake_password,
    }
    given = [name for name, value in ways.items() if value is not None]
    if len(given) != 1:
        raise WarehouseError(
            f"Set one of {', '.join(ways)} to log in to Snowflake; "
            f"{' and '.join(given) if given else 'none'} is set."
        )
    secret = ways[given[0]]
    if isinstance(secret, SecretStr):
        text = secret.get_secret_value()
        return {
            "SNOWFLAKE_ACCESS_TOKEN": {
                "authenticator": "PROGRAMMATIC_ACCESS_TOKEN",
                "token": text,
            },
            "SNOWFLAKE_OAUTH_TOKEN": {"authenticator": "oauth", "token": text},
            "SNOWFLAKE_PASSWORD": {"password": text},
        }[given[0]]
    path = settings.snowflake_private_key_path
    assert path is not None
    if not path.is_file():
        raise WarehouseError(
            f"The private key {path} (SNOWFLAKE_PRIVATE_KEY_PATH) does not exist. Correct the path."
        )
    arguments: dict[str, Any] = {"authenticator": "SNOWFLAKE_JWT", "private_key_file": str(path)}
    if settings.snowflake_private_key_passphrase:
        passphrase = settings.snowflake_private_key_passphrase.get_secret_value()
        arguments["private_key_file_pwd"] = passphrase
    return arguments


def connect(settings: Settings, role: str, **arguments: Any) -> Any:
    """Open a session of the user in `role`, in UTC and tagged with what it is for.

    :param arguments: replace those that the settings give.
    :raises WarehouseError: Snowflake rejects the login, or a setting is missing.
    :raises SnowflakeUnavailable: it does not answer.
    """
    namespace = settings.tickhouse_namespace
    given: dict[str, Any] = login_arguments(settings) | {
        "role": role,
        "warehouse": settings.snowflake_warehouse,
        "database": settings.warehouse_database,
        "session_parameters": {"QUERY_TAG": f"{QUERY_TAG}:{namespace}" if namespace else QUERY_TAG},
    }
    try:
        return snowflake.connector.connect(**with_session_defaults(given | arguments))
    except (errors.Error, ValueError, TypeError) as error:
        raise explained(settings, error, "The login failed") from None


def with_session_defaults(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of `snowflake.connector.connect`, with our time-outs and session parameters.

    :param arguments: these win over the defaults; their session parameters are kept.
    """
    parameters = {**SESSION_PARAMETERS, **(arguments.get("session_parameters") or {})}
    timeouts = {"login_timeout": LOGIN_TIMEOUT_S, "network_timeout": NETWORK_TIMEOUT_S}
    return {**timeouts, **arguments, "session_parameters": parameters}


def set_session_defaults() -> None:
    """Give all later connections of this process our time-outs and session parameters.

    For dbt-snowflake, which calls `snowflake.connector.connect` without time-outs (the connector's
    own for statements is infinite) and, of session parameters, with the query tag only: a profile
    cannot set others (`SnowflakeConnectionManager.open` of dbt-snowflake 1.12).
    """
    connect_as_given = snowflake.connector.connect

    def connect_with_defaults(**arguments: Any) -> Any:
        return connect_as_given(**with_session_defaults(arguments))

    snowflake.connector.connect = connect_with_defaults  # type: ignore[assignment]


def explained(settings: Settings, error: Exception, what: str) -> TickhouseError:
    """The error as a sentence: what failed, why, and what to do."""
    reason = first_line(error)
    account = f"{what} (account {settings.snowflake_account}, user {settings.snowflake_user})"
    if is_quota_used_up(error):
        return WarehouseError(
            f"{account}: {reason} The warehouse resumes with the next month, or once it has more "
            "credits: raise SNOWFLAKE_MONTHLY_CREDITS and run `tickhouse warehouse init`. A longer "
            "WAREHOUSE_LOAD_MINUTES and WAREHOUSE_BUILD_MINUTES use fewer."
        )
    if is_retryable(error) and errno(error) not in LOGIN_REJECTED:
        return SnowflakeUnavailable(
            f"{account}: {reason} Try again; if it continues, look at the account's status."
        )
    return WarehouseError(
        f"{account}: {reason} `tickhouse warehouse check` lists what is missing; docs/snowflake.md "
        "describes the settings."
    )


def is_retryable(error: Exception) -> bool:
    """Whether the same statements may succeed in a new session."""
    if errno(error) == CANCELLED:
        return False
    is_transient = isinstance(error, errors.OperationalError) or errno(error) in RETRYABLE
    return is_transient or type(error).__name__ in HTTP_ERRORS


def is_quota_used_up(error: Exception) -> bool:
    """Whether a resource monitor has suspended the warehouse."""
    return errno(error) == QUOTA_USED_UP or "has exceeded its quota" in str(error)


def errno(error: Exception) -> int:
    """Snowflake's error number; 0 if it has none."""
    number = getattr(error, "errno", 0)
    return number if isinstance(number, int) else 0


def first_line(error: Exception) -> str:
    """Snowflake's message: its first line has the number, the second what is wrong."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    line = " ".join(lines[:2]).strip()
    return line if line.endswith(".") else f"{line}."
