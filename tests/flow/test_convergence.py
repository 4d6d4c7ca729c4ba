"""The CRM converges: random changes, any order, every fault, every reading of the documentation, and one outcome each.

A failing case prints its seed; `CONVERGENCE_SEED=n pytest tests/flow/test_convergence.py` repeats it.
"""

import os
import random
from collections.abc import Callable
from dataclasses import asdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ops.simulator import KINDS, FaultPlan, InjectedFault, Switches
from tests.support.flow_world import INFO, World, asked_for, change
from worker.contract import Change
from worker.planner.plan import Limits
from worker.testing import MemoryStore

ACCOUNTS = ("acme", "bart", "carl")
TYPES = ("estate:address:contactPerson", "calendar:address", "estate:estateUnit")
FAULTS = (*KINDS, *(InjectedFault("late", seconds) for seconds in (5.0, 30.0, 90.0, 118.0)))
SEED = int(
    os.environ.get("CONVERGENCE_SEED", "20" if "CI" in os.environ else "0")
) or random.SystemRandom().randrange(1, 1_000_000)


def changes(dice: random.Random, count: int) -> list[Change]:
    """Random changes with distinct `occurred_at`, in an order of arrival that has nothing to do with it."""
    moments = dice.sample(range(1, 100 * count), count)
    return [one(dice, f"event-{at}", moment) for at, moment in enumerate(moments)]


def one(dice: random.Random, event_id: str, moment: int) -> Change:
    name = dice.choice(TYPES)
    action = dice.choice(
        ("create", "delete", "modify") if name == "calendar:address" else ("create", "delete")
    )
    info: tuple[tuple[str, str], ...] = ()
    if name == "calendar:address" and action != "delete":
        key, values = dice.choice(
            (
                (INFO, ("bestätigt", "gesendet", "gecancelt")),
                ("statusTerminrueckmeldung", ("aktiv", "inaktiv")),
            )
        )
        info = ((key, dice.choice(values)),) if action == "modify" or dice.random() < 0.5 else ()
    children = dice.sample(range(900, 904), dice.choice((1, 1, 2, 3)))
    account = dice.choice(ACCOUNTS)
    return change(
        action,
        name,
        dice.randrange(501, 503),
        *children,
        at=-moment / 100,
        account=account,
        info=info,
        event_id=event_id,
    )


def live(world: World, asked: list[Change], dice: random.Random) -> None:
    """Hand the changes in, some twice, with flushes in between, until all is done and late writes have landed."""
    for at, each in enumerate(asked):
        world.accept(each)
        if dice.random() < 0.15:
            world.accept(dice.choice(asked[: at + 1]))
        if dice.random() < 0.3:
            world.flush(dice.choice(ACCOUNTS))
            world.clock.sleep(dice.random() * 8)
    world.drain()
    world.clock.sleep(300)
    world.simulator.land()


def only_what_differs(switches: Switches) -> str:
    shown = (
        f"{name}={value}" for name, value in asdict(switches).items() if value != getattr(Switches(), name)
    )
    return " ".join(shown) or "as documented"


@pytest.mark.parametrize("switches", list(Switches.all()), ids=only_what_differs)
def test_the_end_state_is_the_one_asked_for_and_every_job_has_one_outcome(
    switches: Switches, world: Callable[..., World]
) -> None:
    print(f"repeat with CONVERGENCE_SEED={SEED}")
    dice = random.Random(f"{SEED} {switches}")
    asked = changes(dice, 60)
    faults = FaultPlan.random(SEED, 0.1 + 0.2 * dice.random(), FAULTS)
    here = world(
        accounts=ACCOUNTS,
        switches=switches,
        faults=faults,
        seed=SEED,
        lane={"limits": Limits(max_ids=4, max_actions=4)},
    )
    live(here, asked, dice)
    jobs = {job.event_id: job for job in map(here.store.get_job, {receipt.job for receipt in here.receipts})}
    assert jobs.keys() == {each.event_id for each in asked}
    for job in jobs.values():
        assert job.state in ("succeeded", "superseded", "failed")
        assert sum(job.counts.values()) == job.total
        # A modify may give up before its create arrives; nothing else has a reason to fail.
        assert job.state != "failed" or (job.action, job.refusal[0]) == ("modify", 180)
    for account in ACCOUNTS:
        mine = [(each, relation) for each in asked if each.account == account for relation in each.relations]
        wanted = asked_for(
            (each, relation) for each, relation in mine if relation not in jobs[each.event_id].failed
        )
        seen = here.relations(account)
        assert {
            relation: seen.get(relation)
            for relation in wanted.keys() | seen.keys()
            if not wanted[relation].allows(seen.get(relation))
        } == {}
        counts = here.store.counts(account)
        assert sum(
            counts.get(f"relations_{result}", 0) for result in ("applied", "superseded", "stale", "failed")
        ) == len(mine)


@given(seed=st.integers(0, 2**32), orders=st.lists(st.randoms(use_true_random=False), min_size=2, max_size=3))
@settings(max_examples=25)
def test_any_order_of_arrival_gives_the_same_end_state(seed: int, orders: list[random.Random]) -> None:
    asked = [each for each in changes(random.Random(seed), 25) if each.action != "modify"]
    ends = []
    for order in orders:
        here = World(MemoryStore, accounts=ACCOUNTS, seed=seed)
        arriving = order.sample(asked, len(asked))
        while arriving:
            together, arriving = arriving[:7], arriving[7:]
            here.accept(*together)
            here.flush(order.choice(ACCOUNTS))
        here.drain()
        ends.append(
            {
                account: {relation: dict(info) for relation, info in here.relations(account).items()}
                for account in ACCOUNTS
            }
        )
    presence = [{account: set(relations) for account, relations in end.items()} for end in ends]
    assert all(each == presence[0] for each in presence)
    for account in ACCOUNTS:
        wanted = asked_for(
            (each, relation) for each in asked if each.account == account for relation in each.relations
        )
        assert all(
            want.allows(end[account].get(relation)) for end in ends for relation, want in wanted.items()
        )
