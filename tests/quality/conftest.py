"""A small made-up market, right in every rule, that tests then corrupt; and the real days.

Prices obey put-call parity to the paisa: a time value that falls with distance from the
forward, plus the discounted payoff. The last two of `SESSIONS` have every file; the earlier
ones only participant files, as history.
"""

from __future__ import annotations

import hashlib
import math
import os
from datetime import date, datetime, time, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import polars as pl
import pytest

from optrade import participants as p
from optrade.calendar import load_calendar
from optrade.chain.exposure import dealer_weights, gamma_exposure_close
from optrade.chain.greeks import greeks_close
from optrade.chain.metrics import chain_metrics_close
from optrade.chain.open_interest import open_interest_close
from optrade.chain.premium import premium_close
from optrade.chain.premium_history import premium_overlay
from optrade.chain.snapshot import chain_close
from optrade.expiries import segments_expiring
from optrade.formats import parse
from optrade.quality import Inputs
from optrade.signals import labels, scorecard, sentiment
from optrade.surface.frames import surface_close, surface_points_close
from optrade.tables import IST, TABLES
from optrade.tables.common import PARTICIPANTS, SEGMENTS
from optrade.volatility import vix_replica, volatility_history
from tests.quality.made_volatility import volatility_tables
from tests.quality.real_files import real_files

BEFORE, DAY = date(2026, 7, 2), date(2026, 7, 3)
EXPIRIES = (date(2026, 7, 28), date(2026, 8, 25))
SPOTS = {
    "NIFTY": ("Nifty 50", 24_000.0, 50, 65),
    "BANKNIFTY": ("Nifty Bank", 56_000.0, 100, 30),
    "FINNIFTY": ("Nifty Financial Services", 26_000.0, 50, 60),
    "MIDCPNIFTY": ("Nifty Midcap Select", 13_000.0, 25, 120),
}
SHA = "ab" * 32
REACH = 16


def sessions() -> list[date]:
    days = [DAY - timedelta(days=n) for n in range(40)]
    return sorted(day for day in days if day.weekday() < 5)


def _frame(table: str, rows: list[dict[str, object]]) -> pl.DataFrame:
    wanted = TABLES[table]
    defaults = {"source": "exchange", "source_sha256": SHA}
    full = [{c.name: row.get(c.name, defaults.get(c.name)) for c in wanted.columns} for row in rows]
    return wanted.conform(pl.DataFrame(full, schema=wanted.schema))


def _contract(day: date, symbol: str, expiry: date, kind: str, strike: float | None) -> dict:
    _, spot, step, lot = SPOTS[symbol]
    years = (expiry - day).days / 365
    discount = math.exp(-0.065 * years)
    forward = spot / discount
    if strike is None:
        price = round(forward, 2)
    else:
        away = forward - strike if kind == "CE" else strike - forward
        width = 0.2 * spot * math.sqrt(years)
        value = 0.06 * spot * math.sqrt(years) * math.exp(-(((strike - forward) / width) ** 2))
        price = round(value + discount * max(away, 0), 2)
    place = 0 if strike is None else round((strike - spot) / step)
    oi, lots = 100 * lot * (REACH + 1 - abs(place)), 10 + abs(place)
    change = lot * (place % 3) if day == DAY else 0
    return {
        "trade_date": day,
        "underlying": symbol,
        "underlying_class": "index",
        "instrument_type": kind,
        "contract_id": int(
            hashlib.sha256(f"{symbol}{expiry}{kind}{strike}".encode()).hexdigest()[:8], 16
        ),
        "contract_name": f"{symbol}{expiry:%y%b}{strike}{kind}",
        "expiry": expiry,
        "strike": strike,
        "lot_size": lot,
        "open": price,
        "high": price,
        "low": price,
        "close": price,
        "last": price,
        "previous_close": 0.0,
        "settlement": price,
        "underlying_price": spot,
        "oi_units": oi + change,
        "oi_change_units": change,
        "volume_lots": lots,
        "turnover_rupees": ((strike or 0.0) + price) * lots * lot,
        "trades": lots,
    }


