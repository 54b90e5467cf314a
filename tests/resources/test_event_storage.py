"""The batching event log says what Dagster's own says, in the same order, and in time."""

from __future__ import annotations

import itertools
import sqlite3
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from dagster._core.events import (
    DagsterEvent,
    DagsterEventType,
    StepMaterializationData,
    StepSuccessData,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from resources import event_storage
from resources.event_storage import BatchingSqliteEventLogStorage

DAYS = [str(date(2026, 1, 1) + timedelta(days=i)) for i in range(25)]
PARTITIONS = dg.StaticPartitionsDefinition(DAYS)
STORAGES = {
    "stock": ("dagster._core.storage.event_log", "SqliteEventLogStorage"),
    "batching": ("resources.event_storage", "BatchingSqliteEventLogStorage"),
}
Opened = Callable[[str], dg.DagsterInstance]


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Opened]:
    """Opens an instance with one of the two storages."""
    instances = []

    def open_one(kind: str) -> dg.DagsterInstance:
        home = tmp_path / kind
        home.mkdir(exist_ok=True)
        module, name = STORAGES[kind]
        storage = {"module": module, "class": name, "config": {"base_dir": str(home / "events")}}
        config = {"telemetry": {"enabled": False}, "event_log_storage": storage}
        (home / "dagster.yaml").write_text(yaml.safe_dump(config))
        instances.append(dg.DagsterInstance.from_config(str(home)))
        return instances[-1]

    yield open_one
    for instance in instances:
        instance.dispose()


@dg.asset(partitions_def=PARTITIONS)
def many(context) -> Iterator[Any]:
    for number, day in enumerate(context.partition_keys):
        yield dg.AssetMaterialization("side", partition=day, metadata={"n": number})
        if number % 10 == 4:
            context.log.info("said %d", number)
        if number % 7 == 0:
            yield dg.AssetObservation("many", partition=day)
    yield dg.MaterializeResult(metadata={"rows": 3}, tags={"colour": "red"})


@dg.asset_check(asset=many)
def sound() -> dg.AssetCheckResult:
    return dg.AssetCheckResult(passed=False, severity=dg.AssetCheckSeverity.WARN)


