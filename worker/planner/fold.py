"""Folding: intents for one relation become at most one target, and every other intent learns why it lost.

The latest wins, for presence and for each info key by itself (R6). Pure: versions decide, never arrival or a
clock.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Literal, get_args

import msgspec

from worker.contract import Info, Verb

Result = Literal["applied", "superseded", "stale", "failed"]
RESULTS: Final[tuple[Result, ...]] = get_args(Result)


class Version(msgspec.Struct, frozen=True, order=True, array_like=True, gc=False):
    """When a change is to count: its `occurred_at` in microseconds UTC, ties by acceptance number."""

    occurred_at: int
    accepted: int


class JobVersion(msgspec.Struct, frozen=True, order=True, array_like=True, gc=False):
    """The version of an intent, with its job."""

    version: Version
    job: str


NEVER = JobVersion(Version(-1, -1), "")


class Intent(msgspec.Struct, frozen=True, order=True, array_like=True, gc=False):
    """What one job asks of one relation; `correlation` is only passed on to log events and records.

    A delete that may take the last relation of a guarded record says so in `allow_empty` (R12).
    """

    version: Version
    job: str
    action: Verb
    info: Info = ()
    correlation: str = ""
    allow_empty: bool = False

    @property
    def job_version(self) -> JobVersion:
        """The version with the job."""
        return JobVersion(self.version, self.job)


class ConfirmedInfo(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """An info value that the API confirmed, and the job it came from.

    It is `removed` if a delete took it away from the relation; one that is older, but came later, counts too.
    """

    version: Version
    job: str
    value: str = ""
    removed: bool = False

    @property
    def job_version(self) -> JobVersion:
        """The version with the job."""
        return JobVersion(self.version, self.job)


class ConfirmedState(msgspec.Struct, frozen=True, gc=False):
    """The relation memory (R8): the newest versions that the API confirmed; people may have changed it since.

    `absent` also moves when a newer create makes a delete unnecessary: whatever is older is void all the
    same.
    """

    present: JobVersion = NEVER
    absent: JobVersion = NEVER
    info: Mapping[str, ConfirmedInfo] = {}

    def version_of(self, key: str) -> JobVersion:
        """Return the version that set the key, also if its value was removed since."""
        return self.info[key].job_version if key in self.info else NEVER

    @property
    def presence(self) -> JobVersion:
        """The newest version that decided about presence."""
        return max(self.present, self.absent)


NOTHING = ConfirmedState()


class Target(msgspec.Struct, frozen=True, gc=False):
    """What should be true of a relation: present, absent or (None) left as it is, and info to be set.

    `intents` are those it stands for, `decisive` the newest about presence, `info` has (key, value, version),
    `cleared` is the newest delete: older info is void.
    """

    intents: tuple[Intent, ...]
    presence: bool | None
    decisive: JobVersion
    info: tuple[tuple[str, str, JobVersion], ...]
    cleared: JobVersion

    @property
    def patch(self) -> Info:
        """The info to be set, as it is sent."""
        return tuple((key, value) for key, value, _ in self.info)

    @property
    def allow_empty(self) -> bool:
        """Whether somebody who wants it absent accepts that its record has no other (R12)."""
        return any(intent.allow_empty for intent in self.intents)


class LostIntent(msgspec.Struct, frozen=True, gc=False):
    """An intent that is not sent: superseded by a newer one, stale against a confirmed one, or applied."""

    intent: Intent
    result: Result
    by: str


class Fold(msgspec.Struct, frozen=True, gc=False):
    """The one target, None when nothing is left to do, and the intents it does not stand for."""

    target: Target | None
    lost: tuple[LostIntent, ...]
    cleared: JobVersion


def fold(
    intents: Sequence[Intent],
    confirmed: ConfirmedState = NOTHING,
    *,
    cleared: JobVersion = NEVER,
    upsert: bool = False,
) -> Fold:
    """Fold the intents for one relation into its target.

    `cleared` is the newest delete that was folded away before, `upsert` makes a modify count as a create too.
    Intents that agree on presence all stand behind the target and share its outcome.
    """
    if len(intents) == 1 and cleared == NEVER and not confirmed.info:
        intent = intents[0]
        if confirmed.present.version < intent.version > confirmed.absent.version:
            return _fold_newest_intent(intent, confirmed.absent, upsert)
    ordered = sorted(set(intents))
    deletes = [intent.job_version for intent in ordered if intent.action == "delete"]
    cleared = max([cleared, confirmed.absent, *deletes])
    votes = [
        (intent, wanted)
        for intent in ordered
        if (wanted := _presence(intent, upsert)) is not None and intent.version > confirmed.presence.version
    ]
    decisive, presence = (votes[-1][0].job_version, votes[-1][1]) if votes else (NEVER, None)
    opposed = [intent.job_version for intent, wanted in votes if wanted is not presence]
    # A delete that a create overtakes is opposed to it, also one that was folded away before.
    contrary = cleared if presence and cleared < decisive else max(opposed, default=NEVER)
    deciding = _deciding_by_key(ordered, confirmed, cleared, upsert=upsert)
    live = {
        intent for intent, wanted in votes if wanted is presence and intent.version > contrary.version
    } | {intent for intent, _, _ in deciding.values()}
    target = Target(
        intents=tuple(intent for intent in ordered if intent in live),
        presence=presence,
        decisive=decisive,
        info=tuple((key, value, version) for key, (_, value, version) in sorted(deciding.items())),
        cleared=cleared,
    )
    lost = [_lost(intent, confirmed, target, upsert=upsert) for intent in ordered if intent not in live]
    return Fold(target if live else None, tuple(lost), cleared)


def confirm(target: Target, confirmed: ConfirmedState, keys: Iterable[str] = ()) -> ConfirmedState:
    """Return what is confirmed after the API confirmed the target's presence and these info keys."""
    info, decisive = confirmed.info, target.decisive
    if target.info:
        sent = set(keys)
        info = dict(info) | {
            key: ConfirmedInfo(version.version, version.job, value)
            for key, value, version in target.info
            if key in sent
        }
    if target.presence is None:
        return ConfirmedState(confirmed.present, confirmed.absent, info)
    if target.presence:
        return note_overtaken_delete(ConfirmedState(decisive, confirmed.absent, info), target.cleared)
    removed = {key: msgspec.structs.replace(was, removed=True) for key, was in info.items()}
    return ConfirmedState(confirmed.present, decisive, removed)


