"""Looking at jobs and relations: `jobs list`, `jobs show` and `explain`."""

import sys
from collections.abc import Iterator, Sequence
from typing import Any

import click

from ops import samples
from ops.cli import output
from ops.cli.commands.cancel_dismiss import cancelling, dismissing
from ops.cli.commands.watch import watching
from ops.cli.context import CommandContext, account_option, with_desk
from ops.cli.errors import Exit, finish
from ops.cli.filters import filtered
from ops.explain import explain
from ops.explain.gather import gather
from ops.explain.words import count, ids, info_text, instant
from ops.serializers import todo_of
from producers.portals.serializers import job_json
from worker.contract import Relation, resolve
from worker.errors import NotFound
from worker.onoffice.codes import advice, describe
from worker.ports import JobFilter, JobPage, JobRecord


@click.group()
def jobs() -> None:
    """Look at jobs.

    \b
    Examples:
      relations jobs list --state failed
      relations jobs show acme-0f3k9x2b7c1d4e5g6h
    """


jobs.add_command(cancelling)
jobs.add_command(dismissing)
jobs.add_command(watching)


@jobs.command("list")
@account_option
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True, help="At most so many.")
@click.option("--cursor", type=click.IntRange(1), help="Where the last page ended.")
@with_desk
@filtered
def listing(
    desk: CommandContext, account: str | None, wanted: JobFilter, limit: int, cursor: int | None
) -> None:
    """List an account's jobs, newest first.

    \b
    Examples:
      relations jobs list
      relations jobs list --account acme --state failed --error 160 --limit 100
      relations jobs list --parent 501 --since 2h
    """
    page = _page(desk, desk.lane(account), wanted, limit, str(cursor or ""))

    def lines() -> None:
        output.table(
            ("JOB", "STATE", "ACTION", "RELATIONS", "ACCEPTED", "BY"), [_row(desk, job) for job in page.jobs]
        )
        if page.next:
            click.echo(f"more with --cursor {page.next}", err=True)

    desk.answer({"jobs": [_public(job) for job in page.jobs], "next": page.next or None}, lines)


def _page(desk: CommandContext, account: str, wanted: JobFilter, limit: int, cursor: str) -> JobPage:
    """A full page if there are as many: where few jobs fit, it goes on looking, and says that it does."""
    found, looked = list[JobRecord](), 0
    while True:
        page = desk.runtime.queries.find_jobs(account, wanted, limit=limit - len(found), cursor=cursor)
        found += page.jobs
        if not page.next or len(found) == limit:
            return JobPage(tuple(found), page.next)
        cursor, looked = page.next, looked + 1
        if sys.stderr.isatty() and not looked % 20:
            click.echo(f"looking further back, {len(found)} found …", err=True)


@jobs.command("show")
@click.argument("job")
@click.option(
    "--payload",
    is_flag=True,
    help="Of one that stands for an unreadable message: print the message as it came.",
)
@with_desk
def showing(desk: CommandContext, job: str, payload: bool) -> None:
    """Show one job: its state, its outcomes, and why it failed.

    \b
    Examples:
      relations jobs show acme-0f3k9x2b7c1d4e5g6h
      relations jobs show acme-0f3k9x2b7c1d4e5g6h --json
      relations jobs show acme-0f3k9x2b7c1d4e5g6h --payload
    """
    found = desk.runtime.store.get_job(job)
    if found is None:
        raise NotFound(f"there is no job {job}; finished jobs are kept for a while only")
    kept = None if found.type else desk.runtime.job_admin.get_payload(job)
    if payload and kept is None:
        raise NotFound(f"nothing is kept of a message for {job}: it is a change, or too old, or was erased")
    if payload and kept and not desk.as_json:
        sys.stdout.buffer.write(kept.body)
        return
    faults = list(kept.faults) if kept else []
    more = {"faults": faults, "payload": kept.body.decode(errors="replace")} if kept else {}
    desk.answer(
        {**_public(found), **more}, [*_facts(desk, found), *(f"  fault: {fault}" for fault in faults)]
    )


