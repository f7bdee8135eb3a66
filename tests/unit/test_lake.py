"""The client of the lake: its signatures go to the configured server alone."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import BotoCoreError, ClientError
from pydantic import SecretStr

from app.lake import list_objects, s3_client
from app.lake_errors import S3_ERRORS, explain
from app.settings import Settings
from tests.recording_host import RecordingHost

ACCESS_KEY = "marker-access-key"
XML = b"<Error><Code>%s</Code><Endpoint>%s</Endpoint><Bucket>bars</Bucket></Error>"
CALLS: dict[str, Callable[[Any], Any]] = {
    "put": lambda s3: s3.put_object(Bucket="bars", Key="a", Body=b"1"),
    "get": lambda s3: s3.get_object(Bucket="bars", Key="a"),
    "list": lambda s3: s3.list_objects_v2(Bucket="bars"),
    "head": lambda s3: s3.head_bucket(Bucket="bars"),
}


def settings(endpoint_url: str | None) -> Settings:
    return Settings(
        _env_file=None,  # type: ignore[call-arg]
        lake_endpoint_url=endpoint_url,
        lake_bucket="bars",
        aws_access_key_id=ACCESS_KEY,
        aws_secret_access_key=SecretStr("secret-of-mine"),
    )


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("region", [b"", b"x-amz-bucket-region: eu-west-1\r\n"])
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_no_redirect_of_the_lake_is_followed(status: int, region: bytes, call: str) -> None:
    with RecordingHost("127.0.0.2") as other:
        there = other.address.encode()
        body = XML % (b"PermanentRedirect" if status == 301 else b"TemporaryRedirect", there)
        head = b"HTTP/1.1 %d Moved\r\nLocation: http://%s/bars/a\r\n%sContent-Length: %d\r\n\r\n"
        with RecordingHost(answer=head % (status, there, region, len(body)) + body) as lake:
            config = settings(f"http://{lake.address}")
            with pytest.raises(S3_ERRORS) as caught:
                CALLS[call](s3_client(config))
            sentence = explain(config, caught.value)
            asked = lake.received()
        assert other.received() == []
    assert all(ACCESS_KEY.encode() in request for request in asked)
    assert lake.address in sentence
    assert "LAKE_ENDPOINT_URL" in sentence


@pytest.mark.parametrize("call", CALLS)
def test_a_lake_that_is_not_encrypted_is_reached_through_no_proxy(
    proxy: RecordingHost, call: str
) -> None:
    with RecordingHost(answer=b"HTTP/1.1 400 No\r\nContent-Length: 0\r\n\r\n") as lake:
        with pytest.raises(ClientError):
            CALLS[call](s3_client(settings(f"http://{lake.address}")))
        assert lake.received()
    assert proxy.received() == []


@pytest.mark.parametrize("endpoint_url", ["https://127.0.0.1:1", "http://lake.invalid:9000"])
def test_loopback_and_what_a_proxy_could_read_have_none(
    proxy: RecordingHost, endpoint_url: str
) -> None:
    with pytest.raises(BotoCoreError):
        s3_client(settings(endpoint_url)).head_bucket(Bucket="bars")
    assert proxy.received() == []


@pytest.mark.parametrize("endpoint_url", ["https://lake.example", None])
def test_a_proxy_sees_nothing_of_an_encrypted_lake_but_its_host(
    proxy: RecordingHost, endpoint_url: str | None
) -> None:
    with pytest.raises(BotoCoreError):
        s3_client(settings(endpoint_url)).head_bucket(Bucket="bars")
    requests = proxy.received()
    assert requests
    for request in requests:
        assert request.startswith(b"CONNECT ")
        assert ACCESS_KEY.encode() not in request


@pytest.mark.parametrize("name", ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"])
def test_no_other_variable_names_the_lake(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "http://127.0.0.2:1")
    assert s3_client(settings(None)).meta.endpoint_url == "https://s3.amazonaws.com"


def test_a_bucket_of_another_region_of_amazon_is_explained() -> None:
    response: Any = {"Error": {"Code": "301"}, "ResponseMetadata": {"HTTPStatusCode": 301}}
    sentence = explain(settings(None), ClientError(response, "HeadBucket"))
    assert sentence.endswith("lies in another region than us-east-1; correct AWS_REGION.")


def test_a_region_that_the_lake_names_is_signed_for_at_the_same_server() -> None:
    head = b"HTTP/1.1 400 No\r\nContent-Length: %d\r\n\r\n"
    body = b"<Error><Code>AuthorizationHeaderMalformed</Code><Region>eu-west-1</Region></Error>"
    with RecordingHost(answer=head % len(body) + body) as lake:
        with pytest.raises(ClientError):
            s3_client(settings(f"http://{lake.address}")).list_objects_v2(Bucket="bars")
        first, second = lake.received()
    assert b"/us-east-1/s3/" in first
    assert b"/eu-west-1/s3/" in second


def test_times_of_listings_and_of_headers_are_read() -> None:
    listed = (
        b"<ListBucketResult><Contents><Key>a</Key><LastModified>2024-03-05T14:30:00.250Z"
        b'</LastModified><ETag>"e"</ETag><Size>1</Size></Contents></ListBucketResult>'
    )
    head = b"HTTP/1.1 200 OK\r\nLast-Modified: Tue, 05 Mar 2024 14:30:00 GMT\r\n"
    answer = head + b"Content-Length: %d\r\n\r\n" % len(listed) + listed
    moment = datetime(2024, 3, 5, 14, 30, tzinfo=UTC)
    with RecordingHost(answer=answer) as lake:
        config = settings(f"http://{lake.address}")
        (found,) = list_objects(s3_client(config), config, "")
        assert found.modified == moment + timedelta(milliseconds=250)
        got = s3_client(config).get_object(Bucket="bars", Key="a")
    assert got["LastModified"] == moment
