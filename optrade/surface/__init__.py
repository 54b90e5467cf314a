"""The volatility surface: a smile fitted to each expiry, its arbitrage, and what is read off it.

Belongs here: SVI slices in total variance, their calibration, audit and repair, interpolation
between expiries, the frames of the `surface` tables and their picture. Does not belong here:
implied volatilities themselves (`optrade.pricing`, `optrade.chain.greeks`).
"""
