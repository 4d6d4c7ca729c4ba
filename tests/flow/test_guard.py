"""The guard is a law about the CRM: at no instant has a guarded estate no broker, or a unit two buildings.

Whatever shares a batch, arrives when, is refused, lost, replayed or erased; `violations` is the simulator's
own record of every write.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ops.simulator import OF_RELATIONS, FaultPlan, InjectedFault, Records, Switches
from ops.simulator.faults import Kind
from tests.support.broken_stores import inspector_of
from tests.support.flow_world import World, change, states
from worker.contract import Change, Relation
from worker.planner.actions import Reply
from worker.planner.plan import Limits
from worker.planner.retry_policy import RetryPolicy
from worker.ports.work import Lease
from worker.testing import MemoryStore
from worker.usecases.flush import flush
from worker.usecases.replay import requeue

Make = Callable[..., World]
BROKER, UNIT, BUYER = "estate:address:contactPerson", "estate:estateUnit", "estate:address:buyer"
FAULTS = ("server_error_after", "throttle", "odd_reads", "missing_result", "half_star", "empty")
ONLY_42 = Records(brokers=frozenset({42}))
ESTATES = range(501, 621)


def brokers(world: World, estate: int = 501) -> set[int]:
    return {each.child for each in world.relations() if each.type == BROKER and each.parent == estate}


def errors(world: World) -> list[str]:
    return [job.refusal[1] if job.refusal else "" for job in world.jobs()]


def swap(estate: int = 501) -> list[Change]:
    return [change("create", BROKER, estate, 43, at=-2), change("delete", BROKER, estate, 42, at=-1)]


@pytest.mark.parametrize("max_batch", [1, 2, 1000])
@pytest.mark.parametrize("reverse", [False, True])
def test_a_refused_successor_leaves_the_broker_wherever_a_batch_ends(
    make_world: Make, max_batch: int, reverse: bool
) -> None:
    estates = ESTATES if max_batch == 1000 else ESTATES[:8]  # a flush for each change takes its time
    world = make_world(records=ONLY_42, policy={"max_batch": max_batch})
    world.simulator.seed("token-acme", [Relation(BROKER, estate, 42) for estate in estates])
    creates, deletes = zip(*map(swap, estates), strict=True)
    world.accept(*((*deletes, *creates) if reverse else (*creates, *deletes)))
    world.drain(turns=20_000)
    assert world.simulator.violations("token-acme") == ()
    assert all(brokers(world, estate) == {42} for estate in estates)
    assert sorted(errors(world)) == ["last_one"] * len(estates) + ["rights"] * len(estates)


@pytest.mark.parametrize("seconds", [0.0, 3.0, 8.0])
def test_a_delete_that_comes_while_the_create_is_tried_or_just_failed_is_held(
    make_world: Make, seconds: float
) -> None:
    world = make_world(records=ONLY_42, faults=FaultPlan.script([None, "lost_before", "lost_before"]))
    world.simulator.seed("token-acme", [Relation(BROKER, 501, 42)])
    create, delete = swap()
    world.accept(create)
    world.flush()
    world.clock.advance(seconds)
    world.accept(delete)
    world.flush()
    world.clock.advance(1.0)
    world.flush()
    assert states(world)[1] in ("sending", "held", "verifying")  # the create may be tried in the same round
    world.drain()
    assert (brokers(world), errors(world)) == ({42}, ["rights", "last_one"])


def test_only_the_deletes_are_replayed_and_then_everything_while_the_successor_is_still_refused(
    make_world: Make,
) -> None:
    estates = ESTATES[:24]
    world = make_world(records=ONLY_42, policy={"max_batch": 10})
    world.simulator.seed("token-acme", [Relation(BROKER, estate, 42) for estate in estates])
    world.accept(*(each for estate in estates for each in swap(estate)))
    world.drain(turns=20_000)
    jobs = [receipt.job for receipt in world.receipts]
    requeue(world.intake, "acme", jobs[1::2])
    world.drain(turns=20_000)
    requeue(world.intake, "acme", jobs)
    world.drain(turns=20_000)
    assert world.simulator.violations("token-acme") == ()
    assert all(brokers(world, estate) == {42} for estate in estates)


@pytest.mark.parametrize("max_actions", [1, 2, 50])
@pytest.mark.parametrize(
    "missing", [Records(brokers=frozenset({42, 43})), Records(missing=frozenset({("address", 44)}))]
)
def test_one_of_several_successors_is_enough_whatever_the_others_are_refused_for(
    make_world: Make, max_actions: int, missing: Records
) -> None:
    world = make_world(records=missing, policy={"limits": Limits(max_ids=100, max_actions=max_actions)})
    world.simulator.seed("token-acme", [Relation(BROKER, 501, 42)])
    world.accept(
        change("create", BROKER, 501, 43),
        change("create", BROKER, 501, 44),
        change("delete", BROKER, 501, 42),
    )
    world.drain()
    assert (brokers(world), states(world)) == ({43}, ["succeeded", "failed", "succeeded"])
    assert world.simulator.violations("token-acme") == ()


def test_a_held_delete_goes_at_once_when_a_successor_is_linked(make_world: Make) -> None:
    world = make_world(records=Records(brokers=frozenset({42, 45})))
    world.simulator.seed("token-acme", [Relation(BROKER, 501, 42)])
    world.accept(*swap())
    world.flush()
    world.clock.advance(100.0)
    world.flush()
    assert states(world) == ["failed", "held"]
    world.accept(change("create", BROKER, 501, 45))
    world.flush()
    assert (brokers(world), states(world)) == ({45}, ["failed", "succeeded", "succeeded"])


def test_a_broker_whom_a_person_links_in_the_crm_lets_the_held_one_go(make_world: Make) -> None:
    world = make_world()
    world.simulator.seed("token-acme", [Relation(BROKER, 501, 42)])
    world.accept(change("delete", BROKER, 501, 42))
    world.flush()
    assert states(world) == ["held"]
    world.simulator.seed("token-acme", [Relation(BROKER, 501, 46)])
    world.drain()
    assert (brokers(world), states(world)) == ({46}, ["succeeded"])


def test_a_held_delete_does_not_fail_while_a_successor_is_still_tried(make_world: Make) -> None:
    world = make_world(faults=FaultPlan.script(["lost_before", "lost_before"]), policy={"hold_for": 0.0})
    world.simulator.seed("token-acme", [Relation(BROKER, 501, 42)])
    world.accept(*swap())
    world.drain()
    assert (brokers(world), states(world)) == ({43}, ["succeeded", "succeeded"])


def test_of_several_last_brokers_one_stays(make_world: Make) -> None:
    world = make_world()
    world.simulator.seed("token-acme", [Relation(BROKER, 501, child) for child in (41, 42, 43)])
    world.accept(*(change("delete", BROKER, 501, child, at=-child) for child in (41, 42, 43)))
    world.drain()
    assert world.simulator.violations("token-acme") == ()
    assert sorted(errors(world)) == ["", "", "last_one"]


def test_a_broker_whose_own_delete_may_still_land_does_not_count(make_world: Make) -> None:
    world = make_world(faults=FaultPlan.script([None, "late"]))
    world.simulator.seed("token-acme", [Relation(BROKER, 501, child) for child in (42, 43)])
    world.accept(change("delete", BROKER, 501, 43))
    world.flush()  # the delete of 43 got no answer, and lands in a while
    world.accept(change("delete", BROKER, 501, 42))
    world.drain()
    assert world.simulator.violations("token-acme") == ()
    assert (brokers(world), errors(world)) == ({42}, ["", "last_one"])


def test_whoever_means_it_may_leave_an_estate_without_a_broker(make_world: Make) -> None:
    world = make_world()
    world.simulator.seed("token-acme", [Relation(BROKER, 501, 42)])
    world.accept(change("delete", BROKER, 501, 42, allow_empty=True))
    world.flush()
    assert (brokers(world), states(world), world.sent()) == (set(), ["succeeded"], ["delete"])


def test_a_delete_of_what_is_not_there_is_done_even_if_nobody_is_left(make_world: Make) -> None:
    world = make_world()
    world.accept(change("delete", BROKER, 501, 42))
    world.flush()
    assert (states(world), world.sent()) == (["succeeded"], ["get"])


@pytest.mark.parametrize("empty_ids", ["list", "absent", "no_records"])
def test_however_the_api_shows_an_estate_without_brokers(make_world: Make, empty_ids: str) -> None:
    world = make_world(switches=Switches(empty_ids=empty_ids))
    world.accept(change("delete", BROKER, 501, 42))
    world.drain()
    assert states(world) == ["succeeded"]


def test_the_guard_costs_one_read_for_many_estates(make_world: Make) -> None:
    world = make_world()
    estates = range(501, 581)
    world.simulator.seed(
        "token-acme", [Relation(BROKER, each, child) for each in estates for child in (42, 43)]
    )
    world.accept(*(change("delete", BROKER, estate, 42) for estate in estates))
    world.flush()
    assert world.sent() == ["get"] + ["delete"] * 80


# --- units


def test_a_unit_enters_a_building_only_when_it_has_left_the_other(make_world: Make) -> None:
    world = make_world()
    world.simulator.seed("token-acme", [Relation(UNIT, 1, 70)])
    world.accept(change("create", UNIT, 2, 70))
    world.flush()
    assert states(world) == ["held"]
    world.accept(change("delete", UNIT, 1, 70))
    world.flush()
    assert (list(world.relations()), states(world)) == ([Relation(UNIT, 2, 70)], ["succeeded", "succeeded"])


def test_a_unit_that_stays_where_it_is_is_not_given_a_second_building(make_world: Make) -> None:
    world = make_world()
    world.simulator.seed("token-acme", [Relation(UNIT, 1, 70)])
    world.accept(change("create", UNIT, 2, 70, 71))
    world.drain()
    assert errors(world) == ["dependency"]
    assert set(world.relations()) == {Relation(UNIT, 1, 70), Relation(UNIT, 2, 71)}


def test_a_building_whose_create_may_still_land_counts(make_world: Make) -> None:
    world = make_world(faults=FaultPlan.script([None, "late"]))
    world.accept(change("create", UNIT, 1, 70))
    world.flush()
    world.accept(change("create", UNIT, 2, 70))
    world.drain()
    assert world.simulator.violations("token-acme") == ()
    assert list(world.relations()) == [Relation(UNIT, 1, 70)]


@pytest.mark.parametrize("is_closed", [False, True])
def test_a_create_may_still_land_that_was_sent_before_the_guard_was_switched_on(
    make_world: Make, is_closed: bool
) -> None:
    retry = RetryPolicy(give_up_after=-1.0) if is_closed else RetryPolicy()
    world = make_world(faults=FaultPlan.script(["late"]), policy={"guarded": lambda _: "", "retry": retry})
    world.accept(change("create", UNIT, 1, 70))
    world.flush()
    assert states(world) == (["failed"] if is_closed else ["verifying"])
    world.policy = {}
    world.accept(change("create", UNIT, 2, 70))
    world.drain()
    assert world.simulator.violations("token-acme") == ()
    assert list(world.relations()) == [Relation(UNIT, 1, 70)]


@pytest.mark.parametrize("is_closed", [False, True])
@pytest.mark.parametrize(
    ("name", "before"), [(BROKER, "parent"), (BROKER, ""), (BUYER, "")], ids=["turned", "off", "never"]
)
def test_a_create_may_still_land_that_was_sent_before_another_side_was_guarded(
    make_world: Make, is_closed: bool, name: str, before: str
) -> None:
    retry = RetryPolicy(give_up_after=-1.0) if is_closed else RetryPolicy()
    world = make_world(
        faults=FaultPlan.script(["late"]), policy={"guarded": lambda _: before, "retry": retry}
    )
    world.accept(change("create", name, 1, 70))
    world.flush()
    assert states(world) == (["failed"] if is_closed else ["verifying"])
    world.policy = {"guarded": lambda _: "child", "order": lambda _: "delete_first"}
    world.accept(change("create", name, 2, 70))
    world.drain()
    assert list(world.relations()) == [Relation(name, 1, 70)]
    assert errors(world) == ["unknown" if is_closed else "", "dependency"]
    assert inspector_of(world.store).inspect("acme").flaws == ()


def test_a_create_that_is_lost_once_more_may_still_land_where_another_side_is_guarded_by_then(
    make_world: Make,
) -> None:
    off = {"guarded": lambda _: "", "retry": RetryPolicy(give_up_after=-1.0)}
    world = make_world(faults=FaultPlan.script(["lost_before", "late"]), policy=off)
    for _ in range(2):
        world.clock.advance(3600.0)
        world.store.tidy("acme")
        world.accept(change("create", BUYER, 1, 70))
        world.flush()
    assert states(world) == ["failed", "failed"]
    world.policy = {"guarded": lambda _: "child", "order": lambda _: "delete_first"}
    world.accept(change("create", BUYER, 2, 70))
    world.drain()
    assert list(world.relations()) == [Relation(BUYER, 1, 70)]


@pytest.mark.parametrize("name", [BROKER, BUYER])
@pytest.mark.parametrize("replaces", ["", "child"])
def test_a_child_that_settings_give_one_parent_keeps_it_however_another_is_asked_for(
    make_world: Make, name: str, replaces: str
) -> None:
    world = make_world(policy={"guarded": lambda _: "child", "order": lambda _: "delete_first"})
    world.simulator.seed("token-acme", [Relation(name, 1, 70)])
    asked = change("replace" if replaces else "create", name, 2, 70, event_id="asked")
    world.accept(msgspec.structs.replace(asked, replaces=replaces))
    world.drain()
    requeue(world.intake, "acme", [world.job().id])
    world.drain()
    assert (errors(world), list(world.relations())) == (["dependency"], [Relation(name, 1, 70)])
    world.accept(change("delete", name, 1, 70))
    requeue(world.intake, "acme", [world.job().id])
    world.drain()
    assert list(world.relations()) == [Relation(name, 2, 70)]
    assert states(world) == ["succeeded", "succeeded"]


def test_a_building_that_settings_leave_no_last_unit_of_keeps_it(make_world: Make) -> None:
    world = make_world(policy={"guarded": lambda _: "parent", "order": lambda _: "create_first"})
    world.simulator.seed("token-acme", [Relation(UNIT, 1, 70)])
    world.accept(change("delete", UNIT, 1, 70))
    world.accept(msgspec.structs.replace(change("replace", UNIT, 2, 70), replaces="parent"))
    world.drain()
    assert errors(world) == ["last_one", "last_one"]
    assert set(world.relations()) == {Relation(UNIT, 1, 70), Relation(UNIT, 2, 70)}


@pytest.mark.parametrize("name", [BROKER, UNIT])
def test_a_guard_that_is_switched_off_leaves_nothing_behind(make_world: Make, name: str) -> None:
    world = make_world()
    world.simulator.seed("token-acme", [Relation(name, 1, 70)])
    world.accept(change("delete", name, 1, 70) if name == BROKER else change("create", name, 2, 70))
    world.flush()
    assert states(world) == ["held"]
    world.policy = {"guarded": lambda _: ""}
    world.drain()
    assert states(world) == ["succeeded"]
    assert inspector_of(world.store).inspect("acme").flaws == ()


@pytest.mark.parametrize("name", [BROKER, UNIT])
@pytest.mark.parametrize("odd", [1, 100])
def test_an_answer_that_cannot_be_read_shows_no_record_alone(make_world: Make, name: str, odd: int) -> None:
    retry = RetryPolicy(give_up_after=3600.0)
    world = make_world(faults=FaultPlan.script(["odd_reads"] * odd), policy={"retry": retry})
    world.simulator.seed("token-acme", [Relation(name, 501, 42)])
    world.accept(change("delete", BROKER, 501, 42) if name == BROKER else change("create", UNIT, 502, 42))
    world.flush()
    assert (states(world), world.sent()) == (["held"], ["get"])
    world.drain()
    assert world.simulator.violations("token-acme") == ()
    assert list(world.relations()) == [Relation(name, 501, 42)]
    refused_for = "unknown" if odd > 1 else "last_one" if name == BROKER else "dependency"
    assert errors(world) == [refused_for]


# --- what a flush has read, and the next would have to read again


@pytest.mark.parametrize("rate", [0.2, 1.0, 3.9])
@pytest.mark.parametrize("others", [0, 20])
def test_what_the_guard_allows_is_sent_however_slow_the_pace_is(
    make_world: Make, rate: float, others: int
) -> None:
    """Each flush had the slot of the read, gave its worker back, and the next read the same for ever."""
    world = make_world(policy={"rate": rate, "burst": 1, "limits": Limits(max_ids=10, max_actions=1)})
    world.simulator.seed("token-acme", [Relation(BROKER, 501, child) for child in (42, 43)])
    world.accept(*(change("create", BUYER, 600 + number, 700 + number) for number in range(others)))
    world.accept(change("delete", BROKER, 501, 42), change("create", UNIT, 501, 801))
    world.drain(turns=100)
    assert (brokers(world), set(states(world))) == ({43}, {"succeeded"})
    assert len(world.sent()) <= others + 6


@pytest.mark.parametrize("fault", [InjectedFault("throttle", 0.0), InjectedFault("server_error")])
def test_an_account_that_has_to_rest_sends_nothing_more_of_what_the_guard_allows(
    make_world: Make, fault: InjectedFault
) -> None:
    """What had no slot was cut short first, and the refusal came while another request was on its way."""
    world = make_world(
        faults=FaultPlan.script([None, fault]),
        policy={"rate": 1.0, "burst": 2, "in_flight": 2, "limits": Limits(max_ids=10, max_actions=1)},
    )
    for estate in ESTATES[:3]:
        world.simulator.seed("token-acme", [Relation(BROKER, estate, child) for child in (estate - 400, 42)])
    world.accept(*(change("delete", BROKER, estate, estate - 400) for estate in ESTATES[:3]))
    world.flush()
    assert (len(world.simulator.log), world.clock.monotonic()) == (2, 0.0)
    world.drain()
    assert all(brokers(world, estate) == {42} for estate in ESTATES[:3])


@pytest.mark.parametrize("fault", ["gateway_before", "lost_after", "throttle"])
def test_a_unit_leaves_its_building_however_slow_the_pace_is(make_world: Make, fault: Kind) -> None:
    """After a failure what is new goes first: each flush read the unit, and ended before what makes way."""
    world = make_world(policy={"rate": 1.0, "burst": 1}, faults=FaultPlan.script([fault]))
    world.simulator.seed("token-acme", [Relation(UNIT, 501, 801)])
    world.accept(change("delete", UNIT, 501, 801))
    world.flush()
    world.accept(change("create", UNIT, 502, 801))
    world.drain(turns=40)
    assert (list(world.relations()), states(world)) == ([Relation(UNIT, 502, 801)], ["succeeded"] * 2)
    assert len(world.sent()) <= 6


def test_what_the_guard_allows_is_sent_when_the_reads_took_all_of_the_flushs_time(make_world: Make) -> None:
    world = make_world(
        faults=FaultPlan.script([InjectedFault("latency", 9.0)] * 100),
        policy={"limits": Limits(max_ids=1, max_actions=1)},
    )
    world.simulator.seed(
        "token-acme", [Relation(BROKER, estate, child) for estate in ESTATES[:3] for child in (42, 43)]
    )
    world.accept(*(change("delete", BROKER, estate, 42) for estate in ESTATES[:3]))
    held: list[Lease] = []

    class Renewing:
        def send(self, *asked: Any, **options: Any) -> Reply:
            held[-1].renew()
            return world.apis["acme"].send(*asked, **options)

    @contextmanager
    def keep_lease(lease: Lease) -> Iterator[None]:
        held.append(lease)
        yield

    while world.open_accounts():
        flush(world.policy_of("acme"), world.flush_deps("acme", api=Renewing(), keep_lease=keep_lease))
        assert len(held) <= len(world.jobs()), "a flush has done nothing but to read"
    assert world.sent() == [*["get"] * 3, "delete", *["get"] * 2, "delete", "delete"]


# --- any story


@st.composite
def stories(draw: st.DrawFn) -> Sequence[tuple[str, tuple[int, ...]]]:
    """Return steps: changes, flushes, replays of all that failed, minutes that pass, hands in the CRM."""
    step = st.tuples(
        st.sampled_from(("create", "delete", "delete", "flush", "flush", "replay", "wait", "link")),
        st.tuples(st.integers(501, 502), st.integers(41, 44)),
    )
    return draw(st.lists(step, min_size=1, max_size=14))


@given(
    story=stories(),
    name=st.sampled_from((BROKER, UNIT)),
    batch=st.sampled_from((1, 2, 1000)),
    actions=st.sampled_from((1, 50)),
    faults=st.lists(
        st.sampled_from((None, None, "late", "lost_after", "lost_before", *FAULTS)),
        max_size=8,
    ),
    switches=st.sampled_from(list(Switches.all(OF_RELATIONS))),
)
@settings(suppress_health_check=[HealthCheck.too_slow])
def test_at_no_instant_is_the_guard_broken(
    story: Sequence[tuple[str, tuple[int, int]]],
    name: str,
    batch: int,
    actions: int,
    faults: list[str | None],
    switches: Switches,
) -> None:
    world = World(
        MemoryStore,
        faults=FaultPlan.script(faults),
        switches=switches,
        records=Records(missing=frozenset({("address", 44), ("estate", 44)})),
        policy={"max_batch": batch, "limits": Limits(max_ids=4, max_actions=actions), "in_flight": 3},
    )
    for kind, (parent, child) in story:
        match kind:
            case "create" | "delete":
                world.accept(change(kind, name, parent, child))
            case "replay":
                requeue(world.intake, "acme", world.store.failed_jobs("acme", limit=100))
            case "wait":
                world.clock.advance(700.0)
            case "link":
                world.simulator.seed("token-acme", [Relation(name, parent, child)])
            case _:
                world.flush()
    world.drain()
    assert world.simulator.violations("token-acme") == ()
