from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from optrade.surface.svi import Slices, derivatives, durrleman, slices, total_variance

K = np.linspace(-1.5, 1.5, 61)[None]


def test_a_slice_by_hand() -> None:
    # x = 0.3, root = 0.5: w = 0.04 + 0.1 (-0.5 x 0.3 + 0.5), slope 0.1 (-0.5 + 0.6),
    # bend 0.1 x 0.16 / 0.125.
    one, k = slices(0.04, 0.1, -0.5, 0.1, 0.4), np.array([[0.4]])
    assert total_variance(one, k)[0, 0] == pytest.approx(0.075)
    assert [float(part[0, 0]) for part in derivatives(one, k)] == pytest.approx(
        [0.075, 0.01, 0.128]
    )
    g = (1 - 0.4 * 0.01 / 0.15) ** 2 - 0.01**2 / 4 * (1 / 0.075 + 0.25) + 0.064
    assert durrleman(one, k)[0, 0] == pytest.approx(g)


def test_a_flat_smile_is_lognormal() -> None:
    assert durrleman(slices(0.04, 0.0, 0.0, 0.0, 1.0), K) == pytest.approx(1.0)


def test_no_variance_no_density() -> None:
    assert np.all(durrleman(slices(-1.0, 0.1, 0.0, 0.0, 0.1), K) == -np.inf)


def test_vogts_slice_has_a_butterfly(vogt: Slices) -> None:
    g = durrleman(vogt, K)[0]
    assert g.min() == pytest.approx(-0.0329, abs=5e-4)
    assert 0.7 < K[0, g.argmin()] < 1.0
    assert total_variance(vogt, K).min() > 0


@given(
    st.floats(0.01, 1), st.floats(0.01, 1), st.floats(-0.99, 0.99), st.floats(-0.5, 0.5),
    st.floats(0.05, 1),
)  # fmt: skip
def test_derivatives_are_those_of_the_formula(
    a: float, b: float, rho: float, m: float, sigma: float
) -> None:
    one, step = slices(a, b, rho, m, sigma), 1e-4
    below, here, above = (total_variance(one, K + move) for move in (-step, 0.0, step))
    w, slope, bend = derivatives(one, K)
    assert w == pytest.approx(here)
    assert slope == pytest.approx((above - below) / (2 * step), abs=1e-5)
    assert bend == pytest.approx((above - 2 * here + below) / step**2, abs=2e-3, rel=1e-3)
