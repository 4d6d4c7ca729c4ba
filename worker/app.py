"""How Celery finds the application: start it as `celery -A worker.app worker` and `… beat`.

Importing this reads no settings and changes no library: both happen when Celery first asks for its
configuration.
"""

import gc
import os
from pathlib import Path
from typing import IO, Any, Final

import click
from celery import Celery, signals
from celery.loaders.app import AppLoader

from worker import log
from worker.background import WorkerHeartbeat
from worker.celery_config import worker_config
from worker.celery_patches import apply_patches
from worker.config import Settings, load_settings
from worker.errors import InvalidSettings
from worker.wiring import connect_metrics

GC_THRESHOLDS: Final = (50_000, 20, 100)
"""New containers before Python looks for cycles among the youngest, and how often it looks further."""


class UnusableSettings(click.ClickException):
    """Unusable settings, as Celery's command line shows them: every fault, no traceback, exit code 2."""

    exit_code = 2

    def __init__(self, error: InvalidSettings) -> None:
        super().__init__(
            "\n".join(["The settings cannot be used:", *(f"  {fault}" for fault in error.faults)])
        )

    def show(self, file: IO[Any] | None = None) -> None:
        """Print the message, as `relations` does."""
        click.echo(self.message, file=file, err=True)


class SettingsLoader(AppLoader):
    """Configures Celery from our settings, when it first asks for its configuration."""

    def read_configuration(self, _env: str = "") -> dict[str, Any]:
        """Return the configuration by the settings of this environment and working directory."""
        try:
            settings = load_settings(os.environ, Path.cwd())
        except InvalidSettings as error:
            raise UnusableSettings(error) from error
        apply_patches()
        connect_signals(settings)
        return worker_config(settings)


def connect_signals(settings: Settings) -> None:
    """Let a worker log as the settings say, and show that it is alive."""
    heartbeat = WorkerHeartbeat(lambda: connect_metrics(settings))

    def start_heartbeat(sender: Any, **_: object) -> None:
        heartbeat.start(sender.controller.hostname, concurrency=sender.controller.concurrency)

    # The values of a batch live as long as it: looking through them for cycles costs a sixth of a flush.
    signals.worker_init.connect(lambda **_: gc.set_threshold(*GC_THRESHOLDS), weak=False)
    # Celery's own lines go through our pipeline, and every line of a task names it.
    signals.setup_logging.connect(lambda **_: log.configure(settings.log), weak=False)
    signals.task_prerun.connect(lambda task_id, **_: log.set_context(task=task_id), weak=False)
    # Not before it is ready: a worker that came no further is not to be listed.
    signals.worker_ready.connect(start_heartbeat, weak=False)
    signals.worker_shutdown.connect(lambda **_: heartbeat.stop(), weak=False)


app = Celery(
    "relations",
    loader="worker.app:SettingsLoader",
    task_cls="worker.celery_patches:CheckedTask",
    include=["worker.tasks"],
)
