"""Troubles on the way to a running system: set-up, login, deployment.

Belongs here: what keeps it from starting or from staying up. Does not belong here: data (see
`data`), the disk and what to do after a loss (see `keeping`).
"""

from __future__ import annotations

from typing import Final

from optrade.troubles.schema import Trouble

_DOCTOR = "`optrade doctor` calls it ok."

SET_UP: Final = (
    Trouble(
        "python",
        "Set-up",
        "Python or a package is another version",
        "optrade is pinned to Python 3.11 and to one set of packages that were tested together. "
        "With others it may start and then fail somewhere.",
        (
            "Make the environment with 3.11: `python3.11 -m venv .venv`, then activate it.",
            'Run `python -m pip install -c constraints.txt -e ".[dev]"` in the clone.',
        ),
        "`optrade doctor` calls `python` and `packages` ok.",
    ),
    Trouble(
        "settings",
        "Set-up",
        "A setting is unknown or impossible",
        "A name beginning with OPTRADE_ is misspelt, or a value is out of bounds. It is refused "
        "so that a slip does not pass unseen.",
        (
            "Read the message: it names the setting, where it stands and what was expected.",
            "Correct it in `.env` or in the environment; docs/settings.md lists all of them.",
        ),
        "`optrade doctor` calls `settings` ok.",
        (
            "… is not a setting.",
            "…: found … ……; expected …. Correct it, or remove it for the default, ",
            "… cannot be read as UTF-8 text: ",
        ),
    ),
    Trouble(
        "home",
        "Set-up",
        "The home folder cannot be written",
        "OPTRADE_HOME is a file, or belongs to somebody else, or lies on a disk that was mounted "
        "for reading only.",
        (
            "Choose a folder of your own on a local disk: set OPTRADE_HOME in `.env`.",
            "Or give the folder to the user that runs optrade: `chown -R USER FOLDER`.",
        ),
        "`optrade doctor` calls `home` ok.",
        ("The lake's folder is …: found … in its path, which DuckDB reads as a pattern.",),
    ),
    Trouble(
        "no_lake",
        "Set-up",
        "There is nothing to read yet",
        "No run has filled a lake of this market under this OPTRADE_HOME.",
        (
            "`optrade demo --no-ui` fills a simulated one, without account or network.",
            "`optrade backfill --from D --to D` fills the real one from the exchange's files.",
        ),
        '`optrade sql "SELECT count(*) FROM raw.source_files"` prints a number.',
        ("There is no … lake at …. Fill one first:",),
    ),
    Trouble(
        "markets",
        "Set-up",
        "Real and simulated were mixed up",
        "The lake, or the folder that files are fetched from, belongs to the other market. "
        "Nothing was stored.",
        (
            "Set OPTRADE_MARKET to the market you mean.",
            "Check that OPTRADE_NSE__BASE_URL names a place of the same market.",
        ),
        _DOCTOR,
        (
            "The lake at … was born …; asked for ….",
            "…: found a … exchange's archive; expected a … one for this … lake.",
        ),
    ),
    Trouble(
        "calendar",
        "Set-up",
        "The calendar does not know the day",
        "The shipped calendar ends, or a file of OPTRADE_CALENDAR__EXTRA_CSV has a mistake. A day "
        "it does not know is refused, never guessed.",
        (
            "Add the year as a CSV file as docs/calendar.md tells.",
            "Name that file in OPTRADE_CALENDAR__EXTRA_CSV.",
        ),
        "`optrade doctor` calls `calendar` ok.",
        ("days from … to …",),
    ),
    Trouble(
        "port",
        "Set-up",
        "A port is taken",
        "Another program, often another `optrade up`, listens where a part of ours would.",
        (
            (
                "Stop the other one: Ctrl-C in its terminal. `ss -ltnp` (Linux) or "
                "`lsof -i` (macOS) names it."
            ),
            (
                "Or choose another port: `optrade up --port 3111`, OPTRADE_SIMULATOR__PORT, "
                "OPTRADE_KITE__REDIRECT_PORT."
            ),
        ),
        "`optrade up` starts; `optrade doctor` calls `ports` ok.",
        (
            "port … of …, meant for …, is taken: stop what listens there",
            "port … of … is taken (…): stop what listens there",
            "Port … of 127.0.0.1: found it taken (…)",
        ),
    ),
)

