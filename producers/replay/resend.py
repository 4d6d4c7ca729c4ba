"""Makes new changes of a failed job: forced, corrected, or read again from an unreadable message. Pure."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from worker.contract import Change, Relation, from_message, limit_faults, read_reference, write_instant
from worker.contract.reference import read_records
from worker.errors import Fault, InvalidChange
from worker.ports.job_admin import Payload
from worker.ports.records import JobRecord

OF_MESSAGES: Final = ("account", "occurred_at", "event_id", "source", "batch")  # of unreadable ones only
CORRECTABLE: Final = ("action", "relationtype", "parentid", "childid", "allow_empty", *OF_MESSAGES)
FLAGS: Final = {"true": True, "false": False}
INFO_PREFIX: Final = "relationinfo."
MAX_CORRECTION: Final = 16_384  # bytes, as JSON: 500 ids have 9,000
SOURCE: Final = "replay"  # the `source` of a new change
MAX_NAMED: Final = 5  # ids in a fault
TWICE: Final = "is given twice; several ids stand in one, as in childid=9001,9002"
ONE_RECORD: Final = "expected one record: a replace says what *it* has; send one change for each of several"

Correction = Mapping[str, Any]
"""The values that replace those of a failed job, by field; one of relationinfo is `relationinfo.KEY`.