def note_overtaken_delete(confirmed: ConfirmedState, cleared: JobVersion) -> ConfirmedState:
    """Return what is confirmed with a delete that a newer, confirmed create made unnecessary.

    It is the very same object if nothing changes.
    """
    if not confirmed.absent < cleared < confirmed.present:
        return confirmed
    return ConfirmedState(confirmed.present, cleared, confirmed.info)


def _fold_newest_intent(intent: Intent, absent: JobVersion, upsert: bool) -> Fold:
    """Fold an only intent that is newer than all that is confirmed: a short way, for most are such."""
    version, presence = intent.job_version, _presence(intent, upsert)
    info: tuple[tuple[str, str, JobVersion], ...] = ()
    if intent.info:
        info = tuple([(key, value, version) for key, value in sorted(dict(intent.info).items())])
    cleared = version if presence is False else absent
    return Fold(
        Target((intent,), presence, NEVER if presence is None else version, info, cleared), (), cleared
    )


def _presence(intent: Intent, upsert: bool) -> bool | None:
    """Return whether the intent wants the relation present or absent; None if it does not care."""
    if intent.action == "delete":
        return False
    return True if upsert or intent.action == "create" else None


def _deciding_by_key(
    ordered: list[Intent], confirmed: ConfirmedState, cleared: JobVersion, *, upsert: bool
) -> dict[str, tuple[Intent, str, JobVersion]]:
    """Return the intent that decides each info key: the latest that no delete or confirmed value outdates.

    Info that an older delete removed comes back with the next create, which decides about it then.
    """
    deciding: dict[str, tuple[Intent, str, JobVersion]] = {}
    for intent in ordered:
        if intent.version > cleared.version and _presence(intent, upsert):
            deciding = {
                key: (intent, was.value, was.job_version)
                for key, was in confirmed.info.items()
                if was.removed and was.job_version > cleared
            }
    for intent in ordered:
        if intent.info and intent.version > cleared.version:
            deciding |= {
                key: (intent, value, intent.job_version)
                for key, value in intent.info
                if intent.version > confirmed.version_of(key).version
            }
    return deciding


def _lost(intent: Intent, confirmed: ConfirmedState, target: Target, *, upsert: bool) -> LostIntent:
    """Return why an intent is not live: a newer intent beat a part of it, or a confirmed one did."""
    votes = _presence(intent, upsert) is not None
    if votes and intent.version > confirmed.presence.version:
        return LostIntent(intent, "superseded", target.decisive.job)
    deciding = {key: version for key, _, version in target.info}
    newest = confirmed.presence if votes else NEVER
    for key, _ in intent.info:
        before = max(confirmed.version_of(key), confirmed.absent)
        if intent.version > before.version:
            return LostIntent(intent, "superseded", deciding.get(key, target.cleared).job)
        newest = max(newest, before)
    return LostIntent(intent, "applied" if newest.job == intent.job else "stale", newest.job)
