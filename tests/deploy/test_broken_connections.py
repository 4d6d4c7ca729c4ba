"""What a worker does about a broken connection to the broker."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest
import redis
from kombu import Connection, Message

from ops.dev.redis_server import run_server
from tests.support.error_replies import ErrorReplies, Unanswered
from worker.app import app
from worker.celery_broker import OwnCelery
from worker.redis.broker import broker_settings


def test_a_channel_with_unacknowledged_messages_can_be_closed_when_its_connection_is_gone(
    tmp_path: Path,
) -> None:
    with run_server(tmp_path) as server, app.connection_for_read(server.url) as connection:
        queue = connection.SimpleQueue("some")
        queue.put("a wake-up")
        queue.get(timeout=10)
        # How kombu leaves a channel whose connection broke while it was being closed.
        connection.transport.client = None
        connection.default_channel.close()
        assert connection.default_channel.closed


def test_a_message_whose_connection_is_gone_may_be_acknowledged_in_vain_and_comes_back(
    tmp_path: Path,
) -> None:
    with run_server(tmp_path) as server, app.connection_for_read(server.url) as connection:
        queue = connection.SimpleQueue("some")
        queue.put("a wake-up")
        message = queue.get(timeout=10)
        transport = message.channel.connection
        message.channel.connection = None  # as in a channel that was closed meanwhile
        message.ack()
        message.channel.connection = transport
        with redis.Redis.from_url(server.url) as client:
            assert client.hkeys("relations/unacked") == [message.delivery_tag.encode()]


def test_a_channel_that_is_closed_well_gives_its_unacknowledged_messages_back(tmp_path: Path) -> None:
    with (
        run_server(tmp_path) as server,
        app.connection_for_read(server.url) as connection,
        Connection(server.url) as other,
    ):
        queue = connection.SimpleQueue("some")
        queue.put("a wake-up")
        queue.get(timeout=10)
        connection.default_channel.close()
        assert other.SimpleQueue("some").get(timeout=10).payload == "a wake-up"


@pytest.mark.parametrize("settle", [Message.ack, Message.requeue, Message.reject])
def test_a_message_that_a_broker_which_hangs_neither_remembers_nor_forgets_is_worked_and_makes_room(
    settle: Callable[[Message], None], tmp_path: Path
) -> None:
    own = OwnCelery(set_as_current=False)
    with run_server(tmp_path) as server, Unanswered(server) as replies:
        own.conf.update(broker_settings(f"{replies.url}?socket_timeout=0.2", "t"))
        with own.connection_for_read() as connection, connection.SimpleQueue("t.q") as queue:
            queue.put("a wake-up", headers={"eta": "2036-11-30T09:00:00+00:00"})
            replies.answer("", lambda command: command[0] in (b"EVAL", b"WATCH"))
            qos = connection.default_channel.qos
            qos.prefetch_count = 1
            message = queue.get(timeout=10)
            assert (message.payload, message.headers) == ("a wake-up", {})
            assert not qos.can_consume()
            settle(message)
            assert qos.can_consume()
            assert replies.refused.total() == 2
            replies.recover()
            qos.ack(message.delivery_tag)  # one that was given back is remembered until now


def test_a_message_that_a_broker_refuses_to_remember_waits_for_its_time_all_the_same(tmp_path: Path) -> None:
    """Worked at once, one that asks for another in a minute would ask without a pause."""
    own, headers = OwnCelery(set_as_current=False), {"eta": "2036-11-30T09:00:00+00:00"}
    with run_server(tmp_path) as server, ErrorReplies(server) as replies:
        own.conf.update(broker_settings(replies.url, "t"))
        with own.connection_for_read() as connection, connection.SimpleQueue("t.q") as queue:
            queue.put("a wake-up", headers=headers)
            replies.answer("NOPERM no permission to run 'eval'", lambda command: command[0] == b"EVAL")
            message = queue.get(timeout=10)
            assert message.headers == headers
            assert replies.refused.total() == 1
            message.ack()


@pytest.mark.parametrize("ill", [Unanswered, ErrorReplies])
def test_a_message_that_an_ill_broker_can_neither_remember_nor_take_back_comes_back_when_it_is_well(
    ill: type[ErrorReplies], tmp_path: Path
) -> None:
    own = OwnCelery(set_as_current=False)
    with run_server(tmp_path) as server, ill(server) as replies:
        own.conf.update(broker_settings(f"{replies.url}?socket_timeout=0.2", "t"))
        own.conf.broker_transport_options["visibility_timeout"] = 0
        with own.connection_for_read() as connection, connection.SimpleQueue("t.q") as queue:
            queue.put("a change", headers={"eta": "2036-11-30T09:00:00+00:00"})
            replies.answer("MISCONF of the disk", lambda command: command[0] in (b"EVAL", b"WATCH"))
            queue.get(timeout=10).requeue()
        replies.recover()
        with own.connection_for_read() as connection, connection.SimpleQueue("t.q") as queue:
            connection.default_channel.qos.restore_visible()
            message = queue.get(timeout=10)
            assert (message.payload, message.headers["redelivered"]) == ("a change", True)
            message.ack()
            with redis.Redis.from_url(server.url) as client:
                assert client.hlen("t/unacked") == 0


def test_two_messages_whose_sender_gives_them_one_tag_are_remembered_each(tmp_path: Path) -> None:
    own = OwnCelery(set_as_current=False)
    with run_server(tmp_path) as server, redis.Redis.from_url(server.url) as client:
        own.conf.update(broker_settings(server.url, "t"))
        with own.connection_for_read() as connection, connection.SimpleQueue("t.q") as queue:
            queue.put("a change")
            [item] = client.lrange("t.q", 0, -1)
            client.rpush("t.q", item)
            first, second = queue.get(timeout=10), queue.get(timeout=10)
            assert client.hlen("t/unacked") == 2
            first.ack()
            assert client.hkeys("t/unacked") == [second.delivery_tag.encode()]
            second.ack()


LATER, BEFORE = "2036-11-30T09:00:00", "2026-11-30T09:00:00+00:00"


@pytest.mark.parametrize(
    ("headers", "body", "comes_back"),
    [
        ({"task": "a", "eta": f"{LATER}+00:00"}, [], False),
        ({"task": "a", "eta": LATER}, [], False),
        ({}, {"task": "a", "eta": f"{LATER}Z"}, False),
        ({"task": "a", "eta": BEFORE}, [], True),
        ({"task": "a", "eta": "soon"}, [], True),
        ({"task": "a", "eta": None}, [], True),
        ({}, {"task": "a", "eta": 7}, True),
    ],
)
def test_a_message_that_waits_for_its_time_is_in_no_more_than_one_worker(
    headers: dict[str, object], body: object, comes_back: bool, tmp_path: Path
) -> None:
    own = OwnCelery(set_as_current=False)
    with run_server(tmp_path) as server, redis.Redis.from_url(server.url) as client:
        own.conf.update(broker_settings(server.url, "t"))
        own.conf.broker_transport_options["visibility_timeout"] = 60
        with own.connection_for_read() as connection, connection.SimpleQueue("t.q") as queue:
            queue.put(body, headers=headers)
            message = queue.get(timeout=10)
            assert message.payload == body
            client.zadd("t/unacked_index", {message.delivery_tag: time.time() - 61})  # so long ago
            connection.default_channel.qos.restore_visible()
            assert (client.llen("t.q"), client.hlen("t/unacked")) == ((1, 0) if comes_back else (0, 1))
            message.ack()


def test_a_message_that_waits_and_was_given_to_another_is_not_remembered_again(tmp_path: Path) -> None:
    own = OwnCelery(set_as_current=False)
    with run_server(tmp_path) as server, redis.Redis.from_url(server.url) as client:
        own.conf.update(broker_settings(server.url, "t"))
        with own.connection_for_read() as connection, connection.SimpleQueue("t.q") as queue:
            queue.put([], headers={"task": "a", "eta": f"{LATER}Z"})
            message = queue.get(timeout=10)
            client.delete("t/unacked_index", "t/unacked")  # as who gives it back does
            connection.default_channel.qos.restore_visible()
            assert client.exists("t/unacked_index", "t/unacked") == 0
            message.ack()
