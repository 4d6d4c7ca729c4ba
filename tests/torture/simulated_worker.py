"""A worker process that anything may happen to: it freezes, loses its store, dies in the middle of a call, and comes back.

Every call of the world is a point: before it and after it the dice decide what happens to this worker, and who goes on.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import httpx

from ops.simulator import Simulator
from ops.simulator.inprocess import InProcess
from tests.support.httpx_transport import HttpxTransport
from tests.torture.fault_profile import Chaos
from tests.torture.schedule import SECOND, Actor, Schedule
from tests.torture.simulated_broker import Broker
from worker.errors import LeaseLost, StoreUnavailable, Unavailable
from worker.onoffice.client import Client
from worker.planner.actions import Action, Reply
from worker.ports import MAX_COUNTDOWN, Lease
from worker.testing.limiter import MemoryLimiter
from worker.usecases.flush import flush
from worker.usecases.flush_context import FlushDeps, FlushPolicy

TIMEOUT = 30.0  # seconds a request may take
RENEWAL = 3.0  # seconds between heartbeats
MOMENTS = (0.0, 0.0, 0.0, 0.001, 0.05)  # seconds that pass at a point
NO_ROUTE = "no route to host"


class Died(BaseException):
    """The process is gone; nothing may catch this on the way."""


@dataclass(slots=True, kw_only=True)
class World:
    """What the workers share."""

    schedule: Schedule
    chaos: Callable[[], Chaos]
    store: Any
    limiter: MemoryLimiter
    simulator: Simulator
    broker: Broker
    lane: Callable[[str], FlushPolicy]
    name: Callable[[], str]
    echo: Callable[..., None]


class Worker:
    """One process: takes flush messages for as long as the story lasts."""

    def __init__(self, world: World, name: str) -> None:
        self.world, self.name = world, name
        self.crashes, self.frozen = 0, 0
        self._asked = 0
        self._be_born()
        self.actor: Actor = world.schedule.spawn(name, self._live)

    # --- its clock (ports.Clock) and its heartbeat (ports.Keeper)

    def monotonic(self) -> float:
        """Seconds; every process counts from its own beginning, and none counts quite right."""
        return (self.world.schedule.now - self._born) / SECOND * self._rate

    def sleep(self, seconds: float) -> None:
        """Wait, or be killed while waiting."""
        self.actor.wait(self.world.schedule.now + round(seconds * SECOND))
        self._perhaps_die()

    @contextmanager
    def keep(self, lease: Lease) -> Iterator[None]:
        """Renew the lease now and then until the block ends."""
        alive, bare = (
            True,
            lease.bare if isinstance(lease, Points) else lease,
        )  # nothing happens in the middle of a heartbeat

        def beat() -> None:
            if not alive:
                return
            if self.frozen > self.world.schedule.now:
                self.world.schedule.at(self.frozen, beat)
                return
            try:
                if self._dice() >= self.world.chaos().faint:
                    bare.renew()
            except LeaseLost:
                return
            self.world.schedule.after(RENEWAL, beat)

        self.world.schedule.after(RENEWAL, beat)
        try:
            yield
        finally:
            alive = False

    # --- its life

    def _be_born(self) -> None:
        dice, now = self.world.schedule.dice, self.world.schedule.now
        self._born, self._rate = now - dice.randrange(1000) * SECOND, dice.choice((1.0, 1.0, 0.98, 1.02))
        self._clients: dict[str, Client] = {}

    def _live(self) -> None:
        while True:
            account = self.world.broker.take(self.actor)
            try:
                self._flush(account)
            except Unavailable as error:
                self.world.echo("gave up", error)
            except Died:
                self._come_back(account)

    def _come_back(self, account: str) -> None:
        """The broker may hand out again what was not acknowledged."""
        self.crashes += 1
        self.world.echo("died")
        if self._dice() < 0.5:
            self.world.broker.put(account, 10 * self._dice())
        self.actor.wait(self.world.schedule.now + round(5 * self._dice() * SECOND))
        self._be_born()

    def _flush(self, account: str) -> None:
        """What the task does."""
        tools = FlushDeps(
            store=Points(self.world.store, "store", self, cut=True),
            limiter=Points(self.world.limiter, "limiter", self, cut=True),
            api=self,
            clock=self,
            keep_lease=self.keep,
            new_id=self.world.name,
            draw=self.world.schedule.dice.random,
            emit=self._heard,
        )
        self._account = account
        again = flush(self.world.lane(account), tools).next_in
        if again is not None and again <= MAX_COUNTDOWN:
            self.world.broker.put(account, again)

    def _heard(self, event: str, /, **fields: object) -> None:
        self.world.echo(event, fields)

    # --- the way to the API (ports.Api, and the transport below the client)

    def send(self, actions: Sequence[Action], *, request_id: str, now: float) -> Reply:
        """One request, by the real client."""
        self.point(
            "api.send", request_id, [(action.kind, action.parents, action.children) for action in actions]
        )
        if self._account not in self._clients:
            way = HttpxTransport(Way(self, InProcess(self.world.simulator)))
            self._clients[self._account] = Client(
                "https://crm.example.test/api.php",
                f"token-{self._account}",
                "secret",
                timeout=TIMEOUT,
                transport=way,
            )
        self._asked = self.world.schedule.now
        reply = self._clients[self._account].send(actions, request_id=request_id, now=now)
        reply = replace(reply, seconds=(self.world.schedule.now - self._asked) / SECOND)
        self.point(
            "api.answer",
            request_id,
            reply.status,
            [(each.verdict.value, each.code) for each in reply.results],
        )
        return reply

    def late(self) -> bool:
        """Whether the request's time is up."""
        return self.world.schedule.now - self._asked > TIMEOUT * SECOND

    # --- points

    def point(self, *what: object, cut: bool = False) -> None:
        """Let others go first; perhaps freeze, lose the store, or die."""
        dice, chaos = self.world.schedule.dice, self.world.chaos()
        self.world.echo(*what)
        seconds = dice.choice(MOMENTS)
        if dice.random() < chaos.freeze:
            seconds = dice.choice((dice.uniform(5, 30), dice.uniform(5, 30), dice.uniform(100, 250)))
            self.frozen = self.world.schedule.now + round(seconds * SECOND)
            self.world.echo("freezes for", seconds)
        self.actor.wait(self.world.schedule.now + round(seconds * SECOND))
        self._perhaps_die()
        if cut and dice.random() < chaos.cut:
            raise StoreUnavailable("the line to the store was cut")

    def _perhaps_die(self) -> None:
        if self._dice() < self.world.chaos().crash:
            raise Died

    def _dice(self) -> float:
        return self.world.schedule.dice.random()


