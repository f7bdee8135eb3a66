"""The page's files: each is read and compressed once, and again when it has changed."""

from __future__ import annotations

import gzip
import mimetypes
from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

SMALLEST = 500
"""Bytes; a smaller file is sent as it is."""


class StaticFiles:
    """Answers requests for the files of a folder, from memory."""

    def __init__(self, folder: Path) -> None:
        found = (path for path in folder.rglob("*") if path.is_file())
        self._files = {path.relative_to(folder).as_posix(): StaticFile(path) for path in found}

    async def answer(self, request: Request) -> Response:
        """The file that the path names; 404 for any other than those found at the start."""
        file = self._files.get(request.path_params["path"])
        if file is None:
            raise HTTPException(404, "The page has no such file.")
        return file.answer(request)


class StaticFile:
    """A file, with its content in memory."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._media_type = mimetypes.guess_type(path.name)[0] or "text/plain"
        self._version = ""
        self.content = b""
        self._compressed = b""

    def read(self) -> StaticFile:
        """Read the file, unless the version in memory is the one on disk."""
        found = self._path.stat()
        version = f'"{found.st_mtime_ns:x}-{found.st_size:x}"'
        if version != self._version:
            self.content = self._path.read_bytes()
            self._compressed = gzip.compress(self.content, 9, mtime=0)
            self._version = version
        return self

    def answer(self, request: Request) -> Response:
        """The content, compressed where the client accepts it, or 304 for what it has already."""
        self.read()
        headers = {"etag": self._version, "vary": "Accept-Encoding"}
        if self._version in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        accepts = "gzip" in request.headers.get("accept-encoding", "")
        if not accepts or len(self.content) < SMALLEST:
            return Response(self.content, headers=headers, media_type=self._media_type)
        headers["content-encoding"] = "gzip"
        return Response(self._compressed, headers=headers, media_type=self._media_type)
