"""The broker's official client, asked so that every failure is one of ours.

Belongs here: making the client, trying again, translating its exceptions. Does not belong here:
what is asked (see `broker`, `login`).
"""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Callable, Collection
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

from resources.kite.errors import (
    BrokerDown,
    BrokerError,
    PermissionRefused,
    RateLimited,
    RequestRefused,
    TokenExpired,
)
from resources.settings_live import KiteSettings

AGAIN: Final = (RateLimited, BrokerDown)
"""What may be over at the next try."""
_T = TypeVar("_T")
_TOO_MANY, _SERVER_ERRORS = 429, 500
_SHOWN = 200


class Client:
    """Asks one broker with one access token, or none before the login.

    `sleep` waits real seconds before a further try.
    """

    def __init__(
        self,
        settings: KiteSettings,
        access_token: str | None = None,
        *,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._settings, self._sleep = settings, sleep
        self.heard = b""
        """The broker's last answer, byte for byte."""
        self._kite = _official(settings, access_token)
        self._kite.reqsession.hooks["response"].append(self._hear)
        secrets = (settings.api_secret.get_secret_value(), access_token)
        self._secrets = tuple(secret for secret in secrets if secret)

    def __repr__(self) -> str:
        return f"Client({self._settings.root_url})"

    def ask(self, what: str, question: Callable[[Any], _T], again: Collection[type] = AGAIN) -> _T:
        """What `question` gets from the official client, tried again after errors of `again`.

        `what` is asked for, in words. Raises the `BrokerError` that the last try ended in.
        """
        attempt, wait = 1, self._settings.backoff_seconds
        while True:
            try:
                return question(self._kite)
            except (OSError, LookupError, TypeError, ValueError) as error:
                failure = self._unheard(what, error, attempt)
            except _refusals() as error:
                failure = self._refused(what, error, attempt)
            if attempt == self._settings.attempts or type(failure) not in again:
                raise failure from None  # The client's own error may hold what must not be told.
            self._sleep(wait)
            attempt, wait = attempt + 1, 2 * wait

    def _hear(self, response: Any, *_: Any, **__: Any) -> None:
        self.heard = bytes(response.content)

    def _unheard(self, what: str, error: Exception, attempt: int) -> BrokerError:
        """No answer (`OSError`, as all of requests' errors are), or one the client cannot read."""
        root = self._settings.root_url
        found = "no answer" if isinstance(error, OSError) else "an answer that is not Kite's"
        return BrokerDown(
            f"{what}: found {found} from {root} ({type(error).__name__}), {_tries(attempt)}.",
            "Check the connection and OPTRADE_KITE__ROOT_URL, or wait until the broker is back.",
        )

    def _refused(self, what: str, error: Any, attempt: int) -> BrokerError:
        name, code = type(error).__name__, error.code
        said = "what is not Kite's" if name == "DataException" else repr(self._masked(str(error)))
        told = f"{what}: Kite answered {code} {name}, {said}"
        if code == _TOO_MANY:
            return RateLimited(
                f"{told}, {_tries(attempt)}.",
                "It allows 1 quote, 3 candle and 10 other requests a second to all programs of "
                "one app: end the others, or raise OPTRADE_KITE__BACKOFF_SECONDS.",
            )
        if name == "TokenException":
            return TokenExpired(
                f"{told}.",
                "Another login, a logout or 06:00 (India) ended the session. Run `optrade login`.",
            )
        if name == "PermissionException":
            return PermissionRefused(
                f"{told}.",
                "See what your Kite Connect app is subscribed to at https://developers.kite.trade.",
            )
        if code >= _SERVER_ERRORS:
            return BrokerDown(f"{told}, {_tries(attempt)}.", "Wait until the broker is well again.")
        return RequestRefused(f"{told}.", "Correct what is asked for.")

    def _masked(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text[:_SHOWN]


def is_loopback(url: str) -> bool:
    """Whether an address is on this machine."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _official(settings: KiteSettings, access_token: str | None) -> Any:
    from kiteconnect import KiteConnect  # type: ignore[import-untyped]  # noqa: PLC0415 (Twisted)

    class Raw(KiteConnect):  # type: ignore[misc]
        """Leaves an instrument dump as it was sent."""

        def _parse_instruments(self, data: bytes) -> bytes:
            return data

    client = Raw(
        settings.api_key,
        access_token,
        root=settings.root_url,
        timeout=settings.timeout_seconds,
    )
    client.reqsession.trust_env = not is_loopback(settings.root_url)  # No proxy knows this machine.
    return client


def _refusals() -> type[Exception]:
    from kiteconnect.exceptions import (  # type: ignore[import-untyped]  # noqa: PLC0415 (Twisted)
        KiteException,
    )

    found: type[Exception] = KiteException
    return found


def _tries(count: int) -> str:
    return "after 1 try" if count == 1 else f"after {count} tries"
