"""A fuzzer of files to import: tables as people save them, damaged. It needs no server.

Every line must become a change or be rejected for legible reasons, or the whole file must be refused.
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
    TableOptions,
    check_values,
    detect_format,
    find_field,
    read_rows,
)
from producers.portals.imports.columns import ALIASES, INFO
from tests.torture.input_fuzz import EXAMPLES, check_legible, is_refused
from tests.torture.mutate import NASTY, encode, garble
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
CSV_DIALECTS: Final[tuple[dict[str, Any], ...]] = (
    {"quoting": csv.QUOTE_ALL},
    {"lineterminator": "\n"},
    {"lineterminator": "\r"},
    {},
)


def fuzz_tables(rng: random.Random) -> bool:
    """Import a file, with or without options; return whether a line of it was accepted."""
    raw = _table(rng)
    if rng.random() < 0.3:
        raw = garble(raw, rng)
    changes = list[Change]()
    return not is_refused(lambda: changes.extend(_read(raw, rng))) and bool(changes)


def _read(raw: bytes, rng: random.Random) -> list[Change]:
    """Return the changes; raise unless every line is accounted for once."""
    file, mapping = BytesIO(raw), _options(rng)
    constants = CONSTANTS if rng.random() < 0.8 else _constants(rng)
    text = TextIOWrapper(file, encoding=detect_format(file).encoding, newline="")
    file.seek(0)
    rejected = list[InputRow]()

    def reject(row: InputRow, faults: Sequence[Fault]) -> None:
        check_legible(Invalid(faults))
        rejected.append(row)

    counts, defaults = LoadCounts(), RowDefaults("0" * 16, "acme", "a batch")
    items = [
        item
        for piece in RowLoader(defaults, reject, counts).parse(
            read_rows(text, TableOptions(mapping, constants))
        )
        for item in piece
    ]
    keys = [item.row.key for item in items]
    if len(set(keys)) != len(keys) or counts.rejected != sum(row.lines for row in rejected):
        raise AssertionError(f"rows are sent twice, or rejected ones not counted: {sorted(keys)}")
    for change in (item.change for item in items):
        if from_message(to_message(change)).change != change:
            raise AssertionError(f"{change} changed when it was written and read")
    return [item.change for item in items]


def _options(rng: random.Random) -> dict[str, str]:
    if rng.random() < 0.5:
        return {}
    return {rng.choice(NAMES): find_field(rng.choice(NAMES)) for _ in range(rng.randrange(3))}


def _constants(rng: random.Random) -> dict[str, str]:
    """Return constants that the command line accepts."""
    constants = {rng.choice(FIELDS): _cell(rng) for _ in range(rng.randrange(4))}
    return {} if check_values(constants) else constants


def _table(rng: random.Random) -> bytes:
    """Return a table that may be readable, or lines of JSON."""
    if rng.random() < 0.1:
        return b"\n".join(encode(rng.choice(EXAMPLES), rng) for _ in range(3))
    lines = StringIO()
    names = (
        ["parentid", "childid", *rng.sample(NAMES, rng.randrange(3))]
        if rng.random() < 0.8
        else rng.sample(NAMES, 4)
    )
    writer = csv.writer(lines, delimiter=rng.choice(",;\t|"), **rng.choice(CSV_DIALECTS))
    writer.writerow(names)
    for _ in range(rng.randrange(5)):
        writer.writerow([_cell_of(name, rng) for name in names] + [""] * rng.choice((0, 0, 0, 1, 3)))
    return lines.getvalue().encode(rng.choice(ENCODINGS), "replace")


def _cell_of(name: str, rng: random.Random) -> Any:
    """Return a valid cell for this column; now and then an invalid one."""
    if rng.random() < 0.2:
        return _cell(rng)
    if find_field(name) in ("parentid", "childid"):
        return str(rng.randrange(1, 10**6))
    return "gesendet" if find_field(name) in INFO else ""


def _cell(rng: random.Random) -> str:
    return rng.choice(CELLS) if rng.random() < 0.7 else str(rng.choice(NASTY))
