"""What came of it, read from outside: the CRM over its own HTTP, the jobs from the status store, and whether both are as they should be."""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from ops.dev.demo.office import World
from ops.dev.stack import Stack
from worker.contract import Relation
from worker.errors import RelationsError
from worker.ports import OPEN_STATES, JobFilter, JobRecord, Queries, Store

POLL: Final = 0.1
PAGE: Final = 500


class Unfinished(RelationsError):
    """Changes that should have had their outcome by now are still open."""


def relations(stack: Stack, account: str) -> World:
    """What the CRM holds now."""
    state = stack.simulate("state", token=stack.credentials[account].token)
    return {
        Relation(edge["relationtype"], edge["parentid"], edge["childid"]): edge["relationinfo"]
        for edge in state["relations"]
    }


def violations(stack: Stack) -> int:
    """How often an estate was left without its broker."""
    return sum(
        len(stack.simulate("state", token=each.token)["violations"]) for each in stack.credentials.values()
    )


def differences(held: Mapping[str, World], asked: Mapping[str, World]) -> list[str]:
    """Every relation that is not as it was asked for, in words."""
    return [
        f"{account}: {relation} is {_said(held[account].get(relation))}, asked for {_said(asked[account].get(relation))}"
        for account in asked
        for relation in sorted(held[account].keys() | asked[account].keys())
        if held[account].get(relation) != asked[account].get(relation)
    ]


def jobs(questions: Queries, account: str) -> Iterator[JobRecord]:
    """Every job of an account, newest first."""
    cursor = ""
    while True:
        page = questions.find_jobs(account, JobFilter(), limit=PAGE, cursor=cursor)
        yield from page.jobs
        if not page.next or not page.jobs:
            return
        cursor = page.next


def outcomes(questions: Queries, accounts: Mapping[str, object]) -> tuple[Counter[str], Counter[str]]:
    """Jobs by state, and relations by outcome; `unequal` counts jobs whose outcomes are not exactly one per relation."""
    states, results = Counter[str](), Counter[str]()
    for job in (job for account in accounts for job in jobs(questions, account)):
        states[job.state] += 1
        results.update(job.counts)
        results["unequal"] += sum(job.counts.values()) != job.total
    return states, results


def totals(store: Store, accounts: Mapping[str, object]) -> Counter[str]:
    """The counters of several accounts as one."""
    return sum((Counter(dict(store.counts(account))) for account in accounts), Counter())


def settle(
    store: Store, stack: Stack, *, accepted: int, seconds: float, echo: Callable[[str], None]
) -> Counter[str]:
    """Wait until so many changes are accepted and nothing is open; the counters then, or Unfinished after so many seconds."""
    deadline = time.monotonic() + seconds
    while True:
        now = totals(store, stack.credentials)
        open_now = now["backlog"] + now["open"]
        if now["accepted"] >= accepted and not open_now:
            return now
        if time.monotonic() > deadline:
            raise Unfinished(
                f"after {seconds:g} s {now['accepted']:,} of {accepted:,} changes are accepted and {open_now:,} still wait"
            )
        echo(
            f"{now['accepted']:,} accepted · {now['backlog']:,} in the inbox · {now['open']:,} open · {now['requests']:,} requests"
        )
        time.sleep(POLL)


def open_jobs(states: Mapping[str, int]) -> int:
    """How many jobs still wait for an outcome."""
    return sum(states.get(state, 0) for state in OPEN_STATES)


def _said(info: Mapping[str, str] | None) -> str:
    return "absent" if info is None else f"present {dict(info) or ''}".strip()
