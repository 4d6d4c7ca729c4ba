"""The same work through ours and through what a user would write instead.

Each run has a server, a simulator and workers of its own; the API answers at once or after a while, and no
pace holds anything back. What reached the API is counted by the simulator, and the end state is compared with
the one that the changes should lead to.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from itertools import cycle
from pathlib import Path
from typing import Any, Final

import msgspec
from redis import Redis

from ops.bench.peer_runs import progress_until, started
from ops.bench.peers.catalogue import Peer, Variant
from ops.bench.temporary import BATCH, OPEN_WIDE, UNPACED, drained, pids, temporary_stack
from ops.bench.usage import measured, watched
from ops.bench.workloads import LOADS, EndState, chunks, count_wrong, end_state, scatter
from ops.dev.stack import Part, Shape, Stack
from worker.contract import Change, Relation

ACCOUNT: Final = "one"
SETTINGS: Final[Mapping[str, Mapping[str, Any]]] = {
    "defaults": UNPACED,
    "defaults, in_flight 1": {**UNPACED, "in_flight": 1},
    "wide open": OPEN_WIDE,
    "wide open, in_flight 1": {**OPEN_WIDE, "in_flight": 1},
}
DEADLINE: Final = 120.0
OUTAGE: Final = 25.0  # seconds without progress after which nobody comes back any more
SOON: Final = "10"  # seconds after which Celery gives back what a killed worker held; not in other runs,
# where it would give back what still waits for its turn
AFTER_KILL: Final = 60.0  # seconds after a kill in which all should be back
EVERY: Final = 0.05  # seconds between two changes at light load
PACE: Final = 4.0  # requests per second that the real API is given on paper


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What is to be done, and how long the API takes to answer, in seconds."""

    load: str
    changes: Sequence[Change]
    latency: float = 0.0

    @classmethod
    def of(cls, load: str, count: int, *, latency: float = 0.0, first: int | None = None) -> "Work":
        """Make `count` changes of a kind, of which the `first` are sent (all by default)."""
        return cls(load=load, changes=LOADS[load](count, account=ACCOUNT)[:first], latency=latency)


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """One run: its work, what it took, what reached the API, and what was wrong in the end."""

    who: str
    how: str
    load: str
    latency: float
    changes: int
    seconds: float
    requests: int
    actions: int
    relations: int
    wrong: int
    cpu: Mapping[str, float]
    worker_bytes: int
    redis_bytes: int

    def document(self) -> dict[str, Any]:
        """As JSON has it, with changes per second, also on paper at four requests a second."""
        spent = {part: 1e6 * seconds / self.changes for part, seconds in self.cpu.items()}
        return {
            **asdict(self),
            "rate": self.changes / self.seconds,
            "paced": self.changes / (self.requests / PACE) if self.requests else 0.0,
            "cpu_us": spent,
        }


# --- ours


def ours(how: str, work: Work) -> Done:
    """Accept in batches of 500 while one worker process works, until every change has its outcome."""
    with _stack(SETTINGS[how], "worker") as stack:
        runtime, intake = stack.runtime(), stack.runtime().intake()
        _delay_answers(stack, work.latency)
        with measured(pids(stack)) as cpu, watched(stack.processes["worker"].pid) as peak:
            begun = time.monotonic()
            for chunk in chunks(list(work.changes), BATCH):
                intake.accept(chunk)
            drained(runtime, ACCOUNT, begun + DEADLINE)
            seconds, spent = time.monotonic() - begun, cpu()
        return _done(stack, work, "ours", how, seconds, spent, peak.bytes)


def ours_killed(work: Work) -> dict[str, float]:
    """Kill the worker in the middle, start another, and count what never arrives."""
    with _stack(SETTINGS["defaults"], "worker", "beat") as stack:
        _delay_answers(stack, work.latency)
        intake = stack.runtime().intake()
        for chunk in chunks(list(work.changes), BATCH):
            intake.accept(chunk)
        return _killed(stack, work, lambda: stack.replace("worker"), OUTAGE)


def ours_lightly(window: float, changes: Sequence[Change], accounts: int = 1) -> dict[str, float]:
    """Measure the seconds from accepted to applied, a change every 50 ms, of so many accounts in turn."""
    names = [f"{ACCOUNT}{number}" for number in range(accounts)]
    spread = [
        msgspec.structs.replace(change, account=name)
        for change, name in zip(changes, cycle(names), strict=False)
    ]
    with _stack({**UNPACED, "window": window}, "worker", accounts=names) as stack:
        intake = stack.runtime().intake()
        return _lightly(
            stack, spread, lambda change: intake.accept([change]), stall_timeout=window + 1, cold=accounts
        )


# --- theirs


def theirs(peer: Peer, variant: Variant, place: Path, work: Work) -> Done:
    """Enqueue while the workers are at it, until the API has executed the last call."""
    with _stack(UNPACED) as stack, started(stack, peer, variant, place) as running_peer:
        _delay_answers(stack, work.latency)
        groups = {
            "producer": running_peer.producer.pid,
            "worker": running_peer.worker.pid,
            "simulator": stack.processes["simulator"].pid,
            "redis": stack.server.pid or 0,
        }
        with measured(groups) as cpu, watched(running_peer.worker.pid) as peak:
            begun = time.monotonic()
            running_peer.producer.enqueue(work.changes)
            ended = progress_until(
                stack,
                _finished(work),
                stall_timeout=peer.stall_timeout + 2 * work.latency,
                deadline=begun + DEADLINE,
            )
            spent = cpu()
        time.sleep(2 * work.latency)
        return _done(stack, work, peer.name, variant.name, ended - begun, spent, peak.bytes)


