from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime
from zoneinfo import ZoneInfo

import polars as pl
import pytest

from optrade.chain.snapshot import chain_close
from optrade.tables import TABLES

Frame = pl.DataFrame
Rows = Callable[..., Frame]
DAY, EXPIRY = date(2025, 1, 1), date(2025, 1, 30)
NO_INDEX = TABLES["raw.index_close"].empty()
OLD = {"lot_size": None, "underlying_price": None, "last": None, "previous_close": None}


@pytest.fixture
def build(close_of: Callable[[Frame], dict[date, datetime]]) -> Callable[..., Frame]:
    def build(frame: Frame, index: Frame = NO_INDEX, **options: object) -> Frame:
        result = chain_close(frame, index, close_of(frame), **options)
        TABLES["snapshots.chain_close"].pandera.validate(result)
        return result

    return build


def index_row(name: str, close: float) -> Frame:
    table = TABLES["raw.index_close"]
    row = dict.fromkeys(table.schema) | {
        "trade_date": DAY,
        "index_name": name,
        "close": close,
        "source": "exchange",
        "source_sha256": "0" * 64,
    }
    return pl.DataFrame([row], schema=table.schema)


def test_a_row_in_full(build: Rows, bhavcopy: Rows) -> None:
    row = build(bhavcopy({})).row(0, named=True)
    assert row["snapshot_at"] == datetime(2025, 1, 1, 15, 30, tzinfo=ZoneInfo("Asia/Kolkata"))
    assert (row["last_price"], row["close_price"], row["average_price"]) == (5.05, 5.0, 5.0)
    assert (row["volume_units"], row["lot_size"], row["lot_size_basis"]) == (750, 75, "published")
    assert (row["spot"], row["spot_basis"], row["atm_basis"]) == (100.0, "bhavcopy", "spot")
    assert row["forward_basis"] == "carry"
    assert row["years_to_expiry"] == pytest.approx(29 / 365)
    assert (row["expiry_bucket"], row["bucket_alias"]) == ("this_week", True)


def test_untraded_has_no_prices(build: Rows, bhavcopy: Rows) -> None:
    row = build(bhavcopy({"volume_lots": 0, "turnover_rupees": 0.0})).row(0, named=True)
    absent = ("open", "high", "low", "last_price", "close_price", "average_price")
    assert [row[name] for name in absent] == [None] * 6
    assert (row["volume_units"], row["settlement"]) == (0, 5.0)


def test_only_index_options(build: Rows, bhavcopy: Rows) -> None:
    frame = bhavcopy(
        {},
        {"underlying": "RELIANCE", "underlying_class": "stock"},
        {"underlying": "INDIAVIX", "underlying_class": "volatility"},
        {"instrument_type": "FUT", "strike": None},
    )
    assert build(frame)["underlying"].to_list() == ["NIFTY"]


def test_time_runs_to_half_past_three(bhavcopy: Rows) -> None:
    evening = datetime(2025, 1, 1, 19, 15, tzinfo=ZoneInfo("Asia/Kolkata"))
    frame = bhavcopy({"expiry": DAY}, {"expiry": date(2025, 1, 2)})
    years = chain_close(frame, NO_INDEX, {DAY: evening})["years_to_expiry"].to_list()
    assert years == [0.0, pytest.approx((20 * 3600 + 15 * 60) / (365 * 86400))]


def test_a_missing_or_naive_close_is_refused(bhavcopy: Rows) -> None:
    with pytest.raises(ValueError, match="2025-01-01"):
        chain_close(bhavcopy({}), NO_INDEX, {})
    with pytest.raises(ValueError, match="timezone"):
        chain_close(bhavcopy({}), NO_INDEX, {DAY: datetime(2025, 1, 1, 15, 30)})  # noqa: DTZ001


def test_no_rows(build: Rows, bhavcopy: Rows) -> None:
    assert build(bhavcopy({"underlying_class": "stock"})).is_empty()


