"""Everything that is kept about one relation, gathered for `ops.explain`."""

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from ops.explain import Evidence
from worker.config import Account
from worker.contract import Relation
from worker.ports import JobFilter, JobRecord, Queries, RelationEvent, Store
from worker.wiring import Runtime

PAGES: Final = 200  # of the index that are looked through for jobs that still wait
PAGE: Final = 500

Clock = Callable[[], int]  # microseconds since 1970


def gather(runtime: Runtime, account: Account, relation: Relation) -> Evidence:
    """All there is about the relation, by the store's clock."""

    def now() -> int:
        seconds, micros = runtime.client.time()
        return seconds * 1_000_000 + micros

    standing = runtime.metrics.account_stats([account.name])[account.name]
    found = evidence(
        runtime.store,
        runtime.queries,
        account.name,
        relation,
        now=now,
        since=standing.oldest if standing.backlog else None,
    )
    return replace(found, upsert=account.on_modify_absent == "create", still=still(runtime, account))


def evidence(
    store: Store, questions: Queries, account: str, relation: Relation, *, now: Clock, since: int | None = 0
) -> Evidence:
    """The same from a store and its questions; `since` (µs) is when the first of the waiting changes came, None if none waits."""
    record, mentions = store.relation_history(account, relation)
    ended = {each.job: each.result for each in mentions}
    waiting = [] if since is None else _waiting(questions, account, relation, since)
    unread = [job.id for job in reversed(waiting) if ended.get(job.id, "failed") == "failed"]
    mentions = (*mentions, *(RelationEvent(each, "", "") for each in unread))
    others = (each.detail for each in mentions if each.result in ("superseded", "stale"))
    found = questions.get_jobs(list(dict.fromkeys(filter(None, [*(each.job for each in mentions), *others]))))
    travelled = dict.fromkeys(request for job in found.values() for request in job.requests)
    requests = {each: kept for each in travelled if (kept := store.get_request(account, each))}
    return Evidence(
        relation=relation, record=record, mentions=mentions, jobs=found, requests=requests, now=now()
    )


def still(runtime: Runtime, account: Account) -> str:
    """Why nothing of the account is sent now; nothing if it is."""
    name = account.name
    if pause := runtime.store.get_pause(name):
        why = ": ".join(filter(None, (pause.reason, pause.detail)))
        return f"account {name} is paused ({why}); when its cause is gone: relations accounts resume {name}"
    if account.mode == "observe":
        return f"account {name} only observes: nothing but reads is sent"
    if runtime.limiter.state(name)["breaker"] != "closed":
        return (
            f"the API has not answered account {name} for a while; single reads try whether it is there again"
        )
    return ""


def _waiting(questions: Queries, account: str, relation: Relation, since: int) -> list[JobRecord]:
    """The jobs that name the relation and have not been read, newest first, as far back as `PAGES` go."""
    wanted = JobFilter(
        state="queued", type=relation.type, parent=relation.parent, child=relation.child, since=since
    )
    found, cursor = list[JobRecord](), ""
    for _ in range(PAGES):
        page = questions.find_jobs(account, wanted, limit=PAGE, cursor=cursor)
        found += page.jobs
        if not (cursor := page.next):
            break
    return found
