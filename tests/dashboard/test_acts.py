"""What operators do from the pages: a preview with a fixed set, then the act, once, job by job."""

import re
from typing import Any

import httpx
import pytest
import redis

from ops.dashboard.pages.acts import PreparedActs
from producers.services import build_services
from tests.support.browsing import Browse, links_of, text_of
from tests.support.erasing import erase_record
from tests.support.http_front import BUYER, MISSING, SECRETS, Front
from tests.support.store_steps import count_by_state
from worker.ports.records import OPEN_STATES, JobFilter


def send(front: Front, *children: int, account: str = "acme", parent: int = 501, **more: Any) -> list[str]:
    """Send a change per child and return the ids of the jobs."""
    changes = [
        {**BUYER, "account": account, "parentid": parent, "childid": child, **more} for child in children
    ]
    jobs = front.client("portal").post("/v1/changes", json=changes).json()["jobs"]
    return [job["id"] for job in jobs]


def work(front: Front, account: str = "acme") -> None:
    """Work an account until every job has ended."""
    for _ in range(10):
        front.runtime.flush(account)
        counts = count_by_state(front.runtime.metrics, account)
        if not any(counts[state] for state in OPEN_STATES):
            return
    raise AssertionError(counts)


def states(front: Front, jobs: list[str]) -> list[str]:
    found = front.runtime.queries.get_states(jobs)
    return [found[job] for job in jobs]


def ticked(browser: httpx.Client, act: str, jobs: list[str], **more: Any) -> httpx.Response:
    """Tick jobs in a list and press the button of an act; return the preview."""
    return browser.post("/acts", data={"act": act, "scope": "job", "job": jobs, **more})


def confirm(browser: httpx.Client, preview: httpx.Response, **more: str) -> httpx.Response:
    """Press the button of a preview."""
    return browser.post(preview.url.path, data={"note": "", **more})


def test_a_preview_does_nothing_and_says_how_many_and_which(front: Front, browse: Browse) -> None:
    jobs = send(front, 1, 2, 3)
    browser = browse("admin")
    preview = ticked(browser, "cancel", jobs[:2])
    assert "2 changes will be ended and never sent." in preview.text
    assert "2 selected jobs" in preview.text
    assert all(job in preview.text for job in jobs[:2])
    assert jobs[2] not in preview.text
    browser.get(preview.url.path)
    assert states(front, jobs) == ["queued"] * 3


def test_a_secret_in_a_filter_or_in_the_address_of_a_list_is_not_kept(
    front: Front, browse: Browse, redis_client: redis.Redis
) -> None:
    [job] = send(front, 1)
    browser, secret = browse("admin"), SECRETS["ACME_TOKEN"]
    for scope, more in (("all", {"event_id": secret}), ("job", {"error": secret, "job": job})):
        refused = browser.post("/acts", data={"act": "dismiss", "scope": scope, **more})
        assert refused.status_code == 422
        assert not list(redis_client.scan_iter("*:act:*"))
    came_from = f"{front.url}/jobs?batch={secret.replace('-', '%2D')}"
    preview = browser.post("/acts", data={"act": "cancel", "job": job}, headers={"Referer": came_from})
    assert "1 change will be ended" in preview.text
    assert links_of(preview.text).count("/jobs") == 2  # of the menu, and of the way back


def test_an_act_is_carried_out_once_however_often_its_form_is_sent(front: Front, browse: Browse) -> None:
    jobs = send(front, 1, 2)
    browser = browse("admin")
    preview = ticked(browser, "cancel", jobs)
    first = confirm(browser, preview, note="a test")
    second = confirm(browser, preview, note="a test")
    assert "2 changes were ended." in first.text
    shown, again = (text_of(each.text).partition(", as of ")[0] for each in (first, second))
    assert shown == again
    assert states(front, jobs) == ["superseded"] * 2
    [entry] = [each for each in front.runtime.job_admin.audit_log("acme").entries if each.act == "cancelled"]
    assert (entry.by, entry.count, entry.note) == ("admin", 2, "a test")


@pytest.mark.parametrize("act", ["cancel", "replay"])
def test_a_click_while_an_act_is_carried_out_says_so(front: Front, browse: Browse, act: str) -> None:
    jobs = send(front, MISSING)
    if act == "replay":
        work(front)
    before, browser = states(front, jobs), browse("admin")
    preview = ticked(browser, act, jobs)
    token = preview.url.path.removeprefix("/acts/")
    acts = PreparedActs(front.runtime.client, front.runtime.settings.prefix)
    assert acts.claim(token)  # by another process, which has come to no end yet
    second = confirm(browser, preview)
    assert "This is being carried out" in second.text
    assert f'action="{preview.url.path}"' not in second.text
    assert states(front, jobs) == before


