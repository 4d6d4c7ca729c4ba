"""Send a burst on the three routes of producers: many changes or one per HTTP body, and Celery messages."""

from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, NamedTuple

import httpx
from celery import Celery

from ops.dev.demo.burst import Arrival, Route
from ops.dev.stack import Stack
from worker.contract import MessageDict
from worker.errors import RelationsError

SENDERS: Final = 6  # threads, so that changes overtake each other as they do in production
SIZES: Final[dict[Route, int]] = {"batch": 100, "single": 1, "celery": 40}


class DeliveryRefused(RelationsError):
    """A change that should have been accepted was not."""


class MessageGroup(NamedTuple):
    """Messages that are sent together."""

    route: Route
    messages: tuple[MessageDict, ...]


def group_by_route(arrivals: Sequence[Arrival]) -> Iterator[MessageGroup]:
    """Yield the arrivals in groups of one route, each group as soon as it is full, the rest at the end."""
    waiting: dict[Route, list[MessageDict]] = {route: [] for route in SIZES}
    for message, route in arrivals:
        waiting[route].append(message)
        if len(waiting[route]) == SIZES[route]:
            yield MessageGroup(route, tuple(waiting[route]))
            waiting[route].clear()
    yield from (MessageGroup(route, tuple(messages)) for route, messages in waiting.items() if messages)


def deliver(stack: Stack, arrivals: Sequence[Arrival]) -> Counter[str]:
    """Send everything from several threads.

    Returns how many changes took which route, and how many HTTP answered as duplicates.
    """
    limits = httpx.Limits(max_connections=SENDERS, max_keepalive_connections=SENDERS)
    headers = {"Authorization": f"Bearer {stack.key}"}
    with (
        httpx.Client(
            base_url=stack.url, headers=headers, limits=limits, timeout=30.0, trust_env=False
        ) as http,
        stack.celery() as celery,
        ThreadPoolExecutor(SENDERS) as senders,
    ):
        return sum(senders.map(lambda group: _send(group, http, celery), group_by_route(arrivals)), Counter())


def read_accepted_jobs(response: httpx.Response) -> list[dict[str, Any]]:
    """Return the jobs of an HTTP response; raise DeliveryRefused if it is not 202."""
    if response.status_code != httpx.codes.ACCEPTED:
        request = response.request
        raise DeliveryRefused(
            f"{request.method} {request.url} answered {response.status_code}: {response.text[:500]}"
        )
    jobs: list[dict[str, Any]] = response.json()["jobs"]
    return jobs


def _send(group: MessageGroup, http: httpx.Client, celery: Celery) -> Counter[str]:
    sent = Counter[str]({group.route: len(group.messages)})
    if group.route == "celery":
        celery.send_task("relations.accept", [list(group.messages)], queue="relations.intake")
        return sent
    body: Any = group.messages[0] if group.route == "single" else group.messages
    jobs = read_accepted_jobs(http.post("/v1/changes", json=body))
    return sent + Counter(duplicates=sum(job["duplicate"] for job in jobs))