def theirs_killed(peer: Peer, variant: Variant, place: Path, work: Work) -> dict[str, float]:
    """Kill the workers in the middle, start others, and count what never arrives."""
    variant = variant.with_environ(PEER_VISIBILITY=SOON)
    with _stack(UNPACED) as stack, started(stack, peer, variant, place) as running_peer:
        _delay_answers(stack, work.latency)
        running_peer.producer.enqueue(work.changes)
        return _killed(stack, work, running_peer.kill_and_restart, OUTAGE)


def theirs_lightly(peer: Peer, variant: Variant, place: Path, changes: Sequence[Change]) -> dict[str, float]:
    """Measure the seconds from accepted to applied, a change every 50 ms."""
    with _stack(UNPACED) as stack, started(stack, peer, variant, place) as running_peer:
        return _lightly(
            stack,
            changes,
            lambda change: running_peer.producer.enqueue([change]),
            stall_timeout=peer.stall_timeout,
        )


# --- the same for both


def _stack(
    limits: Mapping[str, Any], *parts: Part, accounts: Sequence[str] = (ACCOUNT,)
) -> AbstractContextManager[Stack]:
    return temporary_stack(Shape(accounts=tuple(accounts), defaults=limits, parts=parts, concurrency=1))


def _delay_answers(stack: Stack, seconds: float) -> None:
    """Let the API execute at once and answer so many seconds later."""
    if seconds:
        late = {"kind": "latency", "seconds": seconds}
        stack.simulate("faults", {"random": {"seed": 1, "rate": 1.0, "kinds": [late]}})


def _done(
    stack: Stack, work: Work, who: str, how: str, seconds: float, cpu: Mapping[str, float], peak: int
) -> Done:
    stats, wanted = stack.simulate("stats"), end_state(work.changes)
    with Redis.from_url(stack.redis_url) as client:
        redis_bytes = int(client.info("memory")["used_memory_peak"])
    return Done(
        who=who,
        how=how,
        load=work.load,
        latency=work.latency,
        changes=len(work.changes),
        seconds=seconds,
        requests=stats["requests"],
        actions=sum(stats["actions"].values()),
        relations=len({relation for change in work.changes for relation in change.relations}),
        wrong=count_wrong(_found(stack), wanted),
        cpu=cpu,
        worker_bytes=peak,
        redis_bytes=redis_bytes,
    )


def _found(stack: Stack) -> EndState:
    rows = stack.simulate("state", token=stack.credentials[ACCOUNT].token)["relations"]
    return {
        Relation(row["relationtype"], row["parentid"], row["childid"]): row["relationinfo"] for row in rows
    }


def _finished(work: Work) -> Callable[[Mapping[str, Any]], bool]:
    """Return whether all is done: a call per change, or every relation there where all are created."""
    creates = all(change.action == "create" for change in work.changes)
    wanted = len(end_state(work.changes)) if creates else float("inf")
    return lambda stats: stats["executed"] >= len(work.changes) or stats["relations"] >= wanted


def _killed(stack: Stack, work: Work, kill: Callable[[], None], stall_timeout: float) -> dict[str, float]:
    """Kill when a third is done; the changes that are lost, and the seconds until the last one is applied.

    The work must be changes of different relations, none of which is deleted.
    """
    wanted, begun = len(work.changes), time.monotonic()
    progress_until(
        stack,
        lambda stats: stats["relations"] >= wanted / 3,
        stall_timeout=DEADLINE,
        deadline=begun + DEADLINE,
    )
    kill()
    killed = time.monotonic()
    ended = progress_until(
        stack,
        lambda stats: stats["relations"] >= wanted,
        stall_timeout=stall_timeout,
        deadline=killed + AFTER_KILL,
    )
    lost = end_state(work.changes).keys() - _found(stack).keys()
    return {"changes": wanted, "lost": len(lost), "seconds": ended - killed}


def _lightly(
    stack: Stack,
    changes: Sequence[Change],
    send: Callable[[Change], object],
    *,
    stall_timeout: float,
    cold: int = 1,
) -> dict[str, float]:
    """Send the changes one by one; the first `cold` ones are not counted, since they find everything cold."""
    for change in changes[:cold]:
        send(change)
    _wait_for_relations(stack, cold, stall_timeout)
    accepted: dict[tuple[int, ...], float] = {}
    for change in changes[cold:]:
        send(change)
        accepted[change.parents] = time.time()
        time.sleep(EVERY)
    _wait_for_relations(stack, len(changes), stall_timeout)
    log = stack.simulate("log", limit=str(2 * len(changes)))
    applied = {(parent,): entry["at"] for entry in log for act in entry["acts"] for parent in act["parents"]}
    spent = sorted(max(0.0, applied[parents] - at) for parents, at in accepted.items() if parents in applied)
    return {
        "changes": len(spent),
        "p50": spent[len(spent) // 2],
        "p99": spent[min(len(spent) - 1, len(spent) * 99 // 100)],
    }


def _wait_for_relations(stack: Stack, wanted: int, stall_timeout: float) -> None:
    progress_until(
        stack,
        lambda stats: stats["relations"] >= wanted,
        stall_timeout=stall_timeout,
        deadline=time.monotonic() + DEADLINE,
    )


def light_load(count: int) -> list[Change]:
    """Return the changes that are sent one by one."""
    return scatter(count, account=ACCOUNT, seed=3)
