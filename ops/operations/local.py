"""The operations straight on Redis, with the settings of this machine."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC

import msgspec

from ops import lookups
from ops.doctor.findings import Finding
from ops.doctor.settings import try_account
from ops.explain import ExplanationDict
from ops.explain.text import Zone
from ops.serializers import acts, callbacks, deliveries, drift, failures, requests
from ops.serializers.accounts import AccountDict, serialize_account
from ops.serializers.acts import PausedDict
from producers.job_admin.suspects import find_suspects
from producers.portals.serializers import BatchDict, HeldDict, batch_json, waiting_json
from producers.services import Services, build_services
from producers.webhooks.redelivery import MAX_REMAPPED, require_request
from worker.config import mask_url, refuse_secrets
from worker.contract import Change, Relation
from worker.contract.message import UNROUTED
from worker.ports.deliveries import DeliveryFilter
from worker.ports.drift import DriftFilter
from worker.ports.pace import Pause
from worker.ports.records import AuditEntry, JobRecord
from worker.ports.replays import Replay
from worker.usecases.intake import AccountResult
from worker.wiring import Runtime

PAUSED_BY_OPERATOR = "hand"  # the reason of a pause, as it is stored


@dataclass(kw_only=True)
class LocalOperations:
    """The operations over a runtime; `send_replay` gives a replay's id to the workers, texts have `zone`.

    What the runtime or a service does as it is asked for here is taken from there.
    """

    runtime: Runtime
    services: Services
    send_replay: Callable[[str], None]
    zone: Zone

    def __post_init__(self) -> None:
        runtime, services = self.runtime, self.services
        queries, job_admin, replays = runtime.queries, runtime.job_admin, services.replays
        self.now = runtime.metrics.now
        self.find_jobs = queries.find_jobs
        self.get_jobs = queries.get_jobs
        self.get_job = runtime.store.get_job
        self.get_payload = job_admin.get_payload
        self.cancel = services.jobs.cancel
        self.dismiss = services.jobs.dismiss
        self.resolve = services.references.resolve
        self.look_up = services.references.look_up
        self.erase = services.erasure.erase
        self.remap = services.deliveries.remap
        self.prepare_replay = replays.prepare
        self.list_replays = job_admin.list_replays
        self.find_replay = replays.find
        self.count_outcomes = replays.count_outcomes
        self.start_replay = replays.start
        self.run_replay = replays.run
        self.stop_replay = replays.stop

    @property
    def where(self) -> str:
        """The address of Redis."""
        return mask_url(self.runtime.settings.redis_url)

    def account_names(self) -> Sequence[str]:
        """Return the accounts of the settings."""
        return list(self.runtime.live_settings.refresh().accounts)

    def inbox_names(self) -> Sequence[str]:
        """Return the accounts of the settings and `unrouted`."""
        return [*self.account_names(), UNROUTED]

    def list_accounts(self) -> Sequence[AccountDict]:
        """Return how every account stands."""
        return self.get_accounts(self.account_names())

    def get_account(self, account: str) -> AccountDict:
        """Return how one account stands."""
        return self.get_accounts([account])[0]

    def get_accounts(self, names: Sequence[str], zone: Zone = None) -> list[AccountDict]:
        """Return how these accounts stand, without those that cannot be read; one that is alone raises."""
        runtime, now, known, zone = self.runtime, self.now(), self.runtime.settings.account, zone or self.zone
        stats, paces = runtime.metrics.account_stats(names), runtime.limiter.states(names)
        waits = runtime.ask_each(runtime.waits.of_account, names)
        return [
            serialize_account(known(name), stats[name], paces[name], waits[name], now=now, zone=zone)
            for name in names
            if name in stats and name in paces and name in waits
        ]

    def find_waits(self, jobs: Sequence[JobRecord]) -> Mapping[str, HeldDict]:
        """Return why each of these jobs waits, without those that do not."""
        waits = self.runtime.waits.of_jobs(jobs)
        return {job_id: waiting_json(waiting) for job_id, waiting in waits.items()}

    def pause_account(self, account: str, why: str, *, by: str) -> None:
        """Stop an account until it is resumed."""
        refuse_secrets(why=why, by=by)
        entry = AuditEntry(self.runtime.intake().new_id(), by, "paused", account, why)
        self.runtime.store.pause(account, Pause(PAUSED_BY_OPERATOR, why), audit_entry=entry)

    def resume_account(self, account: str, *, by: str) -> PausedDict:
        """Let an account go on at full pace; return how it stood before."""
        return lookups.resume_account(self.runtime, account, by=by, now=self.now() / 1e6)

    def check_account(self, account: str) -> Iterable[Finding]:
        """Yield the findings of the doctor about the account."""
        return try_account(self.runtime, self.runtime.settings.account(account))

    def why_not_sending(self, account: str) -> str:
        """Return why nothing of the account is sent now; empty if it is sent, or is no account."""
        if account not in self.runtime.settings.accounts:  # as of messages that name no account
            return ""
        return lookups.why_not_sending(self.runtime.waits.view(account), self.zone)

    def count_batch(self, account: str, label: str) -> BatchDict:
        """Count the jobs of a batch label; raises NotFound if no job carries it."""
        return batch_json(account, label, self.runtime.store.batch_counts(account, label))

    def list_failures(self, account: str) -> failures.FailuresDict:
        """Return what failed and waits for a decision, by error and type and by suspect record."""
        queries = self.runtime.queries
        return failures.serialize_failures(
            account, queries.failure_groups(account), find_suspects(queries, account)
        )

    def explain(self, account: str, relation: Relation, zone: Zone = None) -> ExplanationDict:
        """Explain the relation by everything that is kept about it."""
        known = self.runtime.settings.account(account)
        explained = lookups.explain_relation(self.runtime, known, relation, zone=zone or self.zone)
        document: ExplanationDict = msgspec.to_builtins(explained, enc_hook=str)  # sentences as plain texts
        return document

    def list_requests(self, account: str, *, limit: int, cursor: str) -> requests.RequestPageDict:
        """Return what was sent and answered, newest first."""
        page = self.runtime.queries.list_requests(account, limit=limit, cursor=cursor)
        return requests.serialize_request_page(page)

    def get_request(self, account: str, request_id: str) -> requests.RequestDict | None:
        """Return what was sent and answered, None if it is unknown or forgotten."""
        found = self.runtime.store.get_request(account, request_id)
        return requests.serialize_request(found) if found else None

    def audit_log(self, account: str, *, limit: int, cursor: str) -> acts.AuditPageDict:
        """Return who did what, newest first."""
        page = self.runtime.job_admin.audit_log(account, limit=limit, cursor=cursor)
        return acts.serialize_audit_page(page)

    def find_deliveries(
        self, wanted: DeliveryFilter, *, limit: int, cursor: str = ""
    ) -> deliveries.DeliveryPageDict:
        """Return the deliveries that match, newest first; a page may hold few and still have a next one."""
        page = self.runtime.deliveries.find(wanted, limit=limit, cursor=cursor)
        return deliveries.serialize_delivery_page(page)

    def get_delivery(self, delivery_id: str) -> deliveries.DeliveryDict | None:
        """Return one delivery, None if it is unknown or forgotten."""
        found = self.runtime.deliveries.get(delivery_id)
        return deliveries.serialize_delivery(found.delivery) if found else None

    def get_delivery_request(self, delivery_id: str) -> bytes:
        """Return what is kept of a delivery's request; raises NotFound."""
        return require_request(lookups.find_delivery(self.runtime.deliveries, delivery_id, None))

    def remap_deliveries(
        self, ids: Sequence[str], *, by: str, dry_run: bool
    ) -> Iterable[deliveries.RemappedDict]:
        """Read deliveries again by today's rules; with `dry_run` only show what would become of them."""
        for start in range(0, len(ids), MAX_REMAPPED):
            piece = ids[start : start + MAX_REMAPPED]
            remapped = self.remap(piece, by=by, dry_run=dry_run)
            yield from map(deliveries.serialize_remapped, remapped)

    def read_drift(
        self, account: str, wanted: DriftFilter, *, cursor: str = "", sample: int = 0
    ) -> drift.DriftPageDict:
        """Return what the CRM says of a page of what was confirmed, or of relations drawn by chance."""
        page = self.runtime.read_drift(account, wanted, cursor=cursor, sample=sample)
        return drift.serialize_drift_page(page)

    def prepare_repair(self, account: str, drifted: Sequence[drift.DriftedDict], *, by: str) -> Replay:
        """Keep a replay of new changes that make drifted relations as they were confirmed."""
        found = list(map(drift.read_drifted, drifted))
        return self.services.replays.prepare_repair(account, found, by=by)

    def list_callback_messages(
        self, account: str, *, limit: int, cursor: str
    ) -> callbacks.CallbackMessagePageDict:
        """Return what callbacks were told of the account's batches, or are to be told, newest first."""
        page = self.runtime.callbacks.store.list_messages(account, limit=limit, cursor=cursor)
        return callbacks.serialize_message_page(page)

    def find_callback_message(self, message_id: str) -> callbacks.CallbackMessageDict:
        """Return one of these messages; raises NotFound."""
        return callbacks.serialize_message(self.runtime.callbacks.find(message_id))

    # --- acts

    def accept(self, changes: Sequence[Change]) -> Iterable[AccountResult]:
        """Accept changes, each account's part as a whole or not at all."""
        return self.runtime.intake().accept_by_account(changes)

    def enqueue_replay(self, replay_id: str) -> str:
        """Give the replay to a worker; if the broker is away, the sweep does."""
        try:
            self.send_replay(replay_id)
        except Exception as error:  # whatever the broker's client raises
            away = f"The broker is away ({type(error).__name__})"
            return f"{away}; {replay_id} begins within a minute or two of its return."
        return ""

    def resend_callback_message(self, message_id: str, *, by: str) -> callbacks.CallbackMessageDict:
        """Let a worker send a message again, under its id; raises NotFound."""
        refuse_secrets(by=by)
        return callbacks.serialize_message(self.runtime.callbacks.resend(message_id, by=by))

    def test_callback(self, name: str, account: str) -> callbacks.CallbackTestDict:
        """Send a message that nobody waits for to a callback; raises NotFound."""
        return callbacks.serialize_attempt(name, self.runtime.callbacks.test(name, account))


def make_operations(
    runtime: Runtime, *, send_replay: Callable[[str], None], zone: Zone = UTC
) -> LocalOperations:
    """Return the operations over a runtime, with services of their own."""
    services = build_services(runtime)
    return LocalOperations(runtime=runtime, services=services, send_replay=send_replay, zone=zone)
