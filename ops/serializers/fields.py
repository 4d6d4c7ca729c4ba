"""A document from a value: fields of the same name are taken over, the others are given."""

from typing import TypeVar, cast

Document = TypeVar("Document")


def write_document(kind: type[Document], value: object, **given: object) -> Document:
    """Return the document of this kind: its fields, in their order, as given, else as the value has them."""
    fields = {name: given[name] if name in given else getattr(value, name) for name in kind.__annotations__}
    return cast(Document, fields)
