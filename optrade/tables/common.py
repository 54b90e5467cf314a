"""Columns that several tables share, declared once.

Belongs here: a column whose meaning is the same wherever it stands. Does not belong here: a
column of one table only.
"""

from __future__ import annotations

import polars as pl

from optrade.tables.schema import TIMESTAMP, Column

_DATE, _TEXT, _REAL, _WHOLE, _BOOL = (
    pl.Date(),
    pl.String(),
    pl.Float64(),
    pl.Int64(),
    pl.Boolean(),
)

TRADE_DATE = Column("trade_date", _DATE, "Trading day, in India", "date")
SOURCE = Column(
    "source",
    _TEXT,
    "Who says so: the exchange, the broker, or a simulated market",
    isin=("exchange", "kite", "simulated"),
)
SOURCE_SHA256 = Column("source_sha256", _TEXT, "SHA-256 of the raw file this row was read from")
UNDERLYING = Column(
    "underlying", _TEXT, "Exchange symbol of the underlying, as the exchange spells it"
)
EXPIRY = Column("expiry", _DATE, "Expiry date, from the contract itself", "date")
STRIKE = Column("strike", _REAL, "Strike price", "rupees a unit", ge=0)
OPTION_TYPE = Column("option_type", _TEXT, "CE is a call, PE a put (European)", isin=("CE", "PE"))
EXPIRY_BUCKETS = ("this_week", "next_week", "this_month", "next_month")
EXPIRY_BUCKET = Column(
    "expiry_bucket",
    _TEXT,
    "Nearest-expiry bucket the contract fills; the first one where it fills two; null beyond",
    isin=EXPIRY_BUCKETS,
    nullable=True,
)
BUCKET_ALIAS = Column(
    "bucket_alias", _BOOL, "True where the same contract fills another bucket too"
)
PARTICIPANTS = ("CLIENT", "DII", "FII", "PRO")
SEGMENTS = (
    "index_future",
    "stock_future",
    "index_call",
    "index_put",
    "stock_call",
    "stock_put",
)
PARTICIPANT = Column(
    "participant",
    _TEXT,
    "CLIENT retail and others, DII domestic institutions, FII foreign ones, PRO brokers' own",
    isin=PARTICIPANTS,
)
SEGMENT = Column(
    "segment", _TEXT, "Product group, all underlyings and expiries together", isin=SEGMENTS
)


def price(name: str, description: str, *, nullable: bool = True, ge: float | None = 0) -> Column:
    """A price column in rupees a unit."""
    return Column(name, _REAL, description, "rupees a unit", nullable=nullable, ge=ge)


def count(
    name: str, description: str, unit: str, *, nullable: bool = False, ge: float | None = 0
) -> Column:
    """A whole-number column that counts something in `unit`."""
    return Column(name, _WHOLE, description, unit, nullable=nullable, ge=ge)


def real(
    name: str,
    description: str,
    unit: str = "",
    *,
    ge: float | None = None,
    le: float | None = None,
    nullable: bool = True,
) -> Column:
    """A real-valued column, null when it can't be known."""
    return Column(name, _REAL, description, unit, nullable=nullable, ge=ge, le=le)


def word(name: str, description: str, *isin: str, nullable: bool = False) -> Column:
    """A text column; `isin` are the only words allowed, if any are given."""
    return Column(name, _TEXT, description, isin=isin, nullable=nullable)


def flag(name: str, description: str) -> Column:
    """A yes/no column."""
    return Column(name, _BOOL, description)


def stamp(name: str, description: str, *, nullable: bool = False) -> Column:
    """A timezone-aware instant."""
    return Column(name, TIMESTAMP, description, "instant, shown in IST", nullable=nullable)
