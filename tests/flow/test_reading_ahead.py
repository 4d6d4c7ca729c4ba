"""A flush takes its next batch while requests are on their way, where that changes nothing but the time."""

from collections import Counter
from collections.abc import Sequence
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.simulator import FaultPlan
from ops.simulator.faults import InjectedFault
from tests.support.crashes import crash_everywhere
from tests.support.flow_world import World, change, expected_states
from tests.support.inline_sender import InlineSender
from tests.support.watched_sender import flush_noted, kinds
from worker.contract import Change, Relation
from worker.planner.actions import Action, Reply, Search
from worker.planner.plan import Limits
from worker.ports.records import AuditEntry
from worker.ports.requests import Api
from worker.store.job_admin import RedisJobAdmin
from worker.testing import MemoryStore
from worker.usecases.flush import flush
from worker.usecases.in_flight import READ_AHEAD_FOR

BUYER, INTERESTED = "estate:address:buyer", "estate:address:interested"
BROKER, UNIT = "estate:address:contactPerson", "estate:estateUnit"


def world_of(
    *changes: Change,
    batch: int = 2,
    in_flight: int = 2,
    faults: FaultPlan | None = None,
    **policy: object,
) -> World:
    """Return a world in which these changes wait."""
    world = World(
        MemoryStore,
        faults=faults,
        policy={"max_batch": batch, "in_flight": in_flight, "limits": Limits(100, 50), **policy},
    )
    world.accept(*changes)
    return world


def buyers(count: int) -> list[Change]:
    return [change("create", BUYER, 500 + number, 900 + number) for number in range(count)]


def test_where_whole_batches_wait_the_next_one_travels_before_the_answer_to_this_one_is_there() -> None:
    world = world_of(*buyers(6))
    # The third batch is read while two requests are on their way, and goes when one of them is answered.
    assert kinds(flush_noted(world)) == "ss" + "asw" + "aw" * 2
    assert [job.state for job in world.jobs()] == ["succeeded"] * 6
    [(_, done)] = [(event, fields) for event, fields in world.events if event == "flush.done"]
    assert (done["jobs"], done["relations"], done["requests"]) == (6, 6, 3)


def test_what_is_less_than_a_batch_waits_for_the_next_flush_where_more_may_join_it() -> None:
    world = world_of(*buyers(5), batch=3)
    assert kinds(flush_noted(world)) == "saw"
    assert [job.state for job in world.jobs()] == ["succeeded"] * 3 + ["queued"] * 2


@pytest.mark.parametrize("behind", [0.0, 0.02])  # as a worker's copy of the server's clock is
def test_what_has_not_waited_for_its_window_waits_for_the_next_flush(behind: float) -> None:
    world = world_of(*buyers(2), window=5.0)
    world.clock.advance(5.0)
    world.accept(*buyers(6)[2:])
    world.clock.advance(-behind)
    assert kinds(flush_noted(world)) == "saw"
    world.clock.advance(5.0 + behind)
    assert kinds(flush_noted(world)) == "ss" + "aw" * 2


def test_a_batch_that_names_what_is_on_its_way_is_worked_after_the_answer() -> None:
    world = world_of(
        *(change("create", BUYER, 501, child) for child in (901, 902)),
        change("delete", BUYER, 501, 901),
        change("create", BUYER, 501, 903),
        batch=2,
        in_flight=4,
    )
    notes = flush_noted(world)
    assert kinds(notes).startswith("saws")
    assert world.linked() == {(501, 902), (501, 903)}


def test_batches_that_name_the_same_relation_are_worked_one_after_the_other_by_one_flush() -> None:
    toggles = [change(("create", "delete")[number % 2], BUYER, 501, 901) for number in range(7)]
    world = world_of(*toggles, batch=1, in_flight=4)
    assert kinds(flush_noted(world)) == "saw" * 7
    assert world.linked() == {(501, 901)}


@pytest.mark.parametrize("relation_type", [BROKER, UNIT])
def test_a_batch_of_a_type_whose_relations_depend_on_each_other_waits_too(relation_type: str) -> None:
    world = world_of(
        *(change("create", relation_type, 500 + number, 900 + number) for number in range(4)), in_flight=4
    )
    sent = [what for note, what in flush_noted(world) if note == "sent"]
    assert len(sent) >= 2
    named = [{child for _, children in actions for child in children} for actions in sent]
    assert all(not ({900, 901} & one and {902, 903} & one) for one in named)
    world.drain()
    assert len(world.relations()) == 4


