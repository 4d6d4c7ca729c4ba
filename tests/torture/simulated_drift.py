"""Drift: somebody edits the CRM behind our back, a process reads back what was confirmed, and repairs it.

It reads beside all other work. Once that is done, there are more edits: it has to find exactly what differs,
and repairs that while newer changes come.
"""

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

from tests.torture.changes import APPOINTMENT, DATES, ESTATES, GUARDED, TYPES, children_of
from tests.torture.fault_profile import FaultProfile
from tests.torture.history_checker import HistoryChecker
from tests.torture.schedule import SECOND
from tests.torture.simulated_operator import OperatorEnvironment, make_intake, make_replays
from tests.torture.simulated_process import InterruptiblePort
from tests.torture.simulated_worker import SimulatedWorker, WorkerEnvironment
from worker.contract import Change, Relation
from worker.errors import Unavailable
from worker.planner.fold import NEVER
from worker.ports.drift import DriftedRelation, DriftFilter, DriftPage
from worker.usecases.drift import DriftReader

NAME = "drift"
REST = 4.0  # seconds at most between two acts
DOUBT = 310.0  # seconds after which nothing is in doubt any more
FAULTY_SECONDS = 300.0  # of the last part, in which the process may die and the API may not answer
EVERYTHING = DriftFilter()
Place = tuple[str, Relation]
"""An account and a relation."""


class Found(NamedTuple):
    """What a read of everything that is remembered shows."""

    states: Mapping[Relation, str]
    drifted: tuple[DriftedRelation, ...]
    unknown: frozenset[Relation]
    open: int


@dataclass(slots=True, kw_only=True)
class DriftEnvironment:
    """What the process works with, beside what workers and operators have; `chance` is its own."""

    worker: WorkerEnvironment
    operator: OperatorEnvironment
    checker: HistoryChecker
    chance: random.Random
    others_have_finished: Callable[[], bool]


