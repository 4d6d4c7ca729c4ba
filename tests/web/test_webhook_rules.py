"""Webhook rules: what changes they make of a payload, and how their faults are named."""

import re
import time
import unicodedata
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.webhooks.mapping import build_changes, check_rules, read_payload
from producers.webhooks.reparse import make_unreadable_message
from producers.webhooks.signatures import WebhookDelivery
from worker.config import Rule, Secret, Settings, Source
from worker.contract import Change
from worker.errors import InvalidChange, InvalidSettings

ENQUIRY = Rule(
    when="type == 'enquiry.created'",
    action="'create'",
    relationtype="'estate:address:interested'",
    parentid="data.estate_id",
    childid="data.person_ids",
    occurred_at="timestamp",
)
PAYLOAD = {
    "type": "enquiry.created",
    "timestamp": "2026-11-21T02:00:00Z",
    "data": {"estate_id": 501, "person_ids": [1, 2]},
}


def make_source(*rules: Rule, **other: Any) -> Source:
    account = {} if "account_from" in other else {"account": "acme"}
    return Source(
        name="immo", scheme="bearer", secrets=(Secret("desk-secret"),), rules=rules, **account, **other
    )


def map_payload(payload: object, *rules: Rule, **other: Any) -> list[Change]:
    return [mapped.change for mapped in build_changes(make_source(*rules, **other), payload, "msg-1")]


def refused(payload: object, *rules: Rule, **other: Any) -> list[str]:
    with pytest.raises(InvalidChange) as raised:
        map_payload(payload, *rules, **other)
    return [fault.location for fault in raised.value.faults]


def make_rule(**other: Any) -> Rule:
    return Rule(
        **{
            "action": "'create'",
            "relationtype": "'estate:address:buyer'",
            "parentid": "p",
            "childid": "c",
            **other,
        }
    )


def test_a_rule_makes_a_change_with_the_identity_of_the_message() -> None:
    (change,) = map_payload(PAYLOAD, ENQUIRY)
    assert (change.account, change.action, change.type) == ("acme", "create", "estate:address:interested")
    assert (change.parents, change.children) == ((501,), (1, 2))
    assert (change.source, change.event_id) == ("immo", "msg-1:0:0")
    assert change.occurred_at == 1_795_226_400_000_000


def test_a_payload_that_no_rule_matches_makes_no_change() -> None:
    assert map_payload({"type": "ping"}, ENQUIRY) == []


@pytest.mark.parametrize(
    ("value", "holds"),
    [
        (0, True),
        (1, True),
        ("x", True),
        (True, True),
        (False, False),
        ("", False),
        ([], False),
        (None, False),
    ],
)
def test_a_condition_holds_as_jmespath_has_it(value: object, holds: bool) -> None:
    assert bool(map_payload({"go": value, "p": 1, "c": 2}, make_rule(when="go"))) == holds


def test_several_rules_make_several_changes_and_their_faults_are_named_by_make_rule() -> None:
    swap = (make_rule(childid="now"), make_rule(action="'delete'", childid="before"))
    changes = map_payload({"p": 1, "now": 43, "before": 42}, *swap)
    assert [(change.action, change.children, change.event_id) for change in changes] == [
        ("create", (43,), "msg-1:0:0"),
        ("delete", (42,), "msg-1:1:0"),
    ]
    assert refused({"p": 1, "now": "43"}, *swap) == ["rules[0].childid", "rules[1].childid"]


def test_several_parents_with_several_children_are_one_change_per_parent() -> None:
    changes = map_payload({"p": [1, 2], "c": [3, 4]}, make_rule())
    assert [(change.parents, change.children, change.event_id) for change in changes] == [
        ((1,), (3, 4), "msg-1:0:0"),
        ((2,), (3, 4), "msg-1:0:1"),
    ]


def test_the_payloads_own_id_replaces_that_of_the_delivery() -> None:
    rules = (make_rule(event_id="key"), make_rule(action="'delete'", event_id="key", childid="before"))
    assert [change.event_id for change in map_payload({"p": 1, "c": 2, "before": 3, "key": 77}, *rules)] == [
        "77:0:0",
        "77:1:0",
    ]
    for key in (None, "", True, [], 0.5):  # what many messages have would make them one
        found = refused({"p": 1, "c": 2, "before": 3, "key": key}, *rules)
        assert found == ["rules[0].event_id", "rules[1].event_id"], key


