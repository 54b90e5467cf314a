"""Shared by the tests of assets and of the code location: a small simulated exchange and lakes.

Ninety seconds for everything: the exchange is made once, the range run over it is made once, and
a test that needs a filled lake gets a copy of that one.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from hypothesis import settings

from assets.minutes import MINUTE_TABLES
from optrade.calendar import load_calendar
from optrade.formats.archive import candidates
from optrade.simulation import UNDERLYINGS
from optrade.tables import TABLES, Table
from optrade.tables.candles import CANDLES
from optrade.tables.quality import RECORD
from optrade.tables.reconciliation import RECONCILIATION
from optrade_dagster.definitions import build_defs
from optrade_dagster.home import open_lake
from resources import logs
from resources.lake import Lake
from resources.lake_slices import content_hash
from resources.settings import Settings
from resources.simulator import write_exchange

FIRST, LAST = date(2026, 1, 23), date(2026, 2, 1)
"""Six sessions: a holiday and a weekend inside, a monthly expiry (27 January), a Sunday session."""
SEED = 7
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
DAGSTER_ON_ITSELF = (
    "ignore:The `__fields__` attribute is deprecated:DeprecationWarning",
    "ignore:InitResourceContext.dagster_run is deprecated:DeprecationWarning",
)


settings.register_profile("patient", deadline=None)  # A busy machine is no fault of the code.
settings.load_profile("patient")


def pytest_configure(config: pytest.Config) -> None:
    for line in DAGSTER_ON_ITSELF:
        config.addinivalue_line("filterwarnings", line)


@pytest.fixture(autouse=True)
def context_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """What one test binds to the lines of this process is not carried into the next one."""
    monkeypatch.setattr(logs, "_process", {})
    monkeypatch.setenv(logs.CONTEXT_VARIABLE, "")


@dataclass
class Lane:
    """A simulated market: its exchange's folder, its lake and a Dagster instance of its own."""

    home: Path
    exchange: Path
    instance: dg.DagsterInstance
    changes: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def settings(self) -> Settings:
        known = {"market": "simulated", "nse": {"base_url": str(self.exchange)}}
        return Settings(home=self.home, **(known | self.changes))

    @cached_property
    def job(self) -> dg.JobDefinition:
        return build_defs(self.settings).resolve_job_def("close_lane")

    def run(
        self, first: date, last: date | None = None, only: list[str] | None = None
    ) -> dg.ExecuteInProcessResult:
        """Run the close lane over one day or a range, or only some tables of it."""
        span = {"start": first, "end": last or first}
        tags = {f"dagster/asset_partition_range_{end}": str(day) for end, day in span.items()}
        if last is None:
            tags = {"dagster/partition": str(first)}
        return self.job.execute_in_process(
            tags=tags,
            instance=self.instance,
            asset_selection=[dg.AssetKey(TABLES[name].asset_path) for name in only or ()] or None,
            run_config=QUIET,
            raise_on_error=False,
        )

    def lake(self) -> AbstractContextManager[Lake]:
        return open_lake(self.settings, read_only=True)

    def read(self, table: str, *days: date) -> list[dict[str, Any]]:
        with self.lake() as lake:
            return lake.read(TABLES[table], days).to_dicts()

    def contents(self) -> dict[tuple[str, date], list[str]]:
        """The content hashes of the files that hold each table and date of data."""
        with self.lake() as lake:
            return {
                (table.full_name, day): [content_hash(path) for path in paths]
                for table in TABLES.values()
                if table not in RECORD
                for day, paths in lake.live_files(table).items()
            }

    def snapshots(self) -> int:
        """How often data in the lake were ever changed; what runs remember is not counted."""
        told = "coalesce(commit_message, '') NOT LIKE 'replace quality.check_results%'"
        with self.lake() as lake:
            count = f"SELECT count(*) FROM ducklake_snapshots('lake') WHERE {told}"
            return lake.sql(count).item()

    def materialized(self, table: str) -> set[str]:
        """The dates of a table that the instance knows as materialized."""
        key = dg.AssetKey(TABLES[table].asset_path)
        return self.instance.get_materialized_partitions(key)

    def file(self, kind: str, day: date) -> Path:
        """Where this market's exchange keeps a file."""
        return self.exchange / candidates(kind, day)[-1]

    def statuses(self, day: date) -> dict[str, str]:
        """What the lake says of each kind of file of a day."""
        return {row["kind"]: row["status"] for row in self.read("raw.source_files", day)}


