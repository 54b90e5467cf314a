"""The compiled loop: numpy's bits, any thread, and no numba where it is not needed."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import numpy as np

from optrade.pricing.black76 import (
    COMPILED_FROM,
    implied_volatility,
    implied_volatility_and_greeks,
    price,
)
from optrade.pricing.normalised import BLOCK

ROOT = Path(__file__).parents[2]


def book(n: int, seed: int) -> list[np.ndarray]:
    """Price, forward, strike, years, call, discount: the whole domain, some of it spoilt."""
    rng = np.random.default_rng(seed)
    x = 10 ** rng.uniform(-9, 0.72, n) * rng.choice([-1, 1], n)
    t, total = 10 ** rng.uniform(-6, 1, n), 10 ** rng.uniform(-7, 1.1, n)
    call, discount = rng.random(n) < 0.5, rng.uniform(0.5, 1.1, n)
    f, k = 24000 * np.exp(-x / 2), 24000 * np.exp(x / 2)
    p = price(f, k, t, total / np.sqrt(t), call)
    p = np.where(rng.random(n) < 0.05, p * rng.uniform(-1, 3, n), p)
    t = np.where(rng.random(n) < 0.01, -t, t)
    for column in (p, f, k, t, discount):
        column[rng.random(n) < 0.002] = np.nan
    return [p, f, k, t, call, discount]


def test_numpy_and_the_compiled_loop_give_the_same_bits() -> None:
    columns = book(100_003, 1)
    (one, derived), (other, twin) = (
        implied_volatility_and_greeks(*columns, compiled=compiled) for compiled in (True, False)
    )
    assert 0.1 < np.isnan(one).mean() < 0.5
    assert (one[~np.isnan(one)] > 0).all()
    assert np.array_equal(one, other, equal_nan=True)
    for name in derived._fields:
        assert np.array_equal(getattr(derived, name), getattr(twin, name), equal_nan=True), name
    alone = implied_volatility(*columns[:5], compiled=True)
    assert np.array_equal(alone, one, equal_nan=True)


def test_a_row_does_not_depend_on_its_neighbours() -> None:
    columns = book(3 * BLOCK + 5, 2)[:5]
    whole = implied_volatility(*columns, compiled=True)
    cuts = [0, 1, 3, 20, BLOCK + 1, 2 * BLOCK + 1, whole.size]
    parts = [
        implied_volatility(*(column[a:b] for column in columns), compiled=True)
        for a, b in pairwise(cuts)
    ]
    assert np.array_equal(whole, np.concatenate(parts), equal_nan=True)
    assert implied_volatility([], [], [], [], [], compiled=True).shape == (0,)


def test_scalars_and_strides() -> None:
    f, k = np.full((40, 2), 100.0), np.linspace(80, 120, 120)[::3]
    found = [
        implied_volatility(price(f[:, 0], k, 0.5, 0.3, True), f[:, 0], k, 0.5, True, compiled=c)
        for c in (True, False)
    ]
    assert np.array_equal(*found)
    assert np.abs(found[0] - 0.3).max() < 1e-13


def test_columns_that_may_not_be_written() -> None:
    columns = book(1000, 4)
    expected = implied_volatility(*columns[:5], compiled=True)
    for column in columns[::2]:
        column.flags.writeable = False
    found, _ = implied_volatility_and_greeks(*columns, compiled=True)
    assert np.array_equal(found, expected, equal_nan=True)


def test_threads() -> None:
    columns = book(20_000, 3)
    expected = implied_volatility_and_greeks(*columns, compiled=False)
    with ThreadPoolExecutor(8) as pool:
        tasks = [
            pool.submit(implied_volatility_and_greeks, *columns, compiled=compiled)
            for compiled in (True, False) * 8
        ]
        for task in tasks:
            found, derived = task.result()
            assert np.array_equal(found, expected[0], equal_nan=True)
            for one, other in zip(derived, expected[1], strict=True):
                assert np.array_equal(one, other, equal_nan=True)


def run(code: str, **environment: str) -> str:
    found = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert found.returncode == 0, found.stderr
    return found.stdout.strip()


PRICED = """
import sys
from optrade.pricing.black76 import COMPILED_FROM, implied_volatility_and_greeks, price
p = price(100.0, 110.0, 0.5, 0.3, True)
implied_volatility_and_greeks([p] * (COMPILED_FROM - 1), 100.0, 110.0, 0.5, True)
print("numba" in sys.modules)
"""


def test_small_frames_do_not_import_numba_and_large_ones_do() -> None:
    assert COMPILED_FROM >= 100_000
    large = "implied_volatility_and_greeks([p] * COMPILED_FROM, 100.0, 110.0, 0.5, True)\n"
    assert run(PRICED + large + 'print("numba" in sys.modules)').split() == ["False", "True"]


def test_where_nothing_can_be_cached_it_is_compiled_all_the_same() -> None:
    code = """
import numpy as np
from optrade.pricing.black76 import implied_volatility
print(abs(float(implied_volatility(7.965567455405804, 100, 100, 1, True, compiled=True)) - 0.2))
"""
    nowhere = {
        "NUMBA_CACHE_DIR": os.devnull + "/none",
        "NUMBA_CACHE_LOCATOR_CLASSES": "UserProvidedCacheLocator",
    }
    assert float(run(code, **nowhere)) < 1e-13
