"""The two grains of the chain: the close of a day, and the end of a minute.

Belongs here: what identifies a moment, an underlying's chain and an expiry at each grain. Does
not belong here: the figures, which are the same code at both.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Grain:
    """One grain, by the columns that say which moment a row is of."""

    moment: tuple[str, ...]

    @property
    def instant(self) -> str:
        """The column that alone tells moments apart."""
        return self.moment[-1]

    @property
    def underlying(self) -> tuple[str, ...]:
        """What identifies an underlying at one moment."""
        return (*self.moment, "underlying")

    @property
    def expiry(self) -> tuple[str, ...]:
        """What identifies an expiry at one moment."""
        return (*self.underlying, "expiry")


CLOSE: Final = Grain(("trade_date",))
MINUTE: Final = Grain(("trade_date", "minute"))
