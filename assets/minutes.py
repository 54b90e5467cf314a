"""The minute lane: sealed segments become ticks, chains and analytics of the minutes they touch.

Belongs here: one step that does whatever of a day is not in the lake yet and commits it together.
Does not belong here: what a day's work is (see `minute_work`), decoding, the maths.

The step asks the spool what is sealed and the lake what is held, so it needs no list of work: a
late segment, a restart or a second run do what is missing, and nothing twice. A run of some of
the tables does the whole day again for those.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from typing import Any

import dagster as dg
import polars as pl

from assets import labels
from assets.building import (
    CONTRACT,
    KITE_SESSION,
    OWNER,
    Graph,
    Refusal,
    asset_spec_arguments,
    report_refusals,
)
from assets.checks import CheckEvent, Verdict, check_spec, judge, kinds_of, rules_by_kind, summary
from assets.minute_day import judge_day
from assets.minute_work import Batch, DayWork, Frames, Maths
from assets.partitions import dates_of
from assets.quality import Attempt, record_now, results_of
from optrade.quality import Inputs
from optrade.quality.causes import cause_of
from optrade.quality.incidents import ACCEPTED, of_partitions
from optrade.tables import Table
from optrade.tables.analytics import (
    CHAIN_METRICS_MINUTE,
    GREEKS_MINUTE,
    OPEN_INTEREST_MINUTE,
)
from optrade.tables.candles import CANDLES
from optrade.tables.exposure import GAMMA_EXPOSURE_MINUTE
from optrade.tables.premium import PREMIUM_MINUTE
from optrade.tables.quality import TICK_GAPS
from optrade.tables.raw_live import INSTRUMENTS, TICK_SEGMENTS, TICKS
from optrade.tables.snapshots import CHAIN_MINUTE, INDEX_MINUTE
from optrade.tables.surface import SURFACE_MINUTE, SURFACE_POINTS_MINUTE
from resources.lake_io import DATE_BY_DATE, Committed, LakeResource
from resources.lake_slices import Slice, SliceResult
from resources.recordings import Recordings

CODE_VERSION = "3"
LINEAGE: tuple[tuple[Table, tuple[Table, ...]], ...] = (
    (INSTRUMENTS, ()),
    (TICK_SEGMENTS, ()),
    (TICKS, (TICK_SEGMENTS, INSTRUMENTS)),
    (TICK_GAPS, (TICK_SEGMENTS, CANDLES)),
    (INDEX_MINUTE, (TICKS, CANDLES)),
    (CHAIN_MINUTE, (TICKS, CANDLES, INDEX_MINUTE)),
    (GREEKS_MINUTE, (CHAIN_MINUTE,)),
    (CHAIN_METRICS_MINUTE, (CHAIN_MINUTE, GREEKS_MINUTE)),
    (SURFACE_MINUTE, (CHAIN_MINUTE, GREEKS_MINUTE)),
    (SURFACE_POINTS_MINUTE, (SURFACE_MINUTE,)),
    (GAMMA_EXPOSURE_MINUTE, (CHAIN_MINUTE, GREEKS_MINUTE)),
    (OPEN_INTEREST_MINUTE, (CHAIN_MINUTE,)),
    (PREMIUM_MINUTE, (CHAIN_MINUTE,)),
)
"""Each table of the lane and what it is made from."""
MINUTE_TABLES = tuple(table for table, _ in LINEAGE)
_WHOLE = (INSTRUMENTS, TICK_SEGMENTS, TICK_GAPS)
"""Tables that a run holds all rows of the day of."""


def kite_session(graph: Graph) -> dg.AssetSpec:
    """The broker's session, which no run makes: its observations are its logins and refusals."""
    return dg.AssetSpec(
        KITE_SESSION,
        group_name="raw",
        description="The login that collecting depends on. It dies at 06:00 every day; `optrade "
        "login` makes a new one. Every login, refusal, expiry and due renewal is an observation.",
        owners=[OWNER],
        kinds=graph.kinds - {"polars", "duckdb"} | {"python"},
    )


class MinuteConfig(dg.Config):
    """How a run of the lane goes about its day."""

    again: bool = False
    """Do the whole day again from its segments; the same rows make no new version."""


def build_minutes(graph: Graph, maths: Maths) -> dg.AssetsDefinition:
    """The step that fills every table of the minute lane."""

    @dg.multi_asset(
        name="minutes",
        specs=[
            dg.AssetSpec(
                _key(table),
                deps=[_key(parent) for parent in parents] or [KITE_SESSION],
                skippable=True,
                partitions_def=graph.partitions,
                **asset_spec_arguments(graph, table, CODE_VERSION),
            ).with_io_manager_key("lake_io")
            for table, parents in LINEAGE
        ],
        check_specs=[
            check_spec(graph, _key(table), kind, rules_by_kind(table)[kind.name])
            for table in MINUTE_TABLES
            for kind in kinds_of(table)
        ],
        can_subset=True,
        backfill_policy=dg.BackfillPolicy.multi_run(max_partitions_per_run=1),
        required_resource_keys={"lake", "recordings", "refusals", "verdicts"},
        pool="minutes",
    )
    def minutes(context: dg.AssetExecutionContext, config: MinuteConfig) -> Iterator[Any]:
        recordings: Recordings = context.resources.recordings
        chosen = [t for t in MINUTE_TABLES if _key(t) in context.selected_asset_keys]
        again = config.again or TICK_SEGMENTS not in chosen
        lake: LakeResource = context.resources.lake
        for day in dates_of(context.partition_keys):
            done = Done(day, chosen)
            work = DayWork(graph, lake, recordings.day(day), maths, done.guard)
            with lake.alone("minutes"):
                _do(context, work, done, again=again)
            yield from _outputs(context, done)

    return minutes


