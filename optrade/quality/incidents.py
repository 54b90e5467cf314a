"""Incidents: opened by findings, followed, closed when the same is judged again and found well.

Belongs here: findings of rules, holes and runs in one shape, and how the incidents of a date
follow from them. Does not belong here: classes of cause (see `causes`), storing incidents,
carrying out what they suggest.

A finding and a judgement are told apart by table, date and subject. What was not judged again
leaves its incident as it is: silence is not health.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import date, datetime, timedelta
from typing import Any, Final

import polars as pl

from optrade.quality.causes import CAUSES, OF_GAP, component_of
from optrade.tables import TIMESTAMP
from optrade.tables.quality import INCIDENTS, TICK_GAPS

MOST_ATTEMPTS: Final = 3
"""So often something is tried without a person, then one is asked for."""
SETTLED: Final = timedelta(minutes=2)
_KEY: Final = ("trade_date", "table_name", "subject")
JUDGED: Final = {
    "trade_date": pl.Date(),
    "table_name": pl.String(),
    "subject": pl.String(),
    "well": pl.Boolean(),
    "severity": pl.String(),
    "cause": pl.String(),
    "evidence": pl.String(),
    "instruments": pl.String(),
    "found": pl.Float64(),
    "since": TIMESTAMP,
}
"""What was judged: `well` or not, and of what is not well the rest; `since` where it is known."""
ACCEPTED: Final = "accepted"
"""What stands for a rule where rows were refused or stored."""
PARTITION: Final = "partition"
"""The subject of a date that a run left failed."""
_ID_CHARS = 12


def of_checks(results: pl.DataFrame) -> pl.DataFrame:
    """Judgements in the newest evaluation of each rule on each date.

    `results`: rows of `quality.check_results`. What judges nothing is passed over: a rule without
    a verdict, and some minutes that pass, which do not speak for the rest of their day. Returns
    frame[JUDGED].
    """
    rule = ["trade_date", "table_name", "rule"]
    some_pass = pl.col("passed") & pl.col("scope").is_not_null()
    newest = (
        results.filter(pl.col("passed").is_not_null() & ~some_pass)
        .sort("evaluated_at")
        .unique(rule, keep="last", maintain_order=True)
    )
    told = pl.concat_str("detail", "sample", separator=": ", ignore_nulls=True)
    return newest.select(
        "trade_date",
        "table_name",
        subject="rule",
        well="passed",
        severity="severity",
        cause="cause",
        evidence=told,
        instruments=pl.lit(None, pl.String()),
        found="found",
        since=pl.lit(None, TIMESTAMP),
    ).select(pl.col(name).cast(dtype) for name, dtype in JUDGED.items())


def of_partitions(
    day: date, *, made: Iterable[str] = (), failed: Iterable[str] = ()
) -> pl.DataFrame:
    """Judgements of a date of tables (full names) that a run has `made`, or left `failed`.

    Returns frame[JUDGED].
    """
    rows = [
        dict.fromkeys(JUDGED)
        | {
            "trade_date": day,
            "table_name": name,
            "subject": PARTITION,
            "well": well,
            "severity": "ERROR",
            "cause": "run_failed",
            "evidence": f"the last run of {day} failed before it made {name}",
            "found": 0.0 if well else 1.0,
        }
        for well, names in ((True, made), (False, failed))
        for name in names
    ]
    return pl.DataFrame(rows, schema=JUDGED)


def of_gaps(gaps: pl.DataFrame, known: pl.DataFrame, now: datetime) -> pl.DataFrame:
    """Judgements of a day's holes: one that is open, or lacks minutes, is not well.

    `gaps`: rows of `quality.tick_gaps`; `known`: rows of `quality.incidents` of those dates. One
    that ended less than `SETTLED` ago is not judged yet: the ticks after it are on their way. One
    that is told no more, as of a segment that was put back, is well. Returns frame[JUDGED];
    `found` is the hole's length in seconds.
    """
    told_now = pl.col("subject").is_in(gaps["gap"].implode())
    of_holes = pl.col("cause").is_in(sorted(set(OF_GAP.values())))
    over = known.filter(of_holes, pl.col("status") != "closed", ~told_now).select(
        "trade_date", "table_name", "subject", "severity", "cause", "evidence", "instruments",
        well=True, found=0.0, since="opened_at",
    )  # fmt: skip
    before = pl.lit(now - SETTLED).cast(TIMESTAMP)
    gaps = gaps.filter(pl.col("ended_at").is_null() | (pl.col("ended_at") <= before))
    well = pl.col("ended_at").is_not_null() & (pl.col("unfilled_minutes") == 0)
    seconds = (pl.col("ended_at") - pl.col("started_at")).dt.total_milliseconds() / 1000
    until = pl.col("ended_at").dt.strftime("%H:%M:%S").fill_null("now")
    told = pl.concat_str(
        pl.col("started_at").dt.strftime("%H:%M:%S"),
        pl.lit(" to "),
        until,
        pl.lit(", "),
        pl.col("instruments").cast(pl.String()),
        pl.lit(" instruments: "),
        "cause",
        pl.concat_str(pl.lit(": "), "detail", ignore_nulls=False).fill_null(""),
        pl.format(
            "; instrument-minutes filled {}, not filled {}", "filled_minutes", "unfilled_minutes"
        ).fill_null(""),
    )
    judged = gaps.select(
        "trade_date",
        table_name=pl.lit(TICK_GAPS.full_name),
        subject="gap",
        well=well.fill_null(value=False),
        severity=pl.lit("ERROR"),
        cause=pl.col("cause").replace_strict(OF_GAP, return_dtype=pl.String()),
        evidence=told,
        instruments="instrument_tokens",
        found=seconds,
        since="started_at",
    )
    return pl.concat(
        frame.select(pl.col(name).cast(dtype) for name, dtype in JUDGED.items())
        for frame in (judged, over)
    )


def follow(
    known: pl.DataFrame, judged: pl.DataFrame, recoveries: pl.DataFrame, now: datetime
) -> pl.DataFrame:
    """The incidents of the judged dates, as they are from now on.

    - `known`: rows of `quality.incidents` of those dates
    - `judged`: frame[JUDGED], one row a table, date and subject
    - `recoveries`: rows of `quality.recoveries` of those dates

    What is not well and has no incident that stands gets one; one that stands keeps its beginning
    and takes the newest evidence; one that is well is closed. Attempts are counted from the
    recoveries, and `MOST_ATTEMPTS` of them escalate it.
    """
    over = pl.col("status") == "closed"
    ended, standing = known.filter(over), known.filter(~over)
    tried = recoveries.group_by("incident_id").agg(tries=pl.len().cast(pl.Int64()))
    followed = (
        standing.join(judged, on=_KEY, how="left", suffix="_now")
        .join(tried, on="incident_id", how="left")
        .with_columns(
            attempts=pl.col("tries").fill_null(0),
            evidence=pl.when(pl.col("well").eq(other=False))
            .then("evidence_now")
            .otherwise("evidence"),
        )
        .with_columns(
            status=pl.when("well")
            .then(pl.lit("closed"))
            .when(pl.col("attempts") >= MOST_ATTEMPTS)
            .then(pl.lit("escalated"))
            .otherwise("status"),
            found_before=pl.coalesce("found_before", "found"),
            closed_at=pl.when("well").then(pl.lit(now).cast(TIMESTAMP)),
            found_after=pl.when("well").then("found"),
        )
    )
    news = judged.filter(~pl.col("well")).join(standing, on=_KEY, how="anti")
    opened = pl.DataFrame(
        [_opened(row, now) for row in news.iter_rows(named=True)], INCIDENTS.schema
    )
    return INCIDENTS.conform(pl.concat([ended, followed.select(list(INCIDENTS.schema)), opened]))


def _opened(row: dict[str, Any], now: datetime) -> dict[str, Any]:
    """A new incident of a finding."""
    cause = CAUSES[row["cause"]]
    opened_at = row["since"] or now
    name = f"{row['trade_date']}|{row['table_name']}|{row['subject']}|{opened_at.isoformat()}"
    return {
        "trade_date": row["trade_date"],
        "incident_id": hashlib.sha256(name.encode()).hexdigest()[:_ID_CHARS],
        "opened_at": opened_at,
        "component": component_of(row["table_name"], cause),
        "severity": row["severity"],
        "cause": cause.name,
        "table_name": row["table_name"],
        "subject": row["subject"],
        "evidence": row["evidence"] or cause.meaning,
        "instruments": row["instruments"],
        "suggestion": cause.suggestion,
        "handling": "automatic" if cause.action else "manual",
        "action": cause.action,
        "attempts": 0,
        "status": "open",
        "closed_at": None,
        "found_before": row["found"],
        "found_after": None,
    }
