"""The archive: a real server on this machine and a directory, and every answer they can give."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from optrade.formats.archive import candidates
from resources.nse import SIMULATED_MARK, Answer, Archive, ArchiveResource, Known
from resources.settings_files import NseSettings

DAY = date(2026, 1, 23)
KIND = "participant_oi"
(PATH,) = candidates(KIND, DAY)
XLS, CSV = candidates("fii_stats", DAY)
BODY = b"Participant wise Open Interest"
Reply = tuple[int, dict[str, str], bytes]


@dataclass
class Host:
    """A server whose replies a test writes down: by path, one after another, the last for ever."""

    url: str = ""
    replies: dict[str, list[Reply]] = field(default_factory=dict)
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)

    def says(self, path: str, *replies: Reply) -> None:
        self.replies[f"/{path}"] = list(replies)

    def answer(self, path: str) -> Reply:
        queue = self.replies.get(path, [])
        if not queue:
            return 404, {}, b"<html>not here</html>"
        return queue.pop(0) if len(queue) > 1 else queue[0]

    @property
    def paths(self) -> list[str]:
        return [path.removeprefix("/") for path, _ in self.asked]


@contextmanager
def serving() -> Iterator[Host]:
    host = Host()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            host.asked.append((self.path, dict(self.headers)))
            status, headers, body = host.answer(self.path)
            self.send_response(status)
            for name, value in ({"Content-Length": str(len(body))} | headers).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: Any) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        host.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield host
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def host() -> Iterator[Host]:
    with serving() as found:
        yield found


@pytest.fixture
def waits() -> list[float]:
    """The waits a client made, in seconds: none of them is really waited."""
    return []


@pytest.fixture
def ask(waits: list[float]) -> Callable[..., Answer]:
    def fetch(
        base_url: str, kind: str = KIND, known: Known | None = None, **settings: Any
    ) -> Answer:
        chosen = NseSettings(base_url=base_url, **settings)
        with Archive.open(chosen, sleep=waits.append) as archive:
            return archive.fetch(kind, DAY, known)

    return fetch


Ask = Callable[..., Answer]


# A host


def test_found(host: Host, ask: Ask) -> None:
    stamps = {"ETag": '"7"', "Last-Modified": "Fri, 23 Jan 2026 14:00:00 GMT"}
    host.says(PATH, (200, stamps, BODY))
    answer = ask(host.url + "/", user_agent="A browser")
    assert answer == Answer(
        "found",
        f"{host.url}/{PATH}",
        BODY,
        etag='"7"',
        last_modified="Fri, 23 Jan 2026 14:00:00 GMT",
    )
    assert answer.file_name == "fao_participant_oi_23012026.csv"
    assert host.asked[0][1]["User-Agent"] == "A browser"


def test_404_is_not_published(host: Host, ask: Ask, waits: list[float]) -> None:
    answer = ask(host.url)
    assert (answer.status, answer.detail, answer.content) == ("not_published", "HTTP 404", None)
    assert (len(host.asked), waits) == (1, [])


@pytest.mark.parametrize("status", [401, 403, 451, 400, 501])
def test_a_refusal_is_blocked_at_once(
    host: Host, ask: Ask, waits: list[float], status: int
) -> None:
    host.says(PATH, (status, {}, b"<html>Access Denied</html>"))
    answer = ask(host.url)
    assert (answer.status, answer.content, waits) == ("blocked", None, [])
    assert answer.detail.startswith(f"HTTP {status}: the host refused. Lower OPTRADE_NSE__REQ")


@pytest.mark.parametrize("page", [b"<!DOCTYPE html><html>", b"\n <HTML><body>Please wait"])
def test_a_page_in_place_of_the_file_is_blocked(host: Host, ask: Ask, page: bytes) -> None:
    host.says(PATH, (200, {}, page))
    answer = ask(host.url)
    assert (answer.status, answer.content) == ("blocked", page)
    assert answer.detail.startswith("found an HTML page; expected the file.")


def test_unwell_twice_then_found(host: Host, ask: Ask, waits: list[float]) -> None:
    host.says(PATH, (503, {}, b"busy"), (503, {}, b"busy"), (200, {}, BODY))
    answer = ask(host.url, backoff_seconds=2.0)
    assert (answer.status, answer.content) == ("found", BODY)
    assert waits == [2.0, 4.0]


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_unwell_for_good(host: Host, ask: Ask, waits: list[float], status: int) -> None:
    host.says(PATH, (status, {}, b""))
    answer = ask(host.url, attempts=3, backoff_seconds=1.5)
    assert answer.status == "blocked"
    assert answer.detail == f"HTTP {status}, after 3 tries; retry later"
    assert (len(host.asked), waits) == (3, [1.5, 3.0])


def test_nobody_listens(ask: Ask, waits: list[float]) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
        answer = ask(url, attempts=3, backoff_seconds=1.0)
    assert (answer.status, waits) == ("blocked", [1.0, 2.0])
    assert answer.detail.startswith("ConnectError: ")
    assert answer.detail.endswith(", after 3 tries; retry later")


def test_a_truncated_body_is_tried_again(host: Host, ask: Ask) -> None:
    short = (200, {"Content-Length": "999"}, BODY)
    host.says(PATH, short, (200, {}, BODY))
    assert ask(host.url).content == BODY
    host.says(PATH, short)
    answer = ask(host.url, attempts=1)
    assert (answer.status, answer.content) == ("blocked", None)
    assert answer.detail == (
        "RemoteProtocolError: peer closed connection without sending complete message body "
        f"(received {len(BODY)} bytes, expected 999), after 1 try; retry later"
    )


def test_a_silent_host_is_given_up(ask: Ask) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        answer = ask(url, attempts=1, timeout_seconds=0.05)
    assert answer.status == "blocked"
    assert answer.detail.startswith("ReadTimeout: ")


def test_only_changes_are_asked_for(host: Host, ask: Ask) -> None:
    url = f"{host.url}/{PATH}"
    host.says(PATH, (304, {}, b""))
    known = Known(url, '"7"', "Fri, 23 Jan 2026 14:00:00 GMT")
    assert ask(host.url, known=known) == Answer("unchanged", url)
    headers = host.asked[-1][1]
    assert headers["If-None-Match"] == '"7"'
    assert headers["If-Modified-Since"] == "Fri, 23 Jan 2026 14:00:00 GMT"
    assert ask(host.url, known=Known(url, None, known.last_modified)).status == "unchanged"
    assert "If-None-Match" not in host.asked[-1][1]
    host.says(PATH, (200, {}, b"new"))
    assert ask(host.url, known=known).content == b"new"


def test_an_unasked_304_is_not_believed(host: Host, ask: Ask) -> None:
    host.says(PATH, (304, {}, b""))
    assert ask(host.url, known=Known(f"{host.url}/another", '"7"', None)).status == "blocked"
    assert "If-None-Match" not in host.asked[-1][1]


def test_candidates_in_order(host: Host, ask: Ask) -> None:
    assert XLS.endswith(".xls")
    assert CSV.endswith(".csv")
    host.says(CSV, (200, {}, b"csv"))
    assert ask(host.url, "fii_stats").content == b"csv"
    assert host.paths == [XLS, CSV]
    host.says(XLS, (200, {}, b"xls"))
    assert ask(host.url, "fii_stats").content == b"xls"
    assert host.paths[2:] == [XLS]
    host.says(XLS, (403, {}, b""))
    assert ask(host.url, "fii_stats").status == "blocked", "not known to be absent"
    assert host.paths[3:] == [XLS]


def test_redirects_are_followed(host: Host, ask: Ask) -> None:
    host.says(PATH, (302, {"Location": "/moved"}, b""))
    host.says("moved", (200, {}, BODY))
    answer = ask(host.url)
    assert (answer.content, answer.url) == (BODY, f"{host.url}/{PATH}")
    host.says("moved", (302, {"Location": "/moved"}, b""))
    answer = ask(host.url, attempts=1)
    assert answer.status == "blocked"
    assert answer.detail.startswith("TooManyRedirects: ")


def test_no_proxy_stands_before_this_machine(
    host: Host, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    host.says(PATH, (200, {}, BODY))
    assert ask(host.url).status == "found"


# A directory


def put(root: Path, path: str, data: bytes = BODY) -> Path:
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data)
    return file


def test_directory(tmp_path: Path, ask: Ask) -> None:
    assert ask(str(tmp_path)).status == "not_published"
    file = put(tmp_path, PATH)
    found = ask(f"{tmp_path}/")
    assert (found.status, found.content, found.url) == ("found", BODY, str(file))
    known = Known(found.url, found.etag, found.last_modified)
    assert ask(str(tmp_path), known=known) == Answer("unchanged", str(file), etag=found.etag)
    stamp = file.stat().st_mtime_ns
    put(tmp_path, PATH, b"more than before, at the same time")
    os.utime(file, ns=(stamp, stamp))
    assert ask(str(tmp_path), known=known).status == "found"


def test_directory_candidates_and_pages(tmp_path: Path, ask: Ask) -> None:
    put(tmp_path, CSV, b"csv")
    assert ask(str(tmp_path), "fii_stats").content == b"csv"
    put(tmp_path, XLS, b"<html>")
    assert ask(str(tmp_path), "fii_stats").status == "blocked"


def test_directory_file_that_cannot_be_read(
    tmp_path: Path, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, PATH)

    def refuse(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_bytes", refuse)
    answer = ask(str(tmp_path))
    assert answer.status == "blocked"
    assert answer.detail == "the file cannot be read: Permission denied"


@pytest.mark.parametrize("base", ["none/such", "http://", "http://host:99999", "http:///path"])
def test_no_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, base: str) -> None:
    monkeypatch.chdir(tmp_path)
    with (
        pytest.raises(ValueError, match=r"^OPTRADE_NSE__BASE_URL is .+: found .+; expected http"),
        Archive.open(NseSettings(), base),
    ):
        pass


# Simulated and real never meet


@contextmanager
def opened(base_url: str, market: str) -> Iterator[Archive]:
    with ArchiveResource(base_url=base_url, backoff_seconds=0, attempts=2).open(market) as archive:
        yield archive


def refusal(base_url: str, market: str) -> str:
    with pytest.raises(ValueError) as caught, opened(base_url, market):  # noqa: PT011
        pass
    return str(caught.value)


@pytest.mark.parametrize("served", [False, True])
def test_each_market_has_its_own_archive(tmp_path: Path, host: Host, served: bool) -> None:
    def mark() -> None:
        put(tmp_path, SIMULATED_MARK, b"{}")
        host.says(SIMULATED_MARK, (200, {}, b"{}"))

    url = host.url if served else str(tmp_path)
    with opened(url, "real"):
        pass
    assert refusal(url, "simulated") == (
        f"{url}: found a real exchange's archive; expected a simulated one for this simulated "
        "lake. Set OPTRADE_MARKET or OPTRADE_NSE__BASE_URL so that both agree."
    )
    mark()
    with opened(url, "simulated"):
        pass
    assert "found a simulated exchange's archive; expected a real one" in refusal(url, "real")


@pytest.mark.parametrize("reply", [(403, {}, b""), (200, {}, b"<html>"), (404, {}, b"")])
def test_a_refused_mark_is_no_mark(host: Host, reply: Reply) -> None:
    host.says(SIMULATED_MARK, reply)
    with opened(host.url, "real"):
        pass


@pytest.mark.parametrize("market", ["real", "simulated"])
def test_a_market_nobody_can_ask_about(host: Host, market: str) -> None:
    host.says(SIMULATED_MARK, (503, {}, b""))
    assert refusal(host.url, market) == (
        f"{host.url}: found no answer (HTTP 503, after 2 tries; retry later); expected the "
        "exchange's archive. Start it again later, or set OPTRADE_NSE__BASE_URL to another one."
    )


@pytest.mark.parametrize("host_name", ["nsearchives.nseindia.com", "ARCHIVES.nseindia.com"])
def test_the_exchanges_own_hosts_are_real_without_asking(host_name: str) -> None:
    def never(request: httpx.Request) -> httpx.Response:
        raise AssertionError(f"asked for {request.url}")

    with httpx.Client(transport=httpx.MockTransport(never)) as client:
        assert not Archive(NseSettings(), f"https://{host_name}", client).is_simulated()
