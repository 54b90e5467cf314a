"""Real servers on this machine that take notices: HTTP, and SMTP with STARTTLS and AUTH PLAIN."""

from __future__ import annotations

import base64
import json
import socketserver
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

HOST = "127.0.0.1"


class Receiver:
    """What a server was sent, and how it answers."""

    def __init__(self) -> None:
        self.port = 0
        self.status, self.text = 200, "ok"
        self.posts: list[tuple[str, Any]] = []
        self.mails: list[EmailMessage] = []
        self.recipients: list[list[str]] = []
        self.logins: list[tuple[str, str]] = []
        self.password = ""
        self.unknown: set[str] = set()
        self.drop_after: int | None = None
        self.tls: ssl.SSLContext | None = None
        self.encrypted: list[bool] = []

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"


@contextmanager
def _running(server: socketserver.BaseServer) -> Iterator[None]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def http_receiver() -> Iterator[Receiver]:
    """Keeps each POST; those it answers with 2xx count as taken."""
    kept = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.headers["Content-Type"] == "application/json"
            payload = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if kept.status < 300:
                kept.posts.append((self.path, payload))
            body = kept.text.encode()
            self.send_response(kept.status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer((HOST, 0), Handler)
    kept.port = server.server_address[1]
    with _running(server):
        yield kept


class _Mailing(socketserver.StreamRequestHandler):
    """Enough of RFC 5321, 3207 and 4954 for a client that sends mail."""

    kept: Receiver

    def say(self, line: str) -> None:
        self.wfile.write(line.encode() + b"\r\n")
        self.wfile.flush()

    def finish(self) -> None:
        super().finish()
        self.request.close()

    def handle(self) -> None:
        self.secure, self.to = False, []
        self.say("220 here")
        while line := self.rfile.readline():
            verb, _, rest = line.decode().strip().partition(" ")
            if verb.upper() == "QUIT":
                self.say("221 bye")
                return
            if not getattr(self, f"on_{verb.lower()}", self.on_unknown)(rest):
                return

    def on_unknown(self, _rest: str) -> bool:
        self.say("502 not known")
        return True

    def on_ehlo(self, _rest: str) -> bool:
        tls = self.kept.tls is not None and not self.secure
        for line in ("250-here", *(["250-STARTTLS"] if tls else []), "250 AUTH PLAIN"):
            self.say(line)
        return True

    def on_starttls(self, _rest: str) -> bool:
        assert self.kept.tls is not None
        self.say("220 go ahead")
        try:
            self.request = self.kept.tls.wrap_socket(self.request, server_side=True)
        except ssl.SSLError:  # The client does not trust the certificate.
            return False
        self.rfile, self.wfile = self.request.makefile("rb"), self.request.makefile("wb")
        self.secure = True
        return True

    def on_auth(self, rest: str) -> bool:
        _, user, password = base64.b64decode(rest.split()[1]).decode().split("\0")
        self.kept.logins.append((user, password))
        good = password == self.kept.password
        self.say("235 welcome" if good else "535 5.7.8 wrong user or password")
        return True

    def on_mail(self, _rest: str) -> bool:
        self.to = []
        self.say("250 ok")
        return True

    def on_rset(self, _rest: str) -> bool:
        self.say("250 ok")
        return True

    def on_rcpt(self, rest: str) -> bool:
        name = rest.partition("<")[2].partition(">")[0]
        if name in self.kept.unknown:
            self.say("550 no such mailbox")
        else:
            self.to.append(name)
            self.say("250 ok")
        return True

    def on_data(self, _rest: str) -> bool:
        if self.kept.drop_after is not None and len(self.kept.mails) >= self.kept.drop_after:
            return False
        self.say("354 go on")
        lines = []
        while (line := self.rfile.readline()) not in (b".\r\n", b""):
            lines.append(line.removeprefix(b"."))
        parsed = message_from_bytes(b"".join(lines), policy=policy.default)
        assert isinstance(parsed, EmailMessage)
        self.kept.mails.append(parsed)
        self.kept.recipients.append(self.to)
        self.kept.encrypted.append(self.secure)
        self.say("250 taken")
        return True


@contextmanager
def mail_receiver() -> Iterator[Receiver]:
    """Keeps each mail; drops the line at the DATA after `drop_after` mails."""
    kept = Receiver()
    handler = type("Handler", (_Mailing,), {"kept": kept})

    class Server(socketserver.ThreadingTCPServer):
        allow_reuse_address = True

    with Server((HOST, 0), handler) as server:
        kept.port = server.server_address[1]
        with _running(server):
            yield kept


def certified(folder: Path) -> tuple[ssl.SSLContext, Path]:
    """A server's TLS context for this machine, and the certificate a client has to trust."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "mail of a test")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address(HOST))]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    pem, secret = folder / "certificate.pem", folder / "key.pem"
    pem.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    secret.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem, secret)
    return context, pem


def assert_alerts(payload: Any) -> None:
    """`postableAlerts` of Alertmanager's api/v2/openapi.yaml, and what it refuses beyond that."""
    assert isinstance(payload, list)
    for alert in payload:
        assert set(alert) <= {"labels", "annotations", "startsAt", "endsAt", "generatorURL"}
        assert alert["labels"]["alertname"]
        for name in ("labels", "annotations"):
            for key, value in alert[name].items():
                assert key.isidentifier()
                assert isinstance(value, str)
                assert value
        begins, ends = (datetime.fromisoformat(alert[end]) for end in ("startsAt", "endsAt"))
        assert begins.tzinfo is not None
        assert begins <= ends
    labels = [tuple(sorted(alert["labels"].items())) for alert in payload]
    assert len(labels) == len(set(labels))
