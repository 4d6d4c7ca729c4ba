"""The OpenAPI 3.1 document of routes, made of the very types that are read and written. Pure."""

import inspect
import re
import sys
from collections.abc import Collection, Mapping, Sequence
from functools import cache
from http import HTTPStatus
from typing import Any, Final, TypedDict

import msgspec

from producers.portals.http.api_route import ApiRoute, ResponseDoc
from producers.portals.http.problems import ProblemDict
from worker.contract import schema

Document = dict[str, Any]

SCHEMAS: Final = "#/components/schemas/"
CHANGE_REF: Final[Mapping[str, str]] = {"$ref": f"{SCHEMAS}Change"}
RETRY_AFTER: Final = {"Retry-After": "Seconds after which the same may be sent again."}
PROBLEM_HEADERS: Final[Mapping[int, Mapping[str, str]]] = {
    401: {"WWW-Authenticate": "The proof that is wanted."},
    429: RETRY_AFTER,
    503: RETRY_AFTER,
}
MAX_INT32: Final = 2**31 - 1
PROBLEMS_OF_KEYS: Final = (401, 403)
PROBLEMS_OF_BODIES: Final = (400, 408, 413, 415, 422)


TAGS: Final[Mapping[str, str]] = {  # by the first part of the path behind /v1
    "changes": "What should be true of relations.",
    "jobs": "Accepted changes, and what became of them.",
    "batches": "How far the jobs with a label are.",
    "webhooks": "Messages of other systems.",
    "deliveries": "What came to the webhooks, what became of it, and reading it again.",
    "relations": "Why a relation is as it is.",
    "errors": "What failed and waits for a decision.",
    "health": "How all is.",
    "history": "What accounts did over the last day.",
    "me": "Who asks.",
    "requests": "What was sent to the API and answered.",
    "replays": "Failed jobs that are sent again.",
    "callbacks": "What is told when all of a batch has ended.",
    "accounts": "What is sent of an account, and how fast.",
    "audit": "Who did what.",
    "erasures": "Records that are taken out of everything that is kept.",
    "service": "Whether it is well.",
}
PROJECT: Final = "https://github.com/onoffice-relations/onoffice-relations"


class OpenApiDict(TypedDict):
    """The parts of a description that every one has."""

    openapi: str
    info: dict[str, Any]
    paths: dict[str, Any]
    components: dict[str, Any]


def openapi_document(routes: Sequence[ApiRoute], *, version: str) -> Document:
    """Return the description of an interface that has these routes."""
    paths: dict[str, Document] = {}
    for route in routes:
        template = re.sub(r":(path|record)}", "}", route.path)
        paths.setdefault(template, {})[route.method.lower()] = _operation(route)
    problems = {status for route in routes for status in _problem_statuses(route)}
    answers = [response.type for route in routes for response in route.responses.values()]
    forms = [route.form for route in routes if route.form]
    document: Document = {
        "openapi": "3.1.0",
        "jsonSchemaDialect": "https://json-schema.org/draft/2020-12/schema",
        "info": {
            "title": "onOffice relations",
            "version": version,
            "description": "Says what should be true of relations in onOffice.",
            "license": {"name": "MIT", "identifier": "MIT"},
            "contact": {"name": "onoffice-relations", "url": PROJECT},
        },
        "servers": [{"url": "/", "description": "The server that this description comes from."}],
        "tags": [{"name": name, "description": text} for name, text in TAGS.items()],
        "externalDocs": {"url": f"{PROJECT}/blob/main/docs/reference/http.md"},
        "paths": paths,
        "components": {
            "securitySchemes": {
                "key": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A key of this server; each operation names the right that it needs.",
                }
            },
            "responses": {str(status): _problem(status) for status in sorted(problems)},
            "schemas": _for_generators({**_change_schemas(), **_schemas(*answers, *forms, ProblemDict)[1]}),
        },
    }
    exact: Document = _with_exact_types(document)
    return exact


def _operation(route: ApiRoute) -> Document:
    responses = {str(status): _response(response) for status, response in route.responses.items()}
    problems = {
        str(status): {"$ref": f"#/components/responses/{status}"} for status in _problem_statuses(route)
    }
    operation: Document = {
        "operationId": route.operation or _camel_case(route.function.__name__),
        "tags": [_find_tag(route.path)],
        "summary": route.summary,
        "description": _describe(route),
        "security": [{"key": []}] if route.right else [],
        "responses": responses | problems,
    }
    if parameters := _all_parameters(route):
        operation["parameters"] = parameters
    if content := _body_content(route):
        operation["requestBody"] = {"required": route.form_required, "content": content}
    return operation


