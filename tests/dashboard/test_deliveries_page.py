"""The pages of deliveries: what came, what each rule said, and reading one again by today's rules."""

import re
from typing import Any

import httpx

from tests.support.browsing import Browse, text_of
from tests.support.http_front import SECRETS, Front
from tests.support.store_steps import count_by_state

DESK = {"Authorization": f"Bearer {SECRETS['DESK_SECRET']}"}
SALE = {"action": "create", "type": "estate:address:buyer", "parent": 501, "children": [9001]}


def deliver(front: Front, **changes: Any) -> None:
    httpx.post(f"{front.url}/webhooks/desk", json={**SALE, **changes}, headers=DESK)


def the_delivery(browser: httpx.Client) -> str:
    [path] = set(re.findall(r'"(/deliveries/desk-[^"/]+)"', browser.get("/deliveries").text))
    return str(path)


def test_a_delivery_is_listed_with_its_jobs_and_what_each_rule_said(front: Front, browse: Browse) -> None:
    deliver(front)
    browser = browse("admin")
    page = browser.get(the_delivery(browser)).text
    assert "rules[0]" in page
    assert re.search(r'href="/jobs/acme-[^"]+"', page)
    assert "desk-" in browser.get("/deliveries?outcome=made&source=desk").text
    assert "desk-" not in browser.get("/deliveries?outcome=refused").text
    assert browser.get("/deliveries?outcome=x").status_code == 422


def test_one_is_read_again_after_a_preview_and_makes_nothing_twice(front: Front, browse: Browse) -> None:
    deliver(front)
    browser = browse("admin")
    path = the_delivery(browser)
    preview = browser.post(f"{path}/preview", data={"x": ""})
    assert "1 change" in text_of(preview.text)
    for _ in range(2):
        assert browser.post(f"{path}/redeliver", data={"x": ""}).url.path == path
    assert count_by_state(front.runtime.metrics, "acme")["queued"] == 1


def test_a_refused_one_cannot_be_read_again(front: Front, browse: Browse) -> None:
    httpx.post(f"{front.url}/webhooks/desk", json=SALE, headers={"Authorization": "Bearer wrong-secret"})
    browser = browse("admin")
    page = browser.get("/deliveries?outcome=refused").text
    found = re.search(r'"(/deliveries/desk-[^"/]+)"', page)
    assert found
    assert "cannot be read again" in browser.post(f"{found[1]}/preview", data={"x": ""}).text


def test_deliveries_of_other_accounts_are_not_there(front: Front, browse: Browse) -> None:
    sent = {**SALE, "tenant": "2", "at": "2026-11-21T02:00:00Z"}
    httpx.post(f"{front.url}/webhooks/forms", json=sent)  # without proof: of both accounts
    assert "forms-" not in browse("viewer").get("/deliveries").text
    assert browse("viewer").get("/deliveries/forms-x").status_code == 404
