"""Which of the day's instruments to collect, and how they are dealt to websockets.

Belongs here: the choice of contracts from the instrument dump, what to leave out when there are
more than the broker allows, and the file that keeps the choice. Does not belong here: reading
the dump (`optrade.formats.kite_instruments`), connecting and subscribing.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Final

import polars as pl

from optrade.contracts import expiry_buckets, fill_buckets
from optrade.errors import InputRefused
from optrade.formats.kite_instruments import INDEX_SEGMENT, KITE_INDICES, VIX

NEAREST_FUTURES: Final = 3
"""So many futures of each index are collected whatever the buckets: the forward needs them."""

SCHEMA: Final[Mapping[str, pl.DataType]] = {
    "instrument_token": pl.Int64(),
    "kind": pl.String(),
    "underlying": pl.String(),
    "expiry": pl.Date(),
    "strike": pl.Float64(),
    "option_type": pl.String(),
    "lot_size": pl.Int64(),
    "expiry_bucket": pl.String(),
    "bucket_alias": pl.Boolean(),
    "tradingsymbol": pl.String(),
    "exchange": pl.String(),
}
_OPTIONS = ("CE", "PE")
_BY_EXPIRY = ("underlying", "expiry")


@dataclass(frozen=True)
class LeftOut:
    """Contracts that were asked for and are not collected."""

    underlying: str
    contracts: int
    why: str


@dataclass(frozen=True)
class Subscription:
    """The chosen instruments, one row each, under the columns of `SCHEMA`.

    `kind` is `index`, `vix`, `future` or `option`; rows are in that order, then by underlying,
    expiry, strike and option type. `underlying` is INDIAVIX on India VIX. `expiry_bucket` and
    `bucket_alias` are as in `optrade.contracts.expiry_buckets`: null and false on what fills none.
    """

    frame: pl.DataFrame
    left_out: tuple[LeftOut, ...] = ()

    def sockets(self, count: int, per_socket: int) -> list[list[int]]:
        """The tokens of each of at most `count` websockets, dealt out one by one.

        So the busy strikes of each chain are spread, and no two sockets differ by more than one.
        Raises `ValueError` when they don't fit.
        """
        tokens = self.frame["instrument_token"].to_list()
        if len(tokens) > count * per_socket:
            raise ValueError(
                f"{len(tokens)} instruments do not fit on {count} sockets of {per_socket}; "
                f"choose at most {count * per_socket}."
            )
        return [tokens[start::count] for start in range(min(count, len(tokens)))]

    def to_json(self) -> str:
        """This subscription as text that `from_json` reads."""
        rows = self.frame.with_columns(pl.col("expiry").dt.to_string()).to_dicts()
        instruments = ",\n".join(json.dumps(row) for row in rows)
        left_out = json.dumps([asdict(item) for item in self.left_out])
        return f'{{"left_out": {left_out},\n"instruments": [\n{instruments}\n]}}\n'

    @classmethod
    def from_json(cls, text: str, name: str = "subscription.json") -> Subscription:
        """The subscription that was written; `name` is the file to blame.

        Raises `InputRefused` (`subscription`) for a text that is no whole subscription.
        """
        try:
            told = json.loads(text)
            rows = [[row[column] for column in SCHEMA] for row in told["instruments"]]
            frame = pl.DataFrame(rows, {**SCHEMA, "expiry": pl.String()}, orient="row")
            return cls(
                frame.with_columns(pl.col("expiry").str.to_date("%Y-%m-%d")),
                tuple(LeftOut(**item) for item in told["left_out"]),
            )
        except (ValueError, KeyError, TypeError, pl.exceptions.PolarsError) as error:
            raise InputRefused(
                file=name,
                found=f"{text[:60]!r} ({type(error).__name__}: {error})",
                expected="a subscription as the collector writes it",
                remedy="Restore the file from a backup; the collector writes a new one each day.",
                rule="subscription",
            ) from error


def choose(
    instruments: pl.DataFrame,
    spots: Mapping[str, float],
    *,
    underlyings: Sequence[str],
    buckets: Collection[str],
    width_pct: float,
    limit: int,
) -> Subscription:
    """What to collect of one day's `raw.instruments`, at most `limit` instruments.

    - the index of each underlying, and India VIX
    - futures that expire within `buckets`, and the nearest `NEAREST_FUTURES`
    - options of `buckets` (as listed options fill them) with a strike within `width_pct` percent
      of `spots` (points by underlying)

    Without a value above 0 in `spots` nobody knows where the money is: then every strike of that
    underlying is chosen. Over the limit the others get a narrower width, the same for all, and
    keep at least the nearest strike of each expiry. `left_out` tells what of the above is missing.

    Raises `InputRefused` (`limit`) when even that is too much, and `KeyError` for an underlying
    that is not one of `optrade.contracts.UNDERLYINGS`.
    """
    indices = _indices(instruments, underlyings)
    listed = _listed(instruments, underlyings, buckets)
    rank = pl.col("expiry").rank("dense").over("kind", "underlying")
    future, asked = pl.col("kind") == "future", pl.col("asked")
    futures = listed.filter(future & (asked | (rank <= NEAREST_FUTURES)))
    options = _with_distance(listed.filter(~future & asked), spots)
    near = options.filter(pl.col("distance_pct").fill_null(0.0) <= width_pct)
    kept = _fit(near, limit - indices.height - futures.height, limit)
    frame = pl.concat([part.select(*SCHEMA) for part in (indices, futures, kept)])
    left_out = [
        *_not_listed(listed, underlyings),
        *_not_near(options, near, width_pct),
        *_cut(near, kept, limit),
    ]
    return Subscription(frame, tuple(left_out))


def _indices(instruments: pl.DataFrame, underlyings: Sequence[str]) -> pl.DataFrame:
    """The index of each underlying and India VIX, from the dump or by Kite's permanent tokens."""
    in_dump = instruments.filter(pl.col("segment") == INDEX_SEGMENT)
    tokens = dict(in_dump.select("underlying", "instrument_token").iter_rows())
    chosen = [KITE_INDICES[symbol] for symbol in (*sorted(set(underlyings)), VIX)]
    rows = [
        {
            "instrument_token": tokens.get(index.symbol, index.token),
            "kind": "vix" if index.symbol == VIX else "index",
            "underlying": index.symbol,
            "bucket_alias": False,
            "tradingsymbol": index.tradingsymbol,
            "exchange": index.exchange,
        }
        for index in chosen
    ]
    return pl.DataFrame(rows, dict(SCHEMA))


