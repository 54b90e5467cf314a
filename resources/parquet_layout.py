"""How rows become Parquet bytes: plainly, or in the fewest bytes that read as fast.

Belongs here: the layout of a Parquet file, as its table's declaration asks. Does not belong here:
the order of rows and their checks (see `lake_slices`), where files lie (see `lake_files`).

In a compact file numbers with declared decimals are whole numbers inside, instants are
milliseconds where nothing is lost by it, and each column has the Parquet encoding that is the
smallest on a sample of its own rows. Sorted rows make neighbours alike, which is what the
encodings live on.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Literal

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from optrade.tables import Table
from optrade.tables.schema import DECIMAL_DIGITS, Column

Codec = Literal["zstd", "brotli"]
_SAMPLE_ROWS = 65_536
_EXACT_BELOW = 2**53
"""Whole numbers that a Float64 tells apart."""
_DICTIONARY = "RLE_DICTIONARY"
_FLOATS = (_DICTIONARY, "PLAIN", "BYTE_STREAM_SPLIT")
_WHOLE_NUMBERS = (_DICTIONARY, "PLAIN", "DELTA_BINARY_PACKED")
"""Encodings that pyarrow writes and DuckDB and Polars read."""
_LARGEST_DICTIONARY = 1 << 30
"""Bytes; a column that fares worse with a dictionary is not given one in the first place."""


def encode_parquet(
    table: Table, frame: pl.DataFrame, level: int, row_group_rows: int, codec: Codec = "zstd"
) -> bytes:
    """Rows of `table` as a Parquet file, compressed by `codec` at `level`.

    The same rows in the same order give the same bytes. Raises `ValueError` for a number with
    more decimals than its column declares.
    """
    if table.compact:
        return _compact(table, frame, level, row_group_rows, codec)
    buffer = io.BytesIO()
    frame.rechunk().write_parquet(
        buffer,
        compression=codec,
        compression_level=level,
        row_group_size=row_group_rows,
        statistics=True,
    )
    return buffer.getvalue()


def _compact(
    table: Table, frame: pl.DataFrame, level: int, row_group_rows: int, codec: Codec
) -> bytes:
    names = list(table.schema)
    stored = pa.table([_stored(table, c, frame[c.name].rechunk()) for c in table.columns], names)
    sample = stored.slice(max(0, stored.num_rows - _SAMPLE_ROWS) // 2, _SAMPLE_ROWS)

    def smallest(name: str) -> str:
        column = sample.select([name])
        encodings = _encodings(column.schema.field(0).type)
        if len(encodings) == 1:
            return encodings[0]
        sizes = [len(_write(column, {name: e}, level, row_group_rows, codec)) for e in encodings]
        return encodings[sizes.index(min(sizes))]

    return _write(stored, {name: smallest(name) for name in names}, level, row_group_rows, codec)


def _stored(table: Table, column: Column, values: pl.Series) -> pa.Array:
    """A column as the file holds it."""
    if column.decimals is not None:
        return _exact(table, column, values)
    if column.dtype == pl.String():
        return values.to_arrow().cast(pa.string())
    if isinstance(column.dtype, pl.Datetime) and (values.to_physical() % 1_000 == 0).all():
        return values.cast(pl.Datetime("ms", column.dtype.time_zone)).to_arrow()
    return values.to_arrow()


def _exact(table: Table, column: Column, values: pl.Series) -> pa.Array:
    """Floats as numbers with the declared decimals, which read back as the same floats."""
    floats, absent, scale = (
        values.to_numpy(),
        values.is_null().to_numpy(),
        10 ** (column.decimals or 0),
    )
    with np.errstate(over="ignore"):
        whole = np.rint(np.where(absent, 0.0, floats * scale))
    # Not by Polars, which multiplies by the reciprocal and misses the nearest float.
    wrong = ~absent & ((whole / scale != floats) | (abs(whole) >= _EXACT_BELOW))
    if wrong.any():
        raise ValueError(
            f"{table.full_name}.{column.name}: found {floats[wrong][0].item()!r}; expected the "
            f"float nearest to a number of at most {column.decimals} decimals. Correct the rows."
        )
    numbers = pa.array(whole.astype(np.int64), mask=absent)
    kind = pa.decimal64(DECIMAL_DIGITS, column.decimals)
    return pa.Array.from_buffers(kind, len(numbers), numbers.buffers(), numbers.null_count)


def _encodings(kind: pa.DataType) -> Sequence[str]:
    if pa.types.is_string(kind):
        return (_DICTIONARY,)
    if pa.types.is_boolean(kind):
        return ("PLAIN",)
    return _FLOATS if pa.types.is_floating(kind) else _WHOLE_NUMBERS


def _write(
    stored: pa.Table, encodings: dict[str, str], level: int, row_group_rows: int, codec: Codec
) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(
        stored,
        buffer,
        row_group_size=row_group_rows,
        compression=codec,
        compression_level=level,
        use_dictionary=[name for name, e in encodings.items() if e == _DICTIONARY],
        column_encoding={name: e for name, e in encodings.items() if e != _DICTIONARY},
        dictionary_pagesize_limit=_LARGEST_DICTIONARY,
        store_decimal_as_integer=True,
        store_schema=False,
        write_page_index=True,
        write_statistics=True,
    )
    return buffer.getvalue()
