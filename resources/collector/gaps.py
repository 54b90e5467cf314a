"""Holes while they are open: each is stated in the journal when noticed and when it ends.

Belongs here: naming gaps, opening and closing them. Does not belong here: noticing them (see
`sockets`, `watch`), turning the journal into a table (`resources.journal`).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from itertools import count
from typing import Any, Protocol


class Note(Protocol):
    """Writes an entry of the journal."""

    def __call__(self, event: str, **details: Any) -> None:
        """Write it."""


class Gaps:
    """The gaps of one session; those of one `subject` (a socket, a token) follow each other."""

    def __init__(self, session: str, note: Note) -> None:
        self._session, self._note = session, note
        self._numbers = count(1)
        self._open: dict[str, tuple[str, str]] = {}

    def cause(self, subject: str) -> str | None:
        """Why there is a gap of the subject just now; None when there is none."""
        return self._open[subject][1] if subject in self._open else None

    def open(
        self,
        subject: str,
        cause: str,
        started_at: datetime,
        instruments: int,
        tokens: Sequence[int] | None,
        detail: str,
    ) -> None:
        """Begin a gap. One of another cause that is open ends where it begins.

        Nothing is done when there is one of the same cause. `tokens` None means all instruments.
        """
        if self.cause(subject) == cause:
            return
        self.close(subject, started_at)
        gap = f"{self._session}-{next(self._numbers):04}"
        self._open[subject] = (gap, cause)
        self._note(
            "gap_opened",
            gap=gap,
            cause=cause,
            started_at=started_at.isoformat(),
            instruments=instruments,
            instrument_tokens=None if tokens is None else list(tokens),
            detail=detail,
        )

    def close(self, subject: str, ended_at: datetime) -> None:
        """End the gap of the subject, if there is one."""
        if subject in self._open:
            gap, _ = self._open.pop(subject)
            self._note("gap_closed", gap=gap, ended_at=ended_at.isoformat())

    def close_all(self, ended_at: datetime) -> None:
        """End every gap."""
        for subject in list(self._open):
            self.close(subject, ended_at)
