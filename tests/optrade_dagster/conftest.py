"""Shared by the tests of the command: real processes, and one home that `optrade demo` filled."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

PROGRAM = "from optrade_dagster.cli import main; main()"
DAYS_PER_RUN = 2


def free_port() -> int:
    """A port of this machine that nobody uses just now."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return int(bound.getsockname()[1])


@dataclass(frozen=True)
class Command:
    """The `optrade` command with a home of its own."""

    home: Path

    def __call__(self, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
        given = {f"OPTRADE_{name}": value for name, value in settings.items()}
        ours = ("OPTRADE_", "DAGSTER_", "PYTEST_", "COLUMNS")
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(ours)}
        return subprocess.run(
            [sys.executable, "-c", PROGRAM, *arguments],
            cwd=self.home.parent,
            env=inherited | {"OPTRADE_HOME": str(self.home), "PYTHONUTF8": "1"} | given,
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=300,
            check=False,
        )


@dataclass(frozen=True)
class Demo:
    """What `optrade demo` printed, and the command over the home it filled."""

    optrade: Command
    output: str
    code: int


@pytest.fixture
def optrade(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """The command over a home that does not exist yet."""
    return Command(tmp_path / "home")


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    """A home that `optrade demo` filled with three days, at most two in a run."""
    command = Command(tmp_path_factory.mktemp("demo") / "home")
    settings = {"BACKFILL__DAYS_PER_RUN": str(DAYS_PER_RUN), "SIMULATOR__PORT": str(free_port())}
    done = command("demo", "--no-ui", "--days", "3", **settings)
    return Demo(command, done.stdout + done.stderr, done.returncode)
