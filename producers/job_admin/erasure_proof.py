"""The document of what an erasure did, without personal data. Pure."""

from collections import Counter
from collections.abc import Mapping
from hashlib import blake2b
from typing import Final

import msgspec

from worker.ports.erasure import RecordRef

REACHES_NOT: Final = (
    "the CRM itself",
    "the append-only file, until it is rewritten, and those of replicas",
    "backups, until they expire",
    "logs, of proxies too, until they expire",
    "files of imports and of producers",
    "messages that no worker has taken yet",
)


class WaitingPart(msgspec.Struct, frozen=True):
    """What of an account could not be erased yet: how many relations, until when (null: unknown), and why."""

    relations: int
    until: str | None
    why: str


class ErasedAccount(msgspec.Struct, frozen=True, kw_only=True):
    """What was looked at in an account, and what was erased, by kind; and what waits."""

    account: str
    looked_at: Mapping[str, int]
    erased: Mapping[str, int]
    waits: WaitingPart | None = None


class ErasureProof(msgspec.Struct, frozen=True, kw_only=True):
    """What an erasure did: a document without personal data.

    Instead of the id it has the fingerprint that stands in the audit log under `audit_entry`: whoever knows
    the id can check it. `append_only_file` says what became of its rewriting, if that was asked for.
    """

    module: str
    fingerprint: str
    audit_entry: str
    account: str
    by: str
    begun_at: str
    finished_at: str
    complete: bool
    erased: Mapping[str, int]
    accounts: tuple[ErasedAccount, ...]
    append_only_file: str
    reaches_not: tuple[str, ...] = REACHES_NOT


def add_proofs(earlier: ErasureProof, later: ErasureProof) -> ErasureProof:
    """Return the proof of two attempts as that of one erasure: what either looked at and erased is added."""
    before = {part.account: part for part in earlier.accounts}
    return msgspec.structs.replace(
        later,
        begun_at=earlier.begun_at,
        erased=sum_counts(earlier.erased, later.erased),
        accounts=tuple(
            msgspec.structs.replace(
                part,
                looked_at=sum_counts(before[part.account].looked_at, part.looked_at),
                erased=sum_counts(before[part.account].erased, part.erased),
            )
            if part.account in before
            else part
            for part in later.accounts
        ),
    )


def fingerprint(record: RecordRef, entry_id: str) -> str:
    """Return what the audit log shows instead of the id.

    Whoever knows an id can check whether it was that one.
    """
    content, salt = f"{record.module}:{record.number}".encode(), entry_id[-16:].encode()
    return blake2b(content, salt=salt, digest_size=9).hexdigest()


def sum_counts(*counts: Mapping[str, int]) -> Counter[str]:
    """Return the sum of counts by kind, in the order of the kinds, without those of nothing."""
    total = sum(map(Counter, counts), Counter[str]())
    return Counter(dict(sorted(total.items())))
