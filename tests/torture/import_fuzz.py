"""The door of files to import: tables as people save them, and what they become on the way. Nothing here needs a server.

The law: whatever the bytes are, every line is a change, is rejected for reasons that can be read, or the file is refused as a whole.
"""

import csv
import random
from collections.abc import Sequence
from io import BytesIO, StringIO, TextIOWrapper
from typing import Any, Final

from producers.portals.imports import (
    FIELDS,
    InputRow,
    LoadCounts,
    RowDefaults,
    RowLoader,
    check_values,
    detect_format,
    find_field,
    read_rows,
)
from producers.portals.imports.columns import ALIASES, INFO
from tests.torture.input_fuzz import EXAMPLES, legible, refused
from tests.torture.mutate import NASTY, garbled, written
from worker.contract import Change, from_message, to_message
from worker.errors import Fault, Invalid

CONSTANTS: Final = {"action": "create", "relationtype": "estate:address:buyer"}
NAMES: Final = (
    *FIELDS,
    *(alias for aliases in ALIASES.values() for alias in aliases),
    "Parent ID",
    "child\nid",
    "note",
    "",
    "sep=;",
)
CELLS: Final = (
    "1",
    "2 3",
    "1.234",
    "4;5",
    "create",
    "estate:address:buyer",
    "calendar:address",
    "gesendet",
    "",
    '"',
    '"6\n7"',
    "9" * 30,
)
ENCODINGS: Final = ("utf-8",) * 6 + ("utf-8-sig", "cp1252", "utf-16", "utf-16-le")
HABITS: Final[tuple[dict[str, Any], ...]] = (
    {"quoting": csv.QUOTE_ALL},
    {"lineterminator": "\n"},
    {"lineterminator": "\r"},
    {},
)


def tables(dice: random.Random) -> bool:
    """A file to import, with or without options: whether a line of it was taken."""
    raw = _table(dice)
    if dice.random() < 0.3:
        raw = garbled(raw, dice)
    items = list[Change]()
    return not refused(lambda: items.extend(_read(raw, dice))) and bool(items)


def _read(raw: bytes, dice: random.Random) -> list[Change]:
    """The changes, once every line is known to be accounted for."""
    file, mapping, constants = (
        BytesIO(raw),
        _options(dice),
        CONSTANTS if dice.random() < 0.8 else _constants(dice),
    )
    text = TextIOWrapper(file, encoding=detect_format(file).encoding, newline="")
    file.seek(0)
    rejected = list[InputRow]()

    def reject(row: InputRow, faults: Sequence[Fault]) -> None:
        legible(Invalid(faults))
        rejected.append(row)

    tally, given = LoadCounts(), RowDefaults("0" * 16, "acme", "a batch")
    items = [
        item
        for piece in RowLoader(given, reject, tally).parse(
            read_rows(text, mapping=mapping, constants=constants)
        )
        for item in piece
    ]
    told = [item.row.line for item in items] + [row.line for row in rejected]
    if len(set(told)) != len(told) or tally.rejected != sum(row.lines for row in rejected):
        raise AssertionError(f"lines are told twice, or not counted: {sorted(told)}")
    for change in (item.change for item in items):
        if from_message(to_message(change)).change != change:
            raise AssertionError(f"{change} is not what it was")
    return [item.change for item in items]


def _options(dice: random.Random) -> dict[str, str]:
    if dice.random() < 0.5:
        return {}
    return {dice.choice(NAMES): find_field(dice.choice(NAMES)) for _ in range(dice.randrange(3))}


def _constants(dice: random.Random) -> dict[str, str]:
    """Those that the command line lets pass."""
    constants = {dice.choice(FIELDS): _cell(dice) for _ in range(dice.randrange(4))}
    return {} if check_values(constants) else constants


def _table(dice: random.Random) -> bytes:
    """A table that may be read, or lines of JSON."""
    if dice.random() < 0.1:
        return b"\n".join(written(dice.choice(EXAMPLES), dice) for _ in range(3))
    lines = StringIO()
    names = (
        ["parentid", "childid", *dice.sample(NAMES, dice.randrange(3))]
        if dice.random() < 0.8
        else dice.sample(NAMES, 4)
    )
    writer = csv.writer(lines, delimiter=dice.choice(",;\t|"), **dice.choice(HABITS))
    writer.writerow(names)
    for _ in range(dice.randrange(5)):
        writer.writerow([_fitting(name, dice) for name in names] + [""] * dice.choice((0, 0, 0, 1, 3)))
    return lines.getvalue().encode(dice.choice(ENCODINGS), "replace")


def _fitting(name: str, dice: random.Random) -> Any:
    """A cell that may stand under this name; now and then one that may not."""
    if dice.random() < 0.2:
        return _cell(dice)
    return (
        str(dice.randrange(1, 10**6))
        if find_field(name) in ("parentid", "childid")
        else "gesendet"
        if find_field(name) in INFO
        else ""
    )


def _cell(dice: random.Random) -> str:
    return dice.choice(CELLS) if dice.random() < 0.7 else str(dice.choice(NASTY))
