"""The demo's three steps, one per use: a CRM webhook, a portal's burst, and the replay of what failed."""

import json
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from rich.markup import escape
from standardwebhooks import Webhook

from ops.dev.demo import crm_state
from ops.dev.demo.agency import CrmRelations
from ops.dev.demo.burst import Burst
from ops.dev.demo.delivery import deliver, read_accepted_jobs
from ops.dev.demo.report import DemoConsole
from ops.dev.stack import Stack
from ops.explain import format_explanation
from ops.lookups import explain_relation
from producers.services import build_services
from worker.contract import Relation
from worker.ports.pace import Pause
from worker.ports.queries import Queries
from worker.ports.records import JobFilter
from worker.ports.store import Store
from worker.wiring import Runtime

ESTATE, OLD_BROKER, NEW_BROKER = 700_001, 700_042, 700_043
BUYERS: Final = (700_101, 700_102, 700_103)
BROKER, INTERESTED = "estate:address:contactPerson", "estate:address:interested"
WEBHOOK_RELATIONS: Final[CrmRelations] = {
    relation: {}
    for relation in (
        *(Relation(INTERESTED, ESTATE, child) for child in BUYERS),
        Relation(BROKER, ESTATE, NEW_BROKER),
    )
}
"""The relations that the webhooks of the first step ask for."""
DEADLINE: Final = 300.0  # seconds; longer than a write may be in doubt


@dataclass(frozen=True, slots=True)
class DemoContext:
    """What every step works with."""

    stack: Stack
    runtime: Runtime
    console: DemoConsole

    @property
    def store(self) -> Store:
        """The status store."""
        return self.runtime.store

    @property
    def queries(self) -> Queries:
        """The queries of the status store."""
        return self.runtime.queries

    @property
    def before_burst(self) -> dict[str, CrmRelations]:
        """The relations expected before the burst, per account; the webhooks belong to the first account."""
        first, *others = self.stack.credentials
        return {first: WEBHOOK_RELATIONS, **{account: {} for account in others}}

    def wait_until_done(self, accepted: int) -> Counter[str]:
        """Wait until so many changes are accepted and have their outcomes; return the counters."""
        with self.console.progress() as echo:
            return crm_state.wait_until_done(
                self.store, self.stack, accepted=accepted, seconds=DEADLINE, echo=echo
            )


def send_webhooks(context: DemoContext) -> dict[str, Any]:
    """Deliver two signed events, one of them twice; return the facts.

    They make three jobs, and the estate whose broker changes is never without one.
    """
    stack, echo = context.stack, context.console.echo
    account = next(iter(stack.credentials))
    broker = {"relationtype": BROKER, "parentid": ESTATE, "childid": OLD_BROKER}
    stack.simulate("seed", {"token": stack.credentials[account].token, "relations": [broker]})
    enquiry = {"type": "enquiry.created", "data": {"estate_id": ESTATE, "person_ids": list(BUYERS)}}
    swap = {
        "type": "broker.changed",
        "data": {"estate_id": ESTATE, "before": OLD_BROKER, "now": NEW_BROKER},
    }
    first, second = (_deliver_webhook(stack, "msg_demo_enquiry", enquiry) for _ in range(2))
    swapped = _deliver_webhook(stack, "msg_demo_broker", swap)
    context.wait_until_done(len(first) + len(swapped))
    is_same_job = [job["id"] for job in first] == [job["id"] for job in second]
    facts = {
        "jobs": [job["id"] for job in first + swapped],
        "redelivered_is_the_same_job": is_same_job and all(job["duplicate"] for job in second),
        "violations": crm_state.count_violations(stack),
    }
    result = "the same job" if facts["redelivered_is_the_same_job"] else "ANOTHER JOB"
    enquirers, job = len(BUYERS), first[0]["id"]
    echo(f"POST /webhooks/immo, signed: an enquiry of {enquirers} people about an estate → job {job}")
    echo(f"the same delivery again → {result}")
    echo("a change of broker → link the new one, then unlink the old one; the estate was never without")
    return facts


def send_burst(context: DemoContext, burst: Burst, *, faults: float, seed: int) -> dict[str, Any]:
    """Deliver the burst and wait for its outcomes; return the facts.

    `faults` is the share of requests that fail.
    """
    for account, missing in burst.missing.items():
        _set_missing_addresses(context.stack, account, missing)
    before = _count_requests(context)
    accepted = crm_state.sum_counts(context.store, context.stack.credentials)["accepted"]
    target, started = accepted + burst.changes, time.monotonic()
    with _paused_then_faulty(context, target, seed=seed, rate=faults) if faults else nullcontext():
        sent = deliver(context.stack, burst.arrivals)
        delivered = time.monotonic() - started
        _echo_burst(context.console, burst, sent)
    after = context.wait_until_done(target)
    return {
        "sent": len(burst.arrivals),
        "ways": dict(sent),
        "accepted": after["accepted"] - accepted,
        "late": burst.late,
        "contradictions": burst.contradictions,
        **(_count_requests(context) - before),
        "sending_seconds": round(delivered, 2),
        "seconds": round(time.monotonic() - started, 2),
    }


