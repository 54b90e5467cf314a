"""The requests that the broker's official client makes, answered as the broker answers them.

Belongs here: paths, parameters, bodies and HTTP codes of Kite Connect 3. Does not belong here:
who is let in (`state`), prices (the market), the websocket (`stream`).
"""

from __future__ import annotations

import csv
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode

import polars as pl
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from optrade.calendar import IST
from resources.kite.access import SIMULATED_KEY
from resources.kite_exchange.state import USER_ID, Asked, BrokerState, Market, Refusal

_MINUTE: Final = timedelta(minutes=1)
INTERVALS: Final = MappingProxyType(
    {
        "minute": ("1m", 60),
        "3minute": ("3m", 100),
        "5minute": ("5m", 100),
        "10minute": ("10m", 100),
        "15minute": ("15m", 200),
        "30minute": ("30m", 200),
        "60minute": ("60m", 400),
        "day": ("1d", 2000),
    }
)
"""Kite's candle intervals: their length for polars, and most days in one request."""
MOST_SYMBOLS: Final = MappingProxyType({"/quote": 500, "/quote/ohlc": 1000, "/quote/ltp": 1000})
QUOTE_FIELDS: Final = MappingProxyType(
    {
        "/quote": None,
        "/quote/ohlc": ("instrument_token", "last_price", "ohlc"),
        "/quote/ltp": ("instrument_token", "last_price"),
    }
)
_OPENS_AT: Final = "9h15m"
"""Candles of several minutes are counted from here."""
_TRADED: Final = ("NSE", "NFO", "BSE", "BFO")
_PROFILE: Final = MappingProxyType(
    {
        "user_id": USER_ID,
        "user_type": "individual",
        "email": "nobody@example.invalid",
        "user_name": "Simulated Account",
        "user_shortname": "Simulated",
        "broker": "ZERODHA",
        "exchanges": _TRADED,
        "products": ("CNC", "NRML", "MIS"),
        "order_types": ("MARKET", "LIMIT", "SL", "SL-M"),
        "avatar_url": None,
        "meta": {"demat_consent": "physical"},
    }
)


def routes(state: BrokerState, market: Market) -> list[BaseRoute]:
    """Every path of the REST side."""
    rest = _Rest(state, market)
    quotes = [rest.route(path, rest.quotes, "quote") for path in MOST_SYMBOLS]
    return [
        rest.route("/connect/login", rest.log_in, public=True),
        rest.route("/session/token", rest.open_session, method="POST", public=True),
        rest.route("/session/token", rest.close_session, method="DELETE"),
        rest.route("/user/profile", rest.profile),
        rest.route("/instruments", rest.instruments),
        rest.route("/instruments/historical/{token}/{interval}", rest.historical, "historical"),
        rest.route("/instruments/{exchange}", rest.instruments),
        *quotes,
    ]


_Answer = Callable[[Request, dict[str, str]], Any]
"""Answers a request, given the fields of its form: a `Response`, or data for a JSON one."""


