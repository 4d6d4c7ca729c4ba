"""Producers that never give up: over HTTP until each change is acknowledged, and by Celery messages.

Ordinary accounts name each relation once, and replace the only broker of estates; the contended one creates
and deletes a few relations all the time.
"""

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, cast

import httpx
from celery import Celery
from kombu.exceptions import OperationalError
from redis import RedisError

from ops.dev.stack import Stack
from worker.contract import Change, MessageDict, Relation, from_message, write_instant

BUYER, RENTER, INTERESTED = "estate:address:buyer", "estate:address:renter", "estate:address:interested"
BROKER: Final = "estate:address:contactPerson"
SEEDED: Final = 3000  # relations of an ordinary account that exist at the beginning, to be deleted one by one
ESTATE: Final = 500
FIRST_WITH_BROKER: Final = 200_000  # estates from here on have one broker at the beginning, as many as SEEDED
OLD_BROKER: Final = 1
REFERENCED: Final = 2000  # changes whose records can be looked up
MAX_BODY: Final = 10  # changes that are sent together
PAUSE: Final = 0.1  # seconds between two bodies of a producer
UNIQUE_WITHIN: Final = 10_000  # µs in which no two changes happened at the same time
FINAL_STATUSES: Final = (409, 413, 422)  # no repetition cures them

Messages = list[MessageDict]


@dataclass(slots=True)
class SentChanges:
    """What was sent, by event id; `acknowledged` has when HTTP answered 202 and the job."""

    sent: dict[str, Change] = field(default_factory=dict)
    acknowledged: dict[str, tuple[float, str]] = field(default_factory=dict)
    by_celery: set[str] = field(default_factory=set)
    counts: Counter[str] = field(default_factory=Counter)
    refused: list[str] = field(default_factory=list)


class LoadGenerator:
    """Producers in threads, from `start` to `stop`; after that each finishes what it has begun."""

    def __init__(
        self, stack: Stack, *, seed: int, ordinary: Sequence[str], contended: str = "", http: int = 3
    ) -> None:
        self.stack, self.changes = stack, SentChanges()
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        self._accounts = (*ordinary, contended) if contended else tuple(ordinary)
        self._contended = contended
        sends: list[Callable[[Messages], None]] = [*[self._send_by_http] * http, self._send_by_celery]
        self._threads = [
            threading.Thread(
                target=self._produce, args=(number, random.Random(f"load {seed} {number}"), send), daemon=True
            )
            for number, send in enumerate(sends)
        ]
        edges = [
            {"relationtype": type_, "parentid": parent, "childid": child}
            for type_, parent, child in seeded_relations()
        ]
        for account in ordinary:
            seed = {"relations": edges, "fields": fields_of_records()}
            stack.simulate("seed", {"token": stack.credentials[account].token, **seed})

    def start(self) -> None:
        """Start the producers."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Make no new changes; those already made are sent until they are acknowledged."""
        self._stopped.set()

    @property
    def finished(self) -> bool:
        """Whether all producers have ended."""
        return not any(thread.is_alive() for thread in self._threads)

    def _produce(self, number: int, rng: random.Random, send: Callable[[Messages], None]) -> None:
        bodies = _make_bodies(
            number,
            len(self._threads),
            rng,
            self._accounts,
            self._contended,
            lossy=send == self._send_by_celery,
        )
        while not self._stopped.is_set():
            for messages in next(bodies):
                time.sleep(PAUSE * 2 * rng.random())
                named = [_name_by_references(message) for message in messages]
                with self._lock:
                    self.changes.sent |= {
                        message["event_id"]: from_message(message).change for message in messages
                    }
                send(named)

    def _send_by_http(self, messages: Messages) -> None:
        headers = {"Authorization": f"Bearer {self.stack.key}"}
        with httpx.Client(headers=headers, timeout=5.0, trust_env=False) as http:
            while (response := self._post(http, messages)) is None:
                with self._lock:
                    self.changes.counts["resent"] += len(messages)
                time.sleep(PAUSE)
        with self._lock:
            if response.status_code != httpx.codes.ACCEPTED:
                self.changes.refused.append(f"{response.status_code}: {response.text[:300]}")
                return
            now, jobs = time.monotonic(), response.json()["jobs"]
            self.changes.counts["duplicates"] += sum(job["duplicate"] for job in jobs)
            self.changes.acknowledged |= {
                message["event_id"]: (now, job["id"]) for message, job in zip(messages, jobs, strict=True)
            }

    def _post(self, http: httpx.Client, messages: Messages) -> httpx.Response | None:
        try:
            response = http.post(f"{self.stack.url}/v1/changes", json=messages)
        except httpx.TransportError:
            return None
        return response if response.is_success or response.status_code in FINAL_STATUSES else None

    def _send_by_celery(self, messages: Messages) -> None:
        with self._lock:
            self.changes.by_celery |= {message["event_id"] for message in messages}
        with self.stack.celery() as app:
            while not _try_send_task(app, messages):
                time.sleep(PAUSE)


