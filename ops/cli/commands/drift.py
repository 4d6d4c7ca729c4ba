"""`relations drift`: what was confirmed, read back from the CRM; `--prepare` fixes a repair to look at."""

import json
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final

import click

from ops.cli.commands.replay import describe_prepared
from ops.cli.context import CommandContext, check_account_names, with_context
from ops.cli.errors import Exit, exit_with
from ops.cli.job_selection import by_option, parse_filter
from ops.cli.output import print_lines
from ops.cli.progress import ReportProgress, show_progress
from ops.cli.root import main
from ops.explain.text import pluralize
from ops.serializers.drift import DriftedDict, DriftPageDict
from ops.serializers.replays import serialize_replay
from producers.replay.repair import MAX_RELATIONS
from worker.errors import RelationsError
from worker.ports.drift import DriftFilter
from worker.ports.replays import Replay
from worker.usecases.drift import MAX_SAMPLE

READ: Final = ("same", "unknown", "open")  # what becomes of a relation that has not drifted
CONFIRMED: Final = {"missing": "present", "returned": "absent"}


@main.command("drift", short_help="Compare what was confirmed with the CRM.")
@click.argument("account", required=False, callback=check_account_names)
@click.option("--type", metavar="TYPE", help="Of this relation type, by its short name or URN.")
@click.option("--parent", metavar="ID", help="Of this parent.")
@click.option("--child", metavar="ID", help="Of this child.")
@click.option("--since", metavar="TIME", help="Confirmed for a change since then: 2026-11-21, 3d, and so on.")
@click.option("--sample", type=click.IntRange(1, MAX_SAMPLE), help="Only so many, drawn by chance.")
@click.option("--cursor", default="", help="Go on where a read was interrupted.")
@click.option("--prepare", is_flag=True, help="Prepare a repair of what has drifted; nothing is sent.")
@by_option
@with_context
def read_drift(
    context: CommandContext,
    account: str | None,
    sample: int | None,
    cursor: str,
    prepare: bool,
    by: str,
    **texts: str | None,
) -> None:
    """Read back what was last confirmed, and show which relations the CRM has otherwise by now.

    People edit the CRM too, so what has drifted is not wrong by itself. It is read at half the account's
    pace, while nothing else of the account is due; nothing is written. Ends with 5 if something has drifted.

    With --prepare, after Ctrl-C too, changes that ask once more for what was confirmed are fixed and shown;
    `relations replays run ID` sends them.

    With --json every relation is a line of its own; after each page there is one with `next`, the cursor
    to go on with, and at the end one with `summary`.

    \b
    Examples:
      relations drift acme
      relations drift acme --sample 500
      relations drift acme --type estate:address:buyer --since 7d --prepare
    """
    if sample and cursor:
        raise click.UsageError("A sample is drawn anew each time: leave out --cursor.")
    found = parse_filter(texts, context)
    wanted = DriftFilter(found.type, found.parent, found.child, found.since)
    report = _Report(context, context.find_account(account), keeps=prepare)
    try:
        report.read(wanted, cursor=cursor, sample=sample or 0)
    except KeyboardInterrupt:
        report.stopped()
    replays = report.prepare(by) if prepare else []
    report.end(replays)
    exit_with(Exit.INTERRUPTED if report.is_stopped else Exit.DRIFTED if report.has_drift else Exit.OK)


