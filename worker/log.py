"""Log events as data: one pipeline for structlog and for the libraries' own logging, one line per event, no secrets.

Call `configure` once per process; log with `get(__name__).info("flush.finished", account=…)`.
"""

import logging
import sys
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any, Final, Literal, TextIO, cast

import structlog
from structlog.types import EventDict, Processor, WrappedLogger

from worker.config.secret import STARS, hide, redact

__all__ = ["begin", "bound", "configure", "get", "hide", "level", "emit", "redacted"]

SENSITIVE: Final = ("token", "secret", "hmac", "authorization", "password")
CHATTY: Final = ("httpx", "httpcore", "celery.worker.strategy", "celery.app.trace", "celery.beat")
"""They log every request or task at INFO, with its arguments; our own line for each says more."""


def redacted(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """The event without secrets: neither under a telling key nor inside any text."""
    return cast(EventDict, clean(event))


def clean(value: Any) -> Any:
    """The value as plain data, every hidden text replaced; what is no plain data becomes its text."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, Mapping):
        return {str(key): cleaned(str(key), each) for key, each in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [clean(each) for each in value]
    return redact(repr(value) if isinstance(value, BaseException) else str(value))


def cleaned(key: str, value: Any) -> Any:
    """The value, or stars if its key says that it is a secret."""
    return STARS if any(word in key.lower() for word in SENSITIVE) else clean(value)


URGENT: Final = frozenset({"account.paused", "request.failed"})
"""An account stands still, or a request met a bug of ours: a person is needed now."""

LOUD: Final = frozenset(
    {
        "batch.condemned",
        "breaker.opened",
        "clock.skewed",
        "message.rejected",
        "plan.rejected",
        "replay.refused",
        "settings.rejected",
        "wake.failed",
        "webhook.refused",
    }
)
"""Somebody should look at these by day; nothing is lost meanwhile."""

SHARED: Final[list[Processor]] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_logger_name,
    structlog.stdlib.add_log_level,
    structlog.stdlib.PositionalArgumentsFormatter(),
    structlog.stdlib.ExtraAdder(),
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.StackInfoRenderer(),
    structlog.processors.format_exc_info,
]
# One list for good, because loggers keep it; what differs between styles is the handler's.
PIPELINE: Final[list[Processor]] = [
    structlog.stdlib.filter_by_level,
    *SHARED,
    structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
]


def renderer(style: Literal["json", "console"], *, colors: bool) -> Processor:
    """What writes the line: JSON for machines, or aligned text for people."""
    if style == "json":
        return structlog.processors.JSONRenderer(ensure_ascii=False)
    return structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=structlog.dev.plain_traceback)


class Handler(logging.StreamHandler[TextIO]):
    """Ours, so that configuring again replaces it and nobody else's."""


def configure(
    style: Literal["json", "console"], *, stream: TextIO | None = None, level: int = logging.INFO
) -> None:
    """Send all log events to `stream` (stderr) in this style; calling it again replaces the last call."""
    handler = Handler(stream or sys.stderr)
    write = renderer(style, colors=handler.stream.isatty())
    processors = [structlog.stdlib.ProcessorFormatter.remove_processors_meta, redacted, write]
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(foreign_pre_chain=SHARED, processors=processors))
    root = logging.getLogger()
    root.handlers = [each for each in root.handlers if not isinstance(each, Handler)] + [handler]
    root.setLevel(level)
    for name in CHATTY:
        logging.getLogger(name).setLevel(max(level, logging.WARNING))
    structlog.configure(
        processors=PIPELINE,
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )


def get(name: str) -> structlog.stdlib.BoundLogger:
    """The logger of a module; it may be made before `configure` is called."""
    return cast(structlog.stdlib.BoundLogger, structlog.get_logger(name))


def level(event: str) -> Literal["info", "warning", "error"]:
    """How loud an event is said."""
    return "error" if event in URGENT else "warning" if event in LOUD else "info"


def emit(event: str, /, **fields: object) -> None:
    """A log event of the system, as loud as it is urgent."""
    getattr(get("relations"), level(event))(event, **fields)


def begin(**fields: object) -> None:
    """Puts these fields, and none of those before, on every line from now on."""
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(**fields)


def bound(**fields: object) -> AbstractContextManager[None]:
    """Puts these fields on every line that this thread or task of asyncio says until the block ends."""
    return structlog.contextvars.bound_contextvars(**fields)
