"""What is reported of a failed task, and where to."""

from __future__ import annotations

import logging
from types import SimpleNamespace

import pytest
from pydantic import SecretStr

from app.settings import Settings
from app.warehouse.alerts import alert, sentence, task_failed
from tests.recording_host import RecordingHost

FAILED = {
    "ti": SimpleNamespace(dag_id="stock_pipeline", task_id="load", try_number=3, log_url="URL"),
    "exception": RuntimeError("the lake does not answer."),
}
SENTENCE = "Task load of DAG stock_pipeline failed, try 3: the lake does not answer."


def test_a_failed_task_is_named_with_its_reason_and_its_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert sentence(FAILED) == SENTENCE
    task_failed(FAILED)
    assert f"{SENTENCE} Log: URL" in caplog.text


def test_the_webhook_gets_the_text() -> None:
    with RecordingHost(answer=b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n") as host:
        url = SecretStr(f"http://{host.address}/hook")
        alert(Settings(_env_file=None, alert_webhook_url=url), SENTENCE)  # type: ignore[call-arg]

        (request,) = host.received()

    assert request.startswith(b"POST /hook ")


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/secret", "secret://"])
def test_a_webhook_that_does_not_answer_is_logged_without_its_address(
    url: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        alert(Settings(_env_file=None, alert_webhook_url=SecretStr(url)), SENTENCE)  # type: ignore[call-arg]

    assert "ALERT_WEBHOOK_URL) cannot be reached" in caplog.text
    assert "secret" not in caplog.text
