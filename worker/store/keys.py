"""Every key of the status store. An account's keys carry its hash tag, so a script touches one cluster slot.

Below `{prefix}:{{account}}:`; µs are microseconds UTC of the server's clock.

key              type    what                                                       lifetime inbox
list    ids of accepted jobs that are not claimed, in order        emptied by claim dead             string
how many of them ended there: cancelled, erased            as they leave the inbox job:<id>         hash
the job; fields below                                      from its end: 7 days, failed 30 event:<digest>
string  "<job id> <fingerprint>", the idempotency key              as its job, 4 days at least payload:<job>
hash    body, faults (JSON), size: an unreadable message           as its job, the latest 1,000 payloads
zset    jobs that have one, by acceptance number                   as a failed job, from the last one jobs
zset    job ids by acceptance number                               trimmed by tidy as jobs expire failed
zset    failed jobs that wait for a decision, by acceptance number as a failed job, from the last end
failed:<group>   zset    the same of one "<code> <class> <type>"                    as `failed` failures
set     the groups                                                 as `failed` open             hash
relation → its open work (JSON of OpenRelation)            until it has its outcomes due              zset
open relations by not_before (µs)                          with `open` guard            zset
"<guard>|f|<relation>" goes first, "|h|" waits (R12)       with `open` arriving         hash    guard →
relations in the inbox that would go first         until claimed rel:<relation>   hash    `k` the memory
(JSON), `#<job>` "<result> <by or why>"     30 days from its last outcome journal          hash    request id
→ "<signed µs> <request>": begun, not settled   until settled or given up lease            hash    token,
step: who may work the account                      10 s, renewed work             hash    size, half, alone,
losses, held, full: the batch (R21)     until nothing is left to do wake             hash    at (µs), delay
(µs): a flush message is under way          until leased pause            hash    reason, detail, since, until
(µs, 0: until resumed),       until its time is over or resumed
                             fingerprint, braked
refused          hash    fingerprint, until (µs): credentials refused before        ten minutes, or until
resumed
                             others ended that pause
deletes          hash    minute → deletes that left in it; go: when resumed (µs)    an hour from the last one
deed             hash    id → [by, act, what, count, note] (JSON): the audit log    the latest 10,000 deeds
zset    ids of the audit log by time (µs)                          as `deed` replay:<id>      hash    about
(JSON), state, made, run, finished, at, back,        7 days
                             missed:<reason>
replay:<id>:jobs list    its set: a job's id, or JSON with what is sent instead     7 days running
zset    replays that should run, by their last progress (µs)       as the replay replays          zset
replays by when they were made (µs), the latest 1,000      7 days from the last one counts           hash
counters of the account                                    no end, a fixed set of fields batch:<label>    hash
accepted, succeeded, superseded, failed                    as a failed job, from the last end request:<id>
string  what was sent and answered (JSON)                          7 days requests         list    ids of the
latest requests, newest first                   capped; trimmed by tidy numbers          hash    counters of
flushes and of people's acts, for monitors     no end, a fixed set of fields pace             hash    see
worker.limiter                                         2 days from its last use

A job's fields are short, and values stay below 64 bytes where they can, because that keeps its hash compact:
s state · a action · t type · p parents · c children · i info (JSON) · o occurred_at · n accepted_at · q
acceptance number · f finished_at · k event digest · e event id · u source · b batch · g guards it would put
first · r relations still open · z all relations · ok su st fa outcome counts · m attempts · w requests · x
first refusal (JSON) · y superseded by · fr failed relations · bk requeued at (µs) · ag relations left to do
(requeued) · rm the replay that requeued it last · d dismissed ("<µs> [by, why]") · rp the job it replaces ·
rb the jobs that replace it · ci correlation id of the call that brought it.

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
