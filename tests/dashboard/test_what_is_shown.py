"""What the pages say: whole stories, honest counts, both languages, and nothing that a message can break."""

import json
import re
from datetime import UTC
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import pytest

import ops.dashboard
from ops.dashboard.charts import Labels, Series, stacked_bars
from ops.dashboard.formats import Formatter
from ops.dashboard.pages.jobs import read_time
from ops.dashboard.rendering import MENU, STATIC
from ops.dashboard.texts import Texts, choose_language, read_catalogue
from producers.services import build_services
from tests.dashboard.test_acts import send, work
from tests.dashboard.test_session import settings_with
from tests.support.browsing import Browse, links_of, text_of
from tests.support.erasing import erase_record
from tests.support.http_front import BUYER, MISSING, SECRETS, YESTERDAY, Front
from worker.ports.pace import Pause
from worker.ports.records import JobFilter

ROOM = Path(ops.dashboard.__file__).parent
HOSTILE = "\"'><script>alert(1)</script><img src=x onerror=alert(2)>{{7*7}}{% raw %}&lt;"
VOID = {"meta", "link", "input", "br", "img", "hr"}


class Whole(HTMLParser):
    """Reads a page: every element is closed in order, and no script or style stands in it."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = dict(attrs)
        assert not [name for name in names if name.startswith("on") or name == "style"], (tag, attrs)
        assert tag != "style"
        assert tag != "script" or names.get("src")
        self.ids += [names["id"] or ""] if "id" in names else []
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Elements of a picture close themselves."""

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        assert not self.open or self.open[-1] != "script" or not data.strip()


def check_page(html: str) -> None:
    reader = Whole()
    reader.feed(html)
    assert reader.open == []
    assert len(reader.ids) == len(set(reader.ids))


def fill(front: Front) -> dict[str, str]:
    """Let there be something on every page; return paths of pages about single things."""
    done = send(front, 1, 2, 3, source="portal", batch="import-7")
    failed = send(front, MISSING, event_id="evt-404")
    work(front)
    front.store.pause("beta", Pause("credentials", "137: wrong"))
    waiting = send(front, 4, account="beta")
    replay = front.client("admin").post("/v1/replays", json={"account": "acme", "error": "80"}).json()
    [request, *_] = front.runtime.queries.list_requests("acme").entries
    return {
        "done": f"/jobs/{done[0]}",
        "failed": f"/jobs/{failed[0]}",
        "waiting": f"/jobs/{waiting[0]}",
        "replay": f"/replays/{replay['id']}",
        "request": f"/requests/acme/{request.id}",
        "relation": "/relations/acme/estate:address:buyer/501/404",
    }


def test_every_page_is_well_formed_and_its_links_lead_somewhere(front: Front, browse: Browse) -> None:
    paths = [
        *(path for path, _, _ in MENU),
        *fill(front).values(),
        "/find?q=501",
        "/find?q=nothing",
        "/sign-in",
    ]
    browser, seen = browse("admin"), dict[str, int]()
    for path in paths:
        answer = browser.get(path)
        check_page(answer.text)
        for link in links_of(answer.text):
            link = link.partition("#")[0]
            if link and link not in seen:
                seen[link] = browser.get(link).status_code
    assert {status for link, status in seen.items() if "beta" not in link} == {200}
    assert len(seen) > 30


def test_every_page_forbids_everything_that_is_not_ours(front: Front, browse: Browse) -> None:
    browser = browse("admin")
    for path in ("/", "/sign-in", "/jobs/nothing-x", "/accounts"):
        headers = browser.get(path).headers
        assert headers["content-security-policy"] == (
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
            "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
        )
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-store"


