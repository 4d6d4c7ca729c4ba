"""The shipped templates of webhook sources: settings for a sender, a payload as it sends it, and a page each.

A template is a file of three parts: its title and the values that may be chosen, the tables of the source,
and those of what it ignores. `<<name>>` stands for a value. `docs/how-to/senders/` has the pages.
"""

import json
import re
import tomllib
from collections.abc import Mapping
from importlib.resources import files
from typing import Final, Literal, NamedTuple

from worker.config import Source
from worker.config.table import keys_of
from worker.errors import Fault, Invalid, NotFound

FOLDER: Final = files(__package__)
PARTS: Final = "\n---\n"
PLACEHOLDER: Final = re.compile(r"<<([a-z]+)>>")
FIXED: Final = ("title", "secret", "place")
MAX_NESTING: Final = 3  # of values in values


class Template(NamedTuple):
    """What it is for, who chooses its secret, where that stands in the address, and what can be chosen."""

    name: str
    title: str
    secret: Literal["ours", "theirs"]
    place: str
    values: Mapping[str, str]
    text: str

    @property
    def page(self) -> str:
        """The page about it, in `docs`."""
        return f"how-to/senders/{self.name}.md"

    def render(self, name: str, account: str, secret: str, chosen: Mapping[str, str]) -> str:
        """Return the settings of a source of that name; raises Invalid for values that it does not know."""
        if unknown := [
            Fault(key, f"there are {', '.join(self.values)}") for key in chosen if key not in self.values
        ]:
            raise Invalid(unknown)
        values = {**self.values, **chosen}
        for _ in range(MAX_NESTING):
            values = {key: _fill(text, values) for key, text in values.items()}
        values |= {"name": name, "account": account, "secret": secret}
        return _fill(
            self.text, {key: json.dumps(text, ensure_ascii=False)[1:-1] for key, text in values.items()}
        )

    def read_sample(self) -> bytes:
        """Return a payload as the sender sends it; what rules read beside it stands before it."""
        name = next(file.name for file in FOLDER.iterdir() if file.name.startswith(f"{self.name}.sample."))
        return FOLDER.joinpath(name).read_bytes()


def list_templates() -> list[Template]:
    """Return all templates by name."""
    names = (file.name for file in FOLDER.iterdir() if file.name.endswith(".toml"))
    return [_read(name.removesuffix(".toml")) for name in sorted(names)]


def find_template(name: str) -> Template:
    """Return the template of that name; raises NotFound with all there are."""
    known = {template.name: template for template in list_templates()}
    if name not in known:
        raise NotFound(f'there is no template "{name}"; there are {", ".join(known)}')
    return known[name]


def _fill(text: str, values: Mapping[str, str]) -> str:
    return PLACEHOLDER.sub(lambda match: values.get(match[1], match[0]), text)


def _read(name: str) -> Template:
    head, *tables = FOLDER.joinpath(f"{name}.toml").read_text(encoding="utf-8").split(PARTS)
    values = tomllib.loads(head)
    title, secret, place = (values.pop(key) for key in FIXED)
    return Template(
        name, title, secret, place, values, "\n".join(tables[: 2 if "ignore" in keys_of(Source) else 1])
    )
