"""Ticks to minutes: our core against DuckDB's SQL and pandas, on the same Parquet file.

All three read one file of full packets and make one row per instrument and minute with packets:
count, last figures, first, high and low, time-weighted price (a price held 60 s at most, over
the minute's edge too), volume-weighted price, volume. Ours makes the silent minutes as well.
The file is once sorted by instrument, as the lake keeps a day, and once as packets arrive.
Results are compared row by row. CPU seconds are the least of several rounds, reading included.
Run: `python benchmarks/minutes.py --ticks 10000000`.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import duckdb
import numpy as np
import polars as pl

from optrade.chain.bars import OF_DEPTH, OF_PACKET, OF_QUOTE, minute_bars
from optrade.tables import IST, TABLES

MINUTES, INSTRUMENTS, SEED = 375, 2500, 7
OPENED = datetime(2026, 7, 3, 9, 15, tzinfo=ZoneInfo(IST))
CLOSED = OPENED + timedelta(minutes=MINUTES)
STAMPS = ("exchange_at", "received_at")
COLUMNS = (
    "instrument_token", *STAMPS, "mode", "segment", "sequence", *OF_PACKET, *OF_QUOTE, *OF_DEPTH,
)  # fmt: skip
LAST = tuple(name for name in (*OF_PACKET, *OF_QUOTE, *OF_DEPTH) if name != "volume_units")
COMPARED = ("ticks", *LAST, "volume_units", "volume_minute_units", "first_price", "high_price",
            "low_price", "twap", "twap_seconds", "vwap")  # fmt: skip


def main() -> None:
    """Write the files, run the engines, print the table."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--ticks", type=int, default=10_000_000)
    arguments.add_argument("--rounds", type=int, default=3)
    given = arguments.parse_args()
    engines: dict[str, Callable[[Path], pl.DataFrame]] = {"DuckDB SQL": in_duckdb}
    if importlib.util.find_spec("pandas"):
        engines["pandas"] = in_pandas
    else:
        print("pandas is not installed: left out\n")
    with tempfile.TemporaryDirectory() as folder:
        files = write_ticks(Path(folder), given.ticks)
        print(f"{given.ticks:,} ticks, {INSTRUMENTS:,} instruments, {os.cpu_count()} cores\n")
        print("| file | engine | CPU s | wall s | rows | our CPU / its CPU |")
        print("|---|---|---|---|---|---|")
        for order, file in files.items():
            ours, cpu = report(order, "`minute_bars`", ours_of, file, given.rounds, None)
            for name, engine in engines.items():
                theirs, _ = report(order, name, engine, file, given.rounds, cpu)
                compare(name, ours, theirs)


def report(
    order: str,
    name: str,
    engine: Callable[[Path], pl.DataFrame],
    file: Path,
    rounds: int,
    our_cpu: float | None,
) -> tuple[pl.DataFrame, float]:
    """Print an engine's line; return its rows and CPU seconds."""
    spent = []
    for _ in range(rounds):
        wall, cpu = time.perf_counter(), time.process_time()
        rows = engine(file)
        spent.append((time.process_time() - cpu, time.perf_counter() - wall))
    cpu, wall = min(spent)
    ratio = f"{our_cpu / cpu:.2f}" if our_cpu is not None else ""
    print(f"| {order} | {name} | {cpu:.2f} | {wall:.2f} | {rows.height:,} | {ratio} |", flush=True)
    return rows, cpu


def compare(name: str, ours: pl.DataFrame, theirs: pl.DataFrame) -> None:
    """Stop where an engine's figures are not ours, to nine digits."""
    key = ["instrument_token", "minute"]
    ours = ours.filter(pl.col("ticks") > 0).sort(key)
    theirs = theirs.with_columns(pl.col("minute").cast(ours.schema["minute"])).sort(key)
    if not ours.select(key).equals(theirs.select(pl.col(k).cast(ours.schema[k]) for k in key)):
        sys.exit(f"{name} has other rows than ours: {theirs.height} and {ours.height}")
    for column in COMPARED:
        a, b = (frame[column].cast(pl.Float64).to_numpy() for frame in (ours, theirs))
        if not np.allclose(a, b, rtol=1e-9, equal_nan=True):
            sys.exit(f"{name} has another {column} than ours")


