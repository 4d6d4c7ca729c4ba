"""The errors of the ways in, besides those of `worker.errors`.

RelationsError
├── Unauthorized    an unknown sender: no key, a wrong one, a bad or stale signature
├── Forbidden       a known sender, who may not do this
├── TooLarge        more bytes than are read, or more changes than are taken at once
├── TooSlow         bytes that did not come in time
└── Unsupported     bytes of a kind that is not read
"""

from typing import Literal

from worker.errors import RelationsError

RefusalReason = Literal[
    "no_key",
    "unknown_key",
    "no_right",
    "other_account",
    "no_proof",
    "signature",
    "stale",
    "secret",
    "unknown_source",
    "unreadable",
    "too_large",
    "too_slow",
    "unsupported",
    "settings",
    "unavailable",
]
"""Why a key or a webhook was refused: the values of a metric's label, so there are few."""


class Unauthorized(RelationsError):
    """The sender did not prove who they are; `challenge` is the WWW-Authenticate header of the answer."""

    def __init__(
        self, message: str, *, challenge: str = "Bearer", reason: RefusalReason = "signature"
    ) -> None:
        self.challenge, self.reason = challenge, reason
        super().__init__(message)


class Forbidden(RelationsError):
    """The key does not have this right, or not for this account."""

    def __init__(self, message: str, *, reason: RefusalReason = "no_right") -> None:
        self.reason = reason
        super().__init__(message)


class TooLarge(RelationsError):
    """The body is beyond the limit."""

    def __init__(self, limit: int, what: str = "bytes") -> None:
        self.limit = limit
        super().__init__(f"the body has more than {limit} {what}; send it in parts")


class TooSlow(RelationsError):
    """The body did not come in time."""


class Unsupported(RelationsError):
    """The body has a content type or coding that is not read; `accepted_codings` names those that are."""

    def __init__(self, message: str, *, accepted: str = "") -> None:
        self.accepted_codings = accepted
        super().__init__(message)
