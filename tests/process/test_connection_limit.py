"""A server that has no room for another connection: what is accepted is sent when there is."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redis

from ops.dev.redis_server import RedisServer, run_server
from ops.dev.stack import QUICK, Shape, running
from tests.support.clusters import run_command
from tests.support.deploy_work import CHANGE
from tests.support.waiting import wait_until
from worker.background import WakeupQueue
from worker.wakeups import TaskSender


@contextmanager
def no_room(server: RedisServer) -> Iterator[None]:
    """Let the server take no further connection, until the block ends."""
    with redis.Redis.from_url(server.url) as client:
        client.config_set("maxclients", client.info("clients")["connected_clients"])
        yield
        client.config_set("maxclients", 1000)


def test_a_wake_up_names_its_cause_and_is_sent_when_there_is_room(tmp_path: Path) -> None:
    events: list[dict[str, object]] = []
    with run_server(tmp_path) as server:
        sender = TaskSender(server.url, "relations")
        queue = WakeupQueue(sender.wake, emit=lambda _, **fields: events.append(fields))
        with no_room(server):
            queue("acme", 0.0)
            wait_until(lambda: "max number of clients" in queue.trouble, "it did not fail")
        wait_until(lambda: run_command(server, "LLEN", "relations.flush") == 1, "it is lost")
        wait_until(lambda: not queue.trouble, "it is still in trouble")
        assert [event["account"] for event in events] == ["acme"], "one line, however often it was tried"


def test_workers_go_on_over_the_connections_they_have(tmp_path: Path) -> None:
    shape = Shape(accounts=("nord",), defaults={**QUICK, "window": 0.1}, concurrency=1)
    with running(tmp_path, shape) as stack:
        headers, counts = (
            {"Authorization": f"Bearer {stack.key}"},
            stack.runtime(wakes=False).store.batch_counts,
        )

        def send(first: int) -> None:
            changes = [{**CHANGE, "childid": child, "batch": "room"} for child in range(first, first + 5)]
            assert stack.http.post(f"{stack.url}/v1/changes", json=changes, headers=headers).is_success

        def all_sent(number: int) -> bool:
            return counts("nord", "room").get("succeeded") == number

        send(1)
        wait_until(lambda: all_sent(5), "nothing is sent")
        with no_room(stack.server):
            send(6)
            wait_until(lambda: all_sent(10), "nothing is sent without room", seconds=10)