def write_ticks(folder: Path, count: int) -> dict[str, Path]:
    """Files of `count` full packets: sorted as the lake keeps them, and as they arrive."""
    rng = np.random.default_rng(SEED)
    start = int(OPENED.timestamp()) * 1_000_000
    arrival = np.sort(rng.integers(1_000_000, MINUTES * 60_000_000, count)) + start
    token = rng.integers(0, INSTRUMENTS, count) * 256 + 2
    price = np.round(100 + rng.normal(0, 2, count), 2)
    frame = pl.DataFrame(
        {
            "instrument_token": token,
            "exchange_at": (arrival - 150_000) // 1_000_000 * 1_000_000,
            "received_at": arrival,
            "sequence": np.arange(count),
            "last_price": price,
            "average_price": np.round(price, 1),
            "traded": rng.integers(0, 10, count) * 75,
            "oi_units": rng.integers(0, 100_000, count) * 75,
            "bid": np.round(price - 0.05, 2),
            "ask": np.round(price + 0.05, 2),
            "bid_units": rng.integers(1, 50, count) * 75,
            "ask_units": rng.integers(1, 50, count) * 75,
        }
    ).with_columns(
        *(pl.col(name).cast(pl.Datetime("us", "UTC")) for name in STAMPS),
        segment=((pl.col("received_at") - start) // 60_000_000).cast(pl.String).str.zfill(6) + "-a",
        volume_units=75 + pl.col("traded").cum_sum().over("instrument_token"),
        mode=pl.lit("full"),
        open=pl.lit(100.0),
        high=pl.lit(110.0),
        low=pl.lit(90.0),
        close=pl.lit(99.0),
    )
    schema = TABLES["raw.ticks"].schema
    frame = frame.select(pl.col(name).cast(schema[name]) for name in COLUMNS)
    files = {"sorted": folder / "sorted.parquet", "as it arrives": folder / "arrival.parquet"}
    frame.write_parquet(files["as it arrives"])
    frame.sort(TABLES["raw.ticks"].order).write_parquet(files["sorted"])
    return files


def ours_of(file: Path) -> pl.DataFrame:
    """The core of `snapshots.chain_minute` and `snapshots.index_minute`."""
    ticks = pl.read_parquet(file, columns=list(COLUMNS))
    return minute_bars(
        ticks,
        pl.DataFrame({"instrument_token": np.arange(INSTRUMENTS) * 256 + 2, "counts_trades": True}),
        TABLES["snapshots.chain_minute"].empty(),
        [OPENED + timedelta(minutes=n) for n in range(MINUTES)],
        session_open=OPENED,
        session_close=CLOSED,
    )


SQL = """
WITH ticks AS (
    SELECT *, coalesce(exchange_at, received_at) AS moment,
        time_bucket(INTERVAL 1 MINUTE, coalesce(exchange_at, received_at)) AS minute
    FROM read_parquet('{file}')
    WHERE abs(epoch_us(exchange_at) - epoch_us(received_at)) <= 300000000
), beside AS (
    SELECT *, row_number() OVER w AS place,
        lead(moment) OVER w AS next_at, lag(moment) OVER w AS last_at,
        lag(last_price) OVER w AS price_before, lag(volume_units) OVER w AS volume_before
    FROM ticks
    WINDOW w AS (PARTITION BY instrument_token ORDER BY moment, received_at, segment, sequence)
), held AS (
    SELECT *,
        epoch_us(least(next_at, minute + INTERVAL 1 MINUTE, moment + INTERVAL 60 SECOND))
            - epoch_us(moment) AS known,
        CASE WHEN last_at < minute THEN greatest(0,
            epoch_us(least(moment, last_at + INTERVAL 60 SECOND)) - epoch_us(minute))
        ELSE 0 END AS over_edge,
        CASE WHEN volume_before IS NOT NULL THEN volume_units - volume_before
            WHEN minute = TIMESTAMPTZ '{opened}' THEN volume_units ELSE 0 END AS units
    FROM beside
)
SELECT instrument_token, minute, count(*) AS ticks, max(moment) AS last_tick_at, {last},
    arg_max(volume_units, place) AS volume_units, sum(units)::BIGINT AS volume_minute_units,
    arg_min(last_price, place) AS first_price, max(last_price) AS high_price,
    min(last_price) AS low_price,
    (sum(last_price * known) + sum(coalesce(price_before, 0) * over_edge))
        / (sum(known) + sum(over_edge)) AS twap,
    (sum(known) + sum(over_edge)) / 1e6 AS twap_seconds,
    sum(last_price * units) / nullif(sum(units), 0) AS vwap
FROM held GROUP BY ALL
"""


def in_duckdb(file: Path) -> pl.DataFrame:
    """The same in one statement."""
    last = ", ".join(f"arg_max({name}, place) AS {name}" for name in LAST)
    with duckdb.connect() as connection:
        connection.execute(f"SET TimeZone='{IST}'")
        statement = SQL.format(file=file, opened=OPENED.isoformat(), last=last)
        return pl.DataFrame(connection.execute(statement).to_arrow_table())


def in_pandas(file: Path) -> pl.DataFrame:
    """The same with a sort, shifts and a group-by."""
    import pandas as pd  # noqa: PLC0415  # maybe absent

    d = pd.read_parquet(file, columns=list(COLUMNS))
    off = (d["exchange_at"] - d["received_at"]).abs()
    d["at"] = d["exchange_at"].fillna(d["received_at"])
    d = d[~(off > pd.Timedelta(minutes=5))].sort_values(
        ["instrument_token", "at", "received_at", "segment", "sequence"], kind="stable"
    )
    d["minute"] = d["at"].dt.floor("min")
    minute_end, gap = d["minute"] + pd.Timedelta(minutes=1), pd.Timedelta(seconds=60)
    token = d.groupby("instrument_token", sort=False)
    until = pd.concat([token["at"].shift(-1), minute_end, d["at"] + gap], axis=1).min(axis=1)
    before = token["at"].shift(1)
    over = pd.concat([d["at"], before + gap], axis=1).min(axis=1) - d["minute"]
    over = over.where(before < d["minute"]).dt.total_seconds().clip(lower=0).fillna(0)
    known = (until - d["at"]).dt.total_seconds()
    first = d["volume_units"].where(d["minute"] == pd.Timestamp(OPENED), 0)
    units = (d["volume_units"] - token["volume_units"].shift(1)).fillna(first)
    carried = (token["last_price"].shift(1) * over).fillna(0)
    d = d.assign(
        seconds=known + over,
        weighted=d["last_price"] * known + carried,
        units=units,
        paid=d["last_price"] * units,
        price=d["last_price"],
    )
    rows = d.groupby(["instrument_token", "minute"], sort=False).agg(
        **{name: (name, "last") for name in (*LAST, "volume_units")},
        ticks=("price", "size"),
        first_price=("price", "first"),
        high_price=("price", "max"),
        low_price=("price", "min"),
        volume_minute_units=("units", "sum"),
        twap_seconds=("seconds", "sum"),
        weighted=("weighted", "sum"),
        paid=("paid", "sum"),
    )
    rows["twap"] = rows["weighted"] / rows["twap_seconds"]
    rows["vwap"] = rows["paid"] / rows["volume_minute_units"].where(rows["volume_minute_units"] > 0)
    return pl.from_pandas(rows.reset_index())


if __name__ == "__main__":
    main()
