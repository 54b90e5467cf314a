"""The websocket of the simulated broker: who may connect, when frames go out, what was sent.

Belongs here: handshakes, the beat, heartbeats, the log of frames. Does not belong here: what a
frame holds (`feed`), requests (`rest`).

Four times a second a socket gets one frame with all its instruments that had news. With a clock
faster than real time beats come ten times a real second at most, and a frame then tells the last
of several news of an instrument; where even that is more than `most_packets` a second, beats
wait. So an accelerated session is thinned and never falls behind.
"""

from __future__ import annotations

import asyncio
import json
from datetime import datetime
from math import floor
from pathlib import Path
from typing import Final, NamedTuple, Protocol
from zlib import crc32

from starlette.responses import PlainTextResponse
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from optrade.simulation.intraday import IntradayMarket
from optrade.simulation.kite_packets import HEARTBEAT
from resources.clock import Clock
from resources.kite_exchange.faults import Faults
from resources.kite_exchange.feed import Feed

BEAT_SECONDS: Final = 0.25
"""Of the market, from one frame to the next."""
LEAST_BEAT_SECONDS: Final = 0.1
"""The same in real time, at any speed."""
HEARTBEAT_SECONDS: Final = 1.0
MOST_SOCKETS: Final = 3
MOST_PACKETS: Final = 20_000
FULL_BYTES: Final = 186
"""Of a frame for one packet of mode full."""


class Doorkeeper(Protocol):
    """Knows who may connect."""

    def accepts(self, api_key: str, access_token: str) -> bool:
        """Whether the pair is valid now."""


class Sent(NamedTuple):
    """One frame sent: to which place (0 to 2) and connection (from 1), when, and what.

    `at` is the market's time; `kind` is `binary`, `heartbeat` or `text`; `crc` is zlib's.
    """

    place: int
    connection: int
    at: datetime
    kind: str
    size: int
    crc: int


class Stream:
    """The websocket endpoint of one broker; `sent` logs every frame, also to `log` as JSON lines.

    At most `most_packets` full packets, or as many bytes, go out in a real second over all sockets.
    """

    def __init__(
        self,
        door: Doorkeeper,
        market: IntradayMarket,
        clock: Clock,
        faults: Faults,
        *,
        most_packets: int = MOST_PACKETS,
        log: Path | None = None,
    ) -> None:
        self.sent: list[Sent] = []
        self.open: dict[int, Feed] = {}
        self._door, self._market, self._clock, self._faults = door, market, clock, faults
        self._most_packets = most_packets
        self._connections = 0
        self._beat_length = max(BEAT_SECONDS, LEAST_BEAT_SECONDS * clock.speed)
        self._log = None if log is None else log.open("a", buffering=1, encoding="utf-8")

    def route(self) -> WebSocketRoute:
        """`/stream?api_key=…&access_token=…`."""
        return WebSocketRoute("/stream", self._connect)

    def close(self) -> None:
        """Close the log."""
        if self._log is not None:
            self._log.close()

    async def _connect(self, websocket: WebSocket) -> None:
        """Hold one connection: 403 for a token that is not valid, 429 for a fourth socket.

        Returning without a close makes the server cut the line, which is what faults want.
        """
        api_key = websocket.query_params.get("api_key", "")
        token = websocket.query_params.get("access_token", "")
        if not self._door.accepts(api_key, token):
            await websocket.close()
            return
        free = [place for place in range(MOST_SOCKETS) if place not in self.open]
        if not free:
            text = f"{MOST_SOCKETS} websockets are open already"
            await websocket.send_denial_response(PlainTextResponse(text, status_code=429))
            return
        place = free[0]
        feed = Feed(self._market, self._faults, place, self._elapsed())
        self.open[place] = feed
        self._connections += 1
        line = _Line(self, websocket, place, self._connections)
        try:
            await websocket.accept()
            await self._hold(line, feed, (api_key, token))
        except WebSocketDisconnect:
            return
        finally:
            del self.open[place]

    async def _hold(self, line: _Line, feed: Feed, keys: tuple[str, str]) -> None:
        """Serve one socket until its client leaves, its token dies or a fault cuts it."""
        listening = asyncio.create_task(self._listen(line, feed))
        try:
            while self._door.accepts(*keys) and not feed.cut:
                await self._tell(line, feed)
                await self._until_next_beat(listening)
                if listening.done():
                    listening.result()
                    return
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)

    async def _tell(self, line: _Line, feed: Feed) -> None:
        """Send what this beat has, or a heartbeat when nothing was sent for long."""
        moment, now = self._beat(), asyncio.get_running_loop().time()
        if feed.mute:
            feed.skip(moment)
            return
        if now >= line.ready:
            frames = feed.frames(moment)
            for data in frames:
                await line.binary(data)
            packets = sum(map(len, frames)) / FULL_BYTES
            line.ready = now + packets * len(self.open) / self._most_packets
        for text in feed.texts():
            await line.text(text)
        if now - line.last >= HEARTBEAT_SECONDS:
            await line.binary(HEARTBEAT)

    async def _listen(self, line: _Line, feed: Feed) -> None:
        while True:
            message = await line.websocket.receive()
            if message["type"] == "websocket.disconnect":
                return
            heard = message.get("text") or (message.get("bytes") or b"").decode(errors="replace")
            refusal = feed.hear(heard)
            if refusal is not None:
                await line.text(refusal)

    def _elapsed(self) -> float:
        return self._market.elapsed(self._clock.now())

    def _beat(self) -> float:
        """The moment of this beat: beats lie on a grid, whenever a socket connected."""
        return floor(self._elapsed() / self._beat_length) * self._beat_length

    async def _until_next_beat(self, listening: asyncio.Task[None]) -> None:
        left = self._beat_length - self._elapsed() % self._beat_length
        await asyncio.wait([listening], timeout=max(left / self._clock.speed, 0.001))

    def note(self, sent: Sent) -> None:
        """Log one frame."""
        self.sent.append(sent)
        if self._log is not None:
            self._log.write(json.dumps({**sent._asdict(), "at": sent.at.isoformat()}) + "\n")

    def now(self) -> datetime:
        """The market's time."""
        return self._clock.now()


class _Line:
    """One accepted connection, with a note of everything sent on it."""

    def __init__(self, stream: Stream, websocket: WebSocket, place: int, serial: int) -> None:
        self.websocket = websocket
        self._stream, self._place, self._serial = stream, place, serial
        self.ready = self.last = asyncio.get_running_loop().time()

    async def binary(self, data: bytes) -> None:
        await self.websocket.send_bytes(data)
        self.last = asyncio.get_running_loop().time()
        self._note("heartbeat" if data == HEARTBEAT else "binary", data)

    async def text(self, text: str) -> None:
        await self.websocket.send_text(text)
        self._note("text", text.encode())

    def _note(self, kind: str, data: bytes) -> None:
        at = self._stream.now()
        self._stream.note(Sent(self._place, self._serial, at, kind, len(data), crc32(data)))
