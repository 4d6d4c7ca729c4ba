"""The fields of a table, their names, and the message that the cells of a row make.

Which column holds which field is found out in `header`.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from worker.contract import resolve
from worker.contract.catalogue import INFO
from worker.contract.fields import find_faults
from worker.contract.quoting import quote
from worker.contract.reference import (
    FIELD,
    MODULES,
    find_reference_faults,
    is_short_form,
    split_records,
)
from worker.errors import Fault, NotFound

MAX_ID_DIGITS: Final = 20  # that are read; the greatest id that is accepted has 16
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
FLAGS: Final = {"true": True, "1": True, "yes": True, "ja": True} | {
    "false": False,
    "0": False,
    "no": False,
    "nein": False,
}
SIDES: Final = ("parentid", "childid")
# Of a column whose cells are values of a record's field: its side, where the type alone does not say it.
REFERENCE_COLUMN: Final = re.compile(
    rf"(?:(?P<side>[^=]+?)\s*=\s*)?(?P<module>{'|'.join(MODULES)}):(?P<field>{FIELD})"
)
REQUIRED: Final = ("action", "relationtype", "parentid", "childid")
# What programs write for a cell without a value; in an optional field it is one.
GAPS: Final = frozenset(("nan", "NaN", "NULL", "null", "None", "<NA>", "NaT", r"\N", "#N/A"))
EITHER: Final = frozenset(("NA", "N/A", "n/a"))  # R's gap, or a label
NO_VALUES: Final = GAPS | EITHER
GROUPED: Final = re.compile(r"[0-9]{1,3}([.,'’][0-9]{3})+([.,]0+)?")  # by marks that group thousands
INDEX_HINT: Final = "; if the first column only numbers the lines, --index leaves it out"
DECIMALS: Final = re.compile(r"[0-9]{1,3}[.,]000")  # a whole number, or a group of thousands
WHOLE: Final = re.compile(rf"[0-9]{{1,{MAX_ID_DIGITS}}}[.,](0|00|0{{4,{MAX_ID_DIGITS}}})")
# Digits that a program marked as text, so that a spreadsheet leaves them as they are.
MARKED_AS_TEXT: Final = re.compile(rf"""="([0-9]{{1,{MAX_ID_DIGITS}}})"|'([0-9]{{1,{MAX_ID_DIGITS}}})""")
EXPONENT: Final = re.compile(r"[0-9]+([.,][0-9]+)?[Ee][+-]?[0-9]+")
MAX_GROUPS: Final = 5  # that a fault shows
# Blanks that no keyboard writes, but spreadsheets and web pages do: they group digits and separate no ids.
NO_SEPARATORS: Final = (
    "\u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u3000"
)
GROUPED_BY_BLANKS: Final = re.compile(
    rf"(?<![0-9])(?<![0-9][.])[0-9]{{1,3}}(?:[ {NO_SEPARATORS}][0-9]{{3}})+(?![0-9])"
)
SEPARATORS: Final = re.compile(r"[ \t\r\n,;|]+")


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
        if len(cells) < self._min_width or any(map(str.strip, cells[self._width :])):
            expected = f"expected {self._min_width} cells as in the header, got {len(cells)}"
            hint = INDEX_HINT if len(cells) == self._min_width + 1 else ""
            return ParsedCells(None, [Fault("", expected + hint)])
        values = {field: cell for index, field in self._fields if (cell := cells[index].strip())}
        unclear = list[Fault]()
        if not NO_VALUES.isdisjoint(values.values()):  # hardly ever
            values = {field: cell for field, cell in values.items() if cell not in GAPS or field in REQUIRED}
            unclear = [_explain_either(field, cell) for field, cell in values.items() if cell in EITHER]
        nameless = [
            _explain_nameless(index + 1, cells[index])
            for index in self._nameless
            if index < len(cells) and cells[index].strip()
        ]
        message, faults = build_message({**self._constants, **values})
        # A wrong cell with a line break most likely holds the next lines, after a quotation mark left open.
        spans_lines = any("\n" in values.get(fault.path, "") for fault in faults)
        return ParsedCells(None if spans_lines else message, [*nameless, *unclear, *faults])


def normalize(name: str) -> str:
    """Return a column's name as it is compared: in lower case, without blanks, `_`, `.` and `-`."""
    return re.sub(r"[\s_.-]", "", name).lower()


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
    references, mistaken = _build_references(values)
    message: dict[str, Any] = {
        field: text for field, text in values.items() if field not in INFO and not names_records(field)
    }
    if info := {field: values[field] for field in INFO if field in values}:
        message["relationinfo"] = info
    if "action" in values:
        message["action"] = values["action"].lower()
    if "allow_empty" in values:
        message["allow_empty"] = FLAGS.get(values["allow_empty"].lower(), values["allow_empty"])
    faults = mistaken
    for side in SIDES:
        text = message.pop(side, "")
        if text and side in references:
            faults.append(
                Fault(side, "is named by this column and by a field of it; leave one of them empty")
            )
        elif wrong := list(_check_records(text, side)):
            faults += wrong
        elif text:
            records = _read_records(text)
            message[side] = records[0] if len(records) == 1 else records
        elif side in references:
            message[side] = references[side]
    return ParsedCells(message, faults)


def _build_references(values: Mapping[str, str]) -> tuple[dict[str, Any], list[Fault]]:
    """Return the references that cells make by side; several fields of one side are one record's."""
    references, faults = dict[str, Any](), list[Fault]()
    for column in filter(names_records, values):
        side, _, name = column.rpartition("=")
        module, _, field = name.partition(":")
        if not side and not (side := _find_side(values.get("relationtype", ""), module)):
            faults.append(Fault("", f"say which side {name} is on: childid={name}, or parentid={name}"))
        elif EXPONENT.fullmatch(values[column]):
            faults.append(Fault(side, f"expected a text, got {quote(values[column])}{_hint(values[column])}"))
        elif set(references.setdefault(side, {module: {}})) != {module}:
            faults.append(Fault(side, "is named by fields of an estate and of an address"))
        else:
            references[side][module][field] = _without_mark(values[column])
    return references, faults


