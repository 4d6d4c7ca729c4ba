"""What others write into our queues on a Redis: it ends no worker, and operators find it."""

import json
from base64 import b64decode, b64encode
from pathlib import Path

import pytest

from ops.dev.stack import Shape, running
from tests.support.waiting import wait_until
from worker.celery_unreadable import read_undecoded, wrap_foreign
from worker.contract.message import UNROUTED

GOOD = {
    "account": "acme",
    "action": "create",
    "relationtype": "estate:address:buyer",
    "parentid": 501,
    "childid": 9001,
}
QUEUES = ("relations.intake", "relations.flush", "relations.ops")


def envelope(**properties: object) -> bytes:
    """Return a message as kombu writes it, but for these properties."""
    place = {"exchange": "", "routing_key": "relations.intake"}
    own = {"delivery_tag": "t", "delivery_info": place, "body_encoding": "base64", **properties}
    return json.dumps({"body": b64encode(b"[[],{},{}]").decode(), "properties": own}).encode()


FOREIGN = (
    *(b"", b"garbage", b"\xff\xfe", b"null", b"7", b"[]", b"{}", b"[" * 100_000),
    *(b'{"class": "Job", "args": [1]}', b'{"body": "e30=", "properties": {}}', json.dumps(GOOD).encode()),
    *(envelope(delivery_tag=7), envelope(delivery_info=None), envelope(delivery_info={"exchange": ""})),
    *(json.dumps({**json.loads(envelope()), "headers": [1]}).encode(), envelope(body_encoding="zip")),
    *(envelope().replace(b'"W1tdL', b'"1tdL'), b"\0\1\2"),
)


def test_what_is_no_message_of_celery_ends_no_worker_and_is_kept_once_each(tmp_path: Path) -> None:
    with running(tmp_path, Shape(accounts=("acme",), parts=("worker",), concurrency=1)) as stack:
        runtime = stack.runtime(wakes=False)
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
            lambda: runtime.store.counts(UNROUTED).get("unreadable") == everything,
            "not all of it is kept",
            seconds=60,
        )
        assert not stack.ended()
        log = stack.log("worker").read_text("utf-8")
        assert "Traceback" not in log
        assert "contents of the message" not in log


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
