"""Read and write objects of the lake's bucket."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError

from app.lake import list_objects, s3_client
from app.lake_errors import LakeError, explain, status_of
from app.settings import Settings

logger = logging.getLogger(__name__)

_TAKEN = (409, 412)
_NOT_IMPLEMENTED = 501


class Bucket:
    """The objects of this namespace in the bucket. Keys exclude the namespace's prefix.

    Methods raise `S3_ERRORS`; `explain` describes one in a sentence.
    """

    def __init__(self, settings: Settings, client: Any = None) -> None:
        self._client = client or s3_client(settings)
        self._settings = settings
        self._name = settings.lake_bucket
        self._prefix = settings.lake_prefix

    def put(self, key: str, body: bytes) -> None:
        """Write an object, replacing an existing one."""
        self._client.put_object(Bucket=self._name, Key=self._prefix + key, Body=body)

    def create(self, key: str, body: bytes) -> bool:
        """Write an object unless it exists; return whether it was written.

        If several workers try at once, one of them succeeds on servers with conditional writes (S3,
        MinIO and SeaweedFS have them). On servers that answer 501 the last write wins.
        """
        where = {"Bucket": self._name, "Key": self._prefix + key, "Body": body}
        try:
            self._client.put_object(**where, IfNoneMatch="*")
        except ClientError as error:
            if status_of(error) in _TAKEN:
                return False
            if status_of(error) != _NOT_IMPLEMENTED:
                raise
            self._client.put_object(**where)
        return True

    def get(self, key: str) -> bytes | None:
        """Return the content of an object; None if it does not exist."""
        try:
            found = self._client.get_object(Bucket=self._name, Key=self._prefix + key)
        except self._client.exceptions.NoSuchKey:
            return None
        return bytes(found["Body"].read())

    def keys(self, prefix: str, start_after: str = "") -> Iterator[str]:
        """Yield the keys under `prefix` that sort after `start_after`, in order."""
        for found in list_objects(self._client, self._settings, prefix, start_after):
            yield found.name

    def await_access(self, retry_s: float = 10) -> None:
        """Wait until the bucket is accessible; log a warning while the server does not answer.

        :param retry_s: seconds between attempts.
        :raises LakeError: the bucket does not exist, or denies access with these credentials.
        """
        while True:
            try:
                self._client.head_bucket(Bucket=self._name)
                return
            except (ClientError, NoCredentialsError) as error:
                if isinstance(error, ClientError) and status_of(error) >= 500:
                    logger.warning("%s Trying again.", self.explain(error))
                else:
                    raise LakeError(self.explain(error)) from None
            except BotoCoreError as error:
                logger.warning("%s Trying again.", self.explain(error))
            time.sleep(retry_s)

    def explain(self, error: Exception) -> str:
        """Explain an error in a sentence: what is wrong with the lake, and what to do."""
        return explain(self._settings, error)