class _Rest:
    def __init__(self, state: BrokerState, market: Market) -> None:
        self._state, self._market = state, market

    def route(
        self,
        path: str,
        answer: _Answer,
        family: str = "other",
        *,
        method: str = "GET",
        public: bool = False,
    ) -> Route:
        """A path that is limited, asks for a valid token unless `public`, and is logged."""

        def respond(request: Request, form: dict[str, str]) -> Response:
            try:
                self._state.admit(family)
                if not public:
                    self._check_token(request)
                found = answer(request, form)
            except Refusal as no:
                told = {"status": "error", "message": no.message, "error_type": no.kind}
                return JSONResponse(told | {"data": None}, status_code=no.status)
            if isinstance(found, Response):
                return found
            return JSONResponse({"status": "success", "data": found})

        async def endpoint(request: Request) -> Response:
            form = dict(parse_qsl((await request.body()).decode(errors="replace")))
            response = await run_in_threadpool(respond, request, form)
            at = self._state.clock.now()
            asked = Asked(at, request.method, request.url.path, response.status_code)
            self._state.log.append(asked)
            return response

        return Route(path, endpoint, methods=[method])

    def log_in(self, request: Request, _: dict[str, str]) -> Response:
        """The login page, where the simulated person is always at once logged in."""
        if request.query_params.get("api_key") != SIMULATED_KEY:
            raise Refusal(400, "InputException", "Invalid `api_key`.")
        told = {"action": "login", "type": "login", "status": "success"}
        told["request_token"] = self._state.request_token()
        told |= dict(parse_qsl(request.query_params.get("redirect_params", "")))
        return RedirectResponse(f"{self._state.redirect_url}?{urlencode(told)}", status_code=302)

    def open_session(self, _: Request, form: dict[str, str]) -> dict[str, Any]:
        for name in ("api_key", "request_token", "checksum"):
            if not form.get(name):
                raise Refusal(400, "InputException", f"Missing or empty field `{name}`")
        if form["api_key"] != SIMULATED_KEY:
            raise Refusal(403, "TokenException", "Invalid `api_key`.")
        token = self._state.open_session(form["request_token"], form["checksum"])
        return {
            **_PROFILE,
            "api_key": SIMULATED_KEY,
            "access_token": token,
            "public_token": "",
            "enctoken": "",
            "refresh_token": "",
            "silo": "",
            "login_time": f"{self._state.clock.now():%Y-%m-%d %H:%M:%S}",
        }

    def close_session(self, *_: object) -> bool:
        self._state.log_out()
        return True

    def profile(self, *_: object) -> dict[str, Any]:
        return dict(_PROFILE)

    def instruments(self, request: Request, _: dict[str, str]) -> Response:
        content = self._state.dump(request.path_params.get("exchange"))
        return Response(content, media_type="text/csv")

    def quotes(self, request: Request, _: dict[str, str]) -> dict[str, Any]:
        """Full quotes, day's prices or last prices of `i`, in rupees; what is unknown is left out.

        Each `i` is EXCHANGE:TRADINGSYMBOL or a token.
        """
        path, asked = request.url.path, request.query_params.getlist("i")
        if not asked:
            raise Refusal(400, "InputException", "Missing or empty field `i`")
        if len(asked) > MOST_SYMBOLS[path]:
            text = f"Too many tokens requested. Max permitted is {MOST_SYMBOLS[path]}."
            raise Refusal(400, "InputException", text)
        known = _tokens(self._state.dump())
        tokens = {name: known[name] for name in asked if name in known}
        quotes = self._market.quote(tokens.values(), self._state.clock.now())
        told = {name: quotes[token] for name, token in tokens.items() if token in quotes}
        fields = QUOTE_FIELDS[path]
        if fields is None:
            return told
        return {name: {field: quote[field] for field in fields} for name, quote in told.items()}

    def historical(self, request: Request, _: dict[str, str]) -> dict[str, Any]:
        interval, query = request.path_params["interval"], request.query_params
        if interval not in INTERVALS:
            raise Refusal(400, "InputException", "invalid interval")
        every, most_days = INTERVALS[interval]
        start, end = _moment(query.get("from"), "from"), _moment(query.get("to"), "to")
        if end < start:
            raise Refusal(400, "InputException", "from date should be less than to date")
        if end - start > timedelta(days=most_days):
            text = f"interval exceeds max limit: {most_days} days"
            raise Refusal(400, "InputException", text)
        until = min(end + _MINUTE - timedelta(microseconds=1), self._state.clock.now())
        token = _tokens(self._state.dump()).get(request.path_params["token"])
        if token is None:
            raise Refusal(400, "InputException", "invalid token")
        minutes = self._market.candles(token, start, until)
        forgotten = self._state.faults.active("no_candles")
        if forgotten and token in forgotten.tokens:
            minutes = minutes.clear()
        candles = _merged(minutes.filter(pl.col("at") <= end), every)
        if query.get("oi") != "1":
            candles = candles.drop("oi_units")
        stamp = pl.col("at").dt.strftime("%Y-%m-%dT%H:%M:%S%z")
        return {"candles": [list(row) for row in candles.with_columns(stamp).iter_rows()]}

    def _check_token(self, request: Request) -> None:
        word, _, pair = request.headers.get("authorization", "").partition(" ")
        api_key, _, access_token = pair.partition(":")
        if word != "token" or not self._state.accepts(api_key, access_token):
            raise Refusal(403, "TokenException", "Incorrect `api_key` or `access_token`.")


@lru_cache(maxsize=2)
def _tokens(dump: bytes) -> dict[str, int]:
    """Tokens of a dump by EXCHANGE:TRADINGSYMBOL, and by themselves as text."""
    found: dict[str, int] = {}
    for row in csv.DictReader(dump.decode().splitlines()):
        token = int(row["instrument_token"])
        found |= {f"{row['exchange']}:{row['tradingsymbol']}": token, str(token): token}
    return found


def _moment(text: str | None, name: str) -> datetime:
    """A time of India as Kite writes it, `yyyy-mm-dd hh:mm:ss` or a date."""
    try:
        return datetime.fromisoformat(text or "").replace(tzinfo=IST)
    except ValueError as error:
        raise Refusal(400, "InputException", f"invalid {name} date") from error


def _merged(minutes: pl.DataFrame, every: str) -> pl.DataFrame:
    """Candles of several minutes; those of a day are stamped at midnight. No volume is 0."""
    at = pl.col("at")
    if every != "1d":
        at = at.dt.offset_by(f"-{_OPENS_AT}").dt.truncate(every).dt.offset_by(_OPENS_AT)
    else:
        at = at.dt.truncate(every)
    return minutes.group_by(at, maintain_order=True).agg(
        pl.col("open").first(),
        pl.col("high").max(),
        pl.col("low").min(),
        pl.col("close").last(),
        pl.col("volume_units").sum(),
        pl.col("oi_units").last().fill_null(0),
    )
