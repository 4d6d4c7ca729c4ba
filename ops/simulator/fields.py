"""The fields of a CRM's records: what reads of estates and addresses look at. Pure state."""

from collections.abc import Mapping, Sequence
from typing import Final, Literal

Module = Literal["address", "estate"]
Value = str | list[str]
"""What a field holds: a text, or of a contact field each of its entries; the first is the main one."""
GivenValue = str | int | float | Sequence[str | int] | None
FieldChanges = Mapping[Module, Mapping[int, Mapping[str, GivenValue] | None]]
"""Module → id → field → value; None takes a field away, or a whole record."""

CONTACTS: Final = frozenset(["phone", "mobile", "fax", "email", "defaultphone", "defaultfax", "defaultemail"])
_DOCUMENTED: Final[Mapping[str, frozenset[str]]] = {
    "address": CONTACTS
    | {"KdNr", "uuid", "Status", "Email", "Telefon1", "Briefanrede", "Vorname", "Name", "Firma"}
    | {"Strasse", "Plz", "Ort", "Land"},
    "estate": frozenset(["objektnr_extern", "uuid", "status", "objekttitel", "objektart", "vermarktungsart"])
    | {"kaufpreis", "kaltmiete", "strasse", "hausnummer", "plz", "ort", "land"},
}
_MAIN_ENTRIES: Final = {
    "Email": "email",
    "defaultemail": "email",
    "Telefon1": "phone",
    "defaultphone": "phone",
    "defaultfax": "fax",
}
_MAIN_FIELDS: Final = {"email": "Email", "phone": "Telefon1"}
_STATUS: Final = {"address": "Status", "estate": "status"}
_ARCHIVED: Final = "0"


class RecordFields:
    """The fields of one customer's records; a record without any is in no answer to a read."""

    def __init__(self) -> None:
        self._records: dict[Module, dict[int, dict[str, Value]]] = {"address": {}, "estate": {}}

    def change(self, changes: FieldChanges) -> None:
        """Set fields, or take them away; what is not named stays."""
        for module, records in changes.items():
            for number, fields in records.items():
                self._change_record(module, number, fields)

    def _change_record(self, module: Module, number: int, changes: Mapping[str, GivenValue] | None) -> None:
        record = self._records[module].pop(number, {})
        for field, value in (changes or {}).items():
            record.pop(field, None)
            if value is not None:
                record[field] = str(value) if isinstance(value, str | int | float) else list(map(str, value))
        if changes is not None and record:
            self._records[module][number] = record

    def as_dict(self) -> dict[Module, dict[int, dict[str, Value]]]:
        """Return every field, module by module and record by record, as a copy."""
        return {
            module: {number: dict(fields) for number, fields in records.items()}
            for module, records in self._records.items()
            if records
        }

    def known(self, module: Module) -> frozenset[str]:
        """Return the fields of a module: the documented ones, and those that any of its records has."""
        return _DOCUMENTED[module].union(*self._records[module].values())

    def ids(self, module: Module) -> list[int]:
        """Return the records of a module that have fields, in the order of their ids."""
        return sorted(self._records[module])

    def is_archived(self, module: Module, number: int) -> bool:
        """Return whether the record's status says so."""
        return self.texts(module, number, _STATUS[module]) == (_ARCHIVED,)

    def texts(self, module: Module, number: int, field: str) -> tuple[str, ...]:
        """Return the texts of a field; of a contact field one per entry, and of a main one the first."""
        record = self._records[module].get(number, {})
        if module == "address" and field in _MAIN_ENTRIES and field not in record:
            return self.texts(module, number, _MAIN_ENTRIES[field])[:1]
        texts = _texts(record.get(field, ""))
        main = _texts(record.get(_MAIN_FIELDS.get(field, ""), "")) if module == "address" else ()
        return tuple(dict.fromkeys((*main, *texts)))


def _texts(value: Value) -> tuple[str, ...]:
    return tuple(filter(None, [value] if isinstance(value, str) else value))
