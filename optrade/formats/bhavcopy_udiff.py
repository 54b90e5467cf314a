"""NSE F&O bhavcopy in the UDiFF common format (from 8 July 2024, back-published to January 2024).

Belongs here: the 34 columns of `BhavCopy_NSE_FO_0_0_0_YYYYMMDD_F_0000.csv`, their meaning and
their arithmetic. Does not belong here: the older format (`bhavcopy_legacy`).

Source: NSE circular 62424 (UDiFF, "Common Bhavcopy Final") and SEBI's unified data formats.
Units as published: `TtlTradgVol` in lots, `OpnIntrst` and its change in units, `TtlTrfVal` in
rupees of notional, (strike + price) x lots x `NewBrdLotQty`.
"""

from __future__ import annotations

from datetime import date

import polars as pl

from optrade.formats import dates
from optrade.formats.bhavcopy_checks import check_expiry, check_open_interest, check_range
from optrade.formats.text import Sheet, decode, read
from optrade.tables.raw import FO_BHAVCOPY

COLUMNS = (
    "TradDt", "BizDt", "Sgmt", "Src", "FinInstrmTp", "FinInstrmId", "ISIN", "TckrSymb",
    "SctySrs", "XpryDt", "FininstrmActlXpryDt", "StrkPric", "OptnTp", "FinInstrmNm", "OpnPric",
    "HghPric", "LwPric", "ClsPric", "LastPric", "PrvsClsgPric", "UndrlygPric", "SttlmPric",
    "OpnIntrst", "ChngInOpnIntrst", "TtlTradgVol", "TtlTrfVal", "TtlNbOfTxsExctd", "SsnId",
    "NewBrdLotQty", "Rmks", "Rsvd1", "Rsvd2", "Rsvd3", "Rsvd4",
)  # fmt: skip
_CLASSES = {"IDF": "index", "IDO": "index", "STF": "stock", "STO": "stock"}
_KEY = ("TckrSymb", "instrument_type", "expiry", "StrkPric")
_RUPEE = 1.0
"""Rounding allowed between the published turnover and prices x quantity."""


def parse(file: str, data: bytes, trade_date: date, *, source: str, sha256: str) -> pl.DataFrame:
    """`raw.fo_bhavcopy` rows of one unpacked UDiFF file.

    The expiry is `FininstrmActlXpryDt`, the day the contract really ends. Raises `InputRefused`
    with the rules of `text.read` and `Sheet`, and `segment`, `instrument`, `contract`, `expiry`,
    `duplicate`, `price_order`, `turnover`, `trades`, `oi_change`, `underlying`.
    """
    sheet = read(file, decode(file, data), COLUMNS)
    sheet.check_days("TradDt", dates.iso, "2026-01-06", trade_date)
    sheet.word("Sgmt", {"FO": "FO"}, "segment")
    sheet.word("Src", {"NSE": "NSE"}, "segment")
    values = _values(sheet)
    _check_contracts(sheet, values, trade_date)
    _check_arithmetic(sheet, values)
    frame = values.rename(
        {
            "TckrSymb": "underlying",
            "FinInstrmId": "contract_id",
            "FinInstrmNm": "contract_name",
            "StrkPric": "strike",
            "NewBrdLotQty": "lot_size",
            "OpnPric": "open",
            "HghPric": "high",
            "LwPric": "low",
            "ClsPric": "close",
            "LastPric": "last",
            "PrvsClsgPric": "previous_close",
            "SttlmPric": "settlement",
            "UndrlygPric": "underlying_price",
            "OpnIntrst": "oi_units",
            "ChngInOpnIntrst": "oi_change_units",
            "TtlTrfVal": "turnover_rupees",
            "TtlNbOfTxsExctd": "trades",
        }
    ).with_columns(
        trade_date=trade_date,
        premium_turnover_rupees=None,
        source=pl.lit(source),
        source_sha256=pl.lit(sha256),
    )
    return FO_BHAVCOPY.conform(frame)


