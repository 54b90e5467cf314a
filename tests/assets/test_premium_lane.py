"""Premiums by minute beside earlier sessions: the lane ranks them, the overlay shows them."""

from __future__ import annotations

from datetime import date, timedelta

import dagster as dg
import polars as pl
import pytest

from assets import premium
from optrade.calendar import load_calendar
from optrade.chain.premium_history import with_sessions
from optrade.tables import TABLES
from optrade_dagster.definitions import build_defs
from optrade_dagster.home import open_lake
from resources.lake import Slice
from tests.assets.spooled_market import DAY, MINUTE_COUNT, OPEN, QUIET, Market, whole_day

CALENDAR = load_calendar()
TABLE = TABLES["analytics.premium_minute"]
SPOT = 25_000.0
PAST = [
    day
    for day in CALENDAR.sessions(DAY - timedelta(days=25), DAY - timedelta(days=1))
    if CALENDAR.next(day) - day < timedelta(days=3)
][-9:]
"""Nine sessions; on each the contract of the next session stands for the nearest expiry."""
MONEY = {"underlying": "NIFTY", "expiry_bucket": "this_week", "strike_offset": 0}
MONEY |= {"kind": "straddle"}


def past_minutes(day: date, rank: int) -> pl.DataFrame:
    """The straddle at the money of four minutes and of one more, a hundred rupees a rank."""
    rows = [
        dict.fromkeys(TABLE.schema)
        | MONEY
        | {
            "trade_date": day,
            "minute": OPEN - (DAY - day) + timedelta(minutes=minute),
            "expiry": CALENDAR.next(day),
            "bucket_alias": False,
            "close_premium": 100.0 * rank + minute,
            "fixed_premium": 100.0 * rank,
            "close_premium_pct": (100.0 * rank + minute) / SPOT * 100,
            "spot": SPOT,
            "lot_size": 65,
            "source": "simulated",
        }
        for minute in (*range(MINUTE_COUNT), 60)
    ]
    frame = pl.DataFrame(rows, schema=TABLE.schema).drop("sessions_to_expiry")
    return TABLE.conform(with_sessions(frame, CALENDAR))


def with_past(market: Market, ranks: list[int]) -> None:
    with open_lake(market.settings, read_only=False) as lake:
        for day, rank in zip(PAST, ranks, strict=True):
            part = Slice(TABLE, (day,), past_minutes(day, rank))
            lake.commit([part], author="a test", provenance={})


@pytest.fixture(autouse=True)
def nothing_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(premium, "_KEPT", {})


@pytest.fixture
def lived(market: Market) -> Market:
    """A market with nine earlier sessions and a day of four minutes, done in one run."""
    with_past(market, [9, 1, 2, 3, 4, 5, 6, 7, 8])
    for minute in range(MINUTE_COUNT):
        market.seal(minute, whole_day(minute))
    assert market.run().success
    return market


def test_minutes_are_ranked_in_their_past_however_they_arrive(
    lived: Market, tmp_path_factory: pytest.TempPathFactory
) -> None:
    rows = lived.read(TABLE.full_name).filter(**MONEY)
    assert rows["sessions_to_expiry"].to_list() == [1] * MINUTE_COUNT
    assert rows["history_n"].to_list() == rows["same_regime_n"].to_list() == [9] * MINUTE_COUNT
    assert rows["close_premium"].is_between(100, 200).all()
    assert rows["percentile"].to_list() == pytest.approx([100 / 9] * MINUTE_COUNT)
    assert rows["moves_n"].to_list() == [0, 1, 2, 3]
    assert rows["price_efficiency"].null_count() == 1
    assert rows["day_twap_seconds"].to_list() == [60.0, 120.0, 180.0, 240.0]
    with dg.DagsterInstance.ephemeral() as instance:
        other = Market(tmp_path_factory.mktemp("other"), instance)
        other.begin()
        with_past(other, [9, 1, 2, 3, 4, 5, 6, 7, 8])
        for minute in (3, 0, 2, 1):
            other.seal(minute, whole_day(minute))
            assert other.run().success
        assert other.read(TABLE.full_name).equals(lived.read(TABLE.full_name))


def test_a_change_of_the_past_is_noticed_by_a_process_that_has_read_it(lived: Market) -> None:
    assert len(premium._KEPT) == 1
    with_past(lived, [1] * 9)
    assert lived.run(again=True).success
    rows = lived.read(TABLE.full_name).filter(**MONEY)
    assert rows["percentile"].to_list() == [100.0] * MINUTE_COUNT


def test_the_overlay_holds_the_minutes_that_have_a_past(lived: Market) -> None:
    key = dg.AssetKey(["analytics", "premium_overlay"])
    result = (
        build_defs(lived.settings)
        .resolve_job_def("close_lane")
        .execute_in_process(
            instance=lived.instance,
            partition_key=DAY.isoformat(),
            asset_selection=[key],
            run_config=QUIET,
            raise_on_error=False,
        )
    )
    assert result.success
    rows = lived.read("analytics.premium_overlay")
    assert rows.height == 4 * MINUTE_COUNT  # two comparisons, two variants
    rolling = rows.filter(comparison="sessions_to_expiry", variant="rolling_atm")
    ends = [OPEN + timedelta(minutes=n + 1) for n in range(MINUTE_COUNT)]
    assert rolling["snapshot_at"].to_list() == ends
    assert rolling["median_premium"].to_list() == [500.0, 501.0, 502.0, 503.0]
    assert rolling["lower_quartile_premium"].to_list() == [300.0, 301.0, 302.0, 303.0]
    assert rolling["n"].to_list() == [9] * MINUTE_COUNT
    today = lived.read(TABLE.full_name).filter(**MONEY)
    assert rolling["premium"].equals(today["close_premium"].alias("premium"))
    fixed = rows.filter(comparison="sessions_to_expiry", variant="fixed_strike")
    assert fixed["median_premium"].to_list() == [500.0] * MINUTE_COUNT
    assert fixed["premium"].equals(today["fixed_premium"].alias("premium"))
    weekday = rows.filter(comparison="weekday", variant="rolling_atm")
    mondays = [day for day in PAST if day.weekday() == DAY.weekday()]
    assert weekday["n"].to_list() == [len(mondays)] * MINUTE_COUNT
    assert set(weekday["reason"]) == {"too_few_sessions"}
