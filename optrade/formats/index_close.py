"""NSE `ind_close_all`: the day's values of every index, India VIX among them (from 2012).

Belongs here: its 13 columns and what they must satisfy. Does not belong here: which index is the
underlying of which contract.

Read as meant: `-` or a blank for a value that is not kept, `.41` without its zero, dates with
slashes (2014), and the month before the day in the three files of 6, 10 and 11 April 2023. Names
stand as printed (`S&P CNX Nifty`, `CNX Nifty`, `Nifty 50`).
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date

import polars as pl

from optrade.formats import dates
from optrade.formats.text import Sheet, decode, read
from optrade.tables.raw import INDEX_CLOSE

NAMES = {
    "Index Name": "index_name",
    "Index Date": "trade_date",
    "Open Index Value": "open",
    "High Index Value": "high",
    "Low Index Value": "low",
    "Closing Index Value": "close",
    "Points Change": "points_change",
    "Change(%)": "change_pct",
    "Volume": "volume_units",
    "Turnover (Rs. Cr.)": "turnover_crore",
    "P/E": "pe_ratio",
    "P/B": "pb_ratio",
    "Div Yield": "dividend_yield_pct",
}
COLUMNS = tuple(NAMES)
_RANGE = ("Open Index Value", "High Index Value", "Low Index Value", "Closing Index Value")
_MONTH_FIRST = frozenset({date(2023, 4, 6), date(2023, 4, 10), date(2023, 4, 11)})
_ROUNDING, _POINTS_ROUNDING = 0.01, 0.0101
_ODD_SHARE = 0.1


def parse(file: str, data: bytes, trade_date: date, *, source: str, sha256: str) -> pl.DataFrame:
    """`raw.index_close` rows: points, percent, shares and crore rupees as published.

    Raises `InputRefused` with the rules of `text.read` and `Sheet`, and `date`, `duplicate`,
    `value_order` (a value outside the day's range), `change` (points and percent disagree).
    """
    sheet = read(file, decode(file, data), COLUMNS)
    sheet.check_days("Index Date", _as_meant(trade_date), "06-01-2026", trade_date)
    sheet = sheet.keep(~pl.select(pl.all_horizontal(map(sheet.is_missing, _RANGE))).to_series())
    sheet.refuse_repeats(sheet.cells.select("Index Name"), "Index Name", "index")
    values = pl.DataFrame(
        [
            sheet.cells["Index Name"],
            *(sheet.real(name, nullable=True, ge=0) for name in _RANGE[:3]),
            sheet.real("Closing Index Value"),
            *(sheet.real(name, nullable=True) for name in ("Points Change", "Change(%)")),
            sheet.whole("Volume", nullable=True, ge=0),
            sheet.real("Turnover (Rs. Cr.)", nullable=True, ge=0),
            *(sheet.real(name, nullable=True) for name in ("P/E", "P/B", "Div Yield")),
        ]
    )
    _check_range(sheet, values)
    _check_change(sheet, values)
    frame = values.rename({k: v for k, v in NAMES.items() if k in values.columns})
    return INDEX_CLOSE.conform(
        frame.with_columns(
            trade_date=trade_date, source=pl.lit(source), source_sha256=pl.lit(sha256)
        )
    )


def _as_meant(trade_date: date) -> Callable[[str], date | None]:
    """Reads a date the day first, or the month first where that gives a glitch day's own."""

    def read_date(text: str) -> date | None:
        swapped = dates.month_first(text) if trade_date in _MONTH_FIRST else None
        return swapped if swapped == trade_date else dates.named(text)

    return read_date


def _check_range(sheet: Sheet, values: pl.DataFrame) -> None:
    low, high = values["Low Index Value"], values["High Index Value"]
    for name in ("Open Index Value", "Closing Index Value"):
        value = values[name]
        outside = (value < low - _ROUNDING) | (value > high + _ROUNDING)
        sheet.refuse_rows(
            outside & (low > 0) & (value > 0),
            "value_order",
            field=name,
            expected="a value between the day's low and high",
            show=(name, "Low Index Value", "High Index Value"),
        )


def _check_change(sheet: Sheet, values: pl.DataFrame) -> None:
    """Points and percent must tell the same story; odd rows are let pass, columns are not."""
    points, percent = values["Points Change"], values["Change(%)"]
    before = values["Closing Index Value"] - points
    slack = _POINTS_ROUNDING + 100 * _POINTS_ROUNDING / before.abs()
    wrong = ((100 * points / before - percent).abs() > slack) & (before > 0)
    wrong = wrong.fill_null(value=False)
    if int(wrong.sum()) > _ODD_SHARE * values.height:
        sheet.refuse_rows(
            wrong,
            "change",
            field="Change(%)",
            expected="the points change over yesterday's close",
            show=("Points Change", "Change(%)", "Closing Index Value"),
        )
