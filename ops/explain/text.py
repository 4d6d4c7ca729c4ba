"""Sentences that remember what they are made of; numbers, ids and instants as people read them. Pure."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from itertools import groupby
from typing import Final, Self, TypeAlias

from worker.contract import Change, Info, Reference, Side, read_instant
from worker.ports.records import JobRecord
from worker.ports.references import JobReference

Zone: TypeAlias = tzinfo | None
LOCAL: Final = None  # the time zone of this machine, with summer time as it is at each instant
EPOCH: Final = datetime.fromtimestamp(0, UTC)  # in another zone days would be added by its wall clock


class Sentence(str):
    """The text of an English template with its values, both of which it remembers.

    Values may be sentences. One without values is a text of ours that was made elsewhere, or a word.
    """

    __slots__ = ("template", "values")
    template: str
    values: Mapping[str, object]

    def __new__(cls, template: str, /, **values: object) -> Self:  # noqa: D102 - the class says it
        self = super().__new__(cls, template.format(**values) if values else template)
        self.template, self.values = template, values
        return self


def join(separator: str, parts: Iterable[str]) -> Sentence:
    """Return the parts as one sentence; those that are sentences stay so."""
    values = {f"part{at}": part for at, part in enumerate(parts)}
    return Sentence(separator.join(f"{{{name}}}" for name in values), **values)


class Instant(str):
    """An instant as `format_instant` writes it, which remembers its µs."""

    __slots__ = ("micros",)
    micros: int

    def __new__(cls, micros: int, zone: Zone) -> Self:  # noqa: D102 - the class says it
        self = super().__new__(cls, format_instant(micros, zone))
        self.micros = micros
        return self


def pluralize(number: int, noun: str) -> Sentence:
    """Return the number with its noun: `1 action`, `11 relations`, `1,000 ids`."""
    return Sentence(f"1 {noun}") if number == 1 else Sentence(f"{{n:,}} {noun}s", n=number)


def format_instant(micros: int, zone: Zone) -> str:
    """Return local time with its offset, to the second: `2026-11-20T09:12:03+01:00`."""
    return (EPOCH + timedelta(microseconds=micros)).astimezone(zone).isoformat(timespec="seconds")


def format_time(instant: str, zone: Zone) -> str:
    """Return an instant of a document (RFC 3339) as local time with its offset, to the second."""
    return format_instant(read_instant(instant), zone)


def format_info(info: Info) -> str:
    """Return ` with statusTerminbestaetigung "gesendet"`, or an empty text."""
    pairs = ", ".join(f'{key} "{value}"' for key, value in info)
    return Sentence(" with {pairs}", pairs=pairs) if info else ""


def format_tally(counts: Mapping[str, int]) -> str:
    """Return the counts, the largest first: `3 not failed, 1 gone`."""
    ordered = sorted(counts.items(), key=lambda item: -item[1])
    return ", ".join(f"{number:,} {what}" for what, number in ordered)


def format_cause(reason: str, detail: str) -> str:
    """Return why an account is paused, such as `hand: moving`; the detail may be empty."""
    return ": ".join(filter(None, (reason, detail)))


def format_ids(numbers: Iterable[int], *, most: int = 12) -> str:
    """Return the ids in order, three or more in a row as `9001–9012`; count what is beyond `most` pieces."""
    ordered = sorted(numbers)
    pieces = list(_pieces(ordered))
    if len(pieces) <= most:
        return " ".join(text for text, _ in pieces)
    shown = pieces[:most]
    left = len(ordered) - sum(size for _, size in shown)
    return " ".join(text for text, _ in shown) + f" … and {left:,} more"


def format_change(change: Change) -> str:
    """Return what a change asks for: `create estate:address:buyer 501 → address:email=x@example.test`."""
    sides = (
        (change.parents, change.parent_references),
        (change.children, change.child_references),
    )
    named = (" ".join(filter(None, [format_ids(ids), *map(str, others)])) for ids, others in sides)
    relations = f"{change.type} {' → '.join(named)}"
    return join(" ", [Sentence(change.action), join("", [relations, format_info(change.info)])])


def format_records(job: JobRecord, *, most: int = 12, name: Callable[[Reference], str] = str) -> str:
    """Return a job's parents and children: their ids, and references to those that are still to be found."""
    parents = _format_side(job, "parent", job.parents, most, name)
    return f"{parents} → {_format_side(job, 'child', job.children, most, name)}"


def _format_side(
    job: JobRecord, side: Side, ids: Sequence[int], most: int, name: Callable[[Reference], str]
) -> str:
    own = [each for each in job.references if each.side == side]
    ids = [*dict.fromkeys([*ids, *(each.record for each in own if each.record)])]
    lacking = [name(each.reference) for each in own if not each.record]
    more = [f"… and {len(lacking) - most:,} more"] if len(lacking) > most else []
    return " ".join([*([format_ids(ids, most=most)] if ids else []), *lacking[:most], *more])


def describe_reference(each: JobReference, zone: Zone) -> str:
    """Return a reference with what is known of it: the record, who says so and when; or candidates."""
    at = Instant(each.asked_at, zone) if each.asked_at else ""
    known = {"reference": str(each.reference), "record": str(each.record), "by": each.by, "at": at}
    if each.record:
        chosen = Sentence("{reference} is {record}, chosen by {by} {at}", **known)
        return chosen if each.by else Sentence("{reference} is {record}, looked up {at}", **known)
    ids = format_ids(each.candidates)
    known["candidates"] = Sentence("; candidates {ids}", ids=ids) if ids else ""
    looked_up = Sentence("{reference}: no record yet, looked up {at}{candidates}", **known)
    return looked_up if at else Sentence("{reference}: no record yet, not looked up{candidates}", **known)


def join_names(names: Sequence[str]) -> str:
    """Return `a`, `a and b`, or `a, b and c`."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _pieces(ordered: list[int]) -> Iterator[tuple[str, int]]:
    """Yield each run of consecutive ids as text, with how many ids it stands for."""
    for _, run in groupby(enumerate(ordered), lambda placed: placed[1] - placed[0]):  # which a run shares
        yield from _format_run([number for _, number in run])


def _format_run(run: list[int]) -> Iterator[tuple[str, int]]:
    if len(run) > 2:
        yield f"{run[0]}–{run[-1]}", len(run)
    else:
        yield from ((str(number), 1) for number in run)
