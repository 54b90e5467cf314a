"""Asset checks of every table, kept per partition in range runs too.

Belongs here: turning `optrade.quality` rules into Dagster checks, and failing the run for the
dates it refused. Does not belong here: the rules.

Partitioned asset checks are a preview feature of Dagster: this module is the only one that
touches it. A range run yields one evaluation per date, then the summary Dagster asks for.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from datetime import date
from typing import Any

import dagster as dg
import polars as pl

from assets.building import Graph
from assets.partitions import dates_of
from optrade.quality import Inputs, Rule, evaluate, rules_for
from optrade.tables import TABLES, Table

ACCEPTED = "every_date_accepted"
_SEVERITY = {"ERROR": dg.AssetCheckSeverity.ERROR, "WARN": dg.AssetCheckSeverity.WARN}
CheckEvent = dg.AssetCheckEvaluation | dg.AssetCheckResult


def build_checks(graph: Graph, table: Table) -> dg.AssetChecksDefinition:
    """All checks of one table in one step."""
    rules = {rule.name: rule for rule in rules_for(table.full_name)}
    key = dg.AssetKey(table.asset_path)

    @dg.multi_asset_check(
        name=f"{table.group}__{table.name}__checks",
        specs=[_spec(graph, key, rule) for rule in rules.values()] + [_accepted_spec(graph, key)],
        can_subset=True,
        required_resource_keys={"lake", "refusals"},
    )
    def checks(context: dg.AssetCheckExecutionContext) -> Iterator[CheckEvent]:
        dates = dates_of(context.partition_keys)
        selected = {check.name for check in context.selected_asset_check_keys}
        chosen = [rule for name, rule in rules.items() if name in selected]
        inputs = read_inputs(context.resources.lake.lake, graph, table, chosen, dates)
        for rule in chosen:
            verdicts = evaluate(rule, inputs, dates)
            yield from per_partition(key, rule, verdicts, dates)
        refused = context.resources.refusals.of(table)
        if ACCEPTED in selected:
            yield from _acceptance(key, dates, refused)
        if refused:
            raise dg.Failure(
                description=f"{len(refused)} of {len(dates)} dates refused; what was held of them "
                "stands:\n" + "\n".join(refused.values())
            )

    return checks


def _spec(graph: Graph, key: dg.AssetKey, rule: Rule) -> dg.AssetCheckSpec:
    gate = "\n\nGuards the commit: a date that fails is not stored." if rule.blocking else ""
    return _quiet_spec(
        rule.name,
        key,
        graph,
        f"{rule.description}\n\nFails above {rule.threshold:g} {rule.unit} "
        f"({rule.severity}).{gate}\n\n**Remedy:** {rule.remedy}",
    )


def _accepted_spec(graph: Graph, key: dg.AssetKey) -> dg.AssetCheckSpec:
    return _quiet_spec(
        ACCEPTED,
        key,
        graph,
        "No date of the run was refused (ERROR). A refused date keeps the rows it had.\n\n"
        "**Remedy:** the message names file, line, field and what to do; then materialize the "
        "date again.",
    )


def _quiet_spec(name: str, key: dg.AssetKey, graph: Graph, description: str) -> dg.AssetCheckSpec:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.PreviewWarning)
        return dg.AssetCheckSpec(
            name, asset=key, description=description, partitions_def=graph.partitions
        )


def read_inputs(
    lake: Any, graph: Graph, table: Table, rules: Sequence[Rule], dates: Sequence[date]
) -> Inputs:
    """Read what rules look at: the dates, and the session before each where a rule asks."""
    span = list(dates)
    if any(rule.looks_back for rule in rules):
        span = sorted({*dates, *(graph.calendar.previous(d) for d in dates)})
    names = {table.full_name, *(name for rule in rules for name in rule.needs)}
    frames = {name: lake.read(TABLES[name], span) for name in sorted(names)}
    return Inputs(frames, graph.calendar.sessions(min(span), max(span)))


def per_partition(
    key: dg.AssetKey, rule: Rule, verdicts: pl.DataFrame, dates: Sequence[date]
) -> Iterator[CheckEvent]:
    """One evaluation per judged date of a range, then the summary over all of them."""
    severity = _SEVERITY[rule.severity]
    judged = verdicts.filter(pl.col("passed").is_not_null())
    failed = judged.filter(~pl.col("passed"))
    if len(dates) > 1:
        for row in judged.iter_rows(named=True):
            yield dg.AssetCheckEvaluation(
                asset_key=key,
                check_name=rule.name,
                passed=row["passed"],
                severity=severity,
                partition=row["trade_date"].isoformat(),
                metadata=_numbers(row),
                description=None if row["passed"] else row["detail"],
            )
    worst = failed.sort("found", descending=True).row(0, named=True) if failed.height else None
    yield dg.AssetCheckResult(
        asset_key=key,
        check_name=rule.name,
        passed=failed.is_empty(),
        severity=severity,
        metadata={
            "dates_judged": judged.height,
            "dates_failed": failed.height,
            "dates_without_verdict": verdicts.height - judged.height,
            "remedy": rule.remedy,
            **(_numbers(worst or judged.row(0, named=True)) if judged.height else {}),
        },
        description=f"{worst['trade_date']}: {worst['detail']}" if worst else None,
    )


def _numbers(row: dict[str, Any]) -> dict[str, Any]:
    numbers = {name: row[name] for name in ("checked", "found", "threshold", "sample")}
    return {name: value for name, value in numbers.items() if value is not None}


def _acceptance(
    key: dg.AssetKey, dates: Sequence[date], refused: dict[date, str]
) -> Iterator[CheckEvent]:
    if len(dates) > 1:
        for day in dates:
            yield dg.AssetCheckEvaluation(
                asset_key=key,
                check_name=ACCEPTED,
                passed=day not in refused,
                partition=day.isoformat(),
                description=refused.get(day),
            )
    yield dg.AssetCheckResult(
        asset_key=key,
        check_name=ACCEPTED,
        passed=not refused,
        metadata={"dates": len(dates), "dates_refused": len(refused)},
        description="\n".join(refused.values()) or None,
    )
