"""The real days of January 2025 and 2026 against plain Python on the files themselves."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from datetime import date, datetime

import polars as pl
import pytest

from optrade.chain.greeks import greeks_close
from optrade.chain.metrics import chain_metrics_close
from optrade.chain.open_interest import open_interest_close
from optrade.chain.snapshot import chain_close
from optrade.tables import TABLES

Frame = pl.DataFrame
Closes = Callable[[Frame], dict[date, datetime]]
CSV = dict[tuple[str, str], list[dict[str, str]]]
KEY = ("trade_date", "underlying", "expiry")


@pytest.fixture(scope="module")
def chain(real_bhavcopy: Frame, close_of: Closes) -> Frame:
    return chain_close(real_bhavcopy, TABLES["raw.index_close"].empty(), close_of(real_bhavcopy))


@pytest.fixture(scope="module")
def greeks(chain: Frame) -> Frame:
    return greeks_close(chain)


@pytest.fixture(scope="module")
def metrics(chain: Frame, greeks: Frame) -> Frame:
    return chain_metrics_close(chain, greeks)


def test_ratios_and_max_pain(real_csv: CSV, metrics: Frame) -> None:
    mine = {
        row[:3]: row[3:]
        for row in metrics.select(
            *KEY, "pcr_oi", "pcr_volume", "max_pain_strike", "max_pain_payout_rupees"
        ).rows()
    }
    compared = 0
    for (day, name), rows in real_csv.items():
        book = defaultdict(list)
        for row in rows:
            if row["OptnTp"]:
                book[row["XpryDt"]].append(row)
        for expiry, legs in book.items():
            oi, volume = defaultdict(int), defaultdict(int)
            for leg in legs:
                oi[leg["OptnTp"]] += int(leg["OpnIntrst"])
                volume[leg["OptnTp"]] += int(leg["TtlTradgVol"])
            held = [(leg["OptnTp"], float(leg["StrkPric"]), int(leg["OpnIntrst"])) for leg in legs]

            def payout(at: float, held: list[tuple[str, float, int]] = held) -> float:
                return sum(
                    n * max(at - strike if side == "CE" else strike - at, 0.0)
                    for side, strike, n in held
                )

            pain = min(sorted({strike for _, strike, _ in held}), key=payout)
            expected = (
                oi["PE"] / oi["CE"] if oi["CE"] else None,
                volume["PE"] / volume["CE"] if volume["CE"] else None,
                pain if oi["CE"] + oi["PE"] else None,
                payout(pain) if oi["CE"] + oi["PE"] else None,
            )
            found = mine[date.fromisoformat(day), name, date.fromisoformat(expiry)]
            assert found == pytest.approx(expected)
            compared += 1
    assert compared == metrics.height


def test_redated_contracts_keep_their_past(real_csv: CSV, chain: Frame) -> None:
    """On 2025-01-02 the exchange moved expiries and stated the whole open interest as new."""
    days = sorted(chain["trade_date"].unique())
    before = dict(zip(days[1:], days, strict=False))
    found = open_interest_close(chain, days, before)
    held = found.filter(pl.col("oi_change_basis") == "held")
    in_force = date(2025, 1, 2)
    assert held.filter(pl.col("trade_date") < date(2026, 1, 1))[
        "trade_date"
    ].unique().to_list() == [in_force]
    yesterday = {
        row["FinInstrmId"]: int(row["OpnIntrst"])
        for (day, _), rows in real_csv.items()
        if day == "2025-01-01"
        for row in rows
    }
    wrong = {}
    for (day, name), rows in real_csv.items():
        for row in rows if day == str(in_force) else ():
            change = int(row["OpnIntrst"]) - yesterday.get(row["FinInstrmId"], 0)
            if row["OptnTp"] and change != int(row["ChngInOpnIntrst"]):
                expiry = date.fromisoformat(row["XpryDt"])
                wrong[name, expiry, float(row["StrkPric"]), row["OptnTp"]] = change
    key = ("underlying", "expiry", "strike", "option_type")
    stated = held.filter(pl.col("trade_date") == in_force)
    assert dict(zip(stated.select(key).rows(), stated["oi_change_units"], strict=True)) == wrong
    assert len(wrong) > 700


def test_day_average_lies_in_the_days_range(chain: Frame, real_bhavcopy: Frame) -> None:
    traded = chain.filter(pl.col("volume_lots") > 0)
    units = pl.col("volume_units")
    average = pl.col("turnover_rupees") / units - pl.col("strike")
    assert traded.select((average - pl.col("average_price")).abs().max()).item() < 1e-6


def test_parity_agrees_with_the_listed_future(chain: Frame, real_bhavcopy: Frame) -> None:
    futures = real_bhavcopy.filter(
        pl.col("instrument_type") == "FUT", pl.col("volume_lots") > 0
    ).select(*KEY, future="close")
    off = (
        chain.filter(pl.col("forward_basis") == "parity")
        .select(*KEY, "forward")
        .unique()
        .join(futures, on=KEY)
        .select(((pl.col("forward") / pl.col("future") - 1).abs() * 1e4).alias("bp"))
        .to_series()
    )
    assert off.len() > 100
    assert off.median() < 2.5
    assert off.quantile(0.95) < 8
    assert off.max() < 12


def test_coverage_of_traded_options(greeks: Frame) -> None:
    quotes = greeks.filter(pl.col("price").is_not_null(), pl.col("years_to_expiry") > 0)
    shares = dict(quotes["reason"].fill_null("solved").value_counts(normalize=True).rows())
    assert shares["solved"] > 0.94
    assert set(shares) == {"solved", "below_intrinsic"}
    away = (pl.col("strike") / pl.col("forward") - 1).abs()
    inside = quotes.filter(pl.col("reason") == "below_intrinsic").select(away.median()).item()
    assert inside > 0.02  # deep in the money, where a close is hours old


def test_both_sides_of_a_strike_tell_one_volatility(greeks: Frame) -> None:
    near = greeks.filter(
        pl.col("strike_offset").abs() <= 2,
        pl.col("expiry_bucket").is_in(["this_month", "this_week"]),
        pl.col("years_to_expiry") > 3 / 365,
        pl.col("iv").is_not_null(),
    )
    gap = (
        near.group_by(*KEY, "strike")
        .agg(n=pl.len(), gap=pl.col("iv").max() - pl.col("iv").min())
        .filter(pl.col("n") == 2)["gap"]
    )
    assert gap.len() > 200
    assert gap.median() < 0.004


def test_month_volatility_is_near_india_vix(metrics: Frame, real_vix: dict[date, float]) -> None:
    month = metrics.filter(
        pl.col("underlying") == "NIFTY",
        pl.col("expiry_bucket") == "this_month",
        pl.col("trade_date").is_in(list(real_vix)),
    )
    assert month.height >= 5
    for day, iv in month.select("trade_date", "atm_iv").rows():
        assert 100 * iv == pytest.approx(real_vix[day], abs=1.0)


def test_lots_of_the_old_format(real_old_csv: list[dict[str, str]], close_of: Closes) -> None:
    rows = [row for row in real_old_csv if row["INSTRUMENT"] == "OPTIDX"]
    empty = dict.fromkeys(TABLES["raw.fo_bhavcopy"].schema)
    names = {"open": "OPEN", "high": "HIGH", "low": "LOW", "close": "CLOSE"}
    names |= {"settlement": "SETTLE_PR", "strike": "STRIKE_PR"}
    counts = {"oi_units": "OPEN_INT", "oi_change_units": "CHG_IN_OI", "volume_lots": "CONTRACTS"}
    frame = pl.DataFrame(
        [
            empty
            | {name: float(row[column]) for name, column in names.items()}
            | {name: int(row[column]) for name, column in counts.items()}
            | {
                "trade_date": date(2020, 1, 1),
                "underlying": row["SYMBOL"],
                "underlying_class": "index",
                "instrument_type": row["OPTION_TYP"],
                "expiry": datetime.strptime(row["EXPIRY_DT"], "%d-%b-%Y").date(),  # noqa: DTZ007
                "turnover_rupees": float(row["VAL_INLAKH"]) * 1e5,
                "source": "exchange",
                "source_sha256": "0" * 64,
            }
            for row in rows
        ],
        schema=TABLES["raw.fo_bhavcopy"].schema,
    )
    chain = chain_close(frame, TABLES["raw.index_close"].empty(), close_of(frame))
    traded = chain.filter(pl.col("volume_lots") > 0)
    lots = traded.group_by("underlying").agg(pl.col("lot_size").drop_nulls().unique())
    assert dict(lots.rows()) == {"NIFTY": [75], "BANKNIFTY": [20]}
    assert traded["lot_size"].null_count() <= 2
    assert traded["lot_size_basis"].drop_nulls().unique().to_list() == ["turnover"]
    for row in traded.filter(pl.col("average_price").is_not_null()).rows(named=True):
        assert row["low"] <= row["average_price"] <= row["high"]
