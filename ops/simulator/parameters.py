"""The parameters of an action, parsed into a star, a pair or a question.

A fault raises `ApiRefusal` with the code that the API answers.
"""

from collections.abc import Container, Mapping
from typing import Any, NamedTuple

from ops.simulator.catalogue import READ_ONLY, STORED_AS, URN, WITH_INFO, ApiRefusal
from worker.contract import Relation

Parameters = Mapping[str, Any]

MAX_IDS = 500
MAX_DIGITS = 18  # Python reads no number of thousands of them
_CONFIRMATION = {
    "statusTerminbestaetigung": frozenset({"bestätigt", "gesendet", "gecancelt", "nicht gesetzt"})
}
_FEEDBACK = {"statusTerminrueckmeldung": frozenset({"aktiv", "inaktiv"})}


class StarParameters(NamedTuple):
    """What a create or a modify is about."""

    relations: list[Relation]
    info: dict[str, str]


class Question(NamedTuple):
    """What a get asks: the ids related to `ids`, which are parents (`of_parents`) or children."""

    type: str
    ids: list[int]
    of_parents: bool


def read_type(parameters: Parameters, types: Container[str]) -> str:
    """Return the short name of the relation type; 132 for one that is missing, unknown or mistyped."""
    urn = parameters.get("relationtype")
    if not isinstance(urn, str) or not urn.startswith(URN) or urn.removeprefix(URN) not in types:
        raise ApiRefusal(132)
    name = urn.removeprefix(URN)
    return STORED_AS.get(name, name)


def read_create(parameters: Parameters, types: Container[str]) -> StarParameters:
    """Return the star to create; only an appointment's addresses carry info, and only the confirmation."""
    name = read_type(parameters, types)
    if name in READ_ONLY:
        raise ApiRefusal(132)
    relations = _relations(name, parameters)
    info = _info(parameters, _CONFIRMATION, code=179)
    if info and name != WITH_INFO:
        raise ApiRefusal(179)
    return StarParameters(relations, info)


def read_modify(parameters: Parameters, types: Container[str]) -> StarParameters:
    """Return the star to modify, whose info is mandatory."""
    name = read_type(parameters, types)
    if name != WITH_INFO:
        raise ApiRefusal(182)
    relations = _relations(name, parameters)
    info = _info(parameters, _CONFIRMATION | _FEEDBACK, code=181)
    if not info:
        raise ApiRefusal(181)
    return StarParameters(relations, info)


def read_delete(parameters: Parameters, types: Container[str]) -> Relation:
    """Return the one relation to delete: integers here, no arrays."""
    name = read_type(parameters, types)
    if name in READ_ONLY:
        raise ApiRefusal(132)
    for key in ("parentid", "childid"):
        if not _is_id(_given(parameters, key)):
            raise ApiRefusal(228, key)
    return Relation(name, parameters["parentid"], parameters["childid"])


def read_get(parameters: Parameters, types: Container[str]) -> Question:
    """Return the question: ids of one side, never of both."""
    name = read_type(parameters, types)
    sides = [side for side in ("parentids", "childids") if side in parameters]
    if len(sides) > 1:
        raise ApiRefusal(282)
    side = sides[0] if sides else "parentids"
    return Question(name, _ids(parameters, side), side == "parentids")


def _relations(name: str, parameters: Parameters) -> list[Relation]:
    parents, children = _ids(parameters, "parentid"), _ids(parameters, "childid")
    if len(parents) > 1 and len(children) > 1:
        raise ApiRefusal(219)
    return [Relation(name, parent, child) for parent in parents for child in children]


def _ids(parameters: Parameters, key: str) -> list[int]:
    ids = _given(parameters, key)
    if not isinstance(ids, list):
        raise ApiRefusal(194, key)
    if not ids:
        raise ApiRefusal(185)
    if len(ids) > MAX_IDS:
        raise ApiRefusal(302)
    if not all(map(_is_id, ids)):
        raise ApiRefusal(228, key)
    return ids


def _info(parameters: Parameters, allowed: Mapping[str, frozenset[str]], *, code: int) -> dict[str, str]:
    info = parameters.get("relationinfo") or {}  # PHP writes an empty object as []
    if not isinstance(info, dict) or any(
        not isinstance(value, str) or value not in allowed.get(key, ()) for key, value in info.items()
    ):
        raise ApiRefusal(code)
    return info


def _given(parameters: Parameters, key: str) -> object:
    if key not in parameters:
        raise ApiRefusal(167, key)
    return parameters[key]


def is_digits(value: object) -> bool:
    """Return whether the value is written as digits, and not as more of them than any id or time has."""
    return len(text := str(value)) <= MAX_DIGITS and text.isdecimal()


def _is_id(value: object) -> bool:
    return type(value) is int and value > 0  # a JSON true is an int to isinstance
