"""Files of stages: LIST on all, REMOVE on internal ones, objects of external ones in S3.

An external stage uses the S3 server and the credentials of the process's environment
(AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY), in place of a storage integration.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlparse

import boto3
import fakesnow.transforms.stage as fakesnow_stage
from botocore.config import Config
from botocore.exceptions import ClientError
from fakesnow.fakes import FakeSnowflakeConnection

from tests.snowflake_local.errors import missing_file, unsupported

LIST_COLUMNS = ("name", "size", "md5", "last_modified")
REMOVE_COLUMNS = ("name", "result")
_STAGE_COMMAND = re.compile(
    r"(?is)(?P<command>remove|rm|list|ls)\s+'?(?P<stage>@[^\s']+)'?"
    r"(?:\s+pattern\s*=\s*'(?P<pattern>[^']*)')?"
)


def answer(conn: FakeSnowflakeConnection, sql: str) -> str | None:
    """Execute LIST or REMOVE of a stage and give its result as a query; else None."""
    command = _STAGE_COMMAND.fullmatch(sql)
    if command is None:
        return None
    root, path = _folder(conn, command["stage"])
    pattern = re.compile(command["pattern"]) if command["pattern"] else None
    is_list = command["command"].lower() in ("list", "ls")
    if isinstance(root, str):
        if not is_list or pattern:
            raise unsupported("REMOVE or PATTERN of an external stage")
        return as_query(LIST_COLUMNS, list(_listed(f"{root.rstrip('/')}/{path}")))
    found = list(_files(root, path, pattern))
    stage_name = root.name.lower()
    if is_list:
        rows = [(f"{stage_name}/{name}", *_facts(root / name)) for name in found]
        return as_query(LIST_COLUMNS, rows)
    for name in found:
        (root / name).unlink()
    return as_query(REMOVE_COLUMNS, [(f"{stage_name}/{name}", "removed") for name in found])


def as_query(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A query that gives `rows`."""
    if not rows:
        empty = ", ".join(f'null::varchar as "{column}"' for column in columns)
        return f"select {empty} where 1 = 0"
    return " union all ".join(
        "select "
        + ", ".join(f'{_literal(v)} as "{column}"' for column, v in zip(columns, row, strict=True))
        for row in rows
    )


def name_in_stage(url: str) -> str:
    """METADATA$FILENAME: the path within an internal stage, or the key of the object in S3."""
    if is_s3(url):
        return urlparse(url).path.lstrip("/")
    return str(PurePosixPath(*Path(url).relative_to(fakesnow_stage.LOCAL_BUCKET_PATH).parts[3:]))


def is_s3(url: str) -> bool:
    return urlparse(url).scheme == "s3"


def list_s3(url: str) -> list[str]:
    return [name for name, *_ in _listed(url)]


def _listed(url: str) -> Iterator[tuple[str, int, str, str]]:
    """The objects whose address begins with `url`, as LIST shows them."""
    bucket = urlparse(url)
    pages = _s3().get_paginator("list_objects_v2")
    for page in pages.paginate(Bucket=bucket.netloc, Prefix=bucket.path.lstrip("/")):
        for item in page.get("Contents", []):
            modified = item["LastModified"].strftime("%a, %d %b %Y %H:%M:%S GMT")
            name = f"s3://{bucket.netloc}/{item['Key']}"
            yield name, item["Size"], item["ETag"].strip('"'), modified


def download(url: str) -> Path:
    """Download an object to a file that DuckDB can read.

    :raises ProgrammingError: there is no such object.
    """
    bucket = urlparse(url)
    name = hashlib.sha256(url.encode()).hexdigest()
    path = Path(fakesnow_stage.LOCAL_BUCKET_PATH).parent / "downloads" / name
    path.parent.mkdir(exist_ok=True)
    try:
        _s3().download_file(bucket.netloc, bucket.path.lstrip("/"), str(path))
    except ClientError as error:
        raise missing_file(url) from error
    return path


def _s3() -> Any:
    return boto3.client(
        "s3", region_name="us-east-1", config=Config(s3={"addressing_style": "path"})
    )


def _folder(conn: FakeSnowflakeConnection, reference: str) -> tuple[Path | str, str]:
    """The folder of an internal stage or the URL of an external one; the path after its name."""
    name, _, path = reference.removeprefix("@").partition("/")
    database, schema, stage = fakesnow_stage.parts_from_var(name, conn.database, conn.schema)
    full_name = f"{database}.{schema}.{stage}"
    known = conn._duck_conn.execute(
        "select url from _fs_global._fs_information_schema._fs_stages "
        "where database_name = ? and schema_name = ? and name = ?",
        [database, schema, stage],
    ).fetchone()
    if known is None:
        raise fakesnow_stage.not_found_error(full_name)
    return known[0] or Path(fakesnow_stage.internal_dir(full_name)), path


def _files(root: Path, path: str, pattern: re.Pattern[str] | None) -> Iterator[str]:
    for file in sorted(root.rglob("*")):
        name = str(file.relative_to(root))
        if file.is_file() and name.startswith(path) and (not pattern or pattern.fullmatch(name)):
            yield name


def _facts(file: Path) -> tuple[int, str, str]:
    content = file.read_bytes()
    digest = hashlib.md5(content, usedforsecurity=False).hexdigest()
    return len(content), digest, "Thu, 1 Jan 2026 00:00:00 GMT"


def _literal(value: Any) -> str:
    return str(value) if isinstance(value, int) else "'" + str(value).replace("'", "''") + "'"
