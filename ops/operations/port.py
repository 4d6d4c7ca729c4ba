"""The interface: every method is one thing that an operator asks or does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from worker.errors import Unavailable
from worker.ports.queries import JobLookups

if TYPE_CHECKING:  # what the interface speaks of; only its adapters work with it
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from ops.doctor.findings import Finding
    from ops.explain import Explanation
    from ops.resuming import Resumed
    from ops.serializers.accounts import AccountDict
    from producers.job_admin.erasure_proof import ErasureProof
    from producers.job_admin.resolve import RecordChoice
    from producers.job_admin.selection import Selection
    from producers.job_admin.suspects import RecordFailures
    from producers.portals.serializers import BatchDict
    from producers.webhooks.redelivery import Remapped
    from worker.contract import Change, Relation
    from worker.ports.audit import AuditPage
    from worker.ports.callbacks import CallbackAttempt, CallbackMessage, MessagePage
    from worker.ports.deliveries import Delivery, DeliveryFilter, DeliveryPage
    from worker.ports.drift import DriftedRelation, DriftFilter, DriftPage
    from worker.ports.job_admin import AdminResult, Payload
    from worker.ports.records import FailureGroup, JobRecord
    from worker.ports.replays import Replay
    from worker.ports.requests import RequestPage, RequestRecord
    from worker.ports.waiting import Waiting
    from worker.usecases.intake import AccountResult


class ServerUnavailable(Unavailable):
    """The server of the HTTP interface cannot be reached, or something before it answers."""


class Operations(JobLookups, Protocol):
    """What operators look up and do; `by` is whom the audit log names where it is not the key."""

    @property
    def where(self) -> str:
        """The address that is asked, without a password: of Redis, or of the HTTP interface."""

    def now(self) -> int:
        """Return the time by which `2h ago` is counted, in µs since 1970."""

    # --- accounts

    def account_names(self) -> Sequence[str]:
        """Return the accounts of the settings, or of the key, in the order of the settings."""

    def inbox_names(self) -> Sequence[str]:
        """Return the same, and `unrouted` where messages that name no account may be looked at."""

    def list_accounts(self) -> Sequence[AccountDict]:
        """Return how every account stands, as `lookups.get_account_status` describes it."""

    def get_account(self, account: str) -> AccountDict:
        """Return how one account stands, described alike."""

    def pause_account(self, account: str, why: str, *, by: str) -> None:
        """Stop an account until it is resumed."""

    def resume_account(self, account: str, *, by: str) -> Resumed:
        """Let an account go on at full pace; return how it stood before."""

    def check_account(self, account: str) -> Iterable[Finding]:
        """Return what is odd about an account, and whether the API takes its credentials."""

    def why_not_sending(self, account: str) -> str:
        """Return why nothing of the account is sent now; empty if it is sent, or is no account."""

    # --- what is kept

    def get_job(self, job_id: str) -> JobRecord | None:
        """Return one job, None if it is unknown or forgotten."""

    def find_waits(self, jobs: Sequence[JobRecord]) -> Mapping[str, Waiting]:
        """Return why each of these jobs waits, without those that do not."""

    def get_payload(self, job_id: str) -> Payload | None:
        """Return what is kept of the unreadable message that the job stands for."""

    def count_batch(self, account: str, label: str) -> BatchDict:
        """Count the jobs of a batch label; raises NotFound if no job carries it."""

    def failure_groups(self, account: str) -> Sequence[FailureGroup]:
        """Return the jobs that need a decision, by error and type, the largest group first."""

    def find_suspects(self, account: str) -> Sequence[RecordFailures]:
        """Return the same failures by the record that most refusals name, the most named one first."""

    def explain(self, account: str, relation: Relation) -> Explanation:
        """Explain the relation by everything that is kept about it."""

    def list_requests(self, account: str, *, limit: int, cursor: str) -> RequestPage:
        """Return what was sent and answered, newest first."""

    def get_request(self, account: str, request_id: str) -> RequestRecord | None:
        """Return what was sent and answered, None if it is unknown or forgotten."""

    def audit_log(self, account: str, *, limit: int, cursor: str) -> AuditPage:
        """Return who did what, newest first."""

    # --- deliveries to webhooks

    def find_deliveries(self, wanted: DeliveryFilter, *, limit: int, cursor: str = "") -> DeliveryPage:
        """Return the deliveries that match, newest first; a page may hold few and still have a next one."""

    def get_delivery(self, delivery_id: str) -> Delivery | None:
        """Return one delivery, None if it is unknown or forgotten."""

    def get_delivery_request(self, delivery_id: str) -> bytes:
        """Return what is kept of a delivery's request; raises NotFound."""

    def remap_deliveries(self, ids: Sequence[str], *, by: str, dry_run: bool) -> Iterable[Remapped]:
        """Read deliveries again by today's rules; with `dry_run` only show what would become of them."""

    # --- acts

    def accept(self, changes: Sequence[Change]) -> Iterable[AccountResult]:
        """Accept changes, each account's part as a whole or not at all."""

    def cancel(self, account: str, selection: Selection, *, by: str) -> AdminResult:
        """End changes that wait, in the inbox or taken, as superseded."""

    def dismiss(self, account: str, selection: Selection, *, by: str) -> AdminResult:
        """Take failed jobs, or the selected relations of them, off the list that waits for a decision."""

    def resolve(
        self, account: str, job_id: str, choice: RecordChoice, *, by: str, everywhere: bool
    ) -> AdminResult:
        """Say which records the references of a job are; `everywhere` of all parked jobs that have them."""

    def look_up(self, account: str, selection: Selection, *, by: str) -> AdminResult:
        """Have the records of parked changes looked up at once."""

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
        """Take a record out of everything that is kept, with `unrouted` of messages of no known account too.

        Returns the document of what was done, and why it is not complete, if so: a write of the record may
        still land. With `on_wait`, which is told of each such error, it waits and tries again.
        """

    # --- drift

    def read_drift(
        self, account: str, wanted: DriftFilter, *, cursor: str = "", sample: int = 0
    ) -> DriftPage:
        """Return what the CRM says of a page of what was confirmed, or of relations drawn by chance."""

    def prepare_repair(self, account: str, drifted: Sequence[DriftedRelation], *, by: str) -> Replay:
        """Keep a replay of new changes that make drifted relations as they were confirmed."""

    # --- replays

    def prepare_replay(
        self, account: str, selection: Selection, *, by: str, forced: bool, correction: Mapping[str, Any]
    ) -> Replay:
        """Keep a replay of the selected failed jobs; nothing is sent before it is started."""

    def list_replays(self, account: str) -> Sequence[Replay]:
        """Return the account's replays, newest first."""

    def find_replay(self, replay_id: str) -> Replay:
        """Return the replay with its progress; raises NotFound."""

    def count_outcomes(self, replay: Replay) -> Mapping[str, int]:
        """Count the jobs of a replay by the state they are in now."""

    def start_replay(self, replay_id: str, *, by: str) -> Replay:
        """Let the replay run; `enqueue_replay` or `run_replay` see to it that it does."""

    def enqueue_replay(self, replay_id: str) -> str:
        """Give a started replay to a worker; return what keeps it from beginning at once, or nothing."""

    def run_replay(self, replay_id: str) -> Replay:
        """Return the started replay when it is done or stopped."""

    def stop_replay(self, replay_id: str, *, by: str) -> Replay:
        """Stop the replay after the current piece."""

    # --- callbacks

    def list_callback_messages(self, account: str, *, limit: int, cursor: str) -> MessagePage:
        """Return what callbacks were told of the account's batches, or are to be told, newest first."""

    def find_callback_message(self, message_id: str) -> CallbackMessage:
        """Return one of these messages; raises NotFound."""

    def resend_callback_message(self, message_id: str, *, by: str) -> CallbackMessage:
        """Let a worker send a message again, under its id; raises NotFound."""

    def test_callback(self, name: str, account: str) -> CallbackAttempt:
        """Send a message that nobody waits for to a callback; raises NotFound."""
