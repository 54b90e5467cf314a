from __future__ import annotations

from collections.abc import Callable

import polars as pl
import pytest

from optrade.chain.open_interest import open_interest_close
from optrade.tables import TABLES

Rows = Callable[..., pl.DataFrame]


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
