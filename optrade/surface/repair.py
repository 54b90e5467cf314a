"""A slice with arbitrage, fitted again so that it has none.

Belongs here: the constrained fit of one slice and of one surface. Does not belong here: finding
arbitrage (`arbitrage`), fits without constraints (`calibration`).

Method: the calibration's weighted least squares, under g >= MARGIN_G and, where an earlier expiry
reaches, a total variance above its own, both on a grid (sequential quadratic programming with
exact gradients). What the grid misses or the solver leaves is ended by the least constant that
does it (`arbitrage.lift`), so the result is free of arbitrage on the audit's own finer grid
whatever the solver did. Expiries go from near to far, each above all before it, as in section 5.2
of Gatheral and Jacquier (2014).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize

from optrade.surface.arbitrage import audit_grid, butterflies, calendars, lift
from optrade.surface.calibration import M_RANGE, SIGMA_RANGE, linear
from optrade.surface.svi import MOST_SLOPE, Array, Slices, slices, total_variance

MARGIN_G: Final = 1e-3
"""What g is kept above on the solver's grid, so that it stays above zero between its points."""
MARGIN_W: Final = 1e-4
"""How far a slice is kept above earlier ones, in units of its quotes' mean total variance."""
_LIFT_MARGINS: Final = (0.0, 1e-6, 1e-4, 1e-2)
_POINTS, _FLOOR_POINTS, _POSITIVE_EVERY = 121, 61, 4
_BOUNDS: Final = np.array(
    [
        [0, -1, 1, 0, 0],
        [0, 1, 1, 0, 0],
        [0, -1, -1, 0, 0],
        [0, 1, -1, 0, 0],
        [0, 0, 0, 1, 0],
        [0, 0, 0, -1, 0],
        [0, 0, 0, 0, 1],
        [0, 0, 0, 0, -1],
    ],
    np.float64,
)
_MOST_STEPS: Final = 60
_SETTLED: Final = 1e-4  # of the start's cost
_POOR: Final = 1.2  # of the fit's cost: above, a second start is tried
_MOST_ROUNDS: Final = 3
_WORTH: Final = 0.99  # of the last round's cost: above, another is not worth it
_LATTICE: Final = (
    np.linspace(-0.5, 1.5, 9),  # m
    np.geomspace(0.03, 1.5, 6),  # sigma
    np.array([0.05, 0.2, 0.4, 0.6, 0.8, 1.0]),  # of the best wings
)


class Quotes(NamedTuple):
    """What one slice is fitted to: log-moneyness (rising), total variance and weight."""

    k: Array
    w: Array
    weight: Array


class Range(NamedTuple):
    """Where slices have to be free of arbitrage: log-moneyness by slice."""

    low: Array
    high: Array

    def take(self, rows: npt.NDArray[np.intp]) -> Range:
        """Those of some slices."""
        return Range(self.low[rows], self.high[rows])


def repaired(
    fitted: Slices, quotes: Sequence[Quotes], where: Range
) -> tuple[Slices, npt.NDArray[np.bool_]]:
    """The slices of one surface without arbitrage inside `where`, and which of them changed.

    Rows are the expiries of one surface, near to far; a slice that has neither kind of violation
    against what now stands before it is kept to the bit.
    """
    result = Slices(*(values.copy() for values in fitted))
    changed = np.zeros(len(where.low), bool)
    for row in range(len(changed)):
        upto = np.arange(row + 1)
        if not _violations(result.take(upto), where.take(upto)):
            continue
        before = result.take(upto[:-1])
        new = _repaired(quotes[row], result.take(upto[-1:]), before, where.take(upto))
        for values, value in zip(result, new, strict=True):
            values[row] = value[0]
        changed[row] = True
    return result, changed


def _violations(held: Slices, where: Range) -> int:
    """How many the last of some slices has: butterflies of its own, and against the others."""
    last = np.array([len(where.low) - 1])
    own = butterflies(held.take(last), *where.take(last)).violations[0]
    surface = np.zeros(len(where.low), np.int64)
    return int(own + calendars(held, surface, *where).violations[-1])


def _repaired(quotes: Quotes, start: Slices, before: Slices, where: Range) -> Slices:
    """One slice above those `before`; the ranges are theirs and, last, its own."""
    problem = _Problem.of(quotes, before, where)
    fitted = problem.variables(start)
    best, least = start, np.inf
    for begin in (fitted, problem.least_lifted()):
        variables = begin
        for _ in range(_MOST_ROUNDS):
            freed = _freed(problem.slice(problem.solved(variables)), before, where, problem.level)
            variables = problem.variables(freed)
            cost = problem.cost(variables)[0]
            if cost > _WORTH * least:
                break
            best, least = freed, cost
        if least <= _POOR * problem.cost(fitted)[0]:
            break
    return best


