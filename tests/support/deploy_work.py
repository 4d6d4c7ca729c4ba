"""Work for a running stack, and a look at what came of it: links that may be created only once each."""

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

from ops.dev.stack import QUICK, Shape, Stack
from tests.support.waiting import wait_until
from worker.contract import Change, from_message
from worker.errors import StoreUnavailable
from worker.ports.store import Receipt
from worker.wiring import Runtime

BUYER = "estate:address:buyer"
CHANGE = {
    "account": "nord",
    "action": "create",
    "relationtype": "estate:address:interested",
    "parentid": 501,
    "childid": 9001,
}
# Many small requests, one after the other: so two workers of one account would show.
LIMITS = {**QUICK, "window": 0.1, "max_ids": 5, "max_actions": 5, "doubt": 125.0, "in_flight": 1}


def message(account: str, number: int) -> dict[str, object]:
    """Return the message that gives estate `1000 + number` its buyer."""
    return {
        "account": account,
        "action": "create",
        "relationtype": BUYER,
        "parentid": 1000 + number,
        "childid": 1,
        "event_id": f"e{number}",
    }


def link_changes(account: str, numbers: Iterable[int]) -> list[Change]:
    """Return the changes of these links."""
    return [from_message(message(account, number)).change for number in numbers]


def accept(runtime: Runtime, changes: Sequence[Change]) -> list[Receipt]:
    """Accept all of them."""
    parts = runtime.intake().accept_by_account(changes)
    assert [part.error for part in parts if part.error] == []
    return [receipt for part in parts for receipt in part.receipts]


def crm_links(stack: Stack, account: str) -> set[int]:
    """Return the numbers of the links that the CRM has."""
    state = stack.simulate("state", token=stack.credentials[account].token)
    return {edge["parentid"] - 1000 for edge in state["relations"]}


def wait_until_done(stack: Stack, runtime: Runtime, account: str, numbers: Iterable[int]) -> None:
    """Return once the CRM has exactly these links and nothing is open."""
    wanted = set(numbers)

    def is_done() -> bool:
        return crm_links(stack, account) == wanted and not count_open(runtime, account)

    wait_until(is_done, f"{account} is not done")


def count_open(runtime: Runtime, account: str) -> int:
    """Return how many jobs and relations wait; 1 while the store cannot be asked."""
    try:
        counts = runtime.store.counts(account)
    except StoreUnavailable:
        return 1
    return counts.get("backlog", 0) + counts.get("open", 0)


def all_succeeded(runtime: Runtime, receipts: Sequence[Receipt]) -> bool:
    """Return whether every job succeeded, with one outcome for its one relation."""
    jobs = [runtime.store.get_job(receipt.job) for receipt in receipts]
    return bool(jobs) and all(
        job is not None and job.state == "succeeded" and sum(job.counts.values()) == job.total == 1
        for job in jobs
    )


def repeated_creates(stack: Stack) -> dict[tuple[str, int], int]:
    """Return the links that the API was asked to create more than once, with how often."""
    creates = Counter(
        (entry["account"], parent)
        for entry in request_log(stack)
        for act in entry["acts"]
        if act["kind"] == "create"
        for parent in act["parents"]
    )
    return {link: times for link, times in creates.items() if times > 1}


def shortest_gap(stack: Stack) -> float:
    """Return the shortest time between two requests of one account, in seconds."""
    times: dict[str, list[float]] = {}
    for entry in request_log(stack):
        times.setdefault(entry["account"], []).append(entry["at"])
    return min(later - earlier for instants in times.values() for earlier, later in pairwise(instants))


def request_log(stack: Stack) -> list[dict[str, Any]]:
    """Return the simulator's log of requests."""
    return stack.simulate("log", limit="10000")


def make_shape(*accounts: str, **rest: Any) -> Shape:
    """Return the shape of a stack that sends small requests."""
    return Shape(accounts=accounts, defaults=LIMITS, **rest)
