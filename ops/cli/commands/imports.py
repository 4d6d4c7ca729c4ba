"""`relations import`: a file of changes into the inbox, line by line, with a plan before and an end to wait for after."""

import json
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Final, NamedTuple

import click

from ops.cli import output
from ops.cli.context import CommandContext, account_option, emit, with_desk
from ops.cli.errors import Exit, finish
from ops.cli.import_steps.cost_estimate import Rehearsal
from ops.cli.import_steps.follow import Following
from ops.cli.import_steps.open_input import name_of, opened, same
from ops.cli.import_steps.rejects import Rejects
from ops.cli.import_steps.retry_notice import RetryNotice
from ops.cli.import_steps.summary import ImportSummary
from ops.cli.progress import progress
from producers.portals import Relations, Sent
from producers.portals.imports import (
    FIELDS,
    REQUIRED,
    InputRow,
    LoadCounts,
    RowDefaults,
    RowLoader,
    check_values,
    find_field,
    read_rows,
)
from worker.config.values import shielded
from worker.contract import Change
from worker.errors import Fault, InvalidChange, NotFound, RelationsError, Unavailable
from worker.ports import EventSink

ANSWER: Final = 10.0  # seconds a server may take for one answer
STEM: Final = 40  # characters of a file's name in the default label

Send = Callable[[Sequence[Change]], list[Sent]]


class Reading(NamedTuple):
    """How the file is understood; `account` is that of lines that name none, empty if they must."""

    mapping: Mapping[str, str]
    constants: Mapping[str, str]
    account: str
    batch: str | None


class OpenImport(NamedTuple):
    """An open file: its rows, what holds for all of them, about how many they are, and where the rejected ones go."""

    rows: Iterator[InputRow]
    given: RowDefaults
    lines: int
    reject: Rejects


