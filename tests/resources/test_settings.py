"""Settings: where they come from, what is refused and how, and the files written from them."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from resources.settings import (
    PREFIX,
    Settings,
    SettingsError,
    all_settings,
    load_settings,
)
from resources.settings_docs import FILES, env_example, page

NAMES = [setting.name for setting in all_settings()]


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No setting in the environment, and an empty working folder."""
    for name in os.environ:
        if name.upper().startswith(PREFIX):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refusal(*, env_file: Path | None = None, **overrides: object) -> str:
    with pytest.raises(SettingsError) as caught:
        load_settings(env_file, **overrides)
    return str(caught.value)


# Where a value comes from


def test_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/somewhere")
    settings = load_settings()
    assert settings.home == Path("/somewhere/.optrade")
    assert (settings.market, settings.nse.attempts) == ("real", 4)
    assert settings.analytics.strike_offsets == (-2, -1, 0, 1, 2)


def test_the_program_wins_over_the_environment_and_that_over_the_file(
    monkeypatch: pytest.MonkeyPatch, bare: Path
) -> None:
    (bare / ".env").write_text(
        "OPTRADE_NSE__ATTEMPTS=2\nOPTRADE_NSE__BACKOFF_SECONDS=7\nOPTRADE_MARKET=simulated\n"
    )
    monkeypatch.setenv("OPTRADE_NSE__ATTEMPTS", "3")
    settings = load_settings(market="real")
    assert (settings.nse.attempts, settings.nse.backoff_seconds) == (3, 7.0)
    assert settings.nse.timeout_seconds == 30.0, "a group given in part keeps its other defaults"
    assert settings.market == "real"
    assert load_settings().market == "simulated"


def test_another_env_file(bare: Path) -> None:
    (bare / ".env").write_text("OPTRADE_MARKET=simulated\n")
    other = bare / "other.env"
    other.write_text("OPTRADE_NSE__ATTEMPTS=9\n")
    settings = load_settings(other)
    assert (settings.market, settings.nse.attempts) == ("real", 9)


def test_env_file_as_editors_leave_it(bare: Path) -> None:
    text = "\r\n# a note\r\nexport OPTRADE_MARKET = 'simulated'  # why\r\nOTHER=1\r\n"
    (bare / ".env").write_bytes(b"\xef\xbb\xbfOPTRADE_NSE__ATTEMPTS=2" + text.encode())
    settings = load_settings()
    assert (settings.market, settings.nse.attempts) == ("simulated", 2)


def test_names_in_any_case_and_blank_values(monkeypatch: pytest.MonkeyPatch, bare: Path) -> None:
    monkeypatch.setenv("optrade_nse__attempts", "2")
    monkeypatch.setenv("OPTRADE_NSE__BACKOFF_SECONDS", "")
    (bare / ".env").write_text("OPTRADE_HOME=\n")
    settings = load_settings()
    assert (settings.nse.attempts, settings.nse.backoff_seconds) == (2, 2.0)
    assert settings.home == Path("~/.optrade").expanduser()


# How values are read


@pytest.mark.parametrize(
    ("text", "offsets"),
    [("-2,-1,0,1,2", (-2, -1, 0, 1, 2)), (" 0 , 3,", (0, 3)), ("0", (0,))],
)
def test_offsets(
    monkeypatch: pytest.MonkeyPatch, bare: Path, text: str, offsets: tuple[int, ...]
) -> None:
    monkeypatch.setenv("OPTRADE_ANALYTICS__STRIKE_OFFSETS", text)
    assert load_settings().analytics.strike_offsets == offsets
    monkeypatch.delenv("OPTRADE_ANALYTICS__STRIKE_OFFSETS")
    (bare / ".env").write_text(f"OPTRADE_ANALYTICS__STRIKE_OFFSETS={text}\n")
    assert load_settings().analytics.strike_offsets == offsets


def test_places_are_made_whole(monkeypatch: pytest.MonkeyPatch, bare: Path) -> None:
    monkeypatch.setenv("HOME", "/somewhere")
    monkeypatch.setenv("OPTRADE_HOME", "~/data")
    monkeypatch.setenv("OPTRADE_CALENDAR__EXTRA_CSV", "~/2027.csv, more")
    monkeypatch.setenv("OPTRADE_NSE__BASE_URL", "~/archive/")
    settings = load_settings()
    assert settings.lake_root == Path("/somewhere/data/real/lake")
    assert settings.dagster_home == Path("/somewhere/data/real/dagster")
    assert settings.calendar.extra_csv == (Path("/somewhere/2027.csv"), bare / "more")
    assert settings.archive_url == "/somewhere/archive"


