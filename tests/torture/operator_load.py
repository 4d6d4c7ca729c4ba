"""An operator who acts over HTTP while processes are killed, on an account whose changes are sent for this.

Every relation is named by one change, so that each job's counts say how many of its relations the CRM has.
Once the kills are over, what was begun is finished: failures are replayed, erasures repeated until they are
done.
"""

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import httpx

from ops.dev.demo import crm_state
from ops.dev.stack import Stack
from tests.support.store_steps import dump_keys
from tests.torture.store_fixtures import record_pattern
from worker.contract import Relation
from worker.ports.erasure import RecordRef
from worker.ports.records import OPEN_STATES, JobRecord
from worker.store import keys
from worker.wiring import Runtime

BUYER: Final = "estate:address:buyer"
ESTATE: Final = 500
FIRST_CHILD: Final = 800_000_001  # long, so that nothing else in the store has the digits of one
MISSING_SHARE: Final = 5  # one of so many persons is missing in the CRM until the kills are over
PAUSE: Final = 0.2  # seconds between two acts
RETRY: Final = 1.0  # seconds between two tries of a call that has to succeed
TIMEOUT: Final = 40.0  # seconds; an erasure waits up to 30 for the account's lease
MAX_EXAMPLES: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class ActedResult:
    """What became of the account: `acts` that were answered by kind, and what is wrong.

    `lost` jobs were acknowledged and are not there, `stuck` ones have not ended, `left` are places that name
    an erased record, `wrong` are jobs whose relations in the CRM are not as many as they applied.
    """

    changes: int
    acts: Mapping[str, int]
    erased: int
    lost: int
    stuck: int
    left: int
    wrong: int
    examples: tuple[str, ...]


