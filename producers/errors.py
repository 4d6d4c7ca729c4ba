"""The errors of the ways in, besides those of `worker.errors`.

RelationsError
├── Unauthorized    an unknown sender: no key, a wrong one, a bad or stale signature
├── Forbidden       a known sender, who may not do this
├── TooLarge        more bytes than are read, or more changes than are taken at once
├── TooSlow         bytes that did not come in time
├── Unsupported     bytes of a kind that is not read
├── NotTrusted      an interface that is asked over HTTP, whose certificate does not hold
└── CannotStart     something a process needs for itself is taken: a port, an address, a directory
"""

import errno
import os
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


class NotTrusted(RelationsError):
    """The certificate of an interface is for another name, out of date, or signed by an unknown authority."""


class CannotStart(RelationsError):
    """Something that a process needs for itself cannot be had: a port, an address, a directory."""


REMEDIES = {
    errno.EADDRINUSE: "end what listens there, or take another port with {option}",
    errno.EACCES: "ports below 1024 need a right of the system; take another with {option}",
}


def cannot_listen(host: str, port: int, error: OSError, *, option: str = "--port") -> CannotStart:
    """Return the error for an address that cannot be listened on; `option` names another port."""
    remedy = REMEDIES.get(error.errno or 0, "name an address of this machine with --host")
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    # Python's own text repeats the address, and that of an unknown host is no code of the system.
    reason = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror
    return CannotStart(f"cannot listen on {address}: {reason}; {remedy.format(option=option)}")