def _listed(
    instruments: pl.DataFrame, underlyings: Sequence[str], buckets: Collection[str]
) -> pl.DataFrame:
    """Futures and options of the underlyings under `SCHEMA`, and whether the buckets ask for them.

    Buckets are those of the listed options, so that a label here is the label in the chain.
    """
    is_option = pl.col("instrument_type").is_in(_OPTIONS)
    contracts = instruments.filter(
        pl.col("underlying").is_in(list(underlyings))
        & (is_option | (pl.col("instrument_type") == "FUT"))
    ).with_columns(
        kind=pl.when(is_option).then(pl.lit("option")).otherwise(pl.lit("future")),
        option_type=pl.when(is_option).then("instrument_type"),
    )
    options = contracts.filter(is_option)
    asked = fill_buckets(options).filter(pl.col("expiry_bucket").is_in(list(buckets)))
    return (
        contracts.join(expiry_buckets(options).drop("trade_date"), on=_BY_EXPIRY, how="left")
        .join(
            asked.select(*_BY_EXPIRY, asked=pl.lit(value=True)).unique(), on=_BY_EXPIRY, how="left"
        )
        .with_columns(pl.col("bucket_alias", "asked").fill_null(value=False))
        .sort(*_BY_EXPIRY, "strike", "option_type", "instrument_token")
    )


def _with_distance(options: pl.DataFrame, spots: Mapping[str, float]) -> pl.DataFrame:
    """The options with `distance_pct` of spot, null where spot is not known."""
    known = {name: float(spot) for name, spot in spots.items() if math.isfinite(spot) and spot > 0}
    spot = pl.col("underlying").replace_strict(known, default=None, return_dtype=pl.Float64)
    return options.with_columns(spot=spot).with_columns(
        distance_pct=(pl.col("strike") - pl.col("spot")).abs() * 100 / pl.col("spot")
    )


def _fit(options: pl.DataFrame, room: int, limit: int) -> pl.DataFrame:
    """The options nearest to the money, whole strikes only, of which there is room for all."""
    if options.height <= room:
        return options
    distance = pl.col("distance_pct")
    always = (distance == distance.min().over(_BY_EXPIRY)) | distance.is_null()
    ranked = options.with_columns(width=pl.when(always).then(0.0).otherwise(distance))
    steps = ranked.group_by("width").len().sort("width").filter(pl.col("len").cum_sum() <= room)
    if steps.is_empty():
        blind = options.filter(distance.is_null())["underlying"].unique().sort()
        raise InputRefused(
            file="subscription",
            field="limit",
            found=f"{options.height} options and room for {max(room, 0)}"
            + (f"; all strikes of {', '.join(blind)}, whose spot is unknown" if len(blind) else ""),
            expected=f"at most {limit} instruments with indices, futures and the nearest strikes",
            remedy="Collect fewer underlyings or expiry buckets, or raise the number of sockets or "
            "of instruments on each.",
            rule="limit",
        )
    return ranked.filter(pl.col("width") <= steps["width"][-1])


def _not_listed(listed: pl.DataFrame, underlyings: Sequence[str]) -> list[LeftOut]:
    missing = sorted(set(underlyings) - set(listed["underlying"]))
    return [LeftOut(name, 0, "the dump lists no contract of it") for name in missing]


def _not_near(options: pl.DataFrame, near: pl.DataFrame, width_pct: float) -> list[LeftOut]:
    far = options.join(near, on="underlying", how="anti")
    return [
        LeftOut(name, count, f"no listed strike within {width_pct:g} % of spot {spot:g}")
        for name, spot, count in far.group_by("underlying", "spot").len().sort("underlying").rows()
    ]


def _cut(near: pl.DataFrame, kept: pl.DataFrame, limit: int) -> list[LeftOut]:
    cut = near.join(kept, on="instrument_token", how="anti").group_by("underlying").len()
    reach = kept.group_by("underlying").agg(pl.col("distance_pct").max())
    return [
        LeftOut(
            name,
            count,
            f"over the limit of {limit} instruments: collected within {pct:.2f} % of spot",
        )
        for name, count, pct in cut.join(reach, on="underlying").sort("underlying").rows()
    ]
