"""What an account may be called, in settings, messages, requests and commands; ids begin with the name."""

import re
from typing import Final

from worker.contract.message import ACCOUNT
from worker.contract.quoting import quote
from worker.errors import Fault, Invalid

ACCOUNT_NAME: Final = "an account name (1 to 32 of a-z 0-9 _ -, a letter or digit first)"
_is_good = re.compile(ACCOUNT).fullmatch


def explain_account_name(name: object) -> str:
    """Return why this cannot be the name of an account; "" if it can."""
    if isinstance(name, str) and _is_good(name):
        return ""
    return f"expected {ACCOUNT_NAME}, got {quote(name)}"


def check_account_name(name: object) -> None:
    """Raise Invalid, with the fault at `account`, unless this can be the name of an account."""
    if reason := explain_account_name(name):
        raise Invalid([Fault("account", reason)])


def account_of(id_: str) -> str:
    """Return the account that the id of a job, a replay or a message begins with (R5); "" for no such id."""
    return id_.rpartition("-")[0]
