"""An account's slot moves between masters under load: what was accepted ends, all else is later."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import count

import pytest
from redis.exceptions import RedisError

from ops.dev.redis_server import RedisServer
from tests.support.broken_stores import inspector_of
from tests.support.clusters import (
    Cluster,
    can_move_at_once,
    move_slot,
    move_slot_at_once,
    run_cluster,
    run_command,
)
from tests.support.flow_world import World, change
from tests.support.store_steps import expire_lease
from tests.support.store_values import MONTH, NO_LIMIT, submission
from tests.support.waiting import wait_until
from worker.contract import Relation
from worker.errors import StoreUnavailable
from worker.ports.store import IntakeBounds
from worker.redis.client import connect
from worker.store.database import Commit
from worker.store.redis_store import RedisStore

BUYER = "estate:address:buyer"
MOVES = 2
ACCOUNT_KEY = "moving:{acme}"

Move = Callable[[Cluster, RedisServer, RedisServer, "Load"], None]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with run_cluster(tmp_path_factory.mktemp("cluster"), persist="no") as running_cluster:
        yield running_cluster


class Load:
    """A producer and a worker of one account, each with a client of its own."""

    def __init__(self, cluster: Cluster) -> None:
        def make_store(now: Callable[[], int]) -> RedisStore:
            return RedisStore(connect(cluster.url), "moving", now=now)

        self.world = World(make_store)
        self.accepted, self.later, self.flushed = list[int](), 0, 0
        self.errors = list[BaseException]()
        self._store, self._numbers = make_store(self.world.clock.now), count(1)
        self._is_over = threading.Event()

    def accept(self) -> None:
        number = next(self._numbers)
        asked = submission(f"{number:09d}", change("create", BUYER, number, 9))
        try:
            self._store.accept("acme", [asked], IntakeBounds(NO_LIMIT, MONTH))
        except StoreUnavailable:  # which HTTP answers as 503 with Retry-After
            self.later += 1
        else:
            self.accepted.append(number)

    def flush(self) -> None:
        try:
            self.world.flush()
        except StoreUnavailable:
            expire_lease_when_back(self.world.store)
        self.flushed += 1

    @contextmanager
    def running(self) -> Iterator[None]:
        """Go on in two threads until the block ends."""
        threads = [threading.Thread(target=self._repeat, args=(act,)) for act in (self.accept, self.flush)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._is_over.set()
            for thread in threads:
                thread.join()

    def _repeat(self, act: Callable[[], None]) -> None:
        while not self._is_over.is_set() and not self.errors:
            try:
                act()
            except Exception as error:  # whatever is no "later"
                self.errors.append(error)

    def wait_for_some(self) -> None:
        """Return when both have tried something since now."""
        accepts, flushes = len(self.accepted) + self.later, self.flushed
        wait_until(
            lambda: (
                bool(self.errors) or (len(self.accepted) + self.later > accepts and self.flushed > flushes)
            ),
            "the load stands still",
        )


def expire_lease_when_back(store: object) -> None:
    """End the lease of a flush that could not release it, as its ten seconds would."""
    assert isinstance(store, RedisStore)
    with suppress(RedisError):  # it is tried again after the next flush
        expire_lease(store)


def by_keys(cluster: Cluster, source: RedisServer, target: RedisServer, load: Load) -> None:
    move_slot(cluster, ACCOUNT_KEY, source, target, between=load.wait_for_some)


def at_once(_cluster: Cluster, source: RedisServer, target: RedisServer, _load: Load) -> None:
    if not can_move_at_once(source):
        pytest.skip("this server moves a slot key by key only")
    move_slot_at_once(ACCOUNT_KEY, source, target)


@pytest.mark.parametrize("move", [by_keys, at_once])
def test_what_is_accepted_while_its_slot_moves_ends_and_all_else_is_later(
    cluster: Cluster, move: Move
) -> None:
    load = Load(cluster)
    load.world.store.database.redis.flushall()
    nodes = list(cluster.nodes)
    source = next(node for node in nodes if owns(node))
    with load.running():
        for _ in range(MOVES):
            load.wait_for_some()
            target = nodes[(nodes.index(source) + 1) % len(nodes)]
            move(cluster, source, target, load)
            source = target
        load.wait_for_some()
    assert load.errors == []
    expire_lease(load.world.store)
    load.world.drain()
    assert set(load.world.relations()) == {Relation(BUYER, number, 9) for number in load.accepted}
    jobs = [load.world.store.get_job(f"acme-{number:09d}") for number in load.accepted]
    assert {job.state if job else "" for job in jobs} == {"succeeded"}
    assert inspector_of(load.world.store).inspect("acme").flaws == ()


def test_what_empties_a_key_while_its_slot_moves_is_written_as_a_whole_or_not_at_all(
    cluster: Cluster,
) -> None:
    database = RedisStore(connect(cluster.url), "moving").database
    database.redis.flushall()
    write = Commit(database, "acme")
    write.run("ZADD", "due", 1, "first")
    write.run("HSET", "counts", "open", 1)
    write.send()
    source = next(node for node in cluster.nodes if owns(node))
    target = next(node for node in cluster.nodes if node is not source)
    slot = int(run_command(source, "CLUSTER KEYSLOT", ACCOUNT_KEY))
    run_command(target, "CLUSTER SETSLOT", slot, "IMPORTING", run_command(source, "CLUSTER MYID"))
    run_command(source, "CLUSTER SETSLOT", slot, "MIGRATING", run_command(target, "CLUSTER MYID"))
    replace = Commit(database, "acme")
    replace.run("HINCRBY", "counts", "open", 1)
    replace.run("ZREM", "due", "first")
    replace.run("ZADD", "due", 2, "second")
    with pytest.raises(StoreUnavailable):
        replace.send("replace")
    for node in (source, target):
        run_command(node, "CLUSTER SETSLOT", slot, "STABLE")
    assert database.read("acme", "zrange", "due", 0, -1) == [b"first"]
    assert database.read("acme", "hget", "counts", "open") == b"1"


def owns(node: RedisServer) -> bool:
    """Return whether the node has the account's slot now."""
    slot, me = int(run_command(node, "CLUSTER KEYSLOT", ACCOUNT_KEY)), run_command(node, "CLUSTER MYID")
    return any(
        first <= slot <= last and owner[2] == me
        for first, last, owner, *_ in run_command(node, "CLUSTER SLOTS")
    )
