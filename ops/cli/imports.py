"""`relations import`: a file of changes into the inbox, line by line, with a plan before and an end to wait for after."""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Final, NamedTuple

import click

from ops.cli import show
from ops.cli.desk import Desk, account_option, say, with_desk
from ops.cli.errors import Exit, finish
from ops.cli.opening import DASH, opened, rejecting
from ops.cli.progress import progress
from ops.cli.rehearsal import Rehearsal
from producers.portals import Relations
from producers.portals.imports import Given, Reject, Row, Survey, Tally, carry, pieces, rows
from producers.portals.imports.table import FIELDS, field_of
from producers.portals.json import BatchDict
from worker.contract import check
from worker.errors import Fault, Invalid, InvalidChange, NotFound, RelationsError
from worker.ports import Events

PATIENCE: Final = 3600.0  # seconds an import waits for a full inbox or an absent store
LOOK: Final = 0.5  # seconds between looks at what became of it
STEM: Final = 40  # characters of a file's name in the default label


class Reading(NamedTuple):
    """How the file is understood."""

    mapping: Mapping[str, str]
    constants: Mapping[str, str]


class Counts(NamedTuple):
    """What became of the lines."""

    accepted: int
    known: int
    rejected: int


@click.command("import", short_help="Import a file of changes: CSV or NDJSON.")
@click.argument("file", metavar="FILE|-")
@account_option
@click.option("--map", "maps", multiple=True, metavar="COLUMN=FIELD", help="What a column is; without FIELD it is left out.")
@click.option("--set", "sets", multiple=True, metavar="FIELD=VALUE", help="What holds for every line that does not say it.")
@click.option("--batch", metavar="LABEL", help="A label to ask for later; default: of the file's name and content.")
@click.option("--rejects", type=click.Path(dir_okay=False, path_type=Path), help="Where rejected lines go; default: FILE.rejects.ndjson.")
@click.option("--wait", "waits", is_flag=True, help="Follow the jobs to their end.")
@click.option("--dry-run", is_flag=True, help="Check every line, and tell what would be sent; needs no Redis.")
@click.option("--url", envvar="RELATIONS_URL", metavar="URL", help="Send over HTTP instead of straight to Redis.")
@click.option("--key", envvar="RELATIONS_KEY", metavar="KEY", help="The key for --url; better given as RELATIONS_KEY.")
@with_desk
def importing(
    desk: Desk,
    file: str,
    account: str | None,
    maps: Sequence[str],
    sets: Sequence[str],
    batch: str | None,
    rejects: Path | None,
    waits: bool,
    dry_run: bool,
    url: str | None,
    key: str | None,
) -> None:
    """Import changes from CSV with a header, or NDJSON; a dash is standard input. Every line is accepted or rejected by itself.

    Columns stand in any order and go by their names; the delimiter is found out. A cell may hold several ids, between blanks.
    Each line is known by the file's content and its number, so the same import again goes on where it ended and does nothing twice.

    \b
    Examples:
      relations import changes.ndjson --dry-run
      relations import units.csv --set action=create --set relationtype=estate:estateUnit --map building=parentid --map unit=childid
      relations import buyers.csv --wait --url https://relations.example --account acme
    """
    if url and not key and not dry_run:
        raise click.UsageError("--url needs a key: set RELATIONS_KEY, or give --key.")
    reading = Reading(_pairs("--map", maps), _pairs("--set", sets))
    default = reading.constants.get("account") or _default(desk, account, local=not url)
    name = "stdin" if file == DASH else Path(file).name
    path = rejects or Path("stdin.rejects.ndjson" if file == DASH else f"{file}.rejects.ndjson")
    with opened(file) as (text, found), rejecting(path, quiet=desk.as_json) as reject:
        given = _given(name, found, reading, account=default, batch=batch)
        read = rows(text, mapping=reading.mapping, constants=reading.constants)
        if dry_run:
            _rehearse(desk, read, given, reject)
            return
        with _client(desk, url, key) as relations:
            tally = _carry(desk, read, given, reject, relations, total=found.lines)
            ends = _follow(desk, relations, tally) if waits else []
    _tell(desk, tally, given, ends, path)


# --- what is meant


def _pairs(option: str, texts: Sequence[str]) -> dict[str, str]:
    """`NAME=VALUE` of either option; the side that is a field under its own name."""
    pairs = dict(_pair(option, text) for text in texts)
    sides = pairs.values() if option == "--map" else pairs
    if wrong := next((side for side in sides if side and not field_of(side)), None):
        raise click.UsageError(f"{option}: there is no field {wrong}; there are {', '.join(FIELDS)}.")
    return {name: field_of(value) for name, value in pairs.items()} if option == "--map" else {field_of(n): v for n, v in pairs.items()}


