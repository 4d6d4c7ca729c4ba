"""`relations replay` and `relations replays`: what failed is sent again; first the set is fixed and shown, nothing goes without `--yes`."""

import sys
from collections.abc import Iterator, Sequence
from typing import Final

import click
import msgspec

from ops.cli import output
from ops.cli.context import CommandContext, account_option, with_desk
from ops.cli.errors import Exit, finish
from ops.cli.filters import filtered
from ops.cli.job_selection import by_option, reasons, wanted_of
from ops.explain.gather import still
from ops.explain.words import count, ids, info_text, instant
from ops.serializers import replay_json
from producers.replay.resend import parse_correction
from producers.replay.service import ReplayService
from producers.services import build_services
from worker.errors import InvalidChange, NotFound
from worker.ports import JobFilter, Replay

SHOWN: Final = 20  # actions and refused jobs that are listed
POLL: Final = 0.5  # seconds between two looks at a replay that a worker works


@click.command(short_help="Send what failed again; a preview without --yes.")
@click.argument("names", nargs=-1, metavar="[JOB]…")
@click.option("--failed", is_flag=True, help="Every failed job of the account that waits for a decision.")
@account_option
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
@with_desk
@filtered
def replay(
    desk: CommandContext,
    names: tuple[str, ...],
    failed: bool,
    account: str | None,
    wanted: JobFilter,
    force: bool,
    pairs: tuple[str, ...],
    yes: bool,
    background: bool,
    by: str,
) -> None:
    """Send the failed relations of jobs again, with their own occurred_at: what is newer still wins.

    Without --yes the set is fixed and shown: how many go, how many do not and why, and what would be sent. That preview is
    kept for a week; `relations replays run ID` acts on just it.

    \b
    Examples:
      relations replay acme-0f3k9x2b7c1d4e5g6h
      relations replay --failed --account acme
      relations replay --error 160 --since 12h --yes
      relations replay acme-0f3k9x2b7c1d4e5g6h --set childid=9002 --yes
    """
    if failed:
        wanted = msgspec.structs.replace(wanted, state="failed")
    try:
        correction = parse_correction(pairs)
    except InvalidChange as error:
        raise click.UsageError("; ".join(map(str, error.faults))) from None
    made = [
        _replays(desk).prepare(owner, which, by=by, forced=force, correction=correction)
        for owner, which in wanted_of(desk, names, wanted, account).items()
    ]
    if (
        names
        and not any(each.eligible for each in made)
        and all(set(each.refused) == {"gone"} for each in made)
    ):
        raise NotFound(f"there is no job {' nor '.join(names)}; failed jobs are kept for a while only")
    if yes:
        _act(desk, made, by, background=background)
    else:
        _preview(desk, made)


@click.group()
def replays() -> None:
    """Replays that were prepared: look at them, run them, stop them.

    \b
    Examples:
      relations replays list
      relations replays run acme-0f3k9x2b7c1d4e5g6h
      relations replays stop acme-0f3k9x2b7c1d4e5g6h
    """


@replays.command("list")
@account_option
@with_desk
def listing(desk: CommandContext, account: str | None) -> None:
    """List an account's replays of the last week, newest first.

    \b
    Examples:
      relations replays list --account acme
    """
    found = desk.runtime.job_admin.list_replays(desk.lane(account))
    heads = ("REPLAY", "STATE", "BY", "MADE", "JOBS", "DONE", "BACK", "OF")
    numbers = [(each.eligible, each.done, each.back) for each in found]
    rows = [
        (each.id, each.state, each.by, instant(each.made_at, desk.zone), *some, each.what)
        for each, some in zip(found, numbers, strict=True)
    ]
    desk.answer({"replays": [replay_json(each) for each in found]}, lambda: output.table(heads, rows))


@replays.command("show")
@click.argument("replay_id", metavar="REPLAY")
@with_desk
def showing(desk: CommandContext, replay_id: str) -> None:
    """Show one replay: its set, what would be or was sent, and how far it is.

    \b
    Examples:
      relations replays show acme-0f3k9x2b7c1d4e5g6h
    """
    found = _replays(desk).find(replay_id)
    became = _replays(desk).count_outcomes(found)
    desk.answer(
        replay_json(found, became), [*_facts(found), *([f"  by now: {reasons(became)}"] if became else [])]
    )


@replays.command("run")
@click.argument("replay_id", metavar="REPLAY")
@click.option("--background", is_flag=True, help="Let a worker do it, and do not wait.")
@by_option
@with_desk
def running(desk: CommandContext, replay_id: str, background: bool, by: str) -> None:
    """Run a prepared or stopped replay.

    \b
    Examples:
      relations replays run acme-0f3k9x2b7c1d4e5g6h
    """
    _act(desk, [_replays(desk).find(replay_id)], by, background=background)


@replays.command("stop")
@click.argument("replay_id", metavar="REPLAY")
@by_option
@with_desk
def stopping(desk: CommandContext, replay_id: str, by: str) -> None:
    """Stop a replay after the piece that is being worked; `run` lets it go on.

    \b
    Examples:
      relations replays stop acme-0f3k9x2b7c1d4e5g6h
    """
    found = _replays(desk).stop(replay_id, by=by)
    desk.answer(
        replay_json(found),
        [f"{found.id} is {found.state}: {found.done:,} of {count(found.eligible, 'job')} done."],
    )


def _replays(desk: CommandContext) -> ReplayService:
    return build_services(desk.runtime).replays


