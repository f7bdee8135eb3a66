"""List the formats of trade files: `tickhouse formats`."""

from __future__ import annotations

from app.feeds.replay.trade_files.presets import PRESETS, Preset


def run() -> None:
    """Print each format with its columns and notes about its files."""
    for preset in PRESETS:
        print("\n".join(_lines(preset)))
    print(
        "\nAny other file: --map t=time:us,p=price,v=qty names its columns, by name or number; "
        "after the colon\nstands the unit or time zone of t (s, ms, us, ns, iso, "
        "America/New_York), a factor of p or v (1e-4),\nor the vendor of the condition codes c "
        "(finnhub, massive, sip, lean, none). --symbol names the symbol."
    )


def _lines(preset: Preset) -> list[str]:
    columns = "; ".join(f"{ours} = {' | '.join(names)}" for ours, names in preset.columns.items())
    lines = [f"{preset.name:<15} {preset.what}", f"{'':15} {columns}"]
    symbol = f"{preset.venue}:… where the file's has no venue" if preset.venue else ""
    if preset.file_name:
        symbol += f"{', ' if symbol else ''}from the file's name where no column has it"
    if symbol:
        lines.append(f"{'':15} symbol: {symbol}")
    if preset.note:
        lines.append(f"{'':15} {preset.note}")
    return lines
