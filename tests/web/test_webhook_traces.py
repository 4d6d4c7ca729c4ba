"""Explanations of rules: every condition is taken apart into values, written as the expressions they are."""

import json
import time
from dataclasses import replace
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.explain.deliveries import describe_trace
from ops.serializers.deliveries import serialize_trace
from producers.webhooks.expressions import compile_expression, search
from producers.webhooks.mapping import build_changes, read_payload
from producers.webhooks.scope import NO_DELIVERY, Budget, Scope
from producers.webhooks.signatures import WebhookDelivery
from producers.webhooks.trace import MAX_VALUE, explain_rules, list_operands
from worker.config import Rule, Secret, Source
from worker.config.values import IgnoreRule
from worker.errors import InvalidChange

RULE = Rule(action="'create'", relationtype="'estate:address:buyer'", parentid="estate", childid="person")
NAMES: Final = st.sampled_from(["type", "data", "we-ird", "ä", 'quo"te'])
LITERALS: Final = st.sampled_from(["'new'", "`1`", "`null`", "`[1, 2]`", "''"])
FIELDS = NAMES.map(
    lambda name: name if name.isascii() and name.isalpha() else '"' + name.replace('"', '\\"') + '"'
)


def compose(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(
        st.builds("{}.{}".format, inner, FIELDS),
        st.builds("{}[0]".format, inner),
        st.builds("{}[-1]".format, FIELDS),
        st.builds("{}[].{}".format, FIELDS, FIELDS),
        st.builds("{}[*].{}[0]".format, FIELDS, FIELDS),
        st.builds("{}[?{} == 'x'].{}".format, FIELDS, FIELDS, FIELDS),
        st.builds("{}[1:3].{}".format, FIELDS, FIELDS),
        st.builds("{}.*.{}".format, FIELDS, FIELDS),
        st.builds("length({})".format, inner),
        st.builds("not_null({}, {})".format, FIELDS, LITERALS),
        st.builds("sort_by({}, &{})".format, FIELDS, FIELDS),
        st.builds("[{}, {}]".format, FIELDS, FIELDS),
        st.builds("{{a: {}, b: {}}}".format, FIELDS, FIELDS),
    )


VALUES = st.recursive(FIELDS, compose, max_leaves=4)
CONDITIONS = st.recursive(
    st.one_of(
        VALUES,
        st.builds("{} {} {}".format, VALUES, st.sampled_from(["==", "!=", "<", ">="]), LITERALS),
        st.builds("contains({}, {})".format, VALUES, LITERALS),
    ),
    lambda inner: st.one_of(
        st.builds("({} && {})".format, inner, inner),
        st.builds("({} || {})".format, inner, inner),
        st.builds("!({})".format, inner),
    ),
    max_leaves=4,
)


@given(condition=VALUES)
def test_a_value_is_shown_as_it_is_written(condition: str) -> None:
    for written in (condition, f"( {condition} ) == 'x'", f"!({condition}) && contains( {condition} , 'x')"):
        assert list_operands(written) == (condition,)


def test_an_expression_of_several_lines_is_shown_in_one() -> None:
    [trace] = explain_rules(source(rule(when="not_null(a,\n  'b  c'\n) == 'x'")), {})
    assert trace.found == {"not_null(a, 'b c' )": '"b  c"'}


@given(condition=CONDITIONS)
def test_every_condition_is_taken_apart_into_expressions(condition: str) -> None:
    operands = list_operands(condition)
    assert operands
    for operand in operands:
        compile_expression(operand)
        assert not operand.startswith(("'", "`"))


def source(*rules: Rule, ignore: tuple[IgnoreRule, ...] = ()) -> Source:
    secrets = (Secret("a-secret-of-the-tests"),)
    return Source(name="x", account="acme", scheme="bearer", secrets=secrets, rules=rules, ignore=ignore)


def rule(**changed: Any) -> Rule:
    values = {name: getattr(RULE, name) for name in ("action", "relationtype", "parentid", "childid")}
    return Rule(**{**values, **changed})


PAYLOAD = st.fixed_dictionaries(
    {},
    optional={
        "estate": st.sampled_from([1, 0, "1", None]),
        "person": st.sampled_from([2, [2, 3], [], "x"]),
        "type": st.sampled_from(["new", "old", 1]),
        "rows": st.lists(st.fixed_dictionaries({"type": st.sampled_from(["new", "old"])}), max_size=3),
    },
)


@given(payload=PAYLOAD, ignored=st.booleans())
def test_an_explanation_agrees_with_what_was_made(payload: dict[str, Any], ignored: bool) -> None:
    ignore = (IgnoreRule(when="type == 'old'", because="old"),) if ignored else ()
    tried = source(
        rule(when="type == 'new'"),
        rule(each=("rows",), when="type == 'new'", parentid="root().estate", childid="`7`"),
        rule(when="type == `1`"),
        ignore=ignore,
    )
    error: InvalidChange | None = None
    try:
        made = build_changes(tried, payload, "m", NO_DELIVERY)
    except InvalidChange as fault:
        made, error = [], fault
    traces = explain_rules(tried, payload, made=made, error=error)
    by_outcome = {trace.rule: trace.outcome for trace in traces}
    assert {path.partition(".")[0] for path, _ in made} == {
        name for name, outcome in by_outcome.items() if outcome == "made"
    }
    assert bool(error) == ("failed" in by_outcome.values())
    if ignored and payload.get("type") == "old":
        assert by_outcome == {"ignore[0]": "ignored"}
    elif not error:
        assert set(by_outcome.values()) <= {"made", "no_match", "no_elements"}
    for trace in traces:
        if trace.outcome == "no_match":
            assert trace.found


@pytest.mark.parametrize(
    "value", ["x" * 10_000, ["x" * 100] * 10_000, {"a": [{"b": [[["c"]]]}] * 9999}, 10**300, None, "ä" * 999]
)
def test_a_value_is_shown_by_its_beginning_however_large_it_is(value: object) -> None:
    [trace] = explain_rules(source(rule(when="v == 'x'")), {"v": value})
    assert list(trace.found) == ["v"]
    assert 0 < len(trace.found["v"]) <= MAX_VALUE


def test_an_explanation_that_would_cost_too_much_is_cut_and_not_an_error() -> None:
    payload = {"rows": [{"a": index} for index in range(9000)], "other": list(range(9000))}
    costly = rule(each=("rows",), when="length(root().other[?@ > `9000`]) > `0`")
    [trace] = explain_rules(source(costly), payload)
    assert trace.outcome in ("no_match", "would_make")
    scope = Scope(payload, budget=Budget(10))
    with pytest.raises(InvalidChange):
        search("rows[].a", scope, "")


@pytest.mark.parametrize(
    ("changed", "payload", "found"),
    [
        (
            {"parentid": "reference('estate', {objektnr_extern: field(@, ['Objekt', 'Nr.'])})"},
            {"Immobilie": "00815", "person": 1},
            {"field(@, ['Objekt', 'Nr.'])": "null", "@": '{"Immobilie": "00815", "person": 1}'},
        ),
        (
            {
                "each": ("rows",),
                "parentid": "to_number(nr)",
                "childid": "first(`null`, reference('address', {email: email(to)}))",
            },
            {"rows": [{"nr": "1", "to": "a@b.test"}, {"nr": "1.000", "to": "x"}]},
            {"to_number(nr)": "null", "nr": '"1.000"', "email(to)": "null", "to": '"x"'},
        ),
        (
            {"occurred_at": "time(at)"},
            {"estate": 1, "person": 2, "at": "soon"},
            {"time(at)": "soon", "at": '"soon"'},
        ),
        ({"each": ("rows | keys(@)",)}, {"rows": [1]}, {}),
        (
            {"childid": "map(&id, rows)"},
            {"estate": 1, "rows": [{"id": "x"}]},
            {"map(&id, rows)": '["x"]', "rows": '[{"id": "x"}]'},
        ),
        ({"action": "'modify'"}, {"estate": 1, "person": 2}, {}),  # it has no relationinfo, which that needs
    ],
)
def test_a_rule_that_fails_shows_what_the_parts_of_its_expressions_found(
    changed: dict[str, Any], payload: object, found: dict[str, str]
) -> None:
    tried = source(rule(when="`true`"), rule(**changed))
    with pytest.raises(InvalidChange) as raised:
        build_changes(tried, payload, "m", NO_DELIVERY)
    *_, trace = explain_rules(tried, payload, error=raised.value)
    assert trace.outcome == "failed"
    assert trace.faults
    assert trace.found.keys() == found.keys()
    assert all(text in trace.found[part] for part, text in found.items())
    told = [*describe_trace(serialize_trace(trace))]
    assert [line for line in told if line.startswith("rules[1]  failed: ")] == told[: len(trace.faults)]
    shown = [f"rules[1]  where {part} is {value}" for part, value in trace.found.items()]
    assert told[len(trace.faults) :] == shown


@pytest.mark.parametrize("how", [{"when": "!@"}, {"parentid": "field(@, 'estate')"}])
def test_an_explanation_does_not_repeat_a_signature_that_stands_in_the_body(how: dict[str, str]) -> None:
    """One that covers no body, such as Mailgun's, would let whoever reads it send others."""
    tried = replace(source(rule(**how)), scheme="hmac", signature_in="body:sig.hmac")
    body = json.dumps({"sig": {"hmac": "c0ffee" * 10}, "text": f"{{'hmac': '{'c0ffee' * 10}'}}", "person": 7})
    delivery = WebhookDelivery("", {}, body.encode())
    error: InvalidChange | None = None
    try:
        build_changes(tried, json.loads(body), "m", delivery)
    except InvalidChange as fault:
        error = fault
    [trace] = explain_rules(tried, json.loads(body), delivery, error=error)
    assert trace.found["@"].startswith('{"sig": {"hmac": "***"}, "text": "{\'hmac\': \'***\'}"')
    assert "c0ffee" not in str(trace)


def test_a_large_body_is_read_once_for_its_signature_however_many_rules_are_explained() -> None:
    rules = [rule(when=f"kind == '{number}'") for number in range(50)]
    tried = replace(source(*rules), scheme="hmac", signature_in="body:sale.sig")
    body = f"<sale><sig>c0ffee</sig>{'<b/>' * 50_000}</sale>".encode()
    delivery = WebhookDelivery("", {"content-type": "application/xml"}, body)
    began = time.process_time()
    payload = read_payload(tried, delivery)
    read = time.process_time()
    traces = explain_rules(tried, payload, delivery)
    assert [(each.outcome, each.found) for each in traces] == [("no_match", {"kind": "null"})] * len(rules)
    assert time.process_time() - read < 10 * (read - began)
