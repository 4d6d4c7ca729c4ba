"""What an act answers: which jobs or things it was done to, or how an account stands after it."""

from typing import NotRequired, TypedDict

from producers.job_admin.erasure_proof import ErasureProof


class PausedDict(TypedDict):
    """Whether an account is paused now; when it was resumed also how it stood before."""

    account: str
    paused: bool
    was_paused: NotRequired[bool]
    breaker_was: NotRequired[str]
    pace_was: NotRequired[float]
    did: NotRequired[list[str]]  # with the breaker and the pace, in sentences


class ActedDict(TypedDict):
    """Which jobs were acted on, or would be; the others with the reason; and whether there are more."""

    dry_run: bool
    jobs: list[str]
    refused: dict[str, str]
    more: bool
    summary: str


class ErasedDict(TypedDict):
    """How many things a record was taken out of, by kind; and the document of what was done."""

    account: str
    erased: dict[str, int]
    proof: ErasureProof
