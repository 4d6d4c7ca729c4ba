"""The workflow that n8n imports sends a change that is one, and holds no key."""

import json
from pathlib import Path

from worker.contract import from_message

WORKFLOW = Path(__file__).parents[2] / "ops" / "n8n" / "send-a-change.json"


def test_the_workflow_sends_a_change_by_the_http_node_with_a_credential() -> None:
    workflow = json.loads(WORKFLOW.read_text("utf-8"))
    nodes = {node["name"]: node for node in workflow["nodes"]}
    change = from_message(json.loads(nodes["Make the change"]["parameters"]["jsonOutput"])).change
    assert (change.action, change.type) == ("create", "estate:address:interested")
    assert change.parent_references
    assert change.child_references
    send = nodes["Send the change"]
    assert (send["type"], send["parameters"]["genericAuthType"]) == (
        "n8n-nodes-base.httpRequest",
        "httpHeaderAuth",
    )
    assert send["parameters"]["url"].endswith("/v1/changes")
    assert send["credentials"]["httpHeaderAuth"]["id"] == ""
    assert "Bearer" not in WORKFLOW.read_text("utf-8")
    for name, following in workflow["connections"].items():
        assert name in nodes
        assert all(each["node"] in nodes for targets in following["main"] for each in targets)
