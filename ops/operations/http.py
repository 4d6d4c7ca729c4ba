"""The operations over the HTTP interface, with a key: this machine needs no Redis and no settings.

`local` says what each method does; here it is said only where there is more to say.
"""

# ruff: noqa: D102, ARG002 - the audit log names the key, whatever `by` says

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from ops.doctor.findings import Finding, read_finding
from ops.operations.filters import write_filter, write_selection
from ops.operations.http_calls import AnyDict, PartlyAccepted, PartlyErased
from ops.operations.http_lookups import MAX_PAGE, HttpLookups, quoted
from ops.serializers.acts import ActedDict, PausedDict
from ops.serializers.callbacks import CallbackMessageDict, CallbackTestDict
from ops.serializers.deliveries import RemappedDict, RemappedPageDict
from ops.serializers.drift import DriftPageDict, read_drift_page, serialize_drifted
from ops.serializers.replays import ReplayDict, read_replay
from ops.serializers.system import FindingsDict
from producers.job_admin.erasure_proof import ErasureProof, add_proofs
from producers.job_admin.resolve import PARKED, RecordChoice
from producers.job_admin.selection import PIECE, Selection, select_jobs
from worker.contract import Change, to_message
from worker.errors import InvalidChange, RelationsError, Unavailable
from worker.ports.drift import DriftedRelation, DriftFilter, DriftPage
from worker.ports.job_admin import AdminResult
from worker.ports.records import JobFilter
from worker.ports.replays import Replay
from worker.ports.store import Receipt
from worker.usecases.intake import AccountResult, group_by_account

POLL_INTERVAL: Final = 0.5  # seconds between two looks at a running replay


