"""The Celery application, in processes that die when they are about to send one address, FATAL_CHILD."""

import os
import signal
from pathlib import Path

import httpcore
from celery import signals

from worker.app import app
from worker.network import Deadline, connection_pool
from worker.onoffice import client

__all__ = ["app"]


class DeadlyTransport(httpcore.ConnectionInterface):
    """The API client's transport, which kills its process before it sends that address."""

    def __init__(self, deadline: Deadline, connections: int, proxy: str) -> None:
        self._pool = connection_pool(deadline, connections, proxy)

    def handle_request(self, request: httpcore.Request) -> httpcore.Response:
        if os.environ["FATAL_CHILD"].encode() in b"".join(request.stream):
            with Path(os.environ["DEATHS_FILE"]).open("a") as deaths:
                deaths.write("x")
            os.kill(os.getpid(), signal.SIGKILL)
        return self._pool.handle_request(request)


def end_without_worker(_worker: int = os.getpid(), **_: object) -> None:
    """End a process of the pool whose worker was killed before Celery tied it to that."""
    if os.getppid() != _worker:
        os._exit(1)


client.connection_pool = DeadlyTransport
signals.worker_process_init.connect(end_without_worker, weak=False)
