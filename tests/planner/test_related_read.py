"""What replaces ask for is planned in little time, however many there are and however often it failed."""

from typing import ClassVar

from worker.ports.references import Parking, ReplacedSide, UnresolvedJob
from worker.usecases.related_read import RelatedRead


class Counted(int):
    """A record that counts comparisons."""

    comparisons: ClassVar[int] = 0

    def __lt__(self, other: int) -> bool:
        Counted.comparisons += 1
        return int(self) < int(other)


def test_reads_that_go_alone_after_failures_are_sorted_once() -> None:
    records, parked = [Counted(each) for each in range(1000, 0, -1)], Parking(1, 1, 5, "", 4)
    jobs = [
        UnresolvedJob(
            f"acme-{each:09d}", (), parked, ReplacedSide("estate:address:buyer", "parent", each, None, ()), ""
        )
        for each in records
    ]
    reading = RelatedRead(jobs, {}, max_ids=500)
    assert Counted.comparisons < 20_000
    asked = [reading.next_request(50) for _ in records]
    assert [[read.parents for read in request] for request in asked] == [
        [(each,)] for each in sorted(records)
    ]
    assert reading.next_request(50) == []
