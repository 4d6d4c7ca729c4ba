"""What can go wrong between a client and the API: kinds of faults, and plans of which request meets which."""

import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, get_args

Kind = Literal[
    "lost_after",
    "lost_before",
    "late",
    "gateway_before",
    "gateway_after",
    "throttle",
    "server_error",
    "server_error_after",
    "missing_result",
    "reorder",
    "blank_identifiers",
    "half_star",
    "garbled",
    "drip",
    "latency",
    "maintenance",
    "page",
    "empty",
    "byte_order_mark",
    "odd_reads",
]
KINDS: tuple[Kind, ...] = get_args(Kind)
Record = tuple[str, int]
"""A record by its module and id: `("address", 9001)`."""
NOT_EXECUTED: frozenset[Kind] = frozenset(
    {"lost_before", "late", "gateway_before", "throttle", "server_error", "maintenance", "page"}
)
"""Kinds whose request does nothing, or not yet (`late`)."""


@dataclass(frozen=True, slots=True)
class InjectedFault:
    """One thing that goes wrong with one request.

    | kind | executed | the client sees |
    |---|---|---|
    | `lost_after`, `lost_before` | yes, no | the connection drops without an answer |
    | `late` | `seconds` later, if the signature still counts then | no answer |
    | `gateway_after`, `gateway_before` | yes, no | HTTP 502 with a page of HTML |
    | `throttle` | no | HTTP 429, `Retry-After: seconds` |
    | `server_error_after`, `server_error` | yes, no | HTTP 200, status code 500 inside, no results |
    | `missing_result` | yes | the result at place `pick` (modulo their number) is not there |
    | `reorder` | yes | results in reverse order |
    | `blank_identifiers` | yes | every identifier is empty |
    | `half_star` | half | every star create links its first half and answers 78 |
    | `garbled` | yes | HTTP 200 with JSON that breaks off |
    | `drip` | yes | the body in pieces, spread over `seconds` |
    | `latency` | yes | the answer `seconds` later |
    | `maintenance` | no | HTTP 503 with a page of HTML, `Retry-After: seconds` |
    | `page` | no | HTTP 200 with a page of HTML |
    | `empty` | yes | HTTP 200 without a body |
    | `byte_order_mark` | yes | the answer behind a byte order mark |
    | `odd_reads` | yes | reads that succeeded, and whose `data` is `[]` |
    """

    kind: Kind
    seconds: float = 1.0
    pick: int = -1

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"kind: expected one of {', '.join(KINDS)}, got {self.kind!r}")

    @property
    def executes(self) -> bool:
        """Does the request reach the CRM while the client waits?"""
        return self.kind not in NOT_EXECUTED


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultPlan:
    """Which request meets which fault: first the script, one entry per request (None: all goes well), then
    chance, and then that of the first of `records` which the request names.

    `at` depends on nothing but the plan and the number of the request, so that a run can be repeated.
    """

    entries: tuple[InjectedFault | None, ...] = ()
    seed: int = 0
    rate: float = 0.0
    choices: tuple[InjectedFault, ...] = ()
    records: Mapping[Record, InjectedFault] = field(default_factory=dict)

    @classmethod
    def script(cls, faults: Iterable[InjectedFault | Kind | None]) -> "FaultPlan":
        """Return a plan with these faults for the next requests, then none."""
        return cls(entries=tuple(_fault(fault) if fault else None for fault in faults))

    @classmethod
    def random(cls, seed: int, rate: float, kinds: Iterable[InjectedFault | Kind] = KINDS) -> "FaultPlan":
        """Return a plan with a fault at probability `rate`, of a kind drawn evenly.

        Give `InjectedFault` values to set their seconds.
        """
        return cls(seed=seed, rate=rate, choices=tuple(map(_fault, kinds)))

    @classmethod
    def of_records(cls, records: Iterable[Record], fault: InjectedFault | Kind) -> "FaultPlan":
        """Return a plan in which every request that names one of these records meets the fault."""
        return cls(records=dict.fromkeys(records, _fault(fault)))

    def of(self, named: Iterable[Record]) -> InjectedFault | None:
        """Return the fault of a request that names these records."""
        return next((self.records[record] for record in named if record in self.records), None)

    def at(self, number: int) -> InjectedFault | None:
        """Return the fault of request `number`, counted from 0."""
        if number < len(self.entries):
            return self.entries[number]
        if not self.rate or not self.choices:
            return None
        generator = random.Random(f"{self.seed}:{number}")
        drawn = generator.random() < self.rate
        return replace(generator.choice(self.choices), pick=generator.randrange(1 << 16)) if drawn else None


def _fault(fault: InjectedFault | Kind) -> InjectedFault:
    return fault if isinstance(fault, InjectedFault) else InjectedFault(fault)
