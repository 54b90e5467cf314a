"""Models of a price: Black (1976), implied volatility, the forward of an expiry.

Belongs here: models on plain arrays or few named columns. Does not belong here: tables and
quotes of a chain (`optrade.chain`), market conventions of a contract (`optrade.contracts`).
"""
