"""The HTTP interface and its clients; `from producers.portals import Relations` needs nothing of the server's."""

from producers.portals.aio import AsyncRelations
from producers.portals.sdk import Relations
from producers.portals.steps import Sent

__all__ = ["AsyncRelations", "Relations", "Sent"]