def test_text_becomes_a_number_only_where_the_rule_converts_it() -> None:
    assert refused({"p": "1", "c": 2}, make_rule()) == ["rules[0].parentid"]
    assert map_payload(
        {"p": "1", "c": ["2", "3"]}, make_rule(parentid="to_number(p)", childid="c[].to_number(@)")
    )[0].relations
    assert refused({"p": 1, "c": 2}, make_rule(when="contains(type, 'x')")) == ["rules[0].when"]


def test_the_payload_may_name_the_account() -> None:
    account = {"account_from": "tenant", "accounts": {"00001-001": "acme", "2": "beta"}}
    assert [
        map_payload({"tenant": tenant, "p": 1, "c": 2}, make_rule(), **account)[0].account
        for tenant in ("00001-001", "2", 2)
    ] == [
        "acme",
        "beta",
        "beta",
    ]
    for payload in ({}, {"tenant": "3"}, {"tenant": ["2"]}, None, 7):
        assert refused(payload, make_rule(), **account) == ["account_from"]


def test_the_ids_in_the_query_of_onoffice_are_numbers_even_with_thousands_dots() -> None:
    office = Source(
        name="office",
        account="acme",
        scheme="onoffice",
        secrets=(Secret("provider-secret"),),
        rules=(make_rule(),),
    )
    query = "estateId=4.629&userId=21&customerWebId=00001-001&parameterCacheId=1.2&timestamp=1700000000"
    url = f"https://here/?{query}"
    assert read_payload(office, WebhookDelivery(url, {}, b"")) == {
        "estateId": 4629,
        "userId": 21,
        "customerWebId": "00001-001",
        "parameterCacheId": "1.2",
        "timestamp": "1700000000",
    }


@pytest.mark.parametrize(
    "at",
    [
        1_795_226_400,
        1_795_226_400.0,
        1_795_226_400_000,
        1_795_226_400_000_000,
        "1795226400",
        "1795226400000",
        "1795226400.000",
        "2026-11-21T02:00:00Z",
        "2026-11-21T03:00:00+0100",
        "2026-11-21T03:00:00.000+01",
        "2026-11-21 02:00:00 +0000",
        "2026-11-20T21:00:00-0500",
    ],
)
def test_the_time_of_an_event_may_be_a_number_since_1970_or_nearly_by_rfc_3339(at: object) -> None:
    (change,) = map_payload({"p": 1, "c": 2, "at": at}, make_rule(occurred_at="at"))
    assert change.occurred_at == 1_795_226_400_000_000


@pytest.mark.parametrize(
    "at",
    [
        True,
        -1,
        1e300,
        10**30,
        10**400,
        float("inf"),
        "",
        "2026-11-21",
        "2026-11-21T02:00:00",
        "soon",
        [1],
        {},
    ],
)
def test_a_time_that_leaves_open_which_is_refused(at: object) -> None:
    assert refused({"p": 1, "c": 2, "at": at}, make_rule(occurred_at="at")) == ["rules[0].occurred_at"]


def test_a_payload_that_is_nested_deeply_is_read_or_refused() -> None:
    for depth in range(50, 1100, 50):
        try:
            read_payload(make_source(), WebhookDelivery("https://here", {}, b"[" * depth + b"]" * depth))
        except InvalidChange as error:
            assert "nest" in str(error) or "recurs" in str(error).lower()  # noqa: PT017


def test_a_fraction_of_a_second_is_kept() -> None:
    (change,) = map_payload({"p": 1, "c": 2, "at": 1_795_226_400.25}, make_rule(occurred_at="at"))
    assert change.occurred_at == 1_795_226_400_250_000


@pytest.mark.parametrize("written", ["NFC", "NFD"])
@pytest.mark.parametrize("sent", ["NFC", "NFD"])
def test_umlauts_are_equal_however_many_characters_they_are_sent_or_written_in(
    sent: str, written: str
) -> None:
    payload = unicodedata.normalize(sent, '{"büro": "Köln", "art": "Käufer", "p": 1, "c": 2}').encode()
    rule = make_rule(when=unicodedata.normalize(written, "art == 'Käufer'"))
    accounts = {unicodedata.normalize(written, "Köln"): "acme"}
    source = make_source(rule, account_from=unicodedata.normalize(written, '"büro"'), accounts=accounts)
    read = read_payload(source, WebhookDelivery("https://here", {}, payload))
    assert [mapped.change.account for mapped in build_changes(source, read, "m")] == ["acme"]


