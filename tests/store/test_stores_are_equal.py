"""One state machine drives the store in memory and the one on Redis; all answers must be equal."""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple
from uuid import uuid4

import msgspec
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
from tests.support.flow_world import generous_policy
from tests.support.store_steps import count_by_state, job_admin_of, metrics_of, queries_of
from tests.support.store_values import (
    BROKER,
    BUYER,
    MONTH,
    START,
    change,
    intents_by_relation,
    keep_newest,
    leave_open,
    look_up_results,
    make_request,
    make_request_record,
    name_by_references,
    settle_all,
    submission,
)
from worker.contract import Relation
from worker.errors import StoreRolledBack, Unavailable
from worker.ids import id_prefix
from worker.planner.fold import RESULTS, Intent
from worker.planner.relation_state import RelationRecord, Stage
from worker.ports.erasure import ERASED, RecordRef
from worker.ports.pace import Pause
from worker.ports.records import OPEN_STATES, AuditEntry, JobFilter, JobRecord
from worker.ports.replays import Replay, ReplayEntry
from worker.ports.store import IntakeBounds, Store, Submission, UnreadableMessage
from worker.ports.work import DeleteBrake, Lease, Writes
from worker.store.account import read_memories
from worker.store.database import Database
from worker.store.redis_store import RedisStore
from worker.testing import FakeClock, MemoryStore
from worker.usecases.withdrawal import withdraw_record

ACCOUNTS = ("acme", "baker")
RELATIONS = [
    Relation(name, parent, child) for name in (BUYER, BROKER) for parent in (1, 2) for child in (9, 10)
]
GUARDS = [f"{BROKER}:1", f"{BROKER}:2"]
# Seconds; all lifetimes and jumps of the clock are multiples, so that the real time of a test does not count:
# what is left of a lifetime on the server is rounded up, at each jump and once a quarter of the grid is over.
GRID = 2
COUNTED = ("accepted", "succeeded", "superseded", "failed")
POLICY = generous_policy("acme")
RECORDS = [RecordRef("address", 9), RecordRef("address", 10), RecordRef("estate", 1)]
STEPS: tuple[Callable[[Lease], object], ...] = (
    lambda lease: lease.renew(),
    lambda lease: lease.release(window=1.5),
    lambda lease: lease.read(max_jobs=9, max_relations=9),
    lambda lease: lease.claim((), (), Writes()),
    lambda lease: lease.begin("r", make_request(RELATIONS)),
    lambda lease: lease.settle("r", Writes()),
)

accounts = st.sampled_from(["acme", "acme", "acme", "baker"])
changes = st.fixed_dictionaries(
    {
        "parent": st.sampled_from([1, 2]),
        "children": st.sampled_from([(9,), (10,), (10, 9), (9, 10, 11)]),
        "kind": st.sampled_from(["create", "create", "modify", "delete", "replace"]),
        "name": st.sampled_from([BUYER, BROKER]),
        "info": st.sampled_from([(), (("statusTerminbestaetigung", "bestätigt"),)]),
        "ago": st.sampled_from([None, None, None, None, 0, 5, 3600, -200, -400, 31 * 86_400]),
        "batch": st.sampled_from(["", "import"]),
        "source": st.sampled_from(["", "portal"]),
        "event": st.sampled_from(["", "", "", "", "e1", "e2"]),
        "redelivered": st.booleans(),
        "named": st.sampled_from(["", "", "", "parent", "child", "both"]),
    }
)
findings = st.lists(st.sampled_from(["found", "found", "none", "several", "failed"]), min_size=1, max_size=3)
fields = st.sampled_from(
    [
        {},
        {"stage": Stage.READ_BACK},
        {"held": True, "rejections": 3},
        {"stage": Stage.READ_BACK, "part": f"{RELATIONS[0]}/0.1"},
    ]
)
delays = st.sampled_from([0, 0, 2, 4, 8, 30])
ends = st.sampled_from(["applied", "superseded", "stale", "failed", "failed", "open", "newest"])
fates = st.lists(st.tuples(ends, fields, delays), min_size=1, max_size=4)
openings = st.lists(
    st.tuples(st.sampled_from(["open", "open", "newest"]) | ends, fields, delays), min_size=1, max_size=4
)


