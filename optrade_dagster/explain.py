"""Where a number comes from: its row, the commits, the runs, the rows above it, the raw files.

Belongs here: following a value through the lake as it was when each table was made. Does not
belong here: an explanation's shape (`optrade.explanation`), computing again (`recompute`), text.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from typing import Any

import dagster as dg

from optrade.explanation import (
    Commit,
    Explanation,
    RawFile,
    Rows,
    Run,
    Step,
    Upstream,
    Value,
    declared_column,
    declared_table,
    reason_of,
    shared_key,
)
from optrade.tables import TABLES, Table
from optrade.tables.premium import PREMIUM_MINUTE, PREMIUM_OVERLAY
from optrade.tables.raw_live import TICK_SEGMENTS, TICKS
from optrade_dagster.home import open_instance
from optrade_dagster.lineage import FOLLOWED_SESSIONS, Lineage
from optrade_dagster.raw_bytes import RawBytes, of_minute
from optrade_dagster.recompute import Recomputation
from resources.lake import Lake, LakeLocation
from resources.lake_history import (
    FoundRows,
    History,
    equals,
    is_upkeep,
    newest_snapshot,
    source,
)
from resources.settings import Settings

_MOST_KEYS = 5
_MINUTE = timedelta(minutes=1)
_HIDDEN = (".dagster/", "dagster/")
"""Tags of Dagster's own that say nothing of a value."""


def explain(
    settings: Settings,
    table: str,
    where: str,
    column: str,
    *,
    as_known_at: datetime | None = None,
    verify: bool = False,
    instance: dg.DagsterInstance | None = None,
) -> Explanation:
    """Explain one value of `group.table`: the `column` of the one row that `where` (SQL) finds.

    `as_known_at` (timezone-aware) asks for the value and its chain of that moment. `verify`
    computes every step again from the raw bytes. Without an `instance` runs are named only.

    Raises `ValueError` for a table or column that is not declared and unless exactly one row is
    found, `LakeError` when there is no lake or nothing was known yet.
    """
    declared = declared_table(table)
    declared_column(declared, column)
    location = LakeLocation(settings.lake_root, settings.market)
    with Lake.open(location, read_only=True, as_known_at=as_known_at) as lake:
        snapshot = newest_snapshot(lake)
        row = _only_row(lake, declared, where, snapshot)
        history = History(lake)
        chain = Chain(settings, history, Lineage.of(settings), _with_minute(declared, row))
        steps = chain.steps_to(declared, snapshot)
        found = Explanation(
            market=settings.market,
            snapshot=snapshot,
            value=_value(declared, column, row),
            steps=steps,
            runs=tuple(_runs(steps, instance)),
        )
        if not verify:
            return found
        with Recomputation.open(settings, history, chain.lineage, snapshot) as recomputation:
            verified = tuple(recomputation.verify(step, chain.row) for step in reversed(steps))
        return replace(found, verified=verified)


def explain_value(
    settings: Settings,
    table: str,
    where: str,
    column: str,
    as_known_at: datetime | None,
    *,
    verify: bool,
) -> Explanation:
    """`explain` with the market's own event log, where there is one."""
    with ExitStack() as stack:
        known = (settings.dagster_home / "dagster.yaml").exists()
        instance = stack.enter_context(open_instance(settings)) if known else None
        return explain(
            settings, table, where, column,
            as_known_at=as_known_at, verify=verify, instance=instance,
        )  # fmt: skip


