"""The two sides of what a rule finds: which ids stand together in one message. Pure."""

from collections.abc import Iterator, Mapping
from typing import Final

from producers.webhooks.expressions import lists_of
from worker.config import Rule
from worker.contract.message import MAX_IDS
from worker.contract.reference import is_short_form
from worker.errors import Fault, InvalidChange

MAX_PAIRS: Final = 10_000  # that one rule makes of an event
MAX_PARENTS: Final = 1000  # of one rule with several children, since each parent becomes a change of its own


def check_pairs(rule: Rule, fields: Mapping[str, object], path: str) -> None:
    """Raise InvalidChange if both sides take the same list apart: every pair would become a product."""
    sides = [side for side in (fields.get("parentid"), fields.get("childid")) if isinstance(side, list)]
    if len(sides) < 2 or max(map(len, sides)) < 2:
        return
    if lists_of(rule.parentid) & lists_of(rule.childid):
        reason = "and childid take the same list apart, which loses what belongs together"
        remedy = 'name the list in `each`, as `each = "[]"`, and one element here'
        raise InvalidChange([Fault(f"{path}.parentid", f"{reason}; {remedy}")])


def split_by_parent(fields: Mapping[str, object], path: str) -> Iterator[Mapping[str, object]]:
    """Yield the fields as messages, of which each names one record on one side at least.

    A reference stands alone, so that one which is not found holds up no other; but what is to replace all
    others is said as a whole.
    """
    if fields.get("action") == "replace":
        yield fields
        return
    sides = {field: _group_ids(fields[field]) for field in ("parentid", "childid") if field in fields}
    parents, children = sides.get("parentid", [None]), sides.get("childid", [None])
    if any(isinstance(side, list) and len(side) > 1 for side in children):
        parents = [each for group in parents for each in (group if isinstance(group, list) else [group])]
    if max(len(parents), len(children)) < 2:
        yield fields
        return
    for field, groups, most in (("parentid", parents, MAX_PARENTS), ("childid", children, MAX_IDS)):
        named = sum(len(group) if isinstance(group, list) else 1 for group in groups)
        if named > most:  # before they are multiplied
            expected = f"expected at most {most} ids where both sides have several, got {named}"
            raise InvalidChange([Fault(f"{path}.{field}", expected)])
    if len(parents) * len(children) > MAX_PAIRS:
        raise InvalidChange([Fault(f"{path}.childid", f"with parentid makes more than {MAX_PAIRS} changes")])
    yield from ({**fields, "parentid": parent, "childid": child} for parent in parents for child in children)


def _group_ids(side: object) -> list[object]:
    """Return a side's ids as one list, and each of its references by itself."""
    if not isinstance(side, list):
        return [side]
    references = [each for each in side if _is_reference(each)]
    ids = [each for each in side if not _is_reference(each)]
    return [*([ids] if ids or not references else []), *references]


def _is_reference(value: object) -> bool:
    return isinstance(value, dict) or (isinstance(value, str) and is_short_form(value))
