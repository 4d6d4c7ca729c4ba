"""The pages about the interface are right: every route stands there, and the settings they show can be used."""

import re
import textwrap
from pathlib import Path

import pytest
from front import SECRETS, TOML, Front

from producers.portals.http import application
from producers.webhooks.rules import check_rules
from worker.config import load

DOCS = Path(__file__).parents[2] / "docs"


def test_the_reference_page_names_every_route_there_is(front: Front) -> None:
    page = (DOCS / "reference/http.md").read_text("utf-8")
    told = set(re.findall(r"^\| `\w+ (/\S*)`", page, re.MULTILINE))
    assert told == {route.path.replace(":path", "") for route in application(front.runtime).routes}  # type: ignore[attr-defined]


def test_the_settings_of_the_guide_can_be_used(tmp_path: Path) -> None:
    page = (DOCS / "how-to/webhooks.md").read_text("utf-8")
    (example,) = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    accounts = TOML.partition("[sources.")[0].replace("API_URL", "http://127.0.0.1:9/")
    (tmp_path / "relations.toml").write_text(accounts + textwrap.dedent(example), "utf-8")
    settings = load(SECRETS, tmp_path)
    check_rules(settings)
    assert len(settings.sources["immo"].rules) == 2


@pytest.mark.parametrize("page", ["reference/http.md", "how-to/webhooks.md"])
def test_no_link_of_a_page_leads_nowhere(page: str) -> None:
    for target in re.findall(r"\]\(((?!https?:)[^)#]+)", (DOCS / page).read_text("utf-8")):
        assert (DOCS / page).parent.joinpath(target).exists()
