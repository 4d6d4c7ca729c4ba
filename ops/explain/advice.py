"""What an operator should do about a failure, by its API code or, where there is none, by its class."""

from collections.abc import Mapping
from typing import Final

from worker.onoffice.codes import advice

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


def advise(code: int, error: str) -> str:
    """Return what to do about an API code, or about a class of errors when the code is 0."""
    return advice(code) if code else ADVICE_WITHOUT_CODE.get(error, "Replay it when its cause is gone.")
