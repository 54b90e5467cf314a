"""The collector at work in a thread, and a market it can hear on this machine.

Belongs here: the broker's answers and websocket, told what to do wrong, and waiting for what the
collector tells. Does not belong here: what is expected of it.
"""

from __future__ import annotations

import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from http import HTTPStatus
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlparse

import polars as pl
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.sync.server import Server, ServerConnection, serve

from optrade.calendar import IST
from optrade.formats.kite_instruments import COLUMNS
from optrade.simulation.kite_packets import HEARTBEAT, frame, packet
from resources.clock import Clock, ScaledClock
from resources.collector import Access
from resources.collector.session import Hours, Session
from resources.journal import Entry, read_journal, tick_gaps
from resources.settings import Settings, load_settings
from resources.spool import Record, read_records, sealed_segments

DAY = date(2026, 1, 23)
OPENS, CLOSES = (datetime(2026, 1, 23, *at, tzinfo=IST) for at in ((9, 15), (15, 30)))
OPTIONS = tuple(range(10_000_002, 10_000_002 + 256 * 8, 256))
DUMP = "\n".join(
    [
        ",".join(COLUMNS),
        "256265,1001,NIFTY 50,NIFTY 50,0,,0,0,0,EQ,INDICES,NSE",
        "264969,1035,INDIA VIX,INDIA VIX,0,,0,0,0,EQ,INDICES,NSE",
        "14866434,58072,NIFTY26JANFUT,NIFTY,0,2026-01-27,0,0.1,65,FUT,NFO-FUT,NFO",
        *(
            f"{token},{token >> 8},NIFTY26127{strike}{kind},NIFTY,0,2026-01-27,{strike},0.05,65,"
            f"{kind},NFO-OPT,NFO"
            for token, (strike, kind) in zip(
                OPTIONS,
                [(s, k) for s in (24900, 24950, 25000, 25050) for k in ("CE", "PE")],
                strict=True,
            )
        ),
        "",
    ]
).encode()
TOKENS = {256265, 264969, 14866434, *OPTIONS}


def clock_at(at: datetime) -> ScaledClock:
    return ScaledClock(at, datetime.now(IST), 1.0)


@dataclass
class Heard:
    """One connection as the broker saw it."""

    line: ServerConnection
    token: str
    asked: list[dict[str, Any]] = field(default_factory=list)
    sent: list[bytes] = field(default_factory=list)


class Market:
    """A broker that sends a frame every 10 ms and does what it is told."""

    def __init__(self, clock: Clock, tls: ssl.SSLContext | None = None) -> None:
        self.clock, self.connections = clock, list[Heard]()
        self.good_token, self.status, self.mute = "good", 403, threading.Event()
        self.refusals, self.serial = 0, count()
        self.behind, self.stale = timedelta(0), set[int]()
        self.server: Server = serve(
            self._serve,
            "127.0.0.1",
            0,
            process_request=self._admit,
            compression=None,
            ping_interval=None,
            ssl=tls,
        )
        self.port = self.server.socket.getsockname()[1]
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()

    def stop(self) -> None:
        self.server.shutdown()
        self.cut()
        self.thread.join()

    def cut(self, *numbers: int) -> None:
        """Drop connections without a closing handshake; all without numbers."""
        for heard in [self.connections[n] for n in numbers] or self.connections:
            try:
                heard.line.socket.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue  # It was cut before.

    def _admit(self, line: ServerConnection, request: Request) -> Response | None:
        query = parse_qs(urlparse(request.path).query)
        assert query["api_key"] == ["key"]
        if query["access_token"] == [self.good_token]:
            return None
        self.refusals += 1
        return line.respond(HTTPStatus(self.status), "no\n")

    def _serve(self, line: ServerConnection) -> None:
        assert line.request is not None
        query = parse_qs(urlparse(line.request.path).query)
        heard = Heard(line, query["access_token"][0])
        heard.asked = [json.loads(line.recv()) for _ in range(2)]
        self.connections.append(heard)
        try:
            while True:
                if not self.mute.is_set():
                    payload = self.payload(next(self.serial))
                    heard.sent.append(payload)
                    line.send(payload)
                time.sleep(0.01)
        except ConnectionClosed:
            return

    def payload(self, number: int) -> bytes:
        if number % 7 == 0:
            return HEARTBEAT
        fields = {"last_price": 100 + number, "exchange_at": self.clock.now() - self.behind}
        index = packet("index_full", 256265, fields | {"last_price": 25_000})
        moving = [token for token in OPTIONS if token not in self.stale]
        return frame([index, *(packet("full", token, fields) for token in moving)])