@pytest.mark.parametrize("url", ["http://127.0.0.1:8000/nse", "https://host/", "https://host"])
def test_addresses_lose_their_last_slash_only(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("OPTRADE_NSE__BASE_URL", url)
    assert load_settings().nse.base_url == url.rstrip("/")


def test_archive_of_a_simulated_market(monkeypatch: pytest.MonkeyPatch, bare: Path) -> None:
    monkeypatch.setenv("OPTRADE_HOME", str(bare))
    simulated = load_settings(market="simulated")
    assert simulated.archive_url == str(bare / "simulated" / "exchange")
    assert simulated.lake_root == bare / "simulated" / "lake"
    assert load_settings().archive_url == "https://nsearchives.nseindia.com"
    monkeypatch.setenv("OPTRADE_NSE__TIMEOUT_SECONDS", "5")
    assert load_settings(market="simulated").archive_url == simulated.archive_url
    monkeypatch.setenv("OPTRADE_NSE__BASE_URL", "http://localhost:9000")
    assert load_settings(market="simulated").archive_url == "http://localhost:9000"


# What is refused


@pytest.mark.parametrize(
    ("slip", "meant"),
    [
        ("OPTRADE_NSE__BASEURL", "OPTRADE_NSE__BASE_URL"),
        ("OPTRADE_NSE_BASE_URL", "OPTRADE_NSE__BASE_URL"),
        ("optrade_markt", "OPTRADE_MARKET"),
        ("OPTRADE_BACKFILL__DAY_PER_RUN", "OPTRADE_BACKFILL__DAYS_PER_RUN"),
    ],
)
def test_an_unknown_name_is_answered_with_the_nearest(
    monkeypatch: pytest.MonkeyPatch, bare: Path, slip: str, meant: str
) -> None:
    expected = (
        f"{slip} is not a setting. Did you mean {meant}? "
        "All settings are listed in docs/settings.md."
    )
    monkeypatch.setenv(slip, "1")
    assert refusal() == expected
    monkeypatch.delenv(slip)
    (bare / ".env").write_text(f"{slip}=1\n")
    assert refusal() == expected


def test_an_unknown_name_like_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPTRADE_ZZZZZZZZZZZZZZZZZZZZZ", "1")
    assert refusal().startswith("OPTRADE_ZZZZZZZZZZZZZZZZZZZZZ is not a setting. All settings")


@pytest.mark.parametrize(
    ("name", "value", "expects"),
    [
        ("OPTRADE_NSE__ATTEMPTS", "0", "a whole number from 1 up to 10"),
        ("OPTRADE_NSE__ATTEMPTS", "2.5", "a whole number from 1 up to 10"),
        ("OPTRADE_NSE__TIMEOUT_SECONDS", "0", "a number of seconds above 0 up to 600"),
        ("OPTRADE_NSE__TIMEOUT_SECONDS", "nan", "a number of seconds above 0 up to 600"),
        ("OPTRADE_MARKET", "Real", "real or simulated"),
        ("OPTRADE_ANALYTICS__STRIKE_OFFSETS", "1,x", "whole numbers from -50 to 50"),
        ("OPTRADE_ANALYTICS__STRIKE_OFFSETS", ",", "whole numbers from -50 to 50"),
        ("OPTRADE_CLOSE_LANE__ASK_FROM", "25:00", "HH:MM, such as 17:30"),
        ("OPTRADE_CLOSE_LANE__COMPLETE_BY", "09:00", "HH:MM later than OPTRADE_CLOSE_LANE__ASK"),
        ("OPTRADE_LAKE__MEMORY_LIMIT", "plenty", "a size in MB, GB, MiB or GiB, such as 4GB"),
        ("OPTRADE_NSE__BASE_URL", "ftp://host", "an http:// or https:// address, or a directory"),
        ("OPTRADE_HOME", "~no-such-user/x", "a path"),
    ],
)
def test_an_impossible_value_says_where_what_and_how(
    monkeypatch: pytest.MonkeyPatch, bare: Path, name: str, value: str, expects: str
) -> None:
    monkeypatch.setenv(name, value)
    text = refusal()
    assert re.fullmatch(
        rf"{name}: found .+ in the environment( \(.+\))?; expected .+\. "
        r"Correct it, or remove it for the default, .+\.",
        text,
    )
    assert f"expected {expects}" in text
    monkeypatch.delenv(name)
    (bare / ".env").write_text(f"{name}={value}\n")
    assert re.match(rf"{name}: found .+ in \.env", refusal())


def test_every_fault_is_named(monkeypatch: pytest.MonkeyPatch, bare: Path) -> None:
    monkeypatch.setenv("OPTRADE_NSE__ATTEMPTS", "none")
    (bare / ".env").write_text("OPTRADE_MARKET=both\n")
    found = refusal(backfill={"days_per_run": 0}).splitlines()
    assert [line.split(";")[0] for line in found] == [
        "OPTRADE_MARKET: found 'both' in .env",
        "OPTRADE_NSE__ATTEMPTS: found 'none' in the environment",
        "OPTRADE_BACKFILL__DAYS_PER_RUN: found 0 in the program",
    ]


def test_a_default_that_no_longer_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPTRADE_CLOSE_LANE__ASK_FROM", "23:45")
    assert refusal().startswith("OPTRADE_CLOSE_LANE__COMPLETE_BY: found '23:30' by default (not")


def test_an_env_file_that_cannot_be_read(bare: Path) -> None:
    assert refusal(env_file=bare / "none.env") == (
        f"{bare / 'none.env'}: found no such file; expected one with settings."
    )
    (bare / ".env").write_bytes(b"OPTRADE_HOME=\xff\xfe\n")
    assert refusal().startswith(".env cannot be read as UTF-8 text: ")


def test_unknown_names_inside_the_program() -> None:
    assert "nse.speed" in refusal(nse={"speed": 3})


# What is written from the tree


def test_every_setting_explains_itself() -> None:
    assert len(NAMES) == len(set(NAMES)) > 20
    for setting in all_settings():
        assert (setting.field.description or "").endswith("."), setting.name
        assert "|" not in f"{setting.field.description}{setting.expects}", setting.name


def test_files_are_as_written() -> None:
    how = "run `python -m resources.settings_docs`"
    assert FILES["env"].read_text(encoding="utf-8") == env_example(), how
    assert FILES["page"].read_text(encoding="utf-8") == page(), how


def test_example_file_holds_every_default_commented_out(bare: Path) -> None:
    lines = env_example().splitlines()
    assert all(not line or line.startswith("#") for line in lines)
    given = [line.removeprefix("# ") for line in lines if line.startswith(f"# {PREFIX}")]
    assert [line.split("=")[0] for line in given] == NAMES
    (bare / ".env").write_text("\n".join(given))
    assert load_settings() == Settings()
