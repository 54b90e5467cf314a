"""The compact layout loses nothing, is small, is the same each time, and lets readers skip."""

from __future__ import annotations

import hashlib
import io
from dataclasses import replace
from datetime import date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import duckdb
import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from optrade.tables import IST, TABLES, Table
from optrade.tables.raw_live import TICKS
from optrade.tables.schema import Column
from resources.lake_slices import EncodedSlice, canonical
from resources.parquet_layout import encode_parquet

DAY, ROWS, GROUP = date(2026, 1, 23), 6_000, 1_000
OPEN = datetime(2026, 1, 23, 9, 15, tzinfo=ZoneInfo(IST))
PRICES = [c.name for c in TICKS.columns if c.unit == "rupees a unit"]
PACKETS = replace(
    TICKS,
    name="packets",
    compact=True,
    columns=tuple(replace(c, decimals=2 if c.name in PRICES else None) for c in TICKS.columns),
)
"""`raw.ticks` under another name, so that a lake has it beside its own."""
ODD = Table(
    group="raw",
    name="odd",
    row="one row",
    columns=(
        Column("trade_date", pl.Date(), "Day"),
        Column("n", pl.Int32(), "Number", nullable=True),
        Column("yes", pl.Boolean(), "Flag", nullable=True),
        Column("at", pl.Datetime("us", IST), "Instant", nullable=True),
        Column("paise", pl.Float64(), "Price", nullable=True, decimals=2),
        Column("real", pl.Float64(), "Real", nullable=True),
        Column("said", pl.String(), "Text", nullable=True),
    ),
    key=("trade_date", "n"),
    compact=True,
)
PAISE = st.integers(-(2**53) + 1, 2**53 - 1).map(lambda whole: whole / 100)


