"""What must never stand in a log: secrets, by the name of their field or by their value.

Belongs here: telling what is secret, and turning any value into plain ones without secrets.
Does not belong here: what is logged and where it is written (see `logs`).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from datetime import date
from numbers import Integral, Real
from pathlib import Path
from urllib.parse import quote, quote_plus

from pydantic import BaseModel, SecretBytes, SecretStr

MASK = "**********"
_NAMES = (
    r"(?:access|request|refresh|public|enc)[_-]?token|(?:api|client)[_-]?secret|secret|"
    r"password|passwd|totp"
)
_WHOLE_LINES = r"authorization|cookie"
_KEY = re.compile(rf"(?:.*[_.-])?(?:{_NAMES}|{_WHOLE_LINES})", re.IGNORECASE)
_BETWEEN = r"""(?:["']?[ \t]*[=:][ \t]*b?["']?|["'][ \t]*,[ \t]*b?["'])"""
_IN_TEXT = (
    re.compile(rf"((?:{_WHOLE_LINES}){_BETWEEN})[^\"'\r\n]+", re.IGNORECASE),
    re.compile(rf"((?:{_NAMES}){_BETWEEN})[^\s\"'&,;)}}\]]+", re.IGNORECASE),
)
_hidden: set[str] = set()


def hide(*secrets: str) -> None:
    """Mask these values wherever they appear in this process's logs from now on.

    For what is learnt while running, such as an access token. Also hides how each looks in an
    address or inside quotes. Blank ones are passed over.
    """
    for secret in filter(str.strip, secrets):
        _hidden.update({secret, quote(secret, safe=""), quote_plus(secret)})
        _hidden.update({repr(secret)[1:-1], json.dumps(secret)[1:-1]})


def secrets_of(model: BaseModel) -> Iterator[str]:
    """Every secret value in a tree of settings."""
    for name in type(model).model_fields:
        value = getattr(model, name)
        if isinstance(value, BaseModel):
            yield from secrets_of(value)
        elif isinstance(value, SecretStr):
            yield value.get_secret_value()


def masked_text(text: str) -> str:
    """The text with hidden values, and whatever follows a name such as `access_token=`, masked."""
    for secret in sorted(_hidden, key=len, reverse=True):
        text = text.replace(secret, MASK)
    for pattern in _IN_TEXT:
        text = pattern.sub(rf"\1{MASK}", text)
    return text


def masked(value: object) -> object:
    """Any value as plain JSON ones: mappings, lists, text, finite numbers, true, false, null.

    Dates and times become ISO text, other objects their `repr`; secrets are masked at any depth.
    """
    match value:
        case None | bool():
            return value
        case Integral():  # numpy's too
            return int(value)
        case Real():
            return float(value) if math.isfinite(value) else str(value)
        case str() | Path():
            return masked_text(str(value))
        case SecretStr() | SecretBytes():
            return MASK
        case date():
            return value.isoformat()
        case Mapping():
            return {masked_text(str(key)): _of_key(str(key), inner) for key, inner in value.items()}
        case list() | tuple() | set() | frozenset():
            return [masked(inner) for inner in value]
        case _:
            return masked_text(repr(value))


def _of_key(key: str, value: object) -> object:
    return MASK if value is not None and _KEY.fullmatch(key) else masked(value)
