"""What a worker does about a broken connection to the broker."""

from pathlib import Path

import redis
from kombu import Connection

from ops.dev.redis_server import run_server
from worker.app import app


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
