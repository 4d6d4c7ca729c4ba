"""The three uses, one act each: a CRM webhook, a portal's burst, and the replay of what failed."""

import json
import time
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import httpx
from standardwebhooks import Webhook

from ops.demo import crm
from ops.demo.burst import Burst
from ops.demo.delivery import Refused, deliver
from ops.demo.office import World
from ops.demo.stage import Stage
from ops.stack import Stack
from worker.contract import Relation
from worker.ports import Pause, Store

ESTATE, BEFORE, NOW = 700_001, 700_042, 700_043
BUYERS: Final = (700_101, 700_102, 700_103)
BROKER, INTERESTED = "estate:address:contactPerson", "estate:address:interested"
WORLD: Final[World] = {Relation(INTERESTED, ESTATE, child): {} for child in BUYERS} | {Relation(BROKER, ESTATE, NOW): {}}
"""What the webhooks of the first act ask for."""
DEADLINE: Final = 120.0


@dataclass(frozen=True, slots=True)
class Set:
    """What every act works with."""

    stack: Stack
    store: Store
    stage: Stage

    def settle(self, accepted: int) -> Counter[str]:
        """Wait for the last outcome."""
        with self.stage.progress() as say:
            return crm.settle(self.store, self.stack, accepted=accepted, seconds=DEADLINE, say=say)


def webhooks(scene: Set) -> dict[str, Any]:
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
        "redelivered_is_the_same_job": [job["id"] for job in first] == [job["id"] for job in again] and all(job["duplicate"] for job in again),
        "estate_left_without_broker": crm.violations(scene.stack),
        "relations_as_asked": crm.relations(scene.stack, account) == WORLD,
    }
    scene.stage.say(f"POST /webhooks/immo, signed: an enquiry of {len(BUYERS)} people about an estate → job {first[0]['id']}")
    scene.stage.say(f"the same delivery again → {'the same job' if facts['redelivered_is_the_same_job'] else 'ANOTHER JOB'}")
    scene.stage.say("a change of broker → link the new one, then unlink the old one; the estate was never without")
    return facts


def portal(scene: Set, burst: Burst, *, paused: bool) -> dict[str, Any]:
    """The burst, delivered and settled; with `paused` the CRM is down for maintenance while it comes in."""
    for account, missing in burst.missing.items():
        _missing(scene.stack, account, missing)
    before = crm.totals(scene.store, scene.stack.credentials)
    started = time.monotonic()
    for account in scene.stack.credentials if paused else ():
        scene.store.pause(account, Pause("by hand", "maintenance"))
    sent = deliver(scene.stack, burst.arrivals)
    delivered = time.monotonic() - started
    scene.stage.say(f"{len(burst.arrivals):,} changes sent: " + _ways(sent))
    scene.stage.say(f"of them {burst.late:,} late, {burst.contradictions:,} contradict an earlier one, {len(burst.arrivals) - burst.changes:,} come twice")
    if paused:
        _resume(scene, before["accepted"] + burst.changes)
    after = scene.settle(before["accepted"] + burst.changes)
    return {
        "sent": len(burst.arrivals),
        "ways": {way: sent[way] for way in ("batch", "single", "celery")},
        "accepted": after["accepted"] - before["accepted"],
        "late": burst.late,
        "contradictions": burst.contradictions,
        "requests": after["requests"] - before["requests"],
        "actions": after["actions"] - before["actions"],
        "sending_seconds": round(delivered, 2),
        "seconds": round(time.monotonic() - started, 2),
    }


def replay(scene: Set, burst: Burst) -> dict[str, Any]:
    """The CRM is mended, and what failed for good is looked at, sent again, and done."""
    failed = {account: scene.store.failed(account, limit=1_000) for account in scene.stack.credentials}
    for account in burst.missing:
        _missing(scene.stack, account, frozenset())
    scene.stage.say("the missing addresses exist now")
    replayed = {account: _replay(scene, account) for account, ids in failed.items() if ids}
    accepted = crm.totals(scene.store, scene.stack.credentials)["accepted"]
    scene.settle(accepted)
    left = sum(len(scene.store.failed(account, limit=1_000)) for account in failed)
    return {"failed": sum(map(len, failed.values())), "replayed": sum(replayed.values()), "failed_after": left}


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
        raise Refused(f"{answer.request.method} {answer.request.url} answered {answer.status_code}: {answer.text[:500]}")
    jobs: list[dict[str, Any]] = answer.json()["jobs"]
    return jobs


def _missing(stack: Stack, account: str, addresses: frozenset[int]) -> None:
    """From now on these addresses, and no others, do not exist."""
    records = {"missing": [["address", number] for number in sorted(addresses)]}
    stack.simulate("seed", {"token": stack.credentials[account].token, "records": records})


def _ways(sent: Counter[str]) -> str:
    return f"{sent['batch']:,} in bodies of many and {sent['single']:,} singly over HTTP, {sent['celery']:,} as Celery messages"
