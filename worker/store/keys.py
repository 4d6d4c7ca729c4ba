"""Every key of the status store. An account's keys carry its hash tag, so a script touches one cluster slot.

Below `{prefix}:{{account}}:`; µs are microseconds UTC of the server's clock.

    key              type    what                                                lifetime
    inbox            list    accepted jobs that are not claimed, in order        emptied by claim
    dead             string  how many of them ended there: cancelled, erased     as they leave the inbox
    job:<id>         hash    the job; fields below                               7 or (failed) 30 days
    event:<digest>   string  "<job id> <fingerprint>", the idempotency key       as its job, 4 days at least
    payload:<job>    hash    body, faults (JSON), size: an unreadable message    as its job, the latest 1,000
    payloads         zset    jobs that have one, by acceptance number            as a failed job
    jobs             zset    job ids by acceptance number                        trimmed by tidy
    failed           zset    failed jobs that wait for a decision,               as a failed job
                             by acceptance number
    failed:<group>   zset    the same of one "<code> <class> <type>"             as `failed`
    failures         set     the groups                                          as `failed`
    open             hash    relation → its open work (JSON of OpenRelation)     until it has its outcomes
    due              zset    open relations by not_before (µs)                   with `open`
    guard            zset    "<guarded record>|f|<relation>" (R12); earlier      with `open`, or until its
                             releases wrote |h| for some                         doubt is over
    rel:<relation>   hash    `k` the memory (JSON),                              30 days from its last outcome
                             `#<job>` "<result> <by or why>"
    journal          hash    request id → "<signed µs> <request>", not settled   until settled or given up
    lease            hash    token, step: who may work the account               10 s, renewed
    work             hash    size, half, alone, losses, held, full:              until nothing is left to do
                             the batch being worked (R21)
    wake             hash    at (µs), delay (µs): a flush message is under way   until leased
    pause            hash    reason, detail, since, until (µs, 0: until          until it is over or resumed
                             resumed), fingerprint, braked
    refused          hash    fingerprint, until (µs): credentials that were      ten minutes, or until resumed
                             refused before others ended that pause
    deletes          hash    minute → deletes sent in it; go: when resumed (µs)  an hour from the last one
    deed             hash    id → [by, act, what, count, note] (JSON):           the latest 10,000
                             the audit log
    deeds            zset    ids of the audit log by time (µs)                   as `audit_entry`
    replay:<id>      hash    about (JSON), state, made, run, finished, at,       7 days
                             back, missed:<reason>
    replay:<id>:jobs list    its set: a job's id, or JSON with what to send      7 days
    running          zset    replays that should run, by last progress (µs)      as the replay
    replays          zset    replays by when they were made (µs)                 7 days, the latest 1,000
    counts           hash    counters of the account                             no end, a fixed set of fields
    batch:<label>    hash    accepted, succeeded, superseded, failed             as a failed job
    request:<id>     string  what was sent and answered (JSON)                   7 days
    requests         list    ids of the latest requests, newest first            the latest 10,000
    numbers          hash    counters of flushes and of people's acts            no end, a fixed set of fields
    pace             hash    see worker/limiter/lua/book.lua                     2 days from its last use

A job's lifetime begins with its end; an index lives as long as the last thing in it.

A job's fields are short, and values stay below 64 bytes where they can, because that keeps its hash compact:
s state · a action · t type · p parents · c children · i info (JSON) · o occurred_at · n accepted_at ·
q acceptance number · f finished_at · k event digest · e event id · u source · b batch ·
r relations still open · z all relations · ok su st fa outcome counts ·
m attempts · w requests · x first refusal (JSON) · y superseded by · fr failed relations ·
bk requeued at (µs) · ag relations left to do of a requeued job · rm the replay that requeued it last ·
d dismissed ("<µs> [by, why]") · rp the job it replaces · rb the jobs that replace it ·
ci correlation id of the call that brought it · ae 1: it may take the last relation of a record (R12).

Beside the accounts, below `{prefix}:`, all without end:

    accounts         set     names of all accounts
    workers          hash    name → WorkerInfo (JSON), until it ends or was silent for an hour
    sweep            hash    at (µs), made, repaired
"""

from hashlib import blake2b


def base(prefix: str, account: str) -> str:
    """Return the first part of every key of an account."""
    return f"{prefix}:{{{account}}}"


def account_of(id_: str) -> str:
    """Return the account that the id of a job or a replay carries (R5)."""
    return id_.rpartition("-")[0]


def accounts(prefix: str) -> str:
    """Return the key of the registry of accounts; no script may touch it, because it is in another slot."""
    return f"{prefix}:accounts"


def workers(prefix: str) -> str:
    """Return the key of the workers that are alive."""
    return f"{prefix}:workers"


def sweep(prefix: str) -> str:
    """Return the key of the last sweep and the totals of all."""
    return f"{prefix}:sweep"


def event(source: str, event_id: str) -> str:
    """Return the digest of a producer's own key: 24 characters, whatever its length."""
    return blake2b(f"{source}\0{event_id}".encode(), digest_size=12).hexdigest()


def unreadable(source: str, event_id: str) -> str:
    """Return the digest for an unreadable message: the corrected one, which has the same key, is new."""
    return event(f"unreadable\0{source}", event_id)
