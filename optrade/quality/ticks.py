"""The feed: packets are whole, in step with the clock and on their day.

Belongs here: rules of `raw.ticks`, `raw.tick_segments` and `snapshots.index_minute`. Does not
belong here: the chain by minute and what follows from it (`minute`), gaps the collector states.

A run of the lane judges what it brought, so every rule holds for a few minutes as well as for a
day. Shares leave room for a reconnection.
"""

from __future__ import annotations

from functools import partial

import polars as pl

from optrade.quality import remedies
from optrade.quality.rules import DAY, Inputs, Rule, counted, largest, share, words

TICKS, SEGMENTS, INDEX = "raw.ticks", "raw.tick_segments", "snapshots.index_minute"
WILD_SECONDS = 300
"""A packet whose stamp is further from its arrival enters no minute (`optrade.chain.bars`)."""
STRAY_HOURS = 4.5
"""No session is so long that a packet of it is further from the middle one."""

_AT = pl.col("minute").dt.to_string("%H:%M")
_PACKET = words("{} {} #{}", "instrument_token", "segment", "sequence")


def _delay() -> pl.Expr:
    return (pl.col("received_at") - pl.col("exchange_at")).dt.total_microseconds() / 1_000_000


def _wild(inputs: Inputs) -> pl.DataFrame:
    """But for the first packet of an instrument, which repeats what was, however long ago."""
    first = pl.col("received_at").min().over(DAY, "instrument_token")
    later = inputs.frame(TICKS).filter(pl.col("received_at") > first)
    text = words("{}: {} s on the way", _PACKET, _delay())
    return share(later, _delay().abs() > WILD_SECONDS, text)


def _out_of_step(inputs: Inputs) -> pl.DataFrame:
    near = inputs.frame(TICKS).filter(_delay().abs() <= WILD_SECONDS)
    per_day = near.group_by(DAY).agg(delay=_delay().median())
    return largest(per_day, pl.col("delay").abs(), words("{} s on the way", "delay"))


def _stray(inputs: Inputs) -> pl.DataFrame:
    at = pl.col("received_at").dt.epoch("s")
    away = (at - at.median().over(DAY)).abs() / 3600
    return share(inputs.frame(TICKS), away > STRAY_HOURS, words("{} {}", _PACKET, "received_at"))


def _falling(inputs: Inputs) -> pl.DataFrame:
    key = (DAY, "instrument_token")
    rows = inputs.frame(TICKS).drop_nulls("volume_units")
    rows = rows.sort(*key, pl.coalesce("exchange_at", "received_at"), "received_at", "sequence")
    before = pl.col("volume_units").shift(1).over(key)
    text = words("{}: {} units so far", _PACKET, "volume_units")
    return share(rows, pl.col("volume_units") < before, text)


def _lost(inputs: Inputs) -> pl.DataFrame:
    held = inputs.frame(TICKS).group_by(DAY, "segment").agg(held=pl.len())
    rows = inputs.frame(SEGMENTS).join(held, on=[DAY, "segment"])
    text = words("{}: {} of {}", "segment", "held", "ticks")
    return counted(rows, pl.col("held") != pl.col("ticks"), text)


def _refused(inputs: Inputs) -> pl.DataFrame:
    rows = inputs.frame(SEGMENTS)
    return counted(rows, pl.col("refusal").is_not_null(), words("{}: {}", "segment", "refusal"))


def _undecoded(inputs: Inputs, figure: str) -> pl.DataFrame:
    rows = inputs.frame(SEGMENTS).filter(pl.col("frames") > 0)
    return counted(rows, pl.col(figure) > 0, words("{}: {}", "segment", figure))


def _below_zero(inputs: Inputs) -> pl.DataFrame:
    text = words("{}: last price {}", _PACKET, "last_price")
    return counted(inputs.frame(TICKS), pl.col("last_price") < 0, text)


def _twice(inputs: Inputs) -> pl.DataFrame:
    """But for its place in the spool all of a packet is as in one before."""
    rows = inputs.frame(TICKS)
    same = rows.drop("segment", "sequence").is_duplicated()
    return share(rows.with_columns(same=same), pl.col("same"), _PACKET)


def _copied(inputs: Inputs) -> pl.DataFrame:
    rows = inputs.frame(SEGMENTS).filter(pl.col("frames") > 0)
    again = pl.col("source_sha256").is_duplicated()
    return counted(rows, again, words("{}: {}", "segment", "source_sha256"))


def _silent_indices(inputs: Inputs) -> pl.DataFrame:
    indices = inputs.frame(INDEX).filter(pl.col("kind") == "index")
    silent = (pl.col("ticks") == 0) & pl.col("filled_from").is_null()
    return share(indices, silent, words("{} {}", _AT, "underlying"))


