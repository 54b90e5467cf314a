"""A simulated session at any moment: coherent, the same every time, adding up to its files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optrade.calendar import load_calendar
from optrade.formats import parse
from optrade.formats.archive import candidates
from optrade.formats.kite_instruments import parse_instruments
from optrade.simulation import UNDERLYINGS, MarketDay, SimulationError, market_days, render
from optrade.simulation.intraday import IntradayMarket
from optrade.simulation.levels import replay
from optrade.simulation.moments import Moment

SEED, FIRST = 11, date(2026, 1, 5)
PLAIN, EXPIRY, SUNDAY = date(2026, 1, 8), date(2026, 1, 27), date(2026, 2, 1)
DAYS = (PLAIN, EXPIRY, SUNDAY)
SHAPES = pytest.mark.parametrize("day", DAYS, ids=["plain", "monthly expiry", "special Sunday"])


@pytest.fixture(scope="module")
def intraday() -> dict[date, IntradayMarket]:
    return {day: IntradayMarket(day, SEED, FIRST, load_calendar()) for day in DAYS}


@pytest.fixture(scope="module")
def days_files() -> dict[date, MarketDay]:
    sessions = load_calendar().sessions(FIRST, DAYS[-1])
    return {market.day: market for market in market_days(sessions, SEED)}


def everyone(market: IntradayMarket) -> np.ndarray:
    return np.arange(len(market.tokens))


def at_close(market: IntradayMarket) -> pl.DataFrame:
    """The last word on every contract, prices in rupees, by the exchange's id."""
    state = market.moment(market.seconds, everyone(market))
    own = state.select(~state.is_index)
    columns = {
        f.name: getattr(own, f.name) for f in fields(Moment) if f.name[:3] not in ("bid", "ask")
    }
    prices = ["last_price", "average_price", "open", "high", "low", "close"]
    return pl.DataFrame(columns).select(
        (pl.col(prices) / 100).round(2),
        pl.exclude(prices),
        contract_id=pl.col("instrument_token") // 256,
    )


@SHAPES
def test_the_day_ends_at_its_bhavcopy(
    intraday: dict[date, IntradayMarket], days_files: dict[date, MarketDay], day: date
) -> None:
    market = days_files[day]
    path = candidates("fo_bhavcopy", day)[-1]
    name, data = path, render(market).files[path]
    bhavcopy = parse("fo_bhavcopy", name, data, day, source="simulated", sha256="0" * 64)
    exact = at_close(intraday[day]).join(market.contracts, on="contract_id", suffix="_file")
    assert exact.height == len(intraday[day].tokens) - 6
    traded = exact.filter(pl.col("volume_lots") > 0)
    for price in ("open", "high", "low"):
        assert (traded[price] - traded[f"{price}_file"]).abs().max() < 1e-9
    assert (exact["last_price"] - exact["last"]).abs().max() < 1e-9
    assert (exact["close"] - exact["previous_close"]).abs().max() < 1e-9
    assert (exact["volume_units"] == exact["volume_lots"] * exact["lot_size"]).all()
    assert (exact["oi_units"] == exact["oi_units_file"]).all()
    units = traded["volume_units"]
    vwap = traded["turnover_rupees"] / units - traded["strike"].fill_null(0)
    assert (traded["average_price"] - vwap).abs().max() <= 0.0051
    known = bhavcopy.filter(pl.col("underlying") == "NIFTY")
    assert exact.filter(pl.col("underlying") == "NIFTY").height == known.height


@SHAPES
def test_indices_and_vix_pass_through_their_file(
    intraday: dict[date, IntradayMarket], days_files: dict[date, MarketDay], day: date
) -> None:
    _, levels = replay(day, SEED, FIRST, load_calendar(), UNDERLYINGS)
    for line in days_files[day].indices:
        points = levels.points[levels.names.index(line.name)]
        found = points[0], points.max(), points.min(), points[-1]
        assert found == (line.open, line.high, line.low, line.close)
        assert levels.previous[levels.names.index(line.name)] == line.previous
    market = intraday[day]
    final = market.moment(market.seconds, market.rows([256265]))
    nifty = next(line for line in days_files[day].indices if line.name == "Nifty 50")
    told = [final.open, final.high, final.low, final.last_price, final.close]
    lines = [nifty.open, nifty.high, nifty.low, nifty.close, nifty.previous]
    assert [int(value[0]) for value in told] == [round(line * 100) for line in lines]