def _preview(desk: CommandContext, made: Sequence[Replay]) -> None:
    desk.answer(
        {"replays": [replay_json(each) for each in made]},
        [line for each in made for line in (*_facts(each), *_next(each))],
    )
    finish(Exit.OK if any(each.eligible for each in made) else Exit.FAILED)


def _act(desk: CommandContext, made: Sequence[Replay], by: str, *, background: bool) -> None:
    started = [_replays(desk).start(each.id, by=by) for each in made if each.eligible]
    if background:
        for each in started:
            _hand(desk, each)
        done = started
    else:
        done = [_worked(desk, each, by) for each in started]
    empty = [each for each in made if not each.eligible]
    lines = [line for each in (*done, *empty) for line in _outcome(each)]
    lines += [f"note: {why}" for each in done if (why := _still(desk, each.account))]
    desk.answer({"replays": [replay_json(each) for each in (*done, *empty)]}, lines)
    whole = all(not each.refused and (background or each.back == each.eligible) for each in (*done, *empty))
    finish(
        Exit.OK
        if whole and done
        else Exit.PARTLY
        if background or any(each.back for each in done)
        else Exit.FAILED
    )


def _still(desk: CommandContext, lane: str) -> str:
    """Why what went back is not sent now; the lane for messages that name no account sends nothing itself."""
    return still(desk.runtime, desk.settings.accounts[lane]) if lane in desk.settings.accounts else ""


def _hand(desk: CommandContext, replay: Replay) -> None:
    """Give it to a worker; if the broker is away, the sweep does."""
    try:
        desk.hand(replay.id)
    except Exception as error:  # whatever the broker's client raises
        click.echo(
            f"The broker is away ({type(error).__name__}); {replay.id} begins within a minute or two of its return.",
            err=True,
        )


def _worked(desk: CommandContext, replay: Replay, by: str) -> Replay:
    """Work it in this process; a bar on a terminal follows it. Ctrl-C stops it after the piece that is being worked."""
    service = _replays(desk)
    try:
        if desk.as_json or not sys.stderr.isatty():
            return service.run(replay.id)
        return _followed(service, replay)
    except KeyboardInterrupt:
        stopped = service.stop(replay.id, by=by)
        click.echo(f"Stopped. To go on: relations replays run {replay.id}", err=True)
        return stopped


def _followed(service: ReplayService, replay: Replay) -> Replay:
    from threading import Thread

    worker = Thread(target=service.run, args=(replay.id,), daemon=True)
    worker.start()
    with click.progressbar(
        length=replay.eligible, label=f"Replaying {replay.account}", file=sys.stderr
    ) as bar:
        while worker.is_alive():
            worker.join(POLL)
            bar.update(service.find(replay.id).done - bar.pos)
    return service.find(replay.id)


def _facts(replay: Replay) -> Iterator[str]:
    yield f"{replay.id}  {replay.state}  by {replay.by}: {replay.what}{' (forced)' if replay.forced else ''}"
    verb = "went" if replay.state == "done" else "would go" if replay.state == "previewed" else "go"
    yield f"  {count(replay.eligible, 'job')} with {count(replay.relations, 'failed relation')} {verb} back"
    if replay.correction:
        yield "  corrected: " + ", ".join(f"{name}={value}" for name, value in replay.correction.items())
    if replay.refused:
        yield f"  not replayed: {reasons(replay.refused)}"
        yield from (f"    {job} {why}" for job, why in list(replay.examples.items())[:SHOWN])
    if replay.paused:
        yield f"  the account is paused ({replay.paused}): nothing is sent until it is resumed"
    yield from _plan(replay)
    if replay.state != "previewed":
        yield f"  {replay.done:,} done, {replay.back:,} sent again" + (
            f"; {reasons(replay.missed)}" if replay.missed else ""
        )
    if replay.more:
        yield "  there are more failed jobs than one replay takes; replay again afterwards"


def _plan(replay: Replay) -> Iterator[str]:
    plan = replay.plan
    if not plan.get("actions"):
        return
    whole = "" if plan.get("whole") else "at least "
    yield f"  would send {whole}{count(plan['actions'], 'action')} in {count(plan['requests'], 'request')}:"
    for action in plan["listed"][:SHOWN]:
        info = info_text(tuple(action.get("relationinfo", {}).items()))
        yield f"    {action['action']}  {action['relationtype']}  {ids(action['parentid'])} → {ids(action['childid'])}{info}"
    if plan["actions"] > SHOWN:
        yield f"    … and {plan['actions'] - min(SHOWN, len(plan['listed'])):,} more"


def _next(replay: Replay) -> Iterator[str]:
    if replay.eligible:
        yield f"Nothing was sent. To act: relations replays run {replay.id}"


def _outcome(replay: Replay) -> Iterator[str]:
    """Acted beside previewed, and the difference explained."""
    if replay.state == "running":
        yield f"{replay.id}: a worker replays {count(replay.eligible, 'job')}; relations replays show {replay.id}"
        return
    total = replay.eligible + sum(replay.refused.values())
    yield f"{count(replay.back, 'job')} of {total:,} went back into the inbox ({replay.id})."
    for job, why in list(replay.examples.items())[:SHOWN]:
        yield f"note: {job} {why}"
    if replay.missed:
        yield f"note: {reasons(replay.missed)} since the preview"
    if replay.state == "stopped":
        yield f"note: it was stopped; relations replays run {replay.id} goes on"
