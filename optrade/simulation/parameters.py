"""Every number of the simulated exchange, with its unit and where it was read.

Belongs here: levels, variances, ladders, activity curves and the participants' habits.
Does not belong here: how they are used (see the module named in each docstring).

Sizes follow NSE files of January and July 2026 (a NIFTY weekly traded 64 million lots four
sessions before its expiry and 322 million on the day), so that a chart looks familiar. None of
it is a claim about the real market.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

Curve = tuple[tuple[float, float], ...]
"""Knots (weekday sessions to expiry, lots), interpolated in the logarithm of the lots."""

TICK_RUPEES: Final = 0.05
TICKS_PER_RUPEE: Final = 20
RATE: Final = 0.065
"""Continuously compounded, a year; the rate India VIX uses."""
DIVIDEND_YIELD: Final = 0.012
SESSIONS_PER_YEAR: Final = 252.0
OVERNIGHT_SHARE: Final = 0.25
"""Share of a session's variance that passes between one close and the next open."""
BARS: Final = 75
"""Five-minute steps from 09:15 to 15:30."""


@dataclass(frozen=True, slots=True)
class Variance:
    """Square-root variance of the market with jumps (Heston 1993, Bates 1996); yearly units.

    2 x `reversion` x `mean` > `volatility`² keeps it off zero (Feller).
    """

    mean: float = 0.0150
    reversion: float = 6.0
    volatility: float = 0.40
    leverage: float = -0.70
    drift: float = 0.11
    jumps: float = 4.0
    jump_mean: float = -0.012
    jump_sd: float = 0.012
    risk_premium: float = 1.15
    """Implied over expected variance."""


@dataclass(frozen=True, slots=True)
class Asset:
    """Something with a price: log return = `beta` x market + own noise of `idio` x its vol."""

    name: str
    level: float
    beta: float
    idio: float

    @property
    def variance_ratio(self) -> float:
        """Variance over the market's."""
        return self.beta**2 + self.idio**2


@dataclass(frozen=True, slots=True)
class Smile:
    """SSVI with a power-law phi (Gatheral & Jacquier 2014, section 4).

    `eta` (1 + |`rho`|) <= 2 and `gamma` <= 1/2 exclude butterfly and calendar arbitrage at
    every maturity, as long as at-the-money total variance does not decrease with maturity.
    """

    rho: float = -0.40
    eta: float = 1.35
    gamma: float = 0.45


@dataclass(frozen=True, slots=True)
class Ladder:
    """Listed strikes: multiples of `step` within `width` (a fraction) of the reference."""

    step: int
    width: float


@dataclass(frozen=True, slots=True)
class Activity:
    """Lots traded and lots open over a whole expiry, by sessions left."""

    option_volume: Curve
    option_oi: Curve
    future_volume: Curve
    future_oi: Curve

    def scaled(self, options: float, futures: float) -> Activity:
        """Return the same shapes, other sizes."""
        return Activity(
            _times(self.option_volume, options),
            _times(self.option_oi, options),
            _times(self.future_volume, futures),
            _times(self.future_oi, futures),
        )


def _times(curve: Curve, factor: float) -> Curve:
    return tuple((sessions, lots * factor) for sessions, lots in curve)


@dataclass(frozen=True, slots=True)
class Underlying:
    """What derivatives are listed on: an index or a stock.

    `weeklies`, `monthlies`, `quarterlies` and `half_years` count the expiries listed at a time
    beyond the ones before them in that order. `near` ladders serve weeklies and monthlies,
    `far` ones the rest. `rule` names its rows of the published expiry rules.
    """

    symbol: str
    asset: Asset
    is_index: bool
    lot: int
    near: tuple[Ladder, ...]
    far: tuple[Ladder, ...]
    activity: Activity
    rule: str
    weekly: Activity | None = None
    smile: Smile = Smile()
    weeklies: int = 0
    monthlies: int = 3
    quarterlies: int = 0
    half_years: int = 0


@dataclass(frozen=True, slots=True)
class IndexRow:
    """An index of the closing file; volume in units, turnover in crore rupees."""

    asset: Asset
    pe: float
    pb: float
    dividend_yield: float
    volume: float
    turnover: float


