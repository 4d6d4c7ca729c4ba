"""Responses without a socket: a status for every error there is, and paths as the parser names them."""

import inspect
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

import producers.errors
import worker.errors
from producers.portals.http.problems import STATUS, error_response, partly_refused, status_of
from worker.contract import parse_many, places_of
from worker.errors import (
    BacklogFull,
    Fault,
    Invalid,
    InvalidChange,
    LeaseLost,
    NotFound,
    RelationsError,
    StoreUnavailable,
)
from worker.usecases.intake import AccountResult

GOOD = {
    "account": "acme",
    "action": "create",
    "relationtype": "estate:address:buyer",
    "parentid": 1,
    "childid": 2,
}
STATUSES = {
    "RelationsError": 500,
    "Invalid": 422,
    "InvalidChange": 422,
    "InvalidSettings": 500,
    "NotFound": 404,
    "Unavailable": 503,
    "BacklogFull": 429,
    "StoreUnavailable": 503,
    "StoreUnreadable": 503,
    "LeaseLost": 503,
    "StoreRolledBack": 503,
    "Unauthorized": 401,
    "Forbidden": 403,
    "TooLarge": 413,
    "TooSlow": 408,
    "Unsupported": 415,
    "CannotStart": 500,
    "NotTrusted": 500,
}


def test_every_error_there_is_has_its_status() -> None:
    modules = [vars(module).values() for module in (worker.errors, producers.errors)]
    kinds = {
        kind
        for names in modules
        for kind in names
        if inspect.isclass(kind) and issubclass(kind, RelationsError)
    }
    assert {kind.__name__: status_of(kind.__new__(kind)) for kind in kinds} == STATUSES
    assert set(STATUS) <= kinds


def test_internal_errors_are_not_explained_to_clients() -> None:
    answer = error_response(
        worker.errors.InvalidSettings([Fault("accounts.acme.token", "env:ACME_TOKEN is empty")])
    )
    assert answer.status_code == 500
    assert b"ACME_TOKEN" not in bytes(answer.body)


@pytest.mark.parametrize("kind", [StoreUnavailable, BacklogFull, LeaseLost])
@given(seconds=st.floats(0, 1000))
def test_retry_after_is_never_too_early(kind: type[worker.errors.Unavailable], seconds: float) -> None:
    retry_after = int(error_response(kind("later", retry_after=seconds)).headers["retry-after"])
    assert retry_after == max(1, math.ceil(seconds))


def test_a_single_fault_is_the_detail_and_several_are_counted() -> None:
    one, two = Fault("childid", "is required"), Fault("parentid", "is required")
    assert json.loads(bytes(error_response(InvalidChange([one])).body))["detail"] == "childid: is required"
    assert (
        json.loads(bytes(error_response(Invalid([one, two])).body))["detail"]
        == "2 faults; nothing with a fault was accepted"
    )


def test_an_account_that_is_not_there_is_a_fault_of_the_change_not_a_wrong_address() -> None:
    unknown = AccountResult((0, 1), error=NotFound('there is no account "acne"'))
    answer = partly_refused([unknown], range(2), {})
    assert answer.status_code == 422
    assert json.loads(bytes(answer.body))["errors"] == [
        {"path": "[0].account", "message": 'there is no account "acne"'}
    ]


@given(st.integers(1, 6), st.data(), st.sampled_from(["array", "lines"]))
def test_changes_have_the_places_that_the_parser_names(count: int, data: st.DataObject, form: str) -> None:
    bad = data.draw(st.integers(0, count - 1))
    blanks = data.draw(st.lists(st.sampled_from(["", " ", "\n", "\r\n"]), min_size=count, max_size=count))

    def body(messages: list[dict[str, object]]) -> bytes:
        if form == "array":
            return (blanks[0] + json.dumps(messages)).encode()
        return "\n".join(
            blank.strip(" ") + json.dumps(message) for blank, message in zip(blanks, messages, strict=True)
        ).encode()

    good: list[dict[str, object]] = [dict(GOOD) for _ in range(count)]
    places = places_of(body(good), len(parse_many(body(good))))
    with pytest.raises(InvalidChange) as raised:
        parse_many(
            body([{**message, **({"childid": 0} if at == bad else {})} for at, message in enumerate(good)])
        )
    assert (raised.value.faults[0].place, raised.value.faults[0].path) == (places[bad], "childid")