def replay_failed(context: DemoContext, burst: Burst) -> dict[str, Any]:
    """Show one failure and why, add the missing addresses, preview and replay; return the facts."""
    example = _explain_failure(context)
    for account in burst.missing:
        _set_missing_addresses(context.stack, account, frozenset())
    context.console.echo("the missing addresses exist now")
    replays = build_services(context.runtime).replays
    previews = [replays.prepare(account, JobFilter(state="failed"), by="demo") for account in burst.missing]
    failures = [group for account in burst.missing for group in context.queries.failure_groups(account)]
    reasons = " · ".join(f"{group.jobs} {group.error}" for group in failures)
    jobs = sum(preview.eligible for preview in previews)
    relations = sum(preview.relations for preview in previews)
    actions = sum(preview.plan.get("actions", 0) for preview in previews)
    context.console.echo(
        f"preview: {relations:,} relations of {jobs:,} jobs would be tried again in {actions:,} actions,"
        f" refused for: {reasons}"
    )
    replayed = sum(replays.run(replays.start(preview.id, by="demo").id).back for preview in previews)
    context.wait_until_done(0)
    context.console.echo(f"{replayed:,} jobs replayed")
    return {"replayed": replayed, "example": example}


def _explain_failure(context: DemoContext) -> str:
    """Print one failed relation with why it failed and what to do, as `relations explain` does; return it."""
    failed = _find_failure(context)
    if failed is None:
        return ""
    account, relation = failed
    settings = context.runtime.settings.account(account)
    explained = list(format_explanation(explain_relation(context.runtime, settings, relation, zone=UTC)))
    ids = f"{relation.type} {relation.parent} {relation.child}"
    context.console.echo(f"one that failed, by relations explain {ids} --account {account}:")
    for line in explained:
        context.console.echo(escape(f"  {line}"))
    return "\n".join(explained)


def _find_failure(context: DemoContext) -> tuple[str, Relation] | None:
    """Return a relation that failed, with its account; None if there is none."""
    for account in context.stack.credentials:
        for job in context.queries.find_jobs(account, JobFilter(state="failed"), limit=1).entries:
            if job.refusal and job.refusal[3]:
                return account, Relation.parse(job.refusal[3])
    return None


def _deliver_webhook(stack: Stack, message_id: str, payload: dict[str, Any]) -> list[dict[str, Any]]:
    """Send one delivery, signed as Standard Webhooks defines it; return its jobs."""
    now = datetime.now(UTC)
    body = json.dumps(payload | {"timestamp": now.isoformat(timespec="milliseconds")})
    headers = {
        "content-type": "application/json",
        "webhook-id": message_id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(stack.webhook_secret).sign(message_id, now, body),
    }
    return read_accepted_jobs(stack.http.post(f"{stack.url}/webhooks/immo", content=body, headers=headers))


def _set_missing_addresses(stack: Stack, account: str, addresses: frozenset[int]) -> None:
    """Let these addresses, and no others, be missing in the CRM from now on."""
    records = {"missing": [["address", number] for number in sorted(addresses)]}
    stack.simulate("seed", {"token": stack.credentials[account].token, "records": records})


def _echo_burst(console: DemoConsole, burst: Burst, sent: Counter[str]) -> None:
    twice = len(burst.arrivals) - burst.changes
    console.echo(
        f"{len(burst.arrivals):,} changes sent: {sent['batch']:,} in bodies of many"
        f" and {sent['single']:,} singly over HTTP, {sent['celery']:,} as Celery messages"
    )
    console.echo(
        f"{burst.contradictions:,} contradict an earlier one, {burst.late:,} come late, {twice:,} come twice"
    )


@contextmanager
def _paused_then_faulty(context: DemoContext, accepted: int, *, seed: int, rate: float) -> Iterator[None]:
    """Pause the accounts until all changes are in, then let the API fail at this rate.

    Without the pause some relations would be asked to change while a write of them is in doubt, and that
    wait is over two minutes (R14).
    """
    accounts = context.stack.credentials
    for account in accounts:
        context.store.pause(account, Pause("hand", "maintenance"))
    yield
    deadline = time.monotonic() + DEADLINE
    while (
        crm_state.sum_counts(context.store, accounts)["accepted"] < accepted and time.monotonic() < deadline
    ):
        time.sleep(crm_state.POLL)
    context.stack.simulate("faults", {"script": ["lost_after"], "random": {"seed": seed, "rate": rate}})
    context.console.echo(
        f"accepted while the accounts were paused; now they go on, and {rate:.0%} of all requests go wrong"
    )
    for account in accounts:
        context.store.resume(account)


def _count_requests(context: DemoContext) -> Counter[str]:
    """Count the requests and actions that reached the API so far."""
    stats = context.stack.simulate("stats")
    return Counter(requests=stats["requests"], actions=sum(stats["actions"].values()))
