"""What a mail says in words: the text of a page, and its lines `label: value`. Pure."""

import re
from html import unescape
from typing import Final

MAX_PAGE: Final = 200_000  # characters of HTML
MAX_FIELDS: Final = 500
MAX_LABEL: Final = 60  # characters
MAX_LINE: Final = 2000
LINE: Final = re.compile(rf"([^\s:][^:]{{0,{MAX_LABEL - 1}}}):(?!//)(.*)")
MARKS: Final = "> \t*•-"  # before a line that is quoted or one of a list
BOLD: Final = " \t*"  # around a value, of `*E-Mail:* ada@example.test`, as pages become texts
TAG: Final = re.compile(r"<(/?)([A-Za-z][A-Za-z0-9]{0,20})[^<>]*>|<!--|<[!?][^<>]*>")
NEW_LINE: Final = frozenset(("p", "div", "br", "tr", "li", "ul", "table", "h1", "h2", "h3", "h4", "h5", "hr"))
UNSEEN: Final = frozenset(("script", "style", "head", "title"))


def html_to_text(page: str) -> str:
    """Return the text of a page of HTML: each line and each row of a table in a line.

    It is not parsed, only rid of its tags: the parser of Python takes minutes for one that is made for it.
    """
    page, pieces, at = page[:MAX_PAGE], list[str](), 0
    while match := TAG.search(page, at):
        pieces.append(" ".join(page[at : match.start()].split("\n")))
        name, at = (match[2] or "").lower(), match.end()
        if match[0] == "<!--" or (name in UNSEEN and not match[1]):
            end = re.compile("-->" if match[0] == "<!--" else f"</{name}[^<>]*>?", re.IGNORECASE).search(
                page, at
            )
            at = end.end() if end else len(page)
        pieces.append("\n" if name in NEW_LINE else " ")
    pieces.append(" ".join(page[at:].split("\n")))
    lines = (" ".join(line.split()) for line in unescape("".join(pieces)).splitlines())
    return "\n".join(line for line in lines if line)


def find_fields(text: str) -> list[dict[str, str]]:
    """Return the lines `label: value` of a text; a value may stand in the line below its label."""
    fields: list[dict[str, str]] = []
    label = ""
    for line in text.splitlines():
        words = line.strip().lstrip(MARKS)[:MAX_LINE]
        match = LINE.fullmatch(words)
        if match and not match[2].strip(BOLD):
            label = match[1].strip()
        elif match or (label and words):
            name, value = match.groups() if match else (label, words)
            fields.append({"label": name.strip(), "value": value.strip(BOLD)})
            label = ""
        if len(fields) >= MAX_FIELDS:
            break
    return fields


def merge_fields(text: str, page: str) -> list[dict[str, str]]:
    """Return the fields of a text, and those of the page beside it where the text says nothing of the page.

    Some say as a text only that they are a page. What a page has beyond its own text is its footer, with the
    address of the portal.
    """
    fields, words = find_fields(text), set(page.split())
    if any(field["value"] and words.issuperset(field["value"].split()) for field in fields):
        return fields
    known = {field["label"].casefold() for field in fields}
    return [*fields, *(field for field in find_fields(page) if field["label"].casefold() not in known)]
