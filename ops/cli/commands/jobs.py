"""`relations jobs`: `list` and `show`; the others are in modules beside this one."""

import sys
from collections.abc import Iterator, Mapping
from itertools import count
from operator import attrgetter
from typing import Any, Final

import click

from ops.cli.context import CommandContext, account_option, cursor_option, limit_option, with_context
from ops.cli.job_selection import with_job_filter
from ops.cli.root import main
from ops.explain.text import describe_reference, format_info, format_instant, format_records, pluralize
from ops.serializers.jobs import write_job
from producers.errors import Forbidden
from producers.portals.http.query import PLACE
from producers.portals.serializers import HeldDict
from worker.contract import Relation
from worker.contract.values import strip_pasted
from worker.errors import NotFound
from worker.onoffice.codes import advise, describe
from worker.ports.job_admin import REPLACED, Payload
from worker.ports.queries import CursorPage, fill_page
from worker.ports.records import JobFilter, JobRecord

MAX_FAILURES: Final = 20  # failed relations that are listed
LOOKS: Final = 20  # after which a terminal is told that there are more


@main.group("jobs")
def jobs() -> None:
    """Look at jobs.

    \b
    Examples:
      relations jobs list --state failed
      relations jobs show acme-0f3k9x2b7c1d4e5g6h
    """


@jobs.command("list")
@account_option
@limit_option
@cursor_option(PLACE, "PLACE")
@with_context
@with_job_filter
def list_jobs(
    context: CommandContext, account: str | None, limit: int, cursor: str, job_filter: JobFilter
) -> None:
    """List jobs, newest first: of an account, or without one of all.

    \b
    Examples:
      relations jobs list
      relations jobs list --account acme --state failed --error 160 --limit 100
      relations jobs list --parent 501 --since yesterday
      relations jobs list --failed-since 1w
    """
    if account or len(context.account_names()) == 1:
        name = context.find_inbox(account)
        page = _find_full_page(context, name, job_filter, limit, cursor)
    elif cursor:
        raise click.UsageError("--cursor is where a page of one account ended; say which with --account.")
    else:
        page = _find_newest(context, job_filter, limit)
    waits = context.operations.find_waits(page.entries)
    context.answer_table(
        {"jobs": [write_job(job, waits) for job in page.entries], "next": page.next or None},
        ("JOB", "STATE", "ACTION", "RELATIONS", "ACCEPTED", "BY", *(["WAITS FOR"] if waits else [])),
        (_format_row(context, job, waits) for job in page.entries),
    )


def _find_newest(context: CommandContext, job_filter: JobFilter, limit: int) -> CursorPage[JobRecord]:
    """Return the newest jobs of all accounts, and of messages that name none."""
    names = context.operations.inbox_names()
    found = [job for name in names for job in _find_full_page(context, name, job_filter, limit, "").entries]
    found.sort(key=lambda job: (job.accepted_at, job.number), reverse=True)
    if len(found) > limit:
        context.remark("more with --limit, or of one account with --account")
    return CursorPage(tuple(found[:limit]), "")


def _find_full_page(
    context: CommandContext, account: str, job_filter: JobFilter, limit: int, cursor: str
) -> CursorPage[JobRecord]:
    """Return a full page if there are as many jobs; where few fit, this takes many looks, and says so."""
    looks = count(1)

    def find(size: int, at: str) -> CursorPage[JobRecord]:
        if not next(looks) % LOOKS and sys.stderr.isatty():
            click.echo(f"looking further back, {limit - size} found …", err=True)
        return context.operations.find_jobs(account, job_filter, limit=size, cursor=at)

    found, after = fill_page(find, attrgetter("entries"), limit, cursor)
    return CursorPage(tuple(found), after)


def _format_row(context: CommandContext, job: JobRecord, waits: Mapping[str, HeldDict]) -> tuple[object, ...]:
    if not job.type:
        relations = "(unreadable message)"
    elif _is_erased(job):
        relations = f"{job.type} (erased)"
    else:
        relations = f"{job.type} {format_records(job, most=3)}"
    return (
        job.id,
        _describe_state(job),
        job.action,
        relations,
        format_instant(job.accepted_at, context.zone),
        job.source,
        *([_format_waiting(context, waits[job.id]) if job.id in waits else ""] if waits else []),
    )


def _format_waiting(context: CommandContext, held: HeldDict) -> str:
    """Return what is waited for, and until when if that is known: `breaker until 2026-…`."""
    until = f" until {context.format_time(held['until'])}" if held["until"] else ""
    return f"{held['reason']}{until}"


def _describe_state(job: JobRecord) -> str:
    """Return the state; of a failure that was decided about, the decision."""
    if job.state != "failed" or not job.dismissed:
        return job.state
    # One that was linked after it was put back has its own end, which somebody dismissed.
    reasons = {each.dismissed.why for each in job.failures if each.dismissed}
    is_replaced = job.replayed_by and (REPLACED in reasons or not job.failures)
    return "replaced" if is_replaced else "dismissed"


