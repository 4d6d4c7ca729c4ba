"""Every page is there, for whom it is, in both languages, and says nothing that it must not."""

import pytest

from tests.support.browsing import Browse
from tests.support.http_front import BUYER, SECRETS, Front

PATHS = (
    "/",
    "/jobs",
    "/errors",
    "/requests",
    "/accounts",
    "/accounts/acme",
    "/audit",
    "/system",
    "/replays",
    "/find",
)


@pytest.mark.parametrize("path", PATHS)
def test_every_page_is_whole_with_nothing_and_with_something_in_the_store(
    front: Front, browse: Browse, path: str
) -> None:
    browser = browse("admin")
    for _ in range(2):
        answer = browser.get(path)
        assert answer.status_code == 200, answer.text
        assert answer.text.rstrip().endswith("</html>")
        assert not [secret for secret in SECRETS.values() if secret in answer.text]
        front.client("admin").post("/v1/changes", json=BUYER)
