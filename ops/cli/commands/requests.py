"""`relations requests`: what was sent to the API and what it answered, without secrets."""

from collections.abc import Iterator

import click

from ops.cli import output
from ops.cli.context import CommandContext, account_option, with_desk
from ops.explain.words import count, ids, info_text, instant
from ops.serializers import request_json
from worker.errors import NotFound
from worker.ports import RequestRecord


@click.group()
def requests() -> None:
    """Look at requests: what was sent and what was answered.

    \b
    Examples:
      relations requests list --failed
      relations requests show 0f3k9x2b7c1d4e5g6h
    """


@requests.command("list")
@account_option
@click.option("--failed", is_flag=True, help="Only those with an action that was not answered ok.")
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True, help="At most so many.")
@click.option("--cursor", metavar="ID", default="", help="Where the last page ended.")
@with_desk
def listing(desk: CommandContext, account: str | None, failed: bool, limit: int, cursor: str) -> None:
    """List an account's requests, newest first.

    \b
    Examples:
      relations requests list
      relations requests list --account acme --failed --limit 100
    """
    page = desk.runtime.queries.list_requests(desk.account(account).name, limit=limit, cursor=cursor)
    found = [each for each in page.requests if not failed or _failures(each)]

    def lines() -> None:
        output.table(
            ("REQUEST", "AT", "HTTP", "SECONDS", "ACTIONS", "RELATIONS", "ANSWERS"),
            [_row(desk, each) for each in found],
        )
        if page.next:
            click.echo(f"more with --cursor {page.next}", err=True)

    desk.answer({"requests": [request_json(each) for each in found], "next": page.next or None}, lines)


@requests.command("show")
@click.argument("request")
@account_option
@with_desk
def showing(desk: CommandContext, request: str, account: str | None) -> None:
    """Show one request: each action and its answer.

    \b
    Examples:
      relations requests show 0f3k9x2b7c1d4e5g6h --account acme
    """
    found = desk.runtime.store.get_request(desk.account(account).name, request)
    if found is None:
        raise NotFound(f"there is no request {request}; they are kept as long as finished jobs")
    desk.answer(request_json(found), list(_facts(desk, found)))


def _row(desk: CommandContext, request: RequestRecord) -> tuple[object, ...]:
    relations = sum(len(action.relations) for action in request.actions)
    if request.observed:
        return (
            request.id,
            instant(request.at, desk.zone),
            "–",
            "–",
            len(request.actions),
            relations,
            "would be sent",
        )
    answers = f"{_failures(request)} of {len(request.answers)} not ok" if _failures(request) else "ok"
    return (
        request.id,
        instant(request.at, desk.zone),
        request.status,
        f"{request.seconds:.2f}",
        len(request.actions),
        relations,
        answers,
    )


def _failures(request: RequestRecord) -> int:
    return 0 if request.observed else sum(verdict != "ok" for verdict, _, _ in request.answers)


def _facts(desk: CommandContext, request: RequestRecord) -> Iterator[str]:
    said = f": {request.message}" if request.message else ""
    how = (
        "would be sent; the account only observes"
        if request.observed
        else f"HTTP {request.status} after {request.seconds:.2f} s{said}"
    )
    yield f"{request.id}  {instant(request.at, desk.zone)}  {how}"
    if request.correlations:
        yield f"  for {', '.join(request.correlations)}"
    yield f"  {count(len(request.actions), 'action')}"
    for action, (verdict, code, message) in zip(request.actions, request.answers, strict=False):
        answer = verdict if verdict == "ok" else " ".join(filter(None, (verdict, str(code or ""), message)))
        yield f"  {action.kind}  {action.type}  {ids(action.parents)} → {ids(action.children)}{info_text(action.info)}: {answer}"
