"""Deterministic simulation: the whole system in one process, every evil and every interleaving drawn from one seed.

`python -m tests.torture simulation --seed 4711` tells what happened in that story, step by step.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

from ops.dev.redis_server import run_server
from tests.torture.expected_state import wanted
from tests.torture.history_checker import check_jobs
from tests.torture.scenario import AGITATED, START, Ground, Stage, Tell
from tests.torture.schedule import SECOND
from tests.torture.store_fixtures import MemoryGround, RedisGround
from worker.contract import Relation

Kind = Literal["memory", "redis"]

PATIENCE = 4 * 3600.0  # seconds of the story after which what is still open counts as lost
LANDED = 300.0  # seconds after which no write in doubt can land any more
STEPS = 200_000  # turns; more than any story needs
SHARE = 10  # every so-manyeth seed of a run is told on Redis, too
UNSURE = ("poison", "unknown")  # failed without a definite answer: it may be so all the same


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """What one seed came to; `wrong` says what should not have been, `lost` counts accepted changes without an end."""

    seed: int
    store: Kind
    changes: int
    turns: int
    faults: int
    crashes: int
    lost: int
    wrong: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Survived:
    """What many seeds came to; `failing` are those to be looked at."""

    runs: int = 0
    changes: int = 0
    faults: int = 0
    crashes: int = 0
    lost: int = 0
    failing: tuple[int, ...] = ()

    def after(self, story: Story) -> "Survived":
        """With one more story."""
        return replace(
            self,
            runs=self.runs + 1,
            changes=self.changes + story.changes,
            faults=self.faults + story.faults,
            crashes=self.crashes + story.crashes,
            lost=self.lost + story.lost,
            failing=(*self.failing, story.seed)
            if story.wrong and story.seed not in self.failing
            else self.failing,
        )


def simulate(seed: int, *, store: Kind = "memory", url: str = "", tell: Tell = lambda *_: None) -> Story:
    """The story of a seed; `url` is a Redis server that it may empty, by default one of its own."""
    if store == "memory":
        return _story(seed, store, MemoryGround(), tell)
    with _server(url) as place:
        return _story(seed, store, RedisGround(place), tell)


def run(*, seconds: float, first: int, echo: Callable[[str], None]) -> Survived:
    """As many stories as fit, seed after seed from `first`; failing ones are said with the command that tells them again."""
    until = time.monotonic() + seconds
    with _server("") as url:
        seeds = iter(range(first, first + 1_000_000_000))
        return survive((seed for seed in _while(lambda: time.monotonic() < until, seeds)), url=url, echo=echo)


def survive(seeds: Iterable[int], *, url: str, echo: Callable[[str], None]) -> Survived:
    """What these seeds come to in memory, and every tenth on the server at `url`, too."""
    survived = Survived()
    for seed in seeds:
        stores: tuple[Kind, ...] = ("memory", "redis") if seed % SHARE == 0 else ("memory",)
        for store in stores:
            story = simulate(seed, store=store, url=url)
            survived = survived.after(story)
            if story.wrong:
                echo(
                    f"python -m tests.torture simulation --seed {seed}  # on {store}: {'; '.join(story.wrong[:3])}"
                )
    return survived


def replay(seed: int, *, echo: Callable[[str], None]) -> Story:
    """The story of a seed, told step by step; on Redis if it goes well in memory."""
    story = simulate(seed)
    if not story.wrong:
        story = simulate(seed, store="redis")
    told = simulate(
        seed,
        store=story.store,
        tell=lambda at, who, what: echo(f"{at:11.4f}  {who:<16}  {' '.join(map(str, what))}"),
    )
    echo(f"seed {seed} on {told.store}: {'; '.join(told.wrong) or 'all is well'}")
    return told


def _story(seed: int, store: Kind, ground: Ground, tell: Tell) -> Story:
    stage = Stage(seed, ground, tell)
    try:
        wrong = _play(stage)
    finally:
        stage.schedule.end()
    accepted = [entry for each in stage.witness.accepted.values() for entry in each]
    lost = sum(
        (entry.job, relation) not in stage.witness.outcomes
        for entry in accepted
        for relation in entry.change.relations
    )
    return Story(
        seed=seed,
        store=store,
        changes=len(accepted),
        turns=stage.schedule.turns,
        faults=sum(bool(entry.fault) for entry in stage.simulator.log) + stage.broker.lost,
        crashes=sum(worker.crashes for worker in stage.workers),
        lost=lost,
        wrong=tuple(wrong),
    )


def _play(stage: Stage) -> list[str]:
    """Let everything happen, wait until it is over, and say what is wrong then."""
    ending = START + round((AGITATED + PATIENCE) * SECOND)
    stage.schedule.run(
        lambda: (
            stage.schedule.now > ending or stage.schedule.turns > STEPS or (stage.calm and not stage.open())
        )
    )
    if unfinished := stage.open():
        return [*stage.witness.wrong, f"not finished: {', '.join(unfinished)}"]
    landed = stage.schedule.now + round(LANDED * SECOND)
    stage.schedule.run(lambda: stage.schedule.now > landed)
    stage.simulator.land()
    return [*stage.witness.wrong, *check_jobs(stage.witness, stage.store), *_check_end(stage)]


def _check_end(stage: Stage) -> list[str]:
    """Where the CRM is not as the accepted changes that did not fail ask for."""
    wrong: list[str] = []
    for account, accepted in stage.witness.accepted.items():
        pairs = [(entry, relation) for entry in accepted for relation in entry.change.relations]
        # Overtaken by a wish that failed: it may have been sent before, and then it stays.
        unsure = {
            relation for entry, relation in pairs if stage.witness.overtaken_in_vain(entry.job, relation)
        }
        good = [
            (entry, relation) for entry, relation in pairs if not stage.witness.failed(entry.job, relation)
        ]
        asked, seen = wanted(good, upsert=stage.upsert), stage.simulator.relations(f"token-{account}")
        for relation in (
            (asked.keys() | seen.keys())
            - unsure
            - _unsure(stage, account, {relation for _, relation in pairs})
        ):
            want = asked.get(relation)
            if want is None or not want.allows(seen.get(relation)):
                wrong.append(f"{account} {relation} is {seen.get(relation)}, asked for is {want}")
    return sorted(wrong)


def _unsure(stage: Stage, account: str, relations: set[Relation]) -> set[Relation]:
    """Relations of which a wish failed without a definite answer."""
    return {
        relation
        for relation in relations
        if any(
            said.result == "failed" and said.detail.endswith(UNSURE)
            for said in stage.store.relation_history(account, relation)[1]
        )
    }


@contextmanager
def _server(url: str) -> Iterator[str]:
    if url:
        yield url
        return
    with TemporaryDirectory() as folder, run_server(Path(folder)) as server:
        yield server.url


def _while(going_on: Callable[[], bool], seeds: Iterator[int]) -> Iterator[int]:
    while going_on():
        yield next(seeds)
