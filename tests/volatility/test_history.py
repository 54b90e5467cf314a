"""A day's volatility against its past: by hand, over gaps, and without looking ahead."""

from __future__ import annotations

from datetime import date, timedelta
from math import log, sqrt
from typing import Any

import numpy as np
import polars as pl
import pytest

from optrade.tables import TABLES
from optrade.volatility import volatility_history
from optrade.volatility.history import constant_maturity
from tests.volatility.conftest import weekdays

DAYS = weekdays(date(2024, 1, 1), 320)
TODAY = DAYS[-1]
TABLE = "analytics.volatility_history"


def expiry_row(day: date, expiry: date, iv: float | None, **more: Any) -> dict[str, Any]:
    row = {
        "trade_date": day,
        "underlying": "NIFTY",
        "expiry": expiry,
        "years_to_expiry": (expiry - day).days / 365,
        "atm_iv": iv,
        "spot": 24_000.0,
        "forward": 24_000.0,
        "expected_move_straddle": 100.0,
        "expected_move_iv": 125.0,
        "source": "exchange",
    }
    return row | more


def frame(rows: list[dict[str, Any]]) -> pl.DataFrame:
    schema = {
        name: TABLES["analytics.chain_metrics_close"].schema[name]
        for name in expiry_row(TODAY, TODAY, None)
    }
    return pl.DataFrame(rows, schema=schema)


def level(volatility: float, day: date = TODAY) -> list[dict[str, Any]]:
    """A day whose volatility is the same at 10 and at 60 days."""
    return [expiry_row(day, day + timedelta(days=n), volatility) for n in (10, 60)]


def bars(closes: dict[date, float], index: str = "Nifty 50") -> pl.DataFrame:
    rows = [(day, index, close, close, close, close) for day, close in closes.items()]
    names = ("trade_date", "index_name", "open", "high", "low", "close")
    schema = dict.fromkeys(names, pl.Float64) | {"trade_date": pl.Date, "index_name": pl.String}
    return pl.DataFrame(rows, schema=schema, orient="row")


NO_BARS = bars({})


def history(
    metrics: pl.DataFrame, index_close: pl.DataFrame = NO_BARS, days: list[date] | None = None
) -> pl.DataFrame:
    rows = volatility_history(metrics, index_close, days or [TODAY], DAYS)
    TABLES[TABLE].pandera.validate(rows)
    return rows


def today(metrics: pl.DataFrame, index_close: pl.DataFrame = NO_BARS) -> dict[str, Any]:
    return history(metrics, index_close).row(0, named=True)


def test_total_variance_runs_straight_between_the_expiries_around_30_days() -> None:
    """20 and 40 days at 10 % and 20 %: total variance (0.01 x 20 + 0.04 x 40) / 2 = 0.9 of days."""
    near, following = (TODAY + timedelta(days=n) for n in (20, 40))
    others = [expiry_row(TODAY, TODAY + timedelta(days=n), 0.9) for n in (6, 13, 47)]
    rows = [expiry_row(TODAY, near, 0.1), expiry_row(TODAY, following, 0.2), *others]
    row = constant_maturity(frame(rows)).row(0, named=True)
    assert row["iv_30d"] == pytest.approx(sqrt(0.9 / 30))
    assert (row["iv_30d_near_expiry"], row["iv_30d_next_expiry"]) == (near, following)
    assert (row["iv_30d_near"], row["iv_30d_next"]) == (0.1, 0.2)
    exact = expiry_row(TODAY, TODAY + timedelta(days=30), 0.17)
    assert constant_maturity(frame([*rows, exact]))["iv_30d"][0] == pytest.approx(0.17)


@pytest.mark.parametrize(
    ("held", "reason"),
    [
        ({10: 0.1, 20: 0.1}, "not_bracketed"),
        ({40: 0.1, 60: 0.1}, "not_bracketed"),
        ({0: 0.1, 40: 0.1}, "not_bracketed"),  # over by the close
        ({20: 0.1, 40: None}, "not_bracketed"),
        ({20: None, 40: None}, "no_atm_iv"),
        ({20: 0.1, 27: None, 33: None, 40: 0.1}, None),
    ],
)
def test_nothing_is_extrapolated(held: dict[int, float | None], reason: str | None) -> None:
    rows = [expiry_row(TODAY, TODAY + timedelta(days=n), iv) for n, iv in held.items()]
    row = today(frame(rows))
    assert row["iv_30d_reason"] == reason
    assert (row["iv_30d"] is None) == (reason is not None)
    assert row["iv_rank_reason"] == ("no_iv" if reason else "too_few_days")
    assert row["ex_ante_reason"] == ("no_iv" if reason else "missing_closes")


def ladder(n: int, *, last: float) -> pl.DataFrame:
    """Volatilities of 10 %, 11 %, ... 19 % over and over, and `last` today."""
    days = DAYS[-n:]
    ivs = [0.10 + i % 10 / 100 for i in range(n - 1)] + [last]
    return frame([row for day, iv in zip(days, ivs, strict=True) for row in level(iv, day)])


