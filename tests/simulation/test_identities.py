"""Participants, contracts and FII figures tell one story, exactly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from itertools import pairwise

import numpy as np
import polars as pl
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from optrade.calendar import load_calendar
from optrade.participants.identities import fii_disagreements, unbalanced
from optrade.participants.ledger import expiry_flags, ledger
from optrade.quality import RULES, Inputs, evaluate
from optrade.simulation import MarketDay, market_days
from optrade.simulation.flows import share_out
from optrade.simulation.market import FIRST_DAY
from optrade.simulation.parameters import UNDERLYINGS

Tables = Mapping[str, pl.DataFrame]
_CALENDAR = load_calendar()


def _by_segment(one: MarketDay, value: pl.Expr) -> list[int]:
    segment = pl.when("is_index").then(0).otherwise(3) + pl.col("kind")
    sums = one.contracts.group_by(segment.alias("segment")).agg(value.sum().alias("lots"))
    return sums.sort("segment")["lots"].to_list()


def _check(one: MarketDay) -> None:
    alive = pl.col("expiry") > one.day
    lots = pl.when(alive).then(pl.col("oi_units") // pl.col("lot_size")).otherwise(0)
    open_lots, traded = _by_segment(one, lots), _by_segment(one, pl.col("volume_lots"))
    assert one.long.sum(axis=1).tolist() == one.short.sum(axis=1).tolist() == open_lots
    assert one.bought.sum(axis=1).tolist() == one.sold.sum(axis=1).tolist() == traded
    for figures in (one.long, one.short, one.bought, one.sold):
        assert figures.min() >= 0


def test_positions_add_up_to_the_contracts(market: Sequence[MarketDay]) -> None:
    for one in market:
        _check(one)


def test_positions_move_by_what_was_traded(tables: Tables, days: Sequence[date]) -> None:
    sessions = pl.DataFrame({"trade_date": days, "previous_date": [None, *days[:-1]]})
    flags = expiry_flags(days, tables["fo_bhavcopy"], {})
    rows = ledger(tables["participant_oi"], tables["participant_volume"], sessions, flags)
    later = rows.filter(pl.col("trade_date") > days[0]).join(
        flags.drop("expiry_basis"), on=["trade_date", "segment"]
    )
    quiet = later.filter(~pl.col("expires"))
    assert set(quiet["identity"]) == {"exact"}
    ended = later.filter("expires")
    assert set(ended["segment"]) == set(later["segment"])
    assert ended.filter(pl.col("identity") == "expiry").height > len(ended) / 2
    zero = ended.group_by("trade_date", "segment").agg(pl.col("residual").sum())
    assert zero["residual"].abs().max() == 0


def test_what_expired_bounds_the_residual(market: Sequence[MarketDay]) -> None:
    for before, one in pairwise(market):
        change = (one.long - one.short) - (before.long - before.short)
        residual = change - (one.bought - one.sold)
        gone = pl.when(pl.col("expiry") == one.day).then(pl.col("oi_units") // pl.col("lot_size"))
        expired = np.array(_by_segment(one, gone))
        assert (np.maximum(residual, 0).sum(axis=1) <= expired).all()
        assert (residual.sum(axis=1) == 0).all()


def test_files_agree_with_each_other(tables: Tables) -> None:
    assert unbalanced(tables["participant_oi"]).is_empty()
    assert unbalanced(tables["participant_volume"]).is_empty()
    assert fii_disagreements(
        tables["fii_stats"], tables["participant_oi"], tables["participant_volume"]
    ).is_empty()


def test_fii_values_follow_from_the_contracts(market: Sequence[MarketDay]) -> None:
    one = market[5]
    spots = dict(one.contracts.select("underlying", "underlying_price").unique().iter_rows())
    for line in one.fii:
        if line.product == "index_option" and line.underlying in spots:
            lot = {u.symbol: u.lot for u in UNDERLYINGS}[line.underlying]
            value = line.oi_contracts * lot * spots[line.underlying] / 1e7
            assert abs(line.oi_crore - value) < 0.011
            assert 0.7 < line.buy_crore / (line.buy_contracts * value / line.oi_contracts) < 1.3


def test_every_rule_passes(tables: Tables, days: Sequence[date]) -> None:
    inputs = Inputs({f"raw.{kind}": rows for kind, rows in tables.items()}, frozenset(days))
    judged = 0
    for rule in RULES:
        if rule.table.removeprefix("raw.") in tables:
            verdicts = evaluate(rule, inputs, days)
            failed = verdicts.filter(~pl.col("passed"))
            assert failed.is_empty(), (rule.full_name, failed.row(0))
            judged += verdicts["passed"].count()
    assert judged > 10 * len(days)


_STARTS = _CALENDAR.sessions(FIRST_DAY, date(2026, 12, 20))


@given(seed=st.integers(0, 2**63), start=st.sampled_from(_STARTS), n=st.integers(1, 3))
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_identities_hold_from_any_seed_and_day(seed: int, start: date, n: int) -> None:
    days = _STARTS[_STARTS.index(start) :][:n]
    before = None
    for one in market_days(days, seed):
        _check(one)
        if before is not None:
            change = (one.long - one.short) - (before.long - before.short)
            residual = change - (one.bought - one.sold)
            quiet = one.contracts.filter(pl.col("expiry") == one.day).is_empty()
            assert not quiet or (residual == 0).all()
        before = one


@given(held=arrays(np.int64, (5, 4), elements=st.integers(0, 10**7)), part=st.floats(0, 1))
@settings(max_examples=50, deadline=None)
def test_sharing_out_never_takes_more_than_is_held(held: np.ndarray, part: float) -> None:
    total = np.floor(held.sum(axis=1) * part).astype(np.int64)
    shared = share_out(total, held)
    assert (shared.sum(axis=1) == total).all()
    assert ((shared >= 0) & (shared <= held)).all()