def by_day() -> dg.AssetChecksDefinition:
    """A check that speaks of each date, of some twice, and at last of the whole range."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.PreviewWarning)
        spec = dg.AssetCheckSpec("by_day", asset="many", partitions_def=PARTITIONS)

    @dg.multi_asset_check(name="by_day_checks", specs=[spec])
    def checks(context) -> Iterator[Any]:
        for day in [*DAYS, DAYS[3], "2031-01-01", "2031-01-01"]:
            yield dg.AssetCheckEvaluation(
                dg.AssetKey("many"), "by_day", passed=day != DAYS[3], metadata={}, partition=day
            )
        yield dg.AssetCheckResult(passed=True, asset_key="many", check_name="by_day")

    return checks


@dg.asset(deps=[many])
def broken() -> None:
    raise RuntimeError("broken on purpose")


def run(instance: dg.DagsterInstance) -> str:
    job = dg.Definitions(
        assets=[many, broken],
        asset_checks=[sound, by_day()],
        jobs=[dg.define_asset_job("job", executor_def=dg.in_process_executor)],
    ).resolve_job_def("job")
    tags = {
        "dagster/asset_partition_range_start": DAYS[0],
        "dagster/asset_partition_range_end": DAYS[-1],
    }
    result = job.execute_in_process(instance=instance, tags=tags, raise_on_error=False)
    assert not result.success
    return result.run_id


def said(instance: dg.DagsterInstance, run_id: str) -> list[tuple[Any, ...]]:
    """Every event of a run, in order, without what differs between two runs anyway."""
    entries = []
    for entry in instance.all_logs(run_id):
        event = entry.dagster_event
        if event is None:
            entries.append(("log", entry.level, entry.user_message))
            continue
        partition = event.partition if event.asset_key else None
        entries.append((event.event_type_value, event.step_key, str(event.asset_key), partition))
    return entries


def index_rows(instance: dg.DagsterInstance) -> dict[str, list[tuple[Any, ...]]]:
    """What the cross-run database holds, by table."""
    queries = {
        "event_logs": "SELECT id, dagster_event_type, asset_key, partition, step_key "
        "FROM event_logs ORDER BY id",
        "asset_event_tags": "SELECT event_id, asset_key, key, value FROM asset_event_tags "
        "WHERE key NOT LIKE 'dagster/data_version' AND key NOT LIKE 'dagster/input%' ORDER BY 1, 3",
        "asset_check_executions": "SELECT asset_key, check_name, partition, execution_status, "
        "evaluation_event_storage_id, materialization_event_storage_id, "
        "json_extract(evaluation_event, '$.dagster_event.event_specific_data.passed') "
        "FROM asset_check_executions ORDER BY 1, 2, 3",
        "asset_keys": "SELECT asset_key, last_run_id IS NULL, "
        "json_extract(last_materialization, '$.storage_id'), "
        "last_materialization_timestamp IS NULL FROM asset_keys ORDER BY 1",
    }
    path = instance.event_log_storage.path_for_shard("index")  # type: ignore[attr-defined]
    connection = sqlite3.connect(path)
    try:
        return {name: connection.execute(query).fetchall() for name, query in queries.items()}
    finally:
        connection.close()


def test_a_run_leaves_the_same_log_as_dagsters_own_storage(opened):
    logs, rows = {}, {}
    for kind in STORAGES:
        instance = opened(kind)
        run_id = run(instance)
        logs[kind] = said(instance, run_id)
        rows[kind] = index_rows(instance)
        assert len(instance.get_materialized_partitions(dg.AssetKey("side"))) == len(DAYS)
        latest = instance.get_latest_materialization_event(dg.AssetKey("many"))
        assert latest is not None
    assert isinstance(opened("batching").event_log_storage, BatchingSqliteEventLogStorage)
    assert logs["batching"] == logs["stock"]
    assert rows["batching"] == rows["stock"]
    kinds = {event[0] for event in logs["stock"]}
    assert {"ASSET_MATERIALIZATION", "ASSET_CHECK_EVALUATION", "STEP_FAILURE", "log"} <= kinds
    statuses = {row[2]: row[3] for row in rows["stock"]["asset_check_executions"]}
    assert len(statuses) == len(DAYS) + 2  # each date, one nobody planned, the whole range
    assert statuses[DAYS[3]] == "FAILED"
    assert statuses["2031-01-01"] == "SUCCEEDED"


def materialized(day: str, asset: str = "a") -> DagsterEvent:
    data = StepMaterializationData(dg.AssetMaterialization(asset, partition=day))
    return DagsterEvent(
        event_type_value=DagsterEventType.ASSET_MATERIALIZATION.value,
        job_name="j",
        step_key="s",
        event_specific_data=data,
    )


def on_disk(instance: dg.DagsterInstance, run_id: str) -> int:
    """Asset events another process finds in the run's own database."""
    code = (
        "import sqlite3, sys; print(sqlite3.connect(sys.argv[1]).execute("
        "\"SELECT count(*) FROM event_logs WHERE dagster_event_type = 'ASSET_MATERIALIZATION'\""
        ").fetchone()[0])"
    )
    path = instance.event_log_storage.path_for_shard(run_id)  # type: ignore[attr-defined]
    found = subprocess.run(
        [sys.executable, "-c", code, path], capture_output=True, text=True, timeout=30, check=True
    )
    return int(found.stdout)


def test_events_wait_for_company_but_not_beyond_the_step(opened, monkeypatch):
    monkeypatch.setattr(event_storage, "_LONGEST_SECONDS", 60.0)
    instance = opened("batching")
    instance.report_engine_event("begins", run_id="r1", job_name="j")
    for day in DAYS:
        instance.report_dagster_event(materialized(day), "r1")
    assert on_disk(instance, "r1") == 0
    end = DagsterEvent(
        DagsterEventType.STEP_SUCCESS.value,
        job_name="j",
        step_key="s",
        event_specific_data=StepSuccessData(duration_ms=1.0),
    )
    instance.report_dagster_event(end, "r1")
    assert on_disk(instance, "r1") == len(DAYS)


