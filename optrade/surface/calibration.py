"""SVI fitted to quotes by weighted least squares, many slices at once.

Belongs here: the quasi-explicit calibration. Does not belong here: which quotes count and what
they weigh (`frames`), arbitrage.

Method: for given m and sigma the other three parameters enter linearly, and the best ones within
rho in [-1, 1] and wings no steeper than `svi.MOST_SLOPE` are known in closed form (Zeliade Systems,
"Quasi-explicit calibration of Gatheral's SVI model", 2009). What is left, two dimensions, is
searched on a grid and finished by Levenberg and Marquardt's method on the projected residual (G.
Golub and V. Pereyra's variable projection, in L. Kaufman's form). All steps work on arrays over
slices: a slice costs microseconds, and nothing is compiled.

Each slice is measured in units of its own quotes: x = (k - lowest k) / width. Quotes are padded
to a width that depends only on their number, so a slice gives the same bits in any company.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from optrade.surface.svi import MOST_SLOPE, Array, Slices

Rows = npt.NDArray[np.intp]
Flags = npt.NDArray[np.bool_]

M_RANGE: Final = (-1.0, 2.0)
"""m lies between these, in units of the quotes' width from the lowest one."""
SIGMA_RANGE: Final = (0.01, 2.0)
"""sigma lies between these, in units of the quotes' width."""
_GRID: Final = np.array([(m, s) for m in (0.15, 0.45, 0.6, 0.85) for s in (0.05, 0.15, 0.45)])
_TOGETHER: Final = 512  # slices whose arrays stay in a core's cache
_MOST_STEPS: Final = 30
_SETTLED: Final = 1e-6  # of the cost, gained by a step
_NO_STEP: Final = 1e8  # damping that allows none
_FLAT: Final = 1e-12  # determinant over the product of the diagonal
_SMALLEST: Final = 1e-300


class _Quotes(NamedTuple):
    """Quotes of some slices: x, y and weights by column, and their weighted moments by row."""

    x: Array
    weight: Array  # sums to one
    beside: Array  # weight x (1, x, y), x and y from their means
    x_mean: Array
    y_mean: Array
    xx: Array
    xy: Array
    yy: Array
    steepest: Array

    def take(self, rows: Rows | Flags | slice) -> _Quotes:
        return _Quotes(*(values[rows] for values in self))


class _Point(NamedTuple):
    """Where the search of each slice stands: parameters, cost, gradient and curvature."""

    m: Array
    sigma: Array
    p: Array
    b: Array
    root_mean: Array
    cost: Array
    slope_m: Array
    slope_s: Array
    mm: Array
    ms: Array
    ss: Array
    whole_mm: Array
    whole_ss: Array


def calibrate(k: Array, w: Array, weight: Array, sizes: npt.NDArray[np.int64]) -> Slices:
    """The slice of least sum of weight x (w(k) - w)^2 for each group of quotes.

    `k` (log-moneyness, rising within a slice), `w` (total variance) and `weight` (above zero)
    are flat, slice after slice; `sizes` says how many quotes each has. NaN where a slice has
    fewer than five quotes or spans no strikes.
    """
    found = np.full((5, len(sizes)), np.nan)
    ends = np.cumsum(sizes)
    first = ends - sizes
    last = np.maximum(ends - 1, first)
    fit = sizes >= len(found)
    fit[fit] = k[last[fit]] > k[first[fit]]
    widths = np.array([_padded(int(size)) for size in sizes], np.int64)
    for width in np.unique(widths[fit]):
        group = np.flatnonzero(fit & (widths == width))
        for rows in np.split(group, range(_TOGETHER, len(group), _TOGETHER)):
            columns = np.arange(width)
            at = np.minimum(first[rows, None] + columns, last[rows, None])
            held = columns < sizes[rows, None]
            found[:, rows] = _calibrated(k[at], w[at], np.where(held, weight[at], 0.0))
    return Slices(*found)


def _padded(size: int) -> int:
    """The least power of two, from 8, that is not below `size`."""
    return max(8, 1 << (size - 1).bit_length())