@pytest.mark.parametrize("language", ["en", "de"])
def test_hostile_words_are_shown_and_do_nothing(front: Front, browse: Browse, language: str) -> None:
    hostile = HOSTILE[:60]
    sent = {**BUYER, "source": hostile, "batch": hostile, "event_id": HOSTILE}
    answer = front.client("portal").post("/v1/changes", json=sent, headers={"X-Correlation-Id": "a-b"})
    job = answer.json()["jobs"][0]["id"]
    front.store.pause("acme", Pause("hand", HOSTILE))
    browser = browse("admin")
    browser.post("/language", data={"language": language, "next": "/"})
    for path in (f"/jobs/{job}", "/jobs", "/", "/accounts/acme", "/audit"):
        page = browser.get(path)
        check_page(page.text)
        assert "<script>alert" not in page.text
    assert hostile in text_of(browser.get(f"/jobs/{job}").text.replace("&#39;", "'"))
    for path, name in (
        ("/jobs", "source"),
        ("/jobs", "since"),
        ("/jobs", "account"),
        ("/find", "q"),
        ("/sign-in", "next"),
    ):
        page = browser.get(path, params={name: HOSTILE})
        check_page(page.text)
        assert page.status_code in (200, 403)


def test_a_failed_job_says_what_became_of_each_relation_and_what_to_do(front: Front, browse: Browse) -> None:
    front.client("portal").post("/v1/changes", json={**BUYER, "childid": [MISSING, 7]})
    work(front)
    [failed] = front.runtime.queries.find_jobs("acme", JobFilter(state="failed")).entries
    text = text_of(browse("admin").get(f"/jobs/{failed.id}").text)
    assert "501 404 failed 80" in text
    assert "501 7 applied" in text
    assert "Check in onOffice that the record exists" in text


def test_a_waiting_job_says_why_and_until_when(front: Front, browse: Browse) -> None:
    front.store.pause("acme", Pause("hand", "moving to another user"))
    [job] = send(front, 1)
    page = browse("admin").get(f"/jobs/{job}")
    assert "It waits (pause)" in text_of(page.text)
    assert "moving to another user" in page.text
    assert "pause" in text_of(browse("admin").get("/jobs").text)


def test_the_relation_page_tells_the_whole_story(front: Front, browse: Browse) -> None:
    paths = fill(front)
    text = text_of(browse("admin").get(paths["relation"]).text)
    assert "failed: 80" in text
    assert "Neighbourhood" in text


def test_tabs_count_what_the_lists_have(front: Front, browse: Browse) -> None:
    fill(front)
    send(front, 11, 12)
    tabs = dict(
        re.findall(r">(\w+) <span class=\"count\">([\d,]+)</span>", browse("admin").get("/jobs").text)
    )
    assert tabs == {
        "queued": "2",
        "parked": "0",
        "sending": "0",
        "retrying": "0",
        "verifying": "0",
        "held": "0",
        "succeeded": "3",
        "superseded": "0",
        "failed": "1",
    }
    narrowed = browse("admin").get("/jobs?batch=import-7").text
    assert 'class="count"' not in narrowed  # they would say nothing of this list


def test_a_filter_with_faults_lists_nothing_and_says_what_is_wrong(front: Front, browse: Browse) -> None:
    send(front, 1)
    page = browse("admin").get("/jobs?parentid=x&since=yesterday")
    assert "Parent: expected the id of a record" in page.text
    assert "Accepted since: expected a date, or a date and a time, such as 2026-11-21 18:00" in page.text
    assert "row-acme" not in page.text


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "America/New_York"])
def test_a_filter_takes_times_as_pages_show_them(front: Front, browse: Browse, zone: str) -> None:
    [job] = send(front, 1)
    browser, accepted = browse("admin"), front.job(job).accepted_at
    for language in ("en", "de"):
        browser.post("/language", data={"language": language, "next": "/"})
        with settings_with(front, f'[dashboard]\ntime_zone = "{zone}"\n'):
            [shown, *_] = re.findall(
                r"<time [^>]*>([^<]*)</time> (?:accepted|angenommen)", browser.get(f"/jobs/{job}").text
            )
            assert f"row-{job}" in browser.get("/jobs", params={"since": shown}).text
            assert f"row-{job}" not in browser.get("/jobs", params={"until": shown}).text
    assert accepted


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("2026-11-21T18:00", "2026-11-21T18:00:00+01:00"),
        ("21.11.2026, 18:00", "2026-11-21T18:00:00+01:00"),
        ("21.11.2026", "2026-11-21T00:00:00+01:00"),
        ("2026-11-21T18:00:00Z", "2026-11-21T18:00:00Z"),
        ("yesterday", "yesterday"),
    ],
)
def test_a_time_without_an_offset_is_of_the_zone_of_the_pages(text: str, instant: str) -> None:
    assert read_time("since", text, ZoneInfo("Europe/Berlin")) == instant


