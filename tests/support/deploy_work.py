"""Work for a running stack, and a look at what came of it: links that each may be made only once."""

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise

from ops.dev.stack import QUICK, Shape, Stack
from tests.support.clusters import until
from worker.contract import Change, from_message
from worker.errors import StoreUnavailable
from worker.ports import Receipt
from worker.wiring import Runtime

BUYER = "estate:address:buyer"
PATIENCE = 60.0
LIMITS = {**QUICK, "window": 0.1, "max_ids": 5, "max_actions": 5, "doubt": 125.0}  # many small requests


def message(account: str, number: int) -> dict[str, object]:
    """Estate `number` gets its buyer."""
    return {
        "account": account, "action": "create", "relationtype": BUYER, "parentid": 1000 + number, "childid": 1, "event_id": f"e{number}",
    }  # fmt: skip


def links(account: str, numbers: Iterable[int]) -> list[Change]:
    return [from_message(message(account, number)).change for number in numbers]


def accept(runtime: Runtime, changes: Sequence[Change]) -> list[Receipt]:
    """All of them accepted."""
    parts = runtime.intake().accept_by_account(changes)
    assert [part.error for part in parts if part.error] == []
    return [receipt for part in parts for receipt in part.receipts]


def held(stack: Stack, account: str) -> set[int]:
    """The numbers of the links that the CRM holds."""
    state = stack.simulate("state", token=stack.credentials[account].token)
    return {edge["parentid"] - 1000 for edge in state["relations"]}


def done(stack: Stack, runtime: Runtime, account: str, numbers: Iterable[int]) -> None:
    """Return once the CRM holds exactly these links and nothing is open."""
    wanted = set(numbers)

    def whole() -> bool:
        return held(stack, account) == wanted and not opened(runtime, account)

    until(whole, f"{account} is not done", seconds=PATIENCE)


def opened(runtime: Runtime, account: str) -> int:
    """What still waits; 1 while the store does not say."""
    try:
        counts = runtime.store.counts(account)
    except StoreUnavailable:
        return 1
    return counts.get("backlog", 0) + counts.get("open", 0)


def succeeded(runtime: Runtime, receipts: Sequence[Receipt]) -> bool:
    jobs = [runtime.store.get_job(receipt.job) for receipt in receipts]
    return bool(jobs) and all(
        job is not None and job.state == "succeeded" and sum(job.counts.values()) == job.total == 1
        for job in jobs
    )


def repeated(stack: Stack) -> dict[tuple[str, int], int]:
    """The links that were asked for more than once, with how often."""
    asked = Counter(
        (entry["token"], parent)
        for entry in log(stack)
        for act in entry["acts"]
        if act["kind"] == "create"
        for parent in act["parents"]
    )
    return {link: times for link, times in asked.items() if times > 1}


def closest(stack: Stack) -> float:
    """The shortest time between two requests of one account, in seconds."""
    times: dict[str, list[float]] = {}
    for entry in log(stack):
        times.setdefault(entry["token"], []).append(entry["at"])
    return min(later - earlier for each in times.values() for earlier, later in pairwise(each))


def log(stack: Stack) -> list[dict[str, object]]:
    return stack.simulate("log", limit="10000")


def shape(*accounts: str, **rest: object) -> Shape:
    """A stack of small requests."""
    return Shape(accounts=accounts, defaults=LIMITS, **rest)
