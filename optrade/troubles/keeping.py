"""Troubles with keeping: storage, performance, recovery, and emergencies.

Belongs here: the disk, the lake's files, speed, and what to do when something is lost or the
market is open. Does not belong here: data that is wrong (see `data`), starting (see `starting`).
"""

from __future__ import annotations

from typing import Final

from optrade.troubles.schema import Trouble

STORAGE: Final = (
    Trouble(
        "disk",
        "Storage",
        "The disk is full, or nearly",
        "Nothing is lost by it at once: a commit is undone whole, and the collector keeps frames "
        "in memory (64 MB) until the disk takes them again.",
        (
            (
                "Free space elsewhere on the disk; `df -h` shows what is left. Never delete from "
                "`lake/`, `spool/` or `kite/`."
            ),
            "`optrade archive` rewrites old days in fewer bytes.",
            "Then run again what failed: `optrade backfill --from D --to D`.",
        ),
        "`optrade doctor` calls `free space` ok.",
        (
            "The lake at … could not store this (…): found ….",
            "…: the disk refused frames (…)",
            "…: the disk refused the entry … (…)",
        ),
    ),
    Trouble(
        "inodes",
        "Storage",
        "The disk has no room for more files",
        "A session makes thousands of small files until its day is compacted; this file system "
        "has almost no file numbers left, whatever `df -h` says.",
        (
            (
                "`df -i` shows it. Remove many small files elsewhere, or move OPTRADE_HOME to a "
                "larger file system."
            ),
        ),
        "`optrade doctor` calls `inodes` ok.",
    ),
    Trouble(
        "catalog",
        "Storage",
        "The lake's catalog is damaged",
        "`catalog.sqlite` is not a whole database any more: a disk that fails, or a copy made "
        "while it was written to.",
        (
            "Stop `optrade up`. Copy `lake/` as it is to another disk first.",
            "`optrade recover --from BACKUP`, or `optrade restore FROM` into an empty home.",
            "Look at the disk's health: `smartctl -a DEVICE`.",
        ),
        "`optrade doctor` calls `catalog` ok and `optrade sql` answers.",
        ("The lake at … cannot be opened: ….",),
    ),
    Trouble(
        "half_made",
        "Storage",
        "The lake was begun but never finished",
        "The process that made it was killed in between. Nothing is in it yet.",
        ("Any run that writes finishes it: `optrade backfill` or `optrade demo`.",),
        "`optrade sql` answers.",
        ("The lake at … was begun but never finished.",),
    ),
    Trouble(
        "data_files",
        "Storage",
        "Data files of the lake are missing or changed",
        "The catalog knows Parquet files that are not there or have another size: something other "
        "than optrade removed or truncated them.",
        (
            "`optrade recover --from BACKUP` puts back what is missing or damaged.",
            (
                "Without a backup, `optrade backfill --from D --to D` makes the day again from the "
                "kept files, `optrade replay D` from the spool."
            ),
        ),
        "`optrade doctor` calls `data files` ok.",
        ("The lake at … references … files that are not there, such as ….",),
    ),
    Trouble(
        "lock",
        "Storage",
        "A writer keeps the lake's lock",
        "Each commit takes the lock for a moment. A process that was halted while it held it, or "
        "hangs, makes all others wait. The lock of a dead process is freed by the operating "
        "system; the file `.write.lock` itself means nothing and stays.",
        (
            "`optrade doctor` names the process; `ps -fp PID` shows what it is.",
            "End its run in the UI (Terminate), or the process: `kill PID`.",
        ),
        "`optrade doctor` calls `writer lock` ok.",
        ("Another writer held … for over … s.",),
    ),
    Trouble(
        "other_version",
        "Storage",
        "The lake was made by another optrade",
        "Its tables or layout are not as this version declares them, and cannot be brought there "
        "without touching stored rows.",
        (
            (
                "Use the version that made it, or move the folder away, keep its `files/`, and "
                "backfill a new lake."
            ),
        ),
        "`optrade sql` answers.",
        (
            "The lake at … holds tables that are not as this optrade declares them. ",
            "The lake at … has layout …; this optrade reads layout ….",
        ),
    ),
    Trouble(
        "logs",
        "Storage",
        "The logs are large",
        "Logs are compressed, never deleted. A part that crashes over and over, or level DEBUG, "
        "fills them.",
        (
            "Look for the largest file in `logs/` and for what repeats in it.",
            "Set OPTRADE_LOGGING__LEVEL to INFO; move old `.gz` files to another disk.",
        ),
        "`optrade doctor` calls `logs` ok.",
    ),
)

