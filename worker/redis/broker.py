"""The broker's URL as kombu wants it, and the names that a Redis broker gives its keys.

Our setting is written like the store's; kombu has its own spelling for Sentinel and for a socket.
"""

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote, unquote

from worker.config.urls import (
    NETWORK_OPTIONS,
    SENTINEL_SCHEMES,
    MultiHostUrl,
    is_encrypted,
    redis_options,
    split_url,
)
from worker.redis.client import SOCKET_OPTIONS
from worker.redis.sentinel import SENTINEL_PORT, split_options

AMQP_SCHEMES: Final = ("amqp://", "amqps://")
TRANSPORT_OPTIONS: Final = (*NETWORK_OPTIONS, "max_connections", "max_age")
"""Those of a URL that kombu wants beside it."""


def broker_settings(url: str, prefix: str) -> dict[str, Any]:
    """Return Celery's settings for the broker at our URL; every key of a Redis begins with the prefix."""
    if url.startswith(AMQP_SCHEMES):  # a message counts as sent when the broker has it on disk
        return {"broker_url": url, "broker_transport_options": {"confirm_publish": True}}
    options = {**SOCKET_OPTIONS, **_key_names(prefix)}
    given = redis_options(url)
    settings: dict[str, Any] = {}
    if split_url(url).scheme in SENTINEL_SCHEMES:
        service = MultiHostUrl.parse(url.partition("?")[0], default_port=SENTINEL_PORT)
        options |= {"master_name": service.service, "sentinel_kwargs": split_options(url, given)[1]}
        settings["broker_url"] = _sentinel_urls(service)
    else:
        settings["broker_url"] = _plain_url(url, given)
    options |= {name: given[name] for name in TRANSPORT_OPTIONS if name in given}
    if is_encrypted(url):  # kombu checks no certificate unless it is told to
        settings["broker_use_ssl"] = {"ssl_cert_reqs": "required"} | {
            name: value for name, value in given.items() if name.startswith("ssl_")
        }
    return settings | {"broker_transport_options": options}


def _plain_url(url: str, options: Mapping[str, Any]) -> str:
    """Return the URL with user, password and database where kombu looks for them."""
    parts = split_url(url)
    user = options.get("username", unquote(parts.username or ""))
    password = options.get("password", unquote(parts.password or ""))
    access = f"{quote(user, safe='')}:{quote(password, safe='')}@" if user or password else ""
    database = str(
        options.get("db", "") if parts.path in ("", "/") or parts.scheme == "unix" else parts.path[1:]
    )
    if parts.scheme == "unix":
        query = f"?virtual_host={database}" if database else ""
        return f"redis+socket://{access}{parts.path}{query}"
    return f"{parts.scheme}://{access}{parts.netloc.rpartition('@')[2]}/{database}"


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


def _sentinel_urls(service: MultiHostUrl) -> str:
    access = ""
    if service.password:
        access = f"{quote(service.username or '', safe='')}:{quote(service.password, safe='')}@"
    hosts = ((f"[{host}]" if ":" in host else host, port) for host, port in service.hosts)
    return ";".join(f"sentinel://{access}{host}:{port}/{service.database}" for host, port in hosts)
