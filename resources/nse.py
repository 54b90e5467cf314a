"""The exchange's archive of daily files: over http(s) or as a directory laid out like it.

Belongs here: asking politely, telling "not published" from "blocked", conditional requests.
Does not belong here: what a file means (see `optrade.formats`) and keeping it (see
`lake_files`).
"""

from __future__ import annotations

import ipaddress
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import dagster as dg
import httpx

from optrade.formats.archive import candidates, looks_like_html
from resources.settings_files import NseSettings

Status = Literal["found", "unchanged", "not_published", "blocked"]
_RETRIED = frozenset({408, 425, 429, 500, 502, 503, 504})
_NOT_MODIFIED, _NOT_FOUND = 304, 404
_REAL_DOMAIN = "nseindia.com"
SIMULATED_MARK = "SIMULATED.json"
_REFUSED = frozenset({401, 403, 451})


@dataclass(frozen=True)
class Known:
    """What is already held of a file, so that only changes are sent."""

    url: str
    etag: str | None
    last_modified: str | None


@dataclass(frozen=True)
class Answer:
    """What the archive said about one file.

    `found` carries `content`; `unchanged` means what is held is current; `not_published` that
    the archive has no such file; `blocked` that it would not say (403, an HTML page, no
    connection): `detail` tells, and `refused` that the host answered, and answered no.
    """

    status: Status
    url: str
    content: bytes | None = None
    etag: str | None = None
    last_modified: str | None = None
    detail: str | None = None
    refused: bool = False

    @property
    def file_name(self) -> str:
        """The last part of the address."""
        return self.url.rsplit("/", 1)[-1]


