"""Raw SVI: the total variance of one expiry as a function of log-moneyness.

Belongs here: the formula, its derivatives and Durrleman's function. Does not belong here:
fitting (`calibration`), what is done about arbitrage (`arbitrage`, `repair`).

Sources: J. Gatheral, "A parsimonious arbitrage-free implied volatility parameterization" (2004);
J. Gatheral and A. Jacquier, "Arbitrage-free SVI volatility surfaces", Quantitative Finance 14
(2014); V. Durrleman, "A note on initial volatility surface" (2003).
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

MOST_SLOPE: Final = 2.0
"""No arbitrage-free smile is steeper than this in either wing, in total variance (Lee, 2004)."""


class Slices(NamedTuple):
    """Raw SVI parameters of any number of slices, each an array of the same shape.

    w(k) = a + b (rho (k - m) + sqrt((k - m)^2 + sigma^2)), w the total variance (volatility
    squared x years), k = ln(strike / forward).
    """

    a: Array
    b: Array
    rho: Array
    m: Array
    sigma: Array

    def take(self, rows: npt.NDArray[np.intp] | npt.NDArray[np.bool_]) -> Slices:
        """Those slices alone."""
        return Slices(*(values[rows] for values in self))


def slices(a: float, b: float, rho: float, m: float, sigma: float) -> Slices:
    """One slice, as arrays of length one."""
    return Slices(*(np.array([value], np.float64) for value in (a, b, rho, m, sigma)))


def total_variance(of: Slices, k: Array) -> Array:
    """w(k); `k` has one more axis than the parameters, the points of each slice."""
    a, b, rho, m, sigma = (values[..., None] for values in of)
    x = k - m
    return np.asarray(a + b * (rho * x + np.sqrt(x * x + sigma * sigma)))


def derivatives(of: Slices, k: Array) -> tuple[Array, Array, Array]:
    """w(k), w'(k) and w''(k); shapes as in `total_variance`."""
    a, b, rho, m, sigma = (values[..., None] for values in of)
    x = k - m
    root = np.sqrt(x * x + sigma * sigma)
    share = sigma / root
    return a + b * (rho * x + root), b * (rho + x / root), b * share * share / root


def durrleman(of: Slices, k: Array) -> Array:
    """g(k), below zero where the slice implies a negative density; -inf where w(k) <= 0.

    g = (1 - k w' / 2w)^2 - w'^2 / 4 (1/w + 1/4) + w''/2 (Gatheral and Jacquier, eq. 2.1).
    Shapes as in `total_variance`.

    >>> vogt = slices(-0.0410, 0.1331, 0.3060, 0.3586, 0.4153)
    >>> round(float(durrleman(vogt, np.array([[0.8]]))[0, 0]), 3)
    -0.026
    """
    w, slope, bend = derivatives(of, k)
    with np.errstate(divide="ignore", invalid="ignore"):
        tilt = 1 - k * slope / (2 * w)
        g = tilt * tilt - slope * slope / 4 * (1 / w + 0.25) + bend / 2
    return np.where(w > 0, g, -np.inf)
