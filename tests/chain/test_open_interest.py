from __future__ import annotations

from collections.abc import Callable
from datetime import date

import polars as pl
import pytest

from optrade.chain.open_interest import open_interest_close
from optrade.tables import TABLES

Rows = Callable[..., pl.DataFrame]

D1, D2, D3 = date(2025, 1, 1), date(2025, 1, 2), date(2025, 1, 3)
OLD, NEW = date(2025, 1, 29), date(2025, 1, 30)
SESSIONS = {D2: D1, D3: D2}
YESTERDAY = {"trade_date": D1, "expiry": OLD, "oi_units": 600, "close_price": 4.5}
TODAY = {"trade_date": D2, "expiry": NEW, "oi_units": 450, "oi_change_units": 450}
TODAY |= {"close_price": 5.0, "previous_close": 4.0}


def story(frame: pl.DataFrame) -> dict[str, object]:
    result = open_interest_close(frame)
    TABLES["analytics.open_interest_close"].pandera.validate(result)
    return result.row(0, named=True)


@pytest.mark.parametrize(
    ("oi_change", "previous", "buildup", "call_view"),
    [
        (75, 4.0, "long_buildup", "bullish"),
        (75, 6.0, "short_buildup", "bearish"),
        (-75, 4.0, "short_covering", "bullish"),
        (-75, 6.0, "long_unwinding", "bearish"),
        (0, 4.0, "unchanged", "neutral"),
        (75, 5.0, "unchanged", "neutral"),
        (75, 5.0 + 1e-12, "unchanged", "neutral"),
    ],
)
@pytest.mark.parametrize("side", ["CE", "PE"])
def test_four_stories(
    chain: Rows, side: str, oi_change: int, previous: float, buildup: str, call_view: str
) -> None:
    row = story(
        chain({"option_type": side, "oi_change_units": oi_change, "previous_close": previous})
    )
    mirrored = {"bullish": "bearish", "bearish": "bullish", "neutral": "neutral"}
    view = call_view if side == "CE" else mirrored[call_view]
    assert (row["buildup"], row["underlying_view"], row["reason"]) == (buildup, view, None)
    assert row["price_change"] == pytest.approx(5.0 - previous)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"close_price": None}, "no_trade"),
        ({"previous_close": None}, "no_previous_close"),
        ({"previous_close": 0.0}, "no_previous_close"),
    ],
)
def test_no_story(chain: Rows, change: dict[str, object], reason: str) -> None:
    row = story(chain(change))
    assert (row["buildup"], row["underlying_view"], row["reason"]) == (None, None, reason)
    assert row["price_change"] is None


def test_changes_and_shares(chain: Rows) -> None:
    frame = chain(
        {"strike": 90.0, "oi_units": 150, "oi_change_units": 50},
        {"strike": 100.0, "oi_units": 50, "oi_change_units": 50},
        {"strike": 100.0, "option_type": "PE", "oi_units": 0, "oi_change_units": -25},
    )
    result = open_interest_close(frame)
    assert result["oi_change_pct"].to_list() == [50.0, None, -100.0]
    assert result["oi_share"].to_list() == [0.75, 0.25, None]


def of_today(frame: pl.DataFrame, sessions: dict[date, date] = SESSIONS) -> dict[str, object]:
    result = open_interest_close(frame, [D2], sessions)
    TABLES["analytics.open_interest_close"].pandera.validate(result)
    assert result["trade_date"].to_list() == [D2]
    return result.row(0, named=True)


def test_a_redated_contract_is_held_against_its_own_yesterday(chain: Rows) -> None:
    row = of_today(chain(YESTERDAY, TODAY))
    assert (row["oi_change_units"], row["oi_change_basis"]) == (-150, "held")
    assert (row["oi_change_pct"], row["price_change"]) == (-25.0, 1.0)
    assert row["buildup"] == "short_covering"  # By the published figures a long build-up.


@pytest.mark.parametrize(
    "before",
    [
        {"oi_units": 0},  # The change agrees.
        {"contract_id": 2},  # Another contract.
        {"contract_id": None},  # The old format has no ids.
        {"strike": 110.0},  # The id was used again for another contract,
        {"option_type": "PE"},
        {"underlying": "BANKNIFTY"},
        {"expiry": D1},  # or for the same one after it expired.
        {"trade_date": date(2024, 12, 31)},  # Not the session before.
    ],
)
def test_published_change_stands(chain: Rows, before: dict[str, object]) -> None:
    row = of_today(chain(YESTERDAY | before, TODAY))
    assert (row["oi_change_units"], row["oi_change_basis"]) == (450, "published")
    assert (row["oi_change_pct"], row["buildup"]) == (None, "long_buildup")


def test_published_change_stands_without_a_session_before(chain: Rows) -> None:
    assert of_today(chain(YESTERDAY, TODAY), {})["oi_change_basis"] == "published"
    assert of_today(chain(TODAY))["oi_change_basis"] == "published"
    assert (
        of_today(chain(YESTERDAY, YESTERDAY | {"expiry": NEW}, TODAY))["oi_change_basis"]
        == "published"
    ), "two rows claim to be the contract's yesterday"


@pytest.mark.parametrize("published", [None, 0.0])
def test_held_close_stands_in_for_an_absent_one(chain: Rows, published: float | None) -> None:
    today = TODAY | {"previous_close": published}
    row = of_today(chain(YESTERDAY, today))
    assert (row["price_change"], row["reason"]) == (0.5, None)
    row = of_today(chain(YESTERDAY | {"close_price": None}, today))
    assert (row["price_change"], row["reason"]) == (None, "no_previous_close")


def test_only_the_dates_asked_for(chain: Rows) -> None:
    frame = chain(YESTERDAY, TODAY, TODAY | {"trade_date": D3})
    assert open_interest_close(frame)["trade_date"].to_list() == [D1, D2, D3]
    assert open_interest_close(frame, [D3, D1], SESSIONS)["trade_date"].to_list() == [D1, D3]
    assert open_interest_close(frame, [], SESSIONS).is_empty()
    assert open_interest_close(frame.clear(), [D1], SESSIONS).is_empty()