def test_all_that_match_is_a_fixed_set_that_later_jobs_are_not_in(front: Front, browse: Browse) -> None:
    jobs = send(front, 1, 2, 3, batch="import-7") + send(front, 4)
    browser = browse("admin")
    form = {"act": "cancel", "scope": "all", "account": "acme", "state": "queued", "batch": "import-7"}
    preview = browser.post("/acts", data=form)
    assert "3 changes will be ended" in preview.text
    assert "all that match: account acme, state queued, Batch import-7" in preview.text
    later = send(front, 5, batch="import-7")
    confirm(browser, preview)
    assert states(front, jobs + later) == ["superseded"] * 3 + ["queued"] * 2


def test_the_page_is_what_was_shown(front: Front, browse: Browse) -> None:
    send(front, *range(1, 31))
    browser = browse("admin")
    page = browser.get("/jobs?state=queued&limit=25")
    shown = re.findall(r'name="shown" value="([^"]+)"', page.text)
    assert len(shown) == 25
    preview = browser.post(
        "/acts", data={"act": "cancel", "scope": "page", "state": "queued", "shown": shown}
    )
    confirm(browser, preview)
    assert states(front, shown) == ["superseded"] * 25
    assert count_by_state(front.runtime.metrics, "acme")["queued"] == 5


def test_what_could_not_be_done_says_why_and_stays_selected(front: Front, browse: Browse) -> None:
    jobs = send(front, 1, 2)
    browser = browse("admin")
    preview = ticked(browser, "cancel", jobs)
    work(front)  # meanwhile they are sent
    result = confirm(browser, preview)
    assert "0 changes were ended." in result.text
    assert len(re.findall(r'name="job" value="[^"]+" checked', result.text)) == 2
    assert "succeeded" in text_of(result.text)


def test_jobs_that_do_not_fit_are_left_out_with_the_reason(front: Front, browse: Browse) -> None:
    [job] = send(front, 1)
    work(front)
    preview = ticked(browse("admin"), "cancel", [job, "acme-1m7y8t1vgssvve752b"])
    assert "None of them can be acted on like this." in preview.text
    assert "succeeded" in preview.text
    assert "gone" in preview.text


@pytest.mark.parametrize(
    "form", [{}, {"act": "erase", "job": "acme-x"}, {"act": "cancel"}, {"act": "cancel", "scope": "all"}]
)
def test_a_form_that_says_nothing_is_refused_with_what_is_missing(
    front: Front, browse: Browse, form: dict[str, str]
) -> None:
    send(front, 1)
    answer = browse("admin").post("/acts", data={"x": "y", **form})
    assert answer.status_code == 422


def test_another_key_cannot_carry_out_what_one_prepared(front: Front, browse: Browse) -> None:
    jobs = send(front, 1)
    preview = ticked(browse("admin"), "cancel", jobs)
    assert confirm(browse("all"), preview).status_code == 404
    assert states(front, jobs) == ["queued"]


def test_dismissing_takes_only_the_relations_of_the_filter(front: Front, browse: Browse) -> None:
    changes = [{**BUYER, "parentid": parent, "childid": [MISSING, 7]} for parent in (501, 502)]
    front.client("portal").post("/v1/changes", json=changes)
    work(front)
    browser = browse("admin")
    form = {
        "act": "dismiss",
        "scope": "all",
        "account": "acme",
        "state": "failed",
        "parentid": "501",
        "error": "80",
    }
    result = confirm(browser, browser.post("/acts", data=form))
    assert "1 job was dismissed." in result.text
    left = front.runtime.queries.find_jobs("acme", JobFilter(state="failed")).entries
    assert [job.parents for job in left] == [(502,)]


# --- replays


