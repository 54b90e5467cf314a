"""The lineage graph: thin wiring from tables to tables, and the checks that guard them.

Belongs here: which asset reads what, and which pure function of `optrade` it calls. Does not
belong here: market maths, storage, schedules.
"""
