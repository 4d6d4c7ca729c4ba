"""`relations sources`: the webhooks of the settings, what one makes of a payload, and templates."""

import os
import secrets
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import click

from ops.cli.context import CommandContext, account_option, with_local_context
from ops.cli.pairs import split_pairs
from ops.cli.root import main
from ops.explain.deliveries import describe_trace
from ops.explain.text import format_change, pluralize
from ops.serializers.deliveries import RuleTraceDict, serialize_trace
from ops.source_templates import Template, find_template, list_templates
from producers.webhooks.mapping import MappedChange, check_rules
from producers.webhooks.record import MappedDelivery, explain_delivery, map_payload
from worker.config import Source, load_settings
from worker.config.loader import FILE_VARIABLE
from worker.config.table import explain_name
from worker.contract import resolve, to_message
from worker.errors import Fault, Invalid, InvalidChange, InvalidSettings, NotFound

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


@sources.command("templates", short_help="List the senders that there are settings for.")
@click.argument("template", required=False)
@click.option("--sample", is_flag=True, help="Print a payload as the sender sends it, for `sources try`.")
@with_local_context
def show_templates(context: CommandContext, template: str | None, sample: bool) -> None:
    """List the senders that there are settings for, or show what may be chosen of one.

    \b
    Examples:
      relations sources templates
      relations sources templates calendly
      relations sources templates calendly --sample
    """
    if template is None:
        if sample:
            raise click.UsageError("Name the template whose sample is meant.")
        found = list_templates()
        names = [{"name": each.name, "title": each.title} for each in found]
        context.answer_table(
            {"templates": names}, ("TEMPLATE", "FOR"), ((each.name, each.title) for each in found)
        )
        return
    chosen = find_template(template)
    if sample:
        text = chosen.read_sample().decode()
        context.answer({"sample": text}, text.splitlines())
        return
    facts = {
        "name": chosen.name,
        "title": chosen.title,
        "page": chosen.page,
        "values": dict(chosen.values),
    }
    lines = (f"  {name} = {value}" for name, value in chosen.values.items())
    context.answer(facts, [chosen.title, f"Page: docs/{chosen.page}", "Values of --set:", *lines])


@sources.command("add", short_help="Add the source of a known sender to the settings.")
@click.argument("name")
@click.option("--template", "template_name", required=True, metavar="TEMPLATE", help="The kind of sender.")
@account_option
@click.option("--set", "sets", multiple=True, metavar="NAME=VALUE", help="Another value of the template.")
@click.option("--secret", metavar="env:NAME|file:PATH", help="Default: a new secret in the file NAME.secret.")
@click.option("--print", "only_prints", is_flag=True, help="Print the settings, and write nothing.")
@with_local_context
def add_source(
    context: CommandContext,
    name: str,
    template_name: str,
    account: str | None,
    sets: Sequence[str],
    secret: str | None,
    only_prints: bool,
) -> None:
    """Add the settings of a source by a template to the end of the settings file.

    They are checked before they are written; a source that is there already is not touched. Without --secret
    a new secret is made in a file beside the settings that only its owner reads, where we may choose it; what
    the sender chooses must be in the environment or in a file before.

    \b
    Examples:
      relations sources add portal --template openimmo-feedback --account acme
      relations sources add viewings --template calendly --set field=objektnr_intern --print
    """
    if reason := explain_name(name):
        raise click.BadParameter(reason, param_hint="NAME")
    template = find_template(template_name)
    if secret and not secret.startswith(("env:", "file:")):
        raise click.BadParameter("expected env:NAME or file:PATH", param_hint="--secret")
    reference, chosen = secret or f"file:{name}.secret", split_pairs("--set", sets)
    if "type" in chosen:
        resolve(chosen["type"])
    text = template.render(name, context.find_account(account), reference, chosen)
    if only_prints:
        context.answer({"settings": text}, [text.rstrip("\n")])
        return
    if name in context.settings.sources:
        raise Invalid(
            [Fault(f"sources.{name}", "is there already; choose another name, or change it by hand")]
        )
    file = context.settings.file
    if file is None:
        raise click.UsageError("There is no settings file to write to. Show the settings with --print.")
    made = None if secret else _make_secret(file, file.parent / f"{name}.secret", template)
    try:
        add_to_settings(file, text, f"sources.{name}")
    except (InvalidSettings, OSError):
        if made:
            made.unlink()
        raise
    context.answer(_describe(name, template, file, made), _explain(name, template, file, made))


def _make_secret(settings: Path, file: Path, template: Template) -> Path | None:
    """Make the file of a new secret, unless it is there; return it if it was made."""
    if file.exists():
        return None
    if template.secret == "theirs":  # noqa: S105
        fault = f"the sender chooses it; put it into {file} (mode 600), or name it with --secret env:NAME"
        raise Invalid([Fault("secret", fault)])
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as opened:
        opened.write(f"{secrets.token_urlsafe(32)}\n")
    give_to_owner_of(settings, file)
    return file


def _describe(name: str, template: Template, file: Path, made: Path | None) -> dict[str, object]:
    return {
        "source": name,
        "file": str(file),
        "secret": str(made) if made else None,
        "path": f"/webhooks/{name}{template.place}",
        "page": template.page,
    }


def _explain(name: str, template: Template, file: Path, made: Path | None) -> list[str]:
    secret = [f"Its secret is new, in {made}: give it to the sender."] if made else []
    return [
        f"sources.{name} was added to {file}.",
        *secret,
        f"The sender's address ends in /webhooks/{name}{template.place}",
        f"How to set it there: docs/{template.page}",
        f"Try it: relations sources templates {template.name} --sample | relations sources try {name} -",
    ]


def add_to_settings(file: Path, text: str, path: str) -> None:
    """Write the text behind what the file holds: checked before, whole or not at all.

    Raises InvalidSettings with the faults of the tables below `path`, OSError if the file cannot be written.
    """
    file = file.resolve()
    before = file.read_bytes().rstrip()
    handle, name = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.parent)
    try:
        with os.fdopen(handle, "wb") as fresh:
            fresh.write(before + f"\n\n{text.strip()}\n".encode())
        if faults := [fault for fault in _find_faults(Path(name)) if fault.path.startswith(path)]:
            raise InvalidSettings(faults)
        shutil.copymode(file, name)
        give_to_owner_of(file, Path(name))
        os.replace(name, file)
    finally:
        Path(name).unlink(missing_ok=True)


def give_to_owner_of(file: Path, fresh: Path) -> None:
    """Give a new file to the owner of the settings, who reads it, if whoever makes it is another and may."""
    status = file.stat()
    with suppress(PermissionError):
        os.chown(fresh, status.st_uid, status.st_gid)


def _find_faults(file: Path) -> list[Fault]:
    environ = {**os.environ, FILE_VARIABLE: str(file)}
    try:
        check_rules(load_settings(environ, file.parent))
    except InvalidSettings as error:
        return list(error.faults)
    return []