class FakeBroker:
    """What the REST API answers."""

    def __init__(self, access: Access) -> None:
        self.access = access

    def instruments(self) -> bytes:
        return DUMP

    def spots(self, underlyings: Sequence[str]) -> dict[str, float]:
        return dict.fromkeys(underlyings, 25_000.0)


class Desk:
    """A collector at work in a thread, and the market it listens to."""

    def __init__(self, home: Path, clock: Clock, market: Market, **changes: Any) -> None:
        self.clock, self.market = clock, market
        self.settings = settings_of(home, **changes)
        self.access = Access(f"ws://127.0.0.1:{market.port}", "key", "good")
        self.trouble: Exception | None = None
        self.entries = list[Entry]()
        self.result: str | None = None
        self.stop = threading.Event()
        self.enters = 0
        self.thread = threading.Thread(target=self._run)

    def _enter(self) -> FakeBroker:
        self.enters += 1
        if self.trouble is not None:
            raise self.trouble
        return FakeBroker(self.access)

    def _run(self) -> None:
        hours = Hours(DAY, OPENS, OPENS, CLOSES, CLOSES)
        session = Session(
            self.settings, hours, self.clock, self._enter, self.entries.append, self.stop
        )
        self.result = session.run()

    @property
    def folder(self) -> Path:
        return self.settings.spool_root / str(DAY)

    def events(self, *names: str) -> list[Entry]:
        return [entry for entry in list(self.entries) if entry["event"] in names]

    def wait(self, what: Callable[[], object]) -> None:
        limit = time.monotonic() + 20
        while not what():
            assert time.monotonic() < limit, self.entries
            time.sleep(0.01)

    def wait_for(self, event: str, times: int = 1) -> None:
        self.wait(lambda: len(self.events(event)) >= times)

    def hear_more(self, frames: int = 20) -> None:
        """Until the newest connection has sent some more."""
        before = len(self.market.connections[-1].sent)
        self.wait(lambda: len(self.market.connections[-1].sent) > before + frames)

    def finish(self) -> None:
        self.stop.set()
        self.thread.join(20)
        assert not self.thread.is_alive()

    def gaps(self) -> pl.DataFrame:
        entries = read_journal(self.folder / "journal.jsonl")
        assert "torn_line" not in {entry["event"] for entry in entries}
        return tick_gaps(entries, DAY, "simulated").sort("started_at")

    def records(self) -> list[tuple[str, Record]]:
        """What the sealed segments hold, each record with the name of its segment."""
        return [
            (path.name, record)
            for path in sealed_segments(self.folder)
            for _, record in read_records(path.read_bytes(), path.name)
        ]

    def kept(self) -> list[bytes]:
        """Payloads of the spool in order."""
        return [record.payload for _, record in self.records()]


def settings_of(home: Path, seal_seconds: int = 1, **changes: Any) -> Settings:
    collector = {
        "underlyings": ("NIFTY",),
        "mute_seconds": 5,
        "login_retry_seconds": 0.2,
        "reconnect_seconds": 0.3,
        **changes,
    }
    return load_settings(
        home=home,
        market="simulated",
        collector=collector,
        spool={"flush_seconds": 0.01, "fsync_seconds": 0.05, "seal_seconds": seal_seconds},
    )
