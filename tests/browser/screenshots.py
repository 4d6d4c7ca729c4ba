"""`python -m tests.browser.screenshots [FOLDER]`: pictures of every page.

On a desk and on a phone, in light and in dark; by default those that the docs show. Look at them before
committing.
"""

import base64
import sys
import tempfile
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, sync_playwright

from tests.browser.world import fill_with_everything, launch, whole_system

DOCS = Path(__file__).parents[2] / "docs/pages"
SHOWN_BY = DOCS.parent / "how-to/pages.md"
SIZES: dict[str, Any] = {"desk": {"width": 1200, "height": 760}, "phone": {"width": 390, "height": 780}}
TALLEST = 1200  # pixels that a picture shows of a page
QUALITY = 45


def main(folder: Path) -> None:
    """Run the system, fill it, and take the pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(prefix="relations-pages-") as directory,
        whole_system(Path(directory)) as stack,
        sync_playwright() as playwright,
    ):
        paths = find_paths(fill_with_everything(stack))
        browser = launch(playwright)
        for size, viewport in SIZES.items():
            for scheme in ("light", "dark"):
                context = browser.new_context(
                    base_url=stack.url, viewport=viewport, color_scheme=scheme, locale="en-GB"
                )
                page = context.new_page()
                page.goto("/sign-in")
                save(page, folder / f"sign-in-{size}-{scheme}.webp")
                page.fill("#key", stack.key)
                page.keyboard.press("Enter")
                page.locator("#verdict").wait_for()
                for name, path in paths.items():
                    page.goto(path, wait_until="networkidle")
                    save(page, folder / f"{name}-{size}-{scheme}.webp")
                page.goto("/jobs?state=failed&account=nord")
                page.locator("input[name=job][type=checkbox]").first.check()
                page.get_by_role("button", name="Replay …").click()
                page.get_by_text("will be sent again").wait_for()
                save(page, folder / f"preview-{size}-{scheme}.webp")
                context.close()
        browser.close()


def find_paths(ids: dict[str, str]) -> dict[str, str]:
    """Return the pages that are shown."""
    return {
        "overview": "/",
        "jobs": "/jobs?state=failed",
        "job": f"/jobs/{ids['failed']}",
        "relation": "/relations/nord/estate:address:buyer/501/9001",
        "errors": "/errors",
        "requests": "/requests?account=nord",
        "request": f"/requests/nord/{ids['request']}",
        "accounts": "/accounts",
        "account": "/accounts/west",
        "replays": "/replays",
        "source": "/sources/immo",
        "deliveries": "/deliveries",
        "audit": "/audit?account=west",
        "system": "/system",
        "find": "/find?q=501",
    }


def save(page: Page, file: Path) -> None:
    """Save the page as a small picture, as far down as `TALLEST`; of the docs', if it is shown there."""
    if file.parent == DOCS and file.name not in SHOWN_BY.read_text("utf-8"):
        return
    height = page.evaluate("document.documentElement.scrollHeight")
    width = page.evaluate("document.documentElement.clientWidth")
    clip = {"x": 0, "y": 0, "width": width, "height": min(height, TALLEST), "scale": 1}
    shot = page.context.new_cdp_session(page).send(
        "Page.captureScreenshot",
        {"format": "webp", "quality": QUALITY, "captureBeyondViewport": True, "clip": clip},
    )
    file.write_bytes(base64.b64decode(shot["data"]))


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else DOCS)
