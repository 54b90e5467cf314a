"""What the exchange says of one session, in numbers: contracts, participants, indices.

Belongs here: the shapes of those figures and their arithmetic. Does not belong here: file
formats (`render`), the session itself (`market`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date

import numpy as np
import numpy.typing as npt
import polars as pl

from optrade.simulation.book import FUTURE, Book, Bools
from optrade.simulation.flows import Flows, by_segment
from optrade.simulation.listing import Expiry
from optrade.simulation.parameters import (
    FII,
    NIFTY,
    TICKS_PER_RUPEE,
    IndexRow,
    Underlying,
    Variance,
)
from optrade.simulation.paths import Floats, Ints
from optrade.simulation.quotes import Quotes, years_left
from optrade.simulation.smile import atm_total_variance, fair_variance, volatility_index
from optrade.simulation.trading import Tape

VIX = "India VIX"
FII_INDICES = ("BANKNIFTY", "FINNIFTY", "MIDCPNIFTY", "NIFTY", "NIFTYNXT50")
_CRORE = 1e7
_DAYS_PER_YEAR = 365.0
_LEAST_VIX_DAYS = 2.0


@dataclass(frozen=True, slots=True)
class IndexLine:
    """One index of the closing file, in points; what does not apply is None."""

    name: str
    open: float
    high: float
    low: float
    close: float
    previous: float
    volume: int | None = None
    turnover_crore: float | None = None
    pe: float | None = None
    pb: float | None = None
    dividend_yield: float | None = None


@dataclass(frozen=True, slots=True)
class FiiLine:
    """One line of the FII statistics: contracts and crore rupees; `underlying` may be ALL."""

    product: str
    underlying: str
    buy_contracts: int
    buy_crore: float
    sell_contracts: int
    sell_crore: float
    oi_contracts: int
    oi_crore: float


@dataclass(frozen=True, slots=True)
class MarketDay:
    """One session in numbers.

    `contracts` has a row per contract (columns of the bhavcopy, prices in rupees, volume in
    lots, open interest in units). The four arrays are contracts by segment and participant,
    shape (6, 4), in the order of `SEGMENTS` and `PARTICIPANTS`; `long` and `short` are without
    what expired at the close, `bought` and `sold` with it.
    """

    day: date
    contracts: pl.DataFrame
    long: Ints
    short: Ints
    bought: Ints
    sold: Ints
    fii: tuple[FiiLine, ...]
    indices: tuple[IndexLine, ...]


@dataclass(frozen=True, slots=True)
class Dealt:
    """A session as it was traded: n contracts before it (`book`) and what happened to them.

    `spot` (n,) is each contract's underlying at the close; `segment` indexes `SEGMENTS`.
    """

    day: date
    book: Book
    segment: Ints
    expiring: Bools
    quotes: Quotes
    tape: Tape
    flows: Flows
    spot: Floats

    def held(self) -> Flows:
        """Return the flows without the open interest that expired at the close."""
        alive = ~self.expiring[:, None]
        return replace(self.flows, long=self.flows.long * alive, short=self.flows.short * alive)

    def after(self) -> Book:
        """Return the contracts that live on, as the session left them."""
        return replace(
            self.book,
            close=self.tape.close,
            last=self.tape.last,
            long=self.flows.long,
            short=self.flows.short,
        ).select(~self.expiring)


def market_day(
    underlyings: Sequence[Underlying], dealt: Dealt, indices: tuple[IndexLine, ...]
) -> MarketDay:
    """Put the session's figures together."""
    held = dealt.held()
    return MarketDay(
        day=dealt.day,
        contracts=contract_rows(underlyings, dealt),
        long=by_segment(dealt.segment, held.long),
        short=by_segment(dealt.segment, held.short),
        bought=by_segment(dealt.segment, held.bought),
        sold=by_segment(dealt.segment, held.sold),
        fii=fii_lines(underlyings, dealt),
        indices=indices,
    )


def contract_rows(underlyings: Sequence[Underlying], dealt: Dealt) -> pl.DataFrame:
    """Return a row per contract; `kind` is 0 future, 1 call, 2 put, prices are rupees.

    Untraded: open, high and low 0, close and last carried, settlement theoretical. Expiring:
    settlement at the underlying's close.
    """
    book, tape = dealt.book, dealt.tape
    lot, is_index, symbol = _of_contracts(underlyings, book)
    theory = np.where(tape.traded, tape.close, dealt.quotes.ticks[-1]) / TICKS_PER_RUPEE
    oi = dealt.flows.long.sum(axis=1)
    notional_ticks = (book.strike * TICKS_PER_RUPEE * tape.volume + tape.premium) * lot
    frame = pl.DataFrame(
        {
            "is_index": is_index,
            "underlying": pl.Series(symbol, dtype=pl.String),
            "contract_id": book.contract_id,
            "contract_name": pl.Series(book.name, dtype=pl.String),
            "expiry": book.expiry,
            "kind": book.kind,
            "strike": book.strike,
            "lot_size": lot,
            "open": tape.open / TICKS_PER_RUPEE,
            "high": tape.high / TICKS_PER_RUPEE,
            "low": tape.low / TICKS_PER_RUPEE,
            "close": tape.close / TICKS_PER_RUPEE,
            "last": tape.last / TICKS_PER_RUPEE,
            "previous_close": book.close / TICKS_PER_RUPEE,
            "underlying_price": dealt.spot,
            "settlement": np.where(dealt.expiring, dealt.spot, theory),
            "oi_units": oi * lot,
            "oi_change_units": (oi - book.oi) * lot,
            "volume_lots": tape.volume,
            "turnover_rupees": notional_ticks / TICKS_PER_RUPEE,
            "trades": tape.trades,
        }
    )
    order = ["is_index", "underlying", "expiry", "kind", "strike"]
    strike = pl.when(pl.col("kind") != FUTURE).then("strike").alias("strike")
    return frame.with_columns(strike).sort(order, descending=[True, *[False] * 4])


