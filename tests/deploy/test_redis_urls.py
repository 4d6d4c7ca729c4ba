"""A socket file and encrypted servers as store and as broker, each with a database of its own."""

from pathlib import Path

import pytest

from ops.dev.redis_server import RedisServer, find_binary, free_port, run_server, start_server
from tests.support.certificates import make_certificate
from tests.support.clusters import SERVICE, run_cluster, run_command, start_sentinel
from tests.support.forwarding import Forwarder
from tests.support.waiting import wait_until
from worker.config import load_settings
from worker.errors import StoreUnavailable
from worker.ports.pace import Pause
from worker.redis.client import connect, no_retry
from worker.store.database import Database
from worker.store.metrics import RedisMetrics
from worker.store.redis_store import RedisStore
from worker.wakeups import TaskSender

CERTIFICATE = Path(__file__).parents[1] / "onoffice/self_signed.pem"  # it is its own authority


def check_url(url: str, server: RedisServer, folder: Path) -> None:
    """Check that store and broker write into database 3 of the server behind the URL."""
    settings = load_settings({"RELATIONS_REDIS_URL": url}, folder)
    RedisMetrics(Database(connect(settings.redis_url), settings.prefix)).record_sweep(1, at=1)
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
    with run_server(tmp_path / "redis") as server, Forwarder(server, certificate=CERTIFICATE) as name:
        trusted = f"rediss://localhost:{name.port}/3?ssl_ca_certs={CERTIFICATE}" + (
            f"&ssl_cert_reqs={check}" if check else ""
        )
        check_url(trusted, server, tmp_path)
        stranger = f"rediss://127.0.0.1:{name.port}/3" + (f"?ssl_cert_reqs={check}" if check else "")
        with pytest.raises(StoreUnavailable, match="certificate verify failed"):
            RedisMetrics(Database(connect(stranger), "relations")).sweep_stats()
        with pytest.raises(Exception, match="certificate verify failed"):
            TaskSender(stranger, "relations").wake("acme", 0.0)


def test_one_of_several_sentinels_may_have_an_address_of_version_6(tmp_path: Path) -> None:
    with (
        run_server(tmp_path / "master") as server,
        start_sentinel(
            tmp_path / "sentinel", server.url.partition("//")[2].removesuffix("/0"), quorum=1
        ) as sentinel,
    ):
        port = sentinel.url.rpartition(":")[2].removesuffix("/0")
        check_url(f"redis+sentinel://127.0.0.1:{port},[::1]:1/{SERVICE}/3", server, tmp_path)


@pytest.mark.parametrize(
    ("days", "meaning"),
    [((-9, -2), "whoever runs it must renew its certificate"), ((2, 9), "its certificate is for later")],
)
def test_a_certificate_that_is_not_valid_now_is_told_apart_from_one_of_a_stranger(
    tmp_path: Path, days: tuple[int, int], meaning: str
) -> None:
    certificate = tmp_path / "server.pem"
    certificate.write_bytes(make_certificate("localhost", valid_days=days))
    with run_server(tmp_path / "redis") as server, Forwarder(server, certificate=certificate) as name:
        client = connect(f"rediss://localhost:{name.port}?ssl_ca_certs={certificate}")
        with pytest.raises(StoreUnavailable, match=meaning):
            RedisMetrics(Database(client, "relations")).sweep_stats()


def test_a_name_that_nobody_has_and_a_key_that_is_none_are_told(tmp_path: Path, redis_url: str) -> None:
    key = tmp_path / "key.pem"
    key.write_text("no key")
    port = redis_url.rpartition(":")[2].partition("/")[0]
    encrypted = f"rediss://127.0.0.1:{port}?ssl_certfile={CERTIFICATE}&ssl_keyfile={key}"
    for url, meaning in (
        ("redis://nobody.invalid:6379", "nobody knows a host of this name|no answer to who has this name"),
        (encrypted, "must hold a certificate and its key"),
    ):
        with pytest.raises(StoreUnavailable, match=meaning):
            RedisMetrics(Database(connect(url), "relations")).sweep_stats()


def test_encrypted_sentinels_with_a_password_lead_to_an_encrypted_master(tmp_path: Path) -> None:
    with (
        run_server(tmp_path / "master") as server,
        Forwarder(server, certificate=CERTIFICATE) as master,
        start_sentinel(tmp_path / "sentinel", f"127.0.0.1:{master.port}", quorum=1) as sentinel,
        Forwarder(sentinel, certificate=CERTIFICATE) as name,
    ):
        run_command(sentinel, "ACL SETUSER", "default", "resetpass", ">p@ss")
        url = f"rediss+sentinel://localhost:{name.port}/{SERVICE}/3?ssl_check_hostname=false"
        trusted = f"{url}&ssl_ca_certs={CERTIFICATE}"
        check_url(f"{trusted}&sentinel_password=p%40ss", server, tmp_path)
        for wrong, meaning in (
            (trusted, f"127.0.0.1:{name.port} .*name it as sentinel_password"),
            (f"{url}&sentinel_password=p%40ss", "sentinels cannot be reached"),
            (
                f"{trusted}&sentinel_password=p%40ss".replace(f"/{SERVICE}/", "/other/", 1),
                "knows such a service",
            ),
        ):
            client = connect(wrong)
            client.set_retry(no_retry())
            with pytest.raises(StoreUnavailable, match=meaning.replace("127.0.0.1", "localhost")):
                RedisMetrics(Database(client, "relations")).sweep_stats()


def test_a_cluster_is_reached_over_tls(tmp_path: Path) -> None:
    with (
        run_cluster(tmp_path, nodes=1) as cluster,
        Forwarder(cluster.nodes[0], certificate=CERTIFICATE) as name,
    ):
        run_command(cluster.nodes[0], "CONFIG SET", "cluster-announce-ip", "127.0.0.1")
        run_command(cluster.nodes[0], "CONFIG SET", "cluster-announce-port", name.port)
        url = f"rediss+cluster://localhost:{name.port}?ssl_check_hostname=false"
        store = RedisStore(connect(f"{url}&ssl_ca_certs={CERTIFICATE}"), "relations")
        store.pause("acme", Pause("operator"))
        assert store.get_pause("acme")
        with pytest.raises(StoreUnavailable, match="name the authority"):
            RedisStore(connect(url), "relations").get_pause("acme")


def test_a_connection_is_replaced_when_it_is_older_than_wanted(tmp_path: Path) -> None:
    with run_server(tmp_path) as server:
        options = ("", "?max_age=60", "?max_age=0.05")
        kept, young, renewed = (connect(f"{server.url}{each}") for each in options)
        first = [each.client_id() for each in (kept, young, renewed)]
        wait_until(lambda: renewed.client_id() != first[-1], "the connection stays")
        assert [each.client_id() for each in (kept, young)] == first[:2]
