"""What operators do, in a real browser over the whole system: real workers, a simulated CRM."""

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from ops.dev.stack import Stack

Open = Callable[..., "Page"]
PATHS = (
    "/",
    "/jobs",
    "/errors",
    "/requests",
    "/accounts",
    "/accounts/west",
    "/audit",
    "/system",
    "/replays",
    "/find",
    "/sources",
    "/sources/immo",
    "/deliveries",
)


def test_find_a_failed_job_read_why_preview_replay_and_see_it_succeed(
    open_page: Open, stack: "Stack"
) -> None:
    from tests.browser.world import change, send, wait_for_end

    stack.simulate("seed", {"account": "nord", "records": {"missing": [["address", 6001]]}})
    [job] = send(stack, change(510, 6001))
    wait_for_end(stack, [job])
    page = open_page("/errors")
    page.get_by_role("link", name="Jobs").click()
    page.get_by_role("link", name="failed").click()
    page.get_by_role("link", name=job).click()
    page.get_by_text("Check in onOffice that the record exists").first.wait_for()
    stack.simulate("seed", {"account": "nord", "records": {}})  # now there is
    page.locator("form.acts").get_by_role("button", name="Replay …").click()
    page.get_by_text("1 failed job will be sent again.").wait_for()
    page.get_by_role("button", name="Replay 1 job now").dblclick()
    page.wait_for_url("**/replays/*")
    page.get_by_text("1 of 1 jobs handled").wait_for()  # which the page learns by itself
    page.locator("#replay .badge.good").get_by_text("succeeded").wait_for()
    page.goto(f"/jobs/{job}")
    page.locator("h1 .badge.good").get_by_text("succeeded").wait_for()


def test_correct_one_wrong_id(open_page: Open, stack: "Stack", ids: dict[str, str]) -> None:
    page = open_page(f"/jobs/{ids['failed']}")
    row = page.locator("tr", has=page.locator(".badge.bad"))
    row.get_by_label(re.compile("Right id of the child")).fill("9555")
    row.get_by_role("button", name="Replay …").click()
    page.locator("dd", has_text="childid").get_by_text("9555").wait_for()
    page.get_by_role("button", name="Replay 1 job now").click()
    page.locator("#replay .badge.good").get_by_text("succeeded").wait_for()
    page.goto(f"/jobs/{ids['failed']}")
    page.locator(".timeline").get_by_text("replaced by").wait_for()


def test_pause_and_resume(open_page: Open) -> None:
    page = open_page("/accounts/sued")
    page.get_by_label("Why").fill("moving")
    page.get_by_role("button", name="Pause", exact=True).click()
    page.locator("h1 .badge").get_by_text("paused").wait_for()
    page.goto("/")
    page.get_by_text("account sued").wait_for()
    page.goto("/accounts/sued")
    page.get_by_role("button", name="Resume", exact=True).click()
    page.get_by_text("sued goes on.").wait_for()


def test_a_read_only_key_sees_its_account_and_no_buttons_that_act(open_page: Open) -> None:
    from tests.browser.world import READ_ONLY

    page = open_page("/jobs", key=READ_ONLY)
    assert page.locator("input[name=job], .acts button").count() == 0
    assert "sued" not in page.locator("main").inner_text()
    assert page.get_by_role("link", name="Audit").count() == 0


