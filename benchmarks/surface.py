"""SVI calibration against QuantLib and against scipy's Levenberg-Marquardt, in one run.

The slices are SVI smiles as an index shows them (a quarter of a day to 400 days, 25 to 89 quotes),
their volatilities disturbed by 0.4 %. Each reader fits total variance by least squares in its own
weights; what is compared is the root mean square error of the volatility over its mean, and process
CPU time, median of some repetitions (of the peers: one). Ours fits all slices in one call; a day
has about fifteen, so the same is shown for a few. QuantLib is optional: `pip install QuantLib`.
Run: `python benchmarks/surface.py --slices 3000`.
"""

from __future__ import annotations

import argparse
import importlib.util
import subprocess
import sys
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.optimize import least_squares

from optrade.surface.arbitrage import butterflies
from optrade.surface.calibration import calibrate
from optrade.surface.repair import Quotes, Range, repaired
from optrade.surface.svi import Slices, total_variance

Array = np.ndarray
NOISE = 0.004
FRESH = (
    "import time; began = time.process_time(); import numpy as np; "
    "from optrade.surface.calibration import calibrate; loaded = time.process_time(); "
    "k = np.tile(np.linspace(-0.1, 0.1, 40), 10); "
    "calibrate(k, 0.01 + k * k, np.ones(400), np.full(10, 40)); "
    "print(loaded - began, time.process_time() - loaded)"
)


class Smile(NamedTuple):
    """Quotes of one expiry."""

    years: float
    k: Array
    iv: Array

    @property
    def w(self) -> Array:
        """Total variance."""
        return self.iv * self.iv * self.years


def make_smiles(count: int) -> list[Smile]:
    """Smiles of many expiries, the same ones every time."""
    random = np.random.default_rng(5)
    smiles = []
    for _ in range(count):
        years = float(np.exp(random.uniform(np.log(0.25 / 365), np.log(400 / 365))))
        deviation = random.uniform(0.08, 0.28) * np.sqrt(years)
        k = np.sort(random.uniform(-5, 4, int(random.integers(25, 90)))) * deviation
        rho, b = random.uniform(-0.7, 0.1), random.uniform(0.09, 0.36) * deviation
        m, sigma = random.uniform(-0.3, 0.8) * deviation, random.uniform(0.3, 1.8) * deviation
        a = deviation**2 - b * (np.sqrt(m * m + sigma * sigma) - rho * m)
        a = max(a, 0.02 * deviation**2 - b * sigma * np.sqrt(1 - rho * rho))
        w = a + b * (rho * (k - m) + np.sqrt((k - m) ** 2 + sigma * sigma))
        noise = 1 + random.normal(0, NOISE, len(k))
        smiles.append(Smile(years, k, np.sqrt(w / years) * noise))
    return smiles


def ours(smiles: list[Smile]) -> Array:
    """Parameters by row from the calibration of all slices at once."""
    k, w = (np.concatenate([getattr(s, name) for s in smiles]) for name in ("k", "w"))
    sizes = np.array([len(s.k) for s in smiles])
    return np.stack(calibrate(k, w, 1 / w, sizes), axis=1)


def by_scipy(smiles: list[Smile]) -> Array:
    """Levenberg and Marquardt's method in all five parameters, from two starts, exact Jacobian."""
    return np.array([_least_squares(s) for s in smiles])


def _least_squares(smile: Smile) -> Array:
    k, w = smile.k, smile.w
    weight = 1 / np.sqrt(w)
    deviation = np.sqrt(w.min())

    def missed(p: Array) -> Array:
        x = k - p[3]
        return weight * (p[0] + p[1] * (p[2] * x + np.sqrt(x * x + p[4] ** 2)) - w)

    def jacobian(p: Array) -> Array:
        x = k - p[3]
        root = np.sqrt(x * x + p[4] ** 2)
        rows = [np.ones_like(k), p[2] * x + root, p[1] * x]
        rows += [-p[1] * (p[2] + x / root), p[1] * p[4] / root]
        return np.stack(rows, axis=1) * weight[:, None]

    found = [
        least_squares(
            missed, [w.min() / 2, 0.3 * deviation, rho, 0.0, deviation], jacobian, method="lm"
        )
        for rho in (-0.4, 0.0)
    ]
    return min(found, key=lambda one: one.cost).x


