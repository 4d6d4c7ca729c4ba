"""`relations requests`: what was sent to the API and what it answered, without secrets."""

from collections.abc import Iterator

import click

from ops.cli.context import CommandContext, account_option, cursor_option, limit_option, with_context
from ops.cli.root import main
from ops.explain.explanation import AnswerDict
from ops.explain.text import format_ids, format_info, pluralize
from ops.serializers.requests import RequestDict
from ops.web.forms import ENTRY_PLACE
from worker.contract.values import strip_pasted
from worker.errors import NotFound


@main.group("requests")
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
@cursor_option(ENTRY_PLACE, "ID")
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
    page = context.operations.list_requests(context.find_account(account), limit=limit, cursor=cursor)
    shown = [request for request in page["requests"] if not failed or _count_failures(request)]
    context.answer_table(
        {"requests": shown, "next": page["next"]},
        ("REQUEST", "AT", "KIND", "HTTP", "SECONDS", "ACTIONS", "RELATIONS", "ANSWERS"),
        (_format_row(context, request) for request in shown),
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
    context.answer(request, describe_request(context, request))


def _answers_of(request: RequestDict) -> list[AnswerDict]:
    """Return the answers of a request; one of an older server has no searches."""
    return [each["answer"] for each in (*request["actions"], *request.get("searches", []))]


def _format_row(context: CommandContext, request: RequestDict) -> tuple[object, ...]:
    failures, number = _count_failures(request), len(_answers_of(request))
    answers = f"{failures} of {number} not ok" if failures else "ok"
    result = (request["status"], f"{request['seconds']:.2f}", answers)
    status, seconds, answers = ("–", "–", "would be sent") if request["observed"] else result
    relations = sum(
        len(each["asked"]) or len(each["parentid"]) * len(each["childid"]) for each in request["actions"]
    )
    at, kind = context.format_time(request["at"]), request.get("kind", "changes")
    return request["id"], at, kind, status, seconds, number, relations, answers


def _count_failures(request: RequestDict) -> int:
    return 0 if request["observed"] else sum(each["verdict"] != "ok" for each in _answers_of(request))


def describe_request(context: CommandContext, request: RequestDict) -> Iterator[str]:
    """Yield a request line by line."""
    message = f": {request['message']}" if request["message"] else ""
    result = f"HTTP {request['status']} after {request['seconds']:.2f} s{message}"
    if request["observed"]:
        result = "would be sent; the account only observes"
    yield f"{request['id']}  {context.format_time(request['at'])}  {request.get('kind', 'changes')}  {result}"
    if request["correlations"]:
        yield f"  for {', '.join(request['correlations'])}"
    yield f"  {pluralize(len(_answers_of(request)), 'action')}"
    for action in request["actions"]:
        ids = f"{format_ids(action['parentid'])} → {format_ids(action['childid'])}"
        what = f"{action['relationtype']}  {ids}{format_info(tuple(action['relationinfo'].items()))}"
        yield f"  {action['action']}  {what}: {_describe_answer(action['answer'])}"
    for search in request.get("searches", []):
        answer = search["answer"]
        found = f", {pluralize(search['found'], 'record')} found" if answer["verdict"] == "ok" else ""
        values = pluralize(search["values"], "value")
        yield f"  read  {search['module']}:{search['field']}  {values}: {_describe_answer(answer)}{found}"


def _describe_answer(answer: AnswerDict) -> str:
    verdict, code, message = answer["verdict"], answer["code"], answer["message"]
    return verdict if verdict == "ok" else " ".join(filter(None, (verdict, str(code or ""), message)))
