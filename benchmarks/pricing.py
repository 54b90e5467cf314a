"""Implied volatility and greeks against other libraries, on the same quotes in one run.

A quote is anything that trades at a tick of time value or more: strikes of 0.5 to 1.7 forwards,
two minutes to 400 days, 3 % to 300 % volatility, calls and puts. Prices are exact to rounding
and undiscounted. Every library takes frames of the same size in turn, on one thread; figures are
process CPU time, the best of several rounds: read the ratios.

Errors are absolute, in volatility, the largest: against lets_be_rational, which is given the
out-of-the-money twin of each quote (it loses digits near the money, in ln(F/K)), and against
40 digits, on quotes at random and those that some library found furthest off.

Peers are optional: `python -m pip install -c constraints.txt -e ".[bench]"`.
Run: `python benchmarks/pricing.py --quotes 1000000`.
"""

from __future__ import annotations

import argparse
import importlib
import os
import time
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import NamedTuple

os.environ["RAYON_NUM_THREADS"] = "1"  # pyvolr's; read when it is imported

import mpmath
import numpy as np
import numpy.typing as npt

from optrade.contracts import TICK
from optrade.pricing import black76

Array = npt.NDArray[np.float64]
PEERS = {
    "pyvolr": "pyvolr.black76",
    "vanilla-option-pricers": "vanilla_option_pricers.black_scholes",
    "lets_be_rational": "py_lets_be_rational",
}
SLOW_QUOTES = 5_000
"""A library of Python loops is timed on so many."""
CHECKED = 400


class Book(NamedTuple):
    """Columns of quotes."""

    price: Array
    forward: Array
    strike: Array
    years: Array
    is_call: npt.NDArray[np.bool_]
    discount: Array

    def rows(self, start: int, stop: int | None) -> Book:
        """The quotes from one to another."""
        return Book(*(column[start:stop] for column in self))


Method = Callable[[Book], Array]


def make_book(quotes: int) -> Book:
    """Quotes worth a tick of time value or more."""
    random = np.random.default_rng(20)
    size = 4 * quotes
    forward = np.exp(random.uniform(np.log(100), np.log(60_000), size))
    strike = np.round(forward * random.uniform(0.5, 1.7, size) / TICK) * TICK
    years = np.exp(random.uniform(np.log(2 / 525_600), np.log(400 / 365), size))
    volatility = np.exp(random.uniform(np.log(0.03), np.log(3), size))
    is_call = random.random(size) < 0.5
    worth = black76.price(forward, strike, years, volatility, strike >= forward) >= TICK
    price = black76.price(forward, strike, years, volatility, is_call)
    columns = (price, forward, strike, years, is_call, np.exp(-0.065 * years))
    book = Book(*(column[worth][:quotes] for column in columns))
    if len(book.price) < quotes:
        raise ValueError(f"only {len(book.price)} of {quotes} quotes are worth a tick: draw more")
    return book


def out_of_the_money(book: Book) -> Book:
    """The same volatilities by their out-of-the-money twins."""
    away = np.where(book.is_call, book.forward - book.strike, book.strike - book.forward)
    return book._replace(
        price=book.price - np.maximum(away, 0), is_call=book.strike >= book.forward
    )


def ours(book: Book, *, compiled: bool) -> Array:
    """The volatilities."""
    return black76.implied_volatility(*book[:5], compiled=compiled)


def ours_with_greeks(book: Book, *, compiled: bool) -> Array:
    """The volatilities, with the greeks computed."""
    return black76.implied_volatility_and_greeks(*book, compiled=compiled)[0]


def by_pyvolr(module: ModuleType) -> dict[str, Method]:
    """Its methods by name."""

    def volatility(book: Book) -> Array:
        flags = np.where(book.is_call, 1, -1).astype(np.int8)
        columns = (book.price, flags, book.forward, book.strike, book.years, 0.0)
        return np.asarray(module.implied_vol(*columns, on_error="ignore"))

    def with_greeks(book: Book) -> Array:
        found = volatility(book)
        flags = np.where(book.is_call, 1, -1).astype(np.int8)
        module.greeks(flags, book.forward, book.strike, book.years, 0.065, found)
        return found

    return {"pyvolr": volatility, "pyvolr, volatility and greeks": with_greeks}


def by_vanilla(module: ModuleType) -> dict[str, Method]:
    """Its methods by name."""
    numba = importlib.import_module("numba")
    solve = module.infer_bsm_implied_vol

    @numba.njit
    def loop(price, forward, strike, years, is_call, found):
        for i in range(price.size):
            side = "C" if is_call[i] else "P"
            found[i] = solve(forward[i], years[i], strike[i], price[i], 1.0, side)

    def volatility(book: Book) -> Array:
        found = np.empty(len(book.price))
        loop(*book[:5], found)
        return found

    return {"vanilla-option-pricers": volatility}


