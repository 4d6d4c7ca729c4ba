"""How Celery finds the application: start it as `celery -A worker.app worker` and `… beat`.

Importing this reads no settings and connects to nothing: Celery asks for its configuration late.
"""

import os
import threading
from contextlib import suppress
from functools import cached_property
from typing import IO, Any

import click
from celery import signals
from celery.loaders.app import AppLoader

from worker import log
from worker.background import WorkerHeartbeat
from worker.celery_broker import OwnCelery
from worker.celery_config import SWEEP_INTERVAL, worker_config
from worker.celery_output import configure_log
from worker.config import Settings, load_settings, working_folder
from worker.config.loader import places
from worker.errors import InvalidSettings
from worker.garbage import look_seldom
from worker.wiring import connect_metrics, import_http


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

    @cached_property
    def settings(self) -> Settings:
        """The settings of this environment and working directory, as they were when first needed."""
        try:
            return load_settings(os.environ, working_folder())
        except InvalidSettings as error:
            raise UnusableSettings(error) from error

    def read_configuration(self, _env: str = "") -> dict[str, Any]:
        """Return the configuration by the settings."""
        connect_signals(self.settings)
        return worker_config(self.settings)


def open_connection() -> None:
    """Open the connection over which a worker's child sends, while the server has room for one."""

    def ask() -> None:
        queue: Any = app.amqp.queues[app.conf.task_default_queue]
        with suppress(Exception), app.connection_or_acquire() as connection:
            queue.bind(connection.default_channel).queue_declare()

    threading.Thread(target=ask, name="broker", daemon=True).start()


def connect_signals(settings: Settings) -> None:
    """Let a worker log as the settings say, and show that it is alive."""
    heartbeat = WorkerHeartbeat(lambda: connect_metrics(settings))

    def start_heartbeat(sender: Any, **_: object) -> None:
        heartbeat.start(sender.controller.hostname, concurrency=sender.controller.concurrency)

    def set_up(loglevel: int | None = None, logfile: str | None = None, **_: object) -> None:
        configure_log(settings, level=loglevel, file=logfile)

    def report_missing_file(**_: object) -> None:
        if not settings.file:
            log.emit("settings.missing", looked_at=[str(place) for place in places(working_folder())])

    for about_to_start in (signals.worker_init, signals.beat_init):
        about_to_start.connect(report_missing_file, weak=False)
    signals.worker_init.connect(lambda **_: import_http(), weak=False)
    signals.worker_init.connect(lambda **_: look_seldom(), weak=False)  # what it forks later inherits that
    # Celery's own lines go through our pipeline, and every line of a task names it.
    signals.celeryd_init.connect(lambda **_: set_up(), weak=False)  # before its first warning
    signals.setup_logging.connect(set_up, weak=False)
    signals.task_prerun.connect(lambda task_id, **_: log.set_context(task=task_id), weak=False)
    signals.worker_process_init.connect(lambda **_: open_connection(), weak=False)
    signals.beat_init.connect(lambda **_: log.emit("beat.started", every=SWEEP_INTERVAL), weak=False)
    # Not before it is ready: a worker that came no further is not to be listed.
    signals.worker_ready.connect(start_heartbeat, weak=False)
    signals.worker_shutdown.connect(lambda **_: heartbeat.stop(), weak=False)


app = OwnCelery(
    "relations",
    loader="worker.app:SettingsLoader",
    task_cls="worker.celery_patches:CheckedTask",
    include=["worker.tasks"],
)


def worker_settings() -> Settings:
    """Return the settings that this worker was started with, also when by now its file cannot be used."""
    loader: Any = app.loader
    settings: Settings = loader.settings
    return settings
