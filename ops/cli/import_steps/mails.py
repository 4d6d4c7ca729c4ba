"""`relations import --mail`: each mail becomes the changes that a source's rules make of it.

One that nobody can read is kept as a failed job, as a webhook's would be, and the others go on.
"""

import mailbox
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

import click
import msgspec

from ops.cli.context import CommandContext
from ops.cli.errors import Exit
from ops.cli.import_steps.open_input import DASH
from ops.explain.text import format_change, pluralize
from producers.portals import Sent
from producers.webhooks.record import MappedDelivery, map_delivery, record_delivery
from producers.webhooks.reparse import make_unreadable_message
from producers.webhooks.signatures import WebhookDelivery
from producers.webhooks.verify import make_message_id
from worker.config import Source
from worker.contract import Change, check, check_each
from worker.errors import InvalidChange, NotFound
from worker.ports.deliveries import KeptDelivery
from worker.ports.store import Receipt, UnreadableMessage
from worker.usecases.intake import group_by_account

HEADERS: Final = {"content-type": "message/rfc822"}
MBOX: Final = b"From "  # how each mail of an mbox begins
MAX_MAIL: Final = 2**25  # bytes; a longer one is cut, so it is not read, but kept
MAILDIR: Final = ("cur", "new")

Send = Callable[[Sequence[Change]], list[Sent]]
Keep = Callable[[UnreadableMessage], Receipt]
Record = Callable[[KeptDelivery], object]


class MailFile(NamedTuple):
    """A mail as it lies there, and what to call it: the file, and which of several it is."""

    name: str
    content: bytes


def open_mails(file: str) -> Iterator[MailFile]:
    """Yield the mails of a file or folder, one at a time; raises UsageError if it cannot be read."""
    try:
        yield from _read_stream() if file == DASH else _read_path(Path(file))
    except OSError as error:
        raise click.UsageError(f"{file} cannot be read: {error.strerror}.") from None


def _read_path(path: Path) -> Iterator[MailFile]:
    if any((path / name).is_dir() for name in MAILDIR):
        return _read_maildir(path)
    return _read_folder(path) if path.is_dir() else _read_file(path, path.name)


def _read_stream() -> Iterator[MailFile]:
    with tempfile.NamedTemporaryFile() as kept:
        shutil.copyfileobj(sys.stdin.buffer, kept)
        kept.flush()
        yield from _read_file(Path(kept.name), "stdin")


def _read_maildir(folder: Path) -> Iterator[MailFile]:
    with closing(mailbox.Maildir(folder, create=False)) as maildir:
        for key in sorted(maildir.keys()):
            with closing(maildir.get_file(key)) as file:
                yield MailFile(f"{folder.name}/{key}", file.read(MAX_MAIL))


def _read_folder(folder: Path) -> Iterator[MailFile]:
    for path in sorted(path for path in folder.iterdir() if path.is_file() and path.name[0] != "."):
        yield from _read_file(path, f"{folder.name}/{path.name}")


def _read_file(path: Path, name: str) -> Iterator[MailFile]:
    with ExitStack() as stack:
        file = stack.enter_context(path.open("rb"))
        if file.read(len(MBOX)) != MBOX:
            file.seek(0)
            yield MailFile(name, file.read(MAX_MAIL))
            return
        box = stack.enter_context(closing(mailbox.mbox(path, create=False)))
        for number, key in enumerate(box.keys(), start=1):
            yield MailFile(f"{name}, mail {number}", box.get_file(key).read(MAX_MAIL))


