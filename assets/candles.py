"""The holes of a day and the broker's candles that fill them: `raw.candles`.

Belongs here: what of a day is missing, asking the broker for it, storing the answers, the asset
that does so in Dagster. Does not belong here: the minutes made of them (see `minute_work`),
what a hole is and what a candle tells (`optrade.chain.candles`).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from functools import cached_property
from typing import Any, cast

import dagster as dg
import polars as pl

from assets.building import CONTRACT, KITE_SESSION, Graph, asset_spec_arguments
from assets.checks import judge, rules_by_kind
from assets.partitions import dates_of
from assets.quality import Attempt, news, record
from assets.snapshots import session_closes
from optrade.calendar import TradingCalendar
from optrade.chain.candles import candles_in_holes, healed, hole_minutes
from optrade.quality import Inputs
from optrade.quality.incidents import JUDGED
from optrade.tables import Table
from optrade.tables.candles import CANDLES
from optrade.tables.quality import CHECK_RESULTS
from optrade.tables.raw_live import TICK_SEGMENTS, TICKS
from optrade.tables.snapshots import CHAIN_MINUTE, INDEX_MINUTE
from resources.kite.candles import Answer, CandleBroker, ask_candles
from resources.kite.errors import BrokerError
from resources.lake import CommitResult
from resources.lake_files import keep_raw
from resources.lake_io import DATE_BY_DATE, Committed, LakeResource, ReadLake
from resources.lake_slices import Slice, SliceResult
from resources.recordings import RecordedDay, Recordings
from resources.tick_holes import HELD, day_gaps

CODE_VERSION = "1"
COMMITTED_TOGETHER = 200
"""Instruments whose candles are committed together: a minute's asking, lost at most by a kill."""
_MINUTE = timedelta(minutes=1)
_SHOWN = 5
Minutes = set[tuple[int, datetime]]


def session_hours(calendar: TradingCalendar, day: date) -> tuple[datetime, datetime]:
    """When a session opens and closes; 09:15 to 15:30 where its hours are not on record."""
    closed = session_closes(calendar, (day,))[day]
    return calendar.session(day).open or closed - timedelta(hours=6, minutes=15), closed


@dataclass(frozen=True)
class DayHoles:
    """What is missing of a recorded day, as journal, ticks and candles say now."""

    calendar: TradingCalendar
    lake: ReadLake
    recorded: RecordedDay
    source: str

    @property
    def day(self) -> date:
        """The trading day."""
        return self.recorded.day

    @cached_property
    def underlying_of(self) -> dict[int, str]:
        """The index of each subscribed instrument. Raises `NothingRecorded`."""
        frame = self.recorded.subscription().frame.select("instrument_token", "underlying")
        return dict(frame.iter_rows())

    @cached_property
    def gaps(self) -> pl.DataFrame:
        """The journal's gaps, and segments that were lost."""
        held = self.lake.read(TICK_SEGMENTS, [self.day], columns=HELD)
        return day_gaps(self.recorded, held, self.source)

    @cached_property
    def candles(self) -> pl.DataFrame:
        """Rows of `raw.candles` held."""
        return self.lake.lake.read(CANDLES, [self.day])

    def holes(self, ticks: pl.DataFrame) -> pl.DataFrame:
        """`optrade.chain.candles.hole_minutes`, given the ticks of those minutes."""
        opened, closed = session_hours(self.calendar, self.day)
        tokens = list(self.underlying_of)
        return hole_minutes(self.gaps, tokens, ticks, session_open=opened, session_close=closed)

    def held_holes(self) -> pl.DataFrame:
        """The holes of the ticks that the lake holds."""
        if self.gaps.is_empty():
            return self.holes(TICKS.empty())
        columns = ("instrument_token", "exchange_at", "received_at")
        where = " OR ".join(_in_gap(**gap) for gap in self.gaps.iter_rows(named=True))
        return self.holes(self.lake.read(TICKS, [self.day], columns=columns, where=where))

    def stated(self) -> pl.DataFrame:
        """Rows of `quality.tick_gaps`: the journal's gaps, and what candles make good of them.

        What they lack is not known where nothing says which instruments were subscribed.
        """
        if self.gaps.is_empty() or not self.recorded.subscribed:
            return self.gaps
        return healed(self.gaps, self.held_holes(), self.candles)

    def filling(self, ticks: pl.DataFrame, minutes: Sequence[datetime]) -> pl.DataFrame:
        """The candles that fill holes among minutes, given their ticks."""
        candles = self.candles.filter(pl.col("minute").is_in(list(minutes)))
        holes = self.holes(TICKS.empty() if candles.is_empty() else ticks)
        return candles_in_holes(
            candles, holes, self.gaps, session_hours(self.calendar, self.day)[0]
        )

    def missing(self, until: datetime) -> dict[int, list[datetime]]:
        """Minutes over by then, by instrument, with neither ticks nor a candle."""
        known = _pairs(self.candles)
        found: dict[int, list[datetime]] = {}
        for token, minute in sorted(_pairs(self.held_holes()) - known):
            if minute + _MINUTE <= until:
                found.setdefault(token, []).append(minute)
        return found

    def due(self) -> list[datetime]:
        """Minutes whose filled rows in the lake are not those that the candles fill."""
        if self.candles.is_empty():
            return []
        filling = _pairs(self.candles) & _pairs(self.held_holes())
        held = _pairs(self.filled(CHAIN_MINUTE)) | _pairs(self.filled(INDEX_MINUTE))
        return sorted({minute for _, minute in filling ^ held})

    def filled(self, table: Table) -> pl.DataFrame:
        """instrument_token and minute of a table's rows that are from candles."""
        columns = ("instrument_token", "minute")
        if self.candles.is_empty():
            return table.empty().select(columns)
        return self.lake.read(table, [self.day], columns=columns, where="filled_from IS NOT NULL")


