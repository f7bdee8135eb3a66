"""When the DAGs run: cron expressions from the settings.

The DAG files import this module when Airflow parses them, so it imports nothing but settings.
"""

from __future__ import annotations

from app.settings import Settings, load_settings

UPLOAD_S = 5
"""From a flush of the archive until its objects are in the lake."""


def load_cron(settings: Settings | None = None) -> str:
    """Cron expression of the loads, seconds last: `*/5 * * * * 15`.

    A load follows the archive's flush of final candles, so that it finds those of the last minute.
    """
    settings = settings or load_settings()
    second = round(settings.finals_delay_s + UPLOAD_S) % 60
    minutes = settings.warehouse_load_minutes
    if minutes == 60:
        return f"0 * * * * {second}"
    return f"{'*' if minutes == 1 else f'*/{minutes}'} * * * * {second}"