def _only_row(lake: Lake, table: Table, where: str, snapshot: int) -> Mapping[str, Any]:
    names = ", ".join(f'"{name}"' for name in table.schema)
    from_ = f"FROM {source(table, snapshot)} WHERE ({where})"
    found = lake.sql(f"SELECT {names} {from_} LIMIT 2").cast(table.schema)  # type: ignore[arg-type]
    if found.height == 1:
        return found.row(0, named=True)
    if found.is_empty():
        raise ValueError(
            f"{table.full_name} WHERE {where}: found no row; expected exactly one. A row's key is "
            f"{', '.join(table.key)}: look with `optrade sql`."
        )
    key = ", ".join(f'"{name}"' for name in table.key)
    count = lake.sql(f"SELECT count(*) {from_}").item()
    sample = lake.sql(f"SELECT {key} {from_} ORDER BY ALL LIMIT {_MOST_KEYS}")
    shown = "; ".join(
        ", ".join(f"{n}={v}" for n, v in row.items()) for row in sample.iter_rows(named=True)
    )
    raise ValueError(
        f"{table.full_name} WHERE {where}: found {count:,} rows, such as {shown}; expected exactly "
        f"one. Name values of {', '.join(table.key)} until one row is left."
    )


def _with_minute(table: Table, row: Mapping[str, Any]) -> Mapping[str, Any]:
    """The row; one of the overlay's minutes with the minute it is of."""
    of_minute = table is PREMIUM_OVERLAY and row["grain"] == "minute"
    return {**row, "minute": row["snapshot_at"] - _MINUTE} if of_minute else row


def _value(table: Table, column: str, row: Mapping[str, Any]) -> Value:
    declared, value = table.column(column), row[column]
    return Value(
        table.full_name,
        column,
        {name: row[name] for name in table.key},
        value,
        declared.unit,
        declared.description,
        reason_of(table, column, row) if value is None else None,
    )


