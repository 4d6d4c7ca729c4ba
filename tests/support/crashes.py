"""Stopping a process at one call of the world: before it is carried out, or after it, when the answer is lost with the process."""

from collections.abc import Callable
from typing import Any

from tests.support.flow_world import World
from worker.ports import Store
from worker.store.redis_store import RedisStore


class Stop(BaseException):
    """The process is gone; nothing catches this."""


class Fuse:
    """Burns at one call of the world, before or after it is carried out."""

    def __init__(self, at: int = -1, *, after: bool = False) -> None:
        self.at, self.after, self.calls = at, after, 0

    def through(self, call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        number, self.calls = self.calls, self.calls + 1
        if number == self.at and not self.after:
            raise Stop
        result = call(*args, **kwargs)
        if number == self.at:
            raise Stop
        return result


class Brittle:
    """Anything, its calls led through a fuse; what a lease-giving call gives is brittle, too."""

    def __init__(self, inner: Any, fuse: Fuse) -> None:
        self._inner, self._fuse = inner, fuse

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._inner, name)
        if not callable(value):
            return value

        def call(*args: Any, **kwargs: Any) -> Any:
            result = self._fuse.through(value, *args, **kwargs)
            return Brittle(result, self._fuse) if name == "lease" and result is not None else result

        return call


def live(here: World, fuse: Fuse, day: Callable[[], None]) -> World:
    """Let the day go on until the fuse burns, and once more from its beginning as soon as the lease has run out."""
    sound, apis = here.store, here.apis
    here.store, here.apis = Brittle(sound, fuse), {name: Brittle(api, fuse) for name, api in apis.items()}
    here.intake = type(here.intake)(
        store=here.store,
        policy_of=here.intake.policy_of,
        new_id=here.name,
        wake=here.intake.wake,
        emit=here.emit,
    )
    try:
        day()
    except Stop:
        here.clock.sleep(11)  # the lease runs out, by the world's clock …
        forget(sound, "test:{acme}:lease")  # … and by the server's own
        day()
    here.store, here.apis = sound, apis
    return here


def forget(store: Store, *keys: str) -> None:
    """Make the server forget keys, or everything; an in-memory store is new for every run anyway."""
    if isinstance(store, RedisStore):
        store._client.redis.delete(*keys) if keys else store._client.redis.flushall()
