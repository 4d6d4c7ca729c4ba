"""`relations requests`: what was sent to the API and what it answered, without secrets."""

from collections.abc import Iterator

import click

from ops.cli.context import CommandContext, account_option, limit_option, with_context
from ops.explain.text import format_ids, format_info, format_instant, pluralize
from ops.serializers.requests import serialize_request
from worker.contract.values import strip_pasted
from worker.errors import NotFound
from worker.ports.requests import RequestRecord


@click.group("requests")
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
@limit_option
@click.option("--cursor", metavar="ID", default="", help="Where the last page ended.")
@with_context
def list_requests(
    context: CommandContext, account: str | None, failed: bool, limit: int, cursor: str
) -> None:
    """List an account's requests, newest first.

    \b
    Examples:
      relations requests list
      relations requests list --account acme --failed --limit 100
    """
    name = context.find_account(account)
    page = context.operations.list_requests(name, limit=limit, cursor=cursor)
    shown = [request for request in page.requests if not failed or _count_failures(request)]
    context.answer_table(
        {"requests": [serialize_request(request) for request in shown], "next": page.next or None},
        ("REQUEST", "AT", "KIND", "HTTP", "SECONDS", "ACTIONS", "RELATIONS", "ANSWERS"),
        (_format_row(context, request) for request in shown),
        cursor=page.next,
    )


@requests.command("show")
@click.argument("request_id", metavar="REQUEST", type=strip_pasted)
@account_option
@with_context
def show_request(context: CommandContext, request_id: str, account: str | None) -> None:
    """Show one request: each action and its answer.

    \b
    Examples:
      relations requests show 0f3k9x2b7c1d4e5g6h --account acme
    """
    request = context.operations.get_request(context.find_account(account), request_id)
    if request is None:
        raise NotFound(f"there is no request {request_id}; they are kept as long as finished jobs")
    context.answer(serialize_request(request), _describe_request(context, request))


def _format_row(context: CommandContext, request: RequestRecord) -> tuple[object, ...]:
    failures = _count_failures(request)
    answers = f"{failures} of {len(request.answers)} not ok" if failures else "ok"
    result = (request.status, f"{request.seconds:.2f}", answers)
    status, seconds, answers = ("–", "–", "would be sent") if request.observed else result
    relations = sum(len(action.relations) for action in request.actions)
    at = format_instant(request.at, context.zone)
    return request.id, at, request.kind, status, seconds, len(request.answers), relations, answers


def _count_failures(request: RequestRecord) -> int:
    return 0 if request.observed else sum(verdict != "ok" for verdict, _, _ in request.answers)


def _describe_request(context: CommandContext, request: RequestRecord) -> Iterator[str]:
    message = f": {request.message}" if request.message else ""
    result = f"HTTP {request.status} after {request.seconds:.2f} s{message}"
    if request.observed:
        result = "would be sent; the account only observes"
    yield f"{request.id}  {format_instant(request.at, context.zone)}  {request.kind}  {result}"
    if request.correlations:
        yield f"  for {', '.join(request.correlations)}"
    yield f"  {pluralize(len(request.answers), 'action')}"
    for action, answer in zip(request.actions, request.answers, strict=False):
        ids = f"{format_ids(action.parents)} → {format_ids(action.children)}"
        yield f"  {action.kind}  {action.type}  {ids}{format_info(action.info)}: {_describe_answer(answer)}"
    for search, answer in zip(request.searches, request.answers, strict=False):
        found = f", {pluralize(search.found, 'record')} found" if answer[0] == "ok" else ""
        values = pluralize(search.values, "value")
        yield f"  read  {search}  {values}: {_describe_answer(answer)}{found}"


def _describe_answer(answer: tuple[str, int, str]) -> str:
    verdict, code, message = answer
    return verdict if verdict == "ok" else " ".join(filter(None, (verdict, str(code or ""), message)))