@click.command("import", short_help="Import a file of changes: CSV or NDJSON.")
@click.argument("file", metavar="FILE|-")
@account_option
@click.option(
    "--map",
    "maps",
    multiple=True,
    metavar="COLUMN=FIELD",
    help="What a column is; without FIELD it is left out.",
)
@click.option(
    "--set",
    "sets",
    multiple=True,
    metavar="FIELD=VALUE",
    help="What holds for every line that does not say it.",
)
@click.option(
    "--batch", metavar="LABEL", help="A label to ask for later; default: of the file's name and content."
)
@click.option(
    "--rejects",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Where rejected lines go; default: FILE.rejects.ndjson.",
)
@click.option("--wait", "waits", is_flag=True, help="Follow the jobs to their end.")
@click.option(
    "--dry-run", is_flag=True, help="Check every line, and tell what would be sent; needs no Redis."
)
@click.option(
    "--url", envvar="RELATIONS_URL", metavar="URL", help="Send over HTTP instead of straight to Redis."
)
@click.option(
    "--key", envvar="RELATIONS_KEY", metavar="KEY", help="The key for --url; better given as RELATIONS_KEY."
)
@with_desk
def importing(
    desk: CommandContext,
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
    reading = _reading(desk, maps, sets, account, batch, local=not url)
    path = rejects or (
        Path(f"{file}.rejects.ndjson") if name_of(file) != "stdin" else Path("stdin.rejects.ndjson")
    )
    if same(file, path):
        raise click.UsageError(
            f"Rejected lines cannot go to {path}: that is the file to import. Name another file with --rejects."
        )
    if dry_run:
        with _begun(desk, file, reading, path) as begun:
            code = _rehearse(desk, begun, local=not url)
    else:
        code = _import(desk, file, reading, path, waits=waits, url=url, key=key)
    finish(code)


# --- what is meant


def _reading(
    desk: CommandContext,
    maps: Sequence[str],
    sets: Sequence[str],
    account: str | None,
    batch: str | None,
    *,
    local: bool,
) -> Reading:
    mapping, constants = _pairs("--map", maps), _pairs("--set", sets)
    chosen = _default(desk, constants.get("account") or account, local=local)
    given = {"account": chosen or None, "batch": batch}
    faults = [f"--set {fault}" for fault in check_values(constants)]
    faults += [
        f"--{name}: {fault.message}"
        for name, text in given.items()
        if text is not None
        for fault in check_values({name: text})
    ]
    if faults:
        raise click.UsageError("\n".join(faults))
    return Reading(mapping, constants, chosen, batch)


def _pairs(option: str, texts: Sequence[str]) -> dict[str, str]:
    """`NAME=VALUE` of either option; the side that is a field under its own name."""
    pairs = dict(_pair(option, text) for text in texts)
    sides = pairs.values() if option == "--map" else pairs
    if wrong := next((side for side in sides if side and not find_field(side)), None):
        raise click.UsageError(f"{option}: there is no field {wrong}; there are {', '.join(FIELDS)}.")
    return (
        {name: find_field(value) for name, value in pairs.items()}
        if option == "--map"
        else {find_field(n): v for n, v in pairs.items()}
    )


def _pair(option: str, text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise click.UsageError(f"{option} wants NAME=VALUE; got {text}.")
    return name, value


def _default(desk: CommandContext, account: str | None, *, local: bool) -> str:
    """The account of lines that name none; with several accounts they must. Another machine's are not ours to check."""
    if not local:
        return account or ""
    return "" if not account and len(desk.settings.accounts) > 1 else desk.account(account).name


@contextmanager
def _begun(desk: CommandContext, file: str, reading: Reading, rejects: Path) -> Iterator[OpenImport]:
    needed = REQUIRED if reading.account else ("account", *REQUIRED)
    with Rejects(rejects, quiet=desk.as_json) as reject, opened(file) as (text, found):
        read = read_rows(text, mapping=reading.mapping, constants=reading.constants, required=needed)
        yield OpenImport(read, _given(name_of(file), found.digest, reading), found.lines, reject)


def _given(name: str, digest: str, reading: Reading) -> RowDefaults:
    """The lines' identity: of the content, and of how it is read if that was said."""
    said = (reading.mapping, reading.constants)
    if any(said):
        words = json.dumps([digest, *(sorted(each.items()) for each in said)])
        digest = sha256(words.encode()).hexdigest()[:16]
    stem = "".join(char if char.isprintable() else "_" for char in name[:STEM])
    return RowDefaults(digest, reading.account, reading.batch or f"{stem}-{digest[:8]}")


@contextmanager
def _connected(
    desk: CommandContext, url: str | None, key: str | None
) -> Iterator[tuple[Relations, RetryNotice]]:
    """A client, and what waits when it cannot be answered; it tries only once, so that a person is told soon."""
    if url:
        with Relations(url, key or "", timeout=ANSWER) as relations:
            yield relations, RetryNotice(str(shielded(url)))
        return
    desk.runtime.emit = _once(emit)
    with Relations.connect(desk.runtime, timeout=0.0) as relations:
        yield relations, RetryNotice(str(shielded(desk.settings.redis_url)))


def _once(tell: EventSink) -> EventSink:
    """Tells the same only once: a warning about a type is one for every line of it."""
    told = set[str]()

    def once(event: str, /, **fields: object) -> None:
        if (words := f"{event} {fields}") not in told:
            told.add(words)
            tell(event, **fields)

    return once


# --- what is done


def _import(
    desk: CommandContext,
    file: str,
    reading: Reading,
    path: Path,
    *,
    waits: bool,
    url: str | None,
    key: str | None,
) -> Exit:
    with _connected(desk, url, key) as (relations, patience), tempfile.TemporaryFile("w+") as known:
        following = Following(relations, patience, known)
        send = following.send if waits else relations.send
        with _begun(desk, file, reading, path) as begun:
            outcome = ImportSummary(LoadCounts(), begun.given.batch, path, [])
            _carry(desk, begun, lambda changes: patience(lambda: send(changes)), outcome)
        try:
            if waits:
                _follow(desk, following, outcome)
        finally:  # also when nobody waits any longer
            desk.answer(outcome.document(), outcome.lines())
    return outcome.code()


def _carry(desk: CommandContext, begun: OpenImport, send: Send, outcome: ImportSummary) -> None:
    """Hand all over; an interruption says how far it came, and whether the same command goes on."""
    tally = outcome.tally
    try:
        with progress("import", begun.lines, quiet=desk.as_json) as tell:
            for _ in RowLoader(begun.given, begun.reject, tally).load(begun.rows, send):
                tell(tally.line)
    except (KeyboardInterrupt, Unavailable):
        click.echo(
            f"Stopped at line {tally.line:,}: {outcome.counts()}. The same command goes on; nothing is done twice.",
            err=True,
        )
        raise
    except RelationsError:
        if tally.accepted + tally.known:
            words = "Once this is mended, the same command goes on; nothing is done twice"
            click.echo(f"Stopped at line {tally.line:,}: {outcome.counts()}. {words}:", err=True)
        raise


def _follow(desk: CommandContext, following: Following, outcome: ImportSummary) -> None:
    """The counts of every label until no job of it is open."""
    total = outcome.tally.accepted + outcome.tally.known
    try:
        with progress("jobs", total, quiet=desk.as_json) as tell:
            for ends in following.looks():
                outcome.ends[:] = ends
                tell(min(total, sum(each["accepted"] - each["open"] for each in ends)))
    except (KeyboardInterrupt, RelationsError):
        click.echo("Stopped waiting; what was accepted is worked all the same.", err=True)
        raise


def _rehearse(desk: CommandContext, begun: OpenImport, *, local: bool) -> Exit:
    """Check every line as intake does, and plan the good ones."""
    tally, rehearsal = LoadCounts(), Rehearsal(desk if local else None)
    for items in RowLoader(begun.given, begun.reject, tally).parse(begun.rows):
        for item in items:
            try:
                rehearsal.add(item.change)
            except (InvalidChange, NotFound) as error:
                tally.rejected += 1
                begun.reject(
                    item.row,
                    error.faults if isinstance(error, InvalidChange) else [Fault("account", str(error))],
                )
    costs = rehearsal.costs()
    tally.accepted = sum(each.changes for each in costs)
    document = {"accounts": [each.document() for each in costs], "rejected": tally.rejected}

    def lines() -> None:
        table = [
            (c.account, f"{c.changes:,}", f"{c.actions:,}", f"{c.requests:,}", f"{c.seconds:,.0f} s")
            for c in costs
        ]
        output.table(("ACCOUNT", "CHANGES", "ACTIONS", "REQUESTS", "AT ITS PACE"), table)
        how = (
            "" if local else " Checked and planned by the defaults: the settings of --url are not known here."
        )
        click.echo(f"{tally.rejected:,} rejected. Nothing was sent.{how}", err=True)

    desk.answer(document, lines)
    return ImportSummary(tally, "", begun.reject.path, []).code()
