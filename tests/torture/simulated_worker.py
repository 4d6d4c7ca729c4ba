"""A simulated worker process: it freezes, loses its store, dies in the middle of a call, and starts again.

Around every call to the outside the random numbers decide what happens to this worker, and who runs next.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import httpx

from ops.simulator import Simulator
from ops.simulator.inprocess import InProcess
from tests.support.httpx_transport import HttpxTransport
from tests.torture.fault_profile import FaultProfile
from tests.torture.schedule import SECOND, Actor, Schedule
from tests.torture.simulated_broker import SimulatedBroker
from worker.errors import LeaseLost, StoreUnavailable, Unavailable
from worker.onoffice.client import Client
from worker.planner.actions import Action, Reply
from worker.ports import MAX_COUNTDOWN, Lease
from worker.testing.limiter import MemoryLimiter
from worker.usecases.flush import flush
from worker.usecases.flush_context import FlushDeps, FlushPolicy

TIMEOUT = 30.0  # seconds a request may take
RENEWAL = 3.0  # seconds between renewals of a lease
DELAYS = (0.0, 0.0, 0.0, 0.001, 0.05)  # seconds that pass around a call
URL = "https://crm.example.test/api.php"


class WorkerDied(BaseException):
    """The process is dead; nothing may catch this on the way."""


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


class SimulatedWorker:
    """One process: takes flush messages for as long as the scenario lasts."""

    def __init__(self, environment: WorkerEnvironment, name: str) -> None:
        self.environment, self.name = environment, name
        self.schedule, self.faults, self.trace = environment.schedule, environment.faults, environment.trace
        self.crashes, self.frozen_until = 0, 0
        self._request_begun = 0
        self._start()
        self.actor: Actor = self.schedule.spawn(name, self._run)

    # --- its clock (ports.Clock) and the renewal of its leases

    def monotonic(self) -> float:
        """Return seconds since an origin of its own; the clock may be a little fast or slow."""
        return (self.schedule.now - self._clock_origin) / SECOND * self._clock_speed

    def sleep(self, seconds: float) -> None:
        """Wait, or die while waiting."""
        self.actor.wait(self.schedule.now + round(seconds * SECOND))
        self._die_at_random()

    @contextmanager
    def keep_lease(self, lease: Lease) -> Iterator[None]:
        """Renew the lease now and then until the block ends."""
        # The renewal runs outside of the worker's actor, so it must not be interrupted.
        uninterrupted = lease.inner if isinstance(lease, InterruptiblePort) else lease
        active = True

        def renew() -> None:
            if not active:
                return
            if self.frozen_until > self.schedule.now:
                self.schedule.at(self.frozen_until, renew)
                return
            try:
                if self._random() >= self.faults().failed_renewal:
                    uninterrupted.renew()
            except LeaseLost:
                return
            self.schedule.after(RENEWAL, renew)

        self.schedule.after(RENEWAL, renew)
        try:
            yield
        finally:
            active = False

    # --- the process

    def _start(self) -> None:
        rng = self.schedule.rng
        self._clock_origin = self.schedule.now - rng.randrange(1000) * SECOND
        self._clock_speed = rng.choice((1.0, 1.0, 0.98, 1.02))
        self._clients: dict[str, Client] = {}

    def _run(self) -> None:
        while True:
            account = self.environment.broker.take(self.actor)
            try:
                self._flush(account)
            except Unavailable as error:
                self.trace("gave up", error)
            except WorkerDied:
                self._restart(account)

    def _restart(self, account: str) -> None:
        """Start again after a while; the broker may redeliver the message that was not acknowledged."""
        self.crashes += 1
        self.trace("died")
        if self._random() < 0.5:
            self.environment.broker.put(account, 10 * self._random())
        self.actor.wait(self.schedule.now + round(5 * self._random() * SECOND))
        self._start()

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

    # --- interruptions

    def interrupt(self, *step: object, cuts_store: bool = False) -> None:
        """Let others run; perhaps freeze, die, or lose the connection to the store."""
        rng, faults = self.schedule.rng, self.faults()
        self.trace(*step)
        seconds = rng.choice(DELAYS)
        if rng.random() < faults.freeze:
            seconds = rng.choice((rng.uniform(5, 30), rng.uniform(5, 30), rng.uniform(100, 250)))
            self.frozen_until = self.schedule.now + round(seconds * SECOND)
            self.trace("freezes for", seconds)
        self.actor.wait(self.schedule.now + round(seconds * SECOND))
        self._die_at_random()
        if cuts_store and rng.random() < faults.store_cut:
            raise StoreUnavailable("the connection to the store was cut")

    def _die_at_random(self) -> None:
        if self._random() < self.faults().crash:
            raise WorkerDied

    def _random(self) -> float:
        return self.schedule.rng.random()


class InterruptiblePort:
    """A store, lease or limiter; the worker may be interrupted before and after each of its calls."""

    def __init__(self, inner: Any, name: str, worker: SimulatedWorker) -> None:
        self.inner, self._name, self._worker = inner, name, worker

    def __getattr__(self, name: str) -> Any:
        value = getattr(self.inner, name)
        if not callable(value):
            return value

        def call(*args: Any, **kwargs: Any) -> Any:
            self._worker.interrupt(f"{self._name}.{name}?", cuts_store=True)
            result = value(*args, **kwargs)
            self._worker.interrupt(f"{self._name}.{name}", *args, "→", result, cuts_store=True)
            is_lease = name == "lease" and result is not None
            return InterruptiblePort(result, "lease", self._worker) if is_lease else result

        return call


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
