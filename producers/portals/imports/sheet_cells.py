"""Cells of a sheet as the library that reads spreadsheets does not tell them: failed ones, and far ones.

It calls cells empty whose formula has failed or was never worked out, and makes room for each cell between
the first and the last one.
"""

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import IO, Final, NamedTuple
from xml.etree import ElementTree
from xml.parsers import expat

from worker.contract.quoting import quote
from worker.errors import Fault, Invalid

BLOCK: Final = 2**20  # bytes
MAX_ROWS: Final = 2**20  # of a sheet, by every program
MAX_AREA: Final = 2**26  # cells that the library makes room for, in 2 GB
# What reading XML ends in that is none, is in no known encoding, or has other values than a sheet has.
NO_SHEET: Final = (ElementTree.ParseError, expat.ExpatError, LookupError, ValueError, RecursionError)
# What a spreadsheet shows for a failed formula, in the words of any language, or for a column too narrow.
SHEET_ERROR: Final = re.compile(
    r"#N/A|#NV|#GETTING_DATA|#DATEN_ABRUFEN|#[^\W\d_][\w/ ]{1,20}[!?]|#{3,}|(Err|Fehler):[0-9]{3}"
)
UNKNOWN_ERROR: Final = "#ERROR!"
NOT_CALCULATED: Final = "#NOT CALCULATED!"  # is shown for a formula without any result
# What a binary file has for each error; the names are those of an English Excel.
ERRORS: Final = {
    0x00: "#NULL!",
    0x07: "#DIV/0!",
    0x0F: "#VALUE!",
    0x17: "#REF!",
    0x1D: "#NAME?",
    0x24: "#NUM!",
    0x2A: "#N/A",
    0x2B: "#GETTING_DATA!",
}


ShownCells = dict[int, list[tuple[int, int, str]]]
"""What cells show that the library takes for empty, such as `#REF!`: by row, the first column, both from 0,
how many cells are alike, and the text."""


class Area(NamedTuple):
    """The first and the last row and column that are filled, from 1."""

    top: int
    left: int
    bottom: int
    right: int

    def __str__(self) -> str:
        return f"{name_column(self.left)}{self.top} to {name_column(self.right)}{self.bottom}"


def show_error(code: int) -> str:
    """Return what a cell with this error of a binary file shows."""
    return ERRORS.get(code, UNKNOWN_ERROR)


def measure(places: Iterable[tuple[int, int]], area: Area | None = None) -> Area | None:
    """Return the area of these rows and columns, from 1, and of another one; None if there are none."""
    for row, column in places:
        top, left, bottom, right = area or (row, column, row, column)
        if not (area and top <= row <= bottom and left <= column <= right):
            area = Area(min(top, row), min(left, column), max(bottom, row), max(right, column))
    return area


def is_too_large(area: Area | None) -> bool:
    """Return whether a cell lies so far out that there is no room for all that are between."""
    if area is None:
        return False
    return area.bottom > MAX_ROWS or (area.bottom - area.top + 1) * (area.right - area.left + 1) > MAX_AREA


def check_area(sheet: str, area: Area | None) -> None:
    """Raise Invalid if an area is too large."""
    if is_too_large(area):
        remedy = "delete the rows or columns that are far outside of the table, or save it as CSV UTF-8"
        raise Invalid([Fault("", f"the sheet {quote(sheet)} has cells from {area}; {remedy}")])


@contextmanager
def refuse_damaged(part: str) -> Iterator[None]:
    """Raise Invalid for a part that is no XML of a sheet: what the library makes of it, nobody can check."""
    try:
        yield
    except NO_SHEET as error:
        damage = f"{part} is no XML of a sheet ({error})"
        problem = f"the spreadsheet is damaged, {damage}; save it anew, or as CSV UTF-8"
        raise Invalid([Fault("", problem)]) from None


def read_blocks(part: IO[bytes]) -> Iterator[bytes]:
    """Yield the bytes of a part in large blocks: expat reads a tag anew with each in which it goes on."""
    return iter(partial(part.read, BLOCK), b"")


def name_column(number: int) -> str:
    """Return the letters of a column, which are counted from 1."""
    letters = ""
    while number:
        number, letter = divmod(number - 1, 26)
        letters = chr(ord("A") + letter) + letters
    return letters
