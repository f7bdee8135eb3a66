"""Start the stand-in as a process of its own, and connect to it."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx2
import snowflake.connector
from pydantic import SecretStr
from snowflake.connector import SnowflakeConnection

from app.embedded.ports import LOOPBACK, remembered_ports
from app.embedded.s3 import S3Server
from app.embedded.server import EmbeddedServer
from app.settings import Settings

ROOT = Path(__file__).resolve().parents[2]


class LocalSnowflake(EmbeddedServer):
    """The stand-in's server, as a context manager; it keeps its data in `folder`.

    :param environment: more variables for it, such as those of the S3 server of external stages.
    """

    name = "The stand-in for Snowflake"
    start_s = 60
    grace_s = 5

    def __init__(self, folder: Path, environment: Mapping[str, str] | None = None) -> None:
        folder = folder.resolve()
        super().__init__(folder, folder / "snowflake.log")
        self._environment = dict(environment or {})
        self._port = 0
        self._databases = itertools.count(1)

    def prepare(self) -> list[str | Path]:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._port = remembered_ports(self.folder / "ports.json", ["http"])["http"]
        variables = self._environment | {"PYTHONPATH": str(ROOT), "AWS_EC2_METADATA_DISABLED": "1"}
        return [
            *("env", *(f"{name}={value}" for name, value in variables.items())),
            *(sys.executable, "-W", "ignore", "-m", "tests.snowflake_local"),
            *("--port", str(self._port), "--data-dir", self.folder / "data"),
        ]

    def answers(self) -> bool:
        try:
            return bool(self._get("/healthz")["success"])
        except httpx2.HTTPError:
            return False

    @classmethod
    def beside(cls, s3: S3Server, folder: Path) -> LocalSnowflake:
        """A stand-in whose external stages read the buckets of `s3`."""
        return cls(
            folder,
            {
                "AWS_ENDPOINT_URL": s3.endpoint_url,
                "AWS_ACCESS_KEY_ID": s3.access_key,
                "AWS_SECRET_ACCESS_KEY": s3.secret_key,
            },
        )

    @property
    def login(self) -> dict[str, Any]:
        """Arguments of `snowflake.connector.connect`."""
        return {
            "account": "local",
            "user": "TESTER",
            "password": "any",
            "host": LOOPBACK,
            "port": self._port,
            "protocol": "http",
            "role": "SYSADMIN",
            "warehouse": "COMPUTE_WH",
            "login_timeout": 10,
            "network_timeout": 10,
        }

    def as_warehouse(self, given: Settings, **more: Any) -> Settings:
        """`given` with this server as its warehouse, and a login, unless it has one."""
        names = ("account", "host", "port", "protocol")
        values = {f"snowflake_{name}": self.login[name] for name in names}
        if given.snowflake_user is None:
            values["snowflake_user"] = "TICKHOUSE"
        ways = ("private_key_path", "access_token", "oauth_token", "password")
        if not any(getattr(given, f"snowflake_{way}") for way in ways):
            values["snowflake_password"] = SecretStr("any")
        return given.model_copy(update={"warehouse": "snowflake"} | values | more)

    def connect(self, **arguments: Any) -> SnowflakeConnection:
        """Log in with the real connector; `arguments` replace those of `login`."""
        return snowflake.connector.connect(**self.login | arguments)

    def new_database(self) -> str:
        """Create an empty database, and return its name."""
        name = f"TEST_{next(self._databases)}"
        with self.connect() as connection:
            connection.cursor().execute(f"create or replace database {name}")
        return name

    def statements(self, since: int = 0) -> list[dict[str, Any]]:
        """The statements of all sessions, oldest first: see `journal.Statement`.

        :param since: the number of a statement; only later ones are returned.
        """
        found: list[dict[str, Any]] = self._get(f"/journal/statements?since={since}")
        return found

    def logins(self) -> list[dict[str, Any]]:
        """The login requests, as the connector sent them, without passwords."""
        found: list[dict[str, Any]] = self._get("/journal/logins")
        return found

    def _get(self, path: str) -> Any:
        url = f"http://{LOOPBACK}:{self._port}{path}"
        return httpx2.get(url, timeout=10, trust_env=False).raise_for_status().json()
