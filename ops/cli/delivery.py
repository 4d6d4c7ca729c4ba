"""How `relations send` hands changes over, and what became of each."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, Final, NamedTuple

from ops.cli.send_input import SendEntry, cap_faults
from worker.contract import Change
from worker.errors import InvalidChange, RelationsError, StoreUnavailable
from worker.usecases.intake import AccountResult

AT_ONCE: Final = 1000  # changes per round trip

Accept = Callable[[Sequence[Change]], Iterable[AccountResult]]


class SentJob(NamedTuple):
    """The job of an accepted change, and whether it existed before."""

    id: str
    is_duplicate: bool


class SendDelivery(NamedTuple):
    """The jobs of what was accepted, in order, and every reason why something was not."""

    jobs: Sequence[SentJob]
    errors: Sequence[RelationsError]

    def to_json(self) -> dict[str, Any]:
        """Return the jobs as the HTTP interface answers them."""
        return {
            "jobs": [{"id": job.id, "state": "queued", "duplicate": job.is_duplicate} for job in self.jobs]
        }


def deliver(accept: Accept, entries: Sequence[SendEntry]) -> SendDelivery:
    """Send the entries in order and in bounded pieces, until the store is gone.

    An account's part of a piece is accepted as a whole or not at all.
    """
    jobs, errors = list[SentJob](), list[RelationsError]()
    for piece in _split(entries):
        delivery = _deliver_piece(accept, piece)
        jobs += delivery.jobs
        errors += delivery.errors
        if any(isinstance(error, StoreUnavailable) for error in delivery.errors):
            break
    return SendDelivery(jobs, errors)


def _split(entries: Sequence[SendEntry]) -> Iterator[Sequence[SendEntry]]:
    rest = iter(entries)
    while piece := list(islice(rest, AT_ONCE)):
        yield piece


def _deliver_piece(accept: Accept, piece: Sequence[SendEntry]) -> SendDelivery:
    jobs, errors = dict[int, SentJob](), list[RelationsError]()
    for result in accept([entry.change for entry in piece]):
        if isinstance(result.error, InvalidChange):
            moved = result.error.moved(lambda position: piece[position].where)
            errors.append(InvalidChange(cap_faults(moved.faults)))
        elif result.error:
            errors.append(result.error)
        for position, receipt in zip(result.positions, result.receipts, strict=False):
            jobs[position] = SentJob(receipt.job, receipt.duplicate)
    return SendDelivery([job for _, job in sorted(jobs.items())], errors)
