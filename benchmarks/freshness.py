"""How old the newest minute is when it can be read: seal of the segment to commit in the lake.

Belongs here: playing a simulated session through the real collector, sensor and runs, and the
ages. Does not belong here: what any of them does.

    python benchmarks/freshness.py --minutes 30 --speed 6 --width 5

The parts are those of `optrade up`: the simulated broker, the collector and Dagster's daemon. A
minute's age is real time, from the seal of its segment (the file's time) to the lake's snapshot
that holds it. CPU is that of the Dagster processes over the session, for each minute.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import threading
from datetime import date
from pathlib import Path

import numpy as np
from rich.console import Console

from optrade.calendar import load_calendar
from optrade_dagster.home import open_lake
from optrade_dagster.supervisor import run_parts
from optrade_dagster.up import Session, market_parts, next_simulated
from resources.settings import Settings, load_settings
from resources.simulator import write_exchange

FIRST = date(2026, 1, 12)
COMMITS = "SELECT snapshot_time AS at, commit_extra_info AS told FROM ducklake_snapshots('lake')"


def main() -> None:
    """Play the session and print the table."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--minutes", type=int, default=30)
    arguments.add_argument("--speed", type=float, default=6.0)
    arguments.add_argument("--width", type=float, default=3.0, help="percent of spot")
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ |= {
            "OPTRADE_HOME": folder,
            "OPTRADE_MARKET": "simulated",
            "OPTRADE_COLLECTOR__STRIKE_WIDTH_PCT": f"{given.width:g}",
        }
        settings = load_settings()
        calendar = load_calendar()
        days = calendar.sessions(FIRST, calendar.last)[:2]
        write_exchange(settings.exchange_root, days, 7, calendar=calendar)
        session = next_simulated(settings, given.speed, FIRST)
        with open_lake(settings, read_only=False):
            pass
        cpu = play(settings, session, given.minutes)
        report(settings, session, given.speed, cpu)


def play(settings: Settings, session: Session, minutes: int) -> float:
    """Run the parts until so many segments are sealed and stored; CPU seconds of Dagster."""
    parts = market_parts(settings, None, session)
    folder = settings.spool_root / session.day.isoformat()
    used = [0.0]
    stop = threading.Event()
    watched = (used, stop, str(settings.home).encode())
    threading.Thread(target=watch_cpu, args=watched, daemon=True).start()

    def enough() -> bool:
        return len(list(folder.glob("*.seg"))) > minutes + 1

    run_parts(parts, Console(quiet=True), until=enough)
    stop.set()
    return used[0]


def watch_cpu(used: list[float], stop: threading.Event, home: bytes) -> None:
    """CPU seconds so far of every process of this home but the broker and the collector."""
    ticks, seen = os.sysconf("SC_CLK_TCK"), {}
    while not stop.wait(0.2):
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                command = (entry / "cmdline").read_bytes()
                if b"dagster" not in command and b"resources.run_worker" not in command:
                    continue
                if b"optrade_dagster" in command or home not in (entry / "environ").read_bytes():
                    continue
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:  # It ended between the listing and the reading.
                continue
            seen[entry.name] = (int(fields[11]) + int(fields[12])) / ticks
        used[0] = sum(seen.values())


def report(settings: Settings, session: Session, speed: float, cpu: float) -> None:
    """Print p50, p95 and the worst age, and the CPU a minute."""
    folder = settings.spool_root / session.day.isoformat()
    with open_lake(settings, read_only=True) as lake:
        segments = lake.sql(
            "SELECT segment, ticks FROM raw.tick_segments WHERE trade_date = ? ORDER BY 1",
            [session.day],
        )
        held = lake.sql("SELECT count(DISTINCT instrument_token) AS n FROM raw.ticks").item()
        commits = lake.sql(COMMITS).rows(named=True)
    ages = []
    for name in segments["segment"]:
        first = min((c["at"] for c in commits if c["told"] and name in c["told"]), default=None)
        if first is not None:
            ages.append(first.timestamp() - (folder / f"{name}.seg").stat().st_mtime)
    ages = ages[2:]  # The first run finds Dagster's processes cold.
    print(
        f"{held} instruments, {len(ages)} minutes, {speed:g} times real time, "
        f"{os.cpu_count()} cores\n"
    )
    print("| p50 s | p95 s | worst s | Dagster CPU s a minute | ticks a minute |")
    print("|---|---|---|---|---|")
    p50, p95 = np.percentile(ages, [50, 95])
    ticks = segments["ticks"][2:].mean()
    print(
        f"| {p50:.2f} | {p95:.2f} | {max(ages):.2f} | {cpu / max(len(segments), 1):.2f} "
        f"| {ticks:,.0f} |"
    )


if __name__ == "__main__":
    main()
