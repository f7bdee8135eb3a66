"""Load what is new with this process's settings, and print the cost."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import boto3  # noqa: F401 - the load imports it when it needs it
from botocore.client import BaseClient

from app.settings import load_settings
from app.warehouse.commands import load
from benchmarks._memory import peak_memory_mb


def count_calls(owner: type, method: str, calls: Counter[str], name_of: Callable[..., str]) -> None:
    """Count the calls of a method, by a name derived from its arguments."""
    real = getattr(owner, method)

    def call(self: Any, *given: Any, **more: Any) -> Any:
        calls[name_of(*given)] += 1
        return real(self, *given, **more)

    setattr(owner, method, call)


def main() -> None:
    settings = load_settings()
    calls: Counter[str] = Counter()
    count_calls(BaseClient, "_make_api_call", calls, lambda name, *_: name)
    if settings.warehouse == "snowflake":
        from snowflake.connector.cursor import SnowflakeCursor

        from app.warehouse import snowflake_external  # noqa: F401

        count_calls(SnowflakeCursor, "execute", calls, lambda *_: "statements")
    before, started = time.process_time(), time.monotonic()
    done = load(settings)
    cost = {
        "cpu_s": time.process_time() - before,
        "wall_s": time.monotonic() - started,
        "memory_mb": peak_memory_mb(),
        "objects": done.objects,
        "list_requests": calls["ListObjectsV2"],
        "get_requests": calls["GetObject"],
        "statements": calls["statements"],
    }
    print(json.dumps(cost))


if __name__ == "__main__":
    main()
