"""The HTTP interface and its Python clients; importing `Relations` loads nothing of the server."""

from producers.portals.sdk.async_client import AsyncRelations
from producers.portals.sdk.client import Relations
from producers.portals.sdk.protocol import Sent

__all__ = ["AsyncRelations", "Relations", "Sent"]
