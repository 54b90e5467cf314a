from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optrade.surface.arbitrage import LEAST_G, butterflies, calendars, lift
from optrade.surface.svi import Slices, durrleman, slices, total_variance

FULL = np.array([-1.5]), np.array([1.5])


def stacked(*rows: tuple[float, ...]) -> Slices:
    return Slices(*np.array(rows).T)


def test_vogts_butterfly_is_counted_and_located(vogt: Slices) -> None:
    found = butterflies(vogt, *FULL)
    k = np.linspace(-1.5, 1.5, 300_001)
    g = durrleman(vogt, k[None])[0]
    assert found.violations[0] == 1
    assert found.min_g[0] == pytest.approx(g.min(), abs=1e-7)
    assert found.at[0] == pytest.approx(k[g.argmin()], abs=1e-3)
    assert butterflies(vogt, np.array([-1.5]), np.array([0.5])).violations[0] == 0


def test_a_slice_without_has_none_and_one_bent_twice_has_two() -> None:
    rows = stacked((0.04, 0.1, -0.3, 0.0, 0.2), (-0.034, 0.35, 0.0, 0.0, 0.11))
    found = butterflies(rows, np.full(2, -0.6), np.full(2, 0.6))
    assert found.violations.tolist() == [0, 2]
    assert found.min_g[0] > 0 > found.min_g[1]


def test_the_sharpest_bend_is_seen() -> None:
    # Total variance reaches its bottom, below zero, only within a ten-thousandth of the range.
    found = butterflies(slices(-1e-6, 0.01, 0.0, 0.1234, 1e-5), *FULL)
    assert found.violations[0] >= 1
    assert found.min_g[0] == LEAST_G
    assert found.at[0] == pytest.approx(0.1234, abs=1e-4)


def test_calendars_by_hand() -> None:
    # Flat slices but for the second, 0.04 + 0.1 |k| nearly: below the first's 0.05 for |k| < 0.1.
    rows = stacked(
        (0.05, 0.0, 0.0, 0.0, 1.0), (0.04, 0.1, 0.0, 0.0, 1e-6), (0.055, 0.0, 0.0, 0.0, 1.0),
        (0.03, 0.0, 0.0, 0.0, 1.0),
    )  # fmt: skip
    surface = np.array([1, 1, 1, 2])
    found = calendars(rows, surface, np.full(4, -0.3), np.full(4, 0.3))
    # The third is below the second on either side of |k| = 0.15; the fourth is another surface's.
    assert found.violations.tolist() == [0, 1, 2, 0]
    assert found.gap[1:3] == pytest.approx([0.01, 0.015], abs=1e-5)
    assert found.at[1] == pytest.approx(0, abs=1e-3)
    assert abs(found.at[2]) == pytest.approx(0.3)
    assert np.isnan(found.gap[[0, 3]]).all()
    apart = calendars(
        rows, surface, np.array([-0.3, 0.1, 0.1, 0.0]), np.array([0.0, 0.3, 0.14, 1.0])
    )
    assert apart.violations.tolist() == [0, 0, 0, 0]


@settings(deadline=None, max_examples=80)
@given(
    st.floats(-0.5, 0.5), st.floats(0.0, 1.0), st.floats(-0.9, 0.9), st.floats(-0.5, 0.5),
    st.floats(0.01, 1.0), st.sampled_from([0.0, 1e-3, 0.1]),
)  # fmt: skip
def test_the_lift_is_enough_and_no_more(
    a: float, b: float, rho: float, m: float, sigma: float, margin: float
) -> None:
    one, k = slices(a, b, rho, m, sigma), np.linspace(-1, 1, 101)[None]
    by = lift(one, k, margin)
    raised = one._replace(a=one.a + by)
    higher = one._replace(a=one.a + by + 0.3)
    assert durrleman(raised, k).min() >= margin - 1e-9
    assert durrleman(higher, k).min() >= margin - 1e-9
    if by > 1e-6:
        short = one._replace(a=one.a + by * (1 - 1e-3) - 1e-9)
        floor = (margin + 1e-6) * np.abs(total_variance(one, k)).max() + 1e-12
        assert durrleman(short, k).min() < margin or total_variance(short, k).min() < floor
