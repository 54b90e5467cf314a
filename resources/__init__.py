"""The outside world, one adapter each: the lake, the exchange's archive, settings, simulator.

Belongs here: everything that touches disk, network or the clock. Does not belong here: market
maths (see `optrade`) and the lineage graph (see `assets`).
"""