def _pairs(frame: pl.DataFrame) -> Minutes:
    return set(frame.select("instrument_token", "minute").iter_rows())


def _in_gap(
    started_at: datetime, ended_at: datetime | None, instrument_tokens: str | None, **_: object
) -> str:
    """The SQL condition of ticks in the minutes that a gap touches."""
    at = "coalesce(exchange_at, received_at)"
    first = started_at.replace(second=0, microsecond=0)
    found = f"{at} >= TIMESTAMPTZ '{first.isoformat()}'"
    if ended_at is not None:
        found += f" AND {at} < TIMESTAMPTZ '{(ended_at + _MINUTE).isoformat()}'"
    if instrument_tokens is not None:
        found += f" AND instrument_token IN ({instrument_tokens})"
    return f"({found})"


@dataclass
class Healing:
    """What asking for candles brought.

    `asked` instruments, `filled` new candles, minutes `unanswered` (nothing traded, or the broker
    has forgotten), `refused` reasons by token, those of `odd` because the answer
    contradicts itself; `stopped` is what ended the asking early.
    """

    asked: int = 0
    filled: int = 0
    unanswered: int = 0
    refused: dict[int, str] = field(default_factory=dict)
    odd: list[str] = field(default_factory=list)
    stopped: BrokerError | None = None
    result: SliceResult | None = None

    def notes(self) -> dict[str, Any]:
        """These numbers for Dagster."""
        told = {
            "instruments_asked": self.asked,
            "candles_new": self.filled,
            "minutes_unanswered": self.unanswered,
            "instruments_refused": len(self.refused),
        }
        return told | ({"refusals": "\n".join(self.refused.values())} if self.refused else {})


def heal_hole(
    day: DayHoles,
    lake: LakeResource,
    enter: Callable[[], CandleBroker],
    now: Callable[[], datetime],
    *,
    run_id: str,
    **pace: Any,
) -> Healing:
    """Ask for candles of what is missing of a day and store them, some instruments at a time.

    `enter` is called only when something is missing; its `BrokerError` goes through, and nothing
    has changed then. What was answered before the broker stopped answering is stored. An
    instrument that is refused stays missing.
    """
    healing, rows = Healing(), [CANDLES.empty()]
    missing = day.missing(now())
    answers = ask_candles(enter(), missing, now, **pace) if missing else iter(())
    for answer in answers:
        healing.asked += 1
        frame = _rows(day, answer)
        odd = _broken(frame, day.day, answer.request)
        refusal = str(answer.error) if answer.error else odd
        if answer.ends:
            healing.stopped = answer.error
        elif refusal:
            healing.refused[answer.token] = refusal
            healing.odd += [odd] if odd else []
        else:
            rows.append(frame)
            healing.filled += frame.height
            healing.unanswered += len(missing[answer.token]) - frame.height
        if healing.asked % COMMITTED_TOGETHER == 0:
            healing.result = _stored(lake, day.day, rows, run_id)
    healing.result = _stored(lake, day.day, rows, run_id)
    return healing


