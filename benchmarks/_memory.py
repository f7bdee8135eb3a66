"""Memory of the process that calls this."""

from __future__ import annotations

import re
from pathlib import Path


def peak_memory_mb() -> float:
    """Return this program's peak memory in MB. getrusage would report its parent's if larger."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found
    return int(found[1]) / 1000
