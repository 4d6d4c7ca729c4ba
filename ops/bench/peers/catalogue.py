"""Which libraries there are to measure beside: what each needs, and how its users start its workers.

Imports nothing but the standard library. The versions are fixed, so that a run can be repeated.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

MODULE: Final = "ops.bench.peers"
CLIENTS: Final = ("httpx==0.28.1", "hiredis==3.5.0")


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One way to start the workers: how many processes, threads or tasks at once.

    The first word of `command` is a script of the peer's environment, or `python`.
    """

    name: str
    command: tuple[str, ...]
    environ: Mapping[str, str] = field(default_factory=dict)

    def with_environ(self, **more: str) -> "Variant":
        """Return the variant with these variables, too."""
        return Variant(name=self.name, command=self.command, environ={**self.environ, **more})


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """A library; of its variants the first is the best where the API answers at once.

    The last is the best where it takes its time. After `stall_timeout` seconds without progress nothing more
    will come.
    """

    name: str
    module: str
    requires: tuple[str, ...]
    variants: tuple[Variant, ...]
    stall_timeout: float = 2.0


def _celery(module: str, pool: str, count: int) -> Variant:
    options = ("-P", pool, "-c", str(count), "-l", "WARNING", "--without-gossip", "--without-mingle")
    return Variant(
        name=f"{pool} {count}",
        command=("celery", "-A", f"{MODULE}.{module}", "worker", *options),
    )


def _batches(pool: str, count: int, size: int) -> Variant:
    plain = _celery("celery_batches", pool, count)
    environ = {"PEER_BATCH": str(size)}
    return Variant(name=f"{plain.name}, batches of {size}", command=plain.command, environ=environ)


def _dramatiq(processes: int, threads: int) -> Variant:
    options = ("-p", str(processes), "-t", str(threads))
    return Variant(
        name=f"{processes} × {threads} threads", command=("dramatiq", f"{MODULE}.dramatiq", *options)
    )


def _taskiq(processes: int, tasks: int) -> Variant:
    options = ("--workers", str(processes), "--max-async-tasks", str(tasks), "--log-level", "WARNING")
    return Variant(
        name=f"{processes} × {tasks} tasks",
        command=("taskiq", "worker", f"{MODULE}.taskiq:broker", *options, "--ack-type", "when_executed"),
    )


def _saq(tasks: int) -> Variant:
    return Variant(
        name=f"{tasks} tasks",
        command=("saq", f"{MODULE}.saq.settings", "--quiet"),
        environ={"PEER_CONCURRENCY": str(tasks)},
    )


def _huey(kind: str, count: int) -> Variant:
    options = ("-k", kind, "-w", str(count), "-n", "-q", "-d", "0.01", "-m", "0.05")
    return Variant(name=f"{kind} {count}", command=("huey_consumer", f"{MODULE}.huey.huey", *options))


def _bullmq(tasks: int) -> Variant:
    return Variant(
        name=f"{tasks} tasks",
        command=("python", "-m", f"{MODULE}.bullmq"),
        environ={"PEER_CONCURRENCY": str(tasks)},
    )


PEERS: Final = (
    Peer(
        name="Celery",
        module="celery",
        requires=("celery[redis]==5.7.0", "packaging>=24", *CLIENTS),
        variants=(
            _celery("celery", "prefork", 2),
            _celery("celery", "prefork", 4),
            _celery("celery", "threads", 8),
            _celery("celery", "threads", 64),
            _celery("celery", "prefork", 32),
        ),
    ),
    Peer(
        name="Celery, 8 processes",  # what most begin with
        module="celery",
        requires=("celery[redis]==5.7.0", "packaging>=24", *CLIENTS),
        variants=(_celery("celery", "prefork", 8),),
    ),
    Peer(
        name="celery-batches",
        module="celery_batches",
        requires=("celery-batches==0.11", "celery[redis]==5.6.3", "packaging>=24", *CLIENTS),
        variants=(
            _batches("prefork", 2, 500),
            _batches("prefork", 8, 500),
            _batches("threads", 64, 100),
        ),
        stall_timeout=4.0,
    ),
    Peer(
        name="dramatiq",
        module="dramatiq",
        requires=("dramatiq[redis]==2.2.1", *CLIENTS),
        variants=(_dramatiq(2, 2), _dramatiq(2, 8), _dramatiq(2, 32)),
    ),
    Peer(
        name="taskiq",
        module="taskiq",
        requires=("taskiq==0.13.0", "taskiq-redis==1.2.4", *CLIENTS),
        variants=(_taskiq(2, 10), _taskiq(1, 50), _taskiq(2, 50)),
    ),
    Peer(
        name="SAQ",
        module="saq",
        requires=("saq[redis]==0.26.4", *CLIENTS),
        variants=(_saq(10), _saq(64)),
    ),
    Peer(
        name="huey",
        module="huey",
        requires=("huey==3.5.4", "redis==8.1.0", *CLIENTS),
        variants=(_huey("process", 2), _huey("thread", 8), _huey("thread", 64), _huey("process", 32)),
    ),
    Peer(
        name="BullMQ",
        module="bullmq",
        requires=("bullmq==3.4.4", *CLIENTS),
        variants=(_bullmq(10), _bullmq(64)),
    ),
)

LIMITERS: Final = ("limits==5.8.0", "throttled-py[redis]==3.5.0", *CLIENTS)
"""What the bench of the limiter needs."""