def materializations(result: dg.ExecuteInProcessResult) -> list[dg.AssetMaterialization]:
    """What a run made; what it is remembered by and what needs minutes is not among it."""
    remembered = {dg.AssetKey(table.asset_path) for table in (*RECORD, RECONCILIATION)}
    events = result.get_asset_materialization_events()
    made = [event.step_materialization_data.materialization for event in events]
    return [one for one in made if one.asset_key not in remembered]


def evaluations(result: dg.ExecuteInProcessResult) -> list[dg.AssetCheckEvaluation]:
    return [
        event.asset_check_evaluation_data
        for event in result.all_events
        if event.event_type is dg.DagsterEventType.ASSET_CHECK_EVALUATION
    ]


def failure_text(result: dg.ExecuteInProcessResult) -> str:
    """Everything the failed steps of a run told of their failure."""
    told = []
    for event in result.all_events:
        if event.event_type is dg.DagsterEventType.STEP_FAILURE:
            stated = event.step_failure_data.user_failure_data
            told.append(stated.description if stated else event.step_failure_data.error.to_string())
    return "\n".join(told)


@dataclass(frozen=True)
class Reading:
    """What tests read off a finished run."""

    materializations: Callable[..., list[dg.AssetMaterialization]] = materializations
    evaluations: Callable[..., list[dg.AssetCheckEvaluation]] = evaluations
    failure_text: Callable[..., str] = failure_text

    def stored(self, result: dg.ExecuteInProcessResult) -> Counter[tuple[str, str | None]]:
        """How often each table and date was reported as materialized."""
        return Counter((".".join(m.asset_key.path), m.partition) for m in materializations(result))


@pytest.fixture(scope="session")
def reading() -> Reading:
    return Reading()


@pytest.fixture(scope="session")
def tables() -> tuple[Table, ...]:
    """The tables of the close lane that hold data and need no minutes."""
    others = {t.full_name for t in (*MINUTE_TABLES, CANDLES, RECONCILIATION, *RECORD)}
    return tuple(table for name, table in TABLES.items() if name not in others)


@pytest.fixture(scope="session")
def sessions() -> list[date]:
    """The trading days the simulated exchange has published."""
    return load_calendar().sessions(FIRST, LAST)


@pytest.fixture(scope="session")
def exchange(tmp_path_factory: pytest.TempPathFactory, sessions: list[date]) -> Path:
    """The simulated exchange's folder: four indices and a stock; not to be written to."""
    root = tmp_path_factory.mktemp("exchange") / "files"
    write_exchange(root, sessions, SEED, underlyings=UNDERLYINGS[:5])
    return root


@pytest.fixture(scope="session")
def lanes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Lane]]:
    """Makes markets: a new one, or one that begins with a copy of another one's lake."""
    with ExitStack() as stack:

        def make(exchange: Path, like: Lane | None = None, **changes: Any) -> Lane:
            home = tmp_path_factory.mktemp("home")
            instance = stack.enter_context(dg.DagsterInstance.ephemeral())
            lane = Lane(home, exchange, instance, changes)
            if like is not None:
                shutil.copytree(like.settings.lake_root, lane.settings.lake_root)
            return lane

        yield make


@pytest.fixture(scope="session")
def filled(
    lanes: Callable[..., Lane], exchange: Path, sessions: list[date]
) -> tuple[Lane, dg.ExecuteInProcessResult]:
    """A market whose every day was loaded by one range run, and that run; not to be run again."""
    lane = lanes(exchange)
    return lane, lane.run(sessions[0], sessions[-1])


@pytest.fixture
def own_exchange(exchange: Path, tmp_path: Path) -> Path:
    """A copy of the exchange's folder that a test may damage."""
    copy = tmp_path / "exchange"
    shutil.copytree(exchange, copy)
    return copy
