"""An explanation as lines of text, from the value down to the files.

Belongs here: wording and order. Does not belong here: what is found out (see `explain`).
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from optrade.explanation import Commit, Explanation, Key, RawFile, Rows, Run, Step, Value, Verified
from optrade.tables import IST

_MOST_CHARS = 80
_MOST_FILES = 12
"""Files that are listed under a step; JSON has all."""


def as_text(found: Explanation) -> Iterator[str]:
    """The lines of an explanation."""
    yield from _value(found.value)
    yield f"as of snapshot {found.snapshot} of the {found.market} lake"
    runs = {run.run_id: run for run in found.runs}
    for step in found.steps:
        yield ""
        yield from _step(step, runs)
    if found.verified:
        yield ""
        yield from _verified(found)


def _value(value: Value) -> Iterator[str]:
    unit = f" {value.unit}" if value.unit and value.value is not None else ""
    yield f"{value.table}.{value.column} = {_plain(value.value)}{unit}"
    yield f"  {value.description}"
    if value.value is None:
        yield f"  null because of {value.reason}" if value.reason else "  null: the row says no why"
    yield f"  of {_key(value.key)}"


def _step(step: Step, runs: dict[str, Run]) -> Iterator[str]:
    yield f"{step.table} {step.day}"
    yield f"  one row is {step.row_is}"
    yield f"  method: {step.method}"
    rows = step.rows
    yield f"  rows: {_narrowed(rows)}"
    for commit in step.commits:
        yield from _commit(commit, runs)
    if step.compacted_in is not None:
        yield f"  the same rows were put into one file in snapshot {step.compacted_in}"
    for path in step.data_files:
        yield f"  data file {path.replace(chr(92), '/').rsplit('/data/', 1)[-1]}"
    for read in step.inputs:
        span = f"{read.first}" if read.first == read.last else f"{read.first}..{read.last}"
        held = _narrowed(read) if read.dates else "nothing held"
        yield f"  made from {read.table} {span}: {held}, as of snapshot {read.snapshot}"
    for file in step.raw_files[:_MOST_FILES]:
        yield from _file(file)
    if (more := len(step.raw_files) - _MOST_FILES) > 0:
        yield f"  and {more} more raw files of earlier dates (--format json lists them)"


def _narrowed(rows: Rows) -> str:
    days = f" on {rows.dates} dates" if rows.dates > 1 else ""
    if not rows.shared:
        return f"{rows.count:,} of {rows.slice_rows:,}{days}"
    return f"{rows.count:,} of {rows.slice_rows:,}{days} with {_key(rows.shared)}"


def _commit(commit: Commit, runs: dict[str, Run]) -> Iterator[str]:
    yield (
        f"  committed in snapshot {commit.snapshot} at {_at(commit.committed_at)} by "
        f"{commit.author or 'nobody named'}: {_shortened(commit.message)}"
    )
    if commit.made_with != commit.current:
        then = f"code version {commit.made_with!r}" if commit.made_with else "no code version"
        yield f"    made with {then}; today's code is version {commit.current!r}"
    elif commit.made_with:
        yield f"    code version {commit.made_with!r}, today's"
    run = runs.pop(commit.run_id or "", None)  # Told once.
    if run is not None and run.job is None:
        yield f"    run {run.run_id}: not in the event log any more"
    elif run is not None:
        tags = ", ".join(f"{name}={value}" for name, value in (run.tags or {}).items())
        started = f", begun {_at(run.started_at)}" if run.started_at else ""
        yield f"    run {run.run_id}: job {run.job}, {run.status}{started}; {tags}"


def _shortened(message: str) -> str:
    return message if len(message) <= _MOST_CHARS else f"{message[:_MOST_CHARS]}…"


def _file(file: RawFile) -> Iterator[str]:
    size = f", {file.bytes:,} bytes" if file.bytes is not None else ""
    when = f", {_at(file.fetched_at)}" if file.fetched_at else ""
    where = f"{'lake' if file.home == 'lake' else 'market home'}/{file.stored_as}"
    yield f"  raw file {file.kind} {file.trade_date}: {where}{size}{when}"
    if file.sha256:
        yield f"    sha256 {file.sha256}"
    if file.url:
        yield f"    from {file.url}"


def _verified(found: Explanation) -> Iterator[str]:
    yield "computed again from the raw bytes:"
    for step in found.verified:
        yield f"  {step.table} {step.day}: {_verdict(step)}"
    first = found.first_difference
    if first is None:
        yield "identical, bit for bit"
    else:
        yield f"NOT identical: the first table that differs is {first.table} of {first.day}"


def _verdict(step: Verified) -> str:
    if step.problem is not None:
        return step.problem
    if step.difference is not None:
        return f"DIFFERS ({step.rows:,} rows held): {step.difference}"
    return f"{step.rows:,} rows identical"


def _key(key: Key) -> str:
    return ", ".join(f"{name} {_plain(value)}" for name, value in key.items())


def _plain(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, datetime):
        return _at(value)
    return str(value)


def _at(moment: datetime) -> str:
    return f"{moment.astimezone(ZoneInfo(IST)):%Y-%m-%d %H:%M:%S} IST"
