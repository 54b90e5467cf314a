"""Every setting, in one tree, read from the environment and `.env`.

Belongs here: names, bounds, defaults and guidance of what a user may tune. Does not belong
here: anything that uses a setting. `.env.example` and `docs/settings.md` are written from this
tree (`python -m resources.settings_docs`), and a test keeps them equal.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from dotenv import dotenv_values
from pydantic import BaseModel, Field, ValidationError, field_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, SettingsConfigDict

from resources.settings_archive import ArchiveSettings, MemorySettings
from resources.settings_base import SIZE, SIZE_EXAMPLE, Group, full
from resources.settings_files import (
    AnalyticsSettings,
    CalendarSettings,
    CloseLaneSettings,
    NseSettings,
)
from resources.settings_keep import BackupSettings
from resources.settings_live import (
    CollectorSettings,
    KiteSettings,
    LoggingSettings,
    SimulatorSettings,
    SpoolSettings,
)

PREFIX = "OPTRADE_"
ENCODING = "utf-8-sig"
"""Of `.env`: UTF-8, with the mark some editors put in front or without."""
Market = Literal["real", "simulated"]
_UNITS = frozenset({"seconds", "rupees", "sessions", "rows"})


class SettingsError(ValueError):
    """A setting that does not exist or has an impossible value; the message says which."""


class LakeSettings(Group):
    """Storage."""

    compression_level: int = Field(
        default=3,
        ge=1,
        le=22,
        description="zstd level of the Parquet files. Higher is smaller and slower.",
    )
    row_group_rows: int = Field(
        default=131_072, ge=1_024, le=4_194_304, description="Rows in a Parquet row group."
    )
    lock_timeout_seconds: float = Field(
        default=120.0, gt=0, le=3600, description="How long a writer waits for another one."
    )
    memory_limit: str = Field(
        default="4GB",
        pattern=SIZE,
        description="Most memory DuckDB may use in one process before it spills to disk.",
        examples=[SIZE_EXAMPLE],
    )


class BackfillSettings(Group):
    """Runs over past dates."""

    days_per_run: int = Field(
        default=128,
        ge=1,
        le=10_000,
        description="Most trading days in one run. A single large run costs least but holds its "
        "days in memory (about 20 MB for a full exchange day).",
    )
    concurrent_runs: int = Field(
        default=1,
        ge=1,
        le=64,
        description="Most backfill runs at a time. Above 1 a range is done sooner, but a run "
        "does not see the days before it while they are still being run: figures that look back "
        "(ledger, divergence) stay unknown at the seams until those days are run again.",
    )


class Settings(BaseSettings):
    """The whole tree. Nested names are joined by two underscores: `OPTRADE_NSE__BASE_URL`."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_nested_delimiter="__",
        env_ignore_empty=True,
        env_file_encoding=ENCODING,
        extra="ignore",
        frozen=True,
    )

    home: Path = Field(
        default=Path("~/.optrade"),
        description="Folder of everything optrade keeps: lakes, kept files, Dagster's own state.",
    )
    market: Market = Field(
        default="real",
        description="Which market's lake is used. Real and simulated data never share one.",
    )
    nse: NseSettings = NseSettings()
    analytics: AnalyticsSettings = AnalyticsSettings()
    calendar: CalendarSettings = CalendarSettings()
    close_lane: CloseLaneSettings = CloseLaneSettings()
    lake: LakeSettings = LakeSettings()
    backfill: BackfillSettings = BackfillSettings()
    archive: ArchiveSettings = ArchiveSettings()
    memory: MemorySettings = MemorySettings()
    kite: KiteSettings = KiteSettings()
    collector: CollectorSettings = CollectorSettings()
    spool: SpoolSettings = SpoolSettings()
    simulator: SimulatorSettings = SimulatorSettings()
    logging: LoggingSettings = LoggingSettings()
    backup: BackupSettings = BackupSettings()

    @field_validator("home", mode="after")
    @classmethod
    def _expand(cls, home: Path) -> Path:
        return full(home)

    @property
    def market_home(self) -> Path:
        """Everything of one market: `<home>/real` or `<home>/simulated`."""
        return self.home / self.market

    @property
    def lake_root(self) -> Path:
        """Root of the lake."""
        return self.market_home / "lake"

    @property
    def dagster_home(self) -> Path:
        """Dagster's own state (`DAGSTER_HOME`)."""
        return self.market_home / "dagster"

    @property
    def clock_file(self) -> Path:
        """The clock of a simulated market, shared by its processes while the broker plays."""
        return self.market_home / "clock.json"

    @property
    def spool_root(self) -> Path:
        """Where the collector keeps what it heard, a folder a day."""
        return self.market_home / "spool"

    @property
    def log_root(self) -> Path:
        """Folder of the structured logs."""
        return self.market_home / "logs"

    @property
    def exchange_root(self) -> Path:
        """Where the simulated exchange publishes its files."""
        return self.home / "simulated" / "exchange"

    @property
    def archive_url(self) -> str:
        """Where files are fetched from: the simulated exchange in a simulated market."""
        if self.market == "simulated" and "base_url" not in self.nse.model_fields_set:
            return str(self.exchange_root)
        return self.nse.base_url


