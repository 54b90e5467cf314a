"""The archive tier and the soft memory limit, on a simulated month of the live feed.

A spool of whole frames is made from the simulated market, decoded and committed as compacted days
of `raw.ticks`; then copies of that lake are archived, a format each. The rows of the month are
compared by hash before and after. Memory is the peak of a process that brings a day into the lake.
Run: `python benchmarks/archive.py` (Linux; some minutes).
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path

import dagster as dg
import numpy as np

from optrade.calendar import load_calendar
from optrade.formats.kite_frames import decode_frames, raw_ticks
from optrade.formats.kite_instruments import parse_instruments
from optrade.simulation.intraday import IntradayMarket
from optrade.simulation.kite_packets import frame
from optrade.subscription import Subscription, choose
from optrade.tables import TABLES
from optrade_dagster.definitions import build_defs
from resources.kite_exchange.feed import packets_of
from resources.lake import Lake, LakeLocation, Slice
from resources.lake_archive import archive_old
from resources.lake_slices import ParquetFormat
from resources.parquet_layout import Codec
from resources.settings import load_settings
from resources.spool_archive import archive_old_segments
from resources.spool_segments import (
    BINARY,
    HEADER,
    microseconds,
    read_segment,
    record_head,
    sealed_segments,
)

FIRST, SEED, STEP, STARTS_AT = date(2026, 1, 20), 7, 0.25, 3_000.0
"""Seconds: a frame is sent every `STEP`; the first one so long after the open."""
LATER = date(9999, 1, 1)
TICKS = TABLES["raw.ticks"]
DEFAULT = ParquetFormat().row_group_rows
FORMATS: tuple[tuple[Codec, int, int], ...] = (
    ("zstd", 3, DEFAULT),
    ("zstd", 3, 524_288),
    ("zstd", 9, 524_288),
    ("zstd", 15, 524_288),
    ("zstd", 9, DEFAULT),
    ("brotli", 9, 524_288),
)
WHOLE = (
    "SELECT count(*) AS rows, sum(hash(*COLUMNS(*))::HUGEINT)::VARCHAR AS total, "
    "bit_xor(hash(*COLUMNS(*)))::VARCHAR AS mixed FROM raw.ticks"
)
MONTH = "SELECT trade_date, count(*), max(last_price), sum(volume_units) FROM raw.ticks GROUP BY 1"


def write_day(folder: Path, day: date, instruments: int, minutes: int) -> Subscription:
    """One day's folder of a spool: dump, subscription, a segment a minute."""
    market = IntradayMarket(day, SEED, FIRST, load_calendar())
    folder.mkdir(parents=True)
    dump = market.instruments_csv()
    (folder / "instruments.csv").write_bytes(dump)
    listed = parse_instruments("instruments.csv", dump, day, source="simulated", sha256="")
    names = ("NIFTY", "BANKNIFTY", "FINNIFTY", "MIDCPNIFTY")
    buckets = ("this_week", "next_week", "this_month", "next_month")
    spots = dict.fromkeys(names, 0.0)
    subscribed = choose(
        listed, spots, underlyings=names, buckets=buckets, width_pct=99.0, limit=100_000
    )
    rows = market.rows(subscribed.frame["instrument_token"].to_list())
    seconds = np.arange(STARTS_AT, STARTS_AT + 60)
    news = sum(market.due(rows, at, at + 1).astype(np.int64) for at in seconds)
    rows = np.sort(rows[np.argsort(-news, kind="stable")[:instruments]])
    tokens = market.tokens[rows].tolist()
    chosen = subscribed.frame.filter(subscribed.frame["instrument_token"].is_in(tokens))
    subscription = Subscription(chosen)
    (folder / "subscription.json").write_text(subscription.to_json(), encoding="utf-8")
    late = np.random.default_rng(day.toordinal())
    for minute in range(minutes):
        begun = STARTS_AT + 60 * minute
        content = bytearray(HEADER)
        for at in np.arange(begun, begun + 60, STEP).tolist():
            due = rows[market.due(rows, at, at + STEP)]
            if len(due):
                said = frame(packets_of(market.moment(at + STEP, due), "full"))
                arrived = market.opens + timedelta(seconds=at + STEP + late.uniform(0.01, 0.1))
                content += record_head(microseconds(arrived), BINARY, 0, said) + said
        name = f"{market.opens + timedelta(seconds=begun):%H%M%S}-simulated.seg"
        (folder / name).write_bytes(content)
    return subscription


