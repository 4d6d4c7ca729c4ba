"""What one transition of a flush writes: it claims jobs, begins and settles requests, and writes the rest."""

from collections import defaultdict
from collections.abc import Collection, Container, Iterable, Mapping, Sequence
from typing import Final

from worker.contract import Relation
from worker.planner.actions import Request
from worker.planner.apply_reply import RelationOutcome
from worker.planner.guard import guard_key
from worker.planner.relation_state import Doubt
from worker.ports.pace import Pause
from worker.ports.records import AuditEntry
from worker.ports.work import BegunRequest, ClaimedJob, DeleteBrake, OpenWrite, Writes
from worker.store import codec
from worker.store.account import AccountCommit, read_jobs, read_memories
from worker.store.database import Check
from worker.store.jobs import lifecycle
from worker.store.jobs.stored_job import QUEUED, IndexedState
from worker.store.lease.claimed_work import ClaimedWork, ClaimedWorkChange, as_old
from worker.store.lease.leased_account import LeasedAccount
from worker.store.lease.queue import Queue, enter_list
from worker.store.limits import BRAKE_WINDOW_US
from worker.store.memories import why_of
from worker.store.pauses import PAUSE_FIELDS, KnownPause, write_pause

MINUTE_US: Final = 60_000_000
HOUR: Final = 60  # minutes


def claim(
    leased: LeasedAccount, wanted: Mapping[str, ClaimedJob], begun: Sequence[BegunRequest], writes: Writes
) -> bool:
    """Move jobs from the queue into open relations; False when one has ended since it was read."""
    recovered = leased.claimed.recovered
    _load_jobs(leased, recovered or wanted)
    if not all(job and job.value.state == QUEUED for job in map(leased.jobs.get, wanted)):
        leased.require_lease()  # the next holder may have taken it
        return False
    commit, change = leased.commit(), ClaimedWorkChange()
    claimed = [leased.jobs[short] for short in recovered or wanted]
    if recovered is not None:
        _end_recovery(leased, commit, writes)
        lifecycle.claim(claimed)  # as the dead worker has counted them
    elif wanted:
        change = _take(leased, commit, wanted, writes)
    changed = {job.short: IndexedState.of(job) for job in claimed if job.short not in change.jobs}
    lifecycle.claim(claimed)
    request_ids = [entry.request_id for entry in begun]
    if request_ids:
        commit.run("HDEL", "journal", *request_ids)
    _write(leased, commit, writes, "", changed, change)
    leased.send(commit, change)
    leased.clear_journal(request_ids)
    leased.drop_ended_jobs(changed)
    if recovered is not None:
        leased.claimed = ClaimedWork(is_recovered=True)
    return True


def begin(leased: LeasedAccount, request_id: str, request: Request, brake: DeleteBrake | None) -> int | Pause:
    """Journal a request before it may leave (R14); return when it is signed (µs), or why it is not sent.

    A pause or the brake on deletes may stop it.
    """
    now = leased.database.now()
    if leased.pause.in_force(now):
        return _read_pause(leased, now) or begin(leased, request_id, request, brake)
    commit = leased.commit(now)
    commit.check("pause", "since", leased.pause.since)
    if leased.journal is not None:
        commit.check("journal", "#", len(leased.journal))
        for name in leased.journal:
            commit.check("journal", name, "*")  # its content, the whole request, never changes
    stopped = None
    if brake and request.deletes:
        stopped = _apply_brake(leased, commit, request.deletes, brake)
    if stopped:
        write_pause(commit, stopped, braked=False)
    else:
        commit.hset("journal", request_id, b"%d %s" % (now, codec.encode(request)))
    try:
        leased.send(commit)
    except Check as failed:
        if failed.position > 3:
            raise leased.rolled_back() from None
        # Somebody paused or resumed the account.
        return _read_pause(leased, now) or begin(leased, request_id, request, brake)
    if stopped:
        leased.pause = KnownPause(stopped, braked=True)
        return stopped
    if leased.journal is not None:
        leased.journal.add(request_id.encode())
    leased.under_way.add(request_id.encode())
    return now


def settle(leased: LeasedAccount, request_id: str, writes: Writes) -> None:
    """Write the outcomes of a begun request, and clear its journal."""
    commit = leased.commit()
    if request_id:
        commit.run("HDEL", "journal", request_id)
    changed, change = dict[str, IndexedState](), ClaimedWorkChange()
    _write(leased, commit, writes, request_id, changed, change)
    leased.send(commit, change)
    leased.clear_journal([request_id])
    leased.drop_ended_jobs(changed)
    leased.drop_closed_memories([outcome.relation for outcome in writes.outcomes])


