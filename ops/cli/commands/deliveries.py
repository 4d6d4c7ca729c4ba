"""`relations deliveries`: what came to the webhooks, what became of it, and reading it again by new rules."""

import sys
from base64 import b64encode
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import wraps
from operator import itemgetter
from typing import Any, Final, get_args

import click

from ops.cli.context import CommandContext, Decorated, add_options, cursor_option, limit_option, with_context
from ops.cli.errors import Exit, exit_with
from ops.cli.job_selection import by_option, read_options
from ops.cli.root import main
from ops.explain.deliveries import describe_delivery, describe_outcome
from ops.explain.text import format_change, format_tally, pluralize
from ops.serializers.deliveries import DeliveryDict, DeliveryPageDict, RemappedChangeDict, RemappedDict
from ops.web.forms import DELIVERY_PLACE, DeliveryQuery
from producers.portals.http.query import read_query
from producers.webhooks.redelivery import SKIPPED
from worker.contract import from_message
from worker.contract.values import strip_pasted
from worker.errors import NotFound
from worker.ports.deliveries import DeliveryFilter, DeliveryOutcome
from worker.ports.queries import fill_page, walk_pages

PAGE: Final = 200  # deliveries that are selected at once
MAX_LISTED: Final = 50  # deliveries that are printed one by one
FILTER_OPTIONS: Final = (
    click.option("--source", metavar="NAME", help="To this source."),
    click.option("--outcome", type=click.Choice(get_args(DeliveryOutcome)), help="Of which this became."),
    click.option(
        "--since", metavar="TIME", help="That came since then: an instant, a day, or 90m, 2h, 3d, 1w ago."
    ),
    click.option("--until", metavar="TIME", help="That came before then."),
)


def with_delivery_filter(function: Decorated) -> Decorated:
    """Give a command the argument `wanted`, a DeliveryFilter; goes below `with_context`."""

    @wraps(function)
    def run(context: CommandContext, *args: Any, **options: Any) -> Any:
        texts = {name: options.pop(name) for name in ("source", "outcome", "since", "until")}
        wanted = read_options(lambda given: read_query(given, DeliveryQuery).filter(), texts, context)
        return function(context, *args, wanted=wanted, **options)

    return add_options(run, FILTER_OPTIONS)


@main.group("deliveries")
def deliveries() -> None:
    """Look at what came to the webhooks, and read it again.

    \b
    Examples:
      relations deliveries list --source immo --outcome no_rule
      relations deliveries show immo-gezdgnbvgy3tqojq
      relations deliveries remap --source immo --since yesterday
    """


@deliveries.command("list")
@limit_option
@cursor_option(DELIVERY_PLACE, "TEXT")
@with_context
@with_delivery_filter
def list_deliveries(context: CommandContext, wanted: DeliveryFilter, limit: int, cursor: str) -> None:
    """List deliveries, newest first, with what became of them.

    A message that was delivered several times is one delivery. Refused ones are a sample; the metrics count
    all.

    \b
    Examples:
      relations deliveries list
      relations deliveries list --source immo --outcome unreadable --since 2h
    """
    page = _find_full_page(context, wanted, limit, cursor)
    heads = ("DELIVERY", "CAME", "TIMES", "OUTCOME", "JOBS", "REASON")
    context.answer_table(page, heads, (_format_row(context, delivery) for delivery in page["deliveries"]))


def _format_row(context: CommandContext, delivery: DeliveryDict) -> tuple[object, ...]:
    reason = delivery["reason"] or next(iter(delivery["faults"]), "")
    came, jobs = context.format_time(delivery["at"]), len(delivery["jobs"]) or ""
    return delivery["id"], came, delivery["times"], delivery["outcome"], jobs, reason


def _find_full_page(
    context: CommandContext, wanted: DeliveryFilter, limit: int, cursor: str
) -> DeliveryPageDict:
    """Return a full page if there are as many deliveries."""
    found, after = fill_page(
        lambda size, at: context.operations.find_deliveries(wanted, limit=size, cursor=at),
        itemgetter("deliveries"),
        limit,
        cursor,
    )
    return {"deliveries": found, "next": after or None}


@deliveries.command("show")
@click.argument("delivery_id", metavar="DELIVERY", type=strip_pasted)
@click.option(
    "--payload", is_flag=True, help="Print the request as it is kept, without secrets; with --json in base64."
)
@with_context
def show_delivery(context: CommandContext, delivery_id: str, payload: bool) -> None:
    """Show one delivery: what became of it, and of each rule what it made, or why it did not apply.

    What `--payload` prints can be given to `relations sources try`.

    \b
    Examples:
      relations deliveries show immo-gezdgnbvgy3tqojq
      relations deliveries show immo-gezdgnbvgy3tqojq --payload
    """
    delivery = context.operations.get_delivery(delivery_id)
    if delivery is None:
        raise NotFound(f"there is no delivery {delivery_id}; deliveries are kept for a while only")
    request = context.operations.get_delivery_request(delivery_id) if payload else None
    if request is not None and not context.as_json:
        sys.stdout.buffer.write(request)
        return
    kept = {} if request is None else {"request": b64encode(request).decode()}
    context.answer({**delivery, **kept}, describe_delivery(delivery, context.zone))


