"""A session in which things go wrong: its processes, what is done to them, and what must hold.

Belongs here: playing against the real collector and the real daemon, and the three promises: each
frame once, each hole told, a replay the same. Does not belong here: what goes wrong when.
"""

from __future__ import annotations

import io
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from threading import Event, Thread
from typing import Any
from zlib import crc32

import dagster as dg
import polars as pl
import pytest
from filelock import FileLock
from rich.console import Console

from assets.minutes import MINUTE_TABLES
from optrade.calendar import load_calendar
from optrade.formats.kite_frames import decode_frames
from optrade.simulation.intraday import IntradayMarket
from optrade.tables import TABLES
from optrade.tables.quality import RECORD
from optrade_dagster.home import open_lake
from optrade_dagster.lane_runs import DAY_TAG, unfinished
from optrade_dagster.minute_sensor import undone
from optrade_dagster.replay import replay_day
from resources.clock import ScaledClock, write_clock
from resources.journal import read_journal, tick_gaps
from resources.kite_exchange.faults import Kind
from resources.kite_exchange.server import RunningExchange
from resources.kite_exchange.stream import Sent
from resources.recordings import RecordedDay
from resources.settings import Settings

DAY, FIRST = date(2026, 1, 23), date(2026, 1, 20)
COLLECTOR = "from optrade_dagster.cli import main; main()"
DAEMON = """
from rich.console import Console
from optrade_dagster.supervisor import run_parts
from optrade_dagster.up import market_parts
from resources.settings import load_settings
run_parts(market_parts(load_settings(), None, None), Console())
"""
"""Dagster's daemon as `optrade up` keeps it running."""
_HEALED = ("healed_from", "healed_at", "filled_minutes", "unfilled_minutes")
LIMIT_SECONDS = 120.0


def until(found: Callable[[], Any], what: str, seconds: float = LIMIT_SECONDS) -> Any:
    """The first true answer; fails when there is none for long."""
    limit = time.monotonic() + seconds
    while not (answer := found()):
        assert time.monotonic() < limit, f"waited {seconds:.0f} s in vain: {what}"
        time.sleep(0.05)
    return answer


@dataclass(frozen=True)
class Hole:
    """A hole that must be told: its cause, when it began, at the latest, whose it is."""

    cause: str
    since: datetime
    noticed_by: datetime
    token: int | None = None