def bhavcopy() -> pl.DataFrame:
    rows = []
    for day in (BEFORE, DAY):
        for symbol, (_, spot, step, _) in SPOTS.items():
            for expiry in EXPIRIES:
                rows.append(_contract(day, symbol, expiry, "FUT", None))
                strikes = [spot + n * step for n in range(-REACH, REACH + 1)]
                rows += [
                    _contract(day, symbol, expiry, kind, k)
                    for k in strikes
                    for kind in ("CE", "PE")
                ]
    untraded = _contract(DAY, "NIFTY", EXPIRIES[0], "CE", 24_000.0 + 50 * (REACH + 1))
    blank = dict.fromkeys(("open", "high", "low", "turnover_rupees"), 0.0) | {"volume_lots": 0}
    twin = untraded | {"instrument_type": "PE", "contract_id": 7}
    rows += [untraded | blank, twin | blank]
    frame = _frame("raw.fo_bhavcopy", rows)
    yesterday = frame.filter(pl.col("trade_date") == BEFORE).select("contract_id", previous="close")
    joined = frame.join(yesterday, on="contract_id", how="left").with_columns(
        previous_close=pl.col("previous").fill_null(pl.col("close"))
    )
    return TABLES["raw.fo_bhavcopy"].conform(joined)


def _lines(table: str, figures: dict[tuple[date, str, str], tuple[int, int]]) -> pl.DataFrame:
    rows = []
    totals: dict[tuple[date, str], list[int]] = {}
    for (day, who, segment), (long, short) in figures.items():
        total = totals.setdefault((day, segment), [0, 0])
        total[0] += long
        total[1] += short
        rows.append((day, who, segment, long, short))
    rows += [(day, "TOTAL", segment, *sides) for (day, segment), sides in totals.items()]
    names = ("trade_date", "participant", "segment", "long_contracts", "short_contracts")
    return _frame(table, [dict(zip(names, row, strict=True)) for row in rows])


def participant_files() -> tuple[pl.DataFrame, pl.DataFrame]:
    """Open interest and volume of every session: all trades open, so identity 2 is exact."""
    held = {
        (who, segment): [1_000 * (4 + n + m), 1_000 * (4 + (3 - n) + m)]
        for n, who in enumerate(PARTICIPANTS)
        for m, segment in enumerate(SEGMENTS)
    }
    oi, volume = {}, {}
    for age, day in enumerate(sessions()):
        for m, segment in enumerate(SEGMENTS):
            lots = [100 + (37 * age + 11 * n + 7 * m) % 53 for n in range(4)]
            for n, who in enumerate(PARTICIPANTS):
                bought, sold = lots[n], lots[(n + 1) % 4]
                volume[day, who, segment] = (bought, sold)
                held[who, segment][0] += bought
                held[who, segment][1] += sold
                oi[day, who, segment] = tuple(held[who, segment])
    return _lines("raw.participant_oi", oi), _lines("raw.participant_volume", volume)


def fii_stats(oi: pl.DataFrame, volume: pl.DataFrame) -> pl.DataFrame:
    rows: list[dict[str, object]] = []
    both = oi.join(volume, on=["trade_date", "participant", "segment"], suffix="_traded")
    fii = both.filter(pl.col("participant") == "FII", pl.col("trade_date") == DAY).with_columns(
        product=pl.col("segment").str.replace("_call|_put", "_option")
    )
    for product, part in sorted(fii.partition_by("product", as_dict=True).items()):
        counts = {
            "buy": part["long_contracts_traded"].sum(),
            "sell": part["short_contracts_traded"].sum(),
            "oi": part["long_contracts"].sum() + part["short_contracts"].sum(),
        }
        line = {"trade_date": DAY, "product": product[0], "underlying": "ALL"}
        for name, count in counts.items():
            line |= {f"{name}_contracts": count, f"{name}_crore": count * 0.16}
        rows.append(line)
        if product[0].startswith("index"):
            rows.append(line | {"underlying": "NIFTY"})
    return _frame("raw.fii_stats", rows)


def index_close() -> pl.DataFrame:
    closes = {name: spot for name, spot, _, _ in SPOTS.values()} | {"India VIX": 16.0}
    closes |= {f"Nifty Other {n}": 1_000.0 + n for n in range(10)}
    return _frame(
        "raw.index_close",
        [
            {"trade_date": day, "index_name": name, "points_change": 0.0, "change_pct": 0.0}
            | dict.fromkeys(("open", "high", "low", "close"), close)
            for day in (BEFORE, DAY)
            for name, close in closes.items()
        ],
    )


def source_files() -> pl.DataFrame:
    names = {
        "fo_bhavcopy": f"content/fo/BhavCopy_NSE_FO_0_0_0_{DAY:%Y%m%d}_F_0000.csv.zip",
        "participant_oi": f"content/nsccl/fao_participant_oi_{DAY:%d%m%Y}.csv",
        "participant_volume": f"content/nsccl/fao_participant_vol_{DAY:%d%m%Y}.csv",
        "fii_stats": f"content/fo/fii_stats_{DAY:%d-%b-%Y}.xls",
        "index_close": f"content/indices/ind_close_all_{DAY:%d%m%Y}.csv",
    }
    at = datetime.combine(DAY, time(20, 30), ZoneInfo(IST))
    whole = {"sha256": SHA, "bytes": 9, "fetched_at": at, "stored_as": SHA, "status": "held"}
    return _frame(
        "raw.source_files",
        [{"trade_date": DAY, "kind": kind, "url": url} | whole for kind, url in names.items()],
    )


