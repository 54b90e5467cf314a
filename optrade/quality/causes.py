"""Causes: the classes of what goes wrong, what each means, and what is done about it.

Belongs here: the taxonomy of incidents and where a finding falls in it. Does not belong here: the
rules that find something, opening and closing incidents (see `incidents`), carrying an action out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from optrade.quality.rules import Rule

COMPONENTS: Final = {
    "exchange_files": "the exchange's daily files: fetched, kept, parsed",
    "live_feed": "the broker's feed: collector, spool, ticks and their holes",
    "broker_session": "the login that collecting depends on",
    "chain": "option chains and indices, by day and by minute",
    "participants": "what FII, DII, Pro and Client hold and trade",
    "analytics": "implied volatility, greeks, surfaces, levels, signals",
    "price_toggle": "premiums of straddles and strangles, last and average",
    "reconciliation": "our last minute against the exchange's close",
    "runs": "Dagster runs and partitions",
    "storage": "the lake's catalog and files",
}
"""Parts of the system, as incidents and dashboards name them."""


@dataclass(frozen=True)
class Cause:
    """A class of cause.

    `meaning` is for a person, `suggestion` what one does about it, with the command. `action` is
    what is tried first without a person (see `optrade.tables.quality.ACTIONS`), if anything.
    `component` is set where the cause says which, whatever table it shows in.
    """

    name: str
    meaning: str
    suggestion: str
    action: str | None = None
    component: str | None = None


CAUSES: Final = {
    cause.name: cause
    for cause in (
        Cause(
            "file_withheld",
            "The exchange's host refused a file (403) or sent a page in its place.",
            "Wait and run `optrade backfill` for the date again; add another host or a folder laid "
            "out like the archive to OPTRADE_NSE__FALLBACK_URLS.",
            "refetch",
        ),
        Cause(
            "file_unreadable",
            "A file is not what its name says: cut off, a web page, another day's, or laid out "
            "differently.",
            "Look at the kept bytes under files/; take the file from another host or folder "
            "(OPTRADE_NSE__FALLBACK_URLS) and run `optrade backfill` for the date again.",
            "refetch",
        ),
        Cause(
            "file_damaged",
            "A file that was kept is gone or its bytes changed on this disk.",
            "`optrade recover` puts it back from a backup; `optrade backfill` for the date fetches "
            "it again. Look at the disk's health.",
            "refetch",
        ),
        Cause(
            "figures_contradict",
            "Figures of a file contradict each other, another file or the day before.",
            "Read the sample against the exchange's site; take the file from another host or "
            "folder and run `optrade backfill` for the date again.",
            "refetch",
        ),
        Cause(
            "figures_changed",
            "Contracts differ from the session before in a way that days do not bring.",
            "Compare the sample with the session before; run `optrade backfill` for whichever day "
            "is at fault.",
        ),
        Cause(
            "market_odd",
            "Possible, but odd: the market or the exchange's file stands out.",
            "Read the sample against the exchange's site and leave it standing when the exchange "
            "says the same.",
        ),
        Cause(
            "own_work",
            "A table is not what follows from the tables it is made of.",
            "`optrade backfill` for the date makes it again; when it comes back, the code that "
            "makes it is at fault: `optrade explain` shows from which step on.",
            "recompute",
        ),
        Cause(
            "date_unknown",
            "Data of a day that the calendar calls closed, or none of one that it calls a session.",
            "Look the date up in the exchange's circulars; add it to OPTRADE_CALENDAR__EXTRA_CSV.",
        ),
        Cause(
            "segment_refused",
            "A sealed segment of the feed can't be read or holds what can't be.",
            "Restore the segment (`optrade recover`) or mend the decoder, then `optrade replay` "
            "the date.",
            "replay",
        ),
        Cause(
            "feed_cut",
            "The feed was not heard for a while: connection, collector or broker.",
            "`optrade heal` fills the hole from the broker's candles; what they do not have stays "
            "a labelled hole.",
            "candles",
        ),
        Cause(
            "instrument_silent",
            "An instrument stood still while others moved.",
            "`optrade heal` asks the broker's candles; look whether the contract still trades.",
            "candles",
        ),
        Cause(
            "token_expired",
            "The broker's session died, so nothing could be collected.",
            "`optrade login` every morning before 09:00; `optrade heal` fills what was missed from "
            "candles.",
            "candles",
            "broker_session",
        ),
        Cause(
            "login_missing",
            "Nobody is logged in to the broker for the session that opens or is open.",
            "`optrade login`; what was missed until then is filled by `optrade heal`.",
            component="broker_session",
        ),
        Cause(
            "not_collected",
            "The market is open and nothing is heard: no collector runs, or it hears nothing.",
            "`optrade doctor` says which part stands still; start `optrade up` if none runs. "
            "Afterwards `optrade heal` fills the hole.",
        ),
        Cause(
            "made_late",
            "What is heard reaches the tables minutes late: runs are stuck, slow or not started.",
            "Look at the runs under way in Dagster's UI and at `optrade doctor`; end a run that "
            "hangs. What was sealed meanwhile is caught up by itself.",
            component="runs",
        ),
        Cause(
            "disk_refused",
            "The disk did not take frames of the feed, or lost them before they were read.",
            "Free some space or mend the disk; `optrade recover` puts a lost segment back, "
            "`optrade heal` fills the hole from candles.",
            "candles",
            "storage",
        ),
        Cause(
            "feed_odd",
            "The feed's figures or stamps are not what a feed's are.",
            "Hold the sample against quality.tick_gaps of the date and the collector's journal; "
            "what was not heard stays unknown.",
        ),
        Cause(
            "candles_odd",
            "The broker's candles contradict themselves or came before their minute was over.",
            "Hold the sample against the kept answer under files/candles/ and run `optrade heal` "
            "for the date again.",
            "candles",
        ),
        Cause(
            "close_differs",
            "Our last minute and the exchange's close differ by more than trading explains.",
            "Compare the sample with the feed's packet and the bhavcopy's row; `optrade replay` "
            "the date when the decoder was mended.",
        ),
        Cause(
            "contracts_missing",
            "The exchange lists contracts that were not collected, or the reverse.",
            "Hold the sample against raw.instruments and the day's subscription.json; mend the "
            "choice (OPTRADE_COLLECTOR__…) before the next session.",
        ),
        Cause(
            "clock_off",
            "This machine's clock and the exchange's differ.",
            "Set the clock by NTP. The minutes follow the exchange's stamps meanwhile.",
        ),
        Cause(
            "run_failed",
            "A run was killed or broke down and left its day unfinished.",
            "Look at the run in Dagster's UI; run `optrade backfill` (or `optrade replay`) for the "
            "date again.",
            "recompute",
            "runs",
        ),
        Cause(
            "lake_damaged",
            "A file of the lake or the spool is gone, or its bytes changed on this disk.",
            "`optrade recover --from BACKUP` puts it back. Look at the disk's health.",
            component="storage",
        ),
    )
}
"""Every class of cause by its name."""

_OF_REMEDY: Final = {
    "refetch": "figures_contradict",
    "reparse": "file_unreadable",
    "rebuild": "own_work",
    "compare": "figures_changed",
    "calendar": "date_unknown",
    "look": "market_odd",
    "redecode": "segment_refused",
    "feed": "feed_odd",
    "clock": "clock_off",
    "candle": "candles_odd",
    "meaning": "close_differs",
    "contracts": "contracts_missing",
}

OF_GAP: Final = {
    "not_started": "feed_cut",
    "killed": "feed_cut",
    "connection_lost": "feed_cut",
    "mute_socket": "feed_cut",
    "refused": "feed_cut",
    "stopped": "feed_cut",
    "silent_instrument": "instrument_silent",
    "token_expired": "token_expired",
    "spool_failed": "disk_refused",
    "segment_lost": "disk_refused",
}
"""The cause of a hole in the ticks, by what the collector's journal says of it."""

_LIVE: Final = frozenset(
    {"raw.ticks", "raw.tick_segments", "raw.instruments", "raw.candles", "quality.tick_gaps"}
)
_OF_GROUP: Final = {
    "raw": "exchange_files",
    "snapshots": "chain",
    "participants": "participants",
    "analytics": "analytics",
}


def cause_of(rule: Rule) -> str:
    """The cause that a rule's failure stands for: its remedy says which."""
    return _OF_REMEDY[rule.remedy.partition(":")[0]]


def component_of(table: str, cause: Cause) -> str:
    """The component a finding belongs to, by its table's full name and its cause."""
    if cause.component is not None:
        return cause.component
    if table in _LIVE:
        return "live_feed"
    group, name = table.split(".")
    if name.startswith("premium") and group == "analytics":
        return "price_toggle"
    return "reconciliation" if name == "reconciliation" else _OF_GROUP[group]
