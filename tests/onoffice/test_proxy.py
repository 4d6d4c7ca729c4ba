"""A proxy to the API: found by the customary variables, gone through by a tunnel, and its errors told."""

import base64
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.support.forwarding import copy
from tests.support.scripted_api import answer_results, scripted
from worker import network
from worker.config import load_settings
from worker.config.urls import find_proxy
from worker.errors import InvalidSettings
from worker.onoffice.client import Client
from worker.planner.actions import Action, Verdict

API = "https://api.onoffice.de/api/stable/api.php"
CERTIFICATE = Path(__file__).with_name("self_signed.pem")
CREATE = Action("create", "estate:address:buyer", (501,), (9001,))


@pytest.mark.parametrize(
    ("variables", "url", "proxy"),
    [
        ({}, API, ""),
        ({"HTTPS_PROXY": "http://proxy.test:3128"}, API, "http://proxy.test:3128"),
        ({"https_proxy": "proxy.test:3128"}, API, "http://proxy.test:3128"),
        ({"HTTPS_PROXY": "https://u:p@proxy.test:443"}, API, "https://u:p@proxy.test:443"),
        ({"HTTPS_PROXY": "http://a.test:1", "https_proxy": "http://b.test:2"}, API, "http://b.test:2"),
        ({"HTTP_PROXY": "http://proxy.test:3128", "ALL_PROXY": "socks5://proxy.test:1080"}, API, ""),
        ({"HTTPS_PROXY": "http://proxy.test:3128", "NO_PROXY": "other,.onoffice.de"}, API, ""),
        ({"HTTPS_PROXY": "http://proxy.test:3128"}, "http://127.0.0.1:8090/api.php", ""),
    ],
)
def test_a_proxy_is_found_by_the_customary_variables(variables: dict[str, str], url: str, proxy: str) -> None:
    assert find_proxy(url, variables) == proxy


@pytest.mark.parametrize(
    "proxy", ["socks5://proxy.test:1080", "http://proxy.test", "http://:1", "http://a:b"]
)
def test_a_proxy_that_cannot_be_used_is_a_fault_of_the_settings_that_does_not_quote_it(
    tmp_path: Path, proxy: str
) -> None:
    environ = {"HTTPS_PROXY": proxy, "RELATIONS_API_URL": API}
    with pytest.raises(InvalidSettings, match=r"HTTPS_PROXY: expected http://host:port") as raised:
        load_settings(environ, tmp_path)
    assert proxy not in str(raised.value)


@contextmanager
def connect_proxy(status: str = "200 OK") -> Iterator[tuple[str, list[bytes]]]:
    """Give the address of a proxy that answers CONNECT with this status, and the heads that it was sent."""
    heads: list[bytes] = []
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                head = b""
                while b"\r\n\r\n" not in head:
                    head += client.recv(4096)
                heads.append(head)
                client.sendall(f"HTTP/1.1 {status}\r\n\r\n".encode())
                if not status.startswith("200"):
                    client.close()
                    continue
                host, _, port = head.split()[1].decode().rpartition(":")
                server = socket.create_connection((host, int(port)))
                threading.Thread(target=copy, args=(server, client), daemon=True).start()
                threading.Thread(target=copy, args=(client, server), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    with listener:
        yield f"127.0.0.1:{listener.getsockname()[1]}", heads


def make_client(url: str, proxy: str) -> Client:
    return Client(url, "t" * 32, "s" * 64, timeout=5.0, proxy=proxy)


def test_the_api_is_reached_by_a_tunnel_into_which_the_proxy_cannot_look(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    trusting = ssl.create_default_context(cafile=str(CERTIFICATE))
    trusting.check_hostname = False
    monkeypatch.setattr(network, "_tls", lambda: trusting)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(CERTIFICATE)
    with scripted(answer_results(), tls=tls) as server, connect_proxy() as (proxy, heads):
        reply = make_client(server.url, f"http://user:pass@{proxy}").send([CREATE], request_id="r", now=0.0)
    assert reply.results[0].verdict is Verdict.OK
    [head] = heads
    assert head.startswith(f"CONNECT {server.host} HTTP/1.1\r\n".encode())
    assert base64.b64encode(b"user:pass") in head
    assert b"api.php" not in head


@pytest.mark.parametrize("status", ["407 Proxy Authentication Required", "502 Bad Gateway"])
def test_a_proxy_that_refuses_means_that_nothing_was_sent(status: str) -> None:
    with connect_proxy(status) as (proxy, _):
        reply = make_client(API, f"http://user:pass@{proxy}").send([CREATE], request_id="r", now=0.0)
    assert reply.results[0].verdict is Verdict.NOT_SENT
    assert status.split()[0] in reply.message
    assert "pass" not in reply.message


def test_a_proxy_that_is_away_means_that_nothing_was_sent() -> None:
    reply = make_client(API, "http://127.0.0.1:1").send([CREATE], request_id="r", now=0.0)
    assert reply.results[0].verdict is Verdict.NOT_SENT
