"""Messages of webhooks that made no valid changes: how they are kept, and how they are read again when the rules were mended."""

from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

from producers.replay.resend import Correction, apply_correction, reparse_message
from producers.webhooks.mapping import account_of, messages_of, payload_of
from producers.webhooks.verify import Delivery
from worker.config import Source
from worker.contract import Change, from_message
from worker.errors import InvalidChange
from worker.ports import JobRecord, UnreadableMessage


def unreadable(source: Source, delivery: Delivery, message: str, faults: Sequence[str]) -> UnreadableMessage:
    """The message as it is kept: its body, or the query of a GET; in nobody's name if the payload names no account and has to."""
    body = urlsplit(delivery.url).query.encode() if source.scheme == "onoffice" else delivery.body
    try:
        account = account_of(source, payload_of(source, delivery))
    except InvalidChange:
        account = source.account
    return UnreadableMessage(
        account=account, source=source.name, event_id=message, faults=tuple(faults), body=body
    )


def reparse(
    sources: Mapping[str, Source], job: JobRecord, body: bytes, correction: Correction
) -> Sequence[Change]:
    """What the message makes by the rules of today, corrected; raises InvalidChange if that is still nothing valid."""
    source = sources.get(job.source)
    if source is None:
        return reparse_message(job, body, correction)
    url = f"?{body.decode(errors='replace')}" if source.scheme == "onoffice" else ""
    messages = messages_of(source, payload_of(source, Delivery(url, {}, body)), job.event_id)
    return [from_message(apply_correction(each.message, correction), each.path).change for each in messages]
