"""Altering files that an exchange has published: the faults that are planted in them.

Belongs here: changing lines, cells and bytes of a published file in its place. Does not belong
here: which faults there are and what is expected of them (see the tests beside this).
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import polars as pl

Lines = list[str]


def rewrite(path: Path, edit: Callable[[Lines], Lines]) -> None:
    """Change the lines of a published text file, inside its zip where it has one."""
    if path.suffix != ".zip":
        lines = edit(path.read_text(encoding="utf-8").splitlines())
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return
    with zipfile.ZipFile(path) as archive:
        (name,) = archive.namelist()
        lines = edit(archive.read(name).decode().splitlines())
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, "\n".join(lines) + "\n")
    path.write_bytes(buffer.getvalue())


def recast(path: Path, change: Callable[[pl.DataFrame], pl.DataFrame], header: int = 0) -> None:
    """Change a published file as a table of texts, below its `header` lines of title."""

    def edit(lines: Lines) -> Lines:
        table = "\n".join(lines[header:]).encode()
        frame = pl.read_csv(table, infer_schema=False).fill_null("")
        return [*lines[:header], *change(frame).write_csv().splitlines()]

    rewrite(path, edit)


def times(column: str, factor: float, where: pl.Expr | bool = True, digits: int = 0) -> pl.Expr:
    """A column of texts with its numbers multiplied where it holds."""
    number = (pl.col(column).cast(pl.Float64, strict=False) * factor).round(digits)
    text = number.cast(pl.Int64).cast(pl.String) if digits == 0 else number.cast(pl.String)
    return pl.when(where & (pl.col(column) != "")).then(text).otherwise(column).alias(column)


def put(column: str, text: str, where: pl.Expr | bool = True) -> pl.Expr:
    """A column of texts with another text where it holds."""
    return pl.when(where).then(pl.lit(text)).otherwise(column).alias(column)


def exchanged(one: str, other: str, where: pl.Expr | bool = True) -> Sequence[pl.Expr]:
    """Two columns whose texts change places where it holds."""
    return [
        pl.when(where).then(other).otherwise(one).alias(one),
        pl.when(where).then(one).otherwise(other).alias(other),
    ]
