"""Queries of lists: every filter narrows the list, every fault is named, nothing is guessed."""

from urllib.parse import urlencode

import httpx
import pytest

from producers.portals.http.query import JobPageQuery, read_query
from tests.support.http_front import MISSING, Front, problem
from worker.contract import from_message, write_instant
from worker.errors import Invalid
from worker.ports.records import JobFilter

UNIT = {"relationtype": "complex:estate:units", "parentid": "5", "childid": "7"}


def job_filter(**given: str) -> JobFilter:
    return read_query([("account", "acme"), *given.items()], JobPageQuery).filter()


def faults(*given: tuple[str, str]) -> dict[str, str]:
    with pytest.raises(Invalid) as refused:
        read_query(given, JobPageQuery)
    return {fault.path: fault.message for fault in refused.value.faults}


def test_a_query_becomes_its_filter() -> None:
    assert job_filter() == JobFilter()
    assert job_filter(
        state="failed",
        error="-12",
        source="portal",
        batch="ümlaut 7",
        since="1970-01-01T00:00:01Z",
        until="1970-01-01T01:00:02+01:00",
    ) == JobFilter(
        state="failed", error="-12", source="portal", batch="ümlaut 7", since=1_000_000, until=2_000_000
    )


def test_types_are_asked_for_in_every_spelling_and_mirrored_ids_change_places_as_in_a_change() -> None:
    change = from_message({**UNIT, "account": "acme", "action": "create", "parentid": 5, "childid": 7}).change
    found = job_filter(**UNIT)
    assert (found.type, found.parent, found.child) == (change.type, change.parents[0], change.children[0])
    urn = job_filter(
        relationtype="urn:onoffice-de-ns:smart:2.5:relationTypes:estate:address:buyer", parentid="5"
    )
    assert (urn.type, urn.parent, urn.child) == ("estate:address:buyer", 5, 0)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        *(("state", text) for text in ("", "done", "null")),
        *(
            (side, text)
            for side in ("parentid", "childid")
            for text in ("", "0", "-1", "1e3x", "null", "9007199254740992", "٣")
        ),
        *(("error", text) for text in ("", "Record", "1" * 10, "a b", "record\n")),
        *((label, text) for label in ("source", "batch") for text in ("", "x" * 65, "a\nb", "a\n", "\x00")),
        *(
            (instant, text)
            for instant in ("since", "until")
            for text in ("", "2026-11-21", "2026-11-21T02:00:00", "2026-02-30T02:00:00Z")
        ),
        *(("limit", text) for text in ("", "0", "501", "x", "-5")),
        *(("cursor", text) for text in ("x", "9" * 16, "1\n")),
        *(("relationtype", text) for text in ("", "estate:address:buyr", "x" * 5000)),
        *(("account", text) for text in ("Acme", "a b", "../acme")),
    ],
)
def test_a_value_that_does_not_fit_is_a_fault_by_its_name_and_never_taken_for_no_filter(
    name: str, text: str
) -> None:
    given = {"account": "acme"} | {name: text}
    assert list(faults(*given.items())) == [name]


def test_every_fault_is_named_at_once_and_says_what_would_fit() -> None:
    named = faults(
        ("limit", "0"),
        ("colour", "red"),
        ("state", "x"),
        ("since", "1970-13-01T00:00:00Z"),
        ("state", "failed"),
    )
    assert named.keys() == {"colour", "state", "account", "limit", "since"}
    assert named["limit"] == "expected a whole number from 1 to 500"
    assert named["account"] == "is required"
    assert "there are account, state," in named["colour"]
    assert faults(("account", "acme"), ("state", "failed"), ("state", "queued")) == {
        "state": "is given twice"
    }


def test_each_filter_picks_its_jobs(front: Front, http: httpx.Client) -> None:
    base = {
        "account": "acme",
        "action": "create",
        "relationtype": "estate:address:buyer",
        "parentid": 501,
        "childid": 1,
    }
    others = [
        {"childid": MISSING},
        {"parentid": 502},
        {"source": "portal"},
        {"batch": "import-7"},
        {"relationtype": "estate:address:owner", "childid": 3},
    ]
    jobs = [
        front.runtime.intake().accept([from_message({**base, **other}).change])[0].job
        for other in [{}, *others]
    ]
    front.runtime.flush("acme")
    third = front.job(jobs[3])
    accepted_at = write_instant(third.accepted_at)
    for query, picked in [
        ({"state": "failed"}, [1]),
        ({"error": "80"}, [1]),
        ({"error": "record", "childid": str(MISSING)}, [1]),
        ({"parentid": "502"}, [2]),
        ({"source": "portal"}, [3]),
        ({"batch": "import-7"}, [4]),
        ({"relationtype": "estate:address:owner"}, [5]),
        ({"childid": "3"}, [5]),
        ({"since": accepted_at}, [5, 4, 3]),
        ({"until": accepted_at}, [2, 1, 0]),
        ({"source": "portal", "state": "failed"}, []),
    ]:
        page = http.get("/v1/jobs?" + urlencode({"account": "acme", **query})).json()
        assert [job["id"] for job in page["jobs"]] == [jobs[at] for at in picked], query


def test_a_batch_is_found_by_its_account_and_nothing_else(http: httpx.Client) -> None:
    document = problem(http.get("/v1/batches/import-7", params={"acount": "acme"}), 422)
    assert [error["path"] for error in document["errors"]] == ["acount", "account"]
