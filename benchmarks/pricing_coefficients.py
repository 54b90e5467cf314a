"""The coefficients of `optrade.pricing.normalised`, computed with 40 digits.

Each is the polynomial or rational function through a smooth function at Chebyshev nodes, so the
same figures come out every time. Needs mpmath (in the extra `dev`).
Run: `python benchmarks/pricing_coefficients.py` and paste; a test compares the two.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from mpmath import erfc, erfinv, exp, expm1, findroot, log, lu_solve, matrix, mp, mpf, pi, sqrt

from optrade.pricing.normalised import ERFCX_FROM, ERFCX_SHIFT

DIGITS: Final = 40
Function = Callable[[mpf], mpf]


def through(
    function: Function, place: Function, top: int, bottom: int = 0
) -> tuple[list[float], list[float]]:
    """Numerator and denominator, highest power first, of degrees `top` and `bottom`.

    They meet `function` at `place` of the Chebyshev nodes of [-1, 1]; the denominator is 1 at 0.
    """
    count = top + bottom + 1
    equations, values = matrix(count, count), matrix(count, 1)
    for row in range(count):
        x = place(mp.cos(pi * (2 * row + 1) / (2 * count)))
        values[row] = function(x)
        for power in range(top + 1):
            equations[row, power] = x**power
        for power in range(1, bottom + 1):
            equations[row, top + power] = -values[row] * x**power
    found = [float(value) for value in lu_solve(equations, values)]
    return found[top::-1], [*found[:top:-1], 1.0]


def along(start: float, end: float) -> Function:
    """The line that takes -1 to `start` and 1 to `end`."""
    return lambda node: start + (node + 1) / 2 * (mpf(end) - start)


def dense_near_zero(end: float, scale: float) -> Function:
    """0 to `end`, half of it below about `scale`."""
    line = along(-1, (mpf(end) - scale) / (mpf(end) + scale))
    return lambda node: scale * (1 + line(node)) / (1 - line(node))


def erfcx_shape(t: mpf) -> mpf:
    """erfcx(y) (y + shift), where t = 1 - 2 (from + shift) / (y + shift)."""
    y = 2 * (mpf(ERFCX_FROM) + ERFCX_SHIFT) / (1 - t) - ERFCX_SHIFT
    return exp(y * y) * erfc(y) * (y + ERFCX_SHIFT)


def log_shape(z: mpf) -> mpf:
    """(artanh(s) / s - 1) / s^2 of z = s^2."""
    s = sqrt(z)
    return (mp.atanh(s) / s - 1) / z


def normal_distance(level: mpf) -> mpf:
    """Strike's distance from the forward over the normal model's total volatility, d.

    `level` is ln(1 + distance / time value), that is ln(1 + 1/r), r = phi(d)/d - Phi(-d).
    """
    target = -log(expm1(level))

    def miss(d: mpf) -> mpf:
        return log(exp(-d * d / 2) / sqrt(2 * pi) / d - erfc(d / sqrt(2)) / 2) - target

    low, high = mpf(10) ** -12, sqrt(2 * level) + 2
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if miss(middle) > 0 else (low, middle)
    return findroot(miss, (low + high) / 2)


def normal_shape(level: mpf) -> mpf:
    """Normal total volatility over (distance + time value)."""
    return -expm1(-level) / normal_distance(level)


def at_the_money(z: mpf) -> mpf:
    """Black's total volatility over the normal model's, whose square is z, at the money."""
    return 2 * sqrt(2) * erfinv(sqrt(z / (2 * pi))) / sqrt(z)


def off_the_money(z: mpf) -> mpf:
    """What adds to `at_the_money`, over x^2, in the limit of a small x = ln(F/K)."""
    x = mpf(10) ** -4
    width, normal = 2 * mp.sinh(x / 2), sqrt(z)
    scaled = normal * width / x
    d = width / scaled
    value = scaled * exp(-d * d / 2) / sqrt(2 * pi) - width * erfc(d / sqrt(2)) / 2

    def miss(total: mpf) -> mpf:
        h, t = x / total, total / 2
        near, far = erfc((h - t) / sqrt(2)), erfc((h + t) / sqrt(2))
        return (exp(-x / 2) * near - exp(x / 2) * far) / 2 - value

    start = normal * at_the_money(z)
    return (findroot(miss, (start, start * (1 + x * x))) / normal - at_the_money(z)) / x**2


def coefficients() -> dict[str, tuple[float, ...]]:
    """By their names in `optrade.pricing.normalised`."""
    mp.dps = DIGITS
    top, bottom = through(normal_shape, dense_near_zero(48, 8), 5, 6)
    found = {
        "ERFCX": through(erfcx_shape, along(-1, 1), 26)[0],
        "LOG": through(log_shape, along(0, 0.0405), 7)[0],
        "NORMAL_TOP": top,
        "NORMAL_BOTTOM": bottom,
        "AT_THE_MONEY": through(at_the_money, along(0, 5), 8)[0],
        "OFF_THE_MONEY": through(off_the_money, along(0, 5), 4)[0],
    }
    return {name: tuple(values) for name, values in found.items()}


def main() -> None:
    """Print them as Python."""
    for name, values in coefficients().items():
        print(f"{name}: Final = (", *(f"    {value!r}," for value in values), ")", sep="\n")


if __name__ == "__main__":
    main()
