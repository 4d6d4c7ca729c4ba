"""What `relations explain` shows for every relation of the shipped samples after they ran: golden pages.

To rewrite them after a change: RELATIONS_WRITE_REFERENCE=1 .venv/bin/pytest
tests/flow/test_flows_explained.py
"""

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC
from pathlib import Path

import pytest

from ops import samples
from ops.explain import explain
from ops.explain.gather import evidence
from ops.simulator import FaultPlan, InjectedFault, Records
from tests.support.flow_world import START, World
from worker.contract import Relation
from worker.onoffice.codes import advice
from worker.planner.actions import Action, Reply
from worker.planner.retry_policy import RetryPolicy
from worker.ports import Api
from worker.testing import MemoryQueries, MemoryStore

PAGES = Path(__file__).parent / "explained"
TRIES = {"retry": RetryPolicy(max_attempts=2)}
WORLDS = {  # what goes wrong in the sample
    "02-owner-lead": {"faults": FaultPlan.script([InjectedFault("lost_after")])},
    "05-new-build": {"records": Records(missing=frozenset({("estate", 8999)})), "policy": TRIES},
}


class Instant:
    """An API client whose requests take no time, so that pages do not depend on how busy the machine is."""

    def __init__(self, inner: Api) -> None:
        self._inner = inner

    def send(self, actions: Sequence[Action], *, request_id: str, now: float) -> Reply:
        return replace(self._inner.send(actions, request_id=request_id, now=now), seconds=0.0)


def ran(name: str) -> World:
    """Run the sample's messages in two windows to the end."""
    world = World(MemoryStore, **WORLDS.get(name, {}))
    world.apis["acme"] = Instant(world.apis["acme"])
    flow = samples.fresh(samples.changes(name), account="acme", now=START * 1_000_000, run="x")
    for part in (flow[: len(flow) // 2], flow[len(flow) // 2 :]):
        world.accept(*part)
        world.flush()
        world.clock.sleep(1.0)
    world.drain()
    return world


def page(world: World) -> Iterator[str]:
    """Yield the explanations of all relations; of those that differ only in numbers the first."""
    store, alike = world.store, dict[str, list[str]]()
    queries = MemoryQueries(store)
    for relation in relations(world):
        text = str(
            explain(evidence(store, queries, "acme", relation, now=world.clock.now), zone=UTC, advice=advice)
        )
        alike.setdefault(re.sub(r"\d+", "0", text), []).append(text)
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


@pytest.mark.parametrize("name", samples.names())
def test_every_relation_of_a_sample_is_explained_as_its_page_says(name: str) -> None:
    path, text = PAGES / f"{name}.txt", "\n".join(page(ran(name)))
    if os.environ.get("RELATIONS_WRITE_REFERENCE"):
        path.write_text(text, encoding="utf-8")
    assert path.read_text(encoding="utf-8") == text
