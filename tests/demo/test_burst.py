"""The demo's burst: its end state equals a replay by time, its input is valid, its seed decides all."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from ops.dev.demo.agency import MISSING, CrmRelations
from ops.dev.demo.burst import Burst, make_burst
from worker.contract import check, from_message, read_instant

ACCOUNTS = ("nord", "sued", "west")
START = 1_790_000_000_000_000

bursts = st.builds(
    lambda changes, seed: make_burst(changes, seed=seed, accounts=ACCOUNTS, start=START),
    st.integers(3, 400),
    st.integers(0, 10_000),
)


def replay_by_time(burst: Burst, account: str) -> CrmRelations:
    """Apply every change in the order of `occurred_at`, one relation after the other: the naive model."""
    changes = [from_message(arrival.message).change for arrival in burst.arrivals]
    relations: CrmRelations = {}
    for change in sorted(changes, key=lambda change: change.occurred_at or 0):
        if change.account != account:
            continue
        for relation in change.relations:
            if change.action == "delete":
                relations.pop(relation, None)
            elif change.action == "create" or relation in relations:
                relations[relation] = relations.get(relation, {}) | dict(change.info)
    return relations


@given(bursts)
def test_the_end_state_is_what_sorting_the_messages_by_time_gives(burst: Burst) -> None:
    for account in ACCOUNTS:
        relations = replay_by_time(burst, account)
        assert burst.expected_after_repair[account] == relations
        assert burst.expected[account] == {
            relation: info
            for relation, info in relations.items()
            if relation.child not in burst.missing[account]
        }


@given(bursts)
def test_every_change_arrives_and_repetitions_are_identical(burst: Burst) -> None:
    messages = {arrival.message["event_id"]: arrival.message for arrival in burst.arrivals}
    assert len(messages) == burst.changes <= len(burst.arrivals)
    assert all(messages[arrival.message["event_id"]] == arrival.message for arrival in burst.arrivals)


@given(bursts)
def test_every_message_is_valid_and_no_two_changes_happened_at_once(burst: Burst) -> None:
    changes = {
        arrival.message["event_id"]: from_message(arrival.message).change for arrival in burst.arrivals
    }.values()
    assert all(not list(check(change)) for change in changes)
    assert max(Counter(change.occurred_at for change in changes).values()) == 1


@given(st.integers(0, 1000))
def test_a_seed_always_gives_the_same_burst_and_another_seed_another_one(seed: int) -> None:
    one, same, other = (
        make_burst(50, seed=number, accounts=ACCOUNTS, start=START) for number in (seed, seed, seed + 1)
    )
    assert one == same
    assert one.arrivals != other.arrivals


def test_a_burst_of_default_size_has_late_repeated_and_contradicting_changes() -> None:
    burst = make_burst(5000, seed=1, accounts=ACCOUNTS, start=START)
    times = [read_instant(arrival.message["occurred_at"]) for arrival in burst.arrivals]
    assert burst.late > 100
    assert burst.contradictions > 500
    assert len(burst.arrivals) > 5100
    assert times != sorted(times)
    assert all(min(ids) >= MISSING and len(ids) >= 3 for ids in burst.missing.values())
    assert {arrival.route for arrival in burst.arrivals} == {"batch", "single", "celery"}
    assert any(info for info in burst.expected["nord"].values())
