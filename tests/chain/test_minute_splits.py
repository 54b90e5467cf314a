"""A day in one call, minute by minute, or in any other split: the same rows, the same bits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from itertools import pairwise

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from optrade.chain.greeks import greeks_minute
from optrade.chain.metrics import chain_metrics_minute
from optrade.chain.minute import chain_minute, index_minute, minutes_of, used
from optrade.chain.open_interest import open_interest_minute
from optrade.chain.premium import premium_minute
from optrade.tables import TABLES

Frame = pl.DataFrame
Frames = dict[str, Frame]
COUNT = 5
INDEX, CHAIN = "snapshots.index_minute", "snapshots.chain_minute"
PREMIUM = "analytics.premium_minute"
NO_CHAIN = TABLES["snapshots.chain_close"].empty()


def everything(
    ticks: Frame, chosen: Frame, minutes: Sequence[datetime], state: Frames, gap: float
) -> Frames:
    opened = minutes[0].replace(hour=9, minute=15)
    hours = {"session_open": opened, "session_close": opened + timedelta(hours=6, minutes=15)}
    index = index_minute(ticks, chosen, state[INDEX], minutes, **hours, max_gap_seconds=gap)
    chain = chain_minute(
        ticks, chosen, state[CHAIN], minutes, index, NO_CHAIN, **hours, max_gap_seconds=gap
    )
    greeks = greeks_minute(chain)
    return {
        INDEX: index,
        CHAIN: chain,
        "analytics.greeks_minute": greeks,
        "analytics.chain_metrics_minute": chain_metrics_minute(chain, greeks),
        "analytics.open_interest_minute": open_interest_minute(chain),
        PREMIUM: premium_minute(
            chain, listed=listed(chosen), state=state[PREMIUM], chain_before=state[CHAIN]
        ),
    }


def listed(chosen: Frame) -> Frame:
    options = chosen.filter(pl.col("kind") == "option")
    return options.select("underlying", "expiry").with_columns(trade_date=pl.date(2026, 7, 3))


def in_pieces(
    ticks: Frame, chosen: Frame, minutes: Sequence[datetime], cuts: Sequence[int], gap: float
) -> Frames:
    state = {name: TABLES[name].empty() for name in (INDEX, CHAIN, PREMIUM)}
    made: dict[str, list[Frame]] = {}
    edges = [0, *sorted(cuts), len(minutes)]
    for start, stop in pairwise(edges):
        if start < stop:
            found = everything(ticks, chosen, minutes[start:stop], state, gap)
            for name, frame in found.items():
                made.setdefault(name, []).append(frame)
            last = pl.col("minute") == minutes[stop - 1]
            state = {name: found[name].filter(last) for name in state}
    return {name: TABLES[name].conform(pl.concat(parts)) for name, parts in made.items()}


def check(ticks: Frame, chosen: Frame, cuts: Sequence[int], gap: float, first: datetime) -> None:
    minutes = [first + timedelta(minutes=n) for n in range(COUNT)]
    whole = in_pieces(ticks, chosen, minutes, [], gap)
    shuffled = ticks.sample(fraction=1, shuffle=True, seed=1)
    split = in_pieces(shuffled, chosen, minutes, cuts, gap)
    for name, frame in whole.items():
        table = TABLES[name]
        table.pandera.validate(frame)
        assert frame.select(table.key).is_unique().all(), name
        assert frame.equals(split[name]), name


@settings(deadline=None, max_examples=10, suppress_health_check=[HealthCheck.too_slow])
@given(
    seed=st.integers(0, 2**32),
    cuts=st.lists(st.integers(1, COUNT - 1), max_size=COUNT, unique=True),
    gap=st.sampled_from([5.0, 60.0, 150.0]),
    late=st.integers(0, 3),
)
def test_any_split_gives_the_same_bits(
    seed: int,
    cuts: list[int],
    gap: float,
    late: int,
    random_feed: Callable[..., tuple[Frame, Frame]],
    at: Callable[[str], datetime],
) -> None:
    """Also when the first minute computed is not the session's first."""
    ticks, chosen = random_feed(seed, COUNT)
    check(ticks, chosen, cuts, gap, at("09:15") + timedelta(minutes=late))


