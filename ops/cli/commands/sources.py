"""`relations sources`: the webhooks of the settings, and what one would make of a payload, without sending anything."""

import sys
from pathlib import Path
from typing import Any

import click

from ops.cli import output
from ops.cli.context import CommandContext, with_desk
from ops.cli.errors import Exit, finish
from ops.explain.words import count, ids, info_text
from producers.webhooks.mapping import MappedChange, build_changes, check_rules, read_payload
from producers.webhooks.verify import Delivery
from worker.config import Source
from worker.config.values import nearest
from worker.contract import check, to_message
from worker.errors import InvalidChange, NotFound


@click.group()
def sources() -> None:
    """Webhook sources of the settings.

    \b
    Examples:
      relations sources list
      relations sources try immo enquiry.json
    """


@sources.command("list")
@with_desk
def listing(desk: CommandContext) -> None:
    """List the sources: how their senders prove themselves, whose they are, and how many rules they have.

    \b
    Examples:
      relations sources list
    """
    check_rules(desk.settings)
    found = [_document(each) for each in desk.settings.sources.values()]
    heads = ("SOURCE", "SCHEME", "ACCOUNT", "RULES", "ADDRESS")
    rows = [[each[name] for name in ("name", "scheme", "account", "rules", "path")] for each in found]
    desk.answer({"sources": found}, lambda: output.table(heads, rows))


@sources.command("try")
@click.argument("name")
@click.argument("file", type=click.Path(dir_okay=False, allow_dash=True, path_type=Path))
@with_desk
def trying(desk: CommandContext, name: str, file: Path) -> None:
    """Print the changes that a source's rules make of a payload, or which rule fails where; nothing is sent.

    FILE holds the body of a message as it arrives, for onOffice the query string; `-` is standard input. Signatures are not looked at.

    \b
    Examples:
      relations sources try immo enquiry.json
      curl -s https://sender/example | relations sources try immo - --json
    """
    check_rules(desk.settings)
    source = desk.settings.sources.get(name)
    if source is None:
        raise NotFound(f'there is no source "{name}"{nearest(name, desk.settings.sources)}')
    try:
        body = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
    except OSError as error:
        raise NotFound(f"{file} cannot be read: {error.strerror}") from None
    mapped = _mapped(desk, source, body)
    document = {
        "source": name,
        "changes": [{"rule": each.path, "change": dict(to_message(each.change))} for each in mapped],
    }
    desk.answer(document, [f"{count(len(mapped), 'change')}; nothing was sent", *map(_line, mapped)])
    finish(Exit.OK)


def _mapped(desk: CommandContext, source: Source, body: bytes) -> list[MappedChange]:
    """What the rules make of the payload, checked as intake would."""
    url = f"?{body.decode(errors='replace').strip().removeprefix('?')}" if source.scheme == "onoffice" else ""
    mapped = build_changes(source, read_payload(source, Delivery(url, {}, body)), "try")
    faults = []
    for each in mapped:
        try:
            check(each.change, desk.runtime.overrides)
        except InvalidChange as error:
            faults += [fault._replace(path=f"{each.path}.{fault.path}") for fault in error.faults]
    if faults:
        raise InvalidChange(faults)
    return mapped


def _line(mapped: MappedChange) -> str:
    change = mapped.change
    return (
        f"  {mapped.path}  {change.account}: {change.action} {change.type} {ids(change.parents)} → {ids(change.children)}"
        + info_text(change.info)
    )


def _document(source: Source) -> dict[str, Any]:
    account = source.account or ", ".join(sorted(set(source.accounts.values())))
    return {
        "name": source.name,
        "scheme": source.scheme,
        "account": account,
        "rules": len(source.rules),
        "path": f"/webhooks/{source.name}",
    }
