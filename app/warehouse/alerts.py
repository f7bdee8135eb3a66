"""Report failed tasks: to the task's log, and to a webhook if one is set."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from app.hosts import is_loopback
from app.settings import Settings, load_settings

log = logging.getLogger("tickhouse.alerts")

TIMEOUT_S = 5.0


def task_failed(context: Mapping[str, Any]) -> None:
    """Report that a task failed for good: Airflow's `on_failure_callback`."""
    alert(load_settings(), f"{sentence(context)} Log: {log_url(context)}")


def task_retries(context: Mapping[str, Any]) -> None:
    """Log that a task failed and is tried again: Airflow's `on_retry_callback`."""
    log.warning("%s It is tried again.", sentence(context))


CALLBACKS = {"on_failure_callback": task_failed, "on_retry_callback": task_retries}
"""Arguments of every task of the DAGs."""


def alert(settings: Settings, text: str) -> None:
    """Log `text` and post it as JSON, `{"text": …}`, which Slack, Teams and Mattermost accept.

    A webhook that does not answer is logged and otherwise ignored.
    """
    log.error("%s", text)
    if settings.alert_webhook_url is None:
        return
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
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        kind = type(error).__name__
        log.warning("The webhook (ALERT_WEBHOOK_URL) cannot be reached: %s.", kind)


def sentence(context: Mapping[str, Any]) -> str:
    """What failed and why, from Airflow's context of a task."""
    task = context["ti"]
    error = context.get("exception")
    reason = str(error).strip() or type(error).__name__ if error else "its log has the reason"
    reason = reason.rstrip(".")
    return f"Task {task.task_id} of DAG {task.dag_id} failed, try {task.try_number}: {reason}."


def log_url(context: Mapping[str, Any]) -> str:
    """Where Airflow shows the task's log."""
    return str(getattr(context["ti"], "log_url", None) or "in Airflow's web interface")