_FUTURE_VOLUME: Curve = ((0, 9e4), (4, 1.6e5), (15, 6.6e4), (25, 8e3), (35, 3.7e3), (65, 1e3))
_FUTURE_OI: Curve = ((0, 5e4), (4, 1.6e5), (15, 2.2e5), (25, 5e4), (35, 2e4), (65, 3e3))
_NIFTY_WEEKLY = Activity(
    ((0, 3.2e8), (1, 1.6e8), (2, 1.1e8), (3, 7.5e7), (4, 6.4e7), (5, 1.2e7), (9, 1.2e6),
     (10, 4e5), (14, 7e4), (15, 1.8e4), (20, 9e2), (30, 3e2)),
    ((0, 4.7e6), (1, 5.3e6), (2, 5.4e6), (4, 3.5e6), (5, 2.4e6), (8, 4.5e5), (10, 1.7e5),
     (14, 4.6e4), (15, 1.7e4), (20, 6e2), (30, 3e2)),
    (), (),
)  # fmt: skip
_NIFTY_MONTHLY = Activity(
    ((0, 3.2e8), (1, 1.6e8), (2, 1.1e8), (3, 7.5e7), (4, 6.4e7), (5, 1.2e7), (9, 2.9e6),
     (15, 1.3e6), (35, 1.6e5), (60, 7.3e4), (120, 1.8e4), (190, 4e3), (250, 2e3), (510, 60)),
    ((0, 4.7e6), (1, 5.3e6), (2, 5.4e6), (4, 3.9e6), (5, 2.9e6), (9, 1.7e6), (15, 1.3e6),
     (35, 3.7e5), (60, 3.6e5), (120, 1.2e5), (190, 4e4), (250, 2e4), (510, 9e2)),
    _FUTURE_VOLUME, _FUTURE_OI,
)  # fmt: skip
_BANKNIFTY = Activity(
    ((0, 4e7), (1, 1.6e7), (4, 7e6), (15, 1.9e6), (35, 2.8e4), (60, 3e3), (120, 20), (250, 1)),
    ((0, 1.1e6), (4, 1.4e6), (15, 8.2e5), (35, 5.2e4), (60, 2.2e4), (120, 80), (250, 4)),
    _times(_FUTURE_VOLUME, 0.27), _times(_FUTURE_OI, 0.22),
)  # fmt: skip
_STOCK = Activity(
    ((0, 1.1e6), (4, 1.2e6), (15, 7.4e5), (35, 1.8e4), (60, 6e2)),
    ((0, 1.2e5), (4, 2.4e5), (15, 2e5), (35, 9e3), (60, 5.5e2)),
    ((0, 9e4), (4, 2e5), (15, 8e4), (25, 1.4e4), (35, 6.8e3), (65, 1.7e3)),
    ((0, 4e4), (4, 1.4e5), (15, 2e5), (25, 2e4), (35, 7e3), (65, 1.5e3)),
)

