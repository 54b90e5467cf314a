"""Secrets are masked by the name of a field, by their place in a text, and by their value."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from resources import log_masking
from resources.log_masking import MASK, masked, masked_text

SECRET = "Zq7-kite/secret 'of' ours"
KEYS = (
    "access_token", "Access-Token", "request_token", "enctoken", "api_secret", "kite.api_secret",
    "Authorization", "set-cookie", "password", "OPTRADE_KITE__API_SECRET", "secret",
)  # fmt: skip
TEXTS = (
    "wss://ws.kite.trade?api_key=k&access_token=HIDE&uid=1",
    "{'Authorization': 'token k:HIDE', 'X-Kite-Version': '3'}",
    '{"access_token": "HIDE", "n": 1}',
    "headers [(b'authorization', b'token k:HIDE')]",
    "Authorization: token k:HIDE",
    "api_secret=HIDE",
    "http://127.0.0.1/?request_token=HIDE&status=success",
)


@pytest.fixture(autouse=True)
def _nothing_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_masking, "_hidden", set())


@pytest.mark.parametrize("key", KEYS)
def test_values_of_secret_names_are_masked(key: str) -> None:
    assert masked({"a": [{key: "HIDE", "n": 1}]}) == {"a": [{key: MASK, "n": 1}]}
    assert masked({key: None}) == {key: None}


@pytest.mark.parametrize("text", TEXTS)
def test_secrets_inside_text_are_masked(text: str) -> None:
    found = masked_text(text)
    assert "HIDE" not in found
    assert MASK in found


@pytest.mark.parametrize(
    "fact",
    [
        {"instrument_token": 256265, "tokens": [1, 2], "api_key": "k", "tokenizer": "x"},
        {"event": "12 instrument tokens were subscribed; token expired at 06:00"},
        {"n": 1, "x": 0.5, "yes": True, "none": None, "empty": ""},
    ],
)
def test_other_facts_stay(fact: dict[str, object]) -> None:
    assert masked(fact) == fact


def test_values_become_plain() -> None:
    given_ = [np.int64(7), float("nan"), date(2026, 1, 23), Path("a"), {2}, SecretStr("x"), b"\x00"]
    assert masked(given_) == [7, "nan", "2026-01-23", "a", [2], MASK, "b'\\x00'"]


NESTED = st.recursive(
    st.sampled_from([SECRET, SecretStr(SECRET), f"a {SECRET} b", repr(SECRET), 1, None]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=8,
)


@given(value=NESTED, key=st.sampled_from(["event", "x", SECRET]))
def test_a_hidden_value_appears_nowhere(value: object, key: str) -> None:
    log_masking.hide(SECRET, "", " ")
    text = json.dumps(masked({key: value, "object": [Path("/x") / "y", type("O", (), {})]}))
    assert json.dumps(SECRET)[1:-1] not in text
    assert "kite/secret" not in text
