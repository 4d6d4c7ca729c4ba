"""Every key of the status store. An account's keys carry its hash tag, so a script touches one cluster slot.

Below `{prefix}:{{account}}:`; µs are microseconds UTC of the server's clock, ids are without account.

    key              type    what                                                lifetime
    meta             hash    layout; v, p: commits of the lease's holder, of     no end, a fixed set of fields
                             people; last: the last commit; bytes: of the jobs
                             in the queue; dead: those that ended there; latest:
                             the latest acceptance (µs); sets,
                             sets_since (µs): bytes of a week's replays; erasures:
                             of records so far; held,
                             held_since (µs): open claimed relations; replaced:
                             whether anything ever was; events, memories: which of two
                             generations is written, …_since (µs): since when;
                             finished_s, failed_s, remembered_s: the longest retention
                             that still binds, shorter_since (µs): since when the
                             settings say less, later_finished_s, …: the longest
                             that they said since then
    queue            list    ids of accepted jobs that are not claimed, in order emptied by claim
    look_ups         list    ids of accepted jobs whose records are to be looked  until looked up
                             up, in order
    parked           zset    jobs of which a record was not found, by when it is  until found, or
                             looked up again (µs)                                 `park_for`
    references:<n>   hash    digest of a reference → "<id> <asked µs>"; record →  two periods of
                             when the API knew it no more (µs)                    `look_up_memory`
    replaced         hash    side of a record that was replaced → version of the  as memories, from the
                             last replace: "<occurred µs> <number> <id>", and of  last replace
                             older ones that have read later
    claimed          list    ids of claimed jobs whose open relations are not    until all are written or
                             written yet: the holder of the lease has them       ended
    jobs:<bucket>    hash    id → job                                            `finished` after the end of
    order:<bucket>   list    the ids of a bucket by acceptance                   the last job in the bucket
    buckets          hash    bucket → jobs in it that have not ended             with the bucket, by tidy
    kept             hash    id → job that failed once, whatever came of it      each by itself, by tidy
    keep             zset    the ids of `kept` by acceptance number              with `kept`
    events:0, :1     hash    digest → "<id> <fingerprint>", the idempotency      two generations in turn: at
                             keys                                                least as long as jobs
    events:kept      hash    the same of jobs in `kept`                          with `kept`
    memories:0, :1   hash    relation → its memory, with the last outcomes       two generations in turn: at
                                                                                 least the longer of both
    payload:<job>    hash    body, faults (JSON), size, delivered: an            as its job, the latest 1,000
                             unreadable message
    payloads         zset    jobs that have one, by acceptance number            as a failed job
    failed           zset    failed jobs that wait for a decision,               as a failed job
                             by acceptance number
    failed:<group>   zset    the same of one "<code> <class> <type>"             as `failed`
    failures         set     the groups                                          as `failed`
    open             hash    relation → its open work (JSON of OpenRelation)     until it has its outcomes
    due              zset    open relations by not_before (µs)                   with `open`
    guard            zset    "<guarded record>|f|<relation>" (R12), |c| by its   with `open`, or until its
                             child of a create without an answer; earlier        doubt is over
                             releases wrote |h| for some
    journal          hash    request id → "<signed µs> <request>", not settled   until settled or given up
    holder           hash    token, step: who has the lease and may work the     10 s, renewed
                             account; wakes: it sends a message when it
                             gives it back; inspects: all of it is being read
    lease            hash    token, step: the lease of release 0.1.0, taken for  none
                             good, so that its workers keep out
    work             hash    size, half, alone, losses, held, full:              until nothing is left to do
                             the batch being worked (R21); idle: flushes in
                             a row that found nothing
    wake             hash    at (µs), delay (µs): a flush message is under way,  until leased
                             or sent by who has the lease when giving it back;
                             idle: the flush before found nothing, so what is
                             new asks for a message of its own
    pause            hash    reason, detail, since, until (µs, 0: until          until it is over or resumed
                             resumed), fingerprint, braked
    refused          hash    fingerprint, until (µs): credentials that were      ten minutes, or until resumed
                             refused before others ended that pause
    deletes          hash    minute → deletes sent in it; go: when resumed (µs)  an hour from the last one
    deed             hash    id → [by, act, what, count, note] (JSON):           the latest 10,000
                             the audit log
    deeds            zset    ids of the audit log by time (µs)                   as `deed`
    replay:<id>      hash    about (JSON), state, made, run, finished, at,       7 days
                             back, missed:<reason>
    replay:<id>:jobs list    its set: a job's id, or JSON with what to send      7 days
    running          zset    replays that should run, by last progress (µs)      as the replay
    replays          zset    replays by when they were made (µs)                 7 days, the latest 1,000
    counts           hash    accepted, jobs by state, outcomes as the jobs       no end, a fixed set of fields
                             have them, unreadable, requests, actions; lost:
                             accepted jobs that an inspection did not find
    batch:<label>    hash    accepted, succeeded, superseded, failed             as the last of its jobs
    watched          hash    label → when a change with it came last (µs), and    as a failed job, the latest
                             the callbacks that are told of it                   10,000
    looks            zset    the same labels by when to look at them next (µs)   with `watched`
    reported         hash    label → what each callback was told last (JSON)     with `watched`
    callback         hash    id → a message of a callback (JSON)                 as a failed job, the latest
                                                                                 10,000
    callbacks        zset    ids of messages by when they were made (µs)         with `callback`
    unsent:<name>    zset    ids of those that wait to be told to the callback   until told or abandoned
                             of that name, by when they are due (µs)
    request:<id>     string  what was sent and answered (JSON)                   7 days
    requests         list    ids of the latest requests, newest first            the latest 10,000
    numbers          hash    what only rises: outcomes and failures as they      no end, a fixed set of fields
                             were written, counters of flushes, people's acts
    history          hash    place in a ring of 288 → what the counters were     2 days from the last one
                             when a bucket of five minutes began (JSON)
    pace             hash    see worker/limiter/lua/book.lua                     2 days from its last use
    never            none    is never there (`NEVER`)                            none

A job's lifetime begins with its end. Jobs and memories say themselves when they end; their bytes go with
their bucket (9.3 hours of ids) or generation. What they hold: `jobs/stored_job.py`, `memories.py`.

The deliveries to a webhook are kept by source, below `{prefix}:{{webhook:source}}:`, as long as the source's
settings say after the last one:

    meta             hash    genuine, refused: bytes of what is kept of either; last: the last commit
    kept             hash    id → "<times> <first µs> <delivery>" (JSON)
    requests         hash    id → the request without secrets, its head before its body
    genuine          zset    ids by time (µs) of deliveries whose sender proved itself, bounded in bytes
    refused          zset    the same of the others, which have no request

Beside the accounts, below `{prefix}:`, all without end but the last two:

    accounts         set     names of all accounts
    workers          hash    name → WorkerInfo (JSON), until it ends or was silent for an hour
    sweep            hash    at (µs), made, repaired, reverted (µs)
    refusals         hash    key:<reason>, webhook:<source>:<reason>: how many were refused
    sources          set     names of all sources that had a delivery
    deliveries       hash    <source>:<outcome>: how many there were
    act:{<token>}    string  an act that was prepared on a page (JSON), an hour: `ops.dashboard.pages.acts`
    act:{<token>}:begun      string, two minutes: it is being carried out
"""

