"""Folding: any number of wishes for one relation become at most one target, and every wish that lost learns why.

The latest wins, for presence and for each info key by itself (R6). Pure: versions decide, never arrival or a clock.
"""

from collections.abc import Iterable, Mapping
from typing import Literal, NamedTuple

from worker.contract import Info

IntentAction = Literal["create", "modify", "delete"]
Result = Literal["applied", "superseded", "stale", "failed"]


class Version(NamedTuple):
    """When a change is to count: its `occurred_at` in microseconds UTC, ties by acceptance number."""

    occurred_at: int
    accepted: int


class JobVersion(NamedTuple):
    """A version and the job that brought it."""

    version: Version
    job: str


NEVER = JobVersion(Version(-1, -1), "")


class Intent(NamedTuple):
    """What one job asks of one relation; `correlation` is only carried along."""

    version: Version
    job: str
    action: IntentAction
    info: Info = ()
    correlation: str = ""

    @property
    def job_version(self) -> JobVersion:
        """Its version with its job."""
        return JobVersion(self.version, self.job)


class ConfirmedInfo(NamedTuple):
    """An info value the API confirmed, and by whose word; `gone` if an unlink that is older, but came later, took it away."""

    version: Version
    job: str
    value: str = ""
    removed: bool = False

    @property
    def job_version(self) -> JobVersion:
        """Its version with its job."""
        return JobVersion(self.version, self.job)


class ConfirmedState(NamedTuple):
    """The relation memory (R8): the newest marks *confirmed* by the API, and no claim about what people did since.

    `absent` also moves when a newer create made a delete unnecessary: whatever is older than it is void all the same.
    """

    present: JobVersion = NEVER
    absent: JobVersion = NEVER
    info: Mapping[str, ConfirmedInfo] = {}

    def version_of(self, key: str) -> JobVersion:
        """By whose word the key has its value, or had it before it was gone."""
        return self.info[key].job_version if key in self.info else NEVER

    @property
    def presence(self) -> JobVersion:
        """The newest of the two."""
        return max(self.present, self.absent)


NOTHING = ConfirmedState()


class Target(NamedTuple):
    """What should be true of a relation: present, absent, or (None) left as it is; and info to be set on it."""

    intents: tuple[Intent, ...]
    presence: bool | None
    decisive: JobVersion
    info: tuple[tuple[str, str, JobVersion], ...]
    cleared: JobVersion

    @property
    def patch(self) -> Info:
        """The info to be set, as it is sent."""
        return tuple((key, value) for key, value, _ in self.info)


class LostIntent(NamedTuple):
    """A wish that will not be sent: superseded by a newer one here, stale against a confirmed one, or applied already."""

    intent: Intent
    result: Result
    by: str


class Fold(NamedTuple):
    """The one target, None when nothing is left to do, and the wishes it does not stand for."""

    target: Target | None
    lost: tuple[LostIntent, ...]
    cleared: JobVersion


def fold(
    intents: Iterable[Intent],
    known: ConfirmedState = NOTHING,
    *,
    cleared: JobVersion = NEVER,
    upsert: bool = False,
) -> Fold:
    """The target of one relation.

    `cleared` is the newest delete already folded away, `upsert` makes a modify count as a create too. Wishes that
    agree on presence all stand behind the target and share its outcome.
    """
    intents = tuple(intents)
    if len(intents) == 1 and known == NOTHING and cleared == NEVER:
        return Fold(
            _alone(intents[0], upsert), (), intents[0].job_version if intents[0].action == "delete" else NEVER
        )
    ordered = sorted(set(intents))
    cleared = max(
        [cleared, known.absent, *(intent.job_version for intent in ordered if intent.action == "delete")]
    )
    sides = [
        (intent, side)
        for intent in ordered
        if (side := _presence(intent, upsert)) is not None and intent.version > known.presence.version
    ]
    decisive, presence = (sides[-1][0].job_version, sides[-1][1]) if sides else (NEVER, None)
    turn = max((intent.job_version for intent, side in sides if side is not presence), default=NEVER)
    owners = _owners(ordered, known, cleared, upsert=upsert)
    live = {intent for intent, side in sides if side is presence and intent.version > turn.version} | {
        intent for intent, _, _ in owners.values()
    }
    target = Target(
        intents=tuple(intent for intent in ordered if intent in live),
        presence=presence,
        decisive=decisive,
        info=tuple((key, value, mark) for key, (_, value, mark) in sorted(owners.items())),
        cleared=cleared,
    )
    lost = tuple(
        _lost(intent, known, target, _presence(intent, upsert)) for intent in ordered if intent not in live
    )
    return Fold(target if live else None, lost, cleared)


