"""The lake inside Dagster: the resource that opens it and the IO manager that fills it.

Belongs here: handing a run one open lake, loading inputs as frames, committing what assets
produced and reporting it date by date. Does not belong here: the protocol (see `lake`), and
what assets compute.

Dagster reports a range run's output as materialized for every date of the range. Here a date
without data (not published, refused) must not look materialized, so assets yield their output
with `DATE_BY_DATE` in its metadata, which silences the wholesale report, and this IO manager
reports exactly the dates that were stored, each with its own numbers and content hash.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any, Protocol

import dagster as dg
import polars as pl
from dagster._core.definitions.data_version import (
    CODE_VERSION_TAG,
    DATA_VERSION_TAG,
    INPUT_DATA_VERSION_TAG_PREFIX,
    INPUT_EVENT_POINTER_TAG_PREFIX,
    NULL_EVENT_POINTER,
)
from dagster._core.definitions.source_asset import (
    SYSTEM_METADATA_KEY_SOURCE_ASSET_OBSERVATION as _SILENCE,
)
from dagster_duckdb import DuckDBResource
from filelock import FileLock
from pydantic import PrivateAttr

from optrade.calendar import load_calendar
from optrade.tables import TABLES, Table
from resources.lake import CommitResult, Lake, LakeLocation, Slice, SliceResult
from resources.lake_slices import HASH_CHARS, ParquetFormat, content_hash
from resources.logs import get_logger
from resources.memory import MemoryWatch
from resources.settings import Market

DATE_BY_DATE: Mapping[str, bool] = {_SILENCE: True}
_LOG = get_logger("optrade.lake")


@dataclass(frozen=True)
class Produced:
    """What an asset made for some dates: the rows, and numbers worth plotting per date.

    `dates` are exactly the dates of which the frame has rows. `notes` maps a date to metadata
    of its materialization.
    """

    table: Table
    frame: pl.DataFrame
    notes: Mapping[date, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def dates(self) -> tuple[date, ...]:
        """The dates that have rows."""
        return tuple(sorted(self.frame["trade_date"].unique().to_list()))

    def as_slice(self) -> Slice:
        """This as a slice to be committed."""
        return Slice(self.table, self.dates, self.frame)


@dataclass(frozen=True)
class Committed:
    """What a step has committed itself, together with other tables in one transaction."""

    table: Table
    results: Mapping[date, SliceResult]
    notes: Mapping[date, Mapping[str, Any]] = field(default_factory=dict)


class ReadLake(Protocol):
    """What a day's work reads from: a run's lake, or one as it was once."""

    @property
    def lake(self) -> Lake:
        """The open lake."""

    @property
    def root(self) -> str:
        """Where it is."""

    def read(
        self,
        table: Table,
        dates: Sequence[date],
        *,
        columns: Sequence[str] | None = None,
        where: str | None = None,
    ) -> pl.DataFrame:
        """The rows of those dates, as `Lake.read`."""


class LakeResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """One open lake for a run, on `dagster-duckdb`'s connection."""

    duckdb: DuckDBResource
    root: str
    market: Market
    compression_level: int = 3
    row_group_rows: int = 131_072
    lock_timeout_seconds: float = 120.0
    cache_mb: float = 2000.0
    soft_limit_bytes: int = 8_000_000_000

    _frames: dict[str, pl.DataFrame] = PrivateAttr(default_factory=dict)
    _stack: ExitStack = PrivateAttr(default_factory=ExitStack)
    _lake: Lake | None = PrivateAttr(default=None)
    _memory: MemoryWatch | None = PrivateAttr(default=None)

    @property
    def lake(self) -> Lake:
        """The open lake; opened at first use, closed with the run."""
        if self._lake is None:
            self._lake = self._stack.enter_context(
                Lake.open(
                    self.location,
                    connect=self.duckdb.get_connection,
                    style=ParquetFormat(self.compression_level, self.row_group_rows),
                    lock_timeout_seconds=self.lock_timeout_seconds,
                )
            )
        return self._lake

    @property
    def location(self) -> LakeLocation:
        """Where its files are; asking opens nothing."""
        return LakeLocation(Path(self.root), self.market)

    def exists(self) -> bool:
        """Whether there is a lake; asking makes none."""
        return self.location.exists()

    @property
    def memory(self) -> MemoryWatch:
        """How the run stands with memory."""
        if self._memory is None:
            self._memory = MemoryWatch(self.soft_limit_bytes)
        return self._memory

    @contextmanager
    def alone(self, work: str) -> Iterator[None]:
        """Hold the lock of work that reads rows and commits what follows from them.

        Two at once would each put back what the other has just replaced. Waits as long as it
        takes; the operating system frees it when a process dies. Read from `lake` inside: `read`
        may know only what this run has committed.
        """
        with FileLock(self.lake.location.root / f".{work}.lock"):
            yield

    def teardown_after_execution(self, context: dg.InitResourceContext) -> None:  # noqa: ARG002
        """Close the lake and forget what the run read and wrote."""
        self._lake = self._memory = None
        self._frames.clear()
        self._stack.close()

    def commit(
        self, slices: list[Slice], *, run_id: str, code_versions: Mapping[str, str | None]
    ) -> CommitResult:
        """Commit slices in the name of a run."""
        provenance = {"run_id": run_id, "code_versions": dict(code_versions)}
        commit = self.lake.commit(slices, author=f"dagster run {run_id}", provenance=provenance)
        rows = {
            name: sum(part.rows for part in parts.values()) for name, parts in commit.slices.items()
        }
        _LOG.info("committed", changed=commit.changed, rows=rows)
        for part in slices:
            if part.parts is None:
                self._remember(part.table, part.frame)
            else:  # A part is not its date: what the run reads next comes from the lake.
                self._frames.pop(part.table.full_name, None)
        if self.memory.look(f"commit of {', '.join(rows)}"):
            self._frames.clear()  # Later steps read the lake.
        return commit

    def _remember(self, table: Table, frame: pl.DataFrame) -> None:
        """Keep what this run has committed for the steps that read it, within `cache_mb`."""
        self._frames.pop(table.full_name, None)
        held = sum(kept.estimated_size("mb") for kept in self._frames.values())
        if held + frame.estimated_size("mb") <= self.cache_mb:
            self._frames[table.full_name] = frame.sort(table.order, maintain_order=True)

    def read(
        self,
        table: Table,
        dates: Sequence[date],
        *,
        columns: Sequence[str] | None = None,
        where: str | None = None,
    ) -> pl.DataFrame:
        """The rows of those dates: what this run committed from memory, the rest from the lake."""
        kept = self._frames.get(table.full_name)
        if kept is None:
            return self.lake.read(table, dates, columns=columns, where=where)
        known = set(kept["trade_date"].unique())
        frame = kept if known.issubset(dates) else kept.filter(pl.col("trade_date").is_in(dates))
        frame = frame.filter(pl.sql_expr(where)) if where else frame
        frame = frame.select(columns) if columns else frame
        if others := [day for day in dates if day not in known]:
            rest = self.lake.read(table, others, columns=columns, where=where)
            order = [name for name in table.order if name in frame.columns]
            frame = pl.concat([frame, rest]).sort(order, maintain_order=True)
        return frame


