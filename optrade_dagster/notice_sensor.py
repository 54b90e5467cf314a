"""The sensor that tells a person of incidents, over every channel that is set.

Belongs here: when it is looked, and what each channel was told. Does not belong here: which
incidents are news and how they are put (`optrade.quality.notices`), sending
(`resources.notify`).

The lake keeps every moment it ever had, so that the cursor needs no incidents: a channel was told
everything up to a snapshot, and what differs since is what it has not heard. A batch that a channel
did not take is kept as it is, by the snapshots it lies between, until it does.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cache

import dagster as dg
import duckdb
import polars as pl

from optrade.quality.notices import notices
from optrade.tables.quality import INCIDENTS
from optrade_dagster.home import open_lake
from resources.lake import Lake, LakeLocation
from resources.logs import get_logger
from resources.notify import CHANNELS, Delivery, Notifier
from resources.settings import Settings

LOOK_BACK = timedelta(days=30)
"""What was closed longer ago is told no more; what stands is told however old it is."""
NO_CHANNEL = (
    f"nothing is sent: no channel is set ({', '.join(CHANNELS.values())}; see "
    "docs/notifications.md)"
)
_LOG = get_logger("optrade.notify")
Read = Callable[[int | None], pl.DataFrame]


@dataclass(frozen=True)
class Progress:
    """What a channel was told: everything up to snapshot `told`; None is nothing yet.

    `until`: where the batch ends that it did not take whole, of which it has `taken` some notices.
    `late`: the batch before this one was of that kind.
    """

    told: int | None = None
    until: int | None = None
    taken: tuple[str, ...] = ()
    late: bool = False


def now() -> datetime:
    """The present."""
    return datetime.now(UTC)


def incidents_told(settings: Settings, clock: Callable[[], datetime] = now) -> dg.SensorDefinition:
    """Tell of incidents that opened, escalated and closed, each once on every channel."""

    @dg.sensor(
        name="incidents_told",
        minimum_interval_seconds=30,
        required_resource_keys={"notifier"},
        description="Tells a person of incidents that opened, escalated and closed, over the "
        "channels that are set (webhook, Alertmanager, mail). Those of one component, cause and "
        "severity are one notice. A channel that fails is tried again at the next look.",
        default_status=dg.DefaultSensorStatus.RUNNING,
    )
    def sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        notifier: Notifier = context.resources.notifier
        if not notifier.channels:
            return dg.SensorResult(skip_reason=NO_CHANNEL, cursor=context.cursor)
        if not LakeLocation(settings.lake_root, settings.market).exists():
            return dg.SensorResult(skip_reason="there is no lake yet", cursor=context.cursor)
        known, deliveries = _parsed(context.cursor), []
        with open_lake(settings, read_only=True) as lake:
            newest = int(lake.sql("FROM lake.current_snapshot()").item())
            read = _reader(lake, clock() - LOOK_BACK)
            for channel in notifier.channels:
                progress = _within(known.get(channel, Progress()), newest, channel)
                known[channel] = progress
                for snapshot in {progress.told, progress.until, newest}:
                    read(snapshot)  # What cannot be read is found before anything is sent.
            for channel in notifier.channels:
                known[channel], sent = _tell(
                    settings, notifier, channel, known[channel], newest, read, clock()
                )
                deliveries += sent
        cursor = json.dumps({name: asdict(progress) for name, progress in known.items()})
        return dg.SensorResult(skip_reason=_summary(deliveries), cursor=cursor)

    return sensor


def _tell(
    settings: Settings,
    notifier: Notifier,
    channel: str,
    progress: Progress,
    newest: int,
    read: Read,
    at: datetime,
) -> tuple[Progress, list[Delivery]]:
    """Tell a channel the batch it did not take, then what came since; stops at what it refuses."""
    sent = []
    while progress.told != newest:
        until = newest if progress.until is None else progress.until
        batch = notices(
            read(until),
            read(progress.told),
            market=settings.market,
            least_severity=notifier.settings.least_severity,
            late=progress.late,
        )
        due = [notice for notice in batch if notice.key not in progress.taken]
        if due:
            delivery = notifier.deliver(channel, due, at)
            sent.append(delivery)
            if delivery.trouble:
                _LOG.error(delivery.trouble, channel=channel, notices=len(due))
            if len(delivery.taken) < len(due):
                taken = (*progress.taken, *delivery.taken)
                return replace(progress, until=until, taken=taken), sent
        progress = Progress(told=until, late=progress.until is not None)
    return progress, sent


def _reader(lake: Lake, since: datetime) -> Read:
    """Reads the incidents of a snapshot: all that stood, and those closed since then."""

    @cache
    def read(snapshot: int | None) -> pl.DataFrame:
        if snapshot is None:
            return INCIDENTS.empty()
        columns = ", ".join(INCIDENTS.schema)
        try:
            return lake.sql(
                f"SELECT {columns} FROM {INCIDENTS.full_name} AT (VERSION => {snapshot}) "
                "WHERE status <> 'closed' OR closed_at >= ?",
                [since],
            )
        except duckdb.CatalogException:  # The lake was older than the table then.
            return INCIDENTS.empty()

    return read


def _within(progress: Progress, newest: int, channel: str) -> Progress:
    """The progress, or none where it speaks of snapshots that this lake has not got."""
    furthest = max(progress.told or 0, progress.until or 0)
    if furthest <= newest:
        return progress
    _LOG.warning(
        f"{channel} was told up to snapshot {furthest}; the lake ends at {newest}: it was restored "
        "from a backup or made anew. All incidents that stand are told again.",
        channel=channel,
    )
    return Progress()


def _parsed(cursor: str | None) -> dict[str, Progress]:
    try:
        told = json.loads(cursor or "{}")
        return {
            name: Progress(**one | {"taken": tuple(one["taken"])})
            for name, one in told.items()
            if name in CHANNELS
        }
    except (ValueError, TypeError, KeyError, AttributeError):
        _LOG.warning(
            "the cursor of incidents_told cannot be read; all incidents that stand are told again",
            found=str(cursor)[:200],
        )
        return {}


def _summary(deliveries: list[Delivery]) -> str:
    if not deliveries:
        return "nothing new to tell"
    taken = ", ".join(f"{one.channel} {len(one.taken)}" for one in deliveries if one.taken)
    said = [f"notices taken: {taken}"] if taken else []
    return "; ".join([*said, *(one.trouble for one in deliveries if one.trouble)])
