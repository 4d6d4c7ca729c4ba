"""Sends a burst the three ways producers have: bodies of many changes and single ones over HTTP, and Celery messages."""

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

SENDERS: Final = 6  # threads, so that changes overtake each other as they do in life
SIZES: Final[dict[Route, int]] = {"batch": 100, "single": 1, "celery": 40}


class DeliveryRefused(RelationsError):
    """A change that should have been accepted was not."""


class Parcel(NamedTuple):
    """Messages that go out together."""

    route: Route
    messages: tuple[MessageDict, ...]


def parcels(arrivals: Sequence[Arrival]) -> Iterator[Parcel]:
    """The arrivals packed by route, each parcel as soon as it is full, the rest at the end."""
    waiting: dict[Route, list[MessageDict]] = {route: [] for route in SIZES}
    for message, route in arrivals:
        waiting[route].append(message)
        if len(waiting[route]) == SIZES[route]:
            yield Parcel(route, tuple(waiting[route]))
            waiting[route].clear()
    yield from (Parcel(route, tuple(messages)) for route, messages in waiting.items() if messages)


def deliver(stack: Stack, arrivals: Sequence[Arrival]) -> Counter[str]:
    """Send everything from several threads; how many changes went which way, and how many HTTP answered as duplicates."""
    limits = httpx.Limits(max_connections=SENDERS, max_keepalive_connections=SENDERS)
    headers = {"Authorization": f"Bearer {stack.key}"}
    with (
        httpx.Client(
            base_url=stack.url, headers=headers, limits=limits, timeout=30.0, trust_env=False
        ) as http,
        stack.celery() as celery,
        ThreadPoolExecutor(SENDERS) as senders,
    ):
        return sum(senders.map(lambda parcel: _send(parcel, http, celery), parcels(arrivals)), Counter())


def _send(parcel: Parcel, http: httpx.Client, celery: Celery) -> Counter[str]:
    sent = Counter[str]({parcel.route: len(parcel.messages)})
    if parcel.route == "celery":
        celery.send_task("relations.accept", [list(parcel.messages)], queue="relations.intake")
        return sent
    body: Any = parcel.messages[0] if parcel.route == "single" else parcel.messages
    answer = http.post("/v1/changes", json=body)
    if answer.status_code != httpx.codes.ACCEPTED:
        raise DeliveryRefused(f"POST /v1/changes answered {answer.status_code}: {answer.text[:500]}")
    return sent + Counter(duplicates=sum(job["duplicate"] for job in answer.json()["jobs"]))