def test_replay_from_the_errors_page_to_success(front: Front, browse: Browse) -> None:
    jobs = send(front, MISSING)
    work(front)
    browser = browse("admin")
    errors = browser.get("/errors")
    assert "Check in onOffice that the record exists" in errors.text
    preview = browser.post("/acts", data={"act": "replay", "scope": "all", **hidden(errors.text, "/acts")})
    assert "1 failed job will be sent again." in preview.text
    assert "1 action in 1 request" in text_of(preview.text)
    assert front.sent_replays == []
    page = confirm(browser, preview)
    confirm(browser, preview)
    assert page.url.path.startswith("/replays/")
    [replay] = front.sent_replays  # once, although the form was sent twice
    build_services(front.runtime).replays.run(replay)
    progress = browser.get(page.url.path)
    assert "1 of 1 jobs handled" in text_of(progress.text)
    assert states(front, jobs) == ["queued"]


def hidden(html: str, action: str) -> dict[str, str]:
    """Return the hidden fields of the first form that is sent to an address."""
    form = re.search(rf'<form [^>]*action="{action}"[^>]*>(.*?)</form>', html, re.DOTALL)
    assert form
    return dict(re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)">', form[1]))


def test_one_wrong_id_is_corrected_and_only_its_relation_is_replayed(front: Front, browse: Browse) -> None:
    front.client("portal").post("/v1/changes", json={**BUYER, "childid": [MISSING, 7, 8]})
    work(front)
    browser = browse("admin")
    [failed] = front.runtime.queries.find_jobs("acme", JobFilter(state="failed")).entries
    page = browser.get(f"/jobs/{failed.id}")
    assert page.text.count(">applied<") == 2
    form = {**hidden(page.text, "/acts"), "set_childid": "9", "set_parentid": ""}
    preview = browser.post("/acts", data=form)
    assert "childid" in preview.text
    confirm(browser, preview)
    build_services(front.runtime).replays.run(front.sent_replays[0])
    work(front)
    after = front.runtime.queries.get_jobs([failed.id])[failed.id]
    [replacement] = after.replayed_by
    made = front.runtime.queries.get_jobs([replacement])[replacement]
    assert (made.state, made.parents, made.children) == ("succeeded", (501,), (9,))
    assert f"/jobs/{replacement}" in links_of(browser.get(f"/jobs/{failed.id}").text)


@pytest.mark.parametrize("value", ["x", "0", "-1", "1e3", "9" * 30, "1;2"])
def test_what_is_no_id_corrects_nothing(front: Front, browse: Browse, value: str) -> None:
    send(front, MISSING)
    work(front)
    [failed] = front.runtime.queries.find_jobs("acme", JobFilter(state="failed")).entries
    answer = browse("admin").post("/acts", data={"act": "replay", "job": failed.id, "set_childid": value})
    assert "None of them can be acted on" in answer.text or answer.status_code == 422


def test_a_running_replay_is_stopped(front: Front, browse: Browse) -> None:
    send(front, MISSING)
    work(front)
    browser = browse("admin")
    [failed] = front.runtime.queries.find_jobs("acme", JobFilter(state="failed")).entries
    page = confirm(browser, ticked(browser, "replay", [failed.id]))
    stopped = browser.post(f"{page.url.path}/stop", data={"x": ""})
    assert "stopped" in text_of(stopped.text)
    again = browser.post(f"{page.url.path}/run", data={"x": ""})
    assert "running" in text_of(again.text)
    assert len(front.sent_replays) == 2


# --- accounts


def test_pause_and_resume_say_what_they_did(front: Front, browse: Browse) -> None:
    browser = browse("admin")
    paused = browser.post("/accounts/acme/pause", data={"why": "moving"})
    assert "Paused" in paused.text
    assert "moving" in paused.text
    assert "is paused (hand)" in text_of(browser.get("/").text)
    resumed = browser.post("/accounts/acme/resume", data={"x": ""})
    assert "acme goes on." in resumed.text
    assert front.store.get_pause("acme") is None


def test_pausing_twice_pauses_once(front: Front, browse: Browse) -> None:
    browser = browse("admin")
    for why in ("first", "second"):
        browser.post("/accounts/acme/pause", data={"why": why})
    pause = front.store.get_pause("acme")
    assert pause
    assert pause.detail == "first"
    entries = front.runtime.job_admin.audit_log("acme").entries
    assert [entry.act for entry in entries].count("paused") == 1


def test_the_credentials_are_tried(front: Front, browse: Browse) -> None:
    checked = browse("admin").post("/accounts/acme/check", data={"x": ""})
    assert "accepted by" in checked.text


