"""Every setting, in one tree, read from the environment and `.env`.

Belongs here: names, bounds, defaults and guidance of what a user may tune. Does not belong
here: anything that uses a setting. `.env.example` and `docs/settings.md` are written from this
tree (`python -m resources.settings_docs`), and a test keeps them equal.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from dotenv import dotenv_values
from pydantic import BaseModel, ConfigDict, Field, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

PREFIX = "OPTRADE_"
Market = Literal["real", "simulated"]


class SettingsError(ValueError):
    """A setting that does not exist or has an impossible value; the message says which."""


class _Group(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def _split(value: Any) -> Any:
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


class NseSettings(_Group):
    """The exchange's archive of daily files."""

    base_url: str = Field(
        "https://nsearchives.nseindia.com",
        description="Where the daily files are: the exchange's archive host, a mirror of it "
        "(http:// or https://), or a directory laid out like it.",
    )
    timeout_seconds: float = Field(
        30.0, gt=0, le=600, description="How long one request may take. Raise on slow lines."
    )
    attempts: int = Field(
        4, ge=1, le=10, description="How often a request is tried before it counts as failed."
    )
    backoff_seconds: float = Field(
        2.0, ge=0, le=300, description="Wait before the second try; doubles with each further one."
    )
    requests_per_second: float = Field(
        3.0,
        gt=0,
        le=50,
        description="Most requests a second to a foreign host (loopback and directories are not "
        "limited). Lower it when the host answers 403 or 429.",
    )
    user_agent: str = Field(
        "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
        min_length=1,
        description="The browser the archive host is told. It refuses unknown ones.",
    )


class AnalyticsSettings(_Group):
    """What the market maths assumes."""

    risk_free_rate: float = Field(
        0.065,
        ge=0,
        le=0.5,
        description="Rate as a fraction a year, used where put-call parity does not pin the "
        "discount. Follow the 91-day treasury bill.",
    )
    tick_rupees: float = Field(
        0.05, gt=0, le=1, description="Smallest price step of an option, in rupees."
    )
    strike_offsets: Annotated[tuple[int, ...], NoDecode] = Field(
        (-2, -1, 0, 1, 2),
        min_length=1,
        description="Steps from the money for which premiums are computed. All strikes are "
        "stored whatever stands here.",
    )

    _offsets = field_validator("strike_offsets", mode="before")(_split)


class CalendarSettings(_Group):
    """The trading calendar."""

    extra_csv: Annotated[tuple[Path, ...], NoDecode] = Field(
        (),
        description="More calendar files (or folders of them), comma-separated: a new year's "
        "holidays, a session announced late. A later line about a date wins.",
    )

    _paths = field_validator("extra_csv", mode="before")(_split)


class CloseLaneSettings(_Group):
    """The evening run over the exchange's daily files."""

    lookback_sessions: int = Field(
        10, ge=1, le=250, description="How many recent trading days the sensor keeps asking for."
    )
    poll_seconds: int = Field(
        300, ge=30, le=7200, description="How long the sensor waits between two looks."
    )
    ask_from: str = Field(
        "17:30",
        pattern=r"^\d\d:\d\d$",
        description="From when on (IST) the sensor asks for the files of the same day.",
    )
    complete_by: str = Field(
        "23:30",
        pattern=r"^\d\d:\d\d$",
        description="When (IST) a day is run with whatever files it has; later files still "
        "follow in a run of their own.",
    )


class LakeSettings(_Group):
    """Storage."""

    compression_level: int = Field(
        3, ge=1, le=22, description="zstd level of the Parquet files. Higher is smaller and slower."
    )
    row_group_rows: int = Field(
        131_072, ge=1_024, le=4_194_304, description="Rows in a Parquet row group."
    )
    lock_timeout_seconds: float = Field(
        120.0, gt=0, le=3600, description="How long a writer waits for another one."
    )
    memory_limit: str = Field(
        "4GB",
        pattern=r"^\d+(\.\d+)?\s*(MB|GB|MiB|GiB)$",
        description="Most memory DuckDB may use in one process before it spills to disk.",
    )


class BackfillSettings(_Group):
    """Runs over past dates."""

    days_per_run: int = Field(
        128,
        ge=1,
        le=10_000,
        description="Most trading days in one run. A single large run costs least but holds its "
        "days in memory (about 20 MB for a full exchange day).",
    )
    concurrent_runs: int = Field(
        2,
        ge=1,
        le=64,
        description="Most runs at a time, of backfills and of everything else. About one a core.",
    )


class Settings(BaseSettings):
    """The whole tree. Nested names are joined by two underscores: `OPTRADE_NSE__BASE_URL`."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_nested_delimiter="__", extra="ignore", frozen=True
    )

    home: Path = Field(
        Path("~/.optrade"),
        description="Folder of everything optrade keeps: lakes, kept files, Dagster's own state.",
    )
    market: Market = Field(
        "real",
        description="Which market's lake is used. Real and simulated data never share one.",
    )
    nse: NseSettings = NseSettings()
    analytics: AnalyticsSettings = AnalyticsSettings()
    calendar: CalendarSettings = CalendarSettings()
    close_lane: CloseLaneSettings = CloseLaneSettings()
    lake: LakeSettings = LakeSettings()
    backfill: BackfillSettings = BackfillSettings()

    @field_validator("home", mode="after")
    @classmethod
    def _expand(cls, home: Path) -> Path:
        return home.expanduser().absolute()

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
    def exchange_root(self) -> Path:
        """Where the simulated exchange publishes its files."""
        return self.home / "simulated" / "exchange"

    @property
    def archive_url(self) -> str:
        """Where files are fetched from: the simulated exchange in a simulated market."""
        if self.market == "simulated" and "base_url" not in self.nse.model_fields_set:
            return str(self.exchange_root)
        return self.nse.base_url


def setting_names(model: type[BaseModel] = Settings, prefix: str = PREFIX) -> Iterator[str]:
    """Every environment variable that is a setting."""
    for name, info in model.model_fields.items():
        if isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel):
            yield from setting_names(info.annotation, f"{prefix}{name.upper()}__")
        else:
            yield f"{prefix}{name.upper()}"


def load_settings(env_file: Path | None = None, **overrides: Any) -> Settings:
    """Read the settings from the environment, then `.env` in the working folder.

    Raises `SettingsError` for an unknown `OPTRADE_…` name (suggesting the nearest one) or an
    impossible value.
    """
    env_file = env_file or Path(".env")
    known = set(setting_names())
    given = {n for n in os.environ if n.upper().startswith(PREFIX)}
    if env_file.is_file():
        given |= {n for n in dotenv_values(env_file) if n.upper().startswith(PREFIX)}
    for name in sorted(given):
        if name.upper() not in known:
            near = difflib.get_close_matches(name.upper(), known, n=1)
            hint = f" Did you mean {near[0]}?" if near else ""
            raise SettingsError(
                f"{name} is not a setting.{hint} All settings are listed in docs/settings.md."
            )
    try:
        return Settings(_env_file=env_file if env_file.is_file() else None, **overrides)  # type: ignore[call-arg]
    except ValueError as error:
        raise SettingsError(f"A setting has an impossible value: {error}") from error