@dataclass
class Chain:
    """The way from a row up to what was fetched, each table as it was when it was read."""

    settings: Settings
    history: History
    lineage: Lineage
    row: Mapping[str, Any]
    _steps: dict[tuple[str, date, int], Step] = field(default_factory=dict)

    @property
    def raw(self) -> RawBytes:
        """The raw files of this market."""
        return RawBytes(self.settings, self.history.lake, self.lineage)

    def steps_to(self, table: Table, snapshot: int) -> tuple[Step, ...]:
        """The steps from a table's row of the row's date on, each after all that it feeds."""
        self._follow(table, self.row["trade_date"], snapshot)
        depth = {name: self.lineage.depth(TABLES[name]) for name, _, _ in self._steps}
        order = sorted(self._steps, key=lambda at: (depth[at[0]], *at), reverse=True)
        return tuple(self._steps[at] for at in order)

    def _follow(self, table: Table, day: date, snapshot: int) -> None:
        shared, found = self._narrowed(table, (day,), snapshot)
        if found.count == 0:
            return
        found, commits, compacted_in = self._made(table, day, shared, found)
        made_in = max(commit.snapshot for commit in commits)
        at = (table.full_name, day, made_in)
        if at in self._steps:
            return
        inputs, followed = self._inputs(table, day, made_in)
        self._steps[at] = Step(
            rows=_rows(table, (day,), made_in, shared, found),
            row_is=table.row,
            method=table.method,
            commits=commits,
            compacted_in=compacted_in,
            data_files=found.files,
            inputs=inputs,
            raw_files=self._raw_files(table, day, made_in, shared),
        )
        for upstream, earlier, read_at in followed:
            self._follow(upstream, earlier, read_at)

    def _inputs(
        self, table: Table, day: date, made_in: int
    ) -> tuple[tuple[Rows, ...], list[tuple[Table, date, int]]]:
        """What a table's rows of a day read, and which of it a chain goes on with."""
        told, followed = [], []
        # The minute lane commits what it computes from together with what it computes.
        read_at = made_in if self._in_minute_lane(table) else made_in - 1
        for upstream in self._upstreams(table):
            dates = upstream.dates(self.lineage.graph.calendar, day)
            shared, found = self._narrowed(upstream.table, dates, read_at, upstream.where)
            told.append(_rows(upstream.table, dates, read_at, shared, found))
            near = dates[-1 - FOLLOWED_SESSIONS :] if _is_near(upstream) else dates[-1:]
            if upstream.own_day or _is_near(upstream):
                followed += [(upstream.table, d, read_at) for d in near]
        return tuple(told), followed

    def _upstreams(self, table: Table) -> Sequence[Upstream]:
        """A table's inputs; the overlay's of the close are not made from minutes."""
        inputs = self.lineage.inputs(table)
        if table is PREMIUM_OVERLAY and "minute" not in self.row:
            return [read for read in inputs if read.table is not PREMIUM_MINUTE]
        return inputs

    def _raw_files(
        self, table: Table, day: date, made_in: int, shared: Mapping[str, Any]
    ) -> tuple[RawFile, ...]:
        """The files the rows were read from; of a long history those of its earlier dates."""
        where = " AND ".join([equals(shared), *self._fixed(table, made_in)])
        files = self.raw.of_rows(table, day, made_in, where, self.row.get("kind"))
        for read in self._upstreams(table):
            if _is_near(read) or self._in_minute_lane(read.table):
                continue
            earlier = [d for d in read.dates(self.lineage.graph.calendar, day) if d < day]
            files += self.raw.kept(self.lineage.kinds(read.table), earlier, made_in - 1)
        return tuple(dict.fromkeys(files))

    @staticmethod
    def _in_minute_lane(table: Table) -> bool:
        return "minute" in table.schema or table in (TICKS, TICK_SEGMENTS)

    def _narrowed(
        self, table: Table, dates: Sequence[date], snapshot: int, where: str | None = None
    ) -> tuple[dict[str, Any], FoundRows]:
        """Rows that share the explained row's keys; a key that no row shares is let go."""
        shared = shared_key(self.row, table)
        kept = self._fixed(table, snapshot)
        while True:
            narrowed = " AND ".join([equals(shared), *kept])
            found = self.history.find(table, dates, snapshot, where or "true", narrowed)
            if found.count or not shared:
                return shared, found
            shared.popitem()

    def _fixed(self, table: Table, snapshot: int) -> list[str]:
        """What narrows the tables below a minute: its ticks, and the segments that hold them."""
        minute = self.row.get("minute")
        if minute is None or table not in (TICKS, TICK_SEGMENTS):
            return []
        return [of_minute(self.history.lake, table, minute, snapshot)]

    def _made(
        self, table: Table, day: date, shared: Mapping[str, Any], found: FoundRows
    ) -> tuple[FoundRows, tuple[Commit, ...], int | None]:
        """The commits that brought rows; behind a compaction, which brings none, what it read."""
        current = self.lineage.code_version(table)
        compacted_in = None
        while True:
            commits = [self.history.commit(at, table, current) for at in found.snapshots]
            upkeep = [commit.snapshot for commit in commits if is_upkeep(commit)]
            if not upkeep:
                return found, tuple(commits), compacted_in
            compacted_in = max(upkeep)
            before = compacted_in - 1
            narrowed = " AND ".join([equals(shared), *self._fixed(table, before)])
            found = self.history.find(table, (day,), before, narrowed=narrowed)


def _rows(
    table: Table, dates: Sequence[date], snapshot: int, shared: Mapping[str, Any], found: FoundRows
) -> Rows:
    held = found.dates or tuple(dates)
    return Rows(
        table=table.full_name,
        first=held[0],
        last=held[-1],
        dates=len(found.dates),
        snapshot=snapshot,
        shared=dict(shared),
        count=found.count,
        slice_rows=found.slice_rows,
        sample=found.sample,
    )


def _is_near(upstream: Upstream) -> bool:
    return upstream.sessions_before <= FOLLOWED_SESSIONS


def _runs(steps: Sequence[Step], instance: dg.DagsterInstance | None) -> Iterator[Run]:
    """The Dagster runs that committed the steps, as far as the event log knows them."""
    ids = dict.fromkeys(c.run_id for step in steps for c in step.commits if c.run_id)
    for run_id in ids:
        record = instance.get_run_record_by_id(run_id) if instance else None
        if record is None:
            yield Run(run_id)
            continue
        run, started = record.dagster_run, record.start_time
        tags = {name: v for name, v in run.tags.items() if not name.startswith(_HIDDEN)}
        at = datetime.fromtimestamp(started).astimezone() if started else None
        yield Run(run_id, run.job_name, run.status.value, at, tags)
