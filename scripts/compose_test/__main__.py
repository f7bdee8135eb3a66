"""Run compose.yaml through a start, failures and an end: `make compose-test`.

    python -m scripts.compose_test [--lake seaweedfs|minio] [--override FILE]

The Compose project has its own name, ports, secrets and volumes. The script prints each step and,
at the end, a table; the exit code is 1 if a step failed.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.table import Table

from scripts.compose_test.stack import (
    KILL_PROCESS,
    PASSWORD_WORD,
    PROJECT,
    Failed,
    Stack,
    run,
    service_of,
    within,
    write_settings,
)

IMAGE = "tickhouse:local"
START_S = 600.0
GOLD_S = 180.0
MOVES_S = 240.0
KAFKA_AWAY_S = 60.0
NEEDED_BY = {
    "AIRFLOW_FERNET_KEY": {"airflow"},
    "AIRFLOW_SECRET": {"airflow"},
    "AWS_SECRET_ACCESS_KEY": {"archive", "airflow-scheduler", "bucket"},
    "DASHBOARD_TOKEN": {"dashboard"},
    "LAKE_READER_SECRET_ACCESS_KEY": {"bucket", "dashboard"},
    "LAKE_ROOT_PASSWORD": {"bucket", "minio", "seaweedfs"},
    "POSTGRES_PASSWORD": {"airflow"},
}
"""The services whose environment may contain a secret; `airflow` means all of Airflow's."""


