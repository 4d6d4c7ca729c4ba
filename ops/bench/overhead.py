"""What the queue itself costs: jobs that do nothing through the libraries, beside changes through ours.

A job of theirs is a message that is taken and thrown away. A change of ours is checked, recorded, folded,
planned, sent with many others, and has an outcome that can be asked for; it is the mailing, wide open.
"""

import time
from pathlib import Path
from typing import Any, Final

from redis import Redis

from ops.bench.peer_runs import WARM, progress_until, started
from ops.bench.peers.catalogue import Peer, Variant
from ops.bench.same_work import ACCOUNT, Work, ours
from ops.bench.temporary import temporary_stack
from ops.bench.usage import measured
from ops.bench.workloads import links
from ops.dev.stack import Shape

DEADLINE: Final = 120.0
QUICKLY: Final = {"PEER_WINDOW": "0.1"}  # so that the end of a batch is not waited for


def our_changes(count: int) -> dict[str, Any]:
    """Measure changes per second end to end, and the CPU of each."""
    done = ours("wide open", Work.of("mailing", count)).document()
    return {"jobs": count, "rate": done["rate"], "cpu_us": done["cpu_us"]}


def their_jobs(peer: Peer, variant: Variant, place: Path, count: int) -> dict[str, Any]:
    """Measure jobs per second that do nothing, from the first that is enqueued to the last that ran.

    A change behind them, which calls the API, says when they are through. `bytes` is what a waiting job takes
    in Redis.
    """
    shape, quick = Shape(accounts=(ACCOUNT,), parts=()), variant.with_environ(**QUICKLY)
    jobs = links(count, account=ACCOUNT)
    with (
        temporary_stack(shape) as stack,
        started(stack, peer, quick, place) as peer_running,
        Redis.from_url(stack.redis_url) as client,
    ):
        groups = {
            "producer": peer_running.producer.pid,
            "worker": peer_running.worker.pid,
            "redis": stack.server.pid or 0,
        }
        with measured(groups) as cpu:
            begun = time.monotonic()
            peer_running.producer.enqueue(jobs, job="nothing")
            enqueued = time.monotonic()
            peer_running.producer.enqueue([WARM])
            ended = progress_until(
                stack,
                lambda stats: stats["executed"] > 0,
                stall_timeout=DEADLINE,
                deadline=begun + DEADLINE,
            )
            spent = cpu()
        peer_running.worker.kill()
        before = client.info("memory")["used_memory"]
        peer_running.producer.enqueue(jobs, job="nothing")
        waiting = client.info("memory")["used_memory"] - before
    return {
        "jobs": count,
        "enqueued": count / (enqueued - begun),
        "rate": count / (ended - begun),
        "bytes": waiting / count,
        "cpu_us": {part: 1e6 * seconds / count for part, seconds in spent.items()},
    }
