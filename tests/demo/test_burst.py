"""The demo's burst: its end state is what sorting its messages by time says, its input is legal, and its seed decides everything."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from ops.dev.demo.burst import Burst, burst
from ops.dev.demo.office import MISSING
from worker.contract import Relation, check, from_message, read_instant

ACCOUNTS = ("nord", "sued", "west")
START = 1_790_000_000_000_000

bursts = st.builds(
    lambda changes, seed: burst(changes, seed=seed, accounts=ACCOUNTS, start=START),
    st.integers(3, 400),
    st.integers(0, 10_000),
)


def by_time(given: Burst, account: str) -> dict[Relation, dict[str, str]]:
    """The naive model: everything in the order of `occurred_at`, one relation after the other."""
    changes = [from_message(arrival.message).change for arrival in given.arrivals]
    world: dict[Relation, dict[str, str]] = {}
    for change in sorted(changes, key=lambda change: change.occurred_at or 0):
        for relation in change.relations if change.account == account else ():
            if change.action == "delete":
                world.pop(relation, None)
            elif change.action == "create" or relation in world:
                world[relation] = world.get(relation, {}) | dict(change.info)
    return world


@given(bursts)
def test_the_end_state_is_what_sorting_the_messages_by_time_gives(made: Burst) -> None:
    for account in ACCOUNTS:
        world = by_time(made, account)
        assert made.mended[account] == world
        assert made.asked[account] == {
            relation: info for relation, info in world.items() if relation.child not in made.missing[account]
        }


@given(bursts)
def test_every_change_arrives_and_those_that_arrive_twice_say_the_same(made: Burst) -> None:
    messages = {arrival.message["event_id"]: arrival.message for arrival in made.arrivals}
    assert len(messages) == made.changes <= len(made.arrivals)
    assert all(messages[arrival.message["event_id"]] == arrival.message for arrival in made.arrivals)


@given(bursts)
def test_every_message_may_be_sent_and_none_happened_at_the_same_time(made: Burst) -> None:
    changes = {
        arrival.message["event_id"]: from_message(arrival.message).change for arrival in made.arrivals
    }.values()
    assert all(not list(check(change)) for change in changes)
    assert max(Counter(change.occurred_at for change in changes).values()) == 1


@given(st.integers(0, 1000))
def test_the_same_seed_gives_the_same_burst_and_another_one_another(seed: int) -> None:
    one, same, other = (
        burst(50, seed=each, accounts=ACCOUNTS, start=START) for each in (seed, seed, seed + 1)
    )
    assert one == same
    assert one.arrivals != other.arrivals


def test_a_burst_of_the_demo_s_size_holds_everything_it_promises() -> None:
    made = burst(5000, seed=1, accounts=ACCOUNTS, start=START)
    times = [read_instant(arrival.message["occurred_at"]) for arrival in made.arrivals]
    assert made.late > 100
    assert made.contradictions > 500
    assert len(made.arrivals) > 5100
    assert times != sorted(times)
    assert all(min(ids) >= MISSING and len(ids) >= 3 for ids in made.missing.values())
    assert {arrival.route for arrival in made.arrivals} == {"batch", "single", "celery"}
    assert any(info for info in made.asked["nord"].values())
