"""What each label was worth so far: its returns against those of all days, tested and corrected.

Belongs here: forward returns, the record of a label as known on a day, and its verdict. Does not
belong here: making labels (`labels`), the tests' arithmetic (`inference`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from itertools import pairwise
from typing import Any, Final

import numpy as np
import polars as pl

from optrade.signals.inference import Array, binomial, disjoint, holm, mean_difference
from optrade.signals.labels import available_from, with_entries
from optrade.tables.signals import SCORECARD

RECORD_SESSIONS: Final = 500
"""How many sessions the record looks back over."""
HORIZONS: Final = (1, 5)
"""Sessions a return spans."""
ENOUGH: Final = 30
"""Independent days of a label, and other days, under which nothing is tested."""
LEVEL: Final = 0.05
"""A label shows an edge when its corrected p-value is at most this."""
INDEX: Final = "Nifty 50"
DIRECTIONS: Final = {"BULLISH": 1.0, "BEARISH": -1.0, "NEUTRAL": 0.0}
_LAG: Final = 1
"""Sessions from a label's day to the close its return begins at."""


@dataclass(frozen=True)
class Series:
    """One signal under one rule, over the sessions; NaN where it has no label."""

    signal: str
    rule: str
    side: Array
    lead_hours: Array


@dataclass(frozen=True)
class Market:
    """NIFTY over the sessions; NaN where not known.

    `returns[i]` goes from session i - 1 to i; `forward` has, by horizon, the return that belongs
    to a label of each session.
    """

    sessions: list[date]
    returns: Array
    forward: Mapping[int, Array]


def scorecard(
    labels: pl.DataFrame,
    index_close: pl.DataFrame,
    dates: Collection[date],
    sessions: Collection[date],
    closes: Mapping[date, datetime],
) -> pl.DataFrame:
    """Return the `analytics.scorecard` rows of those `dates` that have a label.

    `labels` are what `labels` returns and `index_close` rows of `raw.index_close`, both of the
    dates and of the `RECORD_SESSIONS` before; `sessions` the calendar's trading days over the
    same span and `closes` the moment (timezone-aware) each of them closed. A row of a date uses
    only returns that ended by that date.

    Raises `LookAhead` when a label could only be known after its return had begun, and
    `KeyError` when a date or label is on no session.
    """
    ordered = sorted(set(sessions))
    following = dict(pairwise(ordered))
    returns = _returns(index_close, ordered)
    market = Market(ordered, returns, {h: _forward(returns, h) for h in HORIZONS})
    place = {day: i for i, day in enumerate(ordered)}
    known = list(_series(with_entries(labels, following, closes), place))
    sources = dict(labels.group_by("trade_date").agg(pl.col("source").first()).iter_rows())
    rows = [
        {"trade_date": day, "source": sources[day], **row}
        for day in sorted(set(dates) & set(sources))
        for row in _day(known, market, place[day])
    ]
    names = {n: t for n, t in SCORECARD.schema.items() if n != "available_from"}
    frame = pl.DataFrame(rows, schema=names, orient="row")
    return SCORECARD.conform(frame.with_columns(available_from=available_from()))


def _returns(index_close: pl.DataFrame, sessions: list[date]) -> Array:
    rows = index_close.filter(pl.col("index_name") == INDEX).select("trade_date", "close")
    held = dict(rows.iter_rows())
    levels = np.array([held.get(day, np.nan) for day in sessions], dtype=np.float64)
    return np.concatenate([[np.nan], np.diff(np.log(levels))])[: len(levels)]


def _forward(returns: Array, horizon: int) -> Array:
    """The sum of the returns that a label of each session is judged by."""
    n = len(returns)
    total = np.zeros(n)
    for ahead in range(_LAG + 1, _LAG + 1 + horizon):
        later = np.full(n, np.nan)
        later[: max(n - ahead, 0)] = returns[ahead:]
        total += later
    return total


def _series(labels: pl.DataFrame, place: Mapping[date, int]) -> Iterator[Series]:
    """The signals, each over all sessions."""
    for (signal, rule), rows in labels.sort("signal", "rule", "trade_date").group_by(
        "signal", "rule", maintain_order=True
    ):
        at = [place[day] for day in rows["trade_date"]]
        side, lead = np.full((2, len(place)), np.nan)
        side[at] = [DIRECTIONS[label] for label in rows["label"]]
        lead[at] = rows["lead_hours"].to_numpy()
        yield Series(str(signal), str(rule), side, lead)


def _day(known: list[Series], market: Market, today: int) -> list[dict[str, Any]]:
    """Every record as it stood on one session."""
    first = max(0, today - RECORD_SESSIONS + 1)
    rows = [
        _record(series, market, label, horizon, first, today)
        for series in known
        if np.isfinite(series.side[first : today + 1]).any()
        for label in DIRECTIONS
        for horizon in HORIZONS
    ]
    for given, corrected in (("p_value", "p_adjusted"), ("hit_p_value", "hit_p_adjusted")):
        tested = [row for row in rows if row[given] is not None]
        for row, value in zip(tested, holm([row[given] for row in tested]), strict=True):
            row[corrected] = value
    for row in rows:
        row["verdict"] = _verdict(row)
    return rows


def _record(
    series: Series, market: Market, label: str, horizon: int, first: int, today: int
) -> dict[str, Any]:
    """One label's record over one horizon, before correction."""
    last = today - _LAG - horizon  # The last session whose return has ended by today.
    span = slice(first, max(last + 1, first))
    side, forward = series.side[span], market.forward[horizon][span]
    valid = np.isfinite(side) & np.isfinite(forward)
    direction = DIRECTIONS[label]
    mine = valid & (side == direction)
    apart = disjoint(np.flatnonzero(mine), horizon)
    n, all_n = int(mine.sum()), int(valid.sum())
    row: dict[str, Any] = {
        "signal": series.signal,
        "rule": series.rule,
        "label": label,
        "horizon_sessions": horizon,
        "current": bool(series.side[today] == direction),
        "n": n,
        "independent_n": len(apart),
        "all_n": all_n,
        "mean_return": float(forward[mine].mean()) if n else None,
        "unconditional_return": float(forward[valid].mean()) if all_n else None,
        "last_outcome_date": None,
        "lead_hours": None,
    }
    row |= dict.fromkeys(("t_statistic", "p_value", "p_adjusted", "hit_rate", "base_rate"))
    row |= dict.fromkeys(("hit_p_value", "hit_p_adjusted"))
    if all_n:
        latest = first + int(np.flatnonzero(valid)[-1])
        row["last_outcome_date"] = market.sessions[latest + _LAG + horizon]
        row["lead_hours"] = float(series.lead_hours[span][valid].min())
    enough = len(apart) >= ENOUGH and all_n - n >= ENOUGH
    if direction and all_n:
        hit = direction * forward > 0
        row["base_rate"] = float(hit[valid].mean())
        row["hit_rate"] = float(hit[mine].mean()) if n else None
        if enough:
            row["hit_p_value"] = binomial(int(hit[apart].sum()), len(apart), row["base_rate"])
    if direction and enough:
        returns = market.returns[first : today + 1]
        found = mean_difference(mine, valid, forward, returns, _LAG, horizon)
        row["t_statistic"], row["p_value"] = found
    return row


def _verdict(row: Mapping[str, Any]) -> str:
    direction = DIRECTIONS[row["label"]]
    if not direction:
        return "no_claim"
    if row["p_value"] is None:
        return "too_few"
    if row["p_adjusted"] > LEVEL:
        return "no_edge_shown"
    return "edge_shown" if row["t_statistic"] * direction > 0 else "contrary_shown"
