"""`relations callbacks`: what the URLs of the settings are told when all of a batch has ended."""

from collections.abc import Iterator

import click

from ops.cli.context import CommandContext, account_option, limit_option, with_context
from ops.cli.errors import Exit, exit_with
from ops.cli.job_selection import by_option
from ops.explain.text import format_instant, pluralize
from ops.serializers.callbacks import serialize_message
from worker.contract.values import strip_pasted
from worker.ports.callbacks import CallbackMessage


@click.group("callbacks")
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
@click.option("--cursor", metavar="ID", default="", help="Where the last page ended.")
@with_context
def list_messages(context: CommandContext, account: str | None, limit: int, cursor: str) -> None:
    """List what callbacks were told of an account's batches, or are to be told, newest first.

    \b
    Examples:
      relations callbacks list --account acme
    """
    name = context.find_account(account)
    page = context.operations.list_callback_messages(name, limit=limit, cursor=cursor)
    rows = (
        (
            message.id,
            format_instant(message.made_at, context.zone),
            message.callback,
            message.batch,
            message.counts.failed,
            message.state.replace("_", " "),
            message.attempts,
            describe_attempt(message),
        )
        for message in page.messages
    )
    context.answer_table(
        {"messages": [serialize_message(message) for message in page.messages], "next": page.next or None},
        ("MESSAGE", "MADE", "CALLBACK", "BATCH", "FAILED", "STATE", "ATTEMPTS", "LAST"),
        rows,
        cursor=page.next,
    )


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
    context.answer(serialize_message(message), describe_message(context, message))


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
    context.answer(serialize_message(message), [f"{message.id} is sent to {message.callback} in a moment."])


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
    document = {
        "callback": callback,
        "taken": attempt.is_taken,
        "status": attempt.status,
        "error": attempt.error,
    }
    verdict = "took it" if attempt.is_taken else "did not take it"
    context.answer(document, [f"{callback} {verdict}: {attempt}"])
    exit_with(Exit.OK if attempt.is_taken else Exit.FAILED)


def describe_attempt(message: CallbackMessage) -> str:
    """Return what the last attempt came to, a dash before it."""
    return message.error or (f"HTTP {message.status}" if message.status else "–")


def describe_message(context: CommandContext, message: CallbackMessage) -> Iterator[str]:
    """Yield a message as lines."""
    counts = ", ".join(f"{count:,} {name}" for name, count in message.counts._asdict().items())
    yield f"{message.id}  to {message.callback}  {message.state.replace('_', ' ')}"
    yield f"  batch {message.batch}: {counts}"
    yield f"  made {format_instant(message.made_at, context.zone)}, {pluralize(message.attempts, 'attempt')}"
    if message.tried_at:
        yield f"  last {format_instant(message.tried_at, context.zone)}: {describe_attempt(message)}"
    if message.next_at:
        yield f"  next {format_instant(message.next_at, context.zone)}"
