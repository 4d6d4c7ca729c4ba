"""Maps a genuine delivery, and makes the record of what became of it: no secret and no proof is kept. Pure.

A request is kept as it is written, so that `request_parts.read_kept` reads it again. Rules of tomorrow may
read headers that nobody reads today, so that all are kept which say what a message is about.
"""

import re
from base64 import b32encode
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from hashlib import blake2b
from itertools import islice
from typing import Final, NamedTuple

import msgspec

from producers.webhooks.events import find_account_of_all, find_ignore_rule, make_scope
from producers.webhooks.fields import drop_claim
from producers.webhooks.handshake import answer_check
from producers.webhooks.mapping import MappedChange, build_changes, check_mail_is_read, read_payload
from producers.webhooks.proofs import hide_proofs, still_proves
from producers.webhooks.request_parts import list_read_headers, read_kept, show_path, show_query, write_head
from producers.webhooks.signatures import WebhookDelivery
from producers.webhooks.trace import explain_rules
from worker.config import Source, redact, redact_bytes
from worker.contract import MAX_FAULTS, Override, check, check_each
from worker.errors import Fault, InvalidChange, RelationsError
from worker.ports.deliveries import MAX_DELIVERY_BODY, Delivery, DeliveryOutcome, KeptDelivery, RuleTrace
from worker.usecases.intake import MAX_FAULT

TELLING: Final = re.compile(
    r"content-type|user-agent|date|.*(event|topic|hook|type|version|sequence|request-id)"
)
PROVING: Final = re.compile(r".*(auth|cookie|token|secret|sign|pass|hmac|digest|session|credential|key)")
MAX_HEADERS: Final = 20  # beside those that rules read
MAX_HEADER: Final = 500  # characters of one
MAX_TARGET: Final = 8192  # characters of the address


class MappedDelivery(NamedTuple):
    """A genuine delivery: the id of its message, its payload, and its changes or why it makes none.

    That is the `error` of one that cannot be read, or the reason why there is nothing to do (`because`).
    `is_read` says whether rules have a payload. A sender that only checks the address gets the `reply`.
    `lost` are faults of changes that met another one under their event id.
    """

    delivery: WebhookDelivery
    id: str
    payload: object = None
    is_read: bool = False
    changes: Sequence[MappedChange] = ()
    error: InvalidChange | None = None
    because: str = ""
    reply: Mapping[str, object] | None = None
    lost: Sequence[Fault] = ()

    @property
    def outcome(self) -> DeliveryOutcome:
        """What became of the delivery."""
        if self.error:
            return "unreadable"
        if self.changes:
            return "made"
        return "nothing_to_do" if self.because else "no_rule"

    def failed(self, error: RelationsError) -> "MappedDelivery":
        """Return the delivery with why its changes were not accepted; that holds no frames of who raised it.

        They hold the delivery, and the body would stay until somebody looks for cycles.
        """
        faults = error.faults if isinstance(error, InvalidChange) else [Fault("", str(error))]
        return self._replace(changes=(), error=InvalidChange(faults))


def map_delivery(source: Source, delivery: WebhookDelivery, message_id: str) -> MappedDelivery:
    """Return the delivery with the changes that the source's rules make of it."""
    mapped = MappedDelivery(delivery, message_id)
    try:
        payload = read_payload(source, delivery)
        if reply := answer_check(source, payload, delivery):
            return mapped._replace(because="its sender checks this address", reply=reply)
        mapped = mapped._replace(payload=payload, is_read=True)
        changes = build_changes(source, mapped.payload, message_id, delivery)
        ignored_by = (
            None if changes else find_ignore_rule(source, make_scope(source, mapped.payload, delivery))
        )
        if ignored_by is None:
            check_mail_is_read(mapped.payload, changes)
    except InvalidChange as error:
        return mapped.failed(error)
    because = "" if ignored_by is None else source.ignore[ignored_by].because
    return mapped._replace(changes=changes, because=because)


def map_payload(source: Source, body: bytes, overrides: Mapping[str, Override]) -> MappedDelivery:
    """Return what the rules make of the payload, checked as intake would.

    Raises InvalidChange with every fault, of each rule with what the parts of its expressions found. The body
    may have the head of a request before it. Signatures are not checked.
    """
    delivery = read_kept(source, body.strip().removeprefix(b"?") if source.scheme == "onoffice" else body)
    mapped = map_delivery(source, delivery, "try")
    if mapped.error:
        raise InvalidChange([*_show_values(mapped.error.faults, explain_delivery(source, mapped))])
    check_each(((each.path, each.change) for each in mapped.changes), lambda change: check(change, overrides))
    return mapped


def _show_values(faults: Sequence[Fault], traces: Sequence[RuleTrace]) -> Iterator[Fault]:
    """Yield the faults, the first of each rule with what the parts of its expressions found."""
    found = {trace.rule: trace.found for trace in traces if trace.outcome == "failed"}
    for fault in faults:
        values = found.pop(fault.location.partition(".")[0], {})
        shown = ", ".join(f"{part} is {value}" for part, value in values.items())
        yield replace(fault, message="; ".join(filter(None, (fault.message, shown))))


