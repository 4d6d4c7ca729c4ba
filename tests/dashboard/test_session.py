"""Who may open a page: keys, cookies and proxies; what a form of another site, or a wrong key, can do."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from itsdangerous import URLSafeTimedSerializer
from starlette.requests import Request

from ops.dashboard.routes import page_routes
from ops.dashboard.session import Sessions, SignInLimit, TooMany, is_listed, is_own_page
from ops.dashboard.sign_in import own_path
from producers.portals.http.application import application
from producers.portals.http.server import Server
from tests.support.browsing import HTML, Browse, open_browser, text_of
from tests.support.http_front import BUYER, KEYS, Front, sha256
from worker.config import Key, Secret, Settings
from worker.config.values import Dashboard
from worker.ports.records import JobFilter

ADMIN = KEYS["admin"][0]
PAGES = ("/jobs", "/errors", "/accounts", "/audit", "/system", "/jobs/acme-1m7y8t1vgssvve752b", "/acts/x")


@contextmanager
def settings_with(front: Front, text: str) -> Iterator[None]:
    """Add this to the settings file, which is read again at the next request."""
    file = front.runtime.settings.file
    assert file
    before = file.read_text("utf-8")
    file.write_text(f"{before}\n{text}", "utf-8")
    try:
        front.runtime.live_settings.refresh()
        assert not front.runtime.live_settings.faults
        yield
    finally:
        file.write_text(before, "utf-8")
        front.runtime.live_settings.refresh()


@pytest.mark.parametrize("path", PAGES)
def test_without_a_session_every_page_leads_to_the_sign_in_and_back(
    front: Front, browse: Browse, path: str
) -> None:
    browser = browse(None)
    answer = browser.get(f"{path}?a=1")
    assert answer.url.path == "/sign-in"
    assert 'name="next" value="' in answer.text
    then = browser.post("/sign-in", data={"key": ADMIN, "next": f"{path}?a=1"}, follow_redirects=False)
    assert (then.status_code, then.headers["location"]) == (303, f"{path}?a=1")


def test_a_form_that_outlives_its_session_does_nothing_and_says_so(front: Front, browse: Browse) -> None:
    job = front.client("admin").post("/v1/changes", json=BUYER).json()["jobs"][0]["id"]
    browser = browse("admin")
    preview = browser.post("/acts", data={"act": "cancel", "scope": "job", "job": job})
    browser.cookies.clear()
    for page, then in ((str(preview.url), preview.url.path), ("http://elsewhere.test/x", "/"), ("", "/")):
        late = browser.post(preview.url.path, headers={"Referer": page})
        assert late.url.path == "/sign-in"
        assert "Your session has ended, and nothing was done." in late.text
        assert f'name="next" value="{then}"' in late.text
    assert "Your session has ended" not in browser.get("/sign-in").text
    back = browser.post("/sign-in", data={"key": ADMIN, "next": preview.url.path})
    assert "Cancel 1 job now" in text_of(back.text)


def test_a_wrong_key_opens_nothing_and_is_counted(front: Front, browse: Browse) -> None:
    browser = browse(None)
    answer = browser.post("/sign-in", data={"key": "canary-wrong-key"})
    assert answer.status_code == 401
    assert "this key is not known here" in answer.text
    assert "canary-wrong-key" not in answer.text
    assert not browser.cookies
    assert [fields["reason"] for event, fields in front.events if event == "key.refused"] == ["unknown_key"]


def test_signing_in_is_audited_and_logged(front: Front, browse: Browse) -> None:
    browse("admin")
    [entry] = front.runtime.job_admin.audit_log("acme").entries
    assert (entry.by, entry.act, entry.count) == ("admin", "signed in", 1)
    assert ("session.began", {"key": "admin"}) in front.events


def test_a_cookie_is_for_our_pages_alone_and_holds_nothing_of_the_key(front: Front, browse: Browse) -> None:
    answer = browse(None).post("/sign-in", data={"key": ADMIN}, follow_redirects=False)
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith("relations-session=")
    assert {"HttpOnly", "Path=/", "SameSite=lax"} <= set(cookie.split("; "))
    assert ADMIN not in cookie
    assert sha256(ADMIN) not in cookie


def test_over_https_the_cookie_is_bound_to_the_host(front: Front, browse: Browse) -> None:
    answer = browse(None).post(
        "/sign-in", data={"key": ADMIN}, headers={"X-Forwarded-Proto": "https"}, follow_redirects=False
    )
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith("__Host-relations-session=")
    assert {"Secure", "HttpOnly", "Path=/"} <= set(cookie.split("; "))
    assert "domain" not in cookie.lower()


def test_signing_out_ends_the_session_of_the_browser(front: Front, browse: Browse) -> None:
    browser = browse("admin")
    assert browser.get("/jobs").url.path == "/jobs"
    browser.post("/sign-out")
    assert browser.get("/jobs").url.path == "/sign-in"


@pytest.mark.parametrize("path", ["/sign-in", "/sign-out", "/language", "/acts", "/accounts/acme/pause"])
@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "", "Origin": "https://evil.example"},
        {"Sec-Fetch-Site": "", "Origin": "null"},
        {"Sec-Fetch-Site": ""},
    ],
)
def test_a_form_of_another_site_does_nothing(
    front: Front, browse: Browse, path: str, headers: dict[str, str]
) -> None:
    browser = browse("admin")
    before = dict(browser.cookies)
    answer = browser.post(path, data={"key": ADMIN, "language": "de", "why": "x"}, headers=headers)
    assert answer.status_code == 403
    assert dict(browser.cookies) == before
    assert front.store.get_pause("acme") is None


def test_without_fetch_metadata_the_origin_decides(front: Front, browse: Browse) -> None:
    browser = browse("admin")
    own = {"Sec-Fetch-Site": "", "Origin": front.url}
    assert browser.post("/accounts/acme/pause", data={"why": "x"}, headers=own).status_code == 200
    assert front.store.get_pause("acme") is not None


def test_a_bearer_key_needs_no_proof_of_the_form(front: Front) -> None:
    with open_browser(
        front, None, {"Authorization": f"Bearer {ADMIN}", "Sec-Fetch-Site": "cross-site"}
    ) as client:
        assert client.post("/accounts/acme/pause", data={"why": "x"}).status_code == 200
    assert front.store.get_pause("acme") is not None


def test_a_key_sees_and_does_only_what_it_may(front: Front, browse: Browse) -> None:
    front.client("portal").post("/v1/changes", json={**BUYER, "account": "beta"})
    viewer = browse("viewer")
    [foreign] = front.runtime.queries.find_jobs("beta", JobFilter()).entries
    assert viewer.get("/audit").status_code == 403
    assert viewer.get("/jobs?account=beta").status_code == 403
    assert viewer.get(f"/jobs/{foreign.id}").status_code == 403
    assert viewer.get("/accounts/beta").status_code == 403
    assert viewer.get("/requests/beta/x").status_code == 403
    assert viewer.get("/relations/beta/estate:address:buyer/501/9001").status_code == 403
    assert foreign.id not in viewer.get("/jobs").text
    assert "Nothing is kept of" in viewer.get(f"/find?q={foreign.id}").text
    assert "Dismiss" not in viewer.get("/jobs").text
    assert viewer.post("/acts", data={"act": "dismiss", "job": foreign.id}).status_code == 403
    assert viewer.post("/accounts/acme/pause", data={"why": "x"}).status_code == 403
    assert not {"beta"} & set(re.findall(r"\w+", text_of(viewer.get("/").text)))


def test_rights_are_read_at_each_request(front: Front, browse: Browse) -> None:
    browser = browse("admin")
    file = front.runtime.settings.file
    assert file
    before = file.read_text("utf-8")
    try:
        file.write_text(before.replace(sha256(ADMIN), sha256("another key")), "utf-8")
        assert browser.get("/jobs").url.path == "/sign-in"  # the key was replaced
    finally:
        file.write_text(before, "utf-8")
        front.runtime.live_settings.refresh()
    assert browser.get("/jobs").url.path == "/jobs"


SINGLE_SIGN_ON = """
[dashboard]
proxies = ["127.0.0.0/8"]
user_header = "X-Forwarded-User"
users = { "anna@agency.example" = "admin", "*" = "viewer" }
"""


def test_a_listed_proxy_names_the_user_and_the_audit_log_has_both(front: Front) -> None:
    with settings_with(front, SINGLE_SIGN_ON), open_browser(front, None) as client:
        assert client.get("/audit").url.path == "/sign-in"
        anna = {"X-Forwarded-User": "anna@agency.example"}
        assert client.post("/accounts/acme/pause", data={"why": "x"}, headers=anna).status_code == 200
        assert client.get("/audit", headers={"X-Forwarded-User": "bob"}).status_code == 403
        assert client.get("/audit", headers={"X-Forwarded-User": "<b>"}).url.path == "/sign-in"
        twice = [("X-Forwarded-User", "bob"), ("X-Forwarded-User", "anna@agency.example")]
        assert client.get("/audit", headers=httpx.Headers(twice)).url.path == "/sign-in"
    [entry] = front.runtime.job_admin.audit_log("acme").entries
    assert entry.by == "anna@agency.example (admin)"


def test_a_token_that_a_proxy_sends_beside_the_user_is_no_key_of_ours(front: Front) -> None:
    with settings_with(front, SINGLE_SIGN_ON), open_browser(front, None) as client:
        token = {"Authorization": "Bearer eyJhbGciOiJSUzI1NiJ9.e30.c2ln"}
        assert client.get("/audit", headers=token).status_code == 401
        anna = {**token, "X-Forwarded-User": "anna@agency.example"}
        assert client.get("/audit", headers=anna).status_code == 200
        of_another_site = {**anna, "Sec-Fetch-Site": "cross-site"}
        paused = client.post("/accounts/acme/pause", data={"why": "x"}, headers=of_another_site)
        assert paused.status_code == 403


def test_who_has_no_key_by_the_proxy_signs_in_with_one_whatever_token_it_sends(front: Front) -> None:
    only_anna = SINGLE_SIGN_ON.replace(', "*" = "viewer"', "")
    with settings_with(front, only_anna), open_browser(front, None) as client:
        client.headers.update(
            {"Authorization": "Bearer eyJhbGciOiJSUzI1NiJ9.e30.c2ln", "X-Forwarded-User": "bob"}
        )
        assert client.get("/audit").url.path == "/sign-in"
        assert client.post("/sign-in", data={"key": ADMIN, "next": "/audit"}).url.path == "/audit"
        assert client.get("/audit", headers={"Authorization": f"Bearer {ADMIN}"}).status_code == 200


@pytest.mark.parametrize(
    "user",
    [
        "accounts.google.com:anna@agency.example",
        "auth0|5f7c8ec7c33c6c004bbafe82",
        r"AGENCY\anna",
        "o'brien@agency.example",
    ],
)
def test_users_are_known_by_the_names_that_proxies_give_them(front: Front, user: str) -> None:
    text = SINGLE_SIGN_ON.replace("anna@agency.example", user.replace("\\", "\\\\"))
    with settings_with(front, text), open_browser(front, None) as client:
        assert client.get("/audit", headers={"X-Forwarded-User": user}).url.path == "/audit"
        for odd in (f"{user},bob", f"{user} bob", f"<{user}>"):
            assert client.get("/accounts", headers={"X-Forwarded-User": odd}).url.path == "/sign-in"


def test_who_is_signed_in_by_a_proxy_signs_out_there(front: Front, browse: Browse) -> None:
    with settings_with(front, SINGLE_SIGN_ON), open_browser(front, None) as client:
        page = client.get("/accounts", headers={"X-Forwarded-User": "anna@agency.example"}).text
        assert "anna@agency.example (admin)" in page
        assert "/sign-out" not in page  # anna would be asked for a key, and still be signed in
        assert "sign out there" in page
        assert "/sign-out" in browse("admin").get("/accounts").text


def test_nobody_else_can_name_a_user(front: Front) -> None:
    text = SINGLE_SIGN_ON.replace("127.0.0.0/8", "10.0.0.0/8")
    with settings_with(front, text), open_browser(front, None) as client:
        spoofed = {"X-Forwarded-User": "anna@agency.example", "X-Forwarded-For": "10.0.0.1"}
        assert client.get("/audit", headers=spoofed).url.path == "/sign-in"


def test_the_pages_can_be_switched_off(front: Front) -> None:
    with settings_with(front, "[dashboard]\nenabled = false\n"), open_browser(front, None) as client:
        assert client.get("/jobs").status_code == 404
        assert client.get("/sign-in").status_code == 404
        assert client.post("/sign-in", data={"key": ADMIN}).status_code == 404
        assert client.get("/", headers={"Accept": "application/json"}).status_code == 200


def test_an_address_that_tries_keys_is_asked_to_wait(front: Front) -> None:
    pages = page_routes(front.runtime, send_replay=lambda _: None)
    with (
        Server(application(front.runtime, pages=pages), port=0) as server,
        httpx.Client(base_url=server.url, headers=HTML) as client,
    ):
        found = [client.post("/sign-in", data={"key": f"wrong-{at}"}).status_code for at in range(12)]
        assert found == [401] * SignInLimit.PER_ADDRESS + [429] * 2
        assert client.post("/sign-in", data={"key": ADMIN}).status_code == 429


# --- the parts

NAMED = Key(name="desk", sha256=sha256("k"), accounts=("acme",), can=("read",))


def dashboard(*secrets: str, hours: float = 12.0) -> Dashboard:
    made = tuple(Secret(each, environ={}, folder=Path()) for each in secrets)
    return Dashboard(secrets=made, session_hours=hours)


def settings(board: Dashboard, key: Key = NAMED) -> Settings:
    return Settings(keys={key.name: key}, dashboard=board)


OLD, NEW = "an-old-secret-of-sessions", "a-new-secret-of-sessions"


def test_secrets_rotate() -> None:
    cookie = Sessions().sign(NAMED, dashboard(OLD))
    assert Sessions().read(cookie, settings(dashboard(NEW, OLD))) == NAMED
    assert Sessions().read(cookie, settings(dashboard(NEW))) is None
    fresh = Sessions().sign(NAMED, dashboard(NEW, OLD))
    assert Sessions().read(fresh, settings(dashboard(NEW))) == NAMED


def test_without_a_secret_each_process_has_its_own() -> None:
    first, second = Sessions(), Sessions()
    cookie = first.sign(NAMED, dashboard())
    assert first.read(cookie, settings(dashboard())) == NAMED
    assert second.read(cookie, settings(dashboard())) is None


def test_a_session_ends_with_its_time_its_key_and_its_name() -> None:
    sessions = Sessions()
    cookie = sessions.sign(NAMED, dashboard(OLD))
    assert sessions.read(cookie, settings(dashboard(OLD, hours=-1.0))) is None
    replaced = Key(name="desk", sha256=sha256("other"), accounts=("acme",), can=("admin",))
    assert sessions.read(cookie, settings(dashboard(OLD), replaced)) is None
    assert sessions.read(cookie, Settings(dashboard=dashboard(OLD))) is None


@given(st.text(max_size=200))
def test_no_text_is_a_session(text: str) -> None:
    assert Sessions().read(text, settings(dashboard(OLD))) is None


@given(
    st.recursive(
        st.none() | st.integers() | st.text(), lambda inner: st.lists(inner, max_size=3), max_leaves=4
    )
)
def test_a_signed_value_of_another_shape_is_none(value: object) -> None:
    serializer = URLSafeTimedSerializer([OLD], salt="another salt")
    cookie = serializer.dumps(value)
    assert Sessions().read(str(cookie), settings(dashboard(OLD))) is None


def test_wrong_keys_are_bounded_per_address_and_forgiven_after_a_minute() -> None:
    at = [0.0]
    limit = SignInLimit(lambda: at[0])
    for _ in range(SignInLimit.PER_ADDRESS):
        limit.check("a")
        limit.note_failure("a")
    with pytest.raises(TooMany):
        limit.check("a")
    limit.check("b")
    at[0] = 61.0
    limit.check("a")


@pytest.mark.parametrize(
    "path", ["//evil.example", "https://evil.example", "/\\evil", "", "jobs", "/\nx", "javascript:x"]
)
def test_after_signing_in_nobody_is_led_elsewhere(path: str) -> None:
    assert own_path(path) == "/"


def test_addresses_are_listed_alone_or_by_network() -> None:
    assert is_listed("10.1.2.3", ("10.0.0.0/8",))
    assert is_listed("::1", ("::1",))
    assert not is_listed("10.1.2.3", ("10.1.2.4", "::1"))
    assert not is_listed("", ("10.0.0.0/8",))
    assert not is_listed("testclient", ("0.0.0.0/0",))


@given(st.sampled_from(["same-origin", "cross-site", "same-site", "none", "SAME-ORIGIN", "x"]))
def test_only_same_origin_is_ours(site: str) -> None:
    scope = {
        "type": "http",
        "headers": [(b"sec-fetch-site", site.encode()), (b"host", b"h"), (b"origin", b"http://h")],
    }
    assert is_own_page(Request(scope)) == (site == "same-origin")