def by_quantlib(smiles: list[Smile]) -> Array:
    """QuantLib's SVI smile section, its own weights and end criteria."""
    import QuantLib as ql  # noqa: N813, PLC0415 (its own name; optional)

    today = ql.Date(1, 1, 2026)
    ql.Settings.instance().evaluationDate = today
    rows = []
    for s in smiles:
        days = max(1, round(s.years * 365))
        deviation = float(np.sqrt(s.years) * s.iv.min())
        section = ql.SviInterpolatedSmileSection(
            today + days, 24_000.0, list(24_000 * np.exp(s.k)), False, float(s.iv.min()),
            list(s.iv * np.sqrt(s.years / (days / 365))), deviation**2 / 2, 0.3 * deviation,
            deviation, -0.3, 0.0, False, False, False, False, False,
        )  # fmt: skip
        rows.append([section.a(), section.b(), section.rho(), section.m(), section.sigma()])
    return np.array(rows)


def errors(smiles: list[Smile], rows: Array) -> Array:
    """Root mean square error of the volatility over its mean, by slice."""
    found = []
    for s, row in zip(smiles, rows, strict=True):
        w = total_variance(Slices(*row), s.k)
        missed = np.sqrt(np.maximum(w, 0) / s.years) - s.iv
        found.append(np.sqrt(np.mean(missed * missed)) / s.iv.mean())
    return np.array(found)


def measure(
    fit: Callable[[list[Smile]], Array], smiles: list[Smile], times: int
) -> tuple[float, Array]:
    """CPU microseconds a slice, median of `times` calls, and the errors."""
    taken = []
    for _ in range(times):
        start = time.process_time()
        rows = fit(smiles)
        taken.append(time.process_time() - start)
    return float(np.median(taken)) / len(smiles) * 1e6, errors(smiles, rows)


def repairs(count: int) -> str:
    """What a repair takes: slices bent until they have butterflies, fitted without."""
    random = np.random.default_rng(6)
    taken = []
    while len(taken) < count:
        deviation = random.uniform(0.02, 0.2)
        k = np.linspace(-4, 4, 60) * deviation
        rho, m = random.uniform(-0.7, 0.7), random.uniform(-2, 2) * deviation
        sigma, b = random.uniform(0.3, 3) * deviation, random.uniform(0.2, 1.0) * deviation
        lowest = b * sigma * np.sqrt(1 - rho * rho)
        a = random.uniform(0.1, 0.5) * deviation**2 - lowest
        bent = Slices(*(np.array([value]) for value in (a, b, rho, m, sigma)))
        if not butterflies(bent, k[:1], k[-1:]).violations[0]:
            continue
        w = total_variance(bent, k[None])[0]
        start = time.process_time()
        repaired(bent, [Quotes(k, w, 1 / w)], Range(k[:1], k[-1:]))
        taken.append(time.process_time() - start)
    return f"{np.median(taken) * 1e3:.1f} ms median, {max(taken) * 1e3:.0f} ms worst"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slices", type=int, default=3_000, help="a backfill of 200 days")
    parser.add_argument("--times", type=int, default=7, help="repetitions of ours (the median)")
    arguments = parser.parse_args()
    smiles = make_smiles(arguments.slices)
    few = smiles[:300]
    peers: dict[str, tuple[float, Array]] = {"scipy LM, a loop": measure(by_scipy, few, 1)}
    if importlib.util.find_spec("QuantLib"):
        peers["QuantLib, a loop"] = measure(by_quantlib, few, 3)
    else:
        print("QuantLib is not installed: left out", file=sys.stderr)
    rows = {f"ours, {len(smiles):,} at once": measure(ours, smiles, arguments.times)}
    rows |= {f"ours, {n} at once": measure(ours, smiles[:n], 9) for n in (150, 10)} | peers
    base = rows.get("QuantLib, a loop", (np.nan,))[0]
    print("| | microseconds a slice | / QuantLib's | relative RMSE, median | 90 % | worst |")
    print("|---|---|---|---|---|---|")
    for name, (taken, missed) in rows.items():
        spread = " | ".join(f"{np.quantile(missed, q):.3%}" for q in (0.5, 0.9, 1.0))
        print(f"| {name} | {taken:,.1f} | {taken / base:.2f} | {spread} |")
    same = rows[f"ours, {len(smiles):,} at once"][1][: len(few)]
    lm = peers["scipy LM, a loop"][1]
    print(
        f"\nours on the peers' {len(few)} slices: {np.median(same):.4%}; scipy {np.median(lm):.4%}"
    )
    print(
        f"worse than scipy by over 1 %: {np.sum(same > 1.01 * lm)}; "
        f"better: {np.sum(lm > 1.01 * same)}"
    )
    found = subprocess.run(
        [sys.executable, "-c", FRESH], capture_output=True, text=True, check=True, timeout=120
    )
    loaded, first = (float(word) for word in found.stdout.split())
    print(f"a new process: {loaded:.2f} s to import, {first * 1e3:.1f} ms for its first 10 slices")
    print(f"a repair: {repairs(100)}")


if __name__ == "__main__":
    main()
