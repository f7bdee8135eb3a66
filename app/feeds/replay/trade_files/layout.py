"""Decide what the columns of a file mean: by options, by its header, or by its name."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from pathlib import Path

from app.feeds.replay.trade_files.options import (
    HINT,
    REQUIRED,
    TIME_UNITS,
    OptionError,
    ReadOptions,
    TradeFileError,
)
from app.feeds.replay.trade_files.presets import BY_NAME, PRESETS, Preset, plain
from app.feeds.replay.trade_files.times import TimeReader

_VENDOR_COLUMNS = {"correction", "tape", "trfid", "trftimestamp", "siptimestamp", "exchange"}
_LIKELY = {
    "symbol": ("ticker", "pair", "instrument", "product", "market", "code"),
    "t": ("time", "timestamp", "date", "datetime", "ts"),
    "p": ("price", "px", "last", "rate"),
    "v": ("size", "qty", "quantity", "volume", "amount", "vol"),
}


@dataclass(frozen=True)
class Layout:
    """Where the fields of a trade are in a file, and how to read them.

    :ivar preset: the format.
    :ivar recognized: how the format was recognized, in words; None if it was named.
    :ivar columns: names of the file's columns by this project's names; `id` may have several.
    :ivar names: the names of all columns of a CSV file, each once.
    :ivar header: whether the first line of a CSV file is a header.
    :ivar symbol: the symbol of all rows, if no column has it.
    :ivar venue: prefix for symbols that have no venue.
    :ivar keep: the values of a column whose rows are trades.
    """

    preset: Preset
    recognized: str | None
    columns: dict[str, tuple[str, ...]]
    names: tuple[str, ...]
    header: bool
    symbol: str | None
    venue: str
    conditions: str
    price_factor: Decimal
    size_factor: Decimal
    unit: str | None
    zone: str
    midnight: str | None
    keep: dict[str, tuple[str, ...]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def needed(self) -> list[str]:
        """The columns of the file that are read."""
        names = [name for columns in self.columns.values() for name in columns]
        return list(dict.fromkeys([*names, *self.keep]))

    def times(self) -> TimeReader:
        """Return a reader of the file's times."""
        return TimeReader(self.unit, self.zone, self.midnight, self.preset.time_patterns)


def layout_of(
    path: Path, fields: Sequence[str], names: Sequence[str], options: ReadOptions, text: bool
) -> Layout:
    """Decide how to read a file.

    :param fields: the values of its first line or, if not `text`, the names of its columns.
    :param names: the name of the file and those of the archives that contain it, innermost first.
    :raises TradeFileError: columns are missing or appear twice, or nothing names the symbol.
    :raises OptionError: the options do not fit the file.
    """
    named = _named(options)
    header = not text or _is_header(fields, named)
    preset, recognized = _preset(fields, names, header, named)
    if not header and preset is None and not options.columns:
        raise TradeFileError(
            f"{path} seems to have no header: its first line is {','.join(fields)[:80]!r}. Name "
            "its format with --format (`tickhouse formats` lists them), or its columns by number, "
            "as in --map t=1:ms,p=2,v=3 --symbol BINANCE:BTCUSDT."
        )
    base = preset or BY_NAME["tickhouse"]
    all_names = tuple(fields if header else _positions(base, fields, named is not None))
    found = _columns(path, base, all_names, header, options)
    _check_once(path, found, all_names)
    matched = _matched_name(base, names)
    symbol = options.symbol or (
        None if "symbol" in found else matched.get("symbol", "").upper() or None
    )
    if options.symbol:
        found.pop("symbol", None)
    missing = [name for name in REQUIRED if name not in found and (name != "symbol" or not symbol)]
    if missing:
        raise _missing(path, missing, all_names, base, named, header)
    midnight = None
    if base.since_midnight and "t" not in options.columns:
        date = matched.get("date")
        if not date:
            raise TradeFileError(
                f"{path}: times of the format {base.name} count from midnight, and the file's name "
                "holds no date. Name it as it was, such as 20240102_spy_tick_trade.csv."
            )
        midnight = f"{date[:4]}-{date[4:6]}-{date[6:]}"
    detail = {ours: option.detail for ours, option in options.columns.items()}
    unit = detail.get("t")
    return Layout(
        preset=base,
        recognized=recognized,
        columns=found,
        names=_unique(all_names),
        header=header,
        symbol=symbol,
        venue=options.market or base.venue,
        conditions=detail.get("c") or base.conditions,
        price_factor=Decimal(detail.get("p") or base.price_factor),
        size_factor=Decimal(detail.get("v") or 1),
        unit=unit if unit in TIME_UNITS else None,
        zone=unit if unit and unit not in TIME_UNITS else base.zone,
        midnight=midnight,
        keep=_keep(base, all_names),
        notes=_notes(base, found, all_names, detail),
    )