@deliveries.command("redeliver")
@click.argument("delivery_ids", metavar="DELIVERY…", type=strip_pasted, nargs=-1, required=True)
@click.option("--yes", is_flag=True, help="Do it.")
@by_option
@with_context
def redeliver(context: CommandContext, delivery_ids: tuple[str, ...], yes: bool, by: str) -> None:
    """Read deliveries again by today's rules, as if they came now; a preview without --yes.

    What they made already is not made again. Changes that name no time of their own occurred when the
    delivery came first, so that newer ones still win.

    \b
    Examples:
      relations deliveries redeliver immo-gezdgnbvgy3tqojq
      relations deliveries redeliver immo-gezdgnbvgy3tqojq --yes
    """
    found = list(context.operations.remap_deliveries(delivery_ids, by=by, dry_run=not yes))
    if all(each["skipped"] == "gone" for each in found):
        raise NotFound(f"there is no delivery {' nor '.join(delivery_ids)}")
    _answer(context, found, acted=yes)


@deliveries.command("remap")
@click.option("--yes", is_flag=True, help="Do it.")
@by_option
@with_context
@with_delivery_filter
def remap_deliveries(context: CommandContext, wanted: DeliveryFilter, yes: bool, by: str) -> None:
    """Read all deliveries that fit again by today's rules, after these were corrected.

    Without --yes it shows which changes would be made, which jobs there are already, and what would still
    make none.

    \b
    Examples:
      relations deliveries remap --source immo --outcome no_rule
      relations deliveries remap --source immo --since 3d --yes
    """
    if wanted == DeliveryFilter():
        raise click.UsageError("Say which by --source, --outcome, --since or --until.")
    found = [
        remapped
        for ids in _select(context, wanted)
        for remapped in context.operations.remap_deliveries(ids, by=by, dry_run=not yes)
    ]
    _answer(context, found, acted=yes)


def _select(context: CommandContext, wanted: DeliveryFilter) -> Iterator[list[str]]:
    """Yield the ids of the deliveries that fit; refused ones are not kept, so only if they are asked for."""
    find = context.operations.find_deliveries
    for page in walk_pages(lambda cursor: find(wanted, limit=PAGE, cursor=cursor)):
        if ids := [
            each["id"] for each in page["deliveries"] if wanted.outcome or each["outcome"] != "refused"
        ]:
            yield ids


def _answer(context: CommandContext, found: Sequence[RemappedDict], *, acted: bool) -> None:
    made = sum(item["new"] for each in found for item in each["changes"])
    document = {"dry_run": not acted, "deliveries": found, "new": made}
    context.answer(document, _describe_all(found, made, acted=acted))
    skipped = sum(each["skipped"] is not None or _is_faulty(each) for each in found)
    exit_with(Exit.OK if found and not skipped else Exit.PARTLY if skipped < len(found) else Exit.FAILED)


def _describe_all(found: Sequence[RemappedDict], made: int, *, acted: bool) -> Iterator[str]:
    for each in found[:MAX_LISTED]:
        yield from _describe(each, acted=acted)
    if len(found) > MAX_LISTED:
        yield f"… and {len(found) - MAX_LISTED:,} more; --json has them all"
    became = Counter[str](now["outcome"] for each in found if (now := each["now"]))
    outcomes = f" ({format_tally(became)})" if became else ""
    verb = "made" if acted else "would be made"
    yield f"{pluralize(made, 'new change')} {verb} of {_count_deliveries(len(found))}{outcomes}."
    if made and not acted:
        yield "Nothing was done. Add --yes."


def _count_deliveries(number: int) -> str:
    return f"{number:,} deliver{'y' if number == 1 else 'ies'}"


def _describe(remapped: RemappedDict, *, acted: bool) -> Iterator[str]:
    now = remapped["now"]
    if remapped["skipped"] or not now:
        yield f"{remapped['id']}  {SKIPPED[remapped['skipped'] or 'gone']}"
        return
    was = f"{remapped['was']} → " if remapped["was"] != now["outcome"] else ""
    yield f"{remapped['id']}  {was}{describe_outcome(now)}"
    yield from (f"  {_describe_change(item, acted=acted)}" for item in remapped["changes"])
    yield from (f"  fault: {fault}" for fault in now["faults"])


def _describe_change(item: RemappedChangeDict, *, acted: bool) -> str:
    made, job = from_message(item["change"]).change, item["job"] or ""
    change = f"{item['rule']}  {made.account}: {format_change(made)}"
    if item["new"]:
        return f"{change}, new{f' as {job}' if acted else ''}"
    return f"{change}, differs from {job}, which stays" if item["differs"] else f"{change}, is {job}"


def _is_faulty(remapped: RemappedDict) -> bool:
    return remapped["now"] is not None and remapped["now"]["outcome"] == "unreadable"
