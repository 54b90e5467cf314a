"""From a planted fault to its incident and what came of it, read off a market.

Belongs here: asking the healing sensor, carrying out what it asks for, closing the day, reading
incidents. Does not belong here: planting faults and what is expected (see the tests beside this).
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from typing import Any, Protocol

import dagster as dg
import polars as pl

from optrade.tables import TABLES
from optrade_dagster.definitions import build_defs, build_graph
from optrade_dagster.heal_sensor import incidents_healed
from optrade_dagster.home import open_lake
from optrade_dagster.jobs import DAY_CLOSED, close_lane, heal_minutes, minute_lane
from resources.settings import Settings
from tests.assets.candle_broker import Broker
from tests.assets.spooled_market import DAY, OPEN, QUIET, Market

Row = dict[str, Any]
SOON, LATER, LAST = timedelta(minutes=2), timedelta(minutes=15), timedelta(hours=2)
"""From now: when a first attempt is due, a second one, a third one."""


def close_day(market: Market, day: date = DAY) -> None:
    """After the close: compact the day and judge it as a whole."""
    job = build_defs(market.settings).resolve_job_def(DAY_CLOSED)
    config = {"ops": {"compact_day": {"config": {"day": day.isoformat()}}}}
    assert job.execute_in_process(instance=market.instance, run_config=QUIET | config).success


def look(settings: Settings, instance: dg.DagsterInstance, later: timedelta) -> list[dg.RunRequest]:
    """What the healing sensor asks for, so much later than now."""
    graph = build_graph(settings)
    defs = build_defs(settings)
    sensor = incidents_healed(
        settings,
        graph,
        [close_lane(graph), minute_lane(graph), heal_minutes(graph)],
        clock=lambda: datetime.now(UTC) + later,
    )
    with dg.build_sensor_context(
        instance=instance,
        definitions=defs,
        sensor_name="incidents_healed",
        resources={"lake": defs.resources["lake"]},
    ) as context:
        return list(sensor.evaluate_tick(context).run_requests or ())


class Patient(Protocol):
    """A market that can be looked after: a spooled one, or an exchange's."""

    @property
    def settings(self) -> Settings: ...

    @property
    def instance(self) -> dg.DagsterInstance: ...


def carry_out(
    market: Patient, request: dg.RunRequest, broker: Broker | None = None
) -> dg.ExecuteInProcessResult:
    """The run that the sensor asked for."""
    defs = build_defs(market.settings, {"broker": broker} if broker else None)
    job = defs.resolve_job_def(request.job_name or "")
    return job.execute_in_process(
        instance=market.instance,
        partition_key=request.partition_key,
        run_config=QUIET | (request.run_config or {}),
        tags=request.tags,
        raise_on_error=False,
    )


def incidents(settings: Settings, day: date = DAY) -> dict[tuple[str, str], Row]:
    """The newest incident of each table and subject of a day."""
    with open_lake(settings, read_only=True) as lake:
        rows = lake.read(TABLES["quality.incidents"], [day]).sort("opened_at")
    return {(row["table_name"], row["subject"]): row for row in rows.iter_rows(named=True)}


def recoveries(settings: Settings, incident: Row) -> list[tuple[int, str, str]]:
    """Number, action and outcome of each attempt to heal an incident."""
    with open_lake(settings, read_only=True) as lake:
        rows = lake.read(TABLES["quality.recoveries"], [incident["trade_date"]])
    mine = rows.filter(pl.col("incident_id") == incident["incident_id"]).sort("attempt")
    return mine.select("attempt", "action", "outcome").rows()


def journal(market: Market, entries: Iterable[Row], instruments: int = 9) -> None:
    """Let the collector's journal tell of one session of the whole day and of `entries`."""
    told = {"at": OPEN.isoformat(), "session": "s1"}
    begin = [
        told | {"event": "session_started", "opens": OPEN.isoformat(), "closes": None},
        told | {"event": "subscribed", "instruments": instruments},
    ]
    text = "".join(json.dumps(told | entry) + "\n" for entry in (*begin, *entries))
    (market.folder / "journal.jsonl").write_text(text, encoding="utf-8")


def hole(name: str, cause: str, first: int, after: int, **more: Any) -> list[Row]:
    """What a journal tells of a hole from one minute to another."""
    start, end = ((OPEN + timedelta(minutes=n)).isoformat() for n in (first, after))
    opened = {"event": "gap_opened", "gap": name, "cause": cause, "started_at": start}
    opened |= {"instruments": 9, "instrument_tokens": None, "detail": "planted"} | more
    return [opened, {"event": "gap_closed", "gap": name, "ended_at": end}]
