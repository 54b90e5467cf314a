"""NSE F&O market activity report, `foDDMMYYYY.zip`: what traded, with premium turnover.

Belongs here: its two contract-wise members (`fo` futures, `op` options) and joining the one
figure the bhavcopy lacks. Does not belong here: the report's summaries by product and symbol.

Source: `fohelp.txt` in every zip. Names and fields are padded, numbers zero-filled; `TRD_QTY` is
in units, `NO_OF_CONT` in lots, `NOTION_VAL` and `PR_VAL` in rupees. Only contracts that traded are
listed. Lines that begin with `*` are footnotes.
"""

from __future__ import annotations

from datetime import date

import polars as pl

from optrade.formats import dates
from optrade.formats.archive import unzip
from optrade.formats.bhavcopy_checks import check_expiry
from optrade.formats.text import Sheet, decode, read

FUTURE_COLUMNS = (
    "INSTRUMENT", "SYMBOL", "EXP_DATE", "OPEN_PRICE", "HI_PRICE", "LO_PRICE", "CLOSE_PRICE",
    "OPEN_INT*", "TRD_VAL", "TRD_QTY", "NO_OF_CONT", "NO_OF_TRADE",
)  # fmt: skip
OPTION_COLUMNS = (
    "INSTRUMENT", "SYMBOL", "EXP_DATE", "STR_PRICE", "OPT_TYPE", "OPEN_PRICE", "HI_PRICE",
    "LO_PRICE", "CLOSE_PRICE", "OPEN_INT*", "TRD_QTY", "NO_OF_CONT", "NO_OF_TRADE", "NOTION_VAL",
    "PR_VAL",
)  # fmt: skip
SCHEMA = {
    "trade_date": pl.Date(),
    "underlying": pl.String(),
    "instrument_type": pl.String(),
    "expiry": pl.Date(),
    "strike": pl.Float64(),
    "premium_turnover_rupees": pl.Float64(),
    "turnover_rupees": pl.Float64(),
    "volume_units": pl.Int64(),
    "volume_lots": pl.Int64(),
    "trades": pl.Int64(),
    "source": pl.String(),
    "source_sha256": pl.String(),
}
"""The frame `parse` gives: one row a traded contract; premium turnover is null for futures."""
CONTRACT = ("trade_date", "underlying", "instrument_type", "expiry", "strike")
_FUTURES = ("FUTIDX", "FUTSTK", "FUTIVX", "FUTINT")
_OPTIONS = ("OPTIDX", "OPTSTK")
_RUPEE = 1.0


def parse(file: str, data: bytes, trade_date: date, *, source: str, sha256: str) -> pl.DataFrame:
    """The traded contracts of one report, as `SCHEMA`; American stock options are left out.

    Raises `InputRefused` with the rules of `archive.unzip`, `text.read` and `Sheet`, and
    `instrument`, `expiry`, `duplicate`, `units` (units are not lots x a whole lot size) and
    `turnover`.
    """
    names = tuple(f"{kind}{trade_date:%d%m%Y}.csv" for kind in ("fo", "op"))
    members = unzip(file, data, *names)
    sheets = [
        read(f"{file}: {name}", decode(name, member), columns, footnote="*")
        for name, member, columns in zip(
            names, members, (FUTURE_COLUMNS, OPTION_COLUMNS), strict=True
        )
    ]
    frame = pl.concat([_futures(sheets[0], trade_date), _options(sheets[1], trade_date)])
    frame = frame.with_columns(
        trade_date=trade_date, source=pl.lit(source), source_sha256=pl.lit(sha256)
    )
    return frame.select(pl.col(n).cast(t) for n, t in SCHEMA.items()).sort(CONTRACT)


def with_premium_turnover(bhavcopy: pl.DataFrame, activity: pl.DataFrame) -> pl.DataFrame:
    """The bhavcopy with `premium_turnover_rupees` filled for the contracts the report lists.

    Columns, order and rows stay as they were; contracts not listed (they did not trade) and
    futures keep null.
    """
    figures = activity.select(*CONTRACT, "premium_turnover_rupees")
    joined = bhavcopy.drop("premium_turnover_rupees").join(
        figures, on=CONTRACT, how="left", nulls_equal=True, validate="1:1", maintain_order="left"
    )
    return joined.select(bhavcopy.columns)


