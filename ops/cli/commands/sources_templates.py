"""`relations sources templates` and `sources add`: settings for senders that are known."""

import os
import secrets
import shutil
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import click

from ops.cli.commands.sources import sources
from ops.cli.context import CommandContext, account_option, with_local_context
from ops.cli.pairs import split_pairs
from ops.source_templates import Template, find_template, list_templates
from producers.webhooks.mapping import check_rules
from worker.config import load_settings
from worker.config.loader import FILE_VARIABLE
from worker.config.table import explain_name
from worker.contract import resolve
from worker.errors import Fault, Invalid, InvalidSettings


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