class Drill:
    """The steps, in order, and their results."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._results: list[tuple[str, bool, float, str]] = []
        self.started = 0.0
        self._outages: list[tuple[float, float]] = []

    def step(self, name: str, action: Callable[[], str | None]) -> None:
        """Run a step; its result, and the text it returns, become a row of the table."""
        begin = time.monotonic()
        try:
            passed, found = True, action() or ""
        except (Failed, OSError, subprocess.TimeoutExpired) as error:
            passed, found = False, str(error)
        seconds = time.monotonic() - begin
        self._results.append((name, passed, seconds, found))
        print(f"{'ok    ' if passed else 'FAILED'} {name} ({seconds:.0f} s) {found}", flush=True)

    def table(self) -> bool:
        """Print the table; return whether all steps passed."""
        table = Table("step", "result", "s", "found", title="compose-test")
        for name, passed, seconds, found in self._results:
            table.add_row(name, "ok" if passed else "FAILED", f"{seconds:.0f}", found[:120])
        Console(width=140).print(table, highlight=False, markup=False)
        return all(passed for _, passed, _, _ in self._results)

    def run(self) -> None:
        """Run all steps, up to the removal of the stack."""
        stack, step = self._stack, self.step
        step("a first start builds the image", self._build)
        step("up, every health check green", self._up)
        step("page moves and gold is filled within 3 minutes", self._gold)
        step("no port on another address than 127.0.0.1", self._ports)
        step("no secret in a service that does not need it", self._secrets)
        step("own processes are not root", self._users)
        step("no volume without a name", self._volumes)
        step("a candles worker is killed, and 3 run", self._kill_and_scale)
        step("Kafka away for 60 s", self._kafka_away)
        step("restart of every service", self._restart)
        step("down and up, data kept", self._down_and_up)
        step("runs of Airflow", self._runs)
        step("memory", self._memory)
        step("candles equal an undisturbed run", self._compare)
        step("no secret in a log", self._logs)
        step("down, nothing is left", lambda: self._gone(stack))

    def _build(self) -> str:
        subprocess.run(["docker", "image", "rm", IMAGE], capture_output=True, check=False)
        self._stack.compose("create")
        size = run(["docker", "image", "inspect", IMAGE, "--format", "{{.Size}}"])
        megabytes = int(size) / 1e6
        if megabytes >= 1200:
            raise Failed(f"the image has {megabytes:.0f} MB, more than 1,200")
        return f"{megabytes:,.0f} MB"

    def _up(self) -> None:
        self.started = time.monotonic()
        self._stack.compose("up", "--detach", "--no-build")
        self._healthy()

    def _healthy(self) -> None:
        """Wait until every service is healthy; fail if Docker had to restart one."""
        within(START_S, self._unhealthy)
        ended = [service_of(c) for c in self._stack.containers() if c["RestartCount"]]
        if ended:
            raise Failed(f"Docker had to start again: {', '.join(ended)}")

    def _unhealthy(self) -> str | None:
        found = []
        for container in self._stack.containers():
            state = container["State"]
            health = state.get("Health", {}).get("Status")
            if health not in (None, "healthy") or (
                health is None and (state["Running"] or state["ExitCode"])
            ):
                found.append(f"{service_of(container)} is {health or state['Status']}")
        return ", ".join(sorted(found)) or None

    def _moves(self, seconds: float = MOVES_S) -> None:
        """Wait until the page shows gold, and a candle of trades that arrive from now on."""
        since = time.time() * 1000

        def problem() -> str | None:
            status = self._stack.page_status()
            newest = status["topics"]["candles-live"]["newest_ms"]
            if newest is None or newest < since:
                return "the newest live candle is old"
            gold = status["gold"]["state"]
            return None if gold == "ready" else f"gold is {gold}"

        within(seconds, problem)

    def _gold(self) -> str:
        self._moves(max(0.0, GOLD_S - (time.monotonic() - self.started)))
        return f"{time.monotonic() - self.started:.0f} s after up"

    def _ports(self) -> str:
        addresses = [
            binding["HostIp"]
            for container in self._stack.containers()
            for bindings in (container["NetworkSettings"]["Ports"] or {}).values()
            for binding in bindings or ()
        ]
        if not addresses or set(addresses) != {"127.0.0.1"}:
            raise Failed(f"ports are bound to {sorted(set(addresses))}")
        return f"{len(addresses)} ports"

    def _secrets(self) -> str:
        containers = self._stack.containers()
        held = 0
        for container in containers:
            service = service_of(container)
            group = {service, "airflow"} if service.startswith("airflow") else {service}
            inspected = str(container)
            for name, needed in NEEDED_BY.items():
                if self._stack.values[name] in inspected:
                    held += 1
                    if not group & needed:
                        raise Failed(f"{service} holds {name}")
        return f"{len(containers)} containers, {held} secrets in those that need them"

    def _users(self) -> str:
        running = [c for c in self._stack.containers() if c["State"]["Running"]]
        for container in running:
            if run(["docker", "exec", container["Id"], "id", "-u"]).strip() == "0":
                raise Failed(f"{service_of(container)} runs as root")
        return f"{len(running)} containers"

    def _volumes(self) -> str:
        mounts = [mount for c in self._stack.containers() for mount in c["Mounts"]]
        volumes = {mount["Name"]: mount for mount in mounts if mount["Type"] == "volume"}
        unnamed = [m["Destination"] for n, m in volumes.items() if not n.startswith(PROJECT)]
        if unnamed:
            raise Failed(f"`down` would leave the volumes of {', '.join(unnamed)}")
        return f"{len(volumes)} volumes"

    def _kill_and_scale(self) -> None:
        (worker,) = self._stack.of_service("candles")
        run(["docker", "exec", worker["Id"], "python", "-c", KILL_PROCESS])
        within(MOVES_S, lambda: self._restarted(worker["Id"], worker["RestartCount"]))
        self._stack.compose(
            *("up", "--detach", "--no-build", "--no-deps", "--no-recreate"),
            *("--scale", "candles=3", "candles"),
        )
        within(MOVES_S, self._not_three_workers)
        self._moves()

    def _not_three_workers(self) -> str | None:
        logs = self._stack.compose("logs", "--no-color", "candles")
        numbers = dict(re.findall(r"^(\S+).*instance (\d+) reads", logs, re.MULTILINE))
        three = len(numbers) == len(set(numbers.values())) == 3
        return None if three else f"the numbers of the workers are {numbers}"

    def _restarted(self, container: str, before: int) -> str | None:
        for found in self._stack.of_service("candles"):
            if found["Id"] == container:
                more = found["RestartCount"] > before and found["State"]["Running"]
                return None if more else "Docker has not restarted the worker"
        return "the worker is gone"

    def _kafka_away(self) -> None:
        self._stack.compose("stop", "kafka")
        time.sleep(KAFKA_AWAY_S)
        self._stack.compose("start", "kafka")
        self._moves()

    def _restart(self) -> None:
        begin = time.time()
        self._stack.compose("restart")
        self._moves()
        within(MOVES_S, self._unhealthy)
        self._outages.append((begin, time.time()))

    def _down_and_up(self) -> None:
        self._logs()  # they are removed with the containers
        begin = time.time()
        self._stack.compose("down")
        self._stack.compose("up", "--detach", "--no-build")
        self._moves(START_S)
        self._healthy()
        self._outages.append((begin, time.time()))

    def _runs(self) -> str:
        within(MOVES_S, self._last_run_not_ended)
        runs = self._stack.airflow_runs()
        failed = [run for run in runs if run.state == "failed"]
        alone = [run for run in failed if not any(map(run.overlaps, self._outages))]
        if alone:
            raise Failed(f"failed while all services ran: {alone}")
        succeeded = Counter(run.dag for run in runs if run.state == "success")
        counts = ", ".join(f"{dag} {count}" for dag, count in sorted(succeeded.items()))
        return f"succeeded: {counts}; failed in a restart: {len(failed)}"

    def _last_run_not_ended(self) -> str | None:
        """Return which DAGs have had no successful run since the last start."""
        runs = [run for run in self._stack.airflow_runs() if run.state == "success"]
        since = self._outages[-1][0] if self._outages else 0.0
        missing = {"stock_pipeline", "stock_transform"} - {r.dag for r in runs if r.start > since}
        return f"no run of {', '.join(sorted(missing))} yet" if missing else None

    def _memory(self) -> str:
        ids = [c["Id"] for c in self._stack.containers() if c["State"]["Running"]]
        lines = run(["docker", "stats", "--no-stream", "--format", "{{.MemUsage}}", *ids])
        scale = {"K": 2**10, "M": 2**20, "G": 2**30}
        used = re.findall(r"^([\d.]+)([KMG])iB /", lines, re.MULTILINE)
        total = sum(float(number) * scale[unit] for number, unit in used)
        return f"{total / 2**30:.1f} GiB in {len(ids)} containers"

    def _compare(self) -> str:
        self._stack.compose("stop", "simulate", "produce", "airflow-scheduler")
        (worker, *_) = self._stack.of_service("candles")
        options = [word for entry in worker["Config"]["Env"] for word in ("--env", entry)]
        return run(
            [
                *("docker", "run", "--rm", "--interactive", "--network", f"{PROJECT}_default"),
                *("--volume", f"{PROJECT}_warehouse:/var/lib/tickhouse:ro", *options),
                *(IMAGE, "python", "-"),
            ],
            stdin=Path(__file__).with_name("undisturbed.py").read_text(),
        ).strip()

    def _logs(self) -> str:
        logs = self._stack.compose("logs", "--no-color")
        for name in NEEDED_BY:
            if self._stack.values[name] in logs:
                raise Failed(f"{name} is in a log")
        if PASSWORD_WORD in logs:
            raise Failed("a part of POSTGRES_PASSWORD is in a log")
        return f"{len(logs.splitlines()):,} lines"

    def _gone(self, stack: Stack) -> None:
        stack.compose("down", "--volumes")
        if left := stack.left_over():
            raise Failed(f"left over: {left}")


def main() -> None:
    """Run the drill and print its table."""
    parser = argparse.ArgumentParser(description="Run compose.yaml through failures.")
    parser.add_argument("--lake", choices=("seaweedfs", "minio"), default="seaweedfs")
    parser.add_argument("--override", type=Path, action="append", default=[])
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "compose.env"
        stack = Stack(file, write_settings(file, chosen.lake), chosen.override)
        drill = Drill(stack)
        try:
            drill.run()
        finally:
            stack.compose("down", "--volumes")
    sys.exit(0 if drill.table() else 1)


if __name__ == "__main__":
    main()