def _of_contracts(
    underlyings: Sequence[Underlying], book: Book
) -> tuple[Ints, Bools, npt.NDArray[np.str_]]:
    """Lot size, index or not, and symbol of every contract's underlying."""
    which = book.underlying
    lot = np.array([u.lot for u in underlyings], dtype=np.int64)
    is_index = np.array([u.is_index for u in underlyings])
    symbol = np.array([u.symbol for u in underlyings])
    return lot[which], is_index[which], symbol[which]


def index_line(rng: np.random.Generator, row: IndexRow, path: Floats) -> IndexLine:
    """Read an index's line off its path (yesterday's close first)."""
    busy = float(np.exp(0.2 * rng.standard_normal()))
    growth = float(path[-1]) / row.asset.level
    return replace(
        _line(row.asset.name, path),
        volume=int(row.volume * busy),
        turnover_crore=row.turnover * busy * growth,
        pe=row.pe * growth,
        pb=row.pb * growth,
        dividend_yield=row.dividend_yield / growth,
    )


def _line(name: str, path: Floats) -> IndexLine:
    session = path[1:]
    return IndexLine(
        name=name,
        open=float(session[0]),
        high=float(session.max()),
        low=float(session.min()),
        close=float(session[-1]),
        previous=float(path[0]),
    )


def vix_line(
    day: date, expiries: Sequence[Expiry], variance: Floats, model: Variance, previous: float | None
) -> IndexLine:
    """India VIX from the two nearest NIFTY monthlies at least two days away.

    `variance` is the market's at the moments of `quotes`; `previous` yesterday's close, None
    on the first day (the same pair a session earlier then stands for it).
    """
    months = [e.day for e in expiries if e.monthly and (e.day - day).days >= _LEAST_VIX_DAYS][:2]
    by_session, by_calendar = years_left(day, np.array(months, dtype="datetime64[D]"))
    ratio = NIFTY.asset.variance_ratio
    theta = atm_total_variance(variance[:, None], by_session, model, ratio)
    fair = fair_variance(theta, NIFTY.smile)
    path = volatility_index(fair[:, 0], fair[:, 1], by_calendar * _DAYS_PER_YEAR).round(2)
    if previous is not None:
        path[0] = previous
    return _line(VIX, path)


def fii_lines(underlyings: Sequence[Underlying], dealt: Dealt) -> tuple[FiiLine, ...]:
    """Add up the foreign investors' day; expired open interest is gone.

    Trades in options are valued at the strike, open interest at the underlying's close;
    futures at the traded and at the closing price, as the sheet's notes say.
    """
    book, tape, held = dealt.book, dealt.tape, dealt.held()
    lot, is_index, symbol = _of_contracts(underlyings, book)
    future = book.kind == FUTURE
    average = tape.premium / np.maximum(tape.volume, 1) / TICKS_PER_RUPEE
    traded = np.where(future, average, book.strike) * lot / _CRORE
    closing = np.where(future, tape.close / TICKS_PER_RUPEE, dealt.spot) * lot / _CRORE
    bought, sold = held.bought[:, FII], held.sold[:, FII]
    oi = held.long[:, FII] + held.short[:, FII]

    def line(product: str, name: str, mask: Bools) -> FiiLine:
        return FiiLine(
            product,
            name,
            int(bought[mask].sum()),
            round(float(bought[mask] @ traded[mask]), 2),
            int(sold[mask].sum()),
            round(float(sold[mask] @ traded[mask]), 2),
            int(oi[mask].sum()),
            round(float(oi[mask] @ closing[mask]), 2),
        )

    lines: list[FiiLine] = []
    for product, of_kind in (("index_future", future), ("index_option", ~future)):
        parts = [line(product, name, (symbol == name) & of_kind) for name in FII_INDICES]
        lines += [_total(parts), *parts]
    lines.append(line("stock_future", "ALL", ~is_index & future))
    lines.append(line("stock_option", "ALL", ~is_index & ~future))
    return tuple(lines)


def _total(parts: Sequence[FiiLine]) -> FiiLine:
    return FiiLine(
        parts[0].product,
        "ALL",
        sum(p.buy_contracts for p in parts),
        round(sum(p.buy_crore for p in parts), 2),
        sum(p.sell_contracts for p in parts),
        round(sum(p.sell_crore for p in parts), 2),
        sum(p.oi_contracts for p in parts),
        round(sum(p.oi_crore for p in parts), 2),
    )