def _options_traded(volume: pl.DataFrame) -> pl.DataFrame:
    """What the classes traded of index options, half of it at 20 rupees, half at 60."""
    total = volume.filter(pl.col("participant") == "TOTAL")
    kinds = {"index_call": "CE", "index_put": "PE"}
    return (
        total.filter(pl.col("segment").is_in(list(kinds)))
        .select(
            "trade_date",
            expiry=pl.lit(EXPIRIES[0]),
            option_type=pl.col("segment").replace_strict(kinds, return_dtype=pl.String()),
            volume_lots=pl.col("long_contracts") // 2,
            lot_size=65,
        )
        .join(pl.DataFrame({"average_price": [20.0, 60.0]}), how="cross")
    )


def _judged(made: dict[str, pl.DataFrame], metrics: pl.DataFrame) -> dict[str, pl.DataFrame]:
    """Sentiment and scorecard: PCR, India VIX and NIFTY of every session are made up for them."""
    days = sessions()
    places = pl.DataFrame({"trade_date": days}).with_row_index("n")
    nifty = metrics.filter(pl.col("underlying") == "NIFTY").head(1).drop("trade_date")
    past = nifty.join(places, how="cross").with_columns(underlying_pcr_oi=1 + pl.col("n") % 7 / 10)
    levels = {"India VIX": 15 + pl.col("n") % 5, "Nifty 50": 24_000.0 + 50 * (pl.col("n") % 3)}
    indices = pl.concat(
        places.select(
            "trade_date", index_name=pl.lit(name), close=level, source=pl.lit("exchange")
        ).cast({"close": pl.Float64})
        for name, level in levels.items()
    )
    activity, cross = made["participants.activity"], made["participants.cross"]
    reading = sentiment(
        days,
        days,
        chain_metrics=past,
        index_close=indices,
        activity=activity,
        cross=cross,
        premium_flow=made["participants.premium_flow"],
    )
    closes = {d: datetime.combine(d, time(15, 30), ZoneInfo(IST)) for d in days}
    record = scorecard(labels(activity, cross, reading), indices, days, days, closes)
    return {"analytics.sentiment": reading, "analytics.scorecard": record}


def _derived(raw: dict[str, pl.DataFrame]) -> dict[str, pl.DataFrame]:
    oi, volume = raw["raw.participant_oi"], raw["raw.participant_volume"]
    days = sessions()
    positions = p.positions(oi)
    pairs = pl.DataFrame({"trade_date": days[1:], "previous_date": days[:-1]})
    flags = p.expiry_flags(days, raw["raw.fo_bhavcopy"], dict.fromkeys(days, ()))
    closes = {d: datetime.combine(d, time(15, 30), ZoneInfo(IST)) for d in (BEFORE, DAY)}
    chain = chain_close(raw["raw.fo_bhavcopy"], raw["raw.index_close"], closes)
    greeks = greeks_close(chain)
    premiums = premium_close(chain)
    flows = p.premium_flow(volume, _options_traded(volume))
    slices = surface_close(chain, greeks)
    made = {
        "participants.positions": positions,
        "participants.premium_flow": flows,
        "participants.activity": p.activity(oi, volume, flows),
        "participants.cross": p.cross(positions, days, days),
        "participants.ledger": p.ledger(oi, volume, pairs, flags),
        "snapshots.chain_close": chain,
        "analytics.greeks_close": greeks,
        "analytics.chain_metrics_close": chain_metrics_close(chain, greeks),
        "analytics.surface_close": slices,
        "analytics.surface_points_close": surface_points_close(slices),
        "analytics.gamma_exposure_close": gamma_exposure_close(
            chain, greeks, dealer_weights(positions)
        ),
        "analytics.open_interest_close": open_interest_close(chain),
        "analytics.premium_close": premiums,
        "analytics.premium_overlay": premium_overlay(premiums, days, load_calendar()),
    }
    metrics = made["analytics.chain_metrics_close"]
    bhavcopy, closes_ = raw["raw.fo_bhavcopy"], raw["raw.index_close"]
    volatility = volatility_tables(chain, bhavcopy, closes_, metrics, days)
    return made | volatility | _judged(made, metrics)


