"""The collector keeps every frame it is sent, comes back after every fault, and states the hole."""

from __future__ import annotations

import importlib
import json
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from http import HTTPStatus
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlparse

import certifi
import polars as pl
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.sync.server import Server, ServerConnection, serve

from optrade.calendar import IST, load_calendar
from optrade.formats.kite_instruments import COLUMNS
from optrade.simulation.kite_packets import HEARTBEAT, frame, packet
from resources.clock import Clock, ScaledClock
from resources.collector import Access, Collector
from resources.collector.prepare import bury_older
from resources.collector.session import Hours, Session
from resources.journal import Entry, read_journal, tick_gaps
from resources.kite.errors import BrokerDown, TokenExpired
from resources.settings import Settings, load_settings
from resources.spool import SpoolError, SpoolWriter, moment, read_records, sealed_segments

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
        fields = {"last_price": 100 + number % 50, "exchange_at": self.clock.now() - self.behind}
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

    def kept(self) -> list[bytes]:
        """Payloads of the spool in order."""
        return [
            record.payload
            for path in sealed_segments(self.folder)
            for _, record in read_records(path.read_bytes(), path.name)
        ]


def settings_of(home: Path, **changes: Any) -> Settings:
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
        spool={"flush_seconds": 0.01, "fsync_seconds": 0.05, "seal_seconds": 1},
    )


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Opens a desk at some time of the day; closes it and its market in the end."""
    desks = list[Desk]()

    def open_(
        at: datetime = OPENS, *, begin: bool = True, market: Market | None = None, **changes: Any
    ) -> Desk:
        clock = market.clock if market else clock_at(at)
        made = Desk(tmp_path, clock, market or Market(clock), **changes)
        desks.append(made)
        if begin:
            made.thread.start()
        return made

    yield open_
    for made in desks:
        made.stop.set()
        if made.thread.is_alive():
            made.thread.join(20)
    for market in {id(made.market): made.market for made in desks}.values():
        market.stop()


Open = Callable[..., Desk]


def test_a_session_keeps_every_frame_and_ends_with_the_day(desk: Open) -> None:
    at = desk(CLOSES - timedelta(seconds=2.5))
    at.thread.join(20)
    assert at.result == "closed"
    (heard,) = at.market.connections
    subscribe, mode = heard.asked
    assert (subscribe["a"], set(subscribe["v"])) == ("subscribe", TOKENS)
    assert (mode["a"], mode["v"][0], set(mode["v"][1])) == ("mode", "full", TOKENS)
    kept = at.kept()
    assert len(kept) > 100
    assert kept == heard.sent[: len(kept)]
    assert len(heard.sent) - len(kept) < 30  # Sent after the close.
    names = [path.name[:6] for path in sealed_segments(at.folder)]
    assert len(names) >= 2
    assert names == sorted(set(names))
    for path in sealed_segments(at.folder):
        for _, record in read_records(path.read_bytes(), path.name):
            assert f"{moment(record.received_at):%H%M%S}" == path.name[:6]
    assert (at.folder / "instruments.csv").read_bytes() == DUMP
    entries = read_journal(at.folder / "journal.jsonl")
    assert entries == at.entries
    events = [entry["event"] for entry in entries if entry["event"] != "segment_sealed"]
    assert events == ["session_started", "subscribed", "connected", "session_ended"]
    assert sum(e["frames"] + e["heartbeats"] for e in at.events("segment_sealed")) == len(kept)
    (gap,) = at.gaps().to_dicts()
    assert (gap["cause"], gap["started_at"]) == ("not_started", OPENS)
    assert gap["ended_at"] > CLOSES - timedelta(seconds=2.5)


def test_a_lost_connection_is_made_again_and_the_hole_is_stated(desk: Open) -> None:
    at = desk()
    at.wait_for("connected")
    at.hear_more()
    at.market.cut()
    at.wait_for("gap_closed")
    at.hear_more()
    at.finish()
    first, second = at.market.connections
    assert second.asked == first.asked
    (lost,) = at.events("connection_lost")
    (gap,) = at.gaps().filter(pl.col("cause") == "connection_lost").to_dicts()
    assert lost["socket"] == 0
    assert gap["started_at"] <= datetime.fromisoformat(lost["at"]) <= gap["ended_at"]
    assert (gap["instruments"], gap["instrument_tokens"]) == (len(TOKENS), None)
    stamps = [
        moment(record.received_at)
        for path in sealed_segments(at.folder)
        for _, record in read_records(path.read_bytes(), path.name)
    ]
    assert {gap["started_at"], gap["ended_at"]} <= set(stamps)
    assert not [stamp for stamp in stamps if gap["started_at"] < stamp < gap["ended_at"]]


def test_a_mute_socket_is_dialled_anew(desk: Open) -> None:
    at = desk(mute_seconds=0.3)
    at.wait_for("connected")
    at.hear_more()
    at.market.mute.set()
    at.wait_for("gap_opened")
    at.market.mute.clear()
    at.wait_for("gap_closed")
    at.finish()
    (gap,) = at.gaps().filter(pl.col("cause") == "mute_socket").to_dicts()
    assert gap["ended_at"] - gap["started_at"] > timedelta(seconds=0.3)
    assert "not even a heartbeat" in gap["detail"]
    assert not at.events("connection_lost")


def test_one_of_two_sockets_fails_alone(desk: Open) -> None:
    at = desk(instruments_per_socket=6)
    at.wait(lambda: len(at.market.connections) == 2)
    dealt = [set(heard.asked[0]["v"]) for heard in at.market.connections]
    assert dealt[0] | dealt[1] == TOKENS
    assert not dealt[0] & dealt[1]
    at.hear_more()
    at.market.cut(1)
    at.wait_for("gap_closed")
    at.finish()
    (gap,) = at.gaps().filter(pl.col("cause") == "connection_lost").to_dicts()
    assert set(map(int, gap["instrument_tokens"].split(","))) == dealt[1]
    assert gap["instruments"] == len(dealt[1])


def test_a_dead_token_waits_for_a_login(desk: Open) -> None:
    at = desk()
    at.wait_for("connected")
    at.hear_more()
    at.market.good_token, at.trouble = "new", TokenExpired("log in again: `optrade login`")
    at.market.cut()
    at.wait_for("token_expired")
    enters, refusals = at.enters, at.market.refusals
    at.wait(lambda: at.enters >= enters + 2)
    assert at.market.refusals == refusals == 1  # Nothing is dialled with a dead token.
    at.access, at.trouble = at.access._replace(access_token="new"), None
    at.wait(lambda: len(at.market.connections) == 2)
    at.hear_more()
    at.finish()
    assert at.market.connections[1].token == "new"
    assert len(at.events("token_expired")) == 1
    noticed = pl.col("cause").is_in(["connection_lost", "token_expired"])
    first, second = at.gaps().filter(noticed).to_dicts()
    assert (first["cause"], second["cause"]) == ("connection_lost", "token_expired")
    assert first["ended_at"] == second["started_at"] < second["ended_at"]


def test_a_refused_connection_is_tried_again_slowly(desk: Open) -> None:
    at = desk(begin=False)
    at.market.good_token, at.market.status = "later", 429
    at.thread.start()
    at.wait(lambda: at.market.refusals >= 3)
    at.market.good_token = "good"
    at.wait_for("gap_closed")
    at.finish()
    assert [entry["status"] for entry in at.events("refused")] == [429]
    assert "refused" in at.gaps()["cause"].to_list()


def test_without_a_login_the_day_is_missing_and_somebody_is_told_once(desk: Open) -> None:
    at = desk(OPENS - timedelta(seconds=1), begin=False)
    at.trouble = TokenExpired("nobody is logged in: `optrade login`")
    at.thread.start()
    at.wait_for("token_expired")
    assert not at.events("gap_opened")  # The session has not opened yet.
    at.wait_for("gap_opened")
    at.trouble = BrokerDown("no answer")
    at.wait(lambda: len(at.events("gap_opened")) == 2)
    at.trouble = None
    at.wait(lambda: len(at.events("gap_closed")) == 2)
    at.finish()
    assert len(at.events("token_expired")) == 1
    first, second = at.gaps().filter(pl.col("cause") != "stopped").to_dicts()
    assert (first["cause"], first["started_at"]) == ("token_expired", OPENS)
    assert (second["cause"], second["detail"]) == ("refused", "no answer")
    assert first["ended_at"] == second["started_at"] < second["ended_at"]


def test_nobody_answers_at_all(desk: Open) -> None:
    at = desk(begin=False)
    at.access = at.access._replace(stream_url="ws://127.0.0.1:9")
    at.thread.start()
    at.wait_for("gap_opened")
    at.finish()
    (gap,) = at.events("gap_opened")
    assert (gap["cause"], gap["detail"]) == ("connection_lost", "no connection to ws://127.0.0.1:9")


def test_texts_are_kept_and_an_error_about_the_token_is_understood(desk: Open) -> None:
    at = desk()
    at.wait_for("connected")
    line = at.market.connections[0].line
    texts = [
        "no json",
        "[1]",
        '{"type": "order", "data": {}}',
        '{"type": "error", "data": "Token"}',
    ]
    for text in texts:
        line.send(text)
    at.wait_for("text", 4)
    at.wait_for("token_expired")
    at.finish()
    assert [entry["message"] for entry in at.events("text")] == texts
    assert [text for text in texts if text.encode() not in at.kept()] == []


def test_stamps_that_stand_still_or_are_off_are_noticed(desk: Open) -> None:
    at = desk(silent_seconds=1)
    at.wait_for("connected")
    at.hear_more()
    at.market.stale, at.market.behind = {OPTIONS[4]}, timedelta(seconds=30)
    at.wait_for("clock_skew")
    at.market.behind = timedelta(0)
    at.wait(
        lambda: any(
            OPTIONS[4] in (e["instrument_tokens"] or ())
            for e in at.entries
            if e["event"] == "gap_opened"
        )
    )
    at.market.stale = set()
    at.wait_for("clock_skew", 2)
    at.wait(lambda: at.events("gap_closed"))
    at.finish()
    first, second = at.events("clock_skew")
    assert (first["skewed"], second["skewed"]) == (True, False)
    assert 29 < first["seconds"] < 32
    silent = pl.col("instrument_tokens") == str(OPTIONS[4])
    (gap,) = at.gaps().filter(silent).to_dicts()
    assert (gap["cause"], gap["instruments"]) == ("silent_instrument", 1)
    assert gap["detail"] == "NIFTY2612725000CE stands still while others move"
    assert gap["ended_at"] is not None


def test_frames_that_the_spool_refuses_are_a_hole(
    desk: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = desk()
    at.wait_for("connected")
    at.hear_more()

    def refuse(*_: object) -> None:
        raise SpoolError("no space left")

    with monkeypatch.context() as patch:
        patch.setattr(SpoolWriter, "append", refuse)
        at.wait_for("gap_opened")
    at.wait_for("gap_closed")
    at.finish()
    (gap,) = at.gaps().filter(pl.col("cause") == "spool_failed").to_dicts()
    assert (gap["detail"], gap["instruments"]) == ("no space left", len(TOKENS))
    assert gap["started_at"] < gap["ended_at"]


def test_a_journal_that_cannot_be_written_stops_nothing(
    desk: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = desk(begin=False)
    (at.folder / "journal.jsonl").mkdir(parents=True)
    monkeypatch.setattr("resources.collector.prepare.read_journal", lambda _: [])
    monkeypatch.setattr("resources.journal._ends_whole", lambda _: True)
    at.thread.start()
    at.wait_for("journal_failed", 3)
    at.wait(lambda: at.market.connections)
    at.hear_more()
    at.finish()
    assert at.kept()


def test_a_restart_goes_on_with_the_same_subscription(desk: Open) -> None:
    first = desk()
    first.wait_for("connected")
    first.hear_more()
    first.finish()
    before = (first.folder / "subscription.json").read_bytes()
    second = desk(market=first.market)
    second.wait_for("connected")
    second.hear_more()
    second.finish()
    assert [entry["again"] for entry in second.events("subscribed")] == [True]
    other = desk(market=first.market, strike_width_pct=0.1)
    other.wait_for("connected")
    other.finish()
    (subscribed,) = other.events("subscribed")
    assert (subscribed["again"], subscribed["instruments"]) == (False, 5)
    kept = [path.read_bytes() for path in first.folder.glob("subscription-*.json")]
    assert kept == [before]
    causes = first.gaps()["cause"].to_list()
    assert causes.count("stopped") == 3
    assert first.gaps().filter(pl.col("ended_at").is_null()).height == 1


KILLED = """
import sys, threading
from datetime import datetime
from pathlib import Path
from test_collector import *
clock = ScaledClock(OPENS, datetime.fromisoformat(sys.argv[3]), 1.0)
class There:
    port = int(sys.argv[2])
