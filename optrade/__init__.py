"""The market itself: contracts, calendar, formats, pricing, chains, participants, quality.

Belongs here: pure functions and types on Polars frames, and the declared schema of every table.
Does not belong here: Dagster, DuckDB, HTTP, clocks, files other than the package's own data.
"""
