"""The use case: read what was confirmed back from the CRM, and say where the two differ. Writes nothing.

Under the account's lease, one request at a time and at half of the account's pace; whatever else of the
account is due goes first. Nobody writes while a request is answered, so an answer is beside what is confirmed
at that moment. An answer that proves nothing is never drift.
"""

from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from typing import Final, NamedTuple

import msgspec

from worker.contract import GuardedSide, Relation
from worker.contract.instant import SECOND
from worker.errors import LeaseLost, RelationsError, Unavailable
from worker.planner.actions import Action, ActionResult, ErrorClass, Operation, Reply, Request, Verdict
from worker.planner.apply_reply import is_seen
from worker.planner.fold import NEVER
from worker.planner.plan import Limits, plan
from worker.planner.relation_state import RelationRecord
from worker.ports import Wake
from worker.ports.drift import ConfirmedPage, DriftedRelation, DriftFilter, DriftPage
from worker.ports.queries import Queries
from worker.ports.work import Lease
from worker.usecases.account_lease import give_back
from worker.usecases.account_pace import MAX_SLOT_WAIT, AccountPace
from worker.usecases.flush_context import FlushDeps, FlushPolicy
from worker.usecases.flush_telemetry import FlushTelemetry
from worker.usecases.in_flight import Purpose
from worker.usecases.read_sender import ReadSender

PAGE: Final = 2000  # relations that are remembered, about
MAX_SAMPLE: Final = 2000
MAX_DRAWS: Final = 20  # pages that are drawn for one sample
PATIENCE: Final = 20.0  # seconds without a request after which the caller is told why
POLL: Final = 0.2  # seconds between two looks whether other work is done
SLOTS: Final = 2  # of the account's pace, for each request
MAX_LOST: Final = 3  # requests in a row without an answer, after which one rests, or a relation is given up
REST: Final = 30.0  # seconds
SHRINK: Final = 8  # by which the relations that are read together are fewer after each loss but the first
WORK_FIRST: Final = "other work of the account goes first"
AT_WORK: Final = "a worker has the account"
NO_ANSWER: Final = "the API does not answer"


class _Wait(NamedTuple):
    """Why no request was sent, and for how many seconds to wait."""

    seconds: float
    reason: str


class _Unread(msgspec.Struct):
    """How a relation is read next: from which side, in which piece of a rejected action, after which losses.

    It is `asked` once an answer from the other side proved nothing.
    """

    ask: GuardedSide = ""
    part: str = ""
    losses: int = 0
    asked: bool = False


class _Answered(NamedTuple):
    """A request with its reply, and what was known of its relations when it was sent (µs)."""

    request: Request
    reply: Reply
    records: Mapping[Relation, RelationRecord]
    read_at: int


