"""A premium beside its own past: comparable sessions, percentiles, and the overlay.

Belongs here: which earlier sessions compare with a moment, whether they were of another regime,
and what follows from the sample. Does not belong here: the premiums (`premium`), the calendar.

Two sessions compare when they are equally many sessions from the expiry, or the same weekday; and
the bucket, the offset and the time of day are the same. A sample never looks at its own day or
beyond, so a date is the same whichever dates are computed with it.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import date, datetime, time
from functools import lru_cache
from typing import Final

import polars as pl

from optrade.calendar import IST, TradingCalendar
from optrade.chain.bars import MINUTE
from optrade.division import quotient
from optrade.expiries import load_rules
from optrade.tables import TABLES
from optrade.tables.premium import COMPARISONS, REGIME_CHANGES, VARIANTS

HISTORY_SESSIONS: Final = 250
"""How many previous trading days a history looks back over: about a year."""
MINIMUM_SESSIONS: Final = 8
"""Under so many (two for each quarter of the sample) there are no quartiles and no percentile."""

_OVERLAY: Final = TABLES["analytics.premium_overlay"]
_SAME: Final = ("underlying", "expiry_bucket", "kind", "strike_offset", "time")
_USUAL_CLOSE: Final = time(15, 30)
_WEEKLY_BUCKETS: Final = ("this_week", "next_week")
_OF_ROW: Final = (
    "trade_date", "grain", "snapshot_at", "underlying", "expiry", "expiry_bucket",
    "strike_offset", "kind", "sessions_to_expiry", "lot_size", "source", "ordinal", "time",
    "weekday", "expiry_weekday",
)  # fmt: skip
_THEN: Final = "_then"


def with_sessions(rows: pl.DataFrame, calendar: TradingCalendar) -> pl.DataFrame:
    """The rows with `sessions_to_expiry`; null where the expiry is beyond the calendar."""
    pairs = rows.select("trade_date", "expiry").unique()
    counted = [
        calendar.sessions_between(day, expiry) if expiry <= calendar.last else None
        for day, expiry in pairs.iter_rows()
    ]
    pairs = pairs.with_columns(sessions_to_expiry=pl.Series(counted, dtype=pl.Int64))
    return rows.join(pairs, on=["trade_date", "expiry"], how="left")


def with_percentiles(
    rows: pl.DataFrame,
    history: pl.DataFrame,
    calendar: TradingCalendar,
    minimum: int = MINIMUM_SESSIONS,
) -> pl.DataFrame:
    """The rows with percentile, history_n, same_regime_n and percentile_reason.

    Both frames have the columns of a table of premium, with sessions_to_expiry. The percentile
    is the share of the comparable earlier sessions with a lower close_premium_pct; null under
    `minimum` of them.
    """
    value = pl.col("close_premium_pct")
    wanted = _placed(rows, calendar).with_row_index("row")
    past = _placed(history, calendar).drop_nulls("close_premium_pct")
    lower = pl.col(f"close_premium_pct{_THEN}") < value
    found = (
        _beside(wanted, past, "sessions_to_expiry", ["close_premium_pct"])
        .group_by("row")
        .agg(
            history_n=pl.len().cast(pl.Int64), same_regime_n=_same_regime().sum(), below=lower.sum()
        )
    )
    n = pl.col("history_n")
    reason = (
        pl.when(value.is_null())
        .then(pl.lit("no_premium"))
        .when(pl.col("sessions_to_expiry").is_null())
        .then(pl.lit("calendar_ends"))
        .when(n < minimum)
        .then(pl.lit("too_few_sessions"))
    )
    return (
        wanted.join(found, on="row", how="left")
        .with_columns(pl.col("history_n", "same_regime_n").fill_null(0))
        .with_columns(percentile_reason=reason)
        .with_columns(
            percentile=pl.when(pl.col("percentile_reason").is_null()).then(
                quotient(pl.col("below") * 100, n)
            )
        )
    )


def premium_overlay(
    premiums: pl.DataFrame,
    dates: Collection[date],
    calendar: TradingCalendar,
    minimum: int = MINIMUM_SESSIONS,
) -> pl.DataFrame:
    """`analytics.premium_overlay` of `dates`, from rows of a table of premium.

    `premiums` are rows of `analytics.premium_close`, or of `premium_minute` at some minutes, of
    the dates and of the `HISTORY_SESSIONS` sessions before. A row by minute needs at least one
    comparable session that has the minute. Quartiles are linear between order statistics
    (definition 7 of Hyndman and Fan, *Sample quantiles in statistical packages*, 1996).
    """
    every = _placed(_timed(premiums, calendar), calendar)
    every = pl.concat([_variant(every, name, column) for name, column in _PREMIUM_OF.items()])
    past = every.drop_nulls(["premium", "premium_pct"])
    wanted = every.filter(pl.col("trade_date").is_in(list(dates))).with_row_index("row")
    rows = [_compared(wanted, past, comparison, minimum) for comparison in COMPARISONS]
    whole = pl.concat(rows)
    return _OVERLAY.conform(whole.filter((pl.col("grain") == "close") | (pl.col("n") > 0)))


_PREMIUM_OF: Final = dict(zip(VARIANTS, ("close_premium", "fixed_premium"), strict=True))


def _variant(every: pl.DataFrame, name: str, column: str) -> pl.DataFrame:
    return every.select(
        *_OF_ROW,
        variant=pl.lit(name),
        premium=pl.col(column),
        premium_pct=quotient(pl.col(column), pl.col("spot")) * 100,
    )


def _compared(
    wanted: pl.DataFrame, past: pl.DataFrame, comparison: str, minimum: int
) -> pl.DataFrame:
    """The wanted rows beside their history by one comparison."""
    names = ("premium", "premium_pct")
    weekday = pl.col("expiry_weekday") != pl.col(f"expiry_weekday{_THEN}")
    enough = pl.len() >= minimum
    points = {"lower_quartile": 0.25, "median": 0.5, "upper_quartile": 0.75}
    found = (
        _beside(wanted, past, comparison, names, also=("variant",))
        .group_by("row")
        .agg(
            n=pl.len().cast(pl.Int64),
            same_regime_n=_same_regime().sum(),
            other_weekday_n=weekday.sum(),
            other_lot_n=_other_lot().sum(),
            **{
                f"{point}_{name.removeprefix('premium_')}": pl.when(enough).then(
                    pl.col(f"{name}{_THEN}").quantile(level, "linear")
                )
                for name in names
                for point, level in points.items()
            },
        )
    )
    counts = ("n", "same_regime_n", "other_weekday_n", "other_lot_n")
    rows = wanted.join(found, on="row", how="left").with_columns(
        pl.col(counts).fill_null(0), comparison=pl.lit(comparison)
    )
    return rows.with_columns(
        crosses_regime=pl.col("same_regime_n") < pl.col("n"),
        regime_change=_regime_change(),
        reason=_reason(comparison, minimum),
    )


def _regime_change() -> pl.Expr:
    weekday, lot = pl.col("other_weekday_n") > 0, pl.col("other_lot_n") > 0
    words = dict(zip(REGIME_CHANGES, (weekday & ~lot, lot & ~weekday, weekday & lot), strict=True))
    return pl.coalesce(pl.when(holds).then(pl.lit(word)) for word, holds in words.items())


def _reason(comparison: str, minimum: int) -> pl.Expr:
    unknown = pl.col("sessions_to_expiry").is_null() & (comparison == "sessions_to_expiry")
    return (
        pl.when(unknown)
        .then(pl.lit("calendar_ends"))
        .when(pl.col("n") < minimum)
        .then(pl.lit("too_few_sessions"))
        .when(pl.col("premium_pct").is_null())
        .then(pl.lit("no_premium"))
    )


def _beside(
    wanted: pl.DataFrame,
    past: pl.DataFrame,
    comparison: str,
    figures: Collection[str],
    also: tuple[str, ...] = (),
) -> pl.DataFrame:
    """Each wanted row once for every earlier session that compares, with its `figures` then."""
    key = [*_SAME, *also, comparison]
    carried = ("ordinal", "expiry_weekday", "lot_size", *figures)
    ago = pl.col("ordinal") - pl.col(f"ordinal{_THEN}")
    return (
        wanted.select("row", *key, *carried)
        .join(past.select(*key, pl.col(carried).name.suffix(_THEN)), on=key)
        .filter((ago > 0) & (ago <= HISTORY_SESSIONS))
    )


def _other_lot() -> pl.Expr:
    return (pl.col("lot_size") != pl.col(f"lot_size{_THEN}")).fill_null(value=True)


def _same_regime() -> pl.Expr:
    return ~_other_lot() & (pl.col("expiry_weekday") == pl.col(f"expiry_weekday{_THEN}"))


def _placed(rows: pl.DataFrame, calendar: TradingCalendar) -> pl.DataFrame:
    """The rows with what comparisons go by: ordinal of the session, weekday, time, rule's weekday.

    The ordinal counts sessions of the calendar, so that a day that is not held leaves its place.
    """
    days = rows.select("trade_date").unique()
    ordinals = [calendar.sessions_between(calendar.first, day) for day in days["trade_date"]]
    days = days.with_columns(ordinal=pl.Series(ordinals, dtype=pl.Int64))
    terms = rows.select("underlying", "expiry", "expiry_bucket").unique()
    weekdays = [expiry_weekday(*term) for term in terms.iter_rows()]
    terms = terms.with_columns(expiry_weekday=pl.Series(weekdays, dtype=pl.Int64))
    minute = pl.col("minute").dt
    of_day = minute.hour().cast(pl.Int64) * 60 + minute.minute()
    return (
        rows.join(days, on="trade_date", how="left")
        .join(terms, on=["underlying", "expiry", "expiry_bucket"], how="left")
        .with_columns(
            time=of_day if "minute" in rows.columns else pl.lit(0, pl.Int64),
            weekday=pl.col("trade_date").dt.weekday(),
        )
    )


def _timed(rows: pl.DataFrame, calendar: TradingCalendar) -> pl.DataFrame:
    """The rows with their grain and the moment they are of."""
    if "minute" in rows.columns:
        return rows.with_columns(grain=pl.lit("minute"), snapshot_at=pl.col("minute") + MINUTE)
    days = rows.select("trade_date").unique()
    closes = [
        calendar.session(day).close or datetime.combine(day, _USUAL_CLOSE, IST)
        for day in days["trade_date"]
    ]
    moments = pl.Series("snapshot_at", closes, pl.Datetime("us", "UTC"))
    days = days.with_columns(moments.cast(_OVERLAY.schema["snapshot_at"]), grain=pl.lit("close"))
    return rows.join(days, on="trade_date", how="left")


@lru_cache(maxsize=4096)
def expiry_weekday(underlying: str, expiry: date, bucket: str) -> int:
    """The weekday (0 is Monday) on which the contracts of a bucket expired by the rule then.

    A holiday moves an expiry but is no change of regime, so the published rule is asked; where
    there is none, the expiry's own weekday.
    """
    cycles = ("weekly", "monthly") if bucket in _WEEKLY_BUCKETS else ("monthly",)
    for cycle in cycles:
        for rule in load_rules():
            in_force = rule.valid_from <= expiry <= (rule.valid_to or date.max)
            if rule.underlying == underlying and rule.cycle == cycle and in_force:
                return rule.weekday
    return expiry.weekday()
