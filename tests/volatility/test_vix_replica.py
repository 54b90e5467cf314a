"""The rebuilt India VIX: on a flat chain, on damaged ones, and on real days."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from math import exp
from pathlib import Path
from zoneinfo import ZoneInfo

import polars as pl
import pytest

from optrade.chain.snapshot import chain_close
from optrade.formats import parse
from optrade.tables import IST, TABLES
from optrade.volatility import vix_replica
from optrade.volatility.vix_replica import ENOUGH_TRADES
from tests.volatility.conftest import RATE, flat_chain, futures_of, published

DAY = date(2026, 1, 9)
NEAR, NEXT, FAR = date(2026, 1, 27), date(2026, 2, 24), date(2026, 3, 30)
WEEKS = {date(2026, 1, 13): 0.9, date(2026, 2, 3): 0.8}
MONTHS = {NEAR: 0.12, NEXT: 0.15, FAR: 0.18}
STEP_ERROR = 100 * 50**2 / (6 * 18 / 365 * 24_000**2) / (2 * 0.12)
"""In points: what the kink between strikes adds to the nearer month at most."""


def replica(chain: pl.DataFrame, *more: pl.DataFrame, vix: float | None = 13.0) -> dict:
    """The row of `DAY`; `more` may replace the futures."""
    futures = more[0] if more else futures_of(chain)
    closes = published({} if vix is None else {DAY: vix})
    rows = vix_replica(chain, futures, closes, RATE)
    TABLES["analytics.vix_replica"].pandera.validate(rows)
    return rows.row(0, named=True)


@pytest.fixture
def chain() -> pl.DataFrame:
    """Weekly and monthly expiries of one day, each flat at its own volatility."""
    return flat_chain(DAY, WEEKS | MONTHS)


def test_flat_months_give_their_total_variance_at_30_days(chain: pl.DataFrame) -> None:
    """18 and 46 days: weights 16/28 and 12/28 on total variance; weekly expiries play no part."""
    row = replica(chain)
    total = 16 / 28 * 0.12**2 * 18 + 12 / 28 * 0.15**2 * 46
    expected = 100 * (total / 30) ** 0.5
    assert row["replica"] == pytest.approx(expected, abs=STEP_ERROR)
    assert row["error"] == row["replica"] - 13.0
    assert row["reason"] is None
    assert (row["near_expiry"], row["next_expiry"]) == (NEAR, NEXT)
    assert (row["near_minutes"], row["next_minutes"]) == (18 * 1_440, 46 * 1_440)
    assert row["near_weight"] == pytest.approx(16 / 28)
    assert row["near_variance"] == pytest.approx(0.12**2, rel=0.002)
    assert row["next_variance"] == pytest.approx(0.15**2, rel=0.002)
    for month, days, below in (("near", 18, 24_050.0), ("next", 46, 24_150.0)):
        assert row[f"{month}_forward_basis"] == "future"
        assert row[f"{month}_forward"] == pytest.approx(24_000 * exp(RATE * days / 365))
        assert row[f"{month}_atm_strike"] == below
        assert (row[f"{month}_lowest_strike"], row[f"{month}_highest_strike"]) == (19_000, 29_000)
        assert (row[f"{month}_strikes"], row[f"{month}_splined_strikes"]) == (201, 0)


def test_thin_closes_are_replaced_by_the_spline(chain: pl.DataFrame) -> None:
    """Closes of options with too few trades may say anything."""
    strike = pl.col("strike")
    thin = strike.is_between(24_300, 24_400) | (strike == 22_500) | (strike == 24_050)
    stale = chain.with_columns(
        trades=pl.when(thin).then(ENOUGH_TRADES - 1).otherwise("trades"),
        close_price=pl.when(thin).then(700.0).otherwise("close_price"),
    )
    found, whole = replica(stale), replica(chain)
    assert found["near_splined_strikes"] == 5
    assert found["near_strikes"] == 201
    assert found["near_atm_strike"] == 24_050.0  # just below the forward, though itself thin
    assert found["replica"] == pytest.approx(whole["replica"], abs=0.02)
    enough = stale.with_columns(trades=ENOUGH_TRADES)
    assert replica(enough)["replica"] > whole["replica"] + 1


def test_files_without_trades_count_every_close(chain: pl.DataFrame) -> None:
    old = chain.with_columns(trades=pl.lit(None, pl.Int64))
    assert replica(old) == replica(chain)


def test_strikes_end_where_nothing_traded(chain: pl.DataFrame) -> None:
    traded = pl.when(pl.col("strike") <= 26_000).then("close_price")
    row = replica(chain.with_columns(close_price=traded))
    assert row["near_highest_strike"] == 26_000.0
    assert row["near_lowest_strike"] == 19_000.0


def test_a_month_under_two_days_away_is_passed_over() -> None:
    eve, two_before = NEAR - timedelta(days=1), NEAR - timedelta(days=2)
    for day, pair in ((eve, (NEXT, FAR)), (two_before, (NEAR, NEXT))):
        chain = flat_chain(day, MONTHS)
        row = vix_replica(chain, futures_of(chain), published({}), RATE).row(0, named=True)
        assert (row["near_expiry"], row["next_expiry"]) == pair
        assert row["replica"] is not None


def test_both_months_beyond_30_days_are_extrapolated_and_say_so() -> None:
    day = NEAR - timedelta(days=1)
    later = {date(2026, 3, 3): 0.15, date(2026, 4, 28): 0.15}
    row = replica(flat_chain(day, {NEAR: 0.15} | later))
    assert row["near_weight"] > 1
    assert row["replica"] == pytest.approx(15.0, abs=0.01)


def test_the_chain_s_forward_stands_in_for_a_future_that_did_not_trade(
    chain: pl.DataFrame,
) -> None:
    futures = futures_of(chain)
    quiet = futures.with_columns(
        volume_lots=pl.when(pl.col("expiry") == NEXT).then(0).otherwise("volume_lots"),
        close=pl.when(pl.col("expiry") == NEXT).then(1.0).otherwise("close"),
    )
    row, whole = replica(chain, quiet), replica(chain)
    assert (row["near_forward_basis"], row["next_forward_basis"]) == ("future", "parity")
    assert row["replica"] == whole["replica"]


def test_what_can_t_be_worked_out_says_why(chain: pl.DataFrame) -> None:
    none = pl.lit(None, pl.Float64)
    near = pl.col("expiry") == NEAR
    free = chain.with_columns(
        forward=pl.when(~near).then("forward"),
        forward_basis=pl.when(~near).then("forward_basis"),
    )
    cases = {
        "no_pair": (chain.filter(pl.col("expiry") <= NEAR),),
        "no_forward": (free, futures_of(chain).filter(~near)),
        "too_few_quotes": (
            chain.with_columns(close_price=pl.when(~near).then("close_price").otherwise(none)),
        ),
        "no_variance": (
            chain.with_columns(close_price=pl.when(near).then(1e-6).otherwise("close_price")),
        ),
    }
    for reason, frames in cases.items():
        row = replica(*frames)
        assert (row["reason"], row["replica"], row["error"]) == (reason, None, None)
        assert row["published"] == 13.0
    row = replica(chain, vix=None)
    assert (row["reason"], row["published"], row["error"]) == ("not_published", None, None)
    assert row["replica"] is not None


def test_days_together_or_one_by_one_are_the_same_to_the_bit() -> None:
    days = [DAY + timedelta(days=n) for n in (0, 3, 4, 17, 18)]
    chains = pl.concat(flat_chain(day, MONTHS, spot=24_000.0 + 37 * day.day) for day in days)
    closes = published(dict.fromkeys(days[:3], 13.0))
    together = vix_replica(chains, futures_of(chains), closes, RATE)
    for day in days:
        own = chains.filter(pl.col("trade_date") == day)
        alone = vix_replica(own, futures_of(own), closes, RATE)
        assert alone.equals(together.filter(pl.col("trade_date") == day))
    assert vix_replica(chains.clear(), futures_of(chains), closes, RATE).is_empty()


REAL = {  # Both months and the published close, from India VIX's history
    date(2025, 1, 1): 14.5075,
    date(2025, 1, 2): 13.7375,
    date(2025, 1, 3): 13.54,
    date(2025, 1, 6): 15.65,
    date(2025, 1, 7): 14.66,
    date(2025, 1, 8): 14.465,
    date(2025, 1, 9): 14.6575,
    date(2025, 1, 10): 14.915,
}


def test_real_days_come_out_as_published(nse: Path) -> None:
    """0.021 points off on average, 0.044 at most: what closes differ from quotes at 15:30."""
    bhavcopies = []
    for day in REAL:
        content = (nse / "fo_udiff_by_symbol" / str(day) / "NIFTY.csv").read_bytes()
        name = f"BhavCopy_NSE_FO_0_0_0_{day:%Y%m%d}_F_0000.csv"
        sha = "ab" * 32
        rows = parse("fo_bhavcopy", name, content, day, source="exchange", sha256=sha)
        bhavcopies.append(rows)
    bhavcopy = pl.concat(bhavcopies)
    closes = {day: datetime.combine(day, time(15, 30), ZoneInfo(IST)) for day in REAL}
    chain = chain_close(bhavcopy, TABLES["raw.index_close"].empty(), closes)
    rows = vix_replica(chain, bhavcopy, published(REAL), RATE)
    errors = rows["error"].abs()
    assert rows["trade_date"].to_list() == list(REAL)
    assert errors.mean() < 0.022
    assert errors.max() < 0.045
