"""The fields of a query or a form as PHP reads and writes them, since most who send them do so by it. Pure.

PHP reads `a[0]=x&a[1]=y` as a list and `a[b]=x` as an object, turns dots and blanks in names into
underscores, and writes a blank as `+` and `~` as `%7E`. Texts are UTF-8, or else Latin-1.
"""

import unicodedata
from collections.abc import Iterator, Sequence
from typing import Final
from urllib.parse import quote_plus, unquote_to_bytes

from worker.errors import Fault, InvalidChange

CLAIM: Final = "apiClaim"  # by which a marketplace provider may act for a customer: a secret
MAX_DEPTH: Final = 16  # of brackets in a name
MAX_FIELDS: Final = 10_000


class Tree(dict[str, object]):
    """Fields by name; those that share a name have more names in brackets. Lists have the names 0, 1, 2, …"""


def split_fields(query: bytes) -> list[tuple[str, str]]:
    """Return the fields in their order, names and values as Latin-1 texts, which keep every byte."""
    pairs = (part.replace(b"+", b" ").partition(b"=") for part in query.split(b"&") if part)
    return [(_unquote(name), _unquote(value)) for name, _, value in pairs]


def drop_claim(query: bytes) -> bytes:
    """Return a query of onOffice as it may be kept: without the claim."""
    return b"&".join(part for part in query.split(b"&") if not _is_claim(part))


def _is_claim(part: bytes) -> bool:
    """Return whether a part of a query is a claim by its name, before which blanks do not count."""
    return _unquote(part.replace(b"+", b" ")).lstrip(" ").startswith(CLAIM)


def make_tree(
    pairs: Sequence[tuple[str, object]], *, as_php_reads: bool = True, repeated: bool = False
) -> Tree:
    """Return the fields as a tree; raise InvalidChange for one that is named twice.

    `as_php_reads` turns dots and blanks in names into underscores. A name that is `repeated` with single
    values may be a list of them, as boxes of HTML are sent.
    """
    if len(pairs) > MAX_FIELDS:
        raise InvalidChange([Fault("", f"has more than {MAX_FIELDS} fields")])
    tree = Tree()
    for name, value in pairs:
        first, *rest = _split_name(name, as_php_reads=as_php_reads)
        if first:
            _put(tree, [first, *rest], name, value, repeated=repeated)
    return tree


def encode_tree(tree: Tree) -> str:
    """Return the query that PHP writes of fields whose names and values are Latin-1 texts."""
    return "&".join(f"{_quote(name)}={_quote(value)}" for name, value in _flatten(tree))


def plain_fields(tree: Tree) -> dict[str, object]:
    """Return the fields as rules read them, by name: texts, lists, and objects of them."""
    return {decode_text(name.encode("latin-1")): _plain_value(value) for name, value in tree.items()}


def decode_text(text: bytes) -> str:
    """Return a text that is UTF-8, or else Latin-1."""
    try:
        return text.decode()
    except UnicodeDecodeError:
        return text.decode("latin-1")


def compose(value: object) -> object:
    """Return a value with all its texts composed (NFC): an ä of two characters is one."""
    if isinstance(value, str):
        return value if value.isascii() else unicodedata.normalize("NFC", value)
    if isinstance(value, list):
        return [compose(item) for item in value]
    if isinstance(value, dict):
        return {compose(name): compose(item) for name, item in value.items()}
    return value


def _plain_value(value: object) -> object:
    if isinstance(value, str):
        return decode_text(value.encode("latin-1"))
    if isinstance(value, list):
        return [_plain_value(each) for each in value]
    if not isinstance(value, Tree):
        return value
    is_list = list(value) == [str(index) for index in range(len(value))]
    return list(plain_fields(value).values()) if is_list else plain_fields(value)


def _split_name(name: str, *, as_php_reads: bool) -> list[str]:
    """Return `a[b][]` as a, b and an empty name; raise InvalidChange if it is too deep."""
    first, bracket, rest = name.lstrip(" ").partition("[")
    if bracket and "]" not in rest:
        first, bracket, rest = f"{first}_{rest}" if as_php_reads else name, "", ""
    if as_php_reads:
        first = first.replace(".", "_").replace(" ", "_")
    names = [first]
    while bracket and "]" in rest:
        if len(names) == MAX_DEPTH:  # of what follows each step would make a copy
            raise InvalidChange([Fault(_shown(first), f"has more than {MAX_DEPTH} brackets")])
        inner, _, rest = rest.partition("]")
        names.append(inner)
        bracket, rest = rest[:1] if rest.startswith("[") else "", rest[1:]
    return names


def _put(tree: Tree, names: Sequence[str], shown: str, value: object, *, repeated: bool) -> None:
    for name in names[:-1]:
        inner = tree.setdefault(name or str(len(tree)), Tree())
        if not isinstance(inner, Tree):
            raise _twice(shown)
        tree = inner
    last = names[-1] or str(len(tree))
    known = tree.get(last)
    if last in tree and (not repeated or isinstance(known, Tree)):
        raise _twice(shown)
    if isinstance(known, list):
        known.append(value)
    else:
        tree[last] = [known, value] if last in tree else value


def _twice(name: str) -> InvalidChange:
    return InvalidChange([Fault(_shown(name), "is named twice, so it is open which one counts")])


def _shown(name: str) -> str:
    return decode_text(name.encode("latin-1", "replace"))[:60]


def _flatten(tree: Tree, around: str = "") -> Iterator[tuple[str, str]]:
    for name, value in tree.items():
        path = f"{around}[{name}]" if around else name
        if isinstance(value, Tree):
            yield from _flatten(value, path)
        else:
            yield path, str(value)


def _unquote(text: bytes) -> str:
    return unquote_to_bytes(text).decode("latin-1")


def _quote(text: str) -> str:
    return quote_plus(text.encode("latin-1"), safe="").replace("~", "%7E")
