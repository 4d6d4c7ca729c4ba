"""Lists of one account, and jobs of several accounts as one list, newest first, one page at a time.

A page of jobs looks at a bounded number of entries of a bounded number of accounts, and its cursor has one of
each.
"""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final, TypeVar

from ops.dashboard.page import Visit, link_next
from producers.portals.http.query import PLACE
from worker.config.values import Right
from worker.ports.queries import CursorPage, JobLookups
from worker.ports.records import JobFilter, JobRecord
from worker.redis.client import Askers

MAX_ACCOUNTS: Final = 20  # of one list
AT_END: Final = "-"  # in the place of a cursor
SEPARATOR: Final = "~"
ENTRIES: Final = 50  # of one page of one account

Entry = TypeVar("Entry")


def page_of_account(
    visit: Visit, path: str, right: Right, find_page: Callable[..., CursorPage[Entry]]
) -> tuple[str, Sequence[Entry], str]:
    """Return the account that is asked for, a page of its entries, and the link to the next."""
    account = visit.chosen_account(right)
    if not account:
        return "", (), ""
    page = find_page(account, limit=ENTRIES, cursor=visit.asked("cursor"))
    return account, page.entries, link_next(path, page.next, account=account)


def list_jobs(
    lookups: JobLookups,
    ask_each: Askers,
    accounts: Sequence[str],
    wanted: JobFilter,
    *,
    limit: int,
    cursor: str = "",
) -> CursorPage[JobRecord]:
    """Return a page of the jobs of these accounts; one with few or none may still have a next one.

    A page that goes on is of the accounts that its cursor names, and of no others than these.
    """
    starts = read_cursor(cursor, accounts) or dict.fromkeys(accounts[:MAX_ACCOUNTS], "")
    pages = ask_each(
        lambda account: lookups.find_jobs(account, wanted, limit=limit, cursor=starts[account]),
        [account for account, start in starts.items() if start != AT_END],
    )
    found = sorted(
        (job for page in pages.values() for job in page.entries),
        key=lambda job: job.accepted_at,
        reverse=True,  # of one instant they stay in the order of their account's page
    )
    shown = found[:limit]
    taken = {account: sum(job.account == account for job in shown) for account in pages}
    ends = {account: start if account in pages else AT_END for account, start in starts.items()}
    for account, page in pages.items():
        if taken[account] == len(page.entries):
            ends[account] = page.next or AT_END
        elif taken[account]:
            # A page's cursor stands behind its last job, so a shorter one is asked for.
            part = lookups.find_jobs(account, wanted, limit=taken[account], cursor=starts[account])
            ends[account] = part.next or AT_END
    return CursorPage(tuple(shown), write_cursor(ends))


def read_cursor(cursor: str, accounts: Collection[str]) -> dict[str, str]:
    """Return where each account's part begins; nothing for a cursor that is none, or of other accounts."""
    starts = dict[str, str]()
    for part in cursor.split(SEPARATOR) if cursor else ():
        account, _, start = part.rpartition(":")
        if account not in accounts or not (start == AT_END or re.fullmatch(f"({PLACE})?", start)):
            return {}
        starts[account] = start
    return starts if len(starts) <= MAX_ACCOUNTS else {}


def write_cursor(ends: Mapping[str, str]) -> str:
    """Return the cursor of these ends; empty when every account is at its end."""
    if all(end == AT_END for end in ends.values()):
        return ""
    return SEPARATOR.join(f"{account}:{end}" for account, end in ends.items())
