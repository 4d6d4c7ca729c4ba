"""The result of the demo, read from outside: the CRM's relations, and the jobs of the status store."""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from ops.dev.demo.agency import CrmRelations
from ops.dev.stack import Stack
from worker.contract import Relation
from worker.errors import RelationsError
from worker.ports.queries import Queries, walk_pages
from worker.ports.records import OPEN_STATES, JobFilter, JobRecord
from worker.ports.store import Store

POLL: Final = 0.1
PAGE: Final = 500


class StillOpen(RelationsError):
    """Changes that should have an outcome by now have none."""


def read_relations(stack: Stack, account: str) -> CrmRelations:
    """Return the relations that the CRM holds now."""
    state = stack.simulate("state", token=stack.credentials[account].token)
    return {
        Relation(edge["relationtype"], edge["parentid"], edge["childid"]): edge["relationinfo"]
        for edge in state["relations"]
    }


def count_violations(stack: Stack) -> int:
    """Return how often an estate was left without its broker."""
    return sum(
        len(stack.simulate("state", token=credentials.token)["violations"])
        for credentials in stack.credentials.values()
    )


def describe_differences(
    actual: Mapping[str, CrmRelations], expected: Mapping[str, CrmRelations]
) -> list[str]:
    """Return a sentence for every relation that is not as it was asked for."""
    return [
        f"{account}: {relation} is {_describe(actual[account].get(relation))},"
        f" asked for {_describe(expected[account].get(relation))}"
        for account in expected
        for relation in sorted(actual[account].keys() | expected[account].keys())
        if actual[account].get(relation) != expected[account].get(relation)
    ]


def list_jobs(queries: Queries, account: str) -> Iterator[JobRecord]:
    """Yield every job of an account, newest first."""
    for page in walk_pages(lambda at: queries.find_jobs(account, JobFilter(), limit=PAGE, cursor=at)):
        yield from page.entries


def count_outcomes(queries: Queries, accounts: Mapping[str, object]) -> tuple[Counter[str], Counter[str]]:
    """Count jobs by state, and relations by outcome.

    `unequal` among the outcomes counts jobs that do not have exactly one outcome per relation.
    """
    states, results = Counter[str](), Counter[str]()
    for job in (job for account in accounts for job in list_jobs(queries, account)):
        states[job.state] += 1
        results.update(job.counts)
        results["unequal"] += sum(job.counts.values()) != job.total
    return states, results


def sum_counts(store: Store, accounts: Mapping[str, object]) -> Counter[str]:
    """Return the counters of several accounts added up."""
    return sum((Counter(dict(store.counts(account))) for account in accounts), Counter())


def wait_until_done(
    store: Store, stack: Stack, *, accepted: int, seconds: float, echo: Callable[[str], None]
) -> Counter[str]:
    """Wait until so many changes are accepted and none is open; return the counters.

    Raises StillOpen after so many seconds.
    """
    deadline = time.monotonic() + seconds
    while True:
        now = sum_counts(store, stack.credentials)
        still_open = now["backlog"] + now["open"]
        if now["accepted"] >= accepted and not still_open:
            return now
        if time.monotonic() > deadline:
            raise StillOpen(
                f"after {seconds:g} s {now['accepted']:,} of {accepted:,} changes are accepted"
                f" and {still_open:,} still wait"
            )
        echo(
            f"{now['accepted']:,} accepted · {now['backlog']:,} in the inbox · {now['open']:,} open"
            f" · {now['requests']:,} requests"
        )
        time.sleep(POLL)


def count_open_jobs(states: Mapping[str, int]) -> int:
    """Return how many jobs still wait for an outcome."""
    return sum(states.get(state, 0) for state in OPEN_STATES)


def _describe(info: Mapping[str, str] | None) -> str:
    return "absent" if info is None else f"present {dict(info) or ''}".strip()