@given(day=st.sampled_from(DAYS), seconds=st.floats(0, 22_500), wait=st.floats(0, 600))
@settings(max_examples=25, deadline=None)
def test_every_moment_is_coherent_and_follows_from_the_one_before(
    intraday: dict[date, IntradayMarket], day: date, seconds: float, wait: float
) -> None:
    market = intraday[day]
    before, now = (market.moment(at, everyone(market)) for at in (seconds, seconds + wait))
    for state in (before, now):
        seen = state.select((state.volume_units > 0) | state.is_index)
        assert (seen.low <= seen.last_price).all()
        assert (seen.last_price <= seen.high).all()
        own = seen.select(~seen.is_index)
        assert (own.low <= own.average_price).all()
        assert (own.average_price <= own.high).all()
        assert (own.last_trade_at <= own.exchange_at).all()
        assert (own.last_units > 0).all()
        assert (own.last_units <= own.volume_units).all()
        book = state.select(~state.is_index)
        assert (book.ask[:, 0] > book.bid[:, 0]).all()
        assert (np.diff(book.ask, axis=1) > 0).all()
        assert (np.diff(book.bid, axis=1) <= 0).all()
        assert ((book.bid == 0) == (book.bid_units == 0)).all()
        assert (book.buy_units >= book.bid_units.sum(axis=1)).all()
        assert (book.sell_units >= book.ask_units.sum(axis=1)).all()
        prices = [state.last_price, state.open, state.high, state.low, state.bid, state.ask]
        grid = 5 if state.is_index.sum() == 0 else 1
        assert all((price % grid == 0).all() for price in prices)
    for name in ("exchange_at", "last_trade_at", "volume_units", "high", "oi_high_units"):
        assert (getattr(now, name) >= getattr(before, name)).all(), name
    assert ((now.low <= before.low) | (before.low == 0)).all()
    assert (now.oi_low_units <= before.oi_low_units).all()


@SHAPES
def test_puts_calls_and_spot_move_together(intraday: dict[date, IntradayMarket], day: date) -> None:
    market = intraday[day]
    frame = market.instruments.with_row_index("row")
    options = frame.filter((pl.col("name") == "NIFTY") & (pl.col("segment") == "NFO-OPT"))
    expiry = options["expiry"].min()
    assert isinstance(expiry, date)
    pairs = (
        options.filter(pl.col("expiry") == expiry)
        .pivot("instrument_type", index="strike", values="row")
        .sort("strike")
    )
    for seconds in np.linspace(120, market.seconds - 1, 40):
        state = market.moment(float(seconds), everyone(market))
        spot = float(state.last_price[market.rows([256265])[0]]) / 100
        near = pairs.filter((pl.col("strike") - spot).abs() < 0.01 * spot)
        middle = (state.bid[:, 0] + state.ask[:, 0]) / 200
        forwards = (
            near["strike"].to_numpy()
            + middle[near["CE"].to_numpy()]
            - middle[near["PE"].to_numpy()]
        )
        carry = spot * (0.065 - 0.012) * (expiry - day).days / 365
        assert abs(np.median(forwards) - spot - carry) < 8
        assert np.quantile(np.abs(forwards - np.median(forwards)), 0.75) < 5


def test_the_state_needs_no_history(intraday: dict[date, IntradayMarket]) -> None:
    market = intraday[PLAIN]
    again = IntradayMarket(PLAIN, SEED, FIRST, load_calendar())
    other = IntradayMarket(PLAIN, SEED + 1, FIRST, load_calendar())
    rows = everyone(market)
    some = rows[::7][::-1]
    whole, part = market.moment(7_000.25, rows), again.moment(7_000.25, some)
    for field in fields(Moment):
        assert (getattr(whole, field.name)[some] == getattr(part, field.name)).all()
    token = int(market.tokens[0])
    asks = [one.quote([token], market.opens)[token]["depth"] for one in (market, other)]
    assert asks[0] != asks[1]


def test_news_are_all_there_is_to_know(intraday: dict[date, IntradayMarket]) -> None:
    """Whoever is not due has not changed."""
    market = intraday[PLAIN]
    rows = everyone(market)
    for seconds in (100.0, 9_000.0, 22_000.0):
        due = market.due(rows, seconds, seconds + 0.25)
        before, after = (market.moment(at, rows).select(~due) for at in (seconds, seconds + 0.25))
        for field in fields(Moment):
            assert (getattr(before, field.name) == getattr(after, field.name)).all(), field.name
    second = [market.due(rows, 9_000 + i / 4, 9_000 + (i + 1) / 4) for i in range(40)]
    rate = np.sum(second, axis=0) / 10
    final = market.moment(market.seconds, rows)
    busiest = np.argsort(-final.volume_units)[:100]
    assert rate.max() <= 2.1
    assert rate[busiest].min() > 1
    assert np.median(rate) < 1


@pytest.mark.parametrize(("after", "until", "share"), [(-50.0, -1.0, 0.0), (-50.0, 0.1, 1.0),
                         (22_499.9, 22_500.0, 1.0), (22_500.0, 23_000.0, 0.0)])  # fmt: skip
def test_there_is_news_at_the_open_and_the_close_and_none_outside(
    intraday: dict[date, IntradayMarket], after: float, until: float, share: float
) -> None:
    market = intraday[PLAIN]
    assert market.due(everyone(market), after, until).mean() == share


