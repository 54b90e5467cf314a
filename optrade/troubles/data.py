"""Troubles with data: exchange files, live feed, participants, price toggle, what checks find.

Belongs here: what is missing or odd in tables. Does not belong here: classes of cause, which say
it themselves (`optrade.quality.causes`), and what keeps the system from running (see `starting`).
"""

from __future__ import annotations

from typing import Final

from optrade.troubles.schema import Trouble

EXCHANGE_FILES: Final = (
    Trouble(
        "archive",
        "Exchange files",
        "The archive cannot be reached",
        "The host does not answer or refuses this machine, or the folder of OPTRADE_NSE__BASE_URL "
        "is not there.",
        (
            (
                "Open the address in a browser on this machine. A 403 there too: wait, or lower "
                "OPTRADE_NSE__REQUESTS_PER_SECOND."
            ),
            "Use a mirror or a folder laid out like the archive: OPTRADE_NSE__BASE_URL.",
            "Then `optrade backfill --from D --to D` for the dates that are missing.",
        ),
        "`optrade doctor --network` calls `exchange archive` ok.",
        ("HTTP …: the host refused. ", "…: found no answer (…); expected the exchange's "),
    ),
    Trouble(
        "not_published",
        "Exchange files",
        "A day's files are missing",
        "The exchange has not published them yet (the bhavcopy comes from about 18:00 IST, "
        "participants to 20:30), or the day is no session.",
        (
            (
                '`optrade sql "SELECT kind, status, detail FROM raw.source_files WHERE trade_date '
                "= 'D'\"` tells of each file."
            ),
            (
                "`optrade backfill --from D --to D` later; `optrade up` asks by itself for ten "
                "sessions."
            ),
        ),
        "The backfill's closing table says `nothing` under `missing, and why`.",
    ),
)

LIVE_FEED: Final = (
    Trouble(
        "no_segments",
        "Live feed",
        "The market is open and no segment arrives",
        "Nothing was sealed in the spool for minutes: the collector is not running, not logged in "
        "or cut off.",
        (
            "`optrade login` if `optrade doctor` says that the session is over.",
            "Start `optrade up`; if it runs, read the end of `logs/collector.out`.",
            "Afterwards `optrade heal DAY` for the minutes that were missed.",
        ),
        "A new `.seg` file each minute in `spool/DAY/`; `optrade doctor` calls `spool` ok.",
    ),
    Trouble(
        "left_open",
        "Live feed",
        "A segment was left open or torn",
        "A collector was killed. What is whole of an open segment is sealed by the next collector "
        "of that day; the torn tail is kept beside it as `.torn`, at most a second of frames.",
        (
            "Of today: start `optrade up`, it seals what is open.",
            (
                "Of an earlier day: `optrade heal DAY` fills the hole from candles. Do not delete "
                "either file."
            ),
        ),
        "The hole is told in quality.tick_gaps as `killed` and healed.",
    ),
    Trouble(
        "second_collector",
        "Live feed",
        "Two collectors want the same spool",
        "One collector serves a market; the second one is refused before it writes anything.",
        ("Stop one of them: Ctrl-C in its terminal.",),
        "`optrade collect` or `optrade up` starts without the message.",
        ("…: found another collector writing there; expected none. ",),
    ),
    Trouble(
        "too_many",
        "Live feed",
        "Not all instruments fit",
        "Kite gives three websockets of 3,000 instruments; the settings ask for more. What was "
        "left out stands in the journal of the day.",
        (
            (
                "Lower OPTRADE_COLLECTOR__STRIKE_WIDTH_PCT, or name fewer "
                "OPTRADE_COLLECTOR__EXPIRY_BUCKETS or OPTRADE_COLLECTOR__UNDERLYINGS."
            ),
        ),
        "The next day's journal names nothing that was left out.",
        ("… instruments do not fit on … sockets of …",),
    ),
    Trouble(
        "no_segment_of_day",
        "Live feed",
        "A day cannot be replayed",
        "Its folder in the spool is not there or has no sealed segment: it was not collected here.",
        (
            "`optrade restore FROM` puts it back from a backup.",
            "Without one, `optrade heal DAY` gives minutes from the broker's candles.",
        ),
        "`optrade replay DAY` says that nothing differs.",
        (
            "…: found no sealed segment; expected those of ….",
            "…: found no such file; expected the day's subscription.",
        ),
    ),
)

