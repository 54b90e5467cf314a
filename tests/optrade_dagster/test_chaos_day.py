"""A whole simulated session with every fault and kill -9 of collector, daemon and runs at random.

Only with `OPTRADE_STRESS=1`. `OPTRADE_STRESS_SPEED` is how many times real time it is played, and
`OPTRADE_STRESS_SEED`, printed, makes the same choices again. What it measured is printed too.
"""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from rich.console import Console

from optrade_dagster.jobs import DAY_CLOSED, MINUTE_LANE
from tests.optrade_dagster.chaos import Chaos, check_frames, check_holes, check_replay, until

pytestmark = pytest.mark.skipif(
    os.environ.get("OPTRADE_STRESS") != "1" or os.name == "nt",
    reason="takes ten minutes: OPTRADE_STRESS=1 runs it, where there is SIGKILL",
)

SPEED = float(os.environ.get("OPTRADE_STRESS_SPEED", "60"))
SEED = int(os.environ.get("OPTRADE_STRESS_SEED") or random.SystemRandom().randrange(10**6))
HARMLESS: list[tuple[Any, dict[str, Any]]] = [
    ("out_of_order", {}),
    ("unknown_packet", {}),
    ("garbage", {}),
    ("rate_limit", {}),
    ("server_error", {}),
    ("skew", {"seconds": 90}),
    ("text_error", {}),
]
HOLES = ["mute", "drop", "expire", "stale", "kill"]
LAST_SECONDS = 25.0
"""Real seconds before the close in which nothing more goes wrong, so that all of it is noticed."""
APART_SECONDS = 62.0
"""Between two strikes: after a minute of health a dead daemon is started again at once."""
SETTLE_SECONDS = 600.0


def make_hole(chaos: Chaos, which: str, stale: frozenset[int]) -> None:
    """One hole, from its beginning to the first frame after it."""
    known = chaos.told("connected")
    if which == "kill":
        chaos.stop_collecting(killed=True)
        chaos.collect()
    elif which == "stale":
        lasts = max(3.0, 200 / chaos.speed)
        chaos.fault("stale_instrument", lasts, "silent_instrument", tokens=stale)
        time.sleep(lasts + 120 / chaos.speed)
    elif which == "mute":
        chaos.fault("mute_socket", 4.5, "mute_socket")
        time.sleep(4.5)
        chaos.connected(known + 1)
    elif which == "drop":
        chaos.fault("drop_connection", cause="connection_lost")
        chaos.connected(known + 1)
    else:
        chaos.fault("expire_token", cause="token_expired")
        chaos.connected(known + 1)
    time.sleep(2)


def left(chaos: Chaos) -> float:
    """Real seconds until the close."""
    return (chaos.market.seconds - chaos.market.elapsed(chaos.clock.now())) / chaos.speed


def in_turns(rng: random.Random, choices: list[Any]) -> Iterator[Any]:
    """Every choice as often as any other, in an order by chance, for ever."""
    while True:
        yield from rng.sample(choices, len(choices))


def play(chaos: Chaos) -> Counter[str]:
    """The session; what went wrong, and the most segments that waited for the lake."""
    done: Counter[str] = Counter()
    rng = chaos.rng
    future = chaos.market.instruments.filter(instrument_type="FUT", name="NIFTY").sort("expiry")
    stale = frozenset(future["instrument_token"][:1])
    holes, harmless = in_turns(rng, HOLES), in_turns(rng, HARMLESS)
    strikes = in_turns(random.Random(rng.random()), ["daemon", "both", "run"])
    with chaos.playing(), chaos.striking(strikes, APART_SECONDS):
        while left(chaos) > LAST_SECONDS:
            kind, details = next(harmless)
            chaos.fault(kind, rng.uniform(0.5, 3), **details)
            time.sleep(rng.uniform(0.5, 3))
            hole = next(holes)
            make_hole(chaos, hole, stale)
            done.update([kind, hole])
            done["waiting"] = max(done["waiting"], len(chaos.unheld()))
        chaos.over.set()
        until(lambda: chaos.told("session_ended"), "the session ends")
        closed = time.monotonic()
        chaos.settle(SETTLE_SECONDS)
        done["settled after s"] = round(time.monotonic() - closed)
        until(lambda: chaos.runs(DAY_CLOSED)["SUCCESS"], "the day is compacted")
    return done


def report(chaos: Chaos, done: Counter[str], seconds: float, console: Console) -> None:
    """What was done, and what came of it."""
    ticks, minutes = chaos.rows("raw.ticks"), chaos.rows("snapshots.chain_minute")["minute"]
    frames = sum(sent.kind == "binary" for sent in chaos.sent)
    console.print(f"played in {seconds:.0f} s; done {dict(done)}; killed {dict(chaos.kills)}")
    console.print(
        f"{frames:,} frames sent, {ticks.height:,} ticks stored of {len(chaos.recorded.sealed())} "
        f"segments, {minutes.n_unique()} minutes; runs {dict(chaos.runs(MINUTE_LANE))}"
    )
    console.print(f"holes {dict(Counter(chaos.rows('quality.tick_gaps')['cause']))}")


def test_a_whole_session_of_chaos(
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    console = Console(width=120)
    with capsys.disabled():
        console.print(f"\nOPTRADE_STRESS_SEED={SEED} OPTRADE_STRESS_SPEED={SPEED:g}")
    chaos = Chaos(tmp_path_factory.mktemp("day"), SPEED, random.Random(SEED))
    begun = time.monotonic()
    done = play(chaos)
    with capsys.disabled():
        report(chaos, done, time.monotonic() - begun, console)
    check_frames(chaos)
    check_holes(chaos)
    check_replay(chaos, monkeypatch)
