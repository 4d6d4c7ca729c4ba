"""Group commit: sharing a write changes nothing for anybody, and saves writes."""

import asyncio
import itertools
from collections.abc import Callable, Sequence

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from producers.portals.http.group_commit import Accept, Answers, Group
from worker.contract import Change
from worker.errors import RelationsError, StoreUnavailable
from worker.ports import Receipt
from worker.testing import MemoryStore
from worker.usecases.intake import Intake, IntakePolicy

NOW = 1_800_000_000_000_000
Answer = list[tuple[str, bool]] | list[str]


def intake(*, max_backlog: int = 1_000_000) -> Intake:
    """Intake over a store in memory, its names counted."""
    names = (f"{number:018d}" for number in itertools.count())
    return Intake(
        store=MemoryStore(lambda: NOW),
        policy_of=lambda name: IntakePolicy(account=name, window=1.0, max_backlog=max_backlog),
        new_id=lambda: next(names),
        wake=lambda *_: None,
        emit=lambda *_, **__: None,
    )


async def inline(write: Callable[[], Answers]) -> Answers:
    """Beside nothing: as long as the write is under way, the loop goes round once."""
    await asyncio.sleep(0)
    return write()


def change(
    child: int,
    *,
    event_id: str | None = None,
    account: str = "acme",
    ahead: bool = False,
    action: str = "create",
) -> Change:
    occurred = NOW + 10**12 if ahead else None
    return Change(
        account=account,
        action=action,
        type="estate:address:buyer",
        parents=(1,),
        children=(child,),
        event_id=event_id,
        occurred_at=occurred,
    )


changes = st.builds(
    change,
    st.integers(1, 2),
    event_id=st.sampled_from(["a", "b", "c", "d", None]),
    ahead=st.sampled_from([False] * 9 + [True]),
    action=st.sampled_from(["create"] * 9 + ["modify"]),
)
requests = st.lists(st.tuples(st.sampled_from(["acme", "beta"]), st.lists(changes, max_size=4)), max_size=12)


def seen(front: Intake, answer: list[Receipt] | BaseException) -> Answer:
    """An answer without names: which content the jobs have and whether they were there, or what was wrong."""
    if isinstance(answer, BaseException):
        assert isinstance(answer, RelationsError)
        return [type(answer).__name__, *(fault.location for fault in getattr(answer, "faults", ()))]
    jobs = [front.store.get_job(receipt.job) for receipt in answer]
    return [
        (f"{job.account} {job.children} {job.accepted_at}" if job else "", each.duplicate)
        for job, each in zip(jobs, answer, strict=True)
    ]


@given(requests, st.integers(1, 6), st.integers(1, 20))
def test_every_request_gets_the_answer_it_would_have_got_alone(
    asked: Sequence[tuple[str, list[Change]]], most: int, backlog: int
) -> None:
    together, alone = intake(max_backlog=backlog), intake(max_backlog=backlog)
    bodies = [
        (account, [msgspec.structs.replace(each, account=account) for each in body])
        for account, body in asked
    ]
    answers = asyncio.run(at_once(Group(together.accept, run=inline, most=most), bodies))
    assert [seen(together, answer) for answer in answers] == [
        seen(alone, one_alone(alone, body)) for _, body in bodies
    ]
    for account in ("acme", "beta"):
        assert together.store.counts(account) == alone.store.counts(account)


async def at_once(
    group: Group, bodies: Sequence[tuple[str, list[Change]]]
) -> list[list[Receipt] | BaseException]:
    return await asyncio.gather(
        *(group.accept(account, body) for account, body in bodies), return_exceptions=True
    )


def one_alone(front: Intake, body: Sequence[Change]) -> list[Receipt] | RelationsError:
    try:
        return front.accept(body)
    except RelationsError as error:
        return error


def counted(accept: Accept, sizes: list[int]) -> Accept:
    """Intake that notes how many changes each write had."""

    def accepting(changes: Sequence[Change], *, redelivered: bool) -> list[Receipt]:
        sizes.append(len(changes))
        return accept(changes, redelivered=redelivered)

    return accepting


def test_requests_of_one_tick_share_one_write_per_account() -> None:
    sizes: list[int] = []
    bodies = [
        (account, [change(child, account=account)]) for child in range(1, 51) for account in ("acme", "beta")
    ]
    asyncio.run(at_once(Group(counted(intake().accept, sizes), run=inline), bodies))
    assert sizes == [50, 50]


def test_who_comes_during_a_write_goes_into_the_next_one() -> None:
    sizes: list[int] = []

    async def arriving() -> None:
        group = Group(counted(intake().accept, sizes), run=slow)
        tasks = []
        for child in range(1, 31):
            tasks.append(asyncio.create_task(group.accept("acme", [change(child)])))
            await asyncio.sleep(0)
        await asyncio.gather(*tasks)

    async def slow(write: Callable[[], Answers]) -> Answers:
        for _ in range(10):
            await asyncio.sleep(0)
        return write()

    asyncio.run(arriving())
    assert sum(sizes) == 30
    assert len(sizes) <= 5


def test_no_write_grows_beyond_the_bound_unless_one_request_does() -> None:
    sizes: list[int] = []
    bodies = [("acme", [change(1)] * size) for size in (3, 3, 3, 12, 1)]
    asyncio.run(at_once(Group(counted(intake().accept, sizes), run=inline, most=8), bodies))
    assert sizes == [6, 3, 12, 1]


def test_when_the_store_is_away_everyone_hears_it_after_one_try() -> None:
    tries: list[int] = []

    def away(changes: Sequence[Change], *, redelivered: bool) -> list[Receipt]:
        tries.append(len(changes))
        raise StoreUnavailable("gone")

    answers = asyncio.run(at_once(Group(away, run=inline), [("acme", [change(1)])] * 5))
    assert tries == [5]
    assert [type(answer) for answer in answers] == [StoreUnavailable] * 5


def test_a_bug_in_one_write_is_told_to_all_in_it_and_the_next_write_goes_on() -> None:
    front, broken = intake(), iter([True])

    def accept(changes: Sequence[Change], *, redelivered: bool) -> list[Receipt]:
        if next(broken, False):
            raise ZeroDivisionError
        return front.accept(changes, redelivered=redelivered)

    answers = asyncio.run(
        at_once(Group(accept, run=inline, most=2), [("acme", [change(child)]) for child in (1, 2, 3)])
    )
    assert [type(answer) for answer in answers] == [ZeroDivisionError, ZeroDivisionError, list]


def test_who_has_gone_meanwhile_is_no_trouble_to_the_others() -> None:
    async def leaving() -> list[Receipt]:
        group = Group(intake().accept, run=inline)
        gone = asyncio.create_task(group.accept("acme", [change(1)]))
        stays = asyncio.create_task(group.accept("acme", [change(2)]))
        await asyncio.sleep(0)
        gone.cancel()
        return await stays

    assert len(asyncio.run(leaving())) == 1
