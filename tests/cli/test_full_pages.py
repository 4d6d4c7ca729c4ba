"""Pages of lists are filled from as many as it takes, whether these are values or documents."""

from collections.abc import Sequence
from operator import attrgetter, itemgetter
from typing import NamedTuple, TypedDict

from hypothesis import given
from hypothesis import strategies as st

from worker.ports.queries import fill_page, walk_pages


class NumberPage(NamedTuple):
    numbers: Sequence[int]
    next: str


class NumbersDict(TypedDict):
    numbers: list[int]
    next: str | None


LISTS = st.integers(0, 30).map(lambda size: list(range(size)))
SIZES = st.lists(st.integers(0, 4), min_size=1, max_size=5).filter(any)


class PagedNumbers:
    """A list whose pages hold few entries or none, though there are more behind them."""

    def __init__(self, numbers: list[int], sizes: list[int]) -> None:
        self.numbers, self.sizes, self.looks = numbers, sizes, 0

    def find(self, limit: int, cursor: str) -> NumberPage:
        assert limit > 0
        size = min(limit, self.sizes[self.looks % len(self.sizes)])
        self.looks += 1
        start = int(cursor or 0)
        end = start + size
        return NumberPage(self.numbers[start:end], str(end) if end < len(self.numbers) else "")

    def find_document(self, limit: int, cursor: str) -> NumbersDict:
        page = self.find(limit, cursor)
        return {"numbers": list(page.numbers), "next": page.next or None}


@given(LISTS, SIZES, st.integers(1, 12))
def test_pages_are_full_until_the_last_and_nothing_is_left_out(
    numbers: list[int], sizes: list[int], limit: int
) -> None:
    paged, seen, cursor = PagedNumbers(numbers, sizes), list[int](), ""
    while True:
        found, after = fill_page(paged.find, attrgetter("numbers"), limit, cursor)
        paged.looks -= paged.looks % len(sizes)
        documents = PagedNumbers(numbers, sizes)
        alike = fill_page(documents.find_document, itemgetter("numbers"), limit, cursor)
        assert alike[0] == found
        seen += found
        assert len(found) == limit or not after
        if not after:
            break
        cursor = after
    assert seen == numbers


@given(LISTS, SIZES)
def test_every_page_is_walked_once(numbers: list[int], sizes: list[int]) -> None:
    paged = PagedNumbers(numbers, sizes)
    pages = walk_pages(lambda cursor: paged.find(99, cursor))
    assert [number for page in pages for number in page.numbers] == numbers
    documents = PagedNumbers(numbers, sizes)
    found = walk_pages(lambda cursor: documents.find_document(99, cursor))
    assert [number for page in found for number in page["numbers"]] == numbers
