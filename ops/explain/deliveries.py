"""What became of a delivery to a webhook, and what each rule said of it, in words. Pure."""

from collections.abc import Iterator, Mapping
from typing import Any

from ops.explain.text import Zone, format_time, pluralize

Document = Mapping[str, Any]
IS_A_NAME = "; what has double quotation marks is a name, a text has single ones"


def describe_delivery(delivery: Document, zone: Zone) -> Iterator[str]:
    """Yield what became of a delivery, by its document, line by line."""
    jobs, rules = delivery["jobs"], delivery["rules"]
    yield f"{delivery['id']}  {describe_outcome(delivery)}"
    yield f"  came {_describe_times(delivery, zone)}, with {pluralize(delivery['size'], 'byte')}"
    yield f"  for {', '.join(delivery['accounts']) or 'no account'}"
    if jobs:
        yield f"  {pluralize(len(jobs), 'job')}: {' '.join(jobs)}"
    in_rules = {fault for trace in rules for fault in trace["faults"]}
    yield from (f"  fault: {fault}" for fault in delivery["faults"] if fault not in in_rules)
    yield from (f"  {line}" for trace in rules for line in describe_trace(trace))


def describe_outcome(delivery: Document) -> str:
    """Return the outcome with its reason: `nothing_to_do: a test of the sender`."""
    return ": ".join(filter(None, (delivery["outcome"], delivery["reason"])))


def describe_trace(trace: Document) -> Iterator[str]:
    """Yield what one rule did."""
    lines = [f"failed: {fault}" for fault in trace["faults"]]
    looked_at = [f"where {part} is {value}" for part, value in trace["found"].items()]
    lines = [*lines, *looked_at] if lines else [_describe_rule(trace)]
    yield from (f"{trace['rule']}  {line}" for line in lines)


def _describe_rule(trace: Document) -> str:
    jobs, condition = trace["jobs"], trace["when"] or ""
    match trace["outcome"]:
        case "made" if jobs:
            return f"applies, {pluralize(len(jobs), 'job')}: {' '.join(jobs)}"
        case "made":
            return "applies"
        case "ignored":
            return f"applies, so there is nothing to do: {condition}"
        case "would_make":
            return "applies, but nothing is made of a delivery with a fault"
        case "no_elements":
            return f"does not apply: there is nothing in {condition}"
    return f"does not apply: {_describe_condition(trace)}"


def _describe_condition(trace: Document) -> str:
    """Return why a condition did not hold: `type == 'new' is not so; type is "old"`."""
    elements = f" of all {trace['elements']:,} elements" if trace["elements"] > 1 else ""
    values = ", ".join(f"{operand} is {value}" for operand, value in trace["found"].items())
    first = "of the first, " if elements and values else ""
    hint = IS_A_NAME if _compares_names_only(trace) else ""
    return f"{trace['when'] or ''} is not so{elements}{f'; {first}{values}' if values else ''}{hint}"


def _compares_names_only(trace: Document) -> bool:
    """Return whether a condition has no text, but a name in quotation marks that finds nothing."""
    names = [name for name, value in trace["found"].items() if name.startswith('"') and value == "null"]
    return bool(names) and not {"'", "`"} & {*(trace["when"] or "")}


def _describe_times(delivery: Document, zone: Zone) -> str:
    last = format_time(delivery["at"], zone)
    if delivery["times"] == 1:
        return last
    return f"{delivery['times']} times, first {format_time(delivery['first_at'], zone)}, last {last}"
