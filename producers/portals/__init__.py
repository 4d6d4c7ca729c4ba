"""The HTTP interface and its Python clients; importing `Relations` loads nothing of the server.

What a program needs to send changes is here: the clients, their errors, and the types of what goes in and
comes out.
"""

from typing import TYPE_CHECKING

from producers.errors import Forbidden, Unauthorized
from producers.portals.sdk.protocol import Ids, Jobs, Options, Sent
from producers.portals.serializers import BatchDict, ErrorDict, JobDict
from worker.contract import Change, MessageDict
from worker.errors import BacklogFull, Fault, Invalid, InvalidChange, NotFound, RelationsError, Unavailable

if TYPE_CHECKING:
    from producers.portals.sdk.client import AsyncRelations, Relations
else:

    def __getattr__(name: str) -> type:
        """Return a client, imported when it is first used: the server does without its HTTP library."""
        if name in ("Relations", "AsyncRelations"):
            from producers.portals.sdk import client

            found: type = getattr(client, name)
            return found
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = [
    "AsyncRelations",
    "BacklogFull",
    "BatchDict",
    "Change",
    "ErrorDict",
    "Fault",
    "Forbidden",
    "Ids",
    "Invalid",
    "InvalidChange",
    "JobDict",
    "Jobs",
    "MessageDict",
    "NotFound",
    "Options",
    "Relations",
    "RelationsError",
    "Sent",
    "Unauthorized",
    "Unavailable",
]