def test_everything_by_keyboard(open_page: Open, ids: dict[str, str]) -> None:
    page = open_page("/")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("/")
    page.keyboard.type(ids["succeeded"])
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/jobs/{ids['succeeded']}")
    page.goto("/jobs?state=queued")
    page.locator("input[name=job][type=checkbox]").first.focus()
    page.keyboard.press("Space")
    page.get_by_role("button", name="Cancel …").focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**/acts/*")
    page.get_by_text("1 change will be ended and never sent.").wait_for()


def test_a_list_updates_itself_but_not_while_something_is_selected_nor_paused_nor_hidden(
    open_page: Open, stack: "Stack"
) -> None:
    from tests.browser.world import change, send

    page = open_page("/jobs?state=queued&account=west")
    page.locator("[data-live-state]").get_by_text("live").wait_for()
    [first] = send(stack, change(950, 9500, account="west"))
    page.locator(f"#row-{first}").wait_for()
    page.get_by_role("checkbox", name="Select", exact=True).check()  # which updates leave where it is
    assert page.locator("input[name=job]:checked").count() == page.locator("tbody tr").count()
    page.get_by_role("checkbox", name="Select", exact=True).uncheck()
    box = page.locator(f"#row-{first} input[type=checkbox]")
    box.check()
    page.locator("[data-live-state]").get_by_text("waiting while jobs are selected").wait_for()
    [second] = send(stack, change(951, 9501, account="west"))
    with page.expect_request(lambda sent: "/jobs" in sent.url, timeout=20_000) as asked:
        assert page.locator(f"#row-{second}").count() == 0
        assert box.is_checked()
        box.uncheck()
    assert asked.value
    page.locator(f"#row-{second}").wait_for()
    page.get_by_role("button", name="Pause updates").click()
    page.clock.install()
    page.reload()
    page.locator("[data-live-state]").get_by_text("paused").wait_for()
    asked_for = list[str]()
    page.on("request", lambda sent: asked_for.append(sent.url))
    page.clock.run_for(600_000)
    assert asked_for == []
    page.get_by_role("button", name="Resume updates").click()
    page.evaluate("Object.defineProperty(document, 'hidden', {value: true})")
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    page.clock.run_for(600_000)
    assert asked_for == []


def test_a_page_that_a_form_made_goes_on_living_at_an_address_of_its_own(open_page: Open) -> None:
    page = open_page("/accounts/nord")
    with page.expect_request(lambda sent: sent.method == "GET" and sent.url.endswith("/accounts/nord")):
        page.get_by_role("button", name="Try the credentials").click()
    page.get_by_text("accepted by").wait_for()
    assert page.url.endswith("/accounts/nord")
    page.locator("[data-live-state]").get_by_text("live", exact=True).wait_for()
    page.reload()  # which asks nobody whether to send the form again
    assert page.get_by_text("accepted by").count() == 0


def test_what_a_job_has_become_and_what_can_be_done_with_it_is_seen_at_once(
    open_page: Open, stack: "Stack"
) -> None:
    from tests.browser.world import cancel, change, send

    [job] = send(stack, change(970, 9700, account="west"))
    page = open_page(f"/jobs/{job}")
    page.locator("h1 .badge").get_by_text("queued").wait_for()
    copier = page.locator("#job .copier").first
    copier.focus()
    cancel(stack, job)  # by somebody else
    page.locator("h1 .badge").get_by_text("superseded").wait_for()
    assert page.locator("#acts button").count() == 0
    assert copier.evaluate("button => button === document.activeElement")


def test_a_page_goes_on_living_after_a_form_that_led_nowhere_or_from_which_one_came_back(
    open_page: Open,
) -> None:
    page = open_page("/accounts/nord")
    page.route("**/accounts/nord/check", lambda route: route.fulfill(status=204))  # the browser stays
    page.get_by_role("button", name="Try the credentials").click()
    assert page.locator("form[data-sent]").count() == 1
    page.evaluate("document.activeElement.blur()")
    page.evaluate("dispatchEvent(new PageTransitionEvent('pageshow', { persisted: true }))")
    with page.expect_request(lambda sent: sent.url.endswith("/accounts/nord")):
        assert page.locator("form[data-sent]").count() == 0
    page.locator("[data-live-state]").get_by_text("live", exact=True).wait_for()


def test_what_was_typed_outlives_the_session(open_page: Open) -> None:
    page = open_page("/accounts/sued")
    page.get_by_label("Why").fill("moving")
    page.evaluate("document.activeElement.blur()")
    page.locator("[data-live-state]").get_by_text("waiting while you work on it").wait_for()
    page.context.clear_cookies()
    page.locator("[data-live-state]").get_by_text("your session has ended").wait_for()
    assert page.get_by_label("Why").input_value() == "moving"
    page.get_by_label("Why").fill("")
    page.evaluate("document.activeElement.blur()")
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    page.wait_for_url("**/sign-in?next=*")


def test_the_overview_does_not_stand_still_when_its_session_has_ended(open_page: Open) -> None:
    page = open_page("/")
    page.locator("[data-live-state]").get_by_text("live", exact=True).wait_for()
    page.context.clear_cookies()
    page.get_by_label("Key of this server").wait_for()


