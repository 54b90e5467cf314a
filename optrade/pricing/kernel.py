"""The loops of `normalised`, compiled by numba.

Belongs here: how formulas written for numpy become machine code that works on many rows at
once. Does not belong here: any formula. numba takes long to import, so this module is
imported only for large arrays (`black76`).

Compiled code is kept where NUMBA_CACHE_DIR says, else in `__pycache__` beside `normalised`,
else in the user's cache folder; it goes stale with the file `normalised.py`. Where none of
these can be written, every process compiles anew.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final, cast

import numpy as np
from numba import njit, types
from numba.extending import overload, register_jitable

from optrade.pricing import normalised

# Division by zero as in IEEE 754 (a check would keep rows apart). No `fastmath`: the bits are
# numpy's.
_FLOATS: Final[Any] = {"error_model": "numpy"}
_INLINE: Final[Any] = {**_FLOATS, "forceinline": True}

for _primitive, _meaning in (
    (normalised.bits, lambda x: np.float64(x).view(np.uint64)),
    (normalised.double, lambda pattern: np.uint64(pattern).view(np.float64)),
    (normalised.select, lambda condition, yes, no: yes if condition else no),
):
    overload(_primitive, _INLINE, strict=False)(lambda *_, meaning=_meaning: meaning)
for _formula in (
    normalised.log_ratio,
    normalised.bell,
    normalised.erfcx,
    normalised.erfcx_fall,
    normalised.prepare,
    normalised.seed,
    normalised.step,
    normalised.householder,
    normalised.settle,
    normalised.derivatives,
):
    register_jitable(**_INLINE)(_formula)
for _part in (normalised.solve_block, normalised.settle_rest, normalised.derive_block):
    register_jitable(**_FLOATS)(_part)

Loop = Callable[[tuple[Any, ...], Any, tuple[Any, ...]], None]


def _compile() -> Loop:
    read: Any = partial(types.Array, ndim=1, layout="C", readonly=True)
    columns: Any = types.Tuple
    inputs, results = columns([read(types.float64)] * 5), columns([types.float64[::1]] * 6)
    signature = types.void(inputs, read(types.boolean), results)
    try:
        found = njit(signature, cache=True, nogil=True, **_FLOATS)(normalised.solve)
    except RuntimeError as error:  # numba found no folder that it may write to
        if "no locator available" not in str(error):
            raise
        found = njit(signature, nogil=True, **_FLOATS)(normalised.solve)
    return cast("Loop", found)


solve: Final = _compile()
"""`normalised.solve`; other threads run meanwhile."""
