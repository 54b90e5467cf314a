"""A day of the minute lane judged as a whole, when it is over.

Belongs here: every rule of the lane's tables on all rows of a day. Does not belong here: judging
the minutes a run brings (see `minutes`), the rules.
"""

from collections.abc import Iterator, Sequence
from datetime import date
from typing import Any

import polars as pl

from assets.checks import judge, kinds_of, rules_by_kind, worst
from assets.quality import results_of
from optrade.quality import Inputs, Rule
from optrade.tables import TABLES, Table
from optrade.tables.quality import CHECK_RESULTS
from optrade.tables.raw_live import TICK_SEGMENTS, TICKS
from resources.lake_io import LakeResource

_SEGMENTS = 15
"""Segments whose ticks are judged at once; a day of them does not fit into memory."""


def judge_day(lake: LakeResource, tables: Sequence[Table], day: date, run_id: str) -> pl.DataFrame:
    """Rows of `quality.check_results` for every rule of those `tables` that have rows of the day.

    Ticks are judged some segments at a time, and the worst verdict of each rule counts.
    """
    rows: list[dict[str, Any]] = []
    for table in tables:
        grouped = rules_by_kind(table)
        for kind in kinds_of(table):
            rules = grouped[kind.name]
            verdicts = worst(
                verdict
                for inputs in _inputs(lake, table, rules, day)
                for verdict in judge(rules, inputs, [day])
            )
            rows += results_of(table, kind.name, verdicts, {}, run_id)
    return CHECK_RESULTS.conform(pl.DataFrame(rows, schema=CHECK_RESULTS.schema))


def _inputs(lake: LakeResource, table: Table, rules: Sequence[Rule], day: date) -> Iterator[Inputs]:
    """What the rules look at; ticks in several helpings."""
    others = {name for rule in rules for name in rule.needs} - {TICKS.full_name}
    frames = {name: lake.read(TABLES[name], [day]) for name in sorted(others)}
    if table is not TICKS:
        yield Inputs(frames | {table.full_name: lake.read(table, [day])}, [day])
        return
    names = lake.read(TICK_SEGMENTS, [day], columns=["segment"])["segment"].to_list()
    for start in range(0, len(names), _SEGMENTS):
        listed = ", ".join(f"'{name}'" for name in names[start : start + _SEGMENTS])
        ticks = lake.read(TICKS, [day], where=f"segment IN ({listed})")
        if ticks.height:
            yield Inputs(frames | {TICKS.full_name: ticks}, [day])
