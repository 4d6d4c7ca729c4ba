"""Numbers, ids, info and instants as people read them. Pure; the zone comes in as an argument."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta, tzinfo

from worker.contract import Info


def count(number: int, noun: str) -> str:
    """`1 action`, `11 relations`, `1,000 ids`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def instant(micros: int, zone: tzinfo) -> str:
    """Local time with its offset, to the second: `2026-11-20T09:12:03+01:00`."""
    return (
        (datetime.fromtimestamp(0, zone) + timedelta(microseconds=micros))
        .astimezone(zone)
        .isoformat(timespec="seconds")
    )


def info_text(info: Info) -> str:
    """` with statusTerminbestaetigung "gesendet"`, or nothing."""
    return " with " + ", ".join(f'{key} "{value}"' for key, value in info) if info else ""


def ids(numbers: Iterable[int], *, most: int = 12) -> str:
    """Ids in order, three or more in a row as `9001–9012`; what is beyond `most` pieces is counted."""
    ordered = sorted(numbers)
    pieces = list(_pieces(ordered))
    if len(pieces) <= most:
        return " ".join(text for text, _ in pieces)
    shown = pieces[:most]
    left = len(ordered) - sum(size for _, size in shown)
    return " ".join(text for text, _ in shown) + f" … and {left:,} more"


def listed(names: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _pieces(ordered: list[int]) -> Iterator[tuple[str, int]]:
    run: list[int] = []
    for number in ordered:
        if run and number != run[-1] + 1:
            yield from _run(run)
            run = []
        run.append(number)
    yield from _run(run)


def _run(run: list[int]) -> Iterator[tuple[str, int]]:
    if len(run) > 2:
        yield f"{run[0]}–{run[-1]}", len(run)
    else:
        yield from ((str(number), 1) for number in run)
