"""The OpenAPI 3.1 document of routes, made of the very types that are read and written. Pure."""

import re
from collections.abc import Collection, Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

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
PROBLEMS_OF_KEYS: Final = (401, 403)
PROBLEMS_OF_BODIES: Final = (400, 408, 413, 415, 422)


def openapi_document(routes: Sequence[ApiRoute], *, version: str) -> Document:
    """Return the description of an interface that has these routes."""
    paths: dict[str, Document] = {}
    for route in routes:
        template = re.sub(r":(path|record)}", "}", route.path)
        paths.setdefault(template, {})[route.method.lower()] = _operation(route)
    problems = {status for route in routes for status in _problem_statuses(route)}
    types = [response.type for route in routes for response in route.responses.values()]
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
            "responses": {str(status): _problem(status) for status in sorted(problems)},
            "schemas": {**_change_schemas(), **_schemas([*types, ProblemDict])[1]},
        },
    }


def _operation(route: ApiRoute) -> Document:
    responses = {str(status): _response(response) for status, response in route.responses.items()}
    problems = {
        str(status): {"$ref": f"#/components/responses/{status}"} for status in _problem_statuses(route)
    }
    operation: Document = {
        "summary": route.summary,
        "security": [{"key": [route.right]}] if route.right else [],
        "responses": responses | problems,
    }
    if parameters := _all_parameters(route):
        operation["parameters"] = parameters
    if content := _body_content(route):
        operation["requestBody"] = {"required": route.form_required, "content": content}
    return operation


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
    return {"application/json": {"schema": _inline_schema(route.form), **example}}


def _response(response: ResponseDoc) -> Document:
    (shape,), _ = _schemas([response.type])
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
    """Return the schema of a change and its parts, with references within this document."""
    text = msgspec.json.encode(schema()).replace(b"#/$defs/", SCHEMAS.encode())
    change: Document = msgspec.json.decode(text)
    parts: dict[str, Document] = change.pop("$defs")
    del change["$schema"], change["$id"]
    return {"Change": change, **parts}


def _schemas(types: Sequence[Any]) -> tuple[Any, dict[str, Document]]:
    """Return the schema of each type, and the components that these refer to."""
    return msgspec.json.schema_components(types, ref_template=SCHEMAS + "{name}")


def _inline_schema(struct: type[msgspec.Struct]) -> Document:
    """Return the schema of a struct that refers to no other."""
    (shape,) = msgspec.json.schema(struct)["$defs"].values()
    return dict(shape)
