"""Callbacks of a scenario: their receiver, which often fails, and the processes that tell it.

What is told is compared with the jobs: never anything that was not so, and in the end whatever is so.
"""

import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import msgspec

from tests.torture.changes import BATCH
from tests.torture.fault_profile import FaultProfile
from tests.torture.history_checker import HistoryChecker
from tests.torture.schedule import SECOND, Schedule
from tests.torture.simulated_process import InterruptiblePort, ProcessDied, SimulatedProcess
from worker.config import Callback
from worker.ports.callbacks import BatchCounts, CallbackAttempt, CallbackMessage, DueCallbacks, Watch
from worker.ports.metrics import Metrics
from worker.usecases.callbacks import Callbacks

TROUBLE = (0.0, 0.3, 0.7)  # the share of attempts in vain, drawn for each scenario
MAX_IN_VAIN = 5  # attempts of a message, after which its receiver takes it
FAULTY_SECONDS = 600.0  # until the processes that tell callbacks fail no more: most batches end late
FAULTS = (0.0, 0.03, 0.1)  # of their processes, per call
MAX_SECONDS = 10.0  # that an attempt takes


@dataclass(slots=True, kw_only=True)
class CallbackEnvironment:
    """What the parts that tell callbacks share; `chance` is theirs alone."""

    schedule: Schedule
    accounts: Sequence[str]
    store: Any
    callback_store: Any
    job_admin: Any
    metrics: Metrics
    checker: HistoryChecker
    chance: random.Random
    new_id: Callable[[], str]
    is_calm: Callable[[], bool]
    trace: Callable[..., None]


@dataclass(slots=True)
class CallbackLaw:
    """What callbacks were told of which batches, and whether it was so.

    `made` are messages by callback, account and label, `answered` the statuses of a message's attempts.
    """

    environment: CallbackEnvironment
    configured: Mapping[str, Callback]
    watched: dict[tuple[str, str], int] = field(default_factory=dict)
    made: dict[tuple[str, str, str], list[CallbackMessage]] = field(default_factory=dict)
    answered: dict[str, list[int]] = field(default_factory=dict)
    bodies: dict[str, bytes] = field(default_factory=dict)

    def count(self, account: str, label: str) -> BatchCounts:
        """Return how many changes of a batch there are, by what their jobs say."""
        entries = self.environment.checker.accepted.get(account, ())
        jobs = [self.environment.store.get_job(entry.job) for entry in entries]
        states = Counter(job.state for job in jobs if job.batch == label)
        return BatchCounts(states.total(), *(states[name] for name in BatchCounts._fields[1:]))

    def check_watch(self, account: str, watch: Watch) -> None:
        """Check that a look sees what is so."""
        if watch.counts != (counts := self.count(account, watch.label)):
            self._violate(f"{watch.label} of {account} was counted {watch.counts}, it has {counts}")

    def check_made(self, watch: Watch, message: CallbackMessage, now: int) -> None:
        """Check that a message says that a batch is whole which is, is quiet, and was not told the same."""
        callback = self.configured[message.callback]
        told = self.made.setdefault((message.callback, message.account, message.batch), [])
        if message.counts != watch.counts or message.counts.open:
            self._violate(f"{message} is made of {watch.counts}")
        if told and told[-1].counts == message.counts:
            self._violate(f"{message.callback} is told again: {message.counts}")
        if now - self.watched[message.account, message.batch] < callback.quiet * SECOND:
            self._violate(f"{message.callback} is told of {message.batch}, which is not quiet")
        told.append(message)

    def check_sent(self, callback: Callback, message_id: str, body: bytes) -> None:
        """Check that a message goes to its own callback, always the same, and has nothing but counts."""
        message = next(each for told in self.made.values() for each in told if each.id == message_id)
        data = msgspec.json.decode(body)["data"]
        wanted = {"account": message.account, "batch": message.batch, **message.counts._asdict()}
        if {**data, "failed_jobs": None} != {**wanted, "failed_jobs": None}:
            self._violate(f"{message_id} says {data}, not {wanted}")
        if callback.name != message.callback or not callback.is_about(message.account, message.batch):
            self._violate(f"{message_id} was sent to {callback.name}")
        if self.bodies.setdefault(message_id, body) != body:
            self._violate(f"{message_id} has changed")

    def unfinished(self) -> list[str]:
        """Return which callbacks do not know yet how a batch ended, and which messages wait."""
        waiting = [
            f"{message.id} waits"
            for told in self.made.values()
            for message in told
            if self._state_of(message).state == "waiting"
        ]
        for account in self.environment.accounts:
            found = self.environment.store.batch_counts(account, BATCH)
            counts = BatchCounts(*(found.get(name, 0) for name in BatchCounts._fields))
            for name, callback in self.configured.items():
                told = self.made.get((name, account, BATCH), ())
                is_told = bool(told) and told[-1].counts == counts
                if counts.accepted and callback.is_about(account, BATCH) and not is_told:
                    waiting.append(f"{name} was not told of {counts} of {account}")
        return waiting

    def check_end(self) -> list[str]:
        """Return what is wrong with the messages at the end: each was taken, or refused for good."""
        wrong = []
        for message in (each for told in self.made.values() for each in told):
            kept, statuses = self._state_of(message), self.answered.get(message.id, [])
            if kept.state == "delivered" and not any(200 <= status < 300 for status in statuses):
                wrong.append(f"{message.id} counts as delivered, its receiver answered {statuses}")
            if kept.state == "abandoned" and 410 not in statuses:
                wrong.append(f"{message.id} was abandoned, its receiver answered {statuses}")
        return wrong

    def _state_of(self, message: CallbackMessage) -> CallbackMessage:
        found: CallbackMessage = self.environment.callback_store.get_message(message.id)
        return found

    def _violate(self, text: str) -> None:
        self.environment.checker.wrong.append(text)


