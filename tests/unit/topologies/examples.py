"""How many examples the properties of the core are tried with."""

from __future__ import annotations

import os
from typing import Any

from hypothesis import settings

SHARE = float(os.environ.get("TICKHOUSE_TEST_EXAMPLES", "1"))
"""Less than 1 when they are tried a second time, on the compiled core."""


def examples(number: int, **more: Any) -> settings:
    """Decorates a property: as many examples of it, and no deadline for any."""
    return settings(max_examples=int(number * SHARE), deadline=None, **more)
