"""Everything that is kept about one relation, gathered for `ops.explain`."""

from collections.abc import Callable
from typing import Final

from ops.explain import Evidence
from worker.config import Account
from worker.contract import Relation
from worker.ports import Filter, JobRecord, Mention, Questions, Store
from worker.wiring import Runtime

MOST: Final = 1000  # waiting jobs that are looked through


Clock = Callable[[], int]  # microseconds since 1970


def gather(runtime: Runtime, account: Account, relation: Relation) -> Evidence:
    """All there is about the relation, by the store's clock."""

    def now() -> int:
        seconds, micros = runtime.client.time()
        return seconds * 1_000_000 + micros

    upsert = account.on_modify_absent == "create"
    return evidence(runtime.store, runtime.questions, account.name, relation, now=now, upsert=upsert)


def evidence(store: Store, questions: Questions, account: str, relation: Relation, *, now: Clock, upsert: bool = False) -> Evidence:
    """The same from a store and its questions; of the jobs that still wait unread only the newest are looked through."""
    record, mentions = store.mentions(account, relation)
    ended = {each.job: each.result for each in mentions}
    queued = questions.find(account, Filter(state="queued"), limit=MOST).jobs
    unread = [job.id for job in reversed(queued) if _names(job, relation) and ended.get(job.id, "failed") == "failed"]
    mentions = (*mentions, *(Mention(each, "", "") for each in unread))
    others = (each.detail for each in mentions if each.result in ("superseded", "stale"))
    found = questions.jobs(list(dict.fromkeys(filter(None, [*(each.job for each in mentions), *others]))))
    travelled = dict.fromkeys(request for job in found.values() for request in job.requests)
    requests = {each: kept for each in travelled if (kept := store.request(account, each))}
    return Evidence(relation=relation, record=record, mentions=mentions, jobs=found, requests=requests, now=now(), upsert=upsert)


def _names(job: JobRecord, relation: Relation) -> bool:
    return job.type == relation.type and relation.parent in job.parents and relation.child in job.children