def test_before_the_open_stands_what_yesterday_left(
    intraday: dict[date, IntradayMarket], days_files: dict[date, MarketDay]
) -> None:
    market = intraday[PLAIN]
    state = market.moment(-600.0, everyone(market))
    assert not state.volume_units.any()
    assert not state.bid.any()
    assert not state.last_trade_at.any()
    yesterday = market.closes - timedelta(days=1)
    assert set(state.exchange_at.tolist()) == {int(yesterday.timestamp())}
    left = days_files[PLAIN - timedelta(days=1)].contracts
    held = pl.DataFrame({"contract_id": state.instrument_token // 256, "oi": state.oi_units})
    both = held.join(left, on="contract_id")
    assert both.height > 1_000
    assert (both["oi"] == both["oi_units"]).all()


@SHAPES
def test_candles_add_up_to_the_day(intraday: dict[date, IntradayMarket], day: date) -> None:
    market = intraday[day]
    close = at_close(market).sort("volume_units", descending=True)
    chosen = [*range(0, 300, 60), *range(900, 1_500, 150)]
    for row in close[chosen].iter_rows(named=True):
        if not row["volume_units"]:
            continue
        token = int(row["contract_id"]) * 256 + 2
        candles = market.candles(token, market.opens, market.closes)
        assert candles["volume_units"].sum() == row["volume_units"]
        assert candles["oi_units"][-1] == row["oi_units"]
        assert (candles["open"][0], candles["close"][-1]) == (row["open"], row["last_price"])
        assert (candles["high"].max(), candles["low"].min()) == (row["high"], row["low"])
        body = candles.select(
            top=pl.max_horizontal("open", "close"), bottom=pl.min_horizontal("open", "close")
        )
        assert (candles["high"] >= body["top"]).all()
        assert (candles["low"] <= body["bottom"]).all()
        quiet = candles.filter(pl.col("volume_units") == 0)
        assert (quiet["high"] == quiet["low"]).all()
    spot = market.candles(256265, market.opens, market.closes)
    assert spot.height == 375
    assert spot["volume_units"].null_count() == 375


def test_candles_tell_nothing_of_later(intraday: dict[date, IntradayMarket]) -> None:
    market = intraday[PLAIN]
    token = int(market.tokens[0])
    whole = market.candles(token, market.opens, market.closes)
    start, now = market.opens + timedelta(minutes=30), market.opens + timedelta(minutes=61.5)
    part = market.candles(token, start, now)
    assert part["at"].to_list() == [start + timedelta(minutes=i) for i in range(32)]
    assert part[:-1].equals(whole[30:61])
    assert part["volume_units"][-1] <= whole["volume_units"][61]
    assert market.candles(token, market.opens, market.opens - timedelta(hours=1)).is_empty()
    with pytest.raises(SimulationError, match="token 5 is not listed on 2026-01-08"):
        market.candles(5, start, now)


def test_the_dump_lists_what_trades(
    intraday: dict[date, IntradayMarket], days_files: dict[date, MarketDay]
) -> None:
    market = intraday[PLAIN]
    dump = market.instruments_csv()
    frame = parse_instruments("instruments.csv", dump, PLAIN, source="simulated", sha256="0" * 64)
    assert frame.height == len(market.tokens)
    assert frame["instrument_token"].sort().to_list() == np.sort(market.tokens).tolist()
    assert dump.splitlines()[1].startswith(b"9")
    contracts = days_files[PLAIN].contracts.filter(pl.col("is_index"))
    both = frame.join(contracts, left_on="exchange_token", right_on="contract_id")
    assert both.height == contracts.height
    assert (both["expiry"] == both["expiry_right"]).all()
    assert (both["lot_size"] == both["lot_size_right"]).all()
    assert (both["tradingsymbol"] == both["contract_name"].cast(pl.String)).all()
    spots = frame.filter(pl.col("segment") == "INDICES")
    assert (
        dict(spots.select("tradingsymbol", "instrument_token").iter_rows())["INDIA VIX"] == 264969
    )


def test_a_quote_is_kites(intraday: dict[date, IntradayMarket]) -> None:
    market = intraday[PLAIN]
    token = int(market.tokens[0])
    quotes = market.quote([token, 1, 256265], market.opens + timedelta(hours=2))
    assert list(quotes) == [token, 256265]
    quote = quotes[token]
    assert quote["timestamp"].startswith("2026-01-08 11:1")
    assert quote["depth"]["buy"][0]["price"] < quote["depth"]["sell"][0]["price"]
    assert quote["ohlc"]["low"] <= quote["last_price"] <= quote["ohlc"]["high"]
    assert quotes[256265]["volume"] == 0
    assert quotes[256265]["net_change"] == pytest.approx(
        quotes[256265]["last_price"] - quotes[256265]["ohlc"]["close"]
    )


@pytest.mark.parametrize(
    ("day", "message"),
    [(date(2026, 1, 10), "no session"), (date(2026, 1, 2), "begins on 2026-01-05")],
)
def test_a_day_without_a_market_is_refused(day: date, message: str) -> None:
    with pytest.raises(SimulationError, match=message):
        IntradayMarket(day, SEED, FIRST, load_calendar())


def test_a_market_without_index_options_is_refused() -> None:
    stocks: Sequence[object] = [u for u in UNDERLYINGS if not u.is_index]
    with pytest.raises(SimulationError, match="is an index with options"):
        IntradayMarket(PLAIN, SEED, PLAIN, load_calendar(), stocks)  # type: ignore[arg-type]
