"""The home of a market: its folders and Dagster's own configuration in it.

Belongs here: what must exist before Dagster starts, written again whenever it differs. Does
not belong here: settings (see `resources.settings`) and starting processes.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import dagster as dg
import yaml
from dagster._core.storage.tags import BACKFILL_ID_TAG
from filelock import FileLock

from resources.duckdb_connection import plain_connection
from resources.lake import Lake, LakeLocation
from resources.lake_slices import ParquetFormat
from resources.memory import Budget
from resources.settings import Settings

_OTHER_RUNS = 2
"""Runs of sensors, schedules and people that may go beside a backfill's."""
_LOOK_SECONDS = 10
"""How often Dagster looks for runs whose process was killed, which would hold up their lane."""
_OPENING_SECONDS = 60
LOCATION_MODULE = "optrade_dagster.definitions"


def location_name(settings: Settings) -> str:
    """The code location's name; a simulated market says so wherever the UI shows it."""
    return "optrade" if settings.market == "real" else "optrade (SIMULATED)"


def ensure_home(settings: Settings) -> Path:
    """Make the market's folders and Dagster configuration; returns `DAGSTER_HOME`.

    Sets `DAGSTER_HOME`, `OPTRADE_HOME` and `OPTRADE_MARKET` for this process and its children,
    so that all of them mean the same market.
    """
    home = settings.dagster_home
    home.mkdir(parents=True, exist_ok=True)
    _write_if_other(home / "dagster.yaml", _instance_config(settings))
    _write_if_other(workspace_file(settings), _workspace_config(settings))
    os.environ |= {
        "DAGSTER_HOME": str(home),
        "OPTRADE_HOME": str(settings.home),
        "OPTRADE_MARKET": settings.market,
    }
    return home


def workspace_file(settings: Settings) -> Path:
    """The workspace that `dagster` commands are given."""
    return settings.dagster_home / "workspace.yaml"


def _instance_config(settings: Settings) -> str:
    history = settings.dagster_home / "history" / "runs"
    return _HEADER + yaml.safe_dump(
        {
            "telemetry": {"enabled": False},
            "nux": {"enabled": False},
            "python_logs": {"python_log_level": "WARNING"},
            "event_log_storage": {
                "module": "resources.event_storage",
                "class": "BatchingSqliteEventLogStorage",
                "config": {"base_dir": str(history)},
            },
            "run_coordinator": {
                "module": "resources.run_coordinator",
                "class": "LaneRunCoordinator",
                "config": {"dequeue_interval_seconds": 1},
            },
            "run_launcher": {"module": "resources.run_launcher", "class": "LaneRunLauncher"},
            "concurrency": {
                "runs": {
                    "max_concurrent_runs": settings.backfill.concurrent_runs + _OTHER_RUNS,
                    "tag_concurrency_limits": [
                        {"key": BACKFILL_ID_TAG, "limit": settings.backfill.concurrent_runs}
                    ],
                }
            },
            "sensors": {"use_threads": True, "num_workers": 2},
            "run_monitoring": {"enabled": True, "poll_interval_seconds": _LOOK_SECONDS},
        }
    )


def _workspace_config(settings: Settings) -> str:
    module = {"module_name": LOCATION_MODULE, "location_name": location_name(settings)}
    return _HEADER + yaml.safe_dump(
        {"load_from": [{"python_module": module | {"executable_path": sys.executable}}]}
    )


_HEADER = "# Written by optrade; changes made here are overwritten.\n"


def _write_if_other(path: Path, text: str) -> None:
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")


@contextmanager
def open_instance(settings: Settings) -> Iterator[dg.DagsterInstance]:
    """The market's Dagster instance.

    One process at a time opens it: two that make its databases at once leave them unusable.
    """
    settings.dagster_home.mkdir(parents=True, exist_ok=True)
    with FileLock(settings.dagster_home / "opening.lock", timeout=_OPENING_SECONDS):
        opened = dg.DagsterInstance.from_config(str(ensure_home(settings)))
    with opened as instance:
        yield instance


@contextmanager
def open_lake(settings: Settings, *, read_only: bool) -> Iterator[Lake]:
    """The market's lake, outside a Dagster run."""
    style = ParquetFormat(settings.lake.compression_level, settings.lake.row_group_rows)
    with Lake.open(
        LakeLocation(settings.lake_root, settings.market),
        read_only=read_only,
        connect=partial(plain_connection, Budget.of(settings).duckdb_limit),
        style=style,
        lock_timeout_seconds=settings.lake.lock_timeout_seconds,
    ) as lake:
        yield lake
