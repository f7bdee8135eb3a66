"""Measure the live page in Chromium: message to paint, first candle, weight, CPU, heap, readers.

The page is served by `tickhouse dashboard`. A separate process sends partial candles to
`candles-live` at a steady rate. The chart reports its newest close in `data-last-close`, and each
close of the watched symbol is sent once, so a painted close identifies its message.
"""

from __future__ import annotations

import argparse
import socket
import tempfile
import time
from bisect import bisect_left
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import psutil
from playwright.sync_api import Browser, CDPSession, Page, sync_playwright

from app.embedded.ports import free_ports, listens
from app.settings import Settings
from app.topics import ensure_topics
from benchmarks._bench import bench
from benchmarks._report import percentile, report
from tests.candle_maker import MINUTE, CandleProducer, candle, partial
from tests.conftest import BROWSER_FLAGS, chromium_path
from tests.support import await_, start, stop

WATCHED = "AAPL"
SYMBOLS = [WATCHED, *(f"S{number:03d}" for number in range(1, 50))]
HISTORY_MINUTES = 120
WARM_UP_S = 5
OPENED_S = 3
LOADS = 5
EMPTIED_S = 10
"""How often the list of paints is taken out of the page, because its heap is measured."""
PAINTED = """
window.painted = [];
new MutationObserver(([{ target: chart }]) => {
  const close = Number(chart.dataset.lastClose);
  requestAnimationFrame(() => {
    const after = new MessageChannel();
    const now = () => performance.timeOrigin + performance.now();
    after.port1.onmessage = () => painted.push([close, now()]);
    after.port2.postMessage(0);
  });
}).observe(document, { subtree: true, attributes: true, attributeFilter: ["data-last-close"] });
"""
PROSE = """
{rate:,} partial candles a second of 50 symbols for {seconds:,} s, with {minutes} minutes of
history. Kafka, server, feeder and headless Chromium (software rendering) run on the same machine.

- *message → paint*: from the feeder's call of its Kafka client to the frame that shows that close
  or a newer one, for all messages of the symbol on the chart. The page draws the newest close, five
  times a second.
- *its own paint*: the same, without closes that a newer one replaced before they were drawn.
- *first candle*: from the start of the navigation, without a cache, in a window that has been open
  for {opened} s (Chromium loads pages of its own when it opens a window), before the feeder starts
  and while it sends.
- *page's CPU*: time that the tab's main thread is on a core.
- *of it, JavaScript*: the page's scripts and the chart library, including its calls that draw on
  canvases. The rest is Chromium's layout, and painting without a graphics processor.
- *heap*: the JavaScript heap after a garbage collection, at the beginning and at the end.
- *readers*: event streams of the same symbol, all of which are read. CPU and memory (PSS) are those
  of the server's process.
"""
LONG_PROSE = """
As above, for {seconds:,} s, as in a tab that stays open; see the notes on the page for the version
that was measured. Each minute begins a new candle of each
symbol. *heap*: the JavaScript heap after a garbage collection, at the beginning, at the end, and
every five minutes in between.
"""
LONG_S = 1_800
HEAP_EVERY_S = 300
LATENCY_ROWS = [
    ("message → paint, p50", "–", "{p50_ms:.0f} ms"),
    ("message → paint, p99", "100 ms", "{p99_ms:.0f} ms"),
    ("message → its own paint, p50", "–", "{own_p50_ms:.0f} ms"),
    ("message → its own paint, p99", "–", "{own_p99_ms:.0f} ms"),
]
CPU_ROWS = [
    ("page's CPU, of a core", "5 %", "{client_cpu:.1%}"),
    ("of it, JavaScript", "–", "{script_cpu:.1%}"),
]
ROWS = [
    *LATENCY_ROWS,
    ("first candle, median of 5 loads, feed at rest", "500 ms", "{first_ms:.0f} ms"),
    ("first candle, median of 5 loads, feed at full rate", "500 ms", "{fed_first_ms:.0f} ms"),
    ("page, compressed", "350 KB", "{page_kb:.0f} KB"),
    *CPU_ROWS,
    ("heap, beginning → end, MB", "flat", "{heaps}"),
    ("server's CPU with {readers} readers, of a core", "50 %", "{server_cpu:.0%}"),
    ("server's memory with {readers} readers", "250 MB", "{server_mb:.0f} MB"),
]
LONG_ROWS = [*LATENCY_ROWS, *CPU_ROWS, ("heap, MB", "flat", "{heaps}")]


class Tab(NamedTuple):
    page: Page
    devtools: CDPSession


