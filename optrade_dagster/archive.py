"""Archiving: old days of the lake and old segments of the spool, every night and by command.

Belongs here: the job, its schedule, the course of `optrade archive`. Does not belong here: how a
day or a segment is rewritten and proven (see `resources.lake_archive`, `resources.spool_archive`).
"""

from collections import defaultdict
from collections.abc import Iterator
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import dagster as dg
from rich.console import Console
from rich.table import Table as Grid

from optrade.tables import IST
from optrade_dagster.home import open_lake
from resources.lake import Lake
from resources.lake_archive import ArchivedDay, archive_old
from resources.lake_slices import ParquetFormat
from resources.logs import get_logger, trace_tags
from resources.settings import Settings
from resources.spool_archive import ArchivedSegment, archive_old_segments

ARCHIVE = "archive"
Archived = ArchivedDay | ArchivedSegment
_LOG = get_logger("optrade.archive")


def archive(settings: Settings, lake: Lake, older_than: int | None = None) -> Iterator[Archived]:
    """Archive what is older than so many days (the settings' unless given), one thing at a time.

    Raises `ValueError` for fewer than one day.
    """
    asked = settings.archive
    days = asked.after_days if older_than is None else older_than
    if days < 1:
        raise ValueError(f"found {days} days; expected 1 or more, for today's files are in use")
    before = datetime.now(ZoneInfo(IST)).date() - timedelta(days=days)
    style = ParquetFormat(asked.level, asked.row_group_rows, asked.codec)
    for done in archive_old(lake, style, before) if asked.lake else ():
        name = f"{done.table} {done.day}"
        _LOG.info("archived", what=name, sha256=done.sha256, refusal=done.refusal)
        yield done
    yield from archive_old_segments(settings.spool_root, before, asked.segment_level)


class ArchiveConfig(dg.Config):
    """From which age in days on; the settings' where none is given."""

    older_than_days: int | None = None


def archive_job(settings: Settings) -> dg.JobDefinition:
    """The job that archives what is old; nothing that is archived already is touched."""

    @dg.op(required_resource_keys={"lake"})
    def archive_what_is_old(context: dg.OpExecutionContext, config: ArchiveConfig) -> None:
        """Rewrite each old day and segment; one that can't be stays as it is and fails the run."""
        lake: Lake = context.resources.lake.lake
        done = list(archive(settings, lake, config.older_than_days))
        for name, some in _by_name(done).items():
            before, after = _bytes(some)
            context.log.info("%s: %d, %d bytes became %d", name, len(some), before, after)
        if refusals := [one.refusal for one in done if one.refusal]:
            raise dg.Failure(description="\n".join(refusals))

    @dg.job(name=ARCHIVE, executor_def=dg.in_process_executor)
    def job() -> None:
        """Every night: rewrite old days and old segments in fewer bytes, proven equal."""
        archive_what_is_old()

    return job


def archive_schedule(job: dg.JobDefinition) -> dg.ScheduleDefinition:
    """Archive every night, in either market."""

    @dg.schedule(
        name=f"{ARCHIVE}_nightly",
        job=job,
        cron_schedule="0 1 * * *",
        execution_timezone=IST,
        description="Archives old days of the lake and old segments of the spool at 01:00 IST.",
        default_status=dg.DefaultScheduleStatus.RUNNING,
    )
    def nightly(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
        return dg.RunRequest(
            run_key=f"{context.scheduled_execution_time:%Y-%m-%d} archive", tags=trace_tags()
        )

    return nightly


def archive_now(settings: Settings, console: Console, older_than: int | None) -> bool:
    """Archive what is old and print what was done; whether all of it could be."""
    with open_lake(settings, read_only=False) as lake:
        done = list(archive(settings, lake, older_than))
    grid = Grid(title="archived" if done else "nothing to archive")
    for heading in ("what", "days or segments", "MB before", "MB after", "ratio", "refused"):
        grid.add_column(heading, justify="left" if heading == "what" else "right")
    for name, some in _by_name(done).items():
        before, after = _bytes(some)
        refused = sum(1 for one in some if one.refusal)
        sizes = (f"{size / 1e6:,.1f}" for size in (before, after))
        ratio = f"{after / before:.2f}" if before else ""
        grid.add_row(name, f"{len(some):,}", *sizes, ratio, str(refused or ""))
    console.print(grid)
    for one in done:
        if one.refusal:
            console.print(f"refused: {one.refusal}", markup=False)
    return not any(one.refusal for one in done)


def _by_name(done: list[Archived]) -> dict[str, list[Archived]]:
    """What was done by table, segments as `spool`."""
    grouped: dict[str, list[Archived]] = defaultdict(list)
    for one in done:
        grouped[one.table if isinstance(one, ArchivedDay) else "spool"].append(one)
    return grouped


def _bytes(done: list[Archived]) -> tuple[int, int]:
    return sum(one.bytes_before for one in done), sum(one.bytes_after for one in done)
