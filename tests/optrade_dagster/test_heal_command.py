"""`optrade heal` after a simulated session: the broker is back for the asking, and gone again."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from optrade.calendar import IST
from optrade_dagster.market_broker import MarketBroker
from optrade_dagster.simulate import broker_of_past
from resources.clock import ScaledClock, SystemClock, read_clock, write_clock
from resources.settings import Settings
from tests.optrade_dagster.conftest import free_port

DAY = date(2026, 1, 23)
MINUTE = datetime(2026, 1, 23, 11, 7, tzinfo=IST)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path, market="simulated", simulator={"port": free_port()})


def nifty(settings: Settings) -> list[tuple[datetime, float]]:
    candles, _ = MarketBroker(settings).enter().day_candles(256265, MINUTE, MINUTE)
    return candles.select("at", "close").rows()


def test_the_broker_of_a_past_day_answers_for_its_candles(settings: Settings) -> None:
    with broker_of_past(settings, DAY):
        assert MarketBroker(settings).now().date() == DAY
        ((at, close),) = nifty(settings)
    assert (at, close > 0) == (MINUTE, True)
    assert isinstance(read_clock(settings.clock_file), SystemClock)


def test_a_broker_that_plays_is_asked_itself_and_about_its_own_day_alone(
    settings: Settings,
) -> None:
    clock = ScaledClock(MINUTE, datetime.now(UTC), 1.0)
    write_clock(settings.clock_file, clock)
    with broker_of_past(settings, DAY):
        assert read_clock(settings.clock_file) == clock
    with (
        pytest.raises(ValueError, match="plays 2026-01-23 and has no candles of 2026-01-22"),
        broker_of_past(settings, date(2026, 1, 22)),
    ):
        pass
