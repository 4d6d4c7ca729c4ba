"""What became of a delivery to a webhook, and what each rule said of it, in words. Pure."""

from collections.abc import Iterator
from datetime import tzinfo

from ops.explain.text import format_instant, pluralize
from worker.ports.deliveries import Delivery, RuleTrace


def describe_delivery(delivery: Delivery, zone: tzinfo) -> Iterator[str]:
    """Yield what became of a delivery, line by line."""
    yield f"{delivery.id}  {describe_outcome(delivery)}"
    yield f"  came {_describe_times(delivery, zone)}, with {pluralize(delivery.size, 'byte')}"
    yield f"  for {', '.join(delivery.accounts) or 'no account'}"
    if delivery.jobs:
        yield f"  {pluralize(len(delivery.jobs), 'job')}: {' '.join(delivery.jobs)}"
    in_rules = {fault for trace in delivery.rules for fault in trace.faults}
    yield from (f"  fault: {fault}" for fault in delivery.faults if fault not in in_rules)
    yield from (f"  {line}" for trace in delivery.rules for line in describe_trace(trace))


def describe_outcome(delivery: Delivery) -> str:
    """Return the outcome with its reason: `nothing_to_do: a test of the sender`."""
    return ": ".join(filter(None, (delivery.outcome, delivery.reason)))


def describe_trace(trace: RuleTrace) -> Iterator[str]:
    """Yield what one rule did."""
    lines = [f"failed: {fault}" for fault in trace.faults] or [_describe_rule(trace)]
    yield from (f"{trace.rule}  {line}" for line in lines)


def _describe_rule(trace: RuleTrace) -> str:
    match trace.outcome:
        case "made" if trace.jobs:
            return f"applies, {pluralize(len(trace.jobs), 'job')}: {' '.join(trace.jobs)}"
        case "made":
            return "applies"
        case "ignored":
            return f"applies, so there is nothing to do: {trace.when}"
        case "would_make":
            return "applies, but nothing is made of a delivery with a fault"
        case "no_elements":
            return f"does not apply: there is nothing in {trace.when}"
    return f"does not apply: {_describe_condition(trace)}"


def _describe_condition(trace: RuleTrace) -> str:
    """Return why a condition did not hold: `type == 'new' is not so; type is "old"`."""
    elements = f" of all {trace.elements:,} elements" if trace.elements > 1 else ""
    values = ", ".join(f"{operand} is {value}" for operand, value in trace.found.items())
    first = "of the first, " if elements and values else ""
    return f"{trace.when} is not so{elements}{f'; {first}{values}' if values else ''}"


def _describe_times(delivery: Delivery, zone: tzinfo) -> str:
    last = format_instant(delivery.at, zone)
    if delivery.times == 1:
        return last
    return f"{delivery.times} times, first {format_instant(delivery.first_at, zone)}, last {last}"
