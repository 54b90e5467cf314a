"""Each step of a chain computed again in memory, and held against what the lake has of it.

Belongs here: running the same functions on raw bytes and on the lake's rows as they were when a
step was made. Does not belong here: which steps there are (see `explain`), what is printed.

A step's inputs are the lake's rows of the snapshot before its commit: its run read them then.
Where other runs committed inputs between the run's last commit and this one, the run may have
read earlier ones, and these are tried too. Tables of the minute lane are committed with what
they are made from; a minute goes on from the state that the minute before left in the lake.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

import polars as pl

from assets.building import Recipe
from assets.minute_work import DayWork, Frames
from assets.minutes import MINUTE_TABLES, Done
from assets.premium import overlay_rows
from assets.raw import FILE_TABLES, Load
from optrade.explanation import Step, Upstream, Verified, compare
from optrade.formats.kite_instruments import parse_instruments
from optrade.tables import TABLES, Table
from optrade.tables.premium import PREMIUM_CLOSE, PREMIUM_OVERLAY
from optrade.tables.quality import TICK_GAPS
from optrade.tables.raw import SOURCE_FILES
from optrade.tables.raw_live import TICK_SEGMENTS, TICKS
from optrade_dagster.lineage import Lineage
from optrade_dagster.raw_bytes import damage, of_minute
from resources.lake import Lake, LakeLocation
from resources.lake_history import History, PastLake, before_in_run
from resources.recordings import NothingRecorded, RecordedDay
from resources.settings import Settings

_MOST_TRIES = 5
Reads = Mapping[str, Collection[date]]


class NotComputed(RuntimeError):
    """A raw file that today's code refuses; says why."""