def _named(options: ReadOptions) -> Preset | None:
    if options.format is None:
        return None
    preset = BY_NAME.get(options.format.lower())
    if preset is None:
        raise OptionError(
            f"--format {options.format} is unknown; it is one of "
            f"{', '.join(preset.name for preset in PRESETS)}."
        )
    return preset


def _is_header(fields: Sequence[str], named: Preset | None) -> bool:
    """Return whether the first line names columns; one with a number or a time is a trade."""
    if not fields or set(REQUIRED) <= set(fields):
        return True
    plains = frozenset(map(plain, fields))
    if any(header <= plains for preset in PRESETS for header in preset.headers):
        return True
    return not any(_is_number(value) or _is_time(value) for value in fields)


def _preset(
    fields: Sequence[str], names: Sequence[str], header: bool, named: Preset | None
) -> tuple[Preset | None, str | None]:
    if named is not None:
        return named, None
    if header:
        plains = frozenset(map(plain, fields))
        exact = set(REQUIRED) <= set(fields)
        for preset in PRESETS:
            if any(names_ <= plains for names_ in preset.headers):
                if preset.name == "finnhub" and not plains <= {*"stpvcx"}:
                    continue
                if preset.name != "tickhouse" or exact:
                    return preset, "by its header"
        return None, None
    for preset in PRESETS:
        shape = _shape(preset, fields)
        if shape is None:
            continue
        by_name = bool(_matched_name(preset, names))
        if by_name and (preset.file_name_is_sure or preset.name == "binance"):
            return preset, "by its name"
        if any(name.startswith("is_") for name in shape):
            return preset, "by its values"
    return None, None


def _shape(preset: Preset, fields: Sequence[str]) -> tuple[str, ...] | None:
    """Return the column names of a line without header, if its values fit `preset`."""
    for shape in preset.headerless:
        if len(shape) == len(fields) and all(
            _fits(preset, name, value) for name, value in zip(shape, fields, strict=True)
        ):
            return shape
    return None


def _fits(preset: Preset, name: str, value: str) -> bool:
    if name.startswith("is_"):
        return value.lower() in ("true", "false")
    if name in preset.columns["t"]:
        return _is_number(value) if preset.since_midnight else _is_time(value, preset)
    if name in (*preset.columns["p"], *preset.columns["v"]):
        return _is_number(value)
    return True


def _positions(preset: Preset, fields: Sequence[str], named: bool) -> Sequence[str]:
    shape = _shape(preset, fields)
    if shape is None and named:
        shape = next((s for s in preset.headerless if len(s) == len(fields)), None)
    return shape or [str(number) for number in range(1, len(fields) + 1)]


