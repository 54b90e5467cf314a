"""What to do when a rule fails: a few named remedies, in words a person can act upon.

Belongs here: the texts that rules name. Does not belong here: carrying a remedy out.
"""

from __future__ import annotations

REFETCH = (
    "refetch: materialize the raw table for the date again; when the same bytes come back, take "
    "the exchange's file from another host or a folder laid out like it (OPTRADE_NSE__BASE_URL)"
)
REPARSE = (
    "reparse: the file was read amiss; compare the sample with the kept bytes under `files/`, "
    "mend the format, then materialize the raw table for the date again"
)
REBUILD = (
    "rebuild: materialize this table for the date again from the tables it is made of; when the "
    "sample comes back, the code that makes it is at fault"
)
BACKFILL_PREVIOUS = (
    "compare: look at the same contracts on the session before; when that day is at fault, "
    "materialize it again, otherwise refetch this one"
)
CHECK_CALENDAR = (
    "calendar: look the date up in the exchange's circulars; add it to the calendar if it was a "
    "session, delete the date's rows if it was not"
)
LOOK = (
    "look: an odd market or an odd file; read the sample against the exchange's site, and leave "
    "it standing when the exchange says the same"
)
REDECODE = (
    "redecode: the segment is kept as it arrived; restore a damaged file or mend the decoder, then "
    "`optrade replay` the date"
)
FEED = (
    "feed: hold the sample against `quality.tick_gaps` of the date and the collector's journal; "
    "what was not heard stays unknown"
)
CLOCK = (
    "clock: set the collector's clock by NTP; the minutes follow the exchange's stamps meanwhile"
)
CANDLE = (
    "candle: hold the sample against the kept answer under `files/candles/`; the instrument stays "
    "missing until the broker answers otherwise and `optrade heal` is run again"
)
MEANING = (
    "meaning: a figure means another thing than its column says; compare the sample with the "
    "feed's packet and the bhavcopy's row, mend the decoder, then `optrade replay` the date"
)
CONTRACTS = (
    "contracts: hold the sample against `raw.instruments` and the day's `subscription.json`; what "
    "was not subscribed cannot be had any more, so mend the choice before the next session"
)
