"""Making anew what a recovery could not put back: from kept raw files and the spool.

Belongs here: which lane makes which date, running it, and telling what stays missing. Does not
belong here: finding damage (see `resources.recovery`), the lanes.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import UTC, date, datetime
from itertools import groupby

from rich.console import Console

from assets.minutes import MINUTE_TABLES
from optrade.calendar import load_calendar
from optrade_dagster.commands import backfill_days
from optrade_dagster.definitions import build_defs
from optrade_dagster.home import open_instance
from optrade_dagster.jobs import MINUTE_LANE
from optrade_dagster.replay import run_lane
from resources.kept_archive import lay_out_kept_files
from resources.lake_files import LakeLocation
from resources.recordings import RecordedDay
from resources.recovery import RECOVERY, recover
from resources.recovery_findings import Found
from resources.settings import Settings, load_settings

_MINUTES = frozenset(table.full_name for table in MINUTE_TABLES)


def make_again(settings: Settings, console: Console, found: Found, *, dry_run: bool) -> bool:
    """Make the dates anew that `found.again` names; whether all of it is there afterwards.

    In a dry run it only says what would be made, and whether anything is to be.
    """
    close = sorted({d for name, days in found.again.items() if name not in _MINUTES for d in days})
    minutes = sorted({d for name, days in found.again.items() if name in _MINUTES for d in days})
    for days, tables, command in (
        (close, sorted(set(found.again) - _MINUTES), "optrade backfill --from {0} --to {0}"),
        (minutes, sorted(set(found.again) & _MINUTES), "optrade replay {0}"),
    ):
        for day in days:
            missing = [name for name in tables if day in found.again[name]]
            console.print(
                f"{day}: to be made anew: {', '.join(missing)} ({command.format(day)})",
                highlight=False,
            )
    if dry_run or not (close or minutes):
        return True
    done = all([_close(settings, console, close), _minutes(settings, console, minutes)])
    left = recover(
        settings.market_home,
        None,
        LakeLocation(settings.lake_root, settings.market),
        dry_run=True,
    ).findings
    for finding in left:
        console.print(f"[red]still[/] {finding.path}: {finding.found}", highlight=False)
    if not done or left:
        console.print(
            "Not all of it could be made from what is kept. Give the commands above again when "
            "the exchange's archive can be asked; what the spool lost can't be had again."
        )
    return done and not left


def _close(settings: Settings, console: Console, days: Sequence[date]) -> bool:
    """The close lane, from kept raw files; a simulated market's from its exchange."""
    if not days:
        return True
    if settings.market == "real":
        stamp = f"{datetime.now(UTC):%Y%m%dT%H%M%S}"
        archive = settings.market_home / RECOVERY / f"{stamp}-archive"
        lay_out_kept_files(settings.lake_root, archive, settings.market)
        os.environ["OPTRADE_NSE__BASE_URL"] = str(archive)  # Runs are processes of their own.
    settings = load_settings(market=settings.market, home=settings.home)
    calendar = load_calendar(settings.calendar.extra_csv)
    place = {day: i for i, day in enumerate(calendar.sessions(calendar.first, calendar.last))}
    unknown = [day for day in days if day not in place]
    for day in unknown:
        console.print(f"[red]{day}[/] is no trading day of the calendar; it is not made anew.")
    trading = [day for day in days if day in place]
    done = not unknown
    for _, group in groupby(enumerate(trading), lambda pair: place[pair[1]] - pair[0]):
        run = [day for _, day in group]
        done &= backfill_days(settings, console, run[0], run[-1], None)
    return done


def _minutes(settings: Settings, console: Console, days: Sequence[date]) -> bool:
    """The minute lane, from the spool."""
    done = True
    for day in days:
        recorded = RecordedDay(settings.market_home, settings.spool_root / day.isoformat(), day)
        if not recorded.sealed():
            console.print(f"[red]{day}[/]: the spool has no segment of that day.")
            done = False
            continue
        with open_instance(settings) as instance:
            job = build_defs(settings).resolve_job_def(MINUTE_LANE)
            result = run_lane(job, instance, day, again=True)
        word = "made anew from the spool" if result.success else "[red]the run failed[/]"
        console.print(f"{day}: minutes {word}.", highlight=False)
        done &= result.success
    return done
