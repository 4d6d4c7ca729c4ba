"""What a replace confirms: what its read did not show is gone; what it removes is gone once that is done."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import msgspec
from hypothesis import example, given
from hypothesis import strategies as st

from ops.simulator import Records
from tests.support.broken_stores import inspector_of
from tests.support.flow_world import World, change
from tests.support.replaying import replays_of, run_replay
from tests.support.store_steps import queries_of
from worker.contract import Change, Relation
from worker.ports.drift import DriftedRelation, DriftFilter
from worker.testing import MemoryStore
from worker.usecases.drift import DriftReader

BUYER = "estate:address:buyer"
CHILDREN = (10, 11, 12)


def replace(parent: int, *children: int, **more: Any) -> Change:
    """Return a change after which the parent has exactly these children."""
    asked = change("replace", BUYER, parent, *children, **more)
    return msgspec.structs.replace(asked, replaces="child", allow_empty=not children)


def work(world: World, *changes: Change) -> None:
    """Accept changes a second later than what was before, and work them."""
    world.clock.advance(1.0)
    world.accept(*changes)
    world.drain()


def edit(world: World, *, put: Iterable[int] = (), drop: Iterable[int] = ()) -> None:
    """Link and unlink with estate 1 behind our back, as people do."""
    world.simulator.seed(
        "token-acme",
        [(BUYER, 1, child) for child in put],
        drop=tuple((BUYER, 1, child) for child in drop),
    )


def let_nobody_write(world: World, *children: int) -> None:
    """Let the API refuse whatever changes relations of these addresses."""
    refused = frozenset(("address", child) for child in children)
    world.simulator.seed("token-acme", records=Records(no_write=refused))


def read_drift(world: World) -> Iterator[DriftedRelation]:
    reader = DriftReader(
        world.policy_of("acme"), world.flush_deps("acme"), queries_of(world.store), lambda *_: None
    )
    cursor = ""
    while True:
        page = reader.read(DriftFilter(), cursor=cursor)
        assert not page.waits
        yield from page.drifted
        if not (cursor := page.next):
            return


def drifted(world: World) -> dict[int, str]:
    """Return what drifted, by the child."""
    return {each.relation.child: each.state for each in read_drift(world)}


def children_of(world: World) -> set[int]:
    return {relation.child for relation in world.relations()}


def confirmed(world: World, child: int) -> tuple[bool, str]:
    """Return what is confirmed of a relation with estate 1: whether it is there, and by which job."""
    state = world.store.relation_history("acme", Relation(BUYER, 1, child))[0].confirmed
    assert (
        state
        == queries_of(world.store)
        .get_records("acme", [Relation(BUYER, 1, child)])[Relation(BUYER, 1, child)]
        .confirmed
    )
    return state.present > state.absent, state.presence.job


def test_what_a_replace_did_not_find_any_more_is_gone_by_its_word_and_is_repaired_so(
    make_world: Callable[..., World],
) -> None:
    world = make_world()
    work(world, change("create", BUYER, 1, 10))
    edit(world, drop=[10])
    work(world, replace(1, 11))
    assert drifted(world) == {}
    edit(world, put=[10])
    assert drifted(world) == {10: "returned"}
    assert confirmed(world, 10) == (False, world.job(1).id)
    repair = replays_of(world).prepare_repair("acme", [*read_drift(world)], by="ada")
    assert (repair.relations, repair.refused) == (1, {})
    run_replay(world, repair)
    world.drain()
    assert children_of(world) == {11}
    assert drifted(world) == {}


def test_what_a_replace_could_not_remove_stays_as_it_was_confirmed_before(
    make_world: Callable[..., World],
) -> None:
    world = make_world()
    work(world, change("create", BUYER, 1, 10))
    let_nobody_write(world, 10)
    work(world, replace(1, 11))
    assert world.job(1).state == "failed"
    assert confirmed(world, 10) == (True, world.job().id)
    assert drifted(world) == {}
    edit(world, drop=[10])
    assert drifted(world) == {10: "missing"}


def test_a_failed_removal_holds_back_no_older_change_and_can_be_replayed(
    make_world: Callable[..., World],
) -> None:
    world = make_world()
    work(world, change("create", BUYER, 1, 10))
    let_nobody_write(world, 10)
    world.clock.advance(5.0)
    work(world, replace(1, 11))
    let_nobody_write(world)
    at = (world.clock.now() / 1e6) - 1_800_000_000 - 3.0
    work(world, change("create", BUYER, 1, 10, at=at), change("create", BUYER, 1, 12, at=at))
    assert [job.state for job in world.jobs()[2:]] == ["succeeded", "superseded"]
    assert children_of(world) == {10, 11}
    world.store.requeue("acme", [world.job(1).id])
    world.drain()
    assert world.job(1).state == "succeeded"
    assert children_of(world) == {11}
    assert confirmed(world, 10) == (False, world.job(1).id)
    assert drifted(world) == {}
    assert inspector_of(world.store).inspect("acme").flaws == ()


def test_an_older_replace_that_comes_late_tells_what_it_did_not_find_where_a_newer_one_came_to_nothing(
    make_world: Callable[..., World],
) -> None:
    world = make_world()
    work(world, change("create", BUYER, 1, 10))
    between = world.clock.now() + 1
    let_nobody_write(world, 10)
    work(world, replace(1, 11))
    let_nobody_write(world)
    edit(world, drop=[10])
    work(world, msgspec.structs.replace(replace(1, 12), occurred_at=between))
    assert children_of(world) == {11}
    assert confirmed(world, 10) == (False, world.job(2).id)
    edit(world, put=[10])
    assert drifted(world) == {10: "returned"}


@st.composite
def acts(draw: st.DrawFn) -> list[tuple[str, set[int]]]:
    """Draw changes of estate 1, edits, and records that nobody may write from then on."""
    kinds = st.sampled_from(["create", "delete", "replace", "replace", "put", "drop", "refuse"])
    children = st.sets(st.sampled_from(CHILDREN), max_size=2)
    return draw(st.lists(st.tuples(kinds, children), min_size=1, max_size=8))


class Model:
    """Whether each child of estate 1 was confirmed last to be there, and who nobody may write."""

    def __init__(self) -> None:
        self.confirmed: dict[int, bool] = {}
        self.refused: set[int] = set()

    def act(self, kind: str, children: set[int], there: set[int]) -> None:
        """Note what an act confirms where the CRM shows those children before."""
        failed = self._failed(kind, children, there)
        if kind == "refuse":
            self.refused = children
        elif kind in ("create", "delete", "replace"):
            self.confirmed |= dict.fromkeys(children - failed, kind != "delete")
        if kind == "replace" and not failed & children:
            self.confirmed |= dict.fromkeys({*CHILDREN} - children - failed, False)

    def _failed(self, kind: str, children: set[int], there: set[int]) -> set[int]:
        """Return who would have to be written and may not; only what is read before shows what is right."""
        is_read = kind == "replace" or (kind == "create" and len(children) > 1)  # a refused star is split
        return self.refused & (children ^ there if is_read else children)


@given(acts())
@example([("refuse", {10}), ("delete", {10}), ("put", {10})])
@example([("put", {10}), ("refuse", {10}), ("create", {10}), ("drop", {10})])
@example([("put", {10, 11}), ("refuse", {10}), ("create", {10, 11}), ("drop", {10, 11})])
def test_drift_is_the_difference_to_what_was_confirmed_whatever_replaces_left_out_or_could_not_remove(
    wanted: list[tuple[str, set[int]]],
) -> None:
    """A replace confirms that what its read does not show is gone, and of the rest what it has done."""
    world, model = World(MemoryStore), Model()
    for kind, children in wanted:
        model.act(kind, children, children_of(world))
        if kind in ("put", "drop"):
            edit(world, **{kind: children})
        elif kind == "refuse":
            let_nobody_write(world, *children)
        elif kind == "replace" or children:
            work(world, replace(1, *children) if kind == "replace" else change(kind, BUYER, 1, *children))
    named, there = {child for job in world.jobs() for child in job.children}, children_of(world)
    assert drifted(world) == {
        child: "returned" if child in there else "missing"
        for child, is_there in model.confirmed.items()
        if child in named and is_there is not (child in there)
    }
    assert inspector_of(world.store).inspect("acme").flaws == ()
