"""The HTTP interface for portals: routes, handlers, and the server."""
