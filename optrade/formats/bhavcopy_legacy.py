"""NSE F&O bhavcopy in the older format, `foDDMMMYYYYbhav.csv` (2000 to 5 July 2024).

Belongs here: its 15 columns and their arithmetic, and the oddities of real old files. Does not
belong here: the UDiFF format (`bhavcopy_udiff`).

Units as published: `CONTRACTS` in lots, `OPEN_INT` and its change in units, `VAL_INLAKH` in lakh
(100,000) rupees of notional, cut off after two decimals. It gives no lot size, no underlying
price, no instrument id. Oddities seen in real files and read as they are meant: the column is
`OPTIONTYPE` in 2005-06; years of two digits on 2012-05-14; several records on a line on
2002-03-19; records listed again, or once more with zeros, in 2002-03; stock futures whose close
lies outside the day's range, whose value fits no lot, or that have contracts but no prices.

Left out, because `raw.fo_bhavcopy` has no word for them: American stock options (`CA`, `PA`,
until January 2011) and interest-rate futures (`FUTINT`, 2003 to 2008). The kept bytes hold them.
"""

from __future__ import annotations

from datetime import date

import polars as pl

from optrade.formats import dates
from optrade.formats.bhavcopy_checks import check_expiry, check_open_interest, check_range
from optrade.formats.text import LINE, Sheet, decode, read
from optrade.tables.raw import FO_BHAVCOPY

COLUMNS = (
    "INSTRUMENT", "SYMBOL", "EXPIRY_DT", "STRIKE_PR", "OPTION_TYP", "OPEN", "HIGH", "LOW",
    "CLOSE", "SETTLE_PR", "CONTRACTS", "VAL_INLAKH", "OPEN_INT", "CHG_IN_OI", "TIMESTAMP",
)  # fmt: skip
RUPEES_PER_LAKH = 100_000.0
_ALIASES = {"OPTIONTYPE": "OPTION_TYP"}
_CLASSES = {
    "FUTIDX": "index",
    "OPTIDX": "index",
    "FUTSTK": "stock",
    "OPTSTK": "stock",
    "FUTIVX": "volatility",
    "FUTINT": "interest rate",
}
_TYPES = {"XX": "FUT", "": "FUT", "-": "FUT", "CE": "CE", "PE": "PE", "CA": "CA", "PA": "PA"}
_KEY = ("INSTRUMENT", "SYMBOL", "EXPIRY_DT", "STRIKE_PR", "OPTION_TYP")
_FIGURES = COLUMNS[5:14]
_REPEATED_UNTIL = date(2004, 1, 1)
_MEASURED_SINCE = date(2011, 1, 1)
"""Whole files of the years before were not at hand to measure, so they are judged in bulk."""
_ODD_SHARE = 0.02
_LAKH_CUT = 0.01
_EXACT = 1e-6


def parse(file: str, data: bytes, trade_date: date, *, source: str, sha256: str) -> pl.DataFrame:
    """`raw.fo_bhavcopy` rows of one unpacked older file; columns it lacks are null.

    Raises `InputRefused` with the rules of `text.read` and `Sheet`, and `instrument`,
    `contract`, `expiry`, `duplicate`, `price_order`, `turnover`, `oi_change`.
    """
    sheet = read(file, decode(file, data), COLUMNS, aliases=_ALIASES, glued=True)
    sheet.check_days("TIMESTAMP", dates.named, "06-NOV-2015", trade_date)
    if trade_date < _REPEATED_UNTIL:
        sheet = _without_copies(sheet)
    values = _values(sheet)
    _check_contracts(sheet, values, trade_date)
    _check_prices(sheet, values, trade_date)
    _check_turnover(sheet, values, trade_date)
    check_open_interest(sheet, values["OPEN_INT"], values["CHG_IN_OI"])
    known = values.filter(
        pl.col("instrument_type").is_in(["FUT", "CE", "PE"])
        & (pl.col("underlying_class") != "interest rate")
    )
    absent = [c.name for c in FO_BHAVCOPY.columns if c.nullable and c.name != "strike"]
    frame = known.rename(
        {
            "SYMBOL": "underlying",
            "OPEN": "open",
            "HIGH": "high",
            "LOW": "low",
            "CLOSE": "close",
            "SETTLE_PR": "settlement",
            "OPEN_INT": "oi_units",
            "CHG_IN_OI": "oi_change_units",
        }
    ).with_columns(pl.lit(None).alias(name) for name in absent)
    frame = frame.with_columns(
        trade_date=trade_date,
        turnover_rupees=(pl.col("VAL_INLAKH") * RUPEES_PER_LAKH).round(0),
        source=pl.lit(source),
        source_sha256=pl.lit(sha256),
    )
    return FO_BHAVCOPY.conform(frame)


def _without_copies(sheet: Sheet) -> Sheet:
    """The sheet without repeated lines, and without all-zero copies of a contract."""
    cells = sheet.cells.unique(COLUMNS, keep="first", maintain_order=True)
    figures = pl.all_horizontal(pl.col(_FIGURES).is_in(["0", "0.0", "0.00"]))
    again = pl.struct(_KEY).is_duplicated()
    return Sheet(sheet.file, cells.filter(~(again & figures)))


