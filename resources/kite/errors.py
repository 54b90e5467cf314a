"""What can go wrong between us and the broker, each with what to do about it.

Belongs here: the exception types. Does not belong here: when they are raised.
"""

from __future__ import annotations


class BrokerError(ValueError):
    """Trouble with the broker; the message says what was found and what to do."""


class NotConfigured(BrokerError):
    """A setting that the broker needs is empty."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"{name} is empty; expected the value of your Kite Connect app. Copy it from "
            "https://developers.kite.trade into .env, or use OPTRADE_MARKET=simulated."
        )


class SessionUnreadable(BrokerError):
    """The kept session is damaged or open to others."""


class TokenExpired(BrokerError):
    """There is no session that the broker would accept."""


class LoginRefused(BrokerError):
    """A login that did not lead to a session."""


class RateLimited(BrokerError):
    """The broker answered 429 to every try."""


class BrokerDown(BrokerError):
    """The broker cannot be reached, or answers with errors of its own."""


class PermissionRefused(BrokerError):
    """The app may not ask this."""


class RequestRefused(BrokerError):
    """The broker calls the request itself wrong."""
