"""Only public addresses are told, and private ones in networks that the settings name."""

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.callbacks.transport import choose_addresses

PRIVATE = [
    "0.0.0.0",
    "10.1.2.3",
    "100.64.0.1",
    "127.0.0.1",
    "169.254.169.254",  # where clouds keep credentials
    "172.16.0.1",
    "192.168.1.1",
    "224.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "fc00::1",
    "fe80::1%eth0",
    "ff02::1",
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "64:ff9b::10.0.0.1",
    "2002:7f00:1::",
    "2001:0:101:101::f5ff:fffe",  # Teredo: by a public server to 10.0.0.1
    "2001:0:a00:1::fefe:fefe",  # to a public client by 10.0.0.1
]
PUBLIC = [
    *("1.1.1.1", "93.184.216.34", "2606:4700::1111", "::ffff:1.1.1.1", "64:ff9b::1.1.1.1"),
    "2002:101:101::",
    "2001:0:101:101::fefe:fefe",
]


@pytest.mark.parametrize("address", PRIVATE)
def test_what_is_not_public_is_not_told(address: str) -> None:
    assert choose_addresses([address], ()) == []


@pytest.mark.parametrize("address", PUBLIC)
def test_what_is_public_is_told(address: str) -> None:
    assert choose_addresses([address], ()) == [address]


def test_a_named_network_is_told_and_no_other() -> None:
    assert choose_addresses(["10.1.2.3", "10.2.2.3", "::ffff:10.1.9.9"], ["10.1.0.0/16"]) == [
        "10.1.2.3",
        "::ffff:10.1.9.9",
    ]
    assert choose_addresses(["fd00::5", "127.0.0.1"], ["fd00::/8"]) == ["fd00::5"]
    assert choose_addresses(["64:ff9b::10.1.2.3"], ["10.1.2.3/32"]) == ["64:ff9b::10.1.2.3"]


@given(st.lists(st.ip_addresses(), max_size=6), st.ip_addresses(v=4, network="10.0.0.0/8"))
def test_whatever_is_chosen_is_public_or_in_the_network(found: list[object], inside: object) -> None:
    texts = [str(address) for address in (*found, inside)]
    chosen = choose_addresses(texts, ["10.0.0.0/8"])
    assert str(inside) in chosen
    for text in chosen:
        address = ip_address(text)
        assert address.is_global or address in ip_network("10.0.0.0/8") or address.version == 6
