"""Settings of the close lane: the exchange's archive, the calendar, what the maths assumes.

Belongs here: the groups that matter for the exchange's daily files. Does not belong here: the
tree they hang in (see `settings`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationInfo, field_validator
from pydantic_settings import NoDecode

from resources.settings_base import CLOCK, Group, full, split

_Offset = Annotated[int, Field(ge=-50, le=50)]


def _place(url: str) -> str:
    """An address or an absolute directory; `ValueError` for what is neither."""
    place = url.strip().rstrip("/")
    if place.startswith(("http://", "https://")):
        return place
    if "://" in place:
        raise ValueError("neither http:// nor https:// nor a directory")
    return str(full(Path(url.strip())))


class NseSettings(Group):
    """The exchange's archive of daily files."""

    base_url: str = Field(
        default="https://nsearchives.nseindia.com",
        description="Where the daily files are: the exchange's archive host, a mirror of it "
        "(http:// or https://), or a directory laid out like it.",
        examples=["an http:// or https:// address, or a directory"],
    )
    fallback_urls: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description="Where a file is asked for when what the archive gives is refused, in order: "
        "other hosts or directories laid out like it.",
        examples=["addresses or directories, comma-separated"],
    )
    timeout_seconds: float = Field(
        default=30.0,
        gt=0,
        le=600,
        description="How long one request may take. Raise on slow lines.",
    )
    attempts: int = Field(
        default=4,
        ge=1,
        le=10,
        description="How often a request is tried before it counts as failed.",
    )
    backoff_seconds: float = Field(
        default=2.0,
        ge=0,
        le=300,
        description="Wait before the second try; doubles with each further one.",
    )
    requests_per_second: float = Field(
        default=3.0,
        gt=0,
        le=50,
        description="Most requests a second to a foreign host (loopback and directories are not "
        "limited). Lower it when the host answers 403 or 429.",
    )
    user_agent: str = Field(
        default="Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
        min_length=1,
        description="The browser the archive host is told. It refuses unknown ones.",
    )

    _list = field_validator("fallback_urls", mode="before")(split)

    @field_validator("base_url", mode="after")
    @classmethod
    def _base(cls, base_url: str) -> str:
        return _place(base_url)

    @field_validator("fallback_urls", mode="after")
    @classmethod
    def _fallbacks(cls, urls: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(map(_place, urls))


class AnalyticsSettings(Group):
    """What the market maths assumes."""

    risk_free_rate: float = Field(
        default=0.065,
        ge=0,
        le=0.5,
        description="Rate as a fraction a year, used where put-call parity does not pin the "
        "discount. Follow the 91-day treasury bill.",
    )
    tick_rupees: float = Field(
        default=0.05, gt=0, le=1, description="Smallest price step of an option, in rupees."
    )
    max_gap_seconds: float = Field(
        default=60.0,
        gt=0,
        le=3600,
        description="How long a last price is held to be known after its tick, in time-weighted "
        "averages. Beyond it the price is unknown, not assumed.",
    )
    strike_offsets: Annotated[tuple[_Offset, ...], NoDecode] = Field(
        default=(-2, -1, 0, 1, 2),
        min_length=1,
        description="Steps from the money for which premiums are computed. All strikes are "
        "stored whatever stands here.",
        examples=["whole numbers from -50 to 50, comma-separated"],
    )

    repair_surfaces: bool = Field(
        default=True,
        description="Whether a fitted smile with arbitrage between its quotes is fitted again "
        "without. What the first fit was like is stored either way.",
    )

    _offsets = field_validator("strike_offsets", mode="before")(split)


class CalendarSettings(Group):
    """The trading calendar."""

    extra_csv: Annotated[tuple[Path, ...], NoDecode] = Field(
        default=(),
        description="More calendar files (or folders of them), comma-separated: a new year's "
        "holidays, a session announced late. A later line about a date wins.",
        examples=["paths, comma-separated"],
    )

    _paths = field_validator("extra_csv", mode="before")(split)

    @field_validator("extra_csv", mode="after")
    @classmethod
    def _expand(cls, paths: tuple[Path, ...]) -> tuple[Path, ...]:
        return tuple(full(path) for path in paths)


class CloseLaneSettings(Group):
    """The evening run over the exchange's daily files."""

    lookback_sessions: int = Field(
        default=10,
        ge=1,
        le=250,
        description="How many recent trading days the sensor keeps asking for.",
    )
    poll_seconds: int = Field(
        default=300, ge=30, le=7200, description="How long the sensor waits between two looks."
    )
    ask_from: str = Field(
        default="17:30",
        pattern=CLOCK,
        description="From when on (IST) the sensor asks for the files of the same day.",
        examples=["HH:MM, such as 17:30"],
    )
    complete_by: str = Field(
        default="23:30",
        pattern=CLOCK,
        validate_default=True,
        description="When (IST) a day is run with whatever files it has; later files still "
        "follow in a run of their own.",
        examples=["HH:MM later than OPTRADE_CLOSE_LANE__ASK_FROM, such as 23:30"],
    )

    @field_validator("complete_by", mode="after")
    @classmethod
    def _in_order(cls, complete_by: str, info: ValidationInfo) -> str:
        if complete_by <= info.data.get("ask_from", ""):
            raise ValueError("not later than the time from which files are asked for")
        return complete_by
