"""`relations import`: a file of changes into the inbox, line by line; the steps are in `import_steps`."""

import signal
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, Final

import click

from ops.cli.context import CommandContext, account_option, with_context
from ops.cli.errors import Exit, exit_with
from ops.cli.import_steps.follow import JobFollower, Retry
from ops.cli.import_steps.mails import (
    Send,
    find_mail_source,
    label_changes,
    load_mails,
    open_mails,
    try_mails,
)
from ops.cli.import_steps.open_input import DASH, OpenInput, get_name, is_input, open_input, require_file
from ops.cli.import_steps.options import ImportOptions, encoding_option, parse_options
from ops.cli.import_steps.rejects import RejectsFile
from ops.cli.import_steps.summary import CostEstimate, ImportSummary
from ops.cli.offline_rules import OfflineRules
from ops.cli.progress import show_progress
from ops.cli.root import main
from producers.portals import Relations
from producers.portals.imports import LoadCounts, ParsedRow, RowLoader
from worker.config import mask_url
from worker.contract import Change
from worker.errors import Fault, InvalidChange, NotFound, RelationsError, Unavailable

HTTP_TIMEOUT: Final = 10.0  # seconds a server may take for one answer
IN_MEMORY: Final = 2**24  # bytes of the ids of jobs that were there before
STOPPING: Final = (signal.SIGTERM, signal.SIGHUP)  # of a service manager, and of a terminal that is closed


@main.command("import", short_help="Import a file of changes: CSV, JSON or a spreadsheet.")
@click.argument("file", metavar="FILE|-", required=False, type=click.Path())
@account_option
@click.option(
    "--map",
    "maps",
    multiple=True,
    metavar="COLUMN=FIELD",
    help="What a column is; without FIELD it is left out.",
)
@click.option(
    "--set",
    "sets",
    multiple=True,
    metavar="FIELD=VALUE",
    help="What holds for every line that does not say it.",
)
@click.option(
    "--header-row",
    type=click.IntRange(1),
    metavar="LINE",
    help="The line that has the names of the columns; what stands above it is left out.",
)
@click.option(
    "--index", "has_index", is_flag=True, help="The first column only numbers the lines; leave it out."
)
@click.option(
    "--sheet", metavar="NAME", default="", help="Which sheet of a spreadsheet, if several are filled."
)
@encoding_option
@click.option(
    "--time-zone", metavar="ZONE", default="", help="Of times without an offset, such as Europe/Berlin."
)
@click.option(
    "--batch", metavar="LABEL", help="A label to ask for later; default: of the file's name and content."
)
@click.option(
    "--rejects",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Where rejected lines go; default: FILE.rejects.ndjson.",
)
@click.option("--wait", "waits", is_flag=True, help="Follow the jobs to their end.")
@click.option(
    "--dry-run", is_flag=True, help="Check every line, and count what would be sent; needs no Redis."
)
@click.option(
    "--mail", "is_mail", is_flag=True, help="FILE is a mail, an mbox, a Maildir, or a folder of mails."
)
@click.option("--source", metavar="NAME", default="", help="Whose rules read the mails, if not the only one.")
@click.option("--key", metavar="KEY", help="The key for --url; better given as RELATIONS_KEY.")
@with_context
def import_file(
    context: CommandContext,
    file: str | None,
    rejects: Path | None,
    waits: bool,
    dry_run: bool,
    is_mail: bool,
    source: str,
    key: str | None,
    **how: Any,
) -> None:
    """Import changes from CSV with a header, JSON, or a spreadsheet; a dash is standard input.

    Every line is accepted or rejected by itself. Columns stand in any order and go by their names; delimiter
    and encoding are found out. A cell may hold several ids, between blanks. Each line is known by the file's
    content and its number, so the same import again goes on where it ended and does nothing twice.

    With --mail the rules of a webhook source read mails and their attachments. What cannot be read is kept as
    a failed job, as it would be of a webhook, and the others go on; the exit code is then 4.

    \b
    Examples:
      relations import changes.ndjson --dry-run
      relations import buyers.csv --set action=create --set type=estate:address:buyer --map contact=childid
      relations import buyers.csv --wait --url https://relations.example --account acme
      relations import --mail enquiry.eml --source portal --dry-run
    """
    if is_mail:
        if rejects or any(value for name, value in how.items() if name != "batch"):
            raise click.UsageError("--mail goes with --source, --batch, --wait and --dry-run only.")
        exit_with(_import_mails(context, file or DASH, source, how["batch"], waits=waits, dry_run=dry_run))
        return
    if file is None:
        raise click.UsageError("Name the FILE to import, or - for standard input.")
    if source:
        raise click.UsageError("--source goes with --mail.")
    url = context.url
    if url and not dry_run:
        key = key or context.read_key()
    options = parse_options(context, is_local=not url, **how)
    require_file(file)
    is_stream = get_name(file) == "stdin"
    path = rejects or Path(f"{'stdin' if is_stream else file}.rejects.ndjson")
    if is_input(file, path):
        fault = f"Rejected lines cannot go to {path}: that is the file to import."
        raise click.UsageError(f"{fault} Name another file with --rejects.")
    with stop_by_signals():
        if dry_run:
            code = _dry_run(context, file, options, path, is_local=not url)
        else:
            code = _import(context, file, options, path, waits=waits, url=url, key=key)
    exit_with(code)


