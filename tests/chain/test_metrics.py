from __future__ import annotations

from collections.abc import Callable
from datetime import date
from itertools import product

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from optrade.chain.greeks import greeks_close
from optrade.chain.metrics import chain_metrics_close, max_pain
from optrade.pricing import black76
from optrade.tables import TABLES

Frame = pl.DataFrame
Rows = Callable[..., Frame]


def metrics(frame: Frame) -> dict[str, object]:
    result = chain_metrics_close(frame, greeks_close(frame))
    TABLES["analytics.chain_metrics_close"].pandera.validate(result)
    return result.row(0, named=True)


def leg(side: str, strike: float, oi: int, lots: int = 1, **more: object) -> dict[str, object]:
    units = {"oi_units": oi, "volume_lots": lots, "volume_units": lots * 75}
    return {"option_type": side, "strike": strike} | units | more


def small(**more: object) -> list[dict[str, object]]:
    return [
        leg("CE", 90.0, 10, 5, **more),
        leg("CE", 100.0, 20, 0, **more),
        leg("CE", 110.0, 30, 3, **more),
        leg("PE", 90.0, 30, 2, **more),
        leg("PE", 100.0, 20, 4, **more),
        leg("PE", 110.0, 10, 6, **more),
    ]


def test_by_hand(chain: Rows) -> None:
    row = metrics(chain(*small()))
    assert (row["call_oi_units"], row["put_oi_units"], row["pcr_oi"]) == (60, 60, 1.0)
    assert (row["call_volume_units"], row["put_volume_units"]) == (600, 900)
    assert row["pcr_volume"] == 1.5
    # at 100: the 90 call pays 10 x 10, the 110 put 10 x 10
    assert (row["max_pain_strike"], row["max_pain_payout_rupees"]) == (100.0, 200.0)
    assert (row["strikes"], row["contracts_traded"]) == (3, 5)


def test_whole_underlying(chain: Rows) -> None:
    later = date(2025, 2, 27)
    other = [leg("CE", 100.0, 40, 8, expiry=later), leg("PE", 100.0, 240, 4, expiry=later)]
    frame = chain(*small(), *other)
    both = chain_metrics_close(frame, greeks_close(frame))
    assert both["pcr_oi"].to_list() == [1.0, 6.0]
    assert both["underlying_pcr_oi"].to_list() == [3.0, 3.0]
    assert both["underlying_pcr_volume"].to_list() == [16 / 16] * 2


def test_unknown_lot(chain: Rows) -> None:
    row = metrics(chain(*small(lot_size=None, volume_units=None)))
    assert row["pcr_volume"] == 1.5
    assert row["call_volume_units"] is row["put_volume_units"] is None
    assert row["underlying_pcr_volume"] is None


def test_lots_that_differ_inside_an_expiry(chain: Rows) -> None:
    rows = [
        leg("CE", 100.0, 1, 4, lot_size=75, volume_units=300),
        leg("PE", 100.0, 1, 4, lot_size=25, volume_units=100),
    ]
    assert metrics(chain(*rows))["pcr_volume"] == pytest.approx(1 / 3)


def test_nothing_to_divide_by(chain: Rows) -> None:
    row = metrics(chain(leg("CE", 100.0, 0, 0, close_price=None), leg("PE", 100.0, 5, 1)))
    assert row["pcr_oi"] is row["pcr_volume"] is row["underlying_pcr_oi"] is None
    row = metrics(chain(leg("CE", 100.0, 0, 0, close_price=None)))
    assert row["max_pain_strike"] is row["max_pain_payout_rupees"] is row["iv_coverage"] is None


def smile(chain: Rows, forward: float, **more: object) -> Frame:
    """Calls and puts at 90..110 of volatilities 0.30, 0.28, 0.26, 0.24, 0.22."""
    rows = []
    vols = {90.0: 0.30, 95.0: 0.28, 100.0: 0.26, 105.0: 0.24, 110.0: 0.22}
    for (strike, vol), side in product(vols.items(), ("CE", "PE")):
        price = float(black76.price(forward, strike, 29 / 365, vol, side == "CE"))
        rows.append({"strike": strike, "option_type": side, "close_price": price})
    return chain(*(row | {"forward": forward} | more for row in rows))


