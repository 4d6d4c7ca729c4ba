"""Laws of accepting in rounds: every round is accepted in order, once, whatever happens to the connection."""

from collections.abc import Callable, Iterator, Sequence

import pytest
from redis import Redis

from tests.support.store_steps import accept, list_jobs
from tests.support.store_values import MONTH, NO_LIMIT, change, submission
from worker.errors import BacklogFull
from worker.ports.store import IntakeBounds, Store, Submission
from worker.store.redis_store import RedisStore

ROUNDS = [
    [submission(f"{number:03d}", change(number + 1, 9)) for number in range(first, first + 3)]
    for first in range(0, 18, 3)
]


def test_rounds_are_accepted_in_order_and_a_repetition_answers_the_same(store: Store) -> None:
    for is_repeated in (False, True):
        answers = list(store.accept_rounds("acme", iter(ROUNDS), IntakeBounds(NO_LIMIT, MONTH)))
        assert [[receipt.job for receipt in answer.receipts] for answer in answers] == [
            [each.job for each in one] for one in ROUNDS
        ]
        assert [answer.wake for answer in answers] == [not is_repeated, *[False] * 5]
    assert [job.id for job in reversed(list_jobs(store))] == [each.job for one in ROUNDS for each in one]


def break_connections(client: Redis) -> None:
    client.client_kill_filter(skipme=True, _type="normal")


def forget_scripts(client: Redis) -> None:
    """Make the server one that knows no script of ours, as a new master may be."""
    client.script_flush()


@pytest.mark.parametrize("fail", [break_connections, forget_scripts])
@pytest.mark.parametrize("at", range(len(ROUNDS)))
def test_a_failure_on_the_way_loses_no_round_and_doubles_none(
    redis_store: RedisStore, redis_client: Redis, at: int, fail: Callable[[Redis], None]
) -> None:
    def rounds() -> Iterator[Sequence[Submission]]:
        for number, one in enumerate(ROUNDS):
            if number == at:
                fail(redis_client)
            yield one

    accept(redis_store, change(99, 9), first=900)  # the server knows the script
    answers = list(redis_store.accept_rounds("acme", rounds(), IntakeBounds(NO_LIMIT, MONTH)))
    assert [[receipt.job for receipt in answer.receipts] for answer in answers] == [
        [each.job for each in one] for one in ROUNDS
    ]
    assert [job.id for job in reversed(list_jobs(redis_store))][1:] == [
        each.job for one in ROUNDS for each in one
    ]


def test_every_stream_of_rounds_gives_its_connection_back(
    redis_store: RedisStore, redis_client: Redis
) -> None:
    connections = set[int]()
    for _ in range(3):
        list(redis_store.accept_rounds("acme", iter(ROUNDS), IntakeBounds(NO_LIMIT, MONTH)))
        connections.add(len(redis_client.client_list()))
    assert len(connections) == 1


def test_an_abandoned_iteration_leaves_no_answer_for_others(redis_store: RedisStore) -> None:
    accept(redis_store, change(99, 9), first=900)
    first = next(redis_store.accept_rounds("acme", iter(ROUNDS), IntakeBounds(NO_LIMIT, MONTH)))
    assert [receipt.job for receipt in first.receipts] == [each.job for each in ROUNDS[0]]
    assert redis_store.get_job("acme-000") is not None
    assert redis_store.counts("acme")["accepted"] in (4, 7, 10)  # rounds on their way may have arrived


def test_a_full_inbox_stops_the_rounds(store: Store) -> None:
    answers = store.accept_rounds("acme", iter(ROUNDS), IntakeBounds(4, MONTH))
    next(answers)
    with pytest.raises(BacklogFull):
        next(answers)
    assert store.counts("acme")["accepted"] == 3
