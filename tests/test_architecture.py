"""The house rules that a reader relies on: arrows, charters, sizes, and nothing of one machine."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("optrade", "resources", "assets", "optrade_dagster")
MODULES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
MOST_FILE_LINES = 400
MOST_FUNCTION_LINES = 60
UNREADABLE = {".git", ".hypothesis", "__pycache__", "build", "dist"}
BINARY = {".parquet", ".png", ".zip", ".xls", ".gz"}

# In pieces, so that this file does not hold what it looks for.
MACHINE = re.compile(
    "|".join(
        (
            "/" + r"(work|root)/[\w.]",
            "/" + "tmp" + r"/v\b",
            "/" + "opt" + "/pypi",
            "/" + r"home/(?!user\b)\w",
            "pypi" + r"\.org/simple",
            "files" + r"\.pythonhosted",
            "index" + "-url",
            "file" + ":///",
        )
    )
)


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


EVERY_MODULE = pytest.mark.parametrize("path", MODULES, ids=name_of)


def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def test_the_packages_are_here() -> None:
    assert len(MODULES) > 50
    assert {path.relative_to(ROOT).parts[0] for path in MODULES} == set(PACKAGES)


def test_arrows_run_one_way() -> None:
    command = "from importlinter.cli import lint_imports_command as run; run()"
    found = subprocess.run(
        [sys.executable, "-c", command, "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert found.returncode == 0, found.stdout + found.stderr
    assert "0 broken" in found.stdout


def imported(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


@EVERY_MODULE
def test_the_market_knows_no_machinery(path: Path) -> None:
    if path.relative_to(ROOT).parts[0] == "optrade":
        roots = {name.split(".")[0] for name in imported(tree_of(path))}
        strangers = {"dagster", "dagster_duckdb", "duckdb", "httpx", "requests", "urllib3"}
        assert not roots & (strangers | set(PACKAGES[1:]))


def test_the_market_loads_without_machinery() -> None:
    command = (
        "import importlib, pkgutil, sys, optrade\n"
        "for found in pkgutil.walk_packages(optrade.__path__, 'optrade.'):\n"
        "    importlib.import_module(found.name)\n"
        "print(*sorted({'dagster', 'duckdb', 'httpx'} & set(sys.modules)))"
    )
    found = subprocess.run(
        [sys.executable, "-c", command],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (found.returncode, found.stdout.strip()) == (0, ""), found.stdout + found.stderr


@EVERY_MODULE
def test_a_module_says_what_belongs_in_it(path: Path) -> None:
    charter = " ".join((ast.get_docstring(tree_of(path)) or "").split())
    assert "Belongs here: " in charter
    assert "Does not belong here: " in charter


@EVERY_MODULE
def test_files_and_functions_are_short(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").count("\n")
    assert lines <= MOST_FILE_LINES, f"{lines} lines"
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or 0) - node.lineno + 1
            assert length <= MOST_FUNCTION_LINES, f"{node.name} has {length} lines"


def shipped() -> list[Path]:
    """The files git keeps; every file where this is no checkout."""
    found = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if found.returncode == 0 and found.stdout:
        paths = [ROOT / name for name in found.stdout.split("\0") if name]
    else:
        paths = [p for p in ROOT.rglob("*") if not any(_generated(q) for q in p.parts)]
    environments = {path.parent for path in ROOT.rglob("pyvenv.cfg")}
    paths = [path for path in paths if environments.isdisjoint(path.parents)]
    return sorted(p for p in paths if p.is_file() and p.suffix not in BINARY)


def _generated(part: str) -> bool:
    return part in UNREADABLE or part.endswith((".egg-info", "_cache")) or part.startswith(".venv")


def test_nothing_of_one_machine_is_shipped() -> None:
    paths = shipped()
    assert ROOT / "pyproject.toml" in paths
    found = [
        f"{name_of(path)}:{number}: {line.strip()[:120]}"
        for path in paths
        for number, line in enumerate(
            path.read_text(encoding="utf-8", errors="replace").splitlines(), 1
        )
        if MACHINE.search(line)
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    "text", ["/" + "work/main", "/" + "root/.cache", "at /" + "tmp/v/dev", "/" + "opt/pypi/x"]
)
def test_a_path_of_one_machine_is_recognised(text: str) -> None:
    assert MACHINE.search(text)


def test_pins_hold_no_addresses_and_cover_what_is_asked_for() -> None:
    text = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    pins = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.+!]+", line) for line in pins)
    pinned = {re.sub(r"[-_.]+", "-", line.split("==")[0]).lower() for line in pins}
    assert len(pinned) == len(pins)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = list(chain(project["dependencies"], *project["optional-dependencies"].values()))
    asked = {re.sub(r"[-_.]+", "-", re.split(r"[\[=<>~!; ]", name)[0]).lower() for name in wanted}
    assert len(asked) > 20
    assert not asked - pinned, "not in constraints.txt"
