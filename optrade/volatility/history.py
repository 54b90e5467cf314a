"""A day's volatility against its own past.

Belongs here: 30-day volatility, its rank, what implied variance paid over realised, and the frame
of all of them. Does not belong here: estimators (`realised`), the record of expected moves
(`expected_move`), one expiry's volatility (`optrade.chain.metrics`).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from math import isfinite
from typing import Any, Final

import numpy as np
import polars as pl

from optrade.contracts import UNDERLYINGS
from optrade.division import quotient
from optrade.tables.volatility import REALISED_WINDOWS, VOLATILITY_HISTORY
from optrade.volatility.expected_move import expected_moves, inside_records
from optrade.volatility.realised import Array, Bars, close_to_close, unbroken, yang_zhang

LOOKBACK_SESSIONS: Final = 252
"""Sessions a rank looks back over with the day itself, and a record without it."""
RANK_MINIMUM: Final = 60
CLOSE_SESSIONS: Final = max(REALISED_WINDOWS)
"""Sessions before a day whose index closes its row needs: more than fit into 30 calendar days."""
INDEX_DAYS: Final = 30
_YEARS: Final = INDEX_DAYS / 365
_KEY: Final = ("trade_date", "underlying")
Row = dict[str, Any]


@dataclass(frozen=True)
class _Series:
    """One underlying over the sessions; NaN where not known."""

    iv: Array
    bars: Bars


def volatility_history(
    metrics: pl.DataFrame,
    index_close: pl.DataFrame,
    dates: Collection[date],
    sessions: Collection[date],
) -> pl.DataFrame:
    """`analytics.volatility_history` of those `dates`, one row for each underlying in `metrics`.

    - `metrics`: rows of `analytics.chain_metrics_close`, of the dates and of the
      `LOOKBACK_SESSIONS` before them
    - `index_close`: rows of `raw.index_close`, of the dates and of the `CLOSE_SESSIONS` before
    - `sessions`: the calendar's trading days over the same span or more

    A row uses nothing later than its own day, and no more of the past than stated above.

    Raises `ValueError` when one of the dates has rows and is not one of the `sessions`.
    """
    ordered = sorted(set(sessions))
    place = {day: i for i, day in enumerate(ordered)}
    volatility = constant_maturity(metrics)
    wanted = volatility.filter(pl.col("trade_date").is_in(list(dates)))
    if strays := set(wanted["trade_date"]) - set(place):
        raise ValueError(
            f"metrics on {min(strays)}, which is not one of the sessions given; "
            "pass the calendar's trading days over the whole span"
        )
    series = {
        name: _Series(
            _laid_out(volatility.filter(pl.col("underlying") == name), "iv_30d", place),
            _bars(index_close, name, place),
        )
        for name in wanted["underlying"].unique()
    }
    rows = [
        row | _compared(series[row["underlying"]], place[row["trade_date"]], ordered)
        for row in wanted.iter_rows(named=True)
    ]
    compared = pl.DataFrame(rows, schema=_COMPARED)
    records = inside_records(metrics, wanted.select(_KEY), ordered, LOOKBACK_SESSIONS)
    return VOLATILITY_HISTORY.conform(
        compared.join(expected_moves(metrics), on=_KEY, how="left").join(records, on=_KEY)
    )


_COMPARED: Final = {
    name: dtype
    for name, dtype in VOLATILITY_HISTORY.schema.items()
    if not name.startswith(("inside_", "expected_", "nearest_"))
}


def constant_maturity(metrics: pl.DataFrame) -> pl.DataFrame:
    """Volatility at the money 30 calendar days ahead, one row for each day and underlying.

    Total variance is taken to be linear in time between the nearest expiries on both sides that
    have a volatility; beyond the expiries held there is none.

    Columns: trade_date, underlying, source, iv_30d, iv_30d_reason, and for `near` and `next`
    iv_30d_*_expiry and iv_30d_*.
    """
    years, iv = pl.col("years_to_expiry"), pl.col("atm_iv")
    known = iv.is_not_null() & (years > 0)
    near, following = known & (years <= _YEARS), known & (years >= _YEARS)
    ends = (
        metrics.sort(*_KEY, "years_to_expiry")
        .group_by(_KEY, maintain_order=True)
        .agg(
            pl.col("source").first(),
            iv_30d_near_expiry=pl.col("expiry").filter(near).last(),
            iv_30d_next_expiry=pl.col("expiry").filter(following).first(),
            iv_30d_near=iv.filter(near).last(),
            iv_30d_next=iv.filter(following).first(),
            near_years=years.filter(near).last(),
            next_years=years.filter(following).first(),
            any_iv=known.any(),
        )
    )
    first, last = pl.col("near_years"), pl.col("next_years")
    share = pl.when(last > first).then(quotient(_YEARS - first, last - first)).otherwise(0.0)
    start, end = (pl.col(f"iv_30d_{at}") ** 2 * pl.col(f"{at}_years") for at in ("near", "next"))
    total = pl.when(last.is_not_null()).then((1 - share) * start + share * end)
    return ends.with_columns(
        iv_30d=(total / _YEARS).sqrt(),
        iv_30d_reason=pl.when(total.is_null()).then(
            pl.when("any_iv").then(pl.lit("not_bracketed")).otherwise(pl.lit("no_atm_iv"))
        ),
    ).drop("near_years", "next_years", "any_iv")


def _laid_out(rows: pl.DataFrame, column: str, place: Mapping[date, int]) -> Array:
    """A column of one underlying over the sessions."""
    values = np.full(len(place), np.nan)
    for day, value in rows.select("trade_date", column).drop_nulls().iter_rows():
        if day in place:
            values[place[day]] = value
    return values


def _bars(index_close: pl.DataFrame, underlying: str, place: Mapping[date, int]) -> Bars:
    """The index's bars; a price that is not above zero is not known."""
    index = UNDERLYINGS[underlying].index_name if underlying in UNDERLYINGS else None
    rows = index_close.filter(pl.col("index_name").eq_missing(pl.lit(index)))
    names = ("open", "high", "low", "close")
    logs = rows.select(
        "trade_date", *(pl.when(pl.col(n) > 0).then(pl.col(n).log()).alias(n) for n in names)
    )
    return Bars(*(_laid_out(logs, name, place) for name in names))