@jobs.command("show")
@click.argument("job_id", metavar="JOB", type=strip_pasted)
@click.option(
    "--payload",
    is_flag=True,
    help="Of one that stands for an unreadable message: print the message as it came.",
)
@with_context
def show_job(context: CommandContext, job_id: str, payload: bool) -> None:
    """Show one job: its state, its outcomes, and why it failed.

    \b
    Examples:
      relations jobs show acme-0f3k9x2b7c1d4e5g6h
      relations jobs show acme-0f3k9x2b7c1d4e5g6h --json
      relations jobs show acme-0f3k9x2b7c1d4e5g6h --payload
    """
    job = context.operations.get_job(job_id)
    if job is None:
        raise NotFound(f"there is no job {job_id}; finished jobs are kept for a while only")
    document: dict[str, Any] = {**write_job(job, context.operations.find_waits([job]))}
    lines = list(_describe_job(context, job))
    if held := document["held"]:
        parent, child = held["parentid"], held["childid"]
        about = f" of {Relation(job.type, parent, child)}" if parent and child else ""
        lines.append(f"  waits for {_format_waiting(context, held)}{about}: {held['message']}")
    message = None if job.type else _find_message(context, job_id, required=payload)
    if payload and message is None:
        raise NotFound(
            f"nothing is kept of a message for {job_id}: it is a change, or too old, or was erased"
        )
    if payload and message and not context.as_json:
        sys.stdout.buffer.write(message.body)
        return
    if message:
        document |= {"faults": list(message.faults), "payload": message.body.decode(errors="replace")}
        shown = job.refusal is not None  # the first of them
        lines += [f"  fault: {fault}" for fault in message.faults[shown:]]
    context.answer(document, lines)


def _find_message(context: CommandContext, job_id: str, *, required: bool) -> Payload | None:
    """Return the message, or a remark instead of it unless it is required: not every key may see it."""
    try:
        return context.operations.get_payload(job_id)
    except Forbidden as error:
        if required:
            raise
        context.remark(f"The message is not shown: {error}.")
        return None


def _describe_job(context: CommandContext, job: JobRecord) -> Iterator[str]:
    yield f"{job.id}  {_describe_state(job)}"
    yield f"  {_describe_change(job)}"
    batch = f" in batch {job.batch}" if job.batch else ""
    yield f"  by {job.source} as {job.event_id or '(erased)'}{batch}"
    yield f"  {_describe_times(context, job)}"
    if job.total:
        counts = ", ".join(f"{number:,} {name}" for name, number in job.counts.items() if number)
        newer = f"; by {job.by}" if job.by else ""
        yield f"  {pluralize(job.total, 'relation')}: {counts or 'none has its outcome yet'}{newer}"
    yield from _describe_references(context, job)
    if job.failures:
        yield from _describe_failures(job)
    elif job.refusal:
        yield from _describe_refusal(job.refusal)
    if job.requests:
        yield f"  travelled in {pluralize(len(job.requests), 'request')}: {' '.join(job.requests)}"
    yield from _describe_operator_acts(context, job)


def _describe_change(job: JobRecord) -> str:
    if not job.type:
        return f"a message that makes no change; as it came: relations jobs show {job.id} --payload"
    if _is_erased(job):
        return f"{job.action} {job.type} of a record that was erased"
    return f"{job.action} {job.type} {format_records(job)}{format_info(job.info)}"


def _is_erased(job: JobRecord) -> bool:
    return not (job.parents or job.references)


def _describe_references(context: CommandContext, job: JobRecord) -> Iterator[str]:
    """Yield what is known of the records that are named by references, and what can be done about others."""
    for each in job.references[:MAX_FAILURES]:
        yield f"  {each.side} {describe_reference(each, context.zone)}"
    if len(job.references) > MAX_FAILURES:
        yield f"  … and {len(job.references) - MAX_FAILURES:,} more references; --json has them all"
    if job.parked:
        since = format_instant(job.parked.since, context.zone)
        yield f"  parked since {since}, looked up {pluralize(job.parked.look_ups, 'time')}"
    lacking = {each.side: "ID" for each in job.references if not each.record}
    if lacking and (job.state == "parked" or (job.state == "failed" and not job.replayed_by)):
        options = " ".join(f"--{side} {record}" for side, record in lacking.items())
        yield f"  Say which record it is: relations jobs resolve {job.id} {options}"


def _describe_times(context: CommandContext, job: JobRecord) -> str:
    times = {"occurred": job.occurred_at, "accepted": job.accepted_at}
    if job.finished_at:
        times["finished"] = job.finished_at
    return ", ".join(f"{name} {format_instant(at, context.zone)}" for name, at in times.items())


def _describe_refusal(refusal: tuple[int, str, str, str]) -> Iterator[str]:
    """Yield why a job without relations failed, and what to do about it."""
    code, error, message, _ = refusal
    yield f"  failed: {_format_reason(code, error, message)}"
    yield f"  {advise(code, error)}"


def _describe_failures(job: JobRecord) -> Iterator[str]:
    """Yield the relations that failed, each with its refusal; what to do comes once per error."""
    advised = set[str]()
    for relation, code, error, message, dismissed in job.failures[:MAX_FAILURES]:
        decided = f" ({dismissed.why or 'dismissed'} by {dismissed.by})" if dismissed else ""
        yield f"  failed for {relation}: {_format_reason(code, error, message)}{decided}"
        if not dismissed and (advice := advise(code, error)) not in advised:
            advised.add(advice)
            yield f"  {advice}"
    if len(job.failures) > MAX_FAILURES:
        yield f"  … and {len(job.failures) - MAX_FAILURES:,} more; --json has them all"
    if len(job.failures) > 1:
        yield f"  One of them alone: relations replay {job.id} --child ID, also with --set, or jobs dismiss"


def _format_reason(code: int, error: str, message: str) -> str:
    return f"{code} {describe(code, message)}" if code else message or error


def _describe_operator_acts(context: CommandContext, job: JobRecord) -> Iterator[str]:
    if job.replays:
        yield f"  sent in place of {job.replays}"
    if job.replayed_by:
        yield f"  sent anew as {', '.join(job.replayed_by)}"
    if job.replay:
        yield f"  worked by replay {job.replay}"
    if job.dismissed:
        why = f": {job.dismissed.why}" if job.dismissed.why else ""
        at = format_instant(job.dismissed.at, context.zone)
        yield f"  dismissed {at} by {job.dismissed.by}{why}"
