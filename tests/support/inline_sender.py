"""A sender without threads: requests are sent at once in the caller's own, and answered when it waits."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from worker.planner.actions import Action, Reply, Search
from worker.ports.requests import Api


class InlineSender:
    """Keeps the replies until they are asked for: of several on their way, the last is answered first."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._replies: list[tuple[str, Reply]] = []

    def start(
        self, actions: Sequence[Action | Search], *, request_id: str, now: float, is_alone: bool = False
    ) -> None:
        self._replies.append((request_id, self._api.send(actions, request_id=request_id, now=now)))

    def next(self, timeout: float | None = None) -> tuple[str, Reply] | None:
        return None if timeout == 0 else self._replies.pop()


@contextmanager
def open_inline_sender(api: Api, _in_flight: int) -> Iterator[InlineSender]:
    yield InlineSender(api)