def write_claimed(leased: LeasedAccount) -> None:
    """Write the open relations that are claimed only, and their jobs."""
    _load_jobs(leased, leased.claimed.jobs)
    commit, change = leased.commit(), ClaimedWorkChange()
    left = {
        short: IndexedState.of(leased.jobs[short]) for short in leased.claimed.jobs if short in leased.jobs
    }
    _write(leased, commit, Writes(), "", left, change)
    leased.send(commit, change)


def _take(
    leased: LeasedAccount, commit: AccountCommit, wanted: Mapping[str, ClaimedJob], writes: Writes
) -> ClaimedWorkChange:
    """Take jobs out of the queue, and claim them as far as they need not be written now."""
    if not leased.queue.has(wanted):
        leased.queue = Queue.locate(leased.database, leased.account, wanted, dead=leased.meta.dead)
    leased.queue.cut_after(wanted, commit)
    change = leased.claimed.take(wanted, writes, leased.opened)
    commit.totals["sending"] += len(change.jobs)  # which are not written
    if change.jobs:
        commit.run("RPUSH", "claimed", *change.jobs)
        if not leased.claimed.jobs:
            commit.run("HSET", "meta", "held_since", commit.now)
    return change


def _end_recovery(leased: LeasedAccount, commit: AccountCommit, writes: Writes) -> None:
    """Let everything that a dead worker had claimed be written, as old as it is."""
    since = leased.meta.held_since
    for relation, write in writes.opens.items():
        if relation not in leased.opened:
            writes.opens[relation] = as_old(write, since)
    commit.run("DEL", "claimed")
    commit.run("HSET", "meta", "held", 0)


def _load_jobs(leased: LeasedAccount, named: Iterable[str]) -> None:
    """Read those of these jobs that nobody has read."""
    if missing := [short for short in named if short not in leased.jobs]:
        found_jobs = read_jobs(leased.database, leased.account, missing)
        claimed: Collection[str] = () if leased.claimed.recovered else leased.claimed.jobs
        lifecycle.claim(
            job for job in found_jobs.values() if job.short in claimed and job.value.state == QUEUED
        )
        leased.jobs |= found_jobs


def _load_memories(leased: LeasedAccount, relations: Iterable[Relation]) -> None:
    """Read those of these memories that nobody has read."""
    if unknown := [each for each in relations if each not in leased.memories]:
        now = leased.database.now()
        leased.memories |= read_memories(leased.database, leased.account, unknown, now=now, opens=False)


def _write(
    leased: LeasedAccount,
    commit: AccountCommit,
    writes: Writes,
    request_id: str,
    changed: dict[str, IndexedState],
    change: ClaimedWorkChange,
) -> None:
    """Write everything that one transition changes; `changed` jobs are written in any case."""
    by_job = _outcomes_by_job(leased, writes)
    _load_jobs(leased, by_job)
    _write_memories(leased, commit, writes, request_id)
    commit.put_requests(writes.requests)
    _audit(leased, commit, writes.audit_entry)
    for short, outcomes in by_job.items():
        if (job := leased.jobs.get(short)) is None:
            continue
        before = changed.get(short) or IndexedState.of(job)
        doing = writes.job_states.get(f"{leased.account}-{short}") if writes.job_states else None
        if lifecycle.settle(job, outcomes, doing, request_id, now=commit.now, keep=leased.keep):
            changed[short] = before
    leased.put_jobs(commit, changed)
    still_open = [job for short in changed if (job := leased.jobs[short]).value.left]
    enter_list(commit, "look_ups", [job for job in still_open if job.is_unresolved])
    written = leased.claimed.leave(changed, still_open, writes, change)
    _write_opens(commit, written, change.closed)
    if change.growth:
        commit.run("HINCRBY", "meta", "held", change.growth)
    if leased.claimed.jobs and change.left >= leased.claimed.jobs and not change.jobs:
        commit.run("DEL", "claimed")


def _outcomes_by_job(leased: LeasedAccount, writes: Writes) -> dict[str, list[RelationOutcome]]:
    """Return the outcomes of each job, also of one that has none and does something else now."""
    skipped = len(leased.account) + 1
    by_job = defaultdict[str, list[RelationOutcome]](list, {id_[skipped:]: [] for id_ in writes.job_states})
    for outcome in writes.outcomes:
        by_job[outcome.job[skipped:]].append(outcome)
    return by_job