def fields_of_records() -> dict[str, dict[int, dict[str, str]]]:
    """Return what references to records of an ordinary account are looked up by."""
    people = (10 * event + number for event in range(REFERENCED) for number in range(1, 4))
    return {
        "estate": {ESTATE + number: {"objektnr_extern": f"PC{ESTATE + number}"} for number in range(50)},
        "address": {person: {"KdNr": f"{person}"} for person in people},
    }


def seeded_relations() -> list[Relation]:
    """Return what exists in an ordinary account at the beginning."""
    numbers = range(SEEDED)
    renters = [Relation(RENTER, ESTATE, number + 1) for number in numbers]
    return renters + [Relation(BROKER, FIRST_WITH_BROKER + number, OLD_BROKER) for number in numbers]


def _try_send_task(app: Celery, messages: Messages) -> bool:
    try:
        app.send_task("relations.accept", [messages], queue="relations.intake", retry=False)
    except (OperationalError, RedisError, OSError):
        return False
    return True


def _make_bodies(
    number: int, producers: int, rng: random.Random, accounts: Sequence[str], contended: str, *, lossy: bool
) -> Iterator[list[Messages]]:
    """Yield what one producer sends: bodies of changes of one account that all have to be sent.

    Half of a replaced broker would be held for as long as the guard waits for the other, so a producer whose
    messages can be lost before they are accepted sends both halves in one.
    """
    made = 0
    while True:
        account, size = rng.choice(accounts), rng.randint(1, MAX_BODY)
        is_swap = account != contended and made * producers + number < SEEDED and rng.random() < 0.2
        if is_swap:
            size = 2
        first, made = made, made + size
        # Event numbers are unique over all producers.
        events = [own * producers + number for own in range(first, made)]
        if is_swap:
            swap = [_message(account, event, change) for event, change in _swap(rng, events)]
            yield [swap] if rng.random() < 0.5 or lossy else [[message] for message in swap]
            continue
        make = partial(_contended_change, rng) if account == contended else partial(_unique_change, rng)
        yield [[_message(account, event, make(event)) for event in events]]


def _name_by_references(message: MessageDict) -> MessageDict:
    """Return every third create of the first changes with its records named by references."""
    event, parent, children = int(message["event_id"]), message["parentid"], message["childid"]
    is_ordinary = message["action"] == "create" and isinstance(children, list) and event < REFERENCED
    if event % 3 or not is_ordinary or not isinstance(children, list):
        return message
    people = [{"address": {"KdNr": f"{child}"}} for child in children]
    return message | {"parentid": {"estate": {"objektnr_extern": f"PC{parent}"}}, "childid": people}


def _message(account: str, event: int, change: dict[str, Any]) -> MessageDict:
    happened = time.time_ns() // 1000 // UNIQUE_WITHIN * UNIQUE_WITHIN - UNIQUE_WITHIN + event % UNIQUE_WITHIN
    message = change | {
        "account": account,
        "occurred_at": write_instant(happened),
        "event_id": str(event),
        "source": "torture",
    }
    return cast(MessageDict, message)


def _unique_change(rng: random.Random, event: int) -> dict[str, Any]:
    """Return a change of relations that no other change names: one is deleted, or up to three are created."""
    if event < SEEDED and rng.random() < 0.3:
        return {"action": "delete", "relationtype": RENTER, "parentid": ESTATE, "childid": event + 1}
    return {
        "action": "create",
        "childid": [10 * event + number for number in range(1, rng.randint(1, 3) + 1)],
        "relationtype": rng.choice((BUYER, INTERESTED)),
        "parentid": ESTATE + event % 50,
    }


def _swap(rng: random.Random, events: Sequence[int]) -> list[tuple[int, dict[str, Any]]]:
    """Return the two changes that replace the only broker of an estate, in any order."""
    estate = {"relationtype": BROKER, "parentid": FIRST_WITH_BROKER + events[0]}
    new, old = {"action": "create", "childid": 10 * events[1]}, {"action": "delete", "childid": OLD_BROKER}
    halves = rng.sample((estate | new, estate | old), 2)
    return list(zip(events, halves, strict=True))


def _contended_change(rng: random.Random, _: int) -> dict[str, Any]:
    relation = {"relationtype": BUYER, "parentid": ESTATE + rng.randrange(3), "childid": rng.randint(1, 20)}
    return {"action": rng.choice(("create", "delete")), **relation}
