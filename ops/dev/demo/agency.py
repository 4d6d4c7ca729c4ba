"""Made-up work of an estate agency: random changes, and the relations that should result. Pure."""

import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from worker.contract import Change, Info, Relation, Verb
from worker.contract.catalogue import CONFIRMATION, FEEDBACK

CrmRelations = dict[Relation, dict[str, str]]
"""The relations of one account, each with its info."""
Ids = tuple[int, ...]

MISSING: Final = 990_000  # addresses from here on do not exist until they are added to the CRM
APPOINTMENT: Final = "calendar:address"
INTERESTED: Final = "estate:address:interested"
DEALS: Final = ("estate:address:buyer", "estate:address:renter", "estate:address:owner")


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
    _planned: deque[Change] = field(default_factory=deque)
    _appointments: int = 0

    def next_change(self) -> Change:
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

    def _choose_event(self) -> Callable[[], Change]:
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

    def _enquiry(self) -> Change:
        """Link everyone who asked a portal about one estate in the last minute."""
        return self._link(INTERESTED, (self._estate(),), self._people(self.rng.choice((1, 1, 2, 3, 5, 12))))

    def _search(self) -> Change:
        """Link one person who asks about several estates."""
        return self._link(INTERESTED, tuple(sorted({self._estate() for _ in range(4)})), self._people(1))

    def _deal(self) -> Change:
        """Link a buyer, a tenant or an owner."""
        return self._link(self.rng.choice(DEALS), (self._estate(),), self._people(self.rng.choice((1, 1, 2))))

    def _withdrawal(self) -> Change:
        """Unlink somebody who was linked."""
        relation = self.rng.choice(self._linked) if self._linked else None
        if relation not in self.relations:
            return self._enquiry()
        self._ended.append(relation)
        return self._change("delete", relation.type, (relation.parent,), (relation.child,))

    def _return(self) -> Change:
        """Link somebody again who withdrew."""
        if not self._ended:
            return self._deal()
        relation = self._ended.pop()
        return self._link(relation.type, (relation.parent,), (relation.child,))

    def _viewing(self) -> Change:
        """Make an appointment with two people: one confirms, one cancels and is sometimes unlinked."""
        self._appointments += 1
        people = self._people(2)
        target = (APPOINTMENT, (self._appointments,))
        answers = ((CONFIRMATION, "bestätigt"), (FEEDBACK, "aktiv"))
        self._planned += [
            self._change("modify", *target, people, ((CONFIRMATION, "gesendet"),)),
            self._change("modify", *target, people[:1], answers),
            self._change("modify", *target, people[1:], ((CONFIRMATION, "gecancelt"),)),
        ]
        if self.rng.random() < 0.4:
            self._planned.append(self._change("delete", *target, people[1:]))
        return self._change("create", *target, people)

    def _mistake(self) -> Change:
        """Link two addresses that exist and one that does not."""
        nobody = MISSING + len(self.missing)
        self.missing.add(nobody)
        return self._change("create", DEALS[0], (self._estate(),), (*self._people(2), nobody))

    def _link(self, name: str, parents: Ids, children: Ids) -> Change:
        change = self._change("create", name, parents, children)
        self._linked += change.relations
        return change

    def _change(self, action: Verb, name: str, parents: Ids, children: Ids, info: Info = ()) -> Change:
        return Change(
            account=self.account,
            action=action,
            type=name,
            parents=parents,
            children=children,
            info=info,
            source="portal",
            batch="burst",
        )

    def _estate(self) -> int:
        """Choose an estate; a few are chosen far more often than the others."""
        return 1 + int(self.rng.random() ** 2 * max(6, self.size // 25))

    def _people(self, count: int) -> Ids:
        return tuple(self.rng.sample(range(1000, 1000 + max(60, self.size // 3)), count))

    def _apply(self, change: Change) -> None:
        """Update the expected relations."""
        apply = {"create": self._apply_create, "modify": self._apply_modify, "delete": self._apply_delete}
        for relation in change.relations:
            self.touched.add(relation)
            apply[change.asks](relation, change.info)

    def _apply_create(self, relation: Relation, info: Info) -> None:
        self.contradictions += relation in self._ended
        self.relations.setdefault(relation, {}).update(info)

    def _apply_modify(self, relation: Relation, info: Info) -> None:
        known = self.relations.get(relation)
        if known is not None:
            self.contradictions += any(key in known for key, _ in info)
            known.update(info)

    def _apply_delete(self, relation: Relation, _info: Info) -> None:
        self.contradictions += self.relations.pop(relation, None) is not None