def test_rank_and_percentile_by_hand() -> None:
    """101 days: 100 evenly over 10 % to 19 %; 70 of them lie below 16.5 %."""
    row = today(ladder(101, last=0.165))
    assert row["iv_history_n"] == 101
    assert row["iv_rank"] == pytest.approx(6.5 / 9)
    assert row["iv_percentile"] == pytest.approx(70 / 101)
    assert row["iv_rank_reason"] is None
    top = today(ladder(101, last=0.3))
    assert (top["iv_rank"], top["iv_percentile"]) == (1.0, 100 / 101)


def test_a_rank_needs_60_days_and_looks_back_252_sessions() -> None:
    short = today(ladder(59, last=0.165))
    assert (short["iv_rank"], short["iv_percentile"]) == (None, None)
    assert (short["iv_rank_reason"], short["iv_history_n"]) == ("too_few_days", 59)
    assert today(ladder(60, last=0.165))["iv_rank"] is not None
    old = frame(level(0.9, DAYS[-253]))
    long = today(pl.concat([ladder(252, last=0.165), old]))
    assert long["iv_history_n"] == 252
    assert long["iv_rank"] == pytest.approx(6.5 / 9)
    inside = today(pl.concat([ladder(251, last=0.165), frame(level(0.9, DAYS[-252]))]))
    assert inside["iv_rank"] == pytest.approx(6.5 / 80)


def test_missing_days_are_not_counted_and_unchanging_ones_have_no_rank() -> None:
    gone = set(DAYS[-90:-50])
    row = today(ladder(110, last=0.165).filter(~pl.col("trade_date").is_in(gone)))
    assert row["iv_history_n"] == 70
    same = frame([row for day in DAYS[-80:] for row in level(0.12, day)])
    row = today(same)
    assert row["iv_rank_reason"] == "no_variation"
    assert (row["iv_rank"], row["iv_percentile"]) == (None, 0.0)


def rising(days: list[date], by: float = 0.01) -> pl.DataFrame:
    """Closes that rise by one percent (or so) every session."""
    return bars({day: 20_000 * (1 + by) ** i for i, day in enumerate(days)})


def test_realised_windows_need_every_session_of_theirs() -> None:
    whole = today(frame(level(0.2)), rising(DAYS[-31:]))
    for window in (10, 20, 30):
        assert whole[f"realised_{window}"] == pytest.approx(log(1.01) * sqrt(252))
    assert whole["realised_n"] == 30
    short = today(frame(level(0.2)), rising(DAYS[-25:]))
    assert short["realised_n"] == 24
    assert short["realised_20"] is not None
    assert short["realised_30"] is None
    broken = rising(DAYS[-31:]).filter(pl.col("trade_date") != DAYS[-15])
    gap = today(frame(level(0.2)), broken)
    assert gap["realised_n"] == 13
    assert gap["realised_10"] == pytest.approx(log(1.01) * sqrt(252))
    assert (gap["realised_20"], gap["yang_zhang_20"], gap["realised_since_then"]) == (None,) * 3
    assert gap["ex_ante_reason"] == "missing_closes"


def test_yang_zhang_windows_by_hand() -> None:
    """Every session opens at the close before, falls 1 %, rises to 2 % and closes at 1 %: neither
    the night nor the move from open to close varies, so (1 - k) x Rogers and Satchell's is left.
    """
    opens = [20_000 * 1.01**i for i in range(31)]
    moves = {"open": 1.0, "high": 1.02, "low": 0.99, "close": 1.01}
    days = pl.DataFrame({"trade_date": DAYS[-31:], "index_name": "Nifty 50"}).with_columns(
        pl.Series(name, [start * move for start in opens]) for name, move in moves.items()
    )
    row = today(frame(level(0.2)), days)
    session = log(1.02 / 1.01) * log(1.02) + log(0.99 / 1.01) * log(0.99)
    for window in (10, 20, 30):
        k = 0.34 / (1.34 + (window + 1) / (window - 1))
        assert row[f"yang_zhang_{window}"] == pytest.approx(sqrt(252 * (1 - k) * session))


def test_variance_premiums_by_hand() -> None:
    """15 % then, 20 % now, one percent a session in between."""
    start = next(day for day in reversed(DAYS) if (TODAY - day).days >= 30)
    metrics = frame([*level(0.15, start), *level(0.20)])
    row = today(metrics, rising([day for day in DAYS if day >= start]))
    realised = 252 * log(1.01) ** 2
    assert (row["window_start"], row["iv_30d_then"]) == (start, pytest.approx(0.15))
    assert row["realised_since_then"] == pytest.approx(sqrt(realised))
    assert row["variance_premium_ex_ante"] == pytest.approx(0.20**2 - realised)
    assert row["variance_premium_ex_post"] == pytest.approx(0.15**2 - realised)
    later = today(frame(level(0.20)), rising([day for day in DAYS if day >= start]))
    assert later["variance_premium_ex_post"] is None
    assert later["ex_post_reason"] == "no_iv"