def decoded(folder: Path, day: date, subscription: Subscription) -> Slice:
    """A day's ticks, as compaction leaves them."""
    import polars as pl  # noqa: PLC0415

    underlying = dict(subscription.frame.select("instrument_token", "underlying").iter_rows())
    ticks = [
        raw_ticks(decode_frames(read_segment(path).frames), day, path.stem, "simulated", underlying)
        for path in sealed_segments(folder)
    ]
    return Slice(TICKS, (day,), pl.concat(ticks))


def median_ms(work: Callable[[], object], times: int = 9) -> float:
    """Median milliseconds of some calls, after one that does not count."""
    work()
    taken = []
    for _ in range(times):
        start = time.perf_counter()
        work()
        taken.append((time.perf_counter() - start) * 1_000)
    return statistics.median(taken)


def figures(lake: Lake, day: date) -> tuple[tuple[object, ...], float, float]:
    """The month's fingerprint, and milliseconds of two questions: an instrument, all days."""
    token, since = lake.sql(
        "SELECT median(instrument_token)::BIGINT // 256 * 256 + 2, min(exchange_at) "
        "FROM raw.ticks WHERE trade_date = ?",
        [day],
    ).row(0)
    one = (
        "SELECT * FROM raw.ticks WHERE trade_date = ? AND instrument_token = "
        "(SELECT min(instrument_token) FROM raw.ticks WHERE trade_date = ? "
        "AND instrument_token >= ?) AND exchange_at < ?"
    )
    asked = [day, day, token, since + timedelta(minutes=5)]
    return (
        lake.sql(WHOLE).row(0),
        median_ms(lambda: lake.sql(one, asked)),
        median_ms(lambda: lake.sql(MONTH)),
    )


def lake_table(root: Path, day: date) -> None:
    """Archive a copy of the lake in each format, and print what came of it."""
    with Lake.open(LakeLocation(root, "simulated")) as lake:
        same, one, month = figures(lake, day)
        before = sum(path.stat().st_size for path in lake.location.data.rglob("*.parquet"))
    print(
        f"\n{same[0]:,} ticks, {before / 1e6:,.1f} MB as compacted ({before / same[0]:.1f} bytes "  # type: ignore[operator]
        f"a tick); an instrument {one:.0f} ms, the month {month:.0f} ms\n\n"
        "| codec, level, rows in a group | bytes | of before | s to write and verify | "
        "an instrument | the month | rows |\n|---|---|---|---|---|---|---|",
        flush=True,
    )
    for codec, level, rows in FORMATS:
        copy = root.with_name("copy")
        shutil.copytree(root, copy)
        with Lake.open(LakeLocation(copy, "simulated")) as lake:
            start = time.perf_counter()
            done = list(archive_old(lake, ParquetFormat(level, rows, codec), LATER))
            spent = time.perf_counter() - start
            again = list(archive_old(lake, ParquetFormat(level, rows, codec), LATER))
            found, one_after, month_after = figures(lake, day)
        after = sum(archived.bytes_after for archived in done)
        word = "equal" if found == same and not again else "DIFFERENT"
        print(
            f"| {codec} {level}, {rows:,} | {after / 1e6:,.1f} MB | {after / before:.3f} | "
            f"{spent:.0f} | {one_after / one:.2f} | {month_after / month:.2f} | {word} |",
            flush=True,
        )
        shutil.rmtree(copy)


