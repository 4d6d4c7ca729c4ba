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
from typing import Any, Final
from urllib.parse import quote

from ops.explain import ExplanationDict
from ops.lookups import describe_stop
from ops.operations.filters import write_delivery_filter, write_filter
from ops.operations.http_calls import HttpCalls
from ops.serializers.accounts import AccountDict, AccountsDict
from ops.serializers.audit import AuditPageDict
from ops.serializers.callbacks import CallbackMessageDict, CallbackMessagePageDict
from ops.serializers.deliveries import DeliveryDict, DeliveryPageDict
from ops.serializers.failures import FailuresDict
from ops.serializers.jobs import read_job, read_payload, read_waiting
from ops.serializers.replays import read_replay
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
        answer: AccountsDict = self._calls.get("/v1/accounts", utc_offset=self._offset)
        return answer

    def why_not_sending(self, account: str) -> str:
        answer = self._calls.get("/v1/accounts", utc_offset=self._offset)
        for state in answer["accounts"]:
            if state["account"] == account:
                return describe_stop(state["waits"])
        return ""

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
        document = self._find(f"/v1/jobs/{quoted(job_id)}")
        return read_job(document) if document else None

    def find_waits(self, jobs: Sequence[JobRecord]) -> Mapping[str, Waiting]:
        may_wait = [job.id for job in jobs if job.state in OPEN_STATES and job.state != "sending"]
        waits = {document["id"]: read_waiting(document) for document in self._look_up(may_wait)}
        return {job_id: waiting for job_id, waiting in waits.items() if waiting}

    def get_payload(self, job_id: str) -> Payload | None:
        document = self._find(f"/v1/jobs/{quoted(job_id)}/payload")
        return read_payload(document) if document else None

    def count_batch(self, account: str, label: str) -> BatchDict:
        batch: BatchDict = self._calls.get(f"/v1/batches/{quoted(label)}", account=account)
        return batch

    def list_failures(self, account: str) -> FailuresDict:
        failures: FailuresDict = self._calls.get("/v1/errors", account=account)
        return failures

    def explain(self, account: str, relation: Relation) -> ExplanationDict:
        path = f"/v1/relations/{quoted(relation.type)}/{relation.parent}/{relation.child}"
        document: ExplanationDict = self._calls.get(path, account=account, utc_offset=self._offset)
        return document

    def list_requests(self, account: str, *, limit: int, cursor: str) -> RequestPageDict:
        page: RequestPageDict = self._list("requests", "requests", account, limit, cursor)
        return page

    def get_request(self, account: str, request_id: str) -> RequestDict | None:
        request: RequestDict | None = self._find(f"/v1/requests/{quoted(request_id)}", account=account)
        return request

    def audit_log(self, account: str, *, limit: int, cursor: str) -> AuditPageDict:
        page: AuditPageDict = self._list("audit", "deeds", account, limit, cursor)
        return page

    def _list(self, path: str, name: str, account: str, limit: int, cursor: str) -> Any:
        """Return a page of so many entries, made of several pages if need be."""
        found = list[Any]()
        while True:
            size = min(MAX_PAGE, limit - len(found))
            page = self._calls.get(f"/v1/{path}", account=account, limit=size, cursor=cursor)
            found += page[name]
            cursor = page["next"] or ""
            if not cursor or len(found) >= limit:
                return {name: found, "next": cursor or None}

    def _find(self, path: str, **query: str) -> Any:
        """Return what a GET answers, None if it is not there."""
        try:
            return self._calls.get(path, **query)
        except NotFound:
            return None

    def find_deliveries(self, wanted: DeliveryFilter, *, limit: int, cursor: str = "") -> DeliveryPageDict:
        page: DeliveryPageDict = self._calls.get(
            "/v1/deliveries", **write_delivery_filter(wanted), limit=min(limit, MAX_PAGE), cursor=cursor
        )
        return page

    def get_delivery(self, delivery_id: str) -> DeliveryDict | None:
        delivery: DeliveryDict | None = self._find(f"/v1/deliveries/{quoted(delivery_id)}")
        return delivery

    def get_delivery_request(self, delivery_id: str) -> bytes:
        document = self._calls.get(f"/v1/deliveries/{quoted(delivery_id)}/payload")
        return b64decode(document["request"])

    def list_replays(self, account: str) -> Sequence[Replay]:
        return [read_replay(replay) for replay in self._calls.get("/v1/replays", account=account)["replays"]]

    def find_replay(self, replay_id: str) -> Replay:
        return read_replay(self._calls.get(f"/v1/replays/{quoted(replay_id)}"))

    def count_outcomes(self, replay: Replay) -> Mapping[str, int]:
        became: Mapping[str, int] = self._calls.get(f"/v1/replays/{quoted(replay.id)}")["became"]
        return became

    def list_callback_messages(self, account: str, *, limit: int, cursor: str) -> CallbackMessagePageDict:
        page: CallbackMessagePageDict = self._list("callbacks", "messages", account, limit, cursor)
        return page

    def find_callback_message(self, message_id: str) -> CallbackMessageDict:
        message: CallbackMessageDict = self._calls.get(f"/v1/callbacks/{quoted(message_id)}")
        return message


def quoted(text: str) -> str:
    """Return a text as a part of a path."""
    return quote(text, safe="")
