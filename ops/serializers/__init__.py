"""What operators are shown, as JSON documents: the same for the command line and the HTTP interface. Pure.

A module has one kind of document: its type, of which the interface's description and generated clients are
made, and how it is written. Acts are judged by jobs and replays, so the HTTP adapter of the operations reads
these back; what is not shown is empty then. Jobs and batches are shown to producers too: they are in
`producers.portals.serializers`. That of an explanation is written where it is explained, in `ops.explain`.
"""

from typing import TypeVar, cast

Document = TypeVar("Document")


def write_document(kind: type[Document], value: object, **given: object) -> Document:
    """Return the document of this kind: its fields, in their order, as given, else as the value has them."""
    fields = {name: given[name] if name in given else getattr(value, name) for name in kind.__annotations__}
    return cast(Document, fields)
