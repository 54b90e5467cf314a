"""The collector comes back after every fault of a connection or login, and states the hole."""

from __future__ import annotations

import importlib
import ssl
from datetime import datetime, timedelta
from pathlib import Path

import certifi
import polars as pl
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from optrade.calendar import IST
from resources.collector import Access
from resources.kite.errors import BrokerDown, TokenExpired
from resources.spool import moment
from tests.resources.collector.conftest import Open
from tests.resources.collector.desk import OPENS, TOKENS, Market, clock_at


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
    stamps = [moment(record.received_at) for _, record in at.records()]
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


def test_nobody_answers_at_all(desk: Open) -> None:
    at = desk(begin=False)
    at.access = Access("ws://127.0.0.1:9", "key", "good")
    at.thread.start()
    at.wait_for("gap_opened")
    at.finish()
    (gap,) = at.events("gap_opened")
    assert (gap["cause"], gap["detail"]) == ("connection_lost", "no connection to ws://127.0.0.1:9")


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
    at.access, at.trouble = Access(at.access.stream_url, "key", "new"), None
    at.wait(lambda: len(at.market.connections) == 2)
    at.hear_more()
    at.finish()
    assert at.market.connections[1].token == "new"
    assert len(at.events("token_expired")) == 1
    noticed = pl.col("cause").is_in(["connection_lost", "token_expired"])
    first, second = at.gaps().filter(noticed).to_dicts()
    assert (first["cause"], second["cause"]) == ("connection_lost", "token_expired")
    assert first["ended_at"] == second["started_at"] < second["ended_at"]


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


def certificate(folder: Path) -> tuple[ssl.SSLContext, Path]:
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
    return context, vouches


def test_a_stranger_does_not_get_the_access_token(
    desk: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticker = importlib.import_module("resources.collector.ticker")
    tls, vouches = certificate(tmp_path)
    at = desk(begin=False, market=Market(clock_at(OPENS), tls))
    at.access = Access(f"wss://localhost:{at.market.port}", "key", "good")
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
