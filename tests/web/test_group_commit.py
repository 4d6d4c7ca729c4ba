"""Group commit: sharing a write changes no answer, and saves writes."""

import asyncio
import itertools
from collections.abc import Callable, Sequence

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from producers.portals.http.group_commit import QUIET_TURNS, Accept, CommitGroup, Results
from worker.contract import Change
from worker.errors import RelationsError, StoreUnavailable
from worker.ports.store import IntakeBounds, Receipt
from worker.testing import MemoryStore
from worker.usecases.intake import Intake, IntakePolicy

NOW = 1_800_000_000_000_000
Answer = list[tuple[str, bool]] | list[str]


def intake(*, max_backlog: int = 1_000_000) -> Intake:
    """Return an intake over a store in memory, with ids that count up."""
    ids = (f"{number:018d}" for number in itertools.count())
    return Intake(
        store=MemoryStore(lambda: NOW),
        policy_of=lambda name: IntakePolicy(
            account=name, window=1.0, bounds=IntakeBounds(max_backlog, 30 * 86_400.0)
        ),
        new_id=lambda: next(ids),
        wake=lambda *_: None,
        emit=lambda *_, **__: None,
    )


async def inline(write: Callable[[], Results]) -> Results:
    """Run the write after the event loop went round once."""
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


def describe(intake: Intake, answer: list[Receipt] | BaseException) -> Answer:
    """Return the content of the jobs and whether they are duplicates, or the kind and paths of the error."""
    if isinstance(answer, BaseException):
        assert isinstance(answer, RelationsError)
        return [type(answer).__name__, *(fault.location for fault in getattr(answer, "faults", ()))]
    jobs = [intake.store.get_job(receipt.job) for receipt in answer]
    return [
        (f"{job.account} {job.children} {job.accepted_at}" if job else "", item.duplicate)
        for job, item in zip(jobs, answer, strict=True)
    ]


@given(requests, st.integers(1, 6), st.integers(1, 20))
def test_every_request_gets_the_answer_it_would_have_got_alone(
    sent: Sequence[tuple[str, list[Change]]], most: int, backlog: int
) -> None:
    together, alone = intake(max_backlog=backlog), intake(max_backlog=backlog)
    bodies = [
        (account, [msgspec.structs.replace(item, account=account) for item in body]) for account, body in sent
    ]
    answers = asyncio.run(at_once(CommitGroup(together.accept, run=inline, max_changes=most), bodies))
    assert [describe(together, answer) for answer in answers] == [
        describe(alone, accept_alone(alone, body)) for _, body in bodies
    ]
    for account in ("acme", "beta"):
        assert together.store.counts(account) == alone.store.counts(account)


async def at_once(
    group: CommitGroup, bodies: Sequence[tuple[str, list[Change]]]
) -> list[list[Receipt] | BaseException]:
    return await asyncio.gather(
        *(group.accept(account, body) for account, body in bodies), return_exceptions=True
    )


def accept_alone(intake: Intake, body: Sequence[Change]) -> list[Receipt] | RelationsError:
    try:
        return intake.accept(body)
    except RelationsError as error:
        return error


def counted(accept: Accept, sizes: list[int]) -> Accept:
    """Return an accept that notes how many changes each write had."""

    def counting(changes: Sequence[Change]) -> list[Receipt]:
        sizes.append(len(changes))
        return accept(changes)

    return counting


def test_requests_of_one_tick_share_one_write_per_account() -> None:
    sizes: list[int] = []
    bodies = [
        (account, [change(child, account=account)]) for child in range(1, 51) for account in ("acme", "beta")
    ]
    asyncio.run(at_once(CommitGroup(counted(intake().accept, sizes), run=inline), bodies))
    assert sizes == [50, 50]


def test_requests_that_come_during_a_write_share_the_next_one() -> None:
    sizes: list[int] = []

    async def arriving() -> None:
        group = CommitGroup(counted(intake().accept, sizes), run=slow)
        tasks = []
        for child in range(1, 31):
            tasks.append(asyncio.create_task(group.accept("acme", [change(child)])))
            await asyncio.sleep(0)
        await asyncio.gather(*tasks)

    async def slow(write: Callable[[], Results]) -> Results:
        for _ in range(10):
            await asyncio.sleep(0)
        return write()

    asyncio.run(arriving())
    assert sum(sizes) == 30
    assert len(sizes) <= 5


def test_requests_that_come_turn_after_turn_share_the_first_write_and_one_alone_waits_for_few() -> None:
    sizes: list[int] = []

    async def arriving(requests: int) -> None:
        group = CommitGroup(counted(intake().accept, sizes), run=inline, max_changes=20)
        tasks = []
        for child in range(1, requests + 1):
            tasks.append(asyncio.create_task(group.accept("acme", [change(child)])))
            for _ in range(2):  # what reading the next request takes
                await asyncio.sleep(0)
        for _ in range(2 * QUIET_TURNS):
            await asyncio.sleep(0)
        assert all(task.done() for task in tasks)

    for requests in (1, 10, 21):
        asyncio.run(arriving(requests))
    assert sizes == [1, 10, 20, 1]


def test_no_write_grows_beyond_the_bound_unless_one_request_does() -> None:
    sizes: list[int] = []
    bodies = [("acme", [change(1)] * size) for size in (3, 3, 3, 12, 1)]
    asyncio.run(at_once(CommitGroup(counted(intake().accept, sizes), run=inline, max_changes=8), bodies))
    assert sizes == [6, 3, 12, 1]


def test_an_unavailable_store_is_reported_to_all_after_one_try() -> None:
    tries: list[int] = []

    def away(changes: Sequence[Change]) -> list[Receipt]:
        tries.append(len(changes))
        raise StoreUnavailable("gone")

    answers = asyncio.run(at_once(CommitGroup(away, run=inline), [("acme", [change(1)])] * 5))
    assert tries == [5]
    assert [type(answer) for answer in answers] == [StoreUnavailable] * 5


def test_a_bug_in_one_write_is_reported_to_all_in_it_and_the_next_write_goes_on() -> None:
    working, broken = intake(), iter([True])

    def accept(changes: Sequence[Change]) -> list[Receipt]:
        if next(broken, False):
            raise ZeroDivisionError
        return working.accept(changes)

    answers = asyncio.run(
        at_once(
            CommitGroup(accept, run=inline, max_changes=2), [("acme", [change(child)]) for child in (1, 2, 3)]
        )
    )
    assert [type(answer) for answer in answers] == [ZeroDivisionError, ZeroDivisionError, list]


def test_a_client_that_left_does_not_disturb_the_others() -> None:
    async def leaving() -> list[Receipt]:
        group = CommitGroup(intake().accept, run=inline)
        gone = asyncio.create_task(group.accept("acme", [change(1)]))
        stays = asyncio.create_task(group.accept("acme", [change(2)]))
        await asyncio.sleep(0)
        gone.cancel()
        return await stays

    assert len(asyncio.run(leaving())) == 1
