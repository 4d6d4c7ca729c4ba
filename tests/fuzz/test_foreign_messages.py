"""What others write into our queues on a Redis: it ends no worker, and operators find it."""

import json
from base64 import b64decode, b64encode
from collections.abc import Iterator

import pytest
from kombu import Queue

from ops.dev.stack import Shape, Stack, running
from tests.support.celery_messages import GOOD, REFUSED
from tests.support.waiting import HANGS_AFTER, wait_until
from worker.celery_broker import OwnConnection
from worker.celery_unreadable import read_undecoded, wrap_foreign
from worker.contract.message import UNROUTED
from worker.ports.records import JobFilter
from worker.redis.client import connect
from worker.wiring import Runtime

QUEUES = ("relations.intake", "relations.flush", "relations.ops")


def envelope(**properties: object) -> bytes:
    """Return a message as kombu writes it, but for these properties."""
    place = {"exchange": "", "routing_key": "relations.intake"}
    own = {"delivery_tag": "t", "delivery_info": place, "body_encoding": "base64", **properties}
    return json.dumps({"body": b64encode(b"[[],{},{}]").decode(), "properties": own}).encode()


def typed(marker: str) -> dict[str, object]:
    """Return headers with a value as kombu writes those of a type of its own."""
    return {"x": {"__type__": marker, "__value__": "y"}}


FOREIGN = (
    *(b"", b"garbage", b"\xff\xfe", b"null", b"7", b"[]", b"{}", b"[" * 100_000),
    *(b'{"class": "Job", "args": [1]}', b'{"body": "e30=", "properties": {}}', json.dumps(GOOD).encode()),
    *(envelope(delivery_tag=7), envelope(delivery_info=None), envelope(delivery_info={"exchange": ""})),
    *(json.dumps({**json.loads(envelope()), "headers": [1]}).encode(), envelope(body_encoding="zip")),
    *(envelope().replace(b'"W1tdL', b'"1tdL'), b"\0\1\2"),
    *(
        json.dumps({**json.loads(envelope()), "headers": typed(of)}).encode()
        for of in ("y", "uuid", "decimal")
    ),
    # What can just be read, kombu cannot write again from deeper in the stack.
    *(
        b'{"headers": {"x": %b}, ' % (b"[" * levels + b"]" * levels) + envelope()[1:]
        for levels in (20, *range(950, 970))
    ),
    *(envelope(delivery_tag="\ud800"), envelope(body_encoding=None).replace(b'"W1tdL', b'"\\ud800')),
)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    shape = Shape(accounts=("acme",), parts=("worker",), concurrency=1)
    with running(tmp_path_factory.mktemp("stack"), shape) as stack:
        yield stack


def count_unreadable(runtime: Runtime) -> int:
    return runtime.store.counts(UNROUTED).get("unreadable", 0)


def test_what_is_no_message_of_celery_ends_no_worker_and_is_kept_once_each(stack: Stack) -> None:
    runtime = stack.runtime(wakes=False)
    before = count_unreadable(runtime)
    for queue in QUEUES:
        first, second, other = (envelope(delivery_tag=f"{queue} {number}") for number in range(3))
        other = other.replace(b'"body": "', b'"headers": {"x": 1}, "content-type": "text/x", "body": "')
        runtime.client.rpush(queue, *FOREIGN, first, second, other)
    stack.celery().send_task(
        "relations.accept", [{**GOOD, "batch": "last"}], queue="relations.intake", ignore_result=True
    )
    wait_until(
        lambda: runtime.store.batch_counts("acme", "last").get("accepted"),
        "the last is not accepted",
        seconds=60,
    )
    everything = len(QUEUES) * (len(FOREIGN) + 3)
    wait_until(
        lambda: count_unreadable(runtime) - before == everything,
        "not all of it is kept",
        seconds=60,
    )
    assert not stack.ended()
    log = stack.log("worker").read_text("utf-8")
    assert "Traceback" not in log
    assert "contents of the message" not in log


def test_what_celery_would_drop_is_kept_once_each_and_not_in_the_log(stack: Stack) -> None:
    runtime = stack.runtime(wakes=False)
    before = count_unreadable(runtime)
    for headers, body in REFUSED:
        item = {**json.loads(envelope(delivery_tag="one for all")), "headers": headers}
        item |= {"content-type": "application/json", "content-encoding": "utf-8"}
        item["body"] = b64encode(body).decode()
        runtime.client.rpush("relations.intake", *[json.dumps(item)] * 2)
    wait_until(
        lambda: count_unreadable(runtime) - before == len(REFUSED),
        "not all of it is kept",
        seconds=60,
    )
    wait_until(lambda: runtime.client.llen("relations.intake") == 0, "it is not worked", seconds=60)
    kept = runtime.queries.find_jobs(UNROUTED, JobFilter(error="unreadable"), limit=len(REFUSED)).entries
    refused = 'got "a message that Celery refuses" (NotRegistered); send a change, or a list of them'
    faults = [job.refusal[2] for job in kept if job.refusal]
    assert [fault for fault in faults if "task_serializer" in fault and 'got "a' in fault] == []
    assert any(refused in fault for fault in faults)
    assert not stack.ended()
    log = stack.log("worker").read_text("utf-8")
    assert "Traceback" not in log
    assert "personal" not in log


@pytest.mark.parametrize(
    "item",
    [
        envelope(delivery_info={"exchange": "celery", "routing_key": "celery"}),
        json.dumps({**json.loads(envelope()), "headers": None}).encode(),  # as a library of Go writes them
    ],
)
def test_a_message_of_another_queue_or_without_headers_comes_back_to_where_it_came_from(
    redis_url: str, item: bytes
) -> None:
    client, key = connect(redis_url), "relations.intake"
    client.rpush(key, item)
    with OwnConnection(redis_url) as connection:
        received: list[object] = []
        consumer = connection.Consumer(Queue(key), on_message=received.append)
        with consumer:
            connection.drain_events(timeout=HANGS_AFTER)
        assert (len(received), client.llen(key)) == (1, 0)
        connection.default_channel.close()  # what it received is not acknowledged
    assert client.llen(key) == 1


@pytest.mark.parametrize("item", FOREIGN)
def test_what_is_kept_is_what_came(item: bytes) -> None:
    wrapped = json.loads(wrap_foreign(item, b"relations.flush\x06\x163"))
    assert wrapped["headers"]["task"] == "relations.accept"
    assert wrapped["properties"]["delivery_info"]["routing_key"] == "relations.flush"
    _, named, _ = json.loads(b64decode(wrapped["body"]))
    kept = read_undecoded(named)
    assert kept is not None
    assert kept.body == item


def test_a_message_of_celery_is_left_as_it_is() -> None:
    empty = json.dumps({**json.loads(envelope()), "body": None}).encode()
    for item in (envelope(), envelope(body_encoding=None), empty):
        assert wrap_foreign(item, b"relations.intake") is item