HUBSPOT = [
    {"eventId": 1, "objectId": 501, "propertyValue": 9001, "occurredAt": "2026-11-21T02:00:00Z"},
    {"eventId": 2, "objectId": 502, "propertyValue": 9002, "occurredAt": "2026-11-21T01:00:00Z"},
    {"eventId": 3, "objectId": 503, "propertyValue": None},
]
EACH_EVENT = make_rule(
    each=("[]",),
    when="propertyValue",
    parentid="objectId",
    childid="propertyValue",
    occurred_at="occurredAt",
    event_id="eventId",
)


def test_each_event_of_a_delivery_makes_its_own_change_with_its_own_id_and_time() -> None:
    changes = map_payload(HUBSPOT, EACH_EVENT)
    assert [(change.parents, change.children, change.event_id) for change in changes] == [
        ((501,), (9001,), "1:0:0"),
        ((502,), (9002,), "2:0:0"),
    ]
    assert [change.occurred_at for change in changes] == [1_795_226_400_000_000, 1_795_222_800_000_000]


def test_events_without_an_id_are_told_apart_by_their_place_in_the_delivery() -> None:
    rule = replace(EACH_EVENT, event_id="")
    assert [change.event_id for change in map_payload(HUBSPOT, rule)] == ["msg-1:0:0:0", "msg-1:0:1:0"]
    assert refused([{**HUBSPOT[0]}, {**HUBSPOT[1], "objectId": None}], rule) == ["rules[0].each[1].parentid"]


def test_two_events_of_one_id_in_a_delivery_are_one_if_they_are_equal_and_refused_if_not() -> None:
    again = {**HUBSPOT[1], "eventId": 1}
    assert len({change.event_id for change in map_payload([HUBSPOT[0]] * 2, EACH_EVENT)}) == 1
    assert refused([HUBSPOT[0], again], EACH_EVENT) == ["rules[0].each[1].event_id"]


FEEDBACK = {
    "agency": "00001-001",
    "objekt": [
        {"nr": 1, "interessent": [{"id": 11}, {"id": 12}]},
        {"nr": 2, "interessent": {"id": 21}},
        {"nr": 3},
    ],
}


@pytest.mark.parametrize("parent", ["outer().nr", "outer(`1`).nr", "root().objekt[?nr == `2`] | [0].nr"])
def test_nested_lists_are_pairs_within_each_element_never_a_product(parent: str) -> None:
    rule = make_rule(each=("objekt", "interessent"), when="outer().nr", parentid=parent, childid="id")
    pairs = [(change.parents[0], change.children[0]) for change in map_payload(FEEDBACK, rule)]
    parents = [2, 2, 2] if "root" in parent else [1, 1, 2]
    assert pairs == list(zip(parents, [11, 12, 21], strict=True))


def test_an_event_may_name_its_account_or_what_is_around_it_does() -> None:
    account = {"account_from": "agency", "accounts": {"00001-001": "acme", "2": "beta"}}
    rule = make_rule(each=("objekt[]", "interessent"), parentid="outer().nr", childid="id")
    own = {**FEEDBACK, "objekt": [{**FEEDBACK["objekt"][0], "agency": 2}, FEEDBACK["objekt"][1]]}
    assert [change.account for change in map_payload(own, rule, **account)] == ["beta", "beta", "acme"]
    assert map_payload({"objekt": []}, rule, **account) == []


@pytest.mark.parametrize(
    ("agencies", "account"), [(["2", "2"], "beta"), (["2", "00001-001"], ""), ([None, "2"], "beta"), ([], "")]
)
def test_a_message_that_is_kept_is_for_the_one_account_of_its_events(
    agencies: list[str | None], account: str
) -> None:
    accounts = {"00001-001": "acme", "2": "beta"}
    source = make_source(make_rule(each=("[]",)), account_from="agency", accounts=accounts)
    body = msgspec.json.encode([{"agency": agency, "p": 1} for agency in agencies])
    delivery = WebhookDelivery("https://here/webhooks/immo", {}, body)
    assert make_unreadable_message(source, delivery, "m", ["x"]).account == account


