"""Ways to break one thing of an account's stored data, as lost writes and mistakes do, and its inspector."""

from collections.abc import Callable, Sequence
from random import Random
from typing import Any, NamedTuple

from worker.contract import TYPES, Relation, guarded_side
from worker.planner.guard import guard_key
from worker.ports.store import Store
from worker.store.database import Commit, Database, new_commit_id
from worker.store.inspection.inspector import RedisInspector
from worker.store.jobs.stored_job import FAILED, QUEUED, SENDING, SUCCEEDED, LoadedJob
from worker.store.keys import bucket_of
from worker.store.redis_store import RedisStore
from worker.testing import FakeClock


def guard_of(_account: str, relation: Relation) -> str:
    """Return the record that the relation's type guards."""
    return guard_key(relation, guarded_side(TYPES[relation.type]))


def inspector_of(store: Store) -> RedisInspector:
    """Return the inspector of a store's data."""
    assert isinstance(store, RedisStore)
    numbers = iter(range(10**6))
    return RedisInspector(
        store, clock=FakeClock(), new_id=lambda: f"inspector-{next(numbers)}", guard_of=guard_of
    )


class Place(NamedTuple):
    """An account's data, and the chance that chooses what is broken of it."""

    database: Database
    account: str
    chance: Random

    @property
    def redis(self) -> Any:
        """The client, or the dictionary."""
        return self.database.redis

    def key(self, name: str) -> str:
        return self.database.key(self.account, name)

    def run(self, command: str, name: str, *args: object) -> bool:
        """Run one command; return True."""
        commit = Commit(self.database, self.account)
        commit.run(command, name, *args)
        commit.send(new_commit_id())
        return True

    def pick(self, found: Sequence[Any]) -> Any:
        """Return one by chance, None if there is none."""
        return self.chance.choice(sorted(found)) if found else None

    def jobs(self) -> list[LoadedJob]:
        """Return every stored job."""
        found = []
        for bucket in sorted(map(int, self.redis.hkeys(self.key("buckets")))):
            rows = self.redis.hgetall(self.key(f"jobs:{bucket}"))
            found += [LoadedJob.read(name.decode(), text, is_kept=False) for name, text in rows.items()]
        rows = self.redis.hgetall(self.key("kept"))
        return found + [LoadedJob.read(name.decode(), text, is_kept=True) for name, text in rows.items()]

    def pick_job(self, suits: Callable[[LoadedJob], bool] = lambda _: True) -> LoadedJob | None:
        found = {job.short: job for job in self.jobs() if suits(job)}
        name = self.pick(list(found))
        return found[name] if name else None

    def put(self, job: LoadedJob) -> bool:
        name = "kept" if job.is_kept else f"jobs:{bucket_of(job.short)}"
        return self.run("HSET", name, job.short, job.encode())


def lose_queue_entry(place: Place) -> bool:
    listed = place.redis.lrange(place.key("queue"), 0, -1)
    name = place.pick(listed)
    return name is not None and place.run("LREM", "queue", 1, name)


def add_queue_entry(place: Place) -> bool:
    job = place.pick_job()
    name = job.short if job and place.chance.random() < 0.7 else "gone"
    return place.run("RPUSH", "queue", name)


def lose_look_up(place: Place) -> bool:
    listed = place.redis.lrange(place.key("look_ups"), 0, -1)
    parked = place.redis.zrange(place.key("parked"), 0, -1)
    name = place.pick([*listed, *parked])
    if name is None:
        return False
    return place.run("LREM", "look_ups", 1, name) if name in listed else place.run("ZREM", "parked", name)


def add_look_up(place: Place) -> bool:
    job = place.pick_job()
    name = job.short if job and place.chance.random() < 0.7 else "gone"
    key, *args = place.chance.choice([("look_ups",), ("parked", 7)])
    return place.run("ZADD" if args else "RPUSH", str(key), *args, name)


def add_claim(place: Place) -> bool:
    job = place.pick_job(lambda job: job.value.state != QUEUED)
    return place.run("RPUSH", "claimed", job.short if job else "gone")


def lose_claim(place: Place) -> bool:
    name = place.pick(place.redis.lrange(place.key("claimed"), 0, -1))
    return name is not None and place.run("LREM", "claimed", 1, name)


def lose_open_relation(place: Place) -> bool:
    name = place.pick(place.redis.hkeys(place.key("open")))
    if name is None:
        return False
    place.run("HDEL", "open", name)
    return place.chance.random() < 0.5 or place.run("ZREM", "due", name)


