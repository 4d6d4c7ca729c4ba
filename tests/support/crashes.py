"""Crash a process at one call to the outside, before it is carried out, or after it with its answer lost."""

from collections.abc import Callable
from functools import partial
from typing import Any

from tests.support.flow_world import World
from worker.ports import Store
from worker.store.redis_store import RedisStore


class Crashed(BaseException):
    """The process is gone; nothing catches this."""


class CrashPoint:
    """Crashes at the call with this number, before or after it is carried out."""

    def __init__(self, at: int = -1, *, after: bool = False) -> None:
        self.at, self.after, self.calls = at, after, 0

    def call(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        number, self.calls = self.calls, self.calls + 1
        if number == self.at and not self.after:
            raise Crashed
        result = function(*args, **kwargs)
        if number == self.at:
            raise Crashed
        return result


class Crashing:
    """An adapter whose calls, and those of the leases it gives, go through a crash point."""

    def __init__(self, inner: Any, point: CrashPoint) -> None:
        self._inner, self._point = inner, point

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._inner, name)
        if not callable(value):
            return value

        def call(*args: Any, **kwargs: Any) -> Any:
            result = self._point.call(value, *args, **kwargs)
            return Crashing(result, self._point) if name == "lease" and result is not None else result

        return call


def run_with_crash(world: World, point: CrashPoint, run: Callable[[], None]) -> World:
    """Run until the crash, and once more from the beginning as soon as the lease has run out.

    It crashes at a call of the store or the API, or at one of the commits that a call of the store makes.
    """
    store, apis = world.store, world.apis
    assert isinstance(store, RedisStore)
    scripts = store.database.scripts
    store.database.scripts = {name: partial(point.call, script) for name, script in scripts.items()}
    world.store = Crashing(store, point)
    world.apis = {account: Crashing(api, point) for account, api in apis.items()}
    world.intake = type(world.intake)(
        store=world.store,
        policy_of=world.intake.policy_of,
        new_id=world.new_id,
        wake=world.intake.wake,
        emit=world.emit,
    )
    try:
        run()
    except Crashed:
        store.database.scripts = scripts
        world.clock.sleep(11)  # the lease runs out, by the world's clock …
        delete_keys(store, "test:{acme}:holder")  # … and by the server's own
        run()
    world.store, world.apis, store.database.scripts = store, apis, scripts
    return world


def delete_keys(store: Store, *keys: str) -> None:
    """Delete keys, or everything, from the server; an in-memory store is new for every run anyway."""
    if isinstance(store, RedisStore):
        store.database.redis.delete(*keys) if keys else store.database.redis.flushall()
