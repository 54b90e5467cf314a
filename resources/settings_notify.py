"""Settings of notifications: who is told of incidents, and how.

Belongs here: what a user may tune of the channels. Does not belong here: the tree it hangs in (see
`settings`), sending (see `notify`).
"""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, Literal

from pydantic import Field, SecretStr, ValidationInfo, field_validator
from pydantic_settings import NoDecode

from resources.settings_base import Group, split

_ADDRESS = "an http(s):// address"
_EMAIL = re.compile(r"[^@\s,<>]+@[^@\s,<>]+")


class NotifySettings(Group):
    """Notifications of incidents. Nothing set, nothing sent."""

    webhook_url: SecretStr = Field(
        default=SecretStr(""),
        description="Where notices are posted as JSON (docs/notifications.md). Such addresses "
        "often hold a key: never logged.",
        examples=[_ADDRESS],
    )
    alertmanager_url: SecretStr = Field(
        default=SecretStr(""),
        description="Address of an Alertmanager, without /api/v2/alerts. May hold user and "
        "password: never logged.",
        examples=[_ADDRESS],
    )
    email_to: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description="Who gets a mail for each notice.",
        examples=["mail addresses, comma-separated"],
    )
    email_from: str = Field(
        default="",
        validate_default=True,
        description="The sender of those mails.",
        examples=["a mail address, needed with EMAIL_TO"],
    )
    smtp_host: str = Field(
        default="",
        validate_default=True,
        description="The mail server that takes them.",
        examples=["a host's name, needed with EMAIL_TO"],
    )
    smtp_port: int = Field(default=587, ge=1, le=65535, description="Port of the mail server.")
    smtp_starttls: bool = Field(
        default=True,
        description="Whether the connection to the mail server is encrypted by STARTTLS, and its "
        "certificate proven. Without it no password is sent but to this machine.",
        examples=["true or false"],
    )
    smtp_user: SecretStr = Field(
        default=SecretStr(""),
        description="User of the mail server; blank where it wants none. Never logged.",
    )
    smtp_password: SecretStr = Field(
        default=SecretStr(""), description="Password of that user. Never logged."
    )
    least_severity: Literal["WARN", "ERROR"] = Field(
        default="WARN",
        description="The least severe incidents that are told: `WARN` is odd, `ERROR` is wrong.",
    )
    timeout_seconds: float = Field(
        default=5.0,
        gt=0,
        le=10,
        description="How long a channel may take to connect, to be written to and to answer.",
    )

    _lists = field_validator("email_to", mode="before")(split)

    @field_validator("webhook_url", "alertmanager_url", mode="after")
    @classmethod
    def _address(cls, url: SecretStr) -> SecretStr:
        text = url.get_secret_value().strip().rstrip("/")
        if text and not _is_address(text):
            raise ValueError("it names no host that can be asked by http or https")
        return SecretStr(text)

    @field_validator("email_to", mode="after")
    @classmethod
    def _recipients(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if wrong := [name for name in names if not _EMAIL.fullmatch(name)]:
            raise ValueError(f"{', '.join(wrong)} is no mail address")
        return names

    @field_validator("email_from", mode="after")
    @classmethod
    def _sender(cls, name: str, others: ValidationInfo) -> str:
        if name or others.data.get("email_to"):
            return cls._recipients((name,))[0]
        return name

    @field_validator("smtp_host", mode="after")
    @classmethod
    def _server(cls, host: str, others: ValidationInfo) -> str:
        if others.data.get("email_to") and not host:
            raise ValueError("EMAIL_TO has addresses, and no server takes their mail")
        return host

    @field_validator("smtp_password", mode="after")
    @classmethod
    def _unseen(cls, password: SecretStr, others: ValidationInfo) -> SecretStr:
        host = str(others.data.get("smtp_host", ""))
        plain = others.data.get("smtp_starttls") is False
        user = others.data.get("smtp_user")
        if password.get_secret_value() and plain and not _is_here(host):
            raise ValueError("SMTP_STARTTLS is false: it would be sent unencrypted")
        if password.get_secret_value() and user is not None and not user.get_secret_value():
            raise ValueError("SMTP_USER is blank: it would not be used")
        return password


def _is_address(url: str) -> bool:
    import httpx  # noqa: PLC0415 (it loads slowly, and it is what asks there)

    try:
        parts = httpx.URL(url)
    except httpx.InvalidURL:
        return False
    return parts.scheme in ("http", "https") and bool(parts.host)


def _is_here(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