def test_of_an_hour_that_there_is_twice_a_filter_leaves_nothing_out() -> None:
    twice, berlin = "25.10.2026 02:30", ZoneInfo("Europe/Berlin")
    assert read_time("since", twice, berlin) == "2026-10-25T02:30:00+02:00"
    assert read_time("until", twice, berlin) == "2026-10-25T02:30:00+01:00"


def test_what_was_sent_of_one_relation_shows_its_info(front: Front, browse: Browse) -> None:
    info = {"statusTerminbestaetigung": "gesendet"}
    send(front, 9, parent=77, relationtype="calendar:address", relationinfo=info)
    work(front)
    [request, *_] = front.runtime.queries.list_requests("acme").entries
    page = text_of(browse("admin").get(f"/requests/acme/{request.id}").text)
    assert "77 → 9 statusTerminbestaetigung=gesendet" in page


def test_a_suspect_leads_to_the_jobs_on_whose_side_it_is(front: Front, browse: Browse) -> None:
    [job] = send(front, 9, parent=MISSING, relationtype="address:contact:address")
    work(front)
    assert front.job(job).state == "failed"
    browser = browse("admin")
    [link] = [
        each for each in links_of(browser.get("/errors").text) if f"id={MISSING}" in each or "id=9" in each
    ]
    assert f"row-{job}" in browser.get(link).text


def test_numbers_and_instants_are_as_html_and_german_have_them() -> None:
    formatter = Formatter(Texts("de"), UTC, 0)
    assert 'datetime="2025-11-30T08:44:58.007Z"' in formatter.moment(1764492298007999)
    labels = Labels("", "", "", formatter.number)
    assert ">12.345</text>" in stacked_bars([Series("applied", "good", [12345])], labels)


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("estate:address:buyer 501 1", "/relations/acme/estate:address:buyer/501/1"),
        ("estate:address:buyer/501/1", "/relations/acme/estate:address:buyer/501/1"),
        ("estate:address:buyer:501:1", "/relations/acme/estate:address:buyer/501/1"),
        (
            "urn:onoffice-de-ns:smart:2.5:relationTypes:estate:address:buyer 501 1",
            "/relations/acme/estate:address:buyer/501/1",
        ),
        ("evt-404", "/jobs/"),
        ("estate:objektnr_extern=PC910", "/jobs"),
    ],
)
def test_the_jump_box_leads_to_what_is_named(front: Front, browse: Browse, text: str, path: str) -> None:
    fill(front)
    assert browse("admin").get("/find", params={"q": text}).url.path.startswith(path)


@pytest.mark.parametrize("text", ["estate 501", "Objekt 501", "501", "address:1", "Person 1"])
def test_a_record_is_found_among_the_jobs_that_name_it(front: Front, browse: Browse, text: str) -> None:
    fill(front)
    browser = browse("admin")
    lists = [
        link for link in links_of(browser.get("/find", params={"q": text}).text) if link.startswith("/jobs?")
    ]
    assert any("row-acme" in browser.get(link).text for link in lists)


