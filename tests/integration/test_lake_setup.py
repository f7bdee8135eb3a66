"""`tickhouse lake init` on SeaweedFS: the bucket, and users that may do only what they need."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from pydantic import SecretStr

from app.embedded.s3 import S3Server
from app.lake import s3_client
from app.lake_errors import LakeError
from app.lake_setup import run
from app.settings import Settings

BUCKET, OTHER = "candles-of-a-test", "somebody-elses"


class S3ServerWithUsers(S3Server):
    """An embedded S3 server on which users can be created, as in compose.yaml."""

    def prepare(self) -> list[str | Path]:
        return [*super().prepare(), "-s3.iam.readOnly=false"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with S3ServerWithUsers(tmp_path_factory.mktemp("s3"), bucket=OTHER) as server:
        yield server


@pytest.fixture
def settings(server: S3Server) -> Settings:
    return Settings(
        _env_file=None,
        lake_endpoint_url=server.endpoint_url,
        lake_bucket=BUCKET,
        lake_root_user=server.access_key,
        lake_root_password=SecretStr(server.secret_key),
        aws_access_key_id="writer",
        aws_secret_access_key=SecretStr("of-the/writer+s@:#"),
        lake_reader_access_key_id="reader",
        lake_reader_secret_access_key=SecretStr("of-the-reader"),
    )


def client_of(settings: Settings, name: str) -> Any:
    secret = {
        "writer": settings.aws_secret_access_key,
        "reader": settings.lake_reader_secret_access_key,
    }[name]
    keys = {"aws_access_key_id": name, "aws_secret_access_key": secret}
    return s3_client(settings.model_copy(update=keys))


def denied(call: Any, **parameters: Any) -> bool:
    try:
        call(**parameters)
    except ClientError as error:
        return error.response["ResponseMetadata"]["HTTPStatusCode"] == 403
    return False


def test_users_may_use_their_bucket_only_and_a_second_start_changes_nothing(
    settings: Settings, server: S3Server
) -> None:
    run(settings)
    run(settings)

    writer, reader = client_of(settings, "writer"), client_of(settings, "reader")
    writer.put_object(Bucket=BUCKET, Key="bronze/a", Body=b"x", IfNoneMatch="*")
    assert writer.get_object(Bucket=BUCKET, Key="bronze/a")["Body"].read() == b"x"
    assert [item["Key"] for item in reader.list_objects_v2(Bucket=BUCKET)["Contents"]] == [
        "bronze/a"
    ]
    assert denied(reader.get_object, Bucket=BUCKET, Key="bronze/a")
    assert denied(reader.put_object, Bucket=BUCKET, Key="bronze/b", Body=b"x")
    for client in (writer, reader):
        assert denied(client.list_objects_v2, Bucket=OTHER)
        assert denied(client.put_object, Bucket=OTHER, Key="a", Body=b"x")
        assert denied(client.create_bucket, Bucket="a-third")
        assert denied(client.delete_bucket, Bucket=BUCKET)
    writer.delete_object(Bucket=BUCKET, Key="bronze/a")


def test_a_new_secret_replaces_the_old_one(settings: Settings) -> None:
    run(settings)
    before = client_of(settings, "reader")
    changed = settings.model_copy(update={"lake_reader_secret_access_key": SecretStr("another-1")})
    run(changed)
    assert denied(before.list_objects_v2, Bucket=BUCKET)
    client_of(changed, "reader").list_objects_v2(Bucket=BUCKET)


def test_without_root_credentials_the_bucket_is_checked_and_no_user_created(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    run(settings)
    capsys.readouterr()
    run(settings.model_copy(update={"lake_root_user": None}))
    assert "no users are created" in capsys.readouterr().out


def test_a_wrong_root_password_is_a_sentence(settings: Settings) -> None:
    wrong = settings.model_copy(update={"lake_root_password": SecretStr("not-the-password")})
    with pytest.raises(LakeError, match="denies access"):
        run(wrong)


def test_an_access_key_that_the_server_rejects_is_a_sentence(settings: Settings) -> None:
    wrong = settings.model_copy(update={"lake_reader_access_key_id": "with-a-hyphen"})
    with pytest.raises(LakeError, match=r"user with-a-hyphen: AccessKeyId must be .*alphanumeric"):
        run(wrong)
