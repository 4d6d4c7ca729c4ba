"""The three uses, one act each: a CRM webhook, a portal's burst, and the replay of what failed."""

import json
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import httpx
from standardwebhooks import Webhook

from ops.dev.demo import crm
from ops.dev.demo.burst import Burst
from ops.dev.demo.delivery import DeliveryRefused, deliver
from ops.dev.demo.office import World
from ops.dev.demo.stage import Stage
from ops.dev.stack import Stack
from producers.services import build_services
from worker.contract import Relation
from worker.ports import JobFilter, Pause, Queries, Store
from worker.wiring import Runtime

ESTATE, BEFORE, NOW = 700_001, 700_042, 700_043
BUYERS: Final = (700_101, 700_102, 700_103)
BROKER, INTERESTED = "estate:address:contactPerson", "estate:address:interested"
WORLD: Final[World] = {
    relation: {}
    for relation in (
        *(Relation(INTERESTED, ESTATE, child) for child in BUYERS),
        Relation(BROKER, ESTATE, NOW),
    )
}
"""What the webhooks of the first act ask for."""
DEADLINE: Final = 300.0  # seconds; longer than a write may be in doubt


@dataclass(frozen=True, slots=True)
class Scene:
    """What every act works with, and what the CRM should hold before the burst."""

    stack: Stack
    runtime: Runtime
    stage: Stage

    @property
    def store(self) -> Store:
        """The status store."""
        return self.runtime.store

    @property
    def questions(self) -> Queries:
        """What can be asked of it."""
        return self.runtime.queries

    @property
    def before(self) -> dict[str, World]:
        """The webhooks' relations are the first account's."""
        return {account: WORLD if at == 0 else {} for at, account in enumerate(self.stack.credentials)}

    def settle(self, accepted: int) -> Counter[str]:
        """Wait for the last outcome."""
        with self.stage.progress() as echo:
            return crm.settle(self.store, self.stack, accepted=accepted, seconds=DEADLINE, echo=echo)


def webhooks(scene: Scene) -> dict[str, Any]:
    """Signed deliveries of two events, one of them twice: three jobs, and an estate that is never without its broker."""
    account = next(iter(scene.stack.credentials))
    broker = {"relationtype": BROKER, "parentid": ESTATE, "childid": BEFORE}
    scene.stack.simulate("seed", {"token": scene.stack.credentials[account].token, "relations": [broker]})
    enquiry = {"type": "enquiry.created", "data": {"estate_id": ESTATE, "person_ids": list(BUYERS)}}
    change = {"type": "broker.changed", "data": {"estate_id": ESTATE, "before": BEFORE, "now": NOW}}
    first, again = (_webhook(scene.stack, "msg_demo_enquiry", enquiry) for _ in range(2))
    swap = _webhook(scene.stack, "msg_demo_broker", change)
    scene.settle(len(first) + len(swap))
    facts = {
        "jobs": [job["id"] for job in first + swap],
        "redelivered_is_the_same_job": [job["id"] for job in first] == [job["id"] for job in again]
        and all(job["duplicate"] for job in again),
        "violations": crm.violations(scene.stack),
    }
    scene.stage.echo(
        f"POST /webhooks/immo, signed: an enquiry of {len(BUYERS)} people about an estate → job {first[0]['id']}"
    )
    scene.stage.echo(
        f"the same delivery again → {'the same job' if facts['redelivered_is_the_same_job'] else 'ANOTHER JOB'}"
    )
    scene.stage.echo(
        "a change of broker → link the new one, then unlink the old one; the estate was never without"
    )
    return facts


def portal(scene: Scene, burst: Burst, *, faults: float, seed: int) -> dict[str, Any]:
    """The burst, delivered and settled; with `faults`, that part of all requests goes wrong."""
    for account, missing in burst.missing.items():
        _missing(scene.stack, account, missing)
    before, accepted = _requests(scene), crm.totals(scene.store, scene.stack.credentials)["accepted"]
    started = time.monotonic()
    with _maintenance(scene, accepted + burst.changes, seed=seed, rate=faults) if faults else nullcontext():
        sent = deliver(scene.stack, burst.arrivals)
        delivered = time.monotonic() - started
        scene.stage.echo(f"{len(burst.arrivals):,} changes sent: {_ways(sent)}")
        twice = len(burst.arrivals) - burst.changes
        scene.stage.echo(
            f"{burst.contradictions:,} contradict an earlier one, {burst.late:,} come late, {twice:,} come twice"
        )
    after = scene.settle(accepted + burst.changes)
    return {
        "sent": len(burst.arrivals),
        "ways": dict(sent),
        "accepted": after["accepted"] - accepted,
        "late": burst.late,
        "contradictions": burst.contradictions,
        **(_requests(scene) - before),
        "sending_seconds": round(delivered, 2),
        "seconds": round(time.monotonic() - started, 2),
    }