def _pair(option: str, text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise click.UsageError(f"{option} wants NAME=VALUE; got {text}.")
    return name, value


def _default(desk: Desk, account: str | None, *, local: bool) -> str:
    """The account of lines that name none; with several accounts they must. Another machine's are not ours to check."""
    if not local:
        return account or ""
    return desk.account(account).name if account or len(desk.settings.accounts) == 1 else ""


def _given(name: str, found: Survey, reading: Reading, *, account: str, batch: str | None) -> Given:
    """The lines' identity: of the content, and of how it is read if that was said."""
    digest = found.digest
    if any(reading):
        words = json.dumps([digest, *(sorted(each.items()) for each in reading)])
        digest = sha256(words.encode()).hexdigest()[:16]
    return Given(digest, account, batch or f"{name[:STEM]}-{digest[:8]}")


@contextmanager
def _client(desk: Desk, url: str | None, key: str | None) -> Iterator[Relations]:
    if url:
        with Relations(url, key or "", timeout=PATIENCE) as relations:
            yield relations
        return
    desk.runtime.say = _once(say)
    with Relations.connect(desk.runtime, timeout=PATIENCE) as relations:
        yield relations


def _once(tell: Events) -> Events:
    """Tells the same only once: a warning about a type is one for every line of it."""
    told = set[str]()

    def once(event: str, /, **fields: object) -> None:
        if (words := f"{event} {fields}") not in told:
            told.add(words)
            tell(event, **fields)

    return once


# --- what is done


def _carry(desk: Desk, read: Iterator[Row], given: Given, reject: Reject, relations: Relations, *, total: int) -> Tally:
    """Hand all over; an interruption says how to go on."""
    tally = Tally()
    try:
        with progress("import", total, quiet=desk.as_json) as tell:
            for _ in carry(read, given, relations.send, reject, tally):
                tell(tally.line)
    except (KeyboardInterrupt, RelationsError):
        done = tally.accepted + tally.known
        click.echo(f"Stopped at line {tally.line:,}, {done:,} accepted. The same command goes on; nothing is done twice.", err=True)
        raise
    if not tally.line:
        raise Invalid([Fault("", "expected at least one change, got nothing")])
    return tally


def _follow(desk: Desk, relations: Relations, tally: Tally) -> list[BatchDict]:
    """The counts of every label once no job of it is open."""
    labels = sorted(tally.labels)
    with progress("jobs", tally.accepted + tally.known, quiet=desk.as_json) as tell:
        while True:
            ends = [each for label in labels if (each := _batch(relations, *label))]
            tell(sum(each["accepted"] - each["open"] for each in ends))
            if not any(each["open"] for each in ends):
                return ends
            time.sleep(LOOK)


def _batch(relations: Relations, account: str, label: str) -> BatchDict | None:
    """None once its jobs are forgotten."""
    try:
        return relations.batch(account, label)
    except NotFound:
        return None


def _rehearse(desk: Desk, read: Iterator[Row], given: Given, reject: Reject) -> None:
    """Check every line as intake does, and plan the good ones."""
    tally, rehearsal = Tally(), Rehearsal(desk)
    for items in pieces(read, given, tally, reject):
        good = []
        for item in items:
            try:
                check(item.change, desk.runtime.overrides)
                desk.settings.account(item.change.account)
                good.append(item.change)
            except (InvalidChange, NotFound) as error:
                tally.rejected += 1
                reject(item.row, error.faults if isinstance(error, InvalidChange) else [Fault("account", str(error))])
        rehearsal.add(good)
    costs = rehearsal.costs()
    document = {"accounts": [each.document() for each in costs], "rejected": tally.rejected}

    def lines() -> None:
        table = [(c.account, f"{c.changes:,}", f"{c.actions:,}", f"{c.requests:,}", f"{c.seconds:,.0f} s") for c in costs]
        show.table(("ACCOUNT", "CHANGES", "ACTIONS", "REQUESTS", "AT ITS PACE"), table)
        click.echo(f"{tally.rejected:,} rejected. Nothing was sent.", err=True)

    desk.answer(document, lines)
    finish(_code(Counts(sum(each.changes for each in costs), 0, tally.rejected), []))


# --- what became of it


def _tell(desk: Desk, tally: Tally, given: Given, ends: Sequence[BatchDict], path: Path) -> None:
    counts = Counts(tally.accepted, tally.known, tally.rejected)
    document = {**counts._asdict(), "batch": given.batch, "rejects": str(path) if tally.rejected else None, "batches": ends}
    desk.answer(document, list(_lines(counts, tally, given, ends, path)))
    finish(_code(counts, ends))


def _lines(counts: Counts, tally: Tally, given: Given, ends: Sequence[BatchDict], path: Path) -> Iterator[str]:
    for note, number in tally.notes.items():
        yield f"note: {note} ({number:,} lines)"
    yield f"{counts.accepted:,} accepted, {counts.known:,} known already, {counts.rejected:,} rejected; batch {given.batch}"
    if counts.rejected:
        yield f"Rejected lines, each with its reason: {path}"
    for each in ends:
        yield f"{each['batch']}: {each['succeeded']:,} succeeded, {each['superseded']:,} superseded, {each['failed']:,} failed"


def _code(counts: Counts, ends: Sequence[BatchDict]) -> Exit:
    if counts.rejected and not counts.accepted + counts.known:
        return Exit.FAILED
    return Exit.PARTLY if counts.rejected or any(each["failed"] for each in ends) else Exit.OK
