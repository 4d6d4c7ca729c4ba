"""`relations replay`: what failed goes back into the inbox; what would go is shown first, and nothing goes without `--yes`."""

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final

import click

from ops.cli import show
from ops.cli.desk import Desk, account_option, with_desk
from ops.cli.errors import Exit, finish
from ops.cli.jobs import why
from ops.explain.words import count
from producers.replay import MOST, Preview, preview, run
from worker.errors import NotFound

if TYPE_CHECKING:
    from click._termui_impl import ProgressBar  # click has no public name for it

SHOWN: Final = 20


@click.command(short_help="Put what failed back into the inbox; a preview without --yes.")
@click.argument("names", nargs=-1, metavar="[JOB]…")
@click.option("--failed", is_flag=True, help="Every failed job of the account, oldest first.")
@account_option
@click.option("--limit", type=click.IntRange(1, MOST), default=MOST, show_default=True, help="With --failed: at most so many.")
@click.option("--yes", is_flag=True, help="Do it.")
@with_desk
def replay(desk: Desk, names: tuple[str, ...], failed: bool, account: str | None, limit: int, yes: bool) -> None:
    """Put the failed relations of jobs back into the inbox, with their own occurred_at: what is newer still wins.

    \b
    Examples:
      relations replay acme-0f3k9x2b7c1d4e5g6h
      relations replay --failed --account acme
      relations replay --failed --account acme --yes
    """
    if bool(names) == failed:
        raise click.UsageError("Name jobs, or say --failed.")
    store = desk.runtime.store
    if names and not any(map(store.job, names)):
        raise NotFound(f"there is no job {' nor '.join(names)}; failed jobs are kept for a while only")
    if failed:
        shown = [preview(store, desk.account(account).name, most=limit)]
    else:
        shown = [preview(store, desk.settings.account(name).name, jobs) for name, jobs in _by_account(names).items()]
    if yes:
        _act(desk, shown)
    else:
        _show(desk, shown)


def _by_account(names: Iterable[str]) -> Mapping[str, list[str]]:
    """The jobs by the account that their names carry."""
    found: dict[str, list[str]] = {}
    for name in names:
        account = name.rpartition("-")[0]
        if not account:
            raise NotFound(f"there is no job {name}")
        found.setdefault(account, []).append(name)
    return found


def _show(desk: Desk, shown: Sequence[Preview]) -> None:
    jobs, relations = _jobs(shown), sum(each.relations for each in shown)
    errors = {error: sum(each.errors.get(error, 0) for each in shown) for each in shown for error in each.errors}
    document = {"preview": True, "jobs": jobs, "relations": relations, "errors": errors, "refused": _refused(shown)}

    def lines() -> None:
        if jobs:
            records = [job for name in jobs[:SHOWN] if (job := desk.runtime.store.job(name))]
            show.table(("JOB", "ACTION", "FAILED", "WHY"), [(job.id, job.action, len(job.failed), why(job)) for job in records])
        more = f" ({len(jobs) - SHOWN:,} not listed)" if len(jobs) > SHOWN else ""
        todo = " Add --yes." if jobs else ""
        click.echo(f"{count(len(jobs), 'job')} with {count(relations, 'failed relation')} would go back{more}.{todo}")
        _remarks(shown)

    desk.answer(document, lines)
    finish(Exit.FAILED if not jobs and _refused(shown) else Exit.OK)


def _act(desk: Desk, shown: Sequence[Preview]) -> None:
    back, refused, total = list(_run(desk, shown)), _refused(shown), len(_jobs(shown))

    def lines() -> None:
        click.echo(f"{count(len(back), 'job')} of {total + len(refused):,} went back into the inbox.")
        _remarks(shown)

    desk.answer({"preview": False, "jobs": back, "refused": refused}, lines)
    whole = len(back) == total and not refused
    finish(Exit.OK if whole else Exit.PARTLY if back else Exit.FAILED)


def _run(desk: Desk, shown: Sequence[Preview]) -> Iterator[str]:
    """Replay account by account, each with a bar on a terminal."""
    hidden = desk.as_json or not sys.stderr.isatty()
    for each in shown:
        with click.progressbar(length=len(each.jobs), label=f"Replaying {each.account}", file=sys.stderr, hidden=hidden) as bar:
            yield from run(desk.runtime.intake(), each, progress=partial(_advance, bar))


def _advance(bar: "ProgressBar[int]", done: int, _total: int) -> None:
    bar.update(done - bar.pos)


def _jobs(shown: Sequence[Preview]) -> list[str]:
    return [job for each in shown for job in each.jobs]


def _refused(shown: Sequence[Preview]) -> dict[str, str]:
    return {job: reason for each in shown for job, reason in each.refused.items()}


def _remarks(shown: Sequence[Preview]) -> None:
    for job, reason in _refused(shown).items():
        click.echo(f"note: {job} {reason}", err=True)
    if any(each.more for each in shown):
        click.echo("note: there are more failed jobs; replay again afterwards", err=True)
