"""Shared by the tests of `optrade doctor`: a healthy home, and a machine that is not full."""

from __future__ import annotations

import shutil
import socket
from pathlib import Path

import dagster as dg
import pytest

from optrade_dagster.doctor import machine, probe, storage
from optrade_dagster.home import open_instance
from resources.clock import ScaledClock, read_clock
from resources.settings import Settings
from tests.optrade_dagster.doctor.looks import EVENING, NOW, run_of


@pytest.fixture(scope="module")
def healthy(filled, tmp_path_factory) -> Path:
    """A simulated home with a filled lake and Dagster's own state; not to be changed."""
    lane, _ = filled
    home = tmp_path_factory.mktemp("healthy") / "home"
    shutil.copytree(lane.settings.lake_root, home / "simulated" / "lake")
    (home / "simulated" / "exchange").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        for name in ("DAGSTER_HOME", "OPTRADE_HOME", "OPTRADE_MARKET"):
            patch.setenv(name, "")
        with open_instance(Settings(home=home, market="simulated")) as instance:
            instance.add_run(run_of("success", dg.DagsterRunStatus.SUCCESS))
    return home


@pytest.fixture
def home(healthy: Path, tmp_path: Path) -> Path:
    """A copy of the healthy home that a test may damage."""
    return Path(shutil.copytree(healthy, tmp_path / "home"))


@pytest.fixture
def port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


@pytest.fixture(autouse=True)
def plenty(monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine of the tests may be full: what the disk must have is little."""
    for name in ("LEAST_BYTES", "FEW_BYTES", "LEAST_FILES"):
        monkeypatch.setattr(machine, name, 1)
    monkeypatch.setattr(storage, "LOOK_SECONDS", 0.02)
    evening = ScaledClock(EVENING, NOW, 1)
    monkeypatch.setattr(probe, "read_clock", lambda p: read_clock(p) if p.exists() else evening)
