"""XML as a value for rules: without the prefixes of namespaces, within bounds and without entities.

What a document says about its encoding is believed only where its bytes leave it open: senders of enquiries
often declare one and write another. Pure.
"""

import re
from typing import Any, Final, NoReturn
from xml.parsers import expat

import xmltodict

from worker.contract.quoting import escape_unprintable
from worker.errors import Fault, InvalidChange

MAX_DEPTH: Final = 100  # of elements in elements
MAX_ELEMENTS: Final = 100_000
WIDE_MARKS: Final = (b"\xff\xfe", b"\xfe\xff")  # of byte order, in UTF-16
DECLARED: Final = re.compile(rb"<\?xml[^>]{0,100}encoding=[\"']([A-Za-z0-9._-]{1,40})[\"']")
ONE_BYTE: Final = re.compile(r"(iso[-_]?8859[-_]?(?!1$)[0-9]{1,2}|(windows-|cp)125[0-8])")


def read_xml(body: bytes) -> object:
    """Return the root by its name: attributes behind `@`, an element that is repeated as a list.

    Raises InvalidChange if this is no XML.
    """
    encoding, content = _recode(body)
    try:
        _check(content, encoding)
        found: object = xmltodict.parse(content, encoding=encoding, postprocessor=_without_namespace)
    except (expat.ExpatError, ValueError, LookupError) as error:  # ValueError: it has entities
        raise InvalidChange([Fault("", f"expected XML: {escape_unprintable(str(error))}")]) from None
    return found


def _recode(body: bytes) -> tuple[str | None, bytes]:
    """Return the encoding of a document and its bytes; without one the document's own word counts.

    UTF-8 is what it is whatever is declared; anything else is of one byte a letter, Windows' if not declared.
    """
    if body.startswith(WIDE_MARKS) or b"\0" in body[:4]:
        return None, body
    try:
        body.decode()
    except UnicodeDecodeError:
        declared = DECLARED.match(body.lstrip())
        name = declared[1].decode().lower() if declared else ""
        text = body.decode(name if ONE_BYTE.fullmatch(name) else "windows-1252", "replace")
        return "utf-8", text.encode()
    return "utf-8", body


def _check(body: bytes, encoding: str | None) -> None:
    """Raise ValueError for entities and for elements without end, before anything is made of them."""
    depth = elements = 0

    def start(_name: str, _attributes: dict[str, str]) -> None:
        nonlocal depth, elements
        depth, elements = depth + 1, elements + 1
        if depth > MAX_DEPTH or elements > MAX_ELEMENTS:
            raise ValueError(f"has more than {MAX_DEPTH} levels or {MAX_ELEMENTS} elements")

    def end(_name: str) -> None:
        nonlocal depth
        depth -= 1

    def refuse_entity(*_: Any) -> NoReturn:
        raise ValueError("entities are disabled")

    parser = expat.ParserCreate(encoding)
    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.EntityDeclHandler = refuse_entity
    parser.Parse(body, True)


def _without_namespace(_path: object, name: str, value: object) -> tuple[str, object] | None:
    """Return an element or attribute without its prefix, None for what only declares one."""
    if name == "@xmlns" or name.startswith("@xmlns:"):
        return None
    mark = "@" if name.startswith("@") else ""
    return mark + name.removeprefix(mark).rpartition(":")[2], value
