"""`optrade backup`, `restore` and `recover` as typed, on the home that the demo filled."""

from __future__ import annotations

from pathlib import Path

import pytest

from optrade.tables import TABLES
from optrade.tables.quality import RECORD
from optrade_dagster.replay import fingerprint
from resources.lake import Lake, LakeLocation
from tests.optrade_dagster.conftest import Command


def told(process) -> str:
    """Everything printed, without line breaks."""
    return " ".join((process.stdout + " " + process.stderr).split())


def prints(home):
    """The fingerprint of every date of every table; `raw.source_files` tells of askings."""
    with Lake.open(LakeLocation(home / "simulated/lake", "simulated"), read_only=True) as lake:
        return {
            (table.full_name, day): fingerprint(lake, table, day)
            for table in TABLES.values()
            for day in lake.live_files(table)
            if table.full_name != "raw.source_files"
        }


def figures(home):
    """The fingerprints of all but what runs remember: who makes a date anew judges it anew."""
    remembered = {table.full_name for table in RECORD}
    return {key: print_ for key, print_ in prints(home).items() if key[0] not in remembered}


@pytest.fixture
def restored(demo, tmp_path):
    """The demo's home, backed up and restored elsewhere."""
    made = demo.optrade("backup", "--to", str(tmp_path / "store"))
    assert made.returncode == 0, told(made)
    command = Command(tmp_path / "home")
    process = command("restore", str(tmp_path / "store"))
    assert process.returncode == 0, told(process)
    assert "every one proven by its hash" in told(process)
    assert prints(command.home) == prints(demo.optrade.home)
    return command


def test_what_is_lost_without_a_backup_is_made_anew_the_same(restored):
    before = figures(restored.home)
    with Lake.open(LakeLocation(restored.home / "simulated/lake", "simulated")) as lake:
        for name in ("analytics.greeks_close", "analytics.chain_metrics_minute"):
            files = lake.live_files(TABLES[name])
            Path(files[min(files)][0]).unlink()
    look = restored("recover", "--dry-run", MARKET="simulated")
    assert look.returncode == 0, told(look)
    assert "analytics.greeks_close (optrade backfill --from 2026-01-12 --to 2026-01-12)" in told(
        look
    )
    mended = restored("recover", MARKET="simulated")
    assert mended.returncode == 0, told(mended)
    assert figures(restored.home) == before
    again = restored("recover", MARKET="simulated")
    assert (again.returncode, "0 to be made anew, 0 lost" in told(again)) == (0, True)


def test_a_lost_catalog_comes_from_the_backup_by_the_setting(restored, tmp_path):
    before = prints(restored.home)
    (restored.home / "simulated" / "lake" / "catalog.sqlite").unlink()
    mended = restored("recover", MARKET="simulated", BACKUP__ROOT=str(tmp_path / "store"))
    assert mended.returncode == 0, told(mended)
    assert "1 mended" in told(mended)
    assert prints(restored.home) == before


def test_what_cannot_be_is_one_clear_message(demo, restored, tmp_path):
    for words, expected in (
        (["backup"], "OPTRADE_BACKUP__ROOT"),
        (["restore", str(tmp_path / "nothing")], "found no backup there"),
        (["restore", str(tmp_path / "store")], "found files in it"),
        (["restore", str(tmp_path / "store"), "--at", "2020-01-01"], "Nothing was known yet"),
    ):
        command = Command(tmp_path / "other") if "--at" in words else restored
        process = command(*words)
        assert process.returncode == 2, told(process)
        assert expected in told(process)
        assert "Traceback" not in told(process)
    real = restored("restore", str(tmp_path / "store"), MARKET="real")
    assert (real.returncode, "found no backup there" in told(real)) == (2, True)
