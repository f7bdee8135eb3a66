"""The embedded S3 server: the bucket exists, objects survive restarts, credentials are checked."""

from __future__ import annotations

from pathlib import Path

import boto3
import psutil
import pytest
from botocore.exceptions import ClientError

from app.embedded.s3 import S3Server
from tests.support import listening


@pytest.mark.drill
def test_objects_and_credentials_outlive_a_restart_and_a_kill(tmp_path: Path) -> None:
    with S3Server(tmp_path / "s3", bucket="lake") as server:
        server.client().put_object(Bucket="lake", Key="a/b", Body=b"kept")
        server.kill()
        server.start()
        url = server.endpoint_url
    with S3Server(tmp_path / "s3", bucket="lake") as server:
        assert server.endpoint_url == url
        assert server.client().get_object(Bucket="lake", Key="a/b")["Body"].read() == b"kept"


def test_listens_on_loopback_only(s3_server: S3Server) -> None:
    assert listening([psutil.Process(s3_server.pid)]) == {"127.0.0.1"}


def test_refuses_another_secret(s3_server: S3Server) -> None:
    stranger = boto3.client(
        "s3",
        endpoint_url=s3_server.endpoint_url,
        aws_access_key_id=s3_server.access_key,
        aws_secret_access_key="wrong",
        region_name="us-east-1",
    )
    with pytest.raises(ClientError, match="SignatureDoesNotMatch"):
        stranger.list_objects_v2(Bucket=s3_server.bucket)


def test_credentials_are_for_this_user_only(s3_server: S3Server) -> None:
    assert (s3_server.folder / "credentials.json").stat().st_mode & 0o077 == 0
