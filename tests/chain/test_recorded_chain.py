"""A chain recorded by somebody else goes through the minute analytics; its IV beside ours.

The recording (NIFTY, 20 and 21 August 2026, ten minutes) has the broker's last prices and an
implied volatility whose origin it does not state. The tests find it: Black-Scholes on spot carried
at 10 % a year, as the exchange's web page has it, whatever the future or parity say. So its calls
and puts of one strike differ by volatility points, and deep in the money it gives up.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from optrade.chain.exposure import gamma_exposure_minute
from optrade.chain.greeks import greeks_minute
from optrade.chain.metrics import chain_metrics_minute
from optrade.chain.minute import chain_minute, index_minute
from optrade.chain.open_interest import open_interest_minute
from optrade.chain.premium import premium_minute
from optrade.pricing import black76
from optrade.surface.frames import surface_minute, surface_points_minute
from optrade.tables import IST, TABLES, TIMESTAMP

SHARED = Path(os.environ.get("MARKET_FILES", Path(__file__).parents[3] / "shared"))
FOLDER = SHARED / "data" / "intraday" / "option_chain_parquet"
LOT, SPOT_TOKEN = 65, 256265
KEY = ["minute", "expiry", "strike", "option_type"]
pytestmark = pytest.mark.skipif(
    not FOLDER.is_dir(), reason=f"recorded chain not at hand: {FOLDER} (set MARKET_FILES)"
)


@dataclass(frozen=True)
class Day:
    """One recorded day: as recorded, and what the minute analytics make of it."""

    recorded: pl.DataFrame
    chain: pl.DataFrame
    greeks: pl.DataFrame
    metrics: pl.DataFrame

    def both(self) -> pl.DataFrame:
        """Our volatility beside the recorded one, near the money."""
        theirs = self.recorded.drop("contract")
        rows = self.greeks.drop("expiry_bucket").join(theirs, on=KEY)
        return rows.filter((pl.col("strike") / pl.col("forward")).log().abs() < 0.03)


def recorded(path: Path) -> pl.DataFrame:
    frame = pl.read_parquet(path).select(
        minute=pl.col("timestamp").str.to_datetime("%Y%m%d%H%M").dt.replace_time_zone(IST),
        expiry=pl.col("expiry").str.to_date("%d-%b-%Y"),
        strike="strike",
        option_type="option_type",
        spot="spot",
        last="ltp",
        volume=pl.col("volume").cast(pl.Int64),
        oi=pl.col("oi").cast(pl.Int64),
        their_iv=pl.col("iv") / 100,
    )
    contract = pl.struct("expiry", "strike", "option_type").rank("dense").cast(pl.Int64)
    return frame.with_columns(pl.col("minute").cast(TIMESTAMP), contract=contract * 256 + 2)


def as_ticks(frame: pl.DataFrame) -> pl.DataFrame:
    """One packet of each option and of the index in each recorded minute."""
    shared = {
        "trade_date": pl.col("minute").dt.date(), "exchange_at": pl.col("minute"),
        "received_at": pl.col("minute"), "underlying": pl.lit("NIFTY"),
        "segment": pl.lit("recorded"), "source": pl.lit("kite"),
        "sequence": pl.int_range(pl.len(), dtype=pl.Int64),
    }  # fmt: skip
    options = frame.select(
        **shared,
        instrument_token="contract",
        mode=pl.lit("full"),
        last_price="last",
        volume_units=pl.col("volume") * LOT,
        oi_units=pl.col("oi") * LOT,
        last_trade_at=pl.when(pl.col("volume") > 0).then("minute"),
    )
    index = frame.unique("minute").select(
        **shared | {"segment": pl.lit("index")},
        instrument_token=pl.lit(SPOT_TOKEN, pl.Int64),
        mode=pl.lit("index_full"),
        last_price="spot",
    )
    ticks = pl.concat([TABLES["raw.ticks"].empty(), options, index], how="diagonal_relaxed")
    return TABLES["raw.ticks"].conform(ticks)


def subscription(frame: pl.DataFrame) -> pl.DataFrame:
    options = frame.unique("contract", maintain_order=True).select(
        "expiry", "strike", "option_type",
        instrument_token="contract", kind=pl.lit("option"), underlying=pl.lit("NIFTY"),
        lot_size=pl.lit(LOT, pl.Int64), expiry_bucket=pl.lit(None, pl.String),
        bucket_alias=pl.lit(value=False),
    )  # fmt: skip
    index = {"instrument_token": [SPOT_TOKEN], "kind": ["index"], "underlying": ["NIFTY"]}
    return pl.concat([options, pl.DataFrame(index)], how="diagonal")


@pytest.fixture(scope="module", params=["20260820", "20260821"])
def day(request: pytest.FixtureRequest) -> Day:
    frame = recorded(FOLDER / f"option_chain_{request.param}.parquet")
    first, last = frame["minute"].min(), frame["minute"].max()
    assert isinstance(first, datetime)
    assert isinstance(last, datetime)
    minutes = [first + timedelta(minutes=n) for n in range((last - first).seconds // 60 + 1)]
    hours = {"session_open": first.replace(hour=9, minute=15)}
    hours["session_close"] = first.replace(hour=15, minute=30)
    ticks, chosen = as_ticks(frame), subscription(frame)
    empty = {name: TABLES[f"snapshots.{name}"].empty() for name in ("index_minute", "chain_minute")}
    index = index_minute(ticks, chosen, empty["index_minute"], minutes, **hours)
    previous = TABLES["snapshots.chain_close"].empty()
    chain = chain_minute(ticks, chosen, empty["chain_minute"], minutes, index, previous, **hours)
    greeks = greeks_minute(chain)
    return Day(frame, chain, greeks, chain_metrics_minute(chain, greeks))


def test_every_recorded_option_has_a_volatility_or_a_reason(day: Day):
    found = day.greeks.join(day.recorded, on=KEY)
    assert found.height == day.recorded.height
    assert (found["iv"].is_null() == found["reason"].is_not_null()).all()
    assert set(found["reason"].drop_nulls()) <= {"below_intrinsic"}
    assert found["iv"].null_count() / found.height < 0.07
    for table in ("snapshots.chain_minute", "analytics.greeks_minute"):
        rows = day.chain if "chain" in table else day.greeks
        TABLES[table].pandera.validate(rows)


def test_every_minute_table_is_made_of_it(day: Day):
    surface = surface_minute(day.chain, day.greeks)
    weights = dict.fromkeys(("call_weight", "put_weight"), pl.Float64) | {"trade_date": pl.Date}
    made = {
        "surface_minute": surface,
        "surface_points_minute": surface_points_minute(surface),
        "open_interest_minute": open_interest_minute(day.chain),
        "gamma_exposure_minute": gamma_exposure_minute(
            day.chain, day.greeks, pl.DataFrame(schema=weights)
        ),
        "premium_minute": premium_minute(day.chain),
        "chain_metrics_minute": day.metrics,
    }
    for name, rows in made.items():
        assert rows["minute"].n_unique() == day.chain["minute"].n_unique(), name
        TABLES[f"analytics.{name}"].pandera.validate(rows)
    assert surface["reason"].null_count() == surface.height
    assert surface["rmse"].max() < 0.005
    assert surface["butterfly_violations"].sum() == surface["calendar_violations"].sum() == 0
    money = pl.col("strike_offset") == 0
    straddles = made["premium_minute"].filter(money, ~pl.col("bucket_alias"), kind="straddle")
    both = straddles.join(day.metrics, on=["minute", "expiry"])
    assert both.height == straddles.height == 3 * day.chain["minute"].n_unique()
    assert (both["last_premium"] == both["atm_straddle"]).all()


def test_open_interest_counts_contracts_once(day: Day):
    at = day.recorded["minute"].min()
    put = (
        day.recorded.filter(minute=at, option_type="PE").group_by("expiry").agg(pl.col("oi").sum())
    )
    ours = day.metrics.filter(minute=at).select("expiry", "put_oi_units").sort("expiry")
    assert ours["put_oi_units"].to_list() == [65 * oi for oi in put.sort("expiry")["oi"]]


def test_calls_and_puts_of_a_strike_agree_with_us_and_differ_in_the_recording(day: Day):
    nearest = day.both().filter(pl.col("expiry") == pl.col("expiry").min())
    sides = nearest.pivot("option_type", index=["minute", "strike"], values=["iv", "their_iv"])
    sides = sides.drop_nulls()
    ours = (sides["iv_CE"] - sides["iv_PE"]).abs().median()
    theirs = (sides["their_iv_CE"] - sides["their_iv_PE"]).abs().median()
    assert ours is not None
    assert theirs is not None
    assert ours < 0.002  # parity holds by the forward
    assert theirs > 0.02  # spot carried at a fixed rate is not the forward


def test_the_recorded_volatility_is_black_scholes_on_spot_carried_at_ten_per_cent(day: Day):
    rows = day.both().filter(pl.col("their_iv") > 0.005, pl.col("iv").is_not_null())
    years, strike = rows["years_to_expiry"].to_numpy(), rows["strike"].to_numpy()
    call, theirs = (rows["option_type"] == "CE").to_numpy(), rows["their_iv"].to_numpy()

    def off(rate: float) -> float:
        growth = np.exp(rate * years)
        price, forward = rows["last"].to_numpy() * growth, rows["spot"].to_numpy() * growth
        found = black76.implied_volatility(price, forward, strike, years, call)
        return float(np.nanmedian(np.abs(found - theirs)))

    assert off(0.10) < 0.001
    assert off(0.065) > 0.005
    assert off(0.0) > 0.01
    assert float((rows["forward"] / rows["spot"]).log().median() or 0) > 0
