"""A Redis server without room for anything new."""

from collections.abc import Iterator
from contextlib import contextmanager

from redis import Redis


@contextmanager
def out_of_memory(client: Redis) -> Iterator[None]:
    """Let the server of this client be full while the block lasts."""
    client.config_set("maxmemory", "1")
    try:
        yield
    finally:
        client.config_set("maxmemory", "0")
