"""The operations over the HTTP interface, with a key: this machine needs no Redis and no settings.

`local` says what each method does; here it is said only where there is more to say.
"""

# ruff: noqa: D102, ARG002 - the audit log names the key, whatever `by` says

import time
from base64 import b64decode
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cached_property
from itertools import islice
from typing import Any, Final

import msgspec

from ops.doctor.findings import Finding, read_finding
from ops.explain import ExplanationDict
from ops.explain.text import Zone
from ops.lookups import describe_stop
from ops.operations.filters import write_delivery_filter, write_filter, write_selection
from ops.operations.http_calls import AnyDict, HttpCalls, quoted, select_faults
from ops.serializers.accounts import AccountDict, AccountsDict
from ops.serializers.acts import ActedDict, AuditPageDict, PausedDict
from ops.serializers.callbacks import CallbackMessageDict, CallbackMessagePageDict, CallbackTestDict
from ops.serializers.deliveries import (
    DeliveryDict,
    DeliveryPageDict,
    DeliveryPayloadDict,
    RemappedDict,
    RemappedPageDict,
)
from ops.serializers.drift import DriftedDict, DriftPageDict
from ops.serializers.failures import FailuresDict
from ops.serializers.jobs import PayloadDict, read_payload
from ops.serializers.replays import ReplayDict, ReplaysDict, read_replay
from ops.serializers.requests import RequestDict, RequestPageDict
from ops.serializers.system import FindingsDict
from producers.errors import Forbidden
from producers.job_admin.erasure_proof import ErasureProof, add_proofs
from producers.job_admin.resolve import PARKED, RecordChoice
from producers.job_admin.selection import PIECE, Selection, select_jobs
from producers.portals.http.query import MAX_PAGE
from producers.portals.sdk.http_transport import quote_segment
from producers.portals.serializers import BatchDict, HeldDict, JobDict, read_job
from worker.config import mask_url
from worker.contract import Change, Relation, account_of, to_message
from worker.contract.message import UNROUTED
from worker.errors import NotFound, StoreUnreadable, Unavailable
from worker.ports.deliveries import DeliveryFilter
from worker.ports.drift import DriftFilter
from worker.ports.job_admin import AdminResult, Payload
from worker.ports.queries import CursorPage
from worker.ports.records import OPEN_STATES, JobFilter, JobRecord
from worker.ports.replays import Replay
from worker.ports.store import Receipt
from worker.usecases.intake import AccountResult, group_by_account

POLL_INTERVAL: Final = 0.5  # seconds between two looks at a running replay


