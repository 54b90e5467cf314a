"""The live contracts of the simulated exchange and who holds them, as parallel arrays.

Belongs here: what a contract is between two sessions. Does not belong here: trading it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from optrade.simulation.listing import Expiry
from optrade.simulation.parameters import PARTICIPANTS, Underlying
from optrade.simulation.paths import Ints

FUTURE, CALL, PUT = 0, 1, 2
Bools = npt.NDArray[np.bool_]
Dates = npt.NDArray[np.datetime64]
Names = npt.NDArray[np.object_]


@dataclass(slots=True)
class Book:
    """n contracts; `long` and `short` are lots of each participant, shape (n, 4).

    Every row of `long` and of `short` sums to the contract's open interest in lots. Prices are
    in ticks; `last` is 0 until the first trade. `underlying` indexes the simulated underlyings.
    """

    contract_id: Ints
    name: Names
    underlying: Ints
    kind: Ints
    expiry: Dates
    monthly: Bools
    strike: Ints
    close: Ints
    last: Ints
    long: Ints
    short: Ints

    def __len__(self) -> int:
        return len(self.contract_id)

    @property
    def oi(self) -> Ints:
        """Open interest in lots."""
        return np.asarray(self.long.sum(axis=1), dtype=np.int64)

    def select(self, mask: Bools) -> Book:
        """Return the contracts of the mask."""
        return Book(*(getattr(self, field.name)[mask] for field in fields(self)))

    @staticmethod
    def join(parts: Sequence[Book]) -> Book:
        """Join several books into one, in order."""
        return Book(
            *(np.concatenate([getattr(p, field.name) for p in parts]) for field in fields(Book))
        )

    @staticmethod
    def list_contracts(
        position: int,
        underlying: Underlying,
        expiry: Expiry,
        new: Ints,
        *,
        future: bool,
        first: int,
    ) -> Book:
        """New contracts of one expiry: a call and a put at each strike, a future when asked.

        `first` is the first contract id; nobody holds anything and no price is known yet.
        """
        strike = np.concatenate([np.zeros(int(future), dtype=np.int64), np.repeat(new, 2)])
        kind = np.concatenate(
            [np.zeros(int(future), dtype=np.int64), np.tile([CALL, PUT], len(new))]
        )
        stem = underlying.symbol + expiry.label
        suffix = ("FUT", "CE", "PE")
        name = np.array(
            [
                f"{stem}{k if t else ''}{suffix[t]}"
                for k, t in zip(strike.tolist(), kind.tolist(), strict=True)
            ],
            dtype=object,
        )
        n = len(kind)
        nothing, nobody = np.zeros(n, dtype=np.int64), np.zeros((n, len(PARTICIPANTS)), np.int64)
        return Book(
            contract_id=np.arange(first, first + n, dtype=np.int64),
            name=name,
            underlying=np.full(n, position, dtype=np.int64),
            kind=kind,
            expiry=np.full(n, np.datetime64(expiry.day, "D")),
            monthly=np.full(n, expiry.monthly),
            strike=strike,
            close=nothing.copy(),
            last=nothing.copy(),
            long=nobody.copy(),
            short=nobody.copy(),
        )
