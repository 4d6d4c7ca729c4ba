"""A Redis Cluster. Each script touches one slot, so a cluster's client can stand in for a plain one."""

import time
from collections.abc import Callable
from functools import cached_property
from typing import Any, Final, cast

from redis import Redis, RedisCluster
from redis.cluster import ClusterNode
from redis.exceptions import RedisClusterException, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from worker.config.urls import MultiHostUrl, is_encrypted
from worker.redis.connection import ServerChanged, is_server_changed

SILENT_NODE_PAUSE: Final = 20.0  # seconds that a node which did not answer is not asked


def connect_cluster(url: str, options: dict[str, Any]) -> Redis:
    """Return a client that finds the cluster's nodes at its first command."""
    cluster = MultiHostUrl.parse(url, default_port=6379)

    def connect() -> RedisCluster:
        return ClusterClient(
            startup_nodes=[ClusterNode(*host) for host in cluster.hosts],  # type: ignore[no-untyped-call]
            username=cluster.username,
            password=cluster.password,
            ssl=is_encrypted(url),
            require_full_coverage=False,  # slots that nobody serves concern only the accounts in them
            **options,
        )

    return cast(Redis, LazyClusterClient(connect))


class ClusterClient(RedisCluster):
    """A cluster's client that asks anew who is the master, and leaves a node alone that did not answer.

    Otherwise every call for that node's accounts would wait for the whole timeout, and other accounts would
    wait behind it. Where no node is where it was, the hosts of the URL are asked again.
    """

    def __init__(self, **options: Any) -> None:
        self._silent_until = dict[str, float]()
        super().__init__(**options)
        self._find_nodes: Callable[..., None] = self.nodes_manager.initialize
        self._named_nodes = {node.name: node for node in options["startup_nodes"]}
        self.nodes_manager.initialize = self._find_nodes_again  # type: ignore[method-assign]

    def _find_nodes_again(self, *args: Any, **options: Any) -> None:
        try:
            self._find_nodes(*args, **options)
        except RedisClusterException:  # of those that were found last none answers
            asked = self.nodes_manager.startup_nodes
            if self._named_nodes.keys() <= asked.keys():
                raise
            self.nodes_manager.startup_nodes = dict(self._named_nodes)
            self._find_nodes()

    def _execute_command(self, target_node: ClusterNode, *args: Any, **options: Any) -> Any:
        node = target_node.name
        if time.monotonic() < self._silent_until.get(node, 0.0):
            raise RedisTimeoutError(f"{node} did not answer a moment ago")
        try:
            return super()._execute_command(target_node, *args, **options)  # type: ignore[no-untyped-call]
        except RedisTimeoutError:
            self._silent_until[node] = time.monotonic() + SILENT_NODE_PAUSE
            raise
        except ResponseError as error:
            if not is_server_changed(error):
                raise
            if target_node.redis_connection:
                target_node.redis_connection.connection_pool.disconnect()
            self.nodes_manager.initialize()  # who is the master now
            raise ServerChanged(f"{type(error).__name__}: {error}") from error


class LazyClusterClient:
    """A cluster's client that is made when it is first used.

    Making one asks the nodes for their slots, and none may be up yet when a process starts.
    """

    def __init__(self, connect: Callable[[], RedisCluster]) -> None:
        self._connect = connect

    @cached_property
    def _client(self) -> RedisCluster:
        return self._connect()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)