def _rows(day: DayHoles, answer: Answer) -> pl.DataFrame:
    """An answer's rows of `raw.candles`, its bytes kept."""
    if answer.candles is None:
        return CANDLES.empty()
    name = f"{answer.token}.json"
    root = day.lake.lake.location.root
    stored_as, sha256 = keep_raw(root, "candles", day.day, name, answer.content)
    return CANDLES.conform(
        answer.candles.rename({"at": "minute"}).with_columns(
            trade_date=pl.lit(day.day),
            instrument_token=pl.lit(answer.token),
            underlying=pl.lit(day.underlying_of[answer.token]),
            fetched_at=pl.lit(answer.fetched_at),
            request=pl.lit(answer.request),
            stored_as=pl.lit(stored_as),
            source_sha256=pl.lit(sha256),
            source=pl.lit(day.source),
        )
    )


def _broken(rows: pl.DataFrame, day: date, request: str) -> str | None:
    """Which blocking rule the rows of an answer break."""
    if rows.is_empty():
        return None
    verdicts = judge(rules_by_kind(CANDLES)[CONTRACT], Inputs({CANDLES.full_name: rows}), [day])
    told = [f"{v['rule'].name}: {v['sample']}" for v in verdicts if v["passed"] is False]
    return f"{request}: the answer breaks {'; '.join(told)}" if told else None


def _stored(
    lake: LakeResource, day: date, rows: Sequence[pl.DataFrame], run_id: str
) -> SliceResult | None:
    """Commit the day's candles, these and those held; None where there are none."""
    name, new = CANDLES.full_name, pl.concat(rows)
    with lake.alone("candles"):
        held = lake.lake.read(CANDLES, [day]).join(new, on=CANDLES.key, how="anti")
        frame = CANDLES.conform(pl.concat([held, new]))
        if frame.is_empty():
            return None
        commit = lake.commit(
            [Slice(CANDLES, (day,), frame)], run_id=run_id, code_versions={name: CODE_VERSION}
        )
    return commit.slices[name][day]


def _judge(lake: LakeResource, day: date, done: Healing, run: dg.DagsterRun) -> CommitResult:
    """Record whether the broker's answers were well: one that contradicts itself is not stored."""
    judged = dict.fromkeys(JUDGED) | {
        "trade_date": day,
        "table_name": CANDLES.full_name,
        "subject": "answers",
        "well": not done.odd,
        "severity": "ERROR",
        "cause": "candles_odd",
        "evidence": "; ".join(done.odd[:_SHOWN]),
        "found": float(len(done.odd)),
    }
    more = pl.DataFrame([judged], schema=JUDGED)
    return record(lake, CHECK_RESULTS.empty(), [], run.run_id, Attempt.of_run(run), more)


def build_candles(graph: Graph) -> dg.AssetsDefinition:
    """The asset `raw/candles`: what the broker knows of a day's holes."""

    @dg.asset(  # type: ignore[untyped-decorator]
        name=CANDLES.name,
        key_prefix=CANDLES.group,
        deps=[KITE_SESSION],
        partitions_def=graph.partitions,
        backfill_policy=dg.BackfillPolicy.multi_run(max_partitions_per_run=1),
        io_manager_key="lake_io",
        required_resource_keys={"lake", "recordings", "broker"},
        output_required=False,
        dagster_type=dg.Any,
        **asset_spec_arguments(graph, CANDLES, CODE_VERSION),
    )
    def asset(context: dg.AssetExecutionContext) -> Iterator[Any]:
        (date_,) = dates_of(context.partition_keys)
        recordings: Recordings = context.resources.recordings
        lake: LakeResource = context.resources.lake
        holes = DayHoles(graph.calendar, lake, recordings.day(date_), graph.feed)
        broker = context.resources.broker
        try:
            done = heal_hole(holes, lake, broker.enter, broker.now, run_id=context.run.run_id)
        except BrokerError as error:
            raise dg.Failure(description=f"{date_}: nothing was changed. {error}") from error
        if done.asked:
            for event in news(lake, _judge(lake, date_, done, context.run)):
                context.log_event(event)
        for text in done.refused.values():
            context.log.warning(text)
        context.log.info("%s: %s", date_, done.notes())
        if done.result is not None:
            yield dg.Output(
                Committed(CANDLES, {date_: done.result}, {date_: done.notes()}),
                metadata=DATE_BY_DATE,
            )
        if done.stopped is not None:
            raise dg.Failure(
                description=f"{date_}: {done.filled} candles were stored, then the broker stopped "
                f"answering; run this again for the rest. {done.stopped}"
            )

    return cast("dg.AssetsDefinition", asset)