class CheckedCallbacks:
    """The store of callbacks, with what is read and made compared; other methods are passed on."""

    def __init__(self, inner: Any, law: CallbackLaw) -> None:
        self._inner, self._law = inner, law

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def watch(self, account: str, labels: Mapping[str, Any]) -> None:
        """Note when a change of these labels was announced."""
        self._inner.watch(account, labels)
        self._law.watched |= {(account, label): self._inner.now() for label in labels}

    def due_callbacks(self, account: str, *names: Any, **options: Any) -> DueCallbacks:
        """Compare the counts that are read."""
        due: DueCallbacks = self._inner.due_callbacks(account, *names, **options)
        for watch in due.watches:
            self._law.check_watch(account, watch)
        return due

    def settle_watch(self, account: str, watch: Watch, **decided: Any) -> bool:
        """Check the messages that are kept."""
        is_kept: bool = self._inner.settle_watch(account, watch, **decided)
        for message in decided.get("messages", ()) if is_kept else ():
            self._law.check_made(watch, message, self._inner.now())
        return is_kept


class SimulatedReceiver:
    """A receiver that takes messages, refuses them, takes them without an answer, or is slow."""

    def __init__(self, law: CallbackLaw) -> None:
        self._law, self._environment = law, law.environment
        self._trouble = self._environment.chance.choice(TROUBLE)

    def receive(
        self, process: Any, callback: Callback, *, message_id: str, body: bytes, now: float
    ) -> CallbackAttempt:
        """Answer a process, which may die before it hears that."""
        process.interrupt("sends", callback.name, message_id, body.decode(), now)
        self._law.check_sent(callback, message_id, body)
        earlier = self._law.answered.setdefault(message_id, [])
        attempt, status = self._decide(len(earlier))
        earlier.append(status)
        process.sleep(self._environment.chance.choice((0.0, 0.0, MAX_SECONDS)))
        process.interrupt("is answered", attempt)
        return attempt

    def _decide(self, earlier: int) -> tuple[CallbackAttempt, int]:
        """Return what the caller learns, and what the receiver has answered."""
        chance = self._environment.chance
        if earlier >= MAX_IN_VAIN or chance.random() >= self._trouble:
            return CallbackAttempt(204), 204
        status = chance.choice((204, 410, 429, 429, 500, 500, 503))
        if status == 204 or chance.random() < 0.2:
            return CallbackAttempt(error="timed out"), status
        return CallbackAttempt(status, retry_after=chance.choice((0.0, 20.0, 300.0))), status


class CallbackProcess(SimulatedProcess):
    """A process that looks for batches that have ended, and sends what is due."""

    def __init__(self, environment: CallbackEnvironment, callbacks: "SimulatedCallbacks", name: str) -> None:
        self._until = environment.schedule.now + round(FAULTY_SECONDS * SECOND)
        self._profile = FaultProfile(
            **{name: environment.chance.choice(FAULTS) for name in ("crash", "freeze", "store_cut")}
        )
        super().__init__(environment.schedule, self._faults, environment.trace)
        self.environment = environment
        self.callbacks = callbacks.make(self)
        self.actor = self.schedule.spawn(name, self._run)

    def _faults(self) -> FaultProfile:
        return self._profile if self.schedule.now < self._until else FaultProfile()

    def _run(self) -> None:
        while True:
            rest = (20, 60) if self.environment.is_calm() else (1, 4)
            self.actor.wait(self.schedule.now + round(self.schedule.rng.uniform(*rest) * SECOND))
            try:
                for name in sorted(self.callbacks.look()):
                    self.callbacks.send_due(name)
            except ProcessDied:
                self.crashes += 1
                self.trace("died")
                self.start_clock()


class SimulatedCallbacks:
    """All that tells callbacks in a scenario."""

    def __init__(self, environment: CallbackEnvironment) -> None:
        chance, accounts = environment.chance, tuple(environment.accounts)
        quiet = (1.0, 1.0, 10.0)
        configured = {"portal": _callback("portal", accounts, chance.choice(quiet))}
        if chance.random() < 0.5:
            configured["crm"] = _callback("crm", accounts[:1], chance.choice(quiet))
        self.environment, self.law = environment, CallbackLaw(environment, configured)
        self._store = CheckedCallbacks(environment.callback_store, self.law)
        self._receiver = SimulatedReceiver(self.law)
        count = chance.choice((1, 2))
        self.processes = [
            CallbackProcess(environment, self, f"callbacks {number}") for number in range(count)
        ]

    def make(self, process: SimulatedProcess | None = None) -> Callbacks:
        """Return the use case for a process, which may be interrupted at any call; without one, to watch."""
        environment = self.environment

        def port(inner: Any, name: str) -> Any:
            return InterruptiblePort(inner, name, process) if process else inner

        return Callbacks(
            store=port(self._store, "callbacks"),
            list_callbacks=lambda: self.law.configured,
            transport=partial(self._receiver.receive, process),
            metrics=port(environment.metrics, "metrics"),
            job_admin=port(environment.job_admin, "job_admin"),
            new_id=environment.new_id,
            draw=environment.chance.random,
            emit=lambda *_, **__: None,
        )


def _callback(name: str, accounts: tuple[str, ...], quiet: float) -> Callback:
    return Callback(
        name=name, url="https://portal.example.test/hook", secrets=(), accounts=accounts, quiet=quiet
    )
