"""Where real files are, and how tests read a file and catch its refusal."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from datetime import date
from pathlib import Path

import polars as pl
import pytest

from optrade.errors import InputRefused
from optrade.formats import parse
from tests.formats import samples

Read = Callable[..., pl.DataFrame]
Refused = Callable[..., InputRefused]


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real files (`MARKET_FILES`, or `../shared` beside the checkout)."""
    beside = Path(__file__).resolve().parents[2].parent / "shared"
    folder = Path(os.environ.get("MARKET_FILES", beside)) / "data" / "nse"
    if not folder.is_dir():
        pytest.skip(f"no real files at {folder}; set MARKET_FILES")
    return folder


@pytest.fixture
def read() -> Read:
    """Parse bytes or text as the archive's file of that kind and day."""

    def parsed(kind: str, data: str | bytes, day: date, name: str | None = None) -> pl.DataFrame:
        content = data.encode() if isinstance(data, str) else data
        file = name or samples.name_of(kind, day)
        digest = hashlib.sha256(content).hexdigest()
        return parse(kind, file, content, day, source="exchange", sha256=digest)

    return parsed


@pytest.fixture
def refused(read: Read) -> Refused:
    """The refusal of a file that must not enter, with its rule checked."""

    def refusal(
        rule: str, kind: str, data: str | bytes, day: date, name: str | None = None
    ) -> InputRefused:
        with pytest.raises(InputRefused) as caught:
            read(kind, data, day, name)
        error = caught.value
        assert error.rule == rule, str(error)
        assert error.file
        assert error.found
        assert error.expected
        assert error.remedy
        return error

    return refusal