@click.command("explain", short_help="Explain a relation: every job, request and answer.")
@click.argument("words", nargs=-1, metavar="TYPE PARENT CHILD")
@account_option
@click.option("--sample", metavar="NAME", help="Explain a shipped sample instead; needs nothing running.")
@with_desk
def explaining(desk: CommandContext, words: tuple[str, ...], account: str | None, sample: str | None) -> None:
    """Explain one relation: what is wanted now, what is known, and what became of every job that named it.

    \b
    Examples:
      relations explain estate:address:buyer 501 9001
      relations explain --sample 01-portal-burst
    """
    if sample and not words:
        text = samples.explained(sample)
        desk.answer({"sample": samples.find(sample), "text": text.splitlines()}, [text.rstrip("\n")])
        return
    evidence = gather(desk.runtime, desk.account(account), _relation(words))
    told = explain(evidence, zone=desk.zone, advice=advice)
    desk.answer(told.json(), [str(told)])
    finish(Exit.OK if told.jobs else Exit.NOT_FOUND)


# --- one job


def _public(job: JobRecord) -> dict[str, Any]:
    return dict(job_json(job))


def _row(desk: CommandContext, job: JobRecord) -> tuple[object, ...]:
    return job.id, job.state, job.action, _about(job), instant(job.accepted_at, desk.zone), job.source


def _about(job: JobRecord) -> str:
    if not job.type or not job.parents:
        return f"{job.type} (erased)" if job.type else "(unreadable message)"
    return f"{job.type} {ids(job.parents, most=3)} → {ids(job.children, most=3)}"


def why(job: JobRecord) -> str:
    """The first refusal among its relations, in the API's words or ours."""
    if not job.refusal:
        return ""
    code, error, message, _ = job.refusal
    return f"{code} {describe(code, message)}" if code else message or error


def _facts(desk: CommandContext, job: JobRecord) -> Iterator[str]:
    yield f"{job.id}  {job.state}"
    yield from _what(job)
    yield f"  by {job.source} as {job.event_id or '(erased)'}" + (
        f" in batch {job.batch}" if job.batch else ""
    )
    yield (
        f"  occurred {instant(job.occurred_at, desk.zone)}, accepted {instant(job.accepted_at, desk.zone)}"
        + (f", finished {instant(job.finished_at, desk.zone)}" if job.finished_at else "")
    )
    if job.total:
        yield from _outcomes(job)
    if job.refusal:
        yield f"  failed{f' for {job.refusal[3]}' if job.refusal[3] else ''}: {why(job)}"
        yield f"  {todo_of(job.refusal[0], job.refusal[1])}"
    if job.requests:
        yield f"  travelled in {count(len(job.requests), 'request')}: {' '.join(job.requests)}"
    yield from _links(desk, job)


def _outcomes(job: JobRecord) -> Iterator[str]:
    outcomes = (
        ", ".join(f"{number:,} {name}" for name, number in job.counts.items() if number)
        or "none has its outcome yet"
    )
    yield f"  {count(job.total, 'relation')}: {outcomes}" + (f"; by {job.by}" if job.by else "")


def _what(job: JobRecord) -> Iterator[str]:
    if not job.type:
        yield f"  a message that makes no change; as it came: relations jobs show {job.id} --payload"
    elif not job.parents:
        yield f"  {job.action} {job.type} of a record that was erased"
    else:
        yield f"  {job.action} {job.type} {ids(job.parents)} → {ids(job.children)}{info_text(job.info)}"


def _links(desk: CommandContext, job: JobRecord) -> Iterator[str]:
    """What people did to it."""
    if job.replays:
        yield f"  sent in place of {job.replays}"
    if job.replayed_by:
        yield f"  sent anew as {', '.join(job.replayed_by)}"
    if job.replay:
        yield f"  worked by replay {job.replay}"
    if let_go := job.dismissed:
        yield f"  dismissed {instant(let_go.at, desk.zone)} by {let_go.by}" + (
            f": {let_go.why}" if let_go.why else ""
        )


# --- which relation


def _relation(words: Sequence[str]) -> Relation:
    if len(words) != 3:
        raise click.UsageError("Expected TYPE PARENT CHILD, or --sample NAME.")
    name, *numbers = words
    if not all(number.isascii() and number.isdecimal() for number in numbers):
        raise click.UsageError(f"Expected two ids after {name}, got {' '.join(numbers)}.")
    meant, (parent, child) = resolve(name), map(int, numbers)
    return (
        Relation(meant.type.name, child, parent)
        if meant.swapped
        else Relation(meant.type.name, parent, child)
    )