def _keep_text() -> IO[str]:
    """Return a file of texts, which needs room on disk only once it is large."""
    return tempfile.SpooledTemporaryFile(IN_MEMORY, "w+")


@contextmanager
def stop_by_signals() -> Iterator[None]:
    """Let these signals interrupt the block as Ctrl-C does, but those that are ignored, as behind `nohup`."""
    is_main = threading.current_thread() is threading.main_thread()  # which alone may be interrupted
    numbers = [number for number in STOPPING if is_main and signal.getsignal(number) is signal.SIG_DFL]
    for number in numbers:
        signal.signal(number, signal.default_int_handler)
    try:
        yield
    finally:
        for number in numbers:
            signal.signal(number, signal.SIG_DFL)


# --- mails


def _import_mails(
    context: CommandContext, file: str, source_name: str, batch: str | None, *, waits: bool, dry_run: bool
) -> Exit:
    if context.url:
        advice = "Send each to the webhook there: curl --data-binary @FILE URL/webhooks/NAME."
        raise click.UsageError(f"Mails are read by the rules of these settings, not of --url. {advice}")
    source = find_mail_source(context, source_name)
    if dry_run:
        counts = try_mails(context, source, open_mails(file))
        context.answer(counts.to_json(), [*counts.format_lines(is_sent=False), "Nothing was sent."])
        return counts.get_exit_code()
    label = batch or f"{get_name(file)[:40]}-{datetime.now(UTC):%Y%m%dT%H%M%S}"
    with _connect(context, "", None) as (relations, retry), _keep_text() as known_jobs:
        follower = JobFollower(relations, retry, known_jobs)
        send = label_changes(follower.send if waits else relations.send, label)
        runtime = context.runtime
        counts = load_mails(
            source,
            open_mails(file),
            send=lambda changes: retry(lambda: send(changes)),
            keep=lambda message: retry(lambda: runtime.intake().reject(message)),
            record=lambda delivery: retry(lambda: runtime.deliveries.keep(delivery)),
        )
        for _ in follower.poll() if waits else ():
            pass
    context.answer({**counts.to_json(), "batch": label, "batches": follower.batches}, counts.format_lines())
    has_failures = any(found["failed"] for found in follower.batches)
    return Exit.PARTLY if has_failures else counts.get_exit_code()


# --- dry run


def _dry_run(
    context: CommandContext, file: str, options: ImportOptions, path: Path, *, is_local: bool
) -> Exit:
    """Check every line as intake does, and plan the good ones."""
    counts = LoadCounts()
    estimate = CostEstimate(OfflineRules(context if is_local else None))
    quiet = context.as_json
    with RejectsFile(path, quiet=quiet) as reject, open_input(file, options, quiet=quiet) as opened:
        pieces = RowLoader(opened.defaults, reject, counts).parse(opened.rows)
        with show_progress("check", opened.lines, quiet=quiet) as report:
            for piece in pieces:
                _estimate(estimate, piece, reject, counts)
                report(counts.line)
    costs = estimate.get_costs()
    counts.accepted = sum(cost.changes for cost in costs)
    rejects = str(path) if counts.rejected else None
    context.answer_table(
        {"accounts": list(map(asdict, costs)), "rejected": counts.rejected, "rejects": rejects},
        ("ACCOUNT", "CHANGES", "ACTIONS", "REQUESTS", "AT ITS PACE"),
        (
            (c.account, f"{c.changes:,}", f"{c.actions:,}", f"{c.requests:,}", f"{c.seconds:,.0f} s")
            for c in costs
        ),
    )
    if looked_up := sum(cost.looked_up for cost in costs):
        context.remark(
            f"Of {looked_up:,} the records are looked up first: only the reads for it are counted."
        )
    defaults = " Checked and planned by the defaults: the settings of --url are not known here."
    context.remark(f"{counts.rejected:,} rejected. Nothing was sent.{'' if is_local else defaults}")
    summary = ImportSummary(counts, "", path)
    for line in summary.format_rejects():
        context.remark(line)
    return summary.get_exit_code()