def _freed(one: Slices, before: Slices, where: Range, level: float) -> Slices:
    """A slice lifted until the audit finds nothing."""
    own = where.take(np.array([len(where.low) - 1]))
    surface = np.zeros(len(where.low), np.int64)
    for margin in _LIFT_MARGINS:
        one = one._replace(a=one.a + lift(one, audit_grid(one, *own), margin))
        gap = calendars(_joined(before, one), surface, *where).gap[-1]
        if gap > 0:
            one = one._replace(a=one.a + gap + MARGIN_W * level)
        if not _violations(_joined(before, one), where):
            break
    return one


def _joined(before: Slices, one: Slices) -> Slices:
    return Slices(*(np.concatenate(parts) for parts in zip(before, one, strict=True)))


@dataclass(frozen=True)
class _Problem:
    """The constrained fit of one slice, in variables of order one.

    They are a, b rho, b, m and ln(sigma), divided by `unit`, with m and sigma measured from the
    lowest quote and in the quotes' width.
    """

    k: Array
    w: Array
    root_weight: Array
    level: float
    width: float
    unit: Array
    grid: Array
    floor_k: Array
    floor_w: Array

    @classmethod
    def of(cls, quotes: Quotes, before: Slices, where: Range) -> _Problem:
        """For quotes, the slices of earlier expiries, and the ranges of all and of its own."""
        weight = quotes.weight / (quotes.weight * quotes.w**2).sum()
        width, level = float(quotes.k[-1] - quotes.k[0]), float(weight.sum() ** -0.5)
        low, high = np.maximum(where.low, where.low[-1]), np.minimum(where.high, where.high[-1])
        shared = np.flatnonzero(low[:-1] < high[:-1])
        floor_k = np.linspace(low[shared], high[shared], _FLOOR_POINTS, axis=1)
        return cls(
            k=quotes.k,
            w=quotes.w,
            root_weight=np.sqrt(weight),
            level=level,
            width=width,
            unit=np.array([level, level / width, level / width, 1.0, 1.0]),
            grid=np.linspace(where.low[-1], where.high[-1], _POINTS),
            floor_k=floor_k.ravel(),
            floor_w=total_variance(before.take(shared), floor_k).ravel(),
        )

    def variables(self, of: Slices) -> Array:
        """The variables of a slice."""
        a, b, rho, m, sigma = (values[0] for values in of)
        low = self.k[0]
        natural = [a, b * rho, b, (m - low) / self.width, np.log(sigma / self.width)]
        return np.asarray(np.array(natural) / self.unit)

    def least_lifted(self) -> Array:
        """The variables of the cheapest slice of a lattice, each lifted until it is allowed.

        At every m and sigma of the lattice stand the best wings and shares of them.
        """
        m, sigma, share = (part.ravel() for part in np.meshgrid(*_LATTICE))
        weight = self.root_weight**2 / (self.root_weight**2).sum()
        x, y = (self.k - self.k[0]) / self.width, self.w / self.level
        root = np.sqrt((x - m[:, None]) ** 2 + (sigma * sigma)[:, None])
        x, y, root = x - weight @ x, y - weight @ y, root - (root @ weight)[:, None]
        one = np.ones_like(m)
        p, b, _ = linear(
            one * (x * x @ weight),
            root @ (x * weight),
            root * root @ weight,
            one * (x * y @ weight),
            root @ (y * weight),
            one * (MOST_SLOPE * self.width / self.level),
        )
        rho = np.divide(p, b, out=np.zeros_like(p), where=b > 0)
        slope = share * b * self.level / self.width
        to = Slices(0 * m, slope, rho, self.k[0] + self.width * m, self.width * sigma)
        w, floor, grid = (
            np.broadcast_to(k, (len(m), len(k))) for k in (self.k, self.floor_k, self.grid)
        )
        w = total_variance(to, w)
        to = to._replace(a=(self.w - w) @ weight)
        short = (self.floor_w - total_variance(to, floor)).max(axis=1, initial=0.0)
        by = np.maximum(lift(to, grid, MARGIN_G), short + MARGIN_W * self.level)
        error = w + (to.a + by)[:, None] - self.w
        best = np.array([(error * error @ weight).argmin()])
        return self.variables(to._replace(a=to.a + by).take(best))

    def slice(self, variables: Array) -> Slices:
        """The slice of some variables, inside the bounds the solver keeps only nearly."""
        a, p, b, m, log_sigma = variables * self.unit
        b = min(max(b, 0.0), MOST_SLOPE)
        p = np.clip(p, -min(b, MOST_SLOPE - b), min(b, MOST_SLOPE - b))
        m, sigma = np.clip(m, *M_RANGE), np.exp(np.clip(log_sigma, *np.log(SIGMA_RANGE)))
        rho = p / b if b > 0 else 0.0
        return slices(a, b, rho, self.k[0] + self.width * m, self.width * sigma)

    def cost(self, variables: Array) -> tuple[float, Array]:
        """Half the weighted mean square of w's relative error, and its gradient."""
        w, _, _, by_w, _, _ = self._curve(variables, self.k)
        return self._missed(w, by_w)

    def solved(self, start: Array) -> Array:
        """The variables the solver ends at; the start if it leaves the numbers."""
        scale = max(self.cost(start)[0], 1e-8)
        seen: dict[bytes, tuple[Array, ...]] = {}

        def at(variables: Array) -> tuple[Array, ...]:
            key = variables.tobytes()
            if key not in seen:
                seen.clear()
                seen[key] = self._evaluated(variables)
            return seen[key]

        constraints = {"type": "ineq", "fun": lambda v: at(v)[2], "jac": lambda v: at(v)[3]}
        with np.errstate(all="ignore"):  # a step may leave the numbers; the solver takes it back
            found = minimize(
                lambda v: (at(v)[0] / scale, at(v)[1] / scale),
                start,
                jac=True,
                method="SLSQP",
                constraints=[constraints],
                options={"maxiter": _MOST_STEPS, "ftol": _SETTLED},
            )
        return found.x if np.isfinite(found.x).all() else start

    def _evaluated(self, variables: Array) -> tuple[Array, ...]:
        """The cost, its gradient, the constraints (all >= 0) and theirs, shape (n, 5)."""
        first, last = len(self.k), len(self.k) + len(self.grid)
        curve = self._curve(variables, np.concatenate([self.k, self.grid, self.floor_k]))
        quoted, inside, floor = (
            tuple(part[..., at] for part in curve)
            for at in (slice(first), slice(first, last), slice(last, None))
        )
        cost, by_cost = self._missed(quoted[0], quoted[3])
        g, by_g = self._durrleman(*inside)
        w, by_w = inside[0][::_POSITIVE_EVERY], inside[3][:, ::_POSITIVE_EVERY]
        inner, by_inner = self._linear(variables)
        above = (floor[0] - self.floor_w) / self.level - MARGIN_W
        values = np.concatenate([g - MARGIN_G, w / self.level, above, inner])
        by = [by_g.T, by_w.T / self.level, floor[3].T / self.level, by_inner]
        return np.asarray(cost), by_cost, values, np.concatenate(by)

    def _missed(self, w: Array, by_w: Array) -> tuple[float, Array]:
        error = self.root_weight * (w - self.w)
        return float(error @ error / 2), np.asarray(by_w @ (self.root_weight * error))

    def _durrleman(
        self, w: Array, slope: Array, bend: Array, by_w: Array, by_slope: Array, by_bend: Array
    ) -> tuple[Array, Array]:
        """Durrleman's g on the grid (w kept off zero), and its gradient."""
        safe = np.maximum(w, 1e-6 * self.level)
        half = self.grid / (2 * safe)
        tilt = 1 - half * slope
        square = slope * slope / 4
        g = tilt * tilt - square * (1 / safe + 0.25) + bend / 2
        along_w = (2 * tilt * half * slope + square / safe) / safe
        along_slope = -2 * tilt * half - slope / 2 * (1 / safe + 0.25)
        return g, along_w * by_w + along_slope * by_slope + by_bend / 2

    def _linear(self, variables: Array) -> tuple[Array, Array]:
        """|b rho| <= b, wings no steeper than MOST_SLOPE, m and sigma in their ranges: >= 0."""
        steep = MOST_SLOPE * self.width / self.level
        (m_low, m_high), (s_low, s_high) = M_RANGE, np.log(SIGMA_RANGE)
        away = np.array([0, 0, steep, steep, -m_low, m_high, -s_low, s_high])
        return _BOUNDS @ variables + away, _BOUNDS

    def _curve(self, variables: Array, k: Array) -> tuple[Array, ...]:
        """w, w', w'' at k, and the gradients of each, shape (5, points)."""
        a, p, b, m, log_sigma = variables * self.unit
        sigma = self.width * np.exp(log_sigma)
        x = k - (self.k[0] + self.width * m)
        root = np.sqrt(x * x + sigma * sigma)
        y, share = x / root, sigma / root
        curl = share * share / root
        none, one = np.zeros_like(x), np.ones_like(x)
        slope, bend = p + b * y, b * curl
        by_w = np.stack([one, x, root, -self.width * slope, b * sigma * share])
        by_slope = np.stack([none, one, y, -self.width * bend, -b * y * share * share])
        spread = np.stack([3 * self.width * bend * y / root, bend * (2 - 3 * share * share)])
        by_bend = np.concatenate([[none, none, curl], spread])
        unit = self.unit[:, None]
        return a + p * x + b * root, slope, bend, by_w * unit, by_slope * unit, by_bend * unit
