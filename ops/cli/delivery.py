"""How `relations send` hands changes to the intake, and what became of each."""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, Final, NamedTuple

from ops.cli.send_input import Entry, cap_faults
from worker.errors import Fault, InvalidChange, RelationsError, StoreUnavailable
from worker.usecases.intake import Intake

AT_ONCE: Final = 1000  # changes per round trip


class SentJob(NamedTuple):
    """The job of an accepted change, and whether it existed before."""

    id: str
    is_duplicate: bool


class Delivery(NamedTuple):
    """The jobs of what was accepted, in order, and every reason why something was not."""

    jobs: Sequence[SentJob]
    errors: Sequence[RelationsError]

    def to_json(self) -> dict[str, Any]:
        """Return the jobs as the HTTP interface answers them."""
        return {
            "jobs": [{"id": job.id, "state": "queued", "duplicate": job.is_duplicate} for job in self.jobs]
        }


def deliver(intake: Intake, entries: Sequence[Entry]) -> Delivery:
    """Send the entries in order and in bounded pieces, until the store is gone.

    An account's part of a piece is accepted as a whole or not at all.
    """
    jobs, errors = list[SentJob](), list[RelationsError]()
    for piece in _split(entries):
        delivery = _deliver_piece(intake, piece)
        jobs += delivery.jobs
        errors += delivery.errors
        if any(isinstance(error, StoreUnavailable) for error in delivery.errors):
            break
    return Delivery(jobs, errors)


def _split(entries: Sequence[Entry]) -> Iterator[Sequence[Entry]]:
    rest = iter(entries)
    while piece := list(islice(rest, AT_ONCE)):
        yield piece


def _deliver_piece(intake: Intake, piece: Sequence[Entry]) -> Delivery:
    jobs, errors = dict[int, SentJob](), list[RelationsError]()
    for part in intake.accept_each([entry.change for entry in piece], path="{}"):
        if part.error:
            errors.append(_name_places(part.error, piece))
        for position, receipt in zip(part.positions, part.receipts, strict=False):
            jobs[position] = SentJob(receipt.job, receipt.duplicate)
    return Delivery([job for _, job in sorted(jobs.items())], errors)


def _name_places(error: RelationsError, piece: Sequence[Entry]) -> RelationsError:
    """Return the error with the places of the file instead of positions in the piece."""
    if not isinstance(error, InvalidChange):
        return error
    faults = []
    for fault in error.faults:
        head, _, tail = fault.path.partition(".")
        place = piece[int(head)].where if head.isdecimal() else head
        faults.append(Fault(".".join(filter(None, (place, tail))), fault.message))
    return InvalidChange(cap_faults(faults))
