"""A page of a list, made of as many as it takes: one may end early, where few entries fit."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from worker.ports.queries import AnyPage, next_cursor, walk_pages

Entry = TypeVar("Entry")


def fill_page(
    find_page: Callable[[int, str], AnyPage],
    get_entries: Callable[[AnyPage], Sequence[Entry]],
    limit: int,
    cursor: str,
) -> tuple[list[Entry], str]:
    """Return `limit` entries, if there are as many, and the cursor of the next; empty after the last.

    `find_page` is given how many are still wanted, and the cursor.
    """
    found, after = list[Entry](), ""
    for page in walk_pages(lambda at: find_page(limit - len(found), at), cursor):
        found.extend(get_entries(page))
        after = next_cursor(page)
        if len(found) >= limit:
            break
    return found, after
