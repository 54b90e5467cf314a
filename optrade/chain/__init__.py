"""The option chain: its snapshots at the close and by minute, and what follows from them.

Belongs here: functions from declared frames to declared frames, set-wise over many days or
minutes, in which a row depends only on rows of its own day, and by minute on nothing later. Does
not belong here: models (`optrade.pricing`), participants, anything that reads or stores.
"""
