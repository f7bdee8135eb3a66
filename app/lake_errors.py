"""Explain errors of the lake (S3) in messages that a user can act on."""

from __future__ import annotations

from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError

from app.errors import TickhouseError
from app.settings import Settings

S3_ERRORS = (BotoCoreError, ClientError)
"""boto3's errors: no response, or an error response."""


class LakeError(TickhouseError):
    """The bucket does not exist, denies access, or does not answer."""


def explain(settings: Settings, error: Exception) -> str:
    """Explain `error`, one of `S3_ERRORS`, and what to do about it."""
    where = settings.lake_endpoint_url or f"Amazon S3 in {settings.aws_region}"
    if isinstance(error, NoCredentialsError):
        return (
            f"There are no credentials for the lake at {where}; set AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY."
        )
    if not isinstance(error, ClientError):
        return (
            f"The lake at {where} (LAKE_ENDPOINT_URL) does not answer: {str(error).rstrip('.')}. "
            "Start it, or correct the address."
        )
    bucket = settings.lake_bucket
    code = error.response.get("Error", {}).get("Code", "")
    status = status_of(error)
    if code == "NoSuchBucket" or (status == 404 and error.operation_name == "HeadBucket"):
        return (
            f"The bucket {bucket} (LAKE_BUCKET) does not exist at {where}; create it, or name one "
            "that does."
        )
    if status in (401, 403):
        return (
            f"The lake at {where} denies access to bucket {bucket} ({code}); "
            "correct AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or grant them read, write and "
            "list."
        )
    if 300 <= status < 400 and settings.lake_endpoint_url:
        return (
            f"The lake at {where} redirects elsewhere (HTTP {status}), which is not followed; "
            f"correct LAKE_ENDPOINT_URL, or AWS_REGION if the bucket {bucket} lies in another "
            f"region than {settings.aws_region}."
        )
    if status == 301:
        return (
            f"The bucket {bucket} (LAKE_BUCKET) lies in another region than "
            f"{settings.aws_region}; correct AWS_REGION."
        )
    return f"The lake at {where} answered {error.operation_name} with {code}; check its log."


def status_of(error: ClientError) -> int:
    """Return the HTTP status of an error response."""
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