def _values(sheet: Sheet) -> pl.DataFrame:
    kind = sheet.word("OPTION_TYP", _TYPES, "instrument")
    return pl.DataFrame(
        [
            sheet.cells["INSTRUMENT"],
            sheet.word("INSTRUMENT", _CLASSES, "instrument").alias("underlying_class"),
            kind.alias("instrument_type"),
            sheet.cells["SYMBOL"],
            sheet.day("EXPIRY_DT", dates.named, "26-Nov-2015").alias("expiry"),
            sheet.real("STRIKE_PR", nullable=True, ge=0).set(kind == "FUT", None).alias("strike"),
            *(sheet.real(n, ge=0) for n in ("OPEN", "HIGH", "LOW", "CLOSE", "SETTLE_PR")),
            sheet.whole("CONTRACTS", ge=0).alias("volume_lots"),
            sheet.real("VAL_INLAKH", ge=0),
            sheet.whole("OPEN_INT", ge=0),
            sheet.whole("CHG_IN_OI"),
        ]
    )


def _check_contracts(sheet: Sheet, values: pl.DataFrame, trade_date: date) -> None:
    future = sheet.cells["INSTRUMENT"].str.starts_with("FUT")
    sheet.refuse_rows(
        future != (values["instrument_type"] == "FUT"),
        "instrument",
        field="OPTION_TYP",
        expected="XX for a future; CE, PE, CA or PA for an option",
        show=("INSTRUMENT", "OPTION_TYP"),
    )
    sheet.refuse_rows(
        ~future & (values["strike"].fill_null(0.0) == 0),
        "contract",
        field="STRIKE_PR",
        expected="a strike for an option",
        show=("SYMBOL", "STRIKE_PR"),
    )
    check_expiry(sheet, "EXPIRY_DT", values["expiry"], trade_date)
    sheet.refuse_repeats(
        values.select("SYMBOL", "instrument_type", "expiry", "strike"), "SYMBOL", "contract"
    )


def _is_loose(values: pl.DataFrame, trade_date: date) -> pl.Series:
    """Rows whose prices real files get wrong now and then: judged in bulk, not one by one."""
    return (values["INSTRUMENT"] == "FUTSTK") | (trade_date < _MEASURED_SINCE)


def _check_prices(sheet: Sheet, values: pl.DataFrame, trade_date: date) -> None:
    check_range(sheet, ("OPEN", "LOW", "HIGH"), values)
    traded, loose = values["volume_lots"] > 0, _is_loose(values, trade_date)
    close = values["CLOSE"]
    outside = traded & ((close < values["LOW"]) | (close > values["HIGH"]))
    in_bulk = int((outside & loose).sum()) > _ODD_SHARE * int((traded & loose).sum())
    sheet.refuse_rows(
        outside if in_bulk else outside & ~loose,
        "price_order",
        field="CLOSE",
        expected="LOW <= CLOSE <= HIGH where the contract traded",
        show=("CLOSE", "LOW", "HIGH"),
    )


def _check_turnover(sheet: Sheet, values: pl.DataFrame, trade_date: date) -> None:
    """Some whole lot size must explain the value of every row of an underlying's expiry."""
    sheet.refuse_rows(
        (values["volume_lots"] == 0) & (values["VAL_INLAKH"] > 0),
        "turnover",
        field="VAL_INLAKH",
        expected="0 without contracts",
        show=("VAL_INLAKH", "CONTRACTS"),
    )
    lots, strike, lakh = pl.col("volume_lots"), pl.col("strike").fill_null(0.0), "VAL_INLAKH"
    groups = (
        values.with_columns(sheet.cells[LINE], loose=_is_loose(values, trade_date))
        .filter(lots > 0, pl.col("HIGH") > 0, pl.col("LOW") > 0)
        .with_columns(
            least=(pl.col(lakh) - _LAKH_CUT) * RUPEES_PER_LAKH / (lots * (strike + pl.col("HIGH"))),
            most=(pl.col(lakh) + _LAKH_CUT) * RUPEES_PER_LAKH / (lots * (strike + pl.col("LOW"))),
        )
        .group_by("INSTRUMENT", "SYMBOL", "expiry", maintain_order=True)
        .agg(
            pl.col("loose").all(),
            floor=pl.col("least").max(),
            ceiling=pl.col("most").min(),
            high_line=pl.col(LINE).get(pl.col("least").arg_max()),
            low_line=pl.col(LINE).get(pl.col("most").arg_min()),
        )
    )
    misfit = (pl.col("floor") - _EXACT).ceil() > (pl.col("ceiling") + _EXACT).floor()
    loose = groups.filter("loose")
    in_bulk = loose.filter(misfit).height > _ODD_SHARE * loose.height
    wrong = groups.filter(misfit, pl.lit(in_bulk) | ~pl.col("loose"))
    if wrong.height:
        row = wrong.row(0, named=True)
        sheet.refuse_rows(
            sheet.cells[LINE] == row["high_line"],
            "turnover",
            field="VAL_INLAKH",
            expected="(strike + price) x contracts x one whole lot size: this line needs a lot "
            f"of {row['floor']:.2f} or more, line {row['low_line']} {row['ceiling']:.2f} or less",
            show=("VAL_INLAKH", "CONTRACTS", "STRIKE_PR", "LOW", "HIGH"),
        )