def test_a_flush_reads_ahead_for_a_while_only_so_that_other_accounts_have_their_turn() -> None:
    slow = [InjectedFault("latency", seconds=0.75)] * 10
    world = world_of(*buyers(20), faults=FaultPlan.script(slow))
    before = world.clock.now()
    assert world.flush().next_in == 0.0
    assert READ_AHEAD_FOR <= (world.clock.now() - before) / 1e6 <= READ_AHEAD_FOR + 2.0
    world.drain()
    assert len(world.relations()) == 20


def test_a_change_that_a_person_cancels_meanwhile_is_not_sent_and_nothing_else_is_lost() -> None:
    world = world_of(*(change("create", BUYER, 500, child) for child in range(900, 906)))
    acts, asked = RedisJobAdmin(world.store.database), list[str]()

    def order(name: str) -> str:
        """Cancel a change of the second batch between its read and its claim."""
        asked.append(name)
        if len(asked) == 2:  # the first plan asks before it
            acts.cancel("acme", [world.receipts[3].job], AuditEntry("d", "ada", "cancelled"))
        return "free"

    world.policy = {**world.policy, "order": order}
    assert kinds(flush_noted(world)) == "saw"
    world.drain()
    assert world.linked() == {(500, child) for child in (900, 901, 902, 904, 905)}
    assert [job.state for job in world.jobs()] == ["succeeded"] * 3 + ["superseded"] + ["succeeded"] * 2


# --- whatever is asked for


@st.composite
def any_changes(draw: st.DrawFn) -> list[Change]:
    """Draw changes of few relations, in any order of time."""
    times = draw(st.lists(st.integers(1, 99), min_size=2, max_size=14, unique=True))
    return [
        change(
            draw(st.sampled_from(("create", "create", "delete"))),
            draw(st.sampled_from((BUYER, BUYER, BUYER, INTERESTED))),
            draw(st.integers(501, 503)),
            *draw(st.lists(st.integers(901, 904), min_size=1, max_size=2, unique=True)),
            at=-at / 100,
            event_id=f"e{at}",
        )
        for at in times
    ]


class ApartSender(InlineSender):
    """Fails when two requests about one relation are on their way at the same time."""

    def __init__(self, api: Api) -> None:
        super().__init__(api)
        self._on_their_way: dict[str, set[Relation]] = {}

    def start(
        self, actions: Sequence[Action | Search], *, request_id: str, now: float, is_alone: bool = False
    ) -> None:
        relations = {each for action in actions if isinstance(action, Action) for each in action.relations}
        assert all(relations.isdisjoint(others) for others in self._on_their_way.values())
        self._on_their_way[request_id] = relations
        super().start(actions, request_id=request_id, now=now)

    def next(self, timeout: float | None = None) -> tuple[str, Reply] | None:
        answered = super().next(timeout)
        if answered:
            del self._on_their_way[answered[0]]
        return answered


@contextmanager
def open_apart(api: Api, _in_flight: int) -> Any:
    yield ApartSender(api)


@given(any_changes(), st.integers(1, 3), st.integers(1, 4), st.integers(1, 3))
def test_no_two_requests_on_their_way_name_one_relation_and_the_latest_word_counts_in_the_end(
    submitted: list[Change], batch: int, in_flight: int, max_actions: int
) -> None:
    world = world_of(*submitted, batch=batch, in_flight=in_flight, limits=Limits(100, max_actions))
    outcomes, next_in = Counter[str](), 0.0
    while next_in is not None:
        world.clock.advance(next_in)
        done = flush(world.policy_of("acme"), world.flush_deps("acme", open_sender=open_apart))
        outcomes, next_in = outcomes + done.outcomes, done.next_in
    wanted = expected_states((each, relation) for each in submitted for relation in each.relations)
    assert set(world.relations()) == {relation for relation, state in wanted.items() if state.present}
    assert all(sum(job.counts.values()) == job.total for job in world.jobs())
    assert outcomes.total() == sum(job.total for job in world.jobs())


def test_a_crash_at_any_step_of_several_batches_loses_and_repeats_nothing() -> None:
    def run(world: World) -> None:
        world.accept(*(change("create", BUYER, 501, child, event_id=str(child)) for child in range(901, 907)))
        world.accept(change("delete", BUYER, 501, 903, event_id="gone"))
        world.drain()

    for at, world in crash_everywhere(lambda: world_of(in_flight=3, limits=Limits(100, 1)), run):
        assert world.linked() == {(501, child) for child in (901, 902, 904, 905, 906)}, at
        assert all(sum(job.counts.values()) == job.total for job in world.jobs()), at