@pytest.mark.parametrize(
    ("parent", "child"),
    [
        ("[].objectId", "[].propertyValue"),
        ("[*].objectId", "[].propertyValue"),
        ("[?propertyValue].objectId", "[:2].propertyValue"),
        ("map(&objectId, @)", "[] | [].propertyValue"),
        ("[].to_number(objectId)", "[].propertyValue | [?@ > `9001`]"),
    ],
)
def test_parallel_lists_are_refused_because_they_lose_what_belongs_together(parent: str, child: str) -> None:
    rule = make_rule(parentid=parent, childid=child)
    assert refused(HUBSPOT[:2], rule) == ["rules[0].parentid"]
    with pytest.raises(InvalidChange, match="`each`"):
        map_payload(HUBSPOT[:2], rule)


def test_lists_of_their_own_on_both_sides_stay_every_parent_with_every_child() -> None:
    payload = {"estates": [{"id": 1}, {"id": 2}], "persons": [{"id": 3}, {"id": 4}]}
    changes = map_payload(payload, make_rule(parentid="estates[].id", childid="persons[].id"))
    assert [(change.parents, change.children) for change in changes] == [((1,), (3, 4)), ((2,), (3, 4))]


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner) | st.dictionaries(st.sampled_from(["p", "c", "go", "key"]) | st.text(), inner)
    ),
)


@given(anything)
def test_any_payload_makes_changes_or_faults_and_always_the_same_ones(payload: object) -> None:
    def attempt() -> object:
        try:
            return map_payload(
                payload,
                make_rule(each=("p", "c")),
                make_rule(when="go"),
                make_rule(event_id="key"),
                make_rule(childid="to_number(c)"),
            )
        except InvalidChange as error:
            return error.faults

    assert attempt() == attempt()


def test_a_broken_expression_is_named_before_anything_starts() -> None:
    settings = Settings(
        sources={
            "immo": make_source(make_rule(childid="data.["), make_rule(when="a ==", each=("[]", "b["))),
            "good": make_source(ENQUIRY),
        }
    )
    with pytest.raises(InvalidSettings) as raised:
        check_rules(settings)
    assert [fault.location for fault in raised.value.faults] == [
        "sources.immo.rules[0].childid",
        "sources.immo.rules[1].when",
        "sources.immo.rules[1].each[1]",
    ]


def test_rules_read_headers_the_query_and_further_parts_of_the_address() -> None:
    rule = make_rule(
        when="header('X-GitHub-Event') == 'push' && query('event') == 'größer' && query('none') == null",
        parentid="to_number(path(`0`))",
        childid="to_number(path(`1`))",
        event_id="header('x-github-delivery')",
    )
    headers = {"x-github-event": "push", "x-github-delivery": "d-1"}
    delivery = WebhookDelivery("https://here/webhooks/immo/501/90%301?event=gr%C3%B6%C3%9Fer", headers, b"")
    (mapped,) = build_changes(make_source(rule), None, "m", delivery)
    assert (mapped.change.parents, mapped.change.children, mapped.change.event_id) == (
        (501,),
        (9001,),
        "d-1:0:0",
    )
    assert build_changes(make_source(rule), None, "m", delivery._replace(headers={})) == []


@pytest.mark.parametrize(
    ("payload", "rule", "fault"),
    [
        ({"p": [*range(1, 1001)], "c": [*range(1, 25_001)]}, {}, "rules[0].childid"),
        ({"p": [*range(1, 25_001)], "c": [1, 2]}, {}, "rules[0].parentid"),
        ({"p": [*range(1, 1001)], "c": ["x"] * 500}, {}, "rules[0].childid[0]"),
        ([{"p": 1, "c": 2}] * 8000, {"childid": "max(root()[].c)"}, "rules[0].each[62].childid"),
        ([{"p": 1, "c": 2}] * 8000, {"when": "length(to_string(root())) > `1`"}, "rules[0].each[99].when"),
        ([{"p": 1, "c": 2}] * 8000, {"when": "length(sort_by(root(), &c)) > `1`"}, "rules[0].each[40].when"),
        ([{"p": 1, "c": 2}] * 11_000, {}, "rules[0].each"),
    ],
)
def test_work_that_multiplies_is_refused_before_it_is_done(
    payload: object, rule: dict[str, str], fault: str
) -> None:
    each = {"each": ("[]",)} if isinstance(payload, list) else {}
    began = time.process_time()
    first, *more = refused(payload, make_rule(**each, **rule))
    assert not more or first.startswith("rules[0].childid")
    assert re.sub("each.[0-9]+", "each[N", first) == re.sub("each.[0-9]+", "each[N", fault)
    assert time.process_time() - began < 6