class Points:
    """Anything, its calls made points of a worker; what a lease-giving call gives is led through points, too."""

    def __init__(self, inner: Any, name: str, worker: Worker, *, cut: bool) -> None:
        self.bare, self._name, self._worker, self._cut = inner, name, worker, cut

    def __getattr__(self, name: str) -> Any:
        value = getattr(self.bare, name)
        if not callable(value):
            return value

        def call(*args: Any, **kwargs: Any) -> Any:
            self._worker.point(f"{self._name}.{name}?", cut=self._cut)
            result = value(*args, **kwargs)
            self._worker.point(f"{self._name}.{name}", *args, "→", result, cut=self._cut)
            return (
                Points(result, "lease", self._worker, cut=self._cut)
                if name == "lease" and result is not None
                else result
            )

        return call


class Way(httpx.BaseTransport):
    """The network between a worker and the API: slow, broken, or gone before the connection stands."""

    def __init__(self, worker: Worker, inner: httpx.BaseTransport) -> None:
        self._worker, self._inner = worker, inner

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """The answer, or what a transport raises that did not get one in time."""
        worker, dice, chaos = self._worker, self._worker.world.schedule.dice, self._worker.world.chaos()
        if worker.late():
            raise httpx.WriteTimeout("timed out", request=request)
        if dice.random() < chaos.fault / 4:
            raise httpx.ConnectError(NO_ROUTE, request=request)
        self._travel(chaos)
        response = self._inner.handle_request(request)
        self._travel(chaos)
        if worker.late():
            raise httpx.ReadTimeout("timed out", request=request)
        return response

    def _travel(self, chaos: Chaos) -> None:
        schedule = self._worker.world.schedule
        if schedule.dice.random() < chaos.slow:
            self._worker.sleep(schedule.dice.uniform(1, 20))
        self._worker.point("…")
