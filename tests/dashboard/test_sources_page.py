"""The pages of webhook sources: rules, and what they would make of a payload."""

import json

from tests.support.browsing import Browse, text_of
from tests.support.http_front import SECRETS, Front
from worker.ports.records import JobFilter

ENQUIRY = {
    "type": "enquiry.created",
    "timestamp": "2026-11-21T02:00:00Z",
    "data": {"estate_id": 501, "person_ids": [9001, 9002]},
}


def test_sources_are_listed_with_their_rules_and_no_secret(front: Front, browse: Browse) -> None:
    browser = browse("admin")
    assert "/webhooks/immo" in browser.get("/sources").text
    page = browser.get("/sources/immo").text
    assert "data.person_ids" in page
    assert not [secret for secret in SECRETS.values() if secret in page]
    assert "env:" not in page


def test_a_payload_is_tried_and_nothing_is_sent(front: Front, browse: Browse) -> None:
    browser = browse("admin")
    tried = browser.post("/sources/immo", data={"payload": json.dumps(ENQUIRY)})
    assert "1 change would be made; nothing was sent." in tried.text
    assert "9001" in text_of(tried.text)
    assert front.runtime.queries.find_jobs("acme", JobFilter()).entries == ()


def test_what_a_rule_cannot_read_is_named_by_its_path(front: Front, browse: Browse) -> None:
    wrong = {**ENQUIRY, "data": {"estate_id": "x", "person_ids": [9001]}}
    tried = browse("admin").post("/sources/immo", data={"payload": json.dumps(wrong)})
    assert "rules[0]" in tried.text
    assert "would be made" not in tried.text
    assert browse("admin").post("/sources/immo", data={"payload": "{"}).status_code == 200


def test_a_source_of_other_accounts_is_not_there(front: Front, browse: Browse) -> None:
    assert browse("admin").get("/sources/nothing").status_code == 404
    assert browse("viewer").post("/sources/immo", data={"payload": "{}"}).status_code == 403