@pytest.mark.parametrize("text", ["estate 0", "address 9007199254740992", "0"])
def test_what_is_no_id_of_a_record_does_not_lead_to_all_jobs(browse: Browse, text: str) -> None:
    assert f"Nothing is kept of “{text}”." in browse("admin").get("/find", params={"q": text}).text


def test_a_job_of_an_erased_record_says_so(front: Front, browse: Browse) -> None:
    [job] = send(front, 9001)
    work(front)
    erase_record(build_services(front.runtime).erasure, "acme", "address", 9001, by="admin")
    for path in ("/jobs", f"/jobs/{job}"):
        assert "of a record that was erased" in browse("admin").get(path).text


def test_an_event_is_found_by_its_key_however_many_jobs_are_newer(front: Front, browse: Browse) -> None:
    [by_nobody] = send(front, 1, event_id="4711")
    [by_portal] = send(front, 2, event_id="deal 1", source="portal")
    for start in (0, 1000):
        newer = [{**BUYER, "childid": start + n} for n in range(1, 1001)]
        front.client("admin").post("/v1/changes", json=newer)
    browser = browse("admin")
    assert browser.get("/find", params={"q": "portal deal 1"}).url.path == f"/jobs/{by_portal}"
    assert f"/jobs/{by_nobody}" in links_of(browser.get("/find", params={"q": "4711"}).text)
    assert "Look for it among all event ids" in browser.get("/find", params={"q": "deal 1"}).text


def test_jobs_and_replays_and_requests_are_found_by_their_ids(front: Front, browse: Browse) -> None:
    browser = browse("admin")
    for name, path in fill(front).items():
        if name in ("done", "failed", "replay", "request"):
            for pasted in ("{}", '"{}",', " '{}' "):
                text = pasted.format(path.rpartition("/")[2])
                assert browser.get("/find", params={"q": text}).url.path == path


def test_ids_of_persons_are_masked_in_lists_if_the_settings_say_so(front: Front, browse: Browse) -> None:
    [job] = send(front, 987654)
    browser = browse("admin")
    assert "987654" in browser.get("/jobs").text
    with settings_with(front, "[dashboard]\nmask_ids = true\n"):
        assert "987654" not in browser.get("/jobs").text
        assert "•••54" in browser.get("/jobs").text
        assert "501" in browser.get("/jobs").text
        assert "987654" in browser.get(f"/jobs/{job}").text
        paths = fill(front)
        for kind in ("replay", "request"):
            assert "•••04" in browser.get(paths[kind]).text, kind


def test_ids_of_persons_are_masked_in_what_was_and_would_be_sent(front: Front, browse: Browse) -> None:
    jobs = send(front, 987654, MISSING)
    work(front)
    requests = front.runtime.queries.list_requests("acme", limit=9).entries
    browser = browse("admin")
    with settings_with(front, "[dashboard]\nmask_ids = true\n"):
        preview = browser.post("/acts", data={"act": "replay", "job": jobs})
        [replay] = set(re.findall('href="(/replays/acme[^"?]+)"', preview.text))
        shown = [
            preview,
            browser.get(replay),
            *(browser.get(f"/requests/acme/{each.id}") for each in requests),
        ]
        previewed, replayed, *sent = [text_of(page.text) for page in shown]
        assert all("•••04" in text for text in (previewed, replayed, " ".join(sent)))
        assert "•••54" in " ".join(sent)
        for text in (previewed, replayed, *sent):
            assert "501" in text
            assert not re.search(rf"987654|\b{MISSING}\b", text)


def test_times_are_shown_in_the_zone_of_the_settings(front: Front, browse: Browse) -> None:
    [job] = send(front, 1, occurred_at=YESTERDAY)
    browser = browse("admin")
    assert f"{YESTERDAY[:10]} 02:00:00" in browser.get(f"/jobs/{job}").text
    with settings_with(front, '[dashboard]\ntime_zone = "Asia/Kolkata"\n'):
        assert f"{YESTERDAY[:10]} 07:30:00" in browser.get(f"/jobs/{job}").text