def spool_table(spool: Path) -> None:
    """Archive a copy of the spool at each level, and print what came of it."""
    print(
        "\n| segments, zstd level | MB before | MB after | ratio | s to write and verify | "
        "read | content |\n|---|---|---|---|---|---|---|"
    )
    paths = [path for day in sorted(spool.iterdir()) for path in sealed_segments(day)]
    frames = [read_segment(path).frames for path in paths[::20]]
    plain = median_ms(lambda: [read_segment(path) for path in paths[::20]], 5)
    for level in (3, 9, 15):
        copy = spool.with_name("copied")
        shutil.copytree(spool, copy)
        start = time.perf_counter()
        done = list(archive_old_segments(copy, LATER, level))
        spent = time.perf_counter() - start
        there = [copy / path.relative_to(spool) for path in paths[::20]]
        reading = median_ms(lambda there=there: [read_segment(p) for p in there], 5)  # type: ignore[misc]
        word = "equal" if [read_segment(p).frames for p in there] == frames else "DIFFERENT"
        before, after = (sum(getattr(d, f"bytes_{w}") for d in done) for w in ("before", "after"))
        print(
            f"| {level} | {before / 1e6:,.1f} | {after / 1e6:,.1f} | {after / before:.3f} | "
            f"{spent:.0f} | {reading / plain:.2f} | {word} |",
            flush=True,
        )
        shutil.rmtree(copy)


def catch_up(home: str, day: str) -> None:
    """What the child does: bring a day's segments into the lake, then tell the peak of memory."""
    settings = load_settings(market="simulated", home=home)
    job = build_defs(settings).resolve_job_def("minute_lane")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    with dg.DagsterInstance.ephemeral() as instance:
        result = job.execute_in_process(
            instance=instance,
            partition_key=day,
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
        )
    told = [
        event.materialization.metadata
        for event in result.get_asset_materialization_events()
        if (event.materialization.asset_key.path[-1] == "ticks")
    ]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    passes = told[0]["memory_limit_passes"].value if told else None
    print(
        json.dumps(
            {
                "mb": peak / 1024,
                "idle_mb": before / 1024,
                "s": time.perf_counter() - start,
                "passes": passes,
            }
        )
    )


def memory_table(home: Path, instruments: int, minutes: int) -> None:
    """Catch up one day under several limits, each in a process and a lake of its own."""
    spool = home / "simulated" / "spool" / FIRST.isoformat()
    write_day(spool, FIRST, instruments, minutes)
    print(
        f"\n{minutes} segments of {instruments:,} instruments caught up\n\n"
        "| soft limit | peak MB | s | passes of the limit |\n|---|---|---|---|"
    )
    for limit in ("8GB", "800MB"):
        child = subprocess.run(
            [sys.executable, __file__, "--catch-up", str(home), FIRST.isoformat()],
            env={
                **os.environ,
                "OPTRADE_MEMORY__SOFT_LIMIT": limit,
                "OPTRADE_ANALYTICS__REPAIR_SURFACES": "false",
            },
            stdout=subprocess.PIPE,
            check=True,
            text=True,
        )
        found = json.loads(child.stdout.splitlines()[-1])
        print(
            f"| {limit} | {found['mb']:,.0f} | {found['s']:.0f} | {found['passes']} |", flush=True
        )
        shutil.rmtree(home / "simulated" / "lake")


def main() -> None:
    """Make the month, print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--days", type=int, default=21)
    parser.add_argument("--instruments", type=int, default=400)
    parser.add_argument("--minutes", type=int, default=8)
    parser.add_argument("--catch-up", nargs=2, metavar=("HOME", "DAY"))
    parser.add_argument("--only", choices=("lake", "spool", "memory"))
    asked = parser.parse_args()
    if asked.catch_up:
        catch_up(*asked.catch_up)
        return
    calendar = load_calendar()
    days = calendar.sessions(FIRST, calendar.last)[: asked.days]
    print(f"{len(days)} days, {asked.instruments} instruments, {asked.minutes} minutes a day")
    with tempfile.TemporaryDirectory() as folder:
        spool, root = Path(folder) / "spool", Path(folder) / "lake"
        if asked.only != "memory":
            with Lake.open(LakeLocation(root, "simulated")) as lake:
                for day in days:
                    there = spool / day.isoformat()
                    chosen = write_day(there, day, asked.instruments, asked.minutes)
                    lake.commit([decoded(there, day, chosen)], author="benchmark", provenance={})
        if asked.only in (None, "spool"):
            spool_table(spool)
        if asked.only in (None, "lake"):
            lake_table(root, days[len(days) // 2])
        if asked.only in (None, "memory"):
            memory_table(Path(folder) / "home", asked.instruments, 20)


if __name__ == "__main__":
    main()
