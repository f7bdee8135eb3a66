"""Command line of Tickhouse: the console script `tickhouse`.

Exit codes: 0 success, 1 failure (stderr has the reason), 2 wrong usage or an invalid setting.
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
    """Start the whole pipeline on this machine: Kafka, S3, feed, topologies, Airflow, page."""
    from app.embedded.demo import run

    run()


@cli.command()
def produce(
    record: Annotated[
        Path | None, typer.Option(help="Record every frame to this file, as received.")
    ] = None,
) -> None:
    """Publish trades and quotes from Finnhub to stocks-topic."""
    from app.feeds.live.command import run

    run(_settings(), record=record)


@cli.command()
def candles() -> None:
    """Aggregate trades into candles, exactly-once."""
    from topologies.runtime.quix_version import check_quix

    check_quix()  # before imports of private modules, which may fail with other versions
    from topologies.candles import run

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
    build: Annotated[bool, typer.Option(help="Run dbt build after the load.")] = True,
    full_refresh: Annotated[
        bool, typer.Option(help="Rebuild every silver table from RAW.")
    ] = False,
) -> None:
    """Load new objects of the lake into the warehouse and build gold."""
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
    seed: Annotated[int, typer.Option(help="The same seed gives the same market.")] = 1,
    token: Annotated[str, typer.Option(help="Accepted API keys, comma separated.")] = "simulated",
    symbols_per_connection: Annotated[
        int, typer.Option(min=1, help="More get an error frame.")
    ] = 50,
    calls_per_minute: Annotated[
        int, typer.Option(min=0, help="REST calls per key before HTTP 429; 0 for no limit.")
    ] = 60,
    session_minutes: Annotated[
        float, typer.Option(min=1, help="Length of a session; New York's is 390.")
    ] = 60.0,
    delivery_log: Annotated[
        Path | None, typer.Option(help="Log delivered messages here, as JSON lines.")
    ] = None,
    play: Annotated[
        Path | None, typer.Option(help="Send the trades of this file, shifted to now.")
    ] = None,
    fault: Annotated[
        list[str] | None, typer.Option(help="KIND:at=S,…; docs/simulator.md lists the kinds.")
    ] = None,
    script: Annotated[Path | None, typer.Option(help="A TOML file of faults.")] = None,
    fault_seed: Annotated[
        int | None,
        typer.Option(help="Inject every kind of fault within 15 minutes, from this seed."),
    ] = None,
) -> None:
    """Serve a simulated market with Finnhub's WebSocket and REST API."""
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
        float | None,
        typer.Option(min=0.001, help="Multiple of real time; default: as fast as possible."),
    ] = None,
) -> None:
    """Publish the trades of a file to stocks-topic."""
    from app.feeds.replay.command import run

    run(_settings(), file, speed=speed)


@cli.command()
def backfill(
    files: Annotated[list[Path], typer.Argument(help="Trades, Parquet or CSV.")],
    out: Annotated[Path, typer.Option(help="Parquet file to write the candles to.")],
    price_rule: Annotated[
        str | None, typer.Option(help="all or sip; default: CANDLE_PRICE_RULE.")
    ] = None,
    interval: Annotated[
        str, typer.Option(help="1m, 5m, 15m, 1h or 1d; all but 1m include partial candles.")
    ] = "1m",
) -> None:
    """Compute candles from trade files without Kafka, including every revision."""
    from topologies.backfill import run

    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) == signal.SIG_DFL:  # nohup ignores SIGHUP
            signal.signal(number, _exit)  # exiting removes a partial output file
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
    from app.powerbi.tmdl import SnowflakeConnection

    if preview is not None:
        run_preview(_settings(), preview, symbol)
        return
    run(out, SnowflakeConnection(server, warehouse, role, database, schema))


def _exit(number: int, _frame: object) -> None:
    sys.exit(128 + number)


def main() -> None:
    """Entry point: print errors that a user can act on without a traceback."""
    logging.captureWarnings(True)  # deprecation warnings of libraries do not concern users
    logging.getLogger("py.warnings").setLevel(logging.ERROR)
    try:
        cli()
    except TickhouseError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
