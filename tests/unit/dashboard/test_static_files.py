"""Files of the page come from memory, and are read again when they have changed."""

from __future__ import annotations

from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.routing import Route
from starlette.testclient import TestClient

from app.dashboard.static_files import SMALLEST, StaticFiles

SCRIPT = "0;\n" * SMALLEST


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "static"
    (folder / "vendor").mkdir(parents=True)
    (folder / "vendor" / "library.js").write_text(SCRIPT)
    (folder / "small.css").write_text("a {}")
    (tmp_path / "secret.txt").write_text("secret")
    return folder


@pytest.fixture
def client(folder: Path) -> TestClient:
    return TestClient(Starlette(routes=[Route("/{path:path}", StaticFiles(folder).answer)]))


def test_a_file_is_compressed_where_the_client_accepts_it(client: TestClient) -> None:
    answer = client.get("/vendor/library.js")
    assert answer.text == SCRIPT
    assert "javascript" in answer.headers["content-type"]
    assert answer.headers["content-encoding"] == "gzip"
    plain = client.get("/vendor/library.js", headers={"accept-encoding": "identity"})
    assert plain.text == SCRIPT
    assert "content-encoding" not in plain.headers
    assert "content-encoding" not in client.get("/small.css").headers


def test_a_file_that_the_client_has_is_not_sent_again_until_it_changes(
    client: TestClient, folder: Path
) -> None:
    etag = client.get("/small.css").headers["etag"]
    assert client.get("/small.css", headers={"if-none-match": etag}).status_code == 304
    (folder / "small.css").write_text("a { color: red }")
    assert client.get("/small.css", headers={"if-none-match": etag}).text == "a { color: red }"


@pytest.mark.parametrize("path", ["/other.js", "/vendor", "/../secret.txt", "/%2e%2e/secret.txt"])
def test_nothing_else_is_sent(client: TestClient, path: str) -> None:
    assert client.get(path).status_code == 404
