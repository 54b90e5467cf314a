"""Seven minutes of a playing market not heard, healed by `optrade heal` beside the minute's runs.

Only with `OPTRADE_STRESS=1`: real processes and the broker's pace. What a healing makes of each
figure is proved in `tests/assets/test_candle_holes.py`, the sensor's part in `test_hole_healing`.
"""

from __future__ import annotations

import os
import random
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest

from optrade_dagster.jobs import HEAL_MINUTES
from tests.optrade_dagster.chaos import DAY, Chaos, check_frames, check_replay

pytestmark = pytest.mark.skipif(
    os.environ.get("OPTRADE_STRESS") != "1" or os.name == "nt",
    reason="takes two minutes: OPTRADE_STRESS=1 runs it, where there is SIGKILL",
)

CUT_SECONDS = 420.0
HEALING_SECONDS = 300.0


def test_seven_minutes_are_healed_and_what_is_forgotten_stays_labelled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chaos = Chaos(tmp_path / "home", 30.0, random.Random(7))
    with chaos.playing():
        chaos.clock.sleep(90)
        chosen = chaos.recorded.subscription().frame
        options = chosen.filter(pl.col("kind") == "option")["instrument_token"].sort()
        chaos.fault("no_candles", tokens={options[0]})
        chaos.fault("mute_socket", CUT_SECONDS / chaos.speed, "mute_socket")
        chaos.clock.sleep(CUT_SECONDS + 90)
        assert chaos.command("heal", str(DAY), seconds=HEALING_SECONDS) == 0
        chaos.clock.sleep(60)
        chaos.stop_collecting()
        chaos.settle()
    assert chaos.runs(HEAL_MINUTES)["SUCCESS"] == 1
    gaps = chaos.rows("quality.tick_gaps").filter(pl.col("cause") == "mute_socket")
    gap = gaps.row(0, named=True)
    silent = gap["unfilled_minutes"]
    assert gap["healed_from"] == "candles"
    assert 6 <= silent <= 8
    assert gap["filled_minutes"] == silent * (chosen.height - 1)
    chain = chaos.rows("snapshots.chain_minute")
    assert chain.select("instrument_token", "minute").is_duplicated().sum() == 0
    last = gap["ended_at"] - timedelta(minutes=1)
    inside = chain.filter(pl.col("minute") > gap["started_at"], pl.col("minute") < last)
    forgotten = pl.col("instrument_token") == options[0]
    assert set(inside.filter(forgotten)["filled_from"]) == {None}
    assert set(inside.filter(forgotten)["ticks"]) == {0}
    filled = inside.filter(~forgotten)
    assert set(filled["filled_from"]) == {"candles"}
    assert filled.select(pl.col("bid", "ask", "twap", "vwap").is_null().all()).row(0) == (True,) * 4
    incidents = chaos.rows("quality.incidents").filter(pl.col("subject") == gap["gap"])
    assert incidents["status"].to_list() == ["open"]
    assert f"not filled {silent}" in incidents["evidence"].item()
    check_frames(chaos)
    check_replay(chaos, monkeypatch)
