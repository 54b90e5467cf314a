"""The last minutes of a day on a clock that is off, held against what the exchange published."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import dagster as dg
import polars as pl
import pytest

from optrade.subscription import Subscription
from optrade.tables.snapshots import CHAIN_CLOSE, CHAIN_MINUTE
from optrade_dagster.definitions import build_defs
from optrade_dagster.home import open_lake
from optrade_dagster.jobs import CLOSE_LANE
from resources.lake import Slice
from tests.assets.spooled_market import (
    DAY,
    OPEN,
    OPTIONS,
    QUIET,
    Market,
    Said,
    said_at,
    segment,
    subscription,
)
from tests.faults.hospital import Row, close_day, incidents
from tests.faults.schema import Fault

LAST = 374
LOT = 65
RECONCILED = "quality.reconciliation"
LABEL = "the comparison says which figure of which expiry; nothing is corrected"
CLOSES = {
    "oi_times_lot": ("units_agree", "close_differs", "open interest comes in units times the lot"),
    "sides_swapped": (
        "sides_agree",
        "close_differs",
        "tokens of calls and puts are interchanged in the subscription",
    ),
    "figures_differ": (
        "figures_agree",
        "close_differs",
        "the exchange's volume is another by half, and so are its lot sizes",
    ),
    "strikes_missing": (
        "strikes_agree",
        "contracts_missing",
        "the exchange lists strikes that were not subscribed",
    ),
}
FAULTS = (
    *(
        Fault(
            name,
            "Our close against the exchange's",
            planted,
            f"`{RECONCILED}`: `{rule}`",
            cause,
            "labelled",
            LABEL,
        )
        for name, (rule, cause, planted) in CLOSES.items()
    ),
    Fault(
        "clock_off",
        "Live feed",
        "this machine's clock is 90 seconds ahead",
        "`raw.ticks`: `clock_in_step`",
        "clock_off",
        "labelled",
        "minutes follow the exchange's stamps, so their figures are right",
    ),
)


def times_lot(_: int, said: Said) -> None:
    """Say the open interest of options in units times the lot."""
    for token in OPTIONS:
        said[token]["oi_units"] *= LOT


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Market, dict[str, Row]]]:
    """A market with the last two minutes of the day, reconciled; its incidents by rule."""
    with dg.DagsterInstance.ephemeral() as instance:
        market = Market(tmp_path_factory.mktemp("close"), instance)
        market.begin()
        chosen = subscription().frame
        other = pl.col("option_type").replace({"CE": "PE", "PE": "CE"})
        swapped = Subscription(chosen.with_columns(option_type=other))
        (market.folder / "subscription.json").write_text(swapped.to_json(), encoding="utf-8")
        for minute in (LAST - 1, LAST):
            seconds = range(60 * minute, 60 * minute + 60)
            market.seal(minute, segment(minute, seconds, late=90.4, change=times_lot))
        assert market.run().success
        close_day(market)
        publish(market)
        job = build_defs(market.settings).resolve_job_def(CLOSE_LANE)
        assert job.execute_in_process(
            instance=market.instance,
            partition_key=DAY.isoformat(),
            run_config=QUIET,
            asset_selection=[dg.AssetKey(RECONCILED.split("."))],
        ).success
        yield market, {rule: row for (_, rule), row in incidents(market.settings).items()}


def publish(market: Market) -> None:
    """The exchange's close of the day as the lake holds it: the truth, and some strikes more."""
    told = said_at(60 * LAST + 59)
    last = market.read(CHAIN_MINUTE.full_name).filter(minute=OPEN + timedelta(minutes=LAST))
    rows = []
    for row in last.iter_rows(named=True):
        token = row["instrument_token"]
        strike, side = OPTIONS[token]
        true = {"oi_units": told[token]["oi_units"], "oi_change_units": 0, "option_type": side}
        true |= {"volume_units": told[token]["volume_units"] * 3 // 2, "lot_size": LOT}
        blank = {"settlement": 1.0, "volume_lots": 1, "turnover_rupees": 0.0}
        true |= blank | {"source": "simulated", "source_sha256": "ab" * 32}
        rows += [row | true, row | true | {"strike": strike + 25}]
    frame = CHAIN_CLOSE.conform(pl.DataFrame(rows, schema_overrides=CHAIN_CLOSE.schema))
    with open_lake(market.settings, read_only=False) as lake:
        lake.commit([Slice(CHAIN_CLOSE, (DAY,), frame)], author="test", provenance={})


@pytest.mark.parametrize("name", CLOSES)
def test_a_difference_is_an_incident_with_its_cause(
    found: tuple[Market, dict[str, Row]], name: str
) -> None:
    rule, cause, _ = CLOSES[name]
    incident = found[1][rule]
    component = "reconciliation"
    assert (incident["cause"], incident["component"]) == (cause, component)
    assert (incident["status"], incident["handling"]) == ("open", "manual")
    assert str(DAY.year) in incident["evidence"]
    assert "against" in incident["evidence"] or "missing" in incident["evidence"]
    market, _ = found
    rows = market.read(RECONCILED).drop_nulls("cause")
    assert set(rows["cause"]) == {"units_lots", "sides_swapped", "unexplained", "missing_strikes"}


def test_a_clock_that_is_off_is_an_incident_and_minutes_follow_the_exchange(
    found: tuple[Market, dict[str, Row]],
) -> None:
    market, told = found
    incident = told["clock_in_step"]
    assert (incident["cause"], incident["component"]) == ("clock_off", "live_feed")
    assert incident["found_before"] == pytest.approx(90.4)
    assert "s on the way" in incident["evidence"]
    rows = market.read(CHAIN_MINUTE.full_name).filter(minute=OPEN + timedelta(minutes=LAST))
    true = said_at(60 * LAST + 59)
    for row in rows.iter_rows(named=True):
        assert row["last_price"] == pytest.approx(true[row["instrument_token"]]["last_price"])
        assert row["ticks"] == 60
