"""What an option is worth in the simulated market, and the India VIX that follows.

Belongs here: the implied variance surface, Black's formula on arrays, the fair variance.
Does not belong here: solving for a volatility from a price (`optrade.pricing`), contracts.

The surface is SSVI (Gatheral & Jacquier 2014): total variance w(k) = theta/2 (1 + rho phi k +
sqrt((phi k + rho)^2 + 1 - rho^2)), theta the expected variance to expiry under the simulated
process times a risk premium. Variance accrues in sessions, discounting in calendar time, so
that a weekend costs interest but no variance.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import ndtr

from optrade.simulation.parameters import Smile, Variance
from optrade.simulation.paths import Floats

_GRID = np.linspace(-10.0, 10.0, 401)
_VIX_DAYS = 30.0
_DAYS_PER_YEAR = 365.0


def atm_total_variance(variance: Any, years: Any, model: Variance, ratio: float) -> Floats:
    """Total variance at the forward: `variance` now, `years` of sessions left, broadcast.

    `ratio` is the asset's variance over the market's. Increases with `years`.
    """
    decay = -np.expm1(-model.reversion * years) / model.reversion
    expected = model.mean * years + (variance - model.mean) * decay
    return np.asarray(model.risk_premium * ratio * expected, dtype=np.float64)


def total_variance(log_moneyness: Floats, theta: Floats, smile: Smile) -> Floats:
    """SSVI total variance at log(strike / forward); zero where `theta` is."""
    safe = np.maximum(theta, 1e-12)
    phi = smile.eta / (safe**smile.gamma * (1 + safe) ** (1 - smile.gamma))
    slope = phi * log_moneyness
    root = np.sqrt((slope + smile.rho) ** 2 + 1 - smile.rho**2)
    return np.asarray(theta / 2 * (1 + smile.rho * slope + root), dtype=np.float64)


def black(forward: Floats, strike: Floats, total: Floats, call: Any) -> Floats:
    """Undiscounted Black (1976) price of `total` variance; intrinsic value where it is zero."""
    deviation = np.sqrt(np.maximum(total, 1e-14))
    d1 = np.log(forward / strike) / deviation + deviation / 2
    sign = np.where(call, 1.0, -1.0)
    price = sign * (forward * ndtr(sign * d1) - strike * ndtr(sign * (d1 - deviation)))
    return np.asarray(np.maximum(price, np.maximum(sign * (forward - strike), 0.0)))


def fair_variance(theta: Floats, smile: Smile) -> Floats:
    """Total variance a log contract pays for: w averaged over d2 (Gatheral 2006, ch. 11)."""
    k = np.sqrt(theta)[..., None] * _GRID
    w = total_variance(k, theta[..., None], smile)
    z = -k / np.sqrt(w) - np.sqrt(w) / 2
    density = np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)
    return np.asarray(np.trapezoid(w * density, -z, axis=-1), dtype=np.float64)


def volatility_index(near: Floats, following: Floats, days: Floats) -> Floats:
    """India VIX, in points, from the fair total variances of two expiries; `days` (..., 2) away.

    Linear in total variance to 30 calendar days, as the exchange's method does.
    """
    share = (_VIX_DAYS - days[..., 0]) / (days[..., 1] - days[..., 0])
    at_30 = near + share * (following - near)
    return np.asarray(100 * np.sqrt(at_30 * _DAYS_PER_YEAR / _VIX_DAYS), dtype=np.float64)