NIFTY = Underlying(
    "NIFTY", Asset("Nifty 50", 25_150.0, 1.0, 0.0), is_index=True, lot=65,
    near=(Ladder(50, 0.08), Ladder(500, 0.20)), far=(Ladder(500, 0.12), Ladder(1000, 0.30)),
    activity=_NIFTY_MONTHLY, weekly=_NIFTY_WEEKLY, rule="NIFTY",
    weeklies=5, quarterlies=3, half_years=3,
)  # fmt: skip
BANKNIFTY = Underlying(
    "BANKNIFTY", Asset("Nifty Bank", 56_400.0, 1.08, 0.45), is_index=True, lot=30,
    near=(Ladder(100, 0.10), Ladder(500, 0.16)), far=(Ladder(1500, 0.15),),
    activity=_BANKNIFTY, rule="BANKNIFTY", quarterlies=3,
)  # fmt: skip
FINNIFTY = Underlying(
    "FINNIFTY", Asset("Nifty Financial Services", 26_300.0, 1.05, 0.35), is_index=True, lot=60,
    near=(Ladder(50, 0.06), Ladder(500, 0.13)), far=(), activity=_BANKNIFTY.scaled(0.15, 0.4),
    rule="FINNIFTY",
)  # fmt: skip
MIDCPNIFTY = Underlying(
    "MIDCPNIFTY", Asset("Nifty Midcap Select", 13_300.0, 1.15, 0.50), is_index=True, lot=120,
    near=(Ladder(25, 0.06), Ladder(100, 0.14)), far=(), activity=_BANKNIFTY.scaled(0.3, 0.6),
    rule="MIDCPNIFTY",
)  # fmt: skip
_STOCK_SMILE = Smile(rho=-0.20, eta=1.2)
RELIANCE = Underlying(
    "RELIANCE", Asset("RELIANCE", 1_490.0, 1.05, 1.10), is_index=False, lot=500,
    near=(Ladder(10, 0.16), Ladder(20, 0.24)), far=(), activity=_STOCK, rule="*STOCKS",
    smile=_STOCK_SMILE,
)  # fmt: skip
HDFCBANK = Underlying(
    "HDFCBANK", Asset("HDFCBANK", 965.0, 1.00, 0.90), is_index=False, lot=550,
    near=(Ladder(5, 0.11), Ladder(10, 0.20)), far=(), activity=_STOCK.scaled(0.3, 1.2),
    rule="*STOCKS", smile=_STOCK_SMILE,
)  # fmt: skip
INFY = Underlying(
    "INFY", Asset("INFY", 1_545.0, 0.85, 1.30), is_index=False, lot=400,
    near=(Ladder(20, 0.20),), far=(), activity=_STOCK.scaled(0.1, 0.5), rule="*STOCKS",
    smile=_STOCK_SMILE,
)  # fmt: skip

UNDERLYINGS: Final = (NIFTY, BANKNIFTY, FINNIFTY, MIDCPNIFTY, RELIANCE, HDFCBANK, INFY)
INDICES: Final = (
    IndexRow(NIFTY.asset, 21.4, 3.2, 1.24, 4.0e8, 33_000.0),
    IndexRow(Asset("Nifty Next 50", 68_200.0, 1.10, 0.45), 20.3, 3.4, 1.20, 2.7e8, 15_000.0),
    IndexRow(BANKNIFTY.asset, 14.1, 1.9, 0.80, 2.6e8, 9_800.0),
    IndexRow(FINNIFTY.asset, 16.4, 2.5, 0.90, 1.4e8, 11_500.0),
    IndexRow(MIDCPNIFTY.asset, 34.2, 4.7, 0.62, 3.9e8, 7_600.0),
)

PARTICIPANTS: Final = ("Client", "DII", "FII", "Pro")
FII: Final = PARTICIPANTS.index("FII")
SEGMENTS: Final = (
    "index_future",
    "index_call",
    "index_put",
    "stock_future",
    "stock_call",
    "stock_put",
)
"""Participant segments; a contract's segment is (0 or 3) + its kind (0 FUT, 1 CE, 2 PE)."""

Weights = tuple[float, float, float, float]
"""Shares of `PARTICIPANTS`, in that order; they sum to 1."""


@dataclass(frozen=True, slots=True)
class Habits:
    """Who opens longs, who opens shorts and who trades in and out within the day."""

    longs: Weights
    shorts: Weights
    day_trades: Weights


HABITS: Final[tuple[Habits, ...]] = (
    Habits((0.64, 0.19, 0.09, 0.08), (0.17, 0.05, 0.70, 0.08), (0.45, 0.07, 0.26, 0.22)),
    Habits((0.68, 0.00, 0.12, 0.20), (0.60, 0.00, 0.21, 0.19), (0.36, 0.00, 0.05, 0.59)),
    Habits((0.51, 0.01, 0.28, 0.20), (0.73, 0.00, 0.09, 0.18), (0.36, 0.00, 0.05, 0.59)),
    Habits((0.40, 0.03, 0.46, 0.11), (0.03, 0.55, 0.38, 0.04), (0.30, 0.24, 0.18, 0.28)),
    Habits((0.67, 0.01, 0.04, 0.28), (0.42, 0.05, 0.07, 0.46), (0.36, 0.01, 0.03, 0.60)),
    Habits((0.38, 0.03, 0.09, 0.50), (0.59, 0.01, 0.04, 0.36), (0.36, 0.01, 0.04, 0.59)),
)
"""One for each of `SEGMENTS`, after the open interest of 28 July 2026."""
