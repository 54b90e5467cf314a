from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from optrade.division import quotient

VALUES = np.random.default_rng(0).uniform(1, 5000, 1000)
DIVISOR = 50610.51094015525


@pytest.mark.parametrize("divisor", [pl.lit(DIVISOR), DIVISOR, pl.col("constant"), pl.col("full")])
@pytest.mark.parametrize("lazy", [False, True])
def test_every_row_is_rounded_once(divisor: pl.Expr | float, lazy: bool) -> None:
    frame = pl.DataFrame({"x": VALUES, "full": np.full(1000, DIVISOR)})
    frame = frame.with_columns(constant=pl.lit(DIVISOR))
    divided = frame.lazy().select(q=quotient(pl.col("x"), divisor)).collect()
    if not lazy:
        divided = frame.select(q=quotient(pl.col("x"), divisor))
    assert np.array_equal(divided["q"].to_numpy(), VALUES / DIVISOR)


def test_nulls_and_whole_numbers() -> None:
    frame = pl.DataFrame({"a": [1, None, 3], "b": [4, 2, None]})
    assert frame.select(q=quotient(pl.col("a"), pl.col("b")))["q"].to_list() == [0.25, None, None]