def _columns(
    path: Path, preset: Preset, names: Sequence[str], header: bool, options: ReadOptions
) -> dict[str, tuple[str, ...]]:
    by_plain: dict[str, str] = {}
    for name in names:
        by_plain.setdefault(plain(name), name)
    known = {name: name for name in names} if preset.name == "tickhouse" else by_plain
    found: dict[str, tuple[str, ...]] = {}
    for ours, choices in preset.columns.items():
        for choice in choices:
            parts = choice.split("+")
            if preset.name != "tickhouse":
                parts = [plain(part) for part in parts]
            columns = [known.get(part) for part in parts]
            if all(columns):
                found[ours] = tuple(column for column in columns if column)
                break
    for ours, option in options.columns.items():
        column = option.column
        if column not in names and column.isdigit() and 0 < int(column) <= len(names):
            column = names[int(column) - 1]
        if column not in names:
            raise OptionError(
                f"--map {ours}={option.column}: {path} has no such column; it has "
                f"{', '.join(names[:20]) if header else f'{len(names)}, without names'}."
            )
        found[ours] = (column,)
    return found


def _check_once(path: Path, found: dict[str, tuple[str, ...]], names: Sequence[str]) -> None:
    for columns in found.values():
        for column in columns:
            if list(names).count(column) > 1:
                raise TradeFileError(f"{path} has the column {column} twice; keep one of them.")


def _unique(names: Sequence[str]) -> tuple[str, ...]:
    """Make the names of unused columns distinct, as Arrow requires."""
    seen: set[str] = set()
    made = []
    for number, name in enumerate(names, start=1):
        made.append(name if name and name not in seen else f"\0{number}")
        seen.add(name)
    return tuple(made)


def _matched_name(preset: Preset, names: Sequence[str]) -> dict[str, str]:
    if not preset.file_name:
        return {}
    for name in names:
        if match := re.search(preset.file_name, name):
            return {group: text for group, text in match.groupdict().items() if text}
    return {}


def _keep(preset: Preset, names: Sequence[str]) -> dict[str, tuple[str, ...]]:
    by_plain = {plain(name): name for name in names}
    return {
        by_plain[plain(column)]: values
        for column, values in preset.keep.items()
        if plain(column) in by_plain
    }


def _missing(
    path: Path,
    missing: list[str],
    names: Sequence[str],
    preset: Preset,
    named: Preset | None,
    header: bool,
) -> TradeFileError:
    if missing == ["symbol"]:
        venue = f"{preset.venue}:" if preset.venue else ""
        return TradeFileError(
            f"{path} names no symbol, neither in a column nor in its name. Name it, as in "
            f"--symbol {venue or 'BINANCE:'}BTCUSDT."
        )
    shown = (
        f"it has {', '.join(names[:20]) or 'none'}"
        if header
        else f"it has {len(names)} columns and no header"
    )
    as_format = f" as the format {named.name} needs it" if named else ""
    return TradeFileError(
        f"{path} has no column {', '.join(missing)}{as_format}; {shown}."
        f"{_suggestion(missing, names)} {HINT}"
    )


def _suggestion(missing: list[str], names: Sequence[str]) -> str:
    by_plain = {plain(name): name for name in names}
    guessed = []
    for ours in missing:
        theirs = next((by_plain[name] for name in _LIKELY[ours] if name in by_plain), None)
        if theirs is not None:
            guessed.append(f"{ours}={theirs}")
    if not guessed:
        return ""
    symbol = " and --symbol" if "symbol" in missing and len(guessed) < len(missing) else ""
    return f" Perhaps --map {','.join(guessed)}{symbol}?"


def _notes(
    preset: Preset,
    found: dict[str, tuple[str, ...]],
    names: Sequence[str],
    detail: dict[str, str | None],
) -> tuple[str, ...]:
    vendor = [name for name in names if plain(name) in _VENDOR_COLUMNS]
    if preset.name == "tickhouse" and "c" in found and not detail.get("c") and len(vendor) > 1:
        note = (
            f"The columns {', '.join(vendor)} are those of Massive (Polygon), whose condition "
            f"codes are not Finnhub's, as which they are taken. If they are Massive's: "
            f"--map c={found['c'][0]}:massive."
        )
        return (note,)
    return ()


def _is_number(value: str) -> bool:
    try:
        return Decimal(value).is_finite()
    except InvalidOperation:
        return False


def _is_time(value: str, preset: Preset | None = None) -> bool:
    return TimeReader(patterns=preset.time_patterns if preset else ()).reads(value)
