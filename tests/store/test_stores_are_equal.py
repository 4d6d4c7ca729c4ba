"""One state machine drives the store in memory and the one on a real server side by side; whatever can be seen of them must be equal."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple
from uuid import uuid4

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from redis import Redis

from ops.dev.redis_server import RedisServer
from tests.support.store_moves import (
    BROKER,
    BUYER,
    MONTH,
    START,
    change,
    intents_by_relation,
    keep_newest,
    leave,
    record_of,
    request_about,
    settle_all,
    submission,
)
from tests.support.store_steps import acts, questions
from worker.contract import TYPES, Relation, order_of
from worker.errors import BacklogFull, LeaseLost
from worker.planner.fold import Intent
from worker.planner.relation_state import Stage
from worker.ports import (
    ERASED,
    AuditEntry,
    DeleteBrake,
    JobFilter,
    Lease,
    Pause,
    RecordRef,
    RelationRecord,
    Replay,
    ReplayEntry,
    Store,
    Submission,
    UnreadableMessage,
    Writes,
)
from worker.store.lease import Scripts
from worker.store.redis_store import RedisStore
from worker.testing import FakeClock, MemoryStore
from worker.usecases.batch import Batch

ACCOUNTS = ("acme", "baker")
RELATIONS = [
    Relation(name, parent, child) for name in (BUYER, BROKER) for parent in (1, 2) for child in (9, 10)
]
GUARDS = [f"{BROKER}:1", f"{BROKER}:2"]
GRID = 2  # seconds; all lifetimes and all jumps of the clock are multiples, so real time that passes meanwhile does not count
REPEATABLE = (
    "lease",
    "renew",
    "read",
    "records",
    "neighbours",
    "take",
    "begin",
    "settle",
    "stop",
    "paused",
    "reject",
)
RECORDS = [RecordRef("address", 9), RecordRef("address", 10), RecordRef("estate", 1)]
STEPS: tuple[Callable[[Lease], object], ...] = (
    lambda lease: lease.renew(),
    lambda lease: lease.release(window=1.5),
    lambda lease: lease.read(max_jobs=9, max_relations=9),
    lambda lease: lease.claim((), (), Writes()),
    lambda lease: lease.begin("r", request_about(RELATIONS)),
    lambda lease: lease.settle("r", Writes()),
)

accounts = st.sampled_from(["acme", "acme", "acme", "baker"])
changes = st.fixed_dictionaries(
    {
        "parent": st.sampled_from([1, 2]),
        "children": st.sampled_from([(9,), (10,), (10, 9), (9, 10, 11)]),
        "kind": st.sampled_from(["create", "create", "modify", "delete"]),
        "name": st.sampled_from([BUYER, BROKER]),
        "info": st.sampled_from([(), (("statusTerminbestaetigung", "bestätigt"),)]),
        "ago": st.sampled_from([None, None, None, None, 0, 5, 3600, -200, -400, 31 * 86_400]),
        "batch": st.sampled_from(["", "import"]),
        "source": st.sampled_from(["", "portal"]),
        "event": st.sampled_from(["", "", "", "", "e1", "e2"]),
        "redelivered": st.booleans(),
    }
)
fields = st.sampled_from(
    [
        {},
        {"stage": Stage.READ_BACK},
        {"waits_for_swap": True, "rejections": 3},
        {"stage": Stage.READ_BACK, "part": "a/0.1"},
    ]
)
delays = st.sampled_from([0, 0, 2, 4, 8, 30])
ends = st.sampled_from(["applied", "superseded", "stale", "failed", "failed", "open", "newest"])
fates = st.lists(st.tuples(ends, fields, delays), min_size=1, max_size=4)
openings = st.lists(
    st.tuples(st.sampled_from(["open", "open", "newest"]) | ends, fields, delays), min_size=1, max_size=4
)


class Pair(NamedTuple):
    """One lease, held in both stores."""

    account: str
    memory: Lease
    redis: Lease


class Said(NamedTuple):
    """A refusal, comparable."""

    kind: type[Exception]
    text: str
    retry_after: float


class SideBySide(RuleBasedStateMachine):
    client: Redis

    def __init__(self) -> None:
        super().__init__()
        self.clock, self.prefix, self.ids, self.stammers = FakeClock(START), f"t{uuid4().hex}", 0, False
        self.memory = MemoryStore(self.clock.now)
        self.redis = RedisStore(self.client, self.prefix, now=self.clock.now)
        self.redis._scripts = Scripts(*map(self.stammering, Scripts._fields, self.redis._scripts))
        self.acts = {self.memory: acts(self.memory), self.redis: acts(self.redis)}
        scripts = self.acts[self.redis]._scripts
        scripts |= {name: self.stammering("act", script) for name, script in scripts.items()}
        self.leases: list[Pair] = []
        self.jobs: dict[str, list[str]] = {account: [] for account in ACCOUNTS}
        self.sent: list[tuple[str, str]] = []
        self.replays: list[str] = []
        self.last: tuple[str, Sequence[Submission], int] = ("acme", (), 0)

    def stammering(self, name: str, script: Callable[..., Any]) -> Callable[..., Any]:
        """A script whose first answer gets lost now and then."""

        def call(**how: Any) -> Any:
            if self.stammers and name in (*REPEATABLE, "act"):
                script(**how)
            return script(**how)

        return call

    def name(self) -> str:
        self.ids += 1
        return f"{self.ids:05d}"

    def both(self, ask: Callable[[Store], Any]) -> Any:
        """What both stores answer."""
        return same(ask, self.memory, self.redis)

    def held(self, pair: Pair, ask: Callable[[Lease], Any]) -> Any:
        """What both leases answer."""
        return same(ask, pair.memory, pair.redis)

    def mine(self, account: str) -> Pair:
        """A lease that holds: the one at hand, else a new one."""
        if self.memory._state(account).holder(self.clock.now()) is None:
            self.lease(account)
        return next(pair for pair in reversed(self.leases) if pair.account == account)

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

    # --- intake

    @initialize(asked=st.lists(changes, min_size=2, max_size=4))
    def begin_with_some(self, asked: list[dict[str, Any]]) -> None:
        self.accept("acme", asked, 1000)

    @rule(
        account=accounts,
        asked=st.lists(changes, min_size=1, max_size=4),
        backlog=st.sampled_from([4, 1000, 1000]),
    )
    def accept(self, account: str, asked: list[dict[str, Any]], backlog: int) -> None:
        self.last = account, [self.submit(account, **one) for one in asked], backlog
        self.accept_again()

    @precondition(lambda self: self.last[1])
    @rule()
    def accept_again(self) -> None:
        account, submissions, backlog = self.last
        answer = self.both(
            lambda store: store.accept(account, submissions, max_backlog=backlog, oldest=MONTH)
        )
        if not isinstance(answer, Said):
            self.jobs[account] += [receipt.job for receipt in answer.receipts if not receipt.duplicate]

    def submit(
        self,
        account: str,
        *,
        ago: int | None,
        event: str,
        redelivered: bool,
        children: tuple[int, ...],
        **rest: Any,
    ) -> Submission:
        occurred = None if ago is None else self.clock.now() - ago * 1_000_000
        asked = change(rest.pop("parent"), *children, account=account, occurred_at=occurred, **rest)
        return submission(self.name(), asked, event_id=event, redelivered=redelivered)

    # --- work

    @rule(
        account=accounts,
        jobs=st.sampled_from([1, 3, 1000]),
        relations=st.sampled_from([2, 5000]),
        chosen=openings,
    )
    def take(self, account: str, jobs: int, relations: int, chosen: list[Any]) -> None:
        pair = self.mine(account)
        work = self.held(pair, lambda lease: lease.read(max_jobs=jobs, max_relations=relations))
        writes = self.decide(intents_by_relation(work.jobs, work.records), chosen)
        self.held(pair, lambda lease: lease.claim(work.jobs, work.begun, writes))

    @rule(
        account=accounts,
        share=st.sampled_from([1, 2]),
        chosen=fates,
        end=st.sampled_from(["answered", "recorded", "recorded", "lost"]),
    )
    def send(self, account: str, share: int, chosen: list[Any], end: str) -> None:
        pair, name = self.mine(account), self.name()
        opened = [relation for relation in RELATIONS if relation in self.memory._state(account).opens]
        request = request_about(opened[::share] or RELATIONS[:1])
        signed = self.held(pair, lambda lease: lease.begin(name, request))
        if end == "lost":
            self.expire(account)
        elif isinstance(signed, int):
            writes = self.decide(
                intents_by_relation((), self.held(pair, lambda lease: lease.records(request.relations()))),
                chosen,
            )
            writes.request = record_of(name, request, signed) if end == "recorded" else None
            self.held(pair, lambda lease: lease.settle(name, writes))
            self.sent.append((account, name))

    @rule(account=accounts, jobs=st.sampled_from([1, 2, 1000]), times=st.integers(1, 6))
    def lose_workers(self, account: str, jobs: int, times: int) -> None:
        for _ in range(times):
            self.held(self.mine(account), lambda lease: lease.read(max_jobs=jobs, max_relations=5000))
            self.expire(account)

    @rule(account=accounts, rest=st.sampled_from([2, 4, 8, 60]))
    def give_back_for_a_rest(self, account: str, rest: int) -> None:
        self.stammers = False
        self.held(self.mine(account), lambda lease: lease.release(window=1.5, rest=float(rest)))

    @rule(
        account=accounts,
        what=st.sampled_from(["renew", "release", "release", "lease", "lost"]),
        stammers=st.booleans(),
    )
    def keep_or_give_back(self, account: str, what: str, stammers: bool) -> None:
        self.stammers = (
            stammers and what != "release"
        )  # after which nobody can tell that it was us who had the lease
        if what == "lease":
            self.lease(account)
        elif what == "lost":
            pair = self.mine(account)
            self.expire(account)
            assert all(isinstance(self.held(pair, step), Said) for step in STEPS)
        else:
            self.held(self.mine(account), STEPS[what == "release"])

    def decide(self, intents: Mapping[Relation, Sequence[Intent]], chosen: Sequence[Any]) -> Writes:
        """Writes that give each relation one of the chosen fates."""
        writes, now = Writes(), self.clock.now()
        for number, (relation, asked) in enumerate(intents.items()):
            end, how, later = chosen[number % len(chosen)]
            doubt = now + 150_000_000 if later == 30 else 0
            state = {**how, "since": now, "not_before": now + later * 1_000_000 if later else 0}
            if end == "open":
                leave(relation, asked, state, writes, doubt=doubt)
            elif end == "newest":
                keep_newest(relation, asked, state, writes, doubt=doubt)
            else:
                settle_all(relation, asked, end, writes)
        return writes

    # --- people and time

    @rule(
        account=accounts,
        seconds=st.sampled_from([0, 2, 60]),
        by_hand=st.booleans(),
        then=st.sampled_from([None, 2, 4]),
    )
    def stop(self, account: str, seconds: int, by_hand: bool, then: int | None) -> None:
        """A pause, perhaps a second one, and its end."""
        pause = Pause(
            "credentials",
            "136: später",
            since=7,
            until=seconds and self.clock.now() + seconds * 1_000_000,
            fingerprint="f",
        )
        if by_hand:
            self.both(lambda store: store.pause(account, pause))
        else:
            self.held(self.mine(account), lambda lease: lease.set_pause(pause))
        if then:
            self.held(
                self.mine(account),
                lambda lease: lease.set_pause(Pause("clock", until=self.clock.now() + then * 1_000_000)),
            )
            self.held(self.mine(account), lambda lease: lease.begin("r", request_about(RELATIONS)))
            self.held(self.mine(account), STEPS[1])
            self.pass_time(2)
        self.both(lambda store: store.get_pause(account))
        if seconds != 2:
            self.both(lambda store: store.resume(account))

    @rule(account=accounts, newest=st.integers(0, 5), mark=st.sampled_from(["", "", "m"]))
    def replay(self, account: str, newest: int, mark: str) -> None:
        failed = self.both(lambda store: store.failed_jobs(account, limit=3))
        self.both(lambda store: store.requeue(account, [*failed, *self.jobs[account][-newest:]], mark=mark))

    def deed(self, act: str, *, by: str = "ada") -> AuditEntry:
        return AuditEntry(self.name(), by, act, "jobs 9, 10 and 1", "because")

    @rule(account=accounts, newest=st.integers(1, 6), first=st.booleans())
    def cancel(self, account: str, newest: int, first: bool) -> None:
        jobs, deed = (
            self.jobs[account][:newest] if first else self.jobs[account][-newest:],
            self.deed("cancelled"),
        )
        self.both(lambda store: self.acts[store].cancel(account, [*jobs, f"{account}-gone"], deed))

    @rule(account=accounts, jobs=st.sampled_from([1, 3]), newest=st.integers(1, 4))
    def cancel_while_in_hand(self, account: str, jobs: int, newest: int) -> None:
        pair, deed = self.mine(account), self.deed("cancelled")
        work = self.held(pair, lambda lease: lease.read(max_jobs=jobs, max_relations=5000))
        self.both(lambda store: self.acts[store].cancel(account, self.jobs[account][-newest:], deed))
        writes = self.decide(intents_by_relation(work.jobs, work.records), [("open", {}, 0)])
        self.held(pair, lambda lease: lease.claim(work.jobs, work.begun, writes))

    @rule(account=accounts, newest=st.integers(1, 6))
    def dismiss(self, account: str, newest: int) -> None:
        jobs, deed = (
            [*self.memory.failed_jobs(account, limit=1), *self.jobs[account][-newest:]],
            self.deed("dismissed"),
        )
        self.both(lambda store: self.acts[store].dismiss(account, jobs, deed))

    @rule(
        account=accounts,
        event=st.sampled_from(["u1", "u2", ""]),
        body=st.sampled_from([b"{", b'{"parentid": 9}', b"x" * 65_600]),
    )
    def reject(self, account: str, event: str, body: bytes) -> None:
        name = self.name()
        message = UnreadableMessage(account, "celery", event or name, ("parentid: is required", "no 1"), body)
        receipt = self.both(lambda store: store.reject(account, f"{account}-{name}", message))
        self.jobs[account] += [] if receipt.duplicate else [receipt.job]
        self.both(lambda store: self.acts[store].get_payload(receipt.job))

    @rule(account=accounts, newest=st.integers(2, 4))
    def send_anew(self, account: str, newest: int) -> None:
        if len(self.jobs[account]) >= newest:
            job, *new = self.jobs[account][-newest:]
            self.both(lambda store: self.acts[store].link_replacement(job, new, by="ada"))

    @rule(account=accounts, jobs=st.integers(0, 3), anew=st.booleans())
    def prepare(self, account: str, jobs: int, anew: bool) -> None:
        failed, deed, name = (
            self.memory.failed_jobs(account, limit=jobs),
            self.deed("replay prepared"),
            f"{account}-{self.name()}",
        )
        entries = [ReplayEntry(job, ({"childid": 10},) if anew else ()) for job in failed]
        replay = Replay(
            id=name,
            account=account,
            by="ada",
            what="failed, parent 1",
            eligible=len(entries),
            plan={"actions": [[9]]},
        )
        self.both(lambda store: self.acts[store].save_replay(replay, entries, deed))
        self.replays.append(name)

    @precondition(lambda self: self.replays)
    @rule(
        which=st.integers(0, 3),
        to=st.sampled_from(["running", "running", "stopped"]),
        piece=st.integers(0, 2),
        back=st.integers(0, 1),
    )
    def work_a_replay(self, which: int, to: Any, piece: int, back: int) -> None:
        name, deed, done = (
            self.replays[-1 - which % len(self.replays)],
            self.deed(f"replay {to}"),
            self.deed("replay done"),
        )
        self.both(lambda store: self.acts[store].set_replay_state(name, to, deed))
        if replay := self.both(lambda store: self.acts[store].get_replay(name)):
            start, end = replay.done, min(replay.done + piece, replay.eligible)
            missed = {"gone": end - start - back} if end - start > back else {}
            told = {"back": min(back, end - start), "missed": missed, "audit_entry": done}
            self.both(lambda store: self.acts[store].replay_entries(name, start, 2))
            self.both(lambda store: self.acts[store].advance_replay(replay, start, end, **told))
        self.both(
            lambda store: (
                [self.acts[store].stalled_replays(replay.account, age) for age in (0, 1, 60)]
                if replay
                else None
            )
        )
        self.both(lambda store: self.acts[store].touch_replay(name) if back else None)

    @rule(account=accounts, who=st.sampled_from(RECORDS))
    def erase(self, account: str, who: RecordRef) -> None:
        """As the use case does it, whether or not a request is under way."""
        pair, batch = self.mine(account), Batch(upsert=False, order=lambda name: order_of(TYPES[name]))
        held = {self.memory: pair.memory, self.redis: pair.redis}
        self.both(lambda store: self.acts[store].count_unsettled(account))
        self.stammers = False  # what a first call has changed is not counted by the second
        relations = self.both(lambda store: self.acts[store].open_relations_with(account, who))
        ended, records = [each for each in relations if who.is_part_of(each)], pair.memory.records(relations)
        batch.reopen(set(relations) - set(ended), records)
        writes = batch.writes(batch.withdraw(ended, records, by=ERASED))
        self.held(pair, lambda lease: lease.claim((), (), writes))
        self.both(lambda store: self.acts[store].erase_jobs(held[store], who, 0))
        self.both(lambda store: through(self.acts[store], held[store], who))
        for relation in RELATIONS:
            assert not who.is_part_of(relation) or self.memory.relation_history(account, relation) == (
                RelationRecord(),
                (),
            )
        assert self.both(lambda store: self.acts[store].erase_jobs(held[store], who, 0)) == (
            0,
            {"jobs": 0, "emptied": 0},
        )

    @rule(
        account=accounts,
        deletes=st.integers(0, 3),
        ahead=st.integers(0, 4),
        most=st.integers(1, 6),
        resumed=st.booleans(),
    )
    def brake(self, account: str, deletes: int, ahead: int, most: int, resumed: bool) -> None:
        pair, name, deed = self.mine(account), self.name(), self.deed("resumed")
        request = request_about(RELATIONS[:deletes], kind="delete")
        signed = self.held(pair, lambda lease: lease.begin(name, request, DeleteBrake(most, deletes + ahead)))
        if isinstance(signed, int):
            self.held(pair, lambda lease: lease.settle(name, Writes()))
        elif resumed:
            self.both(lambda store: store.resume(account, audit_entry=deed))

    @rule(
        seconds=st.sampled_from([2, 2, 4, 4, 6, 6, 8, 10, 60, 7 * 86_400, 30 * 86_400]),
        fingerprint=st.sampled_from(["", "f", "g"]),
    )
    def pass_time(self, seconds: int, fingerprint: str = "") -> None:
        """The server's own clock cannot be moved; what is left of lifetimes can."""
        self.clock.sleep(seconds)
        self.last = "acme", (), 0
        for key in self.client.scan_iter(f"{self.prefix}:*", count=1000):
            if (left := self.client.pttl(key)) > 0:
                self.client.pexpire(key, (-(-left // (1000 * GRID)) * GRID - seconds) * 1000)
        self.both(
            lambda store: store.due_accounts(ACCOUNTS, credentials=dict.fromkeys(ACCOUNTS, fingerprint))
        )

    @rule(account=accounts)
    def tidy(self, account: str) -> None:
        """What indexes still hold of forgotten jobs and requests goes."""
        self.both(lambda store: store.tidy(account))
        held, base = self.memory._state(account), f"{self.prefix}:{{{account}}}"
        assert [name.decode() for name in self.client.zrange(f"{base}:jobs", 0, -1)] == list(
            held.index.values()
        )
        assert [name.decode() for name in self.client.lrange(f"{base}:requests", 0, -1)] == list(
            reversed(held.requests)
        )

    # --- what can be seen

    @invariant()
    def all_that_can_be_seen_is_equal(self) -> None:
        self.both(lambda store: store.accounts())
        for account in ACCOUNTS:
            self.both(lambda store, account=account: seen(store, account))
            self.both(
                lambda store, account=account: (
                    self.acts[store].audit_log(account, limit=4),
                    self.acts[store].list_replays(account, limit=3),
                )
            )

    @invariant()
    def pages_jobs_and_requests_are_equal(self) -> None:
        page = self.both(lambda store: questions(store).find_jobs("acme", JobFilter(), limit=2))
        self.both(lambda store: questions(store).find_jobs("acme", JobFilter(), limit=2, cursor=page.next))
        self.both(lambda store: questions(store).find_jobs("acme", JobFilter(state="failed"), limit=1))
        self.both(
            lambda store: questions(store).find_jobs(
                "acme", JobFilter(type=BUYER, parent=1, error="ambiguous"), limit=2
            )
        )
        self.both(lambda store: [store.get_job(job) for job in self.jobs["acme"][:1]])
        self.both(lambda store: [store.get_request(account, name) for account, name in self.sent[-3:]])

    @precondition(lambda self: self.leases)
    @invariant()
    def open_work_is_equal(self) -> None:
        self.held(self.leases[-1], lambda lease: (lease.records(RELATIONS), lease.swap_partners(GUARDS)))


def through(acts: Any, lease: Lease, who: RecordRef) -> Counter[str]:
    """All that is kept gone through for a record."""
    cursor, counts = acts.erase_rest(lease, who, 0)
    total = Counter(counts)
    while cursor:
        cursor, counts = acts.erase_rest(lease, who, cursor)
        total.update(counts)
    return total


def same(ask: Callable[[Any], Any], *asked: Any) -> Any:
    """The one answer that all give."""
    first, *others = map(outcome(ask), asked)
    assert all(other == first for other in others), (first, *others)
    return first


def outcome(ask: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """The answer, or the refusal as a value."""

    def asked(of: Any) -> Any:
        try:
            return ask(of)
        except (LeaseLost, BacklogFull) as error:
            return Said(type(error), str(error), error.retry_after)

    return asked


def seen(store: Store, account: str, relations: Iterable[Relation] = RELATIONS[:5]) -> tuple[Any, ...]:
    """Everything but single jobs."""
    return (
        questions(store).find_jobs(account, JobFilter(), limit=1000),
        questions(store).count_by_state(account),
        questions(store).failure_groups(account),
        questions(store).list_requests(account, limit=3),
        store.counts(account),
        store.batch_counts(account, "import"),
        store.get_pause(account),
        store.failed_jobs(account, limit=1000),
        [store.relation_history(account, relation) for relation in relations],
    )


def test_the_store_in_memory_and_the_one_on_redis_are_equal(redis_server: RedisServer) -> None:
    with Redis.from_url(redis_server.url) as client:
        machine = type("Machine", (SideBySide,), {"client": client})
        quiet = settings(
            max_examples=settings().max_examples * 2 // 3,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            phases=(
                Phase.reuse,
                Phase.generate,
            ),  # a failure is told as it is: making it shorter takes minutes
        )
        run_state_machine_as_test(machine, settings=quiet)
