"""What can go wrong between us and the broker, each with what to do about it.

Belongs here: the exception types. Does not belong here: when they are raised.
"""

from __future__ import annotations


class BrokerError(ValueError):
    """Trouble with the broker: what was `found`, then what to do."""

    def __init__(self, found: str, advice: str = "") -> None:
        super().__init__(f"{found} {advice}".rstrip())
        self.found = found


class NotConfigured(BrokerError):
    """A setting that the broker needs is empty; `found` is its name."""

    def __init__(self, found: str) -> None:
        super().__init__(
            found,
            "is empty; expected the value of your Kite Connect app. Copy it from "
            "https://developers.kite.trade into .env, or set OPTRADE_MARKET=simulated.",
        )


class TokenExpired(BrokerError):
    """There is no session that the broker would accept."""

    def __init__(self, found: str, advice: str = "Run `optrade login`.") -> None:
        super().__init__(found, advice)


class SessionUnreadable(BrokerError):
    """The kept session is damaged or open to others."""


class LoginRefused(BrokerError):
    """A login that did not lead to a session."""

    def __init__(self, found: str, advice: str = "Run `optrade login` again.") -> None:
        super().__init__(found, advice)


class RateLimited(BrokerError):
    """The broker answered 429 to every try."""


class BrokerDown(BrokerError):
    """The broker cannot be reached, or answers with errors of its own."""


class PermissionRefused(BrokerError):
    """The app may not ask this."""


class RequestRefused(BrokerError):
    """The broker calls the request itself wrong."""
