"""Settings of keeping for ever: what becomes of old days, and how much memory work may take.

Belongs here: the archive tier of lake and spool, the soft memory limit. Does not belong here: the
tree they hang in (see `settings`), what follows from the limit (see `memory`).
"""

from __future__ import annotations

from pydantic import Field, ValidationInfo, field_validator

from resources.parquet_layout import Codec
from resources.settings_base import SIZE, SIZE_EXAMPLE, Group

MOST_BROTLI = 11


class ArchiveSettings(Group):
    """The archive tier: old days and segments in fewer bytes. Nothing is ever deleted."""

    after_days: int = Field(
        default=30,
        ge=1,
        le=36_500,
        description="Days and segments older than so many days are archived.",
    )
    lake: bool = Field(
        default=False,
        description="Whether old days of the lake's tables are rewritten too, not only segments "
        "of the spool. On ticks that gains 1 %, and the files that earlier states of the lake "
        "know stay beside the new ones.",
    )
    codec: Codec = Field(default="zstd", description="Compression of archived Parquet files.")
    level: int = Field(
        default=9,
        ge=1,
        le=22,
        description=f"Level of archived Parquet files, at most {MOST_BROTLI} for brotli. Higher "
        "is smaller and slower to write.",
    )
    row_group_rows: int = Field(
        default=524_288,
        ge=1_024,
        le=4_194_304,
        description="Rows in a row group of archived Parquet files. More are smaller; fewer let "
        "a query of one instrument skip more.",
    )
    segment_level: int = Field(
        default=9,
        ge=1,
        le=22,
        description="zstd level of archived segments of the spool. Higher is smaller and slower "
        "to write.",
    )

    @field_validator("level")
    @classmethod
    def _known_level(cls, level: int, others: ValidationInfo) -> int:
        if others.data.get("codec") == "brotli" and level > MOST_BROTLI:
            raise ValueError(f"brotli has levels up to {MOST_BROTLI}")
        return level


class MemorySettings(Group):
    """How much memory one process should take."""

    soft_limit: str = Field(
        default="8GB",
        pattern=SIZE,
        description="What a process should stay below. DuckDB's memory, what a run keeps for its "
        "later steps, days in a backfill run and segments in a batch shrink with it. A process "
        "found above it says so, drops what it keeps and works in smaller batches from then on.",
        examples=[SIZE_EXAMPLE],
    )
    map_segments: bool = Field(
        default=False,
        description="Whether runs map segments of the spool into memory rather than copy them: "
        "half the memory while one is read. Leave it off where the spool lies on a network disk, "
        "whose failures would end the process.",
    )
