"""What every group of settings shares.

Belongs here: the frozen model, and readings of text that several groups need. Does not belong
here: any setting (see `settings`, `settings_live`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

CLOCK = r"^([01]\d|2[0-3]):[0-5]\d$"
"""A time of day, such as 09:15."""
SIZE = r"^[1-9]\d*(\.\d+)?\s*(MB|GB|MiB|GiB)$"
SIZE_EXAMPLE = "a size in MB, GB, MiB or GiB, such as 4GB"


class Group(BaseModel):
    """One group: unknown names are refused, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def split(value: Any) -> Any:
    """A comma-separated text as a tuple; anything else as it is."""
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


def full(path: Path) -> Path:
    """The absolute path; `ValueError` when it begins with a home folder that is not known."""
    try:
        return path.expanduser().absolute()
    except RuntimeError as error:
        raise ValueError(f"{path} begins with a home folder that is not known") from error