def _camel_case(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(map(str.capitalize, others))


def _find_tag(path: str) -> str:
    name = path.removeprefix("/v1").split("/")[1]
    return name if name in TAGS else "service"


def _describe(route: ApiRoute) -> str:
    text = inspect.getdoc(route.function) or ""
    return f"{text}\n\nNeeds a key with the right `{route.right}`." if route.right else text


def _problem_statuses(route: ApiRoute) -> list[int]:
    of_key = PROBLEMS_OF_KEYS if route.right else ()
    of_body = PROBLEMS_OF_BODIES if route.form or route.body else ()
    return sorted({500, *route.problems, *of_key, *of_body})


def _all_parameters(route: ApiRoute) -> list[Document]:
    path = {name: msgspec.json.schema(kind) for name, kind in route.path_params.items()}
    headers = {name: msgspec.json.schema(kind) for name, kind in route.headers.items()}
    query = _inline_schema(route.query) if route.query else {"properties": {}}
    return [
        *_parameters("path", path, required=path),
        *_parameters("query", query["properties"], required=query.get("required", ())),
        *_parameters("header", headers, required=()),
    ]


def _parameters(place: str, schemas: Mapping[str, Document], *, required: Collection[str]) -> list[Document]:
    return [
        {
            "name": name,
            "in": place,
            "required": name in required,
            "description": shape.pop("description", ""),
            "schema": shape,
        }
        for name, shape in schemas.items()
    ]


def _body_content(route: ApiRoute) -> Mapping[str, Any]:
    if route.form is None:
        return route.body
    example = {"example": route.form_example} if route.form_example else {}
    (shape,), _ = _schemas(route.form)
    return {"application/json": {"schema": shape, **example}}


def _response(response: ResponseDoc) -> Document:
    (shape,), _ = _schemas(response.type)
    example = {} if response.example is None else {"example": response.example}
    document: Document = {
        "description": response.description,
        "content": {response.content_type: {"schema": shape, **example}},
    }
    if response.headers:
        document["headers"] = {
            name: {"description": meaning, "schema": {"type": "string"}}
            for name, meaning in response.headers.items()
        }
    return document


def _problem(status: int) -> Document:
    phrase, text = HTTPStatus(status).phrase, HTTPStatus(status).description or "…"
    example = {"type": "about:blank", "title": phrase, "status": status, "detail": text}
    headers = PROBLEM_HEADERS.get(status, {})
    return _response(ResponseDoc(phrase, ProblemDict, example, headers, "application/problem+json"))


def _change_schemas() -> dict[str, Document]:
    """Return the schema of a change and its parts, with references within this document.

    The rules between its fields are left out: of a schema with `anyOf` beside `properties` generators make a
    model without fields.
    """
    text = msgspec.json.encode(schema()).replace(b"#/$defs/", SCHEMAS.encode())
    change: Document = msgspec.json.decode(text)
    parts: dict[str, Document] = change.pop("$defs")
    for name in ("$schema", "$id", "anyOf", "allOf"):
        del change[name]
    del parts["single"]
    return {"Change": change, **parts}


@cache  # many answers have one type, and a process may serve several interfaces
def _schemas(*types: Any) -> tuple[Any, dict[str, Document]]:
    """Return the schema of each type, and the components that these refer to; neither is to be changed."""
    return msgspec.json.schema_components(types, ref_template=SCHEMAS + "{name}")


def _for_generators(schemas: Any) -> Any:
    """Return schemas of which generators make the types that are meant.

    Of a property with a default some make one that every request must have, and of an object without
    properties one that has none.
    """
    if isinstance(schemas, list):
        return [_for_generators(item) for item in schemas]
    if not isinstance(schemas, dict):
        return schemas
    meant = {name: _for_generators(item) for name, item in schemas.items() if name != "default"}
    if schemas.get("type") == "object" and not {"properties", "additionalProperties"} & schemas.keys():
        meant["additionalProperties"] = True
    return meant


def _with_exact_types(node: Any) -> Any:
    """Return the document with a type at each list of words, and the width of integers that may be large.

    What has no width is 32 bits to most generators: their clients fail at a larger number, and those in Go do
    not compile beside a larger maximum.
    """
    if isinstance(node, list):
        return [_with_exact_types(item) for item in node]
    if not isinstance(node, dict):
        return node
    exact = {name: _with_exact_types(item) for name, item in node.items()}
    if node.get("type") == "integer" and node.get("maximum", sys.maxsize) > MAX_INT32:
        exact["format"] = "int64"
    words = node.get("enum")
    if isinstance(words, list) and all(isinstance(word, str) for word in words):
        exact["type"] = "string"
    return exact


def _inline_schema(struct: type[msgspec.Struct]) -> Document:
    """Return the schema of a struct that refers to no other."""
    (shape,) = msgspec.json.schema(struct)["$defs"].values()
    return dict(shape)