def feed(settings: Settings, minute_start: int, rate: int, stopped: Connection) -> None:
    """Send `rate` partial candles per second until stopped; then send back when each was sent.

    Each minute has its own candles, so the chart gets longer, as during a day.
    """
    producer, sent = CandleProducer(settings), {}
    began, number = time.monotonic(), 0
    while not stopped.poll():
        if (ahead := began + number / rate - time.monotonic()) > 0:
            time.sleep(ahead)
        symbol, step = SYMBOLS[number % len(SYMBOLS)], number // len(SYMBOLS)
        close = round(200 + step / 100, 2)
        minute = minute_start + int(time.monotonic() - began) // 60 * MINUTE
        made = partial(symbol, close=close, window_start=minute, last_offset=number)
        if symbol == WATCHED:
            sent[close] = time.time() * 1000
        producer.send(made, flush=False)
        number += 1
    stopped.send(sent)


@contextmanager
def feeding(settings: Settings, minute_start: int, rate: int) -> Iterator[Callable[[], Any]]:
    """Run the feeder; the yielded function ends it and returns the sending time of each close."""
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=feed, args=(settings, minute_start, rate, theirs))
    process.start()

    def finish() -> Any:
        ours.send(None)
        return ours.recv()

    try:
        yield finish
    finally:
        process.join(10)
        process.kill()


def open_tab(browser: Browser, url: str) -> Tab:
    """Open the page in its own browser context, and wait for its first candle."""
    page = browser.new_context(viewport={"width": 1440, "height": 900}).new_page()
    page.add_init_script(PAINTED)
    devtools = page.context.new_cdp_session(page)
    devtools.send("Performance.enable", {"timeDomain": "threadTicks"})
    page.wait_for_timeout(OPENED_S * 1000)
    page.goto(url)
    page.wait_for_function("() => painted.length > 0")
    return Tab(page, devtools)


def first_candle_ms(browser: Browser, url: str) -> float:
    """Return the median of several loads, each with an empty cache, in ms."""
    found = []
    for _ in range(LOADS):
        tab = open_tab(browser, url)
        found.append(float(tab.page.evaluate("painted[0][1] - performance.timeOrigin")))
        tab.page.context.close()
    return percentile(found, 50)


def page_bytes(browser: Browser, url: str) -> int:
    """Return the bytes transferred until every panel is drawn, without event streams."""
    page = browser.new_context().new_page()
    devtools = page.context.new_cdp_session(page)
    devtools.send("Network.enable")
    sizes: list[int] = []
    devtools.on("Network.loadingFinished", lambda event: sizes.append(event["encodedDataLength"]))
    page.goto(url)
    page.wait_for_function("() => document.querySelector('#treemap svg rect')")
    page.wait_for_timeout(OPENED_S * 1000)
    page.context.close()
    return int(sum(sizes))


def heap_bytes(tab: Tab) -> int:
    tab.devtools.send("HeapProfiler.collectGarbage")
    return int(tab.devtools.send("Runtime.getHeapUsage")["usedSize"])


class Work(NamedTuple):
    """Seconds that the tab's main thread has been running."""

    tasks: float
    script: float

    @classmethod
    def of(cls, tab: Tab) -> Work:
        found = tab.devtools.send("Performance.getMetrics")["metrics"]
        metrics = {metric["name"]: metric["value"] for metric in found}
        return cls(metrics["TaskDuration"], metrics["ScriptDuration"])


def read_events(port: int, count: int, ready: Connection) -> None:
    """Read `count` event streams until this process is ended."""
    request = f"GET /events?symbol={WATCHED}&interval=1m HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n"
    streams = []
    for _ in range(count):
        stream = socket.create_connection(("127.0.0.1", port))
        stream.sendall(request.encode())
        streams.append(stream)
    ready.send(None)
    while True:
        for stream in streams:
            stream.setblocking(False)
            try:
                while stream.recv(1 << 16):
                    pass
            except BlockingIOError:
                continue
        time.sleep(0.05)


def with_readers(server: psutil.Process, port: int, count: int, seconds: float) -> dict[str, float]:
    """Return CPU share and memory of the server while `count` streams are read."""
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=read_events, args=(port, count, theirs))
    process.start()
    try:
        ours.recv()
        time.sleep(WARM_UP_S)
        before, began = sum(server.cpu_times()[:2]), time.monotonic()
        time.sleep(seconds)
        share = (sum(server.cpu_times()[:2]) - before) / (time.monotonic() - began)
        return {"server_cpu": share, "server_mb": server.memory_full_info().pss / 1e6}
    finally:
        process.kill()
        process.join()