def test_spot_falls_back_to_the_index_file(build: Rows, bhavcopy: Rows) -> None:
    row = build(bhavcopy(OLD), index_row("Nifty 50", 101.0)).row(0, named=True)
    assert (row["spot"], row["spot_basis"]) == (101.0, "index_close")
    row = build(bhavcopy(OLD), index_row("Nifty Bank", 101.0)).row(0, named=True)
    assert (row["spot"], row["spot_basis"], row["atm_strike"]) == (None, None, None)


def test_money_falls_back_to_the_forward(build: Rows, bhavcopy: Rows) -> None:
    future = {"instrument_type": "FUT", "strike": None, "close": 108.0}
    frame = build(bhavcopy(OLD, OLD | {"strike": 110.0}, OLD | future))
    assert frame["atm_basis"].to_list() == ["forward", "forward"]
    assert frame["strike_offset"].to_list() == [-1, 0]
    assert frame["forward_basis"].unique().item() == "future"


def test_expiry_day_settlement_becomes_the_payoff(build: Rows, bhavcopy: Rows) -> None:
    legs = [
        {"expiry": DAY, "strike": strike, "instrument_type": side, "settlement": 104.0}
        for strike in (100.0, 110.0)
        for side in ("CE", "PE")
    ]
    assert build(bhavcopy(*legs))["settlement"].to_list() == [4.0, 0.0, 0.0, 6.0]
    own = [leg | {"settlement": 1.0 + n} for n, leg in enumerate(legs)]
    assert build(bhavcopy(*own))["settlement"].to_list() == [1.0, 2.0, 3.0, 4.0]


def old(strike: float, low: float, high: float, lots: int, average: float) -> dict[str, object]:
    """A row of the old format of lot 75: turnover cut off to thousands."""
    turnover = (strike + average) * lots * 75 // 1000 * 1000
    figures = {"strike": strike, "low": low, "high": high, "volume_lots": lots}
    return OLD | figures | {"turnover_rupees": float(turnover)}


def test_lot_from_turnover(build: Rows, bhavcopy: Rows) -> None:
    frame = build(bhavcopy(old(8000, 90, 140, 1, 100), old(8100, 50, 60, 40, 55)))
    assert frame["lot_size"].to_list() == [75, 75]
    assert frame["lot_size_basis"].to_list() == ["turnover"] * 2
    assert frame["volume_units"].to_list() == [75, 3000]
    assert frame["average_price"].to_list() == pytest.approx([100, 55], abs=500 / 75 + 1e-6)


def test_average_of_the_old_format_stays_in_the_days_range(build: Rows, bhavcopy: Rows) -> None:
    frame = build(bhavcopy(old(8000, 1.0, 1.2, 1, 1.1), old(8100, 50, 60, 40, 55)))
    assert 1.0 <= frame["average_price"][0] <= 1.2


def test_ambiguous_or_contradictory_turnover_gives_no_lot(build: Rows, bhavcopy: Rows) -> None:
    ambiguous = old(100, 0.05, 60, 1, 30)
    contradiction = old(8000, 90, 140, 1, 100) | {"turnover_rupees": 900_000.0}
    for rows in ([ambiguous], [contradiction, old(8100, 50, 60, 40, 55)]):
        frame = build(bhavcopy(*rows))
        assert frame["lot_size"].null_count() == len(rows)
        assert frame["lot_size_basis"].null_count() == len(rows)
        assert (
            frame["volume_units"].null_count() == frame["average_price"].null_count() == len(rows)
        )


def test_activity_report_publishes_the_lot(build: Rows, bhavcopy: Rows) -> None:
    lots = pl.DataFrame(
        {"trade_date": [DAY], "underlying": ["NIFTY"], "expiry": [EXPIRY], "lot_size": [75]}
    )
    premium = {"premium_turnover_rupees": 30.0 * 75}
    row = build(bhavcopy(old(100, 0.05, 60, 1, 30) | premium), activity_lots=lots)
    assert row.select("lot_size", "lot_size_basis", "average_price").row(0) == (
        75,
        "published",
        30.0,
    )
