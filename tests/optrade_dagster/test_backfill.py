"""The command's backfill as the Dagster instance keeps it: one backfill, few runs, by its name."""

from __future__ import annotations

from collections import Counter
from datetime import date
from math import ceil

import dagster as dg
import pytest
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill
from dagster._core.test_utils import create_run_for_test
from dagster._core.utils import make_new_run_id

from optrade.tables.quality import RECORD
from optrade.tables.reconciliation import RECONCILIATION
from optrade_dagster import backfill as backfill_module
from optrade_dagster.definitions import build_defs
from optrade_dagster.home import open_instance
from resources.settings import Settings

DAYS = [date(2026, 1, 12), date(2026, 1, 13), date(2026, 1, 14)]
DAYS_PER_RUN = 2
"""As the demo was run (see `conftest`)."""
ENVIRONMENT = ("DAGSTER_HOME", "OPTRADE_HOME", "OPTRADE_MARKET")


@pytest.fixture
def instance(demo, monkeypatch):
    """The instance of the demo's home."""
    assert demo.code == 0, demo.output
    for name in ENVIRONMENT:  # Opening the instance sets these for its children.
        monkeypatch.setenv(name, "")
    with open_instance(Settings(home=demo.optrade.home, market="simulated")) as opened:
        yield opened


@pytest.fixture
def backfill(instance):
    """The demo's backfill: the first one in its home."""
    return min(instance.get_backfills(), key=lambda b: b.backfill_timestamp)


@pytest.fixture
def runs(instance, backfill):
    tagged = dg.RunsFilter(tags={"dagster/backfill": backfill.backfill_id})
    return sorted(instance.get_runs(tagged), key=lambda r: r.tags[RANGE_START])


RANGE_START, RANGE_END = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"


def test_it_is_one_backfill_with_a_name(backfill, demo, tables):
    assert backfill.title == f"{DAYS[0]} to {DAYS[-1]}"
    assert backfill.status is BulkActionStatus.COMPLETED_SUCCESS
    assert backfill.tags["optrade/command"] == "backfill"
    assert backfill.backfill_id in demo.output
    others = {dg.AssetKey(t.asset_path) for t in (*RECORD, RECONCILIATION)}
    assert set(backfill.asset_selection) - others == {dg.AssetKey(t.asset_path) for t in tables}


def test_it_makes_as_few_runs_as_the_setting_allows(runs):
    assert len(runs) == ceil(len(DAYS) / DAYS_PER_RUN)
    assert [(run.tags[RANGE_START], run.tags[RANGE_END]) for run in runs] == [
        (str(DAYS[0]), str(DAYS[1])),
        (str(DAYS[2]), str(DAYS[2])),
    ]
    assert {run.status for run in runs} == {dg.DagsterRunStatus.SUCCESS}


def test_its_runs_materialize_every_table_of_every_day(instance, runs, tables):
    for table in tables:
        key = dg.AssetKey(table.asset_path)
        assert instance.get_materialized_partitions(key) == {str(day) for day in DAYS}
    remembered = {dg.AssetKey(t.asset_path) for t in (*RECORD, RECONCILIATION)}
    stored = Counter()
    for run in runs:
        records = instance.get_records_for_run(
            run.run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION
        ).records
        stored.update(r.partition_key for r in records if r.asset_key not in remembered)
    assert stored == dict.fromkeys(map(str, DAYS), len(tables))


def test_its_checks_are_kept_for_each_day_also_of_a_run_of_one(instance, runs, tables):
    judged: dict[str | None, set[str]] = {}
    for run in runs:
        records = instance.get_records_for_run(
            run.run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION
        ).records
        for record in records:
            evaluation = record.event_log_entry.dagster_event.asset_check_evaluation_data
            assert evaluation.passed, evaluation.description
            judged.setdefault(evaluation.partition, set()).add(str(evaluation.asset_check_key))
    assert set(judged) == {None, *map(str, DAYS)}
    assert judged[str(DAYS[1])] == judged[str(DAYS[2])]
    assert len(judged[str(DAYS[0])]) >= 2 * len(tables)


@pytest.mark.filterwarnings("ignore:.*AssetSelection.sources.*:DeprecationWarning")  # Its own.
def test_what_a_killed_command_left_behind_is_ended(tmp_path):
    """Its runs would stay started for ever and hold the queue; another's backfill is left alone."""
    graph = build_defs(Settings(home=tmp_path)).get_repository_def().asset_graph
    with dg.DagsterInstance.ephemeral() as instance:
        for name, tags in (("killed", {"optrade/command": "backfill"}), ("of-the-ui", {})):
            instance.add_backfill(
                PartitionBackfill.from_asset_partitions(
                    backfill_id=name,
                    asset_graph=graph,
                    partition_names=["2025-01-01"],
                    asset_selection=sorted(graph.get_all_asset_keys()),
                    backfill_timestamp=1.0,
                    tags=tags,
                    dynamic_partitions_store=instance,
                    all_partitions=False,
                    title=name,
                    description=None,
                    run_config=None,
                )
            )
            create_run_for_test(
                instance,
                run_id=make_new_run_id(),
                status=dg.DagsterRunStatus.STARTED,
                tags={"dagster/backfill": name},
            )
        backfill_module._end_interrupted(instance)
        ended, other = instance.get_backfill("killed"), instance.get_backfill("of-the-ui")
        assert (ended.status, other.status) == (
            BulkActionStatus.CANCELED,
            BulkActionStatus.REQUESTED,
        )
        statuses = {run.tags["dagster/backfill"]: run.status for run in instance.get_runs()}
        assert statuses == {
            "killed": dg.DagsterRunStatus.FAILURE,
            "of-the-ui": dg.DagsterRunStatus.STARTED,
        }
