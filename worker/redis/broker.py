"""The broker's URL as kombu wants it, and the names that a Redis broker gives its keys.

Our setting is written like the store's; kombu has its own spelling for Sentinel and for a socket.
"""

from typing import Any, Final
from urllib.parse import quote

from worker.redis.client import SOCKET_OPTIONS
from worker.redis.sentinel import SENTINEL_PORT
from worker.redis.urls import MultiHostUrl

AMQP_SCHEMES: Final = ("amqp://", "amqps://")
SENTINEL_SCHEMES: Final = ("redis+sentinel://", "sentinel://")


def broker_settings(url: str, prefix: str) -> tuple[str, dict[str, Any]]:
    """Return the URL for kombu and the transport options that belong to it; keys begin with the prefix."""
    if url.startswith(AMQP_SCHEMES):
        return url, {"confirm_publish": True}  # a message counts as sent when the broker has it on disk
    options = {**SOCKET_OPTIONS, **_key_names(prefix)}
    if url.startswith("unix://"):
        return url.replace("unix://", "redis+socket://", 1), options
    if url.startswith(SENTINEL_SCHEMES):
        url, service = _sentinel_settings(MultiHostUrl.parse(url, default_port=SENTINEL_PORT))
        return url, {**options, "master_name": service}
    return url, options


def _key_names(prefix: str) -> dict[str, str]:
    """Return the names of what is not a queue. No prefix holds a slash, so none of them is another's."""
    return {
        "unacked_key": f"{prefix}/unacked",
        "unacked_index_key": f"{prefix}/unacked_index",
        "unacked_mutex_key": f"{prefix}/unacked_mutex",
        "keyprefix_queue": f"{prefix}/binding/%s",
        "keyprefix_binding_permanent": f"{prefix}/binding_permanent/%s",
        "keyprefix_binding_deadlines": f"{prefix}/binding_deadlines",
        "fanout_prefix": f"{prefix}.{{db}}.",  # of channels, which a server's databases share
    }


def _sentinel_settings(service: MultiHostUrl) -> tuple[str, str]:
    access = ""
    if service.password:
        access = f"{quote(service.username or '')}:{quote(service.password, safe='')}@"
    urls = ";".join(f"sentinel://{access}{host}:{port}/{service.database}" for host, port in service.hosts)
    return urls, service.service