class OperatorLoad:
    """A producer and an operator in threads, from `start` to `stop`; then they finish what they began."""

    def __init__(self, stack: Stack, account: str, *, seed: int) -> None:
        self._stack, self._account, self._rng = stack, account, random.Random(f"acts {seed}")
        self._sent: dict[str, tuple[Relation, ...]] = {}  # relations by job
        self._erased: dict[int, None] = {}
        self._acts: Counter[str] = Counter()
        self._next_child = FIRST_CHILD
        self._stopped = threading.Event()
        headers = {"Authorization": f"Bearer {stack.key}"}
        self._http = httpx.Client(base_url=stack.url, headers=headers, timeout=TIMEOUT, trust_env=False)
        self._producer = threading.Thread(target=self._produce, daemon=True)
        self._operator = threading.Thread(target=self._operate, daemon=True)

    def start(self) -> None:
        """Start to send and to act."""
        self._producer.start()
        self._operator.start()

    def stop(self) -> None:
        """Begin nothing new."""
        self._stopped.set()

    @property
    def finished(self) -> bool:
        """Whether everything that was begun is finished."""
        return not (self._producer.is_alive() or self._operator.is_alive())

    def compare(self, runtime: Runtime, *, strict: bool) -> ActedResult:
        """Compare what is stored with the CRM; `strict` unless Redis may have lost its last second."""
        stored = {job: runtime.store.get_job(job) for job in self._sent}
        lost = [f"{job} is lost" for job, record in stored.items() if record is None]
        jobs = [record for record in stored.values() if record]
        stuck = [
            f"{job.id} is {job.state}"
            for job in jobs
            if job.state in OPEN_STATES or sum(job.counts.values()) != job.total
        ]
        actual = set(crm_state.read_relations(self._stack, self._account))
        wrong = [text for job in jobs if (text := self._compare_job(runtime, job, actual))]
        left = self._find_erased(runtime)
        return ActedResult(
            changes=len(self._sent),
            acts=dict(self._acts),
            erased=len(self._erased),
            lost=len(lost) if strict else 0,
            stuck=len(stuck),
            left=len(left),
            wrong=len(wrong) if strict else 0,
            examples=tuple(line for lines in (lost, stuck, left, wrong) for line in lines[:MAX_EXAMPLES]),
        )

    # --- what is done

    def _produce(self) -> None:
        while not self._stopped.wait(PAUSE):
            self._send()

    def _operate(self) -> None:
        acts = self._pause, self._cancel, self._dismiss, self._replay, self._erase, self._erase
        while not self._stopped.wait(PAUSE):
            self._rng.choice(acts)()
        self._producer.join()
        self._finish()

    def _finish(self) -> None:
        token = self._stack.credentials[self._account].token
        self._stack.simulate("seed", {"token": token, "records": {}})
        self._insist("resume", f"/v1/accounts/{self._account}/resume")
        self._insist("replay", "/v1/replays", run=True, state="failed")
        for child in self._erased:
            self._insist("erase", "/v1/erasures", module="address", id=child)

    def _send(self) -> None:
        """Send one change until it is acknowledged; nobody else names its relations."""
        count = 1 + 2 * (self._next_child % 3 == 0)
        children = range(self._next_child, self._next_child + count)
        self._next_child += count
        missing = [["address", child] for child in range(FIRST_CHILD, self._next_child) if _is_missing(child)]
        token = self._stack.credentials[self._account].token
        self._stack.simulate("seed", {"token": token, "records": {"missing": missing}})
        parent = ESTATE + self._next_child % 3
        form = {"action": "create", "relationtype": BUYER, "parentid": parent, "childid": [*children]}
        event = {"event_id": f"{children[0]}", "source": "torture"}
        answer = self._insist("send", "/v1/changes", **form, **event)
        [job] = answer["jobs"]
        self._sent[job["id"]] = tuple(Relation(BUYER, parent, child) for child in children)

    def _pause(self) -> None:
        self._post("pause", f"/v1/accounts/{self._account}/pause")
        self._stopped.wait(PAUSE * self._rng.choice((0, 2, 10)))
        self._post("resume", f"/v1/accounts/{self._account}/resume")

    def _cancel(self) -> None:
        self._post("cancel", "/v1/jobs/cancel", jobs=self._some_jobs())

    def _dismiss(self) -> None:
        self._post("dismiss", "/v1/jobs/dismiss", jobs=self._some_jobs())

    def _replay(self) -> None:
        force = self._rng.random() < 0.3
        if replay := self._post("replay", "/v1/replays", state="failed", force=force):
            self._post("run", f"/v1/replays/{replay['id']}/run")

    def _erase(self) -> None:
        if self._sent:
            relations = self._rng.choice([*self._sent.values()][-10:])
            child = self._rng.choice(relations).child
            self._erased[child] = None
            self._post("erase", "/v1/erasures", module="address", id=child)

    def _some_jobs(self) -> list[str]:
        recent = [*self._sent][-10:]
        return self._rng.sample(recent, min(len(recent), 3)) or [f"{self._account}-none"]

    def _post(self, act: str, path: str, **form: Any) -> Any:
        """Make a call and count it if it was answered; return the answer, None without a good one."""
        is_about_account = path.startswith("/v1/accounts") or path.endswith("/run")
        document = form if is_about_account else {"account": self._account, **form}
        try:
            response = self._http.post(path, json=document)
        except httpx.TransportError:
            return None
        self._acts[f"{act} {response.status_code}"] += 1
        return response.json() if response.is_success else None

    def _insist(self, act: str, path: str, *, run: bool = False, **form: Any) -> Any:
        """Make a call until it succeeds; run the replay that it prepares."""
        while (answer := self._post(act, path, **form)) is None:
            time.sleep(RETRY)
        return self._insist("run", f"{path}/{answer['id']}/run") if run else answer

    # --- what came of it

    def _compare_job(self, runtime: Runtime, job: JobRecord, actual: set[Relation]) -> str:
        """Return what is wrong with the job's relations in the CRM; empty if nothing is.

        Jobs that replace it, and those that replace these, may have applied what it could not.
        """
        present = sum(relation in actual for relation in self._sent[job.id])
        applied = job.counts["applied"]
        most = applied + sum(other.counts["applied"] for other in _replays_of(runtime, job))
        if applied <= present <= most:
            return ""
        counts = ", ".join(f"{count} {result}" for result, count in job.counts.items() if count)
        return f"{job.id} is {job.state} by {job.by} with {counts}; the CRM has {present} of its relations"

    def _find_erased(self, runtime: Runtime) -> list[str]:
        base = keys.base(runtime.settings.prefix, self._account)
        dumped = dump_keys(runtime.client, base.replace("[", "\\[") + ":*")
        texts = {key.decode(): key + repr(value).encode() for key, (value, _) in dumped.items()}
        patterns: dict[int, Callable[[bytes], object]] = {
            child: record_pattern(RecordRef("address", child)).search for child in self._erased
        }
        return [
            f"{key} names the erased {child}"
            for child, finds in patterns.items()
            for key, text in texts.items()
            if finds(text)
        ]


def _replays_of(runtime: Runtime, job: JobRecord) -> Iterator[JobRecord]:
    """Yield the jobs that replace it, in turn with those that replace them."""
    for name in job.replayed_by:
        if other := runtime.store.get_job(name):
            yield other
            yield from _replays_of(runtime, other)


def _is_missing(child: int) -> bool:
    return child % MISSING_SHARE == 0