def measure(settings: Settings, browser: Browser, args: argparse.Namespace) -> dict[str, Any]:
    """Serve the page, feed it, and measure."""
    now_ms = time.time_ns() // 1_000_000
    minute_start = now_ms // MINUTE * MINUTE
    history = CandleProducer(settings)
    for back in range(HISTORY_MINUTES, 0, -1):
        start_ms = minute_start - back * MINUTE
        history.send(*(candle(s, window_start=start_ms, close=150 + back % 7) for s in SYMBOLS))
    (port,) = free_ports(1)
    url = f"http://127.0.0.1:{port}/?symbol={WATCHED}"
    log = settings.tickhouse_data_dir / "dashboard.log"
    server = start(settings, "dashboard", "--port", str(port), log=log)
    try:
        await_(lambda: listens(port), 60, "the page")
        found: dict[str, Any] = {}
        if not args.long:
            found["first_ms"] = first_candle_ms(browser, url)
            found["page_kb"] = page_bytes(browser, url) / 1000
        with feeding(settings, minute_start, args.rate) as finish:
            if not args.long:
                found["fed_first_ms"] = first_candle_ms(browser, url)
            found |= _measure_tab(browser, url, LONG_S if args.long else args.seconds)
            if not args.long:
                found |= with_readers(psutil.Process(server.pid), port, args.readers, 20)
            sent = finish()
    finally:
        stop(server)
    painted = found.pop("painted")
    own = [at - sent[close] for close, at in painted if close in sent]
    assert len(own) > args.seconds, "the chart hardly moved"
    waits = paint_waits(sent, painted)
    return found | {
        "p50_ms": percentile(waits, 50),
        "p99_ms": percentile(waits, 99),
        "own_p50_ms": percentile(own, 50),
        "own_p99_ms": percentile(own, 99),
        "messages": len(waits),
        "frames": len(own),
    }


def paint_waits(sent: dict[float, float], painted: list[tuple[float, float]]) -> list[float]:
    """Return how long each message waited for the paint of its close or a newer one, in ms.

    :param sent: when each close was sent; later ones are higher.
    :param painted: each close that was painted, and when. Messages before the first and after the
        last are left out.
    """
    closes = [close for close, _ in painted]
    return [
        painted[bisect_left(closes, close)][1] - at
        for close, at in sent.items()
        if closes[0] <= close <= closes[-1]
    ]


def _measure_tab(browser: Browser, url: str, seconds: float) -> dict[str, Any]:
    tab = open_tab(browser, url)
    tab.page.wait_for_function("() => painted.length > 10")
    tab.page.wait_for_timeout(WARM_UP_S * 1000)
    tab.page.evaluate("painted.length = 0")
    heaps, worked, began = [heap_bytes(tab)], Work.of(tab), time.monotonic()
    painted = []
    while (left := began + seconds - time.monotonic()) > 0:
        tab.page.wait_for_timeout(min(left, EMPTIED_S) * 1000)
        painted += tab.page.evaluate("painted.splice(0)")
        if time.monotonic() - began > len(heaps) * HEAP_EVERY_S:
            heaps.append(heap_bytes(tab))
    done, took = Work.of(tab), time.monotonic() - began
    heaps.append(heap_bytes(tab))
    tab.page.context.close()
    return {
        "client_cpu": (done.tasks - worked.tasks) / took,
        "script_cpu": (done.script - worked.script) / took,
        "heaps_mb": [heap / 1e6 for heap in heaps],
        "painted": painted,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=int, default=1_000)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--readers", type=int, default=200)
    parser.add_argument(
        "--long", action="store_true", help="30 minutes: heap, CPU and latency only"
    )
    parser.add_argument("--keep", action="store_true")
    args = parser.parse_args()
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        settings = stack.enter_context(bench(Path(folder)))
        ensure_topics(settings)
        playwright = stack.enter_context(sync_playwright())
        browser = playwright.chromium.launch(executable_path=chromium_path(), args=BROWSER_FLAGS)
        found = measure(settings, browser, args)
        browser.close()
    heaps = " → ".join(f"{heap:.1f}" for heap in found["heaps_mb"])
    values = found | {"readers": args.readers, "heaps": heaps}
    chosen = LONG_ROWS if args.long else ROWS
    rows = [[what.format(**values), aim, got.format(**values)] for what, aim, got in chosen]
    seconds = LONG_S if args.long else args.seconds
    report(
        "live_page_long" if args.long else "live_page",
        "The live page for 30 minutes" if args.long else "The live page",
        ["what", "aim", "measured"],
        rows,
        found,
        (LONG_PROSE if args.long else PROSE).format(
            rate=args.rate, seconds=seconds, minutes=HISTORY_MINUTES, opened=OPENED_S
        ),
        keep=args.keep or args.long or vars(args) == vars(parser.parse_args([])),
    )


if __name__ == "__main__":
    main()