def replay(scene: Scene, burst: Burst) -> dict[str, Any]:
    """The CRM is mended; what failed for good is looked at, sent again, and done."""
    for account in burst.missing:
        _missing(scene.stack, account, frozenset())
    scene.stage.echo("the missing addresses exist now")
    replays = build_services(scene.runtime).replays
    previews = [replays.prepare(account, JobFilter(state="failed"), by="demo") for account in burst.missing]
    failures = [failure for account in burst.missing for failure in scene.questions.failure_groups(account)]
    why = " · ".join(f"{failure.jobs} {failure.error}" for failure in failures)
    jobs, relations = sum(each.eligible for each in previews), sum(each.relations for each in previews)
    actions = sum(each.plan.get("actions", 0) for each in previews)
    scene.stage.echo(
        f"preview: {relations:,} relations of {jobs:,} jobs would be tried again in {actions:,} actions, refused for: {why}"
    )
    replayed = sum(replays.run(replays.start(each.id, by="demo").id).back for each in previews)
    scene.settle(0)
    scene.stage.echo(f"{replayed:,} jobs replayed")
    return {"replayed": replayed}


def _webhook(stack: Stack, message_id: str, payload: dict[str, Any]) -> list[dict[str, Any]]:
    """The jobs of one delivery, signed as Standard Webhooks has it."""
    now = datetime.now(UTC)
    body = json.dumps(payload | {"timestamp": now.isoformat(timespec="milliseconds")})
    headers = {
        "content-type": "application/json",
        "webhook-id": message_id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(stack.webhook_secret).sign(message_id, now, body),
    }
    return _jobs(stack.http.post(f"{stack.url}/webhooks/immo", content=body, headers=headers))


def _jobs(answer: httpx.Response) -> list[dict[str, Any]]:
    if answer.status_code != httpx.codes.ACCEPTED:
        raise DeliveryRefused(
            f"{answer.request.method} {answer.request.url} answered {answer.status_code}: {answer.text[:500]}"
        )
    jobs: list[dict[str, Any]] = answer.json()["jobs"]
    return jobs


def _missing(stack: Stack, account: str, addresses: frozenset[int]) -> None:
    """From now on these addresses, and no others, do not exist."""
    records = {"missing": [["address", number] for number in sorted(addresses)]}
    stack.simulate("seed", {"token": stack.credentials[account].token, "records": records})


def _ways(sent: Counter[str]) -> str:
    return f"{sent['batch']:,} in bodies of many and {sent['single']:,} singly over HTTP, {sent['celery']:,} as Celery messages"


@contextmanager
def _maintenance(scene: Scene, accepted: int, *, seed: int, rate: float) -> Iterator[None]:
    """The accounts are paused until all changes are in; then they go on against an API that fails at this rate.

    Otherwise some relations would be asked to change while a write of them is in doubt, and that wait is over two minutes (R14).
    """
    for account in scene.stack.credentials:
        scene.store.pause(account, Pause("by hand", "maintenance"))
    yield
    deadline = time.monotonic() + DEADLINE
    while (
        crm.totals(scene.store, scene.stack.credentials)["accepted"] < accepted
        and time.monotonic() < deadline
    ):
        time.sleep(crm.POLL)
    scene.stack.simulate("faults", {"script": ["lost_after"], "random": {"seed": seed, "rate": rate}})
    scene.stage.echo(
        f"accepted while the accounts were paused; now they go on, and {rate:.0%} of all requests go wrong"
    )
    for account in scene.stack.credentials:
        scene.store.resume(account)


def _requests(scene: Scene) -> Counter[str]:
    """Requests and actions that reached the API so far."""
    stats = scene.stack.simulate("stats")
    return Counter(requests=stats["requests"], actions=sum(stats["actions"].values()))
