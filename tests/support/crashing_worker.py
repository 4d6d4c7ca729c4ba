"""The Celery application, in processes that die of one address (the environment's DEADLY) as soon as they would send it anywhere."""

import os
import signal
from pathlib import Path

import httpx

from worker.app import app
from worker.onoffice import client
from worker.onoffice.deadline import DeadlineTransport

__all__ = ["app"]


class Mortal(DeadlineTransport):
    """The way to the API, with a hole in it."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if os.environ["DEADLY"].encode() in request.read():
            with Path(os.environ["DEATHS"]).open("a") as deaths:
                deaths.write("x")
            os.kill(os.getpid(), signal.SIGKILL)
        return super().handle_request(request)


client.DeadlineTransport = Mortal  # type: ignore[misc]
