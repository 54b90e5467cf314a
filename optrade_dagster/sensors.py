"""Sensors: what starts runs when something appears in the world.

Belongs here: looking, and asking for runs. Does not belong here: fetching and computing.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from time import monotonic
from zoneinfo import ZoneInfo

import dagster as dg

from assets.building import Graph
from optrade.formats.archive import is_optional
from optrade.tables import IST
from optrade.tables.raw import FILE_KINDS, SOURCE_FILES
from optrade_dagster.jobs import AssetJob
from resources.lake_io import LakeResource
from resources.logs import trace_tags
from resources.nse import Archive
from resources.settings import Settings
from resources.settings_files import CloseLaneSettings

REQUIRED_KINDS = tuple(kind for kind in FILE_KINDS if not is_optional(kind))
_ZONE = ZoneInfo(IST)
_LOOK_SECONDS = 30.0
"""Dagster ends a sensor's evaluation after 60 seconds."""


@dataclass(frozen=True)
class Look:
    """What one look at one trading day found."""

    day: date
    published: frozenset[str]
    blocked: tuple[str, ...]

    @property
    def complete(self) -> bool:
        """Whether every required kind is there."""
        return self.published.issuperset(REQUIRED_KINDS)


def now_in_india() -> datetime:
    """The time on the exchange's clock."""
    return datetime.now(_ZONE)


@dataclass
class Memory:
    """What the sensor remembers between looks, by day: files seen, and those a run was asked for.

    A file seen is not asked for again just to see it: the run fetches it.
    """

    published: dict[str, list[str]] = field(default_factory=dict)
    asked: dict[str, list[str]] = field(default_factory=dict)

    @classmethod
    def read(cls, cursor: str | None) -> "Memory":
        """The memory a cursor holds."""
        return cls(**json.loads(cursor)) if cursor else cls()

    def write(self, days: Sequence[date]) -> str:
        """The cursor of this memory; other days are forgotten."""
        kept = {day.isoformat() for day in days}
        return json.dumps(
            {
                name: {day: kinds for day, kinds in by_day.items() if day in kept}
                for name, by_day in (("published", self.published), ("asked", self.asked))
            }
        )


def exchange_files_published(
    job: AssetJob,
    graph: Graph,
    settings: Settings,
    clock: Callable[[], datetime] = now_in_india,
) -> dg.SensorDefinition:
    """Ask the archive for files of recent trading days not yet held; one run a day when there."""
    lane = settings.close_lane
    simulated = settings.market == "simulated"

    @dg.sensor(
        name="exchange_files_published",
        job=job,
        minimum_interval_seconds=lane.poll_seconds,
        required_resource_keys={"lake", "archive"},
        description=(
            "Looks for the daily files of recent trading days that are not held yet: bhavcopy and "
            "index closes from about 18:00 IST, participants from about 19:30 to 20:30. Asks "
            "again until found. Not published yet, holiday and blocked are different answers."
        ),
        default_status=(
            dg.DefaultSensorStatus.STOPPED if simulated else dg.DefaultSensorStatus.RUNNING
        ),
    )
    def sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        now = clock()
        memory = Memory.read(context.cursor)
        days = due_days(graph, lane, now)
        held = _held(context.resources.lake, days)
        open_days = [d for d in days if not held[d].issuperset(REQUIRED_KINDS)]
        with context.resources.archive.open(graph.market) as archive:
            looks = look_around(archive, open_days, held, memory.published)
        requests = []
        for look in looks:
            memory.published[str(look.day)] = sorted(look.published)
            if should_run(look, held[look.day], memory.asked.get(str(look.day)), lane, now):
                requests.append(run_request(look))
                memory.asked[str(look.day)] = sorted(look.published)
        return dg.SensorResult(
            run_requests=requests,
            skip_reason=None if requests else reason(graph, now.date(), looks),
            cursor=memory.write(days),
        )

    return sensor


def due_days(graph: Graph, lane: CloseLaneSettings, now: datetime) -> list[date]:
    """The trading days whose files may be out: recent ones, today's from `ask_from` on."""
    last = now.date() if now.time() >= time.fromisoformat(lane.ask_from) else None
    until = last or now.date() - timedelta(days=1)
    calendar = graph.calendar
    return calendar.sessions(calendar.first, until)[-lane.lookback_sessions :]


def _held(lake: LakeResource, days: Sequence[date]) -> dict[date, frozenset[str]]:
    rows = lake.lake.read(SOURCE_FILES, days, columns=["trade_date", "kind", "status"])
    held = rows.filter(rows["status"] == "held")
    return {
        day: frozenset(held.filter(held["trade_date"] == day)["kind"].to_list()) for day in days
    }


def look_around(
    archive: Archive,
    days: Sequence[date],
    held: Mapping[date, frozenset[str]],
    published: Mapping[str, Sequence[str]],
) -> list[Look]:
    """Look at days, the latest first, for as long as a sensor may; the rest waits for next time."""
    looks: list[Look] = []
    end = monotonic() + _LOOK_SECONDS
    for day in reversed(days):
        if monotonic() > end:
            break
        known = held[day] | frozenset(published.get(day.isoformat(), ()))
        looks.insert(0, look_at(archive, day, known))
    return looks


def look_at(archive: Archive, day: date, held: frozenset[str]) -> Look:
    """Ask the archive for each required kind of a day that is not held or seen yet."""
    answers = {k: archive.fetch(k, day) for k in REQUIRED_KINDS if k not in held}
    found = {k for k, a in answers.items() if a.status == "found"}
    blocked = tuple(f"{k}: {a.detail}" for k, a in answers.items() if a.status == "blocked")
    return Look(day, frozenset(found | held), blocked)


def should_run(
    look: Look,
    held: frozenset[str],
    asked_before: Sequence[str] | None,
    lane: CloseLaneSettings,
    now: datetime,
) -> bool:
    """One run a day: when all its files are out, or at `complete_by` with what there is.

    A file that comes later still gets a run of its own; the same files never do twice.
    """
    news = look.published - held
    if not news or asked_before == sorted(look.published):
        return False
    deadline = datetime.combine(look.day, time.fromisoformat(lane.complete_by), tzinfo=_ZONE)
    return look.complete or now >= deadline


def run_request(look: Look) -> dg.RunRequest:
    """The run of one day; the key names the files, so that it is asked for once."""
    day = look.day.isoformat()
    return dg.RunRequest(
        run_key=f"{day} {'+'.join(sorted(look.published))}",
        partition_key=day,
        tags={"optrade/files": ",".join(sorted(look.published)), **trace_tags()},
    )


def reason(graph: Graph, today: date, looks: Sequence[Look]) -> str:
    """Why nothing was asked for, in words that tell waiting from trouble."""
    return "; ".join(_reasons(graph, today, looks))


def _reasons(graph: Graph, today: date, looks: Sequence[Look]) -> Iterator[str]:
    if not graph.calendar.is_session(today):
        yield f"{today} is no trading day: {graph.calendar.explain(today)}"
    for look in looks:
        missing = sorted(set(REQUIRED_KINDS) - look.published)
        if look.blocked:
            yield f"{look.day} blocked ({'; '.join(look.blocked)})"
        elif missing:
            yield f"{look.day} not published yet: {', '.join(missing)}"
    if not looks:
        yield "every recent trading day is held"
