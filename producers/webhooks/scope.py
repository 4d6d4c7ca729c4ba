"""Where a rule looks, and how much work that may cost. Pure."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final

from producers.webhooks.signatures import WebhookDelivery
from worker.config import Account, Source
from worker.errors import Fault, InvalidChange

MAX_LOOKS: Final = 1_000_000  # at values, by all rules of one delivery: a second or two
NO_DELIVERY: Final = WebhookDelivery("", {}, b"")


class TooMuchWork(InvalidChange):
    """The rules of a source are too costly for this payload; the rest of them is not tried."""


class Budget:
    """The work that all rules of one delivery may cost together: as many looks at a value as `left` says.

    A few rules over a large payload can cost more than its sender may take: what has to be looked at for
    each element of a list for each element of a list.
    """

    def __init__(self, left: int = MAX_LOOKS) -> None:
        self.left = left

    def spend(self, looks: int) -> None:
        """Count looks; raise TooMuchWork once there are too many."""
        self.left -= looks
        if self.left < 0:
            reason = f"is one look too many: the rules look at more than {MAX_LOOKS} values"
            raise TooMuchWork([Fault("", f"{reason}; use `each` to look at parts of the payload")])


@dataclass(frozen=True, slots=True)
class Scope:
    """Where a rule looks: at `value`, inside of `around`, the payload first; and the work it may cost.

    `delivery` is the request that brought the payload, `source` whose rules these are. `find_account` finds
    the account that the event is for, None while it is not known.
    """

    value: object
    around: tuple[object, ...] = ()
    budget: Budget = field(default_factory=Budget)
    delivery: WebhookDelivery = NO_DELIVERY
    source: Source | None = None
    find_account: Callable[[], Account | None] = lambda: None

    def step_into(self, element: object) -> "Scope":
        """Return where one looks at an element of what was found here."""
        return replace(self, value=element, around=(*self.around, self.value))

    def at(self, value: object) -> "Scope":
        """Return where one looks at a value and at nothing around it, before its account is known."""
        return Scope(value, (), self.budget, self.delivery, self.source)
