"""What a webhook source's rules would make of a payload; nothing is sent."""

from collections.abc import Mapping

from producers.webhooks.record import MappedDelivery, map_delivery
from producers.webhooks.request_parts import read_kept
from worker.config import Source
from worker.contract import Override, check, check_each


def map_payload(source: Source, body: bytes, overrides: Mapping[str, Override]) -> MappedDelivery:
    """Return what the rules make of the payload, checked as intake would.

    Raises InvalidChange with every fault. The body may have the head of a request before it. Signatures
    are not checked.
    """
    delivery = read_kept(source, body.strip().removeprefix(b"?") if source.scheme == "onoffice" else body)
    mapped = map_delivery(source, delivery, "try")
    if mapped.error:
        raise mapped.error
    check_each(((each.path, each.change) for each in mapped.changes), lambda change: check(change, overrides))
    return mapped
