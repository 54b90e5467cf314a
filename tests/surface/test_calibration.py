from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import least_squares

from optrade.surface.calibration import calibrate
from optrade.surface.svi import MOST_SLOPE, Slices, slices, total_variance

Array = np.ndarray


def smile(seed: int, count: int, noise: float) -> tuple[Array, Array]:
    """Log-moneyness and total variance of one expiry as an index shows it."""
    random = np.random.default_rng(seed)
    deviation = random.uniform(0.01, 0.3)
    k = np.sort(random.uniform(-4, 4, count)) * deviation
    rho, b = random.uniform(-0.7, 0.3), random.uniform(0.05, 0.4) * deviation
    m, sigma = random.uniform(-0.5, 0.8) * deviation, random.uniform(0.3, 1.8) * deviation
    low = b * sigma * np.sqrt(1 - rho * rho)
    truth = slices(random.uniform(0.3, 1) * deviation**2 - low, b, rho, m, sigma)
    return k, total_variance(truth, k[None])[0] * (1 + noise * random.standard_normal(count))


def together(*smiles: tuple[Array, Array]) -> Slices:
    k, w = (np.concatenate(part) for part in zip(*smiles, strict=True))
    return calibrate(k, w, 1 / w, np.array([len(one[0]) for one in smiles]))


def relative_error(of: Slices, row: int, k: Array, w: Array) -> float:
    fitted = total_variance(of.take(np.array([row])), k[None])[0]
    return float(np.sqrt(np.average((fitted - w) ** 2, weights=1 / w) / w.mean()))


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10**6), st.integers(8, 120))
def test_a_slice_gives_itself(seed: int, count: int) -> None:
    k, w = smile(seed, count, 0.0)
    assert relative_error(together((k, w)), 0, k, w) < 2e-3


def test_no_worse_than_levenberg_and_marquardt_in_five_parameters() -> None:
    smiles = [smile(seed, 20 + seed, 0.01) for seed in range(40)]
    found = together(*smiles)
    for row, (k, w) in enumerate(smiles):
        deviation = np.sqrt(w.min())

        def missed(p: Array, k: Array = k, w: Array = w) -> Array:
            x = k - p[3]
            root = np.sqrt(x * x + p[4] ** 2)
            return (p[0] + p[1] * (p[2] * x + root) - w) / np.sqrt(w)

        starts = ([w.min() / 2, 0.3 * deviation, rho, 0.0, deviation] for rho in (-0.4, 0.0))
        peer = min(2 * least_squares(missed, start, method="lm").cost for start in starts)
        peer_error = np.sqrt(peer / np.sum(1 / w) / w.mean())
        assert relative_error(found, row, k, w) <= 1.001 * peer_error


def test_a_slice_is_the_same_in_any_company() -> None:
    smiles = [smile(seed, 6 + 7 * seed % 90, 0.02) for seed in range(30)]
    company = together(*smiles)
    for row, one in enumerate(smiles):
        alone = together(one)
        assert [v[0] for v in alone] == [v[row] for v in company]


def test_weights_decide() -> None:
    k, w = smile(3, 40, 0.0)
    spoiled = w.copy()
    spoiled[::8] *= 1.3
    weight = np.where(spoiled == w, 1.0, 1e-9)
    found = calibrate(k, spoiled, weight, np.array([40]))
    assert relative_error(found, 0, k, w) < 1e-3


@pytest.mark.parametrize("shape", ["flat", "line", "cap", "cliff", "tiny", "one wing"])
def test_quotes_no_slice_can_take_give_numbers_within_the_bounds(shape: str) -> None:
    k = np.linspace(-0.1, 0.1, 30)
    w = {
        "flat": np.full(30, 0.01),
        "line": 0.01 + 0.05 * k,
        "cap": 0.02 - k * k,
        "cliff": np.where(k < 0, 0.5, 0.001),
        "tiny": np.full(30, 1e-12) * (1 + k),
        "one wing": 0.001 + 5 * np.maximum(k, 0),
    }[shape]
    found = together((k, w))
    assert np.isfinite(found).all()
    b, rho = found.b[0], found.rho[0]
    assert 0 <= b * (1 + abs(rho)) <= MOST_SLOPE * (1 + 1e-9)
    assert abs(rho) <= 1
    assert found.sigma[0] > 0
    if shape in {"flat", "line"}:
        assert relative_error(found, 0, k, w) < 0.01


def test_too_few_quotes_and_no_width_give_none() -> None:
    k, w = np.array([0.0, 0.1, 0.2, 0.3, *[0.5] * 6]), np.full(10, 0.01)
    found = calibrate(k, w, np.ones(10), np.array([4, 6, 0]))
    assert np.isnan(found).all()
    assert [len(v) for v in calibrate(k[:0], w[:0], w[:0], np.array([], np.int64))] == [0] * 5
