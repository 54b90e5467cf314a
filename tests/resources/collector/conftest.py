"""Desks for the tests of the collector."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.resources.collector.desk import OPENS, Desk, Market, clock_at

Open = Callable[..., Desk]


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Open]:
    """Opens a desk at some time of the day; closes it and its market in the end."""
    desks = list[Desk]()

    def open_(
        at: datetime = OPENS, *, begin: bool = True, market: Market | None = None, **changes: Any
    ) -> Desk:
        clock = market.clock if market else clock_at(at)
        made = Desk(tmp_path, clock, market or Market(clock), **changes)
        desks.append(made)
        if begin:
            made.thread.start()
        return made

    yield open_
    for made in desks:
        made.stop.set()
        if made.thread.is_alive():
            made.thread.join(20)
    for market in {id(made.market): made.market for made in desks}.values():
        market.stop()
