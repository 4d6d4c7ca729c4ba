"""Servers that stand together, for tests: a cluster of masters, and a master with its replica under sentinels.

Everything listens on 127.0.0.1, keeps its data in a directory, and ends with the process that started it. Not for production.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import count, pairwise
from pathlib import Path
from typing import Any, Final, NamedTuple

import redis

from ops.dev.processes import StartFailed, free_port
from ops.dev.redis_server import PORTS_TO_TRY, Persist, RedisServer, find_binary, start_server

SLOTS: Final = 16_384
SERVICE: Final = "main"
DOWN_AFTER: Final = 0.5  # seconds of silence after which a node counts as dead
SECONDS: Final = 20.0
POLL: Final = 0.02


class Cluster(NamedTuple):
    """Nodes that share the slots evenly, without replicas; `url` names all of them."""

    url: str
    nodes: tuple[RedisServer, ...]

    def home(self, key: str) -> RedisServer:
        """The node that has the key's slot."""
        slot = int(run_command(self.nodes[0], "CLUSTER KEYSLOT", key))
        return self.nodes[slot * len(self.nodes) // SLOTS]


class SentinelSetup(NamedTuple):
    """A master and its replica; the sentinels at `url` put the replica in the master's place when that dies."""

    url: str
    master: RedisServer
    replica: RedisServer
    sentinels: tuple[RedisServer, ...]


@contextmanager
def run_cluster(directory: Path, *, nodes: int = 3, persist: Persist = "always") -> Iterator[Cluster]:
    """A cluster that is up; a dead node takes only its own slots with it, and may be started again."""
    options = (
        "--cluster-enabled",
        "yes",
        "--cluster-require-full-coverage",
        "no",
        "--cluster-node-timeout",
        str(round(DOWN_AFTER * 1000)),
    )
    with ExitStack() as ends:
        made = tuple(
            # The bus gets a port by itself: the usual one, 10,000 higher, is not always a port.
            ends.enter_context(
                _server(
                    directory / f"node-{number}",
                    *options,
                    "--cluster-port",
                    str(free_port()),
                    persist=persist,
                )
            )
            for number in range(nodes)
        )
        _introduce(made)
        yield Cluster("redis+cluster://" + ",".join(_place(each) for each in made), made)


@contextmanager
def run_sentinels(
    directory: Path, *, sentinels: int = 3, persist: Persist = "always"
) -> Iterator[SentinelSetup]:
    """A master whose replica is in step, and sentinels that know each other."""
    with ExitStack() as ends:
        master = ends.enter_context(_server(directory / "master", persist=persist))
        behind = ("--replicaof", *_place(master).split(":"), "--repl-diskless-sync-delay", "0")
        run_command(master, "CONFIG SET", "repl-diskless-sync-delay", 0)
        replica = ends.enter_context(_server(directory / "replica", *behind, persist=persist))
        quorum = sentinels // 2 + 1
        watching = tuple(
            ends.enter_context(_sentinel(directory / f"sentinel-{n}", master, quorum=quorum))
            for n in range(sentinels)
        )
        wait_until(
            lambda: "master_link_status:up" in read_info(replica, "replication"), "the replica is not in step"
        )
        wait_until(
            lambda: all(_knows(each, sentinels - 1) for each in watching),
            "the sentinels do not know each other",
        )
        yield SentinelSetup(
            f"redis+sentinel://{','.join(_place(each) for each in watching)}/{SERVICE}/0",
            master,
            replica,
            watching,
        )


def run_command(server: RedisServer, command: str, *args: object) -> Any:
    """What one server answers to a command."""
    with redis.Redis.from_url(server.url, decode_responses=True, socket_timeout=5.0) as client:
        return client.execute_command(command, *args)


def read_info(server: RedisServer, section: str) -> str:
    """A section of the server's own account of itself, as it comes."""
    with redis.Redis.from_url(server.url, decode_responses=True, socket_timeout=5.0) as client:
        client.response_callbacks.clear()
        return str(client.execute_command("INFO", section))


def wait_until(done: Callable[[], bool], complaint: str, *, seconds: float = SECONDS) -> None:
    """Return once it is done; raises StartFailed with the complaint if that takes longer."""
    deadline = time.monotonic() + seconds
    while not done():
        if time.monotonic() > deadline:
            raise StartFailed(f"{complaint} after {seconds:g} s")
        time.sleep(POLL)


def _server(directory: Path, *options: str, persist: Persist) -> RedisServer:
    directory.mkdir(parents=True, exist_ok=True)
    ports = (free_port() for _ in range(PORTS_TO_TRY))
    return start_server(find_binary(), directory.resolve(), persist=persist, ports=ports, options=options)


def _sentinel(directory: Path, master: RedisServer, *, quorum: int) -> RedisServer:
    """A sentinel keeps what it knows in its own file of settings, so it gets a writable one."""
    directory.mkdir(parents=True, exist_ok=True)
    silence = round(DOWN_AFTER * 1000)
    lines = [
        f"sentinel monitor {SERVICE} {_place(master).replace(':', ' ')} {quorum}",
        f"sentinel down-after-milliseconds {SERVICE} {silence}",
        f"sentinel failover-timeout {SERVICE} {4 * silence}",
    ]
    file = directory / "sentinel.conf"
    file.write_text("\n".join([*lines, ""]))
    ports = (free_port() for _ in range(PORTS_TO_TRY))
    return start_server(
        find_binary(),
        directory.resolve(),
        persist="no",
        ports=ports,
        head=(str(file),),
        options=("--sentinel",),
    )


def _introduce(nodes: tuple[RedisServer, ...]) -> None:
    """Give out the slots and let the nodes meet."""
    bounds = pairwise(-(-SLOTS * number // len(nodes)) for number in range(len(nodes) + 1))
    for node, (first, beyond), epoch in zip(nodes, bounds, count(1)):
        run_command(node, "CLUSTER SET-CONFIG-EPOCH", epoch)
        run_command(node, "CLUSTER ADDSLOTSRANGE", first, beyond - 1)
    for node in nodes[1:]:
        run_command(
            nodes[0],
            "CLUSTER MEET",
            *_place(node).split(":"),
            run_command(node, "CONFIG GET", "cluster-port")["cluster-port"],
        )
    wait_until(lambda: all(_whole(node, len(nodes)) for node in nodes), "the cluster is not whole")


def _whole(node: RedisServer, size: int) -> bool:
    said = run_command(node, "CLUSTER INFO")
    return bool(said["cluster_state"] == "ok" and int(said["cluster_size"]) == size)


def _knows(sentinel: RedisServer, others: int) -> bool:
    known = run_command(sentinel, "SENTINEL MASTER", SERVICE)
    return bool(known["num-other-sentinels"] == others and known["num-slaves"] == 1)


def _place(server: RedisServer) -> str:
    """Host and port."""
    return server.url.removeprefix("redis://").partition("/")[0]
