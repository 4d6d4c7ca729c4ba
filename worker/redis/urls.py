"""URLs that name several hosts, which `urllib` and redis-py do not read."""

from typing import NamedTuple
from urllib.parse import unquote

from worker.config.urls import split_url


class MultiHostUrl(NamedTuple):
    """A parsed `…://user:password@host:port,host:port/service/database`; only Sentinel has the last two."""

    hosts: tuple[tuple[str, int], ...]
    service: str
    database: int
    username: str | None
    password: str | None

    @classmethod
    def parse(cls, url: str, *, default_port: int) -> "MultiHostUrl":
        """Parse the URL; raises ValueError."""
        parts = split_url(url)
        service, _, database = parts.path.strip("/").partition("/")
        hosts = parts.netloc.rpartition("@")[2].split(",")
        return cls(
            tuple(_host_and_port(host, default_port) for host in hosts),
            service or "mymaster",
            int(database or 0),
            unquote(parts.username) if parts.username else None,
            unquote(parts.password) if parts.password else None,
        )


def _host_and_port(text: str, default_port: int) -> tuple[str, int]:
    if text.endswith("]") or ":" not in text:  # an IPv6 address has colons of its own, in brackets
        return text.strip("[]"), default_port
    host, _, port = text.rpartition(":")
    return host.strip("[]"), int(port)
