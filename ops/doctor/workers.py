"""Checks of the broker, the workers and the sweep, and that the store has room for what they do."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

from ops.doctor.findings import Finding, report
from ops.doctor.rights import MEND, check_broker_rights, explain_failure
from worker.celery_config import queue_names
from worker.config import Settings, mask_url
from worker.redis.broker import AMQP_SCHEMES
from worker.redis.client import explain_error, is_answer
from worker.usecases.health import (
    Health,
    find_memory_trouble,
    find_reverted_trouble,
    find_sweep_trouble,
    find_worker_trouble,
)

if TYPE_CHECKING:
    from celery import Celery

REPLY_TIMEOUT: Final = 2  # seconds for the broker and the workers to answer


def check_broker(celery: "Celery", settings: Settings, health: Health | None) -> Iterator[Finding]:
    """Check that the broker answers and that workers listen to every queue."""
    url = mask_url(settings.broker_url)
    try:
        with celery.connection_for_write() as connection:
            connection.ensure_connection(
                max_retries=1, interval_start=0, interval_step=0, timeout=REPLY_TIMEOUT
            )
            yield Finding("broker", "ok", url)
            yield from check_broker_rights(connection, settings.prefix)
    except Exception as error:  # whatever the transport's client raises
        how, advice = explain_failure(error, "RELATIONS_BROKER_URL")
        message = f"{url} {how} ({explain_error(error)}): what is accepted is not woken"
        yield Finding("broker", "fail", message, advice)
        return
    try:
        replies = celery.control.broadcast("active_queues", reply=True, timeout=REPLY_TIMEOUT) or []
    except Exception as error:  # such as a user of Redis without a right to channels
        message = f"they cannot be asked: {explain_error(error)}"
        yield Finding("workers", "warn", message, _advise_on_silence(settings, error))
        return
    yield from check_names(replies)
    names = dict.fromkeys(name for reply in replies for name in reply)
    queues = {name: [*chain.from_iterable(reply.get(name, ()) for reply in replies)] for name in names}
    yield check_workers(queues, queue_names(settings.prefix), health)


def check_names(replies: Sequence[Mapping[str, Any]]) -> Iterator[Finding]:
    """Check that no two workers have one name, by what each replied under its own."""
    counted = Counter(name for reply in replies for name in reply)
    if shared := sorted(name for name, count in counted.items() if count > 1):
        message = (
            f"several are called {', '.join(shared)}: they are listed as one, and the end of one is not seen"
        )
        advice = "Give each a name of its own: celery -A worker.app worker -n NAME@%h"
        yield Finding("workers", "warn", message, advice)


def _advise_on_silence(settings: Settings, error: Exception) -> str:
    """Return what to do about a broker over which workers cannot be asked."""
    if settings.broker_url.startswith(AMQP_SCHEMES):
        if "ACCESS_REFUSED" in str(error):
            return f"Let the broker's user configure, write and read {settings.prefix}.* and amq.default."
        return "Look at the broker's memory, disk and log."
    is_other = is_answer(error) and "permissions to" not in str(error)
    return MEND if is_other else f"Let the broker's user use the channels {settings.prefix}*."


def check_workers(queues: Mapping[str, Any], wanted: Sequence[str], health: Health | None = None) -> Finding:
    """Check that workers listen to every wanted queue, by what Celery's inspection answered.

    Whether any is alive is told by their heartbeats, where these are known.
    """
    if health and (trouble := find_worker_trouble(health)):
        return report("workers", trouble)
    if health and not queues:
        alive = ", ".join(sorted(worker.name for worker in health.live_workers))
        message = f"none answers, though these are alive: {alive}"
        return Finding("workers", "warn", message, "See whether the broker lets them be asked.")
    served = {queue["name"] for worker_queues in queues.values() for queue in worker_queues}
    unserved = [queue for queue in wanted if queue not in served]
    if not queues:
        message = "none answers: changes are accepted, and nothing is sent"
        return Finding("workers", "fail", message, "Start one: celery -A worker.app worker")
    if unserved:
        message = f"{len(queues)} answer, and none listens to {', '.join(unserved)}"
        return Finding("workers", "warn", message, "Start a worker without -Q, or with these queues.")
    return Finding("workers", "ok", f"{len(queues)} answer: {', '.join(sorted(queues))}")


def check_system(health: Health) -> Iterator[Finding]:
    """Check that beat's sweep, which repairs lost wake-ups, runs, and that the store has room."""
    if trouble := find_sweep_trouble(health):
        yield report("sweep", trouble)
    else:
        yield Finding(
            "sweep", "ok", f"the last was {max(health.now - health.sweeps.at / 1e6, 0.0):.0f} s ago"
        )
    if trouble := find_memory_trouble(health):
        yield report("memory", trouble)
    if trouble := find_reverted_trouble(health):
        yield report("history", trouble)
