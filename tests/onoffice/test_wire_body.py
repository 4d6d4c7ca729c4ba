import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.onoffice import wire
from worker.onoffice.wire import signature
from worker.planner.actions import Action, Kind

IDS = st.integers(1, 2**53)
TYPES = st.sampled_from(["estate:address:buyer", "calendar:address", "estate:estateUnit"])
STAR = st.one_of(
    st.tuples(IDS.map(lambda i: (i,)), st.lists(IDS, min_size=1, max_size=5, unique=True).map(tuple)),
    st.tuples(st.lists(IDS, min_size=1, max_size=5, unique=True).map(tuple), IDS.map(lambda i: (i,))),
)
INFO = st.sampled_from(
    [(), (("statusTerminbestaetigung", "bestätigt"),), (("statusTerminrueckmeldung", "aktiv"),)]
)
WRITES = st.builds(
    lambda kind, type_, star, info: Action(kind, type_, *star, info),
    st.sampled_from(["create", "modify"]),
    TYPES,
    STAR,
    INFO,
)
DELETES = st.builds(
    lambda type_, parent, child: Action("delete", type_, (parent,), (child,)), TYPES, IDS, IDS
)
READ_IDS = st.lists(IDS, min_size=1, max_size=5, unique=True).map(tuple)
GETS = st.builds(
    lambda type_, ids, side: Action("get", type_, *((ids, ()) if side else ((), ids))),
    TYPES,
    READ_IDS,
    st.booleans(),
)
ACTIONS = st.lists(st.one_of(WRITES, DELETES, GETS), min_size=1, max_size=6)
NOW = 1_700_000_000


def encode(
    actions: list[Action], *, modify_action: wire.ModifyAction = "modify", claim: str | None = None
) -> list[dict[str, Any]]:
    identifiers = wire.identifiers("r1", len(actions))
    settings = {
        "token": "tok",
        "secret": "sec",
        "timestamp": NOW,
        "modify_action": modify_action,
        "extendedclaim": claim,
    }
    document = json.loads(wire.body(actions, identifiers=identifiers, **settings))
    assert document.keys() == {"token", "request"}
    assert document["token"] == "tok"
    return document["request"]["actions"]


def as_tuple(value: Any) -> tuple[int, ...]:
    return tuple(value) if isinstance(value, list) else (value,) if value else ()


def decode(action: dict[str, Any]) -> Action:
    """Return the action as the API would understand it."""
    kind: Kind = action["actionid"].rsplit(":", 1)[1]
    parameters = action["parameters"]
    parents, children = (
        as_tuple(parameters.get("parentid", parameters.get("parentids"))),
        as_tuple(parameters.get("childid", parameters.get("childids"))),
    )
    type_ = parameters["relationtype"].removeprefix("urn:onoffice-de-ns:smart:2.5:relationTypes:")
    return Action(kind, type_, parents, children, tuple(parameters.get("relationinfo", {}).items()))


@given(ACTIONS)
def test_the_api_understands_the_actions_as_they_were(actions: list[Action]) -> None:
    assert [decode(action) for action in encode(actions)] == actions


@given(ACTIONS, st.none() | st.just("claim"))
def test_parameters_are_sorted_and_the_claim_is_one_of_them(actions: list[Action], claim: str | None) -> None:
    for action in encode(actions, claim=claim):
        assert list(action["parameters"]) == sorted(action["parameters"])
        assert action["parameters"].get("extendedclaim") == claim


@given(ACTIONS)
def test_every_action_carries_the_signature_of_its_kind(actions: list[Action]) -> None:
    for action in encode(actions):
        parts = {key: action[key] for key in ("timestamp", "resourcetype", "actionid")}
        assert action["hmac"] == signature("sec", token="tok", **parts)
        assert (action["timestamp"], action["hmac_version"], action["resourceid"]) == (NOW, "2", "")


@given(ACTIONS)
def test_identifiers_are_distinct_and_begin_with_the_request(actions: list[Action]) -> None:
    identifiers = [action["identifier"] for action in encode(actions)]
    assert len(set(identifiers)) == len(actions)
    assert all(identifier.startswith("r1.") for identifier in identifiers)


def test_a_create_looks_as_documented() -> None:
    (action,) = encode([Action("create", "calendar:address", (2909,), (10821, 10823))])
    assert action.pop("hmac")
    assert action == {
        "actionid": "urn:onoffice-de-ns:smart:2.5:smartml:action:create",
        "resourceid": "",
        "resourcetype": "relation",
        "identifier": "r1.0",
        "timestamp": NOW,
        "hmac_version": "2",
        "parameters": {
            "childid": [10821, 10823],
            "parentid": [2909],
            "relationtype": "urn:onoffice-de-ns:smart:2.5:relationTypes:calendar:address",
        },
    }


def test_a_delete_sends_integers() -> None:
    (action,) = encode([Action("delete", "calendar:address", (671,), (153,))])
    assert (action["parameters"]["parentid"], action["parameters"]["childid"]) == (671, 153)


def test_a_delete_of_more_than_one_pair_is_a_bug_of_the_caller() -> None:
    with pytest.raises(ValueError, match="unpack"):
        encode([Action("delete", "calendar:address", (671,), (153, 154))])


def test_a_read_asks_by_the_side_that_is_given() -> None:
    by_parent, by_child = encode(
        [Action("get", "calendar:address", (1, 2), ()), Action("get", "calendar:address", (), (3,))]
    )
    assert by_parent["resourcetype"] == by_child["resourcetype"] == "idsfromrelation"
    assert by_parent["parameters"].keys() == {"parentids", "relationtype"}
    assert by_child["parameters"].keys() == {"childids", "relationtype"}


def test_the_action_id_of_a_modify_is_a_setting() -> None:
    modify = Action("modify", "calendar:address", (1,), (2,), (("statusTerminbestaetigung", "gesendet"),))
    delete = Action("delete", "calendar:address", (1,), (2,))
    assert [a["actionid"].rsplit(":")[-1] for a in encode([modify, delete], modify_action="create")] == [
        "create",
        "delete",
    ]
