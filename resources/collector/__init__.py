"""The collector: a session's ticks from the broker's websockets into the spool, with its holes.

Belongs here: choosing when to listen, connecting, noticing silence, keeping the journal. Does not
belong here: files of the spool (`resources.spool`), the broker's REST API (`resources.kite`), what
a frame means (`optrade.formats.kite_frames`).
"""

from resources.collector.boundary import Access, Broker
from resources.collector.collector import Collector

__all__ = ["Access", "Broker", "Collector"]
