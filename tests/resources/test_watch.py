"""Standing still is told by exchange time alone, and the clocks are compared over frames."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date, datetime, timedelta
from itertools import count
from pathlib import Path

import polars as pl
import pytest

from optrade.calendar import IST
from optrade.simulation.kite_packets import frame, packet
from optrade.subscription import SCHEMA
from resources.collector import watch
from resources.collector.watch import Watch
from resources.spool import BINARY, SpoolError, microseconds
from resources.spool_segments import HEADER, record_head

DAY = date(2026, 1, 23)
T0 = datetime(2026, 1, 23, 10, 0, tzinfo=IST)
INDEX, FUTURE = 256265, 1000
UNLISTED = 265
"""An index without contracts: the broker sends nothing of it."""
NEAREST, LATER = date(2026, 1, 27), date(2026, 2, 3)
STRIKES = tuple(range(24_700, 25_350, 50))


def subscription() -> pl.DataFrame:
    """An index, a future, and calls of two expiries: 2000 + n and 3000 + n in the order."""
    rows = [
        (INDEX, "index", None, None, "NIFTY"),
        (UNLISTED, "index", None, None, "SENSEX"),
        (FUTURE, "future", NEAREST, None, "NIFTY"),
    ]
    for expiry, base in ((NEAREST, 2000), (LATER, 3000)):
        rows += [(base + n, "option", expiry, float(s), "NIFTY") for n, s in enumerate(STRIKES)]
    columns = ["instrument_token", "kind", "expiry", "strike", "underlying"]
    return pl.DataFrame(rows, {name: SCHEMA[name] for name in columns}, orient="row")


ALL = tuple(token for token in subscription()["instrument_token"] if token != UNLISTED)
NEAR = {2000 + n for n, strike in enumerate(STRIKES) if abs(strike - 25_000) <= 100}


@pytest.fixture
def look(tmp_path: Path):
    """Shows a watch one segment: frames of (received, [(token, stamp)])."""
    numbers = count()
    seen_by = Watch(subscription(), DAY, silent_seconds=120)

    def show(frames: Iterable[tuple[datetime, Sequence[tuple[int, datetime]]]]) -> watch.Seen:
        content = HEADER
        for received, told in frames:
            packets = [
                packet(
                    "index_full" if token == INDEX else "full",
                    token,
                    {"last_price": 25_010.0 if token == INDEX else 10.0, "exchange_at": stamp},
                )
                for token, stamp in told
            ]
            payload = frame(packets)
            content += record_head(microseconds(received), BINARY, 0, payload) + payload
        path = tmp_path / f"{next(numbers):06}-s.seg"
        path.write_bytes(content)
        return seen_by.look(path)

    show.watch = seen_by  # type: ignore[attr-defined]
    return show


def minute(
    number: int, but: Sequence[int] = ()
) -> list[tuple[datetime, list[tuple[int, datetime]]]]:
    """A minute in which everything but those moves every 10 seconds, received 0.4 s later."""
    start = T0 + timedelta(minutes=number)
    stamps = [start + timedelta(seconds=s) for s in range(0, 60, 10)]
    tokens = [token for token in ALL if token not in but]
    return [(at + timedelta(seconds=0.4), [(token, at) for token in tokens]) for at in stamps]


def at(number: int, second: int = 0) -> int:
    return microseconds(T0 + timedelta(minutes=number, seconds=second))


def test_what_moves_is_not_silent(look) -> None:
    for number in range(4):
        seen = look(minute(number))
        assert (seen.silent, seen.moved) == ([], [])
        assert seen.ahead_seconds == pytest.approx(0.4)


def test_near_the_money_silence_is_told_once_until_it_ends(look) -> None:
    token = min(NEAR)
    assert look(minute(0)).silent == []
    assert look(minute(1, but=[token])).silent == []
    assert look(minute(2, but=[token])).silent == [(token, at(0, 50))]
    assert look(minute(3, but=[token])).silent == []
    seen = look(minute(4))
    assert (seen.silent, seen.moved) == ([], [(token, at(4))])


def test_only_what_should_move_is_watched(look) -> None:
    others = sorted(set(ALL) - NEAR - {INDEX, FUTURE})
    for number in range(6):
        assert look(minute(number, but=others)).silent == []


def test_nobody_is_silent_when_the_market_is(look) -> None:
    look(minute(0))
    for number in range(1, 6):
        assert look(minute(number, but=ALL[2:])).silent == []


def test_one_that_never_spoke_is_silent_from_when_it_was_expected(look) -> None:
    for number in range(2):
        assert look(minute(number, but=[FUTURE])).silent == []
    assert look(minute(2, but=[FUTURE])).silent == [(FUTURE, at(0, 50))]


def test_a_socket_that_is_down_makes_nothing_silent(look) -> None:
    look(minute(0))
    look.watch.hold([FUTURE])
    for number in range(1, 6):
        assert look(minute(number, but=[FUTURE])).silent == []
    look.watch.release([FUTURE], at(6))
    assert look(minute(6, but=[FUTURE])).silent == []
    assert look(minute(8, but=[FUTURE])).silent == [(FUTURE, at(6))]


def test_a_stamp_from_another_century_fools_nobody(look) -> None:
    late = T0 + timedelta(days=3650)
    look(minute(0))
    seen = look([*minute(1), (T0 + timedelta(minutes=1, seconds=55), [(FUTURE, late), (7, late)])])
    assert seen.silent == []
    assert look(minute(2)).silent == []


def test_clocks_are_compared(look) -> None:
    skewed = [(received + timedelta(seconds=30), told) for received, told in minute(0)]
    assert look(skewed).ahead_seconds == pytest.approx(30.4)
    assert look([]).ahead_seconds is None


def test_stamps_of_the_session_before_say_nothing_of_clocks(look) -> None:
    friday = T0 - timedelta(days=3)
    early = [(T0 - timedelta(minutes=1, seconds=-s), [(FUTURE, friday)]) for s in range(5)]
    assert look(early).ahead_seconds is None
    assert look(minute(0)).ahead_seconds == pytest.approx(0.4)


def test_large_segments_are_read_in_pieces(look, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "_CHUNK_BYTES", 1)
    token = min(NEAR)
    for number in range(3):
        seen = look(minute(number, but=[token] if number else []))
    assert seen.silent == [(token, at(0, 50))]


def test_a_damaged_segment_is_told(look, tmp_path: Path) -> None:
    path = tmp_path / "bad.seg"
    path.write_bytes(b"no segment of this kind")
    with pytest.raises(SpoolError, match=r"bad\.seg"):
        look.watch.look(path)
