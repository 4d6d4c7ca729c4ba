"""Searches through the client, real HTTP and the simulator, under every switch and every fault."""

import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.simulator import KINDS, FaultPlan, InjectedFault, Records, Simulator, Switches, serve
from worker.onoffice.client import Client
from worker.planner.actions import MAX_VALUES, Action, ActionResult, ErrorClass, Search, Verdict

TOKEN, SECRET = "token-of-acme", "secret-of-acme"
BUYER = "estate:address:buyer"
DATA = ("email", "phone", "KdNr", "Email")
TEXTS = st.sampled_from(
    ["a@example.test", "A@example.test", "müller", "MÜLLER", "mueller", "muller", "815", "00815"]
)
PEOPLE = st.dictionaries(
    st.integers(1, 2**40),
    st.fixed_dictionaries(
        {"uuid": st.just("u")},
        optional={
            "email": st.lists(TEXTS, max_size=3, unique=True),
            "phone": TEXTS,
            "KdNr": TEXTS,
            "Status": st.just("0"),
        },
    ),
    max_size=6,
)


class Crm(NamedTuple):
    """A simulated CRM with one address per entry of what it was given, and a client of it."""

    simulator: Simulator
    client: Client

    def fill(self, people: Mapping[int, Any], switches: Switches, records: Records | None = None) -> None:
        old = dict.fromkeys(self.simulator.fields(TOKEN).get("address", {}))
        self.simulator.switches = switches
        self.simulator.seed(TOKEN, fields={"address": {**old, **people}}, records=records or Records())

    def search(self, *actions: Search | Action) -> list[ActionResult]:
        return list(self.client.send(actions, request_id="r", now=time.time()).results)


@pytest.fixture(scope="module")
def crm() -> Iterator[Crm]:
    simulator = Simulator({TOKEN: SECRET}, sleep=lambda _: None)
    with serve(simulator) as server, closing(Client(server.url, TOKEN, SECRET, timeout=10.0)) as client:
        yield Crm(simulator, client)


def normal(text: str, switches: Switches) -> str:
    """Return the text as the simulated database compares it."""
    text = text.lower() if switches.compare_case == "ignored" else text
    upper, lower = {"exact": ("Ü", "ü"), "a": ("U", "u"), "ae": ("Ue", "ue")}[switches.umlauts]
    return text.replace("Ü", upper).replace("ü", lower)


def expected(
    people: Mapping[int, Any], field: str, values: tuple[str, ...], switches: Switches
) -> dict[int, Any]:
    """Return what a search must find: of each person the entries of the fields asked for."""
    wanted, found = {normal(value, switches) for value in values}, {}
    for number, person in sorted(people.items()):
        emails = tuple(person.get("email", ()))
        entries = {"email": emails, "Email": emails[:1]}
        entries |= {name: (person[name],) if name in person else () for name in ("phone", "KdNr")}
        shows = switches.archived == "included" or "Status" not in person
        if shows and wanted & {normal(text, switches) for text in entries[field]}:
            found[number] = entries
    return found


@given(
    PEOPLE,
    st.sampled_from(DATA),
    st.lists(TEXTS, min_size=1, max_size=3),
    st.sampled_from(list(Switches.all())),
)
def test_a_search_finds_what_is_there_with_all_its_entries_or_is_unknown(
    crm: Crm, people: dict[int, Any], field: str, values: list[str], switches: Switches
) -> None:
    crm.fill(people, switches)
    (outcome,) = crm.search(Search("address", field, tuple(values), DATA))
    there = expected(people, field, tuple(values), switches)
    assert {record.id: record.values for record in outcome.found} == there
    assert (outcome.verdict, outcome.total) == (Verdict.OK, len(there))


@pytest.mark.parametrize("kind", KINDS)
def test_under_no_fault_is_a_record_that_is_there_not_found(crm: Crm, kind: Any) -> None:
    crm.fill({9001: {"KdNr": "815"}, 9002: {"KdNr": "816"}}, Switches())
    crm.simulator.inject(FaultPlan.script([InjectedFault(kind, seconds=0.0, pick=1)]))
    searches = [Search("address", "KdNr", (number,), ("KdNr",)) for number in ("815", "816")]
    for number, outcome in zip((9001, 9002), crm.search(*searches), strict=True):
        assert outcome.verdict in (Verdict.OK, Verdict.UNKNOWN, Verdict.NOT_SENT)
        assert [record.id for record in outcome.found] == ([number] if outcome.verdict is Verdict.OK else [])
    crm.simulator.land()
    assert [outcome.total for outcome in crm.search(*searches)] == [1, 1]


def test_five_hundred_values_fit_into_one_action_and_an_answer(crm: Crm) -> None:
    crm.fill({number: {"KdNr": f"{number:05}"} for number in range(1, 2001)}, Switches())
    values = tuple(f"{number:05}" for number in range(1001, 1001 + MAX_VALUES))
    (outcome,) = crm.search(Search("address", "KdNr", values, ("KdNr",)))
    assert [record.values["KdNr"][0] for record in outcome.found] == list(values)
    assert outcome.total == MAX_VALUES
    assert crm.simulator.log[-1].acts[0].values == MAX_VALUES


def test_more_records_than_an_answer_holds_are_found_page_by_page(crm: Crm) -> None:
    crm.fill({number: {"email": ["all@example.test"]} for number in range(1, 1203)}, Switches())
    found: list[int] = []
    while True:
        (page,) = crm.search(Search("address", "email", ("all@example.test",), ("email",), len(found)))
        found += [record.id for record in page.found]
        assert page.total == 1202
        if len(found) >= page.total:
            break
    assert found == list(range(1, 1203))


@pytest.mark.parametrize(
    ("switches", "verdict"), [(Switches(), Verdict.OK), (Switches(no_read="refused"), Verdict.REJECTED)]
)
def test_a_record_that_may_not_be_seen_is_not_found_or_a_refusal_that_names_the_right(
    crm: Crm, switches: Switches, verdict: Verdict
) -> None:
    crm.fill({9001: {"KdNr": "815"}}, switches, Records(no_read=frozenset({("address", 9001)})))
    (outcome,) = crm.search(Search("address", "KdNr", ("815",), ("KdNr",)))
    assert (outcome.verdict, outcome.found) == (verdict, ())
    assert (outcome.error is ErrorClass.RIGHTS) is (verdict is Verdict.REJECTED)


def test_searches_and_relations_travel_in_one_request_and_fail_alone(crm: Crm) -> None:
    crm.fill({9001: {"KdNr": "815"}}, Switches())
    crm.simulator.seed(TOKEN, [(BUYER, 501, 9001)])
    good = Search("address", "KdNr", ("815",), ("KdNr",))
    unknown_field = Search("estate", "KdNr", ("815",), ("KdNr",))
    read, found, refused, written = crm.search(
        Action("get", BUYER, (501,), ()), good, unknown_field, Action("create", BUYER, (502,), (9001,))
    )
    assert read.related == {501: frozenset({9001})}
    assert [record.id for record in found.found] == [9001]
    assert (refused.verdict, refused.code, refused.message) == (Verdict.REJECTED, 141, "Unknown field: KdNr")
    assert written.verdict is Verdict.OK
