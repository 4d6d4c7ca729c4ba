"""What is bad hurts only itself: ids that the API rejects, and changes that kill their worker."""

import random
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ops.dev.processes import Process
from ops.dev.stack import QUICK, Shape, Stack, running
from ops.simulator import FaultPlan, Records
from tests.support.flow_world import World, change
from tests.support.waiting import wait_until
from tests.support.worker_pool import WorkerDied, WorkerPool
from worker.contract import Relation
from worker.planner.actions import Action, Reply
from worker.planner.plan import Limits
from worker.testing import MemoryStore

Make = Callable[..., World]
BUYER, BROKER = "estate:address:buyer", "estate:address:contactPerson"
FATAL_CHILD = 9666
STAR = range(9001, 9501)


# --- ids that the API rejects


@pytest.mark.parametrize("bad", [9001, 9123, 9250, 9251, 9500])
def test_one_bad_id_in_a_star_of_500_costs_18_more_requests_at_most_and_only_itself(
    make_world: Make, bad: int
) -> None:
    world = make_world(
        records=Records(missing=frozenset({("address", bad)})),
        policy={"limits": Limits(max_ids=500, max_actions=50)},
    )
    world.accept(change("create", BUYER, 501, *STAR))
    world.drain()
    assert {relation.child for relation in world.relations()} == {*STAR} - {bad}
    assert world.job().failed == (Relation(BUYER, 501, bad),)
    assert world.store.counts("acme")["requests"] <= 1 + 18


@pytest.mark.parametrize("count", [2, 5, 20, 100, 500])
def test_with_several_bad_ids_everyone_goes_alone_before_halving_costs_more(count: int) -> None:
    bad = random.Random(count).sample(STAR, count)
    records = Records(missing=frozenset(("address", child) for child in bad))
    world = World(MemoryStore, records=records, policy={"limits": Limits(max_ids=500, max_actions=50)})
    world.accept(change("create", BUYER, 501, *STAR))
    world.drain()
    assert {relation.child for relation in world.relations()} == {*STAR} - {*bad}
    counts = world.store.counts("acme")
    assert counts["requests"] <= 1 + 18 + 500 // 50
    assert counts["actions"] <= 500 + 2 * 18  # nobody is tried alone twice


# --- changes that kill their worker


class FatalApi:
    """An API client that kills its worker when it is to send one address."""

    def __init__(self, world: World, account: str = "acme") -> None:
        self._inner, self.account = world.apis[account], account
        world.apis[account] = self

    def send(self, actions: tuple[Action, ...], **how: object) -> Reply:
        if any(relation.child == FATAL_CHILD for action in actions for relation in action.relations):
            raise WorkerDied
        return self._inner.send(actions, **how)


def fatal_world(**options: object) -> World:
    world = World(MemoryStore, **options)
    FatalApi(world)
    return world


def outcomes(world: World) -> dict[int, str]:
    """Return what became of each child, by the one job that is about it."""
    return {job.children[0]: job.state for job in world.jobs()}


@pytest.mark.parametrize("size", [1, 2, 30, 300])
def test_a_change_that_kills_its_worker_is_found_alone_and_its_neighbours_are_applied(size: int) -> None:
    world = fatal_world()
    pool = WorkerPool(world)
    neighbours = range(9001, 9001 + size - 1)
    world.accept(*(change("create", BUYER, 501, child) for child in [*neighbours, FATAL_CHILD]))
    pool.run(until=pool.is_done)
    assert outcomes(world) == {FATAL_CHILD: "failed"} | dict.fromkeys(neighbours, "succeeded")
    [refusal] = [job.refusal for job in world.jobs() if job.state == "failed"]
    assert refusal[1] == "poison"
    # Halving twice as often as there are powers of two (both halves may hold it), and three deaths alone.
    assert pool.deaths <= 2 * (size - 1).bit_length() + 4


def test_a_job_of_many_relations_loses_only_the_one_that_kills() -> None:
    world = fatal_world(policy={"limits": Limits(max_ids=100, max_actions=50)})
    pool = WorkerPool(world)
    world.accept(change("create", BUYER, 501, *range(9601, 9701)))
    pool.run(until=pool.is_done)
    job = world.job()
    assert (job.failed, job.counts["applied"]) == ((Relation(BUYER, 501, FATAL_CHILD),), 99)


