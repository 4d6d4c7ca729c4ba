"""Which addresses a callback may be sent to: public ones, and those of private networks that are named."""

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

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