def by_reference(module: ModuleType) -> dict[str, Method]:
    """Its methods by name."""
    solve = module.implied_volatility_from_a_transformed_rational_guess

    def volatility(book: Book) -> Array:
        signs = np.where(book.is_call, 1.0, -1.0)
        rows = zip(*(column.tolist() for column in (*book[:4], signs)), strict=True)
        return np.array([solve(*row) for row in rows])

    return {"lets_be_rational": volatility}


def methods() -> dict[str, Method]:
    """Ours, and those of the peers that are installed."""
    found: dict[str, Method] = {
        "optrade": lambda book: ours(book, compiled=True),
        "optrade, volatility and greeks": lambda book: ours_with_greeks(book, compiled=True),
        "optrade by numpy": lambda book: ours(book, compiled=False),
        "optrade by numpy, volatility and greeks": lambda book: ours_with_greeks(
            book, compiled=False
        ),
    }
    for (name, module), make in zip(
        PEERS.items(), (by_pyvolr, by_vanilla, by_reference), strict=True
    ):
        try:
            found |= make(importlib.import_module(module))
        except ModuleNotFoundError:
            print(f"absent: {name} is not installed (see --help)")
    return found


def frames(book: Book, size: int) -> Iterator[Book]:
    """The book in pieces."""
    for start in range(0, len(book.price), size):
        yield book.rows(start, start + size)


def seconds(method: Method, book: Book, size: int) -> float:
    """CPU seconds over all frames."""
    start = time.process_time()
    for frame in frames(book, size):
        method(frame)
    return time.process_time() - start


def measure(book: Book, size: int, rounds: int) -> dict[str, float]:
    """Nanoseconds a quote of every method, the best of some rounds, taking turns."""
    found = methods()
    few = {name: book.rows(0, SLOW_QUOTES) for name in found if name == "lets_be_rational"}
    best = dict.fromkeys(found, np.inf)
    for method in found.values():
        method(book.rows(0, 10))
    for _ in range(rounds):
        for name, method in found.items():
            quotes = few.get(name, book)
            taken = seconds(method, quotes, size) / len(quotes.price)
            best[name] = min(best[name], taken * 1e9)
    return best


def exact(book: Book, row: int, near: float) -> float:
    """What a volatility near the exact one is off by, from 40 digits."""
    mpf, sqrt = mpmath.mpf, mpmath.sqrt
    price, forward, strike, years = (mpf(float(column[row])) for column in book[:4])
    away = forward - strike if book.is_call[row] else strike - forward
    value = (price - max(away, 0)) / sqrt(forward * strike)
    x = abs(mpmath.log(forward / strike))
    total = mpf(near) * sqrt(years)
    for _ in range(4):
        h, t = x / total, total / 2
        calls, puts = mpmath.erfc((h - t) / sqrt(2)), mpmath.erfc((h + t) / sqrt(2))
        above = (mpmath.exp(-x / 2) * calls - mpmath.exp(x / 2) * puts) / 2 - value
        total -= above / mpmath.npdf(sqrt(h * h + t * t))
    return float(abs(mpf(near) - total / sqrt(years)))


def errors(book: Book) -> dict[str, tuple[float, float, float]]:
    """The largest errors of every method: out of the money, at all, and against 40 digits."""
    found = methods()
    reference = found.pop("lets_be_rational", None)
    if reference is None:
        return {}
    twin = out_of_the_money(book)
    right, outside = reference(twin), book.is_call == twin.is_call
    checked = np.random.default_rng(21).integers(0, len(right), CHECKED).tolist()
    result = {}
    with mpmath.workdps(40):
        for name, method in {**found, "lets_be_rational": lambda _: right}.items():
            volatility = method(book)
            off = np.abs(volatility - right)
            off[np.isnan(off)] = np.inf
            checked += np.argsort(off)[-CHECKED // 4 :].tolist()
            digits = max(exact(book, row, float(volatility[row])) for row in checked)
            result[name] = (float(off[outside].max()), float(off.max()), digits)
    return result


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quotes", type=int, default=1_000_000)
    parser.add_argument("--frame", type=int, default=100_000, help="quotes a call")
    parser.add_argument("--rounds", type=int, default=7, help="the best counts")
    parser.add_argument("--compared", type=int, help="quotes compared with the reference: all")
    arguments = parser.parse_args()
    book = make_book(arguments.quotes)
    start = time.process_time()
    ours(book.rows(0, 1), compiled=True)
    print(f"the compiled loop, loaded once a process: {time.process_time() - start:.2f} s")
    taken = measure(book, arguments.frame, arguments.rounds)
    off = errors(book.rows(0, arguments.compared))
    print("| | ns a quote | times optrade's | off, out of the money | off, all | off 40 digits |")
    print("|---|---|---|---|---|---|")
    for name, ns in taken.items():
        cells = " | ".join(f"{error:.1e}" for error in off.get(name, (np.nan,) * 3))
        print(f"| {name} | {ns:,.1f} | {ns / taken['optrade']:,.2f} | {cells} |")


if __name__ == "__main__":
    main()
