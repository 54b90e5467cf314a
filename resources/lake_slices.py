"""What may be stored in the lake, and in which form: slices, their checks, names and bytes.

Belongs here: the contract a slice must keep, turning frames into bytes, names that tell their
content, and what a commit plans and did. Does not belong here: where files lie and how they
become durable (see `lake_files`), transactions and queries (see `lake`).
"""

from __future__ import annotations

import hashlib
import re
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import Any, Literal

import polars as pl

from optrade.tables import Table
from resources.parquet_layout import Codec, encode_parquet

Market = Literal["real", "simulated"]
CATALOG = "lake"
HASH_CHARS = 32
_ARCHIVED = re.compile(rf"\.([0-9a-f]{{{HASH_CHARS}}})$")
_SOURCES: dict[Market, frozenset[str]] = {
    "real": frozenset({"exchange", "kite"}),
    "simulated": frozenset({"simulated"}),
}


Part = str | datetime
"""A part of a date: a segment's name, or the start of a minute (timezone-aware)."""


class LakeError(RuntimeError):
    """The lake cannot do what was asked; the message says what to do next."""


class SliceRefused(ValueError):
    """A frame that must not be committed: the lake is untouched."""


@dataclass(frozen=True)
class ParquetFormat:
    """How slices are written: codec, level and rows in a row group."""

    compression_level: int = 3
    row_group_rows: int = 131_072
    codec: Codec = "zstd"


@dataclass(frozen=True)
class EncodedSlice:
    """One date of one table, or one part of it, as Parquet bytes named by their SHA-256.

    An `archived` one has other bytes of the same rows, and keeps the hash: it is the same content.
    """

    day: date
    rows: int
    content: bytes
    sha256: str
    part: Part | None = None
    archived: bool = False


@dataclass(frozen=True)
class Slice:
    """What the rows of `dates` of one table shall be from now on.

    `frame` holds the rows of all those dates. A date without rows is refused unless
    `empties_dates` says that emptying it is meant.

    With `parts` only those parts of one date are replaced (values of the table's part column);
    the rest of the date stays. A part without rows is emptied.
    """

    table: Table
    dates: tuple[date, ...]
    frame: pl.DataFrame
    empties_dates: bool = False
    parts: tuple[Part, ...] | None = None


@dataclass(frozen=True)
class SliceResult:
    """What a commit did to one date of one table."""

    rows: int
    sha256: str | None
    changed: bool


@dataclass(frozen=True)
class CommitResult:
    """What a commit did; not `changed` when all content was already there."""

    slices: Mapping[str, Mapping[date, SliceResult]]
    changed: bool


@dataclass
class Plan:
    """One table's share of a commit: what stays, what is new, what empties.

    `parts` as in the slice; `others` are the hashes of the date's files that such a commit
    leaves alone.
    """

    table: Table
    kept: list[EncodedSlice]
    new: list[EncodedSlice]
    gone: list[date]
    dates: tuple[date, ...] = ()
    parts: tuple[Part, ...] | None = None
    emptied: list[Part] = field(default_factory=list)
    others: Sequence[str] = ()
    paths: list[str] = field(default_factory=list)

    @property
    def changes(self) -> bool:
        """Whether there is anything to do."""
        return bool(self.new or self.gone or self.emptied)

    @property
    def replaced(self) -> str:
        """The SQL condition of the rows that give way."""
        if self.parts is None:
            return on_dates([part.day for part in self.new] + self.gone)
        values = [e.part for e in self.new if e.part is not None] + self.emptied
        return f"{on_dates(self.dates)} AND {self.table.part} IN ({', '.join(map(_sql, values))})"

    def results(self) -> dict[date, SliceResult]:
        """What the commit does to each date it changes or finds in place."""
        if self.parts is not None:
            return self._result_of_parts()
        results = {e.day: SliceResult(e.rows, e.sha256, changed=False) for e in self.kept}
        results |= {e.day: SliceResult(e.rows, e.sha256, changed=True) for e in self.new}
        results |= {day: SliceResult(0, None, changed=True) for day in self.gone}
        return dict(sorted(results.items()))

    def _result_of_parts(self) -> dict[date, SliceResult]:
        """The one date's: rows of the parts, and a hash over the hashes of all its files."""
        written = [*self.kept, *self.new]
        if not written:
            return {}
        hashes = sorted([*self.others, *(e.sha256[:HASH_CHARS] for e in written)])
        whole = hashlib.sha256("\n".join(hashes).encode()).hexdigest()
        rows = sum(e.rows for e in written)
        return {written[0].day: SliceResult(rows, whole, changed=self.changes)}

    def story(self) -> dict[str, dict[str, Any]]:
        """The changed dates' row counts and hashes, for the commit message."""
        return {
            str(day): {"rows": result.rows, "sha256": result.sha256}
            | ({"parts": [slug(part) for part in self.parts]} if self.parts else {})
            for day, result in self.results().items()
            if result.changed
        }


