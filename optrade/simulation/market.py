"""The simulated market: sessions one after the other, each from the state of the last.

Belongs here: the order in which things happen on a day. Does not belong here: how each of
them is done (the modules beside this one), file formats, writing to disk.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta

import numpy as np

from optrade.calendar import TradingCalendar, load_calendar
from optrade.simulation.book import Book, Bools
from optrade.simulation.flows import deal, opening_positions
from optrade.simulation.listing import Expiry, listed, schedule, strikes
from optrade.simulation.parameters import (
    INDICES,
    NIFTY,
    UNDERLYINGS,
    Asset,
    Underlying,
    Variance,
)
from optrade.simulation.paths import (
    Floats,
    Ints,
    MarketState,
    asset_path,
    generator,
    initial_state,
    step_market,
)
from optrade.simulation.quotes import MOMENTS, Quotes, price
from optrade.simulation.reports import Dealt, MarketDay, index_line, market_day, vix_line
from optrade.simulation.trading import change_of_oi, expected_sizes, trade

FIRST_DAY = date(2024, 7, 8)
"""The exchange has published the UDiFF bhavcopy since; the simulated one knows no other."""
_FIRST_CONTRACT_ID = 35_001
_LISTING_HORIZON = timedelta(days=4 * 366)


class SimulationError(ValueError):
    """Something asked of the simulated exchange that it can't do; says what to do instead."""


@dataclass(slots=True)
class _Ladder:
    """What has been listed of one expiry so far."""

    strikes: Ints = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    future: bool = False


@dataclass(slots=True)
class _Exchange:
    """Everything that tomorrow depends on."""

    seed: int
    underlyings: tuple[Underlying, ...]
    schedules: tuple[Sequence[Expiry], ...]
    vix_expiries: Sequence[Expiry]
    model: Variance
    state: MarketState
    levels: dict[str, float]
    book: Book | None = None
    ladders: dict[tuple[int, date], _Ladder] = field(default_factory=dict)
    next_id: int = _FIRST_CONTRACT_ID
    vix: float | None = None


def market_days(
    days: Sequence[date],
    seed: int,
    *,
    underlyings: Sequence[Underlying] = UNDERLYINGS,
    calendar: TradingCalendar | None = None,
    model: Variance | None = None,
) -> Iterator[MarketDay]:
    """Simulate the market over `days`, which are consecutive sessions of `calendar`.

    The same seed and first day give the same path however many days are asked for. The
    calendar (the shipped one by default) also says which expiries move off a closed day.

    Raises `SimulationError` for a negative seed, repeated underlyings, no days, days before
    `FIRST_DAY` or days that are not consecutive sessions, before anything is simulated.
    """
    calendar = calendar or load_calendar()
    _check(days, seed, underlyings, calendar)
    return _walk(days, seed, tuple(underlyings), calendar, model or Variance())


def _check(
    days: Sequence[date], seed: int, underlyings: Sequence[Underlying], calendar: TradingCalendar
) -> None:
    if seed < 0:
        raise SimulationError(f"seed {seed}: choose 0 or more")
    symbols = [u.symbol for u in underlyings]
    if not symbols or len(set(symbols)) != len(symbols):
        raise SimulationError(f"underlyings {symbols}: name at least one, each once")
    if not days:
        raise SimulationError("no days: pass the sessions to simulate, in order")
    if min(days) < FIRST_DAY:
        raise SimulationError(
            f"{min(days)}: the simulated exchange publishes the UDiFF bhavcopy only, which "
            f"begins on {FIRST_DAY}; start there or later"
        )
    expected = calendar.sessions(days[0], days[-1])
    if list(days) != expected:
        odd = sorted(set(days) ^ set(expected))
        raise SimulationError(
            f"days are not the consecutive sessions of the calendar, near "
            f"{odd[0] if odd else days[0]}: pass calendar.sessions(first, last)"
        )


def _walk(
    days: Sequence[date],
    seed: int,
    underlyings: tuple[Underlying, ...],
    calendar: TradingCalendar,
    model: Variance,
) -> Iterator[MarketDay]:
    span = (days[0], days[-1] + _LISTING_HORIZON)
    assets = _assets(underlyings)
    exchange = _Exchange(
        seed=seed,
        underlyings=underlyings,
        schedules=tuple(schedule(u, *span, calendar) for u in underlyings),
        vix_expiries=schedule(NIFTY, *span, calendar),
        model=model,
        state=initial_state(generator(seed, days[0], "first variance"), model),
        levels={asset.name: asset.level for asset in assets},
    )
    for day in days:
        yield _session(exchange, assets, day)