def test_poison_is_found_though_new_changes_keep_coming() -> None:
    world = fatal_world()
    pool = WorkerPool(world)
    world.accept(*(change("create", BUYER, 501, child) for child in (9001, FATAL_CHILD, 9002)))
    for number in range(400):
        world.accept(change("create", BUYER, 502 + number, 9001))
        pool.run(1.0)
    pool.run(until=pool.is_done)
    states = [job.state for job in world.jobs() if FATAL_CHILD not in job.children]
    assert states == ["succeeded"] * 402
    assert pool.deaths <= 8


@pytest.mark.parametrize("size", [20, 1000])
def test_poison_is_found_beside_relations_that_make_their_requests_fail(size: int) -> None:
    bad = [("estate", 501 + number) for number in range(40)]
    world = fatal_world(faults=FaultPlan.of_records(bad, "gateway_before"), policy={"max_batch": size})
    pool = WorkerPool(world)
    world.accept(*(change("create", BUYER, 501 + number, 90_001 + number) for number in range(40)))
    pool.run(30.0)
    world.accept(*(change("create", BUYER, 801, child) for child in (9001, 9002, FATAL_CHILD, 9003)))
    poison = world.receipts[-2].job
    pool.run(900.0, until=lambda: world.store.get_job(poison).state == "failed")
    assert world.store.get_job(poison).refusal[1] == "poison"
    pool.run(60.0)
    assert {relation.child for relation in world.relations()} == {9001, 9002, 9003}
    assert pool.deaths <= 2 * size.bit_length() + 4


def test_one_account_s_poison_costs_the_others_nothing() -> None:
    world = fatal_world(accounts=("acme", "other"))
    pool = WorkerPool(world, workers=2)
    for number in range(20):
        world.accept(*(change("create", BUYER, 501, 9001 + number, account=name) for name in world.accounts))
    world.accept(change("create", BUYER, 501, FATAL_CHILD))
    pool.run(5.0)
    assert len(world.relations("other")) == 20
    pool.run(until=pool.is_done)
    assert len(world.relations("acme")) == 20


def test_the_delete_of_a_broker_whose_successor_is_poison_fails_and_the_broker_stays() -> None:
    world = fatal_world()
    world.simulator.seed("token-acme", [Relation(BROKER, 501, 42)])
    pool = WorkerPool(world)
    world.accept(change("create", BROKER, 501, FATAL_CHILD), change("delete", BROKER, 501, 42))
    pool.run(until=pool.is_done)
    assert [job.refusal[1] for job in world.jobs()] == ["poison", "last_one"]
    assert set(world.relations()) == {Relation(BROKER, 501, 42)}


# --- a real worker, really killed


@contextmanager
def crashing_worker(stack: Stack, folder: Path) -> Iterator[Path]:
    """Run a Celery worker that one address kills; the file has a mark for each death."""
    deaths = folder / "deaths"
    deaths.touch()
    command = [
        sys.executable,
        "-m",
        "celery",
        "-A",
        "tests.support.crashing_worker",
        "worker",
        "-c",
        "2",
        "-l",
        "INFO",
    ]
    env = {
        **stack.environ,
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "FATAL_CHILD": str(FATAL_CHILD),
        "DEATHS_FILE": str(deaths),
    }
    options = ["--without-gossip", "--without-mingle", "--without-heartbeat"]
    with Process([*command, *options], log=folder / "crashing.log", env=env, cwd=folder) as process:
        yield deaths
        assert process.running, process.tail()


def test_a_real_worker_killed_by_a_change_leaves_it_failed_and_its_neighbours_applied(tmp_path: Path) -> None:
    shape = Shape(accounts=("acme",), defaults={**QUICK, "window": 0.0, "doubt": 125.0}, parts=())
    with running(tmp_path, shape) as stack, crashing_worker(stack, tmp_path) as deaths:
        runtime = stack.runtime()
        [*neighbours, poison] = runtime.intake().accept(
            [change("create", BUYER, 501, child) for child in (9001, 9002, 9003, FATAL_CHILD)]
        )
        seen = 0

        def is_done() -> bool:
            nonlocal seen
            if (now := len(deaths.read_text())) > seen:
                runtime.client.delete("relations:{acme}:holder")  # as ten seconds would
                seen = now
            runtime.sweep()
            counts = runtime.store.counts("acme")
            return not (counts.get("backlog") or counts.get("open"))

        wait_until(is_done, lambda: (tmp_path / "crashing.log").read_text()[-5000:])
        assert [runtime.store.get_job(receipt.job).state for receipt in neighbours] == ["succeeded"] * 3
        assert runtime.store.get_job(poison.job).refusal[1] == "poison"
        assert 4 <= seen <= 8
