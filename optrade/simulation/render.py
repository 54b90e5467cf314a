"""A simulated session in the exchange's own file formats, byte for byte reproducible.

Belongs here: spelling, quoting and padding of the files, as published in
2025-26. Does not belong here: any figure that is not already in a `MarketDay`; where the archive
keeps a file and how it is read (`optrade.formats`).
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import polars as pl

from optrade.calendar import TradingCalendar
from optrade.formats.archive import base_name, candidates
from optrade.formats.dates import MONTHS
from optrade.simulation.market import market_days
from optrade.simulation.parameters import PARTICIPANTS, SEGMENTS, UNDERLYINGS, Underlying
from optrade.simulation.paths import Ints
from optrade.simulation.reports import FiiLine, IndexLine, MarketDay
from optrade.tables.raw import FILE_KINDS

_PARTICIPANT_HEADER = (
    "Client Type,Future Index Long,Future Index Short,Future Stock Long,"
    "Future Stock Short       ,Option Index Call Long,Option Index Put Long,"
    "Option Index Call Short,Option Index Put Short,Option Stock Call Long,"
    "Option Stock Put Long,Option Stock Call Short,Option Stock Put Short,"
    "Total Long Contracts      ,Total Short Contracts"
)
_PARTICIPANT_ORDER = (
    ("index_future", 0), ("index_future", 1), ("stock_future", 0), ("stock_future", 1),
    ("index_call", 0), ("index_put", 0), ("index_call", 1), ("index_put", 1),
    ("stock_call", 0), ("stock_put", 0), ("stock_call", 1), ("stock_put", 1),
)  # fmt: skip
"""Columns of the participant files: segment, and long (0) or short (1)."""
_INDEX_HEADER = (
    "Index Name,Index Date,Open Index Value,High Index Value,Low Index Value,"
    "Closing Index Value,Points Change,Change(%),Volume,Turnover (Rs. Cr.),P/E,P/B,Div Yield"
)
_FII_HEADER = (
    ",BUY,BUY,SELL,SELL,OPEN INTEREST AT THE END OF THE DAY,",
    ",No. of contracts,Amt in Crores,No. of contracts,Amt in Crores,No. of contracts,Amt in Crores",
)
_FII_LAST_NOTE = (
    "Futures Value (End of day) = Closing Futures Price * Qty  "
    "(closing price is the daily settlement price of futures contracts),,,,,,"
)
_FII_NOTES = (
    "Notes:,,,,,,",
    ",,,,,,",
    "Both buy and sell positions have been considered,,,,,,",
    "Options Value (Buy/Sell) = Strike price * Qty,,,,,,",
    "Futures Value (Buy/Sell) = Traded Price * Qty,,,,,,",
    ",,,,,,",
    "Value & Open Interest at the end of day:,,,,,,",
    "Options Value (End of day) = Underlying Close Price * Qty,,,,,,",
    _FII_LAST_NOTE,
)
_BLANK = ",,,,,,"
_PUBLISHED_AT = (18, 0, 0)


@dataclass(frozen=True, slots=True)
class DayFiles:
    """The files of one session: path on the archive host to bytes."""

    day: date
    files: Mapping[str, bytes]


def simulate(
    days: Sequence[date],
    seed: int,
    *,
    underlyings: Sequence[Underlying] = UNDERLYINGS,
    calendar: TradingCalendar | None = None,
) -> Iterator[DayFiles]:
    """Publish the files of every day, in order; arguments and errors as in `market_days`.

    >>> from optrade.calendar import load_calendar
    >>> first = date(2026, 1, 5)
    >>> published = next(simulate([first], seed=7))
    >>> sorted(published.files)[0]
    'content/fo/BhavCopy_NSE_FO_0_0_0_20260105_F_0000.csv.zip'
    """
    published = market_days(days, seed, underlyings=underlyings, calendar=calendar)
    return (render(market) for market in published)


def render(market: MarketDay) -> DayFiles:
    """Write one session's five files."""
    day = market.day
    path = {kind: candidates(kind, day)[-1] for kind in FILE_KINDS}
    member = base_name(path["fo_bhavcopy"]).removesuffix(".zip")
    oi = participant_file(day, "Open Interest", market.long, market.short)
    volume = participant_file(day, "Trading Volume", market.bought, market.sold)
    return DayFiles(
        day,
        {
            path["fo_bhavcopy"]: _zipped(day, member, bhavcopy(day, market.contracts)),
            path["participant_oi"]: oi,
            path["participant_volume"]: volume,
            path["fii_stats"]: fii_stats(day, market.fii),
            path["index_close"]: index_closes(day, market.indices),
        },
    )


