"""`relations explain`: one relation, or a shipped sample, explained."""

import re
from collections.abc import Sequence

import click

from ops import samples
from ops.cli.context import CommandContext, account_option, with_context
from ops.cli.errors import Exit, exit_with
from ops.cli.root import main
from ops.explain import format_explanation
from ops.lookups import resolve_relation
from worker.contract import Relation
from worker.contract.values import read_whole


@main.command("explain", short_help="Explain a relation: every job, request and answer.")
@click.argument("words", nargs=-1, metavar="TYPE PARENT CHILD")
@account_option
@click.option("--sample", metavar="NAME", help="Explain a shipped sample instead; needs nothing running.")
@with_context
def explain(context: CommandContext, words: tuple[str, ...], account: str | None, sample: str | None) -> None:
    """Explain one relation: what is wanted now, what is known, and what became of every job that named it.

    \b
    Examples:
      relations explain estate:address:buyer 501 9001
      relations explain --sample 01-portal-burst
    """
    if sample and not words:
        text = samples.read_explanation(sample)
        document = {"sample": samples.find_name(sample), "text": text.splitlines()}
        context.answer(document, [text.rstrip("\n")])
        return
    explanation = context.operations.explain(context.find_account(account), _parse_relation(words))
    context.answer(explanation, format_explanation(explanation))
    exit_with(Exit.OK if explanation["jobs"] else Exit.NOT_FOUND)


def _parse_relation(words: Sequence[str]) -> Relation:
    parts = [part for part in re.split(r"[\s,→]+", " ".join(words)) if part]  # lists write 501 → 9001
    if len(parts) != 3:
        raise click.UsageError("Expected TYPE PARENT CHILD, or --sample NAME.")
    type_name, *ids = parts
    parent, child = map(read_whole, ids)
    if parent is None or child is None:
        raise click.UsageError(f"Expected two ids after {type_name}, got {' '.join(ids)}.")
    return resolve_relation(type_name, parent, child)
