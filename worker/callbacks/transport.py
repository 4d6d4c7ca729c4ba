"""One attempt to send a message by HTTP, as Standard Webhooks has it; nothing of the answer but its status.

The host is resolved once per attempt and only checked addresses are connected to (public ones, and those of
private networks that are named), by the name that the certificate must have. No redirect is followed, no
proxy is used, and no body is read.
"""

import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

import httpcore
import httpx
from standardwebhooks.webhooks import EmptyWebhookSecretError, Webhook

from worker import network
from worker.config import Callback, Secret, redact
from worker.contract.quoting import make_printable
from worker.errors import Fault, InvalidSettings
from worker.ports.callbacks import CallbackAttempt

Address = IPv4Address | IPv6Address

NAT64: Final = IPv6Network("64:ff9b::/96")  # whose last 32 bits are an address of IPv4


def choose_addresses(found: Iterable[str], networks: Sequence[str]) -> list[str]:
    """Return those addresses that are public or in one of the networks, in their order."""
    allowed = [ip_network(network) for network in networks]
    return [
        text
        for text in found
        if all(_is_public(each) or any(each in network for network in allowed) for each in _meant_by(text))
    ]


def _meant_by(text: str) -> list[Address]:
    """Return what packets to an address may reach: of one that embeds another, that one counts."""
    address = ip_address(text.partition("%")[0])
    if isinstance(address, IPv4Address):
        return [address]
    embedded = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
    if address in NAT64:
        embedded.append(IPv4Address(int(address) & 0xFFFFFFFF))
    return list(filter(None, embedded)) or [address]


def _is_public(address: Address) -> bool:
    return address.is_global and not (address.is_multicast or address.is_reserved or address.is_unspecified)


TIMEOUT: Final = 10.0  # seconds from connecting to the status; resolving the name comes before
MAX_ERROR: Final = 200  # characters that are kept
EXPECTED: Final = "expected whsec_ and base64, as Standard Webhooks has it"


def send(callback: Callback, *, message_id: str, body: bytes, now: float) -> CallbackAttempt:
    """Send a message once; `now` (seconds) is when it is signed."""
    try:
        headers = sign(callback, message_id, body, now)
        return _post(callback, headers, body)
    except InvalidSettings as error:  # a secret that cannot be read now
        return CallbackAttempt(error=str(error.faults[0])[:MAX_ERROR])
    except (
        httpcore.NetworkError,
        httpcore.TimeoutException,
        httpcore.ProtocolError,
        httpcore.UnsupportedProtocol,
        httpx.InvalidURL,
    ) as error:
        text = str(error) or type(error).__name__
        return CallbackAttempt(error=make_printable(redact(text))[:MAX_ERROR])


def sign(callback: Callback, message_id: str, body: bytes, now: float) -> dict[str, str]:
    """Return the headers by which a receiver knows it; every secret signs. Raises InvalidSettings."""
    at = datetime.fromtimestamp(int(now), UTC)
    signatures = [_signer(secret).sign(message_id, at, body.decode()) for secret in callback.secrets]
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(int(now)),
        "webhook-signature": " ".join(signatures),
    }


def _signer(secret: Secret) -> Webhook:
    """Return what signs by a secret; its file may be another one than when the settings were checked."""
    try:
        return Webhook(secret.reveal())
    except (ValueError, EmptyWebhookSecretError):  # no base64; nothing behind `whsec_`
        raise InvalidSettings([Fault(str(secret), EXPECTED)]) from None


def find_addresses(callback: Callback) -> list[str]:
    """Return the addresses that the callback would be sent to now; raises httpcore.ConnectError."""
    url = httpx.URL(callback.url)
    return _resolve(url.raw_host.decode(), url.port or 443, callback.networks)


def _resolve(host: str, port: int, networks: Sequence[str]) -> list[str]:
    found = network.find_addresses(host, port)
    allowed = choose_addresses(found, networks)
    if found and not allowed:
        raise httpcore.ConnectError(
            f"{found[0]} is a private address; if it is to be told, name its network in networks"
        )
    return allowed


def _post(callback: Callback, headers: dict[str, str], body: bytes) -> CallbackAttempt:
    url, deadline = httpx.URL(callback.url), network.Deadline()
    own = {
        "Host": url.netloc.decode("ascii"),
        "User-Agent": network.user_agent(),
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
        "Connection": "close",
    }

    def resolve(host: str, port: int) -> list[str]:
        addresses = _resolve(host, port, callback.networks)
        deadline.start(TIMEOUT)  # the system's look-up cannot be interrupted, and does not count
        return addresses

    deadline.start(TIMEOUT)
    with (
        network.connection_pool(deadline, 1, resolve=resolve) as pool,
        pool.stream(
            "POST", network.core_url(url), headers=list((own | headers).items()), content=body
        ) as response,
    ):
        wait = network.retry_after(httpx.Headers(response.headers), now=time.time()) or 0.0
        return CallbackAttempt(response.status, retry_after=wait)
