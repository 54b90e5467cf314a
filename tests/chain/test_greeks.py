from __future__ import annotations

from collections.abc import Callable

import polars as pl
import pytest

from optrade.chain.greeks import greeks_close
from optrade.pricing import black76
from optrade.tables import TABLES

Rows = Callable[..., pl.DataFrame]


def solved(frame: pl.DataFrame, **options: float) -> dict[str, object]:
    result = greeks_close(frame, **options)
    TABLES["analytics.greeks_close"].pandera.validate(result)
    return result.row(0, named=True)


@pytest.mark.parametrize("side", ["CE", "PE"])
@pytest.mark.parametrize("strike", [90.0, 100.0, 115.0])
def test_known_volatility_comes_back(chain: Rows, side: str, strike: float) -> None:
    years, discount = 29 / 365, 0.99
    price = discount * float(black76.price(102.0, strike, years, 0.4, side == "CE"))
    quote = {"option_type": side, "strike": strike, "close_price": price}
    row = solved(chain(quote | {"forward": 102.0, "discount_factor": discount}), tick=0.10)
    assert row["iv"] == pytest.approx(0.4, rel=1e-9)
    g = black76.greeks(102.0, strike, years, 0.4, side == "CE", discount)
    for name, value in g._asdict().items():
        assert row[name] == pytest.approx(float(value), rel=1e-8)
    assert row["iv_error"] == pytest.approx(0.05 / float(g.vega), rel=1e-8)
    assert row["reason"] is None


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"years_to_expiry": 0.0, "close_price": None}, "expired"),
        ({"close_price": None, "forward": None, "discount_factor": None}, "no_trade"),
        ({"forward": None, "discount_factor": None}, "no_forward"),
        ({"forward": 110.0, "close_price": 9.0}, "below_intrinsic"),
        ({"forward": 110.0, "close_price": 10.0}, "below_intrinsic"),
        ({"close_price": 100.0}, "above_max"),
        ({"option_type": "PE", "forward": 110.0, "close_price": 100.0}, "above_max"),
        ({"strike": 1e6, "close_price": 0.05}, "out_of_domain"),
    ],
)
def test_reasons(chain: Rows, change: dict[str, object], reason: str) -> None:
    row = solved(chain(change))
    assert row["reason"] == reason
    for name in ("iv", "iv_error", "delta", "gamma", "vega", "theta", "rho"):
        assert row[name] is None


def test_no_rows(chain: Rows) -> None:
    assert greeks_close(chain({}).clear()).is_empty()
