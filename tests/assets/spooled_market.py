"""A simulated market whose collector has left a spool, for tests of the minute lane.

Belongs here: the day's subscription, packets and segments, and running the lane on them. Does not
belong here: what is expected of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import dagster as dg
import polars as pl

from optrade.simulation.kite_packets import HEARTBEAT, frame, packet
from optrade.subscription import SCHEMA, Subscription
from optrade.tables import IST, TABLES
from optrade.tables.quality import RECORD
from optrade_dagster.definitions import build_defs
from optrade_dagster.home import open_lake
from resources.settings import Settings
from resources.spool_segments import HEADER, microseconds, record_head

DAY, EXPIRY = date(2026, 2, 2), date(2026, 2, 3)
OPEN = datetime(2026, 2, 2, 9, 15, tzinfo=ZoneInfo(IST))
NIFTY, VIX, FUTURE = 256265, 264969, (500 << 8) | 2
STRIKES = (24950.0, 25000.0, 25050.0)
OPTIONS = {
    ((600 + 2 * place + (side == "PE")) << 8) | 2: (strike, side)
    for place, strike in enumerate(STRIKES)
    for side in ("CE", "PE")
}
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
MINUTE_COUNT = 4
Said = dict[int, dict[str, Any]]
"""Figures by instrument token."""


def subscription() -> Subscription:
    none = {"expiry": None, "strike": None, "option_type": None, "lot_size": None}
    shared = {"expiry_bucket": None, "bucket_alias": False, "exchange": "NSE"}
    rows = [
        {"instrument_token": NIFTY, "kind": "index", "underlying": "NIFTY", **none, **shared},
        {"instrument_token": VIX, "kind": "vix", "underlying": "INDIAVIX", **none, **shared},
        {"instrument_token": FUTURE, "kind": "future", "underlying": "NIFTY", **none, **shared}
        | {"expiry": date(2026, 2, 24), "lot_size": 65},
    ]
    rows += [
        {"instrument_token": token, "kind": "option", "underlying": "NIFTY", **shared}
        | {"expiry": EXPIRY, "strike": strike, "option_type": side, "lot_size": 65}
        | {"expiry_bucket": "this_week"}
        for token, (strike, side) in OPTIONS.items()
    ]
    frame_ = pl.DataFrame(
        [{"tradingsymbol": str(row["instrument_token"]), **row} for row in rows],
        schema_overrides=SCHEMA,
    )
    return Subscription(frame_.select(*SCHEMA))


Change = Callable[[int, Said], None]
"""Spoils what is said in a second, in place."""


def said_at(second: int) -> Said:
    """What the broker says of each instrument `second` seconds after the open."""
    at = OPEN + timedelta(seconds=second)
    spot = 25000.0 + 10 * math.sin(second / 30)
    said: Said = {
        NIFTY: {"last_price": spot, "close": 24900.0, "exchange_at": at},
        VIX: {"last_price": 13.5, "close": 13.0, "exchange_at": at},
    }
    for token in (FUTURE, *OPTIONS):
        strike, side = OPTIONS.get(token, (0.0, "FUT"))
        value = (
            spot + 20
            if side == "FUT"
            else 60
            + max((spot - strike) * (1 if side == "CE" else -1), 0.0)
            - abs(spot - strike) / 4
        )
        value = round(value / 0.05) * 0.05
        said[token] = {
            "last_price": value, "last_units": 65, "average_price": value,
            "volume_units": 65 * (second + 1), "open": value, "high": value + 1,
            "low": value - 1, "close": 50.0, "oi_units": 6500 + 65 * second,
            "exchange_at": at, "last_trade_at": at,
            "bid": value - 0.05, "bid_units": 130, "bid_orders": 2,
            "ask": value + 0.05, "ask_units": 65, "ask_orders": 1,
        }  # fmt: skip
    return said


def packets_at(second: int, change: Change | None = None) -> list[bytes]:
    """The same as packets."""
    said = said_at(second)
    if change is not None:
        change(second, said)
    return [
        packet("index_full" if token in (NIFTY, VIX) else "full", token, figures)
        for token, figures in said.items()
    ]


def record(at: datetime, payload: bytes, kind: int = 0) -> bytes:
    received = microseconds(at)
    return record_head(received, kind, 0, payload) + payload


def segment(
    minute: int, seconds: Sequence[int], late: float = 0.4, change: Change | None = None
) -> bytes:
    """A sealed segment of frames, one a second, each arriving `late` seconds after its stamp."""
    body = b"".join(
        record(OPEN + timedelta(seconds=s + late), frame(packets_at(s, change))) for s in seconds
    )
    return HEADER + record(OPEN + timedelta(minutes=minute), HEARTBEAT) + body


DATA_SNAPSHOTS = (
    "SELECT count(*) FROM ducklake_snapshots('lake') "
    "WHERE coalesce(commit_message, '') NOT LIKE 'replace quality.check_results%'"
)
"""How often data were ever changed; what runs remember is not counted."""


@dataclass
class Market:
    """A simulated market whose collector has left a spool."""

    home: Path
    instance: dg.DagsterInstance
    day: date = DAY

    @property
    def settings(self) -> Settings:
        return Settings(home=self.home, market="simulated")

    @property
    def folder(self) -> Path:
        return self.settings.spool_root / self.day.isoformat()

    def begin(self) -> None:
        self.folder.mkdir(parents=True)
        (self.folder / "subscription.json").write_text(subscription().to_json(), encoding="utf-8")

    def seal(self, minute: int, content: bytes, session: str = "s1") -> str:
        name = f"{OPEN + timedelta(minutes=minute):%H%M%S}-{session}"
        (self.folder / f"{name}.seg").write_bytes(content)
        return name

    def run(self, *, again: bool = False) -> dg.ExecuteInProcessResult:
        job = build_defs(self.settings).resolve_job_def("minute_lane")
        config = {"ops": {"minutes": {"config": {"again": again}}}}
        return job.execute_in_process(
            instance=self.instance,
            partition_key=self.day.isoformat(),
            run_config=QUIET | config,
            raise_on_error=False,
        )

    def read(self, table: str) -> pl.DataFrame:
        with open_lake(self.settings, read_only=True) as lake:
            return lake.read(TABLES[table], [self.day])

    def everything(self) -> dict[str, pl.DataFrame]:
        return {
            name: self.read(name)
            for name, table in TABLES.items()
            if (table.part and table not in RECORD)
            or name in ("raw.tick_segments", "quality.tick_gaps")
        }


def whole_day(minute: int) -> bytes:
    """A minute's segment; the last second's frame arrives after the seal, with the next one."""
    first = 60 * minute - 1 if minute else 0
    return segment(minute, range(first, 60 * minute + 59), late=0.4 if minute else 0.0)
