"""The daily look at the bytes of a market's home: no file may be gone or changed unnoticed.

Belongs here: which bytes a day reads, the check that says what is damaged, and the incidents that
follow. Does not belong here: what proves a file, mending it (see `resources.recovery`).

Every day looks at SQLite's integrity check of the catalog and at the size of every live data
file, kept raw file and segment. It reads all bytes of what belongs to the last `NEWEST` and of a
seventh of the rest, so that each byte is read once a week; and of what was found damaged.
"""

import re
from collections.abc import Callable, Sequence
from datetime import date, datetime, timedelta
from typing import Any, Final
from zlib import crc32
from zoneinfo import ZoneInfo

import dagster as dg
import polars as pl

from assets.quality import record
from optrade.quality.incidents import JUDGED
from optrade.tables import IST
from optrade.tables.quality import CHECK_RESULTS, INCIDENTS
from optrade.tables.raw import SOURCE_FILES
from optrade.tables.raw_live import TICK_SEGMENTS
from optrade_dagster.jobs import LAKE_INTACT
from resources.backup import CATALOG_PATH, DATA
from resources.backup_store import BackupStore
from resources.lake_io import LakeResource
from resources.recovery import look
from resources.recovery_findings import Finding
from resources.settings import Settings

DAYS_PER_ROUND: Final = 7
NEWEST: Final = timedelta(days=4)
LAKE: Final = "lake"
"""What stands in a finding for a lake that could not be asked."""
_SUBJECT = "file "
_SHOWN = 10
_STANDING = (
    f"SELECT * FROM {INCIDENTS.full_name} WHERE starts_with(subject, ?) AND status <> 'closed'"
)
_INDIA = ZoneInfo(IST)
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_REMEDY = "Stop `optrade up` and run `optrade recover` (`--dry-run` first)."


def read_on(day: date, path: str) -> bool:
    """Whether the bytes of a file are read on a day: the newest always, the rest once a week."""
    found = _DATE.search(path)
    newest = found is not None and date.fromisoformat(found[0]) >= day - NEWEST
    return newest or crc32(path.encode()) % DAYS_PER_ROUND == day.toordinal() % DAYS_PER_ROUND


def judged(findings: Sequence[Finding], standing: pl.DataFrame) -> pl.DataFrame:
    """Damaged files, and those of standing incidents that are well now: frame[JUDGED].

    `standing`: rows of `quality.incidents` that stand and whose subject is a file; each was read.
    """
    damaged = {finding.path: _row(finding.path, finding) for finding in findings}
    well = [
        _row(path, None) | {"trade_date": day}
        for day, subject in standing.select("trade_date", "subject").rows()
        if (path := subject.removeprefix(_SUBJECT)) not in damaged
    ]
    return pl.DataFrame([*damaged.values(), *well], schema=JUDGED)


def _row(path: str, finding: Finding | None) -> dict[str, Any]:
    found = _DATE.search(path)
    told = f"{path}: {finding.found}; {finding.done}. {_REMEDY}" if finding else f"{path} is well"
    return dict.fromkeys(JUDGED) | {
        "trade_date": date.fromisoformat(found[0]) if found else datetime.now(_INDIA).date(),
        "table_name": _table_of(path),
        "subject": f"{_SUBJECT}{path}",
        "well": finding is None,
        "severity": "ERROR",
        "cause": "lake_damaged",
        "evidence": told,
        "found": float(finding is not None),
    }


def _table_of(path: str) -> str:
    """The table a file is of, or the one that speaks of it."""
    if path.startswith(f"{DATA}/"):
        return ".".join(path.removeprefix(f"{DATA}/").split("/")[:2])
    return (SOURCE_FILES if path.startswith("lake/files/") else TICK_SEGMENTS).full_name


def lake_intact(settings: Settings) -> dg.AssetChecksDefinition:
    """The check, on `quality/health`: what is damaged, what should be there, what to do.

    With a damaged catalog it writes nothing: no incident can stand in a lake that can't be read.
    """

    @dg.asset_check(
        asset=LAKE_INTACT.asset_key,
        name=LAKE_INTACT.name,
        description="The catalog is whole, and every live data file, kept raw file and segment "
        "has the bytes it had: all sizes daily, all bytes once a week, the newest daily. "
        f"*Remedy:* {_REMEDY}",
        required_resource_keys={"lake"},
        config_schema={
            "everything": dg.Field(
                bool, default_value=False, description="Read every byte of every file now."
            )
        },
    )
    def check(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        lake: LakeResource = context.resources.lake
        today = datetime.now(_INDIA).date()
        everything = context.op_execution_context.op_config["everything"]
        known: list[pl.DataFrame] = []

        def standing() -> pl.DataFrame:  # Asked once the catalog is known to be whole.
            if not known:
                known.append(lake.lake.sql(_STANDING, [_SUBJECT]))
            return known[0]

        def reads(path: str) -> bool:
            stands = f"{_SUBJECT}{path}" in standing()["subject"]
            return everything or stands or read_on(today, path)

        findings = _look(settings, lake, reads) if lake.exists() else []
        unreadable = {finding.path for finding in findings} & {CATALOG_PATH, LAKE}
        if not unreadable and lake.exists():
            more, run_id = judged(findings, standing()), context.run.run_id
            record(lake, CHECK_RESULTS.empty(), [], run_id, more=more)
        return _told(findings, recorded=not unreadable)

    return check


def _look(settings: Settings, lake: LakeResource, reads: Callable[[str], bool]) -> list[Finding]:
    root = settings.backup.root
    store = BackupStore(root, settings.market) if root is not None else None
    return look(settings.market_home, store, lake.location, reads)


def _told(findings: Sequence[Finding], *, recorded: bool) -> dg.AssetCheckResult:
    sample = "; ".join(f"{finding.path}: {finding.found}" for finding in findings[:_SHOWN])
    unrecorded = "" if recorded else " No incident could be written into such a lake."
    return dg.AssetCheckResult(
        passed=not findings,
        severity=dg.AssetCheckSeverity.ERROR,
        description=f"{len(findings)} files damaged: {sample}. {_REMEDY}{unrecorded}"
        if findings
        else "What was looked at is whole.",
        metadata={"damaged_files": len(findings), "threshold": 0},
    )