def explain_delivery(
    source: Source, mapped: MappedDelivery, jobs: Sequence[str] = ()
) -> tuple[RuleTrace, ...]:
    """Return what each rule did; nothing if none was asked, since there is no payload for rules."""
    if not mapped.is_read:
        return ()
    payload, delivery, error = mapped.payload, mapped.delivery, mapped.error
    return explain_rules(source, payload, delivery, made=mapped.changes, jobs=jobs, error=error)


def record_delivery(source: Source, mapped: MappedDelivery, jobs: Sequence[str]) -> KeptDelivery:
    """Return what is kept of a delivery; its `jobs` are those of its changes, in their order."""
    delivery, error = mapped.delivery, mapped.error
    rules = explain_delivery(source, mapped, jobs)
    request, is_cut = make_kept_request(source, delivery)
    is_nameless = redact(mapped.id) != mapped.id
    record = Delivery(
        id=make_delivery_id(source.name, mapped.id),
        source=source.name,
        outcome=mapped.outcome,
        accounts=_find_accounts(source, mapped),
        jobs=tuple(dict.fromkeys(jobs)),
        reason=mapped.because,
        faults=_redact_faults(map(str, error.faults if error else mapped.lost)),
        rules=tuple(msgspec.structs.replace(rule, faults=_redact_faults(rule.faults)) for rule in rules),
        message="" if is_nameless else mapped.id,
        size=len(delivery.body),
        cut=is_cut or is_nameless,
    )
    return KeptDelivery(record, request)


def record_refusal(
    source: Source, refusal_id: str, *, reason: str, faults: Sequence[str], size: int
) -> KeptDelivery:
    """Return what is kept of a delivery whose sender did not prove itself, or that cannot be taken."""
    record = Delivery(
        id=f"{source.name}-{refusal_id}",
        source=source.name,
        outcome="refused",
        accounts=tuple(sorted(source.account_names)),
        reason=reason,
        faults=_redact_faults(faults),
        size=size,
        cut=True,
    )
    return KeptDelivery(record, b"")


def make_delivery_id(source: str, message_id: str) -> str:
    """Return the id of a delivery, the same whenever its message comes."""
    digest = blake2b(message_id.encode(), digest_size=10).digest()
    return f"{source}-{b32encode(digest).decode().lower()}"


def _redact_faults(faults: Iterable[str]) -> tuple[str, ...]:
    return tuple(redact(fault)[:MAX_FAULT] for fault in islice(faults, MAX_FAULTS))


def _find_accounts(source: Source, mapped: MappedDelivery) -> tuple[str, ...]:
    """Return what accounts a delivery is about: those of its changes, or the one that it names, or all."""
    named = {change.account for _, change in mapped.changes}
    if not named and mapped.is_read:
        try:
            named = {find_account_of_all(source, mapped.payload, mapped.delivery)} - {""}
        except InvalidChange:
            named = set()
    return tuple(sorted(named or source.account_names))


def make_kept_request(source: Source, delivery: WebhookDelivery) -> tuple[bytes, bool]:
    """Return the request as it may be kept, and whether its body had to be cut or left out."""
    if source.scheme == "onoffice":
        query = delivery.url.partition("?")[2].encode("latin-1")
        return redact_bytes(drop_claim(query), MAX_DELIVERY_BODY), len(query) > MAX_DELIVERY_BODY
    shown = hide_proofs(source, delivery)
    target = f"/webhooks/{source.name}{show_path(source, shown)}{show_query(source, shown)}"
    is_long = len(target) > MAX_TARGET
    head = _make_head(source, shown, f"/webhooks/{source.name}" if is_long else target)
    kept = head + redact_bytes(shown.body, MAX_DELIVERY_BODY)
    if still_proves(source, read_kept(source, kept)):  # in a spelling that redacting does not know
        return head, True
    is_cut = len(shown.body) > MAX_DELIVERY_BODY or bool(delivery.body and not shown.body)
    return kept, is_long or is_cut


def _make_head(source: Source, delivery: WebhookDelivery, target: str) -> bytes:
    headers = {name: delivery.headers[name][:MAX_HEADER] for name in _list_headers(source, delivery)}
    head = write_head(delivery.method, target, headers)
    return redact_bytes(head, len(head))


def _list_headers(source: Source, delivery: WebhookDelivery) -> Iterator[str]:
    """Yield the names of headers that rules read now, then of those that they may come to read."""
    proofs = (f"header:{source.header}", source.secret_in, source.signature_in)
    never = {place.removeprefix("header:").lower() for place in proofs if place.startswith("header:")}
    never.add("authorization")
    read = [name for name in list_read_headers(source) if name in delivery.headers and name not in never]
    names = [name for name in delivery.headers if TELLING.match(name) and not PROVING.match(name)]
    yield from read
    yield from [name for name in names if name not in never and name not in read][:MAX_HEADERS]
