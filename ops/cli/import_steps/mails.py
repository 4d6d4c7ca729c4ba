"""`relations import --mail`: each mail becomes the changes that a source's rules make of it.

One that nobody can read is kept as a failed job, as a webhook's would be, and the others go on.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import click
import msgspec

from ops.cli.context import CommandContext
from ops.cli.errors import Exit
from ops.cli.import_steps.mail_files import MailFile
from ops.explain.text import format_change, pluralize
from producers.portals import Sent
from producers.webhooks.mapping import (
    MappedChange,
    build_changes,
    check_mail_is_read,
    check_rules,
    read_payload,
)
from producers.webhooks.reparse import make_unreadable_message
from producers.webhooks.signatures import WebhookDelivery
from producers.webhooks.verify import make_message_id
from worker.config import Source
from worker.config.table import nearest
from worker.contract import Change, check, check_each
from worker.errors import Invalid, InvalidChange, NotFound
from worker.ports import Receipt, UnreadableMessage
from worker.usecases.intake import group_by_account

HEADERS: Final = {"content-type": "message/rfc822"}
Send = Callable[[Sequence[Change]], list[Sent]]
Keep = Callable[[UnreadableMessage], Receipt]


@dataclass(slots=True)
class MailCounts:
    """What became of the mails: changes that are new or were known, and the mails that could not be read."""

    mails: int = 0
    accepted: int = 0
    known: int = 0
    unreadable: list[dict[str, str]] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Return the counts for programs."""
        return {
            "mails": self.mails,
            "accepted": self.accepted,
            "known": self.known,
            "unreadable": self.unreadable,
        }

    def format_lines(self, *, is_sent: bool = True) -> Iterator[str]:
        """Yield the counts for people, then each mail that could not be read, with its job and why."""
        sent = f" accepted, {self.known:,} known already" if is_sent else ""
        changes = f"{pluralize(self.accepted, 'change')}{sent}"
        yield f"{pluralize(self.mails, 'mail')}: {changes}, {len(self.unreadable):,} unreadable"
        for mail in self.unreadable:
            kept = f", kept as {mail['job']}" if mail["job"] else ""
            yield f"  {mail['mail']}{kept}: {mail['reason']}"

    def get_exit_code(self) -> Exit:
        """Return PARTLY if a mail could not be read: nothing is lost, but somebody must look."""
        return Exit.PARTLY if self.unreadable else Exit.OK


def find_mail_source(context: CommandContext, name: str) -> Source:
    """Return the source of that name, or the only one there is; raises NotFound or UsageError."""
    context.require_all_settings()
    check_rules(context.settings)
    sources = context.settings.sources
    if name:
        if name not in sources:
            raise NotFound(f'there is no source "{name}"{nearest(name, sources)}')
        return sources[name]
    if len(sources) != 1:
        known = ", ".join(sources) or "none; `relations sources add` makes one"
        raise click.UsageError(
            f"Name the source whose rules read the mails with --source. There is: {known}."
        )
    return next(iter(sources.values()))


def load_mails(source: Source, mails: Iterable[MailFile], send: Send, keep: Keep) -> MailCounts:
    """Send what each mail makes, keep those that cannot be read, and return what became of them."""
    counts = MailCounts()
    for mail in mails:
        delivery = WebhookDelivery("", HEADERS, mail.content)
        message_id = make_message_id(source, delivery)
        try:
            _send(_map_mail(source, delivery, message_id), send, counts)
        except (InvalidChange, NotFound) as error:
            faults = [str(fault) for fault in error.faults] if isinstance(error, Invalid) else [str(error)]
            receipt = keep(make_unreadable_message(source, delivery, message_id, faults))
            counts.unreadable.append({"mail": mail.name, "job": receipt.job, "reason": "; ".join(faults)})
        counts.mails += 1
    return counts


def try_mails(context: CommandContext, source: Source, mails: Iterable[MailFile]) -> MailCounts:
    """Print what each mail would make; nothing is sent or kept."""
    counts = MailCounts()
    for mail in mails:
        counts.mails += 1
        try:
            changes = _map_mail(source, WebhookDelivery("", HEADERS, mail.content), "try")
            check_each(
                ((mapped.path, mapped.change) for mapped in changes),
                lambda change: check(change, context.runtime.live_settings.overrides),
            )
        except (InvalidChange, NotFound) as error:
            counts.unreadable.append({"mail": mail.name, "job": "", "reason": str(error)})
            continue
        counts.accepted += len(changes)
        for mapped in changes:
            context.remark(f"{mail.name}: {mapped.change.account}: {format_change(mapped.change)}")
    return counts


def label_changes(send: Send, label: str) -> Send:
    """Return what sends changes with a label to ask for later."""
    return lambda changes: send([msgspec.structs.replace(change, batch=label) for change in changes])


def _map_mail(source: Source, delivery: WebhookDelivery, message_id: str) -> list[MappedChange]:
    payload = read_payload(source, delivery)
    changes = build_changes(source, payload, message_id, delivery)
    check_mail_is_read(payload, changes)
    return changes


def _send(mapped: Sequence[MappedChange], send: Send, counts: MailCounts) -> None:
    changes = [each.change for each in mapped]
    for positions in group_by_account(changes):
        sent = send([changes[at] for at in positions])
        known = sum(answer.duplicate for answer in sent)
        counts.accepted += len(sent) - known
        counts.known += known