def on_dates(dates: Iterable[date]) -> str:
    """The condition that picks dates, spelt out so that other dates' files are not opened."""
    listed = ", ".join(f"DATE '{day.isoformat()}'" for day in sorted(set(dates)))
    return f"trade_date IN ({listed})" if listed else "false"


def _sql(part: Part) -> str:
    if isinstance(part, datetime):
        return f"TIMESTAMPTZ '{part.isoformat()}'"
    return "'" + part.replace("'", "''") + "'"


def slug(part: Part) -> str:
    """A part as it stands in a file's name: `0915` of a minute, a segment's name as it is."""
    return part if isinstance(part, str) else f"{part:%H%M%S}"


def checked(part: Slice, market: Market) -> pl.DataFrame:
    """The slice's rows in their table's order, or `SliceRefused` saying what is wrong.

    Checks what the catalog does not: columns by name and type, rows inside the dates, no empty
    date unless meant, no duplicate key, and sources that belong to this market.
    """
    table, frame = part.table, part.frame
    where = table.full_name
    if part.dates:
        where += f" {min(part.dates)}..{max(part.dates)}"
    if dict(frame.schema) != table.schema:
        found = {n: str(t) for n, t in frame.schema.items() if table.schema.get(n) != t}
        missing = [n for n in table.schema if n not in frame.schema]
        raise SliceRefused(
            f"{where}: found columns {found} that are not declared so, and {missing} missing; "
            "expected exactly the table's columns and types. Use Table.conform()."
        )
    _check_dates(where, part)
    doubled = frame.filter(frame.select(table.key).is_duplicated())
    if doubled.height:
        sample = tuple(str(value) for value in doubled.select(table.key).row(0))
        raise SliceRefused(
            f"{where}: found {doubled.height} rows that share a key, such as {sample}; expected "
            f"one row per {', '.join(table.key)}."
        )
    if "source" in table.schema:
        foreign = sorted(map(str, set(frame["source"].unique()) - _SOURCES[market]))
        if foreign:
            raise SliceRefused(
                f"{where}: found rows whose source is {foreign}; a {market} lake accepts only "
                f"{sorted(_SOURCES[market])}. Real and simulated data never share a lake."
            )
    return canonical(table, frame)


def _check_dates(where: str, part: Slice) -> None:
    days = set(part.frame["trade_date"].unique())
    if outside := sorted(map(str, days - set(part.dates))):
        raise SliceRefused(
            f"{where}: found rows of {', '.join(outside[:3])}; expected only the slice's dates."
        )
    if part.parts is not None:
        _check_parts(where, part)
        return
    missing = sorted(map(str, set(part.dates) - days))
    if missing and not part.empties_dates:
        raise SliceRefused(
            f"{where}: found no rows for {', '.join(missing[:3])}; expected some. Leave the date "
            "out, or say that emptying it is meant."
        )


