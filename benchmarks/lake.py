"""Our lake against a plain DuckDB file and a folder of Parquet files, in one run.

Replaces one day's slice and reads one day, a month and all days, on the same rows. Neither peer
gives what the lake gives: a DuckDB file is closed to other processes while one writes, and a
reader of a Parquet folder may see half a write. Run: `python benchmarks/lake.py --days 60`.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import duckdb
import polars as pl

from optrade.tables import IST, TABLES
from resources.lake import Lake, LakeLocation, Slice

TABLE = TABLES["raw.fo_bhavcopy"]


@dataclass(frozen=True)
class Store:
    """One way to keep the table."""

    name: str
    replace: Callable[[Sequence[date], pl.DataFrame], None]
    read: Callable[[Sequence[date]], pl.DataFrame]
    size: Callable[[], int]


def make_rows(days: Sequence[date], rows: int, generation: int) -> pl.DataFrame:
    """Rows like a bhavcopy's: contracts by strike, prices that move, text that repeats."""
    i = pl.col("i")
    columns = []
    for column in TABLE.columns:
        if column.dtype == pl.Date():
            value = pl.col("trade_date")
        elif column.name == "source":
            value = pl.lit("simulated")
        elif column.name in TABLE.key:
            value = (
                pl.format("{}{}", pl.lit(column.name[:2]), i)
                if (column.dtype == pl.String())
                else i
            )
        elif column.dtype == pl.String():
            value = pl.format("{}{}", pl.lit(column.name[:2]), i % 50)
        elif column.dtype == pl.Float64():
            value = ((i * 7919 + generation * 31) % 100_003) * 0.05
        else:
            value = (i * 104_729 + generation) % 1_000_003
        columns.append(value.cast(column.dtype).alias(column.name))
    base = pl.DataFrame({"trade_date": days}).join(pl.DataFrame({"i": range(rows)}), how="cross")
    return base.select(columns).sort(TABLE.order)


def folder_size(root: Path) -> int:
    """Bytes of all files below a folder."""
    return sum(path.stat().st_size for path in root.rglob("*") if path.is_file())


@contextmanager
def our_lake(root: Path) -> Iterator[Store]:
    """The lake: checked, hashed, synced to disk, committed under a lock, with history."""
    with Lake.open(LakeLocation(root, "simulated")) as lake:

        def replace(days: Sequence[date], frame: pl.DataFrame) -> None:
            lake.commit([Slice(TABLE, tuple(days), frame)], author="benchmark", provenance={})

        yield Store("lake", replace, lambda d: lake.read(TABLE, d), lambda: folder_size(root))


@contextmanager
def duckdb_file(root: Path) -> Iterator[Store]:
    """A DuckDB file: delete and insert in one transaction."""
    path = root / "plain.duckdb"
    with duckdb.connect(str(path)) as connection:
        connection.execute(f"SET TimeZone='{IST}'")
        body = ", ".join(f'"{c.name}" {c.sql_type}' for c in TABLE.columns)
        connection.execute(f"CREATE TABLE t ({body})")
        within = "WHERE trade_date IN (SELECT unnest(?::DATE[]))"

        def replace(days: Sequence[date], frame: pl.DataFrame) -> None:
            connection.register("new_rows", frame)
            connection.execute("BEGIN")
            connection.execute(f"DELETE FROM t {within}", [list(days)])
            connection.execute("INSERT INTO t SELECT * FROM new_rows")
            connection.execute("COMMIT")

        def read(days: Sequence[date]) -> pl.DataFrame:
            frame = connection.execute(f"SELECT * FROM t {within}", [list(days)]).pl()
            return frame.sort(TABLE.order)

        yield Store("duckdb file", replace, read, lambda: folder_size(root))


@contextmanager
def parquet_folder(root: Path) -> Iterator[Store]:
    """A folder with a Parquet file a day, overwritten in place; scanned by its known names."""

    def path(day: date) -> Path:
        return root / f"trade_date={day}" / "rows.parquet"

    def replace(_: Sequence[date], frame: pl.DataFrame) -> None:
        for (day,), part in frame.group_by("trade_date"):
            assert isinstance(day, date)
            path(day).parent.mkdir(parents=True, exist_ok=True)
            part.write_parquet(path(day), compression="zstd", compression_level=3)

    def read(days: Sequence[date]) -> pl.DataFrame:
        return pl.scan_parquet([path(day) for day in days]).collect().sort(TABLE.order)

    yield Store("parquet folder", replace, read, lambda: folder_size(root))


def median_ms(work: Callable[[int], object], times: int) -> float:
    """Median milliseconds of `times` calls, after one that does not count."""
    work(0)
    taken = []
    for number in range(1, times + 1):
        start = time.perf_counter()
        work(number)
        taken.append((time.perf_counter() - start) * 1_000)
    return statistics.median(taken)


def measure(store: Store, days: Sequence[date], rows: int, times: int) -> dict[str, float]:
    """All figures of one store."""
    start = time.perf_counter()
    store.replace(days, make_rows(days, rows, 0))
    figures = {"fill all days": (time.perf_counter() - start) * 1_000}
    figures["size (MB)"] = store.size() / 1e6
    middle = days[len(days) // 2]
    news = [make_rows([middle], rows, number + 1) for number in range(times + 1)]
    figures["replace a day"] = median_ms(lambda n: store.replace([middle], news[n]), times)
    for name, span in (("read a day", [middle]), ("read a month", days[-21:]), ("read all", days)):
        assert store.read(span).height == len(span) * rows
        figures[name] = median_ms(lambda _, span=span: store.read(span), times)  # type: ignore[misc]
    assert store.read([middle]).equals(news[-1].sort(TABLE.order))
    return figures


def table(found: dict[str, dict[str, float]], days: int, rows: int) -> str:
    """The figures as Markdown: milliseconds, and ours over each peer's."""
    lake, *peers = found
    head = [f"{days} days x {rows:,} rows, ms", *found, *(f"lake / {peer}" for peer in peers)]
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    for name, ours in found[lake].items():
        theirs = [found[peer][name] for peer in peers]
        cells = [f"{value:.1f}" for value in (ours, *theirs)]
        cells += [f"{ours / value:.2f}" for value in theirs]
        lines.append(f"| {' | '.join([name, *cells])} |")
    return "\n".join(lines)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--days", type=int, default=60)
    parser.add_argument("--rows", type=int, default=5_000, help="rows of each day")
    parser.add_argument("--times", type=int, default=9, help="repetitions (the median counts)")
    arguments = parser.parse_args()
    days = [date(2026, 1, 1) + timedelta(days=i) for i in range(arguments.days)]
    makers: dict[str, Callable[[Path], AbstractContextManager[Store]]] = {
        "lake": our_lake,
        "duckdb file": duckdb_file,
        "parquet folder": parquet_folder,
    }
    found = {}
    for name, maker in makers.items():
        with tempfile.TemporaryDirectory() as root, maker(Path(root)) as store:
            found[name] = measure(store, days, arguments.rows, arguments.times)
    print(table(found, arguments.days, arguments.rows))


if __name__ == "__main__":
    main()
