"""Create the lake's bucket and its users on MinIO or SeaweedFS: `tickhouse lake init`.

There are two users with least privileges: one that reads and writes objects of the bucket, and one
for the page, whose health check only lists their names. Users are created through the server's own
interface with its root credentials: the admin API of MinIO, or the part of Amazon's IAM API that
SeaweedFS serves on the port of S3.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol
from urllib.parse import urlsplit

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError
from minio.credentials.providers import StaticProvider
from minio.error import MinioAdminException
from minio.minioadmin import MinioAdmin
from pydantic import SecretStr
from urllib3.exceptions import HTTPError

from app.lake import s3_client
from app.lake_errors import S3_ERRORS, LakeError, explain, status_of
from app.settings import Settings

Policy = dict[str, Any]

LIST = ("s3:ListBucket", "s3:GetBucketLocation")
READ_AND_WRITE = ("s3:GetObject", "s3:PutObject", "s3:DeleteObject")


class User(NamedTuple):
    """A user of the bucket; `name` is also the name of its policy."""

    name: str
    access_key: str
    secret_key: str
    policy: Policy


class Users(Protocol):
    """The users of an S3 server."""

    def ensure(self, user: User) -> None:
        """Create `user`, or set the policy and secret key of the existing one."""


def run(settings: Settings) -> None:
    """Create the bucket and its users, and print what exists.

    Without LAKE_ROOT_USER only the bucket is created, with the credentials in the settings if they
    allow it. On Amazon S3, create users by other means.

    :raises LakeError: the server does not answer, denies access, or is neither MinIO nor SeaweedFS.
    """
    root = _root(settings)
    client = s3_client(root or settings)
    try:
        server = _ensure_bucket(client, settings)
    except S3_ERRORS as error:
        raise LakeError(explain(root or settings, error)) from None
    print(f"Bucket {settings.lake_bucket} is there.")
    if root is None:
        print("LAKE_ROOT_USER is not set, so no users are created.")
        return
    users = _users_of(server, root)
    for user in wanted_users(settings):
        users.ensure(user)
        _verify(settings, user)
        print(f"User {user.access_key} ({user.name}) is there.")


def wanted_users(settings: Settings) -> list[User]:
    """Return the users named in the settings.

    :raises LakeError: a user has no secret key.
    """
    bucket = f"arn:aws:s3:::{settings.lake_bucket}"
    lists = _allow(LIST, bucket)
    writes = _allow(READ_AND_WRITE, f"{bucket}/*")
    writer = (settings.aws_access_key_id, settings.aws_secret_access_key)
    reader = (settings.lake_reader_access_key_id, settings.lake_reader_secret_access_key)
    found = []
    for name, (access_key, secret), statements in (
        ("writer", writer, [lists, writes]),
        ("reader", reader, [lists]),
    ):
        if access_key is None:
            continue
        if secret is None:
            raise LakeError(f"The user {access_key} has no secret key; set it beside its name.")
        policy = {"Version": "2012-10-17", "Statement": statements}
        plain = secret.get_secret_value()
        found.append(User(f"{settings.lake_bucket}-{name}", access_key, plain, policy))
    return found


def _allow(actions: tuple[str, ...], resource: str) -> Policy:
    return {"Effect": "Allow", "Action": list(actions), "Resource": [resource]}


def _root(settings: Settings) -> Settings | None:
    """Return the settings with the server's root credentials; None if these are not set."""
    if settings.lake_root_user is None:
        return None
    if settings.lake_root_password is None:
        raise LakeError("LAKE_ROOT_USER is set, but LAKE_ROOT_PASSWORD is not: set both.")
    return _with_keys(
        settings, settings.lake_root_user, settings.lake_root_password.get_secret_value()
    )


def _with_keys(settings: Settings, access_key: str, secret_key: str) -> Settings:
    keys = {"aws_access_key_id": access_key, "aws_secret_access_key": SecretStr(secret_key)}
    return settings.model_copy(update=keys)


def _ensure_bucket(client: Any, settings: Settings) -> str:
    """Create the bucket unless it exists; return the value of the server's `Server` header."""
    try:
        answer = client.head_bucket(Bucket=settings.lake_bucket)
    except ClientError as error:
        if status_of(error) != 404:
            raise
        where = (
            {}
            if settings.lake_endpoint_url or settings.aws_region == "us-east-1"
            else {"CreateBucketConfiguration": {"LocationConstraint": settings.aws_region}}
        )
        answer = client.create_bucket(Bucket=settings.lake_bucket, **where)
    return str(answer["ResponseMetadata"]["HTTPHeaders"].get("server", ""))