def _calibrated(k: Array, w: Array, weight: Array) -> Array:
    """Raw parameters, shape (5, slices), of padded quotes of shape (slices, columns)."""
    low, width = k[:, 0], k[:, -1] - k[:, 0]
    weight = weight / weight.sum(axis=1)[:, None]
    level = (weight * w).sum(axis=1)
    x, y = (k - low[:, None]) / width[:, None], w / level[:, None]
    quotes = _quotes(x, y, weight, MOST_SLOPE * width / level)
    best = _refined(quotes, *_started(quotes))
    rho = np.divide(best.p, best.b, out=np.zeros_like(best.b), where=best.b > 0)
    at_mean = quotes.y_mean - best.p * (quotes.x_mean - best.m) - best.b * best.root_mean
    slope = level / width
    return np.array(
        [level * at_mean, slope * best.b, rho, low + width * best.m, width * best.sigma]
    )


def _quotes(x: Array, y: Array, weight: Array, steepest: Array) -> _Quotes:
    x_mean, y_mean = (weight * x).sum(axis=1), (weight * y).sum(axis=1)
    away_x, away_y = x - x_mean[:, None], y - y_mean[:, None]
    by_x, by_y = weight * away_x, weight * away_y
    return _Quotes(
        x=x,
        weight=weight,
        beside=np.stack([weight, by_x, by_y], axis=2),
        x_mean=x_mean,
        y_mean=y_mean,
        xx=(by_x * away_x).sum(axis=1),
        xy=(by_x * away_y).sum(axis=1),
        yy=(by_y * away_y).sum(axis=1),
        steepest=steepest,
    )


def linear(xx: Array, xr: Array, rr: Array, xy: Array, ry: Array, top: Array) -> tuple[Array, ...]:
    """The best p = b rho and b for given centred moments of x, root and y, and what they save.

    Least squares on the convex set |p| <= b, b + |p| <= top: inside it, or on one of its four
    edges (b = |p| or b = top - |p|), each a parabola in its own length.
    """
    determinant = xx * rr - xr * xr
    b = (xx * ry - xr * xy) / np.maximum(determinant, _SMALLEST)
    p = (xy - xr * b) / xx
    inside = (np.abs(p) <= b) & (b + np.abs(p) <= top) & (determinant > _FLAT * xx * rr)

    def saved(p: Array, b: Array) -> Array:
        return 2 * (p * xy + b * ry) - (p * p * xx + 2 * p * b * xr + b * b * rr)

    if inside.all():
        return p, b, saved(p, b)
    most = np.where(inside, saved(p, b), -np.inf)
    half = top / 2
    for from_p, from_b, side in (
        (0.0, 0.0, 1.0),
        (0.0, 0.0, -1.0),
        (1.0, 1.0, -1.0),
        (-1.0, 1.0, 1.0),
    ):
        start_p, start_b = from_p * half, from_b * half
        pull = side * (xy - xx * start_p - xr * start_b) + ry - xr * start_p - rr * start_b
        bend = xx + 2 * side * xr + rr
        length = np.clip(pull / np.maximum(bend, _SMALLEST), 0.0, half)
        edge_p, edge_b = start_p + side * length, start_b + length
        gain = saved(edge_p, edge_b)
        better = ~inside & (gain > most)
        p, b, most = (
            np.where(better, new, old) for new, old in ((edge_p, p), (edge_b, b), (gain, most))
        )
    return p, b, most


def _started(quotes: _Quotes) -> tuple[Array, Array]:
    """The best m and sigma of the grid, by slice."""
    m, sigma = _GRID.T
    root = quotes.x[:, None, :] - m[:, None]
    root *= root
    root += (sigma * sigma)[:, None]
    np.sqrt(root, out=root)
    mean, xr, ry = np.moveaxis(root @ quotes.beside, 2, 0)
    x_mean, xx, xy, top = (
        values[:, None] for values in (quotes.x_mean, quotes.xx, quotes.xy, quotes.steepest)
    )
    rr = xx + (x_mean - m) ** 2 + sigma * sigma - mean * mean
    *_, saved = linear(
        np.broadcast_to(xx, rr.shape), xr, rr, np.broadcast_to(xy, rr.shape), ry, top
    )
    best = saved.argmax(axis=1)
    return m[best], sigma[best]


