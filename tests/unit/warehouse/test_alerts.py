"""What is reported of failed tasks and runs, where to, and how often."""

from __future__ import annotations

import json
import logging
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import SecretStr

from app.settings import Settings
from app.warehouse import alerts
from app.warehouse.alerts import (
    post,
    report_failure,
    report_success,
    run_failed,
    sentence,
    task_failed,
    task_succeeded,
)
from app.warehouse.failing import failing_tasks, record_post
from tests.support import HANG_S

TI = SimpleNamespace(dag_id="stock_pipeline", task_id="load", try_number=3, log_url="URL")
FAILED = {"ti": TI, "exception": RuntimeError("the lake does not answer.")}
SENTENCE = "Task load of DAG stock_pipeline failed, try 3: the lake does not answer."
TASK = "stock_pipeline.load"
TIMED_OUT = {
    "dag": SimpleNamespace(dag_id="stock_pipeline", dagrun_timeout=timedelta(minutes=15)),
    "run_id": "scheduled__1",
    "reason": "timed_out",
}
MINUTE_MS = 60_000
START_MS = round(datetime(2024, 3, 5, 14, 31, tzinfo=UTC).timestamp()) * 1000


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    made = Settings(_env_file=None, tickhouse_data_dir=tmp_path)  # type: ignore[call-arg]
    monkeypatch.setattr(alerts, "load_settings", lambda: made)
    return made


class Webhook:
    """Stands in for the function that posts."""

    def __init__(self) -> None:
        self.posts: list[str] = []
        self.answers = True

    def post(self, settings: Settings, text: str) -> bool:
        if self.answers:
            self.posts.append(text)
        return self.answers


@pytest.fixture
def webhook(monkeypatch: pytest.MonkeyPatch) -> Webhook:
    webhook = Webhook()
    monkeypatch.setattr(alerts, "post", webhook.post)
    return webhook


def fail_each_minute(settings: Settings, minutes: range) -> None:
    for minute in minutes:
        report_failure(settings, TASK, f"Failed in minute {minute}.", START_MS + minute * MINUTE_MS)


