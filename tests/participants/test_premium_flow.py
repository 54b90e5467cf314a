"""The premium flow: by hand, as bounds no trades can leave, and against a market that knows."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import date

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optrade.calendar import load_calendar
from optrade.participants import premium_flow
from optrade.participants.premium_flow import FIGURES, Premiums
from optrade.simulation import UNDERLYINGS, market
from optrade.simulation.book import CALL, FUTURE
from optrade.simulation.parameters import PARTICIPANTS as DEALT
from optrade.simulation.parameters import SEGMENTS as DEALT_SEGMENTS
from optrade.tables import TABLES
from optrade.tables.common import PARTICIPANTS

D1, D2, LATER = date(2026, 7, 1), date(2026, 7, 2), date(2026, 7, 28)
MID = "net_premium_flow_mid_rupees"
CHAIN = {
    "trade_date": pl.Date,
    "expiry": pl.Date,
    "option_type": pl.String,
    "volume_lots": pl.Int64,
    "lot_size": pl.Int64,
    "average_price": pl.Float64,
}
CALLS = [(D1, LATER, "CE", 300, 50, 4.0), (D1, LATER, "CE", 100, 50, 20.0)]
"""300 contracts at 200 rupees and 100 at 1,000: mean 400, variance 120,000."""
PUTS = [(D1, LATER, "PE", 10, 50, 2.0)]
TRADED = {
    (D1, "CLIENT", "index_call"): (200, 100),
    (D1, "DII", "index_call"): (0, 0),
    (D1, "FII", "index_call"): (100, 150),
    (D1, "PRO", "index_call"): (100, 150),
    (D1, "CLIENT", "index_put"): (4, 0),
    (D1, "DII", "index_put"): (0, 0),
    (D1, "FII", "index_put"): (0, 3),
    (D1, "PRO", "index_put"): (6, 7),
}


def chain(*rows: tuple) -> pl.DataFrame:
    return pl.DataFrame(list(rows), schema=CHAIN, orient="row")


def one(found: pl.DataFrame, who: str, segment: str = "index_call") -> dict:
    where = (pl.col("participant") == who) & (pl.col("segment") == segment)
    return found.row(by_predicate=where, named=True)


def test_by_hand(frame) -> None:
    found = premium_flow(frame(TRADED), chain(*CALLS, *PUTS, (D1, LATER, "CE", 0, 50, None)))
    TABLES["participants.premium_flow"].pandera.validate(found)
    assert found.height == 12
    row = one(found, "CLIENT")
    assert (row["bought_contracts"], row["sold_contracts"], row["net_contracts"]) == (200, 100, 100)
    assert (row["mean_premium_rupees"], row["priced_share"]) == (400.0, 1.0)
    # Its own net is 100; of 15,000 = 100^2 + 50^2 + 50^2 over 800 traded, 300 x 18.75 are its.
    deviation = math.sqrt(120_000) * math.sqrt(100**2 + 300 * 18.75)
    assert row["flow_deviation_rupees"] == pytest.approx(deviation)
    floor = 200 * 200 - 100 * 1_000
    ceiling = (100 * 1_000 + 100 * 200) - 100 * 200
    assert [row[name] for name in FIGURES] == pytest.approx(
        [floor, 40_000 - 2 * deviation, 40_000, ceiling, ceiling]
    )
    assert one(found, "DII")[MID] == 0
    put = one(found, "CLIENT", "index_put")  # One premium: nothing is uncertain.
    assert [put[name] for name in FIGURES] == [400.0] * 5
    total = one(found, "CLIENT", "total")
    assert (total["bought_contracts"], total["sold_contracts"]) == (204, 100)
    assert (total[MID], total["net_contracts"]) == (40_400.0, 104)
    assert total["flow_deviation_rupees"] == pytest.approx(deviation)
    assert total["net_premium_flow_low_rupees"] == pytest.approx(40_400 - 2 * deviation)
    assert (total["mean_premium_rupees"], total["spread_basis"]) == (None, "deviation")


def test_on_an_expiry_day_the_spread_is_the_bounds(frame) -> None:
    expiring = (D1, D1, "CE", 300, 50, 4.0)
    found = premium_flow(frame(TRADED), chain(expiring, CALLS[1], *PUTS))
    row, total = one(found, "CLIENT"), one(found, "CLIENT", "total")
    for r in (row, total):
        assert (r["spread_basis"], r["flow_deviation_rupees"]) == ("bounds", None)
        assert r["net_premium_flow_low_rupees"] == r["net_premium_flow_floor_rupees"]
        assert r["net_premium_flow_high_rupees"] == r["net_premium_flow_ceiling_rupees"]
    assert one(found, "CLIENT", "index_put")["spread_basis"] == "deviation"


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ([], "premium_not_held"),
        ([(D1, LATER, "CE", 400, None, None)], "premium_not_held"),
        ([(D1, LATER, "CE", 300, 50, 4.0)], "volumes_disagree"),
        ([(D1, LATER, "CE", 500, 50, 4.0)], "volumes_disagree"),
    ],
)
def test_without_premium_there_is_a_reason(frame, rows, reason) -> None:
    found = premium_flow(frame(TRADED), chain(*rows, *PUTS))
    TABLES["participants.premium_flow"].pandera.validate(found)
    for segment in ("index_call", "total"):
        row = one(found, "FII", segment)
        assert row["reason"] == reason
        assert [row[name] for name in (*FIGURES, "flow_deviation_rupees", "spread_basis")] == (
            [None] * 7
        )
        assert row["net_contracts"] == -50 - 3 * (segment == "total")
    assert one(found, "FII", "index_put")["reason"] is None


def test_nothing_traded_and_nothing_held(frame) -> None:
    idle = dict.fromkeys(TRADED, (0, 0))
    assert set(premium_flow(frame(idle), chain(*CALLS))["reason"]) == {"no_trade"}
    assert premium_flow(frame({}), chain(*CALLS)).is_empty()


CONTRACTS = st.lists(st.tuples(st.integers(1, 60), st.integers(1, 4_000)), min_size=1, max_size=6)


def allocated(contracts: list[tuple[int, int]], draw) -> dict[str, list[list[int]]]:
    """Give every lot of every contract a buyer and a seller."""
    return {
        side: [[draw(st.integers(0, 3)) for _ in range(lots)] for lots, _ in contracts]
        for side in ("bought", "sold")
    }


@settings(max_examples=25, deadline=None)
@given(CONTRACTS, st.data())
def test_no_trades_leave_the_bounds_and_flows_cancel(frame, contracts, data) -> None:
    """Whoever trades which lot: the truth lies within the bounds, the mids add up to 0."""
    who = allocated(contracts, data.draw)
    traded, truth = {}, {}
    for n, name in enumerate(PARTICIPANTS):
        lots = {side: [row.count(n) for row in rows] for side, rows in who.items()}
        traded[D1, name, "index_call"] = (sum(lots["bought"]), sum(lots["sold"]))
        traded[D1, name, "index_put"] = (0, 0)
        truth[name] = sum(
            premium * (b - s)
            for (_, premium), b, s in zip(contracts, lots["bought"], lots["sold"], strict=True)
        )
    rows = [(D1, LATER, "CE", lots, 50, premium / 50) for lots, premium in contracts]
    found = premium_flow(frame(traded), chain(*rows)).filter(pl.col("segment") == "index_call")
    assert found[MID].sum() == 0
    for row in found.iter_rows(named=True):
        bounds = row["net_premium_flow_floor_rupees"], row["net_premium_flow_ceiling_rupees"]
        assert bounds[0] - 1e-3 <= truth[row["participant"]] <= bounds[1] + 1e-3
        values = [row[name] for name in FIGURES]
        assert values == sorted(values)


def test_the_bounds_are_reached() -> None:
    some = Premiums(np.array([3.0, 2.0, 5.0]), np.array([1.0, 10.0, 100.0]), expires=False)
    lots = np.array([0.0, 3.0, 4.0, 10.0])
    assert some.cheapest(lots).tolist() == [0, 3, 13, 523]
    assert some.dearest(lots).tolist() == [0, 300, 400, 523]


def test_days_stand_alone(frame) -> None:
    rng = np.random.default_rng(3)
    traded, rows = {}, []
    for day in (D1, D2, date(2026, 7, 3)):
        for segment, kind in (("index_call", "CE"), ("index_put", "PE")):
            lots = rng.integers(1, 10**5, 300)
            prices = rng.gamma(0.5, 80, 300)
            rows += [
                (day, LATER, kind, int(n), 65, float(p)) for n, p in zip(lots, prices, strict=True)
            ]
            for side in range(4):
                share = int(lots.sum()) // 4
                traded[day, PARTICIPANTS[side], segment] = (share, share + (side % 2) * 2 - 1)
    volume, market_ = frame(traded), chain(*rows)
    together = premium_flow(volume, market_)
    alone = [
        premium_flow(
            volume.filter(pl.col("trade_date") == day), market_.filter(pl.col("trade_date") == day)
        )
        for day in sorted(set(together["trade_date"]))
    ]
    assert together.equals(pl.concat(alone))
    assert together.group_by("trade_date", "segment").agg(pl.col(MID).sum())[MID].abs().max() == 0


def test_real_volumes_cancel(frame, real_volume) -> None:
    """No real day is held with its contracts as well: real volumes at made-up premiums."""
    volume = frame(real_volume)
    total = volume.filter(
        pl.col("participant") == "TOTAL", pl.col("segment").is_in(["index_call", "index_put"])
    )
    rows = [
        (day, LATER if day.year > 2020 else D1, kind, lots // 2, 65, price)
        for day, segment, lots in total.select(
            "trade_date", "segment", "long_contracts"
        ).iter_rows()
        for kind in ["CE" if segment == "index_call" else "PE"]
        for price in (0.05, 123.45)
    ]
    found = premium_flow(volume, chain(*rows))
    sums = found.group_by("trade_date", "segment").agg(pl.col(MID).sum(), n=pl.col(MID).count())
    assert (sums.height, set(sums["n"])) == (29 * 3, {4})
    assert sums[MID].abs().max() == 0


@pytest.fixture
def dealt(monkeypatch: pytest.MonkeyPatch) -> list:
    """Simulated sessions in which it is known who traded what."""
    seen: list = []
    report = market.market_day

    def kept(underlyings, traded, indices):
        day = report(underlyings, traded, indices)
        seen.append((day, traded))
        return day

    monkeypatch.setattr(market, "market_day", kept)
    days = load_calendar().sessions(date(2026, 1, 5), date(2026, 1, 20))
    for _ in market.market_days(days, 5, underlyings=UNDERLYINGS[:2]):
        pass
    return seen


def told(dealt: list) -> tuple[dict, list[tuple], dict]:
    """Contracts by class, the chain, and the true flows of simulated days."""
    lot_of = np.array([u.lot for u in UNDERLYINGS[:2]])
    traded, rows, truth = {}, [], {}
    for day, deal in dealt:
        tape, book = deal.tape, deal.book
        option = (tape.volume > 0) & (book.kind != FUTURE)
        lot = lot_of[book.underlying]
        price = tape.premium / np.maximum(tape.volume, 1) / 20
        kind = np.where(book.kind == CALL, "CE", "PE")
        columns = (book.expiry.astype(object), kind, tape.volume, lot, price)
        rows += [
            (day.day, expiry, str(side), int(n), int(size), float(p))
            for expiry, side, n, size, p, is_option in zip(*columns, option, strict=True)
            if is_option
        ]
        for segment, side in (("index_call", "CE"), ("index_put", "PE")):
            mine = option & (kind == side)
            paid = ((deal.flows.bought - deal.flows.sold) * (price * lot)[:, None])[mine].sum(
                axis=0
            )
            k = DEALT_SEGMENTS.index(segment)
            for n, name in enumerate(DEALT):
                traded[day.day, name.upper(), segment] = (
                    int(day.bought[k, n]),
                    int(day.sold[k, n]),
                )
                truth[day.day, name.upper(), segment] = float(paid[n])
    return traded, rows, truth


def test_against_a_market_that_knows_who_traded_what(frame: Callable, dealt: list) -> None:
    traded, rows, truth = told(dealt)
    found = premium_flow(frame(traded), chain(*rows)).filter(pl.col("segment") != "total")
    assert found["priced_share"].min() == 1
    inside = []
    for row in found.iter_rows(named=True):
        floor, low, _, high, ceiling = (row[name] for name in FIGURES)
        real = truth[row["trade_date"], row["participant"], row["segment"]]
        assert floor - 1 <= real <= ceiling + 1
        if row["spread_basis"] == "deviation":
            inside.append(low - 1 <= real <= high + 1)
    assert len(inside) > 60
    assert np.mean(inside) >= 0.9
    bounds = found.filter(pl.col("spread_basis") == "bounds")["trade_date"].unique()
    assert {day.weekday() for day in bounds} == {1}
