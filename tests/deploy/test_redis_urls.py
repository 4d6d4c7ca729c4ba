"""A socket file and an encrypted port as store and as broker, each with a database of its own."""

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from ops.dev.redis_server import RedisServer, find_binary, free_port, run_server, start_server
from tests.support.clusters import run_command
from worker.config import load_settings
from worker.errors import StoreUnavailable
from worker.redis.client import connect
from worker.store.metrics import RedisMetrics
from worker.wakeups import TaskSender

CERTIFICATE = Path(__file__).parents[1] / "onoffice/self_signed.pem"  # it is its own authority


def check_url(url: str, server: RedisServer, folder: Path) -> None:
    """Check that store and broker write into database 3 of the server behind the URL."""
    settings = load_settings({"RELATIONS_REDIS_URL": url}, folder)
    RedisMetrics(connect(settings.redis_url), settings.prefix).record_sweep(1, at=1)
    TaskSender(settings.broker_url, settings.prefix).wake("acme", 0.0)
    keyspace = run_command(server, "INFO", "keyspace")
    assert list(keyspace) == ["db3"], "nothing went into another database"
    client = connect(server.url.replace("/0", "/3"))
    assert client.hget("relations:sweep", "repaired") == b"1"
    assert client.llen("relations.flush") == 1


def test_a_socket_file_with_a_database_is_store_and_broker(tmp_path: Path) -> None:
    path = Path(f"/tmp/{tmp_path.parent.name}-{free_port()}.sock")  # a socket's path must be short
    options = ("--unixsocket", str(path))
    with start_server(find_binary(), tmp_path, persist="no", ports=[free_port()], options=options) as server:
        run_command(server, "ACL SETUSER", "app", "on", ">p@ss", "~relations*", "+@all")
        check_url(f"unix://app:p%40ss@{path}?db=3", server, tmp_path)
    path.unlink(missing_ok=True)


@pytest.mark.parametrize("check", ["required", "CERT_REQUIRED", ""])
def test_an_encrypted_server_is_believed_by_its_own_authority_alone(tmp_path: Path, check: str) -> None:
    with run_server(tmp_path / "redis") as server, encrypting(server) as port:
        trusted = f"rediss://localhost:{port}/3?ssl_ca_certs={CERTIFICATE}" + (
            f"&ssl_cert_reqs={check}" if check else ""
        )
        check_url(trusted, server, tmp_path)
        stranger = f"rediss://127.0.0.1:{port}/3" + (f"?ssl_cert_reqs={check}" if check else "")
        with pytest.raises(StoreUnavailable, match="certificate verify failed"):
            RedisMetrics(connect(stranger), "relations").sweep_stats()
        with pytest.raises(Exception, match="certificate verify failed"):
            TaskSender(stranger, "relations").wake("acme", 0.0)


@contextmanager
def encrypting(server: RedisServer) -> Iterator[int]:
    """Yield the port of a proxy that speaks TLS before the server."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    target = int(server.url.rpartition(":")[2].partition("/")[0])
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=accept_all, args=(listener, context, target), daemon=True).start()
        yield listener.getsockname()[1]


def accept_all(listener: socket.socket, context: ssl.SSLContext, target: int) -> None:
    with suppress(OSError):
        while True:
            plain, _ = listener.accept()
            threading.Thread(target=serve_one, args=(plain, context, target), daemon=True).start()


def serve_one(plain: socket.socket, context: ssl.SSLContext, target: int) -> None:
    with (
        suppress(OSError),
        context.wrap_socket(plain, server_side=True) as client,
        socket.create_connection(("127.0.0.1", target)) as server,
    ):
        threading.Thread(target=copy, args=(server, client), daemon=True).start()
        copy(client, server)


def copy(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65_536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
