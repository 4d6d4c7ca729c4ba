"""The JSON Schema (2020-12) of a change message, made from the same bounds the decoder uses.

`change.schema.json` beside this file is its golden copy, for producers in other languages.
"""

from typing import Any, get_args

from worker.contract import instant, message
from worker.contract.catalogue import INFO
from worker.contract.types import TYPES, Verb

Schema = dict[str, Any]

_EXAMPLE: Schema = {
    "account": "acme",
    "action": "create",
    "relationtype": "estate:address:buyer",
    "parentid": 501,
    "childid": [9001, 9002],
    "occurred_at": instant.EXAMPLE,
    "event_id": "evt-1",
    "source": "portal",
    "batch": "import-7",
}


def schema() -> Schema:
    """The schema as a JSON value. It is a little stricter than the parser, which also corrects mistyped prefixes."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:onoffice-relations:change:1",
        "title": "Change",
        "description": "An action on 1:n relations of one type. Optional fields may be null, which is the same as leaving them out.",
        "type": "object",
        "properties": _properties(),
        "required": ["account", "action", "relationtype", "parentid", "childid"],
        "additionalProperties": False,
        "anyOf": [{"properties": {side: {"$ref": "#/$defs/single"}}} for side in ("parentid", "childid")],
        "allOf": _info_rules(),
        "$defs": {"id": _id(), "ids": _ids(message.MAX_IDS), "single": _ids(1)},
        "examples": [_EXAMPLE],
    }


def _properties() -> Schema:
    spellings = [*TYPES, *(relation_type.urn for relation_type in TYPES.values())]
    return {
        "account": {
            "description": "The onOffice account.",
            "type": "string",
            "pattern": f"^{message.ACCOUNT}$",
        },
        "action": {"description": "What to do.", "enum": list(get_args(Verb))},
        "relationtype": {"description": "The relation type, by short name or URN.", "enum": spellings},
        "parentid": {
            "description": "The parent record, or several; then the child is one.",
            "$ref": "#/$defs/ids",
        },
        "childid": {
            "description": "The child record, or several; then the parent is one.",
            "$ref": "#/$defs/ids",
        },
        "relationinfo": _info(),
        "occurred_at": _occurred_at(),
        "event_id": _text("The producer's own key, unique per account and source.", message.MAX_EVENT_ID),
        "source": {**_text("Who sends it.", message.MAX_LABEL), "default": message.SOURCE},
        "batch": _text("A label to ask for later.", message.MAX_LABEL),
        "version": {"description": "The version of this message.", "enum": [1, None]},
    }


def _id() -> Schema:
    return {"type": "integer", "minimum": 1, "maximum": message.MAX_ID}


def _ids(longest: int) -> Schema:
    one = {"$ref": "#/$defs/id"}
    return {"anyOf": [one, {"type": "array", "items": one, "minItems": 1, "maxItems": longest}]}


def _info() -> Schema:
    return {
        "description": "The state of an address in an appointment (calendar:address).",
        "type": ["object", "null"],
        "properties": {key: {"enum": list(values)} for key, values in INFO.items()},
        "additionalProperties": False,
    }


def _occurred_at() -> Schema:
    return {
        "description": "When it became true, with offset (RFC 3339); defaults to acceptance.",
        "type": ["string", "null"],
        "format": "date-time",
        "pattern": f"^{instant.PATTERN}$",
    }


def _text(description: str, longest: int) -> Schema:
    return {
        "description": description,
        "type": ["string", "null"],
        "minLength": 1,
        "maxLength": longest,
        "pattern": f"^[^{message.CONTROLS}]+$",
    }


def _info_rules() -> list[Schema]:
    takers = [spelling for known in TYPES.values() if known.info_keys for spelling in (known.name, known.urn)]
    needed = {
        "required": ["relationinfo"],
        "properties": {"relationinfo": {"type": "object", "minProperties": 1}},
    }
    none = {"properties": {"relationinfo": {"maxProperties": 0}}}
    return [
        {"if": _when("action", ["modify"]), "then": needed},
        {"if": _when("action", ["delete"]), "then": none},
        {"if": _when("action", ["create"]), "then": {"if": _when("relationtype", takers), "else": none}},
    ]


def _when(field: str, values: list[str]) -> Schema:
    return {"required": [field], "properties": {field: {"enum": values}}}
