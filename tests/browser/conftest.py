"""A browser over the whole system; without Playwright or a Chromium these tests are skipped, and say so."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

    from ops.dev.stack import Stack


@pytest.fixture(scope="module")
def chromium() -> "Iterator[Browser]":
    """Yield a browser, which ends with the last test that uses it: an idle one works on."""
    api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed: make test-browser")
    from tests.browser import world

    if not world.CHROMIUM:
        pytest.skip("there is no Chromium on this machine: make test-browser")
    with api.sync_playwright() as playwright:
        browser = world.launch(playwright)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def system(
    chromium: "Browser", tmp_path_factory: pytest.TempPathFactory
) -> "Iterator[tuple[Stack, dict[str, str]]]":
    from tests.browser.world import fill_with_everything, whole_system

    with whole_system(tmp_path_factory.mktemp("system")) as stack:
        yield stack, fill_with_everything(stack)


@pytest.fixture
def stack(system: "tuple[Stack, dict[str, str]]") -> "Stack":
    return system[0]


@pytest.fixture
def ids(system: "tuple[Stack, dict[str, str]]") -> dict[str, str]:
    return system[1]


@pytest.fixture
def open_page(chromium: "Browser", stack: "Stack") -> "Iterator[Callable[..., Page]]":
    """Return how to open a page as somebody who has signed in.

    At the end nothing was said in the console, no dialog came up, and nothing left the host.
    """
    heard, contexts = list[str](), list[Any]()

    def watch(page: "Page") -> None:
        page.on(
            "console", lambda line: heard.append(line.text) if line.type in ("error", "warning") else None
        )
        page.on("pageerror", lambda error: heard.append(str(error)))
        page.on("dialog", lambda dialog: (heard.append(dialog.message), dialog.dismiss()))
        page.on("request", lambda sent: heard.append(sent.url) if not is_ours(sent.url) else None)

    def is_ours(url: str) -> bool:
        return urlsplit(url).netloc == urlsplit(stack.url).netloc

    def opened(path: str = "/", *, key: str | None = None, **options: Any) -> "Page":
        context = chromium.new_context(base_url=stack.url, locale="en-GB", **options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(10_000)
        watch(page)
        page.goto(f"/sign-in?next={quote(path)}")
        page.fill("#key", key or stack.key)
        page.keyboard.press("Enter")
        page.wait_for_url(lambda url: url.removeprefix(stack.url) == path)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert heard == []


@pytest.fixture(scope="session")
def axe() -> str:
    """Return the script that finds what people with a disability could not use."""
    found = pytest.importorskip("axe_playwright_python", reason="axe is not installed: make test-browser")
    return (Path(found.__file__).parent / "axe.min.js").read_text("utf-8")
