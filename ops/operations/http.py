"""The operations over the HTTP interface, with a key: this machine needs no Redis and no settings.

`port` says what each method does; here it is said only where there is more to say.
"""

# ruff: noqa: D102, ARG002 - the audit log names the key, whatever `by` says

import time
from base64 import b64decode
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, tzinfo
from functools import cached_property
from itertools import islice
from typing import Any, Final
from urllib.parse import quote

import msgspec

from ops.doctor.findings import Finding, read_finding
from ops.explain import Explanation
from ops.lookups import describe_stop
from ops.operations.filters import write_delivery_filter, write_filter, write_selection
from ops.operations.http_calls import HttpCalls, PartlyAccepted, PartlyErased
from ops.resuming import Resumed
from ops.serializers.accounts import AccountDict, AccountsDict
from ops.serializers.audit import read_audit_entry
from ops.serializers.callbacks import read_message
from ops.serializers.deliveries import read_delivery, read_remapped
from ops.serializers.drift import read_drift_page, serialize_drifted
from ops.serializers.explanations import read_explanation
from ops.serializers.failures import read_failure, read_suspect
from ops.serializers.jobs import read_job, read_payload, read_waiting
from ops.serializers.replays import read_replay
from ops.serializers.requests import read_request
from producers.job_admin.erasure_proof import ErasureProof, add_proofs
from producers.job_admin.resolve import PARKED, RecordChoice
from producers.job_admin.selection import PIECE, Selection, preview_act
from producers.job_admin.suspects import RecordFailures
from producers.portals.serializers import BatchDict, JobDict
from producers.webhooks.redelivery import Remapped
from worker.config import mask_url
from worker.contract import Change, Relation, to_message
from worker.errors import InvalidChange, NotFound, RelationsError, Unavailable
from worker.ports import (
    OPEN_STATES,
    UNROUTED,
    AdminResult,
    AuditPage,
    CallbackAttempt,
    CallbackMessage,
    Delivery,
    DeliveryFilter,
    DeliveryPage,
    DriftedRelation,
    DriftFilter,
    DriftPage,
    FailureGroup,
    JobFilter,
    JobPage,
    JobRecord,
    JobState,
    MessagePage,
    Payload,
    Receipt,
    Replay,
    RequestPage,
    RequestRecord,
    Waiting,
)
from worker.usecases.intake import AccountResult, group_by_account

MAX_PAGE: Final = 500  # entries of one page of the interface
POLL_INTERVAL: Final = 0.5  # seconds between two looks at a running replay


