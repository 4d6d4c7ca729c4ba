"""One customer's CRM: which relations and records exist, and the rules of writing.

Pure state; it knows no JSON, HTTP or clock.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Final, Literal

from ops.simulator.catalogue import BROKERS, KNOWN_TYPES, UNITS, ApiRefusal
from ops.simulator.faults import Record
from ops.simulator.switches import Switches
from worker.contract import Relation

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
        for name, value in (changes or {}).items():
            record.pop(name, None)
            if value is not None:
                record[name] = str(value) if isinstance(value, str | int | float) else list(map(str, value))
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
        if module != "address" or field not in _MAIN_FIELDS:
            return texts
        return tuple(dict.fromkeys((*_texts(record.get(_MAIN_FIELDS[field], "")), *texts)))


def _texts(value: Value) -> tuple[str, ...]:
    """Return what is not empty of the entries, each once."""
    if isinstance(value, str):
        return (value,) if value else ()
    return tuple(dict.fromkeys(filter(None, value)))


Info = Mapping[str, str]
Check = Callable[[Relation], ApiRefusal | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Records:
    """What is special about records; by default every id exists, may be written, and belongs to a broker.

    `known` closes a module: only the ids given exist there. `brokers` are the addresses allowed as contact
    persons. What is in `no_read` exists, but the API user may not see it.
    """

    missing: frozenset[Record] = frozenset()
    known: Mapping[str, frozenset[int]] = field(default_factory=dict)
    no_write: frozenset[Record] = frozenset()
    brokers: frozenset[int] | None = None
    no_read: frozenset[Record] = frozenset()

    def exists(self, record: Record) -> bool:
        """Is there such a record?"""
        module, number = record
        return record not in self.missing and (module not in self.known or number in self.known[module])


class Crm:
    """The relations of one customer, written by the rules of the API and read from both ends.

    `put` and `drop` go around the rules, as people do who edit in the CRM's own windows. `violations` holds
    every contact person whose delete left an estate without a broker, and every unit that a create gave a
    second building.
    """

    def __init__(
        self, *, types: Mapping[str, tuple[str, str]] = KNOWN_TYPES, records: Records | None = None
    ) -> None:
        self.types = types
        self.records = records or Records()
        self.fields = RecordFields()
        self.clear()

    def clear(self) -> None:
        """Remove all relations and violations; the fields of records and what is special about them stay."""
        self.violations: list[Relation] = []
        self._infos: dict[Relation, dict[str, str]] = {}
        self._children: dict[Record, dict[int, None]] = {}
        self._parents: dict[Record, dict[int, None]] = {}

    def relations(self) -> dict[Relation, dict[str, str]]:
        """Return every relation with its info, as a copy."""
        return {relation: dict(info) for relation, info in self._infos.items()}

    def __contains__(self, relation: Relation) -> bool:
        return relation in self._infos

    def __len__(self) -> int:
        return len(self._infos)

    def put(self, relation: Relation, info: Info | None = None) -> None:
        """Add the relation, past all rules; merge its info with what it had."""
        self._infos.setdefault(relation, {}).update(info or {})
        self._children.setdefault((relation.type, relation.parent), {})[relation.child] = None
        self._parents.setdefault((relation.type, relation.child), {})[relation.parent] = None

    def drop(self, relation: Relation) -> None:
        """Remove the relation, past all rules."""
        if self._infos.pop(relation, None) is not None:
            del self._children[relation.type, relation.parent][relation.child]
            del self._parents[relation.type, relation.child][relation.parent]

    def children(self, name: str, parent: int) -> list[int]:
        """Return the ids related to this parent, in the order they were added."""
        return list(self._children.get((name, parent), ()))

    def parents(self, name: str, child: int) -> list[int]:
        """Return the ids related to this child, in the order they were added."""
        return list(self._parents.get((name, child), ()))

    def create(self, star: Sequence[Relation], info: Info, *, switches: Switches) -> None:
        """Create every relation of the star, or raise `ApiRefusal`; see `Switches.array_create`."""

        brokers, overwrite = self.records.brokers, switches.existing_info == "overwrite"

        def check(relation: Relation) -> ApiRefusal | None:
            if fault := self._record_fault(relation, switches):
                return fault
            if brokers is not None and relation.type == BROKERS and relation.child not in brokers:
                return ApiRefusal(263)
            is_refused = relation in self and switches.duplicate_create != "ok"
            return ApiRefusal(int(switches.duplicate_create)) if is_refused else None

        def write(relation: Relation) -> None:
            self.put(relation, info if overwrite or relation not in self else None)
            if relation.type == UNITS and len(self.parents(UNITS, relation.child)) > 1:
                self.violations.append(relation)

        self._write(star, check, write, switches)

    def modify(self, star: Sequence[Relation], info: Info, *, switches: Switches) -> None:
        """Set this info on every relation of the star, or raise `ApiRefusal`."""

        def check(relation: Relation) -> ApiRefusal | None:
            return self._record_fault(relation, switches) or (None if relation in self else ApiRefusal(180))

        self._write(star, check, lambda relation: self.put(relation, info), switches)

    def delete(self, relation: Relation, *, switches: Switches) -> None:
        """Delete the relation, or raise `ApiRefusal`."""
        if fault := self._record_fault(relation, switches):
            raise fault
        if relation not in self and switches.absent_delete == "168":
            raise ApiRefusal(168)
        if relation.type == BROKERS and self.children(BROKERS, relation.parent) == [relation.child]:
            self.violations.append(relation)
        self.drop(relation)

    def _write(
        self, star: Sequence[Relation], check: Check, write: Callable[[Relation], None], switches: Switches
    ) -> None:
        faults = {relation: fault for relation in star if (fault := check(relation))}
        match switches.array_create if faults else "partial":
            case "atomic":
                star = ()
            case "half":
                star = list(takewhile(lambda relation: relation not in faults, star))
        for relation in star:
            if relation not in faults:
                write(relation)
        for fault in faults.values():
            raise fault

    def _record_fault(self, relation: Relation, switches: Switches) -> ApiRefusal | None:
        parent, child = self.types[relation.type]
        for record in ((parent, relation.parent), (child, relation.child)):
            if not self.records.exists(record) or record in self.records.no_read:  # not told apart
                return _unknown(record, by_module=switches.unknown_record == "by_module")
            if record in self.records.no_write:
                return _no_right(record)
        return None


def _unknown(record: Record, *, by_module: bool) -> ApiRefusal:
    return ApiRefusal({"address": 292, "estate": 293}.get(record[0], 80) if by_module else 80)


def _no_right(record: Record) -> ApiRefusal:
    module, number = record
    return ApiRefusal(
        {"address": 261, "estate": 262}.get(module, 253),
        number if module in ("address", "estate") else f"{module} {number}",
    )
