"""The close lane end to end: what Dagster is told, what the lake holds, and that they agree."""

from __future__ import annotations

from collections import Counter

import pytest
from dagster import AssetCheckKey, AssetKey, DagsterEventType
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus

CHECKS = {"contract", "consistent", "ordinary"}


@pytest.fixture(scope="module")
def growing(lanes, exchange, sessions):
    """A market that was run day by day, in order."""
    lane = lanes(exchange)
    return lane, [lane.run(day) for day in sessions]


def test_a_range_run_materializes_every_table_once_for_every_date(
    filled, reading, tables, sessions
):
    lane, result = filled
    assert result.success, reading.failure_text(result)
    everything = {(table.full_name, str(day)) for table in tables for day in sessions}
    assert reading.stored(result) == dict.fromkeys(everything, 1)
    assert len(everything) == len(tables) * 6
    for table in tables:
        assert lane.materialized(table.full_name) == {str(day) for day in sessions}


def test_each_materialization_says_what_the_lake_holds(filled, reading, tables):
    lane, result = filled
    with lane.lake() as lake:
        counted = {
            (table.full_name, str(day)): rows
            for table in tables
            for day, rows in lake.sql(
                f"SELECT trade_date, count(*) FROM {table.full_name} GROUP BY ALL"
            ).iter_rows()
        }
    told = {(".".join(m.asset_key.path), m.partition): m for m in reading.materializations(result)}
    rows = {at: m.metadata["dagster/partition_row_count"].value for at, m in told.items()}
    assert rows == counted
    hashes = {(name, str(day)): files for (name, day), files in lane.contents().items()}
    for at, materialization in told.items():
        (stored,) = hashes[at]
        assert materialization.metadata["content_sha256"].value.startswith(stored)
        assert materialization.tags["dagster/data_version"] == stored
        assert materialization.metadata["changed"].value is True


def test_every_check_is_judged_for_each_date_and_in_sum(filled, reading, tables, sessions):
    lane, result = filled
    judged = reading.evaluations(result)
    assert [f"{e.asset_check_key}: {e.description}" for e in judged if not e.passed] == []
    of_date = Counter((e.asset_key, e.check_name, e.partition) for e in judged)
    assert set(of_date.values()) == {1}
    for table in tables:
        key = AssetKey(table.asset_path)
        names = {name for asset, name, _ in of_date if asset == key}
        assert "contract" in names
        assert names <= CHECKS
        for name in names:
            days = {day for asset, check, day in of_date if (asset, check) == (key, name)}
            assert days == {None, *map(str, sessions)}
    of_dates = [e for e in judged if e.partition]
    assert all(e.metadata["rules_failed"].value == 0 for e in of_dates)
    for e in of_dates:
        if e.metadata["rules_passed"].value == 0:  # A pass that saw nothing says so.
            assert e.description.startswith("not checked: ")
    unjudged = [e for e in of_dates if e.metadata["rules_passed"].value == 0]
    assert len(unjudged) < len(of_dates) / 10
    current = {  # What each date's verdict speaks of is that date's own materialization.
        (e.asset_key, e.partition): e.target_materialization_data.storage_id for e in of_dates
    }
    for table in tables:
        key = AssetKey(table.asset_path)
        stored = lane.instance.get_latest_storage_id_by_partition(
            key, DagsterEventType.ASSET_MATERIALIZATION, {str(day) for day in sessions}
        )
        assert {day: current[key, day] for day in stored} == stored


def test_the_instance_knows_the_status_of_a_check_for_each_date(filled, sessions):
    lane, _ = filled
    keys = [
        AssetCheckKey(AssetKey(["raw", "fo_bhavcopy"]), "contract"),
        AssetCheckKey(AssetKey(["participants", "ledger"]), "contract"),
    ]
    known = lane.instance.event_log_storage.get_asset_check_partition_info(keys)
    passed = AssetCheckExecutionRecordStatus.SUCCEEDED
    for key in keys:
        by_date = {
            i.partition_key: i.latest_execution_status
            for i in known
            if i.check_key == key and i.partition_key
        }
        assert by_date == {str(day): passed for day in sessions}