@pytest.mark.parametrize("why", ["time", "number", "another run", "a question", "dispose"])
def test_what_ends_the_waiting(opened, monkeypatch, why):
    monkeypatch.setattr(event_storage, "_LONGEST_SECONDS", 0.0 if why == "time" else 60.0)
    monkeypatch.setattr(event_storage, "_MOST", 2 if why == "number" else 1_000)
    instance = opened("batching")
    instance.report_engine_event("begins", run_id="r1", job_name="j")
    instance.report_dagster_event(materialized(DAYS[0]), "r1")
    instance.report_dagster_event(materialized(DAYS[1]), "r2" if why == "another run" else "r1")
    if why == "a question":
        assert instance.get_latest_materialization_event(dg.AssetKey("a")) is not None
    if why == "dispose":
        instance.dispose()
    assert on_disk(instance, "r1") == (1 if why == "another run" else 2)


def test_an_event_of_no_run_is_stored_at_once(opened):
    instance = opened("batching")
    instance.report_runless_asset_event(dg.AssetMaterialization("a", partition=DAYS[0]))
    assert on_disk(instance, "") == 1


def test_threads_lose_and_double_nothing(opened):
    instance = opened("batching")
    errors: list[Exception] = []

    def report(number: int) -> None:
        try:
            for day in DAYS:
                instance.report_dagster_event(
                    materialized(day, f"asset{number}"), f"run{number % 2}"
                )
                if day.endswith("5"):
                    instance.report_engine_event("x", run_id=f"run{number % 2}", job_name="j")
        except Exception as error:  # noqa: BLE001 (the test shows it)
            errors.append(error)

    threads = [threading.Thread(target=report, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    for number in range(4):
        key = dg.AssetKey(f"asset{number}")
        records = instance.fetch_materializations(key, limit=100, ascending=True).records
        assert [record.partition_key for record in records] == DAYS
    logged = [e for n in range(2) for e in said(instance, f"run{n}")]
    assert sum(event[0] == "ASSET_MATERIALIZATION" for event in logged) == 4 * len(DAYS)


def test_a_refused_batch_is_stored_one_by_one_and_the_culprit_named(opened, monkeypatch):
    instance = opened("batching")
    storage = instance.event_log_storage
    real = BatchingSqliteEventLogStorage._store_asset_event_tags

    def refuses_one(self, conn, events, event_ids):
        if DAYS[1] in {event.dagster_event.partition for event in events}:
            raise RuntimeError("refused on purpose")
        return real(self, conn, events, event_ids)

    monkeypatch.setattr(BatchingSqliteEventLogStorage, "_store_asset_event_tags", refuses_one)
    for day in DAYS[:3]:
        instance.report_dagster_event(materialized(day), "r1")
    with pytest.raises(RuntimeError, match="refused on purpose"):
        storage.get_logs_for_run("r1")
    found = instance.fetch_materializations(dg.AssetKey("a"), limit=9, ascending=True).records
    assert [record.partition_key for record in found] == [DAYS[0], DAYS[2]]
    assert len(storage.get_logs_for_run("r1")) == 3  # as Dagster's own: the run's log came first


def test_wiping_forgets_what_waits(opened):
    instance = opened("batching")
    instance.report_dagster_event(materialized(DAYS[0]), "r1")
    instance.event_log_storage.wipe()
    assert instance.get_latest_materialization_event(dg.AssetKey("a")) is None


def test_any_sequence_gives_the_log_of_dagsters_own(opened, monkeypatch):
    instances = {kind: opened(kind) for kind in STORAGES}
    examples = itertools.count()

    @settings(max_examples=8, deadline=None)
    @given(
        steps=st.lists(
            st.tuples(st.sampled_from(["r1", "r2"]), st.sampled_from(["asset", "engine"])),
            max_size=8,
        ),
        most=st.integers(1, 4),
    )
    def sequence(steps, most):
        monkeypatch.setattr(event_storage, "_MOST", most)
        example = f"{next(examples)}"
        found = {}
        for kind, instance in instances.items():
            for number, (run_id, what) in enumerate(steps):
                if what == "asset":
                    instance.report_dagster_event(materialized(DAYS[number]), run_id + example)
                else:
                    instance.report_engine_event(f"{number}", run_id=run_id + example, job_name="j")
            found[kind] = [said(instance, run_id + example) for run_id in ("r1", "r2")]
        assert found["batching"] == found["stock"]

    sequence()
    assert index_rows(instances["batching"]) == index_rows(instances["stock"])
