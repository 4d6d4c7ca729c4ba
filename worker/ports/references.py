"""Changes whose records are still to be looked up: as the holder of the lease reads and decides them."""

from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from worker.contract import Reference, Side
from worker.planner.actions import Answer


class JobReference(NamedTuple):
    """A reference of a job: on which side it stands, the record that it led to (0: none yet), and when (µs).

    `candidates` are the records it may mean; `by` is the person who chose.
    """

    side: Side
    reference: Reference
    record: int = 0
    asked_at: int = 0
    candidates: tuple[int, ...] = ()
    by: str = ""


class Parking(NamedTuple):
    """How a job is parked: since when, when it is looked up next (µs), how often it was, and what it lacks.

    `failures` are the last look-ups in a row that the API did not answer.
    """

    since: int
    until: int
    look_ups: int
    message: str
    failures: int = 0


class ReplacedSide(NamedTuple):
    """What has to be read for a job that replaces a side: which relations the `record` on the other side has.

    `asked` is that other side. The record's id is 0 until its reference led to one. Where the record may have
    one relation only, `named` are the ids that the job names for it, or the references that lead to them.
    """

    type: str
    asked: Side
    record: int
    reference: Reference | None = None
    named: tuple[int | Reference, ...] = ()


class UnresolvedJob(msgspec.Struct, frozen=True, gc=False):
    """A job that waits for records to be found: their references, and how it is parked, if it is.

    One that replaces a side, and has created all that is to be there, waits for a read of what else is
    there: `replaced`. `correlation` is the id of the call that it came with.
    """

    job: str
    references: tuple[Reference, ...]
    parked: Parking | None = None
    replaced: ReplacedSide | None = None
    correlation: str = ""

    @property
    def failures(self) -> int:
        """How many of its look-ups in a row the API did not answer."""
        return self.parked.failures if self.parked else 0


class LookUpBatch(NamedTuple):
    """Changes whose records are to be looked up now, read at `now` (µs), and how many are parked in all."""

    now: int
    jobs: tuple[UnresolvedJob, ...]
    parked: int


class LookUpResult(msgspec.Struct, frozen=True, gc=False):
    """What becomes of a job after its references were looked up at `asked_at` (µs).

    With a record for each it joins the changes that are carried out; else it is parked until then, or fails
    with a refusal: code, error class, text. `related` is what a read shows of the side that it replaces.
    """

    job: str
    answers: Mapping[Reference, Answer]
    asked_at: int
    parked: Parking | None = None
    refusal: tuple[int, str, str] | None = None
    related: frozenset[int] | None = None