def _find_side(relationtype: str, module: str) -> str:
    """Return the side on which a relation type has the module; empty if on both, or if it is no type."""
    try:
        known, is_swapped, _ = resolve(relationtype)
    except NotFound:
        return ""
    modules = (known.child, known.parent) if is_swapped else (known.parent, known.child)
    return SIDES[modules.index(module)] if modules.count(module) == 1 else ""


def _without_mark(text: str) -> str:
    marked = MARKED_AS_TEXT.fullmatch(text)
    return (marked[1] or marked[2]) if marked else text


def check_values(values: Mapping[str, str]) -> list[Fault]:
    """Return what is wrong with each of these texts by itself, whatever the other fields of a row may be."""
    whole = {name: text for name, text in values.items() if not names_records(name) or "=" in name}
    message, faults = build_message(whole)  # without what only a row's type says the side of
    missing = [Fault(side, "is required") for side in ("parentid", "childid") if values.get(side) == ""]
    return [*faults, *missing, *find_faults(message, incomplete=True)]


# --- the cells


def _explain_nameless(number: int, cell: str) -> Fault:
    hint = INDEX_HINT if number == 1 else ""
    return Fault(
        "", f"column {number} has no name in the header, but this line says {quote(cell)} in it{hint}"
    )


def _explain_either(field: str, cell: str) -> Fault:
    return Fault(field, f"{quote(cell)} may be a value or stand for none; leave the cell empty if it does")


def _check_records(text: str, side: str) -> Iterator[Fault]:
    """Find what keeps a cell from naming one or several records, by ids or by references."""
    if text.isdecimal() or not any(map(is_short_form, pieces := split_records(text))):
        yield from _check_ids(text, side)
        return
    for piece in pieces:
        yield from find_reference_faults(piece, side) if is_short_form(piece) else _check_ids(piece, side)


def _read_records(text: str) -> list[int | str]:
    """Return the ids and references of a cell without faults."""
    if text.isdecimal() or not any(map(is_short_form, pieces := split_records(text))):
        return [*_read_ids(text)]
    records = list[int | str]()
    for piece in pieces:
        records += [piece] if is_short_form(piece) else _read_ids(piece)
    return records


def _check_ids(text: str, side: str) -> Iterator[Fault]:
    """Find what keeps a cell from being one or several ids: each word that is not one."""
    if not text or _read_id(text) is not None:  # nearly always
        return
    if DECIMALS.fullmatch(text):
        either = f"the id {text[:-4]} or the id {_join_groups(text)}"
        yield Fault(side, f"{quote(text)} may be {either}; write it in digits alone")
    elif GROUPED.fullmatch(text):
        hint = f"write a number without thousands separators, {_join_groups(text)}"
        several = "; separate several ids by bars" if "," in text else ""
        yield Fault(side, f"expected an id, got {quote(text)}: {hint}{several}")
    elif grouped := GROUPED_BY_BLANKS.search(text):
        yield Fault(side, _explain_grouped(grouped[0]))
    elif "\n" in text and re.search(r"[,;|\t]", text):  # more likely the next line's cells than ids
        yield Fault(side, f"expected ids, got several lines, {quote(text)}")
    else:
        words = [text] if EXPONENT.fullmatch(text) else _split_ids(text)
        wrong = (word for word in words if _read_id(word) is None)
        yield from (
            Fault(side, f"expected an id, a positive whole number, got {quote(word)}{_hint(word)}")
            for word in wrong
        )


def _hint(word: str) -> str:
    if not EXPONENT.fullmatch(word):
        return ""
    return "; its digits are lost: in the spreadsheet, format the column as a number without decimals"


def _explain_grouped(text: str) -> str:
    """Explain digits, a blank and three digits: one number or, with an ordinary blank, several."""
    number, groups = _join_groups(text), text.split()
    if any(char in text for char in NO_SEPARATORS):
        return f"expected an id, got {quote(text)}: write a number without thousands separators, {number}"
    ids = groups if len(groups) <= MAX_GROUPS else [*groups[:MAX_GROUPS], "…"]
    either = f"the id {number} or the ids {', '.join(ids)}"
    return f"{quote(text)} may be {either}; write {number} or {'|'.join(ids)}"


def _join_groups(text: str) -> str:
    return re.sub(r"[^0-9]", "", re.sub(r"[.,]0{1,2}$", "", text))[:MAX_ID_DIGITS]


def _read_ids(text: str) -> list[int]:
    """Return the ids of a cell without faults."""
    number = _read_id(text)
    words = [text] if number is not None else _split_ids(text)
    return [id_ for word in words if (id_ := _read_id(word)) is not None]


def _read_id(word: str) -> int | None:
    """Return the id that a word writes, if it does: `501`, or `501,0` and `="501"` as programs have it."""
    if word.isdecimal() and word.isascii() and len(word) <= MAX_ID_DIGITS:  # nearly always
        return int(word)
    if marked := MARKED_AS_TEXT.fullmatch(word):
        return int(marked[1] or marked[2])
    return int(re.split("[.,]", word)[0]) if WHOLE.fullmatch(word) else None


def _split_ids(text: str) -> list[str]:
    """Split ids at blanks of the keyboard, commas, semicolons and bars."""
    return SEPARATORS.split(text)