def bhavcopy(day: date, contracts: pl.DataFrame) -> bytes:
    """Write the UDiFF F&O bhavcopy (34 columns) from the rows of a `MarketDay`."""
    blank = pl.lit(None, dtype=pl.String)
    asset_class = pl.when("is_index").then(pl.lit("ID")).otherwise(pl.lit("ST"))
    contract = pl.when(pl.col("kind") == 0).then(pl.lit("F")).otherwise(pl.lit("O"))
    right = {1: "CE", 2: "PE"}
    frame = contracts.select(
        TradDt=pl.lit(day),
        BizDt=pl.lit(day),
        Sgmt=pl.lit("FO"),
        Src=pl.lit("NSE"),
        FinInstrmTp=asset_class + contract,
        FinInstrmId="contract_id",
        ISIN=blank,
        TckrSymb="underlying",
        SctySrs=blank,
        XpryDt="expiry",
        FininstrmActlXpryDt="expiry",
        StrkPric=pl.col("strike").cast(pl.Float64),
        OptnTp=pl.col("kind").replace_strict(right, default=None, return_dtype=pl.String),
        FinInstrmNm="contract_name",
        OpnPric="open",
        HghPric="high",
        LwPric="low",
        ClsPric="close",
        LastPric="last",
        PrvsClsgPric="previous_close",
        UndrlygPric="underlying_price",
        SttlmPric="settlement",
        OpnIntrst="oi_units",
        ChngInOpnIntrst="oi_change_units",
        TtlTradgVol="volume_lots",
        TtlTrfVal="turnover_rupees",
        TtlNbOfTxsExctd="trades",
        SsnId=pl.lit("F1"),
        NewBrdLotQty="lot_size",
        Rmks=blank,
        Rsvd1=blank,
        Rsvd2=blank,
        Rsvd3=blank,
        Rsvd4=blank,
    )
    return frame.write_csv(float_precision=2, date_format="%Y-%m-%d").encode()


def _zipped(day: date, member: str, data: bytes) -> bytes:
    info = zipfile.ZipInfo(member, date_time=(day.year, day.month, day.day, *_PUBLISHED_AT))
    info.compress_type = zipfile.ZIP_DEFLATED
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr(info, data)
    return target.getvalue()


def participant_file(day: date, what: str, long: Ints, short: Ints) -> bytes:
    """Write a participant-wise file (`what`: Open Interest or Trading Volume).

    The title carries doubled quotes, as the exchange writes it.
    """
    title = (
        f'""Participant wise {what} (no. of contracts) in Equity Derivatives as on '
        f'{MONTHS[day.month - 1]} {day:%d, %Y}"",,,,,,,,,,,,,,'
    )
    lines = [title, _PARTICIPANT_HEADER]
    columns = [(long, short)[side][SEGMENTS.index(segment)] for segment, side in _PARTICIPANT_ORDER]
    for i, participant in enumerate(PARTICIPANTS):
        figures = [column[i] for column in columns]
        lines.append(_cells(participant, *figures, long[:, i].sum(), short[:, i].sum()))
    lines.append(_cells("TOTAL", *(c.sum() for c in columns), long.sum(), short.sum()))
    return _text(lines)


def fii_stats(day: date, figures: Sequence[FiiLine]) -> bytes:
    """Write the FII statistics sheet, saved as CSV."""
    title = f"FII DERIVATIVES STATISTICS FOR {day:%d}-{MONTHS[day.month - 1]}-{day.year}"
    lines = [f"{title},,,,,,", *_FII_HEADER]
    for line in figures:
        kind = line.product.removeprefix("index_").removeprefix("stock_").upper() + "S"
        group = line.product.split("_")[0].upper()
        if line.underlying == "ALL" and len(lines) > len(_FII_HEADER) + 1:
            lines.append(_BLANK)
        lines.append(
            f"{group if line.underlying == 'ALL' else line.underlying} {kind},"
            f"{line.buy_contracts},{line.buy_crore:.2f},{line.sell_contracts},"
            f"{line.sell_crore:.2f},{line.oi_contracts},{line.oi_crore:.2f}"
        )
    return _text([*lines, *[_BLANK] * 4, *_FII_NOTES])


def index_closes(day: date, indices: Sequence[IndexLine]) -> bytes:
    """Write the daily index closing file."""
    lines = [_INDEX_HEADER]
    for line in indices:
        change = line.close - line.previous
        lines.append(
            _cells(
                line.name,
                f"{day:%d-%m-%Y}",
                *(_short(x) for x in (line.open, line.high, line.low, line.close)),
                _short(change),
                _short(100 * change / line.previous),
                "-" if line.volume is None else line.volume,
                *(_short(x) for x in (line.turnover_crore, line.pe, line.pb, line.dividend_yield)),
            )
        )
    return _text(lines)


def _short(value: float | None) -> str:
    """Two decimals without trailing or leading zeros (`.41`), `-` for nothing."""
    if value is None:
        return "-"
    text = f"{value:.2f}".rstrip("0").rstrip(".")
    if text in ("-0", "0", ""):
        return "0"
    return text.replace("0.", ".", 1) if abs(value) < 1 else text


def _cells(*values: object) -> str:
    return ",".join(str(value) for value in values)


def _text(lines: Sequence[str]) -> bytes:
    return ("\n".join(lines) + "\n").encode()
