"""`relations send`: changes from the command line, a file or a sample, straight into the inbox.

Each change knows its place, and the faults of a file are all named before anything is sent.
"""

import os
import re
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from io import BytesIO, TextIOWrapper
from itertools import chain
from pathlib import Path
from typing import Any, Final, NamedTuple

import click

from ops import samples
from ops.cli.context import CommandContext, account_option, print_note, with_context
from ops.cli.errors import Exit, exit_with, print_error
from ops.cli.import_steps.options import encoding_option
from ops.cli.offline_rules import OfflineRules
from ops.cli.pairs import split_pairs
from ops.cli.root import main
from ops.explain import explain_plan
from producers.portals.imports import RowDefaults, detect_format, read_ndjson, unpack_text
from producers.portals.imports.load import SOURCE
from worker.contract import MAX_FAULTS, Change, from_message
from worker.contract.reference import read_records
from worker.errors import Fault, Invalid, InvalidChange, RelationsError, StoreUnavailable
from worker.ports.store import Receipt
from worker.usecases.intake import AccountResult

AT_ONCE: Final = 1000  # changes per round trip

Accept = Callable[[Sequence[Change]], Iterable[AccountResult]]


class SendEntry(NamedTuple):
    """A change, and its place for error messages: `line 4`, or nothing for a single change."""

    where: str
    change: Change
    notes: tuple[str, ...] = ()


def from_words(words: Sequence[str], account: str, more: Mapping[str, Any]) -> list[SendEntry]:
    """Return one change of `ACTION TYPE PARENT CHILD…`; records of either side may be joined by commas."""
    action, name, parent, *children = words
    message = {
        "account": account,
        "action": action,
        "relationtype": name,
        "parentid": _records([parent]),
        "childid": _records(children),
        "source": SOURCE,
        **{key: value for key, value in more.items() if value},
    }
    change, notes = _read(message, "")
    return [SendEntry("", change, notes)]


def from_lines(content: bytes, account: str, *, name: str = "", encoding: str = "") -> list[SendEntry]:
    """Return the changes of NDJSON; a line without an account is for `account`.

    A line without an event id gets one of content and number, so the same file again is the same jobs; one
    that is read in another `encoding` is another file. Raises InvalidChange with the faults of all lines;
    `name` leads their places.
    """
    defaults = RowDefaults(sha256(content + encoding.encode()).hexdigest()[:16], account)
    if encoding or b"\0" in content:  # as PowerShell's `>` writes it, or no text at all
        encoding = detect_format(BytesIO(content), encoding).encoding
    text = TextIOWrapper(BytesIO(content), encoding or "utf-8-sig", errors="surrogateescape", newline="\n")
    entries, faults = list[SendEntry](), list[Fault]()
    for row in read_ndjson(text):
        where = f"{name} line {row.line}".strip()
        if row.message is None:
            faults += InvalidChange(row.faults).at(where).faults
            continue
        try:
            change, notes = _read(defaults.complete(row), where)
            entries.append(SendEntry(where, change, notes))
        except InvalidChange as error:
            faults += error.faults
    if faults or not entries:
        raise InvalidChange(cap_faults(faults) or [Fault("", "expected one change per line, got nothing")])
    return entries


def _read(message: object, where: str) -> tuple[Change, tuple[str, ...]]:
    parsed = from_message(message, where)
    return parsed.change, parsed.notes


def _records(words: Iterable[str]) -> int | str | list[int | str]:
    """Return numbers as numbers; what is none, nor a reference, stays as it is, to be named as a fault."""
    records = [record for word in words for record in read_records(word)]
    return records[0] if len(records) == 1 else records


def cap_faults(faults: Sequence[Fault]) -> list[Fault]:
    """Return the first faults, and how many more there are."""
    rest = len(faults) - MAX_FAULTS
    return [*faults[:MAX_FAULTS], *([Fault("", f"and {rest:,} more")] if rest > 0 else [])]


class SendDelivery(NamedTuple):
    """The jobs of what was accepted, in order, and every reason why something was not."""

    jobs: Sequence[Receipt]
    errors: Sequence[RelationsError]

    def to_json(self) -> dict[str, Any]:
        """Return the jobs as the HTTP interface answers them."""
        jobs = [{"id": job.job, "state": "queued", "duplicate": job.duplicate} for job in self.jobs]
        return {"jobs": jobs}


