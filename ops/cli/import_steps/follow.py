"""What an import handed over, followed to its end: by label, and one by one where jobs have none.

A line that was known already has the job of its first acceptance, under the label it had then. Which that is, is asked only when all
is handed over: the key may be one that sends and does not read.
"""

from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from time import sleep
from typing import Final, TextIO

from ops.cli.import_steps.retry_notice import RetryNotice
from producers.portals import Relations, Sent
from producers.portals.serializers import BatchDict, JobDict, batch_json
from worker.contract import Change
from worker.errors import NotFound
from worker.ports import OPEN_STATES

LOOK: Final = 0.5  # seconds between looks at what became of it

Label = tuple[str, str]  # of an account; the latter is empty for jobs without one


class Following:
    """Hands over, remembers, and looks. `known` is an empty file for the ids of jobs that were there before: there may be millions."""

    def __init__(self, relations: Relations, patience: RetryNotice, known: TextIO) -> None:
        self._relations, self._patience, self._known = relations, patience, known
        self._labels, self._ends = set[Label](), dict[Label, BatchDict]()
        self._alone, self._states = deque[tuple[str, str]](), dict[str, Counter[str]]()

    def send(self, changes: Sequence[Change]) -> list[Sent]:
        """Hand over changes of one account."""
        sent = self._relations.send(changes)
        self._labels |= {
            (change.account, change.batch)
            for change, each in zip(changes, sent, strict=True)
            if not each.duplicate
        }
        if known := sorted(each.id for each in sent if each.duplicate):  # ids sort by the time of acceptance
            self._known.write(" ".join(known) + "\n")
        return sent

    def looks(self) -> Iterator[list[BatchDict]]:
        """How far all of it is, again and again until none is open."""
        self._find()
        waiting = sorted(self._labels)
        while True:
            self._ends |= {label: found for label in waiting if (found := self._batch(*label))}
            self._look_at_those_alone()
            yield [*self._ends.values(), *self._those_alone()]
            waiting = [label for label in waiting if label in self._ends and self._ends[label]["open"]]
            if not (waiting or self._alone):
                return
            sleep(LOOK)

    def _batch(self, account: str, label: str) -> BatchDict | None:
        """None once its jobs are forgotten."""
        try:
            return self._patience(lambda: self._relations.batch(account, label))
        except NotFound:
            return None

    def _job(self, name: str) -> JobDict | None:
        """None once it is forgotten."""
        try:
            return self._patience(lambda: self._relations.job(name))
        except NotFound:
            return None

    # --- known before

    def _find(self) -> None:
        """The labels of what was known already."""
        self._known.seek(0)
        for line in self._known:
            self._sort(line.split(), cache(self._label))

    def _sort(self, ids: list[str], label_of: Callable[[str], Label | None]) -> None:
        """Two that have one label have it in common with all that were accepted between them."""
        label = label_of(ids[0])
        if label and label == label_of(ids[-1]):
            self._note(label, ids)
        elif len(ids) > 1:
            half = len(ids) // 2
            self._sort(ids[:half], label_of)
            self._sort(ids[half:], label_of)

    def _label(self, name: str) -> Label | None:
        job = self._job(name)
        return (job["account"], job["batch"] or "") if job else None

    def _note(self, label: Label, ids: list[str]) -> None:
        account, words = label
        if words:
            self._labels.add(label)
        else:
            self._alone.extend((account, name) for name in ids)
            self._states.setdefault(account, Counter())["accepted"] += len(ids)

    # --- without a label

    def _look_at_those_alone(self) -> None:
        """They end about in their order, so one that is open is the end of this look."""
        while self._alone:
            account, name = self._alone[0]
            job = self._job(name)
            if job and job["state"] in OPEN_STATES:
                return
            self._states[account][job["state"] if job else "succeeded"] += 1
            self._alone.popleft()

    def _those_alone(self) -> Iterator[BatchDict]:
        return (batch_json(account, "", states) for account, states in self._states.items())
