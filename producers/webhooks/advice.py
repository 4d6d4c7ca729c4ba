"""What whoever writes rules can do about what is wrong; the contract and JMESPath know no rules. Pure."""

import re
from dataclasses import replace
from typing import Final

from worker.contract.fields import NOT_A_REFERENCE, TEXT_OF_DIGITS
from worker.errors import Fault

QUOTED: Final = re.compile(r"""'[^']*'|"[^"]*"|`[^`]*`""")
FIXED_TEXT: Final = re.compile(r"[\w][\w :./-]*")
SLIPS: Final = (
    (re.compile(r"(?<![=!<>])=(?!=)"), "; equal is =="),
    (re.compile(r"\b(and|or|not)\b", re.IGNORECASE), "; and, or, not are written &&, ||, !"),
)
OF_VALUES: Final = (
    (TEXT_OF_DIGITS, "; to_number() makes a number of it, reference() names a record by another field"),
    (NOT_A_REFERENCE, "; reference() names a record by what its sender knows of it"),
    (", got null", ", got null; the rule finds nothing there"),
)


def advise_on_value(fault: Fault) -> Fault:
    """Return the fault of a value that a rule found, with what a rule can do about it."""
    for end, advice in OF_VALUES:
        if fault.message.endswith(end):
            return replace(fault, message=fault.message.removesuffix(end) + advice)
    reads_other = fault.path.endswith("occurred_at") and "RFC 3339" in fault.message
    return replace(fault, message=f"{fault.message}; time() reads others") if reads_other else fault


def advise_on_syntax(expression: str) -> str:
    """Return what may be meant by an expression that is no JMESPath; "" if nothing comes to mind."""
    if FIXED_TEXT.fullmatch(expression):
        return f"""; a fixed text has single quotation marks within the double ones: "'{expression}'\""""
    bare = QUOTED.sub("", expression)
    return next((advice for slip, advice in SLIPS if slip.search(bare)), "")
