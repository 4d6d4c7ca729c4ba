"""`relations replays`: replays that were prepared, to be looked at, run and stopped."""

import click

from ops.cli.commands.replay import run_replays
from ops.cli.context import CommandContext, account_option, with_context
from ops.cli.job_selection import by_option
from ops.cli.root import main
from ops.explain.replay import describe_replay
from ops.explain.text import format_instant, format_tally, pluralize
from ops.serializers.replays import serialize_replay
from worker.contract.values import strip_pasted


@main.group("replays")
def replays() -> None:
    """Look at replays that were prepared, run them, stop them.

    \b
    Examples:
      relations replays list
      relations replays run acme-0f3k9x2b7c1d4e5g6h
      relations replays stop acme-0f3k9x2b7c1d4e5g6h
    """


@replays.command("list")
@account_option
@with_context
def list_replays(context: CommandContext, account: str | None) -> None:
    """List an account's replays of the last week, newest first.

    \b
    Examples:
      relations replays list --account acme
    """
    found = context.operations.list_replays(context.find_inbox(account))
    rows = (
        (
            replay.id,
            replay.state,
            replay.by,
            format_instant(replay.made_at, context.zone),
            replay.eligible,
            replay.done,
            replay.back,
            replay.what,
        )
        for replay in found
    )
    heads = ("REPLAY", "STATE", "BY", "MADE", "JOBS", "DONE", "BACK", "OF")
    context.answer_table({"replays": [serialize_replay(replay) for replay in found]}, heads, rows)


@replays.command("show")
@click.argument("replay_id", metavar="REPLAY", type=strip_pasted)
@with_context
def show_replay(context: CommandContext, replay_id: str) -> None:
    """Show one replay: its set, what would be or was sent, and how far it is.

    \b
    Examples:
      relations replays show acme-0f3k9x2b7c1d4e5g6h
    """
    replay = context.operations.find_replay(replay_id)
    outcomes = context.operations.count_outcomes(replay)
    lines = [*describe_replay(replay), *([f"  by now: {format_tally(outcomes)}"] if outcomes else [])]
    context.answer(serialize_replay(replay, outcomes), lines)


@replays.command("run")
@click.argument("replay_id", metavar="REPLAY", type=strip_pasted)
@click.option("--background", is_flag=True, help="Let a worker do it, and do not wait.")
@by_option
@with_context
def run_replay(context: CommandContext, replay_id: str, background: bool, by: str) -> None:
    """Run a prepared or stopped replay.

    \b
    Examples:
      relations replays run acme-0f3k9x2b7c1d4e5g6h
    """
    run_replays(context, [context.operations.find_replay(replay_id)], by, background=background)


@replays.command("stop")
@click.argument("replay_id", metavar="REPLAY", type=strip_pasted)
@by_option
@with_context
def stop_replay(context: CommandContext, replay_id: str, by: str) -> None:
    """Stop a replay after the piece that is being worked; `run` lets it go on.

    \b
    Examples:
      relations replays stop acme-0f3k9x2b7c1d4e5g6h
    """
    replay = context.operations.stop_replay(replay_id, by=by)
    progress = f"{replay.done:,} of {pluralize(replay.eligible, 'job')} done"
    context.answer(serialize_replay(replay), [f"{replay.id} is {replay.state}: {progress}."])