class HttpOperations:
    """The operations over HTTP; texts have `zone`, and the audit log names the key, whatever `by` says."""

    def __init__(self, calls: HttpCalls, url: str, *, zone: tzinfo) -> None:
        self._calls, self.where = calls, mask_url(url)
        self._offset = datetime.now(zone).isoformat()[-6:]

    def now(self) -> int:
        """Return the time of this machine."""
        return time.time_ns() // 1000

    # --- accounts

    def account_names(self) -> Sequence[str]:
        """Return the accounts of the key."""
        return [account["account"] for account in self._accounts["accounts"]]

    def inbox_names(self) -> Sequence[str]:
        """Return the same, and `unrouted` if the key is for it."""
        unrouted = [UNROUTED] if UNROUTED in self._accounts["key"]["accounts"] else []
        return [*self.account_names(), *unrouted]

    def list_accounts(self) -> Sequence[AccountDict]:
        return self._accounts["accounts"]

    def get_account(self, account: str) -> AccountDict:
        for state in self.list_accounts():
            if state["account"] == account:
                return state
        raise NotFound(f'there is no account "{account}"')

    @cached_property
    def _accounts(self) -> AccountsDict:
        answer: AccountsDict = self._calls.get("/v1/accounts", utc_offset=self._offset)
        return answer

    def pause_account(self, account: str, why: str, *, by: str) -> None:
        self._calls.post(f"/v1/accounts/{_quote(account)}/pause", {"why": why})

    def resume_account(self, account: str, *, by: str) -> Resumed:
        answer = self._calls.post(f"/v1/accounts/{_quote(account)}/resume")
        did = tuple(answer["did"])
        return Resumed(account, answer["was_paused"], answer["breaker_was"], answer["pace_was"], did)

    def check_account(self, account: str) -> Iterable[Finding]:
        """Return the findings of the server's doctor about the account."""
        answer = self._calls.post(f"/v1/accounts/{_quote(account)}/check")
        return [read_finding(finding) for finding in answer["findings"]]

    def why_not_sending(self, account: str) -> str:
        answer = self._calls.get("/v1/accounts", utc_offset=self._offset)
        for state in answer["accounts"]:
            if state["account"] == account:
                return describe_stop(state["waits"])
        return ""

    # --- what is kept

    def find_jobs(self, account: str, wanted: JobFilter, *, limit: int = 50, cursor: str = "") -> JobPage:
        page = self._calls.get(
            "/v1/jobs",
            account=account,
            **write_filter(wanted),
            limit=min(limit, MAX_PAGE),
            cursor=cursor,
        )
        return JobPage(tuple(map(read_job, page["jobs"])), page["next"] or "")

    def get_jobs(self, jobs: Sequence[str]) -> Mapping[str, JobRecord]:
        return {document["id"]: read_job(document) for document in self._look_up(jobs)}

    def _look_up(self, jobs: Sequence[str]) -> Iterator[JobDict]:
        """Yield those of the jobs that there are."""
        ids = iter(jobs)
        while piece := list(islice(ids, PIECE)):
            yield from filter(None, self._calls.post("/v1/jobs/lookup", {"jobs": piece})["jobs"])

    def get_job(self, job_id: str) -> JobRecord | None:
        document = self._find(f"/v1/jobs/{_quote(job_id)}")
        return read_job(document) if document else None

    def find_waits(self, jobs: Sequence[JobRecord]) -> Mapping[str, Waiting]:
        may_wait = [job.id for job in jobs if job.state in OPEN_STATES and job.state != "sending"]
        waits = {document["id"]: read_waiting(document) for document in self._look_up(may_wait)}
        return {job_id: waiting for job_id, waiting in waits.items() if waiting}

    def get_payload(self, job_id: str) -> Payload | None:
        document = self._find(f"/v1/jobs/{_quote(job_id)}/payload")
        return read_payload(document) if document else None

    def count_batch(self, account: str, label: str) -> BatchDict:
        batch: BatchDict = self._calls.get(f"/v1/batches/{_quote(label)}", account=account)
        return batch

    def failure_groups(self, account: str) -> Sequence[FailureGroup]:
        return list(map(read_failure, self._calls.get("/v1/errors", account=account)["errors"]))

    def find_suspects(self, account: str) -> Sequence[RecordFailures]:
        return list(map(read_suspect, self._calls.get("/v1/errors", account=account)["records"]))

    def explain(self, account: str, relation: Relation) -> Explanation:
        path = f"/v1/relations/{_quote(relation.type)}/{relation.parent}/{relation.child}"
        document = self._calls.get(path, account=account, utc_offset=self._offset)
        return read_explanation(document)

    def list_requests(self, account: str, *, limit: int, cursor: str) -> RequestPage:
        found, next_ = self._list("requests", "requests", account, limit, cursor)
        return RequestPage(tuple(map(read_request, found)), next_)

    def get_request(self, account: str, request_id: str) -> RequestRecord | None:
        document = self._find(f"/v1/requests/{_quote(request_id)}", account=account)
        return read_request(document) if document else None

    def audit_log(self, account: str, *, limit: int, cursor: str) -> AuditPage:
        found, next_ = self._list("audit", "deeds", account, limit, cursor)
        return AuditPage(tuple(map(read_audit_entry, found)), next_)

    def _list(self, path: str, name: str, account: str, limit: int, cursor: str) -> tuple[Sequence[Any], str]:
        """Return so many entries, of several pages if need be, and the cursor of the next page."""
        found = list[Any]()
        while True:
            size = min(MAX_PAGE, limit - len(found))
            page = self._calls.get(f"/v1/{path}", account=account, limit=size, cursor=cursor)
            found += page[name]
            cursor = page["next"] or ""
            if not cursor or len(found) >= limit:
                return found, cursor

    def _find(self, path: str, **query: str) -> Any:
        """Return what a GET answers, None if it is not there."""
        try:
            return self._calls.get(path, **query)
        except NotFound:
            return None

    # --- deliveries to webhooks

    def find_deliveries(self, wanted: DeliveryFilter, *, limit: int, cursor: str = "") -> DeliveryPage:
        page = self._calls.get(
            "/v1/deliveries",
            **write_delivery_filter(wanted),
            limit=min(limit, MAX_PAGE),
            cursor=cursor,
        )
        return DeliveryPage(tuple(map(read_delivery, page["deliveries"])), page["next"] or "")

    def get_delivery(self, delivery_id: str) -> Delivery | None:
        document = self._find(f"/v1/deliveries/{_quote(delivery_id)}")
        return read_delivery(document) if document else None

    def get_delivery_request(self, delivery_id: str) -> bytes:
        document = self._calls.get(f"/v1/deliveries/{_quote(delivery_id)}/payload")
        return b64decode(document["request"])

    def remap_deliveries(self, ids: Sequence[str], *, by: str, dry_run: bool) -> Iterable[Remapped]:
        for start in range(0, len(ids), MAX_PAGE):
            form = {"deliveries": ids[start : start + MAX_PAGE], "dry_run": dry_run}
            answer = self._calls.post("/v1/deliveries/remap", form)
            yield from map(read_remapped, answer["deliveries"])

    # --- acts

    def accept(self, changes: Sequence[Change]) -> Iterable[AccountResult]:
        error: RelationsError | None = None
        jobs: Sequence[Mapping[str, Any] | None] = [None] * len(changes)
        try:
            jobs = self._calls.post("/v1/changes", [to_message(change) for change in changes])["jobs"]
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

    def preview(
        self, account: str, selection: Selection, states: Sequence[JobState]
    ) -> Iterator[tuple[list[str], dict[str, str]]]:
        return preview_act(self, account, selection, states)

    def cancel(self, account: str, selection: Selection, *, by: str) -> AdminResult:
        return self._act("/v1/jobs/cancel", account, selection)

    def dismiss(self, account: str, selection: Selection, *, by: str) -> AdminResult:
        return self._act("/v1/jobs/dismiss", account, selection)

    def _act(self, path: str, account: str, selection: Selection) -> AdminResult:
        """Act on all selected jobs, of which the interface takes so many at once."""
        done, refused = list[str](), dict[str, str]()
        while True:
            answer = self._calls.post(path, write_selection(account, selection))
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
        answer = self._calls.post(f"/v1/jobs/{_quote(job_id)}/resolve", form)
        return AdminResult(tuple(answer["jobs"]), answer["refused"])

    def look_up(self, account: str, selection: Selection, *, by: str) -> AdminResult:
        """Have parked changes looked up at once, piece by piece: they stay parked until that was done."""
        jobs, done, refused = list[str](), list[str](), dict[str, str]()
        for fit, unfit in preview_act(self, account, selection, PARKED):
            jobs += fit
            refused |= unfit
        for start in range(0, len(jobs), PIECE):
            form = {"account": account, "jobs": jobs[start : start + PIECE]}
            answer = self._calls.post("/v1/jobs/look-up-records", form)
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
                document = self._calls.post("/v1/erasures", form)["proof"]
            except PartlyErased as partly:
                document, waiting = partly.proof, partly.error
            latest = msgspec.convert(document, ErasureProof)
            proof = add_proofs(proof, latest) if proof else latest
            if waiting is None or on_wait is None:
                return proof, waiting
            on_wait(waiting)
            time.sleep(waiting.retry_after)

    # --- drift

    def read_drift(
        self, account: str, wanted: DriftFilter, *, cursor: str = "", sample: int = 0
    ) -> DriftPage:
        of_jobs = JobFilter(type=wanted.type, parent=wanted.parent, child=wanted.child, since=wanted.since)
        form = {"account": account, **write_filter(of_jobs), "cursor": cursor, "sample": sample}
        return read_drift_page(self._calls.post("/v1/drift", form))

    def prepare_repair(self, account: str, drifted: Sequence[DriftedRelation], *, by: str) -> Replay:
        form = {"account": account, "relations": list(map(serialize_drifted, drifted))}
        return read_replay(self._calls.post("/v1/drift/repairs", form))

    # --- replays

    def prepare_replay(
        self, account: str, selection: Selection, *, by: str, forced: bool, correction: Mapping[str, Any]
    ) -> Replay:
        form = {**write_selection(account, selection), "force": forced, "set": dict(correction)}
        return read_replay(self._calls.post("/v1/replays", form))

    def list_replays(self, account: str) -> Sequence[Replay]:
        return [read_replay(replay) for replay in self._calls.get("/v1/replays", account=account)["replays"]]

    def find_replay(self, replay_id: str) -> Replay:
        return read_replay(self._calls.get(f"/v1/replays/{_quote(replay_id)}"))

    def count_outcomes(self, replay: Replay) -> Mapping[str, int]:
        became: Mapping[str, int] = self._calls.get(f"/v1/replays/{_quote(replay.id)}")["became"]
        return became

    def start_replay(self, replay_id: str, *, by: str) -> Replay:
        """Let the replay run, on a worker."""
        return read_replay(self._calls.post(f"/v1/replays/{_quote(replay_id)}/run"))

    def enqueue_replay(self, replay_id: str) -> str:
        """Do nothing: the server gave it to a worker when it was started."""
        return ""

    def run_replay(self, replay_id: str) -> Replay:
        """Wait until a worker has run the replay, or somebody has stopped it."""
        while (replay := self.find_replay(replay_id)).state == "running":
            time.sleep(POLL_INTERVAL)
        return replay

    def stop_replay(self, replay_id: str, *, by: str) -> Replay:
        return read_replay(self._calls.post(f"/v1/replays/{_quote(replay_id)}/cancel"))

    # --- callbacks

    def list_callback_messages(self, account: str, *, limit: int, cursor: str) -> MessagePage:
        found, next_ = self._list("callbacks", "messages", account, limit, cursor)
        return MessagePage(tuple(map(read_message, found)), next_)

    def find_callback_message(self, message_id: str) -> CallbackMessage:
        return read_message(self._calls.get(f"/v1/callbacks/{_quote(message_id)}"))

    def resend_callback_message(self, message_id: str, *, by: str) -> CallbackMessage:
        return read_message(self._calls.post(f"/v1/callbacks/{_quote(message_id)}/resend"))

    def test_callback(self, name: str, account: str) -> CallbackAttempt:
        """Try a callback from the server."""
        answer = self._calls.post("/v1/callbacks/test", {"account": account, "callback": name})
        return CallbackAttempt(answer["status"], answer["error"])


def _quote(text: str) -> str:
    return quote(text, safe="")


def _select_faults(error: RelationsError | None, positions: Sequence[int]) -> RelationsError | None:
    """Return the error of one account's part: of faults with positions, those of its own."""
    if not isinstance(error, InvalidChange):
        return error
    own = [fault for fault in error.faults if fault.place in positions or fault.place is None]
    return InvalidChange(own) if own else error
