"""Servers that work together: a cluster of masters, and a master with its replica under sentinels.

Everything listens on 127.0.0.1, keeps its data in a directory, and ends with the process that started it. Not
for production.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import count, pairwise
from pathlib import Path
from typing import Any, Final, NamedTuple

import redis

from ops.dev.processes import free_port
from ops.dev.redis_server import PORTS_TO_TRY, Persist, RedisServer, find_binary, start_server
from tests.support.waiting import wait_until

SLOTS: Final = 16_384
SERVICE: Final = "main"
DOWN_AFTER: Final = 0.5  # seconds of silence after which a node counts as dead
MOVED_AT_ONCE: Final = 15  # keys that one MIGRATE takes


class Cluster(NamedTuple):
    """Nodes that share the slots evenly, without replicas; `url` names all of them."""

    url: str
    nodes: tuple[RedisServer, ...]

    def node_of(self, key: str) -> RedisServer:
        """Return the node that has the key's slot."""
        slot = int(run_command(self.nodes[0], "CLUSTER KEYSLOT", key))
        return self.nodes[slot * len(self.nodes) // SLOTS]


class SentinelSetup(NamedTuple):
    """A master and its replica; the sentinels at `url` promote the replica when the master dies."""

    url: str
    master: RedisServer
    replica: RedisServer
    sentinels: tuple[RedisServer, ...]


@contextmanager
def run_cluster(directory: Path, *, nodes: int = 3, persist: Persist = "always") -> Iterator[Cluster]:
    """Run a cluster that is up; a dead node takes only its own slots with it, and may be started again."""
    options = ("--cluster-enabled", "yes", "--cluster-require-full-coverage", "no")
    options = (*options, "--cluster-node-timeout", str(round(DOWN_AFTER * 1000)))
    with ExitStack() as stack:
        servers = tuple(
            # The bus gets a port of its own: the usual one, 10,000 higher, is not always a port.
            stack.enter_context(
                _start_server(
                    directory / f"node-{number}",
                    *options,
                    "--cluster-port",
                    str(free_port()),
                    persist=persist,
                )
            )
            for number in range(nodes)
        )
        _form_cluster(servers)
        yield Cluster("redis+cluster://" + ",".join(map(_address, servers)), servers)


@contextmanager
def run_sentinels(
    directory: Path, *, sentinels: int = 3, persist: Persist = "always"
) -> Iterator[SentinelSetup]:
    """Run a master whose replica is in sync, and sentinels that know each other."""
    with ExitStack() as stack:
        master = stack.enter_context(_start_server(directory / "master", persist=persist))
        run_command(master, "CONFIG SET", "repl-diskless-sync-delay", 0)
        follow = ("--replicaof", *_address(master).split(":"), "--repl-diskless-sync-delay", "0")
        replica = stack.enter_context(_start_server(directory / "replica", *follow, persist=persist))
        quorum = sentinels // 2 + 1
        started = tuple(
            stack.enter_context(
                start_sentinel(directory / f"sentinel-{number}", _address(master), quorum=quorum)
            )
            for number in range(sentinels)
        )
        wait_until(
            lambda: "master_link_status:up" in read_info(replica, "replication"), "the replica is not in sync"
        )
        wait_until(
            lambda: all(_knows_others(sentinel, sentinels - 1) for sentinel in started),
            "the sentinels do not know each other",
        )
        url = f"redis+sentinel://{','.join(map(_address, started))}/{SERVICE}/0"
        yield SentinelSetup(url, master, replica, started)


def move_slot(
    cluster: Cluster, key: str, source: RedisServer, target: RedisServer, *, between: Callable[[], None]
) -> None:
    """Move the slot of a key to another node a few keys at a time; `between` is called after each few."""
    slot = int(run_command(source, "CLUSTER KEYSLOT", key))
    host, port = _address(target).split(":")
    run_command(target, "CLUSTER SETSLOT", slot, "IMPORTING", run_command(source, "CLUSTER MYID"))
    run_command(source, "CLUSTER SETSLOT", slot, "MIGRATING", run_command(target, "CLUSTER MYID"))
    between()
    while keys := run_command(source, "CLUSTER GETKEYSINSLOT", slot, MOVED_AT_ONCE):
        run_command(source, "MIGRATE", host, port, "", 0, 5000, "KEYS", *keys)  # fails where a key is there
        between()
    for node in (target, source, *(set(cluster.nodes) - {target, source})):
        run_command(node, "CLUSTER SETSLOT", slot, "NODE", run_command(target, "CLUSTER MYID"))


def move_slot_at_once(key: str, source: RedisServer, target: RedisServer) -> None:
    """Move the slot of a key as a whole, which Valkey can from 9.0 on; return when it has moved."""
    slot = int(run_command(source, "CLUSTER KEYSLOT", key))
    run_command(
        source, "CLUSTER MIGRATESLOTS", "SLOTSRANGE", slot, slot, "NODE", run_command(target, "CLUSTER MYID")
    )
    wait_until(
        lambda: (
            bool(run_command(target, "CLUSTER COUNTKEYSINSLOT", slot))
            and not run_command(source, "CLUSTER COUNTKEYSINSLOT", slot)
        ),
        "the slot has not moved",
    )


def can_move_at_once(node: RedisServer) -> bool:
    """Return whether the server moves a slot as a whole."""
    return any("MIGRATESLOTS" in line for line in run_command(node, "CLUSTER HELP"))


def run_command(server: RedisServer, command: str, *args: object) -> Any:
    """Run a command on one server and return its answer."""
    with redis.Redis.from_url(server.url, decode_responses=True, socket_timeout=5.0) as client:
        return client.execute_command(command, *args)


def read_info(server: RedisServer, section: str) -> str:
    """Return a section of the server's INFO as text."""
    with redis.Redis.from_url(server.url, decode_responses=True, socket_timeout=5.0) as client:
        client.response_callbacks.clear()
        return str(client.execute_command("INFO", section))


def _start_server(directory: Path, *options: str, persist: Persist) -> RedisServer:
    directory.mkdir(parents=True, exist_ok=True)
    ports = (free_port() for _ in range(PORTS_TO_TRY))
    return start_server(find_binary(), directory.resolve(), persist=persist, ports=ports, options=options)


def start_sentinel(directory: Path, master: str, *, quorum: int) -> RedisServer:
    """Start a sentinel of the master at host:port; it writes what it learns into its configuration file."""
    directory.mkdir(parents=True, exist_ok=True)
    silence = round(DOWN_AFTER * 1000)
    lines = [
        f"sentinel monitor {SERVICE} {master.replace(':', ' ')} {quorum}",
        f"sentinel down-after-milliseconds {SERVICE} {silence}",
        f"sentinel failover-timeout {SERVICE} {4 * silence}",
    ]
    file = directory / "sentinel.conf"
    file.write_text("\n".join([*lines, ""]))
    return start_server(
        find_binary(),
        directory.resolve(),
        persist="no",
        ports=(free_port() for _ in range(PORTS_TO_TRY)),
        head=(str(file),),
        options=("--sentinel",),
    )


def _form_cluster(nodes: tuple[RedisServer, ...]) -> None:
    """Assign the slots and let the nodes meet."""
    bounds = pairwise(-(-SLOTS * number // len(nodes)) for number in range(len(nodes) + 1))
    for node, (first, beyond), epoch in zip(nodes, bounds, count(1)):
        run_command(node, "CLUSTER SET-CONFIG-EPOCH", epoch)
        run_command(node, "CLUSTER ADDSLOTSRANGE", first, beyond - 1)
    for node in nodes[1:]:
        bus_port = run_command(node, "CONFIG GET", "cluster-port")["cluster-port"]
        run_command(nodes[0], "CLUSTER MEET", *_address(node).split(":"), bus_port)
    wait_until(lambda: all(_is_complete(node, len(nodes)) for node in nodes), "the cluster is not complete")


def _is_complete(node: RedisServer, size: int) -> bool:
    info = run_command(node, "CLUSTER INFO")
    return bool(info["cluster_state"] == "ok" and int(info["cluster_size"]) == size)


def _knows_others(sentinel: RedisServer, others: int) -> bool:
    master = run_command(sentinel, "SENTINEL MASTER", SERVICE)
    return bool(master["num-other-sentinels"] == others and master["num-slaves"] == 1)


def _address(server: RedisServer) -> str:
    """Return host and port."""
    return server.url.removeprefix("redis://").partition("/")[0]
