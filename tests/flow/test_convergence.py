"""The CRM converges.

Random changes, any order, every fault, every reading of the documentation, and one outcome each.

A failing case prints its seed; `CONVERGENCE_SEED=n pytest tests/flow/test_convergence.py` repeats it.
"""

import os
import random
from collections.abc import Callable
from dataclasses import asdict
from itertools import cycle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ops.simulator import KINDS, OF_RELATIONS, FaultPlan, InjectedFault, Switches
from tests.support.flow_world import INFO, World, change, expected_states
from worker.contract import Change
from worker.planner.plan import Limits
from worker.testing import MemoryStore

ACCOUNTS = ("acme", "bart", "carl")
TYPES = ("estate:address:contactPerson", "calendar:address", "estate:estateUnit")
FAULTS = (*KINDS, *(InjectedFault("late", seconds) for seconds in (5.0, 30.0, 90.0, 118.0)))
REASONS_TO_FAIL = (
    ("modify", 180, "absent"),  # it gave up before its create arrived
    ("delete", 0, "last_one"),  # of the last broker
    ("create", 0, "dependency"),  # of a unit that is to have two buildings
)
SEED = int(
    os.environ.get("CONVERGENCE_SEED", "20" if "CI" in os.environ else "0")
) or random.SystemRandom().randrange(1, 1_000_000)


def changes(rng: random.Random, count: int) -> list[Change]:
    """Random changes with distinct `occurred_at`, in an order of arrival that has nothing to do with it."""
    times = rng.sample(range(1, 100 * count), count)
    return [random_change(rng, f"event-{at}", seconds) for at, seconds in enumerate(times)]


def random_change(rng: random.Random, event_id: str, seconds: int) -> Change:
    name = rng.choice(TYPES)
    action = rng.choice(
        ("create", "delete", "modify") if name == "calendar:address" else ("create", "delete")
    )
    info: tuple[tuple[str, str], ...] = ()
    if name == "calendar:address" and action != "delete":
        key, values = rng.choice(
            (
                (INFO, ("bestätigt", "gesendet", "gecancelt")),
                ("statusTerminrueckmeldung", ("aktiv", "inaktiv")),
            )
        )
        info = ((key, rng.choice(values)),) if action == "modify" or rng.random() < 0.5 else ()
    children = rng.sample(range(900, 904), rng.choice((1, 1, 2, 3)))
    account = rng.choice(ACCOUNTS)
    return change(
        action,
        name,
        rng.randrange(501, 503),
        *children,
        at=-seconds / 100,
        account=account,
        info=info,
        event_id=event_id,
    )


def work(world: World, submitted: list[Change], rng: random.Random) -> None:
    """Accept the changes, some twice, with flushes in between, until all is done, late writes included."""
    for at, wanted in enumerate(submitted):
        world.accept(wanted)
        if rng.random() < 0.15:
            world.accept(rng.choice(submitted[: at + 1]))
        if rng.random() < 0.3:
            world.flush(rng.choice(ACCOUNTS))
            world.clock.advance(rng.random() * 8)
    world.drain()
    world.clock.advance(300)
    world.simulator.land()


def only_what_differs(switches: Switches) -> str:
    shown = (
        f"{name}={value}" for name, value in asdict(switches).items() if value != getattr(Switches(), name)
    )
    return " ".join(shown) or "as documented"


# No store knows of readings of the documentation, so each is tried on one of them.
READINGS = [
    pytest.param(store, switches, id=f"{store}-{only_what_differs(switches)}")
    for switches, store in zip(Switches.all(OF_RELATIONS), cycle(("memory", "redis")), strict=False)
]


@pytest.mark.parametrize(("make_world", "switches"), READINGS, indirect=["make_world"])
def test_the_end_state_is_the_expected_one_and_every_job_has_one_outcome(
    switches: Switches, make_world: Callable[..., World]
) -> None:
    print(f"repeat with CONVERGENCE_SEED={SEED}")
    rng = random.Random(f"{SEED} {switches}")
    submitted = changes(rng, 60)
    faults = FaultPlan.random(SEED, 0.1 + 0.2 * rng.random(), FAULTS)
    world = make_world(
        accounts=ACCOUNTS,
        switches=switches,
        faults=faults,
        seed=SEED,
        policy={"limits": Limits(max_ids=4, max_actions=4), "in_flight": rng.choice((1, 3))},
    )
    work(world, submitted, rng)
    jobs = {
        job.event_id: job for job in map(world.store.get_job, {receipt.job for receipt in world.receipts})
    }
    assert jobs.keys() == {wanted.event_id for wanted in submitted}
    for job in jobs.values():
        assert job.state in ("succeeded", "superseded", "failed")
        assert sum(job.counts.values()) == job.total
        assert job.state != "failed" or (job.action, *job.refusal[:2]) in REASONS_TO_FAIL
    for account in ACCOUNTS:
        mine = [(one, relation) for one in submitted if one.account == account for relation in one.relations]
        wanted = expected_states(
            (one, relation) for one, relation in mine if relation not in jobs[one.event_id].failed
        )
        seen = world.relations(account)
        assert {
            relation: seen.get(relation)
            for relation in wanted.keys() | seen.keys()
            if not wanted[relation].allows(seen.get(relation))
        } == {}
        assert world.simulator.violations(f"token-{account}") == ()
        counts = world.store.counts(account)
        assert sum(
            counts.get(f"relations_{result}", 0) for result in ("applied", "superseded", "stale", "failed")
        ) == len(mine)


@given(seed=st.integers(0, 2**32), orders=st.lists(st.randoms(use_true_random=False), min_size=2, max_size=3))
@settings(max_examples=25)
def test_any_order_of_arrival_gives_the_same_end_state(seed: int, orders: list[random.Random]) -> None:
    submitted = [one for one in changes(random.Random(seed), 25) if one.action != "modify"]
    ends = []
    for order in orders:
        # Which of several last brokers stays depends on the order; the fold does not.
        world = World(MemoryStore, accounts=ACCOUNTS, seed=seed, policy={"guarded": lambda _: ""})
        arriving = order.sample(submitted, len(submitted))
        while arriving:
            together, arriving = arriving[:7], arriving[7:]
            world.accept(*together)
            world.flush(order.choice(ACCOUNTS))
        world.drain()
        ends.append(
            {
                account: {relation: dict(info) for relation, info in world.relations(account).items()}
                for account in ACCOUNTS
            }
        )
    presence = [{account: set(relations) for account, relations in end.items()} for end in ends]
    assert all(end == presence[0] for end in presence)
    for account in ACCOUNTS:
        wanted = expected_states(
            (one, relation) for one in submitted if one.account == account for relation in one.relations
        )
        assert all(
            want.allows(end[account].get(relation)) for end in ends for relation, want in wanted.items()
        )
