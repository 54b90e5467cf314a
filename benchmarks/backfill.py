"""How much Dagster and the lake cost: a backfill against a plain Polars script.

Belongs here: simulating the days, running both as processes of their own, and the ratio. Does
not belong here: the peer itself (see `plain_polars`).

    python benchmarks/backfill.py --days 250

`optrade backfill` (its code server and run processes included) is held against
`plain_polars.py`, which reads the same files, calls the same functions and writes the same
slices as Parquet, without Dagster, without a lake, events, history or checks on disk.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path

from optrade.calendar import load_calendar
from resources.simulator import write_exchange

FIRST, SEED = date(2025, 1, 1), 7
HERE = Path(__file__).parent


def main() -> None:
    """Run both and print the table."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--days", type=int, default=250)
    arguments.add_argument("--days-per-run", type=int, default=None)
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        calendar = load_calendar()
        days = calendar.sessions(FIRST, calendar.last)[: given.days]
        exchange = home / "simulated" / "exchange"
        write_exchange(exchange, days, SEED, calendar=calendar)
        span = [days[0].isoformat(), days[-1].isoformat()]
        plain = measured([sys.executable, str(HERE / "plain_polars.py"), str(exchange), *span])
        checked = measured(
            [sys.executable, str(HERE / "plain_polars.py"), str(exchange), *span, "--checks"]
        )
        command = [sys.executable, "-c", "from optrade_dagster.cli import main; main()"]
        command += ["backfill", "--from", span[0], "--to", span[1]]
        if given.days_per_run:
            command += ["--days-per-run", str(given.days_per_run)]
        ours = measured(command, OPTRADE_HOME=folder, OPTRADE_MARKET="simulated")
        runs = len(list((home / "simulated/dagster/history/runs").glob("*-*.db")))
    print_table(given.days, runs, plain, checked, ours)


def measured(command: list[str], **environment: str) -> tuple[float, float | None]:
    """Wall seconds, and CPU seconds of the process and all it started (Linux only)."""
    started = time.perf_counter()
    process = subprocess.Popen(
        command, env={**os.environ, **environment}, stdout=subprocess.PIPE, start_new_session=True
    )
    seen: dict[int, float] = {}
    while process.poll() is None:
        seen |= cpu_by_process(process.pid)
        time.sleep(0.1)
    wall = time.perf_counter() - started
    if process.returncode != 0:
        sys.exit(f"{command} failed:\n{process.stdout.read().decode() if process.stdout else ''}")
    return wall, sum(seen.values()) or None


def cpu_by_process(session: int) -> dict[int, float]:
    """CPU seconds so far of every process of a session."""
    if not Path("/proc/self/stat").exists():
        return {}
    ticks = os.sysconf("SC_CLK_TCK")
    found = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:  # The process ended between the listing and the reading.
            continue
        if int(fields[3]) == session:
            found[int(stat.parent.name)] = (int(fields[11]) + int(fields[12])) / ticks
    return found


def print_table(
    days: int,
    runs: int,
    plain: tuple[float, float | None],
    checked: tuple[float, float | None],
    ours: tuple[float, float | None],
) -> None:
    """Print the comparison as Markdown."""
    print(f"{days} simulated days, {runs} Dagster run(s), {os.cpu_count()} cores\n")
    print("| | wall s | CPU s | wall ratio | CPU ratio |\n|---|---|---|---|---|")
    for name, (wall, cpu), (base_wall, base_cpu) in (
        ("plain Polars script", plain, ours),
        ("plain Polars script that also judges every rule", checked, ours),
        ("`optrade backfill`", ours, ours),
    ):
        ratio = f"{base_cpu / cpu:.2f}" if cpu and base_cpu else ""
        print(f"| {name} | {wall:.1f} | {cpu or 0:.1f} | {base_wall / wall:.2f} | {ratio} |")


if __name__ == "__main__":
    main()
