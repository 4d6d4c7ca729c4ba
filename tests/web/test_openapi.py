"""The OpenAPI document: valid, complete, and true of the interface as an independent tool checks it."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import settings
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from ops.web.routes import OPERATOR_ROUTES
from producers.portals.http.application import application
from producers.portals.http.routes import PORTAL_ROUTES
from tests.support.http_front import KEYS, SECRETS, Front
from tests.support.waiting import HANGS_AFTER

CHARACTERS = Path(__file__).parents[2] / ".hypothesis"  # what the suite has computed of all of them
SEED = ["--seed", "1"] if settings().derandomize else []


@pytest.fixture
def document(http: httpx.Client) -> dict[str, Any]:
    parsed: dict[str, Any] = http.get("/openapi.json").json()
    return parsed


def test_the_description_is_valid_openapi(document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.1.")
    OpenAPIV31SpecValidator(document).validate()


def test_every_route_is_described_with_each_of_its_methods(front: Front, document: dict[str, Any]) -> None:
    served = {
        (route.path_format, method.lower())  # type: ignore[attr-defined]
        for route in application(front.runtime, more_routes=OPERATOR_ROUTES).routes
        for method in route.methods - {"HEAD", "OPTIONS"}  # type: ignore[attr-defined]
    }
    assert served == {(path, method) for path, methods in document["paths"].items() for method in methods}
    assert len(PORTAL_ROUTES) + len(OPERATOR_ROUTES) + 1 == len(served)  # and the description itself


def test_routes_that_need_a_key_are_marked_with_the_problems_of_keys(document: dict[str, Any]) -> None:
    for path, methods in document["paths"].items():
        for operation in methods.values():
            needed = path.startswith("/v1/")
            assert bool(operation["security"]) is needed
            assert {"401", "403"} <= operation["responses"].keys() or not needed
            assert "500" in operation["responses"]


def operations(document: dict[str, Any]) -> list[dict[str, Any]]:
    return [operation for methods in document["paths"].values() for operation in methods.values()]


def test_the_names_that_generated_clients_have_are_stable(document: dict[str, Any]) -> None:
    assert sorted(operation["operationId"] for operation in operations(document)) == [
        "cancelJobs",
        "checkAccount",
        "dismissJobs",
        "eraseRecord",
        "explainRelation",
        "getBatch",
        "getCallbackMessage",
        "getDelivery",
        "getDeliveryPayload",
        "getHealth",
        "getHistory",
        "getJob",
        "getKey",
        "getMetrics",
        "getOpenapi",
        "getPayload",
        "getReplay",
        "getRequest",
        "getStartPage",
        "healthz",
        "listAccounts",
        "listAuditEntries",
        "listCallbackMessages",
        "listDeliveries",
        "listFailures",
        "listJobs",
        "listOutcomes",
        "listReplays",
        "listRequests",
        "lookUpJobs",
        "lookUpRecords",
        "pauseAccount",
        "postChanges",
        "prepareRepair",
        "prepareReplay",
        "readDrift",
        "readyz",
        "receiveOnofficeWebhook",
        "receiveOnofficeWebhookBelow",
        "receiveWebhook",
        "receiveWebhookBelow",
        "redeliver",
        "remapDeliveries",
        "resendCallbackMessage",
        "resolveJob",
        "resumeAccount",
        "runReplay",
        "stopReplay",
        "testCallback",
    ]


def test_every_operation_is_described_and_answers_with_a_type(document: dict[str, Any]) -> None:
    tags = {tag["name"] for tag in document["tags"]}
    for operation in operations(document):
        assert set(operation["tags"]) <= tags
        assert operation["description"]
        assert not any(scopes for need in operation["security"] for scopes in need.values())
        for status, answer in operation["responses"].items():
            for content in answer.get("content", {}).values():
                assert content["schema"].get("type") != "object", (operation["operationId"], status)
    assert document["info"]["license"]["identifier"] == "MIT"
    assert document["info"]["contact"]
    assert document["servers"]


def test_a_message_of_a_webhook_may_come_without_a_body(front: Front, document: dict[str, Any]) -> None:
    """It is kept, as all that makes no change is."""
    headers = {"Authorization": f"Bearer {SECRETS['DESK_SECRET']}"}
    for path, template in (("", ""), ("/more", "/{rest}")):
        assert httpx.post(f"{front.url}/webhooks/desk{path}", headers=headers).status_code == 202
        body = document["paths"][f"/webhooks/{{source}}{template}"]["post"]["requestBody"]
        assert body["required"] is False


def test_a_change_is_a_model_with_fields(document: dict[str, Any]) -> None:
    change = document["components"]["schemas"]["Change"]
    assert {"account", "action", "relationtype", "parentid", "childid"} == set(change["required"])
    assert not {"anyOf", "allOf", "oneOf"} & change.keys()
    assert not any("default" in shape for shape in change["properties"].values())


def test_what_is_an_integer_or_one_of_some_words_says_how_wide_it_is_and_that_it_is_a_text(
    document: dict[str, Any],
) -> None:
    """Most generators take an integer for 32 bits, and a list of words without a type for anything."""
    schemas = list(nodes(document))
    integers = [schema for schema in schemas if schema.get("type") == "integer"]
    words = [schema for schema in schemas if isinstance(schema.get("enum"), list)]
    assert len(integers) > 100
    assert len(words) > 10
    for schema in integers:
        assert schema.get("format") == "int64" or schema["maximum"] < 2**31, schema
    assert {schema.get("type") for schema in words} == {"string"}


def nodes(node: Any) -> Any:
    """Yield each object of a document."""
    children = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    if isinstance(node, dict):
        yield node
    for child in children:
        yield from nodes(child)


def test_every_example_fits_the_schema_beside_it(document: dict[str, Any]) -> None:
    found = list(examples(document))
    assert len(found) > 10
    for schema, example in found:
        Draft202012Validator({**schema, "components": document["components"]}).validate(example)


def examples(node: Any) -> Any:
    """Yield each schema with an example that stands beside it."""
    if isinstance(node, list):
        for item in node:
            yield from examples(item)
    if isinstance(node, dict):
        if "schema" in node:
            yield from ((node["schema"], node[name]) for name in ("example",) if name in node)
            yield from ((node["schema"], item["value"]) for item in node.get("examples", {}).values())
        for item in node.values():
            yield from examples(item)


def test_responses_are_as_described(front: Front, document: dict[str, Any], tmp_path: Path) -> None:
    """Positive data may still be refused: only the settings know accounts, sources and what is allowed."""
    command = [
        "-m",
        "schemathesis.cli",
        "run",
        f"{front.url}/openapi.json",
        "-H",
        f"Authorization: Bearer {KEYS['admin'][0]}",
    ]
    options = [
        "--phases",
        "examples,coverage,fuzzing",
        "--max-examples",
        "4",
        "--exclude-checks",
        "positive_data_acceptance",
        *SEED,
    ]
    (tmp_path / "schemathesis.toml").write_text('[parameters]\naccount = "acme"\nsource = "desk"\n')
    run = subprocess.run(
        [sys.executable, *command, *options],
        cwd=tmp_path,
        env={**os.environ, "HYPOTHESIS_STORAGE_DIRECTORY": str(CHARACTERS)},
        capture_output=True,
        text=True,
        timeout=HANGS_AFTER,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert (
        f"Tested: {sum(map(len, document['paths'].values())) - 1}\n" in run.stdout
    )  # it leaves the description's own address alone
    assert not [event for event, _ in front.events if event == "request.failed"]