PARTICIPANTS: Final = (
    Trouble(
        "participants_missing",
        "Participants",
        "FII, DII, Pro and Client are missing for a day",
        "Their files come last in the evening, and FII's statistics sometimes only the next "
        "morning. What is held of the day stands without them.",
        (
            (
                "Wait for the run at 06:00 IST, or `optrade backfill --from D --to D --select "
                '"group:participants"` after the raw files are in.'
            ),
        ),
        "`optrade sql \"SELECT * FROM participants.activity WHERE trade_date = 'D'\"` has four "
        "rows.",
    ),
    Trouble(
        "ledger_null",
        "Participants",
        "A participant's figure is null",
        "It needs the day before, which is not held, or a split that the exchange does not "
        "publish. Null means not known, never zero.",
        (
            "docs/tables.md says of each column what it needs.",
            "`optrade backfill` over the days before, then over the day itself.",
        ),
        "The column is filled where the days before are held.",
    ),
)

PRICE_TOGGLE: Final = (
    Trouble(
        "premium_null",
        "Price toggle",
        "A premium is null",
        "The column `reason` says why: `no_trade` where a leg did not trade, `expired`, "
        "`not_published`, `legs_not_heard`. A time-weighted average is null where the last price "
        "is older than OPTRADE_ANALYTICS__MAX_GAP_SECONDS.",
        (
            (
                "`optrade explain analytics.premium_minute --where '…' --column last_premium` goes "
                "back to the ticks it comes from."
            ),
            "A hole in the feed: `optrade heal DAY`.",
        ),
        "The column is filled, or `reason` says what the market did not give.",
    ),
    Trouble(
        "toggle_differs",
        "Price toggle",
        "Last and average price differ a lot",
        "The last traded price is one trade, the average weighs each price by how long it stood. "
        "They part in fast minutes and where a leg trades seldom.",
        (
            (
                "Compare `last_premium` with `twap_premium` of the same row, and the ticks of both "
                "legs in raw.ticks."
            ),
            "`optrade explain` shows both down to the segment.",
        ),
        "`optrade explain` says that the stored number is the same when computed again.",
    ),
)

ERROR_DETECTION: Final = (
    Trouble(
        "incidents",
        "Error detection",
        "Incidents are open",
        "A rule failed, a hole was found or a run broke down, and nothing has judged it well "
        "since. Each says its cause; `escalated` ones wait for a person.",
        (
            (
                '`optrade sql "SELECT trade_date, cause, table_name, evidence, suggestion FROM '
                "quality.incidents WHERE status <> 'closed'\"`"
            ),
            "Do what `suggestion` says; the causes are explained below and in docs/errors.md.",
        ),
        "The incident's `status` is `closed` after the date was run again.",
    ),
    Trouble(
        "failed_partitions",
        "Error detection",
        "The last run of some days failed",
        "No later run of the same days has succeeded, so they hold what they held before.",
        (
            "Open the run in the UI (Runs, status Failure); its failed step says what it refused.",
            "`optrade backfill --from D --to D`, for a collected day also `optrade replay D`.",
        ),
        "`optrade doctor` calls `failed partitions` ok.",
    ),
    Trouble(
        "refused_segments",
        "Error detection",
        "Segments of the spool were refused",
        "A sealed segment could not be read, so none of its ticks is in the lake. The file is "
        "kept as it is.",
        (
            (
                '`optrade sql "SELECT trade_date, segment, refusal FROM raw.tick_segments WHERE '
                'refusal IS NOT NULL"` says what was found.'
            ),
            "`optrade recover --from BACKUP` puts the file back, then `optrade replay DAY`.",
        ),
        "The query gives no row for the day.",
    ),
    Trouble(
        "clock",
        "Error detection",
        "This machine's clock differs from the exchange's",
        "Ticks keep both times and minutes follow the exchange's, but schedules go by this "
        "machine's.",
        ("`timedatectl set-ntp true` (Linux), or the system's settings of date and time.",),
        "The next session's journal has no `clock_skew` that stands.",
        ("This machine's clock is … s … the exchange's: set it by NTP.",),
    ),
    Trouble(
        "notify",
        "Error detection",
        "Nobody is told of incidents",
        "No channel is set, so incidents stand in the lake and in the UI only.",
        ("Set a channel (docs/settings.md), then `optrade notify --test`.",),
        "The test message arrives.",
    ),
)

TROUBLES: Final = (
    *EXCHANGE_FILES,
    *LIVE_FEED,
    *PARTICIPANTS,
    *PRICE_TOGGLE,
    *ERROR_DETECTION,
)