def version_tags(result: SliceResult, code_version: str | None) -> dict[str, str]:
    """The tags by which Dagster knows the version of a date."""
    tags = {DATA_VERSION_TAG: str(result.sha256)[:HASH_CHARS]}
    return tags | ({CODE_VERSION_TAG: code_version} if code_version else {})


def lake_io_manager(calendar_csv: Sequence[Path]) -> dg.IOManagerDefinition:
    """The IO manager on the run's own `lake` resource.

    A resource nested in another is a copy of its own in Dagster: it would open the lake a second
    time, and steps that take their tables from `lake` would not see what the IO manager keeps.
    """

    @dg.io_manager(required_resource_keys={"lake"})
    def lake_io(context: dg.InitResourceContext) -> LakeIOManager:
        return LakeIOManager(context.resources.lake, calendar_csv)

    return lake_io


class LakeIOManager(dg.IOManager):
    """Loads inputs as frames of the run's dates and commits what assets produced."""

    def __init__(self, lake: LakeResource, calendar_csv: Sequence[Path]) -> None:
        self.lake = lake
        self._calendar_csv = tuple(calendar_csv)

    def load_input(self, context: dg.InputContext) -> pl.DataFrame:
        """Read an upstream table's rows of the run's dates.

        The input's metadata may narrow it: `columns` (names), `where` (SQL), and
        `sessions_before` adds that many earlier trading days.
        """
        table = TABLES[".".join(context.asset_key.path)]
        dates = [date.fromisoformat(key) for key in context.asset_partition_keys]
        metadata = context.definition_metadata
        if before := int(metadata.get("sessions_before", 0)):
            dates = self._earlier(dates[0], before) + dates
        return self.lake.read(
            table, dates, columns=metadata.get("columns"), where=metadata.get("where")
        )

    def _earlier(self, day: date, sessions: int) -> list[date]:
        calendar = load_calendar(self._calendar_csv)
        return [d for d in calendar.sessions(calendar.first, day) if d < day][-sessions:]

    def handle_output(  # type: ignore[override]
        self, context: dg.OutputContext, obj: Produced | Committed
    ) -> Iterator[dg.AssetMaterialization]:
        """Commit what was produced and report each stored date."""
        version = context.asset_spec.code_version
        results = obj.results if isinstance(obj, Committed) else self._commit(context, obj, version)
        inputs = self._input_versions(context) if results else {}
        for day, result in results.items():
            metadata = {
                **obj.notes.get(day, {}),
                "dagster/partition_row_count": result.rows,
                "content_sha256": result.sha256,
                "changed": result.changed,
                **self.lake.memory.told(),
            }
            tags = version_tags(result, version)
            for key, versions in inputs.items():
                tags[f"{INPUT_DATA_VERSION_TAG_PREFIX}/{key}"] = versions.get(day, "none")
                tags[f"{INPUT_EVENT_POINTER_TAG_PREFIX}/{key}"] = NULL_EVENT_POINTER
            yield dg.AssetMaterialization(
                asset_key=context.asset_key,
                partition=day.isoformat(),
                metadata=metadata,
                tags=tags,
            )

    def _input_versions(self, context: dg.OutputContext) -> dict[str, dict[date, str]]:
        """By upstream asset, the data version of each date that was read: its content's hash."""
        versions: dict[str, dict[date, str]] = {}
        for dep in context.asset_spec.deps:
            table = TABLES.get(".".join(dep.asset_key.path))
            if table is None:  # Not a table of the lake, such as the broker's session.
                continue
            versions[dep.asset_key.to_user_string()] = {
                day: content_hash(files[0])
                for day, files in self.lake.lake.live_files(table).items()
                if len(files) == 1
            }
        return versions

    def _commit(
        self, context: dg.OutputContext, obj: Produced, version: str | None
    ) -> Mapping[date, SliceResult]:
        if obj.frame.is_empty():
            return {}
        name = obj.table.full_name
        commit = self.lake.commit(
            [obj.as_slice()], run_id=context.run_id, code_versions={name: version}
        )
        return commit.slices[name]
