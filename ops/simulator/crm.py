"""One customer's CRM: which relations and records exist, and the rules of writing.

Pure state; it knows no JSON, HTTP or clock.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import takewhile

from ops.simulator.catalogue import BROKERS, KNOWN_TYPES, UNITS
from ops.simulator.faults import Record
from ops.simulator.fields import RecordFields
from ops.simulator.refusals import ApiRefusal
from ops.simulator.switches import Switches
from worker.contract import Relation

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
