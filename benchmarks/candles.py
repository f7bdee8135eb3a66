"""Compare the candles worker with its limits and stock Quix Streams, on one input in real Kafka.

    parse      a bare consumer loop with the same parser
    core       the same, and the same core in memory: no state store, no output, lost in a crash
    topology   `tickhouse candles` without partial candles: exactly-once, commits each second
    live       the same with partial candles: the default settings
    compiled   topology with the core of `make compile`; compiled-live: live with it
    stock      Quix Streams as in its documentation: exactly-once, commits each second

Every contestant's candles are compared with those of SQL; a figure counts only if they are equal.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from app.settings import Settings
from benchmarks._bench import Input, bench
from benchmarks._contestants import COMPILED, Result, core, parse, stock, topology
from benchmarks._reference import Key, Prints, check
from benchmarks._report import report, spread
from benchmarks._workload import Framing, Workload, simulator_framing

TRADES, STOCK_TRADES, RUNS = 2_000_000, 100_000, 5
FRAMINGS: dict[str, Callable[[], Framing]] = {
    "1": lambda: [1],
    "10": lambda: [10],
    "50": lambda: [50],
    "simulator": simulator_framing,
}
CONTESTANTS: dict[str, Callable[[Input], Result]] = {
    "parse": parse,
    "core": core,
    "topology": lambda input_: topology(input_, live=False),
    "compiled": lambda input_: topology(input_, live=False, compiled=True),
    "stock": stock,
    "live": lambda input_: topology(input_, live=True),
    "compiled-live": lambda input_: topology(input_, live=True, compiled=True),
}
"""In the order of a round. A worker's group becomes empty only some time after the worker ended."""

INTEGER = "candles"
"""The result that explains contestants and input."""
OF_A_BUILD = ("compiled", "compiled-live")
WORKERS = ("topology", "live", *OF_A_BUILD)

COLUMNS = [
    "trades a message",
    "contestant",
    "trades/s",
    "trades/CPU s: min · median · max",
    "of core",
    "of stock",
    "revisions",
    "partials",
]
PROSE = """\
The contestants:

- *parse* is a bare consumer loop with the same parser.
- *core* is the same loop with the same candle core in memory. It loses its state in a crash.
- *topology* is `tickhouse candles` without partial candles: exactly-once, a commit each second,
  state in RocksDB with a changelog.
- *live* is the same with partial candles: the default settings.
- *compiled* and *compiled-live* are these two with the core of `make compile`, measured where it is
  available.
- *stock* is Quix Streams as its documentation teaches it: state with a time to live to detect
  repeats, a tumbling window with aggregations, no sale conditions, exactly-once, a commit each
  second. It reads only the first {stock_trades:,} trades of the same input, because all of them
  would take minutes.

Input: {trades:,} trades of 50 symbols, Zipf-distributed, 2 million per hour of `t` and of
`received_at`; 1 % of the messages are repeated; there is a watermark per symbol and minute.
*simulator*: messages have as many trades as those that the producer makes from the simulator's
frames at 20,000 trades a second ({simulated:.2f} on average).

There were {runs} interleaved runs. A run counts only if its candles equal those of SQL in every
field. *trades/s* is wall time from the first message to the commit of the last. *CPU* is that of
the contestant's process with all threads, without its start-up and without Kafka.
"""
MORE = """\
Contestants, input and figures are those of *The candles worker and its limits* above: {runs}
interleaved runs of {trades:,} trades, *stock* with {stock_trades:,}. *simulator* has
{simulated:.2f} trades a message on average.
"""
"""The text of a result that appears next to the complete one."""


class ContestantInput(NamedTuple):
    """A contestant's input, and the candles it must compute from it."""

    input: Input
    expected: dict[Key, Any]
    trades: int


class Row(NamedTuple):
    """A contestant with one framing."""

    framing: str
    contestant: str
    trades: int
    results: list[Result]

    def figures(self) -> dict[str, Any]:
        """Return trades per second and per CPU second, and what was written in the last run."""
        costs = [result.cost for result in self.results]
        return {
            "framing": self.framing,
            "contestant": self.contestant,
            "trades": self.trades,
            "trades_a_second": spread([self.trades / cost.wall_s for cost in costs]),
            "trades_a_cpu_second": spread([self.trades / cost.cpu_s for cost in costs]),
            "revisions": self.results[-1].revisions,
            "partials": self.results[-1].partials,
        }


