"""Reads tables of public traces, plain or gzip; what is wrong is named by file, line and column."""

from __future__ import annotations

import csv
import gzip
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO


class TraceError(ValueError):
    """The trace is absent or not what it should be; the text says where."""


@dataclass(frozen=True, slots=True)
class Line:
    path: Path
    number_in_file: int
    cells: dict[str, str]

    def place(self, column: str) -> str:
        return f"{self.path.name} line {self.number_in_file}, {column}"

    def text(self, column: str) -> str:
        return (self.cells.get(column) or "").strip()

    def number(self, column: str) -> int:
        text = self.text(column)
        if not text.isascii() or not text.isdigit():
            raise TraceError(f"{self.place(column)}: must be a whole number of at least 0, not `{text}`")
        return int(text)

    def real(self, column: str) -> float:
        """Finite and at least 0."""
        text = self.text(column)
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not 0.0 <= value < math.inf:
            raise TraceError(f"{self.place(column)}: must be a number of at least 0, not `{text}`")
        return value


def lines(path: Path, columns: tuple[str, ...], most: int) -> Iterator[Line]:
    """One after another. TraceError where the file is absent, broken, without a column or too long."""
    at = 0
    try:
        with _opened(path) as file:
            reader = csv.DictReader(file)
            missing = [column for column in columns if column not in (reader.fieldnames or ())]
            if missing:
                raise TraceError(f"{path.name} line 1: no column {', '.join(missing)}")
            for cells in reader:
                at = reader.line_num
                if at > most:
                    raise TraceError(f"{path.name}: more than {most} lines")
                yield Line(path, at, cells)
    except FileNotFoundError as error:
        raise TraceError(f"{path}: there is no such file") from error
    except (OSError, EOFError, UnicodeDecodeError, csv.Error) as error:
        raise TraceError(f"{path} after line {at}: {error}") from error


def _opened(path: Path) -> TextIO:
    return gzip.open(path, "rt", newline="") if path.suffix == ".gz" else path.open(newline="")
