"""What the collector asks of a broker.

Belongs here: the requests and refusals it knows. Does not belong here: who answers them
(`resources.kite`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol


class NoSession(RuntimeError):
    """Nobody is logged in, or the broker no longer accepts the access token."""


class BrokerUnavailable(RuntimeError):
    """The broker did not answer, or refused for another reason than the session."""


class Access(NamedTuple):
    """What a websocket is opened with."""

    stream_url: str
    api_key: str
    access_token: str


class Broker(Protocol):
    """A broker with a session that was valid a moment ago.

    Requests raise `NoSession` or `BrokerUnavailable`.
    """

    @property
    def access(self) -> Access:
        """For the websockets."""

    def instruments(self) -> bytes:
        """Today's instrument dump as the broker sent it (CSV)."""

    def spots(self, underlyings: Sequence[str]) -> Mapping[str, float]:
        """The index of each underlying in points; what is not known is missing."""