def lose_due(place: Place) -> bool:
    name = place.pick(place.redis.hkeys(place.key("open")))
    return name is not None and place.run("ZREM", "due", name)


def shift_due(place: Place) -> bool:
    name = place.pick(place.redis.hkeys(place.key("open")))
    return name is not None and place.run("ZADD", "due", 7, name)


def add_due(place: Place) -> bool:
    return place.run("ZADD", "due", 7, "estate:address:buyer:77:99")


def lose_guard(place: Place) -> bool:
    name = place.pick(place.redis.zrange(place.key("guard"), 0, -1))
    return name is not None and place.run("ZREM", "guard", name)


def add_guard(place: Place) -> bool:
    entry = "estate:address:contactPerson:77|f|estate:address:contactPerson:77:99"
    return place.run("ZADD", "guard", 0, entry)


def change_state(place: Place) -> bool:
    """Let an open job say that it has ended, or that it is sent though it waits."""
    job = place.pick_job(lambda job: job.is_open)
    if job is None:
        return False
    job.value.state = place.chance.choice([SENDING, SUCCEEDED, FAILED, QUEUED])
    return place.put(job)


def change_left(place: Place) -> bool:
    job = place.pick_job(lambda job: job.is_open)
    if job is None:
        return False
    job.value.left += place.chance.choice([-1, 1, 2])
    return place.put(job)


def store_twice(place: Place) -> bool:
    job = place.pick_job(lambda job: job.is_kept)
    return job is not None and place.run("HSET", f"jobs:{bucket_of(job.short)}", job.short, job.encode())


def change_counter(place: Place) -> bool:
    name = place.pick(place.redis.hkeys(place.key("counts")))
    by = place.chance.choice([-2, -1, 1, 3])
    return name is not None and place.run("HINCRBY", "counts", name, by)


def change_meta(place: Place) -> bool:
    return place.run(
        "HINCRBY", "meta", place.chance.choice(["dead", "held"]), place.chance.choice([-2, -1, 1, 3])
    )


def change_bucket(place: Place) -> bool:
    name = place.pick(place.redis.hkeys(place.key("buckets")))
    return name is not None and place.run("HINCRBY", "buckets", name, place.chance.choice([-1, 1, 5]))


def change_label(place: Place) -> bool:
    known = place.redis.hgetall(place.key("batch:import"))
    name = place.pick(list(known))
    return name is not None and place.run("HINCRBY", "batch:import", name, place.chance.choice([-1, 1]))


def end_bucket_early(place: Place) -> bool:
    job = place.pick_job(lambda job: not job.is_kept)
    if job is None:
        return False
    command, *rest = place.chance.choice([("PERSIST",), ("PEXPIRE", 3_600_000)])
    return place.run(str(command), f"jobs:{bucket_of(job.short)}", *rest)


def lose_index_entry(place: Place) -> bool:
    name = place.chance.choice(["keep", "failed"])
    member = place.pick(place.redis.zrange(place.key(name), 0, -1))
    return member is not None and place.run("ZREM", name, member)


def add_index_entry(place: Place) -> bool:
    return place.run("ZADD", "failed", 3, f"{place.account}-gone")


def lose_groups(place: Place) -> bool:
    return bool(place.redis.exists(place.key("failures"))) and place.run("DEL", "failures")


def lose_listing(place: Place) -> bool:
    job = place.pick_job(lambda job: not job.is_kept)
    return job is not None and place.run("LREM", f"order:{bucket_of(job.short)}", 1, job.short)


def lose_event(place: Place) -> bool:
    job = place.pick_job()
    if job is None:
        return False
    return all(place.run("HDEL", key, job.value.digest) for key in ("events:0", "events:1", "events:kept"))


BREAKS: tuple[Callable[[Place], bool], ...] = (
    lose_queue_entry,
    add_queue_entry,
    lose_look_up,
    add_look_up,
    add_claim,
    lose_claim,
    lose_open_relation,
    lose_due,
    shift_due,
    add_due,
    lose_guard,
    add_guard,
    change_state,
    change_left,
    store_twice,
    change_counter,
    change_meta,
    change_bucket,
    change_label,
    end_bucket_early,
    lose_index_entry,
    add_index_entry,
    lose_groups,
    lose_listing,
    lose_event,
)
"""Each breaks one thing, and returns whether there was any to break."""
