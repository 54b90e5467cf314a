"""What the collector asks of a broker.

Belongs here: the requests it makes. Does not belong here: who answers them, and how they are
refused (`resources.kite`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Access:
    """What a websocket is opened with. Its keys show neither in `repr` nor in `str`."""

    stream_url: str
    api_key: str = field(repr=False)
    access_token: str = field(repr=False)


class Broker(Protocol):
    """A broker with a session that was valid a moment ago.

    Requests raise `TokenExpired` or another `BrokerError`.
    """

    @property
    def access(self) -> Access:
        """For the websockets."""

    def instruments(self) -> bytes:
        """Today's instrument dump as the broker sent it (CSV)."""

    def spots(self, underlyings: Sequence[str]) -> Mapping[str, float]:
        """The index of each underlying in points; what is not known is missing."""
