"""What `relations explain` shows for every relation of the shipped samples after they ran: golden pages.

To write them again after a change: RELATIONS_WRITE_REFERENCE=1 .venv/bin/pytest
tests/flow/test_flows_explained.py
"""

import re
from collections.abc import Iterator
from datetime import UTC
from pathlib import Path
from typing import Any

import pytest

from ops import samples
from ops.explain import explain, format_explanation
from ops.lookups import collect_evidence
from ops.simulator import FaultPlan, InjectedFault, Records
from tests.support.docs_pages import is_current
from tests.support.flow_world import START, World
from tests.support.store_steps import queries_of
from worker.planner.retry_policy import RetryPolicy
from worker.testing import MemoryStore

PAGES = Path(__file__).parent / "explained"
SECONDS = re.compile(r"after [0-9]+\.[0-9]{2} s")  # that the simulator took, by the machine's clock
WORLDS: dict[str, dict[str, Any]] = {  # what goes wrong in the sample
    "02-owner-lead": {"faults": FaultPlan.script([InjectedFault("lost_after")])},
    "05-new-build": {
        "records": Records(missing=frozenset({("estate", 8999)})),
        "policy": {"retry": RetryPolicy(max_attempts=2)},
    },
}


@pytest.mark.parametrize("name", samples.list_names())
def test_every_relation_of_a_sample_is_explained_as_its_page_says(name: str) -> None:
    assert is_current(PAGES / f"{name}.txt", "\n".join(explain_all(run_sample(name))))


def run_sample(name: str) -> World:
    """Return a world in which the sample's messages came in two parts, and were worked to the end."""
    world = World(MemoryStore, **WORLDS.get(name, {}))
    changes = samples.shift_to(samples.read_changes(name), account="acme", now=START * 1_000_000, run="x")
    half = len(changes) // 2
    for part in (changes[:half], changes[half:]):
        world.accept(*part)
        world.flush()
        world.clock.sleep(1.0)
    world.drain()
    return world


def explain_all(world: World) -> Iterator[str]:
    """Yield the explanations of all relations; of those that differ only in numbers the first."""
    queries, now, alike = queries_of(world.store), world.clock.now(), dict[str, list[str]]()
    for relation in dict.fromkeys(relation for job in world.jobs() for relation in job.relations):
        evidence = collect_evidence(world.store, queries, "acme", relation, now=now)
        text = SECONDS.sub("after 0.00 s", "\n".join(format_explanation(explain(evidence, zone=UTC))))
        alike.setdefault(re.sub(r"\d+", "0", text), []).append(text)
    for first, *more in alike.values():
        yield first
        yield from [f"  (and {len(more)} more like it)"] if more else []
        yield ""
