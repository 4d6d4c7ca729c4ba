"""Jobs of several accounts as one list, newest first, one page at a time.

A page looks at a bounded number of entries of a bounded number of accounts; its cursor has one of each.
"""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from worker.ports import JobFilter, JobLookups, JobRecord

MAX_ACCOUNTS: Final = 20  # of one list
AT_END: Final = "-"  # in the place of a cursor
SEPARATOR: Final = "~"


class JobList(NamedTuple):
    """Jobs, newest first, and the cursor of the next page (empty: no more)."""

    jobs: tuple[JobRecord, ...]
    next: str


def list_jobs(
    lookups: JobLookups, accounts: Sequence[str], wanted: JobFilter, *, limit: int, cursor: str = ""
) -> JobList:
    """Return a page of the jobs of these accounts; one with few or none may still have a next one."""
    starts = read_cursor(cursor, accounts)
    pages = {
        account: lookups.find_jobs(account, wanted, limit=limit, cursor=start)
        for account, start in starts.items()
        if start != AT_END
    }
    found = sorted(
        (job for page in pages.values() for job in page.jobs),
        key=lambda job: job.accepted_at,
        reverse=True,  # of one instant they stay in the order of their account's page
    )
    shown = found[:limit]
    taken = {account: sum(job.account == account for job in shown) for account in pages}
    ends = dict(starts)
    for account, page in pages.items():
        if taken[account] == len(page.jobs):
            ends[account] = page.next or AT_END
        elif taken[account]:
            # A page's cursor stands behind its last job, so a shorter one is asked for.
            part = lookups.find_jobs(account, wanted, limit=taken[account], cursor=starts[account])
            ends[account] = part.next or AT_END
    return JobList(tuple(shown), write_cursor(ends, accounts))


def read_cursor(cursor: str, accounts: Sequence[str]) -> dict[str, str]:
    """Return where each account's part begins; everywhere from its newest, for a cursor of other accounts."""
    parts = cursor.split(SEPARATOR) if cursor else []
    if len(parts) != len(accounts) or not all(
        part == AT_END or not part or (part.isdecimal() and part.isascii() and len(part) <= 15)
        for part in parts
    ):
        return dict.fromkeys(accounts, "")
    return dict(zip(accounts, parts, strict=True))


def write_cursor(ends: Mapping[str, str], accounts: Sequence[str]) -> str:
    """Return the cursor of these ends; empty when every account is at its end."""
    if all(ends[account] == AT_END for account in accounts):
        return ""
    return SEPARATOR.join(ends[account] for account in accounts)
