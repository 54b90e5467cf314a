"""The `quality` group's memory: every evaluation, the incidents that follow, what healing did.

Belongs here: what a run judged, written when it ends, and the step that does so. Does not belong
here: judging (see `checks`), how incidents follow from judgements (`optrade.quality.incidents`),
asking for healing (see `optrade_dagster`).

The step has no dependencies and the lowest priority: it comes last and also when others failed or
were skipped. A run without it, of some tables only, records after each check.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from typing import Any
from uuid import uuid4

import dagster as dg
import polars as pl
from pydantic import PrivateAttr

from assets import labels
from assets.building import HEALTH, OWNER, Graph, Refusal, asset_spec_arguments
from assets.partitions import dates_of
from optrade.quality.causes import cause_of
from optrade.quality.incidents import ACCEPTED, follow, of_checks, of_gaps, of_partitions
from optrade.quality.rules import Rule
from optrade.tables import Table
from optrade.tables.quality import CHECK_RESULTS, INCIDENTS, RECORD, RECOVERIES, TICK_GAPS
from resources.lake import CommitResult, Slice
from resources.lake_io import DATE_BY_DATE, Committed, LakeResource, version_tags
from resources.lake_slices import SliceResult

CODE_VERSION = "1"
_BATCH_CHARS = 12
STEP = "record"
LAST = {"dagster/priority": "-100"}
HEALS_TAG, ATTEMPT_TAG = "optrade/heals", "optrade/attempt"
ACTION_TAG, TRIED_TAG = "optrade/action", "optrade/tried-with"
Verdict = Mapping[str, Any]


def health(graph: Graph) -> dg.AssetSpec:
    """What no run makes: it carries the checks that look at more than a run's dates."""
    return dg.AssetSpec(
        HEALTH,
        group_name="quality",
        description="The market's home as a whole. Its checks look at every date of every table, "
        "at the files that hold them, and at the session that is going on; what they find is in "
        "`quality/incidents`.",
        owners=[OWNER],
        kinds=graph.kinds - {"polars", "duckdb"} | {"python"},
    )


@dataclass(frozen=True)
class Attempt:
    """A try at healing: the incidents, what is tried, with what, and in which run."""

    incidents: tuple[str, ...]
    action: str
    tried_with: str
    run_id: str
    started_at: datetime | None = None
    broke_down: str | None = None
    """Why the run ended before it could judge anything."""

    @classmethod
    def of_run(cls, run: dg.DagsterRun) -> "Attempt | None":
        """The attempt that a run is, by its tags."""
        if HEALS_TAG not in run.tags:
            return None
        return cls(
            tuple(run.tags[HEALS_TAG].split(",")),
            run.tags[ACTION_TAG],
            run.tags[TRIED_TAG],
            run.run_id,
        )

    def broken(self, why: str) -> "Attempt":
        """The same attempt, seen to have broken down."""
        return replace(self, broke_down=why)


class Verdicts(dg.ConfigurableResource):  # type: ignore[type-arg]
    """What this run has judged and not recorded yet."""

    _rows: list[dict[str, Any]] = PrivateAttr(default_factory=list)

    def add(self, rows: Sequence[dict[str, Any]]) -> None:
        """Keep rows of `quality.check_results` for the end of the run."""
        self._rows.extend(rows)

    def take(self) -> pl.DataFrame:
        """All of them, once."""
        rows, self._rows = self._rows, []
        return CHECK_RESULTS.conform(pl.DataFrame(rows, schema=CHECK_RESULTS.schema))


def results_of(
    table: Table,
    check_name: str,
    verdicts: Sequence[Verdict],
    refused: Mapping[date, Refusal],
    run_id: str,
    scope: str | None = None,
) -> list[dict[str, Any]]:
    """Rows of `quality.check_results` from one check's verdicts.

    The check `contract` also says of each date whether its rows were stored. `scope` names the
    minutes that were judged, where it was not the whole date.
    """
    told = {
        "table_name": table.full_name,
        "check_name": check_name,
        "run_id": run_id,
        "batch": "",
        "evaluated_at": datetime.now(UTC),
        "scope": scope,
    }
    rows = [_row(told, verdict, verdict["rule"]) for verdict in verdicts]
    if check_name == "contract":
        days = {verdict["trade_date"] for verdict in verdicts} | set(refused)
        rows += [_accepted(told, day, refused.get(day)) for day in sorted(days)]
    return rows


