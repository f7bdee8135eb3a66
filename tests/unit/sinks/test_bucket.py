from __future__ import annotations

import logging
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, NoCredentialsError
from pydantic import SecretStr

from app.lake_errors import LakeError
from app.settings import Settings
from sinks.bucket import Bucket

SETTINGS = Settings(
    _env_file=None,  # type: ignore[call-arg]
    lake_endpoint_url="http://lake:9000",
    lake_bucket="bars",
    tickhouse_namespace="ns",
    aws_access_key_id="key-of-mine",
    aws_secret_access_key=SecretStr("secret-of-mine"),
)


def answer(status: int, code: str, operation: str = "HeadBucket") -> ClientError:
    response: Any = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(response, operation)


AWAY = EndpointConnectionError(endpoint_url="http://lake:9000/bars")


class Server:
    """Returns the given answers, one per call."""

    def __init__(self, *answers: Exception | None) -> None:
        self.answers = list(answers)
        self.puts: list[dict[str, Any]] = []

    def head_bucket(self, **_: Any) -> None:
        given = self.answers.pop(0)
        if given:
            raise given

    def put_object(self, **put: Any) -> None:
        self.head_bucket()
        self.puts.append(put)


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (answer(404, "404"), "The bucket bars (LAKE_BUCKET) does not exist at http://lake:9000"),
        (answer(404, "NoSuchBucket", "PutObject"), "The bucket bars (LAKE_BUCKET) does not exist"),
        (answer(403, "403"), "correct AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"),
        (answer(301, "301"), "correct LAKE_ENDPOINT_URL, or AWS_REGION"),
        (answer(307, "TemporaryRedirect"), "redirects elsewhere (HTTP 307), which is not followed"),
        (NoCredentialsError(), "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"),
    ],
)
def test_what_no_waiting_mends_is_a_sentence(error: Exception, sentence: str) -> None:
    with pytest.raises(LakeError) as raised:
        Bucket(SETTINGS, Server(error)).await_access()
    assert sentence in str(raised.value)
    assert "of-mine" not in str(raised.value)


def test_a_server_that_does_not_answer_is_waited_for(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        Bucket(SETTINGS, Server(AWAY, answer(503, "SlowDown"), None)).await_access(retry_s=0)
    first, second = caplog.messages
    assert "The lake at http://lake:9000 (LAKE_ENDPOINT_URL) does not answer" in first
    assert "SlowDown" in second


@pytest.mark.parametrize("status", [409, 412])
def test_an_object_that_is_there_is_not_created_again(status: int) -> None:
    server = Server(answer(status, "Taken", "PutObject"))
    assert not Bucket(SETTINGS, server).create("note", b"1")
    assert server.puts == []


def test_a_server_without_conditional_writes_is_written_to_plainly() -> None:
    server = Server(answer(501, "NotImplemented", "PutObject"), None)
    assert Bucket(SETTINGS, server).create("note", b"1")
    assert server.puts == [{"Bucket": "bars", "Key": "ns/note", "Body": b"1"}]
