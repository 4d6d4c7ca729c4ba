"""A message by real HTTP: signed by every secret, to a checked address, within a time, and nowhere else."""

import json
import socket
import ssl
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks.webhooks import WebhookVerificationError

from tests.support.callback_receiver import NEW, OLD, callback, receive
from worker.callbacks import transport
from worker.config import Callback, Secret

CERTIFICATE = Path(__file__).parents[1] / "onoffice/self_signed.pem"
BODY = json.dumps({"type": "batch.finished", "data": {"batch": "Äpfel"}}).encode()


def send(portal: Callback) -> Any:
    return transport.send(portal, message_id="acme-1", body=BODY, now=time.time())


def test_a_receiver_that_knows_any_of_the_secrets_knows_the_message() -> None:
    with receive() as receiver:
        attempt = send(callback(receiver.url, secrets=(Secret(NEW), Secret(OLD))))
    assert (attempt.status, attempt.error, attempt.is_taken) == (204, "", True)
    (message,) = receiver.received
    assert message.id == "acme-1"
    assert message.verify(NEW) == message.verify(OLD) == json.loads(BODY)
    with pytest.raises(WebhookVerificationError):
        message._replace(body=BODY + b" ").verify(NEW)


def test_a_rotated_secret_signs_the_next_message(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text(OLD)
    rotated = Secret("file:secret", folder=tmp_path)
    with receive() as receiver:
        send(callback(receiver.url, secrets=(rotated,)))
        file.write_text(NEW + "\n")
        send(callback(receiver.url, secrets=(rotated,)))
        file.unlink()
        assert send(callback(receiver.url, secrets=(Secret("file:nowhere", folder=tmp_path),))).error
    first, second = receiver.received
    assert first.verify(OLD) == second.verify(NEW) == json.loads(BODY)


@pytest.mark.parametrize("text", ["not base64!", "whsec_a", "whsec_", "é"])
def test_a_secret_that_was_rotated_to_none_is_what_keeps_the_message(tmp_path: Path, text: str) -> None:
    (tmp_path / "secret").write_text(text)
    with receive() as receiver:
        attempt = send(callback(receiver.url, secrets=(Secret("file:secret", folder=tmp_path),)))
    assert attempt.error == "file:secret: expected whsec_ and base64, as Standard Webhooks has it"
    assert receiver.received == []


def test_a_redirect_is_not_followed() -> None:
    with receive() as receiver, receive() as other:
        receiver.answers = [(307, {"Location": other.url})]
        attempt = send(callback(receiver.url))
    assert (attempt.status, attempt.is_taken, other.received) == (307, False, [])


def test_a_receiver_says_when_to_come_back() -> None:
    with receive() as receiver:
        receiver.answers = [(503, {"Retry-After": "70"})]
        assert send(callback(receiver.url)) == (503, "", 70.0)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0x7f.1", "2130706433", "[::ffff:127.0.0.1]"])
def test_a_private_address_that_no_network_names_gets_nothing(host: str) -> None:
    with receive() as receiver:
        port = receiver.server.server_port
        attempt = send(callback(f"http://{host}:{port}/hook", networks=("10.0.0.0/8",)))
    assert (attempt.status, receiver.received) == (0, [])
    assert "networks" in attempt.error or "resolve" in attempt.error


def test_a_name_is_asked_once_and_what_was_checked_is_connected_to(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, real = list[str](), socket.getaddrinfo

    def resolve(host: str, *args: Any, **options: Any) -> Any:
        if host != "portal.example.test":
            return real(host, *args, **options)
        asked.append(host)
        address = "127.0.0.1" if len(asked) == 1 else "127.0.0.2"  # a name that changes its mind
        return real(address, *args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    with receive() as receiver:
        port = receiver.server.server_port
        portal = callback(f"http://portal.example.test:{port}/hook", networks=("127.0.0.1/32",))
        assert send(portal).is_taken
        assert receiver.received[0].headers["Host"] == f"portal.example.test:{port}"
        assert asked == ["portal.example.test"]
        assert "private" in send(portal).error  # 127.0.0.2 is in no named network
    assert len(receiver.received) == 1


def test_a_receiver_without_a_certificate_for_its_name_gets_nothing() -> None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(CERTIFICATE)
    with receive() as receiver:
        receiver.server.socket = tls.wrap_socket(receiver.server.socket, server_side=True)
        attempt = send(callback(receiver.url.replace("http:", "https:")))
    assert (attempt.status, receiver.received) == (0, [])
    assert "CERTIFICATE_VERIFY_FAILED" in attempt.error


def test_an_answer_that_drips_ends_at_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "TIMEOUT", 0.3)
    is_over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def drip() -> None:
            connection, _ = server.accept()
            with connection:
                for byte in b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100:
                    try:
                        connection.sendall(bytes([byte]))
                    except OSError:
                        return
                    is_over.wait(0.05)

        threading.Thread(target=drip, daemon=True).start()
        began = time.monotonic()
        attempt = send(callback(f"http://127.0.0.1:{server.getsockname()[1]}/"))
    is_over.set()
    assert not attempt.is_taken
    assert time.monotonic() - began < 2.0
    assert "time is up" in attempt.error or "timed out" in attempt.error


def test_no_body_of_an_answer_is_read() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def flood() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(65_536)
                try:
                    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
                    while True:
                        connection.sendall(b"x" * 65_536)
                except OSError:
                    return

        threading.Thread(target=flood, daemon=True).start()
        assert send(callback(f"http://127.0.0.1:{server.getsockname()[1]}/")).status == 200


def test_a_dead_receiver_is_an_attempt_without_a_status() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    attempt = send(callback(f"http://127.0.0.1:{port}/"))
    assert attempt.status == 0
    assert "refused" in attempt.error
    assert send(callback("http://no-such-host.invalid/")).error.startswith("cannot resolve")
