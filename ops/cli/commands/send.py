"""`relations send`: changes from the command line, a file or a sample, straight into the inbox."""

import os
import sys
import time
from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import click

from ops import samples
from ops.cli import output
from ops.cli.context import CommandContext, account_option, with_desk
from ops.cli.errors import Exit, finish, report
from ops.cli.send_input import Entry, SendResult, deliver, from_lines, from_words, public
from ops.explain import explain_plan
from worker.contract import check
from worker.errors import Fault, InvalidChange
from worker.planner.plan import Limits

LISTED = 50  # jobs that are listed; of more, their number is told


@click.command(short_help="Send changes: one, a file of them, or a sample.")
@click.argument("words", nargs=-1, metavar="ACTION TYPE PARENT CHILD…  |  FILE…  |  -")
@account_option
@click.option(
    "--info", "infos", multiple=True, metavar="KEY=VALUE", help="Relation info; may be given several times."
)
@click.option("--occurred-at", metavar="TIME", help="When it became true, with offset; default: now.")
@click.option("--event-id", metavar="TEXT", help="Your own key: the same again is the same job.")
@click.option("--batch", metavar="LABEL", help="A label to ask for later.")
@click.option("--sample", metavar="NAME", help="Send a shipped sample as if it happened just now.")
@click.option("--dry-run", is_flag=True, help="Check, and explain what would be sent; needs no Redis.")
@with_desk
def send(
    desk: CommandContext,
    words: tuple[str, ...],
    account: str | None,
    infos: tuple[str, ...],
    sample: str | None,
    dry_run: bool,
    **fields: str | None,
) -> None:
    """Accept changes: ACTION is create, modify or delete, TYPE a relation type; one side is a single id.

    NDJSON is read from files, or from standard input with a single dash. Accepted means kept in Redis: prints a job id per line.
    Lines without event_id get one of the file's content and their number, so sending a file again changes nothing.

    \b
    Examples:
      relations send create estate:address:buyer 501 9001 9002
      relations send delete estate:address:interested 501,502 9001
      relations send modify calendar:address 2909 10821 --info statusTerminbestaetigung=gesendet
      relations send changes.ndjson --dry-run
      relations send --sample 01-portal-burst
    """
    entries = _entries(desk, words, account, sample, {**fields, "relationinfo": _infos(infos)})
    for note in dict.fromkeys(
        f"{entry.where}: {note}".removeprefix(": ") for entry in entries for note in entry.notes
    ):
        click.echo(f"note: {note}", err=True)
    if dry_run:
        _rehearse(desk, entries)
    else:
        _tell(desk, deliver(desk.runtime.intake(), entries))


def _entries(
    desk: CommandContext,
    words: Sequence[str],
    account: str | None,
    sample: str | None,
    fields: dict[str, Any],
) -> list[Entry]:
    """What is to be sent, by the form of the command line."""
    if sample and not words:
        return _sample(desk.account(account).name, sample)
    if sample or not words:
        raise click.UsageError(
            "Give ACTION TYPE PARENT CHILD…, files of NDJSON, a single dash, or --sample NAME."
        )
    if all(_is_file(word) for word in words):
        if given := [name for name, value in fields.items() if value]:
            raise click.UsageError(
                f"A file says by itself what it means; {', '.join(given)} is for a single change."
            )
        default, several = _default(desk, account), len(words) > 1
        return list(
            chain.from_iterable(
                from_lines(_content(word), default, name=word if several else "") for word in words
            )
        )
    if len(words) < 4:
        raise click.UsageError(
            f"Expected ACTION TYPE PARENT CHILD…, or files that end in .ndjson or .jsonl; got {' '.join(words)}."
        )
    return from_words(words, desk.account(account).name, fields)


def _sample(account: str, name: str) -> list[Entry]:
    """A shipped flow as if it happened just now, under event ids of its own."""
    flow = samples.fresh(
        samples.changes(name), account=account, now=time.time_ns() // 1000, run=os.urandom(3).hex()
    )
    return [Entry(f"#{number}", change) for number, change in enumerate(flow, start=1)]


def _is_file(word: str) -> bool:
    return word == "-" or word.endswith((".ndjson", ".jsonl", ".json"))


def _content(word: str) -> bytes:
    if word == "-":
        return sys.stdin.buffer.read()
    try:
        return Path(word).read_bytes()
    except OSError as error:
        raise click.UsageError(f"{word} cannot be read: {error.strerror}.") from None


def _default(desk: CommandContext, account: str | None) -> str:
    """The account of lines that name none; with several accounts they must."""
    return desk.account(account).name if account or len(desk.settings.accounts) == 1 else ""


def _infos(infos: Sequence[str]) -> dict[str, str]:
    pairs = [info.partition("=") for info in infos]
    if any(not equals for _, equals, _ in pairs):
        raise click.UsageError("--info wants KEY=VALUE, such as statusTerminbestaetigung=gesendet.")
    return {key: value for key, _, value in pairs}


def _rehearse(desk: CommandContext, entries: Sequence[Entry]) -> None:
    """Check what intake checks without Redis, then explain."""
    faults: list[Fault] = []
    for entry in entries:
        desk.settings.account(entry.change.account)
        try:
            for warning in check(entry.change, desk.runtime.overrides):
                click.echo(f"note: {warning}", err=True)
        except InvalidChange as error:
            faults += error.at(entry.where).faults
    if faults:
        raise InvalidChange(faults)
    changes = [entry.change for entry in entries]
    lane = desk.settings.account(changes[0].account)
    limits = Limits(max_ids=lane.max_ids, max_actions=lane.max_actions)
    text = explain_plan(changes, limits=limits, order=desk.runtime.order)
    desk.answer({"changes": len(changes), "plan": text.splitlines()}, [text, "", "Nothing was sent."])


def _tell(desk: CommandContext, delivery: SendResult) -> None:
    """Print the jobs; end with the reason if some or all were refused."""
    if delivery.errors and not delivery.accepted:
        raise _one(delivery)
    desk.answer(public(delivery.sent), _lines(delivery))
    for error in delivery.errors:
        report(error, desk)
    finish(Exit.PARTLY if delivery.errors else Exit.OK)


def _one(delivery: SendResult) -> Exception:
    """The reason why nothing was accepted, faults of several accounts together."""
    invalid = [error for error in delivery.errors if isinstance(error, InvalidChange)]
    if len(invalid) < len(delivery.errors):
        return next(error for error in delivery.errors if not isinstance(error, InvalidChange))
    return InvalidChange([fault for error in invalid for fault in error.faults])


def _lines(delivery: SendResult) -> Callable[[], None]:
    accepted = delivery.accepted
    known = sum(each.duplicate for each in accepted)

    def lines() -> None:
        output.lines(
            f"{each.job}{'  (known already)' if each.duplicate else ''}" for each in accepted[:LISTED]
        )
        if len(accepted) > 1:
            more = f", {len(accepted) - LISTED:,} not listed" if len(accepted) > LISTED else ""
            click.echo(f"{len(accepted) - known:,} accepted, {known:,} known already{more}", err=True)

    return lines