class _Report:
    """Prints what a drift read shows, page by page; `keeps` what has drifted for a repair."""

    def __init__(self, context: CommandContext, account: str, *, keeps: bool) -> None:
        self._context, self._account, self._keeps = context, account, keeps
        self._counts, self._drifted = Counter[str](), list[DriftedDict]()
        self._by_type = Counter[tuple[str, str]]()
        self._cursor, self.is_stopped = "", False

    @property
    def has_drift(self) -> bool:
        """Whether anything has drifted."""
        return bool(self._by_type)

    def read(self, wanted: DriftFilter, *, cursor: str, sample: int) -> None:
        """Read page after page to the end, however long other work goes first."""
        self._cursor, why = cursor, ""
        page = self._read_page(wanted, sample)
        quiet = self._context.as_json or (not page["waits"] and not page["next"])
        with show_progress(f"drift {self._account}", page["total"], quiet=quiet) as show:
            while page["waits"] or page["next"]:
                if page["waits"]:
                    self._wait(page, why)
                else:
                    self._take(page, show)
                why, page = page["waits"] or "", self._read_page(wanted, sample)
            self._take(page, show)

    def _wait(self, page: DriftPageDict, why_before: str) -> None:
        if page["waits"] != why_before:
            self._context.remark(f"waits: {page['waits']}")
        time.sleep(page["rest"])

    def _read_page(self, wanted: DriftFilter, sample: int) -> DriftPageDict:
        try:
            return self._context.operations.read_drift(
                self._account, wanted, cursor=self._cursor, sample=sample
            )
        except RelationsError:
            if self._cursor:
                click.echo(f"To go on: {self._command()}", err=True)
            raise

    def _command(self) -> str:
        cursor = f" --cursor {self._cursor}" if self._cursor else ""
        return f"relations drift {self._account}{cursor}, with the same filter"

    def _take(self, page: DriftPageDict, show: ReportProgress) -> None:
        self._count(page)
        self._print(page)
        show(self._counts["seen"])
        self._cursor = page["next"] or ""

    def _count(self, page: DriftPageDict) -> None:
        counts = {name: page[name] for name in ("seen", "same", "open")}
        self._counts.update(**counts, unknown=len(page["unknown"]))
        self._by_type.update((found["state"], found["relationtype"]) for found in page["drifted"])
        if self._keeps:
            self._drifted += page["drifted"]

    def _print(self, page: DriftPageDict) -> None:
        if not self._context.as_json:
            print_lines(map(self._describe, page["drifted"]))
            return
        for found in page["drifted"]:
            _print_line(found)
        for relation in page["unknown"]:
            _print_line({**relation, "state": "unknown"})
        if page["next"]:
            _print_line({"next": page["next"]})

    def _describe(self, found: DriftedDict) -> str:
        occurred, read = map(self._context.format_time, (found["occurred_at"], found["read_at"]))
        relation = f"{found['relationtype']} {found['parentid']} {found['childid']}"
        confirmed = f"confirmed {CONFIRMED[found['state']]} for {found['job']} of {occurred}, read {read}"
        return f"{found['state']:8}  {relation}  {confirmed}"

    def stopped(self) -> None:
        """Say how to go on after an interruption."""
        self.is_stopped = True
        click.echo(f"Stopped. To go on: {self._command()}", err=True)

    def prepare(self, by: str) -> list[Replay]:
        """Prepare repairs of what has drifted."""
        starts = range(0, len(self._drifted), MAX_RELATIONS)
        pieces = (self._drifted[start : start + MAX_RELATIONS] for start in starts)
        prepare = self._context.operations.prepare_repair
        return [prepare(self._account, piece, by=by) for piece in pieces]

    def end(self, replays: Sequence[Replay]) -> None:
        """Print the counts, and the repairs that were prepared."""
        if not self._context.as_json:
            print_lines([*self._summary(), *describe_prepared(replays)])
            return
        drifted = Counter[str]()
        for (state, _), count in self._by_type.items():
            drifted[state] += count
        counts = {name: self._counts[name] for name in READ}
        states = {state: drifted[state] for state in CONFIRMED}
        for replay in replays:
            _print_line({"repair": serialize_replay(replay)})
        next_ = self._cursor or None
        _print_line({"summary": {"account": self._account, **states, **counts, "next": next_}})

    def _summary(self) -> Iterator[str]:
        if self.has_drift:
            yield f"{pluralize(self._by_type.total(), 'relation')} drifted:"
            for (state, name), count in sorted(self._by_type.items()):
                yield f"  {count:,} {state}  {name}"
        elif not any(self._counts[name] for name in READ):
            yield "Nothing was read: nothing that is remembered was confirmed and fits."
            return
        else:
            yield "Nothing has drifted, of what could be read."
        same = self._counts["same"]
        yield "1 is as it was last confirmed." if same == 1 else f"{same:,} are as they were last confirmed."
        if unknown := self._counts["unknown"]:
            yield f"{unknown:,} not known: the CRM's answers do not say."
        if left := self._counts["open"]:
            yield f"{left:,} left alone: they are being worked, or a write of them is in doubt."


def _print_line(document: object) -> None:
    click.echo(json.dumps(document, ensure_ascii=False))
