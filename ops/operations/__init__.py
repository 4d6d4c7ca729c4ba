"""What operators look up and do, in two ways: straight on Redis (`local`), and over HTTP (`http`).

Commands do not know in which: whatever they call, both have, so that each works the same way from a machine
that has no Redis. `by` is whom the audit log names where it is not the key.
"""

from typing import TYPE_CHECKING, TypeAlias

from worker.errors import Unavailable

if TYPE_CHECKING:
    from ops.operations.http import HttpOperations
    from ops.operations.local import LocalOperations

Operations: TypeAlias = "LocalOperations | HttpOperations"


class ServerUnavailable(Unavailable):
    """The server of the HTTP interface cannot be reached, or something before it answers."""
