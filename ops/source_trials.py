"""What a webhook source's rules would make of a payload; nothing is sent."""

from collections.abc import Mapping

from producers.webhooks.mapping import MappedChange, build_changes, check_mail_is_read, read_payload
from producers.webhooks.request_parts import read_kept
from worker.config import Source
from worker.contract import Override, check, check_each


def map_payload(source: Source, body: bytes, overrides: Mapping[str, Override]) -> list[MappedChange]:
    """Return what the rules make of the payload, checked as intake would.

    Raises InvalidChange with every fault. The body may have the head of a request before it. Signatures
    are not checked.
    """
    delivery = read_kept(source, body.strip().removeprefix(b"?") if source.scheme == "onoffice" else body)
    payload = read_payload(source, delivery)
    changes = build_changes(source, payload, "try", delivery)
    check_mail_is_read(payload, changes)
    check_each(((mapped.path, mapped.change) for mapped in changes), lambda change: check(change, overrides))
    return changes
