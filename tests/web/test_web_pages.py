"""The pages about the interface name every route, and the settings that they show can be used."""

import re
import textwrap
from pathlib import Path

from producers.webhooks.mapping import check_rules
from tests.support.http_front import SECRETS, TOML, Front
from tests.support.sender_keys import as_jwks, make_rsa
from worker.config import load_settings

DOCS = Path(__file__).parents[2] / "docs"


def test_the_reference_page_names_every_route_there_is(front: Front) -> None:
    page = (DOCS / "reference/http.md").read_text("utf-8")
    documented = {
        (method.lower(), path) for method, path in re.findall(r"^\| `(\w+) (/[^`?]*)", page, re.MULTILINE)
    }
    paths = front.client().get("/openapi.json").json()["paths"]
    assert documented == {(method, path) for path, methods in paths.items() for method in methods} - {
        ("get", "/webhooks/{source}"),
        ("get", "/webhooks/{source}/{rest}"),
    }


def test_the_settings_of_the_guide_can_be_used(tmp_path: Path) -> None:
    page = (DOCS / "how-to/webhooks.md").read_text("utf-8")
    examples = list(map(textwrap.dedent, re.findall(r"```toml\n(.*?)```", page, re.DOTALL)))
    accounts = TOML.partition("[sources.")[0].replace("API_URL", "http://127.0.0.1:9/")
    secrets = dict.fromkeys(re.findall(r"env:(\w+)", "".join(examples)), SECRETS["IMMO_SECRET"])
    (tmp_path / "relations.toml").write_text(accounts + "".join(examples), "utf-8")
    for name in re.findall(r'public_key = "file:([^"]+)"', "".join(examples)):
        (tmp_path / name).write_text(as_jwks(make_rsa("sender")))
    settings = load_settings({**secrets, **SECRETS}, tmp_path)
    check_rules(settings)
    assert {name: len(source.rules) for name, source in settings.sources.items()}["immo"] == 2
    assert len(settings.sources) == sum(example.startswith("[sources.") for example in examples)