def test_the_verdict_is_that_of_readyz(front: Front, browse: Browse) -> None:
    browser = browse("admin")
    assert "Somebody has to act now." in browser.get("/").text  # no worker, no sweep
    for note in httpx.get(f"{front.url}/readyz").json()["notes"]:
        assert note.partition(": ")[2] in browser.get("/").text or note in browser.get("/").text


def test_pages_work_below_a_path(front: Front, browse: Browse) -> None:
    browser = browse(None)
    browser.headers["X-Forwarded-Prefix"] = "/relations"
    answer = browser.post(
        "/sign-in", data={"key": "canary-key-admin", "next": "/jobs"}, follow_redirects=False
    )
    assert answer.headers["location"] == "/relations/jobs"
    assert answer.headers["set-cookie"].startswith("relations-session-relations=")
    page = browser.get("/jobs")
    local = re.findall(r'(?:href|src|action)="(/[^"]*)"', page.text)
    assert local
    assert all(link.startswith("/relations/") for link in local)
    assert browser.get("/relations/accounts").status_code == 200


def test_the_list_goes_on_where_it_ended(front: Front, browse: Browse) -> None:
    sent = send(front, *range(1, 61))
    browser, path, seen = browse("admin"), "/jobs?limit=25", list[str]()
    while path:
        page = browser.get(path)
        seen += re.findall(r'id="row-([^"]+)"', page.text)
        path = next((link for link in links_of(page.text) if "cursor=" in link), "")
    assert seen == sent[::-1]


# --- languages


def texts_in_use() -> set[str]:
    """Return every literal text that templates and modules translate."""
    template = re.compile(r"\bt(?:\.count)?\((?:[^()'\"]*?,\s*)?'([^']*)'(?:,\s*'([^']*)')?")
    module = re.compile(r'\bt(?:exts)?(?:\.count)?\(\s*(?:[^()"]*?,\s*)?"([^"]*)"(?:,\s*"([^"]*)")?')
    found = set[str]()
    for suffix, pattern in ((".html", template), (".py", module)):
        for file in ROOM.rglob(f"*{suffix}"):
            for groups in pattern.findall(file.read_text("utf-8")):
                found |= {text for text in groups if text}
    return found


def test_every_text_is_translated() -> None:
    assert texts_in_use() - read_catalogue("de").keys() == set()


def test_pages_are_in_the_language_that_was_chosen_else_in_the_one_that_is_liked(
    front: Front, browse: Browse
) -> None:
    browser = browse("admin")
    assert "Overview" in browser.get("/").text
    assert "Übersicht" in browser.get("/", headers={"Accept-Language": "de-DE,de;q=0.9,en;q=0.5"}).text
    back = browser.post("/language", data={"language": "de", "next": "/jobs?state=failed"})
    assert back.url.path == "/jobs"
    assert '<html lang="de">' in back.text
    assert "fehlgeschlagen" in back.text


@pytest.mark.parametrize(
    ("chosen", "accepted", "language"),
    [
        ("de", "en", "de"),
        ("fr", "de", "de"),
        ("", "fr, de;q=0.5, en;q=0.4", "de"),
        ("", "de;q=0, en", "en"),
        ("", "de;q=0", "en"),
        ("", ";;;,=", "en"),
        ("", "", "en"),
        ("", "de-AT", "de"),
    ],
)
def test_the_language_that_is_liked_best_and_known_is_used(chosen: str, accepted: str, language: str) -> None:
    assert choose_language(chosen, accepted) == language


# --- files


