"""Folding: any number of wishes for one relation become at most one target, and every wish that lost learns why.

The latest wins, for presence and for each info key by itself (R6). Pure: versions decide, never arrival or a clock.
"""

from collections.abc import Iterable, Mapping
from typing import Literal, NamedTuple

from worker.contract import Info

WishAction = Literal["create", "modify", "delete"]
Result = Literal["applied", "superseded", "stale", "failed"]


class Version(NamedTuple):
    """When a change is to count: its `occurred_at` in microseconds UTC, ties by acceptance number."""

    occurred_at: int
    accepted: int


class Mark(NamedTuple):
    """A version and the job that brought it."""

    version: Version
    job: str


NEVER = Mark(Version(-1, -1), "")


class Wish(NamedTuple):
    """What one job asks of one relation; `correlation` is only carried along."""

    version: Version
    job: str
    action: WishAction
    info: Info = ()
    correlation: str = ""

    @property
    def mark(self) -> Mark:
        """Its version with its job."""
        return Mark(self.version, self.job)


class Setting(NamedTuple):
    """An info value the API confirmed, and by whose word; `gone` if an unlink that is older, but came later, took it away."""

    version: Version
    job: str
    value: str = ""
    gone: bool = False

    @property
    def mark(self) -> Mark:
        """Its version with its job."""
        return Mark(self.version, self.job)


class Known(NamedTuple):
    """The relation memory (R8): the newest marks *confirmed* by the API, and no claim about what people did since.

    `absent` also moves when a newer create made a delete unnecessary: whatever is older than it is void all the same.
    """

    present: Mark = NEVER
    absent: Mark = NEVER
    info: Mapping[str, Setting] = {}

    def word(self, key: str) -> Mark:
        """By whose word the key has its value, or had it before it was gone."""
        return self.info[key].mark if key in self.info else NEVER

    @property
    def presence(self) -> Mark:
        """The newest of the two."""
        return max(self.present, self.absent)


NOTHING = Known()


class Target(NamedTuple):
    """What should be true of a relation: present, absent, or (None) left as it is; and info to be set on it."""

    wishes: tuple[Wish, ...]
    presence: bool | None
    decisive: Mark
    info: tuple[tuple[str, str, Mark], ...]
    cleared: Mark

    @property
    def patch(self) -> Info:
        """The info to be set, as it is sent."""
        return tuple((key, value) for key, value, _ in self.info)


class Lost(NamedTuple):
    """A wish that will not be sent: superseded by a newer one here, stale against a confirmed one, or applied already."""

    wish: Wish
    result: Result
    by: str


class Fold(NamedTuple):
    """The one target, None when nothing is left to do, and the wishes it does not stand for."""

    target: Target | None
    lost: tuple[Lost, ...]
    cleared: Mark


def fold(wishes: Iterable[Wish], known: Known = NOTHING, *, cleared: Mark = NEVER, upsert: bool = False) -> Fold:
    """The target of one relation.

    `cleared` is the newest delete already folded away, `upsert` makes a modify count as a create too. Wishes that
    agree on presence all stand behind the target and share its outcome.
    """
    wishes = tuple(wishes)
    if len(wishes) == 1 and known == NOTHING and cleared == NEVER:
        return Fold(_alone(wishes[0], upsert), (), wishes[0].mark if wishes[0].action == "delete" else NEVER)
    ordered = sorted(set(wishes))
    cleared = max([cleared, known.absent, *(wish.mark for wish in ordered if wish.action == "delete")])
    sides = [(wish, side) for wish in ordered if (side := _presence(wish, upsert)) is not None and wish.version > known.presence.version]
    decisive, presence = (sides[-1][0].mark, sides[-1][1]) if sides else (NEVER, None)
    turn = max((wish.mark for wish, side in sides if side is not presence), default=NEVER)
    owners = _owners(ordered, known, cleared, upsert=upsert)
    live = {wish for wish, side in sides if side is presence and wish.version > turn.version} | {wish for wish, _, _ in owners.values()}
    target = Target(
        wishes=tuple(wish for wish in ordered if wish in live),
        presence=presence,
        decisive=decisive,
        info=tuple((key, value, mark) for key, (_, value, mark) in sorted(owners.items())),
        cleared=cleared,
    )
    lost = tuple(_lost(wish, known, target, _presence(wish, upsert)) for wish in ordered if wish not in live)
    return Fold(target if live else None, lost, cleared)


def confirm(target: Target, known: Known, *, presence: bool, keys: Iterable[str] = ()) -> Known:
    """The memory after the API confirmed the target's presence (or not yet) and these info keys."""
    sent = set(keys)
    info = dict(known.info) | {key: Setting(*mark, value) for key, value, mark in target.info if key in sent}
    known = known._replace(info=info)
    if not presence or target.presence is None:
        return known
    if target.presence:
        return overtaken(known._replace(present=target.decisive), target.cleared)
    return known._replace(absent=target.decisive, info={key: each._replace(gone=True) for key, each in info.items()})


def overtaken(known: Known, cleared: Mark) -> Known:
    """The memory with a delete that a newer, confirmed create made unnecessary; the same object if it held that already."""
    return known._replace(absent=cleared) if known.absent < cleared < known.present else known


def _alone(wish: Wish, upsert: bool) -> Target:
    """The target of one wish for a relation nothing is known of: most are, so it is worth its own short way."""
    mark, presence = wish.mark, _presence(wish, upsert)
    info = tuple([(key, value, mark) for key, value in sorted(dict(wish.info).items())])
    return Target((wish,), presence, NEVER if presence is None else mark, info, NEVER if presence is not False else mark)


def _presence(wish: Wish, upsert: bool) -> bool | None:
    """True asks for the relation, False against it, None says nothing of it."""
    if wish.action == "delete":
        return False
    return True if upsert or wish.action == "create" else None


def _owners(ordered: list[Wish], known: Known, cleared: Mark, *, upsert: bool) -> dict[str, tuple[Wish, str, Mark]]:
    """The wish that decides each info key: the latest that no delete and no confirmed value outdates.

    What an older delete took away comes back with the next create, which is then about that too.
    """
    owners: dict[str, tuple[Wish, str, Mark]] = {}
    for wish in ordered:
        if wish.version > cleared.version and _presence(wish, upsert):
            owners = {key: (wish, was.value, was.mark) for key, was in known.info.items() if was.gone and was.mark > cleared}
    for wish in ordered:
        if wish.info and wish.version > cleared.version:
            owners |= {key: (wish, value, wish.mark) for key, value in wish.info if wish.version > known.word(key).version}
    return owners


def _lost(wish: Wish, known: Known, target: Target, side: bool | None) -> Lost:
    """Why a wish is not live: first whatever newer wish beat one of its parts, then what was confirmed before."""
    if side is not None and wish.version > known.presence.version:
        return Lost(wish, "superseded", target.decisive.job)
    owners = {key: mark for key, _, mark in target.info}
    confirmed = known.presence if side is not None else NEVER
    for key, _ in wish.info:
        before = max(known.word(key), known.absent)
        if wish.version > before.version:
            return Lost(wish, "superseded", owners.get(key, target.cleared).job)
        confirmed = max(confirmed, before)
    return Lost(wish, "applied" if confirmed.job == wish.job else "stale", confirmed.job)