def test_a_failed_task_is_named_with_its_reason_and_its_log(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    assert sentence(FAILED) == SENTENCE
    task_failed(FAILED)
    assert f"{SENTENCE} Log: URL" in caplog.text


def test_the_first_failure_is_posted_and_those_after_it_once_an_hour(
    settings: Settings, webhook: Webhook, caplog: pytest.LogCaptureFixture
) -> None:
    fail_each_minute(settings, range(130))

    assert webhook.posts == [
        "Failed in minute 0.",
        "Failed in minute 60. Failing since 2024-03-05 14:31 UTC, 61 runs.",
        "Failed in minute 120. Failing since 2024-03-05 14:31 UTC, 121 runs.",
    ]
    assert len([r for r in caplog.records if r.levelno == logging.ERROR]) == 130


def test_a_task_that_succeeds_again_is_posted_and_its_next_failure_is_a_first_one(
    settings: Settings, webhook: Webhook
) -> None:
    fail_each_minute(settings, range(3))
    report_success(settings, TASK)
    report_success(settings, TASK)
    fail_each_minute(settings, range(4, 5))

    assert webhook.posts == [
        "Failed in minute 0.",
        f"Task {TASK} succeeds again. It had failed since 2024-03-05 14:31 UTC, 3 runs.",
        "Failed in minute 4.",
    ]


def test_each_task_has_failures_of_its_own(settings: Settings, webhook: Webhook) -> None:
    report_failure(settings, TASK, "Load failed.", START_MS)
    report_failure(settings, "stock_quality.audit", "Audit failed.", START_MS)
    report_success(settings, "stock_pipeline.extract")

    assert webhook.posts == ["Load failed.", "Audit failed."]
    assert failing_tasks(settings).keys() == {TASK, "stock_quality.audit"}


def test_a_failure_that_could_not_be_posted_is_posted_with_the_next(
    settings: Settings, webhook: Webhook
) -> None:
    webhook.answers = False
    fail_each_minute(settings, range(2))
    webhook.answers = True
    fail_each_minute(settings, range(2, 4))

    assert webhook.posts == ["Failed in minute 2. Failing since 2024-03-05 14:31 UTC, 3 runs."]


def test_failures_that_cannot_be_counted_are_all_posted(
    settings: Settings, webhook: Webhook, caplog: pytest.LogCaptureFixture
) -> None:
    settings.home.write_text("a file where the folder should be")
    fail_each_minute(settings, range(2))
    report_success(settings, TASK)

    assert webhook.posts == ["Failed in minute 0.", "Failed in minute 1."]
    assert "Failures cannot be counted" in caplog.text


def test_a_post_that_cannot_be_recorded_is_one_post(
    settings: Settings, webhook: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    def disk_full(*arguments: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(alerts, "record_post", disk_full)
    fail_each_minute(settings, range(1))

    assert webhook.posts == ["Failed in minute 0."]


def test_a_task_that_succeeds_while_its_failure_is_posted_is_not_failing(
    settings: Settings,
) -> None:
    record_post(settings, TASK, START_MS)

    assert failing_tasks(settings) == {}


def test_a_damaged_file_of_failures_is_replaced(settings: Settings, webhook: Webhook) -> None:
    file = settings.warehouse_path.with_name("failing.json")
    file.parent.mkdir(parents=True)
    file.write_text("{")
    fail_each_minute(settings, range(2))

    assert webhook.posts == ["Failed in minute 0."]
    assert failing_tasks(settings)[TASK].runs == 2


@pytest.mark.parametrize("has_task", [True, False])
def test_a_run_that_timed_out_is_reported(
    has_task: bool, settings: Settings, webhook: Webhook, caplog: pytest.LogCaptureFixture
) -> None:
    context: dict[str, Any] = TIMED_OUT | ({"ti": TI} if has_task else {})
    run_failed(context)

    (text,) = webhook.posts
    task = "; task load had not ended" if has_task else ""
    assert text.startswith(
        f"Run scheduled__1 of DAG stock_pipeline was stopped after 15 minutes{task}. Log: "
    )
    assert text in caplog.text


def test_a_run_that_timed_out_counts_as_a_failure_of_its_unfinished_task(
    settings: Settings, webhook: Webhook
) -> None:
    task_failed(FAILED)
    run_failed(TIMED_OUT | {"ti": TI})
    assert len(webhook.posts) == 1

    task_succeeded({"ti": TI})
    assert webhook.posts[1].startswith("Task stock_pipeline.load succeeds again.")
    assert webhook.posts[1].endswith("2 runs.")


def test_a_run_whose_task_has_reported_its_failure_is_not_reported_again(
    settings: Settings, webhook: Webhook, caplog: pytest.LogCaptureFixture
) -> None:
    run_failed(TIMED_OUT | {"ti": TI, "reason": "task_failure"})

    assert webhook.posts == []
    assert caplog.text == ""


class Recorder(BaseHTTPRequestHandler):
    """Answers each POST with its server's `status`, and keeps path and body."""

    server: RecordingServer

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.posts.append((self.path, json.loads(body)))
        self.send_response(self.server.status)
        self.end_headers()

    def log_message(self, *arguments: object) -> None:
        pass


class RecordingServer(HTTPServer):
    timeout = HANG_S

    def __init__(self, status: int) -> None:
        super().__init__(("127.0.0.1", 0), Recorder)
        self.status = status
        self.posts: list[tuple[str, object]] = []


@pytest.mark.parametrize("status", [200, 404])
def test_the_webhook_gets_the_text_and_its_answer_counts(
    status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alerts, "TIMEOUT_S", HANG_S)
    with RecordingServer(status) as server, ThreadPoolExecutor(1) as pool:
        pool.submit(server.handle_request)
        url = SecretStr(f"http://127.0.0.1:{server.server_port}/hook")
        is_posted = post(Settings(_env_file=None, alert_webhook_url=url), SENTENCE)  # type: ignore[call-arg]

    assert server.posts == [("/hook", {"text": SENTENCE})]
    assert is_posted is (status == 200)


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/secret", "secret://"])
def test_a_webhook_that_does_not_answer_is_logged_without_its_address(
    url: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        is_posted = post(Settings(_env_file=None, alert_webhook_url=SecretStr(url)), SENTENCE)  # type: ignore[call-arg]

    assert not is_posted
    assert "ALERT_WEBHOOK_URL) cannot be reached" in caplog.text
    assert "secret" not in caplog.text
