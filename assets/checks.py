"""Asset checks of every table, kept per partition in range runs too.

Belongs here: turning `optrade.quality` rules into Dagster checks, and failing the run for the
dates it refused. Does not belong here: the rules.

A table's rules form at most three checks: `contract` guards the commit (a date that breaks it
is not stored), `consistent` holds the stored rows against themselves and their sources, and
`ordinary` warns of what is possible but odd. Each evaluation lists every rule with what it
found, its threshold, a sample and its remedy.

Partitioned asset checks are a preview feature of Dagster: this module is the only one that
touches it. A range run yields one evaluation per date, then the summary Dagster asks for.
"""

import time
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import dagster as dg
from dagster._core.definitions.asset_checks.asset_check_evaluation import (
    AssetCheckEvaluationTargetMaterializationData,
)

from assets.building import CONTRACT, Graph, Refusal, in_words
from assets.partitions import dates_of
from assets.quality import record_now, recorded_at_the_end, results_of
from optrade.quality import Inputs, Rule, evaluate, rules_for
from optrade.tables import TABLES, Table
from resources.lake_io import LakeResource

REFUSED = "dates refused; what was held of them stands"
CheckEvent = dg.AssetCheckEvaluation | dg.AssetCheckResult
Target = AssetCheckEvaluationTargetMaterializationData


@dataclass(frozen=True)
class Kind:
    """One of the three checks a table can have."""

    name: str
    severity: dg.AssetCheckSeverity
    meaning: str


GUARD = Kind(
    CONTRACT,
    dg.AssetCheckSeverity.ERROR,
    "Guards the commit: a date that breaks one of these rules is not stored, and what was held "
    "of it stands.",
)
CONSISTENT = Kind(
    "consistent",
    dg.AssetCheckSeverity.ERROR,
    "Holds the stored rows against themselves, the day before and the files they come from.",
)
ORDINARY = Kind("ordinary", dg.AssetCheckSeverity.WARN, "Warns of what is possible but odd.")


def kind_of(rule: Rule) -> Kind:
    """The check a rule belongs to."""
    if rule.blocking and not (rule.needs or rule.looks_back):
        return GUARD
    return CONSISTENT if rule.severity == "ERROR" else ORDINARY


def rules_by_kind(table: Table) -> dict[str, list[Rule]]:
    """A table's rules under the names of the checks they form; `contract` always exists."""
    grouped: dict[str, list[Rule]] = {GUARD.name: []}
    for rule in rules_for(table.full_name):
        grouped.setdefault(kind_of(rule).name, []).append(rule)
    return grouped


def kinds_of(table: Table) -> list[Kind]:
    """The checks a table has."""
    grouped = rules_by_kind(table)
    return [kind for kind in (GUARD, CONSISTENT, ORDINARY) if kind.name in grouped]


def build_checks(graph: Graph, table: Table) -> dg.AssetChecksDefinition:
    """All checks of one table in one step."""
    key = dg.AssetKey(table.asset_path)
    grouped = rules_by_kind(table)
    kinds = kinds_of(table)

    @dg.multi_asset_check(
        name=f"{table.group}__{table.name}__checks",
        specs=[check_spec(graph, key, kind, grouped[kind.name]) for kind in kinds],
        can_subset=True,
        required_resource_keys={"lake", "refusals", "verdicts"},
    )
    def checks(context: dg.AssetCheckExecutionContext) -> Iterator[CheckEvent]:
        dates = dates_of(context.partition_keys)
        refused = context.resources.refusals.of(table)
        selected = {check.name for check in context.selected_asset_check_keys}
        chosen = [kind for kind in kinds if kind.name in selected]
        rules = [rule for kind in chosen for rule in grouped[kind.name]]
        inputs = read_inputs(context.resources.lake, graph, table, rules, dates)
        ranged = not context.has_partition_key
        targets = _targets(context, key, dates) if ranged else {}
        rows: list[dict[str, Any]] = []
        for kind in chosen:
            verdicts = judge(grouped[kind.name], inputs, dates)
            broken = refused if kind is GUARD else {}
            rows += results_of(table, kind.name, verdicts, broken, context.run.run_id)
            if ranged:
                yield from by_date(key, kind, verdicts, dates, broken, targets)
            yield from summary(key, kind, verdicts, broken, ranged=ranged)
        record_now(context, rows, ends_later=recorded_at_the_end(context))
        if refused:
            raise dg.Failure(
                description=f"{len(refused)} of {len(dates)} {REFUSED}:\n{in_words(refused)}"
            )

    return checks


def check_spec(
    graph: Graph, key: dg.AssetKey, kind: Kind, rules: Sequence[Rule]
) -> dg.AssetCheckSpec:
    """A check and its rules in Dagster's words."""
    lines = [
        f"- `{rule.name}`: {rule.description} Fails above {rule.threshold:g} {rule.unit}. "
        f"*Remedy:* {rule.remedy}"
        for rule in rules
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.PreviewWarning)
        return dg.AssetCheckSpec(
            kind.name,
            asset=key,
            description="\n".join([kind.meaning, "", *lines]),
            partitions_def=graph.partitions,
        )


