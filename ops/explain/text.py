"""Numbers, ids, info and instants as people read them. Pure; the time zone is an argument."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta, tzinfo

from worker.contract import Change, Info, Reference
from worker.ports import JobRecord, JobReference, Side, Waiting


def pluralize(number: int, noun: str) -> str:
    """Return the number with its noun: `1 action`, `11 relations`, `1,000 ids`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def format_instant(micros: int, zone: tzinfo) -> str:
    """Return local time with its offset, to the second: `2026-11-20T09:12:03+01:00`."""
    epoch = datetime.fromtimestamp(0, zone)
    return (epoch + timedelta(microseconds=micros)).astimezone(zone).isoformat(timespec="seconds")


def format_info(info: Info) -> str:
    """Return ` with statusTerminbestaetigung "gesendet"`, or an empty text."""
    return " with " + ", ".join(f'{key} "{value}"' for key, value in info) if info else ""


def format_tally(counts: Mapping[str, int]) -> str:
    """Return the counts, the largest first: `3 not failed, 1 gone`."""
    ordered = sorted(counts.items(), key=lambda item: -item[1])
    return ", ".join(f"{number:,} {what}" for what, number in ordered)


def format_cause(reason: str, detail: str) -> str:
    """Return why an account is paused, such as `hand: moving`; the detail may be empty."""
    return ": ".join(filter(None, (reason, detail)))


def format_waiting(waiting: Waiting, zone: tzinfo) -> str:
    """Return what is waited for, and until when if that is known: `breaker until 2026-…`."""
    until = f" until {format_instant(waiting.until, zone)}" if waiting.until else ""
    return f"{waiting.reason}{until}"


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
    return f"{change.action} {change.type} {' → '.join(named)}{format_info(change.info)}"


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


def describe_reference(each: JobReference, zone: tzinfo) -> str:
    """Return a reference with what is known of it: the record, who says so and when; or candidates."""
    at = format_instant(each.asked_at, zone) if each.asked_at else ""
    if each.record:
        how = f"chosen by {each.by}" if each.by else "looked up"
        return f"{each.reference} is {each.record}, {how} {at}"
    candidates = f"; candidates {format_ids(each.candidates)}" if each.candidates else ""
    return f"{each.reference}: no record yet, {f'looked up {at}' if at else 'not looked up'}{candidates}"


def join_names(names: Sequence[str]) -> str:
    """Return `a`, `a and b`, or `a, b and c`."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _pieces(ordered: list[int]) -> Iterator[tuple[str, int]]:
    """Yield each run of consecutive ids as text, with how many ids it stands for."""
    run: list[int] = []
    for number in ordered:
        if run and number != run[-1] + 1:
            yield from _format_run(run)
            run = []
        run.append(number)
    yield from _format_run(run)


def _format_run(run: list[int]) -> Iterator[tuple[str, int]]:
    if len(run) > 2:
        yield f"{run[0]}–{run[-1]}", len(run)
    else:
        yield from ((str(number), 1) for number in run)
