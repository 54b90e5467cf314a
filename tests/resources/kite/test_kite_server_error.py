"""A simulated broker in trouble answers every request with 500, switched on over HTTP."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from resources.kite.errors import BrokerDown
from resources.kite_exchange.server import RunningExchange
from tests.resources.kite.conftest import Brokers, Clients, StoppedClock, refused


def order(exchange: RunningExchange, **fault: Any) -> None:
    answer = httpx.post(
        f"{exchange.root_url}/simulate/faults", json={"kind": "server_error"} | fault
    )
    assert answer.status_code == 200, answer.text


def test_every_request_fails_until_the_fault_is_ended(
    clients: Clients, exchange: RunningExchange, kite: Any
) -> None:
    client = clients()
    assert client.profile()
    order(exchange)
    for ask in (client.profile, client.instruments, lambda: client.ltp(["NSE:NIFTY 50"])):
        said = refused(kite, "GeneralException", 500, ask)
        assert said == "Something went wrong."
    listed = httpx.delete(f"{exchange.root_url}/simulate/faults?kind=server_error").json()
    assert listed["on"] == []
    assert client.profile()


def test_it_is_over_after_its_duration(
    clients: Clients, exchange: RunningExchange, clock: StoppedClock, kite: Any
) -> None:
    client = clients()
    order(exchange, duration=60)
    clock.sleep(59)
    refused(kite, "GeneralException", 500, client.profile)
    clock.sleep(1)
    assert client.profile()


def test_our_client_waits_it_out_and_says_so_when_it_lasts(
    brokers: Brokers, exchange: RunningExchange
) -> None:
    order(exchange)
    assert brokers(lambda _: exchange.faults.clear("server_error")).profile()
    order(exchange)
    with pytest.raises(BrokerDown, match=r"500 GeneralException.* after 5 tries.*Wait"):
        brokers().profile()