class Archive:
    """One archive. Use `Archive.open(...)` as a context manager."""

    def __init__(
        self,
        settings: NseSettings,
        base_url: str,
        client: httpx.Client | None,
        *,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._base_url = base_url
        self._client = client
        self._sleep = sleep
        self._clock = clock
        self._pace = threading.Lock()
        self._next_request = 0.0
        self._polite = client is not None and not _is_loopback(base_url)

    @classmethod
    @contextmanager
    def open(
        cls,
        settings: NseSettings,
        base_url: str | None = None,
        *,
        sleep: Callable[[float], None] = time.sleep,
    ) -> Iterator[Archive]:
        """Open the archive at `base_url` (default: the configured one).

        `sleep` waits the given seconds: before a further try, and for a turn.

        Raises `ValueError` when it is neither an http(s) address nor an existing directory.
        """
        given = base_url or settings.base_url
        base = given.rstrip("/") or "/"
        if base.startswith(("http://", "https://")):
            if not _is_address(base):
                raise ValueError(_unusable(given, "no address that can be asked"))
            headers = {
                "User-Agent": settings.user_agent,
                "Accept": "*/*",
                "Accept-Language": "en-IN,en;q=0.9",
                "Referer": "https://www.nseindia.com/all-reports-derivatives",
            }
            with httpx.Client(
                headers=headers,
                timeout=settings.timeout_seconds,
                follow_redirects=True,
                trust_env=not _is_loopback(base),  # A proxy does not know this machine's own.
            ) as client:
                yield cls(settings, base, client, sleep=sleep)
            return
        if not Path(base).is_dir():
            raise ValueError(_unusable(given, "no such directory"))
        yield cls(settings, base, None, sleep=sleep)

    def is_simulated(self) -> bool:
        """Whether this is a simulated exchange, which marks its archive with a file.

        Raises `ValueError` when the archive cannot be asked, because then nobody knows. One that
        refuses the file has not got it: some hosts refuse what they do not have.
        """
        host = urlsplit(self._base_url).hostname or ""
        if host == _REAL_DOMAIN or host.endswith(f".{_REAL_DOMAIN}"):
            return False
        answer = self._ask(f"{self._base_url}/{SIMULATED_MARK}", None)
        if answer.status == "blocked" and not answer.refused:
            raise ValueError(
                f"{self._base_url}: found no answer ({answer.detail}); expected the exchange's "
                "archive. Start it again later, or set OPTRADE_NSE__BASE_URL to another one."
            )
        return answer.status == "found"

    def fetch(self, kind: str, day: date, known: Known | None = None) -> Answer:
        """Ask for one kind of file of one day, trying its candidate names in order."""
        answer = Answer("not_published", self._base_url, detail="no candidate name")
        for path in candidates(kind, day):
            url = f"{self._base_url}/{path}"
            answer = self._ask(url, known if known and known.url == url else None)
            if answer.status != "not_published":
                return answer
        return answer

    def _ask(self, url: str, known: Known | None) -> Answer:
        return (
            self._ask_directory(url, known) if self._client is None else self._ask_host(url, known)
        )

    def _ask_directory(self, url: str, known: Known | None) -> Answer:
        path = Path(url)
        if not path.is_file():
            return Answer("not_published", url, detail="no such file in the directory")
        try:
            stat = path.stat()
            version = f"{stat.st_mtime_ns}-{stat.st_size}"
            if known and known.etag == version:
                return Answer("unchanged", url, etag=version)
            return _judged(Answer("found", url, path.read_bytes(), etag=version))
        except OSError as error:
            return Answer("blocked", url, detail=f"the file cannot be read: {error.strerror}")

    def _ask_host(self, url: str, known: Known | None) -> Answer:
        headers: dict[str, str] = {}
        if known and known.etag:
            headers["If-None-Match"] = known.etag
        if known and known.last_modified:
            headers["If-Modified-Since"] = known.last_modified
        detail = ""
        for attempt in range(self._settings.attempts):
            if attempt:
                self._sleep(self._settings.backoff_seconds * 2 ** (attempt - 1))
            self._wait_for_turn()
            try:
                response = self._request(url, headers)
            except httpx.HTTPError as error:
                detail = f"{type(error).__name__}: {error}"
                continue
            if response.status_code not in _RETRIED:
                return _from_response(url, response, conditional=bool(headers))
            detail = f"HTTP {response.status_code}"
        tries = "1 try" if self._settings.attempts == 1 else f"{self._settings.attempts} tries"
        return Answer("blocked", url, detail=f"{detail}, after {tries}; retry later")

    def _request(self, url: str, headers: Mapping[str, str]) -> httpx.Response:
        if self._client is None:
            raise RuntimeError("a directory is not asked over the network")
        return self._client.get(url, headers=dict(headers))

    def _wait_for_turn(self) -> None:
        if not self._polite:
            return
        with self._pace:
            now = self._clock()
            wait = self._next_request - now
            self._next_request = (
                max(now, self._next_request) + 1 / self._settings.requests_per_second
            )
        if wait > 0:
            self._sleep(wait)


def _from_response(url: str, response: httpx.Response, *, conditional: bool) -> Answer:
    if response.status_code == _NOT_MODIFIED and conditional:
        return Answer("unchanged", url)
    if response.status_code == _NOT_FOUND:
        return Answer("not_published", url, detail="HTTP 404")
    if response.status_code in _REFUSED or not response.is_success:
        return Answer(
            "blocked",
            url,
            detail=f"HTTP {response.status_code}: the host refused. Lower "
            "OPTRADE_NSE__REQUESTS_PER_SECOND, wait, or set OPTRADE_NSE__BASE_URL to a folder",
            refused=True,
        )
    return _judged(
        Answer(
            "found",
            url,
            response.content,
            etag=response.headers.get("etag"),
            last_modified=response.headers.get("last-modified"),
        )
    )


def _judged(answer: Answer) -> Answer:
    """A page in place of a file is a blocked answer, not a file."""
    if answer.content is not None and looks_like_html(answer.content):
        return Answer(
            "blocked",
            answer.url,
            content=answer.content,
            detail="found an HTML page; expected the file. The host asks strangers to look like "
            "a browser: wait and retry, or set OPTRADE_NSE__BASE_URL to a folder",
            refused=True,
        )
    return answer


def _unusable(base_url: str, found: str) -> str:
    return (
        f"OPTRADE_NSE__BASE_URL is {base_url!r}: found {found}; expected http://, https:// or a "
        "directory laid out like the exchange's archive (`optrade demo` makes a simulated one)."
    )


def _is_address(url: str) -> bool:
    try:
        return bool(httpx.URL(url).host) and urlsplit(url).port != 0  # `port` checks its range.
    except (httpx.InvalidURL, ValueError):
        return False


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


ARCHIVE_FIELDS = tuple(name for name in NseSettings.model_fields if name != "fallback_urls")
"""What one archive needs to know; which others there are is for those who choose."""


class ArchiveResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """The archive a run asks."""

    base_url: str
    timeout_seconds: float = 30.0
    attempts: int = 4
    backoff_seconds: float = 2.0
    requests_per_second: float = 3.0
    user_agent: str = "Mozilla/5.0"

    def at(self, base_url: str) -> ArchiveResource:
        """The same archive at another host or directory; itself where none is named."""
        return self.model_copy(update={"base_url": base_url}) if base_url else self

    @contextmanager
    def open(self, market: str) -> Iterator[Archive]:
        """Open the archive for a lake of that market.

        Raises `ValueError` when a real lake is offered a simulated exchange, or the reverse.
        """
        fields = {name: getattr(self, name) for name in ARCHIVE_FIELDS}
        with Archive.open(NseSettings(**fields)) as archive:
            simulated = archive.is_simulated()
            if simulated != (market == "simulated"):
                raise ValueError(
                    f"{self.base_url}: found a {'simulated' if simulated else 'real'} exchange's "
                    f"archive; expected a {market} one for this {market} lake. Set "
                    "OPTRADE_MARKET or OPTRADE_NSE__BASE_URL so that both agree."
                )
            yield archive
