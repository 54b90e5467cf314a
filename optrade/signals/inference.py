"""The tests behind the scorecard.

Belongs here: arithmetic of tests on arrays, each with its source. Does not belong here: what is
tested and what follows from it (`scorecard`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.special import gammaln, xlog1py, xlogy

Array = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]


def mean_difference(
    mine: Bools, valid: Bools, forward: Array, returns: Array, lag: int, horizon: int
) -> tuple[float, float]:
    """Do the days `mine` have other forward returns than all `valid` days? t and two-sided p.

    `forward[i]` is the sum of `returns[i + lag + 1 : i + lag + 1 + horizon]`; `mine` and `valid`
    have its shape, `returns` goes on to the end of the last of them. With x the indicator of
    `mine` less its mean, the numerator is sum(x forward). Rewritten by session it is
    sum(return x exposure), the exposure of a session being the sum of the x whose window holds
    it, which was known before. Under the hypothesis that returns can't be foreseen its variance
    is therefore sum(return^2 x exposure^2), however long labels last, windows overlap or
    volatility clusters: standard error 1B of R. Hodrick, "Dividend yields and expected stock
    returns", Review of Financial Studies 5 (1992). p is from the normal distribution.
    """
    x = np.where(valid, mine - mine[valid].mean(), 0.0)
    exposure = np.zeros(len(returns))
    for ahead in range(lag + 1, lag + 1 + horizon):
        exposure[ahead : ahead + len(x)] += x
    away = np.where(exposure == 0, 0.0, returns - returns[np.isfinite(returns)].mean())
    scale = math.sqrt(float((away**2 * exposure**2).sum()))
    if scale == 0:
        return 0.0, 1.0
    t = float((x[valid] * forward[valid]).sum()) / scale
    return t, math.erfc(abs(t) / math.sqrt(2))


def disjoint(days: Ints, horizon: int) -> Ints:
    """The first of `days` (ascending) and each next one at least `horizon` after the last kept."""
    kept: list[int] = []
    for day in days:
        if not kept or day - kept[-1] >= horizon:
            kept.append(int(day))
    return np.array(kept, dtype=np.int64)


def binomial(hits: int, n: int, rate: float) -> float:
    """Two-sided exact binomial test: the chance of any count no likelier than `hits` of `n`."""
    k = np.arange(n + 1)
    chances = np.exp(
        gammaln(n + 1)
        - gammaln(k + 1)
        - gammaln(n - k + 1)
        + xlogy(k, rate)
        + xlog1py(n - k, -rate)
    )
    # As good as equal counts as equal: two sides of a symmetric distribution differ in rounding.
    return min(1.0, float(chances[chances <= chances[hits] * (1 + 1e-7)].sum()))


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust p-values so that any false finding among all has at most the level's chance.

    S. Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of
    Statistics 6 (1979): no assumption on how the tests depend on each other.
    """
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted = [0.0] * len(p_values)
    worst = 0.0
    for rank, i in enumerate(order):
        worst = max(worst, (len(p_values) - rank) * p_values[i])
        adjusted[i] = min(1.0, worst)
    return adjusted
