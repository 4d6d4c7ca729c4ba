"""`relations sources`: the webhooks of the settings, and what one would make of a payload."""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import click

from ops.cli.context import CommandContext, with_local_context
from ops.cli.root import main
from ops.explain.deliveries import describe_trace
from ops.explain.text import format_change, pluralize
from ops.serializers.deliveries import RuleTraceDict, serialize_trace
from producers.webhooks.mapping import MappedChange
from producers.webhooks.record import MappedDelivery, explain_delivery, map_payload
from worker.config import Source
from worker.contract import to_message
from worker.errors import Fault, InvalidChange, NotFound

COLUMNS: Final = ("name", "scheme", "account", "rules", "path")


@main.group("sources")
def sources() -> None:
    """Look at the webhook sources of the settings, and add those of known senders.

    \b
    Examples:
      relations sources list
      relations sources try immo enquiry.json
      relations sources add portal --template openimmo-feedback
    """


@sources.command("list")
@with_local_context
def list_sources(context: CommandContext) -> None:
    """List the sources: how their senders prove themselves, their account, and how many rules they have.

    \b
    Examples:
      relations sources list
    """
    found = list(map(_serialize_source, context.list_sources().values()))
    heads = ("SOURCE", "SCHEME", "ACCOUNT", "RULES", "ADDRESS")
    context.answer_table({"sources": found}, heads, ([source[name] for name in COLUMNS] for source in found))


@sources.command("try")
@click.argument("name")
@click.argument("file", type=click.Path(dir_okay=False, allow_dash=True, path_type=Path))
@with_local_context
def try_payload(context: CommandContext, name: str, file: Path) -> None:
    """Print the changes that a source's rules make of a payload, or which rule fails where; nothing is sent.

    Of each rule that makes none it says why: which `when` did not hold, and what it looked at.

    FILE holds the body of a message as it arrives, for onOffice the query string; `-` is standard input.
    What rules read beside it may stand before it as the head of a request: `POST /webhooks/immo?event=new
    HTTP/1.1`, headers, and an empty line. Signatures are not checked.

    \b
    Examples:
      relations sources try immo enquiry.json
      curl -s https://sender/example | relations sources try immo - --json
    """
    source = context.find_source(name)
    overrides = context.runtime.live_settings.overrides
    mapped = map_payload(source, _read_payload(file), overrides)
    rules = list(map(serialize_trace, explain_delivery(source, mapped)))
    context.answer(
        {
            "source": name,
            "outcome": mapped.outcome,
            "reason": mapped.because or None,
            "changes": [
                {"rule": each.path, "change": dict(to_message(each.change))} for each in mapped.changes
            ],
            "rules": rules,
        },
        _describe_trial(mapped, rules),
    )


def _describe_trial(mapped: MappedDelivery, rules: Sequence[RuleTraceDict]) -> Iterator[str]:
    because = f": {mapped.because}" if mapped.because else ""
    yield f"{pluralize(len(mapped.changes), 'change')}; nothing was sent{because}"
    yield from map(_describe_change, mapped.changes)
    for trace in rules:
        is_plain = trace["outcome"] == "made" or (mapped.changes and trace["rule"].startswith("ignore"))
        if not is_plain:  # its changes say so, or that nothing was ignored
            yield from (f"  {line}" for line in describe_trace(trace))


def _read_payload(file: Path) -> bytes:
    body = _read_bytes(file)
    if not body.strip():  # a delivery may be empty, but who tries one has forgotten something
        raise InvalidChange([Fault("", "expected JSON, XML, a form or a mail, got nothing")])
    return body


def _read_bytes(file: Path) -> bytes:
    try:
        return sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
    except OSError as error:
        raise NotFound(f"{file} cannot be read: {error.strerror}") from None


def _describe_change(mapped: MappedChange) -> str:
    return f"  {mapped.path}  {mapped.change.account}: {format_change(mapped.change)}"


def _serialize_source(source: Source) -> dict[str, Any]:
    return {
        "name": source.name,
        "scheme": source.scheme,
        "account": source.account or ", ".join(sorted(set(source.accounts.values()))),
        "rules": len(source.rules),
        "path": f"/webhooks/{source.name}",
    }