def ticks(rows: int = ROWS, seed: int = 0) -> pl.DataFrame:
    """Ticks of 20 instruments as they arrive: prices that walk, a book with holes, indices."""
    rng = np.random.default_rng(seed)
    token = rng.integers(0, 20, rows)
    step = pl.DataFrame({"token": token, "by": rng.integers(-1, 2, rows)})
    walk = step.select(20_000 + 200 * pl.col("token") + 5 * pl.col("by").cum_sum().over("token"))
    walk = walk.to_series().to_numpy()
    seconds = np.sort(rng.integers(0, 3_600, rows))
    columns = {}
    for column in TICKS.columns:
        if column.name in PRICES:
            values = pl.Series((walk + 100 * PRICES.index(column.name)) / 100)
        elif column.dtype == pl.Int64():
            values = pl.Series(75 * (1 + seconds // 60 + rng.integers(0, 2, rows)))
        elif column.dtype == pl.Float64():
            values = pl.Series(rng.normal(size=rows))
        elif isinstance(column.dtype, pl.Datetime):
            values = pl.Series([OPEN + timedelta(seconds=int(s)) for s in seconds])
        else:
            values = pl.Series(rng.choice(["NIFTY", "BANKNIFTY"], rows))
        if column.nullable:
            values = values.zip_with(pl.Series(rng.random(rows) > 0.1), pl.Series([None] * rows))
        columns[column.name] = values
    late = pl.duration(microseconds=pl.Series(rng.integers(0, 10**6, rows)))
    frame = pl.DataFrame(columns | {"trade_date": [DAY] * rows, "instrument_token": token})
    return frame.with_columns(
        pl.col("received_at") + late,
        mode=pl.lit("full"),
        source=pl.lit("simulated"),
        segment=pl.lit("091500-a"),
        sequence=pl.int_range(pl.len()),
    ).select(pl.col(c.name).cast(c.dtype) for c in TICKS.columns)


def compact(frame: pl.DataFrame, table: Table = PACKETS) -> bytes:
    return encode_parquet(table, frame, 3, GROUP)


@pytest.fixture(scope="module")
def rows_in_order() -> pl.DataFrame:
    return canonical(PACKETS, ticks())


def stored(lake, content: bytes, rows: int, table: Table = PACKETS) -> Path:
    """Puts a file into a lake the way a commit does; returns where it lies."""
    with lake.cursor() as cursor:
        for statement in table.ddl("lake"):
            cursor.execute(statement)
        sha256 = hashlib.sha256(content).hexdigest()
        path = lake.location.put(table, EncodedSlice(DAY, rows, content, sha256))
        cursor.execute(
            f"CALL ducklake_add_data_files('lake', '{table.name}', ?, schema => 'raw', "
            "hive_partitioning => true)",
            [[path]],
        )
    return Path(path)


def test_an_ordinary_table_is_written_by_polars_alone(rows):
    table = TABLES["raw.participant_oi"]
    frame, buffer = rows(table, [DAY], 9), io.BytesIO()
    frame.write_parquet(
        buffer, compression="zstd", compression_level=7, row_group_size=4, statistics=True
    )
    assert encode_parquet(table, frame, 7, 4) == buffer.getvalue()


def test_the_lake_gives_back_every_value_and_null(lake, rows_in_order):
    stored(lake, compact(rows_in_order), ROWS)
    found = lake.read(PACKETS, [DAY])
    assert found.schema == rows_in_order.schema
    assert found.equals(rows_in_order)
    assert found["ask_5"].null_count() > 0
    kinds = dict(lake.sql("DESCRIBE raw.packets").select("column_name", "column_type").iter_rows())
    assert (kinds["bid"], kinds["change"]) == ("DECIMAL(18,2)", "DOUBLE")
    assert kinds["exchange_at"] == "TIMESTAMP WITH TIME ZONE"
    summed = lake.sql("SELECT sum(bid)::DOUBLE FROM raw.packets WHERE bid > 199.95").item()
    assert summed == pytest.approx(rows_in_order.filter(pl.col("bid") > 199.95)["bid"].sum())


def test_one_instrument_is_read_without_the_row_groups_of_others(lake, rows_in_order):
    """Everything in the file but the instrument's own row groups may be destroyed."""
    path = stored(lake, compact(rows_in_order), ROWS)
    content, token = bytearray(path.read_bytes()), 7
    described, destroyed = pq.read_metadata(path), 0
    assert described.num_row_groups == ROWS // GROUP
    for number in range(described.num_row_groups):
        group = described.row_group(number)
        span = group.column(list(PACKETS.schema).index("instrument_token")).statistics
        if span.min <= token <= span.max:
            continue
        for column in map(group.column, range(group.num_columns)):
            start = column.data_page_offset
            if column.has_dictionary_page:
                start = column.dictionary_page_offset
            size = column.total_compressed_size
            content[start : start + size] = b"\xff" * size
        destroyed += 1
    assert destroyed >= described.num_row_groups - 2
    path.write_bytes(content)
    expected = rows_in_order.filter(pl.col("instrument_token") == token)
    assert lake.read(PACKETS, [DAY], where=f"instrument_token = {token}").equals(expected)
    scan = pl.scan_parquet(path).filter(pl.col("instrument_token") == token)
    assert scan.select("volume_units").collect().equals(expected.select("volume_units"))
    with pytest.raises(duckdb.Error):
        lake.read(PACKETS, [DAY])


def test_pages_have_an_index_and_columns_their_bounds(rows_in_order):
    described = pq.read_metadata(io.BytesIO(compact(rows_in_order)))
    group = described.row_group(0)
    for column in map(group.column, range(group.num_columns)):
        assert column.compression == "ZSTD"
        assert column.has_column_index, column.path_in_schema
        assert column.has_offset_index, column.path_in_schema
        assert column.is_stats_set, column.path_in_schema


def test_the_same_rows_give_the_same_bytes(rows_in_order):
    halves = pl.concat([rows_in_order[:77], rows_in_order[77:]], rechunk=False)
    assert compact(halves) == compact(rows_in_order) == compact(rows_in_order.clone())
    assert compact(rows_in_order[1:]) != compact(rows_in_order)


def test_it_is_smaller_than_what_polars_writes_by_default():
    frame, buffer = ticks(60_000), io.BytesIO()
    frame.write_parquet(buffer)
    packed = encode_parquet(PACKETS, canonical(PACKETS, frame), 3, 131_072)
    assert len(packed) < 0.75 * len(buffer.getvalue())


@given(
    st.lists(
        st.tuples(
            st.integers(-(2**31), 2**31 - 1) | st.none(),
            st.booleans() | st.none(),
            st.datetimes(datetime(1990, 1, 1), datetime(2100, 1, 1)) | st.none(),  # noqa: DTZ001
            PAISE | st.none(),
            st.floats(allow_nan=False) | st.none(),
            st.text(st.characters(codec="utf-8", exclude_characters="\0")) | st.none(),
        ),
        max_size=30,
    )
)
def test_any_values_come_back(rows):
    columns = [[row[i] for row in rows] for i in range(6)]
    columns[2] = [at and at.replace(tzinfo=ZoneInfo("UTC")) for at in columns[2]]
    names = list(ODD.schema)
    frame = pl.DataFrame(
        {"trade_date": [DAY] * len(rows)} | dict(zip(names[1:], columns, strict=True)), strict=False
    )
    frame = frame.with_columns(
        pl.col("at").cast(pl.Datetime("us", "UTC")).dt.convert_time_zone(IST)
    )
    frame = frame.select(pl.col(name).cast(kind) for name, kind in ODD.schema.items())
    back = pl.read_parquet(io.BytesIO(compact(frame, ODD)))
    whole = pl.col("at").cast(pl.Datetime("us", "UTC")).dt.convert_time_zone(IST)
    assert back.with_columns(whole).cast(ODD.schema).equals(frame)


@pytest.mark.parametrize("price", [83.1225, 0.1 + 0.2, float("nan"), float("inf"), 2.0**53, 1e307])
def test_a_price_that_would_change_is_refused(rows_in_order, price):
    frame = rows_in_order.with_columns(ask=pl.lit(price))
    with pytest.raises(ValueError, match=r"raw\.packets\.ask: found .* at most 2 decimals"):
        compact(frame)


def test_only_a_compact_table_may_have_decimals():
    with pytest.raises(ValueError, match=r"raw\.odd: \['paise'\] have decimals"):
        replace(ODD, compact=False)
