"""Log events as data: one line per event, of ours and of the libraries' own logging alike, without secrets.

Call `configure` once per process, then `emit("flush.finished", account=…)`. Nothing is configured at import.
"""

import json
import logging
import os
import sys
import threading
from collections.abc import Mapping
from contextlib import AbstractContextManager, suppress
from functools import lru_cache
from logging.handlers import WatchedFileHandler
from typing import Any, Final, Literal, TextIO, cast

import structlog
from structlog.types import EventDict, Processor, WrappedLogger

from worker.config.secret import STARS, redact
from worker.contract.quoting import make_printable

SENSITIVE: Final = ("token", "secret", "hmac", "authorization", "password")
# They log every request or task at INFO, with its arguments; our own line for each has more.
CHATTY: Final = ("httpx", "httpcore", "celery.worker.strategy", "celery.app.trace", "celery.beat")
# It warns of every broken body, which its caller learns from the error anyway.
SILENT: Final = ("python_multipart",)

MAX_LINE: Final = 16_000  # bytes; Docker and journald cut a line in pieces of 16 KiB
JSON: Final = structlog.processors.JSONRenderer(ensure_ascii=False)

# An account stands still, or a request met a bug of ours: a person is needed now.
ERRORS: Final = frozenset({"account.paused", "request.failed"})

# Somebody should look at these by day; nothing is lost meanwhile.
WARNINGS: Final = frozenset(
    {
        "batch.condemned",
        "breaker.opened",
        "broker.lost",
        "callback.abandoned",
        "callback.failed",
        "claim.lost",
        "clock.skewed",
        "clock.stepped",
        "control.refused",
        "delivery.lost",
        "key.refused",
        "message.rejected",
        "plan.rejected",
        "proxy.ignored",
        "replay.refused",
        "settings.missing",
        "settings.rejected",
        "store.mended",
        "store.reverted",
        "store.unavailable",
        "sweep.failed",
        "traces.refused",
        "wake.failed",
        "webhook.refused",
        "writes.lost",
    }
)
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
# The same list for all styles, because loggers keep it; the handler does what differs.
PIPELINE: Final[list[Processor]] = [
    structlog.stdlib.filter_by_level,
    *SHARED,
    structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
]
EVENTS: Final[structlog.stdlib.BoundLogger] = structlog.get_logger("relations")


class Handler(logging.StreamHandler[TextIO]):
    """Writes log lines to a stream; it is ours, so that configuring again replaces nobody else's."""


class FileHandler(WatchedFileHandler, Handler):
    """Writes log lines into a file, which is opened anew after it was moved away."""

    def __init__(self, path: str) -> None:
        WatchedFileHandler.__init__(self, path, encoding="utf-8", errors="backslashreplace")


def configure(
    style: Literal["json", "console"],
    *,
    stream: TextIO | None = None,
    level: int = logging.INFO,
    file: str | None = None,
) -> None:
    """Send all log events to the file, else to `stream` (stderr), in this style; the last call holds.

    Raises OSError if the file cannot be written.
    """
    handler = FileHandler(file) if file else Handler(stream or sys.stderr)
    processors = [
        structlog.stdlib.ProcessorFormatter.remove_processors_meta,
        redact_event,
        renderer(style, colors=handler.stream.isatty()),
    ]
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(foreign_pre_chain=SHARED, processors=processors))
    root = logging.getLogger()
    root.handlers = [other for other in root.handlers if not isinstance(other, Handler)] + [handler]
    root.setLevel(level)
    for name in CHATTY:
        logging.getLogger(name).setLevel(max(level, logging.WARNING))
    for name in SILENT:
        logging.getLogger(name).setLevel(logging.ERROR)
    structlog.configure(
        processors=PIPELINE,
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=logging.getLogger,
        cache_logger_on_first_use=True,
    )