@pytest.mark.parametrize(
    "path", ["/acts", "/accounts/acme/pause", "/sign-out", "/replays/x/run", "/replays/x/stop", "/language"]
)
def test_nothing_acts_on_get(front: Front, browse: Browse, path: str) -> None:
    browser = browse("admin")
    done = front.runtime.job_admin.audit_log("acme").entries
    assert browser.get(path, headers={"Accept": "application/json"}).status_code == 405
    shown = browser.get(path, follow_redirects=False)
    assert (shown.status_code, shown.headers["location"]) == (303, path.rpartition("/")[0] or "/")
    assert front.runtime.job_admin.audit_log("acme").entries == done
    assert browser.get("/system").status_code == 200  # nobody was signed out


def test_all_failed_jobs_of_all_accounts_are_replayed_and_only_accounts_with_some_get_a_replay(
    front: Front, browse: Browse
) -> None:
    jobs = send(front, MISSING) + send(front, MISSING, account="beta")
    work(front)
    work(front, "beta")
    page = browse("all").post("/acts", data={"act": "replay", "scope": "all"})
    assert "2 failed jobs will be sent again." in page.text
    assert {job.rpartition("-")[0] for job in jobs} == {"acme", "beta"}
    assert not front.runtime.job_admin.list_replays("unrouted")
    assert len(front.runtime.job_admin.list_replays("beta")) == 1


# --- references


def park(front: Front) -> str:
    """Send a change that names an estate which nobody has; return its parked job."""
    [job] = send(front, 7, parent={"estate": {"objektnr_extern": "PC910"}})  # type: ignore[arg-type]
    for _ in range(5):
        front.runtime.flush("acme")
    assert states(front, [job]) == ["parked"]
    return job


def test_a_person_says_which_record_a_reference_is(front: Front, browse: Browse) -> None:
    job = park(front)
    browser = browse("admin")
    page = browser.get(f"/jobs/{job}")
    assert "estate:objektnr_extern=PC910" in page.text
    form = {**hidden(page.text, f"/jobs/{job}/resolve"), "record": "501"}
    for _ in range(2):
        assert browser.post(f"/jobs/{job}/resolve", data=form).status_code == 200
    work(front)
    done = front.runtime.queries.get_jobs([job])[job]
    assert (done.state, done.parents) == ("succeeded", (501,))
    assert "chosen by admin" in browser.get(f"/jobs/{job}").text


@pytest.mark.parametrize(
    ("reference", "record", "status"),
    [
        *(("0", record, 422) for record in ("x", "0", "9" * 5000)),
        *((reference, "1", 404) for reference in ("9", "", "-1", "9" * 5000)),
    ],
)
def test_what_is_no_record_resolves_nothing(
    front: Front, browse: Browse, reference: str, record: str, status: int
) -> None:
    job = park(front)
    answer = browse("admin").post(f"/jobs/{job}/resolve", data={"reference": reference, "record": record})
    assert answer.status_code == status
    assert states(front, [job]) == ["parked"]


def test_parked_jobs_are_looked_up_at_once(front: Front, browse: Browse) -> None:
    job = park(front)
    browser = browse("admin")
    assert "Look up" in browser.get("/jobs?state=parked").text
    preview = browser.post("/acts", data={"act": "look_up", "scope": "all", "account": "acme"})
    assert "The records of 1 parked job will be looked up at once." in preview.text
    front.woken.clear()
    assert "1 job is looked up next." in confirm(browser, preview).text
    assert front.woken == ["acme"]
    assert states(front, [job]) == ["parked"]


def test_a_preview_that_names_an_erased_record_is_forgotten_and_others_stay(
    front: Front, browse: Browse, redis_client: redis.Redis
) -> None:
    send(front, 7_654_321, 2)
    browser = browse("admin")
    form = {"act": "cancel", "scope": "all", "state": "queued", "account": "acme"}
    named, other = (browser.post("/acts", data={**form, "childid": child}) for child in ("7654321", "2"))
    assert (named.status_code, other.status_code) == (200, 200)
    erasure = build_services(front.runtime).erasure
    erase_record(erasure, "beta", "address", 7_654_321, by="ada")
    assert browser.get(named.url.path).status_code == 200
    assert erase_record(erasure, "acme", "address", 7_654_321, by="ada")["previews"] == 1
    assert (browser.get(named.url.path).status_code, browser.get(other.url.path).status_code) == (404, 200)
    texts = [redis_client.get(key) for key in redis_client.scan_iter("*:act:*")]
    assert texts
    assert not any(b"7654321" in text for text in texts if text)
