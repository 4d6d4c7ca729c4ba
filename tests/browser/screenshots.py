"""`python -m tests.browser.screenshots [FOLDER]`: pictures of every page.

On a desk and on a phone, in light and in dark.
The pictures of the docs are made of it; look at them before you commit them.
"""

import sys
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

from tests.browser.world import fill_with_everything, launch, whole_system

DOCS = Path(__file__).parents[2] / "docs/pages"
DESK, PHONE = {"width": 1200, "height": 800}, {"width": 390, "height": 780}


def main(folder: Path) -> None:
    """Run the system, fill it, and take the pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(prefix="relations-pages-") as directory,
        whole_system(Path(directory)) as stack,
    ):
        ids = fill_with_everything(stack)
        pages = {
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
            "audit": "/audit?account=west",
            "system": "/system",
            "find": "/find?q=501",
        }
        with sync_playwright() as playwright:
            browser = launch(playwright)
            for size, viewport in (("desk", DESK), ("phone", PHONE)):
                for scheme in ("light", "dark"):
                    context = browser.new_context(viewport=viewport, color_scheme=scheme, locale="en-GB")
                    page = context.new_page()
                    page.goto(f"{stack.url}/sign-in")
                    page.screenshot(path=folder / f"sign-in-{size}-{scheme}.png")
                    page.fill("#key", stack.key)
                    page.click("main button")
                    for name, path in pages.items():
                        page.goto(f"{stack.url}{path}", wait_until="networkidle")
                        page.screenshot(path=folder / f"{name}-{size}-{scheme}.png", full_page=True)
                    context.close()
            browser.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else DOCS)
