"""Settings of the live lane: the broker, the collector, its spool, the simulated broker, logs.

Belongs here: the groups that matter while the market is open. Does not belong here: the tree
they hang in (see `settings`).
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import NoDecode

from optrade.contracts import UNDERLYINGS
from optrade.tables.common import EXPIRY_BUCKETS
from resources.settings_base import Group, split


class KiteSettings(Group):
    """The broker: Zerodha Kite Connect. A simulated market brings its own key and addresses."""

    api_key: str = Field(default="", description="API key of your Kite Connect app.")
    api_secret: SecretStr = Field(
        default=SecretStr(""),
        description="API secret of your Kite Connect app. Never logged, never stored elsewhere.",
    )
    root_url: str = Field(
        default="https://api.kite.trade", description="Address of the broker's REST API."
    )
    login_url: str = Field(
        default="https://kite.zerodha.com/connect/login",
        description="Address of the broker's login page.",
    )
    stream_url: str = Field(
        default="wss://ws.kite.trade", description="Address of the broker's websocket."
    )
    redirect_port: int = Field(
        default=5010,
        ge=1024,
        le=65535,
        description="Loopback port that `optrade login` listens on. Register "
        "http://127.0.0.1:<port>/ as the redirect URL of your Kite Connect app.",
    )
    timeout_seconds: float = Field(
        default=10.0, gt=0, le=120, description="How long one REST request may take."
    )
    attempts: int = Field(
        default=5, ge=1, le=10, description="How often a refused (429) or failed request is tried."
    )
    backoff_seconds: float = Field(
        default=1.0,
        ge=0,
        le=60,
        description="Wait before the second try; doubles with each further one.",
    )


class CollectorSettings(Group):
    """Which instruments are collected, and when something is called silent."""

    underlyings: Annotated[tuple[str, ...], NoDecode] = Field(
        default=("NIFTY", "BANKNIFTY", "FINNIFTY", "MIDCPNIFTY", "SENSEX"),
        min_length=1,
        description="Indices whose options, futures and spot are collected.",
        examples=["symbols among " + ", ".join(UNDERLYINGS)],
    )
    expiry_buckets: Annotated[tuple[str, ...], NoDecode] = Field(
        default=EXPIRY_BUCKETS,
        min_length=1,
        description="Expiries that are collected. Fewer buckets mean fewer instruments.",
        examples=["words among " + ", ".join(EXPIRY_BUCKETS)],
    )
    strike_width_pct: float = Field(
        default=8.0,
        gt=0,
        le=100,
        description="Every listed strike within so many percent of spot is collected. Raise it "
        "for the wings of a surface; each percent costs instruments.",
    )
    sockets: int = Field(
        default=3, ge=1, le=3, description="Most websockets at a time. Kite allows three."
    )
    instruments_per_socket: int = Field(
        default=3000, ge=1, le=3000, description="Most instruments on one websocket."
    )
    before_open_seconds: float = Field(
        default=900.0,
        ge=0,
        le=14_400,
        description="The collector connects so long before the session opens.",
    )
    after_close_seconds: float = Field(
        default=300.0,
        ge=0,
        le=14_400,
        description="The collector listens so long after the session's close.",
    )
    login_retry_seconds: float = Field(
        default=15.0,
        gt=0,
        le=3600,
        description="Without a valid session the collector looks so often whether somebody ran "
        "`optrade login`.",
    )
    reconnect_seconds: float = Field(
        default=5.0,
        gt=0,
        le=300,
        description="Longest wait before a lost websocket is dialled again; the first waits are "
        "shorter.",
    )
    mute_seconds: float = Field(
        default=10.0,
        gt=0,
        le=300,
        description="A connected websocket that sent no frame, not even a heartbeat, for so long "
        "is mute: a gap is recorded and it is connected anew.",
    )
    silent_seconds: float = Field(
        default=120.0,
        gt=0,
        le=3600,
        description="An instrument near the money whose exchange time stands still for so long, "
        "while others move on, is recorded as silent.",
    )
    clock_skew_seconds: float = Field(
        default=5.0,
        gt=0,
        le=3600,
        description="How far this machine's clock may be from the exchange's before it is said.",
    )

    _lists = field_validator("underlyings", "expiry_buckets", mode="before")(split)

    @field_validator("underlyings", mode="after")
    @classmethod
    def _known(cls, symbols: tuple[str, ...]) -> tuple[str, ...]:
        if unknown := sorted(set(symbols) - set(UNDERLYINGS)):
            raise ValueError(f"{', '.join(unknown)} is no index with options")
        return symbols

    @field_validator("expiry_buckets", mode="after")
    @classmethod
    def _buckets(cls, buckets: tuple[str, ...]) -> tuple[str, ...]:
        if unknown := sorted(set(buckets) - set(EXPIRY_BUCKETS)):
            raise ValueError(f"{', '.join(unknown)} is no expiry bucket")
        return buckets


class SpoolSettings(Group):
    """How the collector writes down what it hears."""

    flush_seconds: float = Field(
        default=0.2,
        ge=0,
        le=60,
        description="Frames are handed to the operating system at least so often; 0 after each. "
        "What is not flushed is lost when the collector is killed.",
    )
    fsync_seconds: float = Field(
        default=1.0,
        ge=0,
        le=60,
        description="Frames are forced to the disk at least so often; 0 after each flush. What "
        "is not is lost when the machine loses power.",
    )
    seal_seconds: int = Field(
        default=60,
        ge=1,
        le=3600,
        description="A segment is sealed at each multiple of so many seconds past the hour; "
        "only sealed segments are read.",
    )


class SimulatorSettings(Group):
    """The simulated broker that stands in for Kite in a simulated market."""

    port: int = Field(
        default=8650, ge=1024, le=65535, description="Loopback port of the simulated broker."
    )
    speed: float = Field(
        default=1.0,
        gt=0,
        le=1000,
        description="How many simulated seconds pass in a real one.",
    )
    seed: int = Field(default=7, ge=0, description="The same seed and day give the same ticks.")


class LoggingSettings(Group):
    """Structured logs of every process."""

    format: Literal["auto", "json", "pretty"] = Field(
        default="auto",
        description="How the terminal shows logs; `auto` is pretty on a terminal and JSON lines "
        "elsewhere. Files always hold JSON lines.",
    )
    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        default="INFO", description="The least severe messages that are kept."
    )
    compress_after_days: int = Field(
        default=1,
        ge=1,
        le=3650,
        description="Log files older than so many days are compressed. None is ever deleted.",
    )