@dataclass(slots=True)
class MailCounts:
    """What became of the mails: changes that are new or were known, and the mails that made none.

    That is those that a source ignores, and those that could not be read.
    """

    mails: int = 0
    accepted: int = 0
    known: int = 0
    ignored: int = 0
    unreadable: list[dict[str, str]] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Return the counts for programs."""
        return asdict(self)

    def format_lines(self, *, is_sent: bool = True) -> Iterator[str]:
        """Yield the counts for people, then each mail that could not be read, with its job and why."""
        sent = f" accepted, {self.known:,} known already" if is_sent else ""
        changes = f"{pluralize(self.accepted, 'change')}{sent}"
        others = f"{self.ignored:,} ignored, {len(self.unreadable):,} unreadable"
        yield f"{pluralize(self.mails, 'mail')}: {changes}, {others}"
        for mail in self.unreadable:
            kept = f", kept as {mail['job']}" if mail["job"] else ""
            yield f"  {mail['mail']}{kept}: {mail['reason']}"

    def get_exit_code(self) -> Exit:
        """Return PARTLY if a mail could not be read: nothing is lost, but somebody must look."""
        return Exit.PARTLY if self.unreadable else Exit.OK


def find_mail_source(context: CommandContext, name: str) -> Source:
    """Return the source of that name, or the only one there is; raises NotFound or UsageError."""
    if name:
        return context.find_source(name)
    sources = context.list_sources()
    if len(sources) != 1:
        known = ", ".join(sources) or "none; `relations sources add` makes one"
        raise click.UsageError(
            f"Name the source whose rules read the mails with --source. There is: {known}."
        )
    return next(iter(sources.values()))


def load_mails(
    source: Source, mails: Iterable[MailFile], send: Send, keep: Keep, record: Record
) -> MailCounts:
    """Send what each mail makes, keep those that cannot be read, and return what became of them.

    Each is recorded as a delivery to the source, as those that come over HTTP are.
    """
    counts = MailCounts()
    for mail in mails:
        delivery = WebhookDelivery("", HEADERS, mail.content)
        mapped = map_delivery(source, delivery, make_message_id(source, delivery))
        counts.mails += 1
        counts.ignored += bool(mapped.because)
        try:
            if mapped.error:
                raise mapped.error
            jobs = _send([each.change for each in mapped.changes], send, counts)
        except (InvalidChange, NotFound) as error:
            mapped = mapped.failed(error)
            faults = faults_of(mapped)
            jobs = [keep(make_unreadable_message(source, delivery, mapped.id, faults)).job]
            counts.unreadable.append({"mail": mail.name, "job": jobs[0], "reason": "; ".join(faults)})
        if source.delivery_days:
            record(record_delivery(source, mapped, jobs))
    return counts


def try_mails(context: CommandContext, source: Source, mails: Iterable[MailFile]) -> MailCounts:
    """Print what each mail would make; nothing is sent or kept."""
    counts = MailCounts()
    for mail in mails:
        mapped = map_delivery(source, WebhookDelivery("", HEADERS, mail.content), "try")
        counts.mails += 1
        counts.ignored += bool(mapped.because)
        try:
            check_each(
                ((each.path, each.change) for each in mapped.changes),
                lambda change: check(change, context.runtime.live_settings.overrides),
            )
        except InvalidChange as error:
            mapped = mapped.failed(error)
        if mapped.error:
            reason = "; ".join(faults_of(mapped))
            counts.unreadable.append({"mail": mail.name, "job": "", "reason": reason})
        if mapped.because:
            context.remark(f"{mail.name}: nothing to do: {mapped.because}")
        counts.accepted += len(mapped.changes)
        for each in mapped.changes:
            context.remark(f"{mail.name}: {each.change.account}: {format_change(each.change)}")
    return counts


def faults_of(mapped: MappedDelivery) -> list[str]:
    """Return why a mail makes no change."""
    return [str(fault) for fault in mapped.error.faults] if mapped.error else []


def label_changes(send: Send, label: str) -> Send:
    """Return what sends changes with a label to ask for later."""
    return lambda changes: send([msgspec.structs.replace(change, batch=label) for change in changes])


def _send(changes: Sequence[Change], send: Send, counts: MailCounts) -> list[str]:
    """Send the changes of one mail, account by account, and return their jobs in the order of the changes."""
    jobs = dict[int, str]()
    for positions in group_by_account(changes):
        sent = send([changes[at] for at in positions])
        known = sum(answer.duplicate for answer in sent)
        counts.accepted += len(sent) - known
        counts.known += known
        jobs |= {at: answer.id for at, answer in zip(positions, sent, strict=True)}
    return [jobs[at] for at in sorted(jobs)]
