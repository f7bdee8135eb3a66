"""`tickhouse simulate`: serve Finnhub's WebSocket and REST protocols on one port."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from websockets.asyncio.server import Server, serve

from app.errors import TickhouseError
from app.feeds.clock import SteadyClock
from app.feeds.simulator.delivery_log.log import DeliveryLog
from app.feeds.simulator.faults.kinds import AnyFault, parse_fault, read_script
from app.feeds.simulator.faults.seeded import seeded_script
from app.feeds.simulator.market.exchange import Exchange
from app.feeds.simulator.market.market import MINUTE_MS
from app.feeds.simulator.market.tape import Tape
from app.feeds.simulator.market.venue import Venue
from app.feeds.simulator.rest import CALLS_PER_MINUTE
from app.feeds.simulator.server.server import SYMBOLS_PER_CONNECTION, Simulator
from app.outputs import check_output
from app.settings import Settings

CLOSE_TIMEOUT_S = 0.5
"""How long clients have to answer the closing handshake."""
OPEN_TIMEOUT_S = 120.0
"""Time-out for a handshake, which a fault may slow down."""


def run(
    settings: Settings,
    host: str,
    port: int,
    rate: float,
    seed: int,
    token: str,
    *,
    symbols_per_connection: int = SYMBOLS_PER_CONNECTION,
    calls_per_minute: int = CALLS_PER_MINUTE,
    session_minutes: float = 60.0,
    delivery_log: Path | None = None,
    play: Path | None = None,
    faults: Sequence[str] = (),
    script: Path | None = None,
    fault_seed: int | None = None,
) -> None:
    """Serve a simulated or a recorded market until SIGTERM or SIGINT.

    :param settings: used only to protect the files that they name from being overwritten.
    :param rate: mean number of trades per second over all subscribed symbols.
    :param token: the accepted API keys, separated by commas.
    :param session_minutes: the length of a trading session, from auction to auction.
    :param play: the trade file to play instead of a simulated market.
    :param faults: faults, in the syntax of `app.feeds.simulator.faults.kinds.parse_fault`.
    :param script: a TOML file with more faults.
    :param fault_seed: creates a script with all kinds of faults.
    :param delivery_log: the file to log deliveries to. The log of a previous run is replaced once
        this one listens.
    :raises TickhouseError: it cannot listen at `host` and `port`, a file or fault is invalid, or
        `delivery_log` is not a delivery log.
    """
    if delivery_log:
        inputs = filter(None, (play, script, *settings.protected_files))
        check_output("--delivery-log", delivery_log, inputs)
    clock = SteadyClock()
    all_faults = _all_faults(faults, script, fault_seed)
    with ExitStack() as stack:
        log = stack.enter_context(DeliveryLog(delivery_log)) if delivery_log else None
        venue: Venue
        if play:
            venue = Tape(play, clock.now_ms())
            what = f"trades of {play.name}: {', '.join(venue.symbols[:10])}"
        else:
            venue = Exchange(seed, rate, clock.now_ms(), round(session_minutes * MINUTE_MS))
            what = f"{rate:g} trades a second, seed {seed}"
        simulator = Simulator(
            venue,
            clock,
            tokens=list(dict.fromkeys(filter(None, map(str.strip, token.split(","))))),
            seed=seed,
            symbols_per_connection=symbols_per_connection,
            calls_per_minute=calls_per_minute,
            faults=all_faults,
            on_delivery=log.record if log else None,
        )
        if all_faults:
            what += f", faults to come: {len(all_faults)}"
        asyncio.run(_serve(simulator, host, port, what, log))


def _all_faults(
    faults: Sequence[str], script: Path | None, fault_seed: int | None
) -> list[AnyFault]:
    all_faults = [parse_fault(text) for text in faults]
    if script:
        all_faults += read_script(script)
    if fault_seed is not None:
        all_faults += seeded_script(fault_seed)
    return all_faults


async def _serve(
    simulator: Simulator, host: str, port: int, what: str, log: DeliveryLog | None
) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    server = await listen(simulator, host, port)
    if log:
        log.begin()
    at = address(server)
    print(f"SIMULATED market on ws://{at} and http://{at}/api/v1, {what}", flush=True)
    market, stopped = asyncio.create_task(simulator.play()), asyncio.create_task(stop.wait())
    await asyncio.wait((market, stopped), return_when=asyncio.FIRST_COMPLETED)
    market.cancel()
    await simulator.end()
    await _close(server)
    if not market.cancelled():
        market.result()


async def listen(simulator: Simulator, host: str, port: int) -> Server:
    """Serve `simulator` to WebSocket and REST clients.

    :raises TickhouseError: the address cannot be used.
    """
    try:
        return await serve(
            simulator.serve_client,
            host,
            port,
            process_request=simulator.respond,
            process_response=simulator.label,
            compression=None,
            server_header=None,
            ping_interval=None,
            close_timeout=CLOSE_TIMEOUT_S,
            open_timeout=OPEN_TIMEOUT_S,
            max_size=64 * 1024,
        )
    except OSError as error:
        # for a name that cannot be resolved the number is negative, and not one of the system's
        number = error.errno or 0
        reason = os.strerror(number) if number > 0 else error.strerror
        raise TickhouseError(
            f"The simulator cannot listen on {host}:{port}: {reason}. Stop what listens there, or "
            "choose another address with --host and --port (0 takes any free port)."
        ) from None


async def _close(server: Server) -> None:
    """Close all connections; abort those that do not answer."""
    clients = server.connections
    server.close()
    _, silent = await asyncio.wait(
        [asyncio.create_task(server.wait_closed())], timeout=2 * CLOSE_TIMEOUT_S
    )
    if silent:
        for client in clients:
            client.transport.abort()
        await asyncio.wait(silent)


def address(server: Server) -> str:
    """Return the host and port on which `server` listens."""
    host, port = server.sockets[0].getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