@dataclass(frozen=True)
class Setting:
    """One setting: the variable that holds it, its place in the tree and its declaration."""

    name: str
    path: tuple[str, ...]
    group: type[BaseModel]
    field: FieldInfo

    @property
    def default(self) -> str:
        """The default as it would be written in `.env`."""
        value = "" if self.field.default is None else self.field.default
        return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)

    @property
    def expects(self) -> str:
        """What values it takes, in words."""
        if self.field.examples:
            return str(self.field.examples[0])
        if get_origin(self.field.annotation) is Literal:
            return " or ".join(map(str, get_args(self.field.annotation)))
        kinds: dict[Any, str] = {int: "a whole number", float: "a number", Path: "a path"}
        kind = kinds.get(self.field.annotation, "text")
        unit = self.name.rpartition("_")[2].lower()
        kind += f" of {unit}" if unit in _UNITS else ""
        return " ".join((kind, *_bounds(self.field)))


def _bounds(field: FieldInfo) -> Iterator[str]:
    words = {"gt": "above", "ge": "from", "lt": "below", "le": "up to"}
    for bound in field.metadata:
        for key, word in words.items():
            if (limit := getattr(bound, key, None)) is not None:
                yield f"{word} {limit:g}" if limit < 10_000 else f"{word} {limit:,}"
        if getattr(bound, "min_length", 0):
            yield "that is not empty"


def all_settings(
    model: type[BaseModel] = Settings, path: tuple[str, ...] = ()
) -> Iterator[Setting]:
    """Every setting of the tree, in order: a group's own ones, then those of groups inside."""
    inside = []
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            inside.append((kind, (*path, name)))
        else:
            place = (*path, name)
            yield Setting(PREFIX + "__".join(place).upper(), place, model, field)
    for kind, place in inside:
        yield from all_settings(kind, place)


def load_settings(env_file: Path | None = None, **overrides: Any) -> Settings:
    """Read the settings from `overrides`, the environment, then a `.env`: the first one wins.

    `env_file` is `.env` in the working folder unless given. A blank value means the default.

    Raises `SettingsError` for an unknown `OPTRADE_…` name (suggesting the nearest one), an
    impossible value, or an `env_file` that cannot be read.
    """
    in_file = _read(env_file)
    known = {setting.name for setting in all_settings()}
    for name in sorted({*os.environ, *in_file}):
        if name.upper().startswith(PREFIX) and name.upper() not in known:
            near = difflib.get_close_matches(name.upper(), known, n=1)
            hint = f" Did you mean {near[0]}?" if near else ""
            raise SettingsError(
                f"{name} is not a setting.{hint} All settings are listed in docs/settings.md."
            )
    try:
        return Settings(_env_file=env_file or Path(".env"), **overrides)  # type: ignore[call-arg]
    except ValidationError as error:
        raise SettingsError(_explain(error, in_file, env_file or Path(".env"))) from error


def _read(env_file: Path | None) -> Mapping[str, str | None]:
    path = env_file or Path(".env")
    if not path.is_file():
        if env_file is None:
            return {}
        raise SettingsError(f"{path}: found no such file; expected one with settings.")
    try:
        return dotenv_values(path, encoding=ENCODING)
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} cannot be read as UTF-8 text: {error}.") from error


def _explain(error: ValidationError, in_file: Mapping[str, str | None], env_file: Path) -> str:
    """Each wrong value: its name, what was found and where, what was expected, what to do."""
    settings = {setting.path: setting for setting in all_settings()}
    here = {name.upper(): "in the environment" for name in os.environ}
    here = {name.upper(): f"in {env_file}" for name in in_file} | here
    lines = []
    for fault in error.errors(include_url=False, include_context=False):
        place = tuple(str(part) for part in fault["loc"] if isinstance(part, str))
        setting = settings.get(place)
        if setting is None:
            lines.append(f"{'.'.join(place)}: {fault['msg']}.")
            continue
        unset = "by default" if fault["input"] == setting.field.default else "in the program"
        why = fault["msg"].removeprefix("Value error, ")
        aside = f" ({why})" if fault["type"] == "value_error" else ""
        lines.append(
            f"{setting.name}: found {fault['input']!r} {here.get(setting.name, unset)}{aside}; "
            f"expected {setting.expects}. Correct it, or remove it for the default, "
            f"{setting.default or 'none'}."
        )
    return "\n".join(lines)