@pytest.fixture(scope="session")
def good() -> Inputs:
    """Every table, right in every rule on `day`."""
    oi, volume = participant_files()
    raw = {
        "raw.source_files": source_files(),
        "raw.fo_bhavcopy": bhavcopy(),
        "raw.participant_oi": oi,
        "raw.participant_volume": volume,
        "raw.fii_stats": fii_stats(oi, volume),
        "raw.index_close": index_close(),
    }
    return Inputs(raw | _derived(raw), frozenset(sessions()))


@pytest.fixture(scope="session")
def day() -> date:
    return DAY


@pytest.fixture(scope="session")
def before() -> date:
    return BEFORE


@pytest.fixture(scope="session")
def nse() -> Path:
    """The folder of real exchange files."""
    shared = Path(os.environ.get("MARKET_FILES", Path(__file__).parents[3] / "shared"))
    folder = shared / "data" / "nse"
    if not folder.is_dir():
        pytest.skip(f"no real files: {folder} is absent (set MARKET_FILES)")
    return folder


@pytest.fixture(scope="session")
def real(nse: Path) -> Inputs:
    """Every table of every real day."""
    frames: dict[str, list[pl.DataFrame]] = {}
    files = []
    for kind, name, day, data in real_files(nse):
        sha = hashlib.sha256(data).hexdigest()
        rows = parse(kind, name, data, day, source="exchange", sha256=sha)
        frames.setdefault(f"raw.{kind}", []).append(rows)
        at = datetime.combine(day, time(21), ZoneInfo(IST))
        whole = {"sha256": sha, "bytes": len(data), "fetched_at": at, "stored_as": sha}
        files.append({"trade_date": day, "kind": kind, "url": name, "status": "held"} | whole)
    raw = {name: TABLES[name].conform(pl.concat(parts)) for name, parts in frames.items()}
    raw["raw.source_files"] = _frame("raw.source_files", files)
    oi, volume = raw["raw.participant_oi"], raw["raw.participant_volume"]
    bhav = raw["raw.fo_bhavcopy"]
    calendar = load_calendar()
    days = sorted(set().union(*(frame["trade_date"].to_list() for frame in raw.values())))
    sessions_ = calendar.sessions(days[0] - timedelta(days=100), days[-1])
    pairs = pl.DataFrame(
        {"trade_date": days, "previous_date": [calendar.previous(day) for day in days]}
    )
    flags = p.expiry_flags(days, bhav, {day: segments_expiring(calendar, day) for day in days})
    closes = {day: datetime.combine(day, time(15, 30), ZoneInfo(IST)) for day in days}
    positions = p.positions(oi)
    chain = chain_close(bhav, raw["raw.index_close"], closes)
    greeks = greeks_close(chain)
    premiums = premium_close(chain)
    flows = p.premium_flow(volume, chain)
    slices = surface_close(chain, greeks)
    derived = {
        "participants.positions": positions,
        "participants.premium_flow": flows,
        "participants.activity": p.activity(oi, volume, flows),
        "participants.cross": p.cross(positions, days, sessions_),
        "participants.ledger": p.ledger(oi, volume, pairs, flags),
        "snapshots.chain_close": chain,
        "analytics.greeks_close": greeks,
        "analytics.chain_metrics_close": chain_metrics_close(chain, greeks),
        "analytics.surface_close": slices,
        "analytics.surface_points_close": surface_points_close(slices),
        "analytics.gamma_exposure_close": gamma_exposure_close(
            chain, greeks, dealer_weights(positions)
        ),
        "analytics.open_interest_close": open_interest_close(chain),
        "analytics.premium_close": premiums,
        "analytics.premium_overlay": premium_overlay(premiums, days, load_calendar()),
    }
    reading = sentiment(
        days,
        sessions_,
        chain_metrics=derived["analytics.chain_metrics_close"],
        index_close=raw["raw.index_close"],
        activity=derived["participants.activity"],
        cross=derived["participants.cross"],
        premium_flow=flows,
    )
    said = labels(derived["participants.activity"], derived["participants.cross"], reading)
    all_closes = {d: datetime.combine(d, time(15, 30), ZoneInfo(IST)) for d in sessions_}
    derived |= {
        "analytics.sentiment": reading,
        "analytics.scorecard": scorecard(said, raw["raw.index_close"], days, sessions_, all_closes),
        "analytics.vix_replica": vix_replica(chain, bhav, raw["raw.index_close"], 0.065),
        "analytics.volatility_history": volatility_history(
            derived["analytics.chain_metrics_close"], raw["raw.index_close"], days, sessions_
        ),
    }
    return Inputs(raw | derived, frozenset(sessions_))