def deliver(accept: Accept, entries: Sequence[SendEntry]) -> SendDelivery:
    """Send the entries in order and in bounded pieces, until the store is gone.

    An account's part of a piece is accepted as a whole or not at all.
    """
    jobs, errors = list[Receipt](), list[RelationsError]()
    for start in range(0, len(entries), AT_ONCE):
        delivery = _deliver_piece(accept, entries[start : start + AT_ONCE])
        jobs += delivery.jobs
        errors += delivery.errors
        if any(isinstance(error, StoreUnavailable) for error in delivery.errors):
            break
    return SendDelivery(jobs, errors)


def _deliver_piece(accept: Accept, piece: Sequence[SendEntry]) -> SendDelivery:
    jobs, errors = dict[int, Receipt](), list[RelationsError]()
    for result in accept([entry.change for entry in piece]):
        if isinstance(result.error, InvalidChange):
            moved = result.error.moved(lambda position: piece[position].where)
            errors.append(InvalidChange(cap_faults(moved.faults)))
        elif result.error:
            errors.append(result.error)
        jobs |= zip(result.positions, result.receipts, strict=False)
    return SendDelivery([job for _, job in sorted(jobs.items())], errors)


# --- the command

MAX_LISTED: Final = 50  # jobs that are listed; the others are counted
CHANGE_FILES: Final = (".ndjson", ".jsonl", ".json")
COMPRESSED: Final = re.compile(r"\.(gz|bz2|xz|zip)$", re.IGNORECASE)


@main.command("send", short_help="Send changes: one, a file of them, or a sample.")
@click.argument("words", nargs=-1, metavar="ACTION TYPE PARENT CHILD…  |  FILE…  |  -", type=click.Path())
@account_option
@click.option(
    "--info", "infos", multiple=True, metavar="KEY=VALUE", help="Relation info; may be given several times."
)
@click.option("--occurred-at", metavar="TIME", help="When it became true, with offset; default: now.")
@click.option("--event-id", metavar="TEXT", help="Your own key: the same again is the same job.")
@click.option("--batch", metavar="LABEL", help="A label to ask for later.")
@click.option(
    "--allow-empty",
    is_flag=True,
    help="A delete may take the last relation of a record that is to keep one.",
)
@click.option("--sample", metavar="NAME", help="Send a shipped sample as if it happened just now.")
@encoding_option
@click.option("--dry-run", is_flag=True, help="Check, and explain what would be sent; needs no Redis.")
@with_context
def send_changes(
    context: CommandContext,
    words: tuple[str, ...],
    account: str | None,
    infos: tuple[str, ...],
    sample: str | None,
    encoding: str,
    dry_run: bool,
    **fields: str | bool | None,
) -> None:
    """Accept changes: ACTION is create, modify or delete, TYPE a relation type; one side is a single record.

    A record is named by its id, or by a reference such as address:email=x@example.test.

    NDJSON is read from files, compressed or not, or from standard input with a single dash. Accepted means
    kept in Redis: prints a job id per line. Lines without event_id get one of the file's content and their
    number, so sending a file again changes nothing.

    \b
    Examples:
      relations send create estate:address:buyer 501 9001 9002
      relations send create estate:address:interested estate:objektnr_extern=PC910 address:KdNr=00815
      relations send delete estate:address:interested 501,502 9001
      relations send modify calendar:address 2909 10821 --info statusTerminbestaetigung=gesendet
      relations send changes.ndjson --dry-run
      relations send --sample 01-portal-burst
    """
    given = {**fields, "relationinfo": split_pairs("--info", infos, "statusTerminbestaetigung=gesendet")}
    entries = _read_entries(context, words, account, sample, encoding, given)
    notes = (f"{entry.where}: {note}".removeprefix(": ") for entry in entries for note in entry.notes)
    for note in dict.fromkeys(notes):
        print_note(note)
    if dry_run:
        _dry_run(context, entries)
    else:
        _print_delivery(context, deliver(context.operations.accept, entries))