def test_an_index_without_closes_has_no_realised_volatility() -> None:
    sensex = frame(level(0.2)).with_columns(underlying=pl.lit("SENSEX"))
    row = history(sensex, rising(DAYS)).row(0, named=True)
    assert row["realised_n"] == 0
    assert (row["iv_30d"], row["ex_ante_reason"]) == (pytest.approx(0.2), "missing_closes")


def weekly(n: int, spots: list[float], **stated: Any) -> pl.DataFrame:
    """`n` expiries, one every fifth session up to today, that ended at `spots`."""
    rows = []
    for i, spot in enumerate(spots):
        at = len(DAYS) - 1 - 5 * (n - 1 - i)
        rows.append(expiry_row(DAYS[at - 5], DAYS[at], 0.1, **stated))
        rows.append(expiry_row(DAYS[at], DAYS[at], None, spot=spot))
    return frame(rows)


def test_moves_kept_by_hand() -> None:
    """Ends 0, 90, ... off a forward of 24,000: within 100 six times, within 125 eight times."""
    ends = [24_000.0, 24_090, 23_910, 24_100, 23_900, 24_099, 24_110, 23_876, 24_126, 23_000]
    row = today(weekly(10, ends))
    assert (row["inside_straddle_n"], row["inside_iv_n"]) == (10, 10)
    assert row["inside_straddle_share"] == 0.6
    assert row["inside_iv_share"] == 0.8
    few = today(weekly(9, ends[1:]))
    assert (few["inside_straddle_share"], few["inside_straddle_n"]) == (None, 9)
    unstated = today(weekly(10, ends, expected_move_straddle=None))
    assert (unstated["inside_straddle_n"], unstated["inside_iv_n"]) == (0, 10)


def test_the_record_looks_back_252_sessions() -> None:
    row = today(weekly(60, [24_000.0] * 60))
    assert row["inside_iv_n"] == 1 + (252 - 5) // 5
    assert row["inside_iv_share"] == 1.0


def test_the_nearest_expiry_is_one_that_is_not_over() -> None:
    near, later = TODAY + timedelta(days=4), TODAY + timedelta(days=11)
    rows = [
        expiry_row(TODAY, TODAY, None, expected_move_iv=1.0),
        expiry_row(TODAY, later, 0.1, expected_move_iv=3.0),
        expiry_row(TODAY, near, 0.1, expected_move_iv=2.0, expected_move_straddle=None),
    ]
    row = today(frame(rows))
    assert (row["nearest_expiry"], row["expected_move_iv"]) == (near, 2.0)
    assert row["expected_move_straddle"] is None


def random_market() -> tuple[pl.DataFrame, pl.DataFrame]:
    """Two indices over all days with weekly expiries; one day in twelve is not held."""
    rng = np.random.default_rng(3)
    metrics, closes = [], []
    for name, index in (("NIFTY", "Nifty 50"), ("BANKNIFTY", "Nifty Bank")):
        levels = 20_000 * np.exp(np.cumsum(rng.normal(0, 0.01, len(DAYS))))
        held = rng.random(len(DAYS)) > 1 / 12
        for i, (day, spot) in enumerate(zip(DAYS, levels, strict=True)):
            if held[i]:
                ends = (DAYS[0] + timedelta(days=7 * n) for n in range(70))
                metrics += [
                    expiry_row(
                        day, end, float(rng.uniform(0.08, 0.3)), underlying=name, spot=spot,
                        forward=spot, expected_move_straddle=float(rng.uniform(200, 900)),
                    )
                    for end in ends
                    if 0 <= (end - day).days <= 60
                ]  # fmt: skip
        kept = rng.random(len(DAYS)) > 0.02
        closes.append(bars({d: x for d, x, k in zip(DAYS, levels, kept, strict=True) if k}, index))
    return frame(metrics), pl.concat(closes)


def test_days_together_or_one_by_one_are_the_same_to_the_bit_and_nothing_looks_ahead() -> None:
    """Each day alone is given nothing later, and no more of the past than it says it needs."""
    metrics, closes = random_market()
    days = DAYS[-70:]
    together = history(metrics, closes, days)
    assert together["iv_rank"].count() > 100
    assert together["inside_straddle_share"].count() > 100
    assert together["variance_premium_ex_post"].count() > 20
    for day in days[::6]:
        at = DAYS.index(day)

        def span(rows: pl.DataFrame, before: int, at: int = at) -> pl.DataFrame:
            return rows.filter(pl.col("trade_date").is_in(DAYS[max(0, at - before) : at + 1]))

        alone = volatility_history(span(metrics, 252), span(closes, 30), [day], DAYS[: at + 1])
        assert alone.equals(together.filter(pl.col("trade_date") == day))


def test_no_rows_and_stray_days() -> None:
    assert history(frame([])).is_empty()
    saturday = TODAY + timedelta(days=(5 - TODAY.weekday()) % 7)
    with pytest.raises(ValueError, match="not one of the sessions"):
        volatility_history(frame(level(0.2, saturday)), NO_BARS, [saturday], DAYS)
