"""Days in one call or one by one: the same rows, the same bits."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime

import polars as pl
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from optrade.chain.greeks import greeks_close
from optrade.chain.metrics import chain_metrics_close
from optrade.chain.open_interest import open_interest_close
from optrade.chain.premium import premium_close
from optrade.chain.snapshot import chain_close
from optrade.tables import TABLES

Frame = pl.DataFrame
Closes = Callable[[Frame], dict[date, datetime]]


def everything(bhavcopy: Frame, close_of: Closes) -> dict[str, Frame]:
    chain = chain_close(bhavcopy, TABLES["raw.index_close"].empty(), close_of(bhavcopy))
    greeks = greeks_close(chain)
    return {
        "snapshots.chain_close": chain,
        "analytics.greeks_close": greeks,
        "analytics.chain_metrics_close": chain_metrics_close(chain, greeks),
        "analytics.open_interest_close": open_interest_close(chain),
    }


def check_open_interest(chain: Frame) -> None:
    """Each date with its previous session alone, and all together."""
    days = sorted(chain["trade_date"].unique())
    before = dict(zip(days[1:], days, strict=False))
    apart = []
    for day in days:
        near = chain.filter(pl.col("trade_date").is_in([day, before.get(day, day)]))
        apart.append(open_interest_close(near, [day], before))
    assert open_interest_close(chain, days, before).equals(pl.concat(apart))


def check_premium(chain: Frame) -> None:
    """Each date with its past alone, and all together."""
    day = pl.col("trade_date")
    days = sorted(chain["trade_date"].unique())
    apart = [premium_close(chain.filter(day <= date_), dates=[date_]) for date_ in days]
    assert premium_close(chain).equals(pl.concat(apart))


def check(bhavcopy: Frame, close_of: Closes) -> None:
    together = everything(bhavcopy, close_of)
    days = bhavcopy.sort("trade_date").partition_by("trade_date")
    apart = [everything(day.sample(fraction=1, shuffle=True, seed=1), close_of) for day in days]
    for name, frame in together.items():
        table = TABLES[name]
        table.pandera.validate(frame)
        assert frame.select(table.key).is_unique().all(), name
        assert frame.equals(pl.concat(day[name] for day in apart).sort(table.order)), name
    check_open_interest(together["snapshots.chain_close"])
    check_premium(together["snapshots.chain_close"])


@settings(deadline=None, max_examples=12, suppress_health_check=[HealthCheck.too_slow])
@given(seed=st.integers(0, 2**32))
def test_random_markets(seed: int, random_market: Callable[[int], Frame], close_of: Closes) -> None:
    check(random_market(seed), close_of)


def test_real_days(real_bhavcopy: Frame, close_of: Closes) -> None:
    check(real_bhavcopy, close_of)