PERFORMANCE: Final = (
    Trouble(
        "late_minutes",
        "Performance",
        "Minutes come late",
        "A minute should be in the lake within 5 s of its segment's seal (docs/performance.md). "
        "Other work on the machine, a slow disk or many more instruments delay it.",
        (
            "Look for what else runs: `top`. Backfill after the close, not during the session.",
            "Lower OPTRADE_COLLECTOR__STRIKE_WIDTH_PCT; put OPTRADE_HOME on a local SSD.",
        ),
        "Runs > minute_lane in the UI last 2 to 4 s.",
    ),
    Trouble(
        "slow_disk",
        "Performance",
        "Frames wait for a slow disk",
        "Frames come faster than they can be written; beyond 64 MB new ones are refused and told "
        "as a hole.",
        ("Put OPTRADE_HOME on a faster disk, or collect fewer instruments.",),
        "The journal of the day has no `spool_failed` that stands.",
        ("…: found … bytes waiting for a disk that is too slow.",),
    ),
    Trouble(
        "memory",
        "Performance",
        "A run is killed for its memory",
        "A run over many days holds them at once, about 20 MB a full day, besides DuckDB's share.",
        (
            "`optrade backfill … --days-per-run 32`, or set OPTRADE_BACKFILL__DAYS_PER_RUN.",
            "Lower OPTRADE_LAKE__MEMORY_LIMIT to a quarter of the machine's memory.",
        ),
        "The backfill ends with its closing table.",
    ),
)

RECOVERY: Final = (
    Trouble(
        "after_kill",
        "Recovery",
        "The machine or a process was killed",
        "A commit is whole or absent, segments are sealed up to the last second, dead runs are "
        "found when Dagster starts.",
        (
            "`optrade up`. It seals, ends dead runs and asks for what is missing.",
            "`optrade doctor`, then `optrade heal DAY` for the hole.",
        ),
        "`optrade doctor` finds no trouble.",
    ),
    Trouble(
        "lost_disk",
        "Recovery",
        "The disk is gone",
        "What is not in a backup can be had again only in part: the exchange's files, and minute "
        "candles for contracts that have not expired. The ticks can't.",
        (
            "Install optrade on the new machine and copy `.env`.",
            "`optrade restore FROM`, then `optrade backfill` from the backup's last day on.",
            "`optrade login`, `optrade up`, `optrade heal DAY`.",
        ),
        "`optrade doctor` finds no trouble and `optrade sql` gives the old rows.",
    ),
    Trouble(
        "wrong_rows",
        "Recovery",
        "A day holds wrong rows",
        "Nothing that was stored is overwritten: every earlier state can still be read.",
        (
            "`optrade sql … --as-known-at MOMENT` shows what was held before.",
            (
                "`optrade explain TABLE --where '…' --column C --verify` says whether the number "
                "follows from its inputs."
            ),
            "`optrade backfill --from D --to D` makes the day again.",
        ),
        "`optrade explain … --verify` says that it is the same.",
        ("Nothing was known yet at …: the lake at … is younger.",),
    ),
)

EMERGENCY: Final = (
    Trouble(
        "emergency_feed",
        "Emergency",
        "The market is open and the feed is dead",
        "Each minute without a collector is a hole that only candles can fill, and only as long "
        "as the contracts live.",
        (
            "`optrade doctor` (seconds): do the first trouble it names.",
            "In most cases: `optrade login`, then `optrade up` if it does not run.",
            "After the close, the same day: `optrade heal DAY`.",
        ),
        "A new `.seg` each minute in `spool/DAY/`.",
    ),
    Trouble(
        "emergency_disk",
        "Emergency",
        "The disk fills up while the market is open",
        "The collector keeps 64 MB of frames in memory, about a minute of a full subscription; "
        "then it loses new ones and says so.",
        (
            (
                "Free space outside OPTRADE_HOME at once. The collector goes on by itself: do not "
                "stop it, what waits in memory would be lost."
            ),
            "Nothing under `lake/`, `spool/` or `kite/` may go.",
        ),
        "`optrade doctor` calls `free space` ok; the journal closes its gap.",
    ),
    Trouble(
        "emergency_numbers",
        "Emergency",
        "Numbers are wrong and somebody acts on them",
        "Red checks and incidents mark what is wrong, but a reader of the lake does not see them.",
        (
            (
                "Tell the readers; stop `optrade up` with Ctrl-C if more of it would do harm (the "
                "feed has a hole then)."
            ),
            "Let them read `--as-known-at` a moment before it began.",
            "`optrade explain` the number; act on the incident's suggestion.",
        ),
        "The incident is closed.",
    ),
    Trouble(
        "emergency_token",
        "Emergency",
        "A secret got out",
        "Whoever has the access token can trade until 06:00; with the API secret they can make "
        "new ones.",
        (
            "In Kite: log out of all sessions. At developers.kite.trade: regenerate the secret.",
            "Put the new one into `.env`; `optrade login`.",
        ),
        "The old token is answered with 403.",
    ),
)

TROUBLES: Final = (*STORAGE, *PERFORMANCE, *RECOVERY, *EMERGENCY)
