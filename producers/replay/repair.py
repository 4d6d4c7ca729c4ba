"""Prepares a repair of drift: new changes that ask once more for what was confirmed.

Each occurs when the change that was confirmed did, and is accepted later: so it counts again, and whatever
is newer than the confirmed change still wins over it, whenever that arrives.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from producers.replay.prepare import ReplayBuilder
from worker.contract import MAX_IDS, Change, ChangeAction, Relation
from worker.contract.change import Info
from worker.planner.fold import ConfirmedState
from worker.ports.drift import DriftedRelation
from worker.ports.work import RelationRecord

MAX_RELATIONS: Final = 2000  # of one repair, so that they fit into a body over HTTP
SOURCE: Final = "drift"  # the `source` of the changes
PREFIX: Final = "drift-"  # of their batch label, before the id of the repair


class _Wish(NamedTuple):
    """What several relations are to be once more: the sides that they share are a change."""

    occurred_at: int
    type: str
    action: ChangeAction
    info: Info
    parent: int


def label_of(replay_id: str) -> str:
    """Return the batch label of a repair's changes."""
    return PREFIX + replay_id.rpartition("-")[2]


def judge_drift(
    builder: ReplayBuilder,
    drifted: Sequence[DriftedRelation],
    records: Mapping[Relation, RelationRecord],
    *,
    oldest: int,
) -> None:
    """Take the drifted relations that still are to be as they were when they were read; refuse the others.

    Changes that occurred before `oldest` (µs) would not be accepted.
    """
    wishes, taken = defaultdict[_Wish, list[int]](list), 0
    for found in drifted:
        record = records.get(found.relation, RelationRecord())
        if reason := _reason_to_refuse(found, record, oldest):
            builder.refuse(found.job, reason)
            continue
        taken += 1
        for wish in _wishes_for(found, record.confirmed):
            wishes[wish].append(found.relation.child)
    for change in _as_changes(builder, wishes):
        builder.take_change(change)
    builder.plan.relations = taken  # of one there may be several changes


def _reason_to_refuse(found: DriftedRelation, record: RelationRecord, oldest: int) -> str:
    """Return why the relation is not repaired; empty if it is."""
    if record.open:
        return "contradicts"
    decisive, is_wanted = record.confirmed.presence, found.state == "missing"
    if (decisive.job, decisive.version.occurred_at) != (found.job, found.occurred_at):
        return "superseded"
    if (record.confirmed.present > record.confirmed.absent) is not is_wanted:
        return "superseded"
    return "too old" if found.occurred_at < oldest else ""


def _wishes_for(found: DriftedRelation, confirmed: ConfirmedState) -> Iterator[_Wish]:
    """Yield what makes the relation as it was confirmed: presence, and the info that went with it."""
    relation, at = found.relation, found.occurred_at
    if found.state == "returned":
        yield _Wish(at, relation.type, "delete", (), relation.parent)
        return
    info = defaultdict[int, list[tuple[str, str]]](list)
    for key, known in sorted(confirmed.info.items()):
        if not known.removed:
            info[known.version.occurred_at].append((key, known.value))
    yield _Wish(at, relation.type, "create", tuple(info.pop(at, ())), relation.parent)
    for set_at, values in info.items():
        yield _Wish(set_at, relation.type, "modify", tuple(values), relation.parent)


def _as_changes(builder: ReplayBuilder, wishes: Mapping[_Wish, list[int]]) -> Iterator[Change]:
    """Yield the changes; however often one repair sends them, they are the same."""
    pieces = [
        (wish, tuple(sorted(children)[first : first + MAX_IDS]))
        for wish, children in sorted(wishes.items())
        for first in range(0, len(children), MAX_IDS)
    ]
    for number, (wish, children) in enumerate(pieces):
        yield Change(
            account=builder.account,
            action=wish.action,
            type=wish.type,
            parents=(wish.parent,),
            children=children,
            info=wish.info,
            occurred_at=wish.occurred_at,
            event_id=f"{builder.replay_id}:{number}",
            source=SOURCE,
            batch=label_of(builder.replay_id),
        )