def test_atm_volatility_between_strikes(chain: Rows) -> None:
    row = metrics(smile(chain, 102.0))
    share = np.log(102 / 100) / np.log(105 / 100)
    variance = 0.26**2 + share * (0.24**2 - 0.26**2)
    assert row["atm_iv"] == pytest.approx(np.sqrt(variance), rel=1e-8)
    assert row["atm_iv_reason"] is None
    assert (row["iv_count"], row["iv_coverage"]) == (10, 1.0)


def test_atm_volatility_on_a_strike(chain: Rows) -> None:
    assert metrics(smile(chain, 100.0))["atm_iv"] == pytest.approx(0.26, rel=1e-8)


def test_atm_volatility_prefers_the_out_of_the_money_side(chain: Rows) -> None:
    frame = smile(chain, 102.0)
    odd = (pl.col("strike") == 105) & (pl.col("option_type") == "PE")
    frame = frame.with_columns(close_price=pl.when(odd).then(30.0).otherwise("close_price"))
    assert metrics(frame)["atm_iv"] == pytest.approx(metrics(smile(chain, 102.0))["atm_iv"])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"close_price": None}, "no_trade"),
        ({"years_to_expiry": 0.0}, "expired"),
        ({"forward": None, "discount_factor": None}, "no_forward"),
        ({"close_price": 1000.0}, "above_max"),
    ],
)
def test_why_there_is_no_atm_volatility(
    chain: Rows, change: dict[str, object], reason: str
) -> None:
    frame = smile(chain, 102.0).with_columns(
        pl.lit(value).cast(pl.Float64).alias(name) for name, value in change.items()
    )
    row = metrics(frame)
    assert (row["atm_iv"], row["atm_iv_reason"]) == (None, reason)


def test_strikes_far_from_the_forward_pin_nothing(chain: Rows) -> None:
    row = metrics(smile(chain, 102.0).filter(pl.col("strike") <= 100))
    assert (row["atm_iv"], row["atm_iv_reason"]) == (None, "no_trade")


def test_atm_straddle_needs_both_legs(chain: Rows) -> None:
    both = [leg("CE", 100.0, 1), leg("PE", 100.0, 1, close_price=7.0)]
    assert metrics(chain(*both))["atm_straddle"] == 12.0
    assert metrics(chain(both[0]))["atm_straddle"] is None
    one = [both[0], leg("PE", 100.0, 1, 0, close_price=None)]
    assert metrics(chain(*one))["atm_straddle"] is None


def test_max_pain_ties_go_down() -> None:
    assert max_pain([100, 110], [0, 5], [5, 0]) == (100.0, 0.0)
    assert max_pain([110, 100], [5, 0], [0, 5]) == (100.0, 0.0)


def test_max_pain_of_nothing() -> None:
    assert max_pain([100, 110], [0, 0], [0, 0]) is None
    assert max_pain([], [], []) is None


ladders = st.lists(
    st.tuples(st.integers(1, 2_000_000), st.integers(0, 10**9), st.integers(0, 10**9)),
    min_size=1,
    max_size=12,
    unique_by=lambda row: row[0],
)


@given(ladders)
def test_max_pain_is_the_least_of_all(rows: list[tuple[int, int, int]]) -> None:
    paise, calls, puts = zip(*rows, strict=True)

    def payout(at: int) -> int:
        return sum(c * max(at - k, 0) + p * max(k - at, 0) for k, c, p in rows)

    found = max_pain(np.array(paise) / 100, calls, puts)
    if not any(calls) and not any(puts):
        assert found is None
    else:
        best = min(sorted(paise), key=payout)
        assert found == (best / 100, payout(best) / 100)