def _row(told: Mapping[str, Any], verdict: Verdict, rule: Rule) -> dict[str, Any]:
    names = ("trade_date", "passed", "checked", "found", "threshold", "detail", "sample")
    return {
        **told,
        **{name: verdict[name] for name in names},
        "rule": rule.name,
        "severity": rule.severity,
        "cause": cause_of(rule) if verdict["passed"] is False else None,
    }


def _accepted(told: Mapping[str, Any], day: date, refusal: Refusal | None) -> dict[str, Any]:
    return {
        **told,
        "trade_date": day,
        "rule": ACCEPTED,
        "severity": "ERROR",
        "passed": refusal is None,
        "checked": 1,
        "found": float(refusal is not None),
        "threshold": 0.0,
        "detail": refusal.text if refusal else None,
        "sample": None,
        "cause": refusal.cause if refusal else None,
    }


def record(
    lake: LakeResource,
    results: pl.DataFrame,
    dates: Collection[date],
    run_id: str,
    attempt: Attempt | None = None,
    more: pl.DataFrame | None = None,
) -> CommitResult:
    """Store what was judged, and the incidents and recoveries that follow, in one commit.

    `dates` are those whose holes are looked at. `more`: judgements beside those of rules and
    holes (frame of `incidents.JUDGED`).
    """
    with lake.alone("record"):
        return _record(lake, results, dates, run_id, attempt, more)


def _record(
    lake: LakeResource,
    results: pl.DataFrame,
    dates: Collection[date],
    run_id: str,
    attempt: Attempt | None,
    more: pl.DataFrame | None,
) -> CommitResult:
    now, batch = datetime.now(UTC), uuid4().hex[:_BATCH_CHARS]
    results = results.with_columns(batch=pl.lit(batch))
    own = sorted(dates)
    gaps = of_gaps(lake.read(TICK_GAPS, own), lake.read(INCIDENTS, own), now)
    others = [] if more is None else [more]
    judged = pl.concat([of_checks(results), gaps, *others])
    days = sorted({*dates, *judged["trade_date"]})
    known, tried = lake.lake.read(INCIDENTS, days), lake.lake.read(RECOVERIES, days)
    followed = follow(known, judged, tried, now)
    if attempt is not None:
        before = tried.filter(pl.col("run_id") != attempt.run_id)
        tried = pl.concat([before, _attempted(attempt, before, followed, judged, now)])
        followed = follow(known, judged, tried, now)
    slices = [
        Slice(CHECK_RESULTS, (day,), rows, parts=(batch,))
        for (day,), rows in results.partition_by("trade_date", as_dict=True).items()
        if isinstance(day, date)
    ]
    for table, frame in ((INCIDENTS, followed), (RECOVERIES, tried)):
        held = tuple(sorted(frame["trade_date"].unique()))
        if held:
            slices.append(Slice(table, held, table.conform(frame)))
    versions = {table.full_name: CODE_VERSION for table in RECORD}
    return lake.commit(slices, run_id=run_id, code_versions=versions)


def _attempted(
    attempt: Attempt,
    before: pl.DataFrame,
    followed: pl.DataFrame,
    judged: pl.DataFrame,
    now: datetime,
) -> pl.DataFrame:
    """The rows of `quality.recoveries` that an attempt leaves, given those `before` it.

    One run may try incidents that were tried unequally often: each counts its own.
    """
    tries = before.group_by("incident_id").agg(tries=pl.len())
    key = ["trade_date", "table_name", "subject"]
    meant = followed.filter(pl.col("incident_id").is_in(attempt.incidents)).join(
        judged.select(*key, "found", told="evidence"), on=key, how="left"
    )
    meant = meant.join(tries, on="incident_id", how="left")
    healed = pl.when(pl.col("status") == "closed").then(pl.lit("healed"))
    broke = pl.lit(attempt.broke_down, pl.String())
    return RECOVERIES.conform(
        meant.with_columns(
            attempt=pl.col("tries").fill_null(0) + 1,
            action=pl.lit(attempt.action),
            tried_with=pl.lit(attempt.tried_with),
            run_id=pl.lit(attempt.run_id),
            started_at=pl.lit(attempt.started_at).cast(RECOVERIES.schema["started_at"]),
            ended_at=pl.lit(now).cast(RECOVERIES.schema["ended_at"]),
            outcome=pl.when(broke.is_not_null())
            .then(pl.lit("failed"))
            .otherwise(healed.otherwise(pl.lit("not_healed"))),
            found_after="found",
            detail=pl.coalesce(broke, "told"),
        )
    )


