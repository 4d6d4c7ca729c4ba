"""`relations replay`: sends what failed again; without `--yes` the set is only fixed and shown."""

import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from threading import Thread
from typing import Final

import click

from ops.cli.context import CommandContext, with_context
from ops.cli.errors import Exit, exit_with
from ops.cli.job_selection import JobSelection, by_option, with_job_selection
from ops.cli.progress import show_progress
from ops.cli.root import main
from ops.explain.replay import describe_replay, describe_replay_result
from ops.serializers.replays import serialize_replay
from producers.errors import Forbidden
from producers.replay.resend import parse_correction
from worker.errors import InvalidChange, NotFound
from worker.ports.replays import Replay

POLL_INTERVAL: Final = 0.5  # seconds between two looks at a running replay


@main.command("replay", short_help="Send what failed again; a preview without --yes.")
@click.option("--failed", is_flag=True, help="Every failed job of the account that waits for a decision.")
@click.option(
    "--force", is_flag=True, help="As of now, so that it overrules what newer changes decided since."
)
@click.option(
    "--set",
    "pairs",
    multiple=True,
    metavar="NAME=VALUE",
    help="Corrected, e.g. childid=9002: a new change, linked to the old.",
)
@click.option("--yes", is_flag=True, help="Do it.")
@click.option("--background", is_flag=True, help="With --yes: let a worker do it, and do not wait.")
@by_option
@with_context
@with_job_selection
def replay_jobs(
    context: CommandContext,
    selection: JobSelection,
    failed: bool,
    force: bool,
    pairs: tuple[str, ...],
    yes: bool,
    background: bool,
    by: str,
) -> None:
    """Send the failed relations of jobs again, with their own occurred_at: what is newer still wins.

    Without --yes the set is fixed and shown: how many go, how many do not and why, and what would be sent.
    That preview is kept for a week; `relations replays run ID` acts on just it.

    \b
    Examples:
      relations replay acme-0f3k9x2b7c1d4e5g6h
      relations replay --failed --account acme
      relations replay --error 160 --since 12h --yes
      relations replay acme-0f3k9x2b7c1d4e5g6h --set childid=9002 --yes
    """
    if failed:
        selection = selection.only_failed()
    try:
        correction = parse_correction(pairs)
    except InvalidChange as error:
        raise click.UsageError("; ".join(map(str, error.faults))) from None
    by_account = selection.by_account(context)
    if selection.job_ids:
        _require_some(context, selection.job_ids)
    prepared = [
        context.operations.prepare_replay(name, selected, by=by, forced=force, correction=correction)
        for name, selected in by_account.items()
    ]
    if yes:
        run_replays(context, prepared, by, background=background)
    else:
        _preview(context, prepared)


def _require_some(context: CommandContext, job_ids: Sequence[str]) -> None:
    """Raise NotFound if none of the jobs is there, before a preview of nothing is kept and put on record."""
    with suppress(Forbidden):  # a key that may replay, and not read
        if not context.operations.get_jobs(job_ids):
            missing = " nor ".join(job_ids)
            raise NotFound(f"there is no job {missing}; failed jobs are kept for a while only")


def _preview(context: CommandContext, prepared: Sequence[Replay]) -> None:
    document = {"replays": [serialize_replay(replay) for replay in prepared]}
    context.answer(document, describe_prepared(prepared))
    exit_with(Exit.OK if any(replay.eligible for replay in prepared) else Exit.FAILED)


def describe_prepared(replays: Iterable[Replay]) -> Iterator[str]:
    """Yield what each replay would send, and how it is sent."""
    for replay in replays:
        yield from describe_replay(replay)
        if replay.eligible:
            yield f"Nothing was sent. To act: relations replays run {replay.id}"


def run_replays(context: CommandContext, prepared: Sequence[Replay], by: str, *, background: bool) -> None:
    """Run prepared replays here, or with `background` on a worker, and print what was done."""
    started = [context.operations.start_replay(replay.id, by=by) for replay in prepared if replay.eligible]
    if background:
        for replay in started:
            if trouble := context.operations.enqueue_replay(replay.id):
                click.echo(trouble, err=True)
    else:
        started = [_run_here(context, replay, by) for replay in started]
    results = [*started, *(replay for replay in prepared if not replay.eligible)]
    lines = [line for replay in results for line in describe_replay_result(replay)]
    reasons = (context.operations.why_not_sending(replay.account) for replay in started)
    lines += [f"note: {reason}" for reason in reasons if reason]
    context.answer({"replays": [serialize_replay(replay) for replay in results]}, lines)
    running = [replay for replay in started if replay.state == "running"]  # on a worker, now or later
    is_whole = not any(
        replay.refused or (replay not in running and replay.back != replay.eligible) for replay in results
    )
    is_partly = background or running or any(replay.back for replay in started)
    exit_with(Exit.OK if is_whole and started else Exit.PARTLY if is_partly else Exit.FAILED)


def _run_here(context: CommandContext, replay: Replay, by: str) -> Replay:
    """Run the replay in this process; Ctrl-C stops it after the piece that is being worked."""
    try:
        if context.as_json or not sys.stderr.isatty():
            return context.operations.run_replay(replay.id)
        return _run_with_progress(context, replay)
    except KeyboardInterrupt:
        stopped = context.operations.stop_replay(replay.id, by=by)
        click.echo(f"Stopped. To go on: relations replays run {replay.id}", err=True)
        return stopped


def _run_with_progress(context: CommandContext, replay: Replay) -> Replay:
    worker = Thread(target=context.operations.run_replay, args=(replay.id,), daemon=True)
    worker.start()
    with show_progress(f"replay {replay.account}", replay.eligible, quiet=False) as report:
        while worker.is_alive():
            worker.join(POLL_INTERVAL)
            report(context.operations.find_replay(replay.id).done)
    return context.operations.find_replay(replay.id)
