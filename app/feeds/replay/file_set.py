"""Open the trade files of one command, and report what a user should know about them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from app.feeds.replay.trade_file import TradeFile
from app.feeds.replay.trade_files.options import ReadOptions, TradeFileError
from app.feeds.replay.trade_files.trade_ids import TradeIds

MAX_LATE_SHARE = 0.01
"""Share of a file's trades. If more of them are too late, their order is probably wrong."""
MAX_BAD_SHARE = 0.75
"""Share of a file's rows. If more of them are invalid, they are probably read wrongly."""
_NAMED = 5

log = logging.getLogger(__name__)


def open_files(
    paths: Sequence[Path], options: ReadOptions, grace_ms: int, allowed_lateness_ms: int
) -> list[TradeFile]:
    """Validate `paths`, log what is noteworthy about them, and check the order of their trades.

    Trades whose id was in an earlier row or file are left out, and so are files with the same
    trades as an earlier one.

    :raises TradeFileError: a file cannot be read, or more than `MAX_LATE_SHARE` of its trades would
        be rejected as late because of the order of rows or files.
    """
    ids = TradeIds()
    files: list[TradeFile] = []
    for path in paths:
        duplicate = next((file for file in files if _same_content(file.path, path)), None)
        if duplicate is None:
            file = TradeFile(path, options, ids)
            duplicate = next(
                (earlier for earlier in files if earlier.has_same_trades_as(file)), None
            )
        if duplicate is not None:
            log.warning(
                "%s holds the same trades as %s; they are counted once", path, duplicate.path
            )
            continue
        _report(file)
        files.append(file)
    _check_order(files, grace_ms + allowed_lateness_ms)
    return files


def late_rows(files: Sequence[TradeFile], grace_ms: int, allowed_lateness_ms: int) -> int:
    """Return how many trades of `files` are too late for their minute, in the given order."""
    return sum(file.late_count(grace_ms + allowed_lateness_ms) for file in files)


def describe(file: TradeFile) -> str:
    """Describe in a line what was read, and how."""
    names = list(file.spans)
    symbols = ", ".join(names[:_NAMED])
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    layout = file.layout
    how = f" ({layout.recognized})" if layout.recognized else ""
    return (
        f"{file.path}: {file.rows} trades of {symbols}{more}; format {layout.preset.name}{how}, "
        f"times: {file.times_in_words}"
    )


def warn_of_sessions(files: Sequence[TradeFile]) -> None:
    """Warn about trades outside of the sessions of their symbols' markets."""
    for file in files:
        outside = file.outside_sessions()
        if not outside:
            continue
        symbols = sorted(outside, key=lambda symbol: -outside[symbol])
        named = ", ".join(f"{outside[symbol]} of {symbol}" for symbol in symbols[:_NAMED])
        log.warning(
            "%s: trades outside of New York's sessions (%s%s): symbols without a venue are taken "
            "for US stocks, and these trades are in no candle of a day. If they are none, name the "
            "venue: BINANCE:BTCUSDT in the file, or --market crypto, forex or a venue.",
            file.path,
            named,
            f" and of {len(symbols) - _NAMED} more symbols" if len(symbols) > _NAMED else "",
        )


def bad_share(files: Sequence[TradeFile]) -> float:
    """Return the share of rows that are not trades."""
    bad = sum(file.bad_count for file in files)
    return bad / max(1, bad + sum(file.rows for file in files))


def _same_content(first: Path, second: Path) -> bool:
    try:
        return first.samefile(second)
    except OSError:
        return False


def _report(file: TradeFile) -> None:
    for note in file.layout.notes:
        log.warning("%s: %s", file.path, note)
    for bad in file.bad_rows:
        log.warning("%s: %s; the row is left out", file.path, bad.reason)
    if file.bad_count > len(file.bad_rows):
        log.warning("%s: %d rows are not trades and are left out", file.path, file.bad_count)
    for why, count in file.counts.left_out.items():
        log.warning("%s: %d rows with %s are left out", file.path, count, why)
    if file.repeated_count:
        log.warning(
            "%s: %d trades have the id of one that was read before; each is counted once",
            file.path,
            file.repeated_count,
        )
    unknown = file.counts.unknown_codes
    if unknown:
        examples = ", ".join(repr(codes) for codes, _ in unknown.most_common(_NAMED))
        log.warning(
            "%s: %d of %d trades (%.0f %%) have condition codes that are not Finnhub's, such as "
            "%s: their volume counts, their price only where no other trade sets it. For codes of "
            "another vendor: "
            "--map c=COLUMN:sip (letters of the tapes) or c=COLUMN:massive (Polygon's numbers).",
            file.path,
            unknown.total(),
            file.rows,
            100 * unknown.total() / file.rows,
            examples,
        )


def _check_order(files: Sequence[TradeFile], allowed_ms: int) -> None:
    if any(file.options.sort for file in files):
        return
    for file in files:
        late = file.late_count(allowed_ms)
        if late > MAX_LATE_SHARE * file.rows:
            how = "has its newest trades first" if file.newest_first else "is not ordered by time"
            raise TradeFileError(
                f"{file.path} {how}: {late} of its {file.rows} trades would be rejected as late. "
                "File order is the order of arrival. Sort the trades by time with --sort."
            )
    newest: dict[str, tuple[int, Path]] = {}
    for file in files:
        late = 0
        before = file.path
        for symbol, span in file.spans.items():
            newest_t, path = newest.get(symbol, (0, file.path))
            if span.last_t + allowed_ms < newest_t:
                late, before = late + span.rows, path
            newest[symbol] = max((newest_t, path), (span.last_t, file.path))
        if late > MAX_LATE_SHARE * file.rows:
            raise TradeFileError(
                f"{file.path} has trades older than those of {before}, which is named before it: "
                f"{late} of its {file.rows} trades would be rejected as late. Name the oldest file "
                "first, or sort the trades by time with --sort."
            )
