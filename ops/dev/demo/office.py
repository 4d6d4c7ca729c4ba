"""People of an estate agency at work, made up from dice: one change after the other, and what should be true after each. Pure."""

import random
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from worker.contract import Relation, Verb

World = dict[Relation, dict[str, str]]

MISSING: Final = 990_000  # addresses from here on do not exist until somebody mends the CRM
APPOINTMENT: Final = "calendar:address"
INTERESTED: Final = "estate:address:interested"
DEALS: Final = ("estate:address:buyer", "estate:address:renter", "estate:address:owner")
CONFIRMATION, FEEDBACK = "statusTerminbestaetigung", "statusTerminrueckmeldung"


class Step(NamedTuple):
    """One change as it happened."""

    account: str
    action: Verb
    type: str
    parents: tuple[int, ...]
    children: tuple[int, ...]
    info: Mapping[str, str] = {}

    def relations(self) -> list[Relation]:
        """What it is about."""
        return [Relation(self.type, parent, child) for parent in self.parents for child in self.children]


@dataclass(slots=True)
class Office:
    """One account; `size` changes are expected of it, so that its records are as many as that busy an office has."""

    name: str
    dice: random.Random
    size: int
    world: World = field(default_factory=dict)
    touched: set[Relation] = field(default_factory=set)
    missing: set[int] = field(default_factory=set)
    contradictions: int = 0
    _linked: list[Relation] = field(default_factory=list)
    _ended: list[Relation] = field(default_factory=list)
    _planned: deque[Step] = field(default_factory=deque)
    _appointments: int = 0

    def step(self) -> Step:
        """The next thing somebody does, done."""
        step = self._planned.popleft() if self._planned and self.dice.random() < 0.5 else self._story()()
        self._note(step)
        return step

    def asked(self) -> World:
        """What the CRM can hold of the world while addresses are missing."""
        return {relation: info for relation, info in self.world.items() if relation.child < MISSING}

    def absent(self) -> frozenset[Relation]:
        """What was linked once and should not be any more."""
        return frozenset(self.touched - self.world.keys())

    def _story(self) -> Callable[[], Step]:
        if not self.missing:
            return self._mistake
        stories = [
            self._enquiry,
            self._search,
            self._deal,
            self._withdrawal,
            self._return,
            self._viewing,
            self._mistake,
        ]
        return self.dice.choices(stories, (430, 100, 230, 145, 60, 30, 5))[0]

    def _enquiry(self) -> Step:
        """A portal sends everyone who asked about an estate in the last minute."""
        return self._link(INTERESTED, (self._estate(),), self._people(self.dice.choice((1, 1, 2, 3, 5, 12))))

    def _search(self) -> Step:
        """One person asks about several estates."""
        return self._link(INTERESTED, tuple(sorted({self._estate() for _ in range(4)})), self._people(1))

    def _deal(self) -> Step:
        """A buyer, a tenant or an owner is found."""
        return self._link(
            self.dice.choice(DEALS), (self._estate(),), self._people(self.dice.choice((1, 1, 2)))
        )

    def _withdrawal(self) -> Step:
        """Somebody walks away."""
        relation = self.dice.choice(self._linked) if self._linked else None
        if relation not in self.world:
            return self._enquiry()
        self._ended.append(relation)
        return Step(self.name, "delete", relation.type, (relation.parent,), (relation.child,))

    def _return(self) -> Step:
        """Somebody who walked away comes back."""
        if not self._ended:
            return self._deal()
        relation = self._ended.pop()
        return self._link(relation.type, (relation.parent,), (relation.child,))

    def _viewing(self) -> Step:
        """An appointment with two people: invited, one comes, one does not and is sometimes taken off."""
        self._appointments += 1
        people = self._people(2)
        where = (APPOINTMENT, (self._appointments,))
        self._planned += [
            Step(self.name, "modify", *where, people, {CONFIRMATION: "gesendet"}),
            Step(self.name, "modify", *where, people[:1], {CONFIRMATION: "bestätigt", FEEDBACK: "aktiv"}),
            Step(self.name, "modify", *where, people[1:], {CONFIRMATION: "gecancelt"}),
        ]
        if self.dice.random() < 0.4:
            self._planned.append(Step(self.name, "delete", *where, people[1:]))
        return Step(self.name, "create", *where, people)

    def _mistake(self) -> Step:
        """A form with a number that is nobody's, beside two that are somebody's."""
        nobody = MISSING + len(self.missing)
        self.missing.add(nobody)
        return Step(self.name, "create", DEALS[0], (self._estate(),), (*self._people(2), nobody))

    def _link(self, name: str, parents: tuple[int, ...], children: tuple[int, ...]) -> Step:
        step = Step(self.name, "create", name, parents, children)
        self._linked += step.relations()
        return step

    def _estate(self) -> int:
        """Few estates are hot, most are not."""
        return 1 + int(self.dice.random() ** 2 * max(6, self.size // 25))

    def _people(self, count: int) -> tuple[int, ...]:
        return tuple(self.dice.sample(range(1000, 1000 + max(60, self.size // 3)), count))

    def _note(self, step: Step) -> None:
        """Let the world be as the step asks."""
        for relation in step.relations():
            self.touched.add(relation)
            if step.action == "delete":
                self.contradictions += self.world.pop(relation, None) is not None
            elif step.action == "create":
                self.contradictions += relation in self._ended
                self.world.setdefault(relation, {}).update(step.info)
            elif relation in self.world:
                self.contradictions += any(key in self.world[relation] for key in step.info)
                self.world[relation].update(step.info)
