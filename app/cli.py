"""Command line of Tickhouse: the console script `tickhouse`.

Exit codes: 0 success, 1 failure (stderr has the reason), 2 wrong usage or an invalid setting.
"""

from __future__ import annotations

import codecs
import locale
import logging
import os
import signal
import sys
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from app.errors import TickhouseError
from app.folders import check_data_folder, file_sentence
from app.hosts import keep_loopback_direct
from app.settings import Settings, load_settings


class CommandGroup(TyperGroup):
    """A group whose help shows the whole first line of each command's help, not its beginning."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        commands = [self.get_command(ctx, name) for name in self.list_commands(ctx)]
        rows = [(c.name or "", (c.help or "").split("\n\n")[0]) for c in commands if c]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


HELP: dict[str, Any] = {"cls": CommandGroup, "rich_markup_mode": None, "no_args_is_help": True}
"""Of every group. Without rich's markup the texts are shown as written, with their brackets."""

cli = typer.Typer(
    name="tickhouse",
    help="Live trades in, one-minute candles a trader can trust out.",
    pretty_exceptions_enable=False,
    add_completion=False,
    **HELP,
)


def _settings(*, writes: bool = False) -> Settings:
    """Load the settings and set up logging.

    :param writes: the command writes to the data folder.
    """
    from app.log import set_up_logging

    settings = load_settings()
    set_up_logging(settings)
    if writes:
        check_data_folder(settings.home)
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

    run(_settings(writes=True), record=record)


@cli.command()
def candles() -> None:
    """Aggregate trades into candles, exactly-once."""
    from topologies.runtime.quix_version import check_quix

    check_quix()  # before imports of private modules, which may fail with other versions
    from topologies.candles import run

    run(_settings(writes=True))


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
    rebuild: Annotated[
        bool,
        typer.Option(
            help="Rebuild like --full-refresh, in passes of some days; continues when interrupted."
        ),
    ] = False,
    retry_rejected: Annotated[
        bool, typer.Option(help="Try rejected objects again, even if they have not changed.")
    ] = False,
) -> None:
    """Load new objects of the lake into the warehouse and build gold."""
    from app.warehouse.commands import run

    run(
        _settings(writes=True),
        load_only=not build,
        full_refresh=full_refresh,
        rebuild=rebuild,
        retry_rejected=retry_rejected,
    )


@cli.command()
def audit(
    day: Annotated[
        datetime | None,
        typer.Option(formats=["%Y-%m-%d"], help="Only this session date."),
    ] = None,
    since: Annotated[
        datetime | None,
        typer.Option(formats=["%Y-%m-%d"], help="Only session dates from this one on."),
    ] = None,
    limit: Annotated[
        int, typer.Option(min=1, help="Differences to list, of minutes and of rollups each.")
    ] = 100,
) -> None:
    """Recompute the warehouse's candles from its trades, and list every difference."""
    from app.warehouse.audit import run

    if day and since:
        raise typer.BadParameter("--day and --since exclude each other.")
    first = day or since
    run(_settings(writes=True), first and first.date(), day and day.date(), limit)


warehouse_commands = typer.Typer(help="Set up Snowflake, and check what is missing.", **HELP)
cli.add_typer(warehouse_commands, name="warehouse")


@warehouse_commands.command("init")
def warehouse_init(
    dry_run: Annotated[bool, typer.Option(help="Print the statements, run none.")] = False,
) -> None:
    """Run snowflake/setup.sql and create the tables of RAW, as ACCOUNTADMIN."""
    from app.warehouse.snowflake_setup import init

    init(_settings(), dry_run=dry_run)


@warehouse_commands.command("check")
def warehouse_check() -> None:
    """Log in to Snowflake as each role, and report what is missing."""
    from app.warehouse.snowflake_check import check

    check(_settings())


lake_commands = typer.Typer(**HELP)
cli.add_typer(lake_commands, name="lake")


@lake_commands.callback()
def lake_group() -> None:
    """Set up the bucket of the lake."""


@lake_commands.command("init")
def lake_init() -> None:
    """Create the bucket and, with LAKE_ROOT_USER, its users on MinIO or SeaweedFS."""
    from app.lake_setup import run

    run(_settings())


@cli.command()
def dashboard(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 for any free port.")] = 8050,
) -> None:
    """Serve the live page."""
    from app.dashboard.server import run

    run(_settings(), host=host, port=port)


@cli.command()
def status(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    watch: Annotated[bool, typer.Option(help="Repeat until Ctrl-C.")] = False,
    stage: Annotated[
        str | None, typer.Option(help="Only this stage: feed, kafka, candles, archive, …")
    ] = None,
) -> None:
    """Show the health of each stage of the pipeline; exit with 1 when one has a problem.

    Without KAFKA_BROKERS and LAKE_ENDPOINT_URL it checks the demo, if one is running.
    """
    from app.embedded.running_demo import running_demo
    from app.health.command import run
    from app.health.stages import STAGE_NAMES

    if stage is not None and stage not in STAGE_NAMES:
        raise typer.BadParameter(f"{stage!r} is none of the stages {', '.join(STAGE_NAMES)}.")
    settings = _settings()
    if not {"kafka_brokers", "lake_endpoint_url"} & settings.model_fields_set:
        settings = running_demo(settings) or settings
    run(settings, as_json=as_json, watch=watch, stage=stage)


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