@dataclass
class Done:
    """What a run did to its day."""

    day: date
    chosen: Sequence[Table]
    results: dict[str, SliceResult] = field(default_factory=dict)
    notes: dict[str, dict[str, Any]] = field(default_factory=dict)
    refused: dict[str, Refusal] = field(default_factory=dict)
    last: Frames = field(default_factory=dict)
    minutes: Sequence[datetime] = ()
    guarded: dict[str, list[Verdict]] = field(default_factory=dict)

    def guard(self, table: Table, frame: pl.DataFrame) -> str | None:
        """Which blocking rules the rows of a table break, and what to do; None where none."""
        inputs = Inputs({table.full_name: frame}, [self.day])
        rules = rules_by_kind(table)[CONTRACT]
        verdicts = judge(rules, inputs, [self.day]) if frame.height else []
        self.guarded[table.full_name] = verdicts
        broken = [
            f"{table.full_name} {self.day}: rule {v['rule'].name} found {v['detail']}: "
            f"{v['sample']}. {v['rule'].remedy}"
            for v in verdicts
            if v["passed"] is False
        ]
        return "\n".join(broken) or None

    def refuses(self, table: Table, frame: pl.DataFrame) -> bool:
        """Whether rows break a blocking rule; if so, the run will fail and say which."""
        text = self.guard(table, frame)
        if text:
            failed = (v["rule"] for v in self.guarded[table.full_name] if v["passed"] is False)
            self.refuse(table, Refusal(cause_of(next(failed)), text))
        return text is not None

    def refuse(self, table: Table, refusal: Refusal) -> None:
        """Remember why rows of a table were not stored; the run will fail with it."""
        told = self.refused.get(table.full_name)
        text = f"{told.text}\n{refusal.text}" if told else refusal.text
        self.refused[table.full_name] = replace(refusal, text=text)

    def refused_of(self, table: Table) -> dict[date, Refusal]:
        """The day and why rows of a table were refused; nothing where none were."""
        refusal = self.refused.get(table.full_name)
        return {self.day: refusal} if refusal else {}

    def scope(self, table: Table) -> str | None:
        """The minutes whose rows of a table were judged last; None where it was the whole day."""
        if not self.minutes or table in _WHOLE:
            return None
        return f"{self.minutes[0]:%H:%M} to {self.minutes[-1]:%H:%M}"

    def bad_minutes(self, table: Table, frame: pl.DataFrame) -> set[datetime]:
        """The minutes whose rows break a blocking rule by themselves; else all, if any do."""
        if not self.refuses(table, frame):
            return set()
        of_all = self.guarded[table.full_name]
        minutes = {
            minute: rows for (minute,), rows in frame.partition_by("minute", as_dict=True).items()
        }
        bad = {minute for minute, rows in minutes.items() if self.guard(table, rows)}
        self.guarded[table.full_name] = of_all
        return bad or set(minutes)


def _key(table: Table) -> dg.AssetKey:
    return dg.AssetKey(table.asset_path)


def _do(context: dg.AssetExecutionContext, work: DayWork, done: Done, *, again: bool) -> None:
    once = work.once()
    names = work.new_segments(again=again)
    if INSTRUMENTS.full_name in once or not names:  # The dump says which options are listed.
        _commit(context, done, Batch(once, (), ()))
        once = {}
    computed: set[datetime] = set()
    for batch in work.batches(names, context.resources.lake.memory.segments):
        _commit(context, done, replace(batch, frames=once | batch.frames))
        computed.update(batch.minutes)
        once = {}
    if filled := work.filled(computed, again=again):
        _commit(context, done, filled)
    for table in (CHAIN_MINUTE, INDEX_MINUTE):
        if notes := done.notes.get(table.full_name):
            rows = work.holes.filled(table)
            notes["rows_from_candles"] = rows.height
            notes["minutes_with_candles"] = rows["minute"].n_unique()


