"""One flush, noted: when requests were sent and answered, and when their outcomes were written."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from tests.support.flow_world import World
from tests.support.inline_sender import InlineSender
from worker.planner.actions import Action, Reply, Search
from worker.ports.requests import Api
from worker.usecases.flush import flush


class WatchedSender(InlineSender):
    """Notes when requests begin to travel and when they are answered; the first is answered first."""

    def __init__(self, api: Api, notes: list[tuple[str, Any]]) -> None:
        super().__init__(api)
        self.notes = notes

    def start(
        self, actions: Sequence[Action | Search], *, request_id: str, now: float, is_alone: bool = False
    ) -> None:
        self.notes.append(("sent", [(action.kind, action.children) for action in actions]))
        super().start(actions, request_id=request_id, now=now)

    def next(self, timeout: float | None = None) -> tuple[str, Reply] | None:
        if timeout == 0:
            return None
        self.notes.append(("answered", None))
        return self._replies.pop(0)


def flush_noted(world: World) -> list[tuple[str, Any]]:
    """Run one flush; return when requests were sent and answered, and when outcomes were written."""
    notes: list[tuple[str, Any]] = []

    @contextmanager
    def open_watched(api: Api, _: int) -> Iterator[WatchedSender]:
        yield WatchedSender(api, notes)

    def emit(event: str, /, **fields: object) -> None:
        world.emit(event, **fields)
        if event == "request.done":
            notes.append(("written", None))

    flush(world.policy_of("acme"), world.flush_deps("acme", open_sender=open_watched, emit=emit))
    return notes


def kinds(notes: list[tuple[str, Any]]) -> str:
    """Return the notes as letters: s(ent), a(nswered), w(ritten)."""
    return "".join(note[0] for note, _ in notes)
