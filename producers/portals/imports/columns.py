"""The fields of a table, their names, and the message that the cells of a row make.

Which column holds which field is found out in `header`.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from producers.portals.imports.record_cells import explain_exponent, read_records, read_value
from producers.portals.imports.sheet_cells import NOT_CALCULATED, SHEET_ERROR, name_column
from worker.contract import resolve
from worker.contract.catalogue import INFO
from worker.contract.fields import find_faults
from worker.contract.quoting import quote
from worker.contract.reference import FIELD, MODULES
from worker.errors import Fault, NotFound

ALIASES: Final[Mapping[str, tuple[str, ...]]] = {  # as `normalize` returns them
    "account": ("konto",),
    "action": ("aktion", "verb", "operation"),
    "relationtype": ("type", "relation", "typ", "beziehung", "beziehungstyp"),
    "parentid": ("parent", "parents", "parentids"),
    "childid": ("child", "children", "childids"),
    "occurred_at": ("occurred", "time", "timestamp", "zeitpunkt"),
    "event_id": ("event",),
    "source": ("quelle",),
    "batch": ("label",),
    "allow_empty": (),
}
FIELDS: Final = (*ALIASES, *INFO)
FLAGS: Final = dict.fromkeys(("true", "1", "yes", "ja", "wahr"), True) | dict.fromkeys(
    ("false", "0", "no", "nein", "falsch"), False
)
SIDES: Final = ("parentid", "childid")
# Of a column whose cells are values of a record's field: its side, where the type alone does not say it.
REFERENCE_COLUMN: Final = re.compile(
    rf"(?:(?P<side>[^=]+?)\s*=\s*)?(?P<module>{'|'.join(MODULES)}):(?P<field>{FIELD})"
)
REQUIRED: Final = ("action", "relationtype", "parentid", "childid")
# What programs write for a cell without a value; in an optional field it is one.
GAPS: Final = frozenset(("nan", "NaN", "NULL", "null", "None", "<NA>", "NaT", r"\N"))
EITHER: Final = frozenset(("NA", "N/A", "n/a"))  # R's gap, or a label
NO_VALUES: Final = GAPS | EITHER
# Blanks, and what shows nothing: copies of web pages, mails and Windows dialogs leave it around a text.
INVISIBLE: Final = (
    "\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff"  # in a class of characters
)
BLANKS: Final = "".join(re.findall(rf"[\s{INVISIBLE}]", "".join(map(chr, (*range(0x3001), 0xFEFF)))))
INDEX_HINT: Final = "; if the first column only numbers the lines, --index leaves it out"


class ParsedCells(NamedTuple):
    """The message of a row, without the fields whose cells are wrong, and what is wrong.

    There is no message if the cells cannot be those of one row.
    """

    message: dict[str, Any] | None
    faults: Sequence[Fault] = ()


class TableLayout:
    """The field of each column, and the constants: values of fields that a row leaves empty.

    A column without a name is allowed as long as its cells are empty: spreadsheets write it where a cell was
    touched once. An index, the first column where it only numbers the lines, may say what it likes.
    """

    def __init__(
        self, names: Sequence[str], fields: Sequence[str], constants: Mapping[str, str], *, has_index: bool
    ) -> None:
        self._constants = constants
        self._fields = [(index, field) for index, field in enumerate(fields) if field]
        self._nameless = [
            index for index, name in enumerate(names) if not (name or (has_index and not index))
        ]
        self._width = len(names)
        self._min_width = max(number for number, name in enumerate(names, start=1) if name)

    def parse(self, cells: Sequence[str]) -> ParsedCells:
        """Return the message of a row, and what is wrong with its cells."""
        if len(cells) < self._min_width or any(cell.strip(BLANKS) for cell in cells[self._width :]):
            expected = f"expected {self._min_width} cells as in the header, got {len(cells)}"
            hint = INDEX_HINT if len(cells) == self._min_width + 1 else ""
            return ParsedCells(None, [Fault("", expected + hint)])
        values = {field: cell for index, field in self._fields if (cell := cells[index].strip())}
        if not "".join(values.values()).isascii():  # seldom, and slower
            values = {field: cell for field, text in values.items() if (cell := text.strip(BLANKS))}
        unclear = list[Fault]()
        if not NO_VALUES.isdisjoint(values.values()):  # hardly ever
            values = {field: cell for field, cell in values.items() if cell not in GAPS or field in REQUIRED}
            unclear = [_explain_either(field, cell) for field, cell in values.items() if cell in EITHER]
        if "#" in (joined := "".join(values.values())) or "Err:" in joined or "Fehler:" in joined:
            broken = {field: cell for field, cell in values.items() if SHEET_ERROR.fullmatch(cell)}
            unclear += [self._explain_error(field, cell) for field, cell in broken.items()]
            values = {field: cell for field, cell in values.items() if field not in broken}
        nameless = [
            _explain_nameless(index + 1, cells[index])
            for index in self._nameless
            if index < len(cells) and cells[index].strip(BLANKS)
        ]
        message, faults = build_message({**self._constants, **values})
        # A wrong cell with a line break most likely holds the next lines, after a quotation mark left open.
        spans_lines = any("\n" in values.get(fault.path, "") for fault in faults)
        return ParsedCells(None if spans_lines else message, [*nameless, *unclear, *faults])

    def _explain_error(self, field: str, cell: str) -> Fault:
        column = next(name_column(index + 1) for index, name in self._fields if name == field)
        side = field.partition("=")[0]
        if cell == NOT_CALCULATED:
            how = f"has a formula that no program has worked out, {quote(cell)}"
            return Fault(side, f"column {column} {how}; open the file in a spreadsheet and save it")
        return Fault(side, f"column {column} shows an error of the spreadsheet, {quote(cell)}; mend it there")


def _explain_nameless(number: int, cell: str) -> Fault:
    hint = INDEX_HINT if number == 1 else ""
    return Fault(
        "", f"column {number} has no name in the header, but this line says {quote(cell)} in it{hint}"
    )


def _explain_either(field: str, cell: str) -> Fault:
    return Fault(field, f"{quote(cell)} may be a value or stand for none; leave the cell empty if it does")


def normalize(name: str) -> str:
    """Return a column's name as it compares: in lower case, without `_`, `.`, `-` and what shows nothing."""
    return re.sub(rf"[\s{INVISIBLE}_.-]", "", name).lower()


