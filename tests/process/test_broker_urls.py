"""The broker's URL, as kombu has it."""

import json
import socket
import ssl
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support.certificates import make_certificate
from worker.celery_broker import OwnCelery
from worker.redis.broker import broker_settings


@pytest.mark.parametrize(
    ("url", "kombu_url", "master"),
    [
        ("redis://:pw@10.0.0.1:6379/2", "redis://:pw@10.0.0.1:6379/2", None),
        ("amqp://u:p@rabbit//", "amqp://u:p@rabbit//", None),
        ("redis://h?password=p%40&db=1", "redis://:p%40@h/1", None),
        ("redis://h?db=1&username=u&password=p", "redis://u:p@h/1", None),
        ("unix:///run/redis.sock", "redis+socket:///run/redis.sock", None),
        ("unix://u:p@/run/redis.sock?db=3", "redis+socket://u:p@/run/redis.sock?virtual_host=3", None),
        (
            "redis+sentinel://:pw@a:26380,b/main/3",
            "sentinel://:pw@a:26380/3;sentinel://:pw@b:26379/3",
            "main",
        ),
        ("rediss+sentinel://a/main/3?sentinel_password=p", "sentinel://a:26379/3", "main"),
        ("sentinel://a,b", "sentinel://a:26379/0;sentinel://b:26379/0", "mymaster"),
        ("sentinel://u%2F:p%40%2F@a/main", "sentinel://u%2F:p%40%2F@a:26379/0", "main"),
        (
            "sentinel://[::1]:1,a,[::2]/main",
            "sentinel://[::1]:1/0;sentinel://a:26379/0;sentinel://[::2]:26379/0",
            "main",
        ),
    ],
)
def test_the_broker_url_is_translated_for_its_client(url: str, kombu_url: str, master: str | None) -> None:
    settings = broker_settings(url, "relations")
    assert settings["broker_url"] == kombu_url
    assert settings["broker_transport_options"].get("master_name") == master


def test_a_message_to_rabbitmq_is_sent_when_the_broker_has_confirmed_it() -> None:
    settings = broker_settings("amqps://u:p@rabbit//", "relations")
    assert settings["broker_transport_options"] == {"confirm_publish": True}


@pytest.mark.parametrize(
    "url",
    [
        "redis://u:hunter2@h:1/0",
        "unix://u:hunter2@/run/redis.sock?db=3",
        "redis+sentinel://u:hunter2@a,b/main/3?sentinel_password=hunter2",
        "amqps://u:hunter2@a/host;amqps://u:hunter2@b/host",
    ],
)
def test_what_a_worker_tells_of_its_connection_holds_no_password(url: str) -> None:
    app = OwnCelery()
    app.conf.update(broker_settings(url, "relations"))
    told = app.connection_for_read().info()
    assert told.pop("password") in ("hunter2", None)  # which Celery leaves out by itself
    assert "hunter2" not in json.dumps(told)


@pytest.mark.parametrize(("name", "reads"), [("127.1", b"AMQP"), ("another", b"")])
def test_a_rabbitmq_over_tls_is_spoken_to_if_its_certificate_is_for_the_host_of_the_url(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, reads: bytes
) -> None:
    certificate = tmp_path / "certificate.pem"
    certificate.write_bytes(make_certificate(name, valid_days=(-1, 1)))
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    tls, read = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), list[bytes]()
    tls.load_cert_chain(certificate)

    def answer() -> None:
        with suppress(ssl.SSLError), tls.wrap_socket(server.accept()[0], server_side=True) as client:
            read.append(client.recv(4))

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=answer)
        thread.start()
        app = OwnCelery()
        app.conf.update(broker_settings(f"amqps://u:p@127.1:{server.getsockname()[1]}//", "relations"))
        refused = None if reads else "certificate is not valid for '127.1'"
        with pytest.raises(OSError, match=refused):
            app.connection_for_read().transport.establish_connection()
        thread.join()
    assert b"".join(read) == reads
