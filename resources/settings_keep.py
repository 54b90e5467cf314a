"""Settings of keeping: where backups go.

Belongs here: what a user may tune of backup and recovery. Does not belong here: the tree it
hangs in (see `settings`), taking backups (see `backup`).
"""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, field_validator

from resources.settings_base import Group, full


class BackupSettings(Group):
    """Backups."""

    root: Path | None = Field(
        default=None,
        description="Folder of the backups, best on another disk. Without one, `optrade backup` "
        "wants `--to`.",
        examples=["a folder, which may not exist yet"],
    )

    @field_validator("root", mode="after")
    @classmethod
    def _folder(cls, root: Path | None) -> Path | None:
        if root is None:
            return None
        root = full(root)
        if root.exists() and not root.is_dir():
            raise ValueError(f"{root} is a file")
        return root