def build_record(graph: Graph) -> dg.AssetsDefinition:
    """The step that ends a run of the close lane."""

    @dg.multi_asset(
        name=STEP,
        specs=[
            dg.AssetSpec(
                _key(table),
                deps=[] if table is CHECK_RESULTS else [_key(CHECK_RESULTS)],
                skippable=True,
                partitions_def=graph.partitions,
                **asset_spec_arguments(graph, table, CODE_VERSION),
            ).with_io_manager_key("lake_io")
            for table in RECORD
        ],
        backfill_policy=graph.backfill_policy,
        required_resource_keys={"lake", "verdicts"},
        op_tags=LAST,
    )
    def step(context: dg.AssetExecutionContext) -> Iterator[dg.Output[Committed]]:
        results = context.resources.verdicts.take()
        days = dates_of(context.partition_keys)
        stored_now = results.filter(rule=ACCEPTED, passed=True)
        made = [
            of_partitions(day, made=rows["table_name"].unique())
            for (day,), rows in stored_now.partition_by("trade_date", as_dict=True).items()
            if isinstance(day, date)
        ]
        commit = record(
            context.resources.lake,
            results,
            days,
            context.run.run_id,
            Attempt.of_run(context.run),
            pl.concat(made) if made else None,
        )
        lake: LakeResource = context.resources.lake
        nothing = SliceResult(0, None, changed=False)  # No incident is worth saying, too.
        for table in RECORD:
            stored = commit.slices.get(table.full_name, {})
            results_of_table = {day: stored.get(day, nothing) for day in days}
            yield dg.Output(
                Committed(table, results_of_table, _notes(lake, table, days, results)),
                output_name=_key(table).to_python_identifier(),
                metadata=DATE_BY_DATE,
            )

    return step


def record_now(
    context: dg.AssetCheckExecutionContext | dg.AssetExecutionContext,
    rows: Sequence[dict[str, Any]],
    *,
    ends_later: bool,
    more: pl.DataFrame | None = None,
) -> None:
    """Keep what a check judged for the step that ends the run; record it now where none does."""
    if ends_later:
        context.resources.verdicts.add(rows)
        return
    results = CHECK_RESULTS.conform(pl.DataFrame(rows, schema=CHECK_RESULTS.schema))
    days = dates_of(context.partition_keys)
    lake: LakeResource = context.resources.lake
    commit = record(lake, results, days, context.run.run_id, Attempt.of_run(context.run), more)
    step = context.op_execution_context
    for event in news(lake, commit):
        step.log_event(event)


def news(lake: LakeResource, commit: CommitResult) -> Iterator[dg.AssetMaterialization]:
    """What Dagster is to know of incidents and attempts recorded outside the step that ends a run.

    The dates whose rows a recording has changed, with what the UI shows of them.
    """
    for table in (INCIDENTS, RECOVERIES):
        stored = commit.slices.get(table.full_name, {})
        changed = {day: result for day, result in stored.items() if result.changed}
        notes = _notes(lake, table, list(changed), CHECK_RESULTS.empty()) if changed else {}
        for day, result in changed.items():
            yield dg.AssetMaterialization(
                _key(table),
                partition=day.isoformat(),
                metadata={**notes.get(day, {}), "dagster/partition_row_count": result.rows},
                tags=version_tags(result, CODE_VERSION),
            )


def recorded_at_the_end(context: dg.AssetCheckExecutionContext) -> bool:
    """Whether the run has the step that records; a run of some tables only has not."""
    return context.op_execution_context.job_def.has_node_named(STEP)


def _notes(
    lake: LakeResource, table: Table, days: Sequence[date], results: pl.DataFrame
) -> Mapping[date, dict[str, Any]]:
    """What the UI shows and plots of each date."""
    if table is not CHECK_RESULTS:
        return labels.of_record(table.full_name, lake.lake.read(table, days))
    judged = results.group_by("trade_date").agg(
        rules_judged=pl.col("passed").count(), rules_failed=(~pl.col("passed")).sum()
    )
    return {row.pop("trade_date"): row for row in judged.iter_rows(named=True)}


def _key(table: Table) -> dg.AssetKey:
    return dg.AssetKey(table.asset_path)
