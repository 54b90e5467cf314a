"""Files that are gone or changed: found by the daily look, put back by `optrade recover`."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from optrade.tables import TABLES
from optrade.tables.raw import SOURCE_FILES
from optrade_dagster.definitions import build_defs
from optrade_dagster.home import open_lake
from optrade_dagster.jobs import LAKE_INTACT
from optrade_dagster.lake_watch import DAYS_PER_ROUND, read_on
from resources.backup import take_backup
from resources.backup_store import BackupStore
from resources.lake import Slice
from resources.lake_files import LakeLocation, keep_raw
from resources.recovery import recover
from resources.settings import Settings
from tests.assets.spooled_market import DAY, QUIET, Market, whole_day
from tests.faults.hospital import Row, carry_out, close_day, incidents, look, recoveries
from tests.faults.schema import Fault

FAMILY = "Storage"
CHECK = "`quality/health`: `lake_intact`"
MENDED = "the incident names file, bytes and command; closed by the look after `optrade recover`"
GREEKS, CHAIN = "analytics.greeks_minute", "snapshots.chain_minute"
METRICS = "analytics.chain_metrics_minute"
STEP = "quality__health_lake_intact"
HARMED = {
    "data_file_deleted": "a Parquet file of the lake is deleted",
    "data_file_flipped": "a byte of a Parquet file is flipped",
    "segment_gone_later": "a segment is deleted after it was read",
    "segment_flipped_later": "a byte of a segment is flipped after it was read",
    "raw_file_deleted": "a kept file of the exchange is deleted",
}
FAULTS = (
    *(
        Fault(name, FAMILY, planted, CHECK, "lake_damaged", "labelled", MENDED)
        for name, planted in HARMED.items()
    ),
    Fault(
        "catalog_flipped",
        FAMILY,
        "a byte of the catalog is flipped",
        f"{CHECK}, which fails and writes nothing; `optrade doctor`",
        "lake_damaged",
        "labelled",
        "a lake that can't be read takes no incident; the check names file and command, and "
        "`optrade recover` puts the catalog back",
    ),
    Fault(
        "table_altered",
        FAMILY,
        "a derived table is altered by hand",
        f"`{METRICS}`: `agrees_with_chain`",
        "own_work",
        "healed",
        "made again from the tables it is made of, the same rows as before",
    ),
)


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Market]:
    """Two minutes and a kept file in the lake, backed up; a day closed."""
    with dg.DagsterInstance.ephemeral() as instance:
        made = Market(tmp_path_factory.mktemp("storage"), instance)
        made.begin()
        for minute in range(2):
            made.seal(minute, whole_day(minute))
        assert made.run().success
        close_day(made)
        stored, sha256 = keep_raw(
            made.settings.lake_root, "index_close", DAY, "i.csv", b"as fetched"
        )
        row = dict.fromkeys(SOURCE_FILES.schema) | {
            "trade_date": DAY, "kind": "index_close", "status": "held", "url": "i.csv",
            "sha256": sha256, "bytes": 10, "stored_as": stored, "source": "simulated",
        }  # fmt: skip
        rows = pl.DataFrame([row], schema=SOURCE_FILES.schema)
        with open_lake(made.settings, read_only=False) as lake:
            lake.commit([Slice(SOURCE_FILES, (DAY,), rows)], author="test", provenance={})
        take_backup(made.settings.market_home, store_of(made.home))
        yield made


def store_of(home: Path) -> BackupStore:
    return BackupStore(home / "backups", "simulated")


def watch(home: Path, instance: dg.DagsterInstance) -> dg.AssetCheckEvaluation:
    """The daily look at every byte of a home."""
    settings = Settings(home=home, market="simulated", backup={"root": home / "backups"})
    job = build_defs(settings).resolve_job_def("partitions_watched")
    result = job.execute_in_process(
        instance=instance,
        run_config=QUIET | {"ops": {STEP: {"config": {"everything": True}}}},
        raise_on_error=False,
    )
    told = {e.asset_check_key: e for e in result.get_asset_check_evaluations()}
    return told[LAKE_INTACT]


def mend(home: Path) -> None:
    """What `optrade recover` does."""
    settings = Settings(home=home, market="simulated")
    location = LakeLocation(settings.lake_root, "simulated")
    done = recover(settings.market_home, store_of(home), location)
    assert done.findings
    assert {finding.state for finding in done.findings} <= {"mended", "again"}


def flip(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def live_file(home: Path, table: str) -> Path:
    with open_lake(Settings(home=home, market="simulated"), read_only=True) as lake:
        return Path(lake.live_files(TABLES[table])[DAY][0])


@pytest.fixture(scope="module")
def damaged(
    market: Market, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, Path], dg.AssetCheckEvaluation]:
    """A copy of the home with every file harmed, and what the daily look told of it."""
    home = tmp_path_factory.mktemp("damaged") / "home"
    shutil.copytree(market.home, home)
    settings = Settings(home=home, market="simulated")
    spool = settings.spool_root / str(DAY)
    paths = {
        "data_file_deleted": live_file(home, GREEKS),
        "data_file_flipped": live_file(home, CHAIN),
        "segment_gone_later": spool / "091500-s1.seg",
        "segment_flipped_later": spool / "091600-s1.seg",
        "raw_file_deleted": next((settings.lake_root / "files").rglob("*i.csv")),
    }
    for name, path in paths.items():
        if "flipped" in name:
            flip(path, 300)
        else:
            path.unlink()
    return home, paths, watch(home, market.instance)


@pytest.mark.parametrize("name", HARMED)
def test_each_is_an_incident_with_its_path_and_what_was_expected(damaged, name: str) -> None:
    home, paths, told = damaged
    path = paths[name].relative_to(home / "simulated").as_posix()
    assert not told.passed
    assert path in (told.description or "")
    incident = by_file(home)[path]
    assert (incident["cause"], incident["status"]) == ("lake_damaged", "open")
    assert incident["trade_date"] == DAY
    gone = "deleted" in name or "gone" in name
    assert ("it is not there" if gone else "expected") in incident["evidence"]
    assert "optrade recover" in incident["evidence"]
    assert incident["component"] == "storage"


def by_file(home: Path) -> dict[str, Row]:
    rows = incidents(Settings(home=home, market="simulated"))
    return {subject.removeprefix("file "): row for (_, subject), row in rows.items()}


def test_after_recover_they_are_closed(damaged, market: Market) -> None:
    home, paths, _ = damaged
    shutil.copytree(home, copy := home.parent / "mended")
    mend(copy)
    assert watch(copy, market.instance).passed
    closed = by_file(copy)
    for path in paths.values():
        incident = closed[path.relative_to(home / "simulated").as_posix()]
        assert (incident["status"], incident["found_after"]) == ("closed", 0.0)


def test_a_damaged_catalog_is_told_and_recover_puts_it_back(market: Market, tmp_path: Path) -> None:
    home = tmp_path / "home"
    shutil.copytree(market.home, home)
    catalog = home / "simulated" / "lake" / "catalog.sqlite"
    flip(catalog, 100)
    broken = catalog.read_bytes()
    told = watch(home, market.instance)
    assert not told.passed
    assert "lake/catalog.sqlite" in (told.description or "")
    assert "optrade recover" in (told.description or "")
    assert "No incident could be written" in (told.description or "")
    assert catalog.read_bytes() == broken
    mend(home)
    assert watch(home, market.instance).passed


def test_a_table_altered_by_hand_is_an_incident_and_made_again(market: Market) -> None:
    before = market.read(METRICS)
    with open_lake(market.settings, read_only=False) as lake:
        altered = before.with_columns(call_oi_units=pl.col("call_oi_units") + 65)
        lake.commit([Slice(TABLES[METRICS], (DAY,), altered)], author="someone", provenance={})
    close_day(market)
    found = incidents(market.settings)[METRICS, "agrees_with_chain"]
    assert (found["cause"], found["component"]) == ("own_work", "analytics")
    assert (found["status"], found["action"]) == ("open", "recompute")
    assert "09:15 NIFTY" in found["evidence"]
    (request,) = look(market.settings, market.instance, timedelta(minutes=2))
    assert carry_out(market, request).success
    healed = incidents(market.settings)[METRICS, "agrees_with_chain"]
    assert (healed["status"], healed["found_after"]) == ("closed", 0.0)
    assert recoveries(market.settings, found) == [(1, "recompute", "healed")]
    assert market.read(METRICS).equals(before)


def test_every_byte_is_read_once_a_week_and_the_newest_daily() -> None:
    today = date(2026, 2, 20)
    week = [today + timedelta(days=n) for n in range(DAYS_PER_ROUND)]
    old = [f"lake/data/raw/ticks/trade_date=2025-01-{n:02}/x.parquet" for n in range(1, 29)]
    assert [sum(read_on(day, path) for day in week) for path in old] == [1] * len(old)
    assert read_on(today, f"spool/{today - timedelta(days=3)}/091500-1.seg")
