"""What worker and beat print: log lines and nothing else, where and as loud as their options say."""

import logging
import sys
from typing import Any

import celery.apps.worker
import click
from celery.apps.beat import Beat
from celery.apps.worker import Worker
from click.core import ParameterSource

from worker import log
from worker.config import Settings


def configure_log(settings: Settings, *, level: int | str | None, file: str | None) -> None:
    """Log as the settings say, into the file of `--logfile`, at the level of `-l` where it was given.

    Celery's own default, WARNING, would leave out the line that every flush and request has.
    """
    try:
        log.configure(settings.log, stream=sys.__stderr__, level=_given_level(level), file=file)
    except OSError as error:
        raise click.ClickException(f"--logfile: {file} cannot be written: {error.strerror}") from error
    log.capture_the_rest()


def _given_level(level: int | str | None) -> int:
    context = click.get_current_context(silent=True)
    source = context.get_parameter_source("loglevel") if context else None
    if not level or source in (None, ParameterSource.DEFAULT):
        return logging.INFO
    return level if isinstance(level, int) else logging.getLevelNamesMapping()[level.upper()]


class QuietWorker(Worker):
    """Celery's worker, whose words are log lines."""

    def on_before_init(self, quiet: bool = False, **options: Any) -> None:
        """Let the words of its signal handlers be log lines too."""
        program: Any = celery.apps.worker
        program.safe_say = say
        super().on_before_init(quiet, **options)

    def setup_queues(self, include: Any, exclude: Any = None) -> None:
        """Listen to the queues that are asked for; one that is not ours is a fault of the command."""
        queues: Any = self.app.amqp.queues
        wanted = include.split(",") if isinstance(include, str) else include or ()
        if unknown := [name for name in wanted if name not in queues]:
            missing, known = ", ".join(unknown), ", ".join(queues)
            raise click.UsageError(f"-Q: there is no queue {missing}; there are {known}")
        # By name: a queue of a sender's, to which the next task of a chain goes, is known from then on.
        super().setup_queues(wanted or list(queues), exclude)

    def emit_banner(self) -> None:
        """Log what it is in place of a banner."""
        worker: Any = self
        log.emit(
            "worker.started",
            name=worker.hostname,
            broker=worker.app.connection().as_uri(),
            concurrency=worker.concurrency,
            queues=sorted(worker.app.amqp.queues.consume_from),
        )


class QuietBeat(Beat):
    """Celery's beat, without a banner."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{**options, "quiet": True})


def say(words: object, _stream: object = None) -> None:
    """Write a line from a signal handler, in which logging might meet itself."""
    log.write_at_once(str(words).strip())