class DriftReader:
    """Reads an account's relations back; `wake` lets a worker go on with what came in meanwhile.

    `telemetry` counts the requests.
    """

    def __init__(
        self,
        policy: FlushPolicy,
        deps: FlushDeps,
        queries: Queries,
        wake: Wake,
    ) -> None:
        self._policy, self._deps, self._queries, self._wake = policy, deps, queries, wake
        self.telemetry = FlushTelemetry(policy.account, "", deps.emit)  # of no flush
        self._clock_corrected = False

    def read(self, wanted: DriftFilter, *, cursor: str = "", sample: int = 0) -> DriftPage:
        """Return what the CRM says of the next page of relations, or of so many that are drawn by chance.

        Raises Unavailable while the account is paused, or only observes.
        """
        if self._policy.observe:
            raise Unavailable(f"account {self._policy.account} only observes, so nothing is confirmed in it")
        page, seen = self._draw(wanted, sample) if sample else self._turn_to(wanted, cursor)
        reading = _PageRead(page.records)
        started = idle_since = self._deps.clock.monotonic()
        while reading.unread:
            now = page.now + round((self._deps.clock.monotonic() - started) * SECOND)
            wait = self._read_next(reading, now)
            seconds = wait.seconds if wait else SLOTS / self._policy.rate
            if wait is None:
                idle_since = self._deps.clock.monotonic()
            elif self._deps.clock.monotonic() - idle_since + seconds > PATIENCE:
                return DriftPage(page.total, next=cursor, waits=wait.reason, rest=seconds)
            if reading.unread:
                self._deps.clock.sleep(seconds)
        self._report(reading)
        return DriftPage(
            page.total,
            seen,
            reading.same,
            tuple(sorted(reading.drifted, key=lambda each: each.relation)),
            tuple(sorted(reading.unknown)),
            reading.open,
            page.next,
        )

    # --- which relations

    def _turn_to(self, wanted: DriftFilter, cursor: str) -> tuple[ConfirmedPage, int]:
        """Return the wanted relations of a page, and how many it has."""
        page = self._queries.confirmed_page(self._policy.account, cursor, PAGE)
        return page._replace(records=_choose(page, wanted)), len(page.records)

    def _draw(self, wanted: DriftFilter, sample: int) -> tuple[ConfirmedPage, int]:
        """Draw until there are as many as wanted, or few more can be expected; return them, and how many."""
        found = dict[Relation, RelationRecord]()
        for _ in range(MAX_DRAWS):
            page = self._queries.sample_confirmed(self._policy.account, max(sample, PAGE // 10))
            for relation, record in _choose(page, wanted).items():
                if len(found) < sample:
                    found[relation] = record
            if len(found) >= min(sample, page.total):
                break
        return page._replace(records=found), len(found)

    # --- one request

    def _read_next(self, reading: "_PageRead", now: int) -> _Wait | None:
        """Send the next request, if the account has nothing else to do; return why not, if so."""
        account = self._policy.account
        self._check_pause(self._deps.store.get_pause(account) is not None)
        if self._queries.is_work_due(account, window=self._policy.window):
            return _Wait(POLL, WORK_FIRST)
        lease = self._deps.store.lease(account, self._deps.new_id())
        if lease is None:
            return _Wait(POLL, AT_WORK)
        try:
            outcome = self._read_under(lease, reading, now)
        except BaseException:
            with suppress(RelationsError):
                give_back(lease, self._wake, window=self._policy.window)
            raise
        try:
            give_back(lease, self._wake, window=self._policy.window)
        except LeaseLost:  # somebody may have written meanwhile: the answer proves nothing
            return _Wait(POLL, AT_WORK)
        if isinstance(outcome, _Wait):
            return outcome
        if outcome:
            reading.take(outcome)
        return _Wait(REST, NO_ANSWER) if reading.lost >= MAX_LOST else None

    def _check_pause(self, is_paused: bool) -> None:
        if is_paused:
            account = self._policy.account
            raise Unavailable(
                f"account {account} is paused, so nothing is read; `relations accounts resume {account}`",
                retry_after=REST,
            )

    def _read_under(self, lease: Lease, reading: "_PageRead", now: int) -> _Answered | _Wait | None:
        """Send a request under the lease; return None if there is nothing to read any more."""
        policy, refused = self._policy, lease.refused_credentials
        self._check_pause(lease.pause is not None or bool(refused and refused == policy.fingerprint))
        # Once more: what a dead worker has begun is found only while nobody can take the lease.
        if self._queries.is_work_due(policy.account, window=policy.window):
            return _Wait(POLL, WORK_FIRST)
        records = lease.records(reading.choose(self._deps.draw()))
        operations = reading.operations(records, now)
        if not operations:
            return None
        pace = AccountPace(policy, self._deps, lease, self.telemetry)
        pace.clock_corrected = self._clock_corrected
        grant = pace.book_slot(MAX_SLOT_WAIT)
        if not grant.booked:
            return _Wait(grant.wait, f"the account's pace ({grant.reason})")
        limits = Limits(max_ids=policy.limits.max_ids, max_actions=pace.max_actions())
        request = plan(operations, limits, policy.order).requests[0]
        with self._deps.keep_lease(lease):
            purpose: Purpose = "trial" if reading.is_trial(request) else "work"
            sender = ReadSender(self._deps, lease, self.telemetry, pace)
            reply, _ = sender.send(request.actions, grant, kind="drift", signed=now, purpose=purpose)
        self._clock_corrected = pace.clock_corrected
        return _Answered(request, reply, records, now)

    def _report(self, reading: "_PageRead") -> None:
        counts = Counter(each.state for each in reading.drifted)
        self._deps.emit(
            "drift.read",
            account=self._policy.account,
            same=reading.same,
            missing=counts["missing"],
            returned=counts["returned"],
            unknown=len(reading.unknown),
            open=reading.open,
        )


class _PageRead:
    """The relations of a page: what is to be read, and what the answers show. Pure bookkeeping.

    `lost` counts requests in a row that were not answered, but for those of one relation.
    """

    def __init__(self, relations: Mapping[Relation, RelationRecord]) -> None:
        self._size = len(relations)
        self.unread = {relation: _Unread() for relation in sorted(relations)}
        self.same = self.open = self.lost = self._pieces = 0
        self.drifted: list[DriftedRelation] = []
        self.unknown: list[Relation] = []

    def choose(self, draw: float) -> list[Relation]:
        """Return what may be read together next; `draw` is a random number from [0, 1).

        What was not answered twice is read in smaller company, and at last alone: any part of it, so that
        something else is soon answered, and shows that the API is there.
        """
        losses = min((unread.losses for unread in self.unread.values()), default=0)
        chosen = [relation for relation, unread in self.unread.items() if unread.losses == losses]
        size = max(1, self._size // SHRINK ** max(0, losses - 1))
        part = int(draw * -(-len(chosen) // size))
        return chosen[part * size : (part + 1) * size]

    def is_trial(self, request: Request) -> bool:
        """Return whether a failure of the request would be its own: it failed before, and others did not."""
        return not self.lost and any(self.unread[relation].losses for relation in request.relations())

    def operations(self, records: Mapping[Relation, RelationRecord], now: int) -> list[Operation]:
        """Return the reads of these relations; leave those alone that are open or in doubt by now."""
        operations = []
        for relation, record in records.items():
            is_doubtful = record.doubt is not None and record.doubt.until > now
            if record.open or is_doubtful or record.confirmed.presence == NEVER:
                del self.unread[relation]
                self.open += 1
                continue
            unread = self.unread[relation]
            operations.append(Operation("get", relation, part=unread.part, ask=unread.ask))
        return operations

    def take(self, answered: _Answered) -> None:
        """Note what a reply shows."""
        is_alone = sum(action.size for action in answered.request.actions) == 1
        if answered.reply.is_answered:
            self.lost = 0
        elif not is_alone:
            self.lost += 1
        for action, result in zip(answered.request.actions, answered.reply.results, strict=True):
            if result.verdict is Verdict.OK:
                self._compare(action, result, answered)
            elif _is_refused(result):
                self._split(action)
            else:
                self._retry(action, is_alone)

    def _compare(self, action: Action, result: ActionResult, answered: _Answered) -> None:
        for relation in action.relations:
            seen = is_seen(action, relation, result)
            if seen is None:
                self._ask_other_side(relation, action)
                continue
            del self.unread[relation]
            confirmed = answered.records[relation].confirmed
            if seen is (confirmed.present > confirmed.absent):
                self.same += 1
                continue
            state, decisive = "returned" if seen else "missing", confirmed.presence
            self.drifted.append(
                DriftedRelation(
                    relation,
                    state,  # type: ignore[arg-type]
                    decisive.version.occurred_at,
                    decisive.job,
                    answered.read_at,
                )
            )

    def _split(self, action: Action) -> None:
        """Read the two halves of a rejected action apart, so that a bad id hurts only itself."""
        relations = action.relations
        if len(relations) == 1:
            self._ask_other_side(relations[0], action)
            return
        for half in (relations[: len(relations) // 2], relations[len(relations) // 2 :]):
            self._pieces += 1
            for relation in half:
                self.unread[relation].part = f"{half[0]}/{self._pieces}"

    def _retry(self, action: Action, is_alone: bool) -> None:
        for relation in action.relations:
            unread = self.unread[relation]
            unread.losses += 1
            if is_alone and unread.losses >= MAX_LOST:
                self._give_up(relation)

    def _ask_other_side(self, relation: Relation, action: Action) -> None:
        """Ask for the relation from its other record; if that was done already, it stays unknown.

        The API may leave out a record that has no relations, so that one side alone proves little.
        """
        unread = self.unread[relation]
        if unread.asked:
            self._give_up(relation)
            return
        unread.asked, unread.ask = True, "child" if action.parents else "parent"

    def _give_up(self, relation: Relation) -> None:
        del self.unread[relation]
        self.unknown.append(relation)


def _choose(page: ConfirmedPage, wanted: DriftFilter) -> dict[Relation, RelationRecord]:
    return {
        relation: record
        for relation, record in page.records.items()
        if wanted.matches(relation, record.confirmed)
    }


def _is_refused(result: ActionResult) -> bool:
    """Return whether the refusal is about what was asked, not about who asked and when."""
    is_about_caller = result.error in (ErrorClass.CREDENTIALS, ErrorClass.CLOCK)
    return result.verdict is Verdict.REJECTED and not is_about_caller
