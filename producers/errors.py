"""What the front doors refuse on their own account, besides what `worker.errors` knows.

RelationsError
├── Unauthorized    nobody we know: no key, a wrong one, a bad or stale signature
├── Forbidden       somebody we know, who may not do this
├── TooLarge        more bytes than are read, or more changes than are taken at once
├── TooSlow         bytes that come so slowly that nobody waits for the rest
└── Unsupported     bytes of a kind that is not read
"""

from worker.errors import RelationsError


class Unauthorized(RelationsError):
    """A sender who did not prove who they are; `challenge` says what proof is wanted."""

    def __init__(self, message: str, *, challenge: str = "Bearer") -> None:
        self.challenge = challenge
        super().__init__(message)


class Forbidden(RelationsError):
    """A key without this right, or not for this account."""


class TooLarge(RelationsError):
    """A body beyond the limit."""

    def __init__(self, limit: int, what: str = "bytes") -> None:
        self.limit = limit
        super().__init__(f"the body has more than {limit} {what}; send it in parts")


class TooSlow(RelationsError):
    """A body that did not come in time."""


class Unsupported(RelationsError):
    """A body of another content type or encoding."""
