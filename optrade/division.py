"""Division that gives the same bits whatever else is in the frame.

Belongs here: dividing one expression by another, for every figure that enters a table. Does not
belong here: figures with a meaning (see the rooms that use it).
"""

from __future__ import annotations

import polars as pl


def quotient(numerator: pl.Expr, denominator: pl.Expr | float) -> pl.Expr:
    """Divide row by row, correctly rounded; null where either is.

    Polars divides a column by a scalar (a literal, or a column it knows to be constant, such as
    one that came out of a join with a single row) by multiplying with the reciprocal, which
    is off by one unit in the last place on a quarter of all rows. Whether a column is constant
    depends on which days are in the frame, so a day alone and among others would differ.
    Adding a column of zeros makes the denominator a full column.
    """
    top = numerator.cast(pl.Float64)
    return top / (denominator + top * 0)
