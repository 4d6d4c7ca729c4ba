"""One relation, the unit everything is decided for."""

from typing import NamedTuple


class Relation(NamedTuple):
    """A (type, parent id, child id), canonical; `type` is the short name, e.g. `estate:address:buyer`."""

    type: str
    parent: int
    child: int

    def __str__(self) -> str:
        return f"{self.type}:{self.parent}:{self.child}"

    @classmethod
    def parse(cls, text: str) -> "Relation":
        """The relation that `str()` wrote."""
        name, parent, child = text.rsplit(":", 2)
        return cls(name, int(parent), int(child))