Desk(Path(sys.argv[1]), clock, There())._run()
"""


def test_kill_9_loses_what_was_not_flushed_and_the_restart_states_the_hole(
    desk: Open, tmp_path: Path
) -> None:
    at = desk(begin=False)
    assert isinstance(at.clock, ScaledClock)
    arguments = [str(tmp_path), str(at.market.port), at.clock.real_start.isoformat()]
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, *arguments], cwd=Path(__file__).parent
    ) as process:
        at.wait(lambda: at.market.connections and len(sealed_segments(at.folder)) >= 1)
        at.hear_more()
        before = len(at.market.connections[0].sent)
        process.send_signal(signal.SIGKILL)
    sent = at.market.connections[0].sent
    at.thread.start()
    at.wait_for("segment_recovered")
    at.wait_for("segment_sealed")
    at.finish()
    kept = at.kept()
    again = at.market.connections[1].sent
    beats = next(place for place, frame in enumerate(again) if frame != HEARTBEAT)
    first = kept.index(again[beats]) - beats
    assert kept[:first] == sent[:first]
    assert before - first < 50  # Half a second; a flush is due every hundredth.
    assert kept[first:] == again[: len(kept) - first]
    (gap,) = at.gaps().filter(pl.col("cause") == "killed").to_dicts()
    (recovered,) = at.events("segment_recovered")
    assert gap["started_at"].isoformat() == recovered["last_received_at"]
    assert gap["started_at"] < gap["ended_at"]
    ended = [e for e in read_journal(at.folder / "journal.jsonl") if e["event"] == "session_ended"]
    assert [entry["reason"] for entry in ended] == ["killed", "stopped"]


def test_a_second_collector_is_refused(desk: Open) -> None:
    at = desk()
    at.wait_for("connected")
    other = Desk(at.settings.home, at.clock, at.market)
    with pytest.raises(SpoolError, match="another collector"):
        other._run()
    assert not other.entries


def test_a_day_left_by_a_dead_collector_is_put_in_order(tmp_path: Path) -> None:
    folder = tmp_path / "2026-01-22"
    with SpoolWriter(folder, "dead", flush_seconds=0) as writer:
        writer.append(0, 0, 1_769_056_200_000_000, b"frame")
        (left,) = folder.glob("*.open")
        content = left.read_bytes()
    left.with_suffix(".seg").unlink()
    left.write_bytes(content + b"torn")
    started = {"at": "2026-01-22T09:00:00+05:30", "session": "dead", "event": "session_started"}
    hours = {"opens": "2026-01-22T09:15:00+05:30", "closes": "2026-01-22T15:30:00+05:30"}
    (folder / "journal.jsonl").write_text(json.dumps(started | hours) + "\n")
    for _ in range(2):
        bury_older(tmp_path, DAY, "next", clock_at(OPENS))
    entries = read_journal(folder / "journal.jsonl")
    assert [e["event"] for e in entries] == [
        "session_started",
        "segment_recovered",
        "session_ended",
    ]
    assert (entries[1]["lost_bytes"], entries[1]["frames"]) == (4, 1)
    (gap,) = tick_gaps(entries, date(2026, 1, 22), "simulated").to_dicts()
    assert (gap["cause"], f"{gap['ended_at']:%H:%M}") == ("killed", "15:30")


@pytest.mark.parametrize(
    ("now", "starts", "ends"),
    [
        ("2026-01-23T08:00", "2026-01-23T09:00", "2026-01-23T15:35"),
        ("2026-01-23T15:34", "2026-01-23T09:00", "2026-01-23T15:35"),
        ("2026-01-23T15:35", "2026-01-27T09:00", "2026-01-27T15:35"),
        ("2026-01-24T12:00", "2026-01-27T09:00", "2026-01-27T15:35"),
        ("2026-02-01T10:00", "2026-02-01T09:00", "2026-02-01T15:35"),
        ("2026-11-08T10:00", "2026-11-08T08:45", "2026-11-08T20:05"),
    ],
)
def test_the_next_session_is_found(tmp_path: Path, now: str, starts: str, ends: str) -> None:
    at = clock_at(datetime.fromisoformat(now + "+05:30"))
    hours = Collector(
        settings_of(tmp_path), at, load_calendar(), lambda: pytest.fail("asked"), print
    ).next_hours()
    assert (f"{hours.starts:%Y-%m-%dT%H:%M}", f"{hours.ends:%Y-%m-%dT%H:%M}") == (starts, ends)


def test_it_waits_for_the_next_session_and_can_be_stopped(tmp_path: Path) -> None:
    told = list[Entry]()
    settings = settings_of(tmp_path)
    collector = Collector(
        settings, clock_at(CLOSES + timedelta(hours=1)), load_calendar(), pytest.fail, told.append
    )
    thread = threading.Thread(target=collector.run_for_ever)
    thread.start()
    while not told:
        time.sleep(0.01)
    collector.stop()
    thread.join(20)
    assert not thread.is_alive()
    assert told == [{"event": "waiting", "until": "2026-01-27T09:00:00+05:30"}]
    assert not settings.spool_root.exists()


@contextmanager
def certificate(folder: Path) -> Iterator[tuple[ssl.SSLContext, Path]]:
    """A server's TLS and the certificate that vouches for it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(IST)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = folder / "server.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    pem.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    vouches = folder / "authority.pem"
    vouches.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    yield context, vouches


def test_a_stranger_does_not_get_the_access_token(
    desk: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticker = importlib.import_module("resources.collector.ticker")
    with certificate(tmp_path) as (tls, vouches):
        at = desk(begin=False, market=Market(clock_at(OPENS), tls))
        at.access = at.access._replace(stream_url=f"wss://localhost:{at.market.port}")
        ticker._trusted.cache_clear()
        at.thread.start()
        at.wait_for("gap_opened")
        assert at.market.refusals == 0
        assert not at.market.connections
        monkeypatch.setattr(certifi, "where", lambda: str(vouches))
        ticker._trusted.cache_clear()
        at.wait_for("connected")
        at.finish()
        ticker._trusted.cache_clear()