def _write_memories(leased: LeasedAccount, commit: AccountCommit, writes: Writes, request_id: str) -> None:
    """Remember what is confirmed of relations, and the outcomes of jobs that named them."""
    named = dict.fromkeys([*writes.confirmed, *[outcome.relation for outcome in writes.outcomes]])
    _load_memories(leased, named)
    memories, skipped = leased.memories, len(leased.account) + 1
    for relation, (state, doubt) in writes.confirmed.items():
        memory = memories[relation]
        if memory.doubt != doubt:
            _index_coming(commit, relation, memory.doubt, doubt)
        memory.confirmed, memory.doubt = state, doubt
    for outcome in writes.outcomes:
        why = why_of(outcome, request_id)
        memories[outcome.relation].add(outcome.job[skipped:], outcome.result, why)
    commit.put_memories(map(memories.__getitem__, named))


def _audit(leased: LeasedAccount, commit: AccountCommit, entry: AuditEntry | None) -> None:
    """Add to the audit log what a person has asked for, as far as this does it."""
    if entry:
        known = leased.database.read(leased.account, "hget", "deed", entry.name)
        commit.audit(entry, entry.count, known)


def _index_coming(
    commit: AccountCommit, relation: Relation, before: Doubt | None, after: Doubt | None
) -> None:
    """Let the guard find a create without an answer by its child, whatever its type guards by now (R12).

    Each anew: what an earlier one left there goes once that is over.
    """
    is_coming = bool(after and after.kind == "create")
    if is_coming or (before and before.kind == "create"):
        member = f"{guard_key(relation, 'child')}|c|{relation}"
        commit.run(*("ZADD", "guard", 0, member) if is_coming else ("ZREM", "guard", member))


def _write_opens(
    commit: AccountCommit, opens: Mapping[Relation, OpenWrite], unwritten: Container[Relation]
) -> None:
    """Write open relations; of those that were never written, nothing has to go."""
    dues: list[object] = []
    closed: list[str] = []
    for relation, write in opens.items():
        if not (write.open or write.guard) and relation in unwritten:
            continue
        name = str(relation)
        if write.open:
            commit.hset("open", name, codec.encode_open(write.open))
            dues += (write.open.not_before or write.open.since, name)
        elif relation not in unwritten:
            commit.hdel("open", name)
            closed.append(name)
        if write.guard:
            if write.open or write.in_doubt_until > commit.now:
                commit.run("ZADD", "guard", 0, f"{write.guard}|f|{name}")
            else:
                commit.run("ZREM", "guard", *(f"{write.guard}|{mark}|{name}" for mark in "fhc"))
    if closed:
        commit.run("ZREM", "due", *closed)
    if dues:
        commit.run("ZADD", "due", *dues)


def _read_pause(leased: LeasedAccount, now: int) -> Pause | None:
    """Return the pause in force now, and remember it."""
    reads = leased.database.reads(leased.account)
    reads.hget("holder", "token")
    reads.hmget("pause", PAUSE_FIELDS)
    token, pause = reads.run()
    if token != leased.holder.encode():
        raise leased.lost()
    leased.pause = KnownPause.read(pause)
    return leased.pause.in_force(now)


def _apply_brake(
    leased: LeasedAccount, commit: AccountCommit, deletes: int, brake: DeleteBrake
) -> Pause | None:
    """Count these deletes of the hour, or return the pause if they are too many."""
    row, now = leased.database.read(commit.account, "hgetall", "deletes"), commit.now
    minute, resumed_at = now // MINUTE_US, int(row.pop(b"go", 0))
    # What is further ahead was counted before the clock was set back.
    old = [name for name in row if abs(int(name) - minute) >= HOUR]
    sent = sum(int(count) for name, count in row.items() if name not in old)
    was_resumed = abs(now - resumed_at) < BRAKE_WINDOW_US  # a person let the deletes continue
    total = sent + (deletes if was_resumed else brake.planned)
    if old:
        commit.run("HDEL", "deletes", *old)
    if total > brake.limit:
        commit.run("HDEL", "deletes", "go")
        return Pause("brake", brake.detail(commit.account) % total, since=now)
    commit.run("HINCRBY", "deletes", minute, deletes)
    commit.run("PEXPIRE", "deletes", BRAKE_WINDOW_US // 1000 + 60_000)
    return None
