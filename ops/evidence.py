"""Everything that is kept about one relation, gathered for `ops.explain`."""

from typing import Final

from ops.explain import Evidence
from worker.config import Account
from worker.contract import Relation
from worker.ports import Filter, JobRecord, Mention
from worker.wiring import Runtime

MOST: Final = 1000  # waiting jobs that are looked through


def gather(runtime: Runtime, account: Account, relation: Relation) -> Evidence:
    """All there is about the relation, with the newest of the jobs that still wait unread."""
    store = runtime.store
    record, mentions = store.mentions(account.name, relation)
    ended = {each.job: each.result for each in mentions}
    queued = runtime.questions.find(account.name, Filter(state="queued"), limit=MOST).jobs
    unread = [job.id for job in reversed(queued) if _names(job, relation) and ended.get(job.id, "failed") == "failed"]
    mentions = (*mentions, *(Mention(each, "", "") for each in unread))
    wanted = dict.fromkeys([each.job for each in mentions] + [each.detail for each in mentions if each.result in ("superseded", "stale")])
    found = {job.id: job for each in wanted if each and (job := store.job(each))}
    travelled = dict.fromkeys(request for job in found.values() for request in job.requests)
    requests = {each: kept for each in travelled if (kept := store.request(account.name, each))}
    seconds, micros = runtime.client.time()
    upsert = account.on_modify_absent == "create"
    return Evidence(
        relation=relation, record=record, mentions=mentions, jobs=found, requests=requests, now=seconds * 1_000_000 + micros, upsert=upsert
    )


def _names(job: JobRecord, relation: Relation) -> bool:
    return job.type == relation.type and relation.parent in job.parents and relation.child in job.children