@dataclass
class Recomputation:
    """Steps of one chain; opens each past state of the lake once."""

    settings: Settings
    history: History
    lineage: Lineage
    snapshot: int
    stack: ExitStack
    _lakes: dict[int, Lake] = field(default_factory=dict)
    _minutes: dict[tuple[int, datetime], Frames] = field(default_factory=dict)

    @classmethod
    @contextmanager
    def open(
        cls, settings: Settings, history: History, lineage: Lineage, snapshot: int
    ) -> Iterator[Recomputation]:
        """A recomputation of what the lake showed at `snapshot`."""
        with ExitStack() as stack:
            yield cls(settings, history, lineage, snapshot, stack)

    def verify(self, step: Step, row: Mapping[str, Any]) -> Verified:
        """Compute a step again; `row` is the explained one, whose minute or segment it is of."""
        table, problem = TABLES[step.table], None
        for file in step.raw_files:
            problem = problem or damage(self.settings, file)
        if problem is not None:
            return Verified(step.table, step.day, step.snapshot, None, 0, problem=problem)
        if table is SOURCE_FILES:  # Answers of the archive: their bytes are all that can be proved.
            return Verified(step.table, step.day, step.snapshot, None, step.rows.count)
        try:
            if table in MINUTE_TABLES:
                return self._minute_lane(table, step, row)
            return self._close_lane(table, step)
        except (NothingRecorded, NotComputed) as told:
            return Verified(step.table, step.day, step.snapshot, None, 0, problem=str(told))

    def _close_lane(self, table: Table, step: Step) -> Verified:
        """A whole date of a table; the first try that is the same, else the first one."""
        held = self._same({step.table: [step.day]}, step.snapshot).read(table, [step.day])
        tries = []
        for at, lake in self._tries(table, step):
            again = self._rows(table, step.day, lake)
            difference = compare(table, held, again.filter(pl.col("trade_date") == step.day))
            tried = Verified(
                step.table, step.day, step.snapshot, at, held.height, difference=difference
            )
            if tried.identical:
                return tried
            tries.append(tried)
        return tries[0]

    def _tries(self, table: Table, step: Step) -> Iterator[tuple[int, Lake]]:
        """The states that the step's run may have read its inputs in, the likeliest first."""
        if table in FILE_TABLES.values():  # Committed with the answers it was parsed from.
            reads: Reads = {SOURCE_FILES.full_name: [step.day]}
            yield step.snapshot, self._same(reads, step.snapshot)
            return
        reads = self._reads(self.lineage.inputs(table), step.day)
        last = max(step.commits, key=lambda commit: commit.snapshot)
        since = before_in_run(self.history.lake, last)
        between = [at for at in self.history.changes(reads) if since < at < step.snapshot]
        states = [step.snapshot - 1, *(at - 1 for at in reversed(between))]
        for at in list(dict.fromkeys(states))[:_MOST_TRIES]:
            yield at, self._same(reads, at)

    def _reads(self, inputs: Sequence[Upstream], day: date) -> Reads:
        calendar = self.lineage.graph.calendar
        reads: dict[str, set[date]] = {}
        for read in inputs:
            reads.setdefault(read.table.full_name, set()).update(read.dates(calendar, day))
        return reads

    def _same(self, reads: Reads, snapshot: int) -> Lake:
        """The lake as of a snapshot, or of a later one in which those dates still were the same."""
        later = [at for at in self.history.changes(reads) if at > snapshot]
        at = max(snapshot, min(later[0] - 1, self.snapshot) if later else self.snapshot)
        return self._at(at)

    def _at(self, snapshot: int) -> Lake:
        if snapshot not in self._lakes:
            location = LakeLocation(self.settings.lake_root, self.settings.market)
            opened = Lake.open(location, as_known_at=snapshot)
            self._lakes[snapshot] = self.stack.enter_context(opened)
        return self._lakes[snapshot]

    def _rows(self, table: Table, day: date, lake: Lake) -> pl.DataFrame:
        """A date's rows of a table of the close lane, from its inputs in `lake`."""
        if recipe := self.lineage.recipes.get(table.full_name):
            return table.conform(recipe.make((day,), **self._frames(recipe, day, lake)))
        if table is PREMIUM_OVERLAY:
            calendar = self.lineage.graph.calendar
            (reads,) = (r for r in self.lineage.inputs(table) if r.table is PREMIUM_CLOSE)
            close = lake.read(PREMIUM_CLOSE, reads.dates(calendar, day))
            return overlay_rows(PastLake(lake), calendar, [day], close)
        kind = next(kind for kind, of_kind in FILE_TABLES.items() if of_kind is table)
        load = Load(self.lineage.graph, lake)
        answers = lake.read(SOURCE_FILES, [day]).iter_rows(named=True)
        load.files = {(row["trade_date"], row["kind"]): row for row in answers}
        found = load.table(kind)
        if day not in found.dates and (refused := load.refused.get(table.full_name)):
            raise NotComputed(refused[day])
        return found.frame

    def _frames(self, recipe: Recipe, day: date, lake: Lake) -> Frames:
        frames: Frames = {}
        inputs = self.lineage.inputs(recipe.table)
        for name, read in zip(recipe.reads, inputs, strict=True):
            dates = read.dates(self.lineage.graph.calendar, day)
            frames[name] = lake.read(read.table, dates, columns=read.columns, where=read.where)
        return frames

    def _minute_lane(self, table: Table, step: Step, row: Mapping[str, Any]) -> Verified:
        """What a step holds of the row's minute, segment or day, from what it was made of."""
        lake = self._at(step.snapshot)
        work = self._work(step.day, lake)
        if table in (TICKS, TICK_SEGMENTS):
            names = self._segments(step, row, lake)
            segments, ticks = work.decoded(names)
            again = ticks if table is TICKS else segments
            held = lake.read(table, [step.day]).filter(pl.col("segment").is_in(names))
        elif table.part == "minute":
            again = self._minute(work, step.snapshot, row["minute"])[table.full_name]
            where = f"minute = TIMESTAMPTZ '{row['minute']}'"
            held = lake.read(table, [step.day], where=where)
        else:
            again = self._whole_day(table, work)
            held = lake.read(table, [step.day])
        difference = compare(table, held, table.conform(again))
        return Verified(
            step.table, step.day, step.snapshot, step.snapshot, held.height, difference=difference
        )

    def _work(self, day: date, lake: Lake) -> DayWork:
        folder = self.settings.spool_root / day.isoformat()
        recorded = RecordedDay(self.settings.market_home, folder, day)
        guard = Done(day, ()).guard
        return DayWork(self.lineage.graph, PastLake(lake), recorded, self.lineage.maths, guard)

    def _minute(self, work: DayWork, snapshot: int, minute: datetime) -> Frames:
        if (snapshot, minute) not in self._minutes:
            self._minutes[snapshot, minute] = work.minute(minute)
        return self._minutes[snapshot, minute]

    def _segments(self, step: Step, row: Mapping[str, Any], lake: Lake) -> list[str]:
        """The segments of a step: those of its files, else those its ticks name."""
        if step.table == TICK_SEGMENTS.full_name:
            return [file.name for file in step.raw_files]
        if "segment" in row:
            return [row["segment"]]
        where = of_minute(lake, TICKS, row["minute"], step.snapshot)
        ticks = lake.read(TICKS, [step.day], columns=["segment"], where=where)
        return sorted(ticks["segment"].unique())

    def _whole_day(self, table: Table, work: DayWork) -> pl.DataFrame:
        if table is TICK_GAPS:
            return work.holes.gaps
        dump = work.recorded.instruments() or b""
        sha256 = hashlib.sha256(dump).hexdigest()
        return parse_instruments(
            "instruments.csv", dump, work.day, source=work.source, sha256=sha256
        )
