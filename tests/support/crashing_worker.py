"""The Celery application whose processes kill themselves when they would send the address FATAL_CHILD."""

import os
import signal
from pathlib import Path

import httpx

from worker.app import app
from worker.onoffice import client
from worker.onoffice.deadline import DeadlineTransport

__all__ = ["app"]


class CrashingTransport(DeadlineTransport):
    """The transport to the API that kills its process over one address, and leaves a mark for each death."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if os.environ["FATAL_CHILD"].encode() in request.read():
            with Path(os.environ["DEATHS_FILE"]).open("a") as deaths:
                deaths.write("x")
            os.kill(os.getpid(), signal.SIGKILL)
        return super().handle_request(request)


client.DeadlineTransport = CrashingTransport  # type: ignore[misc]
