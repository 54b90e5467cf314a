"""A port that somebody else serves on: nothing is started beside a stranger."""

from __future__ import annotations

import socket

import pytest
from rich.console import Console

from optrade_dagster.up import refuse_taken_ports, run_up
from resources.settings import Settings


@pytest.fixture
def taken():
    """A loopback port that somebody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


def test_a_taken_port_is_refused_before_anything_is_started(tmp_path, taken):
    settings = Settings(home=tmp_path / "home", market="real")
    with pytest.raises(ValueError, match=rf"port {taken} .* web UI, is taken: .* --port"):
        run_up(settings, Console(quiet=True), taken, None)
    assert not (tmp_path / "home").exists()


def test_the_broker_needs_its_port_only_where_there_is_one(tmp_path, taken):
    settings = Settings(home=tmp_path, market="simulated", simulator={"port": taken})
    refuse_taken_ports(settings, None, broker=False)
    with pytest.raises(ValueError, match=rf"port {taken} .* OPTRADE_SIMULATOR__PORT"):
        refuse_taken_ports(settings, None, broker=True)
