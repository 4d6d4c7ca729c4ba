"""The interface described for programs: operations in, an OpenAPI 3.1 document out. Pure.

Which operations there are is in `table`; their values are described by the very types that are read and written.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final

import msgspec

from producers.portals.http.problems import Problem
from worker.config.values import Right
from worker.contract import schema

Document = dict[str, Any]
REF: Final = "#/components/schemas/{name}"
PROBLEM: Final = "application/problem+json"
SOON: Final = {"Retry-After": "Seconds after which the same may be sent again."}
HEADERS: Final[Mapping[int, Mapping[str, str]]] = {
    401: {"WWW-Authenticate": "The proof that is wanted."},
    429: SOON,
    503: SOON,
}
WITH_KEY: Final = (401, 403)
WITH_BODY: Final = (400, 408, 413, 415, 422)
ALWAYS: Final = (500,)


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """A part of a path or a header: what it means, and what fits."""

    description: str
    pattern: str = ""
    example: str = ""

    def parameter(self, name: str, place: str) -> Document:
        """As OpenAPI says it."""
        shape = {
            "type": "string",
            **({"pattern": self.pattern} if self.pattern else {}),
            **({"examples": [self.example]} if self.example else {}),
        }
        return {
            "name": name,
            "in": place,
            "required": place == "path",
            "description": self.description,
            "schema": shape,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """What may be sent, by content type: a schema and examples by name; and whether it must be."""

    schemas: Mapping[str, Document]
    examples: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    required: bool = True

    def document(self) -> Document:
        """As OpenAPI says it."""
        content = {kind: _content(shape, self.examples.get(kind, {})) for kind, shape in self.schemas.items()}
        return {"required": self.required, "content": content}


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What is answered when all is well: a type that msgspec can describe, with its headers and an example."""

    description: str
    type: Any
    example: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    kind: str = "application/json"

    def document(self) -> Document:
        """As OpenAPI says it."""
        examples = {} if self.example is None else {"example": self.example}
        return {
            "description": self.description,
            **_headers(self.headers),
            "content": {self.kind: _content(_shape(self.type), examples)},
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One thing that can be asked: by which method, where, with which right of a key (None: without a key), and what is answered.

    `path` is as Starlette has it. `problems` are the statuses beside those that every key (401, 403) and every body brings along.
    """

    method: str
    path: str
    summary: str
    answers: Mapping[int, Answer]
    right: Right | None = None
    places: Mapping[str, Text] = field(default_factory=dict)
    query: type[msgspec.Struct] | None = None
    headers: Mapping[str, Text] = field(default_factory=dict)
    body: Body | None = None
    problems: Sequence[int] = ()

    @property
    def template(self) -> str:
        """The path as OpenAPI has it."""
        return re.sub(r":(path|int)}", "}", self.path)

    def document(self) -> Document:
        """As OpenAPI says it."""
        parameters = [
            *(text.parameter(name, "path") for name, text in self.places.items()),
            *(_query(self.query) if self.query else ()),
            *(text.parameter(name, "header") for name, text in self.headers.items()),
        ]
        statuses = {
            *self.problems,
            *ALWAYS,
            *(WITH_KEY if self.right else ()),
            *(WITH_BODY if self.body else ()),
        }
        return {
            "summary": self.summary,
            "security": [{"key": [self.right]}] if self.right else [],
            **({"parameters": parameters} if parameters else {}),
            **({"requestBody": self.body.document()} if self.body else {}),
            "responses": {
                **{str(status): answer.document() for status, answer in self.answers.items()},
                **{str(status): {"$ref": f"#/components/responses/{status}"} for status in sorted(statuses)},
            },
        }


def document(operations: Sequence[Operation], *, version: str) -> Document:
    """The whole description."""
    paths: dict[str, Document] = {}
    for operation in operations:
        paths.setdefault(operation.template, {})[operation.method.lower()] = operation.document()
    return {
        "openapi": "3.1.0",
        "jsonSchemaDialect": "https://json-schema.org/draft/2020-12/schema",
        "info": {
            "title": "onOffice relations",
            "version": version,
            "description": "Says what should be true of relations in onOffice.",
        },
        "paths": paths,
        "components": {
            "securitySchemes": {
                "key": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A key of this server, with its rights.",
                }
            },
            "responses": {str(status): _problem(status) for status in sorted(_referenced(paths))},
            "schemas": {**_change(), **_schemas(operations)},
        },
    }


def change_ref() -> Document:
    """Where the schema of a change stands."""
    return {"$ref": REF.format(name="Change")}


def _change() -> dict[str, Document]:
    """The schema of a change with its parts, all addressed within this document."""
    text = msgspec.json.encode(schema()).replace(b"#/$defs/", REF.format(name="").encode())
    whole: Document = msgspec.json.decode(text)
    parts: dict[str, Document] = whole.pop("$defs")
    return {
        "Change": {name: value for name, value in whole.items() if name not in ("$schema", "$id")},
        **parts,
    }


def _schemas(operations: Sequence[Operation]) -> dict[str, Document]:
    types = [answer.type for operation in operations for answer in operation.answers.values()]
    return msgspec.json.schema_components([*types, Problem], ref_template=REF)[1]


def _shape(kind: Any) -> Document:
    return msgspec.json.schema_components([kind], ref_template=REF)[0][0]


def _query(kind: type[msgspec.Struct]) -> list[Document]:
    """The fields of a query's type as parameters."""
    (shape,) = msgspec.json.schema(kind)["$defs"].values()
    return [
        {
            "name": name,
            "in": "query",
            "required": name in shape.get("required", ()),
            "description": value.pop("description", ""),
            "schema": value,
        }
        for name, value in shape["properties"].items()
    ]


def _problem(status: int) -> Document:
    example = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": HTTPStatus(status).description or "…",
    }
    content = {PROBLEM: {"schema": _shape(Problem), "example": example}}
    return {"description": HTTPStatus(status).phrase, **_headers(HEADERS.get(status, {})), "content": content}


def _headers(told: Mapping[str, str]) -> Document:
    return (
        {
            "headers": {
                name: {"description": text, "schema": {"type": "string"}} for name, text in told.items()
            }
        }
        if told
        else {}
    )


def _content(shape: Document, examples: Mapping[str, Any]) -> Document:
    if "example" in examples:
        return {"schema": shape, "example": examples["example"]}
    return {
        "schema": shape,
        **({"examples": {name: {"value": value} for name, value in examples.items()}} if examples else {}),
    }


def _referenced(paths: Mapping[str, Mapping[str, Document]]) -> set[int]:
    responses = (operation["responses"] for methods in paths.values() for operation in methods.values())
    return {int(status) for each in responses for status, answer in each.items() if "$ref" in answer}