FIELD_BY_NAME: Final[dict[str, str]] = {normalize(field): field for field in FIELDS} | {
    alias: field for field, aliases in ALIASES.items() for alias in aliases
}


def find_field(name: str) -> str:
    """Return the field of this name or alias; empty if there is none.

    A field of a record whose values the cells are is such as `address:email`, or with the side that it is on,
    `childid=address:email`.
    """
    if (column := REFERENCE_COLUMN.fullmatch(name.strip())) is None:
        return FIELD_BY_NAME.get(normalize(name), "")
    side = FIELD_BY_NAME.get(normalize(column["side"] or ""), "")
    if column["side"] and side not in SIDES:
        return ""
    return f"{side}={column['module']}:{column['field']}".removeprefix("=")


def names_records(field: str) -> bool:
    """Return whether the cells of a column are values of a record's field."""
    return ":" in field


def build_message(values: Mapping[str, str]) -> ParsedCells:
    """Return the message of these texts by field, and what is wrong with its records."""
    references, faults = _build_references(values)
    message: dict[str, Any] = {
        field: text for field, text in values.items() if field not in INFO and not names_records(field)
    }
    if info := {field: values[field] for field in INFO if field in values}:
        message["relationinfo"] = info
    if "action" in values:
        message["action"] = values["action"].lower()
    if "allow_empty" in values:
        message["allow_empty"] = FLAGS.get(values["allow_empty"].lower(), values["allow_empty"])
    for side in SIDES:
        records, wrong = _build_side(message.pop(side, ""), side, references.get(side))
        faults += wrong
        if records is not None:
            message[side] = records
    return ParsedCells(message, faults)


def _build_side(text: str, side: str, reference: Any) -> tuple[Any, list[Fault]]:
    """Return the records of a side, by the cell of its column or else by those of a record's fields."""
    if not text:
        return reference, []
    if reference:
        return None, [Fault(side, "is named by this column and by a field of it; leave one of them empty")]
    records, faults = read_records(text, side)
    if faults:
        return None, faults
    return records[0] if len(records) == 1 else records, []


def _build_references(values: Mapping[str, str]) -> tuple[dict[str, Any], list[Fault]]:
    """Return the references that cells make by side; several fields of one side are one record's."""
    references, faults = dict[str, Any](), list[Fault]()
    for column in filter(names_records, values):
        side, _, name = column.rpartition("=")
        module, _, field = name.partition(":")
        side, text = side or _find_side(values.get("relationtype", ""), module), values[column]
        record = references.get(side, {module: {}})
        if fault := _find_reference_fault(side, name, text, is_same=module in record):
            faults.append(fault)
        else:
            references.setdefault(side, record)[module][field] = read_value(text)
    return references, faults


def _find_reference_fault(side: str, name: str, text: str, *, is_same: bool) -> Fault | None:
    """Return what is wrong with a cell of a record's field, beside fields of the same module or not."""
    if not side:
        return Fault("", f"say which side {name} is on: childid={name}, or parentid={name}")
    if hint := explain_exponent(text):
        return Fault(side, f"expected a text, got {quote(text)}{hint}")
    return None if is_same else Fault(side, "is named by fields of an estate and of an address")


def _find_side(relationtype: str, module: str) -> str:
    """Return the side on which a relation type has the module; empty if on both, or if it is no type."""
    try:
        known, is_swapped, _ = resolve(relationtype)
    except NotFound:
        return ""
    modules = (known.child, known.parent) if is_swapped else (known.parent, known.child)
    return SIDES[modules.index(module)] if modules.count(module) == 1 else ""


def check_values(values: Mapping[str, str]) -> list[Fault]:
    """Return what is wrong with each of these texts by itself, whatever the other fields of a row may be."""
    whole = {name: text for name, text in values.items() if not names_records(name) or "=" in name}
    message, faults = build_message(whole)  # without what only a row's type says the side of
    missing = [Fault(side, "is required") for side in ("parentid", "childid") if values.get(side) == ""]
    return [*faults, *missing, *find_faults(message, incomplete=True)]