def lot_sizes(activity: pl.DataFrame) -> pl.DataFrame:
    """Exact lot sizes, [trade_date, underlying, expiry, lot_size], from units over lots.

    An expiry whose contracts disagree (a change of lot in mid-life) is left out.
    """
    keys = ("trade_date", "underlying", "expiry")
    lots = activity.filter(pl.col("volume_lots") > 0).select(
        *keys, lot_size=pl.col("volume_units") // pl.col("volume_lots")
    )
    sizes = lots.group_by(keys).agg(pl.col("lot_size").unique())
    one = sizes.filter(pl.col("lot_size").list.len() == 1)
    return one.with_columns(pl.col("lot_size").list.first()).sort(keys)


def _contracts(
    sheet: Sheet, instruments: tuple[str, ...], own: list[pl.Series], trade_date: date
) -> pl.DataFrame:
    """The columns both members share and one's `own`, checked and in the order of `SCHEMA`."""
    sheet.word("INSTRUMENT", {name: name for name in instruments}, "instrument")
    units = sheet.whole("TRD_QTY", ge=0).alias("volume_units")
    lots = sheet.whole("NO_OF_CONT", ge=0).alias("volume_lots")
    lot = units // lots
    sheet.refuse_rows(
        ((lots > 0) & (lot * lots != units)) | ((lots == 0) & (units > 0)),
        "units",
        field="TRD_QTY",
        expected="NO_OF_CONT x a whole lot size",
        show=("TRD_QTY", "NO_OF_CONT"),
    )
    frame = pl.DataFrame(
        [
            sheet.cells["SYMBOL"].alias("underlying"),
            sheet.day("EXP_DATE", dates.named, "28/10/2021").alias("expiry"),
            units,
            lots,
            sheet.whole("NO_OF_TRADE", ge=0).alias("trades"),
            *own,
        ]
    )
    check_expiry(sheet, "EXP_DATE", frame["expiry"], trade_date)
    sheet.refuse_repeats(frame.select(CONTRACT[1:]), "SYMBOL", "contract")
    return frame.select(name for name in SCHEMA if name in frame.columns)


def _futures(sheet: Sheet, trade_date: date) -> pl.DataFrame:
    blank = pl.Series("strike", [None] * sheet.cells.height, dtype=pl.Float64)
    own = [
        blank.cast(pl.String).fill_null("FUT").alias("instrument_type"),
        blank,
        blank.alias("premium_turnover_rupees"),
        sheet.real("TRD_VAL", ge=0).alias("turnover_rupees"),
    ]
    frame = _contracts(sheet, _FUTURES, own, trade_date)
    return frame.filter(sheet.cells["INSTRUMENT"] != "FUTINT")


def _options(sheet: Sheet, trade_date: date) -> pl.DataFrame:
    words = {word: word for word in ("CE", "PE", "CA", "PA")}
    own = [
        sheet.word("OPT_TYPE", words, "instrument").alias("instrument_type"),
        sheet.real("STR_PRICE", ge=0).alias("strike"),
        sheet.real("PR_VAL", ge=0).alias("premium_turnover_rupees"),
        sheet.real("NOTION_VAL", ge=0).alias("turnover_rupees"),
    ]
    frame = _contracts(sheet, _OPTIONS, own, trade_date)
    _check_values(sheet, frame)
    return frame.filter(pl.col("instrument_type").is_in(["CE", "PE"]))


def _check_values(sheet: Sheet, frame: pl.DataFrame) -> None:
    premium, notional = frame["premium_turnover_rupees"], frame["turnover_rupees"]
    units = frame["volume_units"]
    slack = _RUPEE + notional * 1e-9
    low, high = sheet.real("LO_PRICE", ge=0), sheet.real("HI_PRICE", ge=0)
    sheet.refuse_rows(
        (notional - premium - frame["strike"] * units).abs() > slack,
        "turnover",
        field="NOTION_VAL",
        expected="PR_VAL + STR_PRICE x TRD_QTY",
        show=("NOTION_VAL", "PR_VAL", "STR_PRICE", "TRD_QTY"),
    )
    sheet.refuse_rows(
        (premium < low * units - slack) | (premium > high * units + slack),
        "turnover",
        field="PR_VAL",
        expected="between LO_PRICE and HI_PRICE x TRD_QTY",
        show=("PR_VAL", "LO_PRICE", "HI_PRICE", "TRD_QTY"),
    )
