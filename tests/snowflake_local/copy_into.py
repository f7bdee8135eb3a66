"""COPY INTO: what fakesnow's lacks of FILES, PATTERN, metadata, `$1:column` and external stages."""

from __future__ import annotations

import re
import threading
from typing import Any

import fakesnow.copy_into as fakesnow_copy
import fakesnow.transforms.stage as fakesnow_stage
from duckdb import DuckDBPyConnection
from sqlglot import exp

from tests.snowflake_local import stages
from tests.snowflake_local.errors import unsupported

METADATA = {"METADATA$FILENAME": "filename", "METADATA$FILE_ROW_NUMBER": "file_row_number"}

_lock = threading.RLock()
"""COPY replaces functions of fakesnow's module while it runs."""
_list_files = fakesnow_copy._source_glob
_named_files = fakesnow_copy._source_urls
_insert_statements = fakesnow_copy._inserts
_file_literal = fakesnow_copy.FileTypeHandler.file_literal
_reported_name = fakesnow_copy._result_file_name
_fakesnow_copy_into = fakesnow_copy.copy_into


def copy_into(
    duck: DuckDBPyConnection,
    database: str | None,
    schema: str | None,
    statement: exp.Copy,
    *rest: Any,
) -> str:
    """`fakesnow.copy_into.copy_into`, with the parameters that it lacks."""
    pattern, metadata = _take_parameters(statement)
    for column in list(statement.find_all(exp.Column)):
        if column.name.upper() in METADATA:
            column.replace(exp.column(METADATA[column.name.upper()]))
    with _lock:
        fakesnow_copy._source_glob = _matching(pattern) if pattern else _all_files
        fakesnow_copy._inserts = _with_metadata(metadata, duck)
        try:
            return _fakesnow_copy_into(duck, database, schema, statement, *rest)
        finally:
            fakesnow_copy._source_glob, fakesnow_copy._inserts = _all_files, _insert_statements


def install() -> None:
    """Make fakesnow read external stages, and FILES of internal ones."""
    fakesnow_copy._source_glob = _all_files
    fakesnow_copy._source_urls = _files_by_name
    fakesnow_copy._result_file_name = lambda url: url if stages.is_s3(url) else _reported_name(url)
    readers = (fakesnow_copy.ReadParquet, fakesnow_copy.ReadCSV, fakesnow_copy.ReadJSON)
    for reader in (fakesnow_copy.FileTypeHandler, *readers):
        reader.file_literal = staticmethod(_local_literal)


def _take_parameters(statement: exp.Copy) -> tuple[str | None, dict[str, str]]:
    """Take PATTERN and INCLUDE_METADATA (column to metadata) out of the statement."""
    pattern, metadata, kept = None, {}, []
    for parameter in statement.args.get("params", []):
        name = parameter.this.name.upper()
        if name == "PATTERN":
            pattern = parameter.expression.name
        elif name == "INCLUDE_METADATA":
            metadata = {
                pair.this.name.upper(): METADATA[pair.expression.name.upper()]
                for pair in _pairs(parameter)
            }
        elif name == "ON_ERROR" and parameter.expression.name.upper() != "ABORT_STATEMENT":
            raise unsupported(f"ON_ERROR = {parameter.expression.name.upper()}")
        elif name in ("VALIDATION_MODE", "LOAD_UNCERTAIN_FILES", "SIZE_LIMIT", "ENCRYPTION"):
            raise unsupported(name)
        elif not (name in ("FORCE", "PURGE") and str(parameter.expression).upper() == "FALSE"):
            kept.append(parameter)  # fakesnow takes FORCE = FALSE for true
    statement.set("params", kept)
    return pattern, metadata


def _pairs(parameter: exp.CopyParameter) -> list[exp.Expression]:
    given = parameter.expression
    if isinstance(given, exp.Tuple):
        return list(given.expressions)
    return [given.this] if isinstance(given, exp.Paren) else list(parameter.expressions)


def _all_files(source: str, duck: DuckDBPyConnection) -> list[str]:
    found: list[str] = stages.list_s3(source) if stages.is_s3(source) else _list_files(source, duck)
    return sorted(found)


def _matching(pattern: str) -> Any:
    expression = re.compile(pattern)

    def matching(source: str, duck: DuckDBPyConnection) -> list[str]:
        return [
            url
            for url in _all_files(source, duck)
            if expression.fullmatch(stages.name_in_stage(url)) or expression.fullmatch(url)
        ]

    return matching


def _files_by_name(source: str, files: list[str]) -> Any:
    if fakesnow_stage.is_internal(source) or stages.is_s3(source):
        return [f"{source.rstrip('/')}/{name.lstrip('/')}" for name in files]
    return _named_files(source, files)


def _local_literal(url: str) -> Any:
    if stages.is_s3(url):
        return exp.Literal.string(str(stages.download(url)))
    return _file_literal(url)


def _with_metadata(metadata: dict[str, str], duck: DuckDBPyConnection) -> Any:
    def inserts(statement: Any, parameters: Any, urls: list[str], info: Any = None) -> Any:
        made = _insert_statements(statement, parameters, urls, info)
        if isinstance(statement.args["files"][0], exp.Subquery):
            return [_of_file(insert, url, duck) for insert, url in zip(made, urls, strict=True)]
        for insert, url in zip(made, urls, strict=True):
            for selected in insert.expression.expressions:
                value = metadata.get(selected.alias.upper())
                if value == "filename":
                    selected.set("this", exp.Literal.string(stages.name_in_stage(url)))
                elif value:
                    selected.set("this", exp.column(value))
        return made

    return inserts


def _of_file(insert: exp.Insert, url: str, duck: DuckDBPyConnection) -> exp.Insert:
    """The insert of a COPY that selects `$1:column`, which is null where the file has no such one.

    fakesnow has the same expressions in the inserts of all files, and the name of a local file.
    """
    own = insert.copy()
    known = fakesnow_copy._get_parquet_column_names(url, duck)
    for selected in own.expression.expressions:
        for name in list(selected.find_all(exp.Identifier)):
            if isinstance(name.parent, exp.Column):
                if name.name == METADATA["METADATA$FILENAME"]:
                    name.parent.replace(exp.Literal.string(stages.name_in_stage(url)))
            elif name.name not in known:
                name.replace(exp.Null())
    return own