def test_minute_by_minute(
    random_feed: Callable[..., tuple[Frame, Frame]], at: Callable[[str], datetime]
) -> None:
    ticks, chosen = random_feed(7, COUNT)
    check(ticks, chosen, range(1, COUNT), 60.0, at("09:15"))


def test_dense_from_the_first_tick_on(
    random_feed: Callable[..., tuple[Frame, Frame]], at: Callable[[str], datetime]
) -> None:
    ticks, chosen = random_feed(3, COUNT)
    minutes = [at("09:15") + timedelta(minutes=n) for n in range(COUNT)]
    chain = in_pieces(ticks, chosen, minutes, [], 60.0)[CHAIN]
    counted = ticks.filter(used(at("09:15"), at("15:30"))).with_columns(
        minute=pl.coalesce("exchange_at", "received_at").dt.truncate("1m")
    )
    options = chosen.filter(pl.col("kind") == "option")["instrument_token"].to_list()
    per_minute = (
        counted.filter(pl.col("instrument_token").is_in(options))
        .group_by("instrument_token", "minute")
        .agg(wanted=pl.len().cast(pl.Int64))
    )
    both = chain.join(per_minute, on=["instrument_token", "minute"], how="left")
    assert both["ticks"].equals(both["wanted"].fill_null(0).rename("ticks"))
    rows = chain.group_by("instrument_token").agg(pl.len(), since=pl.col("minute").min())
    starts = per_minute.group_by("instrument_token").agg(wanted=pl.col("minute").min())
    rows = rows.join(starts, on="instrument_token", how="full")
    assert rows["since"].equals(rows["wanted"].rename("since"))
    late = (rows["since"] - at("09:15")).dt.total_minutes()
    assert (rows["len"] + late == COUNT).all()


def test_minutes_of_are_those_that_ticks_enter(
    random_feed: Callable[..., tuple[Frame, Frame]], at: Callable[[str], datetime]
) -> None:
    ticks, _ = random_feed(5, COUNT)
    found = minutes_of(ticks, at("09:15"), at("15:30"))
    assert set(found) <= {at("09:15") + timedelta(minutes=n) for n in range(COUNT)}
    assert found == sorted(found)
    assert minutes_of(ticks.clear(), at("09:15"), at("15:30")) == []


@pytest.mark.parametrize("minutes", [["09:15", "09:17"], ["09:15:30"], ["09:16", "09:15"]])
def test_minutes_with_a_hole_are_refused(
    minutes: list[str], at: Callable[[str], datetime], subscription: Callable[..., Frame]
) -> None:
    with pytest.raises(ValueError, match="whole minutes in a row"):
        index_minute(
            TABLES["raw.ticks"].empty(),
            subscription({}),
            TABLES[INDEX].empty(),
            [at(minute) for minute in minutes],
            session_open=at("09:15"),
            session_close=at("15:30"),
        )


def test_a_state_that_is_not_before_is_refused(
    random_feed: Callable[..., tuple[Frame, Frame]], at: Callable[[str], datetime]
) -> None:
    ticks, chosen = random_feed(3, 2)
    made = in_pieces(ticks, chosen, [at("09:15"), at("09:16")], [], 60.0)
    with pytest.raises(ValueError, match="last minute before"):
        everything(ticks, chosen, [at("09:16")], made, 60.0)


def test_silence_carries_on_what_was_heard(
    random_feed: Callable[..., tuple[Frame, Frame]], at: Callable[[str], datetime]
) -> None:
    ticks, chosen = random_feed(11, 2)
    made = in_pieces(ticks, chosen, [at("09:15"), at("09:16")], [], 60.0)
    states = (INDEX, CHAIN, PREMIUM)
    last = {name: made[name].filter(pl.col("minute") == at("09:16")) for name in states}
    silent = everything(ticks.clear(), chosen, [at("09:17"), at("09:18")], last, 60.0)
    for name in (INDEX, CHAIN):
        carried = [*TABLES[name].key[2:], "last_price", "bid", "oi_units", "last_tick_at", "source"]
        for minute in ("09:17", "09:18"):
            rows = silent[name].filter(pl.col("minute") == at(minute))
            assert rows["ticks"].unique().to_list() == [0]
            assert rows.select(carried).equals(last[name].select(carried))
    nothing = {name: TABLES[name].empty() for name in states}
    for frame in everything(ticks.clear(), chosen, [at("09:17")], nothing, 60.0).values():
        assert frame.is_empty()
