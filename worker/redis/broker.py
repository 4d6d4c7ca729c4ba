"""The broker's URL as kombu wants it.

Our setting is written like the store's; kombu has its own spelling for Sentinel and for a socket.
"""

from typing import Any, Final
from urllib.parse import quote

from worker.redis.client import SOCKET_OPTIONS
from worker.redis.sentinel import SENTINEL_PORT
from worker.redis.urls import MultiHostUrl

AMQP_SCHEMES: Final = ("amqp://", "amqps://")
SENTINEL_SCHEMES: Final = ("redis+sentinel://", "sentinel://")


def broker_settings(url: str) -> tuple[str, dict[str, Any]]:
    """Return the URL for kombu and the transport options that belong to it."""
    if url.startswith(AMQP_SCHEMES):
        return url, {"confirm_publish": True}  # a message counts as sent when the broker has it on disk
    if url.startswith("unix://"):
        return url.replace("unix://", "redis+socket://", 1), {**SOCKET_OPTIONS}
    if url.startswith(SENTINEL_SCHEMES):
        return _sentinel_settings(MultiHostUrl.parse(url, default_port=SENTINEL_PORT))
    return url, {**SOCKET_OPTIONS}


def _sentinel_settings(service: MultiHostUrl) -> tuple[str, dict[str, Any]]:
    access = ""
    if service.password:
        access = f"{quote(service.username or '')}:{quote(service.password, safe='')}@"
    urls = ";".join(f"sentinel://{access}{host}:{port}/{service.database}" for host, port in service.hosts)
    return urls, {**SOCKET_OPTIONS, "master_name": service.service}