@pytest.mark.parametrize(
    ("accepted", "is_compressed"),
    [
        *(("gzip, deflate, br", True), ("br;q=1.0, gzip;q=0.8, *;q=0.1", True), ("GZIP", True)),
        *(("deflate,gzip;q=0.001", True), ("gzip ; q=0", False), ("br, gzip;q=0.0", False)),
        *(("gzip;q=0.000,identity", False), ("identity", False), ("x-gzipped", False), ("", False)),
    ],
)
def test_only_who_takes_gzip_gets_it(browse: Browse, accepted: str, is_compressed: bool) -> None:
    browser = browse("admin")
    page = browser.get("/jobs", headers={"Accept-Encoding": accepted})
    style = browser.get(re.findall('href="(/static/[^"]*css)"', page.text)[0], headers=page.request.headers)
    assert ("content-encoding" in page.headers) is is_compressed
    assert ("content-encoding" in style.headers) is is_compressed


def test_static_files_may_be_kept_and_are_found_by_their_content(front: Front, browse: Browse) -> None:
    page = browse("admin").get("/").text
    for name in STATIC:
        [path] = set(re.findall(rf'"(/static/[0-9a-f]+/{re.escape(name)})"', page))
        answer = httpx.get(f"{front.url}{path}")
        assert answer.status_code == 200
        assert "immutable" in answer.headers["cache-control"]
        assert httpx.get(f"{front.url}/static/000000000000/{name}").status_code == 404
    assert httpx.get(f"{front.url}/static/000000000000/..%2f..%2fsession.py").status_code == 404


def test_what_was_taken_from_others_is_as_they_made_it_and_has_its_licence() -> None:
    from hashlib import sha256

    content = (ROOM / "static/idiomorph.min.js").read_bytes()
    assert sha256(content).hexdigest() == "4cbd535caf7663a51eda9bce6595371c384fc430d54b8d414e29a61167f19f96"
    licence = (ROOM / "static/idiomorph.LICENSE.txt").read_text("utf-8")
    assert licence.startswith("Zero-Clause BSD")


def test_our_own_script_is_small_and_asks_nobody_else() -> None:
    script = (ROOM / "static/app.js").read_text("utf-8")
    assert len(script.splitlines()) <= 150
    assert "http" not in script
    assert not re.search(r"innerHTML|eval\(|document\.write|new Function", script)


def test_catalogues_are_plain_data_without_a_text_twice() -> None:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        assert len({name for name, _ in pairs}) == len(pairs)
        return dict(pairs)

    for file in (ROOM / "catalogue").iterdir():
        document = json.loads(file.read_text("utf-8"), object_pairs_hook=unique)
        assert all(isinstance(text, str) and text for text in document.values())


def test_no_page_shows_a_secret(front: Front, browse: Browse) -> None:
    browser = browse("admin")
    for path in ("/system", "/accounts/acme"):
        page = browser.get(path).text
        assert not [secret for secret in SECRETS.values() if secret in page]
        assert not re.search(r"[0-9a-f]{64}", page)


def test_what_references_name_is_shown_but_of_persons_only_the_fields(front: Front, browse: Browse) -> None:
    sent = {
        **BUYER,
        "parentid": {"estate": {"objektnr_extern": "PC910"}},
        "childid": {"address": {"email": "ada@example.test"}},
    }
    answer = front.client("portal").post("/v1/changes", json=sent)
    job = answer.json()["jobs"][0]["id"]
    browser = browse("admin")
    for path in ("/jobs", f"/jobs/{job}"):
        page = browser.get(path).text
        check_page(page)
        assert "estate:objektnr_extern=PC910" in page
        assert "address:email=•••" in page
        assert "ada@example.test" not in page


def test_a_look_up_is_a_request_like_any_other_and_shows_fields_and_numbers_only(
    front: Front, browse: Browse
) -> None:
    front.client("portal").post(
        "/v1/changes", json={**BUYER, "childid": {"address": {"email": "ada@example.test"}}}
    )
    front.runtime.flush("acme")
    [request] = front.runtime.queries.list_requests("acme").entries
    browser = browse("admin")
    for path in ("/requests?account=acme", f"/requests/acme/{request.id}"):
        page = browser.get(path).text
        check_page(page)
        assert "look up" in page
        assert "address:email" in page
        assert "ada@example.test" not in page
