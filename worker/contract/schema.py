"""The JSON Schema (2020-12) of a change message, made from the table of its fields.

`change.schema.json` beside this file is its golden copy, for producers in other languages.
"""

from worker.contract import instant, message, reference
from worker.contract.fields import FIELDS, Schema
from worker.contract.types import TYPES

EXAMPLE: Schema = {
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


ALLOW_EMPTY_RULE: Schema = {
    "if": {"required": ["allow_empty"], "properties": {"allow_empty": {"const": True}}},
    "then": {"properties": {"action": {"enum": ["delete", "replace"]}}},
}
SOME_RULE: Schema = {
    "if": {
        "required": ["action", "allow_empty"],
        "properties": {"action": {"const": "replace"}, "allow_empty": {"const": True}},
    },
    "else": {"properties": {side: {"not": {"const": []}} for side in ("parentid", "childid")}},
}


MODULES = f"({'|'.join(reference.MODULES)})"


def schema() -> Schema:
    """Return the schema as a JSON value. The parser takes a little more: it corrects mistyped prefixes."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:onoffice-relations:change:1",
        "title": "Change",
        "description": "An action on 1:n relations of one type. "
        "Optional fields may be null, which is the same as leaving them out.",
        "type": "object",
        "properties": {
            name: {"description": field.description, **field.schema} for name, field in FIELDS.items()
        },
        "required": [name for name, field in FIELDS.items() if field.required],
        "additionalProperties": False,
        "anyOf": [{"properties": {side: {"$ref": "#/$defs/single"}}} for side in ("parentid", "childid")],
        "allOf": [*_info_rules(), ALLOW_EMPTY_RULE, SOME_RULE],
        "$defs": {
            "id": {"type": "integer", "minimum": 1, "maximum": message.MAX_ID},
            **_references(),
            "ids": _ids(0, message.MAX_IDS),
            "single": _ids(1, 1),
        },
        "examples": [EXAMPLE],
    }


def _ids(shortest: int, longest: int) -> Schema:
    one = [{"$ref": "#/$defs/id"}, {"$ref": "#/$defs/reference"}]
    return {
        "anyOf": [*one, {"type": "array", "items": {"anyOf": one}, "minItems": shortest, "maxItems": longest}]
    }


def _references() -> dict[str, Schema]:
    """Return the forms of a reference; each has a name of its own, for generators of clients."""
    examples = [{"address": {"email": "x@example.test"}}, "estate:objektnr_extern=PC910"]
    return {
        "reference": {
            "description": "A record by what is known of it: looked up before the change is carried out.",
            "anyOf": [{"$ref": "#/$defs/reference_text"}, {"$ref": "#/$defs/reference_object"}],
            "examples": examples,
        },
        "reference_text": {"type": "string", "pattern": f"^{MODULES}:{reference.FIELD}=.*\\S"},
        "reference_object": {
            "type": "object",
            "properties": {module: {"$ref": "#/$defs/reference_fields"} for module in reference.MODULES},
            "additionalProperties": False,
            "minProperties": 1,
            "maxProperties": 1,
        },
        "reference_fields": {
            "type": "object",
            "minProperties": 1,
            "maxProperties": reference.MAX_FIELDS,
            "propertyNames": {"pattern": f"^{reference.FIELD}$"},
            "additionalProperties": {"type": ["string", "integer"], "minLength": 1},
        },
    }


def _info_rules() -> list[Schema]:
    """Return `fields.misplaced_info` as schemas."""
    takers = [spelling for known in TYPES.values() if known.info_keys for spelling in (known.name, known.urn)]
    needed = {
        "required": ["relationinfo"],
        "properties": {"relationinfo": {"type": "object", "minProperties": 1}},
    }
    none = {"properties": {"relationinfo": {"maxProperties": 0}}}
    return [
        {"if": _when("action", ["modify"]), "then": needed},
        {"if": _when("action", ["delete", "replace"]), "then": none},
        {"if": _when("action", ["create"]), "then": {"if": _when("relationtype", takers), "else": none}},
    ]


def _when(field: str, values: list[str]) -> Schema:
    return {"required": [field], "properties": {field: {"enum": values}}}
