"""What Celery is told of the broker."""

import pytest

from worker.app import broker


@pytest.mark.parametrize(
    ("ours", "kombus"),
    [
        ("redis://:pw@10.0.0.1:6379/2", "redis://:pw@10.0.0.1:6379/2"),
        ("amqp://u:p@rabbit//", "amqp://u:p@rabbit//"),
        ("unix:///run/redis.sock", "redis+socket:///run/redis.sock"),
        ("redis+sentinel://:pw@a:26379,b/main/3", "sentinel://:pw@a:26379/3;sentinel://:pw@b:26379/3"),
    ],
)
def test_the_broker_is_named_in_the_words_of_its_client(ours: str, kombus: str) -> None:
    assert broker(ours) == kombus