def _jumps(inputs: Inputs) -> pl.DataFrame:
    move = pl.col("high") / pl.col("low") - 1
    rows = inputs.frame(INDEX).filter(pl.col("kind") != "vix")
    text = words("{} {} {} {} to {}", _AT, "kind", "underlying", "low", "high")
    return largest(rows, move * 100, text)


def _whole(name: str, figure: str, description: str, unit: str) -> Rule:
    return Rule(
        name=name,
        table=SEGMENTS,
        severity="WARN",
        blocking=False,
        description=description,
        remedy=remedies.REDECODE,
        threshold=0,
        unit=unit,
        measure=partial(_undecoded, figure=figure),
    )


RULES: tuple[Rule, ...] = (
    Rule(
        name="segments_accepted",
        table=SEGMENTS,
        severity="ERROR",
        blocking=False,
        description="No segment was refused: each is readable, and its packets keep what "
        "`raw.ticks` declares.",
        remedy=remedies.REDECODE,
        threshold=0,
        unit="segments refused",
        measure=_refused,
    ),
    _whole(
        "packets_plausible",
        "implausible_packets",
        "No packet has a figure beyond what `raw.ticks` declares.",
        "segments with implausible packets",
    ),
    _whole(
        "packets_known",
        "unknown_packets",
        "Every packet is of a kind that is known.",
        "segments with unknown packets",
    ),
    _whole(
        "frames_whole",
        "broken_frames",
        "No frame ends inside a packet.",
        "segments with broken frames",
    ),
    Rule(
        name="segments_complete",
        table=TICKS,
        severity="ERROR",
        blocking=False,
        description="Of each segment that has packets here, all are here.",
        remedy=remedies.REDECODE,
        threshold=0,
        unit="segments with another count",
        measure=_lost,
        needs=(SEGMENTS,),
    ),
    Rule(
        name="segments_differ",
        table=SEGMENTS,
        severity="WARN",
        blocking=False,
        description="No segment with packets has the bytes of another one.",
        remedy=remedies.FEED,
        threshold=0,
        unit="segments that are there twice",
        measure=_copied,
    ),
    Rule(
        name="packets_differ",
        table=TICKS,
        severity="WARN",
        blocking=False,
        description="At most 0.1 % of packets are there twice, with the same figures, stamp and "
        "arrival. Minutes are the same with them and without, but for their count of ticks.",
        remedy=remedies.FEED,
        threshold=0.001,
        unit="share of packets, at most",
        measure=_twice,
    ),
    Rule(
        name="prices_not_negative",
        table=TICKS,
        severity="WARN",
        blocking=False,
        description="No last price is below zero: neither an index nor its contracts can be.",
        remedy=remedies.FEED,
        threshold=0,
        unit="packets",
        measure=_below_zero,
    ),
    Rule(
        name="stamps_near_arrival",
        table=TICKS,
        severity="WARN",
        blocking=False,
        description="But for an instrument's first packet, at most 1 % of packets are stamped more "
        "than 5 minutes from their arrival.",
        remedy=remedies.FEED,
        threshold=0.01,
        unit="share of packets, at most",
        measure=_wild,
    ),
    Rule(
        name="clock_in_step",
        table=TICKS,
        severity="WARN",
        blocking=False,
        description="The median packet arrives within 5 seconds of its stamp, neither late nor "
        "before it was sent.",
        remedy=remedies.CLOCK,
        threshold=5,
        unit="seconds between stamp and arrival, at most",
        measure=_out_of_step,
    ),
    Rule(
        name="inside_one_session",
        table=TICKS,
        severity="WARN",
        blocking=False,
        description="At most 1 % of packets arrive more than 4.5 hours from the median one: "
        "further than any session reaches.",
        remedy=remedies.FEED,
        threshold=0.01,
        unit="share of packets, at most",
        measure=_stray,
    ),
    Rule(
        name="volume_never_falls",
        table=TICKS,
        severity="WARN",
        blocking=False,
        description="The volume of the day falls from one packet to the next of an instrument in "
        "at most 0.1 % of packets; a fall counts as no trade.",
        remedy=remedies.FEED,
        threshold=0.001,
        unit="share of packets, at most",
        measure=_falling,
    ),
    Rule(
        name="indices_heard",
        table=INDEX,
        severity="WARN",
        blocking=False,
        description="Every index is heard, or known from a candle, in all but 5 % of its minutes.",
        remedy=remedies.FEED,
        threshold=0.05,
        unit="share of silent minutes, at most",
        measure=_silent_indices,
    ),
    Rule(
        name="moves_are_ordinary",
        table=INDEX,
        severity="WARN",
        blocking=False,
        description="No index or future moves more than 3 % inside a minute.",
        remedy=remedies.LOOK,
        threshold=3,
        unit="percent from low to high, at most",
        measure=_jumps,
    ),
)
