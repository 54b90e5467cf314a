"""Who traded: the day's lots of every contract dealt out to the participants, exactly.

Belongs here: opening, closing and day trades by participant, their sums by segment.
Does not belong here: how much traded (`trading`), the participants' habits (`parameters`).

A contract's volume V is the sum of openings o (a new long meets a new short), closings c (an
old long meets an old short) and day trades r, so o - c is the change of open interest and
o + c + r = V. A participant that day-trades buys and sells the same lots. So, contract by
contract and in whole lots: longs = shorts = open interest, bought = sold = V, and
change of (long - short) = bought - sold.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from optrade.simulation.book import CALL, FUTURE, PUT, Book
from optrade.simulation.parameters import FII, HABITS, PARTICIPANTS, SEGMENTS
from optrade.simulation.paths import Floats, Ints

_CHURN = 0.08
"""Share of open interest that changes hands on a day, volume allowing."""
_TILT = 0.25
"""How far one unit of sentiment bends the foreign investors' openings (in the logarithm)."""
_BULLISH_LONG = np.array(
    [1.0 if kind in (FUTURE, CALL) else -1.0 for kind in (FUTURE, CALL, PUT)] * 2
)


@dataclass(frozen=True, slots=True)
class Flows:
    """Lots (n, 4) after the session and traded in it."""

    long: Ints
    short: Ints
    bought: Ints
    sold: Ints


def deal(
    rng: np.random.Generator,
    book: Book,
    segment: Ints,
    volume: Ints,
    change: Ints,
    sentiment: float,
) -> Flows:
    """Deal out `volume` and the `change` of open interest (lots, (n,)) to the participants.

    Needs |change| <= volume and open interest + change >= 0.
    """
    oi = book.oi
    closing = np.maximum(-change, 0)
    room = np.minimum((volume - np.abs(change)) // 2, oi - closing)
    churn = np.minimum(np.floor(_CHURN * oi).astype(np.int64), room)
    closed, opened = closing + churn, np.maximum(change, 0) + churn
    longs, shorts, within = _weights(sentiment)
    open_long = rng.multinomial(opened, longs[segment])
    open_short = rng.multinomial(opened, shorts[segment])
    close_long = share_out(closed, book.long)
    close_short = share_out(closed, book.short)
    round_trips = rng.multinomial(volume - opened - closed, within[segment])
    return Flows(
        long=book.long + open_long - close_long,
        short=book.short + open_short - close_short,
        bought=open_long + close_short + round_trips,
        sold=open_short + close_long + round_trips,
    )


def opening_positions(rng: np.random.Generator, segment: Ints, oi: Ints) -> tuple[Ints, Ints]:
    """Deal out open interest that was there before the first session: (long, short), (n, 4)."""
    longs, shorts, _ = _weights(0.0)
    return rng.multinomial(oi, longs[segment]), rng.multinomial(oi, shorts[segment])


def _weights(sentiment: float) -> tuple[Floats, Floats, Floats]:
    longs = np.array([habit.longs for habit in HABITS])
    shorts = np.array([habit.shorts for habit in HABITS])
    longs[:, FII] *= np.exp(_TILT * sentiment * _BULLISH_LONG)
    shorts[:, FII] *= np.exp(-_TILT * sentiment * _BULLISH_LONG)
    within = np.array([habit.day_trades for habit in HABITS])
    return _normalised(longs), _normalised(shorts), _normalised(within)


def _normalised(weights: Floats) -> Floats:
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), dtype=np.float64)


def share_out(total: Ints, held: Ints) -> Ints:
    """Split each `total` (n,) in proportion to `held` (n, 4), largest remainders first.

    Never more than is held; needs total <= the row's sum. Integer arithmetic throughout.
    """
    whole = np.maximum(held.sum(axis=1), 1)[:, None]
    parts, rest = np.divmod(total[:, None] * held, whole)
    missing = total - parts.sum(axis=1)
    rank = np.argsort(np.argsort(-rest, axis=1, kind="stable"), axis=1, kind="stable")
    return np.asarray(parts + (rank < missing[:, None]), dtype=np.int64)


def by_segment(segment: Ints, lots: Ints) -> Ints:
    """Sum lots (n, 4) over the contracts of each segment: shape (6, 4)."""
    sums = np.zeros((len(SEGMENTS), len(PARTICIPANTS)), dtype=np.int64)
    np.add.at(sums, segment, lots)
    return sums
