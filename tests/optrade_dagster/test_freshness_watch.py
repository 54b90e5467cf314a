"""A real market's session that nobody is logged in for, that is not heard, that is not made."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest
from pydantic import SecretStr

from optrade.calendar import IST
from optrade.tables.quality import INCIDENTS
from optrade_dagster.definitions import build_defs, build_resources
from optrade_dagster.home import open_lake
from resources.clock import ScaledClock, write_clock
from resources.kite.session import Session, TokenStore
from resources.settings import Settings

DAY = datetime(2026, 1, 23, tzinfo=IST)
OPENS = DAY.replace(hour=9, minute=15)


class Watched:
    """A market whose clock a test turns."""

    def __init__(self, home) -> None:
        self.settings = Settings(home=home, market="real", kite={"api_key": "key"})
        self.cursor: str | None = None
        self.spool = self.settings.spool_root / f"{DAY:%Y-%m-%d}"

    def tick(self, at: datetime) -> list[dg.AssetCheckEvaluation]:
        """What the sensor reports at that time."""
        write_clock(self.settings.clock_file, ScaledClock(at, datetime.now(UTC), 1))
        defs = build_defs(self.settings)
        resources = build_resources(self.settings)
        with (
            dg.DagsterInstance.ephemeral() as instance,
            dg.build_sensor_context(
                instance,
                definitions=defs,
                sensor_name="session_watched",
                cursor=self.cursor,
                resources={name: resources[name] for name in ("lake", "recordings")},
            ) as context,
        ):
            told = defs.resolve_sensor_def("session_watched").evaluate_tick(context)
        self.cursor = told.cursor
        return list(told.asset_events)

    def incidents(self) -> dict[str, tuple[str, str]]:
        """Cause and status of each incident by its subject."""
        with open_lake(self.settings, read_only=True) as lake:
            rows = lake.read(INCIDENTS, [DAY.date()]).to_dicts()
        return {row["subject"]: (row["cause"], row["status"]) for row in rows}

    def log_in(self, until: datetime) -> None:
        began = until - timedelta(hours=20)
        session = Session("AB1234", "key", SecretStr("secret"), began, until)
        TokenStore(self.settings.market_home).save(session)

    def seal(self, minutes: int) -> None:
        self.spool.mkdir(parents=True, exist_ok=True)
        begun = OPENS + timedelta(minutes=minutes - 1)
        (self.spool / f"{begun:%H%M%S}-a.seg").touch()


@pytest.fixture
def watched(tmp_path) -> Watched:
    return Watched(tmp_path)


def minutes(count: float) -> datetime:
    return OPENS + timedelta(minutes=count)


def test_a_morning_without_login_is_told_before_the_open(watched):
    assert watched.tick(minutes(-60)) == []
    assert not watched.settings.lake_root.exists(), "a look before the session makes no lake"
    (told,) = watched.tick(minutes(-29))
    assert (told.passed, told.description) == (False, "nobody has logged in; `optrade login`")
    assert watched.incidents() == {"logged_in": ("login_missing", "open")}
    assert watched.tick(minutes(-28)) == [], "told once"
    watched.log_in(OPENS)
    assert watched.tick(minutes(-27)) == [], "that session ends before the market opens"
    watched.log_in(OPENS + timedelta(hours=20))
    (told,) = watched.tick(minutes(-26))
    assert told.passed
    assert watched.incidents() == {"logged_in": ("login_missing", "closed")}


def test_a_session_that_is_not_heard_then_not_made(watched):
    watched.log_in(OPENS + timedelta(hours=20))
    (told,) = watched.tick(minutes(5))
    assert "nothing was heard since 09:15:00" in told.description
    assert watched.incidents() == {"heard_on_time": ("not_collected", "open")}
    watched.seal(7)
    (told,) = watched.tick(minutes(8))
    assert told.description == "heard to 09:22:00, made to 09:15:00"
    assert watched.incidents() == {
        "heard_on_time": ("not_collected", "closed"),
        "made_on_time": ("made_late", "open"),
    }
    assert watched.tick(minutes(9)) == []


def test_a_holiday_is_left_alone(watched):
    sunday = DAY.replace(day=25, hour=11)
    assert watched.tick(sunday) == []
    assert not watched.settings.lake_root.exists()
