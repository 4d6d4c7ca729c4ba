"""Takes a record that is erased out of a job. Pure."""

import msgspec

from worker.contract import Relation
from worker.ports.erasure import ERASED, RecordRef
from worker.store.jobs.stored_job import NO_EVENT, LoadedJob, StoredJob, StoredReference


def erase(job: LoadedJob, who: RecordRef) -> bool:
    """Take the record from a job whose open work about it has ended; return whether nothing is left of it."""
    v, is_emptied = job.value, is_nothing_without(job.value, who)
    listed = v.parents if v.replaces == "p" else v.children
    v.named -= sum(who.is_on(v.replaces, v.type, each) for each in listed[: v.named])
    (v.parents, v.children), v.references = ids_without(v, who), references_without(v, who)
    kept = _without(v.failed, who)
    v.refused = tuple(place for name, place in zip(v.failed, v.refused, strict=True) if name in kept)
    v.failed, v.again = kept, _without(v.again, who)
    v.decided = tuple(entry for entry in v.decided if entry[0] in kept)
    v.event_id = NO_EVENT
    drop_texts(v)
    if v.refusal:
        v.refusal = (*v.refusal[:3], "")
    if not is_emptied:
        return False
    v.parents, v.children, v.failed, v.refused, v.again, v.info, v.by = (), (), (), (), (), None, ERASED
    v.decided, v.references = (), ()
    return True


def is_nothing_without(v: StoredJob, who: RecordRef) -> bool:
    """Return whether a job is about nothing any more without the record."""
    parents, children = ids_without(v, who)
    named = {each.side for each in references_without(v, who)}
    return not (parents or "p" in named) or not (children or "c" in named)


def ids_without(v: StoredJob, who: RecordRef) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return a job's parents and children without the record."""
    parents = tuple(each for each in v.parents if not who.is_on("p", v.type, each))
    return parents, tuple(each for each in v.children if not who.is_on("c", v.type, each))


def references_without(v: StoredJob, who: RecordRef) -> tuple[StoredReference, ...]:
    """Return a job's references without those that led to the record, and without it as a candidate."""
    return tuple(
        msgspec.structs.replace(
            each,
            candidates=tuple(other for other in each.candidates if not who.is_record(each.module, other)),
        )
        for each in v.references
        if not who.is_record(each.module, each.record)
    )


def drop_texts(v: StoredJob) -> None:
    """Drop what the API said of the failures, and what is said of a look-up; codes and classes stay."""
    v.refusals = tuple((code, error, "") for code, error, _ in v.refusals)
    if v.refusal:
        v.refusal = (v.refusal[0], v.refusal[1], "", v.refusal[3])
    if v.parked:
        v.parked = (*v.parked[:3], "", v.parked[4])


def _without(names: tuple[str, ...], who: RecordRef) -> tuple[str, ...]:
    return tuple(name for name in names if not who.is_part_of(Relation.parse(name)))
