"""The console script `tickhouse`.

Exit codes: 0 done, 1 failed (a sentence on stderr says why), 2 wrong usage or a wrong setting.
"""

from __future__ import annotations

import logging
import signal
import sys
from pathlib import Path
from typing import Annotated

import typer

from app.errors import TickhouseError
from app.settings import Settings, load_settings

cli = typer.Typer(
    name="tickhouse",
    help="Live trades in, one-minute candles a trader can trust out.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)


def _settings() -> Settings:
    from app.log import set_up_logging

    settings = load_settings()
    set_up_logging(settings)
    return settings


@cli.command()
def demo() -> None:
    """Start everything on this machine: Kafka, S3, feed, topologies, Airflow, the page."""
    from app.embedded.demo import run

    run()


@cli.command()
def produce(
    record: Annotated[
        Path | None, typer.Option(help="Add every frame to this file, as it came.")
    ] = None,
) -> None:
    """Take trades and quotes from Finnhub into stocks-topic."""
    from app.feeds.live.producer import run

    run(_settings(), record=record)


@cli.command()
def candles() -> None:
    """Window trades into one-minute candles (exactly-once)."""
    from topologies.runtime.quix_version import check_quix

    check_quix()  # an import of another version's inside may fail without a sentence
    from topologies.runtime.worker import run

    run(_settings())


@cli.command()
def archive() -> None:
    """Write trades, quotes, coverage, candles and rejections to the lake."""
    from topologies.runtime.quix_version import check_quix

    check_quix()
    from topologies.archive import run

    run(_settings())


@cli.command()
def load(
    build: Annotated[bool, typer.Option(help="Run dbt build behind the load.")] = True,
    full_refresh: Annotated[
        bool, typer.Option(help="Make every silver table again from RAW, not what changed.")
    ] = False,
) -> None:
    """Load new objects of the lake into the warehouse, and build gold."""
    from app.warehouse.commands import run

    run(_settings(), build=build, full_refresh=full_refresh)


@cli.command()
def dashboard(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 for any free port.")] = 8050,
) -> None:
    """Serve the live page."""
    from app.dashboard.server import run

    run(_settings(), host=host, port=port)


@cli.command()
def simulate(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 for any free port.")] = 8060,
    rate: Annotated[float, typer.Option(min=0.1, help="Trades a second, all symbols.")] = 200.0,
    seed: Annotated[int, typer.Option(help="Same seed, same market.")] = 1,
    token: Annotated[str, typer.Option(help="API keys it accepts, comma separated.")] = "simulated",
    symbols_per_connection: Annotated[
        int, typer.Option(min=1, help="One more is answered with an error frame.")
    ] = 50,
    calls_per_minute: Annotated[
        int, typer.Option(min=0, help="REST calls of a key before 429; 0 for no limit.")
    ] = 60,
    session_minutes: Annotated[
        float, typer.Option(min=1, help="From one opening auction to the next; 390 is New York's.")
    ] = 60.0,
    delivery_log: Annotated[
        Path | None, typer.Option(help="Write here what was delivered, JSON lines.")
    ] = None,
    play: Annotated[
        Path | None, typer.Option(help="Play the trades of this file, shifted to now.")
    ] = None,
    fault: Annotated[
        list[str] | None, typer.Option(help="KIND:at=S,… as docs/simulator.md lists them.")
    ] = None,
    script: Annotated[Path | None, typer.Option(help="A TOML file of faults.")] = None,
    fault_seed: Annotated[
        int | None, typer.Option(help="Every kind of fault within 15 minutes, by this seed.")
    ] = None,
) -> None:
    """Serve a simulated market that speaks Finnhub's WebSocket and REST protocol."""
    from app.feeds.simulator.server.command import run

    run(
        _settings(),
        host=host,
        port=port,
        rate=rate,
        seed=seed,
        token=token,
        symbols_per_connection=symbols_per_connection,
        calls_per_minute=calls_per_minute,
        session_minutes=session_minutes,
        delivery_log=delivery_log,
        play=play,
        faults=fault or (),
        script=script,
        fault_seed=fault_seed,
    )


@cli.command()
def replay(
    file: Annotated[Path, typer.Argument(help="Trades, Parquet or CSV: symbol, t, p, v [seq, c].")],
    speed: Annotated[
        float | None, typer.Option(min=0.001, help="Times real time; default: as fast as it goes.")
    ] = None,
) -> None:
    """Send the trades of a file into stocks-topic."""
    from app.feeds.replay.command import run

    run(_settings(), file, speed=speed)


@cli.command()
def backfill(
    files: Annotated[list[Path], typer.Argument(help="Trades, Parquet or CSV.")],
    out: Annotated[Path, typer.Option(help="The Parquet file of candles to write.")],
    price_rule: Annotated[
        str | None, typer.Option(help="all or sip; default: CANDLE_PRICE_RULE.")
    ] = None,
    interval: Annotated[
        str, typer.Option(help="1m, 5m, 15m, 1h or 1d; but for 1m with partial candles.")
    ] = "1m",
) -> None:
    """Make candles of trade files without Kafka; every revision is written."""
    from topologies.backfill import run

    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) == signal.SIG_DFL:  # nohup has SIGHUP ignored
            signal.signal(number, _leave)  # what is half written is removed on the way out
    run(_settings(), files, out, price_rule=price_rule, interval=interval)


@cli.command()
def powerbi(
    out: Annotated[
        Path, typer.Option(help="Folder of the Power BI project; what an earlier run wrote goes.")
    ] = Path("powerbi"),
    server: Annotated[
        str, typer.Option(help="Host name of the Snowflake account.")
    ] = "YOUR_ACCOUNT.snowflakecomputing.com",
    warehouse: Annotated[
        str, typer.Option(help="Virtual warehouse that runs the report's queries.")
    ] = "YOUR_WAREHOUSE",
    role: Annotated[str, typer.Option(help="Role that may read gold.")] = "YOUR_ROLE",
    database: Annotated[str, typer.Option(help="Database that holds gold.")] = "STOCKS",
    schema: Annotated[str, typer.Option(help="Schema of the gold views.")] = "GOLD",
    preview: Annotated[
        Path | None,
        typer.Option(help="Write PNGs of the pages into this folder instead, of DuckDB's gold."),
    ] = None,
    symbol: Annotated[
        str | None, typer.Option(help="With --preview; default: the most traded one.")
    ] = None,
) -> None:
    """Write the Power BI project: semantic model and report over gold in Snowflake."""
    from app.powerbi.command import run, run_preview
    from app.powerbi.tmdl import Connection

    if preview is not None:
        run_preview(_settings(), preview, symbol)
        return
    run(out, Connection(server, warehouse, role, database, schema))


def _leave(number: int, _frame: object) -> None:
    sys.exit(128 + number)


def main() -> None:
    """Entry point: an error a user can act on is printed as a sentence."""
    logging.captureWarnings(True)  # libraries' deprecations among themselves are no user's matter
    logging.getLogger("py.warnings").setLevel(logging.ERROR)
    try:
        cli()
    except TickhouseError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
