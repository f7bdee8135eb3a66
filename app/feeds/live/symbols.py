"""Read the symbols of a source from the settings, or from a file that may change."""

from __future__ import annotations

import logging
from pathlib import Path

from app.settings import Settings, SettingsError, parse_symbols

log = logging.getLogger(__name__)


def wanted_symbols(settings: Settings) -> tuple[str, ...]:
    """Return the symbols of STOCKS_SYMBOLS_FILE if it is set, otherwise of STOCKS_SYMBOLS.

    :raises SettingsError: the file cannot be read, or contains an invalid symbol.
    """
    path = settings.stocks_symbols_file
    return settings.stocks_symbols if path is None else read_symbols(path)


def read_symbols(path: Path) -> tuple[str, ...]:
    """Return the symbols of a file: one per line or separated by commas; # starts a comment.

    :raises SettingsError: the file cannot be read, or contains an invalid symbol.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
        return parse_symbols(part for line in lines for part in line.partition("#")[0].split(","))
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise SettingsError(f"STOCKS_SYMBOLS_FILE {path} cannot be used: {reason}.") from None


class SymbolsFile:
    """Detects changes of the symbols file, if there is one.

    While the file is invalid or missing, the current symbols remain in use.
    """

    def __init__(self, settings: Settings) -> None:
        self._path = settings.stocks_symbols_file
        self._seen = self._stamp()

    def changed(self, at_once: bool = False) -> tuple[str, ...] | None:
        """Return the symbols if the file has changed since the last call, else None.

        :param at_once: read the file even if it appears unchanged.
        """
        if self._path is None:
            return None
        stamp = self._stamp()
        if stamp == self._seen and not at_once:
            return None
        self._seen = stamp
        try:
            return read_symbols(self._path)
        except SettingsError as error:
            log.error("%s The current symbols stay.", error)
            return None

    def _stamp(self) -> tuple[int, int, int] | None:
        if self._path is None or not self._path.exists():
            return None
        found = self._path.stat()
        return found.st_mtime_ns, found.st_size, found.st_ino
