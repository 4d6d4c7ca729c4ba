"""What operators look up and do, as one interface with two adapters: straight on Redis, and over HTTP.

Commands know the interface only, so that each works the same way from a machine that has no Redis.
"""

from ops.operations.port import Operations

__all__ = ["Operations"]
