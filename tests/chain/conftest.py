"""Rows of the close tables and of the minute's, made by hand or from a seed, and the real days."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Mapping
from datetime import date, datetime, time
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from optrade.calendar import IST
from optrade.pricing import black76
from optrade.tables import TABLES
from tests.chain import minute_frames

Frame = pl.DataFrame
SHARED = Path(os.environ.get("MARKET_FILES", Path(__file__).parents[3] / "shared"))

_BHAVCOPY = {
    "trade_date": date(2025, 1, 1),
    "underlying": "NIFTY",
    "underlying_class": "index",
    "instrument_type": "CE",
    "contract_id": 1,
    "contract_name": None,
    "expiry": date(2025, 1, 30),
    "strike": 100.0,
    "lot_size": 75,
    "open": 5.0,
    "high": 6.0,
    "low": 4.0,
    "close": 5.0,
    "last": 5.05,
    "previous_close": 4.0,
    "settlement": 5.0,
    "underlying_price": 100.0,
    "oi_units": 750,
    "oi_change_units": 75,
    "volume_lots": 10,
    "turnover_rupees": (100.0 + 5.0) * 750,
    "premium_turnover_rupees": None,
    "trades": 3,
    "source": "exchange",
    "source_sha256": "0" * 64,
}


def _rows(table: str, default: dict[str, object], rows: tuple[dict[str, object], ...]) -> Frame:
    data = [default | row for row in rows]
    return TABLES[table].conform(pl.DataFrame(data, schema=TABLES[table].schema))


@pytest.fixture(scope="session")
def bhavcopy() -> Callable[..., Frame]:
    """Rows of raw.fo_bhavcopy: each argument overrides a plain NIFTY call."""
    return lambda *rows: _rows("raw.fo_bhavcopy", _BHAVCOPY, rows)


@pytest.fixture(scope="session")
def close_of() -> Callable[..., dict[date, datetime]]:
    """The 15:30 close of every trade_date of a frame."""

    def closes(frame: Frame) -> dict[date, datetime]:
        days = frame["trade_date"].unique()
        return {day: datetime.combine(day, time(15, 30), IST) for day in days}

    return closes


@pytest.fixture(scope="session")
def chain() -> Callable[..., Frame]:
    """Rows of snapshots.chain_close: each argument overrides a plain NIFTY call."""
    default = {
        **dict.fromkeys(TABLES["snapshots.chain_close"].schema),
        **{k: v for k, v in _BHAVCOPY.items() if k in TABLES["snapshots.chain_close"].schema},
        "snapshot_at": datetime(2025, 1, 1, 15, 30, tzinfo=IST),
        "option_type": "CE",
        "last_price": 5.05,
        "close_price": 5.0,
        "average_price": 5.0,
        "volume_units": 750,
        "lot_size_basis": "published",
        "spot": 100.0,
        "spot_basis": "bhavcopy",
        "forward": 100.0,
        "forward_basis": "parity",
        "discount_factor": 1.0,
        "parity_pairs": 3,
        "years_to_expiry": 29 / 365,
        "atm_strike": 100.0,
        "atm_basis": "spot",
        "strike_offset": 0,
        "expiry_bucket": "this_week",
        "bucket_alias": True,
    }
    return lambda *rows: _rows("snapshots.chain_close", default, rows)


@pytest.fixture(scope="session")
def random_market() -> Callable[[int], Frame]:
    """A noisy bhavcopy of a few days, indices and expiries from a seed."""
    return _random_market


def _random_market(seed: int) -> Frame:
    rng = np.random.default_rng(seed)
    frames = []
    days = [date(2025, 1, 1), date(2025, 1, 2), date(2025, 1, 3), date(2025, 1, 6)]
    expiries = [date(2025, 1, 2), date(2025, 1, 9), date(2025, 1, 30), date(2025, 2, 27)]
    for day in days:
        for name, spot, step in (("NIFTY", 23000.0, 50.0), ("BANKNIFTY", 51000.0, 100.0)):
            for expiry in expiries:
                if expiry >= day and rng.random() < 0.8:
                    years = (expiry - day).days / 365
                    frames.append(_random_expiry(rng, day, name, expiry, years, spot, step))
    return TABLES["raw.fo_bhavcopy"].conform(pl.concat(frames))


def _random_expiry(
    rng: np.random.Generator,
    day: date,
    name: str,
    expiry: date,
    years: float,
    spot: float,
    step: float,
) -> Frame:
    spot *= float(np.exp(rng.normal(0, 0.01)))
    strikes = np.repeat(np.round(spot / step) * step + step * np.arange(-8, 9), 2)
    call = np.tile([True, False], strikes.size // 2)
    model = black76.price(spot * np.exp(0.07 * years), strikes, years, rng.uniform(0.08, 0.3), call)
    close = np.maximum(np.round((model + rng.normal(0, 2, strikes.size)) / 0.05) * 0.05, 0.05)
    volume = rng.integers(0, 50, strikes.size) * (rng.random(strikes.size) < 0.7)
    lot = None if rng.random() < 0.3 else 75
    oi = rng.integers(0, 5000, strikes.size) * 75
    n = strikes.size
    return pl.DataFrame(
        _BHAVCOPY
        | {
            "trade_date": day,
            "underlying": name,
            "expiry": expiry,
            "instrument_type": np.where(call, "CE", "PE"),
            "contract_id": np.arange(n),
            "strike": strikes,
            "lot_size": lot,
            "open": close,
            "high": close + 1,
            "low": np.maximum(close - 1, 0.05),
            "close": close,
            "last": close,
            "previous_close": np.round(close + rng.normal(0, 5, n).clip(-0.9 * close), 2),
            "settlement": close,
            "underlying_price": None if rng.random() < 0.3 else spot,
            "oi_units": oi,
            "oi_change_units": np.minimum(rng.integers(-500, 500, n) * 75, oi),
            "volume_lots": volume,
            "turnover_rupees": (strikes + close) * volume * 75,
        },
        schema_overrides={"lot_size": pl.Int64, "underlying_price": pl.Float64},
    ).select(
        pl.col(column).cast(dtype) for column, dtype in TABLES["raw.fo_bhavcopy"].schema.items()
    )


def _need(path: Path) -> Path:
    if not path.exists():
        pytest.skip(f"real files not at hand: {path} (set MARKET_FILES)")
    return path


@pytest.fixture(scope="session")
def real_csv() -> dict[tuple[str, str], list[dict[str, str]]]:
    """Raw rows of the real UDiFF days by (day, underlying), as plain dictionaries of text."""
    folder = _need(SHARED / "data/nse/fo_udiff_by_symbol")
    found = {}
    for path in sorted(folder.glob("*/*.csv")):
        with path.open(newline="") as file:
            found[path.parent.name, path.stem] = list(csv.DictReader(file))
    return found


@pytest.fixture(scope="session")
def real_bhavcopy(real_csv: Mapping[object, list[dict[str, str]]]) -> Frame:
    """raw.fo_bhavcopy of all real UDiFF days."""
    frame = pl.DataFrame([row for rows in real_csv.values() for row in rows])

    def number(name: str) -> pl.Expr:
        return pl.col(name).replace("", None).cast(pl.Float64)

    figures = {
        "contract_id": "FinInstrmId",
        "strike": "StrkPric",
        "lot_size": "NewBrdLotQty",
        "open": "OpnPric",
        "high": "HghPric",
        "low": "LwPric",
        "close": "ClsPric",
        "last": "LastPric",
        "previous_close": "PrvsClsgPric",
        "settlement": "SttlmPric",
        "underlying_price": "UndrlygPric",
        "oi_units": "OpnIntrst",
        "oi_change_units": "ChngInOpnIntrst",
        "volume_lots": "TtlTradgVol",
        "turnover_rupees": "TtlTrfVal",
        "trades": "TtlNbOfTxsExctd",
    }
    return TABLES["raw.fo_bhavcopy"].conform(
        frame.select(
            trade_date=pl.col("TradDt").str.to_date(),
            underlying="TckrSymb",
            underlying_class=pl.lit("index"),
            instrument_type=pl.col("OptnTp").replace("", "FUT"),
            contract_name="FinInstrmNm",
            expiry=pl.col("XpryDt").str.to_date(),
            premium_turnover_rupees=None,
            source=pl.lit("exchange"),
            source_sha256=pl.lit("0" * 64),
            **{name: number(column) for name, column in figures.items()},
        )
    )


@pytest.fixture(scope="session")
def real_old_csv() -> list[dict[str, str]]:
    """Rows of one real day in the format of before July 2024 (1 January 2020)."""
    path = _need(SHARED / "data/nse/fo_bhav_old/fo01Jan2020bhav.csv")
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="session")
def real_vix() -> dict[date, float]:
    """Published closes of India VIX, in points, from the index closes."""
    found = {}
    for path in _need(SHARED / "data/nse/ind_close_all").glob("*.csv"):
        with path.open(newline="", encoding="utf-8-sig") as file:
            for row in csv.DictReader(file):
                if row["Index Name"].strip() == "India VIX":
                    day = datetime.strptime(row["Index Date"].strip(), "%d-%m-%Y")  # noqa: DTZ007
                    found[day.date()] = float(row["Closing Index Value"])
    return found


@pytest.fixture(scope="session")
def at() -> Callable[[str], datetime]:
    """A moment of Friday 3 July 2026: `at("09:15:30.5")`."""
    return minute_frames.at


@pytest.fixture(scope="session")
def ticks() -> Callable[..., Frame]:
    """Rows of raw.ticks: each (time, changes) is a full packet of one option, 0.2 s under way."""
    return minute_frames.ticks


@pytest.fixture(scope="session")
def subscription() -> Callable[..., Frame]:
    """Rows of a subscription: each argument overrides a NIFTY call of 24,000."""
    return minute_frames.subscription


@pytest.fixture(scope="session")
def random_feed() -> Callable[..., tuple[Frame, Frame]]:
    """Noisy ticks of some minutes and the subscription they are of, from a seed."""
    return minute_frames.random_feed