import re
from functools import lru_cache
from hashlib import blake2b
from typing import Final

from worker.ids import ALPHABET
from worker.store.limits import BUCKET_MS, MAX_CONTENTS

LAYOUT: Final = "2"
"""The version of this layout; release 0.1.0 wrote none, and counts as 1."""
NEVER: Final = "never"
"""The key that each script which writes several keys names, too, and that never exists.

So a cluster's node refuses it (TRYAGAIN) while the slot moves. A key that a script empties would count as
moved to the other node, and the next command on that key would fail, when half of all is written.
"""
BUCKET_DIGITS: Final = 4  # of an id's nine for its time: a bucket spans 32 ** 5 ms, 9.3 hours


def base(prefix: str, account: str) -> str:
    """Return the first part of every key of an account."""
    return f"{prefix}:{{{account}}}"


def short_id(job: str) -> str:
    """Return a job's id without its account."""
    return job.rpartition("-")[2]


def bucket_of(short: str) -> int:
    """Return the number of the bucket of a job, from the time that its id shows; later ones are higher."""
    return _bucket_of(short[:BUCKET_DIGITS])


@lru_cache(maxsize=1024)
def _bucket_of(digits: str) -> int:
    number = 0
    for digit in digits.ljust(BUCKET_DIGITS, "0"):
        place = ALPHABET.find(digit)
        number = number << 5 | (place if place >= 0 else ord(digit) & 31)  # any text has a bucket
    return number


def bucket_at(micros: int) -> int:
    """Return the number of the bucket of ids that are made at that time (µs since the epoch)."""
    return micros // 1000 // BUCKET_MS


def shared(prefix: str, name: str) -> str:
    """Return a key beside the accounts; no script may touch it, because it is in another slot."""
    return f"{prefix}:{name}"


def source_tag(source: str) -> str:
    """Return what stands for a source's deliveries where else the name of an account does; it can be none."""
    return f"webhook:{source}"


def event(source: str, event_id: str) -> bytes:
    """Return the digest of a producer's own key: 12 bytes, whatever its length."""
    return blake2b(f"{source}\0{event_id}".encode(), digest_size=12).digest()


def delivery(source: str, event_id: str) -> bytes:
    """Return the digest of a webhook's event id: no producer can claim one, since no source has a NUL."""
    return event(f"webhook\0{source}", event_id)


def unreadable(source: str, event_id: str, place: int = 0) -> bytes:
    """Return the digest for an unreadable message: the corrected one, which has the same key, is new.

    Others of its key that have another content stand at places of their own.
    """
    return event(f"unreadable\0{source}", f"{event_id}\0{place}" if place else event_id)


def unreadable_delivery(source: str, event_id: str) -> bytes:
    """Return the digest for an unreadable message of a webhook: no producer can claim it."""
    return event(f"unreadable\0webhook\0{source}", event_id)


def digests_of(source: str, event_id: str) -> list[bytes]:
    """Return every digest that a producer's own key may stand under."""
    of_contents = [unreadable(source, event_id, place) for place in range(MAX_CONTENTS)]
    return [
        event(source, event_id),
        delivery(source, event_id),
        unreadable_delivery(source, event_id),
        *of_contents,
    ]


def escape_glob(text: str) -> str:
    """Return a pattern of keys that matches just this text."""
    return re.sub(r"([\[\]*?\\])", r"\\\1", text)
