"""Probes of Dagster: its databases, its daemon, runs that are stuck, days whose run failed.

Belongs here: what Dagster's own databases say, read without opening an instance, which would
write. Does not belong here: the lake (see `storage`), incidents (see `feed`).
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from optrade_dagster.doctor.machine import is_ours
from optrade_dagster.doctor.probe import Probe, Seen, Sight, bad, ok, since, warning
from resources.looking import fault_of, look_into
from resources.processes import lives

ALIVE_SECONDS: Final = 90.0
"""Dagster's daemon says every 30 s that it lives."""
STARTING_SECONDS: Final = 120.0
MOST_RUNS: Final = 5_000
"""So many of the newest runs are looked at: two weeks of minutes."""
_SECONDS: Final = 1.0
NO_HOME: Final = "not set up yet"
_TAKEN: Final = "('STARTED', 'STARTING', 'CANCELING')"
_LAST: Final = f"""
SELECT r.run_id, r.status, r.pipeline_name, group_concat(t.key || '=' || t.value, ' ')
FROM (SELECT * FROM runs ORDER BY id DESC LIMIT {MOST_RUNS}) r
LEFT JOIN (SELECT * FROM run_tags WHERE key = 'dagster/partition'
           OR key LIKE 'dagster/asset_partition_range_%' ORDER BY key) t USING (run_id)
GROUP BY r.id ORDER BY r.id
"""


def _history(sight: Sight) -> Path:
    return sight.settings.dagster_home / "history"


def _runs(sight: Sight) -> Path:
    return _history(sight) / "runs.db"


def _home(sight: Sight) -> Iterator[Seen]:
    home, history = sight.settings.dagster_home, _history(sight)
    databases = [_runs(sight), history / "runs" / "index.db", home / "schedules" / "schedules.db"]
    there = [path for path in databases if path.exists()]
    if not there:
        yield ok(NO_HOME)
        return
    for path in there:
        with look_into(path) as database:
            if fault := fault_of(database, _SECONDS):
                yield bad(f"{path}: {fault}")
                return
    yield ok(f"{len(there)} databases, nothing found in them")


def _daemon(sight: Sight) -> Iterator[Seen]:
    shown, last = is_ours(sight), _last_heard(sight)
    if last is None:
        yield bad("the web UI answers, the daemon never did") if shown else ok("not running")
        return
    age = (datetime.now(UTC) - last).total_seconds()
    if age <= ALIVE_SECONDS:
        yield ok(f"heard {since(age)} ago")
    elif shown:
        yield bad(f"the web UI answers, the daemon was last heard {since(age)} ago")
    else:
        yield ok(f"not running, last heard {since(age)} ago")


def _last_heard(sight: Sight) -> datetime | None:
    if not _runs(sight).exists():
        return None
    with look_into(_runs(sight)) as runs:
        (last,) = runs.execute("SELECT max(timestamp) FROM daemon_heartbeats").fetchone()
    return datetime.fromisoformat(last).replace(tzinfo=UTC) if last else None


def _stuck(sight: Sight) -> Iterator[Seen]:
    if not _runs(sight).exists():
        yield ok(NO_HOME)
        return
    with look_into(_runs(sight)) as runs:
        taken = runs.execute(
            f"SELECT run_id, pipeline_name, create_timestamp FROM runs WHERE status IN {_TAKEN}"
        ).fetchall()
    stuck = []
    for run_id, job, created in taken:
        pid = _process_of(_history(sight) / "runs" / f"{run_id}.db")
        age = datetime.now(UTC) - datetime.fromisoformat(created).replace(tzinfo=UTC)
        if pid is not None and not lives(pid):
            stuck.append(f"{run_id[:8]} of {job} (process {pid} is gone)")
        elif pid is None and age.total_seconds() > STARTING_SECONDS:
            stuck.append(f"{run_id[:8]} of {job} (no process after {since(age.total_seconds())})")
    if stuck:
        yield bad(f"{len(stuck)} of {len(taken)} runs under way: {stuck[0]}")
    else:
        yield ok(f"{len(taken)} runs under way, each with its process")


def _process_of(events: Path) -> int | None:
    """The process a run last said it works in."""
    if not events.exists():
        return None
    with look_into(events) as log:
        said = log.execute(
            "SELECT event FROM event_logs WHERE dagster_event_type = 'ENGINE_EVENT' "
            'AND event LIKE \'%"label": "pid"%\' ORDER BY id DESC LIMIT 1'
        ).fetchone()
    if said is None:
        return None
    entries = json.loads(said[0])["dagster_event"]["event_specific_data"]["metadata_entries"]
    told = next(e["entry_data"] for e in entries if e["label"] == "pid")
    return int(told.get("text") or told["value"])


def _failed(sight: Sight) -> Iterator[Seen]:
    if not _runs(sight).exists():
        yield ok(NO_HOME)
        return
    with look_into(_runs(sight)) as runs:
        failed = _last_failed(runs)
    if failed:
        job, days = failed[-1]
        yield warning(f"{len(failed)} without a later success, the newest {job} {days}")
    else:
        yield ok("none")


def _last_failed(runs: sqlite3.Connection) -> list[tuple[str, str]]:
    """Jobs and days whose newest run failed, oldest first."""
    last: dict[tuple[str, str], str] = {}
    for _, status, job, tags in runs.execute(_LAST):
        if tags is not None:
            days = "...".join(dict.fromkeys(tag.partition("=")[2] for tag in tags.split()))
            last.pop((job, days), None)
            last[job, days] = status
    return [key for key, status in last.items() if status == "FAILURE"]


PROBES: Final = (
    Probe("dagster home", "dagster_home", _home),
    Probe("dagster daemon", "daemon", _daemon),
    Probe("stuck runs", "stuck_run", _stuck),
    Probe("failed partitions", "failed_partitions", _failed),
)