class HttpOperations(HttpLookups):
    """The operations over HTTP; texts have `zone`, and the audit log names the key, whatever `by` says."""

    def pause_account(self, account: str, why: str, *, by: str) -> None:
        self._calls.post(PausedDict, f"/v1/accounts/{quoted(account)}/pause", {"why": why})

    def resume_account(self, account: str, *, by: str) -> PausedDict:
        return self._calls.post(PausedDict, f"/v1/accounts/{quoted(account)}/resume")

    def check_account(self, account: str) -> Iterable[Finding]:
        """Return the findings of the server's doctor about the account."""
        answer = self._calls.post(FindingsDict, f"/v1/accounts/{quoted(account)}/check")
        return [read_finding(finding) for finding in answer["findings"]]

    def remap_deliveries(self, ids: Sequence[str], *, by: str, dry_run: bool) -> Iterable[RemappedDict]:
        for start in range(0, len(ids), MAX_PAGE):
            form = {"deliveries": ids[start : start + MAX_PAGE], "dry_run": dry_run}
            yield from self._calls.post(RemappedPageDict, "/v1/deliveries/remap", form)["deliveries"]

    def accept(self, changes: Sequence[Change]) -> Iterable[AccountResult]:
        error: RelationsError | None = None
        jobs: Sequence[Mapping[str, Any] | None] = [None] * len(changes)
        try:
            jobs = self._calls.post(AnyDict, "/v1/changes", list(map(to_message, changes)))["jobs"]
        except PartlyAccepted as partly:
            error, jobs = partly.error, partly.jobs
        except RelationsError as refused:
            error = refused
        for positions in group_by_account(changes):
            entries = [entry for at in positions if (entry := jobs[at])]
            if entries:
                receipts = tuple(Receipt(entry["id"], entry["duplicate"]) for entry in entries)
                yield AccountResult(positions, receipts)
            elif part := _select_faults(error, positions):
                yield AccountResult(positions, error=part)

    def cancel(self, account: str, selection: Selection, *, by: str) -> AdminResult:
        return self._act("/v1/jobs/cancel", account, selection)

    def dismiss(self, account: str, selection: Selection, *, by: str) -> AdminResult:
        return self._act("/v1/jobs/dismiss", account, selection)

    def _act(self, path: str, account: str, selection: Selection) -> AdminResult:
        """Act on all selected jobs, of which the interface takes so many at once."""
        done, refused = list[str](), dict[str, str]()
        while True:
            answer = self._calls.post(ActedDict, path, write_selection(account, selection))
            done += answer["jobs"]
            refused |= answer["refused"]
            if not (answer["more"] and answer["jobs"]):
                return AdminResult(tuple(done), refused)

    def resolve(
        self, account: str, job_id: str, choice: RecordChoice, *, by: str, everywhere: bool
    ) -> AdminResult:
        form = {"references": dict(choice.references), "all": everywhere}
        sides = {"parentid": choice.parent, "childid": choice.child}
        form |= {name: record for name, record in sides.items() if record}
        answer = self._calls.post(ActedDict, f"/v1/jobs/{quoted(job_id)}/resolve", form)
        return AdminResult(tuple(answer["jobs"]), answer["refused"])

    def look_up(self, account: str, selection: Selection, *, by: str) -> AdminResult:
        """Have parked changes looked up at once, piece by piece: they stay parked until that was done."""
        jobs, refused, _ = select_jobs(self, account, selection, PARKED)
        done, refused = list[str](), dict(refused)
        for start in range(0, len(jobs), PIECE):
            form = {"account": account, "jobs": jobs[start : start + PIECE]}
            answer = self._calls.post(ActedDict, "/v1/jobs/look-up-records", form)
            done += answer["jobs"]
            refused |= answer["refused"]
        return AdminResult(tuple(done), refused)

    def erase(
        self,
        account: str,
        module: str,
        number: int,
        *,
        by: str,
        unrouted: bool = True,
        on_wait: Callable[[Unavailable], None] | None = None,
        rewrite_aof: bool = False,
    ) -> tuple[ErasureProof, Unavailable | None]:
        """Erase a record; each attempt has its own audit entry, and the document names the last one's."""
        form = {
            "account": account,
            "module": module,
            "id": number,
            "only_account": not unrouted,
            "rewrite_aof": rewrite_aof,
        }
        proof: ErasureProof | None = None
        while True:
            waiting: Unavailable | None = None
            try:
                document = self._calls.post(AnyDict, "/v1/erasures", form)["proof"]
            except PartlyErased as partly:
                document, waiting = partly.proof, partly.error
            latest = msgspec.convert(document, ErasureProof)
            proof = add_proofs(proof, latest) if proof else latest
            if waiting is None or on_wait is None:
                return proof, waiting
            on_wait(waiting)
            time.sleep(waiting.retry_after)

    def read_drift(
        self, account: str, wanted: DriftFilter, *, cursor: str = "", sample: int = 0
    ) -> DriftPage:
        of_jobs = JobFilter(type=wanted.type, parent=wanted.parent, child=wanted.child, since=wanted.since)
        form = {"account": account, **write_filter(of_jobs), "cursor": cursor, "sample": sample}
        return read_drift_page(self._calls.post(DriftPageDict, "/v1/drift", form))

    def prepare_repair(self, account: str, drifted: Sequence[DriftedRelation], *, by: str) -> Replay:
        form = {"account": account, "relations": list(map(serialize_drifted, drifted))}
        return read_replay(self._calls.post(ReplayDict, "/v1/drift/repairs", form))

    def prepare_replay(
        self, account: str, selection: Selection, *, by: str, forced: bool, correction: Mapping[str, Any]
    ) -> Replay:
        form = {**write_selection(account, selection), "force": forced, "set": dict(correction)}
        return read_replay(self._calls.post(ReplayDict, "/v1/replays", form))

    def start_replay(self, replay_id: str, *, by: str) -> Replay:
        """Let the replay run, on a worker."""
        return read_replay(self._calls.post(ReplayDict, f"/v1/replays/{quoted(replay_id)}/run"))

    def enqueue_replay(self, replay_id: str) -> str:
        """Do nothing: the server gave it to a worker when it was started."""
        return ""

    def run_replay(self, replay_id: str) -> Replay:
        """Wait until a worker has run the replay, or somebody has stopped it."""
        while (replay := self.find_replay(replay_id)).state == "running":
            time.sleep(POLL_INTERVAL)
        return replay

    def stop_replay(self, replay_id: str, *, by: str) -> Replay:
        return read_replay(self._calls.post(ReplayDict, f"/v1/replays/{quoted(replay_id)}/cancel"))

    def resend_callback_message(self, message_id: str, *, by: str) -> CallbackMessageDict:
        return self._calls.post(CallbackMessageDict, f"/v1/callbacks/{quoted(message_id)}/resend")

    def test_callback(self, name: str, account: str) -> CallbackTestDict:
        """Try a callback from the server."""
        form = {"account": account, "callback": name}
        return self._calls.post(CallbackTestDict, "/v1/callbacks/test", form)


def _select_faults(error: RelationsError | None, positions: Sequence[int]) -> RelationsError | None:
    """Return the error of one account's part: of faults with positions, those of its own."""
    if not isinstance(error, InvalidChange):
        return error
    own = [fault for fault in error.faults if fault.place in positions or fault.place is None]
    return InvalidChange(own) if own else error