def test_a_second_run_changes_nothing(filled, lanes, exchange, reading, sessions, tables):
    lane = lanes(exchange, like=filled[0])
    contents, snapshots = lane.contents(), lane.snapshots()
    result = lane.run(sessions[0], sessions[-1])
    assert result.success, reading.failure_text(result)
    told = reading.materializations(result)
    assert len(told) == len(tables) * 6
    assert [m.metadata["changed"].value for m in told] == [False] * len(told)
    assert lane.contents() == contents
    assert lane.snapshots() == snapshots


def test_day_by_day_gives_the_same_content_as_one_range(filled, growing, reading, tables):
    lane, results = growing
    for result in results:
        assert result.success, reading.failure_text(result)
    expected, found = filled[0].contents(), lane.contents()
    expected, found = (
        {at: hashes for at, hashes in contents.items() if at[0] != "raw.source_files"}
        for contents in (expected, found)
    )
    assert len(expected) == (len(tables) - 1) * 6
    assert found == expected


def test_both_ways_record_the_same_files(filled, growing, sessions):
    """The rows of `source_files` differ in the moment of fetching alone."""

    def rows(lane):
        dropped = {"fetched_at"}
        return [
            {name: value for name, value in row.items() if name not in dropped}
            for row in lane.read("raw.source_files", *sessions)
        ]

    assert rows(growing[0]) == rows(filled[0])


def test_a_run_of_one_day_keeps_its_checks_under_that_day(growing, reading, sessions):
    lane, results = growing
    judged = reading.evaluations(results[-1])
    assert len(judged) >= 15
    assert all(e.passed for e in judged)
    key = AssetCheckKey(AssetKey(["raw", "fo_bhavcopy"]), "contract")
    known = lane.instance.event_log_storage.get_asset_check_partition_info([key])
    assert {i.partition_key for i in known} == {str(day) for day in sessions}


def test_a_file_not_yet_published_leaves_its_table_out_and_is_made_up_later(
    filled, lanes, own_exchange, reading, sessions
):
    day = sessions[3]
    lane = lanes(own_exchange)
    late = lane.file("participant_volume", day)
    waiting = late.rename(late.with_suffix(".later"))

    early = lane.run(sessions[2], sessions[3])

    assert early.success, reading.failure_text(early)
    stored = reading.stored(early)
    assert ("raw.participant_volume", str(day)) not in stored
    assert ("raw.participant_volume", str(sessions[2])) in stored
    assert lane.materialized("raw.participant_volume") == {str(sessions[2])}
    assert lane.read("raw.participant_volume", day) == []
    assert lane.statuses(day)["participant_volume"] == "not_published"
    for row in lane.read("participants.activity", day):
        assert row["reason"] == "volume_file_not_held"
        assert row["call_volume_contracts"] is None
        assert row["pcr_volume"] is None
        assert row["put_oi_contracts"] is not None
    ledger = lane.read("participants.ledger", day)
    assert {row["reason"] for row in ledger} == {"volume_file_not_held"}
    assert {row["residual"] for row in ledger} == {None}
    assert len(ledger) == 24

    waiting.rename(late)
    result = lane.run(day)

    assert result.success, reading.failure_text(result)
    changed = {
        ".".join(m.asset_key.path)
        for m in reading.materializations(result)
        if m.metadata["changed"].value
    }
    assert changed == {
        "raw.source_files",
        "raw.participant_volume",
        "participants.premium_flow",
        "participants.activity",
        "participants.ledger",
        "analytics.sentiment",
        "analytics.scorecard",
    }
    whole, late_lane = filled[0].contents(), lane.contents()
    looking_back = {"analytics.sentiment", "analytics.scorecard"}  # on days this lane lacks
    for table in changed - looking_back - {"raw.source_files"}:
        assert late_lane[table, day] == whole[table, day]
    assert lane.statuses(day)["participant_volume"] == "held"


def test_a_day_without_any_file_stores_the_answers_alone(
    filled, lanes, own_exchange, reading, sessions
):
    day = sessions[4]
    lane = lanes(own_exchange)
    for kind in filled[0].statuses(day):
        lane.file(kind, day).unlink(missing_ok=True)
    result = lane.run(day)
    assert result.success, reading.failure_text(result)
    assert reading.stored(result) == {("raw.source_files", str(day)): 1}
    assert set(lane.statuses(day).values()) == {"not_published"}
    assert {name for name, _ in lane.contents()} == {"raw.source_files"}
