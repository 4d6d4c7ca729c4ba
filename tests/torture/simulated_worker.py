"""A simulated worker: a process that takes flush messages, and starts again when it has died."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import httpx
from msgspec.structs import replace

from ops.simulator import Simulator
from ops.simulator.inprocess import InProcess
from tests.support.httpx_transport import HttpxTransport
from tests.torture.fault_profile import FaultProfile
from tests.torture.schedule import SECOND, Actor, Schedule
from tests.torture.simulated_broker import SimulatedBroker
from tests.torture.simulated_process import InterruptiblePort, ProcessDied, SimulatedProcess
from worker.errors import Unavailable
from worker.onoffice.client import Client
from worker.planner.actions import Action, Reply
from worker.ports import MAX_COUNTDOWN
from worker.testing.limiter import MemoryLimiter
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
        self._request_begun = 0
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
        self.start_clock()
        self._clients.clear()

    def _flush(self, account: str) -> None:
        """Do what the Celery task does."""
        environment = self.environment
        deps = FlushDeps(
            store=InterruptiblePort(environment.store, "store", self),
            limiter=InterruptiblePort(environment.limiter, "limiter", self),
            api=self,
            clock=self,
            keep_lease=self.keep_lease,
            new_id=environment.new_id,
            draw=self.schedule.rng.random,
            emit=self._emit,
        )
        self._account = account
        next_in = flush(environment.policy_of(account), deps).next_in
        if next_in is not None and next_in <= MAX_COUNTDOWN:
            environment.broker.put(account, next_in)

    def _emit(self, event: str, /, **fields: object) -> None:
        self.trace(event, fields)

    # --- the API (ports.Api), with the real client over a faulty network

    def send(self, actions: Sequence[Action], *, request_id: str, now: float) -> Reply:
        """Send one request by the real client."""
        described = [(action.kind, action.parents, action.children) for action in actions]
        self.interrupt("api.send", request_id, described)
        self._request_begun = self.schedule.now
        reply = self._client().send(actions, request_id=request_id, now=now)
        reply = replace(reply, seconds=(self.schedule.now - self._request_begun) / SECOND)
        results = [(result.verdict.value, result.code) for result in reply.results]
        self.interrupt("api.answer", request_id, reply.status, results)
        return reply

    def has_timed_out(self) -> bool:
        """Return whether the request has taken too long."""
        return self.schedule.now - self._request_begun > TIMEOUT * SECOND

    def _client(self) -> Client:
        if self._account not in self._clients:
            self._clients[self._account] = Client(
                URL,
                f"token-{self._account}",
                "secret",
                timeout=TIMEOUT,
                transport=HttpxTransport(FaultyTransport(self, InProcess(self.environment.simulator))),
            )
        return self._clients[self._account]


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
