"""The jobs of an import, followed to their end: by their label, and one by one where they have none.

A line that was known already has the job of its first acceptance, with the label it had then. Labels are
looked up only when all is sent: until then a key that may send but not read is enough. Each call is repeated
until the store or the server answers, with a notice of what is waited for.
"""

from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from threading import Timer
from time import monotonic, sleep
from typing import IO, Final, NamedTuple, Self, TypeVar

import click

from producers.portals import Relations, Sent
from producers.portals.sdk.protocol import backoff_pauses
from producers.portals.serializers import BatchDict, JobDict, batch_json
from worker.contract import Change
from worker.errors import NotFound, Unavailable
from worker.ports.records import OPEN_STATES

MAX_WAIT: Final = 3600.0  # seconds that are waited for a full inbox or an absent store
NOTICE_DELAY: Final = 1.5  # seconds of silence before a notice is printed

Result = TypeVar("Result")


class Retry:
    """Repeats a call to `where` until it answers; raises Unavailable when it has not for an hour."""

    def __init__(self, where: str) -> None:
        self._where = where

    def __call__(self, call: Callable[[], Result]) -> Result:
        """Return what the call returns in the end."""
        with _WaitingNotice(self._where) as notice:
            return _repeat(call, notice)


def _repeat(call: Callable[[], Result], notice: "_WaitingNotice") -> Result:
    waits, deadline = backoff_pauses(), monotonic() + MAX_WAIT
    while True:
        try:
            return call()
        except Unavailable as error:
            wait = max(next(waits), error.retry_after)
            if monotonic() + wait > deadline:
                raise
            notice.give_reason(str(error))
        sleep(wait)


class _WaitingNotice:
    """Prints once that an answer takes long, and once why."""

    def __init__(self, where: str) -> None:
        self._reason, self._is_known, self._is_printed = f"{where} has not answered yet", False, False
        self._timer = Timer(NOTICE_DELAY, self._print)
        self._timer.daemon = True

    def __enter__(self) -> Self:
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()

    def give_reason(self, reason: str) -> None:
        """Keep the first reason; print it now if a notice was printed without it."""
        if not self._is_known:
            self._reason, self._is_known = reason.rstrip("."), True
            if self._is_printed:
                self._print()

    def _print(self) -> None:
        self._is_printed = True
        click.echo(f"Waiting: {self._reason}. Ctrl-C stops; the same command goes on.", err=True)


POLL_INTERVAL: Final = 0.5  # seconds


class Label(NamedTuple):
    """A batch label of an account; `text` is empty for jobs without one."""

    account: str
    text: str


class JobFollower:
    """Sends changes and remembers their jobs, then polls them.

    `known_jobs` is an empty file for the ids of jobs that were there before: there may be millions.
    `batches` is what the last poll found.
    """

    def __init__(self, relations: Relations, retry: Retry, known_jobs: IO[str]) -> None:
        self._relations, self._retry, self._known_jobs = relations, retry, known_jobs
        self.batches: list[BatchDict] = []
        self._labels, self._labelled = set[Label](), dict[Label, BatchDict]()
        self._unlabelled, self._unlabelled_states = deque[tuple[str, str]](), dict[str, Counter[str]]()

    def send(self, changes: Sequence[Change]) -> list[Sent]:
        """Send changes of one account."""
        sent = self._relations.send(changes)
        for change, job in zip(changes, sent, strict=True):
            if not job.duplicate:
                self._labels.add(Label(change.account, change.batch or ""))
        if known := sorted(job.id for job in sent if job.duplicate):  # ids sort by the time of acceptance
            self._known_jobs.write(" ".join(known) + "\n")
        return sent

    def poll(self) -> Iterator[list[BatchDict]]:
        """Yield `batches` again and again, until no job is open."""
        self._find_known_labels()
        open_labels = sorted(self._labels)
        while True:
            for label in open_labels:
                if batch := self._get_batch(label):
                    self._labelled[label] = batch
            self._poll_unlabelled()
            unlabelled = (batch_json(name, "", states) for name, states in self._unlabelled_states.items())
            self.batches = [*self._labelled.values(), *unlabelled]
            yield self.batches
            open_labels = [
                label for label in open_labels if label in self._labelled and self._labelled[label]["open"]
            ]
            if not (open_labels or self._unlabelled):
                return
            sleep(POLL_INTERVAL)

    def _get_batch(self, label: Label) -> BatchDict | None:
        """Return None once its jobs are no longer kept."""
        try:
            return self._retry(lambda: self._relations.batch(label.account, label.text))
        except NotFound:
            return None

    def _get_job(self, job_id: str) -> JobDict | None:
        """Return None once it is no longer kept."""
        try:
            return self._retry(lambda: self._relations.job(job_id))
        except NotFound:
            return None

    # --- jobs that were known before

    def _find_known_labels(self) -> None:
        self._known_jobs.seek(0)
        for line in self._known_jobs:
            self._add_labels(line.split(), cache(self._get_label))

    def _add_labels(self, job_ids: list[str], label_of: Callable[[str], Label | None]) -> None:
        """Add the labels of these jobs, which are in order of acceptance.

        Two with one label have it in common with all that were accepted between them, so halving the list
        finds all labels without asking for each job.
        """
        label = label_of(job_ids[0])
        if label and label == label_of(job_ids[-1]):
            self._add_label(label, job_ids)
        elif len(job_ids) > 1:
            half = len(job_ids) // 2
            self._add_labels(job_ids[:half], label_of)
            self._add_labels(job_ids[half:], label_of)

    def _get_label(self, job_id: str) -> Label | None:
        job = self._get_job(job_id)
        return Label(job["account"], job["batch"] or "") if job else None

    def _add_label(self, label: Label, job_ids: list[str]) -> None:
        if label.text:
            self._labels.add(label)
        else:
            self._unlabelled.extend((label.account, job_id) for job_id in job_ids)
            states = self._unlabelled_states.setdefault(label.account, Counter())
            states["accepted"] += len(job_ids)

    # --- jobs without a label

    def _poll_unlabelled(self) -> None:
        """Count those that ended; they end about in their order, so the first open one ends this look."""
        while self._unlabelled:
            account, job_id = self._unlabelled[0]
            job = self._get_job(job_id)
            if job and job["state"] in OPEN_STATES:
                return
            self._unlabelled_states[account][job["state"] if job else "succeeded"] += 1
            self._unlabelled.popleft()
