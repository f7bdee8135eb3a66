"""Report failed tasks: to Airflow's log, and to a webhook if one is set.

Airflow calls the functions that take a context: those of tasks in the task's process or, when that
was killed, in the DAG processor; that of runs always in the DAG processor.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from app.hosts import is_loopback
from app.settings import Settings, load_settings
from app.warehouse.failing import (
    Failing,
    clear_failures,
    count_failure,
    failing_tasks,
    record_post,
)
from app.warehouse.progress import now_ms

log = logging.getLogger("tickhouse.alerts")

TIMEOUT_S = 5.0
REMINDER_MS = 3_600_000
"""Between two posts of a task that fails in each run."""
REPORTED_BY_TASK = "task_failure"
"""Airflow's reason of a run that failed as one of its tasks did."""
TIMED_OUT = "timed_out"
"""Airflow's reason of a run that its `dagrun_timeout` ended."""


def task_failed(context: Mapping[str, Any]) -> None:
    """Report that a task failed for good: Airflow's `on_failure_callback` of tasks."""
    text = f"{sentence(context)} Log: {log_url(context)}"
    report_failure(load_settings(), task_name(context), text, now_ms())


def task_retries(context: Mapping[str, Any]) -> None:
    """Log that a task failed and is tried again: Airflow's `on_retry_callback`."""
    log.warning("%s It is tried again.", sentence(context))


def task_succeeded(context: Mapping[str, Any]) -> None:
    """Report that a task which failed does so no longer: Airflow's `on_success_callback`.

    Also its `on_skipped_callback`, as a task that skips what follows has done its own work.
    """
    report_success(load_settings(), task_name(context))


def run_failed(context: Mapping[str, Any]) -> None:
    """Report a run that failed without a failed task: Airflow's `on_failure_callback` of DAGs.

    Such is a run that `dagrun_timeout` ended: Airflow calls no callback of the tasks it stops. The
    run counts as a failure of the task that had not ended.
    """
    if context["reason"] == REPORTED_BY_TASK:
        return
    settings, text = load_settings(), f"{run_sentence(context)} Log: {log_url(context)}"
    if "ti" in context:
        report_failure(settings, task_name(context), text, now_ms())
    else:
        log.error("%s", text)
        post(settings, text)


CALLBACKS = {
    "on_failure_callback": task_failed,
    "on_retry_callback": task_retries,
    "on_success_callback": task_succeeded,
    "on_skipped_callback": task_succeeded,
}
"""Arguments of every task of the DAGs."""


def report_failure(settings: Settings, task: str, text: str, at_ms: int) -> None:
    """Log a failed run, and post it unless another since the last success was within the hour.

    A failure that could not be posted does not count, so the next one is posted.

    :param task: `DAG.TASK`.
    """
    try:
        failing = count_failure(settings, task, at_ms)
    except OSError as error:
        log.warning("Failures cannot be counted, so each is posted: %s", error)
        failing = Failing(at_ms)
    if failing.runs > 1:
        text = f"{text} Failing {failures(failing)}."
    log.error("%s", text)
    last = failing.posted_ms
    if (last is None or at_ms - last >= REMINDER_MS) and post(settings, text):
        try:
            record_post(settings, task, at_ms)
        except OSError as error:
            log.warning("This post cannot be recorded, so the next failure is posted: %s", error)


def report_success(settings: Settings, task: str) -> None:
    """Log and post that a task succeeded, if its last run failed.

    :param task: `DAG.TASK`.
    """
    try:
        failing = failing_tasks(settings).get(task)
        if failing is not None:
            text = f"Task {task} succeeds again. It had failed {failures(failing)}."
            log.info("%s", text)
            post(settings, text)
            clear_failures(settings, task)
    except OSError as error:
        log.warning("Whether the task failed before is not known: %s", error)


def post(settings: Settings, text: str) -> bool:
    """Post `text` as JSON, `{"text": …}`, which Slack, Teams and Mattermost accept.

    A webhook that does not answer is logged and otherwise ignored.

    :returns: whether a webhook is set and has accepted it.
    """
    if settings.alert_webhook_url is None:
        return False
    import httpx2

    url = settings.alert_webhook_url.get_secret_value()
    try:
        through_proxies = not is_loopback(httpx2.URL(url).host)
        httpx2.post(
            url, json={"text": text}, timeout=TIMEOUT_S, trust_env=through_proxies
        ).raise_for_status()
    except httpx2.HTTPStatusError as error:
        status = error.response.status_code
        log.warning("The webhook (ALERT_WEBHOOK_URL) answered with status %d.", status)
        return False
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        kind = type(error).__name__
        log.warning("The webhook (ALERT_WEBHOOK_URL) cannot be reached: %s.", kind)
        return False
    return True


def sentence(context: Mapping[str, Any]) -> str:
    """What failed and why, from Airflow's context of a task."""
    task = context["ti"]
    error = context.get("exception")
    reason = str(error).strip() or type(error).__name__ if error else "its log has the reason"
    reason = reason.rstrip(".")
    return f"Task {task.task_id} of DAG {task.dag_id} failed, try {task.try_number}: {reason}."


def run_sentence(context: Mapping[str, Any]) -> str:
    """What failed and why, from Airflow's context of a run."""
    dag = context["dag"]
    run = f"Run {context['run_id']} of DAG {dag.dag_id}"
    task = f"; task {context['ti'].task_id} had not ended" if "ti" in context else ""
    if context["reason"] == TIMED_OUT:
        minutes = dag.dagrun_timeout.total_seconds() / 60
        return f"{run} was stopped after {minutes:.0f} minutes{task}."
    return f"{run} failed, {context['reason']}{task}."


def failures(failing: Failing) -> str:
    """How often a task has failed, and since when."""
    moment = datetime.fromtimestamp(failing.since_ms / 1000, UTC)
    runs = "1 run" if failing.runs == 1 else f"{failing.runs} runs"
    return f"since {moment:%Y-%m-%d %H:%M} UTC, {runs}"


def task_name(context: Mapping[str, Any]) -> str:
    """`DAG.TASK` of Airflow's context of a task."""
    return f"{context['ti'].dag_id}.{context['ti'].task_id}"


def log_url(context: Mapping[str, Any]) -> str:
    """Where Airflow shows the task's log."""
    return str(getattr(context.get("ti"), "log_url", None) or "in Airflow's web interface")