def _values(sheet: Sheet) -> pl.DataFrame:
    future = sheet.cells["FinInstrmTp"].is_in(["IDF", "STF"])
    strike = sheet.real("StrkPric", nullable=True, ge=0)
    option = sheet.cells["OptnTp"]
    return pl.DataFrame(
        [
            sheet.word("FinInstrmTp", _CLASSES, "instrument").alias("underlying_class"),
            pl.select(pl.when(future).then(pl.lit("FUT")).otherwise(option))
            .to_series()
            .alias("instrument_type"),
            strike.set(future, None),
            sheet.cells["TckrSymb"],
            sheet.cells["FinInstrmNm"],
            sheet.day("FininstrmActlXpryDt", dates.iso, "2026-01-13").alias("expiry"),
            sheet.whole("FinInstrmId", ge=0),
            sheet.whole("NewBrdLotQty", ge=1),
            *(sheet.real(name, ge=0) for name in ("OpnPric", "HghPric", "LwPric", "ClsPric")),
            *(sheet.real(n, nullable=True, ge=0) for n in ("LastPric", "PrvsClsgPric")),
            sheet.real("UndrlygPric", nullable=True, ge=0),
            sheet.real("SttlmPric", ge=0),
            sheet.whole("OpnIntrst", ge=0),
            sheet.whole("ChngInOpnIntrst"),
            sheet.whole("TtlTradgVol", ge=0).alias("volume_lots"),
            sheet.real("TtlTrfVal", ge=0),
            sheet.whole("TtlNbOfTxsExctd", ge=0),
        ]
    )


def _check_contracts(sheet: Sheet, values: pl.DataFrame, trade_date: date) -> None:
    kind, name = values["instrument_type"], sheet.cells["FinInstrmNm"]
    option = kind != "FUT"
    sheet.refuse_rows(
        option & ~kind.is_in(["CE", "PE"]),
        "instrument",
        field="OptnTp",
        expected="CE or PE for an option",
        show=("FinInstrmTp", "OptnTp"),
    )
    sheet.refuse_rows(
        ~option & ~sheet.cells["OptnTp"].is_in(["", "-", "XX"]),
        "instrument",
        field="OptnTp",
        expected="no option type for a future",
        show=("FinInstrmTp", "OptnTp"),
    )
    sheet.refuse_rows(
        option & values["StrkPric"].is_null(),
        "contract",
        field="StrkPric",
        expected="a strike for an option",
        show=("FinInstrmNm", "StrkPric"),
    )
    ending = name.str.slice(-2).set(~option, None)
    sheet.refuse_rows(
        (ending != kind) | (~option & ~name.str.ends_with("FUT")),
        "contract",
        field="FinInstrmNm",
        expected="a contract name that ends in its own type (CE, PE or FUT)",
        show=("FinInstrmNm", "OptnTp"),
    )
    check_expiry(sheet, "FininstrmActlXpryDt", values["expiry"], trade_date)
    sheet.refuse_repeats(values.select("FinInstrmId"), "FinInstrmId", "instrument id")
    sheet.refuse_repeats(values.select(_KEY), "FinInstrmNm", "contract")


def _check_arithmetic(sheet: Sheet, values: pl.DataFrame) -> None:
    for price in ("OpnPric", "ClsPric", "LastPric"):
        check_range(sheet, (price, "LwPric", "HghPric"), values)
    units = values["volume_lots"] * values["NewBrdLotQty"]
    strike = values["StrkPric"].fill_null(0.0)
    turnover = values["TtlTrfVal"]
    slack = _RUPEE + turnover * 1e-9
    sheet.refuse_rows(
        (turnover < (strike + values["LwPric"]) * units - slack)
        | (turnover > (strike + values["HghPric"]) * units + slack),
        "turnover",
        field="TtlTrfVal",
        expected="between (strike + low) and (strike + high) x lots x lot size",
        show=("TtlTrfVal", "StrkPric", "LwPric", "HghPric", "TtlTradgVol", "NewBrdLotQty"),
    )
    lots, trades = values["volume_lots"], values["TtlNbOfTxsExctd"]
    sheet.refuse_rows(
        (trades > lots) | ((trades == 0) & (lots > 0)),
        "trades",
        field="TtlNbOfTxsExctd",
        expected="at least one lot in each trade, and a trade where lots changed hands",
        show=("TtlNbOfTxsExctd", "TtlTradgVol"),
    )
    check_open_interest(sheet, values["OpnIntrst"], values["ChngInOpnIntrst"])
    spot = values.select(
        pl.col("UndrlygPric") != pl.col("UndrlygPric").first().over("TckrSymb")
    ).to_series()
    sheet.refuse_rows(
        spot,
        "underlying",
        field="UndrlygPric",
        expected="one price of the underlying for all its contracts",
        show=("TckrSymb", "UndrlygPric"),
    )
