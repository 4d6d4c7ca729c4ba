"""Every key of the status store. All keys of an account carry its hash tag, so one script touches one cluster slot.

Below `{prefix}:{{account}}:` — µs are microseconds UTC of the server's clock.

    key              type    what                                                        lifetime
    inbox            list    ids of accepted, untaken jobs, in order of acceptance       emptied by take
    dead             string  how many of them ended there: cancelled, erased             as they leave the inbox
    job:<id>         hash    the job; fields below                                       from its end: 7 days, failed 30
    event:<digest>   string  "<job id> <fingerprint>", the idempotency key               as its job, 4 days at least
    payload:<job>    hash    body, faults (JSON), size: an unreadable message            as its job, the latest 1,000
    payloads         zset    jobs that have one, by acceptance number                    as a failed job, from the last one's coming
    jobs             zset    job id by acceptance number                                 trimmed by tidy as jobs go
    failed           zset    failed jobs that wait for a decision, by acceptance number  as a failed job, from its last one's end
    failed:<group>   zset    the same of one "<code> <class> <type>"                     as `failed`
    failures         set     the groups                                                  as `failed`
    open             hash    relation → its open work (JSON of planner.case.Open)        until its outcomes fell
    due              zset    open relation by not_before (µs)                            with `open`
    guard            zset    "<guard>|f|<relation>" goes first, "|h|" waits (R12)        with `open`
    arriving         hash    guard → relations in the inbox that would go first          until taken
    rel:<relation>   hash    `k` the memory (JSON)   , `#<job>` "<result> <by/why>"      30 days after its last outcome
    journal          hash    request id → "<signed µs> <request>" begun, not settled     until settled or given up
    lease            hash    token, step: who may work the account                       10 s, renewed
    work             hash    size, half, alone, losses, held, full: the batch in hand    until nothing is left to do (R21)
    wake             hash    at (µs), delay (µs): a flush message is under way           until leased
    pause            hash    reason, detail, since, until (µs, 0: by hand), fingerprint, braked   until it is over or resumed
    refused          hash    fingerprint, until (µs): refused credentials while others work  ten minutes, or until resumed
    deletes          hash    minute → deletes that left in it; go: when resumed (µs)     an hour from the last one
    deed             hash    name → [by, act, what, count, note] (JSON): who did what    the latest 10,000
    deeds            zset    their names by time (µs)                                    as `deed`
    replay:<id>      hash    about (JSON), state, made, run, finished, at, back, missed:<reason>     7 days
    replay:<id>:jobs list    its set: a job's id, or JSON of what is sent in its place   7 days
    running          zset    replays that should run, by when they last came on (µs)     as the replay
    replays          zset    replays by when they were made (µs), the latest 1,000       7 days from the last one
    counts           hash    counters of the account                                     for ever, a fixed set of fields
    batch:<label>    hash    accepted, succeeded, superseded, failed                     as a failed job, from its last one's end
    request:<id>     string  what was sent and answered (JSON)                           7 days
    requests         list    ids of the latest requests, newest first                    capped; trimmed by tidy
    numbers          hash    counters of its flushes and deeds, for monitors             for ever, a fixed set of fields
    pace             hash    see worker.limiter

A job's fields are short, and values stay below 64 bytes where they can, because that keeps its hash compact:
s state · a action · t type · p parents · c children · i info (JSON) · o occurred_at · n accepted_at · q acceptance number ·
f finished_at · k event digest · e event id · u source · b batch · g guards it would put first · r relations still open ·
z all relations · ok su st fa outcome counts · m attempts · w requests · x first refusal (JSON) · y superseded by ·
fr failed relations · bk back in the inbox since (µs) · ag relations to do again (replay) · rm the replay that put it back last ·
d dismissed ("<µs> [by, why]") · rp the job it replaces · rb the jobs that replace it · ci what the call it came with goes by.

Beside the accounts: `{prefix}:accounts`, a set of account names, kept for ever; `{prefix}:workers`, a hash of workers by name (JSON),
each until it ends or is silent for an hour; `{prefix}:sweep`, a hash: at (µs), made, repaired, kept for ever.
"""

from hashlib import blake2b


def base(prefix: str, account: str) -> str:
    """The first part of every key of an account."""
    return f"{prefix}:{{{account}}}"


def accounts(prefix: str) -> str:
    """The registry of accounts; written beside the scripts, never inside one."""
    return f"{prefix}:accounts"


def workers(prefix: str) -> str:
    """The workers that are alive."""
    return f"{prefix}:workers"


def sweep(prefix: str) -> str:
    """The last sweep, and how much all of them did."""
    return f"{prefix}:sweep"


def event(source: str, event_id: str) -> str:
    """16 bytes that stand for a producer's own key, whatever its length."""
    return blake2b(f"{source}\0{event_id}".encode(), digest_size=12).hexdigest()


def unreadable(source: str, event_id: str) -> str:
    """The same for a message that could not be read: the mended one, which has the same key, is new."""
    return event(f"unreadable\0{source}", event_id)
