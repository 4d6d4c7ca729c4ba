"""A simulated worker: a process that takes flush messages, and starts again when it has died."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
from msgspec.structs import replace

from ops.simulator import Simulator
from ops.simulator.inprocess import InProcess
from tests.support.httpx_transport import HttpxTransport
from tests.torture.fault_profile import FaultProfile
from tests.torture.schedule import NEVER, SECOND, Actor, Schedule
from tests.torture.simulated_broker import SimulatedBroker
from tests.torture.simulated_process import InterruptiblePort, ProcessDied, SimulatedProcess
from worker.errors import Unavailable
from worker.onoffice.client import Client
from worker.planner.actions import Action, Reply, Search
from worker.ports.requests import Api
from worker.ports.work import MAX_COUNTDOWN
from worker.testing import MemoryLimiter
from worker.usecases.flush import flush
from worker.usecases.flush_context import FlushDeps, FlushPolicy

TIMEOUT = 30.0  # seconds a request may take
URL = "https://crm.example.test/api.php"


@dataclass(slots=True, kw_only=True)
class WorkerEnvironment:
    """What the workers of a scenario share."""

    schedule: Schedule
    faults: Callable[[], FaultProfile]
    store: Any
    limiter: MemoryLimiter
    simulator: Simulator
    broker: SimulatedBroker
    policy_of: Callable[[str], FlushPolicy]
    new_id: Callable[[], str]
    trace: Callable[..., None]


class SimulatedWorker(SimulatedProcess):
    """One process: takes flush messages for as long as the scenario lasts."""

    def __init__(self, environment: WorkerEnvironment, name: str) -> None:
        super().__init__(environment.schedule, environment.faults, environment.trace)
        self.environment, self.name = environment, name
        self._request_begun: dict[Actor | None, int] = {}  # by the thread that sends it
        self._clients: dict[str, Client] = {}
        self.actor: Actor = self.schedule.spawn(name, self._run)

    # --- the process

    def _run(self) -> None:
        while True:
            account = self.environment.broker.take(self.actor)
            try:
                self._flush(account)
            except Unavailable as error:
                self.trace("gave up", error)
            except ProcessDied:
                self._restart(account)

    def _restart(self, account: str) -> None:
        """Start again after a while; the broker may redeliver the message that was not acknowledged."""
        self.crashes += 1
        self.trace("died")
        if self.random() < 0.5:
            self.environment.broker.put(account, 10 * self.random())
        self.actor.wait(self.schedule.now + round(5 * self.random() * SECOND))
        self.start_again()

    def start_again(self) -> None:
        """Start with nothing of what the process knew, nor its connections."""
        super().start_again()
        self._clients.clear()

    def _flush(self, account: str) -> None:
        """Do what the Celery task does."""
        environment = self.environment
        next_in = flush(environment.policy_of(account), self.flush_deps(account)).next_in
        if next_in is not None and next_in <= MAX_COUNTDOWN:
            environment.broker.put(account, next_in)

    def flush_deps(self, account: str) -> FlushDeps:
        """Return what works an account, interrupted at every call."""
        environment = self.environment
        return FlushDeps(
            store=InterruptiblePort(environment.store, "store", self),
            limiter=InterruptiblePort(environment.limiter, "limiter", self),
            api=SimulatedApi(self, self._client(account)),
            open_sender=self._open_sender,
            clock=self,
            keep_lease=self.keep_lease,
            new_id=environment.new_id,
            draw=self.schedule.rng.random,
            emit=self._emit,
        )

    def _emit(self, event: str, /, **fields: object) -> None:
        self.trace(event, fields)

    # --- the API, by the real client over a faulty network

    def note_request(self) -> int:
        """Note when the present thread begins its request, and return that (µs)."""
        self._request_begun[self.schedule.current] = self.schedule.now
        return self.schedule.now

    def has_timed_out(self) -> bool:
        """Return whether the request has taken too long."""
        return self.schedule.now - self._request_begun[self.schedule.current] > TIMEOUT * SECOND

    @contextmanager
    def _open_sender(self, api: Api, _in_flight: int) -> Iterator["SimulatedSender"]:
        sender, is_alive = SimulatedSender(self, api), True
        try:
            yield sender
        except ProcessDied:
            is_alive = False
            raise
        finally:
            if is_alive:
                sender.finish()

    def _client(self, account: str) -> Client:
        if account not in self._clients:
            self._clients[account] = Client(
                URL,
                f"token-{account}",
                "secret",
                timeout=TIMEOUT,
                transport=HttpxTransport(FaultyTransport(self, InProcess(self.environment.simulator))),
            )
        return self._clients[account]


class SimulatedApi:
    """The API of one account (ports.Api): a thread that outlives its flush still sends to that account."""

    def __init__(self, worker: SimulatedWorker, client: Client) -> None:
        self._worker, self._client = worker, client

    def send(self, actions: Sequence[Action | Search], *, request_id: str, now: float) -> Reply:
        """Send one request by the real client."""
        worker = self._worker
        worker.interrupt("api.send", request_id, [str(action) for action in actions])
        begun = worker.note_request()
        reply = self._client.send(actions, request_id=request_id, now=now)
        reply = replace(reply, seconds=(worker.schedule.now - begun) / SECOND)
        results = [(result.verdict.value, result.code) for result in reply.results]
        worker.interrupt("api.answer", request_id, reply.status, results)
        return reply


class SimulatedSender:
    """Sends requests from threads of a simulated worker, and one that is alone when its reply is awaited.

    When the worker dies, what its other threads were sending may still arrive, and nobody hears the answers.
    """

    def __init__(self, worker: SimulatedWorker, api: Api) -> None:
        self._worker, self._api = worker, api
        self._replies: list[tuple[str, Reply | ProcessDied]] = []
        self._waiting: Actor | None = None
        self._alone: Callable[[], None] | None = None
        self._on_their_way = 0

    def start(
        self, actions: Sequence[Action | Search], *, request_id: str, now: float, is_alone: bool = False
    ) -> None:
        """Let a thread send a request."""

        def send() -> None:
            reply: Reply | ProcessDied
            try:
                reply = self._api.send(actions, request_id=request_id, now=now)
            except ProcessDied as death:
                reply = death
            self._replies.append((request_id, reply))
            if self._waiting:
                self._waiting.wake(self._worker.schedule.now)

        self._on_their_way += 1
        if is_alone:
            self._alone = send
        else:
            self._worker.schedule.spawn(f"{self._worker.name} sends {request_id}", send)

    def next(self, timeout: float | None = None) -> tuple[str, Reply] | None:
        """Wait for a reply, or for the death of the process in one of its threads."""
        schedule = self._worker.schedule
        until = NEVER if timeout is None else schedule.now + round(timeout * SECOND)
        if self._alone and timeout is None:
            send, self._alone = self._alone, None
            send()
        while not self._replies:
            if schedule.now >= until:
                return None
            self._waiting = self._worker.actor
            self._worker.actor.wait(until)
            self._waiting = None
        self._on_their_way -= 1
        request_id, reply = self._replies.pop(0)
        if isinstance(reply, ProcessDied):
            raise reply
        return request_id, reply

    def finish(self) -> None:
        """Wait for all that is on its way."""
        while self._on_their_way:
            self.next()


class FaultyTransport(httpx.BaseTransport):
    """The network between a worker and the API: slow, broken, or down before a connection is made."""

    def __init__(self, worker: SimulatedWorker, inner: httpx.BaseTransport) -> None:
        self._worker, self._inner = worker, inner

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Return the response, or raise what a transport raises that gets none in time."""
        worker, faults = self._worker, self._worker.faults()
        if worker.has_timed_out():
            raise httpx.WriteTimeout("timed out", request=request)
        if worker.schedule.rng.random() < faults.api_fault / 4:
            raise httpx.ConnectError("no route to host", request=request)
        self._travel(faults)
        response = self._inner.handle_request(request)
        self._travel(faults)
        if worker.has_timed_out():
            raise httpx.ReadTimeout("timed out", request=request)
        return response

    def _travel(self, faults: FaultProfile) -> None:
        rng = self._worker.schedule.rng
        if rng.random() < faults.slow_network:
            self._worker.sleep(rng.uniform(1, 20))
        self._worker.interrupt("…")
