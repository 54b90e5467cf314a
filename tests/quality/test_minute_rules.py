"""Every rule of the live lane passes a good quarter of an hour and fails its own kind of damage."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, timedelta
from itertools import product
from zoneinfo import ZoneInfo

import polars as pl
import pytest

from optrade.chain.exposure import gamma_exposure_minute
from optrade.chain.greeks import greeks_minute
from optrade.chain.metrics import chain_metrics_minute
from optrade.chain.minute import chain_minute, index_minute
from optrade.chain.open_interest import open_interest_minute
from optrade.chain.premium import premium_minute
from optrade.pricing import black76
from optrade.quality import RULES, Inputs, Rule, evaluate
from optrade.surface.frames import surface_minute, surface_points_minute
from optrade.tables import IST, TABLES, TIMESTAMP, quality, raw_live

Damage = Callable[[pl.DataFrame], pl.DataFrame]
col = pl.col
DAY = date(2026, 7, 3)
OPENED = datetime(2026, 7, 3, 9, 15, tzinfo=ZoneInfo(IST))
MINUTES = 12
EXPIRIES = (date(2026, 7, 7), date(2026, 7, 28))
SPOT, STRIKES = 24_010.0, [23_700.0 + 50 * n for n in range(13)]
SHA = "ab" * 32
LIVE = {table.full_name for table in (*raw_live.TABLES, quality.TICK_GAPS)} | {
    name for name in TABLES if name.endswith("_minute")
}
LIVE_RULES = [rule for rule in RULES if rule.table in LIVE]
NO_STRIKE = {"strike": None, "option_type": None, "expiry_bucket": None, "bucket_alias": None}


def _frame(table: str, rows: list[dict[str, object]]) -> pl.DataFrame:
    schema = TABLES[table].schema
    default = dict.fromkeys(schema) | {"trade_date": DAY, "source": "simulated"}
    default |= {"source_sha256": SHA} if "source_sha256" in schema else {}
    return TABLES[table].conform(pl.DataFrame([default | row for row in rows], schema=schema))


def _subscription() -> pl.DataFrame:
    option = {"kind": "option", "underlying": "NIFTY", "lot_size": 75}
    rows: list[dict[str, object]] = [
        {"kind": "index", "underlying": "NIFTY", "instrument_token": 265, "expiry": None},
        {"kind": "future", "underlying": "NIFTY", "instrument_token": 514, "expiry": EXPIRIES[1]},
    ]
    rows = [row | NO_STRIKE | {"lot_size": None} for row in rows]
    buckets = dict(zip(EXPIRIES, ("this_week", "this_month"), strict=True))
    for n, (expiry, strike, side) in enumerate(product(EXPIRIES, STRIKES, ("CE", "PE"))):
        rows.append(
            option
            | {"expiry": expiry, "strike": strike, "option_type": side}
            | {"instrument_token": 256 * (n + 10) + 2, "bucket_alias": False}
            | {"expiry_bucket": buckets[expiry]}
        )
    return pl.DataFrame(rows, infer_schema_length=None)


def _price(row: dict[str, object], at: datetime) -> float:
    if row["kind"] != "option":
        return SPOT if row["kind"] == "index" else SPOT * 1.004
    expiry = row["expiry"]
    assert isinstance(expiry, date)
    over = datetime(expiry.year, expiry.month, expiry.day, 15, 30, tzinfo=ZoneInfo(IST))
    years = (over - at).total_seconds() / (365 * 86_400)
    forward = SPOT * (1 + 0.065 * years)
    value = black76.price(forward, row["strike"], years, 0.12, row["option_type"] == "CE")
    return round(float(value) * 20) / 20


def _ticks(chosen: pl.DataFrame) -> pl.DataFrame:
    rows: list[dict[str, object]] = []
    for step, row in product(range(MINUTES * 3), chosen.to_dicts()):
        at = OPENED + timedelta(seconds=20 * step + 1)
        index = row["kind"] == "index"
        price = _price(row, at)
        book = {"bid": price - 0.05, "ask": price + 0.05, "bid_units": 75, "ask_units": 75}
        figures = {
            "volume_units": 75 * (step + 1),
            "oi_units": 7500,
            "average_price": price,
            "last_trade_at": at,
        }
        rows.append(
            {
                "instrument_token": row["instrument_token"],
                "underlying": "NIFTY",
                "exchange_at": at,
                "received_at": at + timedelta(milliseconds=300),
                "mode": "index_full" if index else "full",
                "last_price": price,
                "open": price,
                "high": price + 5,
                "low": max(price - 5, 0.0),
                "close": price,
                "segment": f"{at:%H%M}00-a",
                "sequence": len(rows),
            }
            | ({} if index else book | figures)
        )
    return _frame("raw.ticks", rows)


WEIGHTS = pl.DataFrame({"trade_date": [DAY], "call_weight": [0.1], "put_weight": [-0.2]})


@pytest.fixture(scope="module")
def live() -> Inputs:
    """Every table of the live lane, right in every rule."""
    chosen = _subscription()
    ticks = _ticks(chosen)
    minutes = [OPENED + timedelta(minutes=n) for n in range(MINUTES)]
    hours = {"session_open": OPENED, "session_close": OPENED + timedelta(hours=6, minutes=15)}
    nothing = TABLES["snapshots.index_minute"].empty()
    index = index_minute(ticks, chosen, nothing, minutes, **hours)
    options = chosen.filter(col("kind") == "option")
    held = options.select("underlying", "expiry", "strike", "option_type", oi_units=pl.lit(7425))
    nothing = TABLES["snapshots.chain_minute"].empty()
    chain = chain_minute(ticks, chosen, nothing, minutes, index, held, **hours)
    greeks = greeks_minute(chain)
    counts = ticks.group_by("segment").agg(
        ticks=pl.len(),
        first_received_at=col("received_at").min(),
        last_received_at=col("received_at").max(),
    )
    counted = ("texts", "unknown_packets", "implausible_packets", "broken_frames", "lost_bytes")
    zeros = dict.fromkeys(counted, 0)
    more = {"session": "a", "frames": 9, "heartbeats": 60, "bytes": 999, "stored_as": "spool/x.seg"}
    gap = {"gap": "1", "cause": "not_started", "instruments": 9, "started_at": OPENED}
    gap |= {"ended_at": OPENED + timedelta(minutes=1)}
    dump = {"tradingsymbol": "X", "instrument_type": "CE", "segment": "NFO-OPT", "exchange": "NFO"}
    slices = surface_minute(chain, greeks)
    tables = {
        "raw.instruments": _frame(
            "raw.instruments",
            [
                dump | {"instrument_token": t, "exchange_token": t >> 8, "expiry": e}
                for t, e in options.select("instrument_token", "expiry").rows()
            ],
        ),
        "raw.tick_segments": _frame(
            "raw.tick_segments",
            [
                row | zeros | more | {"source_sha256": f"{n:064x}"}
                for n, row in enumerate(counts.to_dicts())
            ],
        ),
        "raw.ticks": ticks,
        "quality.tick_gaps": _frame("quality.tick_gaps", [gap]),
        "snapshots.index_minute": index,
        "snapshots.chain_minute": chain,
        "analytics.greeks_minute": greeks,
        "analytics.chain_metrics_minute": chain_metrics_minute(chain, greeks),
        "analytics.surface_minute": slices,
        "analytics.surface_points_minute": surface_points_minute(slices),
        "analytics.gamma_exposure_minute": gamma_exposure_minute(chain, greeks, WEIGHTS),
        "analytics.open_interest_minute": open_interest_minute(chain),
        "analytics.premium_minute": premium_minute(chain),
    }
    assert set(tables) == LIVE
    return Inputs(tables, frozenset([DAY]))


def put(where: pl.Expr | bool = True, **values: object) -> Damage:
    """Set columns on the rows `where` it holds."""

    def damage(frame: pl.DataFrame) -> pl.DataFrame:
        changed = [
            pl.when(where)
            .then(v if isinstance(v, pl.Expr) else pl.lit(v))
            .otherwise(name)
            .alias(name)
            for name, v in values.items()
        ]
        return frame.with_columns(changed).cast(frame.schema)

    return damage


def drop(where: pl.Expr) -> Damage:
    """Lose the rows `where` it holds."""
    return lambda frame: frame.filter(~where)


TICKS, SEGMENTS, INDEX = "raw.ticks", "raw.tick_segments", "snapshots.index_minute"
CHAIN, GREEKS = "snapshots.chain_minute", "analytics.greeks_minute"
METRICS, PREMIUM = "analytics.chain_metrics_minute", "analytics.premium_minute"
OPEN_INTEREST = "analytics.open_interest_minute"
EXPOSURE = "analytics.gamma_exposure_minute"
SURFACE, POINTS = "analytics.surface_minute", "analytics.surface_points_minute"
LATER = col("received_at") > OPENED + timedelta(minutes=6)
FIFTH = col("minute") == OPENED + timedelta(minutes=5)
AT_MONEY = (col("strike_offset") == 0) & (col("expiry") == EXPIRIES[0])

DAMAGES: dict[str, Damage] = {
    f"{SURFACE}.covers_chain": drop(FIFTH & (col("expiry") == EXPIRIES[0])),
    f"{SURFACE}.nulls_explained": put(FIFTH, reason="few_quotes"),
    f"{SURFACE}.without_arbitrage": put(FIFTH, butterfly_violations=3, calendar_violations=0),
    f"{SURFACE}.near_its_quotes": put(FIFTH, rmse=0.05),
    f"{POINTS}.nulls_explained": put(FIFTH, reason=None, risk_reversal_25=None),
    f"{EXPOSURE}.covers_chain": drop(FIFTH & (col("assumption") == "participants")),
    f"{EXPOSURE}.adds_up": put(FIFTH, exposure_rupees=col("exposure_rupees") * 1.01 + 1),
    f"{EXPOSURE}.nulls_explained": put(FIFTH, exposure_rupees=None),
    f"{SEGMENTS}.segments_accepted": put(col("segment") == "092000-a", refusal="unreadable"),
    f"{SEGMENTS}.packets_plausible": put(col("segment") == "092000-a", implausible_packets=1),
    f"{SEGMENTS}.packets_known": put(col("segment") == "092000-a", unknown_packets=1),
    f"{SEGMENTS}.frames_whole": put(col("segment") == "092000-a", broken_frames=1),
    f"{TICKS}.segments_complete": drop(col("sequence") == 5),
    f"{TICKS}.prices_not_negative": put(col("sequence") == 5, last_price=-1.0),
    f"{TICKS}.packets_differ": lambda frame: pl.concat(
        [frame, frame.filter(LATER).with_columns(sequence=col("sequence") + 100_000)]
    ),
    f"{SEGMENTS}.segments_differ": put(source_sha256=pl.lit(SHA)),
    f"{TICKS}.stamps_near_arrival": put(LATER, exchange_at=col("exchange_at") - timedelta(hours=1)),
    f"{TICKS}.clock_in_step": put(received_at=col("received_at") - timedelta(seconds=8)),
    f"{TICKS}.inside_one_session": put(
        col("sequence") < 60, received_at=col("received_at") - timedelta(hours=7)
    ),
    f"{TICKS}.volume_never_falls": put(LATER, volume_units=col("volume_units") - 6_000),
    f"{INDEX}.indices_heard": put(FIFTH, ticks=0),
    f"{INDEX}.moves_are_ordinary": put(FIFTH, low=col("high") * 0.9),
    f"{CHAIN}.no_minute_missing": drop(FIFTH & AT_MONEY),
    f"{CHAIN}.spot_known": put(FIFTH, spot=None),
    f"{CHAIN}.books_not_crossed": put(FIFTH, bid=col("ask") + 1),
    f"{CHAIN}.money_moves": put(AT_MONEY, last_tick_at=OPENED),
    f"{CHAIN}.inside_day_range": put(FIFTH, high=col("last_price") - 1),
    f"{CHAIN}.parity_holds": put(forward=col("forward") * 1.005),
    f"{CHAIN}.forward_near_spot": put(forward=col("forward") * 1.02),
    f"{GREEKS}.covers_chain": drop(FIFTH & AT_MONEY),
    f"{GREEKS}.nulls_explained": put(FIFTH & AT_MONEY, iv=None),
    f"{GREEKS}.delta_has_its_sign": put(FIFTH & AT_MONEY, delta=-col("delta")),
    f"{METRICS}.covers_chain": drop(FIFTH),
    f"{METRICS}.agrees_with_chain": put(FIFTH, call_oi_units=col("call_oi_units") + 75),
    f"{METRICS}.atm_iv_plausible": put(FIFTH, atm_iv=0.01),
    f"{OPEN_INTEREST}.covers_chain": drop(FIFTH & AT_MONEY),
    f"{OPEN_INTEREST}.nulls_explained": put(FIFTH & AT_MONEY, buildup=None),
    f"{PREMIUM}.agrees_with_metrics": put(FIFTH, close_premium=col("close_premium") + 0.05),
    f"{PREMIUM}.nulls_explained": put(FIFTH, volatility_reason=None),
    f"{PREMIUM}.path_adds_up": put(FIFTH, net_move=col("path_length") + 1),
}


def damaged(live: Inputs, rule: Rule) -> Inputs:
    frame, schema = live.frame(rule.table), TABLES[rule.table].schema
    if rule.name == "is_session":
        return Inputs(live.tables, frozenset())
    if rule.name == "declared":
        bad = frame.with_columns(source=pl.lit("rumour"))
    elif rule.name == "unique_key":
        bad = pl.concat([frame, frame.head(1)])
    elif rule.name == "inside_date":
        stamps = (name for name, dtype in schema.items() if dtype == TIMESTAMP)
        name = "received_at" if rule.table == TICKS else next(stamps, "expiry")
        bad = frame.with_columns(pl.col(name) - timedelta(days=30))
    else:
        bad = DAMAGES[rule.full_name](frame)
    return Inputs({**live.tables, rule.table: bad}, live.sessions)


@pytest.mark.parametrize("rule", LIVE_RULES, ids=lambda rule: rule.full_name)
def test_passes_a_good_day_and_fails_a_damaged_one(rule: Rule, live: Inputs) -> None:
    verdict = evaluate(rule, live, [DAY]).row(0, named=True)
    assert verdict["passed"] is True, verdict
    assert verdict["checked"] > 0
    verdict = evaluate(rule, damaged(live, rule), [DAY]).row(0, named=True)
    assert verdict["passed"] is False, verdict
    assert verdict["found"] > rule.threshold
    assert verdict["sample"]
    assert rule.unit in verdict["detail"]


def test_no_damage_without_a_rule() -> None:
    assert set(DAMAGES) <= {rule.full_name for rule in LIVE_RULES}


def test_a_packet_may_repeat_what_happened_on_an_earlier_day(live: Inputs) -> None:
    """Of an option that did not trade today, the last trade was before."""
    rule = next(r for r in LIVE_RULES if r.full_name == f"{TICKS}.inside_date")
    old = put(last_trade_at=OPENED - timedelta(days=3))(live.frame(TICKS))
    assert evaluate(rule, Inputs({TICKS: old}, live.sessions), [DAY])["passed"].to_list() == [True]


def test_first_packets_may_be_old(live: Inputs) -> None:
    """What a new subscription is told first is how things stood."""
    rule = next(r for r in LIVE_RULES if r.full_name == f"{TICKS}.stamps_near_arrival")
    first = col("received_at") == col("received_at").min().over("instrument_token")
    old = put(first, exchange_at=OPENED - timedelta(hours=18))(live.frame(TICKS))
    assert evaluate(rule, Inputs({TICKS: old}, live.sessions), [DAY])["passed"].to_list() == [True]