def confirm(
    target: Target, known: ConfirmedState, *, presence: bool, keys: Iterable[str] = ()
) -> ConfirmedState:
    """The memory after the API confirmed the target's presence (or not yet) and these info keys."""
    sent = set(keys)
    info = dict(known.info) | {
        key: ConfirmedInfo(*mark, value) for key, value, mark in target.info if key in sent
    }
    known = known._replace(info=info)
    if not presence or target.presence is None:
        return known
    if target.presence:
        return overtaken(known._replace(present=target.decisive), target.cleared)
    return known._replace(
        absent=target.decisive, info={key: each._replace(removed=True) for key, each in info.items()}
    )


def overtaken(known: ConfirmedState, cleared: JobVersion) -> ConfirmedState:
    """The memory with a delete that a newer, confirmed create made unnecessary; the same object if it held that already."""
    return known._replace(absent=cleared) if known.absent < cleared < known.present else known


def _alone(intent: Intent, upsert: bool) -> Target:
    """The target of one wish for a relation nothing is known of: most are, so it is worth its own short way."""
    mark, presence = intent.job_version, _presence(intent, upsert)
    info = tuple([(key, value, mark) for key, value in sorted(dict(intent.info).items())])
    return Target(
        (intent,),
        presence,
        NEVER if presence is None else mark,
        info,
        NEVER if presence is not False else mark,
    )


def _presence(intent: Intent, upsert: bool) -> bool | None:
    """True asks for the relation, False against it, None says nothing of it."""
    if intent.action == "delete":
        return False
    return True if upsert or intent.action == "create" else None


def _owners(
    ordered: list[Intent], known: ConfirmedState, cleared: JobVersion, *, upsert: bool
) -> dict[str, tuple[Intent, str, JobVersion]]:
    """The wish that decides each info key: the latest that no delete and no confirmed value outdates.

    What an older delete took away comes back with the next create, which is then about that too.
    """
    owners: dict[str, tuple[Intent, str, JobVersion]] = {}
    for intent in ordered:
        if intent.version > cleared.version and _presence(intent, upsert):
            owners = {
                key: (intent, was.value, was.job_version)
                for key, was in known.info.items()
                if was.removed and was.job_version > cleared
            }
    for intent in ordered:
        if intent.info and intent.version > cleared.version:
            owners |= {
                key: (intent, value, intent.job_version)
                for key, value in intent.info
                if intent.version > known.version_of(key).version
            }
    return owners


def _lost(intent: Intent, known: ConfirmedState, target: Target, side: bool | None) -> LostIntent:
    """Why a wish is not live: first whatever newer wish beat one of its parts, then what was confirmed before."""
    if side is not None and intent.version > known.presence.version:
        return LostIntent(intent, "superseded", target.decisive.job)
    owners = {key: mark for key, _, mark in target.info}
    confirmed = known.presence if side is not None else NEVER
    for key, _ in intent.info:
        before = max(known.version_of(key), known.absent)
        if intent.version > before.version:
            return LostIntent(intent, "superseded", owners.get(key, target.cleared).job)
        confirmed = max(confirmed, before)
    return LostIntent(intent, "applied" if confirmed.job == intent.job else "stale", confirmed.job)
