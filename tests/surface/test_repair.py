from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optrade.surface.arbitrage import butterflies, calendars, lift
from optrade.surface.repair import Quotes, Range, _Problem, repaired
from optrade.surface.svi import Slices, durrleman, slices, total_variance

FINE = 10_001


def quotes_of(of: Slices, k: np.ndarray) -> Quotes:
    w = total_variance(of, k[None])[0]
    return Quotes(k, w, 1 / w**2)


def relative_error(of: Slices, quotes: Quotes) -> float:
    w = total_variance(of, quotes.k[None])[0]
    return float(np.sqrt(np.mean((w / quotes.w - 1) ** 2)))


def least_g(of: Slices, where: Range) -> np.ndarray:
    return durrleman(of, np.linspace(where.low, where.high, FINE, axis=1)).min(axis=1)


def test_vogts_slice_is_repaired_closely(vogt: Slices) -> None:
    quotes = quotes_of(vogt, np.linspace(-1.5, 1.5, 31))
    where = Range(np.array([-1.5]), np.array([1.5]))
    new, changed = repaired(vogt, [quotes], where)
    assert changed.tolist() == [True]
    assert least_g(new, where)[0] >= 0
    assert relative_error(new, quotes) < 0.12
    lifted = vogt._replace(a=vogt.a + lift(vogt, np.linspace(-1.5, 1.5, 1001)[None]))
    assert least_g(lifted, where)[0] >= -1e-6
    assert relative_error(new, quotes) < 0.5 * relative_error(lifted, quotes)


def any_slice(random: np.random.Generator, level: float) -> tuple[Slices, np.ndarray]:
    """Any raw SVI slice of positive variance, most often with butterflies, and strikes."""
    deviation = np.sqrt(level)
    width = deviation * random.uniform(3, 9)
    low = -width * random.uniform(0.2, 0.8)
    k = np.linspace(low, low + width, int(random.integers(6, 60)))
    b = 1.99 * random.uniform() ** 2
    rho = random.uniform(-1, 1) * min(1.0, 2 / b - 1)
    m = random.uniform(low - width / 2, low + 1.5 * width)
    sigma = width * np.exp(random.uniform(np.log(0.011), np.log(1.9)))
    bare = slices(0.0, b, rho, m, sigma)
    bottom = total_variance(bare, k[None]).min()
    return bare._replace(a=np.array([level * random.uniform(0.2, 3) - bottom])), k


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10**6))
def test_no_butterfly_outlives_the_repair(seed: int) -> None:
    random = np.random.default_rng(seed)
    bent, k = any_slice(random, random.uniform(0.001, 0.3))
    where = Range(k[:1], k[-1:])
    new, changed = repaired(bent, [quotes_of(bent, k)], where)
    assert changed[0] == bool(butterflies(bent, *where).violations[0])
    assert least_g(new, where)[0] >= 0
    assert new.b[0] * (1 + abs(new.rho[0])) <= 2 + 1e-9


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 10**6))
def test_no_calendar_outlives_it_either(seed: int) -> None:
    random = np.random.default_rng(seed)
    made = [any_slice(random, random.uniform(0.001, 0.1)) for _ in range(3)]
    of = Slices(*(np.concatenate(values) for values in zip(*(one for one, _ in made), strict=True)))
    where = Range(np.array([k[0] for _, k in made]), np.array([k[-1] for _, k in made]))
    new, _ = repaired(of, [quotes_of(one, k) for one, k in made], where)
    assert (least_g(new, where) >= 0).all()
    for near, far in ((0, 1), (0, 2), (1, 2)):
        low, high = where.low[[near, far]].max(), where.high[[near, far]].min()
        if low < high:
            k = np.linspace(low, high, FINE)
            w = total_variance(new.take(np.array([near, far])), np.stack([k, k]))
            assert (w[1] >= w[0]).all()


def test_a_slice_below_an_earlier_one_comes_to_lie_on_it() -> None:
    near, far = (0.010, 0.05, -0.3, 0.0, 0.1), (0.012, 0.04, -0.3, 0.0, 0.1)
    of = Slices(*np.array([near, far]).T)
    k = np.linspace(-0.5, 0.5, 41)
    where = Range(np.full(2, -0.5), np.full(2, 0.5))
    assert calendars(of, np.zeros(2, np.int64), *where).violations.tolist() == [0, 2]
    quotes = [quotes_of(of.take(np.array([row])), k) for row in (0, 1)]
    new, changed = repaired(of, quotes, where)
    assert changed.tolist() == [False, True]
    assert [v[0] for v in new] == list(near)
    above = np.subtract(*total_variance(new, np.stack([k, k]))[::-1])
    assert 0 < above.min() < 3e-4
    least = np.maximum(*total_variance(of, np.stack([k, k]))) / quotes[1].w - 1
    assert relative_error(new.take(np.array([1])), quotes[1]) < 1.1 * np.sqrt(np.mean(least**2))


def test_what_has_no_arbitrage_is_kept_to_the_bit() -> None:
    rows = [(0.01, 0.05, -0.3, 0.0, 0.1), (0.02, 0.06, -0.3, 0.0, 0.1)]
    of = Slices(*np.array(rows).T)
    k = np.linspace(-0.5, 0.5, 21)
    quotes = [quotes_of(of.take(np.array([row])), k) for row in (0, 1)]
    new, changed = repaired(of, quotes, Range(np.full(2, -0.5), np.full(2, 0.5)))
    assert not changed.any()
    assert np.array_equal(np.array(new), np.array(of))


def test_the_gradients_are_those_of_the_constraints(vogt: Slices) -> None:
    where = Range(np.full(2, -1.5), np.full(2, 1.5))
    problem = _Problem.of(
        quotes_of(vogt, np.linspace(-1.5, 1.5, 31)), slices(0.01, 0.05, 0.0, 0.0, 0.5), where
    )
    at, step = problem.variables(vogt) + 0.05, 1e-6
    _, by_cost, _, by_constraints = problem._evaluated(at)
    ends = [[problem._evaluated(at + s * step * e) for s in (1, -1)] for e in np.eye(5)]
    cost, constraints = (
        np.array([(up[n] - down[n]) / (2 * step) for up, down in ends]) for n in (0, 2)
    )
    assert by_cost == pytest.approx(cost, abs=1e-7)
    assert np.abs(by_constraints.T - constraints).max() < 1e-6
