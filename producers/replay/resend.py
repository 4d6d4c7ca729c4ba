"""Failed jobs as changes that are sent anew: forced, corrected, or read again from the bytes of an unreadable message. Pure."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from worker.contract import Change, check, from_message, write_instant
from worker.errors import Fault, InvalidChange
from worker.ports import JobRecord
from worker.usecases.intake import IntakePolicy

FIELDS: Final = ("account", "action", "relationtype", "parentid", "childid")
INFO: Final = "relationinfo."
SOURCE: Final = "replay"  # of what is sent anew


def correction_of(pairs: Iterable[str]) -> dict[str, Any]:
    """What `childid=9002` or `relationinfo.statusTerminbestaetigung=gesendet` ask for; several ids with commas. Raises InvalidChange."""
    found: dict[str, Any] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise InvalidChange([Fault(name, "expected NAME=VALUE")])
        found[name] = _ids(value) if name in ("parentid", "childid") else value
    return checked(found)


def checked(correction: Mapping[str, Any]) -> dict[str, Any]:
    """The correction, if it is about what can be corrected."""
    unknown = [name for name in correction if name not in FIELDS and not name.startswith(INFO)]
    if unknown:
        raise InvalidChange(
            [
                Fault(name, f"cannot be corrected; expected {', '.join(FIELDS)} or {INFO}KEY")
                for name in unknown
            ]
        )
    return dict(correction)


def anew(
    job: JobRecord,
    correction: Mapping[str, Any],
    doors: Callable[[str], IntakePolicy],
    *,
    forced: bool,
    replay: str,
) -> Change:
    """What failed of a job as a new change: corrected, and if forced as of now, so that it overrules what is newer than the job.

    Within one replay it is the same change, however often it is sent.
    """
    if "account" in correction:
        raise InvalidChange([Fault("account", "can be corrected of unreadable messages only")])
    parents, children = ({getattr(each, side): None for each in job.failed} for side in ("parent", "child"))
    message: dict[str, Any] = {
        "account": job.account,
        "action": job.action,
        "relationtype": job.type,
        "parentid": list(parents),
        "childid": list(children),
        "event_id": f"{job.id}:{replay}",
        "source": SOURCE,
    }
    given = {
        "relationinfo": dict(job.info),
        "batch": job.batch,
        "occurred_at": "" if forced else write_instant(job.occurred_at),
    }
    change = from_message(
        corrected({**message, **{name: value for name, value in given.items() if value}}, correction)
    ).change
    check(change, doors(job.account).overrides)
    return change


def reread(job: JobRecord, body: bytes, correction: Mapping[str, Any]) -> Sequence[Change]:
    """What a Celery message makes today, corrected."""
    try:
        message = json.loads(body)
    except ValueError:
        raise InvalidChange([Fault("", "was cut, or is no JSON")]) from None
    if not isinstance(message, dict):
        raise InvalidChange([Fault("", "is no object, so there is nothing to correct")])
    given = {"event_id": job.event_id, "source": job.source, **message}
    return [from_message(corrected(given, correction)).change]


def corrected(message: Mapping[str, Any], correction: Mapping[str, Any]) -> dict[str, Any]:
    """The message with what is given instead."""
    plain = {name: value for name, value in correction.items() if not name.startswith(INFO)}
    info = {name.removeprefix(INFO): value for name, value in correction.items() if name.startswith(INFO)}
    before = message.get("relationinfo")
    return {
        **message,
        **plain,
        **({"relationinfo": {**(before if isinstance(before, dict) else {}), **info}} if info else {}),
    }


def _ids(text: str) -> Any:
    pieces = [int(piece) if piece.strip().isdecimal() else piece for piece in text.split(",")]
    return pieces[0] if len(pieces) == 1 else pieces
