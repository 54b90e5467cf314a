"""A day whose ticks and segments are archived is the same, also when it is done again."""

from __future__ import annotations

import dagster as dg
import pytest

from assets import minute_work
from optrade.tables.quality import RECORD
from optrade_dagster.archive import ARCHIVE
from optrade_dagster.definitions import build_defs
from optrade_dagster.home import open_lake
from optrade_dagster.replay import fingerprint
from resources import lake_archive
from resources.lake_slices import is_archived
from resources.memory import MemoryWatch
from tests.assets.spooled_market import DAY, QUIET, TABLES, whole_day


def archive(market, **config):
    both = market.settings.archive.model_copy(update={"lake": True})
    settings = market.settings.model_copy(update={"archive": both})
    job = build_defs(settings).resolve_job_def(ARCHIVE)
    ops = {"ops": {"archive_what_is_old": {"config": config}}} if config else {}
    return job.execute_in_process(
        instance=market.instance, run_config=QUIET | ops, raise_on_error=False
    )


def fingerprints(market):
    with open_lake(market.settings, read_only=True) as lake:
        return {
            name: fingerprint(lake, table, DAY)
            for name, table in TABLES.items()
            if (table.part and table not in RECORD)
            or name in ("raw.tick_segments", "quality.tick_gaps")
        }


def test_replay_of_an_archived_day_is_identical(market, monkeypatch):
    monkeypatch.setattr(lake_archive.archive_old, "__kwdefaults__", {"smallest_bytes": 0})
    for minute in range(3):
        market.seal(minute, whole_day(minute))
    assert market.run().success
    before = fingerprints(market)
    assert archive(market).success
    with open_lake(market.settings, read_only=True) as lake:
        (path,) = lake.live_files(TABLES["raw.ticks"])[DAY]
        assert is_archived(path)
        snapshots = lake.sql("SELECT count(*) FROM ducklake_snapshots('lake')").item()
    kept = sorted(path.suffixes for path in market.folder.glob("*.seg*"))
    assert kept == [[".seg", ".zst"]] * 3
    assert fingerprints(market) == before
    assert archive(market).success
    with open_lake(market.settings, read_only=True) as lake:
        assert lake.sql("SELECT count(*) FROM ducklake_snapshots('lake')").item() == snapshots
    assert market.run(again=True).success
    assert fingerprints(market) == before


def test_what_cannot_be_archived_fails_the_run_and_stays(market, reading):
    name = market.seal(0, whole_day(0))
    (market.folder / f"{name}.seg.zst").mkdir()
    result = archive(market, older_than_days=1)
    assert not result.success
    assert "stays as it is" in reading.failure_text(result)
    assert (market.folder / f"{name}.seg").read_bytes() == whole_day(0)


def test_fewer_than_a_day_is_refused(market, reading):
    assert "expected 1 or more" in reading.failure_text(archive(market, older_than_days=0))


def test_it_runs_every_night_by_itself(market):
    schedule = build_defs(market.settings).resolve_schedule_def("archive_nightly")
    assert schedule.job_name == ARCHIVE
    assert schedule.default_status is dg.DefaultScheduleStatus.RUNNING
    assert (schedule.cron_schedule, schedule.execution_timezone) == ("0 1 * * *", "Asia/Kolkata")


@pytest.mark.parametrize("held", [0, 10**12])
def test_a_process_that_takes_too_much_works_in_smaller_batches(market, monkeypatch, held):
    sizes = []
    real = minute_work.DayWork._batch

    def counted(self, names):
        sizes.append(len(names))
        return real(self, names)

    monkeypatch.setattr(minute_work.DayWork, "_batch", counted)
    monkeypatch.setattr(minute_work, "BATCH_SEGMENTS", 2)
    monkeypatch.setattr(MemoryWatch, "measure", property(lambda _: lambda: held, lambda *_: None))
    for minute in range(4):
        market.seal(minute, whole_day(minute))
    result = market.run()
    assert result.success
    assert sizes == ([2, 1, 1] if held else [2, 2])
    told = [e.materialization.metadata for e in result.get_asset_materialization_events()]
    assert {m["memory_limit_passes"].value for m in told} == {3 if held else 0}
