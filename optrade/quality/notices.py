"""Notices: what a person is told of incidents, grouped so that a storm is one message.

Belongs here: which incidents are news since a moment, their groups, the words of a notice. Does
not belong here: opening and closing incidents (see `incidents`), sending (`resources.notify`),
when it is looked and what was told (`optrade_dagster.notice_sensor`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, Final, Literal
from zoneinfo import ZoneInfo

import polars as pl

from optrade.quality.causes import CAUSES, COMPONENTS
from optrade.quality.incidents import MOST_ATTEMPTS
from optrade.tables import IST
from optrade.tables.quality import SEVERITIES

Event = Literal["escalated", "opened", "closed"]
EVENTS: Final[tuple[Event, ...]] = ("escalated", "opened", "closed")
"""What may have become of an incident, the most urgent first."""
MOST_SAMPLES: Final = 5
_MOST_CHARS: Final = 400
_GROUP: Final = ("event", "severity", "component", "cause")
_SERIES: Final = ("severity", "component", "cause", "table_name")
_TRIAL_LASTS: Final = timedelta(minutes=5)


@dataclass(frozen=True)
class Sample:
    """One incident of a group. Times are timezone-aware; `closed_at` is None while it stands."""

    incident_id: str
    trade_date: date
    table: str
    subject: str
    opened_at: datetime
    closed_at: datetime | None
    evidence: str
    suggestion: str


@dataclass(frozen=True)
class Affected:
    """A table of a group, and how it stands there with all incidents of that cause.

    `count` incidents are news. `until` is None while any stands, told now or before; `since` is
    the beginning of the oldest that stands, or of the oldest that was closed where none does.
    """

    table: str
    count: int
    since: datetime
    until: datetime | None


@dataclass(frozen=True)
class Notice:
    """Incidents of one component, cause and severity to which the same happened.

    `samples` are the newest dates first, at most `MOST_SAMPLES`.
    """

    market: str
    event: Event
    severity: str
    component: str
    cause: str
    count: int
    first_date: date
    last_date: date
    affected: tuple[Affected, ...]
    samples: tuple[Sample, ...]
    meaning: str

    @property
    def key(self) -> str:
        """What tells it from the other notices of a batch."""
        return f"{self.event} {self.severity} {self.component} {self.cause}"

    @property
    def suggestion(self) -> str:
        """What a person does about it."""
        return self.samples[0].suggestion

    @property
    def subject(self) -> str:
        """One line: where, how bad, what, how many, of which trading days."""
        mark = " SIMULATED" if self.market == "simulated" else ""
        return (
            f"[optrade{mark}] {self.severity} {self.event}: {self.cause} in {self.component}, "
            f"{_counted(self.count)}, {self._dates}"
        )

    @property
    def body(self) -> str:
        """Plain text that a person can act upon."""
        where = COMPONENTS.get(self.component, self.component)
        tables = ", ".join(f"{one.table} ({one.count})" for one in self.affected)
        paragraphs = [
            f"{_counted(self.count)} {self.event}: {self.cause} ({self.severity}).\n{self.meaning}",
            f"Where: {where}\nTables: {tables}\nTrading days: {self._dates}",
            self._to_do,
            "\n".join([self._heading, *map(_line, self.samples)]),
            f"All of them:\n{self.query}",
        ]
        return "\n\n".join(paragraphs) + "\n"

    @property
    def query(self) -> str:
        """The command that lists the incidents of this kind."""
        status = {"escalated": "= 'escalated'", "opened": "<> 'closed'", "closed": "= 'closed'"}
        return (
            'optrade sql "SELECT trade_date, table_name, subject, evidence FROM quality.incidents '
            f"WHERE cause = '{self.cause}' AND component = '{self.component}' "
            f"AND status {status[self.event]} "
            f"AND trade_date BETWEEN '{self.first_date}' AND '{self.last_date}'\""
        )

    @property
    def _dates(self) -> str:
        if self.first_date == self.last_date:
            return str(self.first_date)
        return f"{self.first_date} to {self.last_date}"

    @property
    def _to_do(self) -> str:
        if self.event == "closed":
            return "Found well again: nothing is to be done."
        begins = f"Tried {MOST_ATTEMPTS} times in vain: a person is needed.\n"
        return f"{begins if self.event == 'escalated' else ''}What to do: {self.suggestion}"

    @property
    def _heading(self) -> str:
        shown = len(self.samples)
        return "Found:" if shown == self.count else f"{shown} of {self.count}:"


def notices(
    incidents: pl.DataFrame,
    told: pl.DataFrame,
    *,
    market: str,
    least_severity: str = "WARN",
    late: bool = False,
) -> list[Notice]:
    """What is to be told now: each incident once when it opens, escalates and closes.

    - `incidents`: rows of `quality.incidents` now, all that stand and those closed lately
    - `told`: the rows of when it was last told; at least `trade_date, incident_id, status`
    - `least_severity`: `WARN` tells of all, `ERROR` of what is wrong only
    - `late`: what was told before came late, so that what has opened and closed since is told as
      closed; otherwise it is passed over, since nobody has heard of it

    The most urgent come first. Raises `ValueError` for an unknown severity.
    """
    severe = SEVERITIES[: SEVERITIES.index(least_severity) + 1]
    rows = incidents.filter(pl.col("severity").is_in(severe))
    before = told.select("trade_date", "incident_id", was="status")
    was, status = pl.col("was"), pl.col("status")
    stood = was.is_in(["open", "escalated"]).fill_null(value=False)
    unheard = was.is_null() & pl.lit(late)
    event = (
        pl.when((status == "closed") & (stood | unheard))
        .then(pl.lit("closed"))
        .when((status == "escalated") & was.ne_missing("escalated"))
        .then(pl.lit("escalated"))
        .when((status == "open") & ~stood)
        .then(pl.lit("opened"))
    )
    news = (
        rows.join(before, on=["trade_date", "incident_id"], how="left")
        .with_columns(event=event)
        .filter(pl.col("event").is_not_null())
        .sort("trade_date", "opened_at", "incident_id", descending=[True, True, False])
    )
    standing = rows.filter(pl.col("status") != "closed").group_by(_SERIES)
    oldest = standing.agg(stands_since=pl.col("opened_at").min())
    groups = news.join(oldest, on=_SERIES, how="left").partition_by(_GROUP, maintain_order=True)
    found = [_notice(group, market) for group in groups]
    return sorted(
        found, key=lambda one: (SEVERITIES.index(one.severity), EVENTS.index(one.event), one.key)
    )


def _notice(group: pl.DataFrame, market: str) -> Notice:
    first = group.row(0, named=True)
    days = group["trade_date"].unique().sort()
    cause = CAUSES.get(first["cause"])  # A lake may hold what an older version called otherwise.
    tables = group.group_by("table_name").agg(
        pl.len().alias("count"),
        pl.col("opened_at").min(),
        pl.col("closed_at").max(),
        pl.col("stands_since").min(),
    )
    return Notice(
        market=market,
        **{name: first[name] for name in _GROUP},
        count=group.height,
        first_date=days[0],
        last_date=days[-1],
        affected=tuple(map(_affected, tables.sort("table_name").iter_rows(named=True))),
        samples=tuple(map(_sample, group.head(MOST_SAMPLES).iter_rows(named=True))),
        meaning=cause.meaning if cause else "A class of cause that this version does not know.",
    )


def _affected(row: dict[str, Any]) -> Affected:
    stands = row["stands_since"]
    until = None if stands else max(row["closed_at"], row["opened_at"])
    return Affected(row["table_name"], row["count"], stands or row["opened_at"], until)


def _sample(row: dict[str, Any]) -> Sample:
    return Sample(
        incident_id=row["incident_id"],
        trade_date=row["trade_date"],
        table=row["table_name"],
        subject=row["subject"],
        opened_at=row["opened_at"],
        closed_at=row["closed_at"],
        evidence=_short(row["evidence"]),
        suggestion=row["suggestion"],
    )


def _short(text: str) -> str:
    """On one line, and no longer than a message bears."""
    line = " ".join(text.split())
    return line if len(line) <= _MOST_CHARS else f"{line[: _MOST_CHARS - 1]}…"


def _line(sample: Sample) -> str:
    closed = f", closed {_moment(sample.closed_at)}" if sample.closed_at else ""
    return (
        f"- {sample.trade_date} {sample.table}, {sample.subject}, since "
        f"{_moment(sample.opened_at)}{closed}: {sample.evidence}"
    )


def _moment(at: datetime) -> str:
    return f"{at.astimezone(ZoneInfo(IST)):%Y-%m-%d %H:%M:%S} IST"


def _counted(count: int) -> str:
    return f"{count:,} incident{'s' * (count != 1)}"


def trial(market: str, now: datetime) -> Sequence[Notice]:
    """One notice that tries a channel out; its alert ends by itself after five minutes."""
    suggestion = "Nothing: this notice was asked for with `optrade notify --test`."
    sample = Sample(
        "test", now.date(), "quality.incidents", "test", now, None, "made up", suggestion
    )
    notice = Notice(
        market=market,
        event="opened",
        severity="WARN",
        component="notifications",
        cause="test",
        count=1,
        first_date=now.date(),
        last_date=now.date(),
        affected=(Affected("quality.incidents", 1, now, now + _TRIAL_LASTS),),
        samples=(sample,),
        meaning="A test of this channel; no incident stands behind it.",
    )
    return (notice,)