def _estimate(
    estimate: CostEstimate, rows: Sequence[ParsedRow], reject: RejectsFile, counts: LoadCounts
) -> None:
    """Count valid rows in, or reject them for what only the settings say."""
    for row, change in rows:
        if faults := _add_to_estimate(estimate, change):
            counts.rejected += 1
            reject(row, faults)


def _add_to_estimate(estimate: CostEstimate, change: Change) -> Sequence[Fault]:
    """Count a change in, or return why it would be rejected."""
    try:
        estimate.add(change)
    except InvalidChange as error:
        return error.faults
    except NotFound as error:
        return [Fault("account", str(error))]
    return ()


# --- import


def _import(
    context: CommandContext,
    file: str,
    options: ImportOptions,
    path: Path,
    *,
    waits: bool,
    url: str,
    key: str | None,
) -> Exit:
    with _connect(context, url, key) as (relations, retry), _keep_text() as known_jobs:
        follower = JobFollower(relations, retry, known_jobs)
        send = follower.send if waits else relations.send
        quiet = context.as_json
        with RejectsFile(path, quiet=quiet) as reject, open_input(file, options, quiet=quiet) as opened:
            summary = ImportSummary(LoadCounts(), opened.defaults.batch, path)
            _load(context, opened, lambda changes: retry(lambda: send(changes)), reject, summary)
        try:
            if waits:
                _follow(context, follower, summary.counts)
        finally:  # also when nobody waits any longer
            summary = summary._replace(batches=follower.batches)
            context.answer(summary.to_json(), summary.format_lines())
    return summary.get_exit_code()


@contextmanager
def _connect(context: CommandContext, url: str, key: str | None) -> Iterator[tuple[Relations, Retry]]:
    """Give a client that tries only once, and what repeats its calls and says that it waits."""
    if url:
        with Relations(url, key or "", timeout=HTTP_TIMEOUT) as relations:
            yield relations, Retry(mask_url(url))
    else:
        with Relations.connect(context.runtime, timeout=0.0) as relations:
            yield relations, Retry(mask_url(context.settings.redis_url))


def _load(
    context: CommandContext, opened: OpenInput, send: Send, reject: RejectsFile, summary: ImportSummary
) -> None:
    """Send all rows; an interruption says how far it came, and that the same command goes on."""
    counts = summary.counts
    try:
        with show_progress("import", opened.lines, quiet=context.as_json) as report:
            for _ in RowLoader(opened.defaults, reject, counts).load(opened.rows, send):
                report(counts.line)
    except (KeyboardInterrupt, Unavailable):
        go_on = "The same command goes on; nothing is done twice."
        click.echo(f"Stopped at line {counts.line:,}: {summary.format_counts()}. {go_on}", err=True)
        raise
    except RelationsError:
        if counts.accepted + counts.known:
            go_on = "Once this is mended, the same command goes on; nothing is done twice:"
            click.echo(f"Stopped at line {counts.line:,}: {summary.format_counts()}. {go_on}", err=True)
        raise


def _follow(context: CommandContext, follower: JobFollower, counts: LoadCounts) -> None:
    """Wait until no job of the import is open."""
    total = counts.accepted + counts.known
    try:
        with show_progress("jobs", total, quiet=context.as_json) as report:
            for batches in follower.poll():
                ended = sum(batch["accepted"] - batch["open"] for batch in batches)
                report(min(total, ended))
    except (KeyboardInterrupt, RelationsError):
        click.echo("Stopped waiting; what was accepted is worked all the same.", err=True)
        raise
