"""The sensor that watches a session while it goes on: logged in, heard, made in time.

Belongs here: how far the session has come by the broker's session, the spool and the lake; telling
it as check evaluations and incidents. Does not belong here: what is late (see
`optrade.quality.freshness`), telling people of incidents (see `notice_sensor`).
"""

import json
from datetime import datetime, timedelta
from typing import Any

import dagster as dg
import polars as pl

from assets.quality import record
from optrade.calendar import IST, load_calendar
from optrade.quality.freshness import CHAIN, LOGIN_BEFORE, Progress, judge
from optrade.quality.incidents import JUDGED
from optrade.tables import TABLES
from optrade.tables.quality import CHECK_RESULTS
from optrade_dagster.jobs import ON_TIME
from resources.clock import read_clock
from resources.kite.errors import SessionUnreadable
from resources.kite.session import TokenStore
from resources.lake_io import LakeResource
from resources.lake_parts import held_minutes
from resources.recordings import Recordings, heard_until
from resources.settings import Settings

NOT_GOING_ON = pl.DataFrame(schema=JUDGED)


def progress(settings: Settings, lake: LakeResource, recordings: Recordings) -> Progress | None:
    """How far today's session has come; None, without a look at the lake, when none is near."""
    now = read_clock(settings.clock_file).now().astimezone(IST)
    calendar = load_calendar(settings.calendar.extra_csv)
    session = calendar.session(now.date()) if calendar.is_session(now.date()) else None
    if session is None or session.open is None or session.close is None:
        return None
    if not session.open - LOGIN_BEFORE <= now <= session.close:
        return None
    sealed = recordings.day(now.date()).sealed()
    minutes = held_minutes(lake.lake, TABLES[CHAIN], now.date())
    return Progress(
        day=now.date(),
        opens=session.open,
        closes=session.close,
        now=now,
        heard=heard_until(sealed, now.date(), settings.spool.seal_seconds),
        made=max(minutes) + timedelta(minutes=1) if minutes else None,
        login=_login_trouble(settings, session.open, now),
    )


def _login_trouble(settings: Settings, opens: datetime, now: datetime) -> str | None:
    """What is wrong with the broker's session for today's trading; the simulated one needs none."""
    if settings.market == "simulated":
        return None
    try:
        session = TokenStore(settings.market_home).load()
    except SessionUnreadable as error:
        return error.found
    if session is None:
        return "nobody has logged in; `optrade login`"
    if session.expires_at <= max(opens, now):
        return f"the session of {session.user_id} ends at {session.expires_at:%H:%M}"
    return None


def session_watched(settings: Settings) -> dg.SensorDefinition:
    """Judge the session that is going on every minute, and tell what changed.

    Off where nothing is collected (no API key), and on a simulated market, which may be played
    faster than limits in minutes make sense.
    """
    live = settings.market == "real" and bool(settings.kite.api_key)

    @dg.sensor(
        name="session_watched",
        minimum_interval_seconds=60,
        required_resource_keys={"lake", "recordings"},
        description="While the market is open: is somebody logged in, is anything heard, is it "
        "made in time? What is not is an incident at once, not when the day is over.",
        default_status=dg.DefaultSensorStatus.RUNNING if live else dg.DefaultSensorStatus.STOPPED,
    )
    def sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        lake: LakeResource = context.resources.lake
        at = progress(settings, lake, context.resources.recordings)
        if at is None:
            return dg.SensorResult(skip_reason="no session is going on", cursor=context.cursor)
        judged = judge(at)
        known = json.loads(context.cursor or "{}").get(str(at.day), {})
        news = judged.filter(
            [known.get(subject) != well for subject, well in judged["subject", "well"].iter_rows()]
        )
        if news.is_empty():
            return dg.SensorResult(skip_reason="as before", cursor=context.cursor)
        record(lake, CHECK_RESULTS.empty(), [], context.sensor_name, more=news)
        states = known | dict(judged["subject", "well"].iter_rows())
        told_now = dg.AssetCheckEvaluation(ON_TIME.asset_key, ON_TIME.name, **_verdict(judged))
        return dg.SensorResult(asset_events=[told_now], cursor=json.dumps({str(at.day): states}))

    return sensor


def session_on_time(settings: Settings) -> dg.AssetChecksDefinition:
    """The check that the sensor evaluates, on `quality/health`; it can be run by hand too."""

    @dg.asset_check(
        asset=ON_TIME.asset_key,
        name=ON_TIME.name,
        description="While the market is open somebody is logged in, the feed is heard, and what "
        "is heard reaches the tables in time. *Remedy:* `optrade doctor` says what stands still.",
        required_resource_keys={"lake", "recordings"},
    )
    def check(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        at = progress(settings, context.resources.lake, context.resources.recordings)
        return dg.AssetCheckResult(**_verdict(judge(at) if at else NOT_GOING_ON))

    return check


def _verdict(judged: pl.DataFrame) -> dict[str, Any]:
    """What a check says of it."""
    late = judged.filter(~pl.col("well"))
    told = "in time" if judged.height else "no session is going on"
    return {
        "passed": late.is_empty(),
        "description": "; ".join(late["evidence"]) or told,
        "metadata": {row["subject"]: row["evidence"] or "yes" for row in judged.to_dicts()},
        "severity": dg.AssetCheckSeverity.ERROR,
    }
