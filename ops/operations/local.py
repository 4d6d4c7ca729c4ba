"""The operations straight on Redis, with the settings of this machine.

`port` says what each method does; here it is said only where there is more to say.
"""

# ruff: noqa: D102

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import tzinfo
from typing import Any

from ops import lookups, resuming
from ops.doctor.credentials import try_account
from ops.doctor.findings import Finding
from ops.explain import Explanation
from ops.resuming import Resumed
from ops.serializers.accounts import AccountDict
from producers.job_admin.erasure_proof import ErasureProof
from producers.job_admin.resolve import RecordChoice
from producers.job_admin.selection import Selection
from producers.job_admin.suspects import RecordFailures, find_suspects
from producers.portals.serializers import BatchDict, batch_json
from producers.services import Services
from producers.webhooks.redelivery import MAX_REMAPPED, Remapped, require_request
from worker.config import mask_url, refuse_secrets
from worker.contract import Change, Relation
from worker.errors import Unavailable
from worker.ports import (
    UNROUTED,
    AdminResult,
    AuditEntry,
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
    Pause,
    Payload,
    Replay,
    RequestPage,
    RequestRecord,
    Waiting,
)
from worker.usecases.intake import AccountResult
from worker.wiring import Runtime

PAUSED_BY_OPERATOR = "hand"  # the reason of a pause, as it is stored


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalOperations:
    """The operations over a runtime; `send_replay` gives a replay's id to the workers, texts have `zone`."""

    runtime: Runtime
    services: Services
    send_replay: Callable[[str], None]
    zone: tzinfo

    @property
    def where(self) -> str:
        """The address of Redis."""
        return mask_url(self.runtime.settings.redis_url)

    def now(self) -> int:
        """Return the store's time."""
        return self.runtime.metrics.now()

    # --- accounts

    def account_names(self) -> Sequence[str]:
        """Return the accounts of the settings."""
        return list(self.runtime.settings.accounts)

    def inbox_names(self) -> Sequence[str]:
        """Return the same and `unrouted`."""
        return [*self.runtime.settings.accounts, UNROUTED]

    def list_accounts(self) -> Sequence[AccountDict]:
        return list(map(self.get_account, self.runtime.settings.accounts))

    def get_account(self, account: str) -> AccountDict:
        return lookups.get_account_status(self.runtime, self.runtime.settings.account(account), self.zone)

    def pause_account(self, account: str, why: str, *, by: str) -> None:
        refuse_secrets(why=why, by=by)
        entry = AuditEntry(self._new_id(), by, "paused", account, why)
        self.runtime.store.pause(account, Pause(PAUSED_BY_OPERATOR, why), audit_entry=entry)

    def resume_account(self, account: str, *, by: str) -> Resumed:
        return resuming.resume_account(self.runtime, account, by=by, now=self.now() / 1e6)

    def check_account(self, account: str) -> Iterable[Finding]:
        """Yield the findings of the doctor about the account."""
        return try_account(self.runtime, self.runtime.settings.account(account))

    def why_not_sending(self, account: str) -> str:
        known = self.runtime.settings.accounts.get(account)  # none for messages that name no account
        return lookups.why_not_sending(self.runtime, known, self.zone) if known else ""

    # --- what is kept

    def find_jobs(self, account: str, wanted: JobFilter, *, limit: int = 50, cursor: str = "") -> JobPage:
        return self.runtime.queries.find_jobs(account, wanted, limit=limit, cursor=cursor)

    def get_jobs(self, jobs: Sequence[str]) -> Mapping[str, JobRecord]:
        return self.runtime.queries.get_jobs(jobs)

    def get_job(self, job_id: str) -> JobRecord | None:
        return self.runtime.store.get_job(job_id)

    def find_waits(self, jobs: Sequence[JobRecord]) -> Mapping[str, Waiting]:
        return self.runtime.waits.of_jobs(jobs)

    def get_payload(self, job_id: str) -> Payload | None:
        return self.runtime.job_admin.get_payload(job_id)

    def count_batch(self, account: str, label: str) -> BatchDict:
        return batch_json(account, label, self.runtime.store.batch_counts(account, label))

    def failure_groups(self, account: str) -> Sequence[FailureGroup]:
        return self.runtime.queries.failure_groups(account)

    def find_suspects(self, account: str) -> Sequence[RecordFailures]:
        return find_suspects(self.runtime.queries, account)

    def explain(self, account: str, relation: Relation) -> Explanation:
        settings = self.runtime.settings
        return lookups.explain_relation(self.runtime, settings.account(account), relation, zone=self.zone)

    def list_requests(self, account: str, *, limit: int, cursor: str) -> RequestPage:
        return self.runtime.queries.list_requests(account, limit=limit, cursor=cursor)

    def get_request(self, account: str, request_id: str) -> RequestRecord | None:
        return self.runtime.store.get_request(account, request_id)

    def audit_log(self, account: str, *, limit: int, cursor: str) -> AuditPage:
        return self.runtime.job_admin.audit_log(account, limit=limit, cursor=cursor)

    # --- deliveries to webhooks

    def find_deliveries(self, wanted: DeliveryFilter, *, limit: int, cursor: str = "") -> DeliveryPage:
        return self.runtime.deliveries.find(wanted, limit=limit, cursor=cursor)

    def get_delivery(self, delivery_id: str) -> Delivery | None:
        found = self.runtime.deliveries.get(delivery_id)
        return found.delivery if found else None

    def get_delivery_request(self, delivery_id: str) -> bytes:
        return require_request(lookups.find_delivery(self.runtime.deliveries, delivery_id, None))

    def remap_deliveries(self, ids: Sequence[str], *, by: str, dry_run: bool) -> Iterable[Remapped]:
        for start in range(0, len(ids), MAX_REMAPPED):
            piece = ids[start : start + MAX_REMAPPED]
            yield from self.services.deliveries.remap(piece, by=by, dry_run=dry_run)

    # --- acts

    def accept(self, changes: Sequence[Change]) -> Iterable[AccountResult]:
        return self.runtime.intake().accept_by_account(changes)

    def preview(
        self, account: str, selection: Selection, states: Sequence[JobState]
    ) -> Iterator[tuple[list[str], dict[str, str]]]:
        return self.services.jobs.preview(account, selection, states)

    def cancel(self, account: str, selection: Selection, *, by: str) -> AdminResult:
        return self.services.jobs.cancel(account, selection, by=by)

    def dismiss(self, account: str, selection: Selection, *, by: str) -> AdminResult:
        return self.services.jobs.dismiss(account, selection, by=by)

    def resolve(
        self, account: str, job_id: str, choice: RecordChoice, *, by: str, everywhere: bool
    ) -> AdminResult:
        return self.services.references.resolve(account, job_id, choice, by=by, everywhere=everywhere)

    def look_up(self, account: str, selection: Selection, *, by: str) -> AdminResult:
        return self.services.references.look_up(account, selection, by=by)

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
        return self.services.erasure.erase(
            account, module, number, by=by, unrouted=unrouted, on_wait=on_wait, rewrite_aof=rewrite_aof
        )

    # --- drift

    def read_drift(
        self, account: str, wanted: DriftFilter, *, cursor: str = "", sample: int = 0
    ) -> DriftPage:
        return self.runtime.read_drift(account, wanted, cursor=cursor, sample=sample)

    def prepare_repair(self, account: str, drifted: Sequence[DriftedRelation], *, by: str) -> Replay:
        return self.services.replays.prepare_repair(account, drifted, by=by)

    # --- replays

    def prepare_replay(
        self, account: str, selection: Selection, *, by: str, forced: bool, correction: Mapping[str, Any]
    ) -> Replay:
        return self.services.replays.prepare(account, selection, by=by, forced=forced, correction=correction)

    def list_replays(self, account: str) -> Sequence[Replay]:
        return self.runtime.job_admin.list_replays(account)

    def find_replay(self, replay_id: str) -> Replay:
        return self.services.replays.find(replay_id)

    def count_outcomes(self, replay: Replay) -> Mapping[str, int]:
        return self.services.replays.count_outcomes(replay)

    def start_replay(self, replay_id: str, *, by: str) -> Replay:
        return self.services.replays.start(replay_id, by=by)

    def enqueue_replay(self, replay_id: str) -> str:
        """Give the replay to a worker; if the broker is away, the sweep does."""
        try:
            self.send_replay(replay_id)
        except Exception as error:  # whatever the broker's client raises
            away = f"The broker is away ({type(error).__name__})"
            return f"{away}; {replay_id} begins within a minute or two of its return."
        return ""

    def run_replay(self, replay_id: str) -> Replay:
        """Run the replay in this process."""
        return self.services.replays.run(replay_id)

    def stop_replay(self, replay_id: str, *, by: str) -> Replay:
        return self.services.replays.stop(replay_id, by=by)

    # --- callbacks

    def list_callback_messages(self, account: str, *, limit: int, cursor: str) -> MessagePage:
        return self.runtime.callbacks.store.list_messages(account, limit=limit, cursor=cursor)

    def find_callback_message(self, message_id: str) -> CallbackMessage:
        return self.runtime.callbacks.find(message_id)

    def resend_callback_message(self, message_id: str, *, by: str) -> CallbackMessage:
        refuse_secrets(by=by)
        return self.runtime.callbacks.resend(message_id, by=by)

    def test_callback(self, name: str, account: str) -> CallbackAttempt:
        """Try a callback from this machine."""
        return self.runtime.callbacks.test(name, account)

    def _new_id(self) -> str:
        return self.runtime.intake().new_id()