def read_inputs(
    lake: LakeResource, graph: Graph, table: Table, rules: Sequence[Rule], dates: Sequence[date]
) -> Inputs:
    """Read what rules look at: the dates, and the session before each where a rule asks."""
    span = list(dates)
    if any(rule.looks_back for rule in rules) and dates[0] > graph.calendar.first:
        span = sorted({*dates, *(graph.calendar.previous(d) for d in dates)})
    names = {table.full_name, *(name for rule in rules for name in rule.needs)}
    frames = {name: lake.read(TABLES[name], span) for name in sorted(names)}
    return Inputs(frames, graph.calendar.sessions(min(span), max(span)))


Verdict = dict[str, Any]


def judge(rules: Sequence[Rule], inputs: Inputs, dates: Sequence[date]) -> list[Verdict]:
    """Every rule's verdict on every date, as rows of `optrade.quality.evaluate` and the rule."""
    return [
        {**row, "rule": rule}
        for rule in rules
        for row in evaluate(rule, inputs, dates).iter_rows(named=True)
    ]


def _targets(
    context: dg.AssetCheckExecutionContext, key: dg.AssetKey, dates: Sequence[date]
) -> dict[date, Target]:
    """The materialization each date's evaluation speaks of, so that the UI counts it as current."""
    latest = context.instance.get_latest_storage_id_by_partition(
        key, dg.DagsterEventType.ASSET_MATERIALIZATION, {day.isoformat() for day in dates}
    )
    return {
        date.fromisoformat(day): Target(
            storage_id=storage_id, run_id=context.run.run_id, timestamp=time.time()
        )
        for day, storage_id in latest.items()
    }


def by_date(
    key: dg.AssetKey,
    kind: Kind,
    verdicts: Sequence[Verdict],
    dates: Sequence[date],
    refused: Mapping[date, Refusal],
    targets: Mapping[date, Target],
) -> Iterator[dg.AssetCheckEvaluation]:
    """One evaluation per date that has rows or was refused; of other dates nothing is said."""
    of_day: dict[date, list[Verdict]] = {}
    for verdict in verdicts:
        of_day.setdefault(verdict["trade_date"], []).append(verdict)
    for day in dates:
        rows = of_day.get(day, [])
        if day in refused or rows:
            yield dg.AssetCheckEvaluation(
                asset_key=key,
                check_name=kind.name,
                partition=day.isoformat(),
                target_materialization_data=targets.get(day),
                severity=kind.severity,
                **_said(
                    rows, in_words({day: refused[day]}) if day in refused else None, numbers=True
                ),
            )


def summary(
    key: dg.AssetKey,
    kind: Kind,
    verdicts: Sequence[Verdict],
    refused: Mapping[date, Refusal],
    *,
    ranged: bool,
) -> Iterator[dg.AssetCheckResult]:
    """The result Dagster asks for: a single date's own, or the worst of a range.

    Nothing is said when no date has rows. A range's result carries no numbers, for
    the UI would plot them among those of single dates.
    """
    if refused or verdicts:
        refusal = in_words(refused) or None
        yield dg.AssetCheckResult(
            asset_key=key,
            check_name=kind.name,
            severity=kind.severity,
            **_said(verdicts, refusal, numbers=not ranged),
        )


def _said(rows: Sequence[Verdict], refusal: str | None, *, numbers: bool) -> dict[str, Any]:
    """What an evaluation says: passed or not, the numbers of every rule, what to do."""
    failed = [row for row in rows if row["passed"] is False]
    words = [refusal] if refusal else []
    words += [
        f"{row['trade_date']} {row['rule'].name}: {row['detail']}: {row['sample']}. "
        f"{row['rule'].remedy}"
        for row in failed[:_SHOWN]
    ]
    words += [f"… and {len(failed) - _SHOWN} more"] if len(failed) > _SHOWN else []
    if rows and all(row["passed"] is None for row in rows):
        unjudged = "; ".join(dict.fromkeys(row["detail"] for row in rows))
    else:
        unjudged = ""
    counts = {
        "rules_passed": sum(row["passed"] is True for row in rows),
        "rules_failed": len(failed),
        "rules_without_verdict": sum(row["passed"] is None for row in rows),
    }
    return {
        "passed": not words,
        "description": "\n".join(words) or unjudged or None,
        "metadata": {
            **(counts if numbers else {}),
            "rules": dg.MetadataValue.md("\n".join([_HEADING, *map(_line, worst(rows))])),
        },
    }


_SHOWN = 5
_HEADING = "| rule | passed | found | threshold | checked | sample |\n|---|---|---|---|---|---|"


def worst(rows: Iterable[Verdict]) -> list[Verdict]:
    """Each rule's worst verdict: a failure before a pass, a larger finding before a smaller."""
    found: dict[str, Verdict] = {}
    for row in rows:
        name = row["rule"].name
        if name not in found or _badness(row) > _badness(found[name]):
            found[name] = row
    return list(found.values())


def _badness(row: Verdict) -> tuple[bool, bool, float]:
    found = row["found"]
    return (row["passed"] is False, found is not None, found or 0.0)


def _line(row: Verdict) -> str:
    return (
        f"| {row['rule'].name} | {_PASSED[row['passed']]} | {_number(row['found'])} "
        f"| {_number(row['threshold'])} | {row['checked']} | {row['sample'] or ''} |"
    )


_PASSED = {True: "yes", False: "**no**", None: "not judged"}


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"