An empty one takes the field out of the message, whatever its name.
"""

Reparse = Callable[[JobRecord, Payload, Correction], Sequence[Change]]
"""Reads what is kept of an unreadable message again, with corrections; raises InvalidChange."""


def parse_correction(pairs: Iterable[str]) -> Correction:
    """Return the correction of `NAME=VALUE` pairs such as `childid=9001,9002`; raises InvalidChange."""
    correction: dict[str, Any] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise InvalidChange([Fault(name, "expected NAME=VALUE")])
        if name in correction:
            raise InvalidChange([Fault(name, TWICE)])
        if name in ("parentid", "childid"):
            records = read_records(value)
            correction[name] = records[0] if len(records) == 1 else records
        else:
            correction[name] = FLAGS.get(value, value) if name == "allow_empty" else value
    check_correction(correction)
    return correction


def check_correction(correction: Correction) -> None:
    """Raise InvalidChange if the correction names a field that cannot be corrected."""
    expected = f"{', '.join(CORRECTABLE)} or {INFO_PREFIX}KEY"
    faults = [
        Fault(name, f"cannot be corrected; expected {expected}")
        for name, value in correction.items()
        if value != "" and name not in CORRECTABLE and not name.startswith(INFO_PREFIX)
    ]
    if faults:
        raise InvalidChange(limit_faults(faults))
    if (size := len(json.dumps(correction, default=str).encode())) > MAX_CORRECTION:
        raise InvalidChange([Fault("set", f"expected at most {MAX_CORRECTION} bytes, got {size}")])


def make_new_change(
    job: JobRecord, relations: Sequence[Relation], correction: Correction, *, forced: bool, replay_id: str
) -> Change:
    """Return these failed relations of a job as a new, corrected change; raises InvalidChange.

    Without any it is the whole job, whose references are looked up anew; so it is with relations of which it
    creates some and removes others, which only a replace does. Records can be corrected where all
    the relations share them, so that no relation is lost; but of several where one only can be right, one
    may be named. It occurs now if it is forced, so that it overrules newer changes, else when the job did.
    Its event id is of the job and the replay: however often one replay sends it, it is the same change.
    """
    if refused := [name for name in OF_MESSAGES if name in correction]:
        raise InvalidChange([Fault(name, "can be corrected of unreadable messages only") for name in refused])
    actions = {job.asks_of(relation) for relation in relations}
    part = relations if len(actions) == 1 else ()
    records = _name_records(job, part)
    to_keep = {name: known for name, known in records.items() if name != _side_of_one(job)}
    if lost := [name for name, known in to_keep.items() if _loses_relations(correction.get(name), known)]:
        raise InvalidChange([Fault(name, _which_relation(name, records[name])) for name in lost])
    message: dict[str, Any] = {
        "account": job.account,
        "action": actions.pop() if part else job.action,  # a part of a replace replaces nothing
        "relationtype": job.type,
        **records,
        "relationinfo": dict(job.info) or None,
        "batch": job.batch or None,
        "allow_empty": job.allow_empty or None,
        "occurred_at": None if forced else write_instant(job.occurred_at),
        "event_id": f"{job.id}:{replay_id}",
        "source": SOURCE,
    }
    corrected = apply_correction(message, correction)
    if job.replaces and corrected.get("action") == "replace":
        corrected = _with_sides(corrected, f"{job.replaces}id")
    change = from_message(corrected).change
    if job.replaces and change.action == "replace" and change.replaces != job.replaces:
        single = "childid" if job.replaces == "parent" else "parentid"
        raise InvalidChange([Fault(single, ONE_RECORD)])
    return change


def _name_records(job: JobRecord, relations: Sequence[Relation]) -> dict[str, list[Any]]:
    """Return the records of failed relations by side; without any those of the job, by references too."""
    if relations:
        return {
            "parentid": list(dict.fromkeys(relation.parent for relation in relations)),
            "childid": list(dict.fromkeys(relation.child for relation in relations)),
        }
    named: dict[str, list[Any]] = {"parentid": [*job.parents], "childid": [*job.children]}
    if job.replaces:
        found = {getattr(each, job.replaces) for each in job.removals}
        listed = named[f"{job.replaces}id"]
        listed[:] = [each for each in listed if each not in found]
    for each in job.references:
        side = named[f"{each.side}id"]
        if not (each.record and each.record in side):  # it joined the ids, if all were found
            side.append(each.record if each.by else each.reference.as_object())
    return named


def _side_of_one(job: JobRecord) -> str:
    """Return the side of which a replace named several where there can be one; "" of any other failure."""
    is_of_several = job.replaces and not job.failures and job.refusal and job.refusal[1] == "dependency"
    return f"{job.replaces}id" if is_of_several else ""


def _with_sides(message: dict[str, Any], listed: str) -> dict[str, Any]:
    """Return the message of a replace with its `listed` side as a list, and a single record of the other."""
    sides: dict[str, Any] = {name: message[name] for name in ("parentid", "childid") if name in message}
    for name, value in sides.items():
        if name == listed and not isinstance(value, list):
            sides[name] = [value]
        elif name != listed and isinstance(value, list) and len(value) == 1:
            sides[name] = value[0]
    return {**message, **sides}


def hide_values(correction: Correction) -> Correction:
    """Return a correction as it may be kept and shown: without the values of references, e.g. of a person."""
    return {
        name: [*map(_hide_value, value)] if isinstance(value, list | tuple) else _hide_value(value)
        for name, value in correction.items()
    }


def _hide_value(value: Any) -> Any:
    try:
        return read_reference(value).without_values
    except ValueError:
        return value


def _loses_relations(corrected: object, known: Sequence[object]) -> bool:
    """Return whether fewer ids would take the place of those of several relations."""
    many = len(corrected) if isinstance(corrected, list | tuple) else 1
    return corrected is not None and many < len(known)


def _which_relation(name: str, known: Sequence[object]) -> str:
    """Return why several relations cannot get the same id."""
    if not all(isinstance(each, int) for each in known):
        return f"{len(known)} records stand there, and one correction would lose the others; give all of them"
    shown = ", ".join(map(str, known[:MAX_NAMED])) + (", …" if len(known) > MAX_NAMED else "")
    option = name.removesuffix("id")
    return (
        f"{len(known)} relations of it failed ({shown}), and one correction would lose the others; say which "
        f"one is meant (--{option} {known[0]}, or {name} over HTTP), and replay the others by themselves"
    )


def reparse_message(job: JobRecord, body: bytes, correction: Correction) -> Sequence[Change]:
    """Return the corrected change of an unreadable Celery message; raises InvalidChange."""
    try:
        message = json.loads(body)
    except (ValueError, RecursionError):
        raise InvalidChange([Fault("", "was cut, or is no JSON")]) from None
    if not isinstance(message, dict):
        raise InvalidChange([Fault("", "is no object, so there is nothing to correct")])
    message = {"event_id": job.event_id, "source": job.source, **message}
    return [from_message(apply_correction(message, correction)).change]


def apply_correction(message: Mapping[str, Any], correction: Correction) -> dict[str, Any]:
    """Return the message with the corrected values; keys of relationinfo that are not corrected stay."""
    corrected = dict(message)
    for name, value in correction.items():
        if name.startswith(INFO_PREFIX):
            info = corrected.get("relationinfo")
            known = info if isinstance(info, dict) else {}
            corrected["relationinfo"] = _correct_field(known, name.removeprefix(INFO_PREFIX), value)
        else:
            corrected = _correct_field(corrected, name, value)
    return corrected


def _correct_field(fields: Mapping[str, Any], name: str, value: Any) -> dict[str, Any]:
    left = {key: kept for key, kept in fields.items() if key != name}
    return left if value == "" else {**fields, name: value}
