"""Every address leads on: what only takes forms, what is gone or never was, and the way back from each."""

import re
from dataclasses import replace

import httpx
import pytest

from ops.dashboard.page import Page, Visit
from ops.dashboard.rendering import render
from ops.dashboard.texts import Texts
from tests.dashboard.test_acts import send
from tests.dashboard.test_session import settings_with
from tests.support.browsing import HTML, Browse, links_of, text_of
from tests.support.http_front import KEYS, Front, problem

GONE = (
    "/jobs/acme-1m7y8t1vgssvve752b",
    "/acts/x",
    "/requests/acme/x",
    "/deliveries/x",
    "/accounts/else",
    "/no",
)


def asked_again_at(page: httpx.Response) -> tuple[str, str]:
    """Return the address by which a page updates itself, and where choosing a language leads back to."""
    here, back = (
        re.search(r'data-here="([^"]*)"', page.text),
        re.findall(r'name="next" value="([^"]*)"', page.text),
    )
    assert here
    return here[1], back[-1]


@pytest.mark.parametrize("path", GONE)
def test_what_is_gone_says_so_with_the_menu_and_the_way_out(browse: Browse, path: str) -> None:
    page = browse("admin").get(path)
    assert page.status_code in (403, 404)
    assert {"/jobs", "/errors", "/system"} <= set(links_of(page.text))
    assert 'action="/sign-out"' in page.text
    assert asked_again_at(page) == (path, path)


def test_a_page_is_asked_for_again_at_an_address_of_ours_that_leads_to_it(browse: Browse) -> None:
    browser = browse("admin")
    for path in ("/no/50%25", "/no/a%3Fb?c=d%26", "/no/estate:address:buyer/1"):
        assert asked_again_at(browser.get(path)) == (path, path)
    assert asked_again_at(browser.get(f"{browser.base_url}//else.example/x")) == ("/", "/")


def test_a_key_that_lost_its_right_to_read_can_sign_out(front: Front, browse: Browse) -> None:
    file = front.runtime.settings.file
    assert file
    before, browser = file.read_text("utf-8"), browse("viewer")
    try:
        file.write_text(before.replace("can = ['read']", "can = ['send']"), "utf-8")
        front.runtime.live_settings.refresh()
        page = browser.get("/jobs")
        assert page.status_code == 403
        assert 'action="/sign-out"' in page.text
    finally:
        file.write_text(before, "utf-8")
        front.runtime.live_settings.refresh()


def test_an_address_that_never_was_is_a_page_for_browsers_and_a_problem_for_programs(
    front: Front, browse: Browse
) -> None:
    for path in ("/no", "/relations/acme/x/1/abc"):
        page = browse(None).get(path)
        assert (page.status_code, page.headers["content-type"]) == (404, "text/html; charset=utf-8")
        assert "there is no page at this address" in page.text
        assert "/jobs" not in links_of(page.text)
        assert front.client().get(path).headers["content-type"] == "application/problem+json"
    for path in ("/healthz", "/readyz", "/openapi.json"):
        assert browse(None).get(path).headers["content-type"] == "application/json"
    assert front.client().post("/no").status_code == 404


@pytest.mark.parametrize("prefix", ["", "/crm"])
@pytest.mark.parametrize(
    ("path", "status"), [("/v1/no", 404), ("/v1/jobs/", 404), ("/v1/replays/acme-1/run", 405)]
)
def test_below_v1_a_program_that_asks_for_html_gets_a_problem(
    front: Front, prefix: str, path: str, status: int
) -> None:
    of_java = {"Accept": "text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2", "X-Forwarded-Prefix": prefix}
    problem(front.client("admin").get(prefix + path, headers=of_java), status)


def test_the_page_that_a_form_made_is_asked_for_again_at_the_page_of_the_form(browse: Browse) -> None:
    browser = browse("admin")
    for act in ("check", "resume"):
        page = browser.post(f"/accounts/acme/{act}", data={"x": ""})
        assert page.url.path == f"/accounts/acme/{act}"
        assert asked_again_at(page) == ("/accounts/acme", "/accounts/acme")
    nothing_ticked = browser.post(
        "/acts", data={"act": "cancel"}, headers={"Referer": f"{browser.base_url}/jobs?state=queued"}
    )
    assert nothing_ticked.status_code == 422
    assert asked_again_at(nothing_ticked) == ("/jobs?state=queued", "/jobs?state=queued")
    tried = browser.post("/sources/immo", data={"payload": "{}"})
    assert tried.status_code in (200, 404)
    assert asked_again_at(tried)[0] == "/sources/immo"