def _at(quotes: _Quotes, m: Array, sigma: Array) -> Array:
    """The fields of a `_Point` by row: the best linear parameters at m and sigma, and the rest."""
    away = quotes.x - m[:, None]
    square = (sigma * sigma)[:, None]
    root = np.sqrt(away * away + square)
    inverse = 1 / root
    bases = np.stack([root, -away * inverse, square * inverse], axis=1)  # R, dR/dm, dR/dln(sigma)
    mean, by_x, by_y = np.moveaxis(bases @ quotes.beside, 2, 0)
    across = (bases * quotes.weight[:, None, :]) @ bases.swapaxes(1, 2)
    across -= mean[:, :, None] * mean[:, None, :]
    p, b, saved = linear(
        quotes.xx, by_x[:, 0], across[:, 0, 0], quotes.xy, by_y[:, 0], quotes.steepest
    )
    pull = b[:, None] * (by_y - p[:, None] * by_x - b[:, None] * across[:, 0])
    # What x and the root itself can't take up is left of the two derivatives.
    left = across - by_x[:, :, None] * by_x[:, None, :] / quotes.xx[:, None, None]
    own = np.maximum(left[:, 0, 0], _SMALLEST)[:, None, None]
    left = left[:, 1:, 1:] - left[:, 1:, :1] * left[:, :1, 1:] / own
    scale = b * b
    return np.array((
        m, sigma, p, b, mean[:, 0], quotes.yy - saved, pull[:, 1], pull[:, 2],
        scale * left[:, 0, 0], scale * left[:, 0, 1], scale * left[:, 1, 1],
        scale * across[:, 1, 1], scale * across[:, 2, 2],
    ))  # fmt: skip


def _refined(quotes: _Quotes, m: Array, sigma: Array) -> _Point:
    """Levenberg and Marquardt's method in m and ln sigma until every slice has settled."""
    here = _at(quotes, m, sigma)
    result = here.copy()
    rows = np.arange(len(m))
    open_, damping = np.ones(len(m), bool), np.full(len(m), 1e-3)
    for _ in range(_MOST_STEPS):
        point = _Point(*here)
        there = _at(quotes, *_step(point, damping))
        to = _Point(*there)
        better = open_ & (to.cost <= point.cost)
        small = point.cost - to.cost <= _SETTLED * np.abs(point.cost) + 1e-16 * quotes.yy
        stuck = (to.m == point.m) & (to.sigma == point.sigma)
        np.copyto(here, there, where=better)
        damping = np.maximum(damping * np.where(better, 0.2, 6.0), 1e-9)
        open_ &= ~((small & better) | stuck | (damping > _NO_STEP))
        going = np.count_nonzero(open_)
        if 2 * going <= len(rows):
            result[:, rows] = here
            if not going:
                break
            rows, damping, here, quotes = (
                rows[open_],
                damping[open_],
                here[:, open_],
                quotes.take(open_),
            )
            open_ = np.ones(going, bool)
    result[:, rows] = here
    return _Point(*result)


def _step(point: _Point, damping: Array) -> tuple[Array, Array]:
    """The next m and sigma to try, inside their ranges; a bound that holds one is given up."""
    (m_low, m_high), (s_low, s_high) = M_RANGE, SIGMA_RANGE
    held_m = np.where(point.slope_m < 0, point.m <= m_low, point.m >= m_high)
    held_s = np.where(point.slope_s < 0, point.sigma <= s_low, point.sigma >= s_high)
    mm = np.where(held_m, 1.0, point.mm + damping * point.whole_mm + _SMALLEST)
    ss = np.where(held_s, 1.0, point.ss + damping * point.whole_ss + _SMALLEST)
    ms = np.where(held_m | held_s, 0.0, point.ms)
    slope_m, slope_s = np.where(held_m, 0.0, point.slope_m), np.where(held_s, 0.0, point.slope_s)
    determinant = np.maximum(mm * ss - ms * ms, _SMALLEST)
    step_m = np.clip((ss * slope_m - ms * slope_s) / determinant, -0.5, 0.5)
    step_s = np.clip((mm * slope_s - ms * slope_m) / determinant, -1.5, 1.5)
    m = np.clip(point.m + step_m, m_low, m_high)
    return m, np.clip(point.sigma * np.exp(step_s), s_low, s_high)