def _commit(context: dg.AssetExecutionContext, done: Done, batch: Batch) -> None:
    """Hold a batch against the blocking rules, then commit what stands in one transaction."""
    lake: LakeResource = context.resources.lake
    slices = _slices(done, batch)
    done.minutes = batch.minutes or done.minutes
    for text in batch.refusals:
        done.refuse(TICKS, Refusal("segment_refused", text))
    commit = lake.commit(
        slices,
        run_id=context.run.run_id,
        code_versions={part.table.full_name: CODE_VERSION for part in slices},
    )
    for name, results in commit.slices.items():
        for result in results.values():
            before = done.results.get(name)
            changed = result.changed or (before is not None and before.changed)
            rows = result.rows + (before.rows if before is not None and batch.segments else 0)
            done.results[name] = SliceResult(rows, result.sha256, changed)
    for name in ("snapshots.chain_minute", "snapshots.index_minute"):
        if batch.minutes and name in batch.frames:
            done.notes[name] = {"last_minute": batch.minutes[-1].strftime("%H:%M")}
    if TICK_GAPS.full_name in batch.frames:
        done.notes[TICK_GAPS.full_name] = labels.of_holes(batch.frames[TICK_GAPS.full_name])


def _slices(done: Done, batch: Batch) -> list[Slice]:
    """What of a batch may be stored.

    A minute that breaks a rule is held back in its table and in all that is made from it.
    """
    slices = []
    held_back: dict[str, set[datetime]] = {}
    for table, parents in LINEAGE:
        frame = batch.frames.get(table.full_name)
        if frame is None or table not in done.chosen:
            continue
        lost = set[datetime]().union(*(held_back.get(p.full_name, ()) for p in parents))
        parts = batch.parts(table)
        if table.part == "minute":
            lost |= done.bad_minutes(table, _without(frame, lost))
            held_back[table.full_name] = lost
            frame, parts = _without(frame, lost), tuple(m for m in batch.minutes if m not in lost)
        elif table is not TICKS and done.refuses(table, frame):  # Ticks were judged when decoded.
            if table is TICK_SEGMENTS:
                return []  # They say what of the day is held: the next run tries all of it again.
            continue
        if frame.height or parts or table is TICK_GAPS:
            slices.append(
                Slice(table, (done.day,), frame, empties_dates=table is TICK_GAPS, parts=parts)
            )
        done.last[table.full_name] = frame
    return slices


def _without(frame: pl.DataFrame, minutes: Collection[datetime]) -> pl.DataFrame:
    return frame.filter(~pl.col("minute").is_in(list(minutes))) if minutes else frame


def _outputs(context: dg.AssetExecutionContext, done: Done) -> Iterator[Any]:
    healing = Attempt.of_run(context.run) is not None
    for table in done.chosen:
        name = table.full_name
        report_refusals(context, table, done.refused_of(table))
        result = done.results.get(name)
        if result is None and healing and name not in done.refused:
            # A run that was killed left it failed; that nothing had to be stored is said, too.
            count = f"SELECT count(*) FROM {name} WHERE trade_date = ?"
            rows = context.resources.lake.lake.sql(count, [done.day]).item()
            result = SliceResult(rows, None, changed=False)
        if result is not None:
            yield dg.Output(
                Committed(table, {done.day: result}, {done.day: done.notes.get(name, {})}),
                output_name=_key(table).to_python_identifier(),
                metadata=DATE_BY_DATE,
            )
    yield from _verdicts(context, done)


def _verdicts(context: dg.AssetExecutionContext, done: Done) -> Iterator[CheckEvent]:
    """The rules' verdicts on what this run brought, table by table; recorded."""
    selected, run_id = context.selected_asset_check_keys, context.run.run_id
    judged: list[dict[str, Any]] = []
    frames: Mapping[str, pl.DataFrame] = done.last
    inputs = Inputs(dict(frames), [done.day])
    for table in MINUTE_TABLES:
        if table.full_name not in frames and table.full_name not in done.refused:
            continue
        grouped = rules_by_kind(table)
        for kind in kinds_of(table):
            if dg.AssetCheckKey(_key(table), kind.name) not in selected:
                continue
            if kind.name == CONTRACT:
                verdicts = done.guarded[table.full_name]
            else:
                rules = [r for r in grouped[kind.name] if set(r.needs) <= set(frames)]
                verdicts = judge(rules, inputs, [done.day]) if table.full_name in frames else []
            refused = done.refused_of(table) if kind.name == CONTRACT else {}
            judged += results_of(table, kind.name, verdicts, refused, run_id, done.scope(table))
            yield from summary(_key(table), kind, verdicts, refused, ranged=False)
    if Attempt.of_run(context.run):  # Whether it healed is for the whole day to say.
        whole = judge_day(context.resources.lake, done.chosen, done.day, run_id)
        known = pl.col("table_name").is_in(list(done.refused)) & (pl.col("rule") == ACCEPTED)
        judged = [row for row in judged if row["rule"] == ACCEPTED and not row["passed"]]
        judged += whole.filter(~known).to_dicts()
    made = done.results if done.refused else [table.full_name for table in done.chosen]
    more = of_partitions(done.day, made=made)
    record_now(context, judged, ends_later=False, more=more)
    if done.refused:
        raise dg.Failure(description="\n".join(r.text for r in done.refused.values()))
