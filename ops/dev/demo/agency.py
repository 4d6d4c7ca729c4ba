"""Made-up work of an estate agency: random changes, and the relations that should result. Pure."""

import random
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from worker.contract import Relation, Verb
from worker.contract.catalogue import CONFIRMATION, FEEDBACK

CrmRelations = dict[Relation, dict[str, str]]
"""The relations of one account, each with its info."""

MISSING: Final = 990_000  # addresses from here on do not exist until they are added to the CRM
APPOINTMENT: Final = "calendar:address"
INTERESTED: Final = "estate:address:interested"
DEALS: Final = ("estate:address:buyer", "estate:address:renter", "estate:address:owner")


class AgencyChange(NamedTuple):
    """One change as it happened."""

    account: str
    action: Verb
    type: str
    parents: tuple[int, ...]
    children: tuple[int, ...]
    info: Mapping[str, str] = {}

    def relations(self) -> list[Relation]:
        """Return the relations it names."""
        return [Relation(self.type, parent, child) for parent in self.parents for child in self.children]


@dataclass(slots=True)
class Agency:
    """One account; the number of its records follows from `size`, the number of changes it makes."""

    account: str
    rng: random.Random
    size: int
    relations: CrmRelations = field(default_factory=dict)
    touched: set[Relation] = field(default_factory=set)
    missing: set[int] = field(default_factory=set)
    contradictions: int = 0
    _linked: list[Relation] = field(default_factory=list)
    _ended: list[Relation] = field(default_factory=list)
    _planned: deque[AgencyChange] = field(default_factory=deque)
    _appointments: int = 0

    def next_change(self) -> AgencyChange:
        """Make the next change and apply it to the expected relations."""
        if self._planned and self.rng.random() < 0.5:
            change = self._planned.popleft()
        else:
            change = self._choose_event()()
        self._apply(change)
        return change

    def existing(self) -> CrmRelations:
        """Return the expected relations without those of missing addresses."""
        return {relation: info for relation, info in self.relations.items() if relation.child < MISSING}

    def absent(self) -> frozenset[Relation]:
        """Return the relations that were named once and should not exist at the end."""
        return frozenset(self.touched - self.relations.keys())

    def _choose_event(self) -> Callable[[], AgencyChange]:
        if not self.missing:
            return self._mistake
        weights = {
            self._enquiry: 430,
            self._search: 100,
            self._deal: 230,
            self._withdrawal: 145,
            self._return: 60,
            self._viewing: 30,
            self._mistake: 5,
        }
        return self.rng.choices(tuple(weights), tuple(weights.values()))[0]

    def _enquiry(self) -> AgencyChange:
        """Link everyone who asked a portal about one estate in the last minute."""
        return self._link(INTERESTED, (self._estate(),), self._people(self.rng.choice((1, 1, 2, 3, 5, 12))))

    def _search(self) -> AgencyChange:
        """Link one person who asks about several estates."""
        return self._link(INTERESTED, tuple(sorted({self._estate() for _ in range(4)})), self._people(1))

    def _deal(self) -> AgencyChange:
        """Link a buyer, a tenant or an owner."""
        return self._link(self.rng.choice(DEALS), (self._estate(),), self._people(self.rng.choice((1, 1, 2))))

    def _withdrawal(self) -> AgencyChange:
        """Unlink somebody who was linked."""
        relation = self.rng.choice(self._linked) if self._linked else None
        if relation not in self.relations:
            return self._enquiry()
        self._ended.append(relation)
        return AgencyChange(self.account, "delete", relation.type, (relation.parent,), (relation.child,))

    def _return(self) -> AgencyChange:
        """Link somebody again who withdrew."""
        if not self._ended:
            return self._deal()
        relation = self._ended.pop()
        return self._link(relation.type, (relation.parent,), (relation.child,))

    def _viewing(self) -> AgencyChange:
        """Make an appointment with two people: one confirms, one cancels and is sometimes unlinked."""
        self._appointments += 1
        people = self._people(2)
        target = (APPOINTMENT, (self._appointments,))
        answers = {CONFIRMATION: "bestätigt", FEEDBACK: "aktiv"}
        self._planned += [
            AgencyChange(self.account, "modify", *target, people, {CONFIRMATION: "gesendet"}),
            AgencyChange(self.account, "modify", *target, people[:1], answers),
            AgencyChange(self.account, "modify", *target, people[1:], {CONFIRMATION: "gecancelt"}),
        ]
        if self.rng.random() < 0.4:
            self._planned.append(AgencyChange(self.account, "delete", *target, people[1:]))
        return AgencyChange(self.account, "create", *target, people)

    def _mistake(self) -> AgencyChange:
        """Link two addresses that exist and one that does not."""
        nobody = MISSING + len(self.missing)
        self.missing.add(nobody)
        return AgencyChange(self.account, "create", DEALS[0], (self._estate(),), (*self._people(2), nobody))

    def _link(self, relation_type: str, parents: tuple[int, ...], children: tuple[int, ...]) -> AgencyChange:
        change = AgencyChange(self.account, "create", relation_type, parents, children)
        self._linked += change.relations()
        return change

    def _estate(self) -> int:
        """Choose an estate; a few are chosen far more often than the others."""
        return 1 + int(self.rng.random() ** 2 * max(6, self.size // 25))

    def _people(self, count: int) -> tuple[int, ...]:
        return tuple(self.rng.sample(range(1000, 1000 + max(60, self.size // 3)), count))

    def _apply(self, change: AgencyChange) -> None:
        """Update the expected relations."""
        apply = {"create": self._apply_create, "modify": self._apply_modify, "delete": self._apply_delete}
        for relation in change.relations():
            self.touched.add(relation)
            apply[change.action](relation, change.info)

    def _apply_create(self, relation: Relation, info: Mapping[str, str]) -> None:
        self.contradictions += relation in self._ended
        self.relations.setdefault(relation, {}).update(info)

    def _apply_modify(self, relation: Relation, info: Mapping[str, str]) -> None:
        known = self.relations.get(relation)
        if known is not None:
            self.contradictions += any(key in known for key in info)
            known.update(info)

    def _apply_delete(self, relation: Relation, _info: Mapping[str, str]) -> None:
        self.contradictions += self.relations.pop(relation, None) is not None
