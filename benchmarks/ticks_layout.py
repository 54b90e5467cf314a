"""Bytes a tick and the time to read one instrument, by how a file of ticks is laid out.

Ticks of the simulated market with five levels of depth, whose sizes are new in every packet: the
hardest book to compress. `compact` is what the lake does for `raw.ticks`.
Run: `python benchmarks/ticks_layout.py`.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import duckdb
import numpy as np
import polars as pl

from optrade.calendar import load_calendar
from optrade.simulation.intraday import IntradayMarket
from optrade.tables import IST, Table
from optrade.tables.raw_live import TICKS
from resources.lake_slices import ParquetFormat, canonical
from resources.parquet_layout import encode_parquet

DAY, FIRST_DAY, SEED = date(2026, 1, 23), date(2026, 1, 20), 7
STEP, STARTS_AT = 0.25, 3_000.0
"""Seconds: a frame is sent every `STEP`; the first one so long after the open."""
SPAN = timedelta(minutes=15)
DEEPER = tuple(name for name in TICKS.schema if any(f"_{n}" in name for n in "2345"))


def ticks(instruments: int, minutes: int) -> pl.DataFrame:
    """Rows of `raw.ticks` of the busiest instruments, in the order they arrived."""
    market = IntradayMarket(DAY, SEED, FIRST_DAY, load_calendar())
    news = market.due(np.arange(len(market.tokens)), STARTS_AT, STARTS_AT + 1).astype(np.int64)
    for second in range(1, 60):
        after = STARTS_AT + second
        news += market.due(np.arange(len(market.tokens)), after, after + 1)
    busiest = np.sort(np.argsort(-news, kind="stable")[:instruments])
    late = np.random.default_rng(SEED)
    frames = []
    for at in np.arange(STARTS_AT, STARTS_AT + 60 * minutes, STEP):
        rows = busiest[market.due(busiest, at, at + STEP)]
        received = market.opens + timedelta(seconds=float(at + STEP + late.uniform(0.01, 0.1)))
        said = pl.DataFrame(market.moment(float(at + STEP), rows).ticks())
        frames.append(said.with_columns(received_at=pl.lit(received.astimezone(ZoneInfo("UTC")))))
    book = pl.col("^(bid|ask).*$")

    def stamp(name: str) -> pl.Expr:
        return pl.from_epoch(pl.when(pl.col(name) > 0).then(name)).dt.replace_time_zone("UTC")

    frame = pl.concat(frames).with_columns(
        pl.when(book > 0).then(book),
        stamp("exchange_at").dt.convert_time_zone(IST),
        stamp("last_trade_at").dt.convert_time_zone(IST),
        pl.col("received_at").dt.convert_time_zone(IST),
        trade_date=pl.lit(DAY),
        underlying=pl.lit("NIFTY"),
        mode=pl.lit("full"),
        change=None,
        source=pl.lit("simulated"),
    )
    frame = frame.with_columns(segment=pl.col("received_at").dt.strftime("%H%M00-simulated"))
    frame = frame.with_columns(sequence=pl.int_range(pl.len()).over("segment"))
    return frame.select(pl.col(c.name).cast(c.dtype) for c in TICKS.columns)


def median_ms(work: Callable[[], pl.DataFrame], rows: int, times: int) -> float:
    """Median milliseconds of `times` calls, after one that does not count."""
    assert work().height == rows
    taken = []
    for _ in range(times):
        start = time.perf_counter()
        work()
        taken.append((time.perf_counter() - start) * 1_000)
    return statistics.median(taken)


def by_polars(path: Path, token: int, since: datetime) -> pl.DataFrame:
    """One instrument's ticks of `SPAN` from `since`."""
    scan = pl.scan_parquet(path)
    zone = ZoneInfo(str(scan.collect_schema()["exchange_at"].time_zone))  # type: ignore[attr-defined]
    span = [pl.lit(moment.astimezone(zone)) for moment in (since, since + SPAN)]
    at = pl.col("exchange_at")
    return scan.filter(pl.col("instrument_token") == token, at >= span[0], at < span[1]).collect()


def by_duckdb(
    connection: duckdb.DuckDBPyConnection, path: Path, token: int, since: datetime
) -> pl.DataFrame:
    """The same by DuckDB."""
    query = (
        f"SELECT * FROM read_parquet('{path.as_posix()}') "
        "WHERE instrument_token = ? AND exchange_at >= ? AND exchange_at < ?"
    )
    return connection.execute(query, [token, since, since + SPAN]).pl()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--instruments", type=int, default=400)
    parser.add_argument("--minutes", type=int, default=60)
    parser.add_argument("--level", type=int, default=ParquetFormat().compression_level)
    parser.add_argument("--times", type=int, default=15)
    asked = parser.parse_args()
    arrived = ticks(asked.instruments, asked.minutes)
    shallow = replace(TICKS, columns=tuple(c for c in TICKS.columns if c.name not in DEEPER))
    by_count = arrived.group_by("instrument_token").len().sort("len", "instrument_token")
    token = by_count["instrument_token"][by_count.height // 2]
    since = datetime.combine(DAY, datetime.min.time(), ZoneInfo(IST)) + timedelta(
        hours=10, minutes=15
    )
    at = pl.col("exchange_at")
    wanted = arrived.filter(
        pl.col("instrument_token") == token, at >= since, at < since + SPAN
    ).height

    def plain(path: Path, _: Table, frame: pl.DataFrame) -> None:
        frame.write_parquet(path)

    def compact(path: Path, table: Table, frame: pl.DataFrame) -> None:
        rows = ParquetFormat().row_group_rows
        path.write_bytes(encode_parquet(table, frame, asked.level, rows))

    print(
        f"{arrived.height:,} ticks of {arrived['instrument_token'].n_unique()} instruments, "
        f"{asked.minutes} minutes; read: one instrument, 15 minutes ({wanted:,} ticks), "
        f"all columns; zstd level of compact: {asked.level}\n\n"
        "| layout | bytes a tick | ratio | best level only | ratio | write (s) | "
        "Polars reads (ms) | DuckDB reads (ms) |\n|---|---|---|---|---|---|---|---|"
    )
    layouts = {
        "Polars defaults, as arrived": (plain, arrived),
        "Polars defaults, sorted": (plain, canonical(TICKS, arrived)),
        "compact, sorted": (compact, canonical(TICKS, arrived)),
    }
    bases: list[float] = []
    with tempfile.TemporaryDirectory() as folder, duckdb.connect() as connection:
        connection.execute(f"SET TimeZone='{IST}'")
        path = Path(folder) / "ticks.parquet"
        for name, (write, frame) in layouts.items():
            write(path, shallow, frame.drop(DEEPER))
            best = path.stat().st_size / frame.height
            start = time.perf_counter()
            write(path, TICKS, frame)
            seconds = time.perf_counter() - start
            size = path.stat().st_size / frame.height
            bases = bases or [size, best]
            polars = median_ms(lambda: by_polars(path, token, since), wanted, asked.times)
            duck = median_ms(lambda: by_duckdb(connection, path, token, since), wanted, asked.times)
            print(
                f"| {name} | {size:.1f} | {size / bases[0]:.2f} | {best:.1f} | "
                f"{best / bases[1]:.2f} | {seconds:.1f} | {polars:.1f} | {duck:.1f} |"
            )


if __name__ == "__main__":
    main()
