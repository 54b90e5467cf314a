"""What comes back from the login page, in the browser or pasted."""

from __future__ import annotations

import socket
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from resources.kite.access import SIMULATED_KEY
from resources.kite.errors import LoginRefused
from resources.kite.login import login_url, request_token_of, wait_for_redirect
from resources.settings_live import KiteSettings
from tests.resources.kite.conftest import free_port, visit


def test_only_the_redirect_of_this_login_is_taken() -> None:
    port = free_port()
    here = f"http://127.0.0.1:{port}/"
    answers: list[httpx.Response] = []

    def browse() -> None:
        with socket.create_connection(("127.0.0.1", port)):  # Opened ahead and never used.
            answers.extend(
                visit(address)
                for address in (
                    f"{here}favicon.ico",
                    here,
                    f"{here}other?request_token=stolen123&status=success&state=mine",
                    f"{here}?request_token=stolen123&status=success",
                    f"{here}?request_token=stolen123&status=success&state=theirs",
                    f"{here}?request_token=rightful1&status=success&action=login&state=mine",
                )
            )

    assert wait_for_redirect(port, 20, "mine", browse) == "rightful1"
    assert [answer.status_code for answer in answers] == [404, 404, 404, 403, 403, 200]
    assert all("stolen123" not in answer.text for answer in answers)
    again = wait_for_redirect(port, 20, "", lambda: visit(here, request_token="again1234"))
    assert again == "again1234"


def test_a_login_that_failed_is_heard(capfd: pytest.CaptureFixture[str]) -> None:
    port = free_port()
    here = f"http://127.0.0.1:{port}/"
    with pytest.raises(LoginRefused, match=r"did not let you in: found status 'cancelled'\. Run"):
        wait_for_redirect(port, 20, ready=lambda: visit(here, status="cancelled"))
    assert capfd.readouterr() == ("", "")


def test_nobody_comes() -> None:
    port = free_port()
    with pytest.raises(LoginRefused) as caught:
        wait_for_redirect(port, 0.01)
    assert str(caught.value) == (
        "Nobody came back from Kite's login page within 0.01 seconds; expected a redirect to "
        f"http://127.0.0.1:{port}/. Register that address as the redirect URL of your Kite "
        "Connect app and run `optrade login` again."
    )


def test_a_port_in_use() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(LoginRefused, match=r"found it taken .*optrade login --paste"),
    ):
        wait_for_redirect(taken.getsockname()[1], 1)


@pytest.mark.parametrize("text", ["", "no token here", "http://127.0.0.1/?action=login", "x" * 200])
def test_a_paste_without_a_token(text: str) -> None:
    with pytest.raises(LoginRefused, match=f"^Found {len(text)} characters without") as caught:
        request_token_of(text)
    assert not text or text not in str(caught.value)


def test_the_login_page_is_asked_for_the_state_back() -> None:
    settings = KiteSettings(api_key=SIMULATED_KEY)
    query = parse_qs(urlsplit(login_url(settings, "a b&c")).query)
    assert query["v"] == ["3"]
    assert query["api_key"] == [SIMULATED_KEY]
    assert parse_qs(query["redirect_params"][0]) == {"state": ["a b&c"]}
    assert "redirect_params" not in login_url(settings)