def test_after_signing_in_a_form_that_came_late_leads_to_a_page(browse: Browse) -> None:
    browser = browse("admin")
    page = browser.post("/accounts/acme/check", data={"x": ""})
    browser.cookies.clear()
    late = browser.post("/accounts/acme/pause", data={"why": ""}, headers={"Referer": str(page.url)})
    then = asked_again_at(late)[1]
    assert "next=%2Faccounts%2Facme%2Fcheck" in then
    back = browser.post("/sign-in", data={"key": KEYS["admin"][0], "next": "/accounts/acme/check"})
    assert (back.status_code, back.url.path) == (200, "/accounts/acme")


@pytest.mark.parametrize("language", ["de", "en"])
def test_choosing_a_language_while_signing_in_keeps_where_it_leads(browse: Browse, language: str) -> None:
    browser = browse(None)
    asked = browser.get("/jobs?state=failed")
    again = browser.post("/language", data={"language": language, "next": asked_again_at(asked)[1]})
    assert f'lang="{language}"' in again.text
    assert 'name="next" value="/jobs?state=failed"' in again.text
    signed_in = browser.post("/sign-in", data={"key": KEYS["admin"][0], "next": "/jobs?state=failed"})
    assert (signed_in.status_code, str(signed_in.url.query, "ascii")) == (200, "state=failed")


def test_a_preview_leads_back_to_the_list_that_it_was_chosen_from(front: Front, browse: Browse) -> None:
    [job] = send(front, 1)
    browser = browse("admin")
    chosen = "/jobs?state=queued&amp;source=portal"
    for page, back in (
        (f"{front.url}/jobs?state=queued&source=portal", chosen),
        ("http://else.test//x", "/jobs"),
    ):
        preview = browser.post("/acts", data={"act": "cancel", "job": job}, headers={"Referer": page})
        assert f'<a href="{back}">Do nothing' in preview.text
    done = browser.post(preview.url.path, data={"note": ""})
    assert '<a href="/jobs">Back' in done.text


def test_pages_say_of_what_zone_and_time_they_are(front: Front, browse: Browse) -> None:
    browser = browse("admin")
    with settings_with(front, '[dashboard]\ntime_zone = "Europe/Berlin"\n'):
        page = browser.get("/jobs?state=failed&account=acme")
    assert re.search(r"Times in Europe/Berlin, as of \d{4}-\d\d-\d\d \d\d:\d\d:\d\d", text_of(page.text))
    assert "<title>Jobs: failed · acme · onOffice relations</title>" in page.text


def test_one_of_several_environments_is_named_on_every_page(front: Front) -> None:
    for prefix, title in (("relations", "404 · onOffice"), ("staging", "404 · staging · onOffice")):
        settings, texts = replace(front.runtime.settings, prefix=prefix), Texts("en")
        key = settings.keys["admin"]
        visit = Visit(key=key, by="admin", texts=texts, settings=settings, root="", path="/")
        page = Page("error.html", {"title": "Not Found", "status": 404, "message": ""})
        html = render(page, visit=visit, texts=texts, root="", now=0)
        assert f"<title>{title}" in html
        assert ('class="environment">staging<' in html) == (prefix == "staging")


@pytest.mark.parametrize("path", ["/requests?account=acme", "/audit?account=acme", "/deliveries?source=desk"])
def test_an_old_page_of_a_list_leads_to_its_newest(browse: Browse, path: str) -> None:
    browser = browse("admin")
    assert "To the newest" not in browser.get(path).text
    page = browser.get(f"{path}&cursor=1")
    assert path in links_of(page.text)
    assert "To the newest" in page.text


def test_what_is_no_id_of_a_record_is_no_relation(browse: Browse) -> None:
    page = browse("admin").get("/relations/acme/estate:address:buyer/0/99999999999999999")
    assert page.status_code == 422
    assert "parent: expected the id of a record" in page.text


def test_below_a_path_a_page_asks_for_itself_there(front: Front, browse: Browse) -> None:
    with httpx.Client(
        base_url=front.url,
        headers={**HTML, "X-Forwarded-Prefix": "/below", "Authorization": "Bearer " + KEYS["admin"][0]},
    ) as proxy:
        assert asked_again_at(proxy.get("/jobs?state=failed")) == (
            "/below/jobs?state=failed",
            "/jobs?state=failed",
        )
        gone = proxy.get("/acts", follow_redirects=False)
        assert gone.status_code == 303
