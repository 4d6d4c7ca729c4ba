"""Log lines as data: one shape for our events and for the libraries', and no secret in any of them."""

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st

from worker import log
from worker.config import Secret, hide


class Lines(io.StringIO):
    """The lines that were logged, as data."""

    def all(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.getvalue().splitlines()]


@pytest.fixture
def lines() -> Iterator[Lines]:
    root, stream = logging.getLogger(), Lines()
    before, level = list(root.handlers), root.level
    root.handlers[:] = []
    log.configure("json", stream=stream)
    yield stream
    root.handlers[:] = before
    root.setLevel(level)
    structlog.contextvars.clear_contextvars()


def test_an_event_carries_utc_time_level_logger_and_its_fields(lines: Lines) -> None:
    structlog.get_logger("worker.usecases.flush").info("flush.finished", account="acme", actions=3)
    (line,) = lines.all()
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "event": "flush.finished",
        "level": "info",
        "logger": "worker.usecases.flush",
        "account": "acme",
        "actions": 3,
    }


def test_a_library_logs_in_the_same_shape(lines: Lines) -> None:
    logging.getLogger("celery.worker").warning("lost %s", "broker", extra={"attempt": 2})
    (line,) = lines.all()
    assert line.pop("timestamp").endswith("Z")
    assert line == {"event": "lost broker", "level": "warning", "logger": "celery.worker", "attempt": 2}


def test_bound_context_is_on_every_line(lines: Lines) -> None:
    structlog.contextvars.bind_contextvars(task="t1")
    structlog.get_logger("a").info("one")
    logging.getLogger("b").info("two")
    assert [line["task"] for line in lines.all()] == ["t1", "t1"]


def test_configuring_again_replaces_the_handler_and_no_line_comes_twice(lines: Lines) -> None:
    logger, second = structlog.get_logger("a"), Lines()
    logger.info("one")
    log.configure("json", stream=second)
    logger.info("two")
    assert [[line["event"] for line in stream.all()] for stream in (lines, second)] == [["one"], ["two"]]


@pytest.mark.parametrize("key", ["token", "api_secret", "hmac", "Authorization", "redis_password"])
def test_a_value_under_a_key_that_names_a_secret_is_starred(lines: Lines, key: str) -> None:
    structlog.get_logger("a").info("sent", **{key: "x"}, nested={key: "x", "id": 1}, many=[{key: ["x"]}])
    (line,) = lines.all()
    assert (line[key], line["nested"], line["many"]) == ("***", {key: "***", "id": 1}, [{key: "***"}])


def test_a_secret_that_was_revealed_is_starred_wherever_it_turns_up(lines: Lines) -> None:
    value = Secret("a-quite-secret-value").reveal()
    logger = structlog.get_logger("a")
    logger.info(
        f"sent {value}",
        url=f"https://h/?x={value}",
        error=ValueError(value),
        deep=[{"body": (value,)}],
        path={value},
    )
    logging.getLogger("b").warning("got %s", value)
    try:
        raise ValueError(value)
    except ValueError:
        logger.exception("flush.failed")
        logging.getLogger("c").exception("died")
    assert len(lines.all()) == 4
    assert value not in lines.getvalue()
    assert [line["exception"].splitlines()[-1] for line in lines.all()[2:]] == ["ValueError: ***"] * 2


def test_of_two_secrets_one_inside_the_other_nothing_is_left(lines: Lines) -> None:
    hide("abcdefgh")
    hide("xxabcdefghyy")
    structlog.get_logger("a").info("sent xxabcdefghyy")
    assert lines.all()[0]["event"] == "sent ***"


def test_the_http_library_does_not_repeat_every_request(lines: Lines) -> None:
    logging.getLogger("httpx").info("HTTP Request: POST https://api.onoffice.de")
    assert lines.all() == []


def test_on_a_console_a_line_is_for_people(lines: Lines) -> None:
    stream = io.StringIO()
    log.configure("console", stream=stream)
    structlog.get_logger("a").info("flush.finished", account="acme", token="abc")
    assert "flush.finished" in stream.getvalue()
    assert "account=acme" in stream.getvalue()
    assert "abc" not in stream.getvalue()
    assert "\x1b" not in stream.getvalue()


@pytest.mark.parametrize(
    "fields",
    [
        {"faults": [f"[{number}]: " + "x" * 500 for number in range(101)]},
        {"faults": ['ä\u0001"' * 40_000]},
        {"exception": "Traceback\n" + "  File\n" * 20_000 + "ValueError: the reason"},
        {f"field{number}": "y" * 900 for number in range(40)},
        {"deep": {"a": {"b": ["z" * 100] * 1000}}},
    ],
    ids=["many", "long", "traceback", "wide", "deep"],
)
def test_no_line_is_longer_than_what_passes_it_on_takes(lines: Lines, fields: dict[str, Any]) -> None:
    log.emit("message.rejected", account="acme", **fields)
    text = lines.getvalue()
    assert text.count("\n") == 1
    assert len(text.encode()) <= 16_384
    (line,) = lines.all()
    assert (line["event"], line["account"], line["level"]) == ("message.rejected", "acme", "warning")
    assert line.keys() >= fields.keys()
    if "exception" in fields:
        assert line["exception"].endswith("ValueError: the reason")


@given(
    st.dictionaries(
        st.sampled_from("abcdef"),
        st.one_of(st.text(max_size=50).map(lambda text: text * 2000), st.lists(st.text(), max_size=2000)),
        min_size=1,
    )
)
@settings(max_examples=20)
def test_any_fields_make_a_line_that_fits(fields: dict[str, Any]) -> None:
    line = log.write_line(None, "info", {"event": "x.y", **log.redact_value(fields)})
    assert len(line.encode(errors="replace")) <= 16_384
    assert json.loads(line)["event"] == "x.y"