LOGIN: Final = (
    Trouble(
        "key",
        "Login",
        "No API key is set",
        "Without the key of a Kite Connect app nothing is collected live. The exchange's daily "
        "files do not need it.",
        (
            (
                "Copy key and secret from https://developers.kite.trade into `.env`: "
                "OPTRADE_KITE__API_KEY and OPTRADE_KITE__API_SECRET."
            ),
            "Register http://127.0.0.1:5010/ as the app's redirect URL.",
        ),
        "`optrade login` opens the broker's page.",
        (
            "is empty; expected the value of your Kite Connect app.",
            "No OPTRADE_KITE__API_KEY is set: nothing is collected live",
        ),
    ),
    Trouble(
        "login",
        "Login",
        "Nobody is logged in to Kite",
        "Kite ends every session at 06:00 (India). From then on nothing can be collected until "
        "somebody logs in; a running collector goes on by itself as soon as that is done.",
        (
            "`optrade login`, every trading day between 06:00 and 09:00.",
            "After a late login: `optrade heal DAY` fills what was missed from candles.",
        ),
        "`optrade doctor` calls `kite session` ok and shows until when it lives.",
        (
            "Nobody is logged in to Kite: found no ….",
            "The Kite session of … ended at …: Kite ends every session at 06:00",
            "A login to Kite is due …",
        ),
    ),
    Trouble(
        "session_file",
        "Login",
        "The kept session cannot be used",
        "The file kite/session.json is damaged, was readable by others on this machine, or is of "
        "another Kite Connect app than OPTRADE_KITE__API_KEY.",
        (
            "`optrade login` makes a new token and file.",
            "If others could read the old one, log out of all sessions in Kite's settings first.",
        ),
        "`optrade doctor` calls `kite session` ok.",
        (
            "…: found mode …, so others on this machine may have read the access token",
            "…: found … characters that are no session; expected JSON with ",
            "…: found the session of another Kite Connect app, of …",
        ),
    ),
    Trouble(
        "redirect",
        "Login",
        "The login page never comes back",
        "The browser could not reach this machine at the redirect address, or the page was closed.",
        (
            (
                "Copy the address the browser ended on; within two minutes: "
                "`optrade login --paste '<the address>'`."
            ),
            (
                "Check that the app's redirect URL is http://127.0.0.1:5010/ (the port of "
                "OPTRADE_KITE__REDIRECT_PORT)."
            ),
        ),
        "It says `Logged in to Kite`.",
        (
            "Nobody came back from Kite's login page within … seconds",
            "Found … characters without a request token; expected the token, ",
        ),
    ),
)

DEPLOYMENT: Final = (
    Trouble(
        "daemon",
        "Deployment",
        "Dagster answers, but nothing is run",
        "The web UI is up while its daemon was not heard lately, so sensors, schedules and queued "
        "runs stand still.",
        (
            "Look at the last lines of `logs/dagster.out` of the market.",
            "Stop `optrade up` with Ctrl-C and start it again.",
        ),
        "`optrade doctor` calls `dagster daemon` ok within a minute.",
    ),
    Trouble(
        "given_up",
        "Deployment",
        "A part was given up",
        "It crashed five times within a minute. The other parts of `optrade up` go on.",
        (
            "Read the end of the `.out` file the line names: it says why.",
            "Mend that, stop `optrade up` with Ctrl-C and start it again.",
        ),
        "Each part says `ready` or stays up for a minute.",
        ("given up: … crashes within … s, the last with ",),
    ),
    Trouble(
        "stuck_run",
        "Deployment",
        "A run is started but has no process",
        "Its process was killed with no daemon left to notice. It holds up its day until it is "
        "ended.",
        (
            "`optrade up` ends dead runs when it starts; a running one finds them within seconds.",
            "Else end it in the UI: Runs, the run, Terminate, Force termination.",
        ),
        "`optrade doctor` calls `stuck runs` ok.",
    ),
    Trouble(
        "dagster_home",
        "Deployment",
        "Dagster's own state cannot be read",
        "A database under `dagster/` is damaged. It knows runs and their events; no data of the "
        "market is in it.",
        (
            "Stop `optrade up`. `optrade restore FROM` puts a backup's state back.",
            (
                "Without a backup move the folder `dagster/` away: a new one is made; runs of the "
                "past are then unknown to the UI, while every table stands."
            ),
        ),
        "`optrade doctor` calls `dagster home` ok; the UI opens.",
    ),
    Trouble(
        "reach",
        "Deployment",
        "The UI cannot be opened from another machine",
        "It listens on 127.0.0.1 only, for it has no login and can start runs.",
        (
            "Use a tunnel: `ssh -L 3000:127.0.0.1:3000 HOST`, then http://127.0.0.1:3000.",
            "Or put a proxy with a login in front.",
        ),
        "The page opens through the tunnel.",
    ),
)

TROUBLES: Final = (*SET_UP, *LOGIN, *DEPLOYMENT)
