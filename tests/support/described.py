"""What an answer of the HTTP interface has that its OpenAPI document does not describe."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

Schema = Mapping[str, Any]


def find_undescribed(document: Schema, method: str, path: str, status: int, answer: Any) -> list[str]:
    """Return where a JSON answer has fields that its description does not have; none of unknown addresses."""
    for template, operations in document["paths"].items():
        operation = operations.get(method.lower())
        if operation and re.fullmatch(re.sub(r"\{[^}]*\}", "[^/]+", template), path):
            content = operation["responses"].get(str(status), {}).get("content", {})
            schema = content.get("application/json", {}).get("schema", {})
            return list(_walk(document["components"]["schemas"], schema, answer, ""))
    return []


def _walk(schemas: Schema, schema: Schema, value: Any, place: str) -> Iterator[str]:
    choices = list(_choices(schemas, schema))
    if isinstance(value, list):
        for item in value:
            for choice in choices:
                yield from _walk(schemas, choice.get("items", {}), item, f"{place}[]")
    if not isinstance(value, dict) or not any("properties" in choice for choice in choices):
        return
    fields = {name: field for choice in choices for name, field in choice.get("properties", {}).items()}
    for name, inner in value.items():
        if name in fields:
            yield from _walk(schemas, fields[name], inner, f"{place}.{name}")
        elif not any(choice.get("additionalProperties") for choice in choices):
            yield f"{place}.{name}"


def _choices(schemas: Schema, schema: Schema) -> Iterator[Schema]:
    """Yield the schemas, of which a value may have any, with references followed."""
    if "$ref" in schema:
        schema = schemas[schema["$ref"].rpartition("/")[2]]
    if alternatives := [*schema.get("anyOf", ()), *schema.get("oneOf", ())]:
        for alternative in alternatives:
            yield from _choices(schemas, alternative)
    else:
        yield schema