class HttpOperations:
    """The operations over HTTP; texts have `zone`, and the audit log names the key, whatever `by` says."""

    def __init__(self, calls: HttpCalls, url: str, *, zone: Zone) -> None:
        self._calls, self.where = calls, mask_url(url)
        self._offset = datetime.now(UTC).astimezone(zone).isoformat()[-6:]

    def now(self) -> int:
        """Return the time of this machine."""
        return time.time_ns() // 1000

    def account_names(self) -> Sequence[str]:
        """Return the accounts of the key, for which a command asks several times."""
        return self._account_names

    @cached_property
    def _account_names(self) -> Sequence[str]:
        return [name for name in self.inbox_names() if name != UNROUTED]

    def inbox_names(self) -> Sequence[str]:
        """Return the accounts of the key, as they are now, and `unrouted` if it is for that, too."""
        return _list_names(self._read_accounts())

    def list_accounts(self) -> Sequence[AccountDict]:
        return self._read_accounts()["accounts"]

    def get_account(self, account: str) -> AccountDict:
        answer = self._read_accounts()
        if found := _find_account(answer, account):
            return found
        if account in _list_names(answer):
            raise StoreUnreadable(f"what is stored of account {account} cannot be read")
        raise NotFound(f'there is no account "{account}"')

    def _read_accounts(self) -> AccountsDict:
        return self._calls.get(AccountsDict, "/v1/accounts", utc_offset=self._offset)

    def why_not_sending(self, account: str) -> str:
        found = _find_account(self._read_accounts(), account)
        return describe_stop(found["waits"]) if found else ""

    def find_jobs(
        self, account: str, wanted: JobFilter, *, limit: int = 50, cursor: str = ""
    ) -> CursorPage[JobRecord]:
        bounds = {"limit": min(limit, MAX_PAGE), "cursor": cursor}
        page = self._calls.get(AnyDict, "/v1/jobs", account=account, **write_filter(wanted), **bounds)
        return CursorPage(tuple(map(read_job, page["jobs"])), page["next"] or "")

    def get_jobs(self, jobs: Sequence[str]) -> Mapping[str, JobRecord]:
        return {document["id"]: read_job(document) for document in self._look_up(jobs)}

    def _look_up(self, jobs: Sequence[str]) -> Iterator[JobDict]:
        """Yield those of the jobs that there are."""
        ids = iter(jobs)
        while piece := list(islice(ids, PIECE)):
            yield from filter(None, self._calls.post(AnyDict, "/v1/jobs/lookup", {"jobs": piece})["jobs"])

    def get_job(self, job_id: str) -> JobRecord | None:
        with self._owned(job_id, "job"):
            document = self._calls.find(JobDict, "/v1/jobs/{}", job_id)
        return read_job(document) if document else None

    def find_waits(self, jobs: Sequence[JobRecord]) -> Mapping[str, HeldDict]:
        may_wait = [job.id for job in jobs if job.state in OPEN_STATES and job.state != "sending"]
        return {job["id"]: held for job in self._look_up(may_wait) if (held := job["held"])}

    def get_payload(self, job_id: str) -> Payload | None:
        document = self._calls.find(PayloadDict, "/v1/jobs/{}/payload", job_id)
        return read_payload(document) if document else None

    def count_batch(self, account: str, label: str) -> BatchDict:
        return self._calls.get(BatchDict, f"/v1/batches/{quote_segment(label)}", account=account)

    def list_failures(self, account: str) -> FailuresDict:
        return self._calls.get(FailuresDict, "/v1/errors", account=account)

    def explain(self, account: str, relation: Relation) -> ExplanationDict:
        path = f"/v1/relations/{quoted(relation.type)}/{relation.parent}/{relation.child}"
        return self._calls.get(ExplanationDict, path, account=account, utc_offset=self._offset)

    def list_requests(self, account: str, *, limit: int, cursor: str) -> RequestPageDict:
        return self._calls.get_page(RequestPageDict, "/v1/requests", "requests", account, limit, cursor)

    def get_request(self, account: str, request_id: str) -> RequestDict | None:
        return self._calls.find(RequestDict, "/v1/requests/{}", request_id, account=account)

    def audit_log(self, account: str, *, limit: int, cursor: str) -> AuditPageDict:
        return self._calls.get_page(AuditPageDict, "/v1/audit", "deeds", account, limit, cursor)

    def find_deliveries(self, wanted: DeliveryFilter, *, limit: int, cursor: str = "") -> DeliveryPageDict:
        return self._calls.get(
            DeliveryPageDict,
            "/v1/deliveries",
            **write_delivery_filter(wanted),
            limit=min(limit, MAX_PAGE),
            cursor=cursor,
        )

    def get_delivery(self, delivery_id: str) -> DeliveryDict | None:
        return self._calls.find(DeliveryDict, "/v1/deliveries/{}", delivery_id)

    def get_delivery_request(self, delivery_id: str) -> bytes:
        document = self._calls.get(DeliveryPayloadDict, f"/v1/deliveries/{quoted(delivery_id)}/payload")
        return b64decode(document["request"])

    def list_replays(self, account: str) -> Sequence[Replay]:
        found = self._calls.get(ReplaysDict, "/v1/replays", account=account)
        return list(map(read_replay, found["replays"]))

    def find_replay(self, replay_id: str) -> Replay:
        with self._owned(replay_id, "replay"):
            return read_replay(self._calls.get(ReplayDict, f"/v1/replays/{quoted(replay_id)}"))

    def count_outcomes(self, replay: Replay) -> Mapping[str, int]:
        return self._calls.get(ReplayDict, f"/v1/replays/{quoted(replay.id)}")["became"]

    def list_callback_messages(self, account: str, *, limit: int, cursor: str) -> CallbackMessagePageDict:
        return self._calls.get_page(
            CallbackMessagePageDict, "/v1/callbacks", "messages", account, limit, cursor
        )

    def find_callback_message(self, message_id: str) -> CallbackMessageDict:
        with self._owned(message_id, "message"):
            return self._calls.get(CallbackMessageDict, f"/v1/callbacks/{quoted(message_id)}")

    @contextmanager
    def _owned(self, id_: str, kind: str) -> Iterator[None]:
        """Raise NotFound for what is refused because no account of the key can have such an id.

        So does a command straight on Redis for one that no account of the settings can have.
        """
        try:
            yield
        except Forbidden:
            if account_of(id_) in self.inbox_names():  # the key lacks the right
                raise
            raise NotFound(f"there is no {kind} {id_} of an account that the key is for") from None

    # --- acts

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
        jobs, error = self._calls.send_changes(list(map(to_message, changes)))
        for positions in group_by_account(changes):
            entries = [entry for at in positions if (entry := jobs[at])]
            if entries:
                receipts = tuple(Receipt(entry["id"], entry["duplicate"]) for entry in entries)
                yield AccountResult(positions, receipts)
            elif part := select_faults(error, positions):
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
            document, waiting = self._calls.erase(form)
            latest = msgspec.convert(document, ErasureProof)
            proof = add_proofs(proof, latest) if proof else latest
            if waiting is None or on_wait is None:
                return proof, waiting
            on_wait(waiting)
            time.sleep(waiting.retry_after)

    def read_drift(
        self, account: str, wanted: DriftFilter, *, cursor: str = "", sample: int = 0
    ) -> DriftPageDict:
        of_jobs = JobFilter(type=wanted.type, parent=wanted.parent, child=wanted.child, since=wanted.since)
        form = {"account": account, **write_filter(of_jobs), "cursor": cursor, "sample": sample}
        return self._calls.post(DriftPageDict, "/v1/drift", form)

    def prepare_repair(self, account: str, drifted: Sequence[DriftedDict], *, by: str) -> Replay:
        form = {"account": account, "relations": drifted}
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
        with self._owned(replay_id, "replay"):
            return read_replay(self._calls.post(ReplayDict, f"/v1/replays/{quoted(replay_id)}/cancel"))

    def resend_callback_message(self, message_id: str, *, by: str) -> CallbackMessageDict:
        with self._owned(message_id, "message"):
            return self._calls.post(CallbackMessageDict, f"/v1/callbacks/{quoted(message_id)}/resend")

    def test_callback(self, name: str, account: str) -> CallbackTestDict:
        """Try a callback from the server."""
        form = {"account": account, "callback": name}
        return self._calls.post(CallbackTestDict, "/v1/callbacks/test", form)


def _list_names(answer: AccountsDict) -> list[str]:
    listed = (account["account"] for account in answer["accounts"])  # without those that cannot be read
    return list(dict.fromkeys([*listed, *answer["key"]["accounts"]]))


def _find_account(answer: AccountsDict, name: str) -> AccountDict | None:
    return next((account for account in answer["accounts"] if account["account"] == name), None)
