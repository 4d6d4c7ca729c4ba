"""What `relations explain` says of every relation of the shipped samples after they ran: golden pages, to be read as a person reads them.

To write them anew after a change: RELATIONS_WRITE_REFERENCE=1 .venv/bin/pytest tests/flow/test_flows_explained.py
"""

import os
import re
from collections.abc import Iterator
from datetime import UTC
from pathlib import Path

import pytest

from ops import samples
from ops.explain import collect_evidence, explain
from ops.simulator import FaultPlan, InjectedFault, Records
from tests.support.flow_world import START, World
from worker.contract import Relation
from worker.planner.retry_policy import RetryPolicy
from worker.testing import MemoryQueries, MemoryStore

PAGES = Path(__file__).parent / "explained"
TRIES = {"retry": RetryPolicy(max_attempts=2)}
WORLDS = {  # what goes wrong in the story
    "02-owner-lead": {"faults": FaultPlan.script([InjectedFault("lost_after")])},
    "05-new-build": {"records": Records(missing=frozenset({("estate", 8999)})), "lane": TRIES},
}


def ran(name: str) -> World:
    """The sample's messages in two windows, and worked to the end."""
    world = World(MemoryStore, **WORLDS.get(name, {}))
    flow = samples.shift_to(samples.read_changes(name), account="acme", now=START * 1_000_000, run="x")
    for part in (flow[: len(flow) // 2], flow[len(flow) // 2 :]):
        world.accept(*part)
        world.flush()
        world.clock.sleep(1.0)
    world.drain()
    return world


def page(world: World) -> Iterator[str]:
    """Every relation's explanation; those that differ in numbers and times only are told once, with how many there are."""
    store, alike = world.store, dict[str, list[str]]()
    questions = MemoryQueries(store)
    for relation in relations(world):
        evidence = collect_evidence(store, questions, "acme", relation, now=world.clock.now())
        told = re.sub(r"after \d+\.\d\d s", "after 0.00 s", str(explain(evidence, zone=UTC)))  # real time
        alike.setdefault(re.sub(r"\d+", "0", told), []).append(told)
    for texts in alike.values():
        yield texts[0]
        yield from [f"  (and {len(texts) - 1} more like it)"] if len(texts) > 1 else []
        yield ""


def relations(world: World) -> list[Relation]:
    jobs = (world.store.get_job(receipt.job) for receipt in world.receipts)
    return list(
        dict.fromkeys(
            Relation(job.type, parent, child)
            for job in jobs
            for parent in job.parents
            for child in job.children
        )
    )


@pytest.mark.parametrize("name", samples.list_names())
def test_every_relation_of_a_sample_is_explained_as_its_page_says(name: str) -> None:
    path, text = PAGES / f"{name}.txt", "\n".join(page(ran(name)))
    if os.environ.get("RELATIONS_WRITE_REFERENCE"):
        path.write_text(text, encoding="utf-8")
    assert path.read_text(encoding="utf-8") == text
