"""Producers that do not give up: over HTTP until each change is acknowledged, and by Celery messages. Keeps the books of both.

Agreeing accounts ask for each relation once; the quarrelling one asks for and against few relations all the time.
"""

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, cast

import httpx
from celery import Celery
from kombu.exceptions import OperationalError
from redis import RedisError

from ops.dev.stack import Stack
from worker.contract import Change, MessageDict, from_message, write_instant

BUYER, RENTER, INTERESTED = "estate:address:buyer", "estate:address:renter", "estate:address:interested"
SEEDED: Final = (
    3000  # relations of an agreeing account that are there at the beginning, to be deleted one by one
)
ESTATE: Final = 500
MOST: Final = 10  # changes that travel together
PAUSE: Final = 0.1  # seconds a producer rests
MIX: Final = 10_000  # µs in which no two changes happened at once
OUTSIDE: Final = (409, 413, 422)  # answers that no repetition cures

Message = list[MessageDict]


@dataclass(slots=True)
class Books:
    """What was sent, by event id; when HTTP acknowledged it, as which job; how often it was sent again; what was denied for good."""

    sent: dict[str, Change] = field(default_factory=dict)
    acknowledged: dict[str, tuple[float, str]] = field(default_factory=dict)
    by_celery: set[str] = field(default_factory=set)
    counts: Counter[str] = field(default_factory=Counter)
    denied: list[str] = field(default_factory=list)


class Crowd:
    """Producers in threads, from `start` to `stop`; each finishes what it has begun, and then it is `silent`."""

    def __init__(
        self, stack: Stack, *, seed: int, agreeing: Sequence[str], quarrelling: str = "", http: int = 3
    ) -> None:
        self.stack, self.books = stack, Books()
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._accounts = (*agreeing, quarrelling) if quarrelling else tuple(agreeing)
        self._quarrelling = quarrelling
        seeds = [random.Random(f"crowd {seed} {number}") for number in range(http + 1)]
        sends: list[Callable[[Message], None]] = [*[self._over_http] * http, self._over_celery]
        self._threads = [
            threading.Thread(target=self._produce, args=(number, dice, send), daemon=True)
            for number, (dice, send) in enumerate(zip(seeds, sends, strict=True))
        ]
        for account in agreeing:
            edges = [
                {"relationtype": RENTER, "parentid": ESTATE, "childid": child}
                for child in range(1, SEEDED + 1)
            ]
            stack.simulate("seed", {"token": stack.credentials[account].token, "relations": edges})

    def start(self) -> None:
        """Let them begin."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """No new changes; what is begun is sent until it is acknowledged."""
        self._over.set()

    @property
    def silent(self) -> bool:
        """Whether all have finished."""
        return not any(thread.is_alive() for thread in self._threads)

    def _produce(self, number: int, dice: random.Random, send: Callable[[Message], None]) -> None:
        made = _messages(number, len(self._threads), dice, self._accounts, self._quarrelling)
        while not self._over.wait(PAUSE * 2 * dice.random()):
            messages = next(made)
            with self._lock:
                self.books.sent |= {each["event_id"]: from_message(each).change for each in messages}
            send(messages)

    def _over_http(self, messages: Message) -> None:
        with httpx.Client(
            headers={"Authorization": f"Bearer {self.stack.key}"}, timeout=5.0, trust_env=False
        ) as http:
            while (answer := self._post(http, messages)) is None:
                with self._lock:
                    self.books.counts["sent again"] += len(messages)
                time.sleep(PAUSE)
        with self._lock:
            if answer.status_code != httpx.codes.ACCEPTED:
                self.books.denied.append(f"{answer.status_code}: {answer.text[:300]}")
                return
            now, jobs = time.monotonic(), answer.json()["jobs"]
            self.books.counts["duplicates"] += sum(job["duplicate"] for job in jobs)
            self.books.acknowledged |= {
                each["event_id"]: (now, job["id"]) for each, job in zip(messages, jobs, strict=True)
            }

    def _post(self, http: httpx.Client, messages: Message) -> httpx.Response | None:
        try:
            answer = http.post(f"{self.stack.url}/v1/changes", json=messages)
        except httpx.TransportError:
            return None
        return answer if answer.is_success or answer.status_code in OUTSIDE else None

    def _over_celery(self, messages: Message) -> None:
        with self._lock:
            self.books.by_celery |= {each["event_id"] for each in messages}
        with self.stack.celery() as app:
            while not _sent(app, messages):
                time.sleep(PAUSE)


def _sent(app: Celery, messages: Message) -> bool:
    try:
        app.send_task("relations.accept", [messages], queue="relations.intake", retry=False)
    except (OperationalError, RedisError, OSError):
        return False
    return True


def _messages(
    number: int, producers: int, dice: random.Random, accounts: Sequence[str], quarrelling: str
) -> Iterator[Message]:
    """What one producer sends, a list of one account at a time."""
    made = 0
    while True:
        account, size = dice.choice(accounts), dice.randint(1, MOST)
        first, made = made, made + size
        numbers = (each * producers + number for each in range(first, made))
        yield [
            _message(account, each, _contrary(dice) if account == quarrelling else _unique(dice, each))
            for each in numbers
        ]


def _message(account: str, number: int, asked: dict[str, Any]) -> MessageDict:
    happened = time.time_ns() // 1000 // MIX * MIX - MIX + number % MIX
    asked |= {
        "account": account,
        "occurred_at": write_instant(happened),
        "event_id": str(number),
        "source": "torture",
    }
    return cast(MessageDict, asked)


def _unique(dice: random.Random, number: int) -> dict[str, Any]:
    """A relation that nobody else asks for: one is deleted, or up to three are created."""
    if number < SEEDED and dice.random() < 0.3:
        return {"action": "delete", "relationtype": RENTER, "parentid": ESTATE, "childid": number + 1}
    children = [10 * number + each for each in range(1, dice.randint(1, 3) + 1)]
    return {
        "action": "create",
        "relationtype": dice.choice((BUYER, INTERESTED)),
        "parentid": ESTATE + number % 50,
        "childid": children,
    }


def _contrary(dice: random.Random) -> dict[str, Any]:
    relation = {"relationtype": BUYER, "parentid": ESTATE + dice.randrange(3), "childid": dice.randint(1, 20)}
    return {"action": dice.choice(("create", "delete")), **relation}
