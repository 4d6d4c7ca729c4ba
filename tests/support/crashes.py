"""Crash a process at one call to the outside, before it is carried out, or after it with its answer lost."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NoReturn

from tests.support.flow_world import World
from worker.errors import Unavailable
from worker.ports.store import Store
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


class BrokenConnection:
    """An API whose worker loses the store after it has begun a request."""

    def send(self, *_: object, **__: object) -> NoReturn:
        raise Unavailable("gone")


class Crashing:
    """An API or a store whose calls go through a crash point."""

    def __init__(self, inner: Any, point: CrashPoint) -> None:
        self._inner, self._point = inner, point

    def __getattr__(self, name: str) -> Any:
        return partial(self._point.call, getattr(self._inner, name))


def crash_points(calls: int) -> list[CrashPoint]:
    """Return a crash in every state that so many calls go through.

    Before a call is the same as after the one before it: the process that knew the difference is gone.
    """
    return [*(CrashPoint(at) for at in range(calls)), CrashPoint(calls - 1, after=True)]


def run_with_crash(world: World, point: CrashPoint, run: Callable[[], None]) -> World:
    """Run until the crash, and once more from the beginning as soon as the lease has run out.

    It crashes at a request to the API, or at one of the scripts that calls of the store run.
    """
    store, apis = world.store, world.apis
    assert isinstance(store, RedisStore)
    scripts = store.database.scripts
    store.database.scripts = {name: partial(point.call, script) for name, script in scripts.items()}
    world.apis = {account: Crashing(api, point) for account, api in apis.items()}
    try:
        run()
    except Crashed:
        store.database.scripts = scripts
        world.clock.advance(11)  # the lease runs out, by the world's clock …
        delete_keys(store, "test:{acme}:holder")  # … and by the server's own
        run()
    world.apis, store.database.scripts = apis, scripts
    return world


def crash_everywhere(
    make_world: Callable[[], World], run: Callable[[World], None]
) -> Iterator[tuple[int, World]]:
    """Yield each call that the run makes and the world at its end, after a crash at that call."""
    world, counted = make_world(), CrashPoint()
    run_with_crash(world, counted, partial(run, world))
    for point in crash_points(counted.calls):
        world = make_world()
        yield point.at, run_with_crash(world, point, partial(run, world))


def delete_keys(store: Store, *keys: str) -> None:
    """Delete keys, or everything, from the server; an in-memory store is new for every run anyway."""
    if isinstance(store, RedisStore):
        store.database.redis.delete(*keys) if keys else store.database.redis.flushall()