def capture_the_rest() -> None:
    """Let warnings, and errors that nobody caught, be lines like all others."""
    logging.captureWarnings(True)
    sys.excepthook = lambda kind, error, trace: _log_uncaught("process", (kind, error, trace))
    threading.excepthook = lambda args: _log_uncaught(
        args.thread.name if args.thread else "", (args.exc_type, args.exc_value, args.exc_traceback)
    )
    sys.unraisablehook = lambda args: _log_uncaught(
        "finalizer", (args.exc_type, args.exc_value, args.exc_traceback)
    )


def _log_uncaught(where: str, error: Any) -> None:
    if not issubclass(error[0], KeyboardInterrupt | SystemExit):
        logging.getLogger("relations").critical("uncaught error in %s", where, exc_info=error)


def write_at_once(event: str) -> None:
    """Write one line past the logging system: from a signal handler it might wait for itself."""
    handler = next((each for each in logging.getLogger().handlers if isinstance(each, Handler)), None)
    if handler and logging.getLogger().isEnabledFor(logging.INFO):
        record = logging.LogRecord("relations", logging.INFO, "", 0, event, (), None)
        with suppress(OSError, ValueError):
            os.write(handler.stream.fileno(), f"{handler.format(record)}\n".encode())


def renderer(style: Literal["json", "console"], *, colors: bool) -> Processor:
    """Return what writes a line: JSON for machines, or aligned text for people."""
    if style == "json":
        return write_line
    return structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=structlog.dev.plain_traceback)


def write_line(logger: WrappedLogger, method: str, event: EventDict) -> str:
    """Return the event as one line of JSON, short enough for those that pass on pieces of 16 KiB."""
    line = str(JSON(logger, method, event))
    if len(line.encode(errors="replace")) <= MAX_LINE:
        return line
    share = MAX_LINE // 2 // max(1, len(event))
    return str(JSON(logger, method, {name: shorten(value, share) for name, value in event.items()}))


def shorten(value: Any, size: int) -> Any:
    """Return a value of about this size in JSON: the beginning of a list, both ends of anything longer.

    The end of a traceback says most.
    """
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    if len(text.encode(errors="replace")) <= size:
        return value
    if isinstance(value, list) and len(value) > 1:
        room = max(1, min(len(value) - 1, size // 100))
        kept = [shorten(item, size // (room + 1)) for item in value[:room]]
        return [*kept, f"… and {len(value) - room} more"]
    room = size // 12  # characters, each of up to six in JSON, on either end
    return f"{text[:room]} … {text[-room:]}"


def redact_event(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Return the event without secrets: neither under a key that names one nor inside any text."""
    return cast(EventDict, redact_value(event))


@lru_cache(maxsize=1000)
def names_secret(key: str) -> bool:
    """Return whether what is called so is a secret."""
    return any(word in key.lower() for word in SENSITIVE)


def redact_value(value: Any, key: str = "") -> Any:
    """Return the value as plain data, stars in place of every secret; what is no plain data becomes text."""
    if names_secret(key):
        return STARS
    if isinstance(value, str):
        return make_printable(redact(value))
    if value is None or isinstance(value, (int, float)):
        return value
    if isinstance(value, Mapping):
        return {str(name): redact_value(item, str(name)) for name, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [redact_value(item) for item in value]
    return make_printable(redact(repr(value) if isinstance(value, BaseException) else str(value)))


def level_of(event: str) -> Literal["info", "warning", "error"]:
    """Return the level of an event."""
    return "error" if event in ERRORS else "warning" if event in WARNINGS else "info"


def emit(event: str, /, **fields: object) -> None:
    """Log an event of the system at its level."""
    getattr(EVENTS, level_of(event))(event, **fields)


def set_context(**fields: object) -> None:
    """Put these fields, and none of those before, on every line from now on."""
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(**fields)


def context(**fields: object) -> AbstractContextManager[None]:
    """Put these fields on every line of this thread or task of asyncio until the block ends."""
    return structlog.contextvars.bound_contextvars(**fields)
