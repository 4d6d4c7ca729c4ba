"""What is kept of the deliveries to webhooks: what arrived, what became of it, and what each rule said."""

from collections.abc import Mapping, Sequence
from typing import Final, Literal, NamedTuple, Protocol

import msgspec

from worker.ports.erasure import RecordRef

MAX_DELIVERY_BODY: Final = 256 * 1024  # bytes kept of one delivery's body; a longer one is cut
DeliveryOutcome = Literal["made", "nothing_to_do", "no_rule", "unreadable", "refused"]
RuleOutcome = Literal["made", "would_make", "ignored", "no_match", "no_elements", "failed"]
GENUINE: Final[tuple[DeliveryOutcome, ...]] = ("made", "nothing_to_do", "no_rule", "unreadable")
"""The outcomes of deliveries whose sender proved itself; all others are refused."""


class RuleTrace(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one rule did with a payload: `rule` is its place, such as `rules[0]` or `ignore[1]`.

    Of one that made nothing because its `when` did not hold, `when` is that expression and `found` what the
    values in it were, as JSON by expression; `elements` says of how many that `each` found, and `found` is of
    the first. Of one that `failed` it is what the parts of the expressions at fault found. One that
    `would_make` changes made none, because another one failed.
    """

    rule: str
    outcome: RuleOutcome
    jobs: tuple[str, ...] = ()
    when: str = ""
    found: Mapping[str, str] = {}
    elements: int = 0
    faults: tuple[str, ...] = ()


class Delivery(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One delivery to a source. Times are in µs, and set by the store, as are `times` and `first_at`.

    A message that is delivered again is the same delivery: `at` is when it came last, `times` how often it
    came. `reason` says why it was refused, as one word, or why there was nothing to do; `faults` what was
    wrong. `accounts` are those it is about, all of its source's where it names none. `message` is the id that
    its event ids begin with. `size` is that of its body in bytes, which is `cut` if not all of it is kept.
    """

    id: str
    source: str
    outcome: DeliveryOutcome
    accounts: tuple[str, ...] = ()
    jobs: tuple[str, ...] = ()
    reason: str = ""
    faults: tuple[str, ...] = ()
    rules: tuple[RuleTrace, ...] = ()
    message: str = ""
    size: int = 0
    cut: bool = False
    at: int = 0
    first_at: int = 0
    times: int = 1


class KeptDelivery(NamedTuple):
    """A delivery, and the request as it is kept: without secrets, its head before its body."""

    delivery: Delivery
    request: bytes


class DeliveryRetention(NamedTuple):
    """How long a source's deliveries are kept, in seconds, and how many bytes of them at most."""

    seconds: float = 7 * 86_400.0
    most_bytes: int = 16 * 2**20


class DeliveryFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which deliveries; what is empty lets everything pass. Times in µs: from `since` on, before `until`."""

    sources: tuple[str, ...] = ()
    outcome: DeliveryOutcome | Literal[""] = ""
    since: int = 0
    until: int = 0


class DeliveryFlaw(NamedTuple):
    """What contradicts itself in the kept deliveries of a source, in words."""

    source: str
    message: str


class Deliveries(Protocol):
    """The kept deliveries, by source; nothing here is the only copy of what has to be done."""

    def keep(self, found: KeptDelivery) -> None:
        """Keep a delivery, in place of itself if it is known; the oldest go if there are too many."""

    def replace(self, known: Delivery, now: Delivery) -> bool:
        """Put what became of a delivery in place of what is known; return whether that was still so."""

    def get(self, delivery_id: str) -> KeptDelivery | None:
        """Return one delivery, None if it is unknown or forgotten."""

    def sources(self) -> Sequence[str]:
        """Return every source of the settings, and those that ever had a delivery."""

    def tidy(self, source: str) -> None:
        """Forget what is too old, a bounded number of deliveries."""

    def erase(self, account: str, who: RecordRef) -> tuple[int, int]:
        """Forget every delivery for the account that names a record; return how many were looked at and went.

        Deliveries whose jobs were about the record go too, so that jobs are erased after them.
        """