def test_the_verdict_of_a_server_that_is_away_does_not_look_like_one_of_now(open_page: Open) -> None:
    page = open_page("/").context.new_page()  # whose console is not watched
    page.goto("/")
    verdict = page.locator("#verdict")
    colour = "verdict => getComputedStyle(verdict).backgroundColor"
    now, state = verdict.evaluate(colour), page.locator("[data-live-state]")
    page.route("**/*", lambda route: route.fulfill(status=502), times=1)
    state.get_by_text("the server does not answer").wait_for()
    assert verdict.evaluate(colour) != now
    state.get_by_text("live", exact=True).wait_for()
    assert verdict.evaluate(colour) == now


@pytest.mark.parametrize(
    ("status", "headers"), [(302, {"Location": "https://sign-in.example/"}), (200, {})], ids=["away", "here"]
)
def test_a_page_whose_session_a_proxy_has_ended_leads_to_where_one_signs_in(
    open_page: Open, status: int, headers: dict[str, str]
) -> None:
    page = open_page(
        "/"
    ).context.new_page()  # one that is not watched: a redirect is told as if it was followed
    page.goto("/accounts")
    sign_in = {"status": status, "headers": headers, "content_type": "text/html", "body": "<form>Who?</form>"}
    page.route("**/accounts", lambda route: route.fulfill(**sign_in), times=1)
    with page.expect_navigation(url="**/accounts"):  # from where the proxy leads on
        page.locator("#accounts").wait_for()


def test_a_form_that_a_proxy_leads_to_its_sign_in_leads_there_by_way_of_its_page(open_page: Open) -> None:
    page = open_page("/").context.new_page()  # what the policy forbids stands in its console
    page.goto("/sources/immo")
    sign_in = {"Location": "https://sign-in.example/"}
    page.route(
        "**/sources/immo",
        lambda route: (
            route.fulfill(status=302, headers=sign_in)
            if route.request.method == "POST"
            else route.continue_()
        ),
    )
    page.get_by_label("The body of a message").fill("{}")
    with page.expect_request(lambda sent: sent.method == "GET" and sent.is_navigation_request()) as asked:
        page.get_by_role("button", name="Try", exact=True).click()
    assert asked.value.url.endswith("/sources/immo")


@pytest.mark.parametrize(
    ("status", "words"),
    [(401, "reload it"), (403, "reload it"), (404, "reload it"), (502, "the server does not answer")],
)
def test_a_page_that_is_refused_says_so_and_goes_on_when_it_is_there_again(
    open_page: Open, status: int, words: str
) -> None:
    page = open_page("/").context.new_page()  # one whose console is not watched: a refusal stands in it
    page.goto("/accounts")
    page.route("**/accounts", lambda route: route.fulfill(status=status), times=1)
    state = page.locator("[data-live-state]")
    state.get_by_text(words).wait_for()
    state.get_by_text("live", exact=True).wait_for()


@pytest.mark.parametrize(
    ("scheme", "options"), [("light", "{}"), ("dark", "{runOnly: ['color-contrast']}")], ids=["light", "dark"]
)
def test_no_page_has_a_serious_fault_for_people_with_a_disability(
    open_page: Open, axe: str, ids: dict[str, str], scheme: str, options: str
) -> None:
    page = open_page("/", color_scheme=scheme, bypass_csp=True)  # axe is put into the page
    more = (
        f"/jobs/{ids['failed']}",
        f"/requests/nord/{ids['request']}",
        "/relations/nord/estate:address:buyer/501/9001",
    )
    for path in (*PATHS, *more):
        page.goto(path)
        page.evaluate(axe)
        found = page.evaluate(f"axe.run(document, {{resultTypes: ['violations'], ...{options}}})")[
            "violations"
        ]
        serious = [each for each in found if each["impact"] in ("serious", "critical")]
        assert not serious, (path, [(each["id"], each["nodes"][0]["html"]) for each in serious])


