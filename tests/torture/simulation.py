"""Deterministic simulation: the system in one process, with all faults and interleavings from one seed.

`python -m tests.torture simulation --seed 4711` prints what happens with that seed, step by step.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

from ops.dev.redis_server import run_server
from producers.replay.resend import SOURCE
from tests.torture.changes import VALUES
from tests.torture.expected_state import ExpectedRelation, expect
from tests.torture.history_checker import HistoryChecker, check_jobs
from tests.torture.scenario import FAULTY_SECONDS, START, Scenario, StoreFixture, Trace
from tests.torture.schedule import SECOND
from tests.torture.store_fixtures import MemoryStoreFixture, RedisStoreFixture
from worker.contract import Relation
from worker.store.limits import MAX_REPLAYS

StoreKind = Literal["memory", "redis"]

TIME_LIMIT = 4 * 3600.0  # simulated seconds after the faults; what is still open then counts as lost
DOUBT = 300.0  # simulated seconds after which no write in doubt can arrive any more
MAX_TURNS = 200_000  # more than any scenario needs
REDIS_SHARE = 10  # one of so many seeds runs on Redis, too


@dataclass(frozen=True, slots=True, kw_only=True)
class ScenarioResult:
    """The result of one seed: `wrong` lists violations, `lost` counts relations without an outcome.

    `acts` are an operator's that came to their end, by kind; `interrupted_acts` ended with the process.
    """

    seed: int
    store: StoreKind
    changes: int
    turns: int
    faults: int
    crashes: int
    acts: tuple[tuple[str, int], ...]
    interrupted_acts: int
    lost: int
    wrong: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulationResult:
    """The result of many seeds; `failing` are the seeds with violations."""

    runs: int = 0
    changes: int = 0
    faults: int = 0
    crashes: int = 0
    acts: int = 0
    lost: int = 0
    failing: tuple[int, ...] = ()

    def add(self, result: ScenarioResult) -> "SimulationResult":
        """Return the result with one more run."""
        is_new_failure = result.wrong and result.seed not in self.failing
        return replace(
            self,
            runs=self.runs + 1,
            changes=self.changes + result.changes,
            faults=self.faults + result.faults,
            crashes=self.crashes + result.crashes,
            acts=self.acts + sum(count for _, count in result.acts),
            lost=self.lost + result.lost,
            failing=(*self.failing, result.seed) if is_new_failure else self.failing,
        )


def simulate(
    seed: int, *, store: StoreKind = "memory", url: str = "", trace: Trace = lambda *_: None
) -> ScenarioResult:
    """Run the scenario of a seed; `url` is a Redis server that it may empty, by default one of its own."""
    if store == "memory":
        return _run_scenario(seed, store, MemoryStoreFixture(), trace)
    with _redis(url) as server_url:
        return _run_scenario(seed, store, RedisStoreFixture(server_url), trace)


def run(*, seconds: float, first: int, echo: Callable[[str], None]) -> SimulationResult:
    """Run seed after seed from `first` until the time is over."""
    deadline = time.monotonic() + seconds
    with _redis("") as url:
        return run_seeds(_until(deadline, count(first)), url=url, echo=echo)


def run_seeds(seeds: Iterable[int], *, url: str, echo: Callable[[str], None]) -> SimulationResult:
    """Run these seeds in memory, and every tenth also on the Redis server at `url`.

    For a failing one it prints the command that repeats it.
    """
    total = SimulationResult()
    for seed in seeds:
        stores: tuple[StoreKind, ...] = ("memory", "redis") if seed % REDIS_SHARE == 0 else ("memory",)
        for store in stores:
            result = simulate(seed, store=store, url=url)
            total = total.add(result)
            if result.wrong:
                wrong = "; ".join(result.wrong[:3])
                echo(f"python -m tests.torture simulation --seed {seed}  # on {store}: {wrong}")
    return total


def replay(seed: int, *, echo: Callable[[str], None]) -> ScenarioResult:
    """Run the scenario of a seed and print every step; on Redis if nothing is wrong in memory."""

    def trace(at: float, actor: str, step: tuple[object, ...]) -> None:
        echo(f"{at:11.4f}  {actor:<16}  {' '.join(map(str, step))}")

    store: StoreKind = "memory" if simulate(seed).wrong else "redis"
    result = simulate(seed, store=store, trace=trace)
    echo(f"seed {seed} on {result.store}: {'; '.join(result.wrong) or 'nothing is wrong'}")
    return result


def _run_scenario(seed: int, store: StoreKind, fixture: StoreFixture, trace: Trace) -> ScenarioResult:
    scenario = Scenario(seed, fixture, trace)
    try:
        wrong = _run_and_check(scenario)
    finally:
        scenario.schedule.end()
    accepted = [entry for entries in scenario.checker.accepted.values() for entry in entries]
    return ScenarioResult(
        seed=seed,
        store=store,
        changes=len(accepted),
        turns=scenario.schedule.turns,
        faults=sum(bool(entry.fault) for entry in scenario.simulator.log) + scenario.broker.lost,
        crashes=sum(process.crashes for process in scenario.processes),
        acts=tuple(sorted(scenario.checker.acts.items())),
        interrupted_acts=scenario.operator.crashes,
        lost=sum(
            (entry.job, relation) not in scenario.checker.outcomes
            for entry in accepted
            for relation in scenario.checker.relations_of(entry)
        ),
        wrong=tuple(wrong),
    )


def _run_and_check(scenario: Scenario) -> list[str]:
    """Run the scenario until all work is done; return what is wrong then."""
    schedule, checker = scenario.schedule, scenario.checker
    deadline = START + round((FAULTY_SECONDS + TIME_LIMIT) * SECOND)

    def is_over() -> bool:
        if schedule.now > deadline or schedule.turns > MAX_TURNS:
            return True
        return scenario.is_calm and not scenario.unfinished()

    schedule.run(is_over)
    if unfinished := scenario.unfinished():
        return [*checker.wrong, f"not finished: {', '.join(unfinished)}"]
    no_doubt = schedule.now + round(DOUBT * SECOND)
    schedule.run(lambda: schedule.now > no_doubt)
    scenario.simulator.land()
    wrong = [
        *checker.wrong,
        *check_jobs(checker, scenario.store, scenario.fixture.make_metrics()),
        *check_links(checker, scenario.store, scenario.fixture.make_job_admin(scenario.now)),
        *_check_crm(scenario),
        *(scenario.callbacks.law.check_end() if scenario.callbacks else ()),
        *(scenario.drift.check_end() if scenario.drift else ()),
    ]
    for account, record in sorted(checker.erased):
        for place in scenario.fixture.names(account, record):
            wrong.append(f"{record} was erased from {account}, but {place} names it")
    return wrong


def check_links(checker: HistoryChecker, store: Any, job_admin: Any) -> list[str]:
    """Return which jobs do not name the one that they were sent in place of, or are not named by it.

    A replay that was erased cannot go on: what it has sent names the old job all the same.
    """
    wrong = list[str]()
    for account, entries in checker.accepted.items():
        kept = {replay.id for replay in job_admin.list_replays(account, limit=MAX_REPLAYS)}
        for entry in entries:
            if entry.change.source != SOURCE:
                continue
            old, _, replay_id = (entry.change.event_id or "").partition(":")
            if store.get_job(entry.job).replays != old:
                wrong.append(f"{entry.job} does not name {old}, in place of which it was sent")
            if replay_id in kept and entry.job not in store.get_job(old).replayed_by:
                wrong.append(f"{old} does not name {entry.job}, which was sent in place of it")
    return wrong


def _check_crm(scenario: Scenario) -> list[str]:
    """Return where the CRM is not as the changes ask for that are not void."""
    wrong: list[str] = []
    drift = scenario.drift
    for account in scenario.checker.accepted:
        actual = scenario.simulator.relations(f"token-{account}")
        excluded = drift.excluded(account) if drift else set()
        unsure = {relation for relation in actual if drift and drift.is_info_unsure(account, relation)}
        wrong += check_crm(
            scenario.checker, account, actual, upsert=scenario.upsert, excluded=excluded, unsure=unsure
        )
        bare = scenario.simulator.violations(f"token-{account}")
        wrong += [f"{account} {relation} broke the guard" for relation in bare]
    return sorted(wrong)


def check_crm(
    checker: HistoryChecker,
    account: str,
    actual: Mapping[Relation, Mapping[str, str]],
    *,
    upsert: bool,
    excluded: Set[Relation] = frozenset(),
    unsure: Set[Relation] = frozenset(),
) -> list[str]:
    """Return which relations are not as the changes ask for that are not void.

    Nobody knows how the `excluded` ones are, and of the `unsure` ones what their info is.
    """
    accepted = checker.accepted.get(account, ())
    pairs = [(entry, relation) for entry in accepted for relation in checker.relations_of(entry)]
    void = {(entry.job, relation) for entry, relation in pairs if checker.is_void(entry.job, relation)}
    good = [
        (checker.ordered(account, entry, relation), relation)
        for entry, relation in pairs
        if (entry.job, relation) not in void
    ]
    # A change that came to nothing may have taken the place of an older one's info before.
    keys: dict[Relation, set[str]] = {relation: set(VALUES) for relation in unsure}
    for entry, relation in pairs:
        if (entry.job, relation) in void:
            keys.setdefault(relation, set()).update(key for key, _ in entry.change.info)
    good += checker.cleared(account, {relation for _, relation in pairs} | actual.keys())
    expected = expect(good, upsert=upsert)
    uncertain = {relation for entry, relation in pairs if checker.is_uncertain(entry.job, relation)}
    return [
        f"{account} {relation} is {actual.get(relation)}, expected is {want}"
        for relation in (expected.keys() | actual.keys()) - uncertain - excluded
        if not (want := expected.get(relation, ExpectedRelation())).allows(
            actual.get(relation), unsure=keys.get(relation, frozenset())
        )
    ]


@contextmanager
def _redis(url: str) -> Iterator[str]:
    if url:
        yield url
        return
    with TemporaryDirectory() as folder, run_server(Path(folder)) as server:
        yield server.url


def _until(deadline: float, seeds: Iterator[int]) -> Iterator[int]:
    while time.monotonic() < deadline:
        yield next(seeds)