def _users_of(server: str, root: Settings) -> Users:
    for name, users in SERVERS.items():
        if server.startswith(name):
            return users(root)
    raise LakeError(
        f"The lake at {root.lake_endpoint_url} calls itself {server!r}, and this command creates "
        "users on MinIO and SeaweedFS only. Create them with that server's own tools, and unset "
        "LAKE_ROOT_USER."
    )


def _verify(settings: Settings, user: User) -> None:
    try:
        _probe(settings, user)
    except S3_ERRORS as error:
        raise LakeError(
            f"The user {user.access_key} was created, but cannot use the bucket: "
            f"{explain(settings, error)}"
        ) from None


def _probe(settings: Settings, user: User) -> None:
    client = s3_client(_with_keys(settings, user.access_key, user.secret_key))
    client.list_objects_v2(Bucket=settings.lake_bucket, MaxKeys=1)


class _SeaweedUsers:
    """Users of SeaweedFS, which serves a part of Amazon's IAM API on the port of S3.

    Unlike Amazon's, its CreateAccessKey accepts the caller's keys.
    """

    def __init__(self, root: Settings) -> None:
        self._settings = root
        secret = root.aws_secret_access_key
        self._client = boto3.client(
            "iam",
            endpoint_url=root.lake_endpoint_url,
            aws_access_key_id=root.aws_access_key_id,
            aws_secret_access_key=secret.get_secret_value() if secret else None,
            region_name=root.aws_region,
            # SeaweedFS allows shorter access keys than Amazon
            config=Config(
                connect_timeout=5, read_timeout=30, proxies={}, parameter_validation=False
            ),
        )

    def ensure(self, user: User) -> None:
        taken = self._client.exceptions.EntityAlreadyExistsException
        try:
            with contextlib.suppress(taken):
                self._client.create_user(UserName=user.name)
            self._client.put_user_policy(
                UserName=user.name,
                PolicyName=user.name,
                PolicyDocument=json.dumps(user.policy),
            )
            if not self._works(user):
                self._client.delete_access_key(UserName=user.name, AccessKeyId=user.access_key)
                self._create_key(user)
        except ClientError as error:
            message = error.response.get("Error", {}).get("Message", error)
            hint = " Does it run with -s3.iam.readOnly=false?" if status_of(error) == 403 else ""
            raise LakeError(
                f"SeaweedFS does not create the user {user.access_key}: {message}.{hint}"
            ) from None
        except S3_ERRORS as error:
            raise LakeError(explain(self._settings, error)) from None

    def _works(self, user: User) -> bool:
        try:
            _probe(self._settings, user)
        except ClientError:
            return False
        return True

    def _create_key(self, user: User) -> None:
        def add_keys(params: dict[str, Any], **_: Any) -> None:
            params["body"] |= {"AccessKeyId": user.access_key, "SecretAccessKey": user.secret_key}

        event = "before-call.iam.CreateAccessKey"
        self._client.meta.events.register(event, add_keys)
        try:
            self._client.create_access_key(UserName=user.name)
        finally:
            self._client.meta.events.unregister(event, add_keys)


class _MinioUsers:
    """Users of MinIO, whose names are their access keys."""

    def __init__(self, root: Settings) -> None:
        url = urlsplit(root.lake_endpoint_url or "")
        secret = root.aws_secret_access_key.get_secret_value() if root.aws_secret_access_key else ""
        self._admin = MinioAdmin(
            endpoint=url.netloc,
            credentials=StaticProvider(root.aws_access_key_id or "", secret),
            region=root.aws_region,
            secure=url.scheme == "https",
        )

    def ensure(self, user: User) -> None:
        try:
            self._admin.policy_add(user.name, policy=user.policy)
            self._admin.user_add(user.access_key, user.secret_key)
            self._admin.policy_set(user.name, user=user.access_key)
        except (MinioAdminException, HTTPError) as error:
            raise LakeError(f"MinIO does not create the user {user.name}: {error}") from None


SERVERS: dict[str, Callable[[Settings], Users]] = {
    "SeaweedFS": _SeaweedUsers,
    "MinIO": _MinioUsers,
}
"""The users' interface, by the beginning of the `Server` header."""