def _compared(series: _Series, today: int, sessions: Sequence[date]) -> Row:
    """What of a day's row is its past's."""
    return (
        _rank(series.iv[max(0, today - LOOKBACK_SESSIONS + 1) : today + 1])
        | _realised(series.bars, today)
        | _premiums(series, today, sessions)
    )


def _rank(window: Array) -> Row:
    """Where the last value of a window stands among all of them."""
    known = window[np.isfinite(window)]
    n, now = len(known), window[-1]
    row: Row = {"iv_rank": None, "iv_percentile": None, "iv_history_n": n, "iv_rank_reason": None}
    if not isfinite(now):
        return row | {"iv_rank_reason": "no_iv"}
    if n < RANK_MINIMUM:
        return row | {"iv_rank_reason": "too_few_days"}
    least, most = known.min(), known.max()
    row["iv_percentile"] = float((known < now).sum()) / n
    if least == most:
        return row | {"iv_rank_reason": "no_variation"}
    return row | {"iv_rank": float((now - least) / (most - least))}


def _realised(bars: Bars, today: int) -> Row:
    row: Row = {"realised_n": unbroken(bars, today, CLOSE_SESSIONS)}
    for window in REALISED_WINDOWS:
        row[f"realised_{window}"] = _known(close_to_close(bars, today - window, today))
        row[f"yang_zhang_{window}"] = _known(yang_zhang(bars, today - window, today))
    return row


def _premiums(series: _Series, today: int, sessions: Sequence[date]) -> Row:
    """Implied variance less the variance realised over the 30 days up to today.

    Ex ante it is today's implied variance, ex post the one stated when those days began.
    """
    start = bisect_right(sessions, sessions[today] - timedelta(days=INDEX_DAYS)) - 1
    then = _known(series.iv[start]) if start >= 0 else None
    since = _known(close_to_close(series.bars, start, today))
    row: Row = {
        "window_start": sessions[start] if start >= 0 else None,
        "iv_30d_then": then,
        "realised_since_then": since,
    }
    for when, iv in (("ante", _known(series.iv[today])), ("post", then)):
        premium = None if iv is None or since is None else iv**2 - since**2
        reason = "no_iv" if iv is None else "missing_closes" if since is None else None
        row |= {f"variance_premium_ex_{when}": premium, f"ex_{when}_reason": reason}
    return row


def _known(value: float) -> float | None:
    return float(value) if isfinite(value) else None