def _check_parts(where: str, part: Slice) -> None:
    column = part.table.part
    if column is None or len(part.dates) != 1:
        raise SliceRefused(
            f"{where}: found parts {part.parts}; expected them for one date of a table that has a "
            "part column. Replace whole dates."
        )
    if strange := set(part.frame[column].unique()) - set(part.parts or ()):
        raise SliceRefused(
            f"{where}: found rows whose {column} is {sorted(map(str, strange))[:3]}; expected only "
            "the slice's parts."
        )


def canonical(table: Table, frame: pl.DataFrame) -> pl.DataFrame:
    """The same rows in the one order they are stored in, whatever order they came in."""
    rest = [n for n in (*table.key, *table.schema) if n not in table.order]
    order = list(dict.fromkeys([*table.order, *rest]))
    return frame.select(list(table.schema)).sort(order, maintain_order=True).rechunk()


def encode(
    table: Table, day: date, frame: pl.DataFrame, style: ParquetFormat, part: Part | None = None
) -> EncodedSlice:
    """Encode one date's rows; the same rows in the same order give the same bytes and hash."""
    try:
        content = encode_parquet(
            table, frame, style.compression_level, style.row_group_rows, style.codec
        )
    except ValueError as error:
        raise SliceRefused(str(error)) from error
    return EncodedSlice(day, frame.height, content, hashlib.sha256(content).hexdigest(), part)


def slice_path(data: Path, table: Table, encoded: EncodedSlice) -> Path:
    """A fresh path for a slice: `<group>/<table>/trade_date=D/<hash>-<unique>.parquet`.

    The name carries the content's hash, so that equal content is seen without opening a file,
    and something unique, so that no name is ever used twice; `-<part>` follows where the file
    holds only a part of its date, and `.<hash of these bytes>` in the archive tier.
    """
    folder = data / table.group / table.name / f"trade_date={encoded.day.isoformat()}"
    tail = "" if encoded.part is None else f"-{slug(encoded.part)}"
    if encoded.archived:
        tail += f".{hashlib.sha256(encoded.content).hexdigest()[:HASH_CHARS]}"
    return folder / f"{encoded.sha256[:HASH_CHARS]}-{uuid.uuid4().hex[:8]}{tail}.parquet"


def content_hash(path: str) -> str:
    """The hash part of a slice's file name (the whole stem of a foreign file)."""
    return _stem(path).split("-")[0]


def bytes_hash(path: str) -> str:
    """The start of the SHA-256 of a data file's own bytes, as its name tells it."""
    archived = _ARCHIVED.search(_stem(path))
    return archived[1] if archived else content_hash(path)


def part_of(path: str) -> str | None:
    """The slug of the part that the file at `path` holds; None of a file of a whole date."""
    pieces = _ARCHIVED.sub("", _stem(path)).split("-", 2)
    return pieces[2] if len(pieces) == 3 and len(pieces[0]) == HASH_CHARS else None


def is_archived(path: str) -> bool:
    """Whether the file at `path` is of the archive tier."""
    return _ARCHIVED.search(_stem(path)) is not None


def _stem(path: str) -> str:
    return re.split(r"[/\\]", path)[-1].removesuffix(".parquet")


def same_content(path: str, encoded: EncodedSlice) -> bool:
    """Whether the file at `path` was written from the same content."""
    return content_hash(path) == encoded.sha256[:HASH_CHARS]


def day_of(path: str) -> date:
    """The date whose rows the file at `path` holds; `LakeError` when its name tells none."""
    found = re.search(r"[/\\]trade_date=(\d{4}-\d\d-\d\d)[/\\]", path)
    if found is None:
        raise LakeError(
            f"{path}: found no trade_date=YYYY-MM-DD folder in the path of a data file; expected "
            "one. Something other than optrade wrote to the lake: restore it from a backup."
        )
    return date.fromisoformat(found[1])
