"""The exchange's files to frames: bytes in, Polars frames of the declared tables out.

Belongs here: one module per format, what they share (`text`, `dates`, `bhavcopy_checks`), and
the archive's paths (`archive`). Does not belong here: fetching, storing, and anything computed
from more than one file. The only way to refuse is `optrade.errors.InputRefused`.
"""

from __future__ import annotations

from datetime import date

import polars as pl

from optrade.formats import (
    archive,
    bhavcopy_legacy,
    bhavcopy_udiff,
    fii_stats,
    index_close,
    market_activity,
    participants,
)

__all__ = ["parse"]


def parse(
    kind: str, file_name: str, data: bytes, trade_date: date, *, source: str, sha256: str
) -> pl.DataFrame:
    """One file as fetched, as rows of its table (`market_activity.SCHEMA` for that report).

    `kind` is one of `optrade.tables.raw.FILE_KINDS`; `file_name` (a path or URL will do) decides
    UDiFF or the older bhavcopy, `.xls` or `.csv`; zips are opened in memory. `source` is the word
    for who says so and `sha256` the hash of `data`; both stand on every row.

    Raises `InputRefused` for anything that must not enter, and `ValueError` for an unknown kind.
    """
    archive.check_file_name(kind, file_name, trade_date)
    archive.check_bytes(file_name, data)
    who = {"source": source, "sha256": sha256}
    if kind == "fo_bhavcopy":
        return _bhavcopy(file_name, data, trade_date, **who)
    if kind == "fo_market_activity":
        return market_activity.parse(file_name, data, trade_date, **who)
    if kind == "fii_stats":
        return fii_stats.parse(file_name, data, trade_date, **who)
    if kind == "index_close":
        return index_close.parse(file_name, data, trade_date, **who)
    return participants.parse(kind, file_name, data, trade_date, **who)


def _bhavcopy(
    file_name: str, data: bytes, trade_date: date, *, source: str, sha256: str
) -> pl.DataFrame:
    name = archive.base_name(file_name)
    if name.lower().endswith(".zip"):
        (data,) = archive.unzip(file_name, data, name[: -len(".zip")])
        archive.check_bytes(file_name[: -len(".zip")], data)
    udiff = name.lower().startswith("bhavcopy")
    read = bhavcopy_udiff.parse if udiff else bhavcopy_legacy.parse
    return read(file_name, data, trade_date, source=source, sha256=sha256)
