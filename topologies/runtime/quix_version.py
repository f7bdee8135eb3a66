"""The one supported version of Quix Streams, because the runtime overrides private parts of it."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

from app.errors import TickhouseError

QUIX_VERSION = "3.28.1"
"""The version whose code has the digests in `tests/unit/topologies/runtime/test_quix_internals.py`.
Even a patch release may change them.

Released versions are immutable, so comparing versions is as strict as comparing the code."""


class QuixVersionError(TickhouseError):
    """The installed version of Quix Streams is not the supported one."""


def check_quix() -> None:
    """Check that the installed Quix Streams is `QUIX_VERSION`, if possible before importing it.

    :raises QuixVersionError: another version is installed, or none.
    """
    try:
        installed = f"quixstreams {version('quixstreams')}"
    except PackageNotFoundError:
        installed = "No quixstreams"
    if installed != f"quixstreams {QUIX_VERSION}":
        raise QuixVersionError(
            f"{installed} is installed, and the topologies need {QUIX_VERSION}, as they override "
            "private parts of it: run make install."
        )