def prepare_inputs(
    settings: Settings, label: str, framing: Framing, trades: int, names: list[str]
) -> dict[str, ContestantInput]:
    """Put the workload into Kafka, in full and as a prefix; return the input by contestant."""
    inputs = {}
    if set(names) - {"stock"}:
        inputs["full"] = _prepare_input(settings, f"bench-{label}", framing, trades, True)
    if "stock" in names:
        few = min(trades, STOCK_TRADES)
        inputs["prefix"] = _prepare_input(settings, f"prefix-{label}", framing, few, False)
    return {name: inputs["prefix" if name == "stock" else "full"] for name in names}


def _prepare_input(
    settings: Settings, namespace: str, framing: Framing, trades: int, by_tape: bool
) -> ContestantInput:
    workload, prints = Workload(trades, framing), Prints()
    input_ = Input(settings, namespace, prints.recorded(workload))
    expected: dict[Key, Any] = prints.candles(by_tape)
    if not by_tape:  # no later trade closes the windows of the last trades
        expected = {key: f.bar for key, f in expected.items() if key[1] < workload.end}
    return ContestantInput(input_, expected, workload.counts["trades"])


def run_contestants(inputs: dict[str, ContestantInput], label: str, runs: int) -> list[Row]:
    """Run every contestant that has an input, interleaved, and check each run."""
    results: dict[str, list[Result]] = {name: [] for name in inputs}
    for run in range(runs):
        for name, (input_, expected, trades) in inputs.items():
            result = CONTESTANTS[name](input_)
            if result.candles:
                check(name, result.candles, expected)
            results[name].append(result)
            print(
                f"{label} a message, run {run + 1} of {runs}: {name} "
                f"{trades / result.cost.cpu_s:,.0f} trades/CPU s",
                file=sys.stderr,
            )
    return [Row(label, name, inputs[name].trades, of) for name, of in results.items()]


def table(figures: list[dict[str, Any]]) -> list[list[str]]:
    """Return rows for `COLUMNS`. Ratios are between medians of trades per CPU second."""
    median = {
        (figure["framing"], figure["contestant"]): figure["trades_a_cpu_second"]["median"]
        for figure in figures
    }

    def ratio(item: dict[str, Any], base: str, digits: int) -> str:
        of = median.get((item["framing"], base))
        return f"{item['trades_a_cpu_second']['median'] / of:.{digits}f}" if of else ""

    return [
        [
            figure["framing"],
            figure["contestant"],
            f"{figure['trades_a_second']['median']:,.0f}",
            "{min:,.0f} · {median:,.0f} · {max:,.0f}".format(**figure["trades_a_cpu_second"]),
            ratio(figure, "core", 2),
            ratio(figure, "stock", 1),
            f"{figure['revisions']:,}" if figure["contestant"] in WORKERS else "",
            f"{figure['partials']:,}" if figure["contestant"] in WORKERS else "",
        ]
        for figure in figures
    ]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--trades", type=int, default=TRADES)
    parser.add_argument("--runs", type=int, default=RUNS)
    parser.add_argument("--framing", default=",".join(FRAMINGS), help="of " + ",".join(FRAMINGS))
    typical = [name for name in CONTESTANTS if COMPILED.exists() or name not in OF_A_BUILD]
    parser.add_argument("--only", default=",".join(typical), help="of " + ",".join(CONTESTANTS))
    parser.add_argument("--result", type=_name, default=INTEGER, help="its name among the results")
    parser.add_argument("--keep", action="store_true", help="leave the result though cut short")
    return parser.parse_args()


def _name(text: str) -> str:
    """Check a result's name, which must be a file name in results/."""
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]*", text):
        raise argparse.ArgumentTypeError(f"{text!r} is no name of small letters, digits and -")
    return text


def main() -> None:
    given = arguments()
    names = [name for name in CONTESTANTS if name in given.only.split(",")]
    if set(names) & set(OF_A_BUILD) and not COMPILED.exists():
        sys.exit("error: There is no compiled core to measure: make compile.")
    labels = given.framing.split(",")
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder, bench(Path(folder)) as settings:
        for label in labels:
            inputs = prepare_inputs(settings, label, FRAMINGS[label](), given.trades, names)
            rows += run_contestants(inputs, label, given.runs)
    figures = [row.figures() for row in rows]
    simulated = simulator_framing()
    report(
        given.result,
        f"The candles worker and its limits at {' and '.join(labels)} trades a message",
        COLUMNS,
        table(figures),
        figures,
        (PROSE if given.result == INTEGER else MORE).format(
            trades=given.trades,
            stock_trades=STOCK_TRADES,
            runs=given.runs,
            simulated=sum(simulated) / len(simulated),
        ),
        keep=given.keep or len(sys.argv) == 1,
    )


if __name__ == "__main__":
    main()