@dataclass
class Chaos:
    """The market of one session, `speed` times real time, and all that was done to it.

    Durations are given in real seconds: what is noticed, is noticed in real time.
    """

    home: Path
    speed: float
    rng: random.Random
    holes: list[Hole] = field(default_factory=list)
    kills: Counter[str] = field(default_factory=Counter)
    sent: list[Sent] = field(default_factory=list)
    over: Event = field(default_factory=Event)

    def __post_init__(self) -> None:
        self.settings = Settings(home=self.home, market="simulated")
        self.market = IntradayMarket(DAY, 7, FIRST, load_calendar())
        self.recorded = RecordedDay(
            self.settings.market_home, self.settings.spool_root / str(DAY), DAY
        )
        self._collector: subprocess.Popen[bytes] | None = None
        self._daemon: subprocess.Popen[bytes] | None = None

    @contextmanager
    def playing(self, early_seconds: float = 5.0) -> Iterator[None]:
        """The broker, the daemon and the collector at work, connected, from before the open."""
        early = timedelta(seconds=early_seconds * self.speed)
        self.clock = ScaledClock(self.market.opens - early, datetime.now(UTC), self.speed)
        self.settings.market_home.mkdir(parents=True)
        write_clock(self.settings.clock_file, self.clock)
        with RunningExchange(self.market, self.clock) as exchange:
            self._exchange = exchange
            try:
                self._daemon = self._start(DAEMON)
                self.collect()
                yield
            finally:
                self.sent = list(exchange.sent)
                self.stop_collecting()
                self._end(self._daemon, signal.SIGTERM)

    def _start(self, code: str, *arguments: str) -> subprocess.Popen[bytes]:
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("OPTRADE_")}
        environment = inherited | {
            "OPTRADE_HOME": str(self.home),
            "OPTRADE_MARKET": "simulated",
            "OPTRADE_SIMULATOR__PORT": str(self._exchange.port),
            "OPTRADE_COLLECTOR__UNDERLYINGS": "NIFTY",
            "OPTRADE_COLLECTOR__STRIKE_WIDTH_PCT": "1",
            "OPTRADE_COLLECTOR__SILENT_SECONDS": "40",
        }
        with (self.home / "parts.out").open("ab") as output:
            return subprocess.Popen(
                [sys.executable, "-W", "ignore", "-c", code, *arguments],
                env=environment,
                cwd=self.home,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )

    def _end(self, process: subprocess.Popen[bytes] | None, number: int) -> None:
        if process is not None:
            process.send_signal(number)
            try:
                process.wait(60)
            finally:
                process.kill()

    # --- the collector and its broker

    def told(self, event: str) -> int:
        """How often the collector's journal has told an event."""
        path = self.recorded.folder / "journal.jsonl"
        return sum(e["event"] == event for e in read_journal(path)) if path.exists() else 0

    def collect(self) -> None:
        """Start the collector and wait until it hears the broker in an open market."""
        before = self.told("connected")
        self._collector = self._start(COLLECTOR, "collect")
        self.connected(before + 1)
        self.clock.sleep((self.market.opens - self.clock.now()).total_seconds())

    def connected(self, times: int) -> None:
        """Wait until the collector has connected so often."""
        until(lambda: self.told("connected") >= times, f"connection {times} of the collector")

    def stop_collecting(self, *, killed: bool = False) -> None:
        """End the collector, politely or not at all."""
        collector, self._collector = self._collector, None
        if killed:
            self.kills["collector"] += 1
            self._expect("killed", self.clock.now())
        self._end(collector, signal.SIGKILL if killed else signal.SIGINT)

    def fault(
        self, kind: Kind, lasts: float | None = None, cause: str | None = None, **details: Any
    ) -> None:
        """Let the broker do wrong for so many real seconds; `cause` is what must be told."""
        duration = None if lasts is None else lasts * self.speed
        fault = self._exchange.faults.switch_on(kind, duration=duration, **details)
        if cause is not None:
            self._expect(cause, fault.since, min(fault.tokens, default=None))

    def _expect(self, cause: str, since: datetime, token: int | None = None) -> None:
        self.holes.append(Hole(cause, since, since + timedelta(seconds=5 * self.speed), token))

    def command(self, *words: str, seconds: float = LIMIT_SECONDS) -> int:
        """The exit code of an `optrade` command, typed while the market plays."""
        return self._start(COLLECTOR, *words).wait(seconds)

    # --- the daemon and its runs

    @contextmanager
    def instance(self) -> Iterator[dg.DagsterInstance]:
        """Dagster's own memory of the market."""
        home = self.settings.dagster_home
        until((home / "history" / "runs").exists, "Dagster starts")
        with FileLock(home / "opening.lock", timeout=LIMIT_SECONDS):
            opened = dg.DagsterInstance.from_config(str(home))
        with opened as instance:
            yield instance

    def strike(self, target: str) -> None:
        """Kill the daemon, the run, or both at once, in the midst of a run; unless it is over."""
        with self.instance() as instance:
            run = until(
                lambda: self.over.is_set() or _run_in_hand(instance), "a run is carried out"
            )
        if self.over.is_set():
            return
        time.sleep(self.rng.uniform(0, 0.4))
        lives = self._daemon_pids()
        pids = {"run": [run], "daemon": lives[-1:], "both": [run, *lives[-1:]]}[target]
        for pid in pids:
            with suppress(ProcessLookupError):  # The run came to its end in time.
                os.kill(pid, signal.SIGKILL)
        self.kills[target] += 1
        if target != "run":
            until(lambda: len(self._daemon_pids()) > len(lives), "the daemon starts again")

    @contextmanager
    def striking(self, targets: Iterable[str], least_seconds: float = 0.0) -> Iterator[Thread]:
        """Strike one after the other beside all else, each for so many seconds at least."""
        failed: list[BaseException] = []

        def strikes() -> None:
            try:
                for target in targets:
                    begun = time.monotonic()
                    self.strike(target)
                    if self.over.wait(max(0.0, begun + least_seconds - time.monotonic())):
                        return
            except BaseException as error:  # noqa: BLE001 (raised below)
                failed.append(error)

        thread = Thread(target=strikes, daemon=True)
        thread.start()
        yield thread
        thread.join()
        if failed:
            raise failed[0]

    def _daemon_pids(self) -> list[int]:
        said = (self.home / "parts.out").read_text(errors="replace")
        return [int(pid) for pid in re.findall(r"dagster started \(pid (\d+)\)", said)]

    def settle(self, seconds: float = LIMIT_SECONDS) -> None:
        """Wait until all that was sealed or told is in the lake, and no run is left."""

        def settled() -> bool:
            with open_lake(self.settings, read_only=True) as lake:
                return not (unfinished(instance, str(DAY)) or undone(lake, self.recorded))

        with self.instance() as instance:
            until(settled, "all is stored", seconds)

    def unheld(self) -> set[str]:
        """Sealed segments that are not in the lake."""
        return set(self.recorded.sealed()) - set(self.rows("raw.tick_segments")["segment"])

    def rows(self, table: str) -> pl.DataFrame:
        """The day's rows of a table."""
        with open_lake(self.settings, read_only=True) as lake:
            return lake.read(TABLES[table], [DAY])

    def runs(self, job_name: str) -> Counter[str]:
        """How the day's runs of a job ended."""
        with self.instance() as instance:
            runs = instance.get_runs(dg.RunsFilter(job_name=job_name, tags={DAY_TAG: str(DAY)}))
        return Counter(run.status.value for run in runs)