class SimulatedDrift(SimulatedWorker):
    """The process, and somebody who edits: `edited` is where, and how many changes were accepted before.

    `reported` is what was found so far.
    """

    def __init__(self, environment: DriftEnvironment) -> None:
        self.drift, self.chance = environment, environment.chance
        self.edited: dict[Place, int] = {}
        self._to_come = 0
        self.reported: set[Place] = set()
        self.has_finished, self._faulty_until, self._repairs_from = False, 0, 0
        self._profile = FaultProfile(
            crash=self.chance.choice((0.0, 0.02)),
            store_cut=self.chance.choice((0.0, 0.02)),
            api_fault=self.chance.choice((0.0, 0.0, 0.2)),
            slow_network=self.chance.choice((0.0, 0.1)),
        )
        faults = environment.worker.faults
        super().__init__(replace(environment.worker, faults=lambda: self._faults(faults())), NAME)
        operator = environment.operator
        store = InterruptiblePort(operator.store, "store", self)
        callbacks = operator.callbacks
        self._plain_intake = make_intake(
            operator, store=operator.store, callbacks=callbacks.make() if callbacks else None
        )
        self.intake = make_intake(
            operator, store=store, callbacks=callbacks.make(self) if callbacks else None
        )
        job_admin = InterruptiblePort(operator.job_admin, "job_admin", self)
        self.replays = make_replays(operator, store=store, job_admin=job_admin, intake=self.intake)

    def _faults(self, others: FaultProfile) -> FaultProfile:
        return self._profile if self.schedule.now < self._faulty_until else others

    # --- the process

    def _run(self) -> None:
        while not self.drift.operator.is_calm():
            self._pause(REST * self.chance.random())
            if self.chance.random() < 0.2:
                self._edit([each for each in TYPES if each not in GUARDED], self._any_account())
            else:
                self.attempt(lambda: self._note(self._any_account()))
        self._wait_for_others()
        for account in self.drift.operator.accounts:
            self._edit(TYPES, account, times=self.chance.choice((1, 3, 6)))
        self._repairs_from = self.schedule.now
        self._faulty_until = self.schedule.now + round(FAULTY_SECONDS * SECOND)
        while not self.attempt(self._repair_all):
            self._pause(1)
        self._wait_for_others()
        while not self.attempt(self._check_all):
            self._pause(1)
        self.has_finished = True
        self.actor.wait()

    def _pause(self, seconds: float) -> None:
        self.actor.wait(self.schedule.now + round(seconds * SECOND))

    def _wait_for_others(self) -> None:
        """Wait until all work is done, and nothing of it in doubt."""
        while self._to_come or not self.drift.others_have_finished():
            self._pause(5)
        self._pause(DOUBT)
        self.environment.simulator.land()

    def _any_account(self) -> str:
        return self.chance.choice(list(self.drift.operator.accounts))

    # --- somebody who edits

    def _edit(self, types: Iterable[str], account: str, *, times: int = 1) -> None:
        """Link and unlink in the CRM's own windows."""
        for _ in range(times):
            relation = self._any_relation(account, list(types))
            self.edited[account, relation] = len(self.drift.checker.accepted.get(account, ()))
            is_there = relation in self._relations(account)
            self.trace("somebody", "unlinks" if is_there else "links", account, relation)
            links, drops = ((), (relation,)) if is_there else ((relation,), ())
            self.environment.simulator.seed(f"token-{account}", links, drop=drops)

    def _any_relation(self, account: str, types: Sequence[str]) -> Relation:
        """Return a relation of these types, more often than not one that a change has named."""
        named = sorted(each for each in self._named(account) if each.type in types)
        if named and self.chance.random() < 0.8:
            return self.chance.choice(named)
        type_ = self.chance.choice(types)
        parent = self.chance.choice(DATES if type_ == APPOINTMENT else ESTATES)
        return Relation(type_, parent, self.chance.choice(children_of(type_)))

    def _relations(self, account: str) -> Mapping[Relation, Mapping[str, str]]:
        return self.environment.simulator.relations(f"token-{account}")

    # --- reading

    def _note(self, account: str) -> None:
        """Read a page beside all other work; what it reports has to be an edit."""
        page = self._read(account, "")
        self.reported.update((account, each.relation) for each in page.drifted)

    def _read(self, account: str, cursor: str) -> DriftPage:
        reader = DriftReader(
            self.environment.policy_of(account),
            self.flush_deps(account),
            self.drift.operator.queries,
            self.environment.broker.put,
        )
        page = reader.read(EVERYTHING, cursor=cursor)
        self.trace("drift.read", account, page)
        return page

    def _read_all(self, account: str) -> Found:
        drifted, unknown, opened, cursor = list[DriftedRelation](), set[Relation](), 0, ""
        while True:
            page = self._read(account, cursor)
            drifted += page.drifted
            unknown |= {*page.unknown}
            opened += page.open
            cursor = page.next
            if page.waits:
                self.sleep(page.rest)
            elif not cursor:
                states = {each.relation: str(each.state) for each in drifted}
                return Found(states, tuple(drifted), frozenset(unknown), opened)

    def _check(self, account: str) -> Found:
        """Read everything; that must be exactly what differs from what is remembered."""
        found, actual = self._read_all(account), self._relations(account)
        expected = dict[Relation, str]()
        for relation in self._named(account):
            is_wanted = self._is_confirmed(account, relation)
            if is_wanted is not None and is_wanted != (relation in actual):
                expected[relation] = "returned" if relation in actual else "missing"
        known = {relation: state for relation, state in expected.items() if relation not in found.unknown}
        if found.states != known or found.open:
            self._violate(f"drift of {account} is {expected}, found {found}")
        self.reported.update((account, relation) for relation in found.states)
        return found

    def _is_confirmed(self, account: str, relation: Relation) -> bool | None:
        """Return whether a relation was confirmed to be there, or gone; None if nothing is remembered of it.

        The outcomes tell; but for what an erasure has taken, and where presence is confirmed before info is.
        """
        record, history = self.environment.store.relation_history(account, relation)
        if not history:
            return None
        if relation.type != APPOINTMENT and not self.drift.checker.eras[account, relation]:
            return self.drift.checker.is_confirmed(account, relation)
        confirmed = record.confirmed
        return None if confirmed.presence == NEVER else confirmed.present > confirmed.absent

    def _named(self, account: str) -> set[Relation]:
        entries = self.drift.checker.accepted.get(account, ())
        return {relation for entry in entries for relation in self.drift.checker.relations_of(entry)}

    def _violate(self, text: str) -> None:
        self.drift.checker.wrong.append(text)

    # --- repairing

    def _repair_all(self) -> None:
        """Repair all that is found; newer changes come meanwhile."""
        for account in self.drift.operator.accounts:
            for replay in self.drift.operator.job_admin.list_replays(account):
                if replay.state == "running":
                    self.replays.run(replay.id)
        if self._to_come or not self.drift.others_have_finished():
            raise Unavailable("what was repaired is being worked")
        for account in self.drift.operator.accounts:
            if drifted := self._check(account).drifted:
                repair = self.replays.prepare_repair(account, drifted, by=NAME)
                for found in drifted[:2]:
                    self._to_come += 1
                    self.schedule.after(
                        2 * self.chance.random(), partial(self._send, account, found.relation)
                    )
                self.sleep(2 * self.chance.random())
                self.replays.start(repair.id, by=NAME)
                self.replays.run(repair.id)

    def _send(self, account: str, relation: Relation) -> None:
        """Send a change that is newer than any repair."""
        self._to_come -= 1
        change = Change(
            account=account,
            action=self.chance.choice(("create", "delete")),
            type=relation.type,
            parents=(relation.parent,),
            children=(relation.child,),
            event_id=f"late-{len(self.drift.checker.accepted[account])}",
        )
        if not self._names_erased(change):
            self.trace("sends", change)
            self._plain_intake.accept([change])

    def _names_erased(self, change: Change) -> bool:
        """Return whether the change names a record that was erased, which is to stay so."""
        erased = [who for account, who in self.drift.checker.erased if account == change.account]
        return any(who.is_part_of(relation) for who in erased for relation in change.relations)

    # --- what it means for the comparison at the end

    def excluded(self, account: str) -> set[Relation]:
        """Return the edited relations of which no change has decided since whether they are there."""
        return {
            relation
            for name, relation in self.edited
            if name == account
            and all(change.action == "modify" for change in self._applied_since(account, relation))
        }

    def is_info_unsure(self, account: str, relation: Relation) -> bool:
        """Return whether an edit may have taken info away that only a repair brings back."""
        since = self._applied_since(account, relation)
        return (account, relation) in self.edited and any(change.source != NAME for change in since)

    def _applied_since(self, account: str, relation: Relation) -> list[Change]:
        """Return the changes that were accepted after an edit, and applied."""
        checker, first = self.drift.checker, self.edited.get((account, relation), 0)
        return [
            entry.change
            for entry in checker.accepted.get(account, ())[first:]
            if (outcome := checker.outcomes.get((entry.job, relation))) and outcome.result == "applied"
        ]

    def check_end(self) -> list[str]:
        """Return what was reported although nobody had edited it, and repairs that count as news."""
        checker, wrong = self.drift.checker, []
        for account, relation in sorted(self.reported - self.edited.keys()):
            entries = checker.accepted.get(account, ())
            is_known = not any(checker.is_uncertain(entry.job, relation) for entry in entries)
            if is_known:
                wrong.append(f"{relation} of {account} was reported as drift, nobody has edited it")
        for entry in (each for entries in checker.accepted.values() for each in entries):
            if entry.change.source == NAME and entry.at >= self._repairs_from:
                wrong.append(f"{entry.job} repairs drift, and counts as newer than what was confirmed")
        return wrong

    # --- reading once more

    def _check_all(self) -> None:
        for account in self.drift.operator.accounts:
            self._check(account)
