"""A foreign host is asked at the configured rate, in turns; this machine at once."""

from __future__ import annotations

import threading
from datetime import date

import httpx
import pytest

from resources.nse import Archive
from resources.settings_files import NseSettings

DAY = date(2026, 1, 23)
KIND = "participant_oi"


class Clock:
    """Time that passes only when somebody waits."""

    def __init__(self) -> None:
        self.now = 100.0
        self.waits: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.waits.append(round(seconds, 9))
        self.now += seconds


def turns(base_url: str, clock: Clock) -> Archive:
    settings = NseSettings(requests_per_second=4)
    return Archive(settings, base_url, httpx.Client(), sleep=clock.sleep, clock=lambda: clock.now)


def test_a_foreign_host_is_asked_at_the_configured_rate() -> None:
    clock = Clock()
    archive = turns("https://mirror.example", clock)
    for _ in range(3):
        archive._wait_for_turn()
    assert clock.waits == [0.25, 0.25]
    clock.now += 10
    archive._wait_for_turn()
    archive._wait_for_turn()
    assert clock.waits == [0.25, 0.25, 0.25], "a pause earns no burst"


def test_turns_are_kept_by_several_threads_at_once() -> None:
    clock = Clock()
    archive = turns("https://mirror.example", clock)
    archive._sleep = clock.waits.append  # Nobody's waiting moves the clock.
    threads = [threading.Thread(target=archive._wait_for_turn) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(clock.waits) == [0.25, 0.5, 0.75, 1.0]


@pytest.mark.parametrize("base", ["http://127.0.0.1:8000", "http://localhost", "http://[::1]:80"])
def test_this_machine_is_not_limited(base: str) -> None:
    clock = Clock()
    archive = turns(base, clock)
    for _ in range(10):
        archive._wait_for_turn()
    assert clock.waits == []


def test_tries_and_turns_on_a_foreign_host() -> None:
    clock = Clock()
    asked: list[float] = []

    def busy(request: httpx.Request) -> httpx.Response:
        asked.append(clock.now)
        return httpx.Response(429)

    with httpx.Client(transport=httpx.MockTransport(busy)) as client:
        archive = Archive(
            NseSettings(requests_per_second=4, attempts=3, backoff_seconds=0.1),
            "https://mirror.example",
            client,
            sleep=clock.sleep,
            clock=lambda: clock.now,
        )
        assert archive.fetch(KIND, DAY).status == "blocked"
    assert asked == pytest.approx([100.0, 100.25, 100.5])