@pytest.mark.parametrize(("width", "language"), [(360, "English"), (320, "Deutsch")])  # 320: a desk at 400 %
def test_every_page_fits_a_phone(open_page: Open, ids: dict[str, str], width: int, language: str) -> None:
    page = open_page("/", viewport={"width": width, "height": 740})
    page.get_by_role("button", name=language).click()
    for path in (
        *PATHS,
        f"/jobs/{ids['failed']}",
        f"/jobs/{ids['hostile']}",
        f"/requests/nord/{ids['request']}",
    ):
        page.goto(path)
        wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wide <= 0, (path, wide)
        ends = page.locator("header *").evaluate_all("all => all.map(e => e.getBoundingClientRect().right)")
        assert max(ends) <= width, path


def test_the_picture_of_a_neighbourhood_can_be_read_on_a_phone_and_by_who_has_long_ids(
    open_page: Open, stack: "Stack"
) -> None:
    from tests.browser.world import change, send

    send(stack, change(801, 1_000_000_000_000_777), change(801, 1_000_000_000_000_778))
    relation = "/relations/nord/estate:address:buyer/801/1000000000000777"
    page = open_page(relation, viewport={"width": 390, "height": 780})
    texts = page.locator(".picture text")
    assert texts.count() > 2
    boxes = (
        "all => all.map(text => [text.getBoundingClientRect(), text.previousSibling.getBoundingClientRect()])"
    )
    for text, box in texts.evaluate_all(boxes):
        assert text["height"] > 10
        assert box["left"] <= text["left"]
        assert text["right"] <= box["right"]
    assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0


def test_a_list_that_is_printed_fits_a_sheet_and_its_ids_stay_whole(open_page: Open, stack: "Stack") -> None:
    from tests.browser.world import NOBODY, change, send, wait_for_end

    long_ids = range(900_000_000_000_001, 900_000_000_000_005)
    sent = [change(long_ids[0], NOBODY, source="W" * 40), change(501, *long_ids, NOBODY, source="import")]
    wait_for_end(stack, send(stack, *sent))
    page = open_page("/jobs?state=failed&account=nord", viewport={"width": 718, "height": 1000})  # of A4
    page.emulate_media(media="print")
    assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0
    lines = page.locator("tbody a.id").evaluate_all("all => all.map(id => id.getClientRects().length)")
    assert max(lines) <= 2, lines  # the account, and behind it the rest


def test_accounts_that_are_printed_in_german_fit_a_sheet(open_page: Open) -> None:
    page = open_page("/accounts", viewport={"width": 718, "height": 1000})
    page.get_by_role("button", name="Deutsch").click()
    page.emulate_media(media="print")
    assert "Zurückgehalten" in page.locator("thead").inner_text()
    assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0


def test_who_reads_a_larger_font_gets_it(open_page: Open) -> None:
    page = open_page("/jobs")
    size = "parseFloat(getComputedStyle(document.querySelector('td, p')).fontSize)"
    usual = page.evaluate(size)
    page.evaluate("document.documentElement.style.fontSize = '32px'")  # twice what browsers have
    assert page.evaluate(size) == 2 * usual


def test_hostile_words_are_shown_as_they_came(open_page: Open, ids: dict[str, str]) -> None:
    from tests.browser.world import HOSTILE

    page = open_page(f"/jobs/{ids['hostile']}")
    assert HOSTILE[:60] in page.locator("main").inner_text()
    page.goto("/jobs?account=nord")
    page.locator("#list").wait_for()


def test_pages_are_complete_without_javascript(open_page: Open, stack: "Stack") -> None:
    from tests.browser.world import change, send

    [job] = send(stack, change(960, 9600, account="west"))
    page = open_page("/jobs?state=queued", java_script_enabled=False)
    assert not page.locator("[data-live-control]").is_visible()
    page.locator(f"#row-{job} input[type=checkbox]").check()
    page.get_by_role("button", name="Cancel …").click()
    page.get_by_role("button", name="Cancel 1 job now").click()
    page.get_by_text("1 change was ended.").wait_for()


def test_ids_are_copied_with_one_click(open_page: Open, ids: dict[str, str]) -> None:
    page = open_page(f"/jobs/{ids['succeeded']}", permissions=["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name=f"Copy: {ids['succeeded']}").click()
    assert page.evaluate("navigator.clipboard.readText()") == ids["succeeded"]
