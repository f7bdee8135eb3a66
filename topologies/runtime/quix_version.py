"""Which Quix Streams the topologies are written for: they replace parts of its inside."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

from app.errors import TickhouseError

QUIX_VERSION = "3.28.1"
"""That of the digests in `tests/unit/topologies/runtime/test_inside_quix.py`; a patch may change
them too.

Released versions never change, so comparing it says as much as comparing the code would."""


class QuixVersionError(TickhouseError):
    """Another version of Quix Streams is installed than the one whose inside is known."""


def check_quix() -> None:
    """See that the installed Quix Streams is `QUIX_VERSION`; before it is imported, at best.

    :raises QuixVersionError: it is another, or none.
    """
    try:
        installed = f"quixstreams {version('quixstreams')}"
    except PackageNotFoundError:
        installed = "No quixstreams"
    if installed != f"quixstreams {QUIX_VERSION}":
        raise QuixVersionError(
            f"{installed} is installed, and the topologies need {QUIX_VERSION}, as they replace "
            "parts of its inside: make install."
        )
