"""The API's error codes: text and class; and what operators should do about them and about our own errors.

The table itself is `codes.tsv`.

The class of a code is the class it has by itself; what 80, 235, 292, 293 mean on a delete or on a star is
decided where the action is known.
"""

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import Final, NamedTuple

from worker.planner.actions import ErrorClass


class Code(NamedTuple):
    """One row of the table."""

    error: ErrorClass
    title: str


@cache
def table() -> Mapping[int, Code]:
    """Return every known code; a row without a valid class is an error, so that none is overlooked."""
    text = files(__package__).joinpath("codes.tsv").read_text(encoding="utf-8")
    rows = (line.split("\t") for line in text.splitlines() if line[:1].isdigit())
    return MappingProxyType({int(code): Code(ErrorClass(error), title) for code, error, title in rows})


def classify(code: int) -> ErrorClass:
    """Return the class of a code; one that is not listed is OTHER, and `describe` calls it unknown."""
    known = table().get(code)
    return known.error if known else ErrorClass.OTHER


def describe(code: int, message: str = "") -> str:
    """Return what happened, in the API's own words if it sent any, else in the table's."""
    known = table().get(code)
    if known is None:
        return f"unknown error code {code}: {message}" if message else f"unknown error code {code}"
    return message or known.title.replace('"%s"', "%s").replace("%s", "…")


def advise(code: int, error: str = "") -> str:
    """Return what an operator should do about an API code, or about a class of errors when the code is 0."""
    if code:
        return _SPECIAL.get(code) or _BY_CLASS[classify(code)]
    return ADVICE_WITHOUT_CODE.get(error, "Replay it when its cause is gone.")


_CLAIM = (
    "Read the extendedclaim of the marketplace app again (the provider's unlock page hands it "
    "out) and put it into the account's settings."
)
_SYNC = "Switch on the customer's synchronisation in onOffice enterprise, then replay."

_SPECIAL: Mapping[int, str] = {
    13: "The request carried no token: set the account's token (32 characters).",
    136: "Set the clock of the Redis host by NTP: the API takes timestamps that are at most 120 seconds off.",
    137: (
        "Check token and secret: most often they are swapped (the token has 32 characters, the "
        "secret 64) or the secret was renewed."
    ),
    158: (
        "Allow this machine's address in the API user's IP rule in onOffice, or send from an address "
        "that is allowed."
    ),
    193: _CLAIM,
    198: "Name the estate by its id in the main language; this one is that of a translation.",
    201: _CLAIM,
    248: _CLAIM,
    216: _SYNC,
    217: "Switch on the Outlook sync flag of that user in onOffice enterprise, then replay.",
    218: "Activate ZPush for that user in onOffice enterprise, then replay.",
    261: "Give the API user the right to write addresses, including the one that is named, then replay.",
    262: "Give the API user the right to write estates, including the one that is named, then replay.",
    263: (
        "Only a broker can be contact person: mark the address as real estate agent in onOffice, or "
        "link a broker instead."
    ),
}

_BY_CLASS: Mapping[ErrorClass, str] = {
    ErrorClass.CREDENTIALS: (
        "Check the account's token, secret and API user in onOffice, then resume the account; its "
        "jobs are kept."
    ),
    ErrorClass.CLOCK: _SPECIAL[136],
    ErrorClass.AMBIGUOUS: "Nothing yet: the relation is read back before anything is decided.",
    ErrorClass.RECORD: (
        "Check in onOffice that the record exists and that the API user may see it, then replay."
    ),
    ErrorClass.SHAPE: (
        "Correct the relation type or its info at the producer; sending the same again will fail again."
    ),
    ErrorClass.STAR: "Report this as a bug: the action was planned in a form that the API does not take.",
    ErrorClass.ABSENT: 'Create the relation first, or set on_modify_absent = "create" for the account.',
    ErrorClass.RIGHTS: "Give the API user the right that the message names, then replay.",
    ErrorClass.SYNC: _SYNC,
    ErrorClass.TRANSIENT: (
        "Nothing: it is tried again by itself; if it lasts for hours, ask onOffice's support."
    ),
    ErrorClass.OTHER: (
        "Look the code up in the API's documentation (page “Errors”); it counts as permanent until "
        "somebody replays the job."
    ),
}

ADVICE_WITHOUT_CODE: Final[Mapping[str, str]] = {
    "dependency": "Remove what is in its way, or mend what that failed of, then replay it; "
    "if it names several itself, name the right one with `--set`.",
    "last_one": "Link another first, or mend what its create failed of, then replay it; "
    "if the record is to have none, send the delete with allow_empty.",
    "unreadable": "Mend the rules of its webhook, or correct it with `--set NAME=VALUE`, and replay it: what "
    "was kept is read again. Mending its producer helps the next message only.",
    "not_found": "Create the record in onOffice, then replay it: it is looked up anew; "
    "or name the record by its id with `--set`.",
    "several": "Make the value unique in onOffice, then replay it: it is looked up anew; "
    "or name the record by its id with `--set`.",
    "poison": "Look into the workers' logs for what ended them, then replay.",
    "unknown": "Run `relations doctor` to see whether the API can be reached, then replay.",
    "not_sent": "Run `relations doctor` to see whether the API can be reached, then replay.",
}
