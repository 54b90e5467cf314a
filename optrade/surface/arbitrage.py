"""Static arbitrage in fitted slices: where it is, how bad, and the least lift that ends it.

Belongs here: the numerical audit of butterflies (Durrleman's g >= 0) and of calendars (total
variance not falling from one expiry to a later one). Does not belong here: fitting a slice again
(`repair`).

An audit covers a range of strikes; that of a fitted slice are its quoted ones. Beyond them a slice
repeats no quote, and bending it there for the sake of another slice's invention spoils the fit
where there are quotes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from optrade.surface.svi import Array, Slices, derivatives, durrleman, total_variance

LEAST_G: Final = -100.0
"""What stands for any lower g, and for g where total variance is not positive."""
_EVEN, _AROUND, _CLOSE = 161, 81, 33
_POSITIVE: Final = 1e-6  # of the highest total variance
_TINY: Final = 1e-12
_NARROW: Final = 1e-12  # of 1 - rho^2
_TOGETHER: Final = 512  # slices whose grids stay in a core's cache


class Butterflies(NamedTuple):
    """The least g of each slice, the log-moneyness it is at, and on how many intervals g < 0."""

    min_g: Array
    at: Array
    violations: npt.NDArray[np.int64]


class Calendars(NamedTuple):
    """The most by which each slice lies below an earlier expiry, in total variance.

    With it the log-moneyness of that (both NaN if it never does), and on how many intervals it
    does, each earlier expiry counted apart.
    """

    gap: Array
    at: Array
    violations: npt.NDArray[np.int64]


def butterflies(of: Slices, low: Array, high: Array) -> Butterflies:
    """Search g from `low` to `high`, log-moneyness by slice.

    The grid is even over the range and, besides, even in asinh((k - m) / sigma), so that a bend
    of any sharpness is seen.
    """
    pieces = [
        _butterflies(Slices(*(v[at] for v in of)), low[at], high[at])
        for start in range(0, len(low), _TOGETHER)
        for at in (slice(start, start + _TOGETHER),)
    ]
    if not pieces:
        return Butterflies(np.empty(0), np.empty(0), np.empty(0, np.int64))
    return Butterflies(*(np.concatenate(part) for part in zip(*pieces, strict=True)))


def _butterflies(of: Slices, low: Array, high: Array) -> Butterflies:
    least, at, runs = _lowest(lambda k: durrleman(of, k), audit_grid(of, low, high))
    return Butterflies(np.maximum(least, LEAST_G), at, runs)


def _lowest(
    function: Callable[[Array], Array], k: Array
) -> tuple[Array, Array, npt.NDArray[np.int64]]:
    """By row of rising points: the least value near them, where, and on how many runs it is < 0.

    Around its lowest point the function is looked at again, far more finely.
    """
    values = function(k)
    below = values < 0
    runs = below[:, 0] + (below[:, 1:] & ~below[:, :-1]).sum(axis=1)
    rows, worst = np.arange(len(k)), values.argmin(axis=1)
    left = k[rows, np.maximum(worst - 1, 0)]
    right = k[rows, np.minimum(worst + 1, k.shape[1] - 1)]
    close = left[:, None] + (right - left)[:, None] * np.linspace(0, 1, _CLOSE)
    close = np.concatenate([k[rows, worst][:, None], close], axis=1)
    finer = function(close)
    best = finer.argmin(axis=1)
    least = finer[rows, best]
    return least, close[rows, best], np.maximum(runs, least < 0)


def audit_grid(of: Slices, low: Array, high: Array) -> Array:
    """Log-moneyness at which a slice is audited, rising, shape (slices, points).

    It holds the slice's lowest point, where that is in the range.
    """
    width = (high - low)[:, None]
    even = low[:, None] + width * np.linspace(0, 1, _EVEN)
    m, sigma = of.m[:, None], of.sigma[:, None]
    first, last = (np.arcsinh((end[:, None] - m) / sigma) for end in (low, high))
    around = m + sigma * np.sinh(first + (last - first) * np.linspace(0, 1, _AROUND))
    level = np.sqrt(np.maximum(1 - of.rho * of.rho, _NARROW))
    bottom = (of.m - of.rho * of.sigma / level)[:, None]
    there = np.concatenate([around, bottom], axis=1)
    return np.sort(np.concatenate([even, np.clip(there, low[:, None], high[:, None])], axis=1))


def calendars(of: Slices, surface: npt.NDArray[np.int64], low: Array, high: Array) -> Calendars:
    """Hold every slice against all earlier expiries of its surface, where their ranges overlap.

    Rows are ordered by `surface` (a number for each underlying and moment) and expiry.
    """
    count = len(low)
    gap, at, violations = np.full(count, np.nan), np.full(count, np.nan), np.zeros(count, np.int64)
    for back in range(1, count):
        later = np.arange(back, count)
        later = later[surface[later] == surface[later - back]]
        if not later.size:
            break
        earlier = later - back
        bottom, top = np.maximum(low[later], low[earlier]), np.minimum(high[later], high[earlier])
        shared = bottom < top
        later, earlier, bottom, top = later[shared], earlier[shared], bottom[shared], top[shared]
        first, second = of.take(earlier), of.take(later)

        def above(k: Array, first: Slices = first, second: Slices = second) -> Array:
            return total_variance(second, k) - total_variance(first, k)

        least, where, runs = _lowest(above, np.linspace(bottom, top, _EVEN, axis=1))
        violations[later] += runs
        worse = (least < 0) & ~(-least <= gap[later])
        gap[later[worse]], at[later[worse]] = -least[worse], where[worse]
    return Calendars(gap, at, violations)


def lift(of: Slices, k: Array, margin: float = 0.0) -> Array:
    """The least constant that, added to each slice, makes g at least `margin` at the points `k`.

    With u = 1/w and w', w'' untouched by a constant, g = (1 - c u)^2 - e u + f is a parabola in
    u, c = k w'/2, e = w'^2/4, f = w''/2 - w'^2/16; g >= margin for every u up to its lower root.
    Any larger constant serves as well, and one exists wherever |w'| <= 2, since g tends to 1 + f
    >= 3/4. Total variance ends up above (`margin` + 1e-6) of its highest; 0 where nothing is
    needed.
    """
    w, slope, bend = derivatives(of, k)
    c, e, f = k * slope / 2, slope * slope / 4, bend / 2 - slope * slope / 16
    half, rest = c + e / 2, 1 + f - margin
    inner = half * half - c * c * rest
    touched = (inner >= 0) & (half > 0)
    reciprocal = np.where(touched, half + np.sqrt(np.maximum(inner, 0)), 0.0) / rest
    least = (margin + _POSITIVE) * np.abs(w).max(axis=-1) + _TINY
    return np.asarray(np.maximum((np.maximum(reciprocal, least[..., None]) - w).max(axis=-1), 0.0))
