"""The HTTP interface and its client; `from producers.portals import Relations` needs nothing of the server's."""

from producers.portals.sdk import Relations

__all__ = ["Relations"]
