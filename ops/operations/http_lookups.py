"""What operators look up over the HTTP interface, with a key: this machine needs no Redis and no settings.

`local` says what each method does; here it is said only where there is more to say.
"""

# ruff: noqa: D102

import time
from base64 import b64decode
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, tzinfo
from functools import cached_property
from itertools import islice
from typing import Any, Final, cast
from urllib.parse import quote

from ops.explain import ExplanationDict
from ops.lookups import describe_stop
from ops.operations.filters import write_delivery_filter, write_filter
from ops.operations.http_calls import AnyDict, Document, HttpCalls
from ops.serializers.accounts import AccountDict, AccountsDict
from ops.serializers.audit import AuditPageDict
from ops.serializers.callbacks import CallbackMessageDict, CallbackMessagePageDict
from ops.serializers.deliveries import DeliveryDict, DeliveryPageDict, DeliveryPayloadDict
from ops.serializers.failures import FailuresDict
from ops.serializers.jobs import PayloadDict, read_job, read_payload, read_waiting
from ops.serializers.replays import ReplayDict, ReplaysDict, read_replay
from ops.serializers.requests import RequestDict, RequestPageDict
from producers.job_admin.selection import PIECE
from producers.portals.serializers import BatchDict, JobDict
from worker.config import mask_url
from worker.contract import Relation
from worker.contract.message import UNROUTED
from worker.errors import NotFound
from worker.ports.deliveries import DeliveryFilter
from worker.ports.job_admin import Payload
from worker.ports.records import OPEN_STATES, JobFilter, JobPage, JobRecord
from worker.ports.replays import Replay
from worker.ports.waiting import Waiting

MAX_PAGE: Final = 500  # entries of one page of the interface


class HttpLookups:
    """What is looked up over HTTP; texts have `zone`."""

    def __init__(self, calls: HttpCalls, url: str, *, zone: tzinfo) -> None:
        self._calls, self.where = calls, mask_url(url)
        self._offset = datetime.now(zone).isoformat()[-6:]

    def now(self) -> int:
        """Return the time of this machine."""
        return time.time_ns() // 1000

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
        return self._calls.get(AccountsDict, "/v1/accounts", utc_offset=self._offset)

    def why_not_sending(self, account: str) -> str:
        answer = self._calls.get(AccountsDict, "/v1/accounts", utc_offset=self._offset)
        for state in answer["accounts"]:
            if state["account"] == account:
                return describe_stop(state["waits"])
        return ""

    def find_jobs(self, account: str, wanted: JobFilter, *, limit: int = 50, cursor: str = "") -> JobPage:
        page = self._calls.get(
            AnyDict,
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
            yield from filter(None, self._calls.post(AnyDict, "/v1/jobs/lookup", {"jobs": piece})["jobs"])

    def get_job(self, job_id: str) -> JobRecord | None:
        document = self._calls.find(JobDict, f"/v1/jobs/{quoted(job_id)}")
        return read_job(document) if document else None

    def find_waits(self, jobs: Sequence[JobRecord]) -> Mapping[str, Waiting]:
        may_wait = [job.id for job in jobs if job.state in OPEN_STATES and job.state != "sending"]
        waits = {document["id"]: read_waiting(document) for document in self._look_up(may_wait)}
        return {job_id: waiting for job_id, waiting in waits.items() if waiting}

    def get_payload(self, job_id: str) -> Payload | None:
        document = self._calls.find(PayloadDict, f"/v1/jobs/{quoted(job_id)}/payload")
        return read_payload(document) if document else None

    def count_batch(self, account: str, label: str) -> BatchDict:
        return self._calls.get(BatchDict, f"/v1/batches/{quoted(label)}", account=account)

    def list_failures(self, account: str) -> FailuresDict:
        return self._calls.get(FailuresDict, "/v1/errors", account=account)

    def explain(self, account: str, relation: Relation) -> ExplanationDict:
        path = f"/v1/relations/{quoted(relation.type)}/{relation.parent}/{relation.child}"
        return self._calls.get(ExplanationDict, path, account=account, utc_offset=self._offset)

    def list_requests(self, account: str, *, limit: int, cursor: str) -> RequestPageDict:
        return self._list(RequestPageDict, "requests", "requests", account, limit, cursor)

    def get_request(self, account: str, request_id: str) -> RequestDict | None:
        return self._calls.find(RequestDict, f"/v1/requests/{quoted(request_id)}", account=account)

    def audit_log(self, account: str, *, limit: int, cursor: str) -> AuditPageDict:
        return self._list(AuditPageDict, "audit", "deeds", account, limit, cursor)

    def _list(
        self, kind: type[Document], path: str, name: str, account: str, limit: int, cursor: str
    ) -> Document:
        """Return a page of so many entries, made of several pages if need be."""
        found = list[Any]()
        while True:
            size = min(MAX_PAGE, limit - len(found))
            page: Any = self._calls.get(kind, f"/v1/{path}", account=account, limit=size, cursor=cursor)
            found += page[name]
            cursor = page["next"] or ""
            if not cursor or len(found) >= limit:
                return cast(Document, {name: found, "next": cursor or None})

    def find_deliveries(self, wanted: DeliveryFilter, *, limit: int, cursor: str = "") -> DeliveryPageDict:
        return self._calls.get(
            DeliveryPageDict,
            "/v1/deliveries",
            **write_delivery_filter(wanted),
            limit=min(limit, MAX_PAGE),
            cursor=cursor,
        )

    def get_delivery(self, delivery_id: str) -> DeliveryDict | None:
        return self._calls.find(DeliveryDict, f"/v1/deliveries/{quoted(delivery_id)}")

    def get_delivery_request(self, delivery_id: str) -> bytes:
        document = self._calls.get(DeliveryPayloadDict, f"/v1/deliveries/{quoted(delivery_id)}/payload")
        return b64decode(document["request"])

    def list_replays(self, account: str) -> Sequence[Replay]:
        found = self._calls.get(ReplaysDict, "/v1/replays", account=account)
        return list(map(read_replay, found["replays"]))

    def find_replay(self, replay_id: str) -> Replay:
        return read_replay(self._calls.get(ReplayDict, f"/v1/replays/{quoted(replay_id)}"))

    def count_outcomes(self, replay: Replay) -> Mapping[str, int]:
        return self._calls.get(ReplayDict, f"/v1/replays/{quoted(replay.id)}")["became"]

    def list_callback_messages(self, account: str, *, limit: int, cursor: str) -> CallbackMessagePageDict:
        return self._list(CallbackMessagePageDict, "callbacks", "messages", account, limit, cursor)

    def find_callback_message(self, message_id: str) -> CallbackMessageDict:
        return self._calls.get(CallbackMessageDict, f"/v1/callbacks/{quoted(message_id)}")


def quoted(text: str) -> str:
    """Return a text as a part of a path."""
    return quote(text, safe="")
