"""A simulated session in which everything goes wrong: nothing flushed is lost, every hole is told.

The real collector and the real daemon, as processes of their own that are killed without warning,
against the simulated broker's every fault. `test_chaos_day` plays a whole session.
"""

from __future__ import annotations

import os
import random

import pytest

from optrade_dagster.jobs import MINUTE_LANE
from tests.optrade_dagster.chaos import Chaos, check_frames, check_holes, check_replay

pytestmark = pytest.mark.skipif(os.name == "nt", reason="there is no SIGKILL on Windows")

STRIKES = ["daemon", "both", "run"]


@pytest.fixture(scope="module")
def chaos(tmp_path_factory: pytest.TempPathFactory) -> Chaos:
    """The session, played."""
    chaos = Chaos(tmp_path_factory.mktemp("chaos"), 15.0, random.Random(7))
    future = chaos.market.instruments.filter(instrument_type="FUT", name="NIFTY")
    stale = {future.sort("expiry")["instrument_token"][0]}
    with chaos.playing(), chaos.striking(STRIKES) as strikes:
        sleep = chaos.clock.sleep
        chaos.fault("stale_instrument", 10, "silent_instrument", tokens=stale)
        chaos.fault("out_of_order", 1.5)
        sleep(50)
        chaos.fault("unknown_packet", 1)
        chaos.fault("garbage", 1)
        sleep(120)
        chaos.fault("mute_socket", 5, "mute_socket")
        sleep(95)
        chaos.fault("drop_connection", cause="connection_lost")
        chaos.fault("rate_limit", 0.7)
        sleep(30)
        chaos.fault("skew", 2, seconds=90)
        sleep(60)
        chaos.stop_collecting(killed=True)
        chaos.collect()
        sleep(30)
        known = chaos.told("connected")
        chaos.fault("expire_token", cause="token_expired")
        chaos.fault("text_error")
        chaos.connected(known + 1)
        strikes.join()
        sleep(30)
        chaos.stop_collecting()
        chaos.settle()
    return chaos


def test_each_frame_on_the_disk_was_sent_and_is_in_ticks_exactly_once(chaos: Chaos) -> None:
    check_frames(chaos)
    assert chaos.rows("raw.ticks")["segment"].n_unique() > 5
    assert chaos.runs(MINUTE_LANE)["FAILURE"] > 0, "no run was killed"


def test_each_hole_is_told_with_its_cause(chaos: Chaos) -> None:
    check_holes(chaos)


def test_unknown_packets_and_garbage_are_counted_and_a_replay_is_the_same(
    chaos: Chaos, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert chaos.rows("raw.tick_segments")["unknown_packets"].sum() > 0
    check_replay(chaos, monkeypatch)
    assert chaos.rows("snapshots.chain_minute")["minute"].n_unique() >= 6
