"""What one websocket of the simulated broker is sent: its subscriptions, frame after frame.

Belongs here: the client's messages, who is due in which mode, and how faults deform frames.
Does not belong here: connections and timing (`stream`), the market, the bytes of a packet.

A frame depends on the market, the subscriptions, the faults and the moments of this frame and
the one before it, and on nothing else: no clock, no chance.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from typing import Final

import numpy as np

from optrade.simulation.intraday import IntradayMarket
from optrade.simulation.kite_packets import frame, packets
from optrade.simulation.moments import Moment
from optrade.simulation.paths import Ints
from resources.kite_exchange.faults import Faults

MOST_INSTRUMENTS: Final = 3000
"""On one websocket; what is subscribed beyond them is refused with a text message."""
MODES: Final = ("ltp", "quote", "full")
_GARBAGE_BYTES = 64


class Feed:
    """The frames of the websocket at `place` of a broker, connected at the moment `since`.

    Moments are seconds since the open, as in `IntradayMarket`.
    """

    def __init__(self, market: IntradayMarket, faults: Faults, place: int, since: float) -> None:
        self._market, self._faults, self._place = market, faults, place
        self._told = since
        self._frames = 0
        self._connected_after = self._texts_after = faults.serial
        self._mode_of: dict[int, str] = {}
        self._fresh: set[int] = set()

    @property
    def cut(self) -> bool:
        """Whether a fault wants the connection dropped."""
        lasting = self._faults.active("drop_connection", self._place)
        once = self._faults.once("drop_connection", self._place, self._connected_after)
        return lasting is not None or once is not None

    @property
    def mute(self) -> bool:
        """Whether a fault wants nothing sent."""
        return self._faults.active("mute_socket", self._place) is not None

    def hear(self, text: str) -> str | None:
        """Obey one message of the client; returns the text that refuses it, if any.

        Subscribed instruments begin in mode quote. Each sends a packet at once, and another one
        when its mode is set. Tokens that are not listed are passed over, as Kite does.
        """
        try:
            message = json.loads(text)
            action, value = message["a"], message["v"]
            mode, tokens = (value[0], value[1]) if action == "mode" else (MODES[1], value)
            known = self._market.listed(int(token) for token in tokens)
        except (ValueError, TypeError, KeyError, IndexError):
            return error_text(f"Not understood: {text[:80]}")
        if action == "subscribe":
            return self._subscribe(known)
        if action == "unsubscribe":
            for token in known:
                self._mode_of.pop(token, None)
        elif action == "mode" and mode in MODES:
            subscribed = [token for token in known if token in self._mode_of]
            self._mode_of |= dict.fromkeys(subscribed, mode)
            self._fresh |= set(subscribed)
        else:
            return error_text(f"Not understood: {text[:80]}")
        return None

    def frames(self, seconds: float) -> list[bytes]:
        """The binary frames of this moment; none when nothing happened since the last one."""
        state = self._news(seconds)
        told = [
            packet
            for mode in MODES
            for packet in packets_of(state.select(self._in_mode(state, mode)), mode)
        ]
        if told and (odd := self._faults.active("unknown_packet", self._place)):
            told.append((told[0] * odd.length)[: odd.length])
        made = [frame(told)] if told else []
        self._frames += len(made)
        if self._faults.active("garbage", self._place):
            noise = np.random.default_rng([self._place, self._frames])
            made.append(noise.bytes(_GARBAGE_BYTES))
        return made

    def skip(self, seconds: float) -> None:
        """Let the news up to this moment go by unsent."""
        self._told = seconds

    def texts(self) -> list[str]:
        """Errors that a fault wants told now."""
        once = self._faults.once("text_error", self._place, self._texts_after)
        fault = self._faults.active("text_error", self._place) or once
        if once is not None:
            self._texts_after = once.serial
        return [error_text(fault.message)] if fault else []

    def _subscribe(self, tokens: Iterable[int]) -> str | None:
        new = [token for token in tokens if token not in self._mode_of]
        room = MOST_INSTRUMENTS - len(self._mode_of)
        self._mode_of |= dict.fromkeys(new[:room], MODES[1])
        self._fresh |= set(new[:room])
        if len(new) <= room:
            return None
        return error_text(
            f"{len(new) - room} instruments are beyond the {MOST_INSTRUMENTS} of a websocket"
        )

    def _news(self, seconds: float) -> Moment:
        """The state of those that are due, stamped as faults want it."""
        rows = self._market.rows(self._mode_of)
        due = self._market.due(rows, self._told, seconds)
        due |= np.isin(self._market.tokens[rows], list(self._fresh))
        self._told = seconds
        self._fresh.clear()
        state = self._market.moment(seconds, rows[due])
        if stale := self._faults.active("stale_instrument", self._place):
            state = state.select(~np.isin(state.instrument_token, list(stale.tokens)))
        shift = 0
        if skew := self._faults.active("skew", self._place):
            shift += skew.seconds
        if self._frames % 2 and (back := self._faults.active("out_of_order", self._place)):
            shift -= back.seconds
        return replace(state, exchange_at=state.exchange_at + shift) if shift else state

    def _in_mode(self, state: Moment, mode: str) -> Ints:
        tokens = state.instrument_token.tolist()
        return np.flatnonzero([self._mode_of[token] == mode for token in tokens])


def packets_of(state: Moment, mode: str) -> list[bytes]:
    """One packet for each instrument: contracts first, then indices."""
    index_mode = mode if mode == MODES[0] else f"index_{mode}"
    kinds = (mode, ~state.is_index), (index_mode, state.is_index)
    return [
        row.tobytes()
        for kind, chosen in kinds
        if chosen.any()
        for row in packets(kind, state.select(chosen).ticks())
    ]


def error_text(message: str) -> str:
    """Kite's text frame for an error."""
    return json.dumps({"type": "error", "data": message})
