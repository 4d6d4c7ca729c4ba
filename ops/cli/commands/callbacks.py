"""`relations callbacks`: what the URLs of the settings are told when all of a batch has ended."""

from collections.abc import Iterator
from typing import Final

import click

from ops.cli.context import CommandContext, account_option, cursor_option, limit_option, with_context
from ops.cli.errors import Exit, exit_with
from ops.cli.job_selection import by_option
from ops.cli.root import main
from ops.explain.text import pluralize
from ops.serializers.callbacks import CallbackMessageDict
from ops.web.forms import MESSAGE_PLACE
from worker.contract.values import strip_pasted

COUNTS: Final = ("accepted", "succeeded", "superseded", "failed")


@main.group("callbacks")
def callbacks() -> None:
    """Look at the messages of callbacks, send one again, try a callback.

    \b
    Examples:
      relations callbacks list
      relations callbacks show acme-0f3k9x2b7c1d4e5g6h
      relations callbacks resend acme-0f3k9x2b7c1d4e5g6h
      relations callbacks test portal
    """


@callbacks.command("list")
@account_option
@limit_option
@cursor_option(MESSAGE_PLACE, "ID")
@with_context
def list_messages(context: CommandContext, account: str | None, limit: int, cursor: str) -> None:
    """List what callbacks were told of an account's batches, or are to be told, newest first.

    \b
    Examples:
      relations callbacks list --account acme
    """
    name = context.find_account(account)
    page = context.operations.list_callback_messages(name, limit=limit, cursor=cursor)
    heads = ("MESSAGE", "MADE", "CALLBACK", "BATCH", "FAILED", "STATE", "ATTEMPTS", "LAST")
    context.answer_table(page, heads, (_format_row(context, message) for message in page["messages"]))


def _format_row(context: CommandContext, message: CallbackMessageDict) -> tuple[object, ...]:
    made, last = context.format_time(message["made_at"]), describe_attempt(message)
    what = message["callback"], message["batch"], message["failed"]
    return message["id"], made, *what, message["state"].replace("_", " "), message["attempts"], last


@callbacks.command("show")
@click.argument("message_id", metavar="MESSAGE", type=strip_pasted)
@with_context
def show_message(context: CommandContext, message_id: str) -> None:
    """Show one message: what it tells, and how far it is.

    \b
    Examples:
      relations callbacks show acme-0f3k9x2b7c1d4e5g6h
    """
    message = context.operations.find_callback_message(message_id)
    context.answer(message, describe_message(context, message))


@callbacks.command("resend")
@click.argument("message_id", metavar="MESSAGE", type=strip_pasted)
@by_option
@with_context
def resend_message(context: CommandContext, message_id: str, by: str) -> None:
    """Let a worker send a message again, under the id that it has.

    Also one that was taken, or that still waits: it is sent at once, and has all its attempts before it.

    \b
    Examples:
      relations callbacks resend acme-0f3k9x2b7c1d4e5g6h
    """
    message = context.operations.resend_callback_message(message_id, by=by)
    context.answer(message, [f"{message['id']} is sent to {message['callback']} in a moment."])


@callbacks.command("test")
@click.argument("callback", metavar="CALLBACK")
@account_option
@with_context
def test_callback(context: CommandContext, callback: str, account: str | None) -> None:
    """Send a callback of the settings a message of type `callback.test`, and say what it answers.

    It is sent from this machine, or with --url from that of the HTTP interface; workers may be elsewhere.

    \b
    Examples:
      relations callbacks test portal --account acme
    """
    attempt = context.operations.test_callback(callback, context.find_account(account))
    verdict = "took it" if attempt["taken"] else "did not take it"
    came = attempt["error"] or f"HTTP {attempt['status']}"
    context.answer(attempt, [f"{callback} {verdict}: {came}"])
    exit_with(Exit.OK if attempt["taken"] else Exit.FAILED)


def describe_attempt(message: CallbackMessageDict) -> str:
    """Return what the last attempt came to, a dash before it."""
    return message["error"] or (f"HTTP {message['status']}" if message["status"] else "–")


def describe_message(context: CommandContext, message: CallbackMessageDict) -> Iterator[str]:
    """Yield a message as lines."""
    counts = ", ".join(f"{message[name]:,} {name}" for name in COUNTS)
    yield f"{message['id']}  to {message['callback']}  {message['state'].replace('_', ' ')}"
    yield f"  batch {message['batch']}: {counts}"
    yield f"  made {context.format_time(message['made_at'])}, {pluralize(message['attempts'], 'attempt')}"
    if message["tried_at"]:
        yield f"  last {context.format_time(message['tried_at'])}: {describe_attempt(message)}"
    if message["next_at"]:
        yield f"  next {context.format_time(message['next_at'])}"