@cli.command("simulate-history")
def simulate_history(
    days: Annotated[int, typer.Option(min=0, max=60, help="Complete UTC days before today.")] = 3,
    rate: Annotated[float, typer.Option(min=0.1, help="As of `simulate`.")] = 200.0,
    seed: Annotated[int, typer.Option(help="As of `simulate`.")] = 1,
    session_minutes: Annotated[float, typer.Option(min=1, help="As of `simulate`.")] = 60.0,
) -> None:
    """Publish earlier days of the simulated market to stocks-topic, if it has no trades yet."""
    from app.feeds.simulator.history.command import run

    run(_settings(), days=days, rate=rate, seed=seed, session_minutes=session_minutes)


FormatOption = Annotated[
    str | None,
    typer.Option("--format", help="Format of the file; `tickhouse formats` lists them."),
]
MapOption = Annotated[
    str | None,
    typer.Option("--map", help="Columns by name or number, such as t=time:us,p=price,v=qty."),
]
SymbolOption = Annotated[
    str | None, typer.Option(help="Symbol of all rows, such as BINANCE:BTCUSDT.")
]
MarketOption = Annotated[
    str | None,
    typer.Option(help="Of symbols without a venue: us_stock, crypto, forex, or a venue."),
]
SortOption = Annotated[bool, typer.Option("--sort", help="Sort the trades by time, in memory.")]


@cli.command()
def replay(
    file: Annotated[
        Path, typer.Argument(help="Trades (Parquet or CSV, compressed or not), or a recording.")
    ],
    speed: Annotated[
        float | None,
        typer.Option(
            min=0.001,
            max=1_000_000,
            help="Multiple of real time, which the page can change; default: as fast as possible.",
        ),
    ] = None,
    format: FormatOption = None,
    map: MapOption = None,
    symbol: SymbolOption = None,
    market: MarketOption = None,
    sort: SortOption = False,
) -> None:
    """Publish the trades of a file to stocks-topic."""
    from app.feeds.replay.command import run
    from app.feeds.replay.trade_files.options import read_options

    options = read_options(format, map, symbol, market, sort)
    run(_settings(writes=True), file, speed=speed, options=options)


@cli.command()
def backfill(
    files: Annotated[
        list[Path], typer.Argument(help="Trades, Parquet or CSV, compressed or not; oldest first.")
    ],
    out: Annotated[Path, typer.Option(help="File to write the candles to, .parquet or .csv.")],
    price_rule: Annotated[
        str | None, typer.Option(help="all or sip; default: CANDLE_PRICE_RULE.")
    ] = None,
    interval: Annotated[
        str, typer.Option(help="1m, 5m, 15m, 1h or 1d; all but 1m include partial candles.")
    ] = "1m",
    format: FormatOption = None,
    map: MapOption = None,
    symbol: SymbolOption = None,
    market: MarketOption = None,
    sort: SortOption = False,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
) -> None:
    """Compute candles from trade files without Kafka, including every revision."""
    from app.feeds.replay.trade_files.options import read_options
    from topologies.backfill import run

    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) == signal.SIG_DFL:  # nohup ignores SIGHUP
            signal.signal(number, _exit)  # exiting removes a partial output file
    options = read_options(format, map, symbol, market, sort)
    run(
        _settings(),
        files,
        out,
        price_rule=price_rule,
        interval=interval,
        options=options,
        force=force,
    )


@cli.command()
def formats() -> None:
    """List the formats of trade files that backfill and replay read."""
    from app.feeds.replay.trade_files.listing import run

    run()


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


symbols = typer.Typer(help="Names, sectors and exchanges of symbols.", **HELP)
cli.add_typer(symbols, name="symbols")


@symbols.callback()
def symbols_group() -> None:
    """Names, sectors and exchanges of symbols: the seed dbt_stocks/seeds/symbols.csv."""


@symbols.command()
def refresh(
    listed: Annotated[
        list[str] | None, typer.Argument(help="Symbols; default: those of the settings.")
    ] = None,
    again: Annotated[bool, typer.Option(help="Ask for symbols that the file has, too.")] = False,
    file: Annotated[
        Path | None, typer.Option(help="The file; default: dbt_stocks/seeds/symbols.csv.")
    ] = None,
) -> None:
    """Add symbols that the file lacks, from Finnhub's company profiles."""
    from app.symbols_command import SEED, run

    run(_settings(), listed or (), again=again, file=file or SEED)


def _exit(number: int, _frame: object) -> None:
    sys.exit(128 + number)


def use_utf8() -> None:
    """Start this process again in UTF-8 if the locale has another encoding, such as LC_ALL=C.

    Python, Java, dbt and Airflow read and write files and paths in the encoding of the locale, and
    ours are UTF-8. Child processes inherit the variables.
    """
    encodings = (locale.getpreferredencoding(False), sys.getfilesystemencoding())
    is_utf8 = {codecs.lookup(name).name for name in encodings} == {"utf-8"}
    if is_utf8 or os.environ.get("PYTHONUTF8") == "1":
        return
    os.environ |= {"PYTHONUTF8": "1", "LC_ALL": "C.UTF-8"}
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def main() -> None:
    """Entry point: print errors that a user can act on without a traceback."""
    use_utf8()
    keep_loopback_direct(os.environ)  # for all libraries and child processes
    logging.captureWarnings(True)  # deprecation warnings of libraries do not concern users
    logging.getLogger("py.warnings").setLevel(logging.ERROR)
    try:
        cli()
    except TickhouseError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except OSError as error:
        sentence = file_sentence(error)
        if sentence is None:
            raise
        print(f"error: {sentence}", file=sys.stderr)
        sys.exit(1)