def _assets(underlyings: Sequence[Underlying]) -> list[Asset]:
    assets = {row.asset.name: row.asset for row in INDICES}
    return list((assets | {u.asset.name: u.asset for u in underlyings}).values())


def _session(exchange: _Exchange, assets: Sequence[Asset], day: date) -> MarketDay:
    """Run one day and leave the exchange ready for the next."""
    market, state = step_market(
        generator(exchange.seed, day, "market"), exchange.state, exchange.model
    )
    paths: dict[str, Floats] = {}
    for asset in assets:
        rng = generator(exchange.seed, day, asset.name)
        paths[asset.name] = asset_path(rng, asset, exchange.levels[asset.name], market)
    variance = market.variance[MOMENTS]
    vix = vix_line(day, exchange.vix_expiries, variance, exchange.model, exchange.vix)
    spots = np.column_stack([paths[u.asset.name] for u in exchange.underlyings])[MOMENTS]

    book, new = _list_contracts(exchange, day)
    quotes = price(day, book, exchange.underlyings, spots, variance, exchange.model)
    book = replace(book, close=np.where(new, quotes.ticks[0], book.close))
    dealt = _trade(exchange, day, book, quotes, spots, state.sentiment)

    exchange.book = dealt.after()
    exchange.state, exchange.vix = state, vix.close
    exchange.levels = {name: float(path[-1]) for name, path in paths.items()}
    indices = []
    for row in INDICES:
        rng = generator(exchange.seed, day, f"turnover {row.asset.name}")
        indices.append(index_line(rng, row, paths[row.asset.name]))
    return market_day(exchange.underlyings, dealt, (*indices, vix))


def _trade(
    exchange: _Exchange, day: date, book: Book, quotes: Quotes, spots: Floats, sentiment: float
) -> Dealt:
    """Let the participants trade the book."""
    rng = generator(exchange.seed, day, "trading")
    segment = _segments(exchange.underlyings, book)
    sizes = expected_sizes(day, book, exchange.underlyings, quotes)
    if exchange.book is None:
        book = _opening_book(rng, book, segment, sizes.oi)
    busyness = _busyness(rng, exchange.underlyings, spots)[book.underlying]
    tape = trade(rng, book, quotes, sizes.volume * busyness)
    expiring = np.asarray(book.expiry == np.datetime64(day, "D"))
    change = change_of_oi(rng, book.oi, tape.volume, sizes.oi, expiring=expiring)
    flows = deal(rng, book, segment, tape.volume, change, sentiment)
    return Dealt(day, book, segment, expiring, quotes, tape, flows, spots[-1][book.underlying])


def _list_contracts(exchange: _Exchange, day: date) -> tuple[Book, Bools]:
    """Add what is listed today: the book, and which of its contracts are new."""
    parts = [] if exchange.book is None else [exchange.book]
    old = sum(len(part) for part in parts)
    for position, underlying in enumerate(exchange.underlyings):
        spot = exchange.levels[underlying.asset.name]
        for expiry, near in listed(underlying, exchange.schedules[position], day):
            known = exchange.ladders.setdefault((position, expiry.day), _Ladder())
            wanted = strikes(underlying.near if near else underlying.far, spot)
            part = Book.list_contracts(
                position,
                underlying,
                expiry,
                np.setdiff1d(wanted, known.strikes),
                future=expiry.monthly and near and not known.future,
                first=exchange.next_id,
            )
            known.strikes = np.union1d(known.strikes, wanted)
            known.future |= expiry.monthly and near
            exchange.next_id += len(part)
            parts.append(part)
    book = Book.join(parts)
    return book, np.asarray(np.arange(len(book)) >= old)


def _segments(underlyings: Sequence[Underlying], book: Book) -> Ints:
    offset = np.array([0 if u.is_index else 3 for u in underlyings], dtype=np.int64)
    return np.asarray(offset[book.underlying] + book.kind, dtype=np.int64)


def _opening_book(rng: np.random.Generator, book: Book, segment: Ints, expected: Floats) -> Book:
    """Give the first day's book a past: open interest, holders and a last price."""
    oi = rng.poisson(expected).astype(np.int64)
    long, short = opening_positions(rng, segment, oi)
    return replace(book, long=long, short=short, last=np.where(oi > 0, book.close, 0))


def _busyness(rng: np.random.Generator, underlyings: Sequence[Underlying], spots: Floats) -> Floats:
    """Volume factor of each underlying: busier when it moves more."""
    move = np.abs(np.log(spots[-1] / spots[0]))
    noise = rng.standard_normal(len(underlyings))
    return np.asarray(np.exp(0.2 * noise + np.minimum(25 * move, 1.2) - 0.2), dtype=np.float64)
