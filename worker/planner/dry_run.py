"""What would be sent for a number of wishes, if the API took every action: fold → targets → rounds of actions and requests.

Pure, and made of the parts that a flush is made of; nothing is sent and nothing is stored.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Self

from worker.contract import Order, Relation
from worker.planner.actions import Operation, Outcome, Reply, Request, Verdict
from worker.planner.apply_reply import Moment, answer
from worker.planner.fold import NOTHING, Known, Lost, Wish
from worker.planner.plan import Limits, plan
from worker.planner.relation_state import Case, Doubt, Open, enter, step
from worker.planner.retry_policy import Patience
from worker.planner.swaps import goes_first, guard, waits

ALL_WELL = Moment(signed=0, answered=0, doubt=0.0, patience=Patience(), draw=lambda: 0.0)

Orders = Callable[[str], Order]
State = tuple[Open | None, Known, Doubt | None]
"""What is open and known of a relation now, and what is in doubt."""


@dataclass(slots=True)
class Rehearsed:
    """What each relation should be, which wishes lost, and the requests in order; `least` as in a plan."""

    cases: Mapping[Relation, Case] = field(default_factory=dict)
    lost: list[tuple[Relation, Lost]] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    actions: int = 0
    least: int = 0

    def __iadd__(self, other: "Rehearsed") -> Self:
        self.cases = {**self.cases, **other.cases}
        self.lost += other.lost
        self.requests += other.requests
        self.actions, self.least = self.actions + other.actions, self.least + other.least
        return self


def rehearse(
    wishes: Mapping[Relation, tuple[Wish, ...]],
    known: Mapping[Relation, State],
    *,
    limits: Limits,
    order: Orders,
    upsert: bool = False,
) -> Rehearsed:
    """The wishes taken in one window, folded with what is open and known, then planned and confirmed round by round."""
    told, cases = Rehearsed(), dict[Relation, Case]()
    for relation, asked in wishes.items():
        before, memory, _ = known.get(relation, (None, NOTHING, None))
        case, lost, _ = enter(asked, before, memory, None, now=0, upsert=upsert)
        told.lost += [(relation, each) for each in lost]
        if case:
            cases[relation] = _afresh(case)
    told.cases = dict(cases)
    moment = ALL_WELL._replace(patience=Patience(upsert=upsert)) if upsert else ALL_WELL
    while cases and (ready := _ready(cases, order)):
        planned = plan(ready, limits, order)
        told.actions, told.least = told.actions + planned.actions, told.least + planned.least
        for request in planned.requests:
            told.requests.append(request)
            _confirm(cases, request, moment)
    return told


def _afresh(case: Case) -> Case:
    """The case without the waiting that earlier tries have brought it: all is well now."""
    opened = Open(case.open.wishes, case.open.cleared)
    return case if opened == case.open else Case(opened, case.known, None, case.target)


def _ready(cases: Mapping[Relation, Case], order: Orders) -> list[Operation]:
    """The next operation of every relation but the halves of swaps that have to wait (R12)."""
    first = {guard(relation, each) for relation, case in cases.items() if goes_first(case.target.presence, each := order(relation.type))}
    steps = [
        step(relation, case, now=0)
        for relation, case in cases.items()
        if not (waits(case.target.presence, each := order(relation.type)) and guard(relation, each) in first)
    ]
    return [each for each in steps if isinstance(each, Operation)]


def _confirm(cases: dict[Relation, Case], request: Request, moment: Moment) -> None:
    outcomes = (Outcome(Verdict.OK),) * len(request.actions)
    for relation, case in answer(cases, request, Reply(outcomes), moment).cases.items():
        if case:
            cases[relation] = case
        else:
            del cases[relation]