class LeasePair(NamedTuple):
    """One lease on both stores."""

    account: str
    memory: Lease
    redis: Lease


class RaisedError(NamedTuple):
    """An error that a call raised, comparable."""

    kind: type[Exception]
    text: str
    retry_after: float


class SideBySide(RuleBasedStateMachine):
    client: Redis

    def __init__(self) -> None:
        super().__init__()
        self.clock, self.prefix, self.ids, self.repeats = FakeClock(START), f"t{uuid4().hex}", 0, False
        self.rounded_at = time.monotonic()
        self.memory = MemoryStore(self.clock.now)
        self.redis = RedisStore(self.client, self.prefix, now=self.clock.now)
        self.job_admins = {self.memory: job_admin_of(self.memory), self.redis: job_admin_of(self.redis)}
        self.repeat_scripts(self.redis.database)
        self.repeat_scripts(self.job_admins[self.redis].database)
        self.leases: list[LeasePair] = []
        self.jobs: dict[str, list[str]] = {account: [] for account in ACCOUNTS}
        self.sent: list[tuple[str, str]] = []
        self.replays: list[str] = []
        self.last: tuple[str, Sequence[Submission], int] = ("acme", (), 0)

    def repeat_scripts(self, database: Database) -> None:
        """Commit everything twice while `repeats` is set, as if their first answer had been lost."""

        def repeated(script: Callable[..., Any]) -> Callable[..., Any]:
            def call(**arguments: Any) -> Any:
                if self.repeats:
                    script(**arguments)
                return script(**arguments)

            return call

        database.scripts |= {name: repeated(database.scripts[name]) for name in ("commit", "add")}

    def new_id(self) -> str:
        """Return an id whose time is the clock's: a bucket gets no job once its lifetime is over."""
        self.ids += 1
        return f"{id_prefix(self.clock.now())}{self.ids:05d}"

    def on_both(self, call: Callable[[Store], Any]) -> Any:
        """Make the call on both stores and return their one answer."""
        self.round_lifetimes_in_time()
        return same_answer(call, self.memory, self.redis)

    def on_leases(self, pair: LeasePair, call: Callable[[Lease], Any]) -> Any:
        """Make the call on both leases and return their one answer."""
        self.round_lifetimes_in_time()
        return same_answer(call, pair.memory, pair.redis)

    def valid_lease(self, account: str) -> LeasePair:
        """Return the account's lease, a new one if the last has ended."""
        if not self.memory.database.redis.exists(self.memory.database.key(account, "holder")):
            self.lease(account)
        return next(pair for pair in reversed(self.leases) if pair.account == account)

    def lease(self, account: str) -> None:
        holder = self.new_id()
        memory, redis = self.memory.lease(account, holder), self.redis.lease(account, holder)
        assert (memory is None) is (redis is None)
        if memory and redis:
            assert (memory.account, memory.pause) == (redis.account, redis.pause)
            self.leases.append(LeasePair(account, memory, redis))

    def round_lifetimes_in_time(self) -> None:
        if time.monotonic() - self.rounded_at > GRID / 4:
            self.shorten_lifetimes(0)

    def shorten_lifetimes(self, seconds: int) -> None:
        """Let every key on the server end so many seconds sooner, but for the real time that has passed."""
        self.rounded_at = time.monotonic()
        for key in self.client.scan_iter(f"{self.prefix}:*", count=1000):
            if (left := self.client.pttl(key)) > 0:
                self.client.pexpire(key, (-(-left // (1000 * GRID)) * GRID - seconds) * 1000)

    def expire(self, account: str) -> None:
        for store in (self.memory, self.redis):
            store.database.redis.delete(store.database.key(account, "holder"))

    # --- intake

    @initialize(drawn=st.lists(changes, min_size=2, max_size=4))
    def begin_with_some_changes(self, drawn: list[dict[str, Any]]) -> None:
        self.accept("acme", drawn, 1000)

    @rule(
        account=accounts,
        drawn=st.lists(changes, min_size=1, max_size=4),
        backlog=st.sampled_from([4, 1000, 1000]),
    )
    def accept(self, account: str, drawn: list[dict[str, Any]], backlog: int) -> None:
        self.last = account, [self.make_submission(account, **fields) for fields in drawn], backlog
        self.repeat_last_accept()

    @precondition(lambda self: self.last[1])
    @rule()
    def repeat_last_accept(self) -> None:
        account, submissions, backlog = self.last
        answer = self.on_both(lambda store: store.accept(account, submissions, IntakeBounds(backlog, MONTH)))
        if not isinstance(answer, RaisedError):
            self.jobs[account] += [receipt.job for receipt in answer.receipts if not receipt.duplicate]

    def make_submission(
        self,
        account: str,
        *,
        ago: int | None,
        event: str,
        redelivered: bool,
        children: tuple[int, ...],
        named: str,
        **rest: Any,
    ) -> Submission:
        occurred = None if ago is None else self.clock.now() - ago * 1_000_000
        asked = change(rest.pop("parent"), *children, account=account, occurred_at=occurred, **rest)
        asked = name_by_references(asked, named)
        if asked.action == "replace":
            asked = msgspec.structs.replace(asked, replaces="child", info=())
        return submission(self.new_id(), asked, event_id=event, redelivered=redelivered)

    # --- work

    @rule(
        account=accounts,
        jobs=st.sampled_from([1, 3, 1000]),
        relations=st.sampled_from([2, 5000]),
        chosen=openings,
    )
    def claim(self, account: str, jobs: int, relations: int, chosen: list[Any]) -> None:
        pair = self.valid_lease(account)
        work = self.on_leases(pair, lambda lease: lease.read(max_jobs=jobs, max_relations=relations))
        writes = self.make_writes(intents_by_relation(work.jobs, work.records), chosen)
        self.on_leases(pair, lambda lease: lease.claim(work.jobs, work.begun, writes))

    @rule(account=accounts, most=st.sampled_from([1, 2, 1000]), chosen=findings, park=st.booleans())
    def look_up(self, account: str, most: int, chosen: list[str], park: bool) -> None:
        pair = self.valid_lease(account)
        batch = self.on_leases(pair, lambda lease: lease.read_look_ups(most))
        wanted = [reference for job in batch.jobs for reference in job.references]
        self.on_leases(pair, lambda lease: lease.known_records(wanted, memory=60.0))
        results, learned = look_up_results(batch, chosen, park=park)
        self.on_leases(pair, lambda lease: lease.write_look_ups(results, learned, memory=60.0))

    @rule(
        account=accounts,
        share=st.sampled_from([1, 2]),
        chosen=fates,
        end=st.sampled_from(["answered", "recorded", "recorded", "lost"]),
    )
    def send(self, account: str, share: int, chosen: list[Any], end: str) -> None:
        pair, name = self.valid_lease(account), self.new_id()
        known = self.on_leases(pair, lambda lease: lease.records(RELATIONS))
        opened = [relation for relation in RELATIONS if known[relation].open]
        request = make_request(opened[::share] or RELATIONS[:1])
        signed = self.on_leases(pair, lambda lease: lease.begin(name, request))
        if end == "lost":
            self.expire(account)
        elif isinstance(signed, int):
            writes = self.make_writes(
                intents_by_relation(
                    (), self.on_leases(pair, lambda lease: lease.records(request.relations()))
                ),
                chosen,
            )
            writes.requests = (make_request_record(name, request, signed),) if end == "recorded" else ()
            self.on_leases(pair, lambda lease: lease.settle(name, writes))
            self.sent.append((account, name))

    @rule(account=accounts, what=st.sampled_from(["step", "begun", "settled", "both"]))
    def lose_last_write(self, account: str, what: str) -> None:
        """Let the store forget the last write of a holder, as a failover does."""
        pair, name = self.valid_lease(account), self.new_id()
        self.on_leases(pair, lambda lease: lease.read(max_jobs=1, max_relations=1))
        request, self.repeats = make_request(RELATIONS[:1]), False
        if isinstance(self.on_leases(pair, lambda lease: lease.begin(name, request)), Pause):
            return
        keys = [
            (store.database.redis, store.database.key(account, "")) for store in (self.memory, self.redis)
        ]
        kept = [redis.hget(f"{base}journal", name) for redis, base in keys]
        if what == "settled":  # its journal entry is back
            self.on_leases(pair, lambda lease: lease.settle(name, Writes()))
        for (redis, base), entry in zip(keys, kept, strict=True):
            if what == "settled":
                redis.hset(f"{base}journal", name, entry)
            elif what == "step":
                redis.hincrby(f"{base}holder", "step", -1)
            else:
                redis.hdel(f"{base}journal", name)
                if what == "both":  # it is not there, and one that was settled is
                    redis.hset(f"{base}journal", f"{name}-before", entry)
        steps = STEPS[3:] if what == "step" else STEPS[4:5]
        answers = [self.on_leases(pair, step) for step in steps]
        assert all(answer.kind is StoreRolledBack for answer in answers)
        self.expire(account)

    @rule(account=accounts, jobs=st.sampled_from([1, 2, 1000]), times=st.integers(1, 6))
    def lose_workers(self, account: str, jobs: int, times: int) -> None:
        for _ in range(times):
            self.on_leases(
                self.valid_lease(account), lambda lease: lease.read(max_jobs=jobs, max_relations=5000)
            )
            self.expire(account)

    @rule(account=accounts, rest=st.sampled_from([2, 4, 8, 60]))
    def release_for_a_rest(self, account: str, rest: int) -> None:
        self.on_leases(self.valid_lease(account), lambda lease: lease.release(window=1.5, rest=float(rest)))

    @rule(
        account=accounts,
        what=st.sampled_from(["renew", "release", "release", "lease", "lost"]),
        repeats=st.booleans(),
    )
    def renew_or_release(self, account: str, what: str, repeats: bool) -> None:
        self.repeats = repeats
        if what == "lease":
            self.lease(account)
        elif what == "lost":
            pair = self.valid_lease(account)
            self.expire(account)
            assert all(isinstance(self.on_leases(pair, step), RaisedError) for step in STEPS)
        else:
            self.on_leases(self.valid_lease(account), STEPS[what == "release"])

    def make_writes(self, intents: Mapping[Relation, Sequence[Intent]], chosen: Sequence[Any]) -> Writes:
        """Return writes that give each relation one of the chosen fates."""
        writes, now = Writes(), self.clock.now()
        for number, (relation, asked) in enumerate(intents.items()):
            end, how, later = chosen[number % len(chosen)]
            doubt = now + 150_000_000 if later == 30 else 0
            state = {**how, "since": now, "not_before": now + later * 1_000_000 if later else 0}
            if end == "open":
                leave_open(relation, asked, state, writes, doubt=doubt)
            elif end == "newest":
                keep_newest(relation, asked, state, writes, doubt=doubt)
            else:
                settle_all(relation, asked, end, writes)
        return writes

    # --- people and time

    @rule(
        account=accounts,
        seconds=st.sampled_from([0, 2, 60]),
        by_operator=st.booleans(),
        then=st.sampled_from([None, 2, 4]),
    )
    def pause(self, account: str, seconds: int, by_operator: bool, then: int | None) -> None:
        """Pause, perhaps a second time, and resume."""
        pause = Pause(
            "credentials",
            "136: später",
            since=7,
            until=seconds and self.clock.now() + seconds * 1_000_000,
            fingerprint="f",
        )
        if by_operator:
            self.on_both(lambda store: store.pause(account, pause))
        else:
            self.on_leases(self.valid_lease(account), lambda lease: lease.set_pause(pause))
        if then:
            self.on_leases(
                self.valid_lease(account),
                lambda lease: lease.set_pause(Pause("clock", until=self.clock.now() + then * 1_000_000)),
            )
            self.on_leases(self.valid_lease(account), lambda lease: lease.begin("r", make_request(RELATIONS)))
            self.on_leases(self.valid_lease(account), STEPS[1])
            self.pass_time(2)
        self.on_both(lambda store: store.get_pause(account))
        if seconds != 2:
            self.on_both(lambda store: store.resume(account))

    @rule(account=accounts, newest=st.integers(0, 5), mark=st.sampled_from(["", "", "m"]))
    def requeue(self, account: str, newest: int, mark: str) -> None:
        failed = self.on_both(lambda store: store.failed_jobs(account, limit=3))
        self.on_both(
            lambda store: store.requeue(account, [*failed, *self.jobs[account][-newest:]], mark=mark)
        )

    def audit_entry(self, act: str, *, by: str = "ada") -> AuditEntry:
        return AuditEntry(self.new_id(), by, act, "jobs 9, 10 and 1", "because")

    @rule(account=accounts, newest=st.integers(1, 6), first=st.booleans())
    def cancel(self, account: str, newest: int, first: bool) -> None:
        jobs, audit_entry = (
            self.jobs[account][:newest] if first else self.jobs[account][-newest:],
            self.audit_entry("cancelled"),
        )
        self.on_both(
            lambda store: self.job_admins[store].cancel(account, [*jobs, f"{account}-gone"], audit_entry)
        )

    @rule(account=accounts, jobs=st.sampled_from([1, 3]), newest=st.integers(1, 4))
    def cancel_after_read(self, account: str, jobs: int, newest: int) -> None:
        pair, audit_entry = self.valid_lease(account), self.audit_entry("cancelled")
        work = self.on_leases(pair, lambda lease: lease.read(max_jobs=jobs, max_relations=5000))
        self.on_both(
            lambda store: self.job_admins[store].cancel(account, self.jobs[account][-newest:], audit_entry)
        )
        writes = self.make_writes(intents_by_relation(work.jobs, work.records), [("open", {}, 0)])
        self.on_leases(pair, lambda lease: lease.claim(work.jobs, work.begun, writes))

    @rule(account=accounts, newest=st.integers(1, 6), whole=st.booleans(), choose=st.booleans())
    def resolve(self, account: str, newest: int, whole: bool, choose: bool) -> None:
        """Let a person say what a job names, or that it is looked up now."""
        found = self.memory.get_job(self.jobs[account][-1]) if self.jobs[account] else None
        wanted = [each.reference for each in found.references] if found else []
        records = {each: int(each.fields[0][1]) for each in wanted[: None if whole else 1]}
        jobs, entry = self.jobs[account][-newest:], self.audit_entry("resolved")
        failed = self.memory.failed_jobs(account, limit=1)
        if choose:
            self.on_both(
                lambda store: self.job_admins[store].resolve(account, [*failed, *jobs], records, entry)
            )
        else:
            self.on_both(lambda store: self.job_admins[store].look_up_now(account, jobs, entry))

    @rule(account=accounts, newest=st.integers(1, 6))
    def dismiss(self, account: str, newest: int) -> None:
        jobs, audit_entry = (
            [*self.memory.failed_jobs(account, limit=1), *self.jobs[account][-newest:]],
            self.audit_entry("dismissed"),
        )
        self.on_both(lambda store: self.job_admins[store].dismiss(account, jobs, audit_entry))

    @rule(
        account=accounts,
        event=st.sampled_from(["u1", "u2", ""]),
        body=st.sampled_from([b"{", b'{"parentid": 9}', b"x" * 65_600]),
    )
    def reject(self, account: str, event: str, body: bytes) -> None:
        name = self.new_id()
        message = UnreadableMessage(account, "celery", event or name, ("parentid: is required", "no 1"), body)
        receipt = self.on_both(lambda store: store.reject(account, f"{account}-{name}", message))
        self.jobs[account] += [] if receipt.duplicate else [receipt.job]
        self.on_both(lambda store: self.job_admins[store].get_payload(receipt.job))

    @rule(account=accounts, newest=st.integers(2, 4))
    def link_replacement(self, account: str, newest: int) -> None:
        if len(self.jobs[account]) >= newest:
            job, *new = self.jobs[account][-newest:]
            self.on_both(lambda store: self.job_admins[store].link_replacement(job, new, by="ada"))

    @rule(account=accounts, jobs=st.integers(0, 3), corrected=st.booleans())
    def save_replay(self, account: str, jobs: int, corrected: bool) -> None:
        failed, audit_entry, name = (
            self.memory.failed_jobs(account, limit=jobs),
            self.audit_entry("replay prepared"),
            f"{account}-{self.new_id()}",
        )
        entries = [
            ReplayEntry(job, ({"relationtype": BUYER, "childid": 10},) if corrected else ()) for job in failed
        ]
        replay = Replay(
            id=name,
            account=account,
            by="ada",
            what="failed, parent 1",
            eligible=len(entries),
            plan={"actions": [[9]]},
        )
        self.on_both(
            lambda store: self.job_admins[store].save_replay(replay, entries, audit_entry, erasures=0)
        )
        self.replays.append(name)

    @precondition(lambda self: self.replays)
    @rule(
        which=st.integers(0, 3),
        to=st.sampled_from(["running", "running", "stopped"]),
        piece=st.integers(0, 2),
        back=st.integers(0, 1),
    )
    def advance_replay(self, which: int, to: Any, piece: int, back: int) -> None:
        name, audit_entry, done = (
            self.replays[-1 - which % len(self.replays)],
            self.audit_entry(f"replay {to}"),
            self.audit_entry("replay done"),
        )
        self.on_both(lambda store: self.job_admins[store].set_replay_state(name, to, audit_entry))
        if replay := self.on_both(lambda store: self.job_admins[store].get_replay(name)):
            start, end = replay.done, min(replay.done + piece, replay.eligible)
            missed = {"gone": end - start - back} if end - start > back else {}
            progress = {"back": min(back, end - start), "missed": missed, "audit_entry": done}
            self.on_both(lambda store: self.job_admins[store].replay_entries(name, start, 2))
            self.on_both(lambda store: self.job_admins[store].advance_replay(replay, start, end, **progress))
        self.on_both(
            lambda store: (
                [self.job_admins[store].stalled_replays(replay.account, age) for age in (0, 1, 60)]
                if replay
                else None
            )
        )
        self.on_both(lambda store: self.job_admins[store].touch_replay(name) if back else None)

    @rule(account=accounts, who=st.sampled_from(RECORDS))
    def erase(self, account: str, who: RecordRef) -> None:
        """Erase a record as the use case does; what has no answer yet stays."""
        pair = self.valid_lease(account)
        leases = {self.memory: pair.memory, self.redis: pair.redis}
        unsettled = self.on_both(lambda store: self.job_admins[store].unsettled_requests(account))
        if isinstance(unsettled, RaisedError):  # a dead worker had something in hand
            return
        relations = self.on_both(lambda store: self.job_admins[store].open_relations_with(account, who))
        known = self.on_leases(pair, lambda lease: lease.records(relations))
        withdrawal = withdraw_record(who, known, unsettled, POLICY, by=ERASED)
        self.on_leases(pair, lambda lease: lease.claim((), (), withdrawal.writes))

        def erase_jobs(store: Store) -> Counter[str]:
            job_admin, lease = self.job_admins[store], leases[store]
            return erase_all(lambda after: job_admin.erase_jobs(lease, who, after, waiting=withdrawal.jobs))[
                0
            ]

        self.on_both(erase_jobs)
        kept = dict(withdrawal.waiting)
        if not kept:
            _, kept = self.on_both(
                lambda store: erase_all(
                    lambda cursor: self.job_admins[store].erase_rest(leases[store], who, cursor)
                )
            )
        for relation in RELATIONS:
            if who.is_part_of(relation) and not withdrawal.waiting and relation not in kept:
                assert self.memory.relation_history(account, relation)[1] == ()
                # What a replace of another record has shown to be absent stays known of that one.
                own = read_memories(self.memory.database, account, [relation], now=0)
                assert own[relation].record == RelationRecord()
        assert not +self.on_both(erase_jobs)

    @rule(
        account=accounts,
        deletes=st.integers(0, 3),
        ahead=st.integers(0, 4),
        most=st.integers(1, 6),
        resumed=st.booleans(),
    )
    def brake(self, account: str, deletes: int, ahead: int, most: int, resumed: bool) -> None:
        pair, name, audit_entry = self.valid_lease(account), self.new_id(), self.audit_entry("resumed")
        request = make_request(RELATIONS[:deletes], kind="delete")
        signed = self.on_leases(
            pair, lambda lease: lease.begin(name, request, DeleteBrake(most, deletes + ahead))
        )
        if isinstance(signed, int):
            self.on_leases(pair, lambda lease: lease.settle(name, Writes()))
        elif resumed:
            self.on_both(lambda store: store.resume(account, audit_entry=audit_entry))

    @rule(
        seconds=st.sampled_from([2, 2, 4, 4, 6, 6, 8, 10, 60, 7 * 86_400, 30 * 86_400]),
        fingerprint=st.sampled_from(["", "f", "g"]),
    )
    def pass_time(self, seconds: int, fingerprint: str = "") -> None:
        """Move the clock; the server's own cannot be moved, so the rest of its lifetimes is shortened."""
        self.clock.advance(seconds)
        self.last = "acme", (), 0
        self.shorten_lifetimes(seconds)
        self.on_both(
            lambda store: store.due_accounts(ACCOUNTS, credentials=dict.fromkeys(ACCOUNTS, fingerprint))
        )

    @rule(account=accounts)
    def tidy(self, account: str) -> None:
        """Drop expired jobs and requests from the indexes."""
        self.on_both(lambda store: store.tidy(account))
        kept = [
            (
                store.database.redis.zrange(store.database.key(account, "keep"), 0, -1),
                store.database.redis.lrange(store.database.key(account, "requests"), 0, -1),
            )
            for store in (self.memory, self.redis)
        ]
        assert kept[0] == kept[1]

    # --- what can be read

    @invariant()
    def all_that_can_be_read_is_equal(self) -> None:
        self.on_both(lambda store: store.accounts())
        for account in ACCOUNTS:
            self.on_both(lambda store, account=account: read_everything(store, account))
            self.on_both(
                lambda store, account=account: (
                    self.job_admins[store].audit_log(account, limit=4),
                    self.job_admins[store].list_replays(account, limit=3),
                )
            )

    @invariant()
    def pages_jobs_and_requests_are_equal(self) -> None:
        page = self.on_both(lambda store: queries_of(store).find_jobs("acme", JobFilter(), limit=2))
        self.on_both(
            lambda store: queries_of(store).find_jobs("acme", JobFilter(), limit=2, cursor=page.next)
        )
        self.on_both(lambda store: queries_of(store).find_jobs("acme", JobFilter(state="failed"), limit=1))
        self.on_both(
            lambda store: queries_of(store).find_jobs(
                "acme", JobFilter(type=BUYER, parent=1, error="ambiguous"), limit=2
            )
        )
        ended = max((job.finished_at for job in page.entries), default=0)
        late = JobFilter(state="failed", failed_since=ended, failed_until=ended + 1)
        self.on_both(lambda store: queries_of(store).find_jobs("acme", late, limit=5))
        self.on_both(lambda store: [store.get_job(job) for job in self.jobs["acme"][:1]])
        self.on_both(lambda store: [store.get_request(account, name) for account, name in self.sent[-3:]])

    @invariant()
    def lists_have_what_a_list_of_all_jobs_has(self) -> None:
        for account in ACCOUNTS:
            every = queries_of(self.memory).find_jobs(account, JobFilter(), limit=1000).entries
            for state in OPEN_STATES:
                wanted = JobFilter(state=state)
                assert list_all(self.memory, account, wanted) == [job for job in every if job.state == state]
            failed = list_all(self.memory, account, JobFilter(state="failed"))
            assert list_all(self.memory, account, JobFilter(state="failed", type=BUYER)) == [
                job for job in failed if job.type == BUYER
            ]
            for job in [job for job in every if job.source and job.event_id][:3]:
                named = JobFilter(source=job.source, event_id=job.event_id)
                assert job in list_all(self.memory, account, named)
                assert job in queries_of(self.memory).find_event(account, job.event_id, ["none", job.source])

    @invariant()
    def counters_equal_what_the_jobs_say(self) -> None:
        """As long as no job was forgotten: what is counted of it stays."""
        for account in ACCOUNTS:
            jobs = [self.memory.get_job(job) for job in dict.fromkeys(self.jobs[account])]
            if None in jobs:
                continue
            counts, of_batch = self.memory.counts(account), count_ends(jobs, "import")
            outcomes = {result: sum(job.counts[result] for job in jobs) for result in RESULTS}
            assert outcomes == {result: counts.get(f"relations_{result}", 0) for result in RESULTS}
            assert count_ends(jobs) == +Counter({name: counts.get(name, 0) for name in COUNTED})
            assert of_batch == Counter(self.memory.batch_counts(account, "import"))
            tally = metrics_of(self.memory).account_stats([account])[account].tally
            ever = {result: tally.get(f"outcomes:{result}", 0) for result in RESULTS}
            assert {**ever, "failed": 0} == {**outcomes, "failed": 0}
            assert ever["failed"] >= outcomes["failed"]  # those that were put back are still counted

    @precondition(lambda self: self.leases)
    @invariant()
    def open_work_is_equal(self) -> None:
        self.on_leases(
            self.leases[-1], lambda lease: (lease.records(RELATIONS), lease.guarded_relations(GUARDS))
        )


def list_all(store: Store, account: str, wanted: JobFilter) -> list[JobRecord]:
    """Return the jobs that match, read in pages of two."""
    found, cursor = list[JobRecord](), ""
    while True:
        page = queries_of(store).find_jobs(account, wanted, limit=2, cursor=cursor)
        found += page.entries
        if not (cursor := page.next):
            return found


def erase_all(erase_piece: Callable[[int], Any]) -> tuple[Counter[str], dict[Relation, int]]:
    """Erase piece by piece, and return the counts of what went, and what stays."""
    total, in_doubt, cursor = Counter[str](), dict[Relation, int](), 0
    while True:
        cursor, counts, doubts, _ = erase_piece(cursor)
        total.update(counts)
        in_doubt |= doubts
        if not cursor:
            return total, in_doubt


def count_ends(jobs: Iterable[JobRecord], batch: str = "") -> Counter[str]:
    """Count the jobs (of a batch) as the store does: all that were accepted, and those that ended."""
    counted = [job for job in jobs if batch in ("", job.batch)]
    states = Counter(job.state for job in counted if job.state in COUNTED)
    return +(states + Counter(accepted=len(counted)))


def same_answer(call: Callable[[Any], Any], *targets: Any) -> Any:
    """Return the answer of the first, which all others must give too."""
    first, *others = map(answer_or_error(call), targets)
    assert all(other == first for other in others), (first, *others)
    return first


def answer_or_error(call: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return a call that returns the errors it raises."""

    def try_call(target: Any) -> Any:
        try:
            return call(target)
        except Unavailable as error:
            return RaisedError(type(error), str(error), error.retry_after)

    return try_call


def read_everything(
    store: Store, account: str, relations: Iterable[Relation] = RELATIONS[:5]
) -> tuple[Any, ...]:
    """Return everything that can be read of an account but single jobs."""
    return (
        queries_of(store).find_jobs(account, JobFilter(), limit=1000),
        count_by_state(metrics_of(store), account),
        queries_of(store).failure_groups(account),
        queries_of(store).list_requests(account, limit=3),
        store.counts(account),
        metrics_of(store).account_stats([account])[account].tally,
        store.batch_counts(account, "import"),
        store.get_pause(account),
        store.failed_jobs(account, limit=1000),
        [store.relation_history(account, relation) for relation in relations],
    )


def test_the_store_in_memory_and_the_one_on_redis_are_equal(redis_server: RedisServer) -> None:
    with Redis.from_url(redis_server.url) as client:
        machine = type("Machine", (SideBySide,), {"client": client})
        quiet = settings(
            max_examples=settings().max_examples // 2,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            phases=(Phase.reuse, Phase.generate),  # no shrinking: making a failure shorter takes minutes
        )
        run_state_machine_as_test(machine, settings=quiet)
