"""The HTTP interface and its clients; `from producers.portals import Relations` needs nothing of the server's."""

from producers.portals.sdk.async_client import AsyncRelations
from producers.portals.sdk.client import Relations
from producers.portals.sdk.protocol import Sent

__all__ = ["AsyncRelations", "Relations", "Sent"]