def _run_in_hand(instance: dg.DagsterInstance) -> int | None:
    """The process that carries out a run just now."""
    started = dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED])
    for run in instance.get_runs(started, limit=1):
        events = instance.all_logs(run.run_id, of_type=dg.DagsterEventType.ENGINE_EVENT)
        said = [event.dagster_event.engine_event_data.metadata.get("pid") for event in events]
        return next((int(str(pid.value)) for pid in said if pid is not None), None)
    return None


# --- what must hold


def check_frames(chaos: Chaos) -> None:
    """Every frame on the disk was sent, and is in `raw.ticks` exactly once."""
    said = Counter((s.size, s.crc) for s in chaos.sent if s.kind == "binary")
    ticks, heard = chaos.rows("raw.ticks"), Counter[tuple[int, int]]()
    by_segment = {
        name: rows for (name,), rows in ticks.partition_by("segment", as_dict=True).items()
    }
    for name in chaos.recorded.sealed():
        frames = chaos.recorded.read(name).segment.frames
        heard.update(_prints(frames))
        decoded = decode_frames(frames)
        held = by_segment.pop(name, ticks.clear())
        assert held.height == decoded.counts["ticks"], name
        assert held["sequence"].n_unique() == held.height, name
        assert set(held["sequence"]) == set(decoded.ticks["sequence"]), name
    assert heard.total() > 100
    assert not heard - said, "frames that were never sent"
    assert not by_segment, f"ticks of segments that are not there: {by_segment.keys()}"


def check_holes(chaos: Chaos) -> None:
    """Every frame that is not on the disk lies in a hole; every hole that was made is told."""
    gaps = chaos.rows("quality.tick_gaps")
    journal = tick_gaps(chaos.recorded.journal(), DAY, "simulated")
    assert gaps.drop(_HEALED).equals(journal.drop(_HEALED)), (gaps, journal)
    assert gaps["filled_minutes"].sum() == 0, "nothing was asked to fill them"
    told, heard = gaps.to_dicts(), Counter[tuple[int, int]]()
    assert all(gap["detail"] for gap in told)
    end, slack = max(s.at for s in chaos.sent), timedelta(seconds=0.5 * chaos.speed)
    spans = [(gap, gap["started_at"] - slack, (gap["ended_at"] or end) + slack) for gap in told]
    for hole in chaos.holes:
        mine = (hole.cause, None if hole.token is None else str(hole.token))
        assert any(
            (gap["cause"], gap["instrument_tokens"]) == mine
            and first <= hole.noticed_by
            and hole.since <= last
            for gap, first, last in spans
        ), f"{hole} is not told: {told}"
    for name in chaos.recorded.sealed():
        heard.update(_prints(chaos.recorded.read(name).segment.frames))
    lost = []
    for frame in (s for s in chaos.sent if s.kind == "binary"):
        if heard[frame.size, frame.crc]:
            heard[frame.size, frame.crc] -= 1
        elif not any(
            gap["instrument_tokens"] is None and first <= frame.at <= last
            for gap, first, last in spans
        ):
            lost.append(frame)
    assert not lost, f"{len(lost)} frames are in no hole, the first {lost[:3]}; {told}"


def check_replay(chaos: Chaos, monkeypatch: pytest.MonkeyPatch) -> None:
    """Feeding the segments through the lane again changes no row of any table."""
    for name in ("DAGSTER_HOME", "OPTRADE_HOME", "OPTRADE_MARKET"):
        monkeypatch.setenv(name, "")  # Put back afterwards: the command sets them.
    tables = [name for name, table in TABLES.items() if table.part and table not in RECORD]
    before = {name: chaos.rows(name) for name in tables}
    told = Console(file=io.StringIO(), width=120)
    assert replay_day(chaos.settings, told, DAY), told.file.getvalue()
    assert told.file.getvalue().count("identical") == len(MINUTE_TABLES)
    for name, rows in before.items():
        assert rows.equals(chaos.rows(name)), name


def _prints(frames: list[tuple[int, bytes]]) -> Iterator[tuple[int, int]]:
    return ((len(payload), crc32(payload)) for _, payload in frames if len(payload) > 1)
