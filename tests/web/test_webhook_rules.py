"""What a webhook means: rules make changes, and what they cannot make is named by rule."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.webhooks.mapping import changes_of, check_rules, payload_of
from producers.webhooks.verify import Delivery
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


def source(*rules: Rule, **other: Any) -> Source:
    whose = {} if "account_from" in other else {"account": "acme"}
    return Source(
        name="immo", scheme="bearer", secrets=(Secret("desk-secret"),), rules=rules, **whose, **other
    )


def made(payload: object, *rules: Rule, **other: Any) -> list[Change]:
    return [each.change for each in changes_of(source(*rules, **other), payload, "msg-1")]


def refused(payload: object, *rules: Rule, **other: Any) -> list[str]:
    with pytest.raises(InvalidChange) as raised:
        made(payload, *rules, **other)
    return [fault.location for fault in raised.value.faults]


def rule(**other: str) -> Rule:
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
    (change,) = made(PAYLOAD, ENQUIRY)
    assert (change.account, change.action, change.type) == ("acme", "create", "estate:address:interested")
    assert (change.parents, change.children) == ((501,), (1, 2))
    assert (change.source, change.event_id) == ("immo", "msg-1:0:0")
    assert change.occurred_at == 1_795_226_400_000_000


def test_a_payload_that_no_rule_is_for_makes_nothing() -> None:
    assert made({"type": "ping"}, ENQUIRY) == []


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
    assert bool(made({"go": value, "p": 1, "c": 2}, rule(when="go"))) == holds


def test_several_rules_make_several_changes_and_their_faults_are_named_by_rule() -> None:
    swap = (rule(childid="now"), rule(action="'delete'", childid="before"))
    changes = made({"p": 1, "now": 43, "before": 42}, *swap)
    assert [(change.action, change.children, change.event_id) for change in changes] == [
        ("create", (43,), "msg-1:0:0"),
        ("delete", (42,), "msg-1:1:0"),
    ]
    assert refused({"p": 1, "now": "43"}, *swap) == ["rules[0].childid", "rules[1].childid"]


def test_several_parents_with_several_children_are_one_change_per_parent() -> None:
    changes = made({"p": [1, 2], "c": [3, 4]}, rule())
    assert [(change.parents, change.children, change.event_id) for change in changes] == [
        ((1,), (3, 4), "msg-1:0:0"),
        ((2,), (3, 4), "msg-1:0:1"),
    ]


def test_the_payloads_own_key_stands_in_for_the_message_id() -> None:
    rules = (rule(event_id="key"), rule(action="'delete'", event_id="key", childid="before"))
    assert [change.event_id for change in made({"p": 1, "c": 2, "before": 3, "key": 77}, *rules)] == [
        "77:0:0",
        "77:1:0",
    ]
    assert refused({"p": 1, "c": 2, "before": 3, "key": None}, *rules) == [
        "rules[0].event_id",
        "rules[1].event_id",
    ]


def test_text_becomes_a_number_only_where_the_rule_says_so() -> None:
    assert refused({"p": "1", "c": 2}, rule()) == ["rules[0].parentid"]
    assert made({"p": "1", "c": ["2", "3"]}, rule(parentid="to_number(p)", childid="c[].to_number(@)"))[
        0
    ].relations
    assert refused({"p": 1, "c": 2}, rule(when="contains(type, 'x')")) == ["rules[0].when"]


def test_the_account_may_stand_in_the_payload() -> None:
    whose = {"account_from": "tenant", "accounts": {"00001-001": "acme", "2": "beta"}}
    assert [
        made({"tenant": tenant, "p": 1, "c": 2}, rule(), **whose)[0].account
        for tenant in ("00001-001", "2", 2)
    ] == [
        "acme",
        "beta",
        "beta",
    ]
    for payload in ({}, {"tenant": "3"}, {"tenant": ["2"]}, None, 7):
        assert refused(payload, rule(), **whose) == ["account_from"]


def test_the_ids_in_the_query_of_onoffice_are_numbers_even_with_thousands_dots() -> None:
    office = Source(
        name="office",
        account="acme",
        scheme="onoffice",
        secrets=(Secret("provider-secret"),),
        rules=(rule(),),
    )
    url = "https://here/?estateId=4.629&userId=21&customerWebId=00001-001&parameterCacheId=1.2&timestamp=1700000000"
    assert payload_of(office, Delivery(url, {}, b"")) == {
        "estateId": 4629,
        "userId": 21,
        "customerWebId": "00001-001",
        "parameterCacheId": "1.2",
        "timestamp": "1700000000",
    }


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[" * 5000])
def test_what_is_no_json_is_a_fault(body: bytes) -> None:
    with pytest.raises(InvalidChange, match="expected JSON"):
        payload_of(source(rule()), Delivery("https://here", {}, body))


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner) | st.dictionaries(st.sampled_from(["p", "c", "go", "key"]) | st.text(), inner)
    ),
)


@given(anything)
def test_whatever_the_payload_it_makes_changes_or_faults_and_the_same_again_the_same(payload: object) -> None:
    def attempt() -> object:
        try:
            return made(payload, rule(when="go"), rule(event_id="key"), rule(childid="to_number(c)"))
        except InvalidChange as error:
            return error.faults

    assert attempt() == attempt()


def test_an_expression_that_cannot_be_read_is_named_before_anything_starts() -> None:
    settings = Settings(
        sources={"immo": source(rule(childid="data.["), rule(when="a ==")), "good": source(ENQUIRY)}
    )
    with pytest.raises(InvalidSettings) as raised:
        check_rules(settings)
    assert [fault.path for fault in raised.value.faults] == [
        "sources.immo.rules[0].childid",
        "sources.immo.rules[1].when",
    ]