def _read_entries(
    context: CommandContext,
    words: Sequence[str],
    account: str | None,
    sample: str | None,
    encoding: str,
    fields: dict[str, Any],
) -> list[SendEntry]:
    """Return what is to be sent, by the form of the command line."""
    is_files = all(map(_is_file, words))
    if encoding and (sample or (len(words) >= 4 and not is_files)):
        raise click.UsageError("--encoding is for files.")
    if sample and not words:
        return _read_sample(context.find_account(account), sample)
    if sample or not words:
        raise click.UsageError(
            "Give ACTION TYPE PARENT CHILD…, files of NDJSON, a single dash, or --sample NAME."
        )
    if is_files:
        if given := [name for name, value in fields.items() if value]:
            options = ", ".join(given)
            raise click.UsageError(f"A file says by itself what it means; {options} is for a single change.")
        return _read_files(context, words, account, encoding)
    if len(words) < 4:
        expected = "ACTION TYPE PARENT CHILD…, or files that end in .ndjson or .jsonl"
        tables = " A table is read by `relations import FILE`." if os.path.isfile(words[0]) else ""
        raise click.UsageError(f"Expected {expected}; got {' '.join(words)}.{tables}")
    return from_words(words, context.find_account(account), fields)


def _read_sample(account: str, name: str) -> list[SendEntry]:
    """Return a shipped sample as if it happened just now, under event ids of its own."""
    changes = samples.shift_to(
        samples.read_changes(name), account=account, now=time.time_ns() // 1000, run=os.urandom(3).hex()
    )
    return [SendEntry(f"#{number}", change) for number, change in enumerate(changes, start=1)]


def _is_file(word: str) -> bool:
    """Return whether a word is a file by its name, or a pipe such as of `<(…)`."""
    return word == "-" or word.startswith("/dev/") or COMPRESSED.sub("", word).lower().endswith(CHANGE_FILES)


def _read_files(
    context: CommandContext, files: Sequence[str], account: str | None, encoding: str
) -> list[SendEntry]:
    default = context.find_default_account(account)
    names = files if len(files) > 1 else [""]
    read = (_read_file(file, default, name, encoding) for file, name in zip(files, names, strict=True))
    return list(chain.from_iterable(read))


def _read_file(file: str, account: str, name: str, encoding: str) -> list[SendEntry]:
    """Return the changes of a file; raises Invalid, with the name in each fault."""
    try:
        return from_lines(_read_bytes(file), account, name=name, encoding=encoding)
    except Invalid as error:
        faults = [replace(fault, place=fault.place or name or None) for fault in error.faults]
        raise type(error)(faults) from None


def _read_bytes(file: str) -> bytes:
    """Return the text of a file, or of standard input, which may be compressed."""
    try:
        content = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
        return unpack_text(BytesIO(content)).read()
    except OSError as error:
        raise click.UsageError(f"{file} cannot be read: {error.strerror}.") from None


def _dry_run(context: CommandContext, entries: Sequence[SendEntry]) -> None:
    """Check what intake checks without Redis, then explain what would be sent."""
    rules, faults = OfflineRules(None if context.url else context), list[Fault]()
    for entry in entries:
        try:
            for warning in rules.check(entry.change):
                print_note(warning)
        except InvalidChange as error:
            faults += error.at(entry.where).faults
    if faults:
        raise InvalidChange(faults)
    plan = explain_plan([entry.change for entry in entries], rules.get_policy)
    if context.url:
        context.remark("Checked and planned by the defaults: the settings of --url are not known here.")
    document = {"changes": len(entries), "plan": plan.splitlines()}
    context.answer(document, [plan, "", "Nothing was sent."])


def _print_delivery(context: CommandContext, delivery: SendDelivery) -> None:
    """Print the jobs; end with the reason if some or all changes were refused."""
    jobs = delivery.jobs
    if delivery.errors and not jobs:
        raise _merge_errors(delivery)
    lines = (f"{job.job}{'  (known already)' if job.duplicate else ''}" for job in jobs[:MAX_LISTED])
    context.answer(delivery.to_json(), lines)
    if len(jobs) > 1:
        known = sum(job.duplicate for job in jobs)
        more = f", {len(jobs) - MAX_LISTED:,} not listed" if len(jobs) > MAX_LISTED else ""
        context.remark(f"{len(jobs) - known:,} accepted, {known:,} known already{more}")
    for error in delivery.errors:
        print_error(error, context)
    exit_with(Exit.PARTLY if delivery.errors else Exit.OK)


def _merge_errors(delivery: SendDelivery) -> Exception:
    """Return why nothing was accepted, faults of several accounts together."""
    faults = list[Fault]()
    for error in delivery.errors:
        if not isinstance(error, InvalidChange):
            return error
        faults += error.faults
    return InvalidChange(faults)
