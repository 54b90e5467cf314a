"""The option chain: its snapshot at the close and what follows from it.

Belongs here: functions from declared frames to declared frames, set-wise over many days, in
which a row depends only on rows of its own trading day. Does not belong here: models
(`optrade.pricing`), participants, anything that reads or stores.
"""
