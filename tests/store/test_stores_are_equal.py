"""One state machine drives the store in memory and the one on a real server side by side; whatever can be seen of them must be equal."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple
from uuid import uuid4

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule, run_state_machine_as_test
from redis import Redis
from store_moves import BROKER, BUYER, MONTH, START, change, keep_newest, leave, record_of, request_about, settle_all, submission, wishes_of

from ops.embedded import Server
from worker.contract import Relation
from worker.errors import BacklogFull, LeaseLost
from worker.planner.fold import Wish
from worker.ports import Lease, Pause, Store, Submission, Work, Writes
from worker.store.lease import Scripts
from worker.store.redis import RedisStore
from worker.testing import FakeClock, MemoryStore

ACCOUNTS = ("acme", "baker")
RELATIONS = [Relation(name, parent, child) for name in (BUYER, BROKER) for parent in (1, 2) for child in (9, 10)]
GUARDS = [f"{BROKER}:1", f"{BROKER}:2"]
GRID = 2  # seconds; all lifetimes and all jumps of the clock are multiples, so real time that passes meanwhile does not count
REPEATABLE = ("lease", "renew", "read", "records", "neighbours", "take", "begin", "settle", "stop", "paused")

accounts = st.sampled_from(["acme", "acme", "acme", "baker"])
changes = st.fixed_dictionaries(
    {
        "parent": st.sampled_from([1, 2]),
        "children": st.sampled_from([(9,), (10,), (10, 9), (9, 10, 11)]),
        "kind": st.sampled_from(["create", "create", "modify", "delete"]),
        "name": st.sampled_from([BUYER, BROKER]),
        "info": st.sampled_from([(), (("statusTerminbestaetigung", "bestätigt"),)]),
        "ago": st.sampled_from([None, None, 0, 5, 3600, -200, -400, 31 * 86_400]),
        "batch": st.sampled_from(["", "", "import"]),
        "source": st.sampled_from(["", "portal"]),
        "event": st.sampled_from(["", "", "", "e1", "e2"]),
        "redelivered": st.booleans(),
    }
)
opened = st.fixed_dictionaries(
    {},
    optional={"verify": st.booleans(), "held": st.booleans(), "tries": st.integers(0, 9), "part": st.just("a/0.1")},
)
ends = st.sampled_from(["open", "newest", "applied", "superseded", "stale", "failed", "failed"])
fates = st.lists(st.tuples(ends, opened, st.sampled_from([0, 0, 2, 30])), min_size=1, max_size=6)


class Pair(NamedTuple):
    """One lease, held in both stores."""

    account: str
    memory: Lease
    redis: Lease


class SideBySide(RuleBasedStateMachine):
    client: Redis

    def __init__(self) -> None:
        super().__init__()
        self.clock, self.prefix, self.ids, self.stammers = FakeClock(START), f"t{uuid4().hex}", 0, False
        self.memory = MemoryStore(self.clock.now)
        self.redis = RedisStore(self.client, self.prefix, now=self.clock.now)
        self.redis._scripts = Scripts(*map(self.stammering, Scripts._fields, self.redis._scripts))
        self.leases: list[Pair] = []
        self.jobs: dict[str, list[str]] = {account: [] for account in ACCOUNTS}
        self.sent: list[tuple[str, str]] = []
        self.last: tuple[str, Sequence[Submission], int] = ("acme", (), 0)

    def name(self) -> str:
        self.ids += 1
        return f"{self.ids:05d}"

    def stammering(self, name: str, script: Callable[..., Any]) -> Callable[..., Any]:
        """A script whose first answer gets lost now and then."""

        def call(**how: Any) -> Any:
            if self.stammers and name in REPEATABLE:
                script(**how)
            return script(**how)

        return call

    def both(self, ask: Callable[[Store], Any]) -> Any:
        """What both stores answer."""
        answers = [outcome(ask, store) for store in (self.memory, self.redis)]
        assert answers[0] == answers[1]
        return answers[0]

    def held(self, pair: Pair, ask: Callable[[Lease], Any]) -> Any:
        """What both leases answer."""
        answers = [outcome(ask, lease) for lease in (pair.memory, pair.redis)]
        assert answers[0] == answers[1]
        return answers[0]

    def mine(self, account: str) -> Pair:
        """A lease that holds: the one at hand, else a new one."""
        if self.memory._state(account).holder(self.clock.now()) is None:
            self.lease(account)
        return next(pair for pair in reversed(self.leases) if pair.account == account)

    # --- intake

    @initialize(asked=st.lists(changes, min_size=2, max_size=6))
    def begin_with_some(self, asked: list[dict[str, Any]]) -> None:
        self.accept("acme", asked, 1000)

    @rule(account=accounts, asked=st.lists(changes, min_size=1, max_size=4), backlog=st.sampled_from([4, 1000, 1000]))
    def accept(self, account: str, asked: list[dict[str, Any]], backlog: int) -> None:
        submissions = [self.submit(account, **one) for one in asked]
        self.last = account, submissions, backlog
        self.accept_again()

    @precondition(lambda self: self.last[1])
    @rule()
    def accept_again(self) -> None:
        account, submissions, backlog = self.last
        answer = self.both(lambda store: store.accept(account, submissions, max_backlog=backlog, oldest=MONTH))
        if not isinstance(answer, Said):
            self.jobs[account] += [receipt.job for receipt in answer.receipts if not receipt.duplicate]

    def submit(self, account: str, *, ago: int | None, event: str, redelivered: bool, children: tuple[int, ...], **rest: Any) -> Submission:
        occurred = None if ago is None else self.clock.now() - ago * 1_000_000
        asked = change(rest.pop("parent"), *children, account=account, occurred_at=occurred, **rest)
        return submission(self.name(), asked, event_id=event, redelivered=redelivered)

    # --- leases

    @rule(on=st.booleans())
    def lose_answers(self, on: bool) -> None:
        self.stammers = on

    @rule(account=accounts)
    def lease(self, account: str) -> None:
        holder = self.name()
        memory, redis = self.memory.lease(account, holder), self.redis.lease(account, holder)
        assert (memory is None) is (redis is None)
        if memory and redis:
            assert (memory.account, memory.pause) == (redis.account, redis.pause)
            self.leases.append(Pair(account, memory, redis))

    def expire(self, account: str) -> None:
        self.memory._state(account).held = None
        self.client.delete(f"{self.prefix}:{{{account}}}:lease")

    @rule(account=accounts, jobs=st.sampled_from([1, 2, 1000]), times=st.integers(1, 6))
    def lose_workers(self, account: str, jobs: int, times: int) -> None:
        for _ in range(times):
            pair = self.mine(account)
            self.held(pair, lambda lease: lease.read(max_jobs=jobs, max_relations=5000))
            self.expire(account)

    @precondition(lambda self: self.leases)
    @rule(number=st.integers(0, 3))
    def renew(self, number: int) -> None:
        self.held(self.leases[-1 - min(number, len(self.leases) - 1)], lambda lease: lease.renew())

    @rule(account=accounts)
    def release(self, account: str) -> None:
        self.stammers = False
        self.held(self.mine(account), lambda lease: lease.release())

    @precondition(lambda self: len(self.leases) > 1)
    @rule()
    def go_on_with_a_lease_that_is_lost(self) -> None:
        pair, steps = self.leases[0], [renew, release, read, take_nothing, begin, settle]
        self.expire(pair.account)
        assert all(isinstance(self.held(pair, step), Said) for step in steps)

    # --- working

    @rule(account=accounts, jobs=st.sampled_from([1, 3, 1000]), relations=st.sampled_from([2, 5000]), chosen=fates)
    def take(self, account: str, jobs: int, relations: int, chosen: list[Any]) -> None:
        pair = self.mine(account)
        work = self.held(pair, lambda lease: lease.read(max_jobs=jobs, max_relations=relations))
        writes = self.decide(wishes_of(work.jobs, work.records), chosen)
        self.held(pair, lambda lease: lease.take(work.jobs, work.begun, writes))

    @rule(
        account=accounts,
        relations=st.sets(st.sampled_from(RELATIONS), min_size=1),
        chosen=fates,
        end=st.sampled_from(["answered", "recorded", "lost"]),
    )
    def send(self, account: str, relations: set[Relation], chosen: list[Any], end: str) -> None:
        pair, request, name = self.mine(account), request_about(sorted(relations)), self.name()
        signed = self.held(pair, lambda lease: lease.begin(name, request))
        if end == "lost":
            self.expire(account)
        elif isinstance(signed, int):
            writes = self.decide(wishes_of((), self.held(pair, lambda lease: lease.records(request.relations()))), chosen)
            writes.request = record_of(name, request, signed) if end == "recorded" else None
            self.held(pair, lambda lease: lease.settle(name, writes))
            self.sent.append((account, name))

    def decide(self, wishes: dict[Relation, tuple[Wish, ...]], chosen: list[Any]) -> Writes:
        """Writes that give each relation one of the chosen fates."""
        writes, now = Writes(), self.clock.now()
        for number, (relation, asked) in enumerate(wishes.items()):
            end, fields, later = chosen[number % len(chosen)]
            doubt = now + 150_000_000 if later == 30 else 0
            state = {**fields, "since": now, "not_before": now + later * 1_000_000 if later else 0}
            if end == "open":
                leave(relation, asked, state, writes, doubt=doubt)
            elif end == "newest":
                keep_newest(relation, asked, state, writes, doubt=doubt)
            else:
                settle_all(relation, asked, end, writes)
        return writes

    # --- people and time

    @rule(account=accounts, until=st.sampled_from([0, 4, 60]), reason=st.sampled_from(["credentials", "clock"]))
    def stop(self, account: str, until: int, reason: str) -> None:
        pause = Pause(reason, "136: später", until=self.clock.now() + until * 1_000_000 if until else 0, fingerprint="f")
        self.held(self.mine(account), lambda lease: lease.stop(pause))

    @rule(account=accounts, until=st.sampled_from([0, 4]))
    def pause(self, account: str, until: int) -> None:
        pause = Pause("by hand", since=7, until=self.clock.now() + until * 1_000_000 if until else 0)
        self.both(lambda store: store.pause(account, pause))

    @rule(account=accounts)
    def resume(self, account: str) -> None:
        self.both(lambda store: store.resume(account))

    @rule()
    def sweep(self) -> None:
        self.both(lambda store: store.due(ACCOUNTS))

    @rule(account=accounts, newest=st.integers(1, 5))
    def replay(self, account: str, newest: int) -> None:
        failed = self.both(lambda store: store.failed(account, limit=3))
        self.both(lambda store: store.replay(account, [*failed, *self.jobs[account][-newest:]]))

    @rule(seconds=st.sampled_from([2, 2, 4, 4, 6, 6, 8, 10, 60, 7 * 86_400, 30 * 86_400]))
    def pass_time(self, seconds: int) -> None:
        """The server's own clock cannot be moved; what is left of lifetimes can."""
        self.clock.sleep(seconds)
        self.last = "acme", (), 0
        for key in self.client.scan_iter(f"{self.prefix}:*", count=1000):
            if (left := self.client.pttl(key)) > 0:
                self.client.pexpire(key, (-(-left // (1000 * GRID)) * GRID - seconds) * 1000)

    # --- what can be seen

    @invariant()
    def all_that_can_be_seen_is_equal(self) -> None:
        self.both(lambda store: store.accounts())
        for account in ACCOUNTS:
            self.both(lambda store, account=account: seen(store, account))

    @invariant()
    def pages_and_single_jobs_are_equal(self) -> None:
        page = self.both(lambda store: store.jobs("acme", limit=2))
        self.both(lambda store: store.jobs("acme", limit=2, cursor=page.next))
        self.both(lambda store: store.jobs("acme", state="failed", limit=1))
        self.both(lambda store: [store.job(job) for job in self.jobs["acme"][:1]])
        self.both(lambda store: [store.request(account, name) for account, name in self.sent[-3:]])

    @precondition(lambda self: self.leases)
    @invariant()
    def open_work_is_equal(self) -> None:
        self.held(self.leases[-1], lambda lease: (lease.records(RELATIONS), lease.neighbours(GUARDS)))


def outcome(ask: Callable[[Any], Any], of: Any) -> Any:
    """The answer, or the refusal as a comparable value."""
    try:
        return ask(of)
    except (LeaseLost, BacklogFull) as error:
        return Said(type(error), str(error), error.retry_after)


def renew(lease: Lease) -> None:
    lease.renew()


def release(lease: Lease) -> float | None:
    return lease.release()


def read(lease: Lease) -> Work:
    return lease.read(max_jobs=9, max_relations=9)


def take_nothing(lease: Lease) -> None:
    lease.take((), (), Writes())


def begin(lease: Lease) -> int | Pause:
    return lease.begin("r", request_about(RELATIONS))


def settle(lease: Lease) -> None:
    lease.settle("r", Writes())


class Said(NamedTuple):
    """A refusal."""

    kind: type[Exception]
    text: str
    retry_after: float


def seen(store: Store, account: str) -> tuple[Any, ...]:
    """Everything but single jobs."""
    return (
        store.jobs(account, limit=1000),
        store.counts(account),
        store.batch(account, "import"),
        store.paused(account),
        store.failed(account, limit=1000),
        [store.mentions(account, relation) for relation in RELATIONS[:5]],
    )


def test_the_store_in_memory_and_the_one_on_redis_are_equal(redis_server: Server) -> None:
    with Redis.from_url(redis_server.url) as client:
        machine = type("Machine", (SideBySide,), {"client": client})
        quiet = settings(max_examples=60, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck))
        run_state_machine_as_test(machine, settings=quiet)
