"""The reference of errors: every class a job can fail with, every known code of the API, and what to do.

To write it again: RELATIONS_WRITE_REFERENCE=1 .venv/bin/pytest tests/contract/test_error_reference.py
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Final

import pytest

from tests.support.docs_pages import is_current
from worker.onoffice.codes import ADVICE_WITHOUT_CODE, advise, classify, describe, table
from worker.planner.actions import ActionResult, ErrorClass, Kind, Verdict
from worker.planner.apply_reply import UNANSWERED
from worker.planner.guard import DEPENDENCY, LAST_ONE
from worker.planner.relation_state import OpenRelation
from worker.planner.retry_policy import NextStep, RetryPolicy, decide
from worker.ports.records import ERROR_CLASSES
from worker.usecases.batch import POISON_REFUSAL

REFERENCE: Final = Path(__file__).parents[2] / "docs" / "reference" / "errors.md"
NEVER: Final = {ErrorClass.CREDENTIALS, ErrorClass.CLOCK, ErrorClass.TRANSIENT}  # no job fails with these

MEANING: Final[Mapping[ErrorClass, str]] = {
    ErrorClass.RECORD: "There is no such record, or the API user may not see it.",
    ErrorClass.RIGHTS: "The API user may not do that, or not to that record.",
    ErrorClass.SHAPE: "The relation type, an id or the info is not what the API takes.",
    ErrorClass.ABSENT: "A modify of a relation that is not there, `max_attempts` times: "
    "its create may only have been late.",
    ErrorClass.AMBIGUOUS: "Refused without saying why; "
    "a read showed that it was not done, `max_attempts` times.",
    ErrorClass.SYNC: "The change goes to a calendar or phone, too, and that is switched off.",
    ErrorClass.STAR: "An action that links many with many, or too many.",
    ErrorClass.OTHER: "Any other definite answer, and every code that is not listed here.",
    ErrorClass.CREDENTIALS: "The account is paused until it is resumed or has other credentials.",
    ErrorClass.CLOCK: "The request is signed again; "
    "if that is refused too, the account is paused for a minute.",
    ErrorClass.TRANSIENT: "It may have been done: the relation is read back and tried again. "
    "After `give_up_after` it fails as `unknown`.",
}
OWN: Final[Mapping[str, str]] = {
    Verdict.UNKNOWN: "No definite answer within `give_up_after`: whether it was done is not known; "
    "what was held because the read of its record could not be read was not sent. "
    "The code, if any, is the last one.",
    Verdict.NOT_SENT: "The same, and the last try did not even leave: no connection, or HTTP 429.",
    LAST_ONE: "The delete would leave its parent without the one it is to keep; "
    "it was held for `hold_for` and was not sent.",
    DEPENDENCY: "The child still has another parent, which it has to leave first; "
    "the create was held for `hold_for` and was not sent. "
    "Or the references of a replace lead to several parents: then it fails at once.",
    "not_found": "No record is as a reference says, or the API user may not see it; "
    "it was looked for during `park_for`.",
    "several": "A reference leads to several records; that did not change during `park_for`.",
    POISON_REFUSAL.error: "Three workers died with this change alone in hand.",
    "unreadable": "A message that makes no change: it names what is wrong with it.",
}

HEAD: Final = """# Errors

What a failed job says, and what to do. `relations errors` lists what failed by code and class, \
each with the same advice as here;
`relations jobs list --error 80` or `--error record` picks jobs by either. \
A job fails with the first refusal among its relations, the
others are done all the same.

## Definite answers

The API refused it, and refuses it again unless something changes. \
Every relation is first tried alone, so the refusal is its own.

"""
BETWEEN: Final = """
## Without a definite answer, or not sent

"""
ACCOUNT: Final = """
## Answers no job fails with

They say something of the account or of the moment, so its jobs stay open.

"""
CODES: Final = """
## Codes

The codes of the first table have advice of their own; for all others that of their class holds. \
The API's own words, if it sends any,
stand in place of these; the class is this project's judgement.

| code | class | text | what to do |
|---|---|---|---|
"""
MORE: Final = """
| code | class | text |
|---|---|---|
"""
OTHERS: Final = """
All other codes are of class `other`. A failed job says their text, too;
all are in `worker/onoffice/codes.tsv`.
"""


def by_class(error: ErrorClass) -> str:
    """Return the advice of the class: the one that most of its codes have."""
    return Counter(advise(code) for code in table() if classify(code) is error).most_common(1)[0][0]


def classes(names: Iterator[ErrorClass]) -> Iterator[str]:
    yield "| class | what it means | what to do |\n|---|---|---|\n"
    yield from (f"| `{name}` | {MEANING[name]} | {by_class(name)} |\n" for name in names)


def own() -> Iterator[str]:
    yield "| class | what it means | what to do |\n|---|---|---|\n"
    yield from (f"| `{name}` | {text} | {advise(0, name)} |\n" for name, text in OWN.items())


def codes(*, advised: bool) -> Iterator[str]:
    """Yield the rows of codes with advice of their own, or of those without."""
    for code in sorted(table()):
        error, advice = classify(code), advise(code)
        if error is not ErrorClass.OTHER and (advice != by_class(error)) is advised:
            yield f"| {code} | `{error}` | {describe(code)} |{f' {advice} |' * advised}\n"


def reference() -> str:
    definite = (name for name in MEANING if name not in NEVER)
    of_account = (name for name in MEANING if name in NEVER)
    pieces = (
        HEAD,
        *classes(definite),
        BETWEEN,
        *own(),
        ACCOUNT,
        *classes(of_account),
        CODES,
        *codes(advised=True),
        MORE,
        *codes(advised=False),
        OTHERS,
    )
    return "".join(pieces)


def test_the_reference_is_current() -> None:
    assert is_current(REFERENCE, reference())


def test_every_class_and_every_code_is_described() -> None:
    assert set(MEANING) == set(ErrorClass)
    lines = chain(codes(advised=True), codes(advised=False))
    assert sorted(int(line.split()[1]) for line in lines) == [
        code for code in sorted(table()) if classify(code) is not ErrorClass.OTHER
    ]


def test_what_fails_without_a_code_is_described() -> None:
    assert UNANSWERED.error in OWN
    assert set(ADVICE_WITHOUT_CODE) <= set(OWN)


def test_every_class_can_be_asked_for() -> None:
    assert set(ERROR_CLASSES) == {*MEANING, *OWN}


@pytest.mark.parametrize("kind", ["create", "modify", "delete"])
@pytest.mark.parametrize("error", [error for error in ErrorClass if error is not ErrorClass.TRANSIENT])
def test_a_job_fails_with_the_classes_that_the_reference_says(kind: Kind, error: ErrorClass) -> None:
    """A refusal pauses the account, or is checked, repeated or final; TRANSIENT codes count as no answer."""
    decision = decide(
        kind,
        ActionResult(Verdict.REJECTED, error=error),
        OpenRelation(()),
        alone=True,
        retry=RetryPolicy(),
        now=0,
        draw=0.5,
    )
    assert (decision.step is NextStep.KEEP) == (error in NEVER)
